"""How well scores separate two classes and how far probabilities can be believed: numpy in, numbers
out, in float64.

Ranking (AUROC; average precision), probabilities (Brier 1950; the recalibration intercept and slope
of Cox 1958; the expected calibration error of Guo et al. 2017), the curves behind them, and
percentile bootstraps over patients. Left out: thresholds chosen from data, and more than two
classes.

Common to all functions: `label` (n,) holds 0 or 1 (bool, int or float), 1 the event; higher scores
mean the event. A score that is nan, a probability outside [0, 1] and any other label raise
ValueError naming the row. A number that does not exist for the given rows (a ranking of one class,
anything of no rows) is nan. Curves come as a dict of columns, ready for `pandas.DataFrame`, of
length 0 where they do not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Shaped

Scores = Float[np.ndarray, " n"]
Labels = Shaped[np.ndarray, " n"]
Groups = Shaped[np.ndarray, " n"]
Statistic = Callable[[np.ndarray, np.ndarray], float]

Z_95 = 1.959963984540054  # normal quantile of .975
PROBABILITY_FLOOR = 1e-6  # keeps the logit of a probability of 0 or 1 finite
UNDEFINED_DRAWS = 0.05  # with more bootstrap draws than this without a value, there is no interval


def auroc(score: Scores, label: Labels) -> float:
    """Area under the ROC curve: P(an event scores above a non-event), a tie counting half. nan for
    one class.
    """
    score, label = _checked(score, label)
    if _one_class(label):
        return float("nan")
    _, hits, alarms = _cumulative_counts(score, label)
    hits, alarms = np.insert(hits, 0, 0), np.insert(alarms, 0, 0)
    pairs = (np.diff(alarms) * (hits[1:] + hits[:-1])).sum() / 2
    return float(pairs / (hits[-1] * alarms[-1]))


def auprc(score: Scores, label: Labels) -> float:
    """Average precision, sum_k (recall_k - recall_(k-1)) precision_k over falling thresholds. nan
    for one class.

    A score that knows nothing reaches the share of events on average, not 1/2.
    """
    score, label = _checked(score, label)
    if _one_class(label):
        return float("nan")
    _, hits, alarms = _cumulative_counts(score, label)
    return float((np.diff(hits, prepend=0) * hits / (hits + alarms)).sum() / hits[-1])


def hard_label_auroc(probability: Scores, label: Labels, threshold: float = 0.5) -> float:
    """AUROC of the 0/1 labels `probability >= threshold`, which is (sensitivity + specificity) / 2.

    Only to set beside published numbers that were computed so: it throws the ranking away, and for
      a rare event
    nearly all sane models score little above 1/2.
    """
    probability, label = _checked_probability(probability, label)
    return auroc((probability >= threshold).astype(np.float64), label)


def brier(probability: Scores, label: Labels) -> float:
    """Mean of (p - y)^2, defined for one class too; nan without rows."""
    probability, label = _checked_probability(probability, label)
    return float(((probability - label) ** 2).mean()) if len(label) else float("nan")


def calibration(probability: Scores, label: Labels) -> tuple[float, float]:
    """(intercept a, slope b) of the maximum likelihood fit of logit P(y = 1) = a + b logit(p),
    unpenalised.

    (0, 1) is perfect; b < 1 says that the probabilities are too extreme, a < 0 (at b = 1) that they
    are too high. p is clipped to [1e-6, 1 - 1e-6]. (nan, nan) where no finite fit exists: one
    class, all p equal, or classes that some threshold on p separates (ties at the threshold
    included).
    """
    probability, label = _checked_probability(probability, label)
    clipped = np.clip(probability, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    logit = np.log(clipped) - np.log1p(-clipped)
    if _one_class(label) or _separable(logit[label], logit[~label]):
        return (float("nan"), float("nan"))
    intercept, slope = _logistic_fit(
        np.stack([np.ones_like(logit), logit], axis=1), label.astype(np.float64)
    )
    return (float(intercept), float(slope))


def expected_calibration_error(probability: Scores, label: Labels, bins: int = 10) -> float:
    """sum_b n_b / n |mean p - observed rate| over `bins` bins of equal width (Guo et al. 2017, eq.
    3).

    Bins are [lower, upper), the last one closed. It is above 0 for perfect probabilities too: the
    rates of small bins are noisy. nan without rows.
    """
    probability, label = _checked_probability(probability, label)
    if not len(label):
        return float("nan")
    place = np.minimum((probability * bins).astype(int), bins - 1)
    mean, rate, count = _binned(place, probability, label)
    return float((count * np.abs(mean - rate)).sum() / len(label))


def calibration_curve(probability: Scores, label: Labels, bins: int = 10) -> dict[str, np.ndarray]:
    """Observed against predicted risk in quantile bins: columns x, y, low, high, count, a row per
    bin, x rising.

    x: mean predicted probability; y: share of events; low, high: its 95 % interval (Wilson 1927);
    count: rows. Equal probabilities are never parted, so there may be fewer bins than asked for,
    and uneven ones.
    """
    probability, label = _checked_probability(probability, label)
    edges = np.quantile(probability, np.arange(1, bins) / bins) if len(label) else np.empty(0)
    mean, rate, count = _binned(
        np.searchsorted(edges, probability, side="right"), probability, label
    )
    low, high = _wilson_interval(rate, count)
    return {"x": mean, "y": rate, "low": low, "high": high, "count": count}


def roc_curve(score: Scores, label: Labels) -> dict[str, np.ndarray]:
    """Columns x (false positive rate), y (true positive rate), threshold (positive is score >=
    threshold, falling).

    From (0, 0) at threshold inf to (1, 1); points inside a straight piece are left out, which
    changes no area.
    """
    score, label = _checked(score, label)
    if _one_class(label):
        return {"x": np.empty(0), "y": np.empty(0), "threshold": np.empty(0)}
    threshold, hits, alarms = _cumulative_counts(score, label)
    threshold, hits, alarms = (
        np.insert(a, 0, first) for a, first in ((threshold, np.inf), (hits, 0), (alarms, 0))
    )
    rise, run = np.diff(hits), np.diff(alarms)
    corner = np.concatenate([[True], rise[1:] * run[:-1] != rise[:-1] * run[1:], [True]])
    return {
        "x": (alarms / alarms[-1])[corner],
        "y": (hits / hits[-1])[corner],
        "threshold": threshold[corner],
    }


def precision_recall_curve(score: Scores, label: Labels) -> dict[str, np.ndarray]:
    """Columns x (recall), y (precision), threshold (positive is score >= threshold), a row per
    distinct score, falling.

    It starts at the highest score: the point (0, 1) that some draw before it was not observed.
    """
    score, label = _checked(score, label)
    if _one_class(label):
        return {"x": np.empty(0), "y": np.empty(0), "threshold": np.empty(0)}
    threshold, hits, alarms = _cumulative_counts(score, label)
    return {"x": hits / hits[-1], "y": hits / (hits + alarms), "threshold": threshold}


def bootstrap_interval(
    statistic: Statistic,
    score: Scores,
    label: Labels,
    groups: Groups | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of statistic(score, label) over n draws of patients with
    replacement.

    Rows are patients; with `groups`, whole groups are drawn, in sorted order. Classes are not held
    fixed, so draws can lack one: undefined draws are left out, and with more than 5 % of them (too
    few events) it is (nan, nan).
    """
    return percentiles(
        [statistic(score[rows], label[rows]) for rows in draws_of_rows(len(label), groups, n, seed)]
    )


