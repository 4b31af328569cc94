"""Average precision: the mean of the precisions at which each row of a class is reached, one class against the rest."""

import numpy as np

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ClassPredictions, Ranking


def average_precision(predictions: ClassPredictions) -> Array:
    """Precision [K] of the second of two classes, or the plain mean over those with rows of more; NaN where none has any."""
    return np.array([_mean_precision(ranking) for ranking in predictions.ranking_K])


def _mean_precision(ranking: Ranking) -> float:
    """Mean over the classes that have rows; the precision at a row is that of all rows with its score or a higher one."""
    positives_C, rows = ranking.positives_C, ranking.hit_CN.shape[1]
    if not positives_C.any():
        return float("nan")
    precision_CN = (positives_C[:, None] - ranking.hits_below_CN) / (rows - ranking.rows_below_CN)
    sum_C = (precision_CN * ranking.hit_CN).sum(1)
    return float((sum_C[positives_C > 0] / positives_C[positives_C > 0]).mean())


METRIC = Metric(task="classification", higher_is_better=True, whole=average_precision, per_epoch=False)
