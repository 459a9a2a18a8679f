"""Weights of tasks: the published values of PWInVal, smoothing, norms and shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omics_jax.training import task_weights as w

KEY = jax.random.key(0)  # of a step; these rules draw nothing


@pytest.mark.parametrize(
    ("accuracy", "expected", "slipped"),
    [
        (0.0, 1.0, 1.0),
        (0.5, 0.5161, 0.5161),
        (0.8, 0.2258, 0.2258),
        (0.93, 0.1, 0.1),
        (0.95, 0.0714, 2.7857),
        (1.0, 0.0, 2.8571),
    ],
)
def test_piecewise_inverse_of_the_oracle(accuracy, expected, slipped):
    x, s = jnp.array([accuracy], jnp.float32), jnp.array([0.93], jnp.float32)
    assert float(w.piecewise_inverse(x, s)[0]) == pytest.approx(expected, abs=5e-5)
    assert float(w.piecewise_inverse(x, s, slip=True)[0]) == pytest.approx(slipped, abs=5e-5)


def test_bounds_of_0_and_1_give_finite_weights():
    x = jnp.array([0.0, 0.5, 1.0, 0.0, 0.5, 1.0])
    s = jnp.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    weights = np.asarray(w.piecewise_inverse(x, s))
    assert np.isfinite(weights).all() and (weights >= -1e-6).all()


def leaves():
    return [jnp.array([[1.0, 2.0], [10.0, 20.0]]), jnp.array([[0.5], [5.0]])]


def combined(balance, state, losses=(1.0, 1.0)):
    gradients, _ = balance.combine(leaves(), jnp.array(losses), state, KEY)
    return [np.asarray(gradient) for gradient in gradients]


def test_before_the_first_look_every_task_counts_1():
    balance = w.by_validation(lambda terms: terms, ("a", "b"), w.inverse_accuracy)
    np.testing.assert_allclose(combined(balance, balance.init(None))[0], [11, 22])


def test_accuracies_are_smoothed_without_the_bias_of_their_start():
    balance = w.by_validation(lambda terms: terms, ("a", "b"), w.inverse_accuracy, smoothing=0.5)
    state = balance.init(None)
    for a, b in ((0.8, 0.4), (0.6, np.nan)):
        state = balance.observe(state, {"a": jnp.float32(a), "b": jnp.float32(b), "other": 0.0})
    # (0.5 0.6 + 0.25 0.8) / 0.75 = 2/3, and 0.4 of one look
    np.testing.assert_allclose(
        combined(balance, state)[1], [(1 - 2 / 3) * 0.5 + 0.6 * 5.0], rtol=1e-6
    )


def test_norms_are_equal_after_inverse_gradient_norms():
    balance = w.inverse_gradient_norm(lambda terms: terms)
    total = combined(balance, balance.init(None))[0]
    # g_1 and g_2 = 10 g_1 become vectors of one norm, weights of mean 1
    np.testing.assert_allclose(total, np.array([1, 2]) * 2 * 2 / 1.1, rtol=1e-6)


def test_a_task_without_gradient_does_not_change_the_weights_of_others():
    balance = w.inverse_gradient_norm(lambda terms: terms)
    three = [jnp.concatenate([leaf, jnp.zeros((1, leaf.shape[1]))]) for leaf in leaves()]
    gradients, _ = balance.combine(three, jnp.array([1.0, 1.0, 0.0]), (), KEY)
    np.testing.assert_allclose(gradients[0], combined(balance, ())[0], rtol=1e-6)


def test_shares_of_the_loss():
    balance = w.loss_share(lambda terms: terms)
    np.testing.assert_allclose(combined(balance, (), (3.0, 1.0))[1], [1.5 * 0.5 + 0.5 * 5.0])
    np.testing.assert_allclose(combined(balance, (), (0.0, 0.0))[1], [0.0])