def paired_bootstrap(
    statistic: Statistic,
    score_a: Scores,
    score_b: Scores,
    label: Labels,
    groups: Groups | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float, float]:
    """(difference, low, high, p) of statistic(a) - statistic(b), both taken on the same drawn
    patients.

    low, high as in `bootstrap_interval`. p is two-sided, by inverting the percentile interval:
    min(1, 2 (1 + min(#{d* <= 0}, #{d* >= 0})) / (1 + n)), so at least 2 / (1 + n). It says whether
    these two predictions differ on patients like these, and nothing about another training of
    either model.
    """

    def difference(rows):
        return statistic(score_a[rows], label[rows]) - statistic(score_b[rows], label[rows])

    drawn = np.array([difference(rows) for rows in draws_of_rows(len(label), groups, n, seed)])
    low, high, p = interval_and_p(drawn)
    return (float(difference(np.arange(len(label)))), low, high, p)


def _checked(score, label):
    """float64 scores and bool labels; ValueError naming the row of what is neither."""
    score, label = np.asarray(score, dtype=np.float64), np.asarray(label)
    if score.shape != label.shape:
        raise ValueError(f"{len(score)} scores and {len(label)} labels do not pair")
    if np.isnan(score).any():
        raise ValueError(
            f"the score of row {int(np.isnan(score).argmax())} is nan; a patient without one "
            "cannot rank"
        )
    wrong = ~np.isin(label, (0, 1))
    if wrong.any():
        raise ValueError(
            f"the label of row {int(wrong.argmax())} is {label[wrong][0]}, neither 0 nor 1; mask "
            "it first"
        )
    return score, label.astype(bool)


