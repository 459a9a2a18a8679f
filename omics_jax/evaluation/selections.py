"""Sets of features that were selected several times, or for several questions: do they agree?

The stability of repeated selections follows Nogueira, Sechidis & Brown (2018, J. Mach. Learn. Res.
18:174); sets that were selected for two questions share members by chance with a hypergeometric
distribution. Left out: similarity between features that stand for each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

NORMAL_975 = 1.959963984540054


class Stability(NamedTuple):
    """The index, 1 for equal sets and about 0 for random ones, and its 95 % interval."""

    index: float
    low: float
    high: float


class Overlap(NamedTuple):
    """Members of both sets, the number expected by chance, and P(as many or more)."""

    shared: int
    expected: float
    p: float


def nogueira_stability(selected: Bool[np.ndarray, "m d"]) -> Stability:
    """The stability of m selections among d features.

        Phi = 1 - mean_f(s_f^2) / (k/d (1 - k/d)),   s_f^2 = m/(m - 1) p_f (1 - p_f)

    p_f is the share of selections that hold feature f, and k their mean size (eq. 4). The interval
    is Phi -+ 1.96 sqrt(v) with v = 4/m^2 sum_i (phi_i - mean phi)^2 (theorem 7), valid for many
    selections; those of cross-validation overlap in their rows, so that it is too narrow for them.

    All are nan for fewer than two selections, and where all of them hold nothing or everything.
    """
    z = np.asarray(selected, np.float64)
    m, d = z.shape
    size = z.sum(axis=1)
    k = size.mean() / d if m else 0.0
    chance = k * (1 - k)
    if m < 2 or chance == 0:
        return Stability(np.nan, np.nan, np.nan)
    share = z.mean(axis=0)
    index = 1 - m / (m - 1) * (share * (1 - share)).mean() / chance
    own = size / d
    phi = (z @ share / d - own * k + index / 2 * (2 * k * own - own - k + 1)) / chance
    half = NORMAL_975 * 2 / m * np.sqrt(((phi - phi.mean()) ** 2).sum())
    return Stability(float(index), float(index - half), float(index + half))


def largest(scores: Float[np.ndarray, "m d"], count: int) -> Bool[np.ndarray, "m d"]:
    """Which `count` entries of every row are the largest; the first of ties, nan never."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen & ~np.isnan(scores)


def set_overlap(first: Bool[np.ndarray, " d"], second: Bool[np.ndarray, " d"]) -> Overlap:
    """Whether two sets among the same d features share more than random sets of their sizes.

    p = P(X >= shared) of a hypergeometric X; 1 where a set is empty.
    """
    d, a, b = len(first), int(first.sum()), int(second.sum())
    shared = int((first & second).sum())
    p = float(stats.hypergeom.sf(shared - 1, d, a, b))
    return Overlap(shared, a * b / d if d else 0.0, min(1.0, p))
