"""What a tier must be able to do, as small Protocols. The client sees these and nothing else of a tier.

A tier plays one or more parts: `Entries` (the hot tier's coherent cache entries), `Versions` (the authority over keys) and `Payloads` (immutable
blobs). An authority can also play `Census`, `Relocates`, `Purges`, `Notes` and `Atomic`, which those need who keep the tiers in order. All methods
raise only `thermocline.errors`; an outage is a `TierUnavailable`, never an empty answer. All are safe to cancel at any await (P10). ``deadline`` is
the call's share for this tier: a method ends by then, with `TierTimeout` if it must. `thermocline.testing.conformance` states the rest as tests and
runs on any tier.
"""

from thermocline.protocols.entries import (
    Announce,
    Busy,
    Entries,
    EntryOperation,
    Found,
    Leased,
    Look,
    Publish,
    Renew,
    Settle,
    Withdraw,
)
from thermocline.protocols.epochs import HasEpoch, OfEpoch
from thermocline.protocols.holds import Holds
from thermocline.protocols.near import Ear, Invalidates, Listening
from thermocline.protocols.payloads import Payloads
from thermocline.protocols.plain import PlainCopies, PlainCopy, PlainListing, PlainNames
from thermocline.protocols.tier import Tier
from thermocline.protocols.upkeep import Atomic, Census, Inventory, Note, Notes, Purges, Relocates, Stored
from thermocline.protocols.versions import AtOnce, Effect, Listed, Page, Verb, Versions, Write, Written

__all__ = [
    "Announce",
    "AtOnce",
    "Atomic",
    "Busy",
    "Census",
    "Ear",
    "Effect",
    "Entries",
    "EntryOperation",
    "Found",
    "HasEpoch",
    "Holds",
    "Invalidates",
    "Inventory",
    "Leased",
    "Listed",
    "Listening",
    "Look",
    "Note",
    "Notes",
    "OfEpoch",
    "Page",
    "Payloads",
    "PlainCopies",
    "PlainCopy",
    "PlainListing",
    "PlainNames",
    "Publish",
    "Purges",
    "Relocates",
    "Renew",
    "Settle",
    "Stored",
    "Tier",
    "Verb",
    "Versions",
    "Withdraw",
    "Write",
    "Written",
]
