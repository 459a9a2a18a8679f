"""MADE and the gated flow; Jacobians by automatic differentiation are the oracle."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from trees import is_finite, jittered

from omics_jax.nn.flows import MADE, GatedIAF, InverseAutoregressiveFlow, made_masks
from omics_jax.nn.gaussians import log_density

RNG = np.random.default_rng(0)
D, C = 4, 3


def normal(*shape):
    """Standard normal draws in float32."""
    draws = RNG.normal(size=shape)
    return jnp.asarray(draws, jnp.float32)


Z = normal(16, D)
CONTEXT = normal(16, C)
FLOW = InverseAutoregressiveFlow(steps=2, hidden=10)


KEY = jax.random.key(0)
# Far from the near-identity start, so that every dependence shows.
INITIAL = jax.jit(FLOW.init)(KEY, Z, CONTEXT)
VARIABLES = jittered(INITIAL, size=0.4, seed=1)


def strictly_before(reverse):
    """(output, input): whether the input comes before the output in the order."""
    lower = np.tril(np.ones((D, D), bool), -1)
    return lower.T if reverse else lower


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("hidden", [2, 4, 11])
def test_made_reads_earlier_inputs_only_and_context_everywhere(reverse, hidden):
    made = MADE(hidden, reverse=reverse)
    initial = jax.jit(made.init)(KEY, Z, CONTEXT)
    variables = jittered(initial, size=0.4, seed=1)
    for head in range(2):
        output = lambda z, context, head=head: made.apply(variables, z, context)[head]
        jacobians = jax.vmap(jax.jacfwd(output, argnums=(0, 1)))
        by_z, by_context = jax.jit(jacobians)(Z, CONTEXT)
        assert (by_z[:, ~strictly_before(reverse)] == 0).all()
        assert (np.abs(by_context).max(axis=0) > 1e-4).all()
        if hidden >= D:
            strongest = np.abs(by_z).max(axis=0)
            assert (strongest[strictly_before(reverse)] > 1e-4).all()


@pytest.mark.parametrize("d, hidden", [(1, 3), (4, 10), (7, 3)])
@pytest.mark.parametrize("reverse", [False, True])
def test_masks_let_context_reach_every_output(d, hidden, reverse):
    into_hidden, into_output = made_masks(d, 2, hidden, reverse)
    assert into_hidden.shape == (d + 2, hidden)
    assert into_output.shape == (hidden, d)
    paths = into_hidden.astype(int) @ into_output
    assert (paths[d:] > 0).all()
    order = np.arange(d)
    if reverse:
        order = order[::-1]
    in_order = paths[:d][np.ix_(order, order)]
    assert (in_order[np.tril_indices(d)] == 0).all()


def test_made_without_context_has_units_that_see_nothing_and_stays_finite():
    made, nothing = MADE(10), jnp.zeros((16, 0))
    variables = jax.jit(made.init)(KEY, Z, nothing)

    def loss(variables, z):
        heads = made.apply(variables, z, nothing)
        return sum(jnp.sum(jnp.sin(head)) for head in heads)

    value_and_gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    value, gradients = value_and_gradients(variables, Z)
    assert np.isfinite(value) and is_finite(gradients)


def test_heads_are_named_and_as_many_as_asked_for():
    made = MADE(6, outputs=("shift", "gate", "third"), offsets=(0.0, 1.5, -1.0))
    heads, variables = made.init_with_output(KEY, Z, CONTEXT)
    assert set(variables["params"]) == {"hidden_layer", "shift", "gate", "third"}
    means = [head[:, -1].mean() for head in heads]
    assert_allclose(means, [0, 1.5, -1], atol=1e-5)
    with pytest.raises(ValueError):
        MADE(6, outputs=("shift",)).init(KEY, Z, CONTEXT)


@pytest.mark.parametrize("gate_offset", [1.5, 3.0])
def test_a_new_flow_is_close_to_the_identity(gate_offset):
    flow = InverseAutoregressiveFlow(steps=2, hidden=10, gate_offset=gate_offset)
    (z, log_gates), _ = flow.init_with_output(KEY, Z, CONTEXT)
    gate = expit(gate_offset)
    assert_allclose(log_gates, 2 * np.log(gate), atol=0.2)
    largest_shift = 4 * 0.1 * 2 * (1 - gate)
    tolerance = largest_shift + 0.25 * (1 - gate)
    assert_allclose(z, gate**2 * Z, atol=tolerance)


def test_no_steps_are_the_identity():
    flow = InverseAutoregressiveFlow(steps=0)
    (z, log_gates), variables = flow.init_with_output(KEY, Z, CONTEXT)
    bijector = flow.apply(variables, CONTEXT, method="bijector")
    y, log_det = bijector.forward_and_log_det(Z)
    assert variables == {}
    for same in (z, y, bijector.inverse(Z)):
        assert_array_equal(same, Z)
    assert (log_gates == 0).all()
    assert log_det.shape == (16,)
    assert (log_det == 0).all()


def test_log_q_equals_the_change_of_variables_with_a_numerical_determinant():
    mean, log_sd, eps = normal(16, D), normal(16, D), normal(16, D)

    def draw(eps, mean, log_sd, context):
        z0 = mean + jnp.exp(log_sd) * eps
        z, _ = FLOW.apply(VARIABLES, z0, context)
        return z

    jacobian_of = jax.jit(jax.vmap(jax.jacfwd(draw)))
    jacobian = jacobian_of(eps, mean, log_sd, CONTEXT)
    exact = np.asarray(jacobian, np.float64)
    _, log_det = np.linalg.slogdet(exact)
    expected = log_density(eps, 0.0, 0.0).sum(1) - log_det
    z0 = mean + jnp.exp(log_sd) * eps
    log_gates = FLOW.apply(VARIABLES, z0, CONTEXT)[1]
    log_q = (log_density(z0, mean, log_sd) - log_gates).sum(1)
    assert_allclose(log_q, expected, rtol=1e-5, atol=1e-5)


def test_the_second_step_has_the_reversed_order():
    chain = FLOW.apply(VARIABLES, CONTEXT[0], method="bijector")
    second, first = chain.bijectors
    for step, reverse in ((first, False), (second, True)):
        jacobian = jax.jit(jax.jacfwd(step.forward))(Z[0])
        diagonal = np.eye(D, dtype=bool)
        later = ~strictly_before(reverse) & ~diagonal
        assert (jacobian[later] == 0).all()
        assert (np.abs(jacobian[strictly_before(reverse)]) > 1e-6).all()
        log_gates = step.forward_and_log_gates(Z[0])[1]
        assert_allclose(jnp.diag(jacobian), jnp.exp(log_gates), rtol=1e-5)
    jacobian = jax.jit(jax.jacfwd(chain.forward))(Z[0])
    assert (np.abs(jacobian) > 1e-6).all()


@pytest.mark.parametrize("batch", [(), (16,), (2, 8)], ids=str)
def test_the_bijector_is_the_flow_and_its_inverse_undoes_it(batch):
    rows = np.prod(batch, dtype=int)
    z = Z[:rows].reshape(*batch, D)
    context = CONTEXT[:rows].reshape(*batch, C)
    forward, log_gates = FLOW.apply(VARIABLES, z, context)

    @jax.jit
    def round_trip(variables, z):
        chain = FLOW.apply(variables, context, method="bijector")
        y, log_det = chain.forward_and_log_det(z)
        back, inverse_log_det = chain.inverse_and_log_det(y)
        return y, log_det, back, inverse_log_det

    y, log_det, back, inverse_log_det = round_trip(VARIABLES, z)
    assert_allclose(y, forward, atol=1e-6)
    assert_allclose(log_det, log_gates.sum(-1), rtol=1e-5, atol=1e-6)
    assert_allclose(back, z, atol=1e-5)
    assert_allclose(inverse_log_det, -log_det, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_inverse_round_trip_in_many_dimensions():
    z = normal(3, 60)
    context = normal(3, 20)
    flow = InverseAutoregressiveFlow(steps=3, hidden=64)
    initial = jax.jit(flow.init)(KEY, z, context)
    variables = jittered(initial, size=0.05, seed=1)
    chain = flow.apply(variables, context, method="bijector")
    assert_allclose(chain.inverse(chain.forward(z)), z, atol=1e-5)


def test_works_inside_a_distrax_distribution():
    chain = FLOW.apply(VARIABLES, CONTEXT, method="bijector")
    standard_normal = distrax.MultivariateNormalDiag(jnp.zeros((16, D)), jnp.ones((16, D)))
    q = distrax.Transformed(standard_normal, chain)
    sample, log_prob = q.sample_and_log_prob(seed=jax.random.key(1))
    assert sample.shape == (16, D)
    assert_allclose(q.log_prob(sample), log_prob, rtol=1e-5, atol=1e-5)


def test_a_step_is_the_same_only_around_the_same_net():
    net = lambda z: (z, z)
    assert GatedIAF(net).same_as(GatedIAF(net))
    assert not GatedIAF(net).same_as(GatedIAF(net, reverse=True))
    assert not GatedIAF(net).same_as(GatedIAF(lambda z: (z, z)))


@pytest.mark.parametrize("s", [-80.0, -30.0, 0.0, 30.0, 80.0])
def test_values_and_gradients_stay_finite_for_extreme_gates(s):
    def total(m, s, z):
        y, log_gates = GatedIAF(lambda z: (m, s)).forward_and_log_gates(z)
        return jnp.sum(y) + jnp.sum(log_gates)

    arguments = (3.0 - Z, jnp.full_like(Z, s), Z)
    value_and_gradients = jax.value_and_grad(total, argnums=(0, 1, 2))
    value, gradients = value_and_gradients(*arguments)
    assert np.isfinite(value) and is_finite(gradients)
    z = np.asarray(Z, np.float64)
    m = np.asarray(3.0 - Z, np.float64)
    gated = expit(s) * z + expit(-s) * m
    exact = np.sum(gated - np.logaddexp(0, -s))
    assert float(value) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("size", [1e3, 1e-20, 0.0])
def test_flow_gradients_stay_finite_at_extreme_inputs(size):
    def loss(variables, z, context):
        z, log_gates = FLOW.apply(variables, z, context)
        return jnp.sum(z) + jnp.sum(log_gates)

    gradient_of = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    gradients = gradient_of(VARIABLES, size * Z, size * CONTEXT)
    assert is_finite(gradients)


def test_gradients_match_finite_differences(gradient_error):
    def loss(everything):
        z, log_gates = FLOW.apply(*everything)
        weights = jnp.cos(jnp.arange(D))
        return jnp.mean(jnp.sin(z)) + jnp.mean(log_gates * weights)

    assert gradient_error(loss, (VARIABLES, Z, CONTEXT)) <= 1e-6


def test_inverse_gradients_match_finite_differences(gradient_error):
    def loss(everything):
        variables, z, context = everything
        bijector = FLOW.apply(variables, context, method="bijector")
        back, log_det = bijector.inverse_and_log_det(z)
        return jnp.mean(jnp.sin(back)) + jnp.mean(log_det)

    assert gradient_error(loss, (VARIABLES, Z, CONTEXT)) <= 1e-6
