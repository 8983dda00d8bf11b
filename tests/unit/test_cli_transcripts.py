"""Transcripts, documents and the ledger of the demo."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from thermocline.cli.demo import documents, transcript
from thermocline.cli.demo.agent import learn
from thermocline.cli.demo.ledger import GONE, Ledger, digest_of
from thermocline.errors import InvalidArgument


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 3: is no JSON"),
        ("[1]", "line 3: is no JSON object"),
        ('"text"', "line 3: is no JSON object"),
        ('{"role": "user"}', "line 3: needs 'text'"),
        ('{"text": "hello"}', "line 3: needs 'role'"),
        ('{"role": 1, "text": "hello"}', "line 3: needs 'role'"),
        ('{"role": "user", "text": null}', "line 3: needs 'text'"),
        ('{"role": "user", "text": "x", "attach": "file"}', "line 3: 'attach' is a list"),
        ('{"role": "user", "text": "x", "attach": [""]}', "line 3: 'attach' is a list"),
        ("[" * 100_000, "line 3: is"),
    ],
)
def test_a_bad_line_is_named_by_its_number(line: str, complaint: str) -> None:
    good = '{"role": "user", "text": "hello"}'

    with pytest.raises(InvalidArgument, match=r"talk\.jsonl") as caught:
        transcript.parse(f"{good}\n\n{line}\n{good}\n", "talk.jsonl")

    assert complaint in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_transcript_without_turns_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="has no turns"):
        transcript.parse(text, "talk.jsonl")


def test_a_file_that_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    file.write_bytes(b'{"role": "user", "text": "x"}\n{"role": "user", "text": "\xff"}\n')

    with pytest.raises(InvalidArgument, match="line 2: is no UTF-8"):
        transcript.load(file)
    with pytest.raises(InvalidArgument, match="cannot be read"):
        transcript.load(tmp_path)
    with pytest.raises(InvalidArgument, match="cannot be read"):
        transcript.load(tmp_path / "none")


def test_what_chat_apis_write_is_read_as_it_is() -> None:
    turns = transcript.parse('\ufeff{"role": "user", "content": "hi", "id": 7}'.lstrip("\ufeff"), "x")

    assert turns[0].record == {"role": "user", "text": "hi", "id": 7}


def test_the_bundled_transcript_is_the_one_in_examples_and_fits_its_documents(tmp_path: Path) -> None:
    turns = transcript.load(None)
    made = documents.make(tmp_path)

    transcript.check_recalls(turns, {path.name for path in made})
    examples = Path(__file__).parents[2] / "examples" / "transcript.jsonl"
    assert examples.read_text(encoding="utf-8") == transcript.bundled()
    assert 200 <= len(turns) <= 500
    assert {name for turn in turns for name in turn.attach} == {path.name for path in made}
    sizes = [path.stat().st_size for path in made]
    assert sum(sizes) > 5_000_000
    assert max(sizes) > 1_500_000


def test_documents_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    digests: list[list[str]] = []
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in documents.make(tmp_path / run)])

    assert digests[0] == digests[1]


def test_documents_that_no_line_names_are_spread_and_read_again(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt", ".hidden"):
        (tmp_path / name).write_text(name)
    text = "\n".join(json.dumps({"role": "user", "text": str(n)}) for n in range(30))
    files = documents.of_folder(tmp_path)

    turns = documents.spread(transcript.parse(text, "x"), files)

    transcript.check_recalls(turns, {path.name for path in files})
    assert [name for turn in turns for name in turn.attach] == ["a.txt", "b.txt", "c.txt"]
    assert sorted(name for turn in turns for name in turn.record.get("recall", [])) == ["a.txt", "b.txt", "c.txt"]


def test_a_document_that_is_not_there_is_named(tmp_path: Path) -> None:
    attached = transcript.parse('{"role": "user", "text": "x", "attach": ["a.txt"]}', "x")
    recalled = transcript.parse('{"role": "user", "text": "x", "recall": ["a.txt"]}', "x")

    with pytest.raises(InvalidArgument, match=r"line 1: there is no document 'a\.txt'"):
        transcript.check_recalls(attached, set())
    with pytest.raises(InvalidArgument, match=r"line 1: recalls 'a\.txt' before"):
        transcript.check_recalls(recalled, {"a.txt"})
    with pytest.raises(InvalidArgument, match="has no files"):
        documents.of_folder(tmp_path)
    with pytest.raises(InvalidArgument, match="--attach takes a folder"):
        documents.of_folder(tmp_path / "none")


PAIRS: list[tuple[Any, Any]] = [
    (1, 1.0),
    (1, True),
    (0, False),
    (0, None),
    ("", None),
    ("", b""),
    ([], {}),
    ({"a": 1}, {"a": 1, "b": 2}),
    ([1, 2], [2, 1]),
    ("1", 1),
    (["a,b"], ["a", "b"]),
    (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{a!r:.20}-{b!r:.20}" for a, b in PAIRS])
def test_values_that_differ_have_other_digests(one: Any, other: Any) -> None:
    assert digest_of(one) != digest_of(other)
    assert digest_of({"x": one, "y": other}) == digest_of({"y": other, "x": one})


def test_the_ledger_finds_what_is_missing_altered_or_back_from_the_dead() -> None:
    ledger = Ledger()
    ledger.stored({"a": 1, "b": 2, "c": 3}, gone=["c"])
    ledger.documents["d.txt"] = "0" * 64

    ledger.compare("a", 1, "now")
    ledger.compare("c", GONE, "now")
    ledger.compare_document("d.txt", "0" * 64, "now")
    assert ledger.differences == []

    ledger.compare("a", GONE, "now")
    ledger.compare("b", 20, "now")
    ledger.compare("c", 3, "now")
    ledger.compare_document("d.txt", None, "now")
    ledger.compare_document("d.txt", "1" * 64, "now")
    found = [(difference.name, difference.what.split(":")[0]) for difference in ledger.differences]
    assert found == [
        ("a", "is missing"),
        ("b", "is another value"),
        ("c", "is there, and was deleted"),
        ("document/d.txt", "is missing"),
        ("document/d.txt", "has other bytes (SHA-256 1111111111111111…)"),
    ]
    assert ledger.compared == 8


def test_the_profile_learns_from_the_user_alone() -> None:
    profile: dict[str, Any] = {}
    for turn in (
        {"role": "user", "text": "My name is Mara. I live in Kiel, and I like short answers."},
        {"role": "assistant", "text": "My name is Nobody."},
    ):
        profile = learn(profile, turn)

    assert profile == {
        "facts": {"name": "Mara", "home": "Kiel", "likes": "short answers"},
        "turns": {"user": 1, "assistant": 1},
    }
