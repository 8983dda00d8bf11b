"""What was ever written stays readable: the frozen samples of envelope v1, read on each run."""

import base64
import hashlib
import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from thermocline.codec import Codec
from thermocline.errors import CorruptRecord, UnknownDictionary
from thermocline.model import Envelope, Key


def import_file(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


samples = import_file(Path(__file__).parent / "make_samples.py")
MANIFEST: dict[str, dict[str, Any]] = json.loads(samples.MANIFEST.read_text(encoding="utf-8"))
CODEC = Codec()
CODEC.known.learn(samples.KEY.tenant, samples.dictionary())
FIRST = 33  # samples, written with the first release of v1
FIRST_DIGEST = "fa9c0c9a7a638a85a328a8f284f4c86110caeb32b51a641d38eea1abc83d2bb5"

DICTIONARY_DIGEST = "d0e629dff137c6f750f86542202ca03acb2dc4c6d5eb4f2442afc0c8f715e4bd"


def data_of(name: str) -> bytes:
    return base64.b64decode(MANIFEST[name]["bytes"])


def read(name: str) -> Envelope:
    return CODEC.unpack(data_of(name), samples.KEY)


@pytest.mark.parametrize("name", MANIFEST)
def test_sample_is_read_with_its_header_and_metadata(name: str) -> None:
    envelope = read(name)
    header = {field: int(getattr(envelope.header, field)) for field in envelope.header.__dataclass_fields__}
    assert header == MANIFEST[name]["header"]
    assert envelope.media_type == MANIFEST[name]["media_type"]
    assert envelope.tags == MANIFEST[name]["tags"]


@pytest.mark.parametrize("name", [name for name, sample in MANIFEST.items() if sample["value"] is not None])
def test_sample_has_its_value(name: str) -> None:
    value = CODEC.decode(read(name))
    expected = samples.expected(MANIFEST[name]["value"])
    assert value == expected
    assert repr(value) == repr(expected)  # 1, 1.0 and True are equal; -0.0 and 0.0 as well


@pytest.mark.parametrize("name", MANIFEST)
def test_sample_packs_to_the_same_bytes(name: str) -> None:
    assert CODEC.pack(read(name)) == data_of(name)


@pytest.mark.parametrize("name", [name for name in MANIFEST if name.endswith("-plain")])
def test_todays_writer_makes_the_sample(name: str) -> None:
    """Of what no compressor is in, whose versions may choose other bytes."""
    old = read(name)
    value = samples.expected(MANIFEST[name]["value"])
    new = Codec(compression=None).encode(samples.KEY, value, now_ms=samples.NOW, expires_ms=samples.EXPIRES)
    stamped = new.stamped(version=old.version, authority=old.header.authority)
    assert CODEC.pack(stamped) == data_of(name)


def test_pointer_and_tombstone_samples() -> None:
    assert CODEC.pointer_of(read("pointer")) == samples.POINTER
    assert read("pointer").tags == {"kind": "log"}
    assert read("tombstone").tombstone


@pytest.mark.parametrize("name", MANIFEST)
def test_sample_of_another_key_is_corrupt(name: str) -> None:
    with pytest.raises(CorruptRecord, match="another key"):
        CODEC.unpack(data_of(name), Key("acme", "user/42", "other"))


def test_every_kind_has_a_sample() -> None:
    kinds = {tuple(s["header"][field] for field in ("serialiser", "compressor", "flags")) for s in MANIFEST.values()}
    assert kinds >= {(serialiser, compressor, 0) for serialiser in (1, 2, 3, 4) for compressor in (0, 1, 2)}
    assert kinds >= {(0, 0, 1), (3, 1, 4)}
    assert {s["header"]["authority"] for s in MANIFEST.values()} == {0, 1, 2, 3, 4}


def test_samples_with_a_dictionary_need_it() -> None:
    needy = [name for name in MANIFEST if name.endswith("-dictionary")]
    assert {s["header"]["serialiser"] for name, s in MANIFEST.items() if name in needy} == {1, 2, 3, 4}
    assert {MANIFEST[name]["header"]["dictionary"] for name in needy} == {samples.dictionary().id}
    assert hashlib.sha256(samples.DICTIONARY.read_bytes()).hexdigest() == DICTIONARY_DIGEST
    with pytest.raises(UnknownDictionary):
        Codec().decode(read("json-long-dictionary"))


def test_making_samples_keeps_the_old_ones() -> None:
    old = {"none-plain": {"value": "kept as it is"}, "from-long-ago": {"value": "1"}}
    made = samples.merged(old)
    assert {name: made[name] for name in old} == old
    assert made.keys() >= MANIFEST.keys()


def test_no_sample_is_missing_from_the_manifest() -> None:
    assert [name for name, _, _ in samples.new_samples() if name not in MANIFEST] == []


def test_nobody_has_changed_a_sample() -> None:
    """A test that reads samples is worth nothing if they follow the writer."""
    first = sorted(list(MANIFEST)[:FIRST])
    text = "".join(f"{name} {MANIFEST[name]['bytes']}\n" for name in first)
    assert hashlib.sha256(text.encode()).hexdigest() == FIRST_DIGEST
