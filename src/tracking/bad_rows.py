"""The refusal of rows that a served model cannot predict, as MLflow's scoring server passes it on."""

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST


class BadRows(MlflowException):
    """HTTP status 400 with one sentence to the caller, in the place of the whole request that MLflow would repeat."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        super().__init__(sentence, error_code=BAD_REQUEST)

    @property
    def message(self) -> str:
        """The sentence."""
        return self._sentence

    @message.setter
    def message(self, text: str) -> None:
        """Keep the sentence: MLflow's server would put all rows of the request in front of it."""
