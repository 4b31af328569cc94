"""Minutes and peak memory of `prepare`, and of one epoch, for a table that is larger than the memory it may take.

    python benchmarks/large_table.py --rows 20000000 [--limit_gib 4] [--formats csv parquet] [--place /tmp]

The table is made by a seed: 25 columns of numbers, some with gaps, 4 of words, a date, and a class that depends on them.
Each command runs in a control group of its own (cgroup v1, which needs root) that may have so much memory, page cache
included; what is above it is reclaimed, or the command is killed. Its peak is read from the group: `rss` as the most
memory of all its processes that no file stands behind, sampled, and how often the limit made the kernel reclaim pages.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CGROUPS = Path("/sys/fs/cgroup/memory")
CHUNK = 500_000
GIB = 1 << 30
WORDS = {"colour": 8, "shop": 40, "city": 300, "kind": 3}
EVERY = 0.2  # seconds between two looks
NET = ("batch_size=1024", "model.width=192", "model.depth=2", "model.dropout=0.0", "model.embedding=none")


def rows_of(n_rows: int) -> Iterator[pa.Table]:
    """Make the table piece by piece, each from a seed of its own."""
    for number, start in enumerate(range(0, n_rows, CHUNK)):
        yield _chunk(np.random.default_rng([0, number]), min(CHUNK, n_rows - start))


def _chunk(rng: np.random.Generator, n: int) -> pa.Table:
    x = rng.standard_normal((n, 25))
    x[:, 8:16] = np.exp(x[:, 8:16])
    x[:, 16:] = np.round(20 * x[:, 16:])
    codes = {name: rng.zipf(1.5, n) % size for name, size in WORDS.items()}
    day = rng.integers(0, 3650, n)
    signal = x[:, 0] * x[:, 1] + np.log(x[:, 8]) + 0.03 * x[:, 16] + (codes["kind"] == 1) + 0.5 * (day % 7 == 6)
    label = rng.random(n) < 1 / (1 + np.exp(-2 * signal))
    gaps = rng.random((n, 3)) < 0.05
    x = np.round(x, 3)
    numbers = {f"x{k}": pa.array(x[:, k], mask=gaps[:, k] if k < 3 else None) for k in range(25)}
    words = {name: pa.array(np.array([f"{name}{k}" for k in range(size)])[codes[name]]) for name, size in WORDS.items()}
    dates = pa.array((np.datetime64("2015-01-01") + day).astype(str))
    return pa.table(numbers | words | {"day": dates, "y": pa.array(np.where(label, "yes", "no"))})


def write(n_rows: int, path: Path) -> None:
    """Write the table as CSV or Parquet, by the suffix of `path`."""
    first = next(rows_of(1))
    parquet = path.suffix == ".parquet"
    with pq.ParquetWriter(path, first.schema) if parquet else pa.csv.CSVWriter(path, first.schema) as writer:
        for table in rows_of(n_rows):
            writer.write_table(table)


def measure(command: list[str], folder: Path, limit: int) -> dict[str, float]:
    """Run a stage in `folder` with `limit` bytes: its minutes, and its peaks in GiB."""
    group = CGROUPS / f"large_table_{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(limit))
    most = {"rss": 0, "pages": 0}
    began = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
        )
        done = threading.Event()
        watch = threading.Thread(target=_watch, args=(group, most, done))
        watch.start()
        code = process.wait()
        done.set()
        watch.join()
    minutes = (time.perf_counter() - began) / 60
    peak, hits = (int((group / f"memory.{name}").read_text()) for name in ("max_usage_in_bytes", "failcnt"))
    _remove(group)
    if code:
        raise SystemExit(f"{' '.join(command)} failed with {code}:\n{(folder / 'log').read_text()[-3000:]}")
    return {"minutes": minutes, "rss_gib": most["rss"] / GIB, "with_cache_gib": peak / GIB, "reclaims": hits}


def _watch(group: Path, most: dict[str, int], done: threading.Event) -> None:
    while not done.wait(EVERY):
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        most["rss"] = max(most["rss"], int(stat["total_rss"]))


def _remove(group: Path) -> None:
    for _ in range(50):  # processes that end after their parent
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.2)


def epoch_seconds(folder: Path) -> float:
    """Read how long the sweep's trial trained."""
    (timing,) = folder.glob("outputs/sweep/*/timing.json")
    return float(json.loads(timing.read_text())["train_s"])


def case(n_rows: int, kind: str, place: Path, limit: int, more: list[str]) -> dict[str, Any]:
    """Make the table, prepare it and train one epoch of one trial."""
    folder = place / f"large_table_{kind}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", folder)
    path = folder / f"table.{kind}"
    write(n_rows, path)
    size = path.stat().st_size
    data = [f"data={kind}", f"data.file={path}", "data.target=y", "data.task=classification"]
    prepared = measure(["src.prepare", *data, *more], folder, limit)
    print(json.dumps(prepared), flush=True)
    print((folder / "log").read_text()[:3000])
    path.rename(folder / "away")  # nothing reads it any more
    prepared["gib"] = sum(file.stat().st_size for file in folder.glob("data/prepared/*/*")) / GIB
    trained = measure(
        [
            "src.sweep",
            f"data={kind}",
            "search=random",
            "search.pruner=none",
            "n_trials=1",
            "epochs=1",
            *NET,
            "workers=1",
            *more,
        ],
        folder,
        limit,
    )
    trained |= {"epoch_minutes": epoch_seconds(folder) / 60}
    print(json.dumps(trained), flush=True)
    shutil.rmtree(folder)
    return {"file_gib": size / GIB, "prepare": prepared, "sweep": trained}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--limit_gib", type=float, default=4.0)
    parser.add_argument("--formats", nargs="+", choices=("csv", "parquet"), default=["csv", "parquet"])
    parser.add_argument("--place", type=Path, default=Path("/tmp"))
    args, more = parser.parse_known_args()
    results = {kind: case(args.rows, kind, args.place, int(args.limit_gib * GIB), more) for kind in args.formats}
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
