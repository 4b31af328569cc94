"""From a parcel to a delivery: on a worker, in the process that trains."""

import hashlib
import pickle
import time
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from platform import node
from typing import Any

from src.system.errors import UserError
from src.system.files import write_bytes
from src.system.fingerprint import TRAINING, code_digests, target_modules

SOURCE = Path(__file__).parents[1]
Code = tuple[tuple[str, str], ...]


def deliver(driver_code: Code, packed: bytes, folder: Path) -> bytes:
    """Train what a parcel asks for in an empty folder, and return the delivery, pickled.

    Args:
        driver_code: what `code` says on the driver: another one would give other bits.
        packed: the parcel, pickled.
        folder: where its files are unpacked.
    """
    from src.cluster.data_transfer import locate
    from src.cluster.parcel import Delivery, Parcel, files_to_return, relocated
    from src.engine.worker import train

    if refusal := _refusal(driver_code):
        return pickle.dumps(Delivery(refusal=refusal))
    parcel: Parcel = pickle.loads(packed)
    if other := [name for name, digest in parcel.modules.items() if _module_digest(name) != digest]:
        refusal = f"executor: the worker on {node()} has another {other[0]}, or none; start it anew with this one"
        return pickle.dumps(Delivery(refusal=refusal))
    try:
        data = locate(parcel.data, parcel.store, parcel.contents)
    except UserError as error:
        return pickle.dumps(Delivery(refusal=f"{error}, on the worker on {node()}"))
    if data is None:
        return pickle.dumps(Delivery(lacks_data=True))
    sent = {folder / path: content for path, content in parcel.files.items()}
    for path, content in sent.items():
        write_bytes(path, content)
    tasks = [relocated(task, lambda path: folder / path) for task in parcel.tasks]
    for task in tasks:
        task.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    outcomes = train(tasks, replace(parcel.setup, data=data))
    files = {path.relative_to(folder): content for path, content in files_to_return(tasks, sent).items()}
    return pickle.dumps(Delivery(outcomes, files, time.monotonic()))


@lru_cache
def code() -> Code:
    """Return the digests of all code and packages that can change what a training gives, as this process has them."""
    return tuple(sorted(code_digests(SOURCE, TRAINING).items()))


def module_digests(config: Any) -> dict[str, str]:
    """Return the digest of each module that a `_target_` anywhere in a config names, as this process first met it."""
    return {name: _module_digest(name) for name in target_modules(config)}


@lru_cache
def _module_digest(name: str) -> str:
    try:
        spec = find_spec(name)
    except ImportError:
        return "none"
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest() if spec and spec.origin else "none"


def _refusal(driver_code: Code) -> str:
    if code() == driver_code:
        return ""
    name, version = next((pair for pair in code() if pair not in driver_code), ("src", ""))
    what = f"{name} {version}" if not name.startswith("src") else f"another {name}"
    return f"executor: the worker on {node()} has {what}; start it from the code that the driver has"
