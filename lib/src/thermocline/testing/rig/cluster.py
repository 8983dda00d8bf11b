"""A Redis cluster of real servers, put together without redis-cli."""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import ClassVar, Self

from thermocline.testing.rig.errors import RigError, StartFailed
from thermocline.testing.rig.redis import RedisServer
from thermocline.testing.rig.resp import RespError

SLOTS = 16_384
_LOOK_EVERY = 0.02
_MAJORITY = 3  # masters that can vote a dead one out


class ClusterNode(RedisServer):
    """One node of a `RedisCluster`."""

    name: ClassVar[str] = "redis-node"
    _port_names: ClassVar[tuple[str, ...]] = ("main", "bus")
    _host_network: ClassVar[bool] = True  # in containers: nodes must reach each other where clients reach them

    def __init__(
        self, *, settings: Mapping[str, str | int] | None = None, password: str | None = None, image: str | None = None
    ) -> None:
        super().__init__(settings=settings, password=password, image=image)
        if password is not None:
            self._settings["masterauth"] = password

    @property
    def bus_port(self) -> int:
        """The TCP port on which the nodes talk to each other."""
        return self._ports["bus"]

    def _cluster_settings(self) -> Mapping[str, str | int]:
        return {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-port": self._ports["bus"],
            "cluster-announce-ip": "127.0.0.1",
        }


