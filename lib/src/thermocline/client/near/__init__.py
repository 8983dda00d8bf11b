"""The near cache: decoded values of hot's entries inside the process, for as long as Redis tells of every change (docs/near-cache.md)."""

from thermocline.client.near.cache import MISSING, NEAR, Near
from thermocline.client.near.options import NearCache

__all__ = ["MISSING", "NEAR", "Near", "NearCache"]
