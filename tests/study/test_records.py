"""Records of a study are data: reading never writes, damage is one sentence, and no record leads out of its folder."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from src.config.space import Leaf, Space
from src.study import lineage
from src.study.records import folder_below
from src.study.storage import Shelf
from src.study.study import Study
from src.study.warm_start import warm_start
from src.sweeps import exports
from src.system.errors import UserError
from src.system.locks import exclusive
from tests.support.stored import Stored, opened, table, without_checksums
from tests.support.virtual import BASE, conditional


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A study that has ended."""
    folder = tmp_path_factory.mktemp("study")
    live = Stored(opened(folder))
    live.fill()
    while live.step():
        pass
    live.study.finish(True)
    return (live.study.folder / "journal.log").read_bytes()


@pytest.fixture(scope="module")
def journal(checked: bytes) -> bytes:
    """The same, as an earlier version wrote it."""
    return without_checksums(checked)


def put(folder: Path, data: bytes) -> Path:
    path = folder / "studies" / opened(folder).name / "journal.log"
    path.write_bytes(data)
    return path


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()
    }


# --- reading -----------------------------------------------------------------------------------------------------------


def test_reading_a_study_in_the_middle_of_an_append_changes_no_file(tmp_path: Path, journal: bytes) -> None:
    """All that open another's study: its attributes, its schedule, a warm start."""
    whole = Study.read(Shelf(put(tmp_path, journal).parents[2], None), opened(tmp_path).name)
    path = put(tmp_path, journal + journal[:20])  # another process appends its next record
    shelf, name = Shelf(tmp_path, None), path.parent.name
    before = snapshot(tmp_path)
    assert shelf.attributes(name)["finished"] is True
    assert lineage.read(tmp_path, None, name) == lineage.schedule(whole.history)
    assert warm_start(tmp_path, None, name, conditional(), "loss", "minimize").first
    assert table(Study.read(shelf, name).history) == table(whole.history)
    assert snapshot(tmp_path) == before


def test_an_end_that_optuna_lacks_is_given_by_the_owner_alone(tmp_path: Path, journal: bytes) -> None:
    lines = journal.splitlines(keepends=True)
    ends = [k for k, line in enumerate(lines) if json.loads(line)["op_code"] == 6]  # sets the state of a trial
    path = put(tmp_path, b"".join(line for k, line in enumerate(lines) if k != ends[-1]))
    reader = Study.read(Shelf(tmp_path, None), path.parent.name)
    unfinished = [t for t in reader.storage.get_all_trials(reader.id) if not t.state.is_finished()]
    assert len(unfinished) == 1
    size = path.stat().st_size
    study = opened(tmp_path)
    assert all(trial.state.is_finished() for trial in study.storage.get_all_trials(study.id))
    assert path.stat().st_size > size


def test_a_study_whose_sweep_runs_brings_nothing(tmp_path: Path, journal: bytes) -> None:
    name = put(tmp_path, journal).parent.name
    with (
        exclusive(tmp_path / "locks" / "digits-mlp-abababab-", "a sweep"),
        pytest.raises(UserError, match="is running"),
    ):
        warm_start(tmp_path, None, name, conditional(), "loss", "minimize")


# --- damage ------------------------------------------------------------------------------------------------------------


def test_a_journal_that_lacks_any_line_is_refused_or_tells_the_same(tmp_path: Path, journal: bytes) -> None:
    """What only Optuna's dashboard shows may go; what the study is made of may not."""
    path = put(tmp_path, journal)
    expected, lines = table(opened(tmp_path).history), journal.splitlines(keepends=True)
    outcomes = []
    for lost in [*range(12), *random.Random(0).sample(range(12, len(lines) - 1), 40)]:
        path.write_bytes(b"".join(line for k, line in enumerate(lines) if k != lost))
        outcomes.append(outcome(tmp_path))
    refusals = [text for text in outcomes if isinstance(text, str)]
    assert len(refusals) > 30
    assert all(text.startswith(f"study.root: {path} is damaged") and "\n" not in text for text in refusals)
    assert all(rows == expected for rows in outcomes if not isinstance(rows, str))


