"""The registered model: its bundle of files, how it predicts from raw rows, and what it is exported to."""

from typing import Any


def _load_pyfunc(data_path: str) -> Any:
    """The ensemble of a bundle, as MLflow asks for it: models name this package as the module that loads them."""
    from pathlib import Path

    from src.serving.pyfunc import Ensemble

    return Ensemble(Path(data_path))
