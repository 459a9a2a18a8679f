"""MTLR against published numbers, float64 enumeration of all outcomes, and Kaplan-Meier."""

import jax
import jax.numpy as jnp
import lifelines
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.errors import UserError
from omics_jax.nn.mtlr import (
    bin_index,
    hazards,
    log_pmf,
    median_survival,
    mtlr_loss,
    risk,
    scores,
    survival_at,
    survival_at_edges,
    time_grid,
)

RANDOM = np.random.default_rng(0)
ORACLE = np.array([[0.2, -0.1, 0.4]], np.float32)  # worked out by hand in the specification
Y = RANDOM.normal(0, 2, (6, 5)).astype(np.float32)
EDGES = np.array([0, 1, 2.5, 3, 7, 10], np.float32)
BIN = np.array([0, 2, 5, 1, 4, 5])
EVENT = np.array([1, 0, 1, 1, 0, 0])
WEIGHT = np.array([1, 0.5, 1, 2, 1, 3], np.float32)
# 256 outputs: all large, all small, alternating, random signs, and the 1/2 at which a plain exp
# overflows float32.
EXTREME = np.stack(
    [np.full(256, 1e3), np.full(256, -1e3), np.tile([1e3, -1e3], 128), *np.zeros((2, 256))]
)
EXTREME[3], EXTREME[4] = 1e3 * RANDOM.choice([-1, 1], 256), 0.5
EXTREME = EXTREME.astype(np.float32)

loss_and_gradient = jax.jit(jax.value_and_grad(mtlr_loss, has_aux=True))
median_of, survival_of_times = jax.jit(median_survival), jax.jit(survival_at)


def loss_and_slope(y, bin, event, weight):
    """(sum, weight, gradient of the sum)."""
    kinds = (np.float32, np.int32, np.float32, np.float32)
    given = [np.asarray(a, kind) for a, kind in zip((y, bin, event, weight), kinds, strict=True)]
    (value, total), slope = loss_and_gradient(*given)
    return value, total, np.asarray(slope)


@jax.jit
def described(y):
    kinds = ("proper", "omiembed")
    own = {"score": scores(y), "log_pmf": log_pmf(y), "survival": survival_at_edges(y)}
    return (
        own
        | {f"hazard_{k}": hazards(y, k) for k in kinds}
        | {f"risk_{k}": risk(y, k) for k in kinds}
    )


def enumerated(y):
    """log p (n, K + 1) in float64; a bin's score is the sum of the outputs from this bin on."""
    y = np.asarray(y, np.float64)
    s = np.array([[row[j:].sum() for j in range(len(row) + 1)] for row in y])
    largest = s.max(axis=1, keepdims=True)
    return s - largest - np.log(np.exp(s - largest).sum(axis=1, keepdims=True))


def survival_of(y):
    p = np.exp(enumerated(y))
    return np.array([[row[j:].sum() for j in range(len(row))] for row in p])


