"""Any value comes back through a dictionary as it was; damaged or with another dictionary it is an error, and never another value."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.codec import Codec, Dictionary, Sample, train
from thermocline.errors import CorruptRecord, UnreadableRecord
from thermocline.model import Authority, Key

KEY = Key("acme", "user/42", "näme")


def made(seed: int) -> Dictionary:
    words = " ".join(f"the same words are said again by all of them {n}{seed}" for n in range(6))
    rows = [
        Sample(f"s{scope}", f'{{"kind":"turn","words":"{words}","n":{n * 7919 + scope}}}'.encode())
        for scope in range(12)
        for n in range(3)
    ]
    return train(rows, size=4096, shared_by=3, level=3)


ONE, OTHER = made(1), made(2)
CODEC = Codec()
for _one in (ONE, OTHER):
    CODEC.known.learn(KEY.tenant, _one)

texts = st.text(max_size=400) | st.just("the same words are said again by all of them ") | st.binary(max_size=300)
values = st.recursive(
    texts | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=12), inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(values)
def test_every_value_comes_back(value: Any) -> None:
    sealed = CODEC.seal(KEY, CODEC.prepare(value), now_ms=1, dictionary=ONE).stamped(version=3, authority=Authority.HOT)
    found = CODEC.unpack(CODEC.pack(sealed), KEY)
    assert CODEC.decode(found) == value
    plain = CODEC.without_dictionary(found)
    assert plain.header.dictionary == 0
    assert Codec().decode(Codec().unpack(Codec().pack(plain), KEY)) == value


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=40, max_size=400), st.data())
def test_damage_behind_the_checksums_is_never_another_value(text: str, data: st.DataObject) -> None:
    """As if the envelope's own checksums had been made to fit: the frame has one of the value."""
    value = "the same words are said again by all of them " * 3 + text
    sealed = replace(CODEC.seal(KEY, CODEC.prepare(value), now_ms=1, dictionary=ONE), raw=None)
    payload = bytearray(sealed.payload)
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    try:
        found = CODEC.decode(replace(sealed, payload=bytes(payload)))
    except (CorruptRecord, UnreadableRecord):
        return
    assert found == value  # a bit of the frame that says nothing


@settings(max_examples=100, deadline=None)
@given(values)
def test_another_dictionary_never_makes_another_value(value: Any) -> None:
    given_value = [value, "the same words are said again by all of them 51 " * 2]
    sealed = CODEC.seal(KEY, CODEC.prepare(given_value), now_ms=1, dictionary=ONE)
    assert sealed.header.dictionary == ONE.id
    swapped = replace(sealed, header=replace(sealed.header, dictionary=OTHER.id), raw=None)
    try:
        found = CODEC.decode(swapped)
    except CorruptRecord:
        return
    assert found == given_value  # it used only what both have in the same place
