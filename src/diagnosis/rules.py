"""The diagnosis of a trial from its curves, as an experienced person reads them: pure functions of numbers.

A rule looks for one state and gives its evidence; the first that finds something names the run. Causes come before
symptoms: a net whose units are dead also plateaus.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from src.system.reason import Reason

Curve = NDArray[np.float64]

KINDS = (
    *("diverged", "unstable", "dead units", "vanishing gradients", "overfitting"),
    *("too slow", "still improving", "underfitting", "plateaued", "healthy"),
)
TINY = 1e-12  # a loss of 0 has relative changes too
EXPLOSION = 50.0  # a training loss so many times the lowest validation loss was an explosion
GUESS = 10.0  # a cross-entropy that is worse than a guess among thousands of classes
JUMPS, UPS = (
    0.025,
    0.25,
)  # relative jumps of the loss from epoch to epoch, and rises as a share of falls: a rate too high
TURNS = 0.3  # of the points, at least: a curve that turns once jumps nowhere
RESTLESS = 0.05  # an epoch that moves the weights by this share of their length is no noise of batches
CRAWL = 0.005  # by so little an epoch moves them where the rate is far too low
DEAD = 0.5  # share of the units
VANISHED = 3e-3  # gradient of the first layer over that of the last
RISE = 0.03  # of the validation loss above its minimum, relative
PACE = 0.02  # of the loss an epoch, or a fifth of it in the run: slower is flat
SOON = 25  # epochs; less is not long
POOR = 1.35  # a loss this often the lowest that is known is poor
UNLEARNT, LITTLE = 0.4, 0.6  # unless it is below this share of the first one; without a known loss above this is poor
GAIN = 0.005  # of the loss: less is none
EARLY = 0.5  # share of a run after which a healthy one still gains


@dataclass(frozen=True)
class Diagnosis:
    """One of `KINDS`, the numbers that prove it, and the next change to try."""

    kind: str
    evidence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.evidence}: {self.advice}"


@dataclass(frozen=True)
class Run:
    """The curves of a run, each with a point an epoch; one that was not recorded is empty."""

    train: Curve
    val: Curve
    rate: Curve
    statistics: Mapping[str, Curve] = field(default_factory=dict)
    reference: float | None = None  # the lowest validation loss that other runs on these data have reached

    @property
    def loss(self) -> Curve:
        """The loss of the validation rows, else of the training rows."""
        return self.val if self.val.size else self.train

    @property
    def epochs(self) -> int:
        """The number of epochs that the loss has."""
        return len(self.loss)

    def early(self, name: str) -> float:
        """Compute the median of a statistic over the first half; NaN where it was not recorded from the beginning."""
        values = self.statistics.get(name, np.empty(0))
        return _median(values[: (len(values) + 1) // 2] if len(values) == self.epochs else np.empty(0))

    def late(self, name: str) -> float:
        """Compute the median of a statistic over the second half, of which one point is enough."""
        values = self.statistics.get(name, np.empty(0))
        return _median(values[len(values) // 2 :])


def diagnose(curves: Mapping[str, Sequence[float]], reference: float | None = None) -> Diagnosis:
    """Diagnose a run by its curves, named as the engine names them; `train/loss` or `val/loss` must be there.

    `reference` is the lowest validation loss of all runs on these data, which tells how good a loss is.
    """
    arrays = {name: np.asarray(curve, np.float64) for name, curve in curves.items()}
    train, val, rate = (arrays.get(name, np.empty(0)) for name in ("train/loss", "val/loss", "lr"))
    run = Run(train, val, rate, arrays, reference)
    return next(diagnosis for rule in RULES if (diagnosis := rule(run)))


def diagnosis_of(reason: Reason, curves: Mapping[str, Sequence[float]], reference: float | None = None) -> str:
    """Write the diagnosis of a trial that is over: `reason`, where something else ended it, else that of its `curves`.

    `reference` is the lowest validation loss of all runs on these data.
    """
    if reason.text != reason.kind or not (curves.get("train/loss") or curves.get("val/loss")):
        return reason.text
    diagnosis = diagnose(curves, reference)
    return reason.text if reason and diagnosis.kind != reason.kind else str(diagnosis)


def kind_of(text: str) -> str:
    """Read the kind, or another word that leads, off the diagnosis of a trial as it was written."""
    return text.partition(": ")[0]


def least(runs: Sequence[Mapping[str, Sequence[float]]]) -> float | None:
    """Find the lowest finite validation loss in the curves of several runs; None where there is none."""
    losses = [loss for curves in runs for loss in curves.get("val/loss", ()) if np.isfinite(loss)]
    return min(losses, default=None)


def diverged(run: Run) -> Diagnosis | None:
    """Look for a loss that is not finite, or has exploded and never come back."""
    advice = f"lower the rate{_rate(run, 0.1)}, or clip the gradient"
    for what, loss in (("training", run.train), ("validation", run.val)):
        if bad := np.flatnonzero(~np.isfinite(loss)).tolist():
            return Diagnosis("diverged", f"{what} loss is {loss[bad[0]]:.3g} after epoch {bad[0] + 1}", advice)
    for what, loss in (("training", run.train), ("validation", run.val)):
        if loss.size and loss.max() > EXPLOSION * run.loss.min() > 0.5 * EXPLOSION * run.loss[0]:
            peak = int(loss.argmax())
            return Diagnosis("diverged", f"{what} loss was {loss[peak]:.3g} in epoch {peak + 1}", advice)
        if loss.size > 1 and loss[-1] > 2 * loss[0] and not _falls(run.train):
            return Diagnosis("diverged", f"{what} loss ends at {loss[-1]:.3g}, after {loss[0]:.3g} in epoch 1", advice)
    if run.epochs > 1 and "val/accuracy" in run.statistics and run.loss.min() > GUESS:
        return Diagnosis("diverged", f"the loss never came below {run.loss.min():.3g}, worse than a guess", advice)
    return None


def unstable(run: Run) -> Diagnosis | None:
    """Look for a loss that jumps up and down, by weights that move far in every epoch."""
    loss = _settled(run.loss)
    moved = run.late("update/ratio")
    if len(loss) < 4 or moved < RESTLESS:
        return None
    jumps, ups, falls = _jumps(loss), *_ups_and_falls(loss)
    if jumps < JUMPS or ups < UPS * falls or _turns(loss) < TURNS:
        return None
    evidence = f"the loss jumps by {jumps:.0%} from epoch to epoch"
    if np.isfinite(moved):
        evidence += f", and an epoch moves the weights by {moved:.0%} of their length"
    return Diagnosis("unstable", evidence, f"lower the rate{_rate(run, 0.3)}, or let it fall")


def dead_units(run: Run) -> Diagnosis | None:
    """Look for rectified units of which at least the share `DEAD` never fires in the second half."""
    share = run.late("dead/share")
    if not share >= DEAD:
        return None
    return Diagnosis(
        "dead units",
        f"{share:.0%} of the units behind a rectifier never fire",
        "lower the rate in the first epochs (warm-up), or use leaky_relu or a norm",
    )


def vanishing_gradients(run: Run) -> Diagnosis | None:
    """Look for a gradient of the first layer that is tiny beside that of the last."""
    ratio = run.late("grad/ratio")
    if not ratio < VANISHED or run.late("grad/norm") == 0:
        return None
    return Diagnosis(
        "vanishing gradients",
        f"the first layer's gradient is {ratio:.1g} of the last layer's",
        "use relu with its initialisation, a norm, or fewer layers",
    )


def overfitting(run: Run) -> Diagnosis | None:
    """Look for a validation loss that turns up while the training loss goes on falling."""
    if not run.val.size or not run.train.size:
        return None
    best = int(run.val.argmin())
    rise = float(np.median(run.val[-3:]) - run.val[best]) / max(abs(run.val[best]), TINY)
    if best + 1 >= run.epochs or rise < RISE or not run.train[-1] < min(run.train[best], run.val[best]):
        return None
    return Diagnosis(
        "overfitting",
        f"validation loss rises by {rise:.0%} from epoch {best + 1} while training loss falls"
        f" from {run.train[best]:.3g} to {run.train[-1]:.3g}",
        f"stop at {best + 1}, or raise dropout or weight decay",
    )


def too_slow(run: Run) -> Diagnosis | None:
    """Look for a loss that falls, but by steps so small that it would take the run several times over."""
    pace, moved = _pace(run.loss), run.early("update/ratio")
    if pace <= 0 or (_is_flat(run) and not _is_steady(run.loss)):
        return None
    goal = 0.4 * run.loss[0] if run.reference is None else 1.1 * run.reference
    more = (run.loss[-1] - goal) / pace
    if (run.reference is None and moved >= CRAWL) or more <= (0 if moved < CRAWL else max(2 * run.epochs, SOON)):
        return None
    return Diagnosis(
        "too slow",
        f"the loss has fallen from {run.loss[0]:.3g} to {run.loss[-1]:.3g} in {run.epochs} epochs,"
        f" and at {pace:.2g} an epoch it would take {more:,.0f} more to {goal:.3g}",
        f"raise the rate{_rate(run, 10)}",
    )


def still_improving(run: Run) -> Diagnosis | None:
    """Look for a loss that still falls at the end of the run."""
    pace = _pace(run.loss)
    if _is_flat(run) or pace <= 0:
        return None
    return Diagnosis(
        "still improving",
        f"the loss still falls by {pace / max(abs(run.loss[-1]), TINY):.1%} an epoch after {run.epochs}",
        f"train for {max(run.epochs + 1, round(1.5 * run.epochs))} epochs or more, or raise the rate",
    )


def underfitting(run: Run) -> Diagnosis | None:
    """Look for a loss as bad on training as on validation rows, and far above what these data allow."""
    if not run.train.size or run.epochs < 3 or _at_rest_early(run):
        return None
    loss, little = float(np.median(run.train[-3:])), LITTLE * run.train[0]
    poor = little if run.reference is None else max(POOR * run.reference, UNLEARNT * run.train[0])
    if min(loss, run.loss.min()) < poor:
        return None
    reference = (
        f"{run.train[0]:.3g} in epoch 1" if run.reference is None else f"{run.reference:.3g} that another run reached"
    )
    return Diagnosis(
        "underfitting",
        f"training loss stays at {loss:.3g}, against {reference}",
        "a larger model, or less dropout, weight decay and augmentation",
    )


def plateaued(run: Run) -> Diagnosis | None:
    """Look for a run that gained nothing for a good part of its epochs."""
    last = _last_gain(run.loss)
    if run.epochs < 5 or last > EARLY * run.epochs:
        return None
    fallen = _at_rest_early(run)
    return Diagnosis(
        "plateaued",
        f"the loss has stayed at {run.loss[-1]:.3g} since epoch {last}" + " of a rate near 0" * fallen,
        "let the rate fall later" if fallen else f"stop at {last}, or lower the rate there",
    )


def healthy(run: Run) -> Diagnosis:
    """Name the best epoch of a run in which no other rule sees a fault."""
    best = int(run.loss.argmin())
    return Diagnosis("healthy", f"the loss has come to {run.loss[best]:.3g} at epoch {best + 1}", "search around it")


RULES: tuple[Callable[[Run], Diagnosis | None], ...] = (
    *(diverged, unstable, dead_units, vanishing_gradients, overfitting),
    *(too_slow, still_improving, underfitting, plateaued, healthy),
)


def _median(values: Curve) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _settled(loss: Curve) -> Curve:
    """Drop the first fifth, in which every loss falls fast."""
    return loss[max(1, len(loss) // 5) :]


def _jumps(loss: Curve) -> float:
    """Compute the median distance of a point from the middle of its neighbours, relative."""
    log = np.log(np.maximum(loss, TINY))
    return float(np.median(np.abs(log[1:-1] - (log[:-2] + log[2:]) / 2)))


def _ups_and_falls(loss: Curve) -> tuple[float, float]:
    """Sum all rises of a curve, and all its falls, relative."""
    steps = np.diff(np.log(np.maximum(loss, TINY)))
    return float(steps[steps > 0].sum()), float(-steps[steps < 0].sum())


def _turns(loss: Curve) -> float:
    """Compute the share of the points in which a curve turns from rising to falling, or from falling to rising."""
    turns = np.diff(np.sign(np.diff(loss))) != 0
    return float(turns.mean()) if turns.sum() > 1 else 0.0


def _falls(loss: Curve) -> bool:
    return bool(loss.size and loss[-1] < loss[0])


def _pace(loss: Curve) -> float:
    """Compute the gain of an epoch at the end: the median of the last slopes."""
    if len(loss) < 2:
        return 0.0
    steps = -np.diff(loss)
    return float(np.median(steps[-max(2, len(loss) // 4) :]))


def _is_steady(loss: Curve) -> bool:
    """Tell whether the loss falls in almost every epoch, at the end about as fast as at first."""
    if len(loss) < 3:
        return False
    ups, falls = _ups_and_falls(loss)
    return ups <= 0.1 * falls and _pace(loss) > 0.25 * _pace(loss[: max(3, len(loss) // 4)])


def _is_flat(run: Run) -> bool:
    """Tell whether the end of the run gains next to nothing."""
    return bool(_pace(run.loss) < PACE * run.loss[-1] * min(1.0, 10 / run.epochs))


def _last_gain(loss: Curve) -> int:
    """Find the epoch after which the lowest loss falls by less than `GAIN`."""
    low = np.minimum.accumulate(loss)
    return int(np.flatnonzero(low <= low[-1] + GAIN * abs(low[-1]))[0]) + 1


def _at_rest_early(run: Run) -> bool:
    """Tell whether the rate was next to nothing in the second half."""
    return bool(run.rate.size > 1 and np.median(run.rate[len(run.rate) // 2 :]) < 1e-3 * run.rate.max())


def _rate(run: Run, times: float) -> str:
    """Write the rate to set, `times` today's highest: " to 0.003"; nothing where the rate was not recorded."""
    return f" to {run.rate.max() * times:.2g}" if run.rate.size else ""
