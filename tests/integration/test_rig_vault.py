"""The rig's Key Vault is strict: it refuses what Azure refuses."""

import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from thermocline.testing.rig import KeyVaultServer, RigError
from thermocline.testing.vault.service import OFFICER, USER
from thermocline.testing.vault.tokens import PRINCIPAL, Issuer

VERSION = "api-version=7.6"


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers = response.status, response.headers
        self.body: Any = json.loads(response.read())

    @property
    def error(self) -> tuple[int, str, str | None]:
        error = self.body["error"]
        return self.status, error["code"], error.get("innererror", {}).get("code")


def ask(server: KeyVaultServer, path: str, *, method: str = "GET", body: Any = None, **headers: str) -> Answer:
    context = ssl.create_default_context(cafile=server.ca_file)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=context)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def token(server: KeyVaultServer, resource: str = "https://vault.azure.net") -> str:
    header = server.environment["IDENTITY_HEADER"]
    found = ask(server, f"/msi/token?api-version=2019-08-01&resource={resource}", X_IDENTITY_HEADER=header)
    assert found.status == 200
    return str(found.body["access_token"])


def signed(server: KeyVaultServer, path: str, **more: Any) -> Answer:
    return ask(server, path, Authorization=f"Bearer {token(server)}", **more)


def test_who_has_no_token_gets_the_challenge(key_vault: KeyVaultServer) -> None:
    for headers in ({}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}):
        found = ask(key_vault, f"/secrets/n?{VERSION}", **headers)
        assert found.error == (401, "Unauthorized", None)
        assert found.headers["WWW-Authenticate"].startswith('Bearer authorization="https://login.microsoftonline.com/')
        assert 'resource="https://vault.azure.net"' in found.headers["WWW-Authenticate"]


def test_only_its_own_tokens_are_taken(key_vault: KeyVaultServer) -> None:
    forged, _ = Issuer().issue("https://vault.azure.net")
    good = token(key_vault)
    head, claims, signature = good.split(".")
    key_vault.tokens(lifetime=-1)
    expired = token(key_vault)
    key_vault.tokens(lifetime=3600)
    for wrong, told in (
        (forged, "signature"),
        (f"{head}.{claims}.{signature[:-2]}AA", "signature"),
        ("no.jwt", "no JWT"),
        (token(key_vault, "https://storage.azure.com"), "Invalid audience"),
        (expired, "expired"),
    ):
        found = ask(key_vault, f"/secrets/n?{VERSION}", Authorization=f"Bearer {wrong}")
        assert found.status == 401
        assert told in found.body["error"]["message"]
    key_vault.set("n", "v")
    assert ask(key_vault, f"/secrets/n?{VERSION}", Authorization=f"Bearer {good}").body["value"] == "v"
    key_vault.tokens(revoke=True)
    assert ask(key_vault, f"/secrets/n?{VERSION}", Authorization=f"Bearer {good}").status == 401


def test_the_identity_asks_for_its_header_and_its_version(key_vault: KeyVaultServer) -> None:
    header = key_vault.environment["IDENTITY_HEADER"]
    good = "/msi/token?api-version=2019-08-01&resource=r"
    assert ask(key_vault, good).status == 401
    assert ask(key_vault, good, X_IDENTITY_HEADER="wrong").status == 401
    assert ask(key_vault, good.replace("2019", "2017"), X_IDENTITY_HEADER=header).status == 400
    assert ask(key_vault, "/msi/token?api-version=2019-08-01", X_IDENTITY_HEADER=header).status == 400
    imds = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=r"
    assert ask(key_vault, imds).status == 400
    found = ask(key_vault, imds, Metadata="true")
    assert (found.status, found.body["resource"], found.body["token_type"]) == (200, "r", "Bearer")
    assert key_vault.tokens() == PRINCIPAL


def test_requests_must_be_well_formed(key_vault: KeyVaultServer) -> None:
    for path in ("/secrets/n", "/secrets/n?api-version=1.0", f"/secrets/under_score?{VERSION}"):
        assert signed(key_vault, path).error == (400, "BadParameter", None)
    assert signed(key_vault, f"/keys/n?{VERSION}").status == 404
    assert signed(key_vault, f"/secrets/n?{VERSION}", method="DELETE").status == 405
    with pytest.raises(RigError, match="400"):
        key_vault.set("n", "x" * 25_001)
    with pytest.raises(RigError, match="no role"):
        key_vault.roles("Owner")


