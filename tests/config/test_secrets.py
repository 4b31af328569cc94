"""An address with a password is at its own key alone, whatever way a YAML file takes to it."""

from pathlib import Path

import pytest
from hydra import initialize_config_dir

from src.config.compose import CONF
from src.config.loading import load
from src.config.secrets import refuse_copies
from src.system.errors import UserError

URL = "postgresql+psycopg://me:s3cret@host/db"


@pytest.mark.parametrize("copy", ["${oc.env:LOCKSTEP_STORAGE}", "x${storage}y", "${oc.select:storage}", "${..storage}"])
def test_a_file_that_copies_one_is_refused(copy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_STORAGE", URL)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "leak.yaml").write_text(f"# @package _global_\ndata:\n  root: {copy}\n")
    words = [f"hydra.searchpath=[file://{tmp_path}]", "experiment=leak"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert load([], components=False)["storage"] == URL
        with pytest.raises(
            UserError, match=r"^data\.root: a YAML file copies storage, which has a password"
        ) as refused:
            load(words, components=False)
    assert "s3cret" not in str(refused.value)


def test_one_address_for_two_keys_and_addresses_without_a_password_are_no_copies() -> None:
    refuse_copies({"storage": URL, "tracking": {"uri": URL}, "data": {"root": "host/db"}}, ())
    refuse_copies({"storage": "postgresql://host/db", "data": {"root": "postgresql://host/db"}}, ())
    refuse_copies({"storage": URL, "data": {"root": URL}}, {"data.root"})
    with pytest.raises(UserError, match=r"^data\.drop\.1: "):
        refuse_copies({"storage": URL, "data": {"drop": ["a", URL]}}, ())
