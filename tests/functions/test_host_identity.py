"""Triggers that sign in as an identity, over TLS: the settings that the deployment gives, and the roles that a trigger needs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.cosmos.exceptions import CosmosHttpResponseError
from tests.functions.grounds import SAMPLE, grounds

from thermocline.testing.functions import FunctionsHost
from thermocline.testing.rig import Azurite, CosmosServer
from thermocline.testing.rig.entra import LocalCredential

PRINCIPAL = "00000000-0000-0000-0000-000000000001"  # of LocalCredential's tokens


@pytest.fixture(scope="module")
def secure_cosmos() -> Iterator[CosmosServer]:
    with CosmosServer(kind="strict", tls=True) as server:
        server.control.account(aad="roles")
        yield server


@pytest.fixture(scope="module")
def secure_azurite() -> Iterator[Azurite]:
    with Azurite(tls=True) as server:
        yield server


def by_identity(settings: dict[str, str], cosmos: CosmosServer, azurite: Azurite, tmp_path: Path) -> dict[str, str]:
    """The settings of a deployment: addresses, and no key."""
    trusted = tmp_path / "ca.pem"
    trusted.write_text("".join(Path(str(server.ca_file)).read_text() for server in (cosmos, azurite)))
    given = {name: value for name, value in settings.items() if name not in ("COSMOS", "EVENTS")}
    return {
        **given,
        "SSL_CERT_FILE": str(trusted),
        "COSMOS__accountEndpoint": cosmos.url,
        "COSMOS__credential": "managedidentity",
        "COSMOS__clientId": "8c2f8f6e-0000-4000-8000-000000000000",
        "EVENTS__queueServiceUri": azurite.queue_url,
        "EVENTS__credential": "managedidentity",
    }


async def test_a_feed_and_a_queue_without_a_key(
    secure_cosmos: CosmosServer, secure_azurite: Azurite, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    async with grounds(secure_cosmos, secure_azurite, tmp_path, unique_name) as ground:
        settings = by_identity(ground.settings, secure_cosmos, secure_azurite, tmp_path)
        database = settings["COSMOS_DATABASE"]
        secure_cosmos.control.grant(
            PRINCIPAL,
            {"role": "reader", "scope": f"/dbs/{database}/colls/state"},
            {"role": "contributor", "scope": f"/dbs/{database}/colls/leases"},
        )
        await ground.write(1, 2)
        async with LocalCredential() as credential, FunctionsHost(SAMPLE, settings, credential=credential) as host:
            await host.send("events", "one")
            assert (await host.queue_until_idle()).messages == 1
            assert (await host.feed_until_idle()).documents == 2


async def test_a_trigger_needs_to_write_its_leases(
    secure_cosmos: CosmosServer, secure_azurite: Azurite, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    async with grounds(secure_cosmos, secure_azurite, tmp_path, unique_name) as ground:
        settings = by_identity(ground.settings, secure_cosmos, secure_azurite, tmp_path)
        secure_cosmos.control.grant(PRINCIPAL, "reader")
        async with LocalCredential() as credential, FunctionsHost(SAMPLE, settings, credential=credential) as host:
            with pytest.raises(CosmosHttpResponseError) as refused:
                await host.feed_until_idle()
            assert refused.value.status_code == 403
