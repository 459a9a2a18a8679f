"""Stages of a network with several tasks: their names, what each may move, and their objectives."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_network import ENCODER_WEIGHT, SLOT, Tiny, encoder_loss, tiny_config, tiny_dataset
from trees import any_nonzero, leaves_differ

from omics_jax.errors import UserError
from omics_jax.tasks.network import no_loss
from omics_jax.tasks.stages import joint_stage
from omics_jax.training.calibration import CALIBRATION
from omics_jax.training.freezing import freeze, keep_frozen_stats

ALL_STAGES = ("heads", "all", "calibration")


@pytest.fixture(scope="module")
def tiny():
    return Tiny(training={"stages": ALL_STAGES})


def batch_of(tiny, stage):
    rows = dict(tiny.rows)
    if stage.features:
        rows |= stage.features(tiny.variables, rows)
    return {slot: rows for slot in stage.batch_size}


def gradients(tiny, stage):
    """The gradients of a stage's objective, and the statistics after the step."""

    def objective(params, batch):
        variables = {**tiny.variables, "params": params}
        terms, stats = stage.loss(variables, batch, jax.random.key(2))
        return stage.objective(terms), stats

    differentiate = jax.jit(jax.grad(objective, has_aux=True))
    grads, stats = differentiate(tiny.variables["params"], batch_of(tiny, stage))
    return grads, keep_frozen_stats(stage.trainable, tiny.variables["batch_stats"], stats)


@pytest.mark.parametrize(
    "balance", ["fixed", "gradnorm", "pcgrad", "pcgrad_features", "uncertainty"]
)
@pytest.mark.parametrize("stages", [ALL_STAGES, ("all",), ("heads",), ("all", "calibration")])
def test_stages_are_those_of_the_config_in_the_order_of_training(balance, stages):
    asked_for = tuple(reversed(stages))
    system = Tiny(balancing={"name": balance}, training={"stages": asked_for}).system
    assert tuple(stage.name for stage in system.stages) == stages
    patterns = {
        "heads": ("heads/.*",),
        "all": ("encoder/.*", "heads/.*"),
        "calibration": ("calibration/.*",),
    }
    assert {stage.name: stage.trainable for stage in system.stages} == {
        name: patterns[name] for name in stages
    }
    for stage in system.stages:
        balanced = stage.name == "all" and balance not in ("fixed", "pcgrad_features")
        assert (stage.balance is not None) == balanced


def test_a_task_alone_is_not_balanced():
    dataset = tiny_dataset()
    ages = replace(dataset, targets={"age": dataset.targets["age"]}, classes={})
    alone = Tiny(ages, balancing={"name": "pcgrad"})
    assert [task.name for task in alone.tasks] == ["age"]
    assert alone.stages["all"].balance is None


def test_weights_by_bounds_are_refused_where_there_are_none():
    with pytest.raises(UserError, match="is 'pwinval', which needs the accuracy of a network"):
        Tiny(balancing={"name": "pwinval"})


def test_some_stage_trains_the_heads():
    with pytest.raises(UserError, match="which trains no head; add the stage heads or all"):
        Tiny(training={"stages": ("calibration",)})


def test_a_stage_takes_steps_of_its_own_multiple_of_the_rate(tiny):
    slow = Tiny(training={"rates": {"heads": 0.25, "all": 1.0}})
    params = tiny.variables["params"]
    gradient = jax.tree.map(jnp.ones_like, params)

    def first_step(name, of):
        tx = of.stages[name].optimizer
        return jax.tree.leaves(tx.update(gradient, tx.init(params), params)[0])

    for name, multiple in (("heads", 0.25), ("all", 1.0)):
        for own, other in zip(first_step(name, slow), first_step(name, tiny), strict=True):
            np.testing.assert_allclose(own, multiple * other, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "moving"),
    [
        ("heads", {"heads"}),
        ("all", {"encoder", "heads"}),
        ("calibration", {"calibration"}),
    ],
)
def test_a_stage_moves_its_own_parameters_and_statistics_alone(tiny, name, moving):
    stage = tiny.stages[name]
    grads, stats = gradients(tiny, stage)
    optimizer = freeze(optax.sgd(1.0), stage.trainable, grads)
    params = tiny.variables["params"]
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    assert updates.keys() == {"encoder", "heads", "calibration"}
    for module, update in updates.items():
        assert any_nonzero(update) == (module in moving), module
    for module, old in tiny.variables["batch_stats"].items():
        assert any(leaves_differ(old, stats[module])) == (module in moving), module


