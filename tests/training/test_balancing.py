"""GradNorm and uncertainty weighting: steps by hand in numpy, and trainings with a known end.

The end is known in closed form. PCGrad is tested in test_pcgrad.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import digest

from omics_jax.errors import UserError
from omics_jax.training.balancing import (
    LEAST_WEIGHT,
    GradNormState,
    UncertaintyState,
    gradnorm,
    uncertainty,
)
from omics_jax.training.stage import Balance, Stage, Term
from omics_jax.training.state import initial_state
from omics_jax.training.step import train_step

KEY = jax.random.key(0)  # of a step; these rules draw nothing
TASKS, ALPHA, RATE, FACTORS = 3, 1.5, 0.05, (0.5, 1.0, 2.0)
# Of the parameters; the head is that of task 1 alone.
SHAPES = {"encoder": (2, 3), "gain": (), "head": (4,)}
OPTIMIZERS = {"sgd": optax.sgd(RATE), "adam": optax.adam(RATE)}
SETTLING = optax.adam(optax.exponential_decay(0.02, 1, 0.997))
# Which tasks have a label in the batch of each step: not task 2, all, one alone, two, none, ...
PRESENT = [(1, 1, 0), (1, 1, 1), (0, 0, 1), (1, 0, 1), (0, 0, 0), (0, 1, 1), *[(1, 1, 1)] * 14]


def steps(present=PRESENT, seed=0, tasks=TASKS):
    """Losses (T,) and gradients of each step; both 0 where a task has no label."""
    rng = np.random.default_rng(seed)
    for row in present:
        row = np.array(row[:tasks], float)
        leaves = [rng.normal(size=(TASKS, *shape)) for shape in SHAPES.values()]
        leaves[2][[0, 2]] = 0
        losses = rng.uniform(0.5, 2, size=TASKS)[:tasks] * row
        yield losses, [leaf[:tasks] * row.reshape(-1, *[1] * (leaf.ndim - 1)) for leaf in leaves]


def start(balance, dtype=np.float32):
    return balance.init([np.zeros(shape, dtype) for shape in SHAPES.values()])


def run(balance, stream, dtype=np.float32):
    """[(combined gradients, state after the step)] of every step."""
    state, trace = start(balance, dtype), []
    for losses, leaves in stream:
        grads, state = balance.combine(
            [jnp.asarray(leaf, dtype) for leaf in leaves], jnp.asarray(losses, dtype), state, KEY
        )
        trace.append((grads, state))
    return trace


class ByHand:
    """A scalar descended by SGD or Adam, as their papers write them."""

    def __init__(self, value, kind):
        self.value, self.kind, self.t, self.m, self.v = value, kind, 0, 0.0, 0.0

    def descend(self, slope):
        if self.kind == "sgd":
            self.value -= RATE * slope
            return
        self.t, self.m, self.v = (
            self.t + 1,
            0.9 * self.m + 0.1 * slope,
            0.999 * self.v + 0.001 * slope**2,
        )
        self.value -= (
            RATE * (self.m / (1 - 0.9**self.t)) / (np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8)
        )


def slopes_of(function, at, h=1e-6):
    """Central differences, exact for what is straight around `at`."""
    return [(function(at + h * e) - function(at - h * e)) / (2 * h) for e in np.eye(len(at))]


def gradnorm_by_hand(stream, kind):
    """(gradients, weights) of every step, by algorithm 1 over the tasks that have labels."""
    tasks, first = [ByHand(1.0, kind) for _ in range(TASKS)], {}
    for losses, leaves in stream:
        w = np.array([task.value for task in tasks])
        grads = [sum(w[i] * leaf[i] for i in range(TASKS)) for leaf in leaves]
        for i in np.flatnonzero(losses):
            first.setdefault(i, losses[i])
        here = [i for i in range(TASKS) if losses[i]]
        if len(here) > 1:
            shared = [np.concatenate([leaf[i].ravel() for leaf in leaves[:2]]) for i in here]
            ratio = np.array([losses[i] / first[i] for i in here])
            norms = lambda v, shared=shared: np.array(
                [np.linalg.norm(v[k] * g) for k, g in enumerate(shared)]
            )
            target = norms(w[here]).mean() * (ratio / ratio.mean()) ** ALPHA
            distance = lambda v, target=target, norms=norms: np.abs(norms(v) - target).sum()
            for i, slope in zip(here, slopes_of(distance, w[here]), strict=True):
                tasks[i].descend(slope)
            scale = w[here].sum() / sum(tasks[i].value for i in here)
            for i in here:
                tasks[i].value *= scale
        yield grads, [task.value for task in tasks]


def uncertainty_by_hand(stream, kind):
    """(gradients, s) of every step, the slope of s by differences of the loss itself."""
    tasks = [ByHand(0.0, kind) for _ in range(TASKS)]
    for losses, leaves in stream:
        s = np.array([task.value for task in tasks])
        loss = lambda s, losses=losses: sum(
            a * np.exp(-s[i]) * losses[i] + s[i] / 2 for i, a in enumerate(FACTORS)
        )
        for i, slope in enumerate(slopes_of(loss, s)):
            if losses[i]:
                tasks[i].descend(slope)
        grads = [sum(a * np.exp(-s[i]) * leaf[i] for i, a in enumerate(FACTORS)) for leaf in leaves]
        yield grads, [task.value for task in tasks]


def each_task(terms):
    return terms["task"].mean


@functools.cache
def make(rule, kind="adam", count=TASKS):
    if rule == "gradnorm":
        balance = gradnorm(each_task, count, OPTIMIZERS[kind], ALPHA)
    else:
        balance = uncertainty(each_task, FACTORS[:count], OPTIMIZERS[kind])
    return Balance(each_task, jax.jit(balance.init), jax.jit(balance.combine))


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("rule", ["gradnorm", "uncertainty"])
def test_steps_run_by_hand(x64, rule, kind):
    actual = run(make(rule, kind), steps(), np.float64)
    expected = {"gradnorm": gradnorm_by_hand, "uncertainty": uncertainty_by_hand}[rule](
        steps(), kind
    )
    for (grads, state), (grads_by_hand, values) in zip(actual, expected, strict=True):
        for leaf, shape, other in zip(grads, SHAPES.values(), grads_by_hand, strict=True):
            assert leaf.shape == shape
            np.testing.assert_allclose(leaf, other, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(state[0], values, rtol=1e-8)
    assert np.ptp(values) > 0.02  # the steps did move them apart


@pytest.mark.parametrize("rule", ["gradnorm", "uncertainty"])
def test_the_first_gradient_is_the_plain_weighted_sum_to_the_bit(rule):
    """Over leaves of any shape: all weights are 1, or the factors, before anything was learnt."""
    rng = np.random.default_rng(0)
    leaves = [
        jnp.asarray(rng.integers(-9, 9, size=(TASKS, *shape)), jnp.float32)
        for shape in ((), (1,), (3, 2, 2))
    ]
    grads, state = make(rule).combine(leaves, jnp.ones(TASKS), start(make(rule)), KEY)
    weights = np.ones(TASKS) if rule == "gradnorm" else np.array(FACTORS)
    for leaf, actual in zip(leaves, grads, strict=True):
        np.testing.assert_array_equal(actual, np.tensordot(weights, leaf, 1))
    assert state[0].dtype == jnp.float32


@pytest.mark.parametrize("rule", ["gradnorm", "uncertainty"])
def test_a_task_without_labels_moves_nothing(rule):
    """Never there: the others learn as if alone. Away for a while: it goes on from where it was."""
    never, balance = [(1, 1, 0)] * 5, make(rule)
    with_absent, alone = run(balance, steps(never)), run(make(rule, count=2), steps(never, tasks=2))
    for (grads, state), (grads_alone, state_alone) in zip(with_absent, alone, strict=True):
        np.testing.assert_allclose(state[0][:2], state_alone[0], rtol=1e-6)
        assert state[0][2] == start(balance)[0][2]
        for leaf, other in zip(grads, grads_alone, strict=True):
            np.testing.assert_allclose(leaf, other, rtol=1e-6, atol=1e-7)
    away = [state for _, state in run(balance, steps([(1, 1, 1)] * 2 + [(1, 1, 0)] * 3))]
    of_task_2 = lambda state: jax.tree.map(lambda leaf: leaf[2], state)
    assert digest(of_task_2(away[-1])) == digest(of_task_2(away[1]))
    assert digest(away[-1]) != digest(away[1])


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_moves_no_variance(loss):
    grads = [np.ones((TASKS, *shape), np.float32) for shape in SHAPES.values()]
    (_, before), (_, after) = run(make("uncertainty"), [([2, 2, 2], grads), ([1, loss, 1], grads)])
    moved = np.asarray(after.log_variance != before.log_variance)
    np.testing.assert_array_equal(moved, [True, False, True])
    assert np.isfinite(after.log_variance).all()


# GradNorm


@functools.cache
def gradnorm_scan(count, optimizer, alpha):
    balance = gradnorm(each_task, count, optimizer, alpha)

    def scan(leaves, losses):
        def step(state, now):
            grads, state = balance.combine(leaves, now, state, KEY)
            return state, (grads, state)

        return jax.lax.scan(step, balance.init(leaves), losses)[1]

    return jax.jit(scan)


def gradnorm_steps(losses, norms, optimizer=OPTIMIZERS["sgd"], alpha=ALPHA, heads=()):
    """(gradients, states) after steps of the given losses (n, T).

    The gradients have fixed norms, in a leaf that all tasks share.
    """
    leaves = [np.float32(norms)[:, None] * np.float32([0.6, 0.8]), *heads]
    return gradnorm_scan(len(norms), optimizer, alpha)(leaves, np.float32(losses))


def test_the_first_loss_is_frozen_at_the_first_one_above_0_that_is_finite():
    losses = [[2, np.nan, 0], [1, np.inf, 0], [5, 3, -1], [4, 2, 7]]
    first = gradnorm_steps(losses, [1, 2, 3])[1].first
    np.testing.assert_array_equal(first, [[2, 0, 0], [2, 0, 0], [2, 3, 0], [2, 3, 7]])


def test_what_has_no_first_loss_or_is_not_finite_moves_no_weight():
    weights = gradnorm_steps(
        [[2, 1, 1], [1, np.nan, np.inf], [1, 1, 1], [np.nan, 1, 2]], [1, 2, 3]
    )[1].weights
    np.testing.assert_array_equal(weights[1, 1:], weights[0, 1:])
    np.testing.assert_array_equal(weights[3, 0], weights[2, 0])
    assert np.isfinite(weights).all() and (weights[2] != weights[1]).all()
    overflows = gradnorm_steps(np.ones((4, 3)), [1, 2, 1e30])[1].weights
    np.testing.assert_array_equal(overflows[:, 2], 1)
    assert np.isfinite(overflows).all() and (overflows[:, :2] != 1).all()


def test_a_loss_below_0_counts_as_0():
    """Also where all of them have come that far."""
    below = np.array([[1, 1, 1], [0.5, -1, 0.6], [-1, -2, -3], [1, 0.5, 0.2]])
    actual, at_0 = (
        gradnorm_steps(losses, [1, 2, 3])[1] for losses in (below, np.maximum(below, 0))
    )
    assert digest(actual) == digest(at_0)
    assert np.isfinite(actual.weights).all() and (np.diff(actual.weights, axis=0) != 0).all()


def test_a_head_of_one_task_is_not_part_of_the_norms():
    """Whether it is a parameter of its own or a column of a matrix of heads."""
    losses = np.random.default_rng(0).random((4, 3))
    alone, columns = (
        np.float32([[0] * 5, [1] * 5, [0] * 5]),
        np.float32(np.eye(3)[:, None] * np.ones((4, 1))),
    )
    heads = [[alone], [1e4 * alone], [columns], [1e4 * columns]]
    plain = gradnorm_steps(losses, [1, 2, 3])[1]
    actual = [gradnorm_steps(losses, [1, 2, 3], heads=head) for head in heads]
    for _, states in actual:
        np.testing.assert_allclose(states.weights, plain.weights, rtol=1e-6)
    for (small, _), (large, _) in (actual[:2], actual[2:]):  # but of the gradient
        np.testing.assert_allclose(large[1], 1e4 * small[1], rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("scale", [1, 100])
def test_weights_come_to_rest_where_the_norms_are_as_wanted(alpha, scale):
    """w_i |g_i| proportional to r_i^alpha and sum T, which all three can be at alpha 0 and 1.

    So a task's units do not matter: its loss and gradient times 100 leave every balanced gradient's
    share as it was.
    """
    norms, ratio = np.array([scale, 2, 0.5]), np.array([0.2, 0.7, 0.6])
    losses = np.concatenate([np.ones((1, 3)), np.tile(ratio, (3000, 1))]) * [scale, 1, 1]
    weights = np.asarray(gradnorm_steps(losses, norms, SETTLING, alpha)[1].weights)
    share = ratio**alpha / np.sum(ratio**alpha)
    wanted = 3 * (share / norms) / np.sum(share / norms)
    np.testing.assert_allclose(weights[-1], wanted, rtol=5e-3)
    np.testing.assert_allclose(weights[-1] * norms / np.sum(weights[-1] * norms), share, rtol=5e-3)


def test_weights_stay_above_0_and_of_sum_T_where_the_papers_rule_turns_one_negative():
    """A gradient 50 times as long; at this rate a step makes its weight 1 - 0.1 * 50."""
    weights = np.asarray(gradnorm_steps(np.ones((50, 3)), [50, 1, 1], optax.sgd(0.1))[1].weights)
    assert 1 - 0.1 * 50 < 0 < weights.min()
    assert np.isclose(weights[0, 0], 3 * LEAST_WEIGHT / (LEAST_WEIGHT + 2 * 1.1), rtol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 3, rtol=1e-5)


# Whole trainings, through the step


def quadratics(curvature, middle):
    """L_i = k_i (theta - m_i)^2 / 2 of one parameter, as terms."""

    def loss(variables, batch, key):
        del key
        each = curvature * (variables["params"]["theta"] - middle) ** 2 / 2
        return {"task": Term(each * jnp.sum(batch["rows"]["live"]), jnp.ones(2))}, {}

    return loss


def regressions(variables, batch, key):
    """Two noisy readings (n, 2) of the same x b, as terms; a reading that is NaN is missing."""
    del key
    slot, params = batch["rows"], variables["params"]
    known = jnp.isfinite(slot["y"]) & slot["live"][:, None]
    error = jnp.where(known, slot["y"], 0) - (slot["x"] @ params["slope"])[:, None]
    return {
        "task": Term(jnp.sum(jnp.where(known, error**2, 0), axis=0), jnp.sum(known, axis=0) * 1.0)
    }, {}


def train(loss, balance, params, rows, optimizer, count):
    """The state after `count` steps on the same rows."""
    stage = Stage(
        "both",
        loss,
        lambda terms: jnp.sum(each_task(terms)),
        optimizer,
        1,
        {"rows": 1},
        balance=balance,
    )
    variables = {"params": params, "batch_stats": {}, "constants": {}}
    key = jax.random.key(0)
    terms = jax.eval_shape(lambda v: loss(v, rows, key)[0], variables)
    state = initial_state(stage, variables, terms)
    step = lambda _, state: train_step(stage, state, rows, key)
    return jax.jit(lambda s: jax.lax.fori_loop(0, count, step, s), donate_argnums=0)(state)


@pytest.mark.parametrize("scale", [1, 100])
def test_gradnorm_ends_where_both_tasks_have_come_equally_far(scale):
    """Two quadratics that pull at one parameter from either side.

    At rest their pulls cancel, so both norms are equal and the wanted norms must be:
    L_1 / L_1(0) = L_2 / L_2(0), or with theta from theta_0 between m_1 and m_2
      (theta - m_1) / (m_2 - theta) = rho = |theta_0 - m_1| / |theta_0 - m_2|,
      w_1 / w_2 = k_2 / (k_1 rho),
    for any curvatures: rescaling a loss moves the weights and neither the solution nor the balanced
    gradients.
    """
    curvature, middle, theta = np.array([scale, 3.0]), np.array([-1.0, 2.0]), 1.5
    decay = optax.exponential_decay(1.0, 1, 0.999)
    balance = gradnorm(each_task, 2, optax.sgd(lambda count: 0.01 / scale * decay(count)), ALPHA)
    rows = {"rows": {"live": np.ones(1, bool)}}
    params = {"theta": jnp.float32(theta)}
    state = train(
        quadratics(curvature, middle), balance, params, rows, optax.sgd(0.1 / scale), 6000
    )
    rho = abs(theta - middle[0]) / abs(theta - middle[1])
    rest = (middle[0] + rho * middle[1]) / (1 + rho)
    np.testing.assert_allclose(state.params["theta"], rest, rtol=1e-2)
    ratio = curvature[1] / (curvature[0] * rho)
    np.testing.assert_allclose(
        state.balance.weights, 2 * np.array([ratio, 1]) / (1 + ratio), rtol=1e-2
    )
    np.testing.assert_allclose(
        state.balance.first, curvature * (theta - middle) ** 2 / 2, rtol=1e-6
    )


def noisy_readings(seed=0, n=60):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    y = (x @ [1.0, -2.0])[:, None] + rng.normal(size=(n, 2)) * [0.3, 2.0]
    y[rng.random(n) < 0.4, 0] = np.nan
    return x, y


def test_uncertainty_ends_at_the_residual_variances():
    """Both readings share their slope: the end is that of a heteroscedastic regression.

    Its maximum likelihood is found by weighted least squares until it stands still: sigma_i^2 is
    the mean squared residual of the readings there are. L_i is a mean, so a task weighs
    1 / sigma_i^2 however many readings it has.
    """
    x, y = noisy_readings()
    parts = [(x[np.isfinite(column)], column[np.isfinite(column)]) for column in y.T]
    variance = np.ones(2)
    for _ in range(200):
        gram = sum(a.T @ a / len(b) / v for (a, b), v in zip(parts, variance, strict=True))
        slope = np.linalg.solve(
            gram, sum(a.T @ b / len(b) / v for (a, b), v in zip(parts, variance, strict=True))
        )
        variance = np.array([np.mean((b - a @ slope) ** 2) for a, b in parts])
    balance = uncertainty(each_task, (0.5, 0.5), optax.adam(0.02))
    rows = {
        "rows": {
            "x": x.astype(np.float32),
            "y": y.astype(np.float32),
            "live": np.ones(len(x), bool),
        }
    }
    state = train(regressions, balance, {"slope": jnp.zeros(2)}, rows, optax.sgd(0.03), 3000)
    np.testing.assert_allclose(np.exp(state.balance.log_variance), variance, rtol=1e-6)
    np.testing.assert_allclose(state.params["slope"], slope, rtol=1e-6)


@pytest.mark.parametrize("rule", ["gradnorm", "uncertainty"])
def test_labels_missing_from_a_whole_batch(rule):
    """The network steps on the other task alone; the one without keeps its weight and moments."""
    x, y = (a.astype(np.float32) for a in noisy_readings())
    balance = make(rule, count=2)
    rows = {
        "rows": {
            "x": x,
            "y": np.where([False, True], np.float32(np.nan), y),
            "live": np.ones(len(x), bool),
        }
    }
    state = train(regressions, balance, {"slope": jnp.zeros(2)}, rows, optax.sgd(0.1), 1)
    fresh = balance.init([jnp.zeros(2)])
    of_task_1 = lambda state: jax.tree.map(lambda leaf: leaf[1], state)
    assert digest(of_task_1(state.balance)) == digest(of_task_1(fresh))
    known = np.isfinite(y[:, 0])
    weight = 1 if rule == "gradnorm" else FACTORS[0]
    expected = 0.1 * weight * 2 * x[known].T @ y[known, 0] / known.sum()
    np.testing.assert_allclose(state.params["slope"], expected, rtol=1e-5)
    assert int(state.step) == 1


# What is refused, and what the state is


@pytest.mark.parametrize("rule", ["gradnorm", "uncertainty"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_a_step_keeps_the_states_shapes_and_the_gradients_types(x64, rule, dtype):
    balance = make(rule)
    params = [jnp.zeros(shape, dtype) for shape in SHAPES.values()]
    state = jax.eval_shape(balance.init, params)
    leaves = [jax.ShapeDtypeStruct((TASKS, *p.shape), dtype) for p in params]
    grads, after = jax.eval_shape(
        balance.combine, leaves, jax.ShapeDtypeStruct((TASKS,), dtype), state, KEY
    )
    describe = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert describe(after) == describe(state) and describe(grads) == describe(params)
    assert isinstance(state, GradNormState if rule == "gradnorm" else UncertaintyState)
    assert state[0].dtype == (jnp.float64 if dtype == jnp.float64 else jnp.float32)


@pytest.mark.parametrize("alpha", [-0.5, float("nan")])
def test_an_alpha_below_0_is_refused(alpha):
    with pytest.raises(UserError, match=f"^GradNorm's alpha is {alpha}; it must be 0 or more$"):
        gradnorm(each_task, 2, optax.sgd(1.0), alpha)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_a_factor_that_is_not_above_0_is_refused(factor):
    with pytest.raises(
        UserError,
        match=f"^the uncertainty weighting's factor of task 1 is {factor}; it must be above",
    ):
        uncertainty(each_task, (0.5, factor), optax.sgd(1.0))


@pytest.mark.parametrize(
    ("rule", "name"), [("gradnorm", "GradNorm"), ("uncertainty", "uncertainty weighting")]
)
def test_another_number_of_losses_is_an_error(rule, name):
    balance = make(rule)
    with pytest.raises(
        ValueError, match=rf"{name} was made for 3 tasks, and `tasks` gives losses of shape \(1,\)"
    ):
        balance.combine([jnp.ones((1, 2))], jnp.ones(1), start(balance), KEY)
