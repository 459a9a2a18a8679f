"""One step: its gradient against the composed loss's, what it leaves alone, what it refuses."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from omics_jax.training.freezing import trainable_labels, trainable_leaves
from omics_jax.training.stage import Term
from omics_jax.training.state import initial_state
from omics_jax.training.step import gradient, train_step

KEY = jax.random.key(3)


def slot(rows, live=None, **changed):
    rows = np.asarray(rows, np.int32)
    fields = {**{k: v[rows] for k, v in toy.TABLE.items()}, **changed}
    return {
        "rows": {**fields, "row": rows, "live": np.ones(len(rows), bool) if live is None else live}
    }


BATCH = slot(range(40, 64))
CONSTANTS = {"centre": np.full(3, 2.0, np.float32), "scale": np.full(3, 1.5, np.float32)}
ALL = toy.pretrain()
STAGES = {
    "pretrain": replace(ALL, trainable=(".*",)),
    "frozen": toy.heads("frozen"),
    "pcgrad": toy.heads("pcgrad"),
}


@pytest.fixture(scope="module")
def variables():
    return {**toy.init(jax.random.key(0), BATCH, CONSTANTS), "constants": CONSTANTS}


def state_of(stage, variables):
    terms = jax.eval_shape(lambda v, b: stage.loss(v, b, KEY)[0], variables, BATCH)
    return initial_state(stage, variables, terms)


STEP = {
    name: jax.jit(lambda state, batch, key, s=stage: train_step(s, state, batch, key))
    for name, stage in STAGES.items()
}


def assert_same_bits(actual, expected):
    assert toy.digest(actual) == toy.digest(expected)


def assert_close(actual, expected, tolerance=1e-6):
    for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


# The gradient


@pytest.mark.parametrize("name", ["pretrain", "frozen"])
def test_the_gradient_is_that_of_the_composed_loss(variables, name):
    stage = STAGES[name]

    def composed(params):
        return stage.objective(stage.loss({**variables, "params": params}, BATCH, KEY)[0])

    actual, value, terms, stats, _ = jax.jit(lambda v: gradient(stage, v, BATCH, KEY))(variables)
    expected = jax.jit(jax.grad(composed))(variables["params"])
    assert_close(actual, trainable_leaves(stage.trainable, expected)[0])
    np.testing.assert_allclose(value, composed(variables["params"]), rtol=1e-6)
    assert set(terms) == set(stage.loss(variables, BATCH, KEY)[0])
    assert jax.tree.structure(stats) == jax.tree.structure(variables["batch_stats"])


def test_terms_are_means_over_what_was_weighed(variables):
    weights = np.random.default_rng(0).random(24).astype(np.float32)
    terms, _ = toy.next_step(variables, slot(range(40, 64), weight=weights), None, train=False)
    hidden = toy.encode(variables, BATCH["rows"])[0]
    guess = toy.NET.apply({"params": variables["params"]}, hidden, method="following")
    error = np.asarray((guess - toy.standardised(variables, BATCH["rows"])[:, 1:]) ** 2)
    expected = np.average(error.mean(axis=1), axis=0, weights=weights)
    np.testing.assert_allclose(terms["next"].mean, expected, rtol=1e-5)


def test_rows_that_are_padding_change_neither_gradient_nor_statistics(variables):
    """However many there are, and whatever they hold: NaN, infinity."""
    wild = np.array([np.nan, np.inf, 1e38] * 4, np.float32)
    x = np.concatenate([BATCH["rows"]["x"], np.broadcast_to(wild[:, None, None], (12, 4, 3))])
    y = np.concatenate([BATCH["rows"]["size"], wild])
    live = np.arange(36) < 24
    padded = slot(
        [*range(40, 64), *range(12)], live, x=x, size=y, weight=np.concatenate([np.ones(24), wild])
    )
    for name, stage in STAGES.items():
        gradient_of = jax.jit(lambda v, b, s=stage: gradient(s, v, b, KEY))
        (
            assert_close(
                gradient_of(variables, padded)[:4], gradient_of(variables, BATCH)[:4], 2e-6
            ),
            name,
        )


def test_unknown_labels_may_hold_anything(variables):
    """Bit for bit the same step, whatever stands where nothing is known."""
    wild = slot(range(40, 64))
    for task in ("kind", "size"):
        known = wild["rows"][f"{task}_known"]
        assert 0 < known.sum() < 24
        wild["rows"][task] = np.where(known, wild["rows"][task], np.nan).astype(np.float32)
    for name in ("frozen", "pcgrad"):
        state = state_of(STAGES[name], variables)
        assert_same_bits(STEP[name](state, wild, KEY), STEP[name](state, BATCH, KEY))


def test_the_order_and_the_place_of_rows_do_not_matter(variables):
    turn = np.random.default_rng(0).permutation(24)
    turned = {"rows": {k: v[turn] for k, v in BATCH["rows"].items()}}
    gradient_of = jax.jit(lambda b: gradient(STAGES["pretrain"], variables, b, KEY)[:3])
    assert_close(gradient_of(turned), gradient_of(BATCH), 2e-6)


@pytest.mark.parametrize(
    ("total", "weight", "mean"),
    [(6, 3, 2), (0, 0, 0), (5, 0, 0), (np.nan, 1, np.nan), (1, np.nan, np.nan), (4, -2, -2)],
)
def test_the_mean_of_a_term(total, weight, mean):
    np.testing.assert_equal(float(Term(jnp.float32(total), jnp.float32(weight)).mean), mean)
    slope = jax.grad(lambda s: Term(s, jnp.float32(weight)).mean)(jnp.float32(total))
    np.testing.assert_equal(float(slope), 0.0 if weight == 0 else float(np.float32(1 / weight)))


def test_balanced_gradient_of_the_toy(variables):
    """One gradient per task by jax.grad, of the heads alone, projected by hand.

    Of two tasks there is one order in which each meets the other.
    """
    stage = STAGES["pcgrad"]

    def task(heads, i):
        params = {**variables["params"], "heads": heads}
        return toy.heads_tasks(stage.loss({**variables, "params": params}, BATCH, KEY)[0])[i]

    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    each = [flat(jax.grad(task)(variables["params"]["heads"], i)) for i in range(2)]
    actual = gradient(stage, variables, BATCH, KEY)[0]
    expected = sum(
        g - min(0, g @ other) / (other @ other) * other for g, other in (each, each[::-1])
    )
    np.testing.assert_allclose(flat(actual), expected, rtol=1e-4, atol=1e-6)


# What a step leaves alone


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("why", ["no live row", "stopped", "an earlier bad step"])
def test_a_step_that_must_not_be_taken_changes_nothing(variables, name, why):
    state = STEP[name](state_of(STAGES[name], variables), BATCH, KEY)
    batch = slot(range(24), np.zeros(24, bool)) if why == "no live row" else BATCH
    if why == "stopped":
        state = state.replace(stopped=jnp.bool_(True))
    if why == "an earlier bad step":
        state = state.replace(bad_step=jnp.int32(0))
    assert_same_bits(STEP[name](state, batch, KEY), state)


def test_a_step_moves_only_what_is_trainable(variables):
    before = state_of(STAGES["frozen"], variables)
    after = STEP["frozen"](before, BATCH, KEY)
    for module in ("encoder", "decoder"):
        assert_same_bits(after.params[module], before.params[module])
    assert_same_bits(after.batch_stats, before.batch_stats)
    assert toy.digest(after.params["heads"]) != toy.digest(before.params["heads"])
    assert int(after.step) == 1


def test_statistics_of_frozen_modules_stay_even_where_the_loss_moves_them(variables):
    """`next_step` trains its batch norm; the statistics of a frozen encoder must not follow."""
    stage = replace(ALL, trainable=("decoder/.*",))
    before = state_of(stage, variables)
    after = jax.jit(lambda s: train_step(stage, s, BATCH, KEY))(before)
    assert_same_bits(after.batch_stats, before.batch_stats)
    moved = STEP["pretrain"](state_of(STAGES["pretrain"], variables), BATCH, KEY)
    assert toy.digest(moved.batch_stats) != toy.digest(before.batch_stats)


def test_frozen_parameters_have_no_optimiser_state_and_no_backward_pass(variables):
    moments = [
        leaf.size
        for leaf in jax.tree.leaves(state_of(STAGES["frozen"], variables).opt_state)
        if leaf.ndim
    ]
    assert sum(moments) == 2 * sum(
        leaf.size for leaf in jax.tree.leaves(variables["params"]["heads"])
    )

    def dots(stage):
        compiled = (
            jax.jit(lambda s, b: train_step(stage, s, b, KEY))
            .lower(state_of(stage, variables), BATCH)
            .compile()
        )
        return len(re.findall(r" dot\(|custom-call.*matmul", compiled.as_text()))

    stages = [replace(ALL, trainable=(pattern,)) for pattern in (".*", "decoder/.*")]
    assert dots(stages[1]) < dots(stages[0])
    pcgrad_all = replace(STAGES["pcgrad"], trainable=("(encoder|heads)/.*",))
    assert dots(STAGES["pcgrad"]) < dots(pcgrad_all)


@pytest.mark.parametrize("patterns", [("encodr/.*",), (".*", "heads"), ("heads/kern",)])
def test_a_pattern_without_a_match_is_an_error_that_lists_the_paths(variables, patterns):
    with pytest.raises(
        ValueError, match=f"trainable pattern '{re.escape(patterns[-1])}' matches no .*heads/kernel"
    ):
        trainable_labels(patterns, variables["params"])


# What is not finite


def poisoned(name, variables):
    """(state, batch) of the stage "pretrain" with something in it that is not finite."""
    state, rows = state_of(STAGES["pretrain"], variables), slot(range(40, 64))["rows"]
    if name == "input":
        rows["x"] = np.where(np.arange(24)[:, None, None] == 7, np.nan, rows["x"])
    elif name == "infinite input":
        rows["x"] = np.where(np.arange(24)[:, None, None] == 7, -np.inf, rows["x"])
    elif name == "huge input":  # the variance overflows, and with it the running statistics alone
        rows["x"] = np.where(np.arange(24)[:, None, None] == 7, np.float32(1e25), rows["x"])
    elif name == "weight":
        rows["weight"] = np.where(np.arange(24) == 7, np.float32(np.nan), rows["weight"])
    elif name == "optimiser":
        spoil = lambda leaf: jnp.full_like(leaf, jnp.nan) if leaf.dtype == jnp.float32 else leaf
        state = state.replace(opt_state=jax.tree.map(spoil, state.opt_state))
    elif name == "parameter":
        state = state.replace(
            params=jax.tree.map(lambda p: p.at[(0,) * p.ndim].set(jnp.inf), state.params)
        )
    return state, {"rows": rows}


@pytest.mark.parametrize(
    "name", ["input", "infinite input", "huge input", "weight", "optimiser", "parameter"]
)
def test_what_is_not_finite_is_noticed_and_nothing_of_it_applied(variables, name):
    before, batch = poisoned(name, variables)
    before = before.replace(step=jnp.int32(5))
    after = STEP["pretrain"](before, batch, KEY)
    assert int(after.bad_step) == 5
    assert_same_bits(after.replace(bad_step=before.bad_step), before)
    assert_same_bits(STEP["pretrain"](after, BATCH, KEY), after)


def test_a_gradient_whose_square_overflows_is_not_finite(variables):
    """Adam would otherwise keep an infinite second moment and never move those parameters again."""
    steep = replace(
        STAGES["pretrain"], objective=lambda terms: 1e22 * toy.pretrain_objective(terms)
    )
    before = state_of(steep, variables)
    after = jax.jit(lambda s: train_step(steep, s, BATCH, KEY))(before)
    assert int(after.bad_step) == 0
    assert_same_bits(after.replace(bad_step=before.bad_step), before)


@pytest.mark.parametrize("rate", [1e6, 1e30])
def test_a_wild_learning_rate_never_leaves_a_parameter_that_is_not_finite(variables, rate):
    wild = replace(STAGES["pretrain"], optimizer=optax.sgd(rate))
    state = state_of(wild, variables)
    step = jax.jit(lambda s, k: train_step(wild, s, BATCH, k))
    for i in range(20):
        state = step(state, jax.random.fold_in(KEY, i))
        assert all(
            np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.batch_stats))
        )
    assert int(state.bad_step) >= 0
