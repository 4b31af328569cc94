"""The ensemble as one file that needs nothing of this project: for `torch.export`, and for ONNX.

Both take prepared rows x, as `data.transform` makes them of raw ones, any number at a time, and answer as `Product` does.
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

from src.errors import UserError
from src.files import write_bytes
from src.product import Product

CLOSE = 1e-5  # how far an exported answer may be from the module's own, as a share of the largest


def check(wanted: Mapping[str, bool]) -> None:
    """Refuse what cannot be written here, before anything is computed."""
    if wanted["onnx"] and (lacking := [n for n in ("onnx", "onnxscript") if importlib.util.find_spec(n) is None]):
        raise UserError(f"export.onnx: the packages {' and '.join(lacking)} are needed; pip install -e '.[onnx]'")


def export(product: Product, x: Tensor, folder: Path, wanted: Mapping[str, bool]) -> list[str]:
    """Write `model.pt2` and `model.onnx` as `wanted`, tried on the rows `x`; returns a sentence if that cannot be.

    A module of a user's own may do what no graph can hold. The same product gives the same bytes.
    """
    files = {kind: folder / f"model.{kind}" for kind in ("pt2", "onnx")}
    for file in files.values():
        file.unlink(missing_ok=True)
    if not any(wanted.values()):
        return []
    try:
        with torch.no_grad(), _quiet():
            program = traced(product, x)
            if wanted["pt2"]:
                packed = io.BytesIO()
                torch.export.save(program, packed)
                write_bytes(files["pt2"], packed.getvalue())
            if wanted["onnx"]:
                write_bytes(files["onnx"], _onnx(program))
    except Exception as error:  # PyTorch's of many kinds, and whatever the module raises
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return [f"export: this ensemble cannot be a file of its own: {reason}"]
    return []


def traced(product: Product, x: Tensor) -> ExportedProgram:
    """The graph of the members, one after another, and of their joint, for any number of rows.

    Raises:
        ValueError: it answers otherwise than the product for the rows `x`.
    """
    example = torch.zeros(2, *x.shape[1:])  # it is kept in the file, so no row of anybody's
    program = torch.export.export(product, (example,), dynamic_shapes=({0: Dim("rows")},), strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # places on this machine
    expected = product(x)
    if (program.module()(x) - expected).abs().max() > CLOSE * expected.abs().max():
        raise ValueError("its graph gives other answers than the module")
    return program


def _onnx(program: ExportedProgram) -> bytes:
    made = torch.onnx.export(program, (), dynamo=True, input_names=["x"], output_names=["y"], verbose=False)
    assert made is not None
    return bytes(made.model_proto.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of their own parts, such as packages that no model here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
