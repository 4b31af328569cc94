"""The runs of one MLflow experiment, as projections of records."""

import getpass
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from src.system.errors import UserError, masked
from src.system.files import atomic_folder
from src.system.locks import take
from src.tracking import sqlite as database
from src.tracking.change import Change, Shown, content_digest, difference, folder_digest
from src.tracking.experiment import choose_columns, find_or_make
from src.tracking.record import RunRecord
from src.tracking.uri import sqlite_file

FINGERPRINT, KEY, CONTENT, BUNDLE = "lockstep.fingerprint", "lockstep.key", "lockstep.content", "lockstep.bundle"
_TAG_LENGTH = 8000  # MLflow's


class Runs:
    """The runs of one experiment, written by the one process that has claimed their fingerprint with a lock file."""

    def __init__(self, uri: str, experiment: str, source: str, artifacts: Path | None) -> None:
        """Connect to MLflow at `uri`, make the experiment if it is new, and end runs whose writer died.

        `source` is the program that the runs show; `artifacts` the folder for files, None where a server decides that.
        """
        self._file = sqlite_file(uri)
        self._locks = Path(f"{self._file}.locks") if self._file else _server_locks(uri)
        self._claims: dict[str, IO[str]] = {}
        self._shown: dict[str, dict[str, Shown]] = {}  # by fingerprint and key
        self._seen_models: set[str] = set()  # runs on a server whose model was there
        self._unsure: set[tuple[str, str]] = set()  # runs whose last write failed: MLflow may show half of it
        self._origin = {"mlflow.user": _user(), "mlflow.source.name": source, "mlflow.source.type": "LOCAL"}
        if self._file and not self._file.exists():
            with _lock(self._locks / "make"):
                if not self._file.exists():
                    database.make(self._file, self._file.parent / "mlartifacts")
        with _lock(self._locks / "connect") if artifacts else nullcontext():  # the first makes the tables
            self.client = _connect(uri)
        self._store = self.client._tracking_client.store
        self._database = database.is_known(self._store)
        self._experiment = find_or_make(self.client, experiment, artifacts)
        self.experiment_id = str(self._experiment.experiment_id)
        self._kill_orphans()

    # Whose runs

    def claim(self, fingerprint: str, alive: Iterable[str]) -> None:
        """Become the writer of a fingerprint; runs that a dead process left RUNNING become KILLED, all but the keys `alive`.

        Raises TimeoutError while another process is the writer.
        """
        if fingerprint in self._claims:
            return
        lock = _lock(self._lock_path(fingerprint))
        try:
            self._shown[fingerprint] = self._search(fingerprint)
            self._kill(shown for key, shown in self._shown[fingerprint].items() if key not in alive)
        except BaseException:
            lock.close()
            raise
        self._claims[fingerprint] = lock

    def release(self) -> None:
        """Give up all claims, so that other processes can claim."""
        for lock in self._claims.values():
            lock.close()
        self._claims.clear()

    def ids(self) -> dict[str, str]:
        """Map the keys of all runs to their ids."""
        return {key: shown.run_id for runs in self._shown.values() for key, shown in runs.items()}

    def kill_running(self) -> None:
        """Set the runs that are still RUNNING to KILLED."""
        for place in sorted(self._unsure):
            self._reread(*place)
        self._kill(shown for runs in self._shown.values() for shown in runs.values())

    def _kill(self, runs: Iterable[Shown]) -> None:
        for shown in runs:
            if shown.status == "RUNNING":
                self.client.set_terminated(shown.run_id, "KILLED")
                shown.status = "KILLED"

    def _kill_orphans(self) -> None:
        """End the runs of a study whose writer died with it: its lock file lies here and nobody holds it."""
        for run in self._search_pages("attributes.status = 'RUNNING'"):
            path = self._lock_path(run.data.tags.get(FINGERPRINT, ""))
            if path.exists():
                with suppress(TimeoutError), _lock(path):
                    self._kill([Shown.of(run)])

    def _lock_path(self, fingerprint: str) -> Path:
        return self._locks / hashlib.sha256(f"{self.experiment_id} {fingerprint}".encode()).hexdigest()[:32]

    # Reading

    def _search(self, fingerprint: str, key: str | None = None) -> dict[str, Shown]:
        only = f" and tags.`{KEY}` = '{key}'" if key else ""
        runs = self._search_pages(f"tags.`{FINGERPRINT}` = '{fingerprint}'{only}")
        return {run.data.tags[KEY]: Shown.of(run) for run in runs}

    def _search_pages(self, condition: str) -> Iterable[Run]:
        token: str | None = None
        while token != "":
            page = self.client.search_runs([self.experiment_id], condition, page_token=token)
            yield from page
            token = page.token or ""

    def _reread(self, fingerprint: str, key: str) -> None:
        self._shown[fingerprint] |= self._search(fingerprint, key)
        self._unsure.discard((fingerprint, key))

    # Writing

    def write(self, record: RunRecord) -> str:
        """Make MLflow show `record`: files first, then figures, the state last. Returns the run's id."""
        runs, place = self._shown[record.fingerprint], (record.fingerprint, record.key)
        if place in self._unsure:
            self._reread(*place)
        choose_columns(self.client, self._experiment, record.curves.keys() | record.metrics.keys())
        shown, tags = runs.get(record.key), self._tags(record)
        whole = shown is not None and shown.tags.get(BUNDLE) == tags.get(BUNDLE) and self._has_model(record, shown)
        if shown and whole and (shown.status, shown.tags.get(CONTENT)) == (record.state, tags[CONTENT]):
            return shown.run_id
        try:
            shown = shown or self._begin(record, tags)
            if record.model and not whole:
                self._put_model(record.model, shown)
            self._read_steps(record, shown)
            change = difference(record, shown, tags)
            if self._database:
                number, user = int(self.experiment_id), self._origin["mlflow.user"]
                database.write(self._store, number, user, record, shown, change)
            else:
                self._log(record, shown, change)
        except Exception:
            runs.pop(record.key, None)
            self._unsure.add(place)
            raise
        change.apply(shown)
        shown.status = record.state
        runs[record.key] = shown
        return shown.run_id

    def _tags(self, record: RunRecord) -> dict[str, str]:
        tags = {FINGERPRINT: record.fingerprint, KEY: record.key, "mlflow.runName": record.name} | self._origin
        for key, value in record.tags.items():
            tags[key] = str(value) if len(str(value)) <= _TAG_LENGTH else f"{str(value)[: _TAG_LENGTH - 8]} … (cut)"
        if record.parent:
            tags["mlflow.parentRunId"] = self._parent(record.fingerprint, record.parent)
        if record.model:
            tags[BUNDLE] = folder_digest(record.model)
        return tags | {CONTENT: content_digest(record, tags.get(BUNDLE, ""))}  # at the end: true once the rest is there

    def _parent(self, fingerprint: str, key: str) -> str:
        parent = self._shown[fingerprint].get(key)
        return parent.run_id if parent else self.write(RunRecord(key, fingerprint, key, None, "RUNNING"))

    def _begin(self, record: RunRecord, tags: dict[str, str]) -> Shown:
        """Choose the id of a new run: in a database it appears with its data, a server has to number it now."""
        if self._database:
            run_id = uuid.uuid4().hex
            return Shown(run_id, f"{self._experiment.artifact_location}/{run_id}/artifacts")
        first = {key: tags[key] for key in tags if key not in (CONTENT, BUNDLE)}
        return Shown.of(self.client.create_run(self.experiment_id, _ms(record.started), first, record.name))

    def _has_model(self, record: RunRecord, shown: Shown) -> bool:
        """Tell whether the files of a record's model are still in MLflow; asked of a server once for each run."""
        if not record.model or shown.run_id in self._seen_models:
            return True
        names = {path.relative_to(record.model).as_posix() for path in record.model.rglob("*") if path.is_file()}
        if folder := _local(shown.artifact_uri):
            return all((folder / "model" / name).is_file() for name in names)
        self._seen_models.add(shown.run_id)
        return bool(self.client.list_artifacts(shown.run_id, "model"))

    def _put_model(self, model: Path, shown: Shown) -> None:
        if folder := _local(shown.artifact_uri):
            with atomic_folder(folder / "model") as copy:
                shutil.copytree(model, copy, dirs_exist_ok=True)
        else:
            self.client.log_artifacts(shown.run_id, str(model), "model")

    def _read_steps(self, record: RunRecord, shown: Shown) -> None:
        for name in shown.unread & (record.curves.keys() | record.metrics.keys()):
            shown.points[name] = {point.step for point in self.client.get_metric_history(shown.run_id, name)}
            shown.unread.discard(name)

    def _log(self, record: RunRecord, shown: Shown, change: Change) -> None:
        now = _ms(None)
        metrics = [Metric(name, value, now, step) for name, step, value in change.points]
        params = [Param(key, value) for key, value in change.params.items()]
        tags = [RunTag(key, value) for key, value in change.tags.items()]
        if change.dataset:
            context = [InputTag("mlflow.data.context", "training")]
            self.client.log_inputs(shown.run_id, [DatasetInput(change.dataset, context)])
        # A call takes 1000 figures, 100 parameters, 100 tags, in all 1000. The last tag comes last.
        parts = [_chunks(metrics, 800), _chunks(params, 90), _chunks(tags, 90)]
        calls = max(map(len, parts))
        for points, values, marks in zip(*([[]] * (calls - len(part)) + part for part in parts), strict=True):
            self.client.log_batch(shown.run_id, points, values, marks, synchronous=True)
        if record.state != "RUNNING":
            self.client.set_terminated(shown.run_id, record.state, _ms(record.ended))
        elif shown.status != "RUNNING":
            self.client.update_run(shown.run_id, "RUNNING")


