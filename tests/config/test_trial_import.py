"""A person's module that ends or stops whoever imports it ends no stage."""

import sys
from pathlib import Path

import pytest

from src.config import trial_import
from src.config.trial_import import refuse_fatal_import
from src.system.errors import UserError
from tests.support.running import Place, end_all


def written(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> str:
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    return name


@pytest.mark.parametrize("code", ["import os; os._exit(9)", "import sys; sys.exit()", "import os; os.abort()"])
def test_an_import_that_ends_its_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    module = written(tmp_path, monkeypatch, f"fatal_{len(code)}", code)
    with pytest.raises(UserError, match=rf"^model\._target_: importing {module} ends the process .*; define models"):
        refuse_fatal_import("model._target_", module)


def test_an_import_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_import, "SECONDS", 2.0)
    module = written(tmp_path, monkeypatch, "endless", "import time; time.sleep(1000)")
    with pytest.raises(UserError, match="importing endless takes more than 2 s"):
        refuse_fatal_import("model._target_", module)


@pytest.mark.parametrize("code", ["x = 1", "raise ValueError('said by the import that counts')"])
def test_any_other_import_passes_and_is_not_done_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    module = written(tmp_path, monkeypatch, f"harmless_{len(code)}", code)
    refuse_fatal_import("model._target_", module)
    assert module not in sys.modules


def test_a_sweep_refuses_it_in_one_sentence(tmp_path: Path, prepared: Path) -> None:
    place = Place(tmp_path, prepared)
    (tmp_path / "exits.py").write_text("import os; os._exit(9)", encoding="utf-8")
    try:
        refused = place.run("model.name=mlp", "+model._target_=exits.Net", "trusted=[exits]", ok=False)
    finally:
        end_all()
    assert refused.stderr.startswith(
        "error: model._target_: importing exits ends the process that does it (exit code 9)"
    )
    assert len(refused.stderr.splitlines()) == 1
