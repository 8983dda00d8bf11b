"""Tiers that connect on their first use, and find their credential."""

from abc import abstractmethod
from typing import TYPE_CHECKING

from thermocline.identity import Credential, default_credential

if TYPE_CHECKING:

    class _Tier:
        """What the tier beside it has."""

        @property
        def connected(self) -> bool:
            return False

        async def connect(self) -> None: ...

        async def close(self) -> None: ...

else:
    _Tier = object


class FirstUse(_Tier):
    """Stands before a tier. Closed, that is closed until `connect`."""

    _ended = False

    async def connect(self) -> None:
        await super().connect()
        self._ended = False

    async def close(self) -> None:
        self._ended = True
        await super().close()

    async def _first(self) -> None:
        if not self.connected and not self._ended:
            await self.connect()


class SignsIn(FirstUse):
    """Signs in with the default Azure credential where it has none: made by `connect`, closed by `close`."""

    _own: Credential | None = None

    @abstractmethod
    def _is_without(self) -> bool:
        """Whether it needs a credential, and has none."""

    @abstractmethod
    def _sign_in_with(self, credential: Credential | None) -> None:
        """Before it connects, and (None) when it is closed."""

    async def connect(self) -> None:
        if self._is_without():
            self._own = default_credential()
            self._sign_in_with(self._own)
        try:
            await super().connect()
        except BaseException:
            await self._sign_out()
            raise

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            await self._sign_out()

    async def _sign_out(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            self._sign_in_with(None)
            await own.close()
