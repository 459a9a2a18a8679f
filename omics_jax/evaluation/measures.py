"""Every metric's bounds and better side, in one table; names of metrics lead to it.

A metric is a measure, with what it is of before it and what it is restricted to behind it:
`OS_c_index_complete` is the measure `c_index` of the task OS on complete patients, `mae_10` the
measure `mae` at 10 % held out. Left out: how measures are computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

INFINITY = float("inf")


class Measure(NamedTuple):
    """What a score can be.

    low, high: the least and the greatest value.
    better: "higher", "lower", or "" where neither side is.
    is_p: whether it is a p-value, whose mean over splits estimates nothing.
    """

    low: float = -INFINITY
    high: float = INFINITY
    better: str = ""
    is_p: bool = False

    @property
    def has_two_bounds(self) -> bool:
        """Whether it is bounded on both sides."""
        return abs(self.low) < INFINITY and abs(self.high) < INFINITY

    def bounds_of_difference(self) -> tuple[float, float]:
        """The least and the greatest difference of two such scores."""
        width = self.high - self.low
        return -width, width


SHARE, COST = Measure(0.0, 1.0, "higher"), Measure(0.0, 1.0, "lower")
CORRELATION = Measure(-1.0, 1.0, "higher")
ERROR = Measure(0.0, INFINITY, "lower")

MEASURES: Mapping[str, Measure] = {
    # Classes and binary outcomes.
    **dict.fromkeys(("accuracy", "macro_f1", "auroc", "auprc", "hard_label_auroc"), SHARE),
    **dict.fromkeys(("brier", "calibration_error"), COST),
    "log_loss": ERROR,
    "calibration_slope": Measure(),
    "calibration_intercept": Measure(),
    # Survival.
    **dict.fromkeys(("c_index", "c_index_uno", "c_index_within", "auc_t"), SHARE),
    "ibs": COST,
    "d_calibration_p": Measure(0.0, 1.0, is_p=True),
    # Numbers, series and profiles.
    **dict.fromkeys(("rmse", "mae", "mre", "mre_units", "rmse_shift"), ERROR),
    **dict.fromkeys(("r2", "explained_variance"), Measure(-INFINITY, 1.0, "higher")),
    **dict.fromkeys(("pearson", "delta_pearson", "delta_pearson_shift"), CORRELATION),
    **dict.fromkeys(("rho", "rho_pred", "rho_pred_centred", "rho_shift"), CORRELATION),
    **dict.fromkeys(("rho_reconstruction", "rho_reconstruction_centred"), CORRELATION),
    "rho_rec": Measure(-1.0, 1.0),
    "top50_recall": SHARE,
    "coverage95": Measure(0.0, 1.0),
}


def measure_of(metric: str) -> Measure:
    """The measure that a metric's name contains; of several the last, and of these the longest.

    Without any it has no bounds and no better side.
    """
    words = metric.split("_")
    spans = [
        (end, end - start, "_".join(words[start:end]))
        for end in range(1, len(words) + 1)
        for start in range(end)
    ]
    known = [span for span in spans if span[-1] in MEASURES]
    return MEASURES[max(known)[-1]] if known else Measure()


def better_sides(metrics: Iterable[str]) -> dict[str, str]:
    """Metric -> "higher" or "lower", of those that have a better side."""
    return {name: measure_of(name).better for name in metrics if measure_of(name).better}