def test_versions_and_pages(key_vault: KeyVaultServer, unique_name: Callable[[str], str]) -> None:
    name = unique_name("versions")
    ids = [key_vault.set(name, f"value {n}") for n in range(30)]
    assert signed(key_vault, f"/secrets/{name}?{VERSION}").body["value"] == "value 29"
    assert signed(key_vault, f"/secrets/{name}/{ids[3]}?{VERSION}").body["value"] == "value 3"
    assert signed(key_vault, f"/secrets/{name}/{'0' * 32}?{VERSION}").error == (404, "SecretNotFound", None)
    first = signed(key_vault, f"/secrets/{name}/versions?{VERSION}").body
    second = signed(key_vault, first["nextLink"].removeprefix(key_vault.url)).body
    listed = [item["id"].rpartition("/")[2] for item in first["value"] + second["value"]]
    assert (listed, second["nextLink"]) == (ids, None)
    assert all("value" not in item for item in first["value"]), "a listing shows no values"
    assert f"{key_vault.url}/secrets/{name}/{ids[-1]}" in str(signed(key_vault, f"/secrets?{VERSION}").body)


def test_states_of_a_secret(key_vault: KeyVaultServer, unique_name: Callable[[str], str]) -> None:
    name = unique_name("states")
    assert signed(key_vault, f"/secrets/{name}?{VERSION}").error == (404, "SecretNotFound", None)
    key_vault.set(name, "v", expires_in=-10)
    expired = signed(key_vault, f"/secrets/{name}?{VERSION}")
    assert (expired.status, expired.body["attributes"]["exp"] > 0) == (200, True), "Key Vault gives it out, too"
    key_vault.enable(name, False)
    assert signed(key_vault, f"/secrets/{name}?{VERSION}").error == (403, "Forbidden", "SecretDisabled")
    key_vault.delete(name)
    assert signed(key_vault, f"/secrets/{name}?{VERSION}").status == 404


def test_roles(key_vault: KeyVaultServer, unique_name: Callable[[str], str]) -> None:
    name = unique_name("roles")
    put: dict[str, Any] = {"method": "PUT", "body": {"value": "v"}}
    assert signed(key_vault, f"/secrets/{name}?{VERSION}", **put).error == (403, "Forbidden", "ForbiddenByRbac")
    key_vault.roles(OFFICER)
    assert signed(key_vault, f"/secrets/{name}?{VERSION}", **put).body["value"] == "v"
    key_vault.roles()
    assert signed(key_vault, f"/secrets/{name}?{VERSION}").error == (403, "Forbidden", "ForbiddenByRbac")
    key_vault.roles(USER)
    assert signed(key_vault, f"/secrets/{name}?{VERSION}").status == 200


def test_faults(key_vault: KeyVaultServer, unique_name: Callable[[str], str]) -> None:
    name = unique_name("faults")
    key_vault.set(name, "v")
    key_vault.throttle(1, retry_after=7)
    found = signed(key_vault, f"/secrets/{name}?{VERSION}")
    assert (found.error, found.headers["Retry-After"]) == ((429, "Throttled", None), "7")
    key_vault.fail(1)
    assert signed(key_vault, f"/secrets/{name}?{VERSION}").status == 500
    good = token(key_vault)
    key_vault.down("vault")
    with pytest.raises((ConnectionError, ssl.SSLError)):
        ask(key_vault, f"/secrets/{name}?{VERSION}", Authorization=f"Bearer {good}")
    key_vault.down("identity")
    with pytest.raises((ConnectionError, ssl.SSLError)):
        token(key_vault)
    key_vault.down()
    key_vault.stats(reset=True)
    assert signed(key_vault, f"/secrets/{name}?{VERSION}").status == 200
    assert key_vault.stats()["asked"] == {"identity 200": 1, "vault 200": 1}


def test_it_runs_by_hand() -> None:
    command = [sys.executable, "-m", "thermocline.testing.vault", "--tls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().split()[0] for _ in range(3)]
        process.terminate()
    assert said == ["IDENTITY_HEADER", "CA", "READY"]
    refused = subprocess.run([*command, "--host", "0.0.0.0"], capture_output=True, text=True, check=False)
    assert "loopback only" in refused.stderr
