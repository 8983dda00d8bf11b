"""The verb of the change feed: telling hot of versions that the authority has, whoever wrote them."""

from collections.abc import Mapping
from typing import Any, Final, Protocol, runtime_checkable

from thermocline.client.lifetime import Lifetime
from thermocline.client.reading import each_key
from thermocline.client.result import Batch
from thermocline.client.together import chunks, together
from thermocline.client.updating import UpdateVerbs
from thermocline.clock import Deadline
from thermocline.errors import InvalidArgument, ThermoclineError, TierTimeout
from thermocline.model import MAX_VERSION, Authority, Key
from thermocline.protocols import EntryOperation, Settle

CHUNK: Final = 100  # keys of one pipeline
ASKED_AT_ONCE: Final = 8  # keys that the authority is asked for side by side


@runtime_checkable
class Secrets(Protocol):
    """What is closed with a client and holds secrets that it signs in with, as a `Vault` does."""

    def secret(self, name: str) -> object: ...

    async def renew(self, name: str | None = None) -> dict[str, bool]: ...


class SettlingVerbs(UpdateVerbs):
    """`settle`, `renew_secrets`."""

    async def renew_secrets(self, name: str | None = None) -> dict[str, bool]:
        """Read the secrets that the tiers sign in with again at once: that of this name, or all. By name whether its value is a new one; those that this
        client does not use are not in it. Raises `AccessDenied`, `ConfigurationError`, `TierUnavailable`; the value from before then goes on being used."""
        await self._begin(None)
        renewed: dict[str, bool] = {}
        for part in self._parts.closes:
            if isinstance(part, Secrets):
                renewed |= await part.renew(name)
        return renewed

    async def settle(
        self,
        versions: Mapping[Any, int | None],
        *,
        authority: Authority | None = None,
        at_least: Mapping[Key, int] | None = None,
        timeout: Lifetime = None,
    ) -> Batch[bool]:
        """Tell hot that its authority has these versions of these keys: from then on nobody is answered an older one. Hot gets no value by it: the next
        read brings that. Harmless in any order, twice, and of versions that are long past (docs/coherence.md, section 3, "settle by feed").

        A version that is None is asked for: the authority says which one it has now, never this client's memory or hot. ``at_least``: versions that keys are
        known to have had; an authority that answers with less lags, is asked again, and then is an error of its key.

        The answer says of each key whether hot was told (True), or need not be (False): its route has no copies in hot, or another tier than
        ``authority`` (left out: each key's own) has the word for it, or nothing is known of it. ``errors`` holds what no key or version can be, what the
        authority could not say, and what hot did not take; nothing of that is tried again later, so ask again. This client heeds all of these versions
        itself, whether hot was told or not (P6).
        Raises `InvalidArgument` only for what is no mapping; `TierUnavailable` if the client cannot connect.
        """
        given: Any = versions
        if not isinstance(given, Mapping):
            raise InvalidArgument(f"settle takes a mapping of keys to versions, not {type(versions).__name__}")
        told: Batch[bool] = Batch()
        names = each_key(versions, told.errors)
        deadline = await self._begin(timeout)
        due: dict[Key, int | None] = {}  # two names may be one key
        of_key: dict[Key, list[Any]] = {}
        for name, key in names.items():
            version: Any = versions[name]
            if version is not None and (type(version) is not int or not 0 < version <= MAX_VERSION):
                told.errors[name] = InvalidArgument(
                    f"a version is a whole number from 1 to {MAX_VERSION}, not {str(version)[:50]!r}"
                )
                continue
            of_key.setdefault(key, []).append(name)
            before = due.get(key, 0)
            due[key] = None if version is None or before is None else max(version, before)
        answers = await self._settled(due, authority, at_least or {}, deadline)
        for key, names_of_key in of_key.items():
            answer = answers[key]
            for name in names_of_key:
                if isinstance(answer, ThermoclineError):
                    told.errors[name] = answer
                else:
                    told[name] = answer
        return told

    async def _settled(
        self,
        due: Mapping[Key, int | None],
        authority: Authority | None,
        at_least: Mapping[Key, int],
        deadline: Deadline,
    ) -> dict[Key, bool | ThermoclineError]:
        """Of each key whether hot was told, or why not."""
        engine = self._engine
        answers: dict[Key, bool | ThermoclineError] = {}
        wanted: dict[Key, int] = {}

        async def prepare(key: Key) -> None:
            plan, version = engine.routes.route(key), due[key]
            answers[key] = False
            if authority is not None and plan.authority != authority:
                return
            if version is None:
                try:
                    found = await self._cascade.ask(key, plan, at_least.get(key, 0), deadline)
                except ThermoclineError as error:
                    answers[key] = error
                    return
                version = 0 if found is None else found.version
            engine.floors.note(key, version)
            if plan.uses_hot and version:
                wanted[key] = version

        await together([*due], prepare, at_once=ASKED_AT_ONCE if None in due.values() else 1)
        for chunk in chunks(list(wanted.items()), CHUNK):
            if deadline.expired():
                late = TierTimeout("the batch's deadline came before its turn", tier="hot", sent=False)
                answers.update(dict.fromkeys((key for key, _ in chunk), late))
                continue
            words: list[EntryOperation] = [Settle(key, None, version, None) for key, version in chunk]
            errors = await self._writer.tell_hot(words, paced=True)
            answers.update(
                {key: True if error is None else error for (key, _), error in zip(chunk, errors, strict=True)}
            )
        return answers
