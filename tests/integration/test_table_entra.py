"""`TableMemory` with tokens of Entra ID, over TLS, in a process of its own that trusts the test's authority."""

import json
import os
import subprocess
import sys

from thermocline.testing.rig import Azurite

# azure-data-tables 12.7 asks an XML element whether it is true, of which Python 3.12 and later warn
OF_THE_SDK = ("-W", "ignore::DeprecationWarning:azure.data.tables._error")

CODE = """
import asyncio, json, sys
from datetime import timedelta
from thermocline.errors import AccessDenied
from thermocline.model import Key
from thermocline.testing.conformance.samples import put, soon
from thermocline.testing.rig.entra import LocalCredential
from thermocline.tiers.table import TableMemory

async def main(url):
    keys = [Key("t", "s", name) for name in "abc"]
    async with LocalCredential() as good, LocalCredential(lifetime=timedelta(hours=-1)) as late:
        async with TableMemory(url, "entra", credential=good, create=True) as tier:
            await tier.write(put(keys[0]), deadline=soon())
            await tier.write_atomic([put(key) for key in keys[1:]], deadline=soon())
            found = await tier.read_many(keys, deadline=soon())
            print(json.dumps([sum(one is not None for one in found), good.issued]))
        try:
            await TableMemory(url, "entra", credential=late).connect()
        except AccessDenied as error:
            print(json.dumps([error.sent, str(error)]))

asyncio.run(main(sys.argv[1]))
"""


def test_tokens_are_taken_over_tls_and_only_good_ones() -> None:
    with Azurite(tls=True) as server:
        environment = {**os.environ, "SSL_CERT_FILE": str(server.ca_file)}
        done = subprocess.run(
            [sys.executable, "-W", "error", *OF_THE_SDK, "-c", CODE, server.table_url],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    (found, issued), (sent, said) = (json.loads(line) for line in done.stdout.splitlines())
    assert (found, issued) == (3, 1)
    assert sent is False
    assert "token" in said
