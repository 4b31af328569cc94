"""Export of the ensemble as one file that needs nothing of this project: for `torch.export`, and for ONNX.

Both take prepared rows x, as `data.transform` makes them of raw ones, any number at a time, and answer as `EnsembleModule`
does.
"""

import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from src.serving.ensemble_module import EnsembleModule
from src.system.errors import UserError
from src.system.files import write_bytes

ONNX = ("onnx", "onnxscript", "onnxruntime")  # the format, PyTorch's exporter, what runs it
CLOSE = 1e-5  # how far an exported answer may be from the module's own, as a share of the largest


def check(wanted: Mapping[str, bool]) -> None:
    """Refuse kinds of files that cannot be written here; `wanted` says of each (`pt2`, `onnx`) whether it shall be.

    Raises:
        UserError: ONNX is wanted and a package for it is missing.
    """
    if wanted["onnx"] and (lacking := [name for name in ONNX if importlib.util.find_spec(name) is None]):
        raise UserError(f"export.onnx: {', '.join(lacking)} must be installed; pip install -e '.[onnx]'")


def export(module: EnsembleModule, x: Tensor, folder: Path, wanted: Mapping[str, bool]) -> list[str]:
    """Write `model.pt2` and `model.onnx`, and return a sentence for each that cannot be written.

    A module of a user's own may do what no graph can hold. The same module gives the same bytes.

    Args:
        module: the ensemble.
        x: prepared rows [N, ...], for which a file must answer as the module does.
        folder: of the files; one that is not wanted is removed.
        wanted: says of `pt2` and `onnx` whether it shall be written.
    """
    complaints = []
    for kind, packed in (("pt2", _pt2), ("onnx", _onnx)):
        file = folder / f"model.{kind}"
        file.unlink(missing_ok=True)
        if wanted[kind]:
            try:
                with torch.no_grad(), _quiet():
                    write_bytes(file, packed(module, x))
            except Exception as error:  # PyTorch's of many kinds, and whatever the module raises
                reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
                complaints.append(f"export.{kind}: this ensemble cannot be such a file: {reason}")
    return complaints


def _pt2(module: EnsembleModule, x: Tensor) -> bytes:
    program, packed = _traced(module, x), io.BytesIO()
    torch.export.save(program, packed)
    _check_agreement(torch.export.load(packed).module()(x), module(x))
    return packed.getvalue()


def _onnx(module: EnsembleModule, x: Tensor) -> bytes:
    import onnxruntime

    program = torch.onnx.export(
        _traced(module, x), (), dynamo=True, input_names=["x"], output_names=["y"], verbose=False
    )
    assert program is not None
    packed = bytes(program.model_proto.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.set_denormal_as_zero", "1")  # else the first session turns them on here
    (y,) = onnxruntime.InferenceSession(packed, options).run(None, {"x": x.numpy()})
    _check_agreement(torch.from_numpy(y), module(x))
    return packed


def _traced(module: EnsembleModule, x: Tensor) -> ExportedProgram:
    """The graph of the members, one after another, and of their mixture, for any number of rows."""
    example = torch.zeros(2, *x.shape[1:])  # it is kept in the file, so no row of anybody's
    module(example)  # a net that looks up training rows has encoded them now, and the graph holds them so
    program = torch.export.export(module, (example,), dynamic_shapes=({0: Dim("rows")},), strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # places on this machine
    return program


def _check_agreement(answer: Tensor, expected: Tensor) -> None:
    if not torch.allclose(answer, expected, rtol=0, atol=CLOSE * float(expected.abs().max())):
        raise ValueError(f"its answers differ by up to {float((answer - expected).abs().max()):.1e}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporters say of their own parts, such as packages that no model here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
