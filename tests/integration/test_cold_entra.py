"""`ColdMemory` with tokens of Entra ID, over TLS, in a process of its own that trusts the test's authority."""

import json
import os
import subprocess
import sys

from thermocline.testing.rig import Azurite

CODE = """
import asyncio, json, sys
from datetime import timedelta
from thermocline.errors import AccessDenied
from thermocline.testing.rig.entra import LocalCredential
from thermocline.tiers.cold import ColdMemory

async def main(url):
    async with LocalCredential() as good, LocalCredential(lifetime=timedelta(hours=-1)) as late:
        async with ColdMemory(url, "entra", credential=good, create=True) as tier:
            await tier.upload_text("name", "text")
            print(json.dumps([await tier.download_text("name"), good.issued]))
        try:
            await ColdMemory(url, "entra", credential=late).connect()
        except AccessDenied as error:
            print(json.dumps([error.sent, str(error)]))

asyncio.run(main(sys.argv[1]))
"""


def test_tokens_are_taken_over_tls_and_only_good_ones() -> None:
    with Azurite(tls=True) as server:
        environment = {**os.environ, "SSL_CERT_FILE": str(server.ca_file)}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", CODE, server.blob_url],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    (text, issued), (sent, said) = (json.loads(line) for line in done.stdout.splitlines())
    assert (text, issued) == ("text", 1)
    assert sent is False
    assert "Storage Blob Data Contributor" in said
