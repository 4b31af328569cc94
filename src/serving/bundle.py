"""A trained model, or an ensemble of several, as a folder that MLflow loads and serves: raw rows in, predictions out.

The bundle folder holds `meta.json` (what the data are), `preprocessing.skops` (raw rows → x), `bundle.json` (each member's
config and file, or files and coefficients), `member-<i>[-<part>].safetensors`, `mixture.safetensors` (how they are joined),
and `MLmodel`, by which `mlflow.pyfunc.load_model` finds this module.
"""

import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from src.ensembles.mixture import Mixture, Weighted, read, write
from src.models.building import build
from src.serving.ensemble_module import EnsembleModule, Sum
from src.system.errors import UserError
from src.system.files import atomic_folder, write_json, write_text

_FORMAT = 3  # of bundle.json; the first named no format and had no boosted members, the second no joint

_MLMODEL = """\
flavors:
  python_function:
    loader_module: src.serving
    python_version: {python}
"""


def write_bundle(
    folder: Path,
    meta: Mapping[str, Any],
    members: Sequence[Mapping[str, Any]],
    prepared: Path,
    mixture: Mixture | None = None,
) -> None:
    """Put members into `folder`: each has a `config` and its `weights`: a safetensors file or a state dict.

    A boosted member has, in place of `weights`, `parts`: nets with `weights` and a `coefficient`, whose raw outputs are
    summed. The same members give the same bytes. They are joined by `mixture`, or else by their mean, of which each has its
    `weight` (1) as its share; these need not sum to one.
    """
    with atomic_folder(folder) as new:
        entries = []
        for number, member in enumerate(members):
            entry = {"config": member["config"]}
            if "parts" in member:
                entry["parts"] = []
                for place, part in enumerate(member["parts"]):
                    file = f"member-{number}-{place}.safetensors"
                    _write_weights(part["weights"], new / file)
                    entry["parts"].append({"file": file, "coefficient": float(part["coefficient"])})
            else:
                entry["file"] = f"member-{number}.safetensors"
                _write_weights(member["weights"], new / entry["file"])
            entries.append(entry)
        weights = np.array([member.get("weight", 1.0) for member in members])
        write(mixture or Weighted(weights / weights.sum()), new / "joint.safetensors")
        shutil.copyfile(prepared / "preprocessing.skops", new / "preprocessing.skops")
        write_json(new / "meta.json", meta)
        write_json(new / "bundle.json", {"format": _FORMAT, "members": entries})
        write_text(new / "MLmodel", _MLMODEL.format(python=platform.python_version()))


def _write_weights(weights: Path | Mapping[str, Tensor], file: Path) -> None:
    if isinstance(weights, Path):
        shutil.copyfile(weights, file)
    else:
        save_file(
            {
                name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, value in weights.items()
            },
            file,
        )


def load_members(path: str | Path) -> list[nn.Module]:
    """The members of a bundle, or of a model that MLflow downloaded, as torch modules in eval mode: x → raw outputs."""
    folder, meta, entries = read_entries(Path(path))
    return [_load(folder, meta, entry) for entry in entries]


def load_product(path: str | Path) -> EnsembleModule:
    """The same as one module, with what joins them: x → probabilities [N, C], or values [N]."""
    folder, meta, entries = read_entries(Path(path))
    if (file := folder / "joint.safetensors").exists():
        mixture = read(file)
    else:  # before format 3 every ensemble was a weighted mean
        weights = np.array([entry["weight"] for entry in entries])
        mixture = Weighted(weights / weights.sum())
    return EnsembleModule([_load(folder, meta, entry) for entry in entries], mixture, meta).eval().requires_grad_(False)


def _load(folder: Path, meta: Mapping[str, Any], entry: Mapping[str, Any]) -> nn.Module:
    def net(file: str) -> nn.Module:
        model = build(entry["config"]["model"], meta)
        model.load_state_dict(load_file(folder / file))
        return model.eval()

    if "parts" not in entry:
        return net(entry["file"])
    return Sum([net(part["file"]) for part in entry["parts"]], [part["coefficient"] for part in entry["parts"]])


def read_entries(path: Path) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """The bundle's folder, which a logged model has somewhere below, with what its data are and its members."""
    found = next(path.rglob("bundle.json"), None)
    if found is None:
        raise UserError(f"{path} holds no bundle.json, so it is no model of this project.")
    bundle, meta = json.loads(found.read_text()), json.loads((found.parent / "meta.json").read_text())
    if (written := bundle.get("format", 1)) > _FORMAT:
        raise UserError(f"{found} has format {written}, of a later version; this one reads up to {_FORMAT}: update it.")
    return found.parent, meta, list(bundle["members"])
