"""A model that the code before the move into rooms registered still loads, and answers as it did."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

FOLDER = Path(__file__).parent / "before_the_rooms"


@pytest.mark.filterwarnings(
    "ignore::sqlalchemy.exc.SADeprecationWarning",
    "ignore::DeprecationWarning:mlflow",
    "ignore:.*Any type hint:UserWarning",
)
def test_a_model_registered_before_the_rooms_answers_as_it_did() -> None:
    """`answers.csv` holds what the code that wrote the bundle predicted for the first 20 images."""
    import mlflow

    expected = pd.read_csv(FOLDER / "answers.csv", dtype={"prediction": str})
    images = load_digits().images[:20, None].astype(np.uint8)
    answers = mlflow.pyfunc.load_model(str(FOLDER)).predict(images)
    assert list(answers.columns) == list(expected.columns)
    assert list(answers["prediction"].astype(str)) == list(expected["prediction"])
    np.testing.assert_allclose(answers.iloc[:, 1:].to_numpy(), expected.iloc[:, 1:].to_numpy(), atol=1e-7)
