"""Integrated gradients against axioms, closed forms and quadrature; p-values by enumeration."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.errors import UserError
from omics_jax.evaluation import attribution
from omics_jax.evaluation.attribution import integrated_gradients

RANDOM = np.random.default_rng(0)


def normal32(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


W1, B1, W2 = normal32(3, 6), normal32(6), normal32(6)
X, START, STARTS = normal32(4, 3), normal32(3), normal32(4, 3)


def network(x):
    return jnp.tanh(x @ W1 + B1) @ W2


attributed = jax.jit(integrated_gradients, static_argnames=("score", "steps"))


@pytest.mark.parametrize("start", [START, STARTS], ids=["one for all rows", "one per row"])
def test_a_linear_score_gives_weight_times_change(start):
    w = np.array([2.0, -1.0, 0.5], np.float32)
    found = integrated_gradients(lambda x: x @ w + 3, X, start, 1)
    assert_allclose(found, w * (X - start), rtol=1e-5)


def test_a_product_is_shared_equally_from_zero():
    def product(x):
        return x[:, 0] * x[:, 1]

    half = product(X) / 2
    found = integrated_gradients(product, X, np.zeros(3), 1)
    expected = np.stack([half, half, 0 * half], axis=1)
    assert_allclose(found, expected, rtol=1e-6)


def test_polynomials_of_degree_two_steps_are_exact(x64):
    def polynomial(x):
        return x[:, 0] ** 5 * x[:, 1]

    x = np.float64(X)
    found = integrated_gradients(polynomial, x, np.zeros(3), 3)
    shares = np.array([5, 1, 0]) / 6
    assert_allclose(found, np.outer(polynomial(x), shares), rtol=1e-12)


def test_a_network_agrees_with_adaptive_quadrature(x64):
    w1, b1, w2, x, start = map(np.float64, (W1, B1, W2, X, START))

    def slope(alpha, row, feature):
        point = start + alpha * (row - start)
        hidden = np.tanh(point @ w1 + b1)
        return w1[feature] @ (w2 * (1 - hidden**2))

    def mean_slope(row, feature):
        return scipy.integrate.quad(slope, 0, 1, (row, feature), epsabs=1e-13)[0]

    integral = [[mean_slope(row, feature) for feature in range(3)] for row in x]
    found = attributed(network, x, start)
    assert_allclose(found, (x - start) * integral, rtol=1e-9)


def test_the_attributions_of_a_smooth_network_add_up_in_single_precision():
    added = attributed(network, X, START).sum(axis=1)
    change = network(X) - network(jnp.broadcast_to(START, X.shape))
    assert np.abs(change).min() > 1e-3
    assert_allclose(added, change, atol=1e-5)


def test_one_implementation_of_a_function_is_as_good_as_another():
    order = np.arange(6)[::-1]

    def other(x):
        hidden = x @ W1[:, order] + B1[order]
        tanh = 2 * jax.nn.sigmoid(2 * hidden) - 1
        return tanh @ W2[order]

    assert_allclose(
        attributed(network, X, START), attributed(other, X, START), rtol=1e-3, atol=1e-5
    )


def test_symmetric_inputs_share_equally_and_unread_ones_get_nothing():
    def score(x):
        a, b, _ = x.T
        return jnp.tanh(a + b + a * b)

    x = X[:, [0, 0, 1]]
    found = np.asarray(attributed(score, x, np.zeros(3)))
    assert_allclose(found[:, 0], found[:, 1], rtol=1e-5)
    assert np.all(np.abs(found[:, 0]) > 0.01)
    assert_array_equal(found[:, 2], 0)


def test_modalities_get_what_their_columns_get():
    def split(table):
        return {"rna": table[..., :2], "meth": table[..., 2:]}

    def joint(x):
        return network(jnp.concatenate([x["rna"], x["meth"]], axis=1))

    start = {"rna": START[:2], "meth": np.broadcast_to(START[2:], (4, 1))}
    found = attributed(joint, split(X), start)
    expected = split(attributed(network, X, START))
    assert found.keys() == expected.keys()
    for name in expected:
        assert_allclose(found[name], expected[name], rtol=1e-5)


def test_the_ends_of_the_path_are_never_evaluated():
    def score(x):
        return (1 - jnp.sqrt(1 - x)).sum(axis=1)

    found = integrated_gradients(score, np.ones((1, 1)), np.zeros(1), 64)
    assert_allclose(found, [[1.0]], atol=0.02)


def test_integer_counts_are_attributed_as_numbers():
    counts = np.array([[3, 0], [1, 2]])
    found = integrated_gradients(lambda x: (x**2).sum(axis=1), counts, np.zeros(2, int), 1)
    assert_allclose(found, [[9, 0], [1, 4]], rtol=1e-6)


def test_memory_does_not_grow_with_the_steps():
    x = jnp.ones((50, 40))

    def score(x):
        return jnp.tanh(x).sum(axis=1)

    def temporary_bytes(steps):
        compiled = attributed.lower(score, x, x[0], steps=steps).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = temporary_bytes(2), temporary_bytes(200)
    assert 0 < many < few + 2 * x.nbytes


def test_what_cannot_be_attributed_is_refused_in_words():
    def rna_sum(x):
        return x["rna"].sum(axis=1)

    x, start = {"rna": X}, {"rna": START[:2]}
    with pytest.raises(UserError, match="steps = 0; choose steps of 1 or more"):
        integrated_gradients(network, X, START, 0)
    with pytest.raises(ValueError, match=r"one number per row, shape \(4,\), not \(4, 3\)"):
        integrated_gradients(jnp.tanh, X, START, 1)
    with pytest.raises(
        ValueError,
        match=r"baseline\['rna'\] of shape \(2,\) does not fit x\['rna'\] of shape \(4, 3\)",
    ):
        integrated_gradients(rna_sum, x, start, 1)
    with pytest.raises(
        ValueError, match=r"x has the modalities .*'rna'.* and the baseline .*'cnv'"
    ):
        integrated_gradients(rna_sum, x, {"cnv": START}, 1)


def test_means_over_rows_are_weighted_and_padding_is_not_read():
    values = np.float64(X)
    weights = np.array([1.0, 0.0, 3.0, 0.5])
    magnitude = np.average(np.abs(values), axis=0, weights=weights)
    signed = np.average(values, axis=0, weights=weights)
    padded = X.copy()
    padded[1] = np.nan
    found = attribution.mean_attribution(jnp.asarray(padded), weights)
    assert_allclose(found.magnitude, magnitude, rtol=1e-12)
    assert_allclose(found.signed, signed, rtol=1e-12)
    unweighted = attribution.mean_attribution(X)
    assert_allclose(unweighted.magnitude, np.abs(X).mean(axis=0))


def test_means_without_weight_are_nan_and_odd_weights_refused():
    assert np.isnan(attribution.mean_attribution(X, np.zeros(4))).all()
    with pytest.raises(ValueError, match="not negative"):
        attribution.mean_attribution(X, np.array([1.0, -1.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="1 weights and 4 rows"):
        inspect.unwrap(attribution.mean_attribution)(X, np.ones(1))


def in_turn(test, values):
    """p (rows, d) when each row of values in turn is the observed one and the others its null."""
    p = []
    for i, observed in enumerate(values):
        null = np.delete(values, i, axis=0)
        p.append(test(observed, null))
    return np.array(p)


def test_p_is_exactly_uniform_over_exchangeable_rows():
    scales = np.array([1, 10, 100])
    values = np.random.default_rng(1).normal(size=(20, 3)) * scales
    found = in_turn(attribution.permutation_p, values)
    uniform = np.arange(1, 21) / 20
    for column in found.T:
        assert_allclose(np.sort(column), uniform)
    assert_array_equal(found.argmin(axis=0), values.argmax(axis=0))


def test_ties_with_the_null_count_against_the_feature():
    null = np.array([[2], [1], [3]])
    assert_allclose(attribution.permutation_p(np.array([2]), null), [3 / 4])
    null = np.array([[0, 2], [1, 0], [3, 0]])
    assert_allclose(attribution.max_t_p(np.array([2, 0]), null), [3 / 4, 1])


def test_the_maximum_holds_the_family_wise_error_exactly():
    values = np.random.default_rng(2).normal(size=(20, 5))
    found = in_turn(attribution.max_t_p, values)
    smallest = np.sort(found.min(axis=1))
    assert_allclose(smallest, np.arange(1, 21) / 20)
    # The observed row's own maximum reaches each of its values: that is the 1 of (1 + count).
    largest = values.max(axis=1)
    brute = [[np.mean(largest >= value) for value in row] for row in values]
    assert_allclose(found, brute)


def test_pooled_p_agrees_with_brute_force():
    random = np.random.default_rng(3)
    observed = random.normal(1, 2, size=6) + 10
    null = random.normal(size=(5, 6)) * np.arange(1, 7) + 10

    def scaled(value, others):
        sd = others.std(ddof=1) * np.sqrt(1 + 1 / len(others))
        return (value - others.mean()) / sd

    pool, expected = [], []
    for column in null.T:
        pool += [scaled(value, np.delete(column, b)) for b, value in enumerate(column)]
    for value, column in zip(observed, null.T, strict=True):
        reached = np.sum(pool >= scaled(value, column))
        expected.append((1 + reached) / 31)
    assert len(set(expected)) > 3
    assert_allclose(attribution.pooled_permutation_p(observed, null), expected)


def test_pooled_p_keeps_its_level_with_few_permutations():
    # Scaled by statistics that it took part in, the null would give a share of 0.04 at the level
    # 0.001.
    random = np.random.default_rng(4)
    location = random.normal(size=400)
    scale = random.lognormal(size=400)
    draws = random.normal(size=(20, 9, 400)) * scale + location
    p = [attribution.pooled_permutation_p(draw[0], draw[1:]) for draw in draws]
    p = np.concatenate(p)
    assert np.mean(p <= 0.001) < 0.002
    for level, low, high in ((0.05, 0.04, 0.06), (0.5, 0.47, 0.53)):
        assert low < np.mean(p <= level) < high


def test_pooling_lets_few_permutations_find_a_feature():
    values = np.random.default_rng(5).normal(size=(11, 200))
    values[0, 7] = 30
    observed, null = values[0], values[1:]
    assert attribution.permutation_p(observed, null)[7] == 1 / 11
    assert attribution.pooled_permutation_p(observed, null)[7] == 1 / 2001


def test_a_feature_whose_null_is_constant_stays_out_of_the_pool():
    values = np.random.default_rng(6).normal(size=(6, 5))
    constant = np.concatenate([values, np.zeros((6, 2))], axis=1)
    constant[0, 5] = 1
    found = attribution.pooled_permutation_p(constant[0], constant[1:])
    expected = attribution.pooled_permutation_p(values[0], values[1:])
    assert_allclose(found[:5], expected)
    assert_allclose(found[5:], [1 / 6, 1])


def test_a_null_of_equal_values_but_one_reaches_everything():
    null = np.array([[0.0], [0.0], [0.0], [1.0]])
    found = attribution.pooled_permutation_p(np.array([1e6]), null)
    assert_allclose(found, [2 / 5])


@pytest.mark.parametrize(
    "test",
    [attribution.permutation_p, attribution.pooled_permutation_p, attribution.max_t_p],
    ids=lambda t: t.__name__,
)
def test_what_is_not_finite_is_nan_and_changes_nothing_else(test):
    values = np.random.default_rng(7).normal(size=(9, 4))
    broken = np.concatenate([values, np.zeros((9, 3))], axis=1)
    broken[0, 4] = broken[3, 5] = np.nan
    broken[2, 6] = np.inf
    found = test(broken[0], broken[1:])
    assert np.isnan(found[4:]).all()
    assert_array_equal(found[:4], test(values[0], values[1:]))
    with pytest.raises(UserError, match="permutations"):
        test(values[0], values[:0])
    with pytest.raises(ValueError, match=r"null of shape \(9, 1\) does not pair with 4"):
        inspect.unwrap(test)(values[0], values[:, :1])


def test_two_permutations_are_too_few_to_pool():
    with pytest.raises(UserError, match="needs 3 permutations or more, not 2; ask for more"):
        attribution.pooled_permutation_p(X[0], X[1:3])


def test_a_ranking_adjusts_over_all_features_and_breaks_ties_by_name():
    names = ["TP53", "MYC", "KRAS", "EGFR", "BRAF"]
    values = np.array([1.0, 3.0, np.nan, 1.0, 2.0])
    p = np.array([0.04, 0.001, 0.9, 0.03, 0.2])
    frame = attribution.top_features(names, values, p, top=4)
    assert list(frame.columns) == ["label", "value", "p", "p_adjusted"]
    assert list(frame["label"]) == ["MYC", "BRAF", "EGFR", "TP53"]
    rows = [1, 4, 3, 0]
    assert_array_equal(frame["p"], p[rows])
    adjusted = scipy.stats.false_discovery_control(p)
    assert_allclose(frame["p_adjusted"], adjusted[rows])
    names, values, p = names[::-1], values[::-1], p[::-1]
    turned = attribution.top_features(names, values, p, q=p / 2)
    assert list(turned["label"]) == ["MYC", "BRAF", "EGFR", "TP53", "KRAS"]
    assert_allclose(turned["p_adjusted"], turned["p"] / 2)


def test_rankings_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="top = 0 features; choose 1 or more"):
        attribution.top_features(["a"], np.ones(1), np.ones(1), top=0)
    with pytest.raises(ValueError, match=r"not \[1, 2, 2, 2\]"):
        attribution.top_features(["a"], np.ones(2), np.ones(2))


def test_stability_is_the_mean_correlation_over_pairs():
    values = np.random.default_rng(8).normal(size=(4, 12)).round(1)
    correlations = scipy.stats.spearmanr(values, axis=1).statistic
    expected = correlations[np.triu_indices(4, 1)].mean()
    assert attribution.spearman_stability(jnp.asarray(values)) == pytest.approx(expected, rel=1e-6)
    same_order = np.stack([values[0], 3 * values[0] + 1])
    assert attribution.spearman_stability(same_order) == pytest.approx(1)
    assert np.isnan(attribution.spearman_stability(values[:1]))
    values[2, 3] = np.nan
    assert np.isnan(attribution.spearman_stability(values))
