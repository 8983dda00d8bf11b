"""The warm tier with an Entra token, over TLS: which role it needs, and what it says without."""

from collections.abc import Iterator
from typing import Any

import pytest

from thermocline.errors import AccessDenied
from thermocline.protocols import Effect
from thermocline.testing.conformance.samples import new_key, put, soon, value_of
from thermocline.testing.rig import CosmosServer
from thermocline.testing.rig.entra import LocalCredential
from thermocline.tiers.warm import WarmMemory

PRINCIPAL = "00000000-0000-0000-0000-000000000001"  # of LocalCredential's tokens


@pytest.fixture(scope="module")
def secure() -> Iterator[CosmosServer]:
    with CosmosServer(kind="strict", tls=True) as server:
        server.control.account(aad="roles")
        yield server


@pytest.fixture
async def container(secure: CosmosServer) -> str:
    async with WarmMemory(secure.url, "d", "c", key=secure.key, create=True):
        return "c"


async def test_contributor_can_do_all_but_create(secure: CosmosServer, container: str) -> None:
    secure.control.grant(PRINCIPAL, "contributor")
    credential, key = LocalCredential(), new_key()
    async with WarmMemory(secure.url, "d", container, credential=credential) as tier:
        written = await tier.write(put(key, "v"), deadline=soon())
        assert written.effect is Effect.TOOK
        assert value_of(await tier.read(key, deadline=soon())) == "v"
        assert (await tier.scan(key.tenant, key.scope, "", limit=5, cursor=None, deadline=soon())).items != []
    assert credential.issued == 1

    maker = WarmMemory(secure.url, "d2", "c2", credential=credential, create=True)
    with pytest.raises(AccessDenied, match="may not create"):
        await maker.connect()


@pytest.mark.parametrize("grants", [(), ("metadata",)], ids=["no role", "metadata only"])
async def test_missing_role_is_named(secure: CosmosServer, container: str, grants: tuple[str, ...]) -> None:
    secure.control.grant(PRINCIPAL, *grants)
    tier = WarmMemory(secure.url, "d", container, credential=LocalCredential())
    with pytest.raises(AccessDenied, match="Cosmos DB Built-in Data Contributor") as caught:
        await tier.connect()

    assert "az cosmosdb sql role assignment create" in str(caught.value)


async def test_reader_is_told_when_it_writes(secure: CosmosServer, container: str) -> None:
    secure.control.grant(PRINCIPAL, "reader")
    async with WarmMemory(secure.url, "d", container, credential=LocalCredential()) as tier:
        assert await tier.read(new_key(), deadline=soon()) is None
        with pytest.raises(AccessDenied, match="Cosmos DB Built-in Data Contributor"):
            await tier.write(put(new_key(), "v"), deadline=soon())


class Speechless:
    """A credential that has no token, as azure.identity says it."""

    async def get_token(self, *_: str, **__: Any) -> None:
        from azure.core.exceptions import ClientAuthenticationError

        raise ClientAuthenticationError("no accounts were found")

    async def close(self) -> None:
        pass


async def test_credential_without_a_token_is_access_denied(secure: CosmosServer, container: str) -> None:
    tier = WarmMemory(secure.url, "d", container, credential=Speechless())
    with pytest.raises(AccessDenied, match="az login"):
        await tier.connect()
