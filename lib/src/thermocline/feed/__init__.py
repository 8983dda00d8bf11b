"""The change feed of the warm tier, settled into hot: `Settling`; what could not be, set aside and settled later: `Replay`."""

from thermocline.feed.places import letters_of
from thermocline.feed.replay import Replay, Replayed
from thermocline.feed.settling import Settled, Settling

__all__ = ["Replay", "Replayed", "Settled", "Settling", "letters_of"]
