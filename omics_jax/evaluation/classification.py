"""How well scores separate two classes, and how far predicted probabilities can be trusted.

Ranking (AUROC, average precision), probabilities (Brier 1950; the recalibration of Cox 1958; the
expected calibration error of Guo et al. 2017) and the curves behind them. scikit-learn's binary
metrics are called here and nowhere else, because they warn or fail where a number does not exist.
Left out: thresholds chosen from data, more than two classes, and intervals (see `bootstrap`).

Common to all functions: `label` (n,) holds 0 or 1 (bool, int or float), 1 the event; higher scores
mean the event; results are float64. A nan score, a probability outside [0, 1] and any other label
raise ValueError naming the row. A number that does not exist for the given rows (a ranking of one
class, anything of no rows) is nan. Curves are dicts of columns, ready for `pandas.DataFrame`, of
length 0 where they do not exist.

`auroc`, `auprc` and `brier` are hand-written because a bootstrap calls each of them a thousand
times per model. In a bootstrap of 400 to 2,000 rows scikit-learn's functions, which check more,
take 25 to 38, 12 to 23 and 10 to 17 times as long.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from omics_jax.evaluation.proportions import wilson_interval

Scores = Float[np.ndarray, " n"]
Labels = Shaped[np.ndarray, " n"]
Events = Bool[np.ndarray, " n"]  # checked labels
Points = Float[np.ndarray, " k"]
Curve = dict[str, np.ndarray]

PROBABILITY_FLOOR = 1e-6  # keeps the logit of a probability of 0 or 1 finite
NAN = float("nan")
NO_POINTS = np.empty((3, 0))


# --- numbers --------------------------------------------------------------------------------------


def auroc(score: Scores, label: Labels) -> float:
    """Area under the ROC curve: P(an event scores above a non-event), a tie counting half.

    sum_i (N(s < s_i) + N(s <= s_i)) / 2 / (n1 n0) over the events i, N the number of non-events
    with such scores. nan for one class.
    """
    score, label = _checked(score, label)
    if _one_class(label):
        return NAN
    events = np.sort(score[label])  # sorted, they are looked up twice as fast
    others = np.sort(score[~label])
    below = np.searchsorted(others, events, side="left")
    below_or_tied = np.searchsorted(others, events, side="right")
    wins = (below + below_or_tied).sum() / 2
    pairs = len(events) * len(others)
    return float(wins / pairs)


def auprc(score: Scores, label: Labels) -> float:
    """Average precision, sum_k (recall_k - recall_(k-1)) precision_k over falling thresholds.

    Each event adds 1 / n1 to the recall, so this is the mean over events of the precision at the
    event's own score. Scores without information reach the share of events on average, not 1/2.
    nan for one class.
    """
    score, label = _checked(score, label)
    if _one_class(label):
        return NAN
    events = np.sort(score[label])
    true_positives = _count_at_or_above(events, events)
    positives = _count_at_or_above(score, events)
    precision = true_positives / positives
    return float(precision.mean())


def hard_label_auroc(probability: Scores, label: Labels, threshold: float = 0.5) -> float:
    """AUROC of the 0/1 labels `probability >= threshold`, which is (sensitivity + specificity) / 2.

    Only for comparison with published numbers that were computed this way. It discards the ranking,
    and for a rare event nearly all reasonable models score little above 1/2.
    """
    probability, label = _checked_probability(probability, label)
    predicted = probability >= threshold
    return auroc(predicted.astype(np.float64), label)


def brier(probability: Scores, label: Labels) -> float:
    """Mean of (p - y)^2, defined for one class too; nan without rows."""
    probability, label = _checked_probability(probability, label)
    if not len(label):
        return NAN
    squared_error = (probability - label) ** 2
    return float(squared_error.mean())


def logistic_recalibration(probability: Scores, label: Labels) -> tuple[float, float]:
    """(intercept a, slope b) of the unpenalised fit of logit P(y = 1) = a + b logit(p).

    (0, 1) is perfect; b < 1 says that the probabilities are too extreme, a < 0 (at b = 1) that they
    are too high. p is clipped to [1e-6, 1 - 1e-6]. (nan, nan) where no finite fit exists: one
    class, all p equal, or classes that some threshold on p separates (ties at the threshold
    included).
    """
    from sklearn.linear_model import LogisticRegression

    probability, label = _checked_probability(probability, label)
    highest = 1 - PROBABILITY_FLOOR
    clipped = np.clip(probability, PROBABILITY_FLOOR, highest)
    logit = np.log(clipped) - np.log1p(-clipped)
    if _one_class(label) or _separable(logit, label):
        return (NAN, NAN)
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12)
    model.fit(logit[:, None], label)
    intercept, slope = model.intercept_[0], model.coef_[0, 0]
    return (float(intercept), float(slope))


def expected_calibration_error(probability: Scores, label: Labels, bins: int = 10) -> float:
    """sum_b n_b / n |mean p - observed rate| over bins of equal width (Guo et al. 2017, eq. 3).

    Bins are [lower, upper), the last one closed. It is above 0 for perfect probabilities too,
    because the rates of small bins are noisy. nan without rows. (scikit-learn has no such metric.)
    """
    probability, label = _checked_probability(probability, label)
    if not len(label):
        return NAN
    bin_of_row = (probability * bins).astype(int)
    bin_of_row = np.minimum(bin_of_row, bins - 1)
    mean, rate, count = _bin_means(bin_of_row, probability, label)
    gap = np.abs(mean - rate)
    return float((count * gap).sum() / len(label))


# --- curves ---------------------------------------------------------------------------------------


def calibration_curve(probability: Scores, label: Labels, bins: int = 10) -> Curve:
    """Observed against predicted risk in quantile bins, a row per bin, x rising.

    Columns: x, the mean predicted probability; y, the share of events; low and high, its 95 %
    interval (Wilson 1927); count, rows. Equal probabilities always share a bin, so there may be
    fewer bins than asked for, of unequal size. Hand-written because scikit-learn's curve lacks the
    counts that the intervals need.
    """
    probability, label = _checked_probability(probability, label)
    shares = np.arange(1, bins) / bins
    edges = np.empty(0)
    if len(label):
        edges = np.quantile(probability, shares)
    bin_of_row = np.searchsorted(edges, probability, side="right")
    mean, rate, count = _bin_means(bin_of_row, probability, label)
    low, high = wilson_interval(rate, count)
    return {"x": mean, "y": rate, "low": low, "high": high, "count": count}


def roc_curve(score: Scores, label: Labels) -> Curve:
    """Columns x (false positive rate), y (true positive rate) and threshold, falling.

    A row is positive if its score >= threshold. The curve runs from (0, 0) at threshold inf to
    (1, 1); points inside a straight piece are left out, which changes no area.
    """
    from sklearn import metrics

    score, label = _checked(score, label)
    if _one_class(label):
        return _curve(*NO_POINTS)
    levels, rank = _ranks(score)
    x, y, threshold = metrics.roc_curve(label, rank, drop_intermediate=False)
    finite = threshold[1:].astype(int)
    threshold = np.append(np.inf, levels[finite])
    events = label.sum()
    others = len(label) - events
    true_positives = np.rint(y * events)
    false_positives = np.rint(x * others)
    corner = _corners(false_positives, true_positives)
    return _curve(x[corner], y[corner], threshold[corner])


def precision_recall_curve(score: Scores, label: Labels) -> Curve:
    """Columns x (recall), y (precision) and threshold, a row per distinct score, falling.

    A row is positive if its score >= threshold. The curve starts at the highest score: the point
    (0, 1), which some draw before it, belongs to no threshold.
    """
    from sklearn import metrics

    score, label = _checked(score, label)
    if _one_class(label):
        return _curve(*NO_POINTS)
    levels, rank = _ranks(score)
    precision, recall, threshold = metrics.precision_recall_curve(label, rank)
    # scikit-learn's thresholds rise, and its last point, (0, 1), has none.
    falling = threshold.astype(int)[::-1]
    return _curve(recall[-2::-1], precision[-2::-1], levels[falling])


# --- parts ----------------------------------------------------------------------------------------


def _checked(
    score: Scores,
    label: Shaped[np.ndarray, " labels"],
) -> tuple[Scores, Events]:
    """float64 scores and bool labels; ValueError naming the row of anything else."""
    score = np.asarray(score, dtype=np.float64)
    label = np.asarray(label)
    if score.shape != label.shape:
        raise ValueError(f"{len(score)} scores and {len(label)} labels do not pair")
    nan = np.isnan(score)
    if nan.any():
        row = nan.argmax()
        raise ValueError(f"the score of row {row} is nan; a patient without one cannot rank")
    wrong = ~np.isin(label, (0, 1))
    if wrong.any():
        row = wrong.argmax()
        raise ValueError(f"the label of row {row} is {label[row]}, neither 0 nor 1; mask it first")
    return score, label.astype(bool)


def _checked_probability(
    probability: Scores,
    label: Shaped[np.ndarray, " labels"],
) -> tuple[Scores, Events]:
    """As `_checked`, of scores in [0, 1]."""
    probability, label = _checked(probability, label)
    below, above = probability < 0, probability > 1
    wrong = below | above
    if wrong.any():
        row = wrong.argmax()
        raise ValueError(f"row {row} has probability {probability[row]}, outside [0, 1]")
    return probability, label


def _one_class(label: Events) -> bool:
    """Whether all rows are of one class; True without rows."""
    return bool(label.all() or not label.any())


def _count_at_or_above(score: Scores, thresholds: Points) -> Int[np.ndarray, " k"]:
    """How many of the scores reach each threshold."""
    below = np.searchsorted(np.sort(score), thresholds, side="left")
    return len(score) - below


def _ranks(score: Scores) -> tuple[Points, Int[np.ndarray, " n"]]:
    """Distinct scores, rising, and the place of every row's score among them.

    scikit-learn is given the places, because it refuses infinite scores.
    """
    return np.unique(score, return_inverse=True)


def _curve(x: Points, y: Points, threshold: Points) -> Curve:
    return {"x": x, "y": y, "threshold": threshold}


def _corners(false_positives: Points, true_positives: Points) -> Bool[np.ndarray, " k"]:
    """The ends of a curve and the points at which its slope changes."""
    run = np.diff(false_positives)
    rise = np.diff(true_positives)
    before = rise[:-1] * run[1:]
    after = rise[1:] * run[:-1]
    turns = before != after
    return np.concatenate([[True], turns, [True]])


def _bin_means(
    bin_of_row: Int[np.ndarray, " n"],
    probability: Scores,
    label: Events,
) -> tuple[Points, Points, Int[np.ndarray, " k"]]:
    """(mean probability, share of events, count) of every bin that holds a row, in bin order."""
    count = np.bincount(bin_of_row)
    filled = count > 0
    count = count[filled]
    total = np.bincount(bin_of_row, weights=probability)
    events = np.bincount(bin_of_row, weights=label)
    mean = total[filled] / count
    rate = events[filled] / count
    return mean, rate, count


def _separable(logit: Scores, label: Events) -> bool:
    """Whether a threshold separates the classes: no finite fit exists (Albert & Anderson 1984)."""
    events, others = logit[label], logit[~label]
    rising = others.max() <= events.min()
    falling = events.max() <= others.min()
    return bool(rising or falling)
