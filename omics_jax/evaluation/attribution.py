"""Which input features a prediction depends on: integrated gradients and permutation p-values.

Attribution follows Sundararajan, Taly & Yan (2017, ICML), the p-values Phipson & Smyth (2010, Stat.
Appl. Genet. Mol. Biol. 9:39) and Westfall & Young (1993, Resampling-Based Multiple Testing). This
is the only module of the room that imports jax, for the gradient of the score; the model itself
comes in as a function. Left out: the choice of the baseline, averages over several baselines, and
how a null is made (fitting again on permuted labels, say).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Num, PyTree, Shaped

from omics_jax.errors import UserError
from omics_jax.evaluation.comparisons import benjamini_hochberg
from omics_jax.evaluation.metrics import spearman_rows

Values = jax.Array | np.ndarray
Observed = Num[Values, " d"]
Null = Num[Values, "p d"]
PValues = Float[np.ndarray, " d"]

MIN_POOLED = 3  # a null value is scaled by the others, and a standard deviation needs two of them


class MeanAttribution(NamedTuple):
    """Per feature the mean of |attribution|, in the score's units, and the mean with its sign."""

    magnitude: Float[np.ndarray, " d"]
    signed: Float[np.ndarray, " d"]


def integrated_gradients(
    score: Callable[[PyTree], Float[jax.Array, " n"]],
    x: PyTree[Num[Values, "n ..."]],
    baseline: PyTree[Num[Values, ...]],
    steps: int = 64,
) -> PyTree[Float[jax.Array, "n ..."]]:
    """Share of score(x) - score(baseline) that each input accounts for, as a tree like x.

    a_j = (x_j - x'_j) int_0^1 d score(x' + alpha (x - x')) / d x_j d alpha (eq. 1); the a_j of a
    row add up to score(x) - score(x') (Proposition 1).

    Args:
      score: from the tree of x to one number per row, (n,), in any unit; differentiable, and each
        row's number depends on that row alone. It closes over masks and covariates that nothing is
        attributed to.
      x: an array (n, d), or a tree of them (modality -> (n, d)) whose rows correspond. Integers
        count as floats.
      baseline: the tree of x with leaves (d,), one for all rows, or (n, d).
      steps: gradients taken along the path, one after the other, so memory is that of one. Raise it
        where the attributions do not add up: kinks (ReLU) on the path cost accuracy, smooth scores
        hardly need more.

    The function is not compiled here: wrap the call in `jax.jit` as a function of x, once for each
    shape of x. Deviates: the integral is a Gauss-Legendre quadrature, not the one-sided Riemann sum
    of eq. 3. The latter errs by O(1/steps) even for a product of two inputs and breaks completeness
    by as much; the quadrature is exact for polynomials of up to degree 2 steps, and never evaluates
    the ends, where a log or a root may have no gradient.

    Raises UserError for steps < 1, ValueError for a baseline that does not fit x and for a score of
    another shape.
    """
    if steps < 1:
        raise UserError(
            f"integrated gradients were asked for steps = {steps}; choose steps of 1 or more"
        )
    x, baseline = _aligned_trees(x, baseline)
    change = jax.tree.map(jnp.subtract, x, baseline)
    gradient = jax.grad(lambda point: _row_scores(score, point).sum())

    def add_node(total, node):
        alpha, weight = node
        point = _add_scaled(baseline, alpha, change)
        return _add_scaled(total, weight, gradient(point)), None

    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1], the path is on [0, 1]
    path = (jnp.asarray((nodes + 1) / 2), jnp.asarray(weights / 2))
    mean_slope, _ = jax.lax.scan(add_node, jax.tree.map(jnp.zeros_like, x), path)
    return jax.tree.map(jnp.multiply, change, mean_slope)