def target_of(p, bin, event):
    """The mass p within the possible bins, one row."""
    possible = np.arange(len(p)) == bin if event else np.arange(len(p)) >= bin
    return np.where(possible, p, 0) / p[possible].sum(), -np.log(p[possible].sum())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("score", [0.5, 0.3, 0.4, 0]),
        ("log_pmf", np.array([0.5, 0.3, 0.4, 0]) - 1.703002),
        ("survival", [1, 0.699709, 0.453851, 0.182136]),
        ("hazard_proper", [0.300291, 0.351372, 0.598688]),
        ("hazard_omiembed", [0.429166, 0.541715, 1.491825]),
        ("risk_proper", 2.202305),
        ("risk_omiembed", 3.862754),
    ],
)
def test_published_numbers(name, expected):
    assert_allclose(described(ORACLE)[name][0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("bin", "event", "expected"),
    [(1, 1, 1.403002), (1, 0, 0.357091), (2, 0, 0.789987), (0, 0, 0), (3, 1, 1.703002)],
)
def test_published_losses(bin, event, expected):
    """The loss censored in bin 2 is that of a censoring in bin 1 which leaves its own bin out."""
    (value, weight), _ = loss_and_gradient(
        ORACLE, np.array([bin]), np.array([event], bool), np.ones(1, bool)
    )
    assert_allclose(value, expected, rtol=0, atol=1e-6)
    assert weight == 1


def test_scores_are_the_product_with_a_triangle_of_ones():
    assert_allclose(described(Y)["score"], Y @ np.tri(5, 6), atol=1e-5)


@pytest.mark.parametrize("y", [Y, EXTREME], ids=["moderate", "extreme"])
def test_all_outcomes_enumerated(y):
    found, log_p = described(y), enumerated(y)
    assert_allclose(found["log_pmf"], log_p, rtol=1e-6, atol=1e-6)
    assert_allclose(np.exp(found["log_pmf"]).sum(axis=1), 1, rtol=1e-6)
    assert_allclose(found["survival"], survival_of(y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["proper", "omiembed"])
def test_hazards_and_risks_enumerated(name):
    p, survival = np.exp(enumerated(Y)), survival_of(Y)
    expected = p[:, :-1] / (survival[:, :-1] if name == "proper" else survival[:, 1:])
    found = described(Y)
    assert_allclose(found[f"hazard_{name}"], expected, rtol=1e-5)
    summed = [sum(row[i] for j in range(5) for i in range(j + 1)) for row in expected]
    assert_allclose(found[f"risk_{name}"], summed, rtol=1e-5)


@pytest.mark.parametrize(
    "y", [EXTREME, RANDOM.normal(0, 0.3, (5, 256)).astype(np.float32)], ids=["extreme", "usual"]
)
def test_survival_falls_from_1_and_hazards_are_probabilities(y):
    found = jax.tree.map(np.asarray, described(y))
    survival, hazard = found["survival"], found["hazard_proper"]
    assert_array_equal(survival[:, 0], 1)
    assert np.all(np.diff(survival, axis=1) <= 0) and np.all(survival >= 0)
    assert np.all(hazard >= 0) and np.all(hazard <= 1) and np.all(np.isfinite(found["risk_proper"]))
    alive = np.cumprod(1 - hazard.astype(np.float64), axis=1)
    assert_allclose(survival[:, 1:], alive, atol=1e-5)


def test_loss_and_gradient_enumerated():
    """d NLL / ds = softmax(s) - target, and output i stands in the scores of all bins up to i."""
    value, weight, slope = loss_and_slope(Y, BIN, EVENT, WEIGHT)
    p = np.exp(enumerated(Y))
    target, nll = zip(*[target_of(*row) for row in zip(p, BIN, EVENT, strict=True)], strict=True)
    assert_allclose(value, WEIGHT @ np.array(nll), rtol=1e-6)
    of_scores = WEIGHT[:, None] * (p - np.array(target))
    assert_allclose(slope, np.cumsum(of_scores, axis=1)[:, :-1], atol=2e-6)
    assert weight == WEIGHT.sum()


@pytest.mark.parametrize("event", [0, 1])
@pytest.mark.parametrize("bin", [0, 100, 256])
def test_outputs_of_any_size_have_a_finite_loss_and_gradient(bin, event):
    y = EXTREME[:4]
    value, _, slope = loss_and_slope(y, np.full(4, bin), np.full(4, event), np.ones(4))
    log_p = enumerated(y)
    nll = -log_p[:, bin] if event else -np.logaddexp.reduce(log_p[:, bin:], axis=1)
    assert_allclose(value, nll.sum(), rtol=1e-6, atol=1e-6)
    assert np.all(np.isfinite(slope)) and np.all(np.abs(slope) <= 1 + 1e-6)


def test_a_large_score_shared_by_the_bins_costs_no_digits():
    """Outputs in eighths, so that the scores themselves are exact in float32."""
    y = np.round(8 * Y) / 8 + 2.0**14 * (np.arange(5) == 4)
    assert_allclose(described(y.astype(np.float32))["survival"], survival_of(y), atol=1e-6)
    nll = [target_of(*row)[1] for row in zip(np.exp(enumerated(y)), BIN % 5, EVENT, strict=True)]
    assert_allclose(loss_and_slope(y, BIN % 5, EVENT, WEIGHT)[0], WEIGHT @ np.array(nll), rtol=1e-6)


def test_a_row_without_weight_adds_exactly_nothing():
    """Whatever stands there: outputs, times and events of nan, and the bin of a time of nan."""
    live = np.array([True, False, True, True, False, False])
    event, weight = np.where(live, EVENT, np.nan), np.where(live, WEIGHT, 0)
    y = np.where(live[:, None], Y, np.nan)
    expected, _, gradient = loss_and_slope(Y, BIN, EVENT, weight)
    bin = np.asarray(bin_index(np.where(live, EDGES[BIN], np.nan), EDGES))
    assert_array_equal(bin[live], BIN[live])
    for anything in (bin, np.where(live, BIN, -(2**31)), np.where(live, BIN, 99)):
        value, total, slope = loss_and_slope(y, anything, event, weight)
        assert value == expected and np.isfinite(value) and total == WEIGHT[live].sum()
        assert_array_equal(slope[live], gradient[live])
        assert_array_equal(slope[~live], 0)


def test_a_batch_without_labels_costs_nothing():
    value, weight, slope = loss_and_slope(
        np.full_like(Y, np.nan), BIN, np.full(6, np.nan), np.zeros(6)
    )
    assert value == 0 and weight == 0 and not np.any(slope)


@pytest.mark.parametrize("bin", [-1, 6])
@pytest.mark.parametrize("row", [3, 4], ids=["event", "censored"])
def test_a_time_outside_the_bins_is_no_silent_zero(row, bin):
    assert loss_and_slope(Y, np.where(np.arange(6) == row, bin, BIN), EVENT, WEIGHT)[0] == np.inf


def test_a_weight_of_nan_is_no_silent_zero():
    assert np.isnan(loss_and_slope(Y, BIN, EVENT, np.where(np.arange(6) == 3, np.nan, WEIGHT))[0])


def test_without_covariates_the_loss_is_least_at_kaplan_meiers_estimate():
    """Censored in bin j is alive at t_j, before its events; Kaplan-Meier puts it at j - 1/2."""
    bin, event = RANDOM.integers(0, 6, 300), RANDOM.random(300) < 0.6
    fitted = lifelines.KaplanMeierFitter().fit(np.where(event, bin, bin - 0.5) + 1, event)
    at_edges = np.append(1.0, fitted.survival_function_at_times(np.arange(5) + 1).to_numpy())
    p = -np.diff(at_edges, append=0)
    y = np.tile(np.log(p[:-1] / p[1:]), (300, 1)).astype(np.float32)
    assert_allclose(described(y[:6])["survival"][0], at_edges, atol=1e-6)
    _, _, slope = loss_and_slope(y, bin, event, np.ones(300))
    assert_allclose(slope.mean(axis=0), np.zeros(5), atol=1e-6)
    assert np.abs(slope).max() > 0.1


def test_survival_is_linear_between_edges_and_stays_past_the_last():
    times = np.array([0, 0.25, 1, 2.7, 3, 9.9, 10, 11, 1e4], np.float32)
    found = survival_of_times(Y, EDGES, times)
    curves = survival_of(Y)
    assert_allclose(found, [np.interp(times, EDGES, row) for row in curves], atol=1e-6)
    assert_allclose(found[:, -1], curves[:, -1], atol=1e-6)


def test_the_median_is_where_the_curve_crosses_one_half():
    y = np.concatenate([Y, Y - 3, Y + 3])
    found = np.asarray(median_of(y, EDGES))
    for median, curve in zip(found, survival_of(y), strict=True):
        if curve[-1] > 0.5:
            assert median == np.inf
        else:  # a strictly falling curve, read the other way round
            assert_allclose(median, np.interp(0.5, curve[::-1], EDGES[::-1]), rtol=1e-5)
    assert 0 < np.isinf(found).sum() < len(y)


def test_the_median_at_the_ends_of_the_grid():
    """Edges 0, 1, 3; a curve that ends just below 1/2 has a median, one just above has none."""
    pmf = np.array([[6, 1, 1], [4, 2, 2], [2, 4, 2], [2, 2.001, 3.999], [2, 1.999, 4.001]]) / 8
    y = np.log(pmf[:, :-1] / pmf[:, 1:]).astype(np.float32)
    found = median_of(y, np.array([0, 1, 3], np.float32))
    assert_allclose(found, [2 / 3, 1, 2, 1 + 2 * 2 / 2.001, np.inf], rtol=1e-6)


def test_outputs_of_0_are_a_uniform_distribution():
    assert_allclose(described(np.zeros_like(Y))["survival"][0], 1 - np.arange(6) / 6, atol=1e-6)
    assert_allclose(
        median_of(np.zeros((18, 5), np.float32), np.arange(6, dtype=np.float32)), 3, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        # of the times 0, .4, .5, .6, 1, 1.74, 1.76, 2.5, 8.6, 10, 99 at the edges 0, 1, 2.5, 3, 7,
        # 10
        ("containing", [0, 0, 0, 0, 1, 1, 1, 2, 4, 5, 5]),
        ("omiembed", [0, 0, 0, 1, 1, 1, 2, 2, 4, 4, 4]),
    ],
)
def test_bins_by_hand(convention, expected):
    times = np.array([0, 0.4, 0.5, 0.6, 1, 1.74, 1.76, 2.5, 8.6, 10, 99])
    assert_array_equal(bin_index(times, EDGES, convention), expected)
    compiled = jax.jit(bin_index, static_argnums=2)(times.astype(np.float32), EDGES, convention)
    assert_array_equal(compiled, expected)


def test_an_equal_grid_ends_a_tenth_after_the_last_time_censored_or_not():
    edges = time_grid(np.array([3.0, 10.0, 5.0]), np.array([1, 0, 1]), 11, "equal")
    assert_allclose(edges, np.arange(12), rtol=1e-6)
    assert edges.dtype == np.float32


@pytest.mark.parametrize("bins", [1, 3, 8, 40])
def test_a_quantile_grid_without_ties_is_the_quantiles_of_the_event_times(bins):
    times, events = RANDOM.permutation(np.arange(1, 81)).astype(np.float64), np.arange(80) % 2 == 0
    edges = time_grid(times, events, bins)
    shares = np.arange(1, bins + 1) / bins
    expected = np.quantile(times[events], shares, method="inverted_cdf")
    assert_array_equal(edges, [0, *expected])
    counts = np.histogram(times[events], [*edges, np.inf])[0]
    assert np.all(np.abs(counts[1:-1] - 40 / bins) < 1) and counts[-1] == 1


@pytest.mark.parametrize(
    ("times", "bins", "expected"),
    [
        ([5, 5, 5, 5, 7, 9], 2, [0, 5, 9]),  # half of the events by 5
        ([5, 5, 5, 5, 7, 9], 3, [0, 5, 7, 9]),  # two thirds by 5 as well: on to 7
        ([1, 2, 3, 9, 9, 9, 9, 9], 3, [0, 2, 3, 9]),  # all but the first by 9: back to 3 and 2
        ([1, 1, 2, 2, 2, 2, 3, 4], 4, [0, 1, 2, 3, 4]),  # 1, 2, 2, 4: on to 3
        ([0, 0, 0, 6, 8], 2, [0, 6, 8]),  # events at 0 lie in bin 0 of any grid
    ],
)
def test_a_quantile_grid_with_ties_by_hand(times, bins, expected):
    times = np.array([*times, 2.5, 50.0])  # the last two are censored and do not count
    edges = time_grid(times, np.arange(len(times)) < len(times) - 2, bins)
    assert_array_equal(edges, expected)


def test_every_quantile_grid_has_its_edges_in_order():
    for seed in range(30):
        random = np.random.default_rng(seed)
        times, events = random.geometric(0.2, 40) * 0.1, random.random(40) < 0.7
        distinct = len(np.unique(times[events]))
        for bins in range(1, distinct + 1):
            edges = time_grid(times, events, bins)
            assert len(edges) == bins + 1 and np.all(np.diff(edges) > 0) and edges[0] == 0
            assert np.histogram(times[events].astype(np.float32), [*edges, np.inf])[0][1:].all()
        with pytest.raises(
            UserError, match=f"{distinct + 1} bins needs as many .* rows have {distinct};"
        ):
            time_grid(times, events, distinct + 1)


def test_times_that_float32_cannot_part_are_one():
    with pytest.raises(UserError, match="the training rows have 2;"):
        time_grid(np.array([1e6, 1e6 + 1e-3, 2e6]), np.ones(3), 3)


@pytest.mark.parametrize(
    ("times", "events", "bins", "how", "sentence"),
    [
        (
            [1.0, -2.0],
            [1, 1],
            1,
            "equal",
            "survival time of training row 1 is -2.0; a time is finite and not negative",
        ),
        ([np.nan, 2.0], [1, 1], 1, "quantile", "survival time of training row 0 is nan"),
        ([1.0, np.inf], [1, 1], 1, "quantile", "survival time of training row 1 is inf"),
        (
            [1.0, 2.0],
            [1, 2],
            1,
            "equal",
            "event of training row 1 is 2; write 1 where the event was seen",
        ),
        ([1.0, 2.0], [np.nan, 1], 1, "equal", "event of training row 0 is nan"),
        (
            [1.0, 2.0],
            [0, 0],
            1,
            "quantile",
            "1 bins needs as many distinct event times after 0, .* rows have 0;",
        ),
        (
            [0.0, 0.0],
            [1, 0],
            2,
            "equal",
            "an equal survival grid needs a time after 0, and the training rows have none",
        ),
        ([], [], 2, "equal", "an equal survival grid needs a time after 0"),
        ([1.0, 2.0], [1, 1], 0, "quantile", "at least 1 bin, not 0; ask for more bins"),
        (
            [1.0, 2.0],
            [1, 1],
            2,
            "deciles",
            "a survival grid is 'quantile' or 'equal', not 'deciles'; choose one",
        ),
    ],
)
def test_a_grid_that_cannot_be_is_refused_in_a_sentence(times, events, bins, how, sentence):
    with pytest.raises(UserError, match=sentence):
        time_grid(np.array(times), np.array(events), bins, how)


def test_unknown_conventions_are_refused_in_a_sentence():
    with pytest.raises(
        UserError,
        match="an MTLR convention is 'containing' or 'omiembed', not 'nearest'; choose one",
    ):
        bin_index(np.ones(2), EDGES, "nearest")
    with pytest.raises(
        UserError, match="an MTLR hazard is 'proper' or 'omiembed', not 'odds'; choose one of them"
    ):
        risk(jnp.asarray(Y), "odds")