class RedisCluster:
    """Masters that share the 16,384 slots evenly; ``replicas``: how many each of them has.

    A replica is promoted when its master is dead for ``node_timeout``; replication is asynchronous, so what was acknowledged last may be lost then.
    ``nodes`` are the masters of the first start, ``replicas`` those of each of them in the same order.

    By default a dead node costs its own slots and no others; with ``full_coverage`` the whole cluster refuses commands
    while a slot is uncovered, as Redis does by default. All calls block. Needs Redis 7 or later.
    """

    name: ClassVar[str] = "redis-cluster"

    def __init__(
        self,
        masters: int = 3,
        *,
        replicas: int = 0,
        full_coverage: bool = False,
        node_timeout: timedelta = timedelta(seconds=5),
        password: str | None = None,
        settings: Mapping[str, str | int] | None = None,
        image: str | None = None,
        patience: timedelta = timedelta(seconds=30),
    ) -> None:
        if masters < 1:
            raise RigError(f"a cluster needs at least one master, not {masters}")
        if replicas < 0 or (replicas and masters < _MAJORITY):
            raise RigError(f"replicas are promoted by a majority of at least {_MAJORITY} masters; there are {masters}")
        self._patience = patience
        self.password = password
        common: dict[str, str | int] = {
            "cluster-require-full-coverage": "yes" if full_coverage else "no",
            "cluster-node-timeout": round(node_timeout.total_seconds() * 1000),
        }
        if replicas:
            common |= {"repl-diskless-sync-delay": 0, "cluster-replica-validity-factor": 0}

        def node() -> ClusterNode:
            return ClusterNode(settings={**common, **(settings or {})}, password=password, image=image)

        self.nodes: Sequence[ClusterNode] = tuple(node() for _ in range(masters))
        self.replicas: Sequence[Sequence[ClusterNode]] = tuple(
            tuple(node() for _ in range(replicas)) for _ in range(masters)
        )
        self._formed = False

    @property
    def url(self) -> str:
        """URL of the first node; a cluster client finds the others by itself."""
        return self.nodes[0].url

    @property
    def running(self) -> bool:
        """Whether all nodes run."""
        return all(node.running for node in self._all())

    def start(self) -> None:
        """Start all nodes that do not run, give each its slots at the first start, and wait until all agree.

        Raises MissingPart or StartFailed.
        """
        try:
            for node in self._all():
                node.start()
            if not self._formed:
                self._form()
                self._formed = True
            self.wait_until_whole()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all nodes and remove their directories. A second call does nothing."""
        for node in self._all():
            node.stop()
        self._formed = False

    def node_of(self, slot: int) -> ClusterNode:
        """Return the node that serves ``slot`` (0 to 16,383)."""
        if not 0 <= slot < SLOTS:
            raise RigError(f"slots go from 0 to {SLOTS - 1}, {slot} is none")
        return next(node for node, (_, last) in zip(self.nodes, self._ranges(), strict=True) if slot <= last)

    def wait_until_whole(self) -> None:
        """Wait until every node calls every slot served, as after the `start` of a node that had been killed.

        Raises StartFailed with each node's own view if that does not happen in time.
        """
        until = time.monotonic() + self._patience.total_seconds()
        while views := [view for node in self._all() if (view := self._complaint(node)) is not None]:
            if time.monotonic() > until:
                raise StartFailed("the cluster did not become whole: " + "; ".join(views))
            time.sleep(_LOOK_EVERY)

    def promoted(self, master: ClusterNode) -> ClusterNode | None:
        """Whoever of the replicas of ``master`` is a master itself now; None: none is."""
        for replica in self.replicas[self.nodes.index(master)]:
            try:
                with replica.connection() as connection:
                    if connection.fields("INFO", "replication").get("role") == "master":
                        return replica
            except OSError:
                continue
        return None

    def wait_until_promoted(self, master: ClusterNode) -> ClusterNode:
        """Wait until a replica has taken over from ``master``, which is dead. Raises StartFailed if none does in time."""
        until = time.monotonic() + self._patience.total_seconds()
        while (heir := self.promoted(master)) is None:
            if time.monotonic() > until:
                raise StartFailed(f"no replica took over from {master.port}")
            time.sleep(_LOOK_EVERY)
        return heir

    def _all(self) -> list[ClusterNode]:
        return [*self.nodes, *(replica for replicas in self.replicas for replica in replicas)]

    def _ranges(self) -> list[tuple[int, int]]:
        count = len(self.nodes)
        return [(SLOTS * i // count, SLOTS * (i + 1) // count - 1) for i in range(count)]

    def _form(self) -> None:
        for number, (node, (first, last)) in enumerate(zip(self.nodes, self._ranges(), strict=True), start=1):
            with node.connection() as connection:
                connection.call("CLUSTER", "ADDSLOTSRANGE", first, last)
                # Distinct epochs from the start: nodes need not first fight one out.
                connection.call("CLUSTER", "SET-CONFIG-EPOCH", number)
        with self.nodes[0].connection() as connection:
            for node in self._all()[1:]:
                connection.call("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        for node, replicas in zip(self.nodes, self.replicas, strict=True):
            with node.connection() as connection:
                name = connection.call("CLUSTER", "MYID")
            assert isinstance(name, bytes)
            for replica in replicas:
                self._follow(replica, name.decode())

    def _follow(self, replica: ClusterNode, master: str) -> None:
        """Make it the master's replica, as soon as it has heard of it, and wait until it holds the master's data."""
        until = time.monotonic() + self._patience.total_seconds()
        told = False
        while True:
            with replica.connection() as connection:
                try:
                    if not told:
                        connection.call("CLUSTER", "REPLICATE", master)
                    told = True
                    if connection.fields("INFO", "replication").get("master_link_status") == "up":
                        return
                except RespError as error:
                    if time.monotonic() > until:
                        raise StartFailed(f"{replica.port} cannot follow {master}: {error}") from error
            if time.monotonic() > until:
                raise StartFailed(f"{replica.port} does not hold what its master {master} does")
            time.sleep(_LOOK_EVERY)

    def _complaint(self, node: ClusterNode) -> str | None:
        """What this node still misses, or None."""
        try:
            with node.connection() as connection:
                info = connection.fields("CLUSTER", "INFO")
        except OSError as error:
            return f"{node.port}: {error}"
        wanted = {
            "cluster_state": "ok",
            "cluster_slots_ok": str(SLOTS),
            "cluster_known_nodes": str(len(self._all())),
        }
        seen = {name: info.get(name) for name in wanted}
        return None if seen == wanted else f"{node.port}: {seen}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