def _checked_probability(probability, label):
    probability, label = _checked(probability, label)
    wrong = (probability < 0) | (probability > 1)
    if wrong.any():
        raise ValueError(
            f"row {int(wrong.argmax())} has probability {probability[wrong][0]}, outside [0, 1]"
        )
    return probability, label


def _one_class(label):
    return label.all() or not label.any()


def _cumulative_counts(score, label):
    """Distinct scores (k,), falling, with the events and the non-events (k,) that score at least as
    much.
    """
    order = np.argsort(-score)
    falling, events = score[order], np.cumsum(label[order])
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    return falling[last], events[last], last + 1 - events[last]


def _binned(place, probability, label):
    """(mean probability, share of events, count) of every bin that holds a row, in the order of the
    bins.
    """
    count = np.bincount(place)
    held = count > 0
    sums = [np.bincount(place, weights=column)[held] for column in (probability, label)]
    return sums[0] / count[held], sums[1] / count[held], count[held]


def _wilson_interval(rate, count):
    """(rate + z^2/2n +- z sqrt(rate (1 - rate)/n + z^2/4n^2)) / (1 + z^2/n), at 95 %."""
    shrink = 1 + Z_95**2 / count
    centre = (rate + Z_95**2 / (2 * count)) / shrink
    half = Z_95 * np.sqrt(rate * (1 - rate) / count + Z_95**2 / (4 * count**2)) / shrink
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _separable(events, others):
    """Whether a threshold parts the classes, so that the likelihood rises for ever (Albert &
    Anderson 1984).
    """
    return others.max() <= events.min() or events.max() <= others.min()


def _logistic_fit(x, y, tolerance=1e-10):
    """Coefficients of a logistic regression that has a finite fit, by Newton steps halved until
    they ascend.
    """
    from scipy.special import expit

    def log_likelihood(coefficients):
        eta = x @ coefficients
        return (y * eta - np.logaddexp(0, eta)).sum()

    coefficients = np.zeros(x.shape[1])
    for _ in range(100):
        mean = expit(x @ coefficients)
        step = np.linalg.solve((x * (mean * (1 - mean))[:, None]).T @ x, x.T @ (y - mean))
        while np.abs(step).max() > tolerance and log_likelihood(
            coefficients + step
        ) < log_likelihood(coefficients):
            step = step / 2
        coefficients = coefficients + step
        if np.abs(step).max() <= tolerance:
            return coefficients
    raise RuntimeError("the recalibration did not converge in 100 Newton steps")


def draws_of_rows(count, groups, n, seed) -> Iterator[np.ndarray]:
    """n arrays of row indices: `count` rows, or as many whole groups as there are, with
    replacement.
    """
    random = np.random.default_rng(seed)
    if groups is None:
        yield from (random.integers(count, size=count) for _ in range(n))
        return
    if len(groups) != count:
        raise ValueError(f"{count} labels and {len(groups)} groups do not pair")
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    members = [np.flatnonzero(codes == code) for code in range(len(names))]
    for _ in range(n):
        yield np.concatenate(
            [members[code] for code in random.integers(len(names), size=len(names))]
        )


def interval_and_p(drawn: np.ndarray) -> tuple[float, float, float]:
    """(low, high, p) of bootstrap draws of a difference, as `paired_bootstrap` describes them."""
    low, high = percentiles(drawn)
    smaller_tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p = (
        min(1.0, 2 * (1 + smaller_tail) / (1 + np.isfinite(drawn).sum()))
        if np.isfinite(low)
        else np.nan
    )
    return (low, high, float(p))


def percentiles(drawn) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of bootstrap draws; (nan, nan) where more than 5 % of them
    are undefined.
    """
    drawn = np.asarray(drawn, dtype=np.float64)
    defined = drawn[~np.isnan(drawn)]
    if not len(defined) or len(defined) < (1 - UNDEFINED_DRAWS) * len(drawn):
        return (float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return (float(low), float(high))
