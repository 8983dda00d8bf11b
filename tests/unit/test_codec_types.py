"""Typed reads: models come back as themselves, and what does not fit is a `TypeMismatch`."""

import datetime as dt
import enum
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from subprocess import run
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest

from thermocline.codec import Codec
from thermocline.errors import InvalidArgument, NotSerialisable, TypeMismatch
from thermocline.model import Key

CODEC = Codec(threshold=0)
KEY = Key("t", "s", "n")


class Mood(enum.Enum):
    CALM = "calm"
    KEEN = "keen"


@dataclass
class Turn:
    text: str
    at: dt.datetime
    tags: set[str] = field(default_factory=set)
    mood: Mood = Mood.CALM


@dataclass(frozen=True)
class Talk:
    turns: list[Turn]
    id: UUID
    cost: Decimal
    blob: bytes = b""
    weight: float = 1.0


class Cat(msgspec.Struct, tag=True):
    name: str
    lives: int = 9


class Dog(msgspec.Struct, tag=True, rename="camel", omit_defaults=True):
    good_boy: bool = True


class Profile(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    name: str = pydantic.Field(alias="Name", min_length=1)
    born: dt.date
    turns: list[Turn] = []
    scores: dict[int, float] = {}
    pair: tuple[int, str] = (1, "a")
    mood: Mood = Mood.CALM

    @pydantic.computed_field  # type: ignore[prop-decorator] # pydantic's own documented way
    @property
    def age_hint(self) -> int:
        return 2026 - self.born.year


class Page(pydantic.BaseModel):
    url: pydantic.HttpUrl
    file: Path


class Secretive(pydantic.BaseModel):
    word: pydantic.SecretStr


@pydantic.dataclasses.dataclass
class Checked:
    n: Annotated[int, pydantic.Field(gt=0)]


class Row(TypedDict):
    id: int
    when: dt.datetime


class Spot(NamedTuple):
    x: int
    y: float


NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
TURN = Turn("hi", NOON, {"a", "b"}, Mood.KEEN)
TALK = Talk([TURN], UUID(int=5), Decimal("1.50"), b"\xff")
PROFILE = Profile(Name="Ada", born=dt.date(1815, 12, 10), turns=[TURN], scores={1: 1.0}, pair=(2, "b"), mood=Mood.KEEN)


def typed(value: Any, kind: Any) -> Any:
    envelope = CODEC.unpack(CODEC.pack(CODEC.encode(KEY, value, now_ms=1)), KEY)
    return CODEC.decode(envelope, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (TURN, Turn),
        (TALK, Talk),
        ([TALK], list[Talk]),
        ({"a": TURN}, dict[str, Turn]),
        (Cat("Tom"), Cat),
        (Cat("Tom"), Cat | Dog),
        (Dog(False), Dog),
        ([Dog(), Cat("x", 3)], list[Cat | Dog]),
        (PROFILE, Profile),
        ([PROFILE, PROFILE], list[Profile]),
        (PROFILE, Profile | None),
        (None, Profile | None),
        (Page(url=pydantic.HttpUrl("http://a.b/c"), file=Path("x/y")), Page),
        (Checked(3), Checked),
        (Mood.KEEN, Mood),
        ({Mood.KEEN: 1}, dict[Mood, int]),
        ({"id": 1, "when": NOON}, Row),
        (Spot(1, 2.0), Spot),
        ({1, 2}, set[int]),
        ((1, "a"), tuple[int, str]),
        ({"a": 1}, dict),
        ("x", str),
        ("a", Literal["a", "b"]),
        (b"x", bytes),
        (2**80, int),
        (1, float),
        (True, bool),
        (None, type(None)),
        (NOON, dt.datetime),
        (5, Any),
        (5, object),
        ({"a": [b"x", (1,)]}, Any),
        (7, Annotated[int, ["metadata that cannot be hashed"]]),
    ],
)
def test_comes_back_as_the_type_that_was_asked_for(value: Any, kind: Any) -> None:
    back = typed(value, kind)
    assert back == value
    if kind is not float:
        assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x", int),
        (1, str),
        (1.5, int),
        (True, int),
        (1, bool),
        ("YWJj", bytes),
        (b"abc", str),
        ("2026-01-01T00:00:00", dt.datetime),
        ("not json", Turn),
        (b"", Talk),
        ({}, Turn),
        ({"text": 1, "at": NOON}, Turn),
        ([TURN, 5], list[Turn]),
        ({"type": "Cow"}, Cat | Dog),
        (None, Profile),
        ({"Name": "", "born": dt.date(2000, 1, 1)}, Profile),
        ({"Name": "x", "born": dt.date(2000, 1, 1), "more": 1}, Profile),
        ([{"n": 1}], list[Profile]),
        ({"n": 0}, Checked),
        ("grumpy", Mood),
        ({"id": 1}, Row),
        ((1, 2, 3), tuple[int, str]),
        (float("nan"), int),
        (2**80, Turn),
    ],
)
def test_what_does_not_fit_is_a_type_mismatch(value: Any, kind: Any) -> None:
    with pytest.raises(TypeMismatch, match="does not fit"):
        typed(value, kind)


