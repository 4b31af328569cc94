"""Sentences about what a person has typed: the nearest name, and nothing that is secret."""

import pytest

from src.system.errors import UserError, masked, nearest, refuse_unescaped_password, shortened, suggestion, there_are


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://***@host/db"),
        ("postgresql+psycopg://me:pa/s@s@host/db", "postgresql+psycopg://***@host/db"),
        ("storage: postgresql://me:a:b#c?@host/db is gone", "storage: postgresql://***@host/db is gone"),
        ("https://host/x?token=abc&password=d", "https://host/x?token=***&password=***"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("mysql://host/db", "mysql://host/db"),
    ],
)
def test_user_and_password_are_hidden_whatever_characters_they_have(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_no_word_of_a_sentence_reaches_a_terminal_as_a_command() -> None:
    """Of an error in a trial, a server, a cell: colours, titles of windows, cursors, the other direction of writing."""
    error = UserError("trial 3 failed with: \x1b[31mred\x1b]0;title\x07\r\x9b2J\u202e\ud800, é und 木\nmore")
    words = r"trial 3 failed with: \x1b[31mred\x1b]0;title\x07\r\x9b2J\u202e\ud800, é und 木"
    assert str(error) == f"{words}\nmore"


@pytest.mark.parametrize("character", "/@?#")
def test_a_password_that_a_url_cannot_hold_is_refused_and_not_shown(character: str) -> None:
    with pytest.raises(
        UserError, match=r"^storage: postgresql://\*\*\*@host:1/db has a password with one of .*%40"
    ) as refused:
        refuse_unescaped_password("storage", f"postgresql://me:s3cr{character}et@host:1/db")
    assert "s3cr" not in str(refused.value)
    assert "et@" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["postgresql://me:a%2Fb%40c@host:1/db", "sqlite:///a@b.db", "http://host:1", "mysql://me@h/d"]
)
def test_other_addresses_pass(url: str) -> None:
    refuse_unescaped_password("storage", url)


def test_the_nearest_name_is_found_by_its_last_part_too() -> None:
    assert nearest("optimizer.lrr", ["model.lr", "optimizer.lr"]) == "optimizer.lr"
    assert nearest("xyz", ["abc"]) is None
    assert suggestion("mpl", ["cnn", "mlp"]) == "; did you mean mlp?"
    assert suggestion("xyz", ["abc"]) == ""
    assert there_are(range(50)) == "; there are " + ", ".join(map(str, range(20)))


def test_a_value_is_shown_on_one_line() -> None:
    assert "\n" not in shortened("a\nb")
    assert len(shortened("a" * 500)) < 125
