"""A trained model, or an ensemble of several, as a folder that MLflow loads and serves: raw rows in, predictions out.

The bundle folder holds `meta.json` (what the data are), `preprocessing.skops` (raw rows → x), `bundle.json` (each member's
config and file), `member-<i>.safetensors`, `joint.safetensors` (the mixture that joins them), and `MLmodel`, by which
`mlflow.pyfunc.load_model` finds this package; `SHA256SUMS`, their checksums; and where the model shall be loaded outside of
the project, `code.zip`, from which Python imports it.
"""

import platform
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from src.ensembles.mixture import Mixture, Weighted, read, write
from src.models.building import build
from src.serving.ensemble_module import EnsembleModule
from src.system.checksums import read_checked, write_checksums
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from src.system.files import atomic_folder, write_bytes, write_json, write_text
from src.system.read_back import intact, read_json
from src.system.tensors import read_weights, tensor_bytes
from src.system.trial_config import TrialConfig

AGAIN = "run python -m src.ensemble again"
_FORMAT = 3  # of bundle.json; the first named no format, the second had no mixture; both had sums of nets as members

_MLMODEL = """\
flavors:
  python_function:
    loader_module: src.serving
    python_version: {python}
"""
_WITH_CODE = "    code: code.zip\n"
_SOURCE = Path(__file__).parents[1]
_ROOMS = ("config", "data", "ensembles", "models", "population", "serving", "system", "tracking")  # that predict

Weights = Mapping[str, Tensor]


def write_bundle(
    folder: Path,
    meta: DataMeta,
    members: Sequence[tuple[TrialConfig, Weights]],
    prepared: Path,
    mixture: Mixture | None = None,
    with_code: bool = False,
) -> None:
    """Make `folder` a bundle. The same members give the same bytes.

    Args:
        folder: the bundle's, new or replaced as a whole.
        meta: what the data are, as `prepare` wrote it.
        members: config and weights by their `state_dict` names of each.
        prepared: the folder of the prepared data, which has the preprocessing.
        mixture: what joins the members; None: their mean.
        with_code: whether it takes along the code that loads it, which models of the registry have anyway.
    """
    with atomic_folder(folder) as new:
        entries = [
            {"config": config.to_json(), "file": f"member-{number}.safetensors"}
            for number, (config, _) in enumerate(members)
        ]
        for entry, (_, weights) in zip(entries, members, strict=True):
            write_bytes(new / str(entry["file"]), tensor_bytes(weights))
        write(mixture or Weighted(np.full(len(members), 1 / len(members))), new / "joint.safetensors")
        write_bytes(new / "preprocessing.skops", read_checked(prepared / "preprocessing.skops", "run prepare again"))
        write_json(new / "meta.json", meta.to_json())
        write_json(new / "bundle.json", {"format": _FORMAT, "members": entries})
        write_text(new / "MLmodel", _MLMODEL.format(python=platform.python_version()) + _WITH_CODE * with_code)
        if with_code:
            write_bytes(new / "code.zip", _code())
        write_checksums(new)


@cache
def _code() -> bytes:
    """The code that predicts, as an archive from which Python imports; the same bytes for the same code."""
    packed = BytesIO()
    files = [_SOURCE / "__init__.py", *(file for room in _ROOMS for file in sorted((_SOURCE / room).rglob("*.py")))]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(str(file.relative_to(_SOURCE.parent)), date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
    return packed.getvalue()


@dataclass(frozen=True)
class Bundle:
    """Content of a bundle in `folder`: `meta` of the data, each member's model config and weights, and their mixture."""

    folder: Path
    meta: DataMeta
    models: list[dict[str, Any]]
    weights: list[Weights]
    mixture: Mixture

    def module(self) -> EnsembleModule:
        """Build the ensemble in eval mode: x → probabilities [N, C], or values [N]."""
        with intact(self.folder, AGAIN):
            nets = [build(model, self.meta) for model in self.models]
            for net, weights in zip(nets, self.weights, strict=True):
                net.load_state_dict(weights)
            return EnsembleModule(nets, self.mixture, self.meta).eval().requires_grad_(False)


def read_bundle(path: Path) -> Bundle:
    """Read the bundle at `path`, or somewhere below, as in a model that MLflow downloaded.

    Raises:
        UserError: there is none, or a later version wrote it.
    """
    file = next(path.rglob("bundle.json"), None)
    if file is None:
        raise UserError(f"{path} holds no bundle.json, so it is no model of this project.")
    with intact(file, AGAIN):
        return _read_bundle(file, read_json(file, AGAIN))


def _read_bundle(file: Path, content: Mapping[str, Any]) -> Bundle:
    folder = file.parent
    if (written := content.get("format", 1)) > _FORMAT:
        raise UserError(f"{file} has format {written}, of a later version; this one reads up to {_FORMAT}: update it.")
    entries = list(content["members"])
    models, weights = zip(*(_member(folder, entry) for entry in entries), strict=True)
    if (mixture_file := folder / "joint.safetensors").exists():
        mixture = read(mixture_file)
    else:  # before format 3 every ensemble was a weighted mean
        weight_M = np.array([entry["weight"] for entry in entries])
        mixture = Weighted(weight_M / weight_M.sum())
    meta = DataMeta.from_json(read_json(folder / "meta.json", AGAIN))
    return Bundle(folder, meta, list(models), list(weights), mixture)


def _member(folder: Path, entry: Mapping[str, Any]) -> tuple[dict[str, Any], Weights]:
    """Model config and weights of a member; earlier versions wrote a boosted one as several nets with coefficients."""
    model = dict(entry["config"]["model"])
    if "parts" not in entry:
        return model, read_weights(folder / entry["file"], AGAIN)
    parts = entry["parts"]
    summed = {"name": "additive", "of": model, "coefficients": [part["coefficient"] for part in parts]}
    files = [read_weights(folder / part["file"], AGAIN) for part in parts]
    return summed, {f"parts.{k}.{name}": value for k, file in enumerate(files) for name, value in file.items()}
