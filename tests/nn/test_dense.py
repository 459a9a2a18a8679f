"""Weight normalisation against an explicit weight matrix in numpy, and its data-dependent start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from trees import is_finite, jittered

from omics_jax.nn.dense import WeightNormDense, column_norm

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(2.0, 3.0, size=(64, 9)), jnp.float32)
LIVE = np.random.default_rng(1).random((9, 5)) < 0.5
LIVE[:, 2] = False  # a unit without any input
MASK = jnp.asarray(LIVE)
MASKS = {"dense": None, "masked": MASK}


def explicit(parameters, x, mask):
    """x @ w + b with the weight matrix written out, in float64."""
    exact = {name: np.asarray(leaf, np.float64) for name, leaf in parameters.items()}
    v, g = exact["direction"], exact["gain"]
    v = v if mask is None else v * np.asarray(mask)
    norm = np.linalg.norm(v, axis=0)
    w = v * g / np.where(norm > 0, norm, 1)
    return np.asarray(x, np.float64) @ w + exact["bias"]


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("shape", [(64, 9), (4, 16, 9), (9,)], ids=str)
def test_equals_the_explicit_weight_matrix(mask, shape):
    rows = np.prod(shape[:-1], dtype=int)
    layer, x = WeightNormDense(5), X[:rows].reshape(shape)
    variables = jittered(layer.init(KEY, X, mask), size=0.3, seed=5)
    expected = explicit(variables["params"], x, mask)
    assert_allclose(layer.apply(variables, x, mask), expected, rtol=2e-5, atol=2e-5)


def test_parameters_have_the_names_and_shapes_of_the_paper():
    params = WeightNormDense(5).init(KEY, X)["params"]
    assert {name: a.shape for name, a in params.items()} == {
        "direction": (9, 5),
        "gain": (5,),
        "bias": (5,),
    }


@pytest.mark.parametrize("scale, offset", [(1.0, 0.0), (0.1, 1.5), (2.0, -2.0)])
@pytest.mark.parametrize("shape", [(64, 9), (4, 16, 9)], ids=str)
def test_first_batch_sets_mean_and_standard_deviation(scale, offset, shape):
    layer, x = WeightNormDense(5, init_scale=scale, init_offset=offset), X.reshape(shape)
    y, _ = layer.init_with_output(KEY, x)
    y = np.asarray(y).reshape(-1, 5)
    assert_allclose(y.mean(0), offset, atol=1e-5)
    assert_allclose(y.std(0), scale, rtol=1e-5)


@pytest.mark.parametrize(
    "x", [X[:1], jnp.full((8, 9), 1e3), jnp.zeros((8, 9))], ids=["one", "same", "zero"]
)
def test_a_constant_first_batch_gives_finite_unit_gains(x):
    y, variables = WeightNormDense(5, init_scale=0.5, init_offset=2.0).init_with_output(KEY, x)
    assert_allclose(variables["params"]["gain"], 0.5)
    assert_allclose(y, 2.0, atol=2e-3)


def test_small_but_real_spread_is_still_normalised():
    y, _ = WeightNormDense(5).init_with_output(KEY, X * 1e-3)
    assert_allclose(np.asarray(y).std(0), 1, rtol=1e-4)


def test_few_rows_blow_up_no_unit():
    """Two rows give a unit the s.d. |v . (x_1 - x_2)| / 2, which is near 0 for some of 2,000."""
    rng = np.random.default_rng(0)
    two, later = (jnp.asarray(rng.normal(size=(n, 50)), jnp.float32) for n in (2, 500))
    layer = WeightNormDense(2000)
    variables = layer.init(KEY, two)
    direction = np.asarray(variables["params"]["direction"], np.float64)
    unit = direction / np.linalg.norm(direction, axis=0)
    sd = np.abs(np.diff(np.asarray(two) @ unit, axis=0)[0]) / 2
    independent = np.sqrt(np.var(np.asarray(two, np.float64), axis=0) @ unit**2)
    assert (1 / sd).max() > 500
    expected = 1 / np.maximum(sd, independent / 2)
    assert_allclose(variables["params"]["gain"], expected, rtol=1e-4)
    assert np.asarray(layer.apply(variables, later)).std(axis=0).max() < 5


def test_an_offset_of_the_inputs_hides_no_spread():
    y, _ = WeightNormDense(5).init_with_output(KEY, X + 100)
    assert_allclose(np.asarray(y).std(0), 1, rtol=1e-3)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_without_data_the_weights_start_as_the_scaled_direction(mask):
    layer = WeightNormDense(5, data_init=False, init_scale=0.2, init_offset=-1.0)
    y, variables = layer.init_with_output(KEY, X, mask)
    v = variables["params"]["direction"] * (1 if mask is None else mask)
    assert_allclose(y, 0.2 * (X @ v) - 1, rtol=1e-5, atol=1e-5)


def test_later_batches_leave_gain_and_bias_alone():
    layer = WeightNormDense(5)
    variables = layer.init(KEY, X)
    assert_allclose(
        layer.apply(variables, X * 7 + 1),
        explicit(variables["params"], X * 7 + 1, None),
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_norm_of_a_column_of_zeros_is_one_with_gradient_zero():
    v = jnp.array([[3.0, 0.0], [4.0, 0.0]])
    assert_allclose(column_norm(v), [5, 1])
    assert_allclose(jax.grad(lambda v: column_norm(v).sum())(v), [[0.6, 0], [0.8, 0]], rtol=1e-6)


def test_masked_weights_get_no_gradient_and_a_fully_masked_unit_stays_finite():
    layer = WeightNormDense(5)
    variables = jittered(layer.init(KEY, X, MASK), size=0.3, seed=5)

    def loss(variables):
        return jnp.sum(jnp.sin(layer.apply(variables, X, MASK)))

    y, gradient = jax.value_and_grad(loss)(variables)
    direction = np.asarray(gradient["params"]["direction"])
    assert np.isfinite(y) and is_finite(gradient)
    assert (direction[~LIVE] == 0).all()
    assert (direction[LIVE] != 0).all()


def test_gradient_with_respect_to_the_direction_is_orthogonal_to_it():
    layer = WeightNormDense(5)
    variables = jittered(layer.init(KEY, X), size=0.3, seed=5)

    def loss(variables):
        return jnp.sum(jnp.sin(layer.apply(variables, X)))

    gradient = jax.grad(loss)(variables)["params"]["direction"]
    v = variables["params"]["direction"]
    lengths = column_norm(v) * column_norm(gradient)
    cosine = jnp.sum(v * gradient, 0) / lengths
    assert_allclose(cosine, 0, atol=1e-5)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_gradients_match_finite_differences(gradient_error, mask):
    layer = WeightNormDense(5)
    variables = jittered(layer.init(KEY, X, mask), size=0.3, seed=5)

    def loss(inputs):
        variables, x = inputs
        return jnp.mean(jnp.sin(layer.apply(variables, x, mask)))

    assert gradient_error(loss, (variables, X)) <= 1e-6