def _connect(uri: str) -> MlflowClient:
    try:
        return MlflowClient(uri, uri)
    except MlflowException as error:
        if "out-of-date database schema" not in str(error):
            raise
        where = masked(uri)
        cure = f"if an older one made it, back it up and run `mlflow db upgrade {where}`"
        raise UserError(f"tracking.uri={where}: its tables are not those of the installed MLflow; {cure}.") from error


def _chunks(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _lock(path: Path) -> IO[str]:
    """Take a lock until the returned file is closed, at the latest by the end of the process.

    Raises TimeoutError where another process holds it.
    """
    file = take(path)
    if file is None:
        raise TimeoutError("another process is writing the same runs")
    return file


def _server_locks(uri: str) -> Path:
    """Choose the folder for the locks of a server, which others of this machine cannot write into.

    Raises:
        UserError: it cannot be made, or others can write into it.
    """
    home = os.environ.get("XDG_STATE_HOME") or Path(os.path.expanduser("~"), ".local", "state")  # noqa: PTH111, no home
    folder = Path(home, "lockstep", "locks")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{error}; set XDG_STATE_HOME to a folder that is yours, for locks") from error
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o022:
        raise UserError(
            f"{folder} can be written by others; make it yours alone, or set XDG_STATE_HOME to another folder"
        )
    return folder / hashlib.sha256(uri.encode()).hexdigest()[:32]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's nameless user
        return "unknown"


def _local(uri: str) -> Path | None:
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _ms(seconds: float | None) -> int:
    return int(1000 * (time.time() if seconds is None else seconds))
