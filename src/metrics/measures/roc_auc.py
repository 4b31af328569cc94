"""Area under the ROC curve: how likely a row of a class scores above a row of another, one class against the rest."""

import numpy as np

from src.metrics.metric import Array, Metric
from src.metrics.predictions import ClassPredictions, Ranking


def roc_auc(predictions: ClassPredictions) -> Array:
    """Plain mean of the areas [K] over classes; NaN where all rows are of one class."""
    return np.array([_mean_area(ranking) for ranking in predictions.ranking_K])


def _mean_area(ranking: Ranking) -> float:
    """Mean area of the classes that have rows and leave some to others (Mann & Whitney 1947; ties count half)."""
    positives_C = ranking.positives_C
    pairs_C = positives_C * (ranking.hit_CN.shape[1] - positives_C)
    if not pairs_C.any():
        return float("nan")
    won_C = ((ranking.rows_below_CN - ranking.hits_below_CN) * ranking.hit_CN).sum(1)
    lost_C = (ranking.hits_below_CN * ~ranking.hit_CN).sum(1)
    return float((0.5 + (won_C - lost_C)[pairs_C > 0] / (2 * pairs_C[pairs_C > 0])).mean())


METRIC = Metric(task="classification", higher_is_better=True, whole=roc_auc, per_epoch=False)