@dataclass
class Picky:
    n: int

    def __post_init__(self) -> None:
        {1: "one"}[self.n]


def test_a_models_own_check_that_fails_in_its_own_way_is_a_type_mismatch() -> None:
    assert typed({"n": 1}, Picky) == Picky(1)
    with pytest.raises(TypeMismatch):
        typed({"n": 2}, Picky)


class Opaque:
    pass


@pytest.mark.parametrize("kind", [5, "Profile", Opaque, list[Opaque], Cat | Opaque])
def test_what_is_no_type_for_values_is_an_invalid_argument(kind: Any) -> None:
    with pytest.raises(InvalidArgument, match="type="):
        typed([{"a": 1}], kind)


def test_without_a_type_a_model_is_the_plain_data_it_holds() -> None:
    back = CODEC.decode(CODEC.encode(KEY, PROFILE, now_ms=1))
    assert back["name"] == "Ada"
    assert back["turns"][0]["mood"] == "keen"
    assert "age_hint" not in back
    assert CODEC.decode(CODEC.encode(KEY, Dog(False), now_ms=1)) == {"type": "Dog", "goodBoy": False}


def test_a_model_is_also_read_by_its_aliases() -> None:
    assert typed({"Name": "Ada", "born": dt.date(1815, 12, 10)}, Profile).name == "Ada"


@dataclass
class Node:
    below: "list[Node]"


class Tree(pydantic.BaseModel):
    below: "list[Tree]" = []


def ring_of_nodes() -> Node:
    node = Node([])
    node.below.append(node)
    return node


def ring_of_trees() -> Tree:
    tree = Tree()
    tree.below.append(tree)
    return tree


@dataclass(frozen=True)
class Point:
    x: int


@pytest.mark.parametrize(
    "value",
    [Secretive(word=pydantic.SecretStr("x")), ring_of_nodes(), ring_of_trees(), {Point(1)}, {Point(1): 1}, {(Point(1),)}],
    ids=["secret", "ring", "pydantic-ring", "set-of-models", "key-model", "set-of-tuples-of-models"],
)  # fmt: skip
def test_models_that_would_not_come_back_are_refused(value: Any) -> None:
    with pytest.raises(NotSerialisable):
        CODEC.prepare(value)


def test_the_codec_does_not_import_pydantic_by_itself() -> None:
    code = (
        "import sys; from thermocline.codec import Codec; from thermocline.model import Key; c = Codec();"
        "c.decode(c.encode(Key('t', 's', 'n'), {'a': (1,)}, now_ms=1), dict); print('pydantic' in sys.modules)"
    )
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
