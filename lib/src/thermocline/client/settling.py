"""The verb of the change feed: telling hot of versions that the authority has, whoever wrote them."""

from collections.abc import Mapping
from typing import Any, Final

from thermocline.client.lifetime import Lifetime
from thermocline.client.reading import each_key
from thermocline.client.result import Batch
from thermocline.client.together import chunks
from thermocline.client.updating import UpdateVerbs
from thermocline.errors import InvalidArgument, TierTimeout
from thermocline.model import MAX_VERSION, Authority, Key
from thermocline.protocols import EntryOperation, Settle

CHUNK: Final = 100  # keys of one pipeline


class SettlingVerbs(UpdateVerbs):
    """`settle`."""

    async def settle(
        self, versions: Mapping[Any, int], *, authority: Authority | None = None, timeout: Lifetime = None
    ) -> Batch[bool]:
        """Tell hot that its authority has these versions of these keys: from then on nobody is answered an older one. Hot gets no value by it: the next
        read brings that. Harmless in any order, twice, and of versions that are long past (docs/coherence.md, section 3, "settle by feed").

        The answer says of each key whether hot was told (True), or need not be (False): its route has no copies in hot, or another tier than
        ``authority`` (left out: each key's own) has the word for it. ``errors`` holds what no key or version can be, and what hot did not take; nothing
        of that is tried again later, so ask again. This client heeds all of these versions itself, whether hot was told or not (P6).
        Raises `InvalidArgument` only for what is no mapping; `TierUnavailable` if the client cannot connect.
        """
        given: Any = versions
        if not isinstance(given, Mapping):
            raise InvalidArgument(f"settle takes a mapping of keys to versions, not {type(versions).__name__}")
        told: Batch[bool] = Batch()
        names = each_key(versions, told.errors)
        deadline = await self._begin(timeout)
        engine = self._engine
        wanted: dict[Key, int] = {}
        for name, key in names.items():
            version: Any = versions[name]
            if type(version) is not int or not 0 < version <= MAX_VERSION:
                told.errors[name] = InvalidArgument(
                    f"a version is a whole number from 1 to {MAX_VERSION}, not {str(version)[:50]!r}"
                )
                continue
            plan = engine.routes.route(key)
            if authority is not None and plan.authority != authority:
                told[name] = False
                continue
            engine.floors.note(key, version)
            if plan.uses_hot:
                wanted[key] = max(version, wanted.get(key, 0))  # two names may be one key
            else:
                told[name] = False
        errors: dict[Key, Any] = {}
        for chunk in chunks(list(wanted.items()), CHUNK):
            if deadline.expired():
                late = TierTimeout("the batch's deadline came before its turn", tier="hot", sent=False)
                errors |= dict.fromkeys((key for key, _ in chunk), late)
                continue
            words: list[EntryOperation] = [Settle(key, None, version, None) for key, version in chunk]
            answers = await self._writer.tell_hot(words, paced=True)
            errors |= {key: error for (key, _), error in zip(chunk, answers, strict=True) if error is not None}
        for name, key in names.items():
            if key not in wanted or name in told or name in told.errors:
                continue
            if key in errors:
                told.errors[name] = errors[key]
            else:
                told[name] = True
        return told
