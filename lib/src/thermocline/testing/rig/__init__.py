"""Real servers for tests: started on free ports, ready when `start` returns, gone when you are.

    with RedisServer() as server:
        client = redis.asyncio.from_url(server.url)

`MissingPart` says what to install when a server cannot be had here.
"""

from thermocline.testing.extra import needed_by

with needed_by(__name__):
    from thermocline.testing.rig.azurite import Azurite
    from thermocline.testing.rig.cluster import ClusterNode, RedisCluster
    from thermocline.testing.rig.cosmos import CosmosServer
    from thermocline.testing.rig.errors import MissingPart, RigError, StartFailed
    from thermocline.testing.rig.redis import RedisServer
    from thermocline.testing.rig.vault import KeyVaultServer

__all__ = [
    "Azurite",
    "ClusterNode",
    "CosmosServer",
    "KeyVaultServer",
    "MissingPart",
    "RedisCluster",
    "RedisServer",
    "RigError",
    "StartFailed",
]
