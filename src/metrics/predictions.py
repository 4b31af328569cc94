"""Predictions of K models for N rows and the truth: all that a metric is computed from."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class ClassPredictions:
    """Predicted and true classes.

    Args:
        p_KNC: probability of each class.
        y_KN: the true classes.
        classes_KN: the classes that the models answer with.
    """

    p_KNC: Array
    y_KN: Array
    classes_KN: Array

    @classmethod
    def of(cls, p_NC: Array, y_N: Array) -> "ClassPredictions":
        """Take the predictions of one model, in 64 bits; its probabilities are made to sum to 1."""
        p_NC = np.asarray(p_NC, np.float64)
        p_NC = p_NC / p_NC.sum(1, keepdims=True)
        return cls(p_NC[None], np.asarray(y_N)[None], p_NC.argmax(1)[None])

    @cached_property
    def confusion_KCC(self) -> NDArray[np.int64]:
        """Rows of each class (second axis) that each model answers with each class (last axis), counted."""
        k, _, c = self.p_KNC.shape
        cell_KN = (np.arange(k)[:, None] * c + self.y_KN) * c + self.classes_KN
        return np.bincount(cell_KN.ravel(), minlength=k * c * c).reshape(k, c, c)

    @cached_property
    def ranking_K(self) -> "list[Ranking]":
        """The rows of each model ranked for each class; of two classes for the second one alone."""
        first = int(self.p_KNC.shape[2] == 2)
        classes_C1 = np.arange(first, self.p_KNC.shape[2])[:, None]
        pairs = zip(self.p_KNC, self.y_KN, strict=True)
        return [Ranking.of(p_NC.T[first:], y_N == classes_C1) for p_NC, y_N in pairs]


@dataclass(frozen=True)
class Ranking:
    """Rows of one model in the order of rising scores, for each of C classes.

    Args:
        hit_CN: whether the row is of the class.
        rows_below_CN: rows with a lower score.
        hits_below_CN: rows of the class with a lower score.
    """

    hit_CN: NDArray[np.bool_]
    rows_below_CN: NDArray[np.int64]
    hits_below_CN: NDArray[np.int64]

    @classmethod
    def of(cls, score_CN: Array, of_class_CN: NDArray[np.bool_]) -> "Ranking":
        """Rank rows by `score_CN` from 0 to 1, where `of_class_CN` says which are of the class.

        The bits of such numbers, read as integers, rise as they do; with the class as a last bit one fast sort does.
        """
        score_CN = np.ascontiguousarray(score_CN)
        key_CN = (score_CN.view(f"i{score_CN.itemsize}") << 1) | of_class_CN
        key_CN.sort(axis=1)
        hit_CN, score_CN = (key_CN & 1).astype(bool), key_CN >> 1
        first_CN = np.ones(hit_CN.shape, bool)  # of those with this score
        first_CN[:, 1:] = score_CN[:, 1:] != score_CN[:, :-1]
        rows_CN = np.where(first_CN, np.arange(hit_CN.shape[1]), 0)
        hits_CN = np.where(first_CN, hit_CN.cumsum(1) - hit_CN, 0)
        return cls(hit_CN, np.maximum.accumulate(rows_CN, axis=1), np.maximum.accumulate(hits_CN, axis=1))

    @property
    def positives_C(self) -> NDArray[np.int64]:
        """Rows of each class."""
        return np.asarray(self.hit_CN.sum(1))


@dataclass(frozen=True)
class ValuePredictions:
    """Predicted and true values, in any unit.

    Args:
        values_KN: what the models predict.
        y_KN: the true values.
        members_MN: the predictions of the members of an ensemble, where it is one.
        shares_M: the weights of the members, which sum to 1.
    """

    values_KN: Array
    y_KN: Array
    members_MN: Array | None = None
    shares_M: Array | None = None
