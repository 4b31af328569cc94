"""Digests of what the numbers of a study depend on: texts, and the code that can change them."""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "optuna", "scikit-learn", "scipy", "cmaes", "tabm", "rtdl_num_embeddings")
# Rooms and files under src/ whose code can change numbers; tests/test_dependencies.py holds them to the imports.
TRAINING = (
    *("config/checking.py", "config/components.py", "config/dimensions.py", "config/loading.py", "config/renamed.py"),
    *("config/derived.py", "config/schema.py", "config/space.py", "config/trial_import.py", "config/unknown_key.py"),
    *("data/dataset.py", "bilevel", "engine", "metrics", "models", "optim", "population"),
)
TRIAL = (
    *(*TRAINING, "diagnosis/rules.py", "search", "study/history.py", "study/timetable.py"),
    *("sweeps/derivation.py", "sweeps/loop.py", "sweeps/objectives.py"),
)
FINAL_MEMBER = (
    *(*TRAINING, "ensembles/members", "ensembles/final_member.py", "ensembles/member_training.py"),
    *("ensembles/member_checks.py", "ensembles/protocol.py", "ensembles/weak_learner.py"),
)


def digest(*parts: str) -> str:
    """Compute the SHA-256 over texts as hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def code_digests(source: Path, names: Iterable[str], more: Mapping[str, Path] | None = None) -> dict[str, str]:
    """Compute a digest of each module that can change a trial's numbers, blind to comments and docstrings.

    Args:
        source: the folder `src`.
        names: files and folders below it.
        more: further files, by a name of theirs.
    """
    files = [f for name in names for f in (sorted((source / name).rglob("*.py")) or [source / name])]
    digests = {str(f.relative_to(source.parent)): _code_digest(f.read_text(encoding="utf-8")) for f in files}
    digests |= {name: _code_digest(path.read_text(encoding="utf-8")) for name, path in (more or {}).items()}
    return digests | {package: version(package) for package in PACKAGES}


def target_modules(config: Any) -> dict[str, Path]:
    """Find the files of the modules that a `_target_` names anywhere in a config."""
    if isinstance(config, Mapping):
        module = str(config.get("_target_", "")).rpartition(".")[0]
        spec = find_spec(module) if module else None
        file = {module: Path(spec.origin)} if spec and spec.origin else {}
        return file | target_modules(list(config.values()))
    if isinstance(config, list | tuple):
        return {name: path for part in config for name, path in target_modules(part).items()}
    return {}


@cache  # a stage asks for the digests of 160 modules more than once, which takes 0.4 s
def _code_digest(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return digest(ast.dump(tree))[:16]
