"""Sentences about what a person has typed: the nearest name, and nothing that is secret."""

import pytest

from src.system.errors import masked, nearest, shortened, suggestion, there_are


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


def test_the_nearest_name_is_found_by_its_last_part_too() -> None:
    assert nearest("optimizer.lrr", ["model.lr", "optimizer.lr"]) == "optimizer.lr"
    assert nearest("xyz", ["abc"]) is None
    assert suggestion("mpl", ["cnn", "mlp"]) == "; did you mean mlp?"
    assert suggestion("xyz", ["abc"]) == ""
    assert there_are(range(50)) == "; there are " + ", ".join(map(str, range(20)))


def test_a_value_is_shown_on_one_line() -> None:
    assert "\n" not in shortened("a\nb")
    assert len(shortened("a" * 500)) < 125
