"""The sizes of the values that clients write; `thermocline.testing.scenarios.values` makes them."""

from thermocline.testing.scenarios.values import SMALL

OVERFLOWING = range(4_000, 20_000)  # of these a small Redis holds few
LARGE = range(40_000, 90_000)  # these go to cold
SIZES = {SMALL: 0.85, OVERFLOWING: 0.12, LARGE: 0.03}  # how often each is drawn