def test_a_flipped_bit_or_a_lost_line_is_found_or_trained_again(tmp_path: Path, checked: bytes) -> None:
    """A last record that is no JSON any more counts as torn, and what it told is trained again."""
    path, draw = put(tmp_path, checked), random.Random(0)
    expected, lines = table(opened(tmp_path).history), checked.splitlines(keepends=True)
    lost = [b"".join(line for k, line in enumerate(lines) if k != gone) for gone in range(len(lines) - 1)]
    flipped = []
    for place in [*draw.sample(range(len(checked)), 300), *range(len(checked) - 200, len(checked))]:
        content = bytearray(checked)
        content[place] ^= 1 << draw.randrange(8)
        flipped.append(bytes(content))
    for content in [*draw.sample(lost, 40), *flipped]:
        path.write_bytes(content)
        result = outcome(tmp_path)
        if isinstance(result, str):
            assert result.startswith(f"study.root: {path} is damaged (line ")
            assert "\n" not in result
        else:
            assert result == expected
            assert content[: len(checked) // 2] == checked[: len(checked) // 2]


def test_a_study_of_an_earlier_version_goes_on_with_checksums(tmp_path: Path, journal: bytes) -> None:
    path = put(tmp_path, journal)
    study = opened(tmp_path)
    study.finish(False)
    study.finish(True)
    assert [b'"sha256":"' in line for line in path.read_bytes().splitlines()[-3:]] == [False, True, True]
    path.write_bytes(path.read_bytes().replace(b'"finished":false', b'"finished":fals3'))
    assert "line" in str(outcome(tmp_path))
    path.write_bytes(journal + b"".join(path.read_bytes().splitlines(keepends=True)[-1:]))
    assert "one before it is missing" in str(outcome(tmp_path))


def outcome(folder: Path) -> list[Any] | str:
    """The trial table of the study, or the sentence that refuses it."""
    try:
        return table(opened(folder).history)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"from":null', '"from":["../../../elsewhere/checkpoints/0",3]'),
        ('"from":null', '"from":[0]'),
        ('"full":18', '"full":"18"'),
        ('"start":', '"start":-'),
        ('"state":"complete"', '"state":"done"'),
        ('"cost":', '"cost":"x","c":'),
        ('"slots":5', '"slots":"5"'),
    ],
)
def test_a_record_of_another_type_is_refused(tmp_path: Path, journal: bytes, old: str, new: str) -> None:
    assert old.encode() in journal
    path = put(tmp_path, journal.replace(old.encode(), new.encode(), 1))
    with pytest.raises(UserError, match=f"^study.root: {path} is damaged.*; restore it, or study.fresh=true"):
        opened(tmp_path)


# --- names -------------------------------------------------------------------------------------------------------------

STRANGE: list[Any] = ["", ".", "..", "../other", "a/b", "/tmp", "a\\b", "a\0b"]


@pytest.mark.parametrize("name", STRANGE)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="which is not one below"):
        folder_below(tmp_path, name)


def test_a_tampered_folder_of_a_study_leads_nowhere(tmp_path: Path) -> None:
    """The folder whose checkpoints a sweep deletes."""
    other = tmp_path / "other" / "checkpoints" / "0-1.safetensors"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"weights")
    study = opened(tmp_path / "root")
    study.storage.set_study_user_attr(study.id, "folder", "../../other")
    with pytest.raises(UserError, match=r"names the folder '\.\./\.\./other'"):
        opened(tmp_path / "root")
    assert other.read_bytes() == b"weights"


def test_a_space_without_dimensions_reads_too(tmp_path: Path, journal: bytes) -> None:
    name = put(tmp_path, journal).parent.name
    assert warm_start(tmp_path, None, name, Space(Leaf(BASE, {})), "loss", "minimize").trials == []


# --- hostile values ------------------------------------------------------------------------------------------------------

HOSTILE: list[Any] = [
    *(float("nan"), float("inf"), -1, 10**12, 10**400, True, None, "", "x", [], {}, [1, 2, 3], {"a": 1}),
    *("\x1b[31mred", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "\ud800", json.loads("[" * 400 + "]" * 400)),
]
FOUND = [  # what ended in a traceback, at whichever place of its name comes first
    *(("metric", []), ("seconds", 10**400), ("directions", ""), ("measures", {"a": {}}), ("metrics", {"a": []})),
    *(("loss", {}), ("a/optimizer.momentum", 10**400), ("optimizer", float("-inf")), ("times", [1]), ("accepted", 3)),
]


def places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ())
    return [place for key, child in items for place in [(*at, key), *places(child, (*at, key))]]


def put_value(records: list[Any], place: tuple[Any, ...], value: Any) -> bytes:
    """A journal with another value at one place."""
    *parents, last = place
    changed = json.loads(json.dumps(records))
    node = changed
    for key in parents:
        node = node[key]
    node[last] = value
    return "".join(json.dumps(record) + "\n" for record in changed).encode()


def test_a_hostile_value_at_any_place_is_refused_in_a_sentence_or_harmless(tmp_path: Path, journal: bytes) -> None:
    """For the sweep that goes on, for another one that reads the study, and for the tables that are made of it."""
    records, draw = [json.loads(line) for line in journal.splitlines()], random.Random(0)
    path, everywhere = put(tmp_path, journal), places(records)
    kinds = {tuple(key for key in place if isinstance(key, str) and ":" not in key): place for place in everywhere}
    cases = [(place, draw.choice(HOSTILE)) for place in kinds.values()]
    for name, value in FOUND:
        cases += [(place, value) for place in everywhere if place[-1] == name][:1]
    refusals = []
    for place, value in cases:
        path.write_bytes(put_value(records, place, value))
        try:
            study = opened(tmp_path)
            Study.read(Shelf(tmp_path, None), path.parent.name)
            for table_of in (exports.trials_csv, exports.curves_csv, exports.progress_csv):
                table_of(study)
            warm_start(tmp_path, None, path.parent.name, conditional(), "loss", "minimize")
        except UserError as error:
            refusals.append(str(error))
    assert [text for text in refusals if not text.isprintable()] == []
    assert len(refusals) > len(cases) // 3
