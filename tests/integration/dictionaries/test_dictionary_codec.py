"""Dictionaries in the codec: what they are used for, what is checked, and that a wrong one is never wrong data."""

import hashlib
import threading
from dataclasses import replace

import pytest
from tests.integration.dictionaries.messages import message, trained

from thermocline.codec import LEAST, MOST, Codec, Dictionary, id_of, id_text
from thermocline.codec.dictionary import Known
from thermocline.errors import CorruptRecord, InvalidArgument, UnknownDictionary, UnreadableRecord
from thermocline.model import Envelope, Key

KEY = Key("acme", "user/42", "m/1")
FIRST = trained(seed=1)
OTHER = trained(seed=2)


def sealed(value: object, dictionary: Dictionary | None = FIRST, codec: Codec | None = None) -> Envelope:
    codec = codec or Codec()
    return codec.seal(KEY, codec.prepare(value), now_ms=1, dictionary=dictionary)


def knowing(*dictionaries: Dictionary, tenant: str = "acme") -> Codec:
    codec = Codec()
    for one in dictionaries:
        codec.known.learn(tenant, one)
    return codec


def test_a_small_value_is_much_smaller_and_comes_back() -> None:
    value = message(7, "user/42")
    with_it, without = sealed(value), sealed(value, None)
    assert with_it.header.dictionary == FIRST.id
    assert len(with_it.payload) < 0.6 * len(without.payload)
    assert knowing(FIRST).decode(replace(with_it, raw=None)) == value


def test_it_goes_through_packed_bytes() -> None:
    data = Codec().pack(sealed(message(3, "user/1")))
    found = Codec().unpack(data, KEY)  # a tier reads the envelope without any dictionary
    assert found.header.dictionary == FIRST.id
    assert knowing(FIRST).decode(found) == message(3, "user/1")


@pytest.mark.parametrize("length", [LEAST - 1, MOST + 1])
def test_values_out_of_range_take_none(length: int) -> None:
    assert sealed(b"a" * length).header.dictionary == 0


@pytest.mark.parametrize("length", [LEAST, MOST])
def test_values_at_the_ends_of_the_range_take_it(length: int) -> None:
    envelope = sealed(b"a" * length)
    assert envelope.header.dictionary == FIRST.id
    assert knowing(FIRST).decode(replace(envelope, raw=None)) == b"a" * length


def test_what_does_not_shrink_is_stored_as_it_is() -> None:
    noise = hashlib.shake_256(b"noise").digest(300)
    envelope = sealed(noise)
    assert (envelope.header.dictionary, envelope.header.compressor, envelope.payload) == (0, 0, noise)


def test_a_reader_without_it_says_which_one_it_needs() -> None:
    with pytest.raises(UnknownDictionary, match=id_text(FIRST.id)):
        Codec().decode(replace(sealed(message(1, "user/1")), raw=None))


def test_another_tenants_dictionary_is_not_used() -> None:
    with pytest.raises(UnknownDictionary):
        knowing(FIRST, tenant="other").decode(replace(sealed(message(1, "user/1")), raw=None))


def test_a_wrong_dictionary_is_corrupt_and_never_wrong_data() -> None:
    envelope = sealed(message(1, "user/1"))
    swapped = replace(envelope, header=replace(envelope.header, dictionary=OTHER.id), raw=None)
    with pytest.raises(CorruptRecord):
        knowing(FIRST, OTHER).decode(swapped)


def test_a_dictionary_goes_with_zstd_alone() -> None:
    for compressor in (0, 2):
        envelope = sealed(message(1, "user/1"))
        header = replace(envelope.header, compressor=compressor, raw_length=len(envelope.payload))
        with pytest.raises(UnreadableRecord):
            Codec().unpack(Codec().pack(replace(envelope, header=header, raw=None)), KEY)


def test_without_dictionary_is_the_same_record() -> None:
    value = message(5, "user/5")
    envelope = replace(sealed(value), raw=None, media_type="application/x-turn", tags={"kind": "turn"})
    plain = knowing(FIRST).without_dictionary(envelope)
    assert plain.header.dictionary == 0
    assert (plain.media_type, plain.tags, plain.header.created_ms) == ("application/x-turn", {"kind": "turn"}, 1)
    assert Codec().decode(replace(plain, raw=None)) == value
    assert knowing(FIRST).without_dictionary(plain) is plain


def test_a_codec_is_told_what_to_write_with() -> None:
    assert Codec().dictionaries is None
    assert Codec(dictionaries="latest").dictionaries == "latest"
    assert Codec(dictionaries="00C0FFEE").dictionaries == "00c0ffee"
    for wrong in ("newest", "12345", "", "00000000", "3f9a12c4 "):
        with pytest.raises(InvalidArgument, match="8 hexadecimal digits"):
            Codec(dictionaries=wrong)
    with pytest.raises(InvalidArgument, match="zstd"):
        Codec(compression="gzip", dictionaries="latest")


def test_ids_are_written_with_eight_digits() -> None:
    assert id_of(id_text(FIRST.id)) == FIRST.id
    assert id_text(0xC0FFEE) == "00c0ffee"


@pytest.mark.parametrize("content", [b"", b"short", bytes(500), b"x" * 200_000])
def test_bytes_that_are_no_dictionary_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidArgument):
        Dictionary(content)


def test_a_codec_keeps_a_bounded_number() -> None:
    known = Known()
    known.learn("t", FIRST)
    for n in range(200):
        known.learn(f"tenant-{n}", OTHER)
        assert known.get("tenant-0", OTHER.id) is OTHER  # as it is used again and again
    assert not known.knows("t", FIRST.id)
    assert known.peek("t", FIRST.id) is None
    assert sum(known.knows(f"tenant-{n}", OTHER.id) for n in range(200)) == 128


def test_two_dictionaries_of_one_number_are_never_mixed() -> None:
    class Twin(Dictionary):
        pass

    twin = Twin(OTHER.content)
    object.__setattr__(twin, "id", FIRST.id)
    known = Known()
    known.learn("t", FIRST)
    with pytest.raises(CorruptRecord, match="two dictionaries"):
        known.learn("t", twin)
    assert known.get("t", FIRST.id) is FIRST


def test_threads_share_a_dictionary() -> None:
    codec = knowing(FIRST, OTHER)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for n in range(150):
            value = message(n, f"user/{seed}")
            envelope = sealed(value, OTHER if (n + seed) % 2 else FIRST, codec)
            if codec.decode(replace(envelope, raw=None)) != value:
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