def test_the_heads_stage_reads_what_prediction_reads(tiny):
    """Its features are the embedding by running statistics and without dropout."""
    z = tiny.stages["heads"].features(tiny.variables, tiny.rows)["z"]
    predicted = tiny.system.predict(tiny.variables, tiny.rows)["embedding"]
    np.testing.assert_array_equal(z, predicted)


def test_the_objective_of_all_is_equation_3(tiny):
    stage = tiny.stages["all"]
    terms, _ = stage.loss(tiny.variables, {SLOT: tiny.rows}, jax.random.key(1))
    tasks = tiny.network.losses.weighted(terms)
    expected = ENCODER_WEIGHT * float(encoder_loss(terms)) + float(tasks.sum())
    assert float(stage.objective(terms)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "name",
    ["gradnorm", "pcgrad", "uncertainty", "inverse_accuracy", "inverse_gradient", "loss_share"],
)
def test_a_balanced_last_stage_leaves_the_encoders_own_loss_alone(name):
    tiny = Tiny(balancing={"name": name})
    stage = tiny.stages["all"]
    terms, _ = stage.loss(tiny.variables, {SLOT: tiny.rows}, jax.random.key(1))
    losses = stage.balance.tasks(terms)
    outside = ENCODER_WEIGHT * encoder_loss(terms)
    by_task = tiny.network.losses.weighted(terms)
    np.testing.assert_allclose(losses, np.append(by_task, outside), rtol=1e-6)
    leaves = [jnp.float32(np.random.default_rng(0).standard_normal((4, 3)))]
    state, key = stage.balance.init([leaf[0] for leaf in leaves]), jax.random.key(3)
    without_it = [leaf.at[-1].set(0) for leaf in leaves]
    combined, after = stage.balance.combine(leaves, losses, state, key)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)  # a loop carries it
    of_tasks, _ = stage.balance.combine(without_it, losses, state, key)
    assert np.isfinite(combined[0]).all()
    np.testing.assert_allclose(combined[0] - of_tasks[0], leaves[0][-1], rtol=1e-5, atol=1e-6)


def test_no_gradient_is_computed_of_a_loss_that_the_encoder_does_not_have(tiny):
    network = replace(tiny.network, config=tiny_config(balancing={"name": "pcgrad"}))
    terms, _ = tiny.stages["all"].loss(tiny.variables, {SLOT: tiny.rows}, jax.random.key(1))
    for own_loss, count in ((network.encoder_loss, 4), (no_loss, 3)):
        stage = joint_stage(replace(network, encoder_loss=own_loss), 60)
        assert stage.balance.tasks(terms).shape == (count,)


def test_pcgrad_at_the_embedding_moves_the_encoder_alone_otherwise(tiny):
    """The same statistics and gradients of heads as without; and not outside of training."""
    features = Tiny(balancing={"name": "pcgrad_features"}).stages["all"]
    plain, batch = tiny.stages["all"], {SLOT: tiny.rows}
    (own, own_stats), (other, stats) = (gradients(tiny, stage) for stage in (features, plain))
    assert not any(leaves_differ(own_stats, stats))
    for leaf, expected in zip(*map(jax.tree.leaves, (own["heads"], other["heads"])), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-5, atol=1e-7)
    assert any(leaves_differ(own["encoder"], other["encoder"]))
    assert features.monitor(tiny.variables, batch) == plain.monitor(tiny.variables, batch)


@pytest.mark.parametrize("stage", ["heads", "all"])
def test_training_stops_by_the_outcome_that_the_config_names(stage):
    """Or by all; a network without that outcome by its own."""
    by_age = Tiny(training={"stopping": "age"})
    watched = by_age.stages[stage].monitor(by_age.variables, batch_of(by_age, by_age.stages[stage]))
    assert watched["monitor"] == watched["validation_age"] != watched["validation_OS"]
    terms, _ = by_age.stages["all"].loss(by_age.variables, {SLOT: by_age.rows}, jax.random.key(1))
    others = tuple(task for task in by_age.tasks if task.name != "age")
    losses = replace(by_age.network.losses, tasks=others)
    assert losses.monitored(terms)["monitor"] == losses.total(terms)


def test_rows_of_the_calibration_are_the_validation_rows(tiny):
    for replicate in tiny.replicates:
        np.testing.assert_array_equal(replicate.rows[CALIBRATION], replicate.validation[SLOT])
