"""Seeded mutations of whatever comes from outside: each is fine, or refused in one sentence, and never read as other data.

    python benchmarks/mutations.py [--kinds csv config line http file] [--seeds 0 100] [--base FOLDER] [--show]

A small table goes through the whole pipeline once. Then copies of its folder have one thing changed each: a cell or a line
of the CSV file, a line of a YAML, a word of a command line, the body of a request to the served ensemble, or bytes of a file
that a stage reads back. The verb that reads it runs in a process forked for it, and its end is one of: fine (the outcome is
that of before, or what changed is said), refused (one sentence), poor (refused, but not in one sentence), traceback,
changed (another outcome without a word), HTTP 500, hang.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import importlib
import io
import json
import os
import pkgutil
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ["data=csv", "data.root=.", "data.file=t.csv", "data.target=y", "data.task=classification"]
SWEEP = ["data=csv", "model=mlp", "n_trials=4", "epochs=3", "search=random", "workers=1"]
TRAIN = ["data=csv", "model=mlp", "members=seeds", "members.n=2", "workers=1"]
ENSEMBLE = ["data=csv", "models=[mlp]", "baselines=[]", "combiner=average", "export.pt2=false"]
PIPELINE = {
    "prepare": DATA,
    "lr_range": ["data=csv", "model=mlp", "lr_range.seeds=1"],
    "sweep": SWEEP,
    "train": TRAIN,
    "ensemble": ENSEMBLE,
    "report": ["data=csv", "models=[mlp]"],
}
READERS = {  # of the files that are read back: the verb that reads each, and what it writes
    "data/prepared/csv/*": ("ensemble", "metrics.json"),
    "outputs/lr_range/mlp/*.json": ("report", ""),
    "outputs/sweep/mlp/*.csv": ("report", ""),
    "outputs/sweep/mlp/*.json": ("report", ""),
    "outputs/sweep/mlp/best.yaml": ("train", "outputs/train/mlp/members.json"),
    "outputs/sweep/mlp/*.npz": ("train", "outputs/train/mlp/members.json"),
    "outputs/sweep/mlp/weights/*": ("train", "outputs/train/mlp/members.json"),
    "outputs/train/mlp/*.json": ("ensemble", "metrics.json"),
    "outputs/train/mlp/*/*": ("ensemble", "metrics.json"),
    "outputs/ensemble/*.json": ("report", ""),
    "outputs/ensemble/*.npz": ("report", ""),
    ".lockstep/studies/*/journal.log": ("sweep", "outputs/sweep/mlp/trials.csv"),
    ".lockstep/studies/*/*.json": ("sweep", "outputs/sweep/mlp/trials.csv"),
    "outputs/ensemble/model/*": ("predict", ""),
}
CONFIGS = ("conf/data/csv.yaml", "conf/model/mlp.yaml", "conf/optimizer/adamw.yaml", "conf/config.yaml", "params.yaml")
LIMIT_S = 120
WORDS = (
    *(
        "",
        "NA",
        "None",
        "inf",
        "-1e400",
        "1,5",
        "1.234,5",
        "007",
        "12 kg",
        "nan",
        "=cmd|' /C calc'!A0",
        "\x00",
        "é",
        "☃",
    ),
    *(
        "1e999",
        "0x1F",
        '"',
        "a" * 300,
        "2023-02-30",
        "\ufeff",
        "  ",
        "9" * 400,
        "(3)",
        "-999",
        "true",
        "[1]",
        "\x1b[2J",
    ),
)
VALUES: tuple[Any, ...] = (
    *(None, "x", "", -1, 0, 1e999, 2**70, True, [], {}, [[]], {"a": 1}, "../../etc/passwd", "a" * 10_000, "\u202e"),
    *({"_target_": "subprocess.Popen", "args": "id"}, [None], 0.5, "1", "nan"),
)
YAML = (
    *(
        "null",
        "[]",
        "{}",
        "-1",
        "1e999",
        "yes",
        "'",
        "${x}",
        "${oc.env:HOME}",
        "!!python/object/apply:os.getcwd []",
        "&a *a",
    ),
    *("a: b: c", "\t", "[1", "2021", "😀", "{type: float, low: 2, high: 1}", "9" * 400, "???", "*x", "|", "- a", "nan"),
)
KEYS = (
    *(
        "data",
        "data.target",
        "data.file",
        "data.task",
        "data.val_fraction",
        "data.rows",
        "data.separator",
        "data.encoding",
    ),
    *(
        "data.na_values",
        "data.dates",
        "data.columns",
        "data.drop",
        "data.keep",
        "data.categorical",
        "data.decimal",
        "model",
    ),
    *(
        "model.width",
        "optimizer.lr",
        "n_trials",
        "epochs",
        "batch_size",
        "seed",
        "search",
        "outputs",
        "study.root",
        "device",
    ),
    *(
        "workers",
        "slots",
        "trusted",
        "choose",
        "space.optimizer.lr",
        "tracking.uri",
        "storage",
        "hydra.run.dir",
        "data.seed",
    ),
)


# --- mutations ---------------------------------------------------------------------------------------------------------


def mutated_text(draw: random.Random, text: str, words: tuple[str, ...], cut: str = ",") -> str:
    """Change a text in one place: a letter, a cell between two `cut`, a line, or all behind it."""
    lines = text.splitlines(keepends=True) or [""]
    at = draw.randrange(len(lines))
    kind = draw.choice(
        ["cell", "cell", "cell", "less", "more", "drop", "double", "swap", "letter", "quote", "end", "all"]
    )
    cells = lines[at].rstrip("\n").split(cut)
    column = draw.randrange(len(cells))
    if kind in ("cell", "less", "more"):
        cells[column : column + (kind != "more")] = [] if kind == "less" else [draw.choice(words)]
        lines[at] = cut.join(cells) + "\n"
    elif kind == "all":
        for number, line in enumerate(lines[1:], 1):
            row = line.rstrip("\n").split(cut)
            row[column : column + 1] = [draw.choice([*words[:12], row[min(column, len(row) - 1)]])]
            lines[number] = cut.join(row) + "\n"
    elif kind == "drop":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
    elif kind == "swap":
        other = draw.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    whole = "".join(lines)
    place = draw.randrange(len(whole) + 1)
    if kind == "letter":
        return whole[:place] + draw.choice("\t;|,.'\"\r\n0é -%:{}[]\x00") + whole[place + 1 :]
    if kind == "quote":
        return whole[:place] + draw.choice("\"'") + whole[place:]
    return whole[:place] if kind == "end" else whole


def mutated_json(draw: random.Random, content: Any) -> Any:
    """Replace, delete or add one node of a tree."""
    places = list(_places(content))
    if not places or draw.random() < 0.05:
        return draw.choice(VALUES)
    node, key = draw.choice(places)
    kind = draw.random()
    if kind < 0.2:
        del node[key]
    elif kind < 0.3 and isinstance(node, dict):
        node[draw.choice(["x", "_target_", "", "__class__"])] = draw.choice(VALUES)
    else:
        node[key] = draw.choice(VALUES)
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def mutated_bytes(draw: random.Random, data: bytes) -> bytes:
    """Flip a bit, cut, fill, put in, or lose all."""
    place = draw.randrange(len(data) + 1)
    kind = draw.choice(["flip", "flip", "flip", "head", "cut", "zeros", "more", "none", "word"])
    if kind in ("flip", "head"):
        place = min(place if kind == "flip" else draw.randrange(100), len(data) - 1)
        return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :] if data else b"x"
    if kind == "cut":
        return data[:place]
    if kind == "zeros":
        return data[:place] + bytes(min(64, len(data) - place)) + data[place + 64 :]
    if kind == "more":
        return data[:place] + draw.randbytes(16) + data[place:]
    return (
        b"" if kind == "none" else draw.choice([b"null", b"[]", b"{}", b"\x80\x04K\x01.", b"PK\x03\x04", b"\x93NUMPY"])
    )


def mutated_file(draw: random.Random, path: Path) -> None:
    """Change a file: as JSON or YAML, as a text, as bytes, or it is gone or a folder."""
    kind = draw.random()
    data = path.read_bytes()
    path.unlink()
    if kind < 0.05:
        return
    if kind < 0.08:
        path.mkdir()
    elif path.suffix == ".json" and kind < 0.6:
        path.write_text(json.dumps(mutated_json(draw, json.loads(data))), encoding="utf-8")
    elif path.suffix == ".log" and kind < 0.6:
        lines = data.decode().splitlines()
        at = draw.randrange(len(lines))
        lines[at] = json.dumps(mutated_json(draw, json.loads(lines[at])))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix in (".csv", ".yaml", ".log", ".json") and kind < 0.8:
        words = WORDS if path.suffix == ".csv" else YAML
        path.write_text(
            mutated_text(draw, data.decode(), words, "," if path.suffix == ".csv" else ": "), encoding="utf-8"
        )
    else:
        path.write_bytes(mutated_bytes(draw, data))


# --- outcomes ----------------------------------------------------------------------------------------------------------


def ended(action: Callable[[], object]) -> tuple[int, str]:
    """Run an action in a forked process: its exit status (-1: a hang), and all that it said."""
    with tempfile.TemporaryFile() as said:
        if (pid := os.fork()) == 0:
            os.setsid()
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            code = 0
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(LIMIT_S)
                action()
            except SystemExit as end:
                code = 1 if end.code else 0
                print(end.code if isinstance(end.code, str) else "", file=sys.stderr)
            except BaseException:
                code = 3
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(pid, 0)
        said.seek(0)
        text = said.read().decode(errors="replace")
        return (-1 if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)), text


def verb(name: str, words: list[str]) -> Callable[[], object]:
    """Make a call of a verb as a command line would, in the working directory."""

    def action() -> None:
        sys.argv = [name, *words]
        importlib.import_module(f"src.{name}").main()

    return action


def kind_of(code: int, text: str) -> str:
    """Tell fine, refused, poor, traceback and hang apart."""
    if code == -1:
        return "hang"
    if "Traceback (most recent call last)" in text or code == 3:
        return "traceback"
    if code == 0:
        return "fine"
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    return "refused" if len(errors) == 1 and text.rstrip().endswith(errors[0]) else "poor"


def csv_outcome(draw: random.Random, folder: Path) -> tuple[str, str]:
    """Prepare a changed table: changed, if columns or rows are others and nothing is said."""
    before = (folder / "t.csv").read_text(encoding="utf-8")
    after = mutated_text(draw, before, WORDS)
    (folder / "t.csv").write_text(after, encoding="utf-8", newline="")
    old = json.loads((folder / "data/prepared/csv/meta.json").read_text(encoding="utf-8"))
    code, text = ended(verb("prepare", DATA))
    kind = kind_of(code, text)
    if kind != "fine" or "  ! " in text or before.startswith(after):
        return kind, text
    new = json.loads((folder / "data/prepared/csv/meta.json").read_text(encoding="utf-8"))
    columns = [[(line["column"], line["kind"]) for line in meta["profile"]] for meta in (old, new)]
    rows = [sum(meta[f"n_{part}"] for part in ("train", "val", "test")) for meta in (old, new)]
    same = columns[0] == columns[1] and abs(rows[0] - rows[1]) <= 1
    return ("fine" if same else "changed"), text + f"\n{columns} {rows}"


def config_outcome(draw: random.Random, folder: Path) -> tuple[str, str]:
    """Prepare under a changed YAML."""
    path = folder / draw.choice(CONFIGS)
    path.write_text(mutated_text(draw, path.read_text(encoding="utf-8"), YAML, ": "), encoding="utf-8")
    name, words = draw.choice([("prepare", DATA), ("report", PIPELINE["report"])])
    code, text = ended(verb(name, words))
    return kind_of(code, text), f"{path.name}\n{text}"


def line_outcome(draw: random.Random, folder: Path) -> tuple[str, str]:
    """Call a verb with a wrong word or two."""
    words = [f"{draw.choice(['', '', '+', '++', '~'])}{draw.choice(KEYS)}={draw.choice([*YAML, *WORDS[:24]])}"]
    words += [mutated_text(draw, word, YAML, "=").strip("\n") for word in draw.sample(DATA[1:], draw.choice([0, 1]))]
    words = [word.replace("\0", "") for word in words]
    code, text = ended(verb("prepare", [*DATA, *words]))
    return kind_of(code, text), f"{words}\n{text}"


def http_outcome(draw: random.Random, folder: Path) -> tuple[str, str]:
    """Send a changed request to the served ensemble."""
    rows = json.loads((folder / "data/prepared/csv/example.json").read_text(encoding="utf-8"))
    kind = "application/json"
    body = json.dumps(rows)
    if draw.random() < 0.3:
        kind, split = "text/csv", rows["dataframe_split"]
        out = io.StringIO()
        csv.writer(out).writerows([split["columns"], *split["data"]])
        body = mutated_text(draw, out.getvalue(), WORDS)
    elif draw.random() < 0.7:
        body = json.dumps(mutated_json(draw, rows))
    else:
        body = mutated_text(draw, body, YAML, ", ")
    if draw.random() < 0.1:
        kind = draw.choice(["", "text/plain", "application/json; charset=utf-16", "text/csv; x=1"])
    from src.serving.pyfunc import Ensemble  # noqa: F401 (what the server loads, before the fork)

    code, text = ended(lambda: print(json.dumps(asyncio.run(_ask(folder, body.encode(), kind)))))
    if code:
        return kind_of(code, text), f"{kind} {body[:300]}\n{text}"
    status, answer = json.loads(text.splitlines()[-1])
    said = {200: "fine", 500: "HTTP 500"}.get(status, "refused" if 400 <= status < 500 else "poor")
    return said, f"{kind} {body[:300]}\n{status} {answer[:500]}"


async def _ask(folder: Path, body: bytes, kind: str) -> tuple[int, str]:
    import mlflow
    from mlflow.pyfunc.scoring_server import init

    mlflow.set_tracking_uri(f"sqlite:///{folder.absolute()}/mlflow.db")
    app = init(mlflow.pyfunc.load_model("models:/csv/1"))
    sent: list[Any] = []
    scope = {
        **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/invocations"},
        **{"raw_path": b"/invocations", "query_string": b"", "headers": [(b"content-type", kind.encode())]},
        **{"server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "scheme": "http", "root_path": ""},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answer = b"".join(message.get("body", b"") for message in sent)
    return int(sent[0]["status"]), answer.decode(errors="replace")


def file_outcome(draw: random.Random, folder: Path) -> tuple[str, str]:
    """Change a file that is read back, and run the verb that reads it."""
    pattern = draw.choice([pattern for pattern in READERS if any(path.is_file() for path in folder.glob(pattern))])
    path = draw.choice(sorted(path for path in folder.glob(pattern) if path.is_file()))
    name, written = READERS[pattern]
    before = (folder / written).read_bytes() if written else b""
    mutated_file(draw, path)
    what = f"{path.relative_to(folder)} ({name})"
    if name == "predict":
        code, text = ended(lambda: _predict(folder))
        return ("refused" if code == 1 else kind_of(code, text)), f"{what}\n{text}"
    code, text = ended(verb(name, PIPELINE[name]))
    kind = kind_of(code, text)
    after = (folder / written).read_bytes() if written and (folder / written).is_file() else b""
    return ("changed" if kind == "fine" and written and before != after else kind), f"{what}\n{text}"


def _predict(folder: Path) -> None:
    from src.data.dataset import raw_example
    from src.serving.pyfunc import Ensemble
    from src.system.errors import UserError

    try:
        print(Ensemble(folder / "outputs/ensemble/model").predict(raw_example(folder / "data/prepared/csv")))
    except UserError as error:
        sys.exit(f"error: {error}")


OUTCOMES = {
    "csv": csv_outcome,
    "config": config_outcome,
    "line": line_outcome,
    "http": http_outcome,
    "file": file_outcome,
}


# --- the run -----------------------------------------------------------------------------------------------------------


def make_base(folder: Path) -> None:
    """Take a small table through the pipeline, in a copy of the project."""
    for name in ("src", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", folder)
    draw = random.Random(3)
    rows = [(f"{draw.gauss(0, 1):.3f}", draw.choice(["red", "blue"]), draw.randrange(50)) for _ in range(160)]
    lines = [f"{a},{w},{b},{'yes' if float(a) + 0.02 * b + draw.gauss(0, 0.3) > 0.5 else 'no'}\n" for a, w, b in rows]
    (folder / "t.csv").write_text("a,w,b,y\n" + "".join(lines), encoding="utf-8")
    for name, words in PIPELINE.items():
        subprocess.run([sys.executable, "-m", f"src.{name}", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


@cache
def import_all() -> None:
    """Import once what forked processes need: hydra, and all modules of the project."""
    import hydra  # noqa: F401

    import src

    for module in pkgutil.walk_packages(src.__path__, "src."):
        with suppress(ImportError):  # of an extra that is not installed
            importlib.import_module(module.name)


def main() -> None:
    """Print a row for each kind of mutation, and what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=list(OUTCOMES), choices=list(OUTCOMES))
    parser.add_argument("--seeds", nargs=2, type=int, default=[0, 100], help="of each kind")
    parser.add_argument("--base", type=Path, help="a folder in which a run before has made the pipeline")
    parser.add_argument("--show", action="store_true", help="every outcome, not the wrong ones alone")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = args.base or Path(scratch) / "base"
        if not (base / "report").exists():
            make_base(base)
        work = Path(scratch) / "work"
        sys.path.insert(0, str(work))
        for kind in args.kinds:
            counts: Counter[str] = Counter()
            for seed in range(*args.seeds):
                shutil.rmtree(work, ignore_errors=True)
                shutil.copytree(
                    base, work, symlinks=True, ignore=shutil.ignore_patterns("src", "mlartifacts", "report")
                )
                (work / "src").symlink_to(base / "src")
                os.chdir(work)
                import_all()
                outcome, text = OUTCOMES[kind](random.Random(f"{kind} {seed}"), work)
                counts[outcome] += 1
                if args.show or outcome not in ("fine", "refused"):
                    print(f"--- {kind} {seed}: {outcome}\n{text[-1500:]}", flush=True)
                os.chdir("/")
            total = sum(counts.values())
            print(
                f"| {kind} | {total} | " + " | ".join(f"{name} {n}" for name, n in sorted(counts.items())) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
