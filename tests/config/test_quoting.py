"""Words that a sentence tells a person to type are read back as what they mean, by a shell and by Hydra."""

import shlex
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString

from src.config.compose import unreadable
from src.config.quoting import override

PARSER = OverridesParser.create()
NAMES = [
    "x",
    "größe [cm]",
    "rate %",
    "🚀 speed",
    "a.b",
    "it's",
    'the "q"',
    "a\\b",
    "a\\",
    'a\\"b',
    "${x}",
    "null",
    "1",
    "{x}",
    "=1+1",
]


def read(words: str) -> Any:
    (word,) = shlex.split(words)
    return PARSER.parse_override(word).value()


def plain(value: Any) -> Any:
    return value.text if isinstance(value, QuotedString) else value


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_back(name: str) -> None:
    assert [plain(item) for item in read(override("data.keep", [name]))] == [name]
    assert plain(read(override("data.target", name))) == name


def test_a_mapping_comes_back_or_goes_into_a_file() -> None:
    assert read(override("data.dates", {"day of week": "%d/%m/%Y"})) == {"day of week": "%d/%m/%Y"}
    assert override("data.na_values", {"größe [cm]": []}) == '`na_values: {"größe [cm]": []}` in a YAML of conf/data/'


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("data.target=größe [cm]", "'data.target=\"größe [cm]\"'"),
        ("data.drop=[🚀 speed, größe]", '\'data.drop=["🚀 speed", "größe"]\''),
    ],
)
def test_what_cannot_be_read_is_typed_anew(word: str, right: str) -> None:
    assert right in unreadable(word)
