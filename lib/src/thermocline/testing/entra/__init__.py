"""A small, strict Entra ID for tests: OpenID configuration, signing keys and tokens of any tenant; docs/testing.md.

    async with EntraServer() as entra:
        tokens = EntraTokens("api://memory", [TENANT], authority=entra.url)
        token = entra.token(TENANT, roles=["Memory.Read"], audience="api://memory")

As a process: ``python -m thermocline.testing.entra serve --port 8123``, and for a token of it
``python -m thermocline.testing.entra token --url http://127.0.0.1:8123 --role Memory.Read``.
"""

from thermocline.testing.entra.minting import AUDIENCE, TENANT, Signer, claims_of
from thermocline.testing.entra.server import EntraServer

__all__ = ["AUDIENCE", "TENANT", "EntraServer", "Signer", "claims_of"]
