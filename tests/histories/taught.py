"""The dictionary with which the clients of some worlds write, made of values as they write them."""

from tests.histories.spec import Tiers

from thermocline.client.dictionaries import DictionaryInfo, DictionaryKeeper
from thermocline.codec import Codec, Sample, train
from thermocline.model import Key
from thermocline.testing.scenarios.places import TENANT
from thermocline.testing.scenarios.values import SMALL, make

_SCOPES = 12
_EACH = 8


async def teach(tiers: Tiers) -> None:
    """Store it, before the clients begin."""
    codec = Codec()
    samples = [
        Sample(
            f"s{scope}", codec.prepare(make(f"{scope}.0-{n}-{n}", Key(TENANT, f"s{scope}", f"{n}-{n}"), SMALL)).raw * 2
        )
        for scope in range(_SCOPES)
        for n in range(_EACH)
    ]
    dictionary = train(samples, size=4096, shared_by=1, level=codec.level)
    info = DictionaryInfo(
        str(dictionary), TENANT, len(dictionary.content), dictionary.sha256, 0, len(samples), 1, 1, 1, 1
    )
    async with tiers.client() as memory:
        engine = memory._engine
        shelf = DictionaryKeeper(engine, memory._cascade).shelf(engine.routes.route(Key(TENANT, "s", "n")).authority)
        assert shelf is not None
        assert await shelf.write(dictionary, info, engine.budget.call(30))
