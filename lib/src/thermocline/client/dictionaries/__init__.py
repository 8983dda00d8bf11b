"""Where a client's dictionaries come from: notes beside the records that need them.

A dictionary lies with the authority of the keys that use it, under its tenant: a note that describes it, and its bytes in notes of `PART`. It is written
once and never changed; ``latest`` names the newest. A client reads one when it first meets a record that needs it, and, if its codec is told to use one,
when it first writes a key of the tenant and then every ten minutes. A writer uses only what it has read from that very authority, so that whoever can ask
for the record can ask for the dictionary too.
"""

from thermocline.client.dictionaries.keeper import DictionaryKeeper
from thermocline.client.dictionaries.shelf import DictionaryInfo, Shelf

__all__ = ["DictionaryInfo", "DictionaryKeeper", "Shelf"]
