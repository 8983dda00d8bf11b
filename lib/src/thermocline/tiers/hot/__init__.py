"""The hot tier: Redis 7.0 or newer, one server or a cluster, without modules. Needs the extra ``redis``."""

from thermocline.errors import ConfigurationError

try:
    from thermocline.tiers.hot.holds import HotHolds
    from thermocline.tiers.hot.invalidations import HotInvalidations
    from thermocline.tiers.hot.notes import HotNotes
    from thermocline.tiers.hot.plain import HotPlain
    from thermocline.tiers.hot.upkeep import HotUpkeep
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "redis":
        raise
    raise ConfigurationError('HotMemory needs redis-py: pip install "thermocline[redis]"') from error

__all__ = ["HotMemory"]


class HotMemory(HotPlain, HotUpkeep, HotNotes, HotInvalidations, HotHolds):
    """Redis as the hot tier: coherent entries in front of an authority, records of its own for keys that live in Redis alone, and plain keys.

    ``url``: ``redis://``, ``rediss://`` (TLS) or ``unix://``. ``cluster``: whether it is a cluster; None: the server is asked. ``max_calls``:
    5,000 to each server under way at a time; further ones wait for a place until their deadline. They share two connections to each server
    (docs/merged-commands.md); ``max_connections`` (50) bounds those of ``client``, for code that uses it directly. ``credential_provider``: redis-py's,
    or a login that changes while it runs (`Rotating`, as `EntraLogins` and `PasswordLogins` of thermocline.identity).
    ``ceiling``: the longest life of an entry's value; ``rest``: how long a floor is kept after everyone left.
    ``max_value_bytes``: an entry acts without a larger value, a record that is larger is refused. ``socket_timeout``: the time after which
    a call ends though its deadline is later; ``socket_connect_timeout``: that of an attempt to connect; ``health_check_interval``: the time after
    which a connection that was idle is not used any more (0: it always is). All three are off, because each call has its deadline.
    ``retry_on_timeout`` is there for code that gives it, and does nothing: what is sent again is decided by the call. Durations are a timedelta
    or seconds. Raises `InvalidArgument`, and `ConfigurationError` for a URL or a login that cannot be used.

    Entries: each operation is one script on one key and atomic; leases and announcements run out by the server's clock. A full
    Redis still takes markers; what it refuses as a value is left out. Records: a write is one script; in a cluster a put enters the
    name into the scope's index first, in a round trip before it; versions are the larger of the last one + 1 and the server's clock
    in microseconds; a write's id is known for ten minutes; tombstones and expired records stay for a day. A listing reads the
    scope's index; a name is entered before its record is written, so none is missing while Redis itself loses nothing; a scope is
    entered into its tenant's index with it, once an hour. Plays `Census`, `Notes`, `Invalidates` and `Holds` as well.
    """