def mean_attribution(
    attributions: Float[Values, "n d"],
    weights: Num[Values, " n"] | None = None,
) -> MeanAttribution:
    """Weighted means over rows: sum_i w_i |a_ij| / sum_i w_i, and the same of a_ij.

    For a tree of attributions, map this function over the leaves. Rows of weight 0 (padding) are
    never read. With no weight at all every mean is nan, and so is that of a feature with a nan in a
    weighted row. Raises ValueError for weights that do not pair with rows, are negative or not
    finite.
    """
    values = np.asarray(attributions, np.float64)
    if weights is None:
        weights = np.ones(len(values))
    weights = np.asarray(weights, np.float64)
    if weights.shape != values.shape[:1]:
        raise ValueError(
            f"{len(weights)} weights and {len(values)} rows of attributions do not pair"
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights of attributions are finite and not negative")
    used = weights > 0
    if not used.any():
        return MeanAttribution(*np.full((2, values.shape[1]), np.nan))
    values = values[used]
    weights = weights[used] / weights.sum()
    return MeanAttribution(weights @ np.abs(values), weights @ values)


def permutation_p(observed: Observed, null: Null) -> PValues:
    """p of each feature by itself: (1 + #{b: null_bj >= observed_j}) / (1 + p), p permutations.

    Large values are evidence: pass magnitudes for a two-sided question. Exact where the observed
    labels are exchangeable with the permuted ones, never 0 (Phipson & Smyth 2010), and never below
    1 / (1 + p), so that after correction for d features few permutations find nothing; see
    `pooled_permutation_p` and `max_t_p`.

    A feature with a value that is not finite, observed or null, has p nan. Raises UserError without
    permutations, ValueError where the features of the two do not pair.
    """
    observed, null, defined = _checked_statistics(observed, null)
    reached = (null >= observed).sum(axis=0)
    return np.where(defined, (1 + reached) / (1 + len(null)), np.nan)


def pooled_permutation_p(observed: Observed, null: Null) -> PValues:
    """p against the nulls of all d features together, for few permutations.

    p can be as small as 1 / (1 + p d). Each feature is scaled by its own null: t_j = (observed_j -
    m_j) / (s_j sqrt(1 + 1/p)), with mean m_j and s.d. s_j of null_j; then p_j = (1 + #{(b, k): t_bk
    >= t_j}) / (1 + p d). A null value t_bk is scaled by the other p - 1 of its feature: scaled by a
    mean and s.d. that include it, it could not exceed (p - 1) / sqrt(p), while an observed value
    can, and the smallest p would come up far too often. As p - 1 values give heavier tails than p,
    p errs on the safe side, the more so the fewer permutations there are.

    Assumes that all features' nulls have one shape up to location and scale: where some are more
    skewed than others, p is too small for those and too large for the rest. Correlated features
    leave p right on average but make it vary more from one set of permutations to another.

    A feature whose null does not vary cannot be scaled: it stays out of the pool and gets its
    `permutation_p`. nan and errors as there, and UserError below three permutations.
    """
    observed, null, defined = _checked_statistics(observed, null)
    count = len(null)
    if count < MIN_POOLED:
        raise UserError(
            f"pooling the nulls of all features needs {MIN_POOLED} permutations or more, not "
            f"{count}; ask for more permutations"
        )
    p = permutation_p(observed, null)
    spread = np.ptp(np.where(defined, null, 0.0), axis=0)
    scalable = defined & (spread > 0)
    observed, null = observed[scalable], null[:, scalable]
    mean = null.mean(axis=0)
    deviations = null - mean
    squares = (deviations**2).sum(axis=0)
    variance = squares / (count - 1)
    scaled = (observed - mean) / np.sqrt(variance * (1 + 1 / count))
    pool = np.sort(_scaled_leaving_one_out(deviations, squares).ravel())
    reached = len(pool) - np.searchsorted(pool, scaled, side="left")
    p[scalable] = (1 + reached) / (1 + len(pool))
    return p


def max_t_p(observed: Observed, null: Null) -> PValues:
    """p adjusted for the family-wise error rate: (1 + #{b: max_k null_bk >= observed_j}) / (1 + p).

    The single-step maxT of Westfall & Young (1993), which keeps the dependence between features:
    null_b holds all features of one and the same permutation. The features must be on one scale, or
    the widest null decides for all; standardise them first where they are not. nan and errors as in
    `permutation_p`; features with p nan do not enter the maximum.
    """
    observed, null, defined = _checked_statistics(observed, null)
    tested = np.where(defined, null, -np.inf)
    largest = np.sort(tested.max(axis=1, initial=-np.inf))
    reached = len(null) - np.searchsorted(largest, observed, side="left")
    return np.where(defined, (1 + reached) / (1 + len(null)), np.nan)


def top_features(
    names: Sequence[str] | Shaped[np.ndarray, " d"],
    observed: Num[Values, " d"],
    p: Float[np.ndarray, " d"],
    q: Float[np.ndarray, " d"] | None = None,
    top: int = 30,
) -> pd.DataFrame:
    """The `top` features of largest value, as a `Table` of kind "ranking" takes them.

    Args:
      names: (d,) labels. Equal values are ordered by label, so the order in the file decides
        nothing.
      observed: (d,) importances, larger is more; nan stands last.
      p, q: (d,) p-values and the adjusted ones; without q, Benjamini-Hochberg over all d features,
        not over the top alone.

    Returns a frame with the columns label, value, p and p_adjusted.

    Raises UserError for top < 1, ValueError where the arguments differ in length.
    """
    if top < 1:
        raise UserError(f"a ranking was asked for its top = {top} features; choose 1 or more")
    adjusted = benjamini_hochberg(p) if q is None else q
    lengths = [len(column) for column in (names, observed, p, adjusted)]
    if len(set(lengths)) != 1:
        raise ValueError(f"a ranking pairs names, values, p and adjusted p, not {lengths} of them")
    frame = pd.DataFrame(
        {
            "label": [str(name) for name in names],
            "value": np.asarray(observed),
            "p": p,
            "p_adjusted": adjusted,
        }
    )
    order = frame.sort_values(
        ["value", "label"], ascending=[False, True], na_position="last", kind="stable"
    )
    return order.head(top).reset_index(drop=True)


def spearman_stability(attributions: Float[Values, "r d"]) -> float:
    """Mean Spearman correlation over all pairs of r replicates' importances of d features.

    1 means that all replicates rank the features alike. Pass magnitudes where size alone should
    rank. nan for fewer than two replicates or three features and where a value is not finite; a
    constant replicate, which ranks nothing, correlates 0 with all others.
    """
    values = np.asarray(attributions, np.float64)
    if len(values) < 2:
        return float("nan")
    lags = range(1, len(values))
    pairs = [spearman_rows(values[lag:], values[:-lag]) for lag in lags]
    return float(np.mean(np.concatenate(pairs)))


def _aligned_trees(x: PyTree, baseline: PyTree) -> tuple[PyTree, PyTree]:
    """Both trees in floating point, the baseline in the shapes of x."""
    x, baseline = jax.tree.map(_floating, x), jax.tree.map(_floating, baseline)
    if jax.tree.structure(x) != jax.tree.structure(baseline):
        raise ValueError(
            f"x has the modalities {_modalities(x)} and the baseline {_modalities(baseline)}"
        )

    def broadcast(path, leaf, start):
        if start.shape not in (leaf.shape, leaf.shape[1:]):
            at = jax.tree_util.keystr(path)
            raise ValueError(
                f"the baseline{at} of shape {start.shape} does not fit x{at} of shape {leaf.shape}"
            )
        return jnp.broadcast_to(start, leaf.shape).astype(leaf.dtype)

    return x, jax.tree_util.tree_map_with_path(broadcast, x, baseline)


def _floating(leaf: Num[Values, ...]) -> Float[jax.Array, ...]:
    leaf = jnp.asarray(leaf)
    return leaf.astype(jnp.result_type(leaf.dtype, float))


def _add_scaled(tree: PyTree, factor: Float[jax.Array, ""], step: PyTree) -> PyTree:
    """tree + factor step, in the precision of each leaf of `step`."""

    def add(leaf, step_leaf):
        return leaf + factor.astype(step_leaf.dtype) * step_leaf

    return jax.tree.map(add, tree, step)


def _modalities(tree: PyTree) -> list[str]:
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def _row_scores(score: Callable[[PyTree], jax.Array], x: PyTree) -> Float[jax.Array, " n"]:
    """score(x); ValueError where it is not one number per row.

    The gradient of the sum of several outputs per row would mix them.
    """
    values, rows = score(x), len(jax.tree.leaves(x)[0])
    if values.shape != (rows,):
        raise ValueError(
            f"a score to attribute is one number per row, shape ({rows},), not {values.shape}"
        )
    return values


def _checked_statistics(
    observed: Observed,
    null: Num[Values, "p nulls"],
) -> tuple[PValues, Float[np.ndarray, "p d"], Bool[np.ndarray, " d"]]:
    """Statistics and nulls in float64, and which features hold finite values only."""
    observed = np.asarray(observed, np.float64)
    null = np.asarray(null, np.float64)
    if null.shape[1:] != observed.shape:
        raise ValueError(
            f"a null of shape {null.shape} does not pair with {len(observed)} observed features"
        )
    if len(null) == 0:
        raise UserError(
            "a permutation test was given a null of no permutations; ask for one permutation or "
            "more"
        )
    finite = np.isfinite(observed) & np.isfinite(null).all(axis=0)
    return observed, null, finite


def _scaled_leaving_one_out(
    deviations: Float[np.ndarray, "p d"],
    squares: Float[np.ndarray, " d"],
) -> Float[np.ndarray, "p d"]:
    """Each value minus the mean of the others of its column, over their s.d. sqrt(1 + 1/(p - 1)).

    deviations: the values minus the mean of all p; squares: the sum of their squares. Where the
    others are all equal the result is infinite, which counts as reaching everything.
    """
    count = len(deviations)
    from_others = deviations * count / (count - 1)
    others_squares = np.maximum(squares - deviations * from_others, 0.0)
    with np.errstate(divide="ignore"):
        return from_others / np.sqrt(others_squares / (count - 2) * count / (count - 1))
