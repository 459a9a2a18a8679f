"""A stage built from a config's settings is the stage written out by hand."""

from dataclasses import fields, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from ml_collections import ConfigDict

from omics_jax.errors import UserError
from omics_jax.training.order import count_steps
from omics_jax.training.plateau import Plateau
from omics_jax.training.schedules import optimizer, plateau_of
from omics_jax.training.stage import Stage
from omics_jax.training.stage_builder import build_stage

COSINE = {"name": "cosine", "peak": 0.1, "warmup": 5}
ADAM = {"name": "adam", "learning_rate": COSINE, "clip": 0.5, "weight_decay": 0.1}
PLATEAU = {"name": "plateau", "start": 1e-2, "watch": "monitor"}


def monitor(variables, batch):
    return toy.pretrain_objective(toy.next_step(variables, batch, None, train=False)[0])


SETTINGS = {
    "loss": toy.next_step,
    "objective": toy.pretrain_objective,
    "rows": {"rows": 203},
    "batch_size": {"rows": 32},
    "epochs": 3,
    "optimizer_settings": ADAM,
    "trainable": ("(encoder|decoder)/.*",),
    "monitor": monitor,
    "patience": 2,
}


def path_of(transformation: optax.GradientTransformation, steps: int) -> np.ndarray:
    """Two parameters after every one of so many steps down the same gradients."""

    def step(carry, gradient):
        params, state = carry
        updates, state = transformation.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    start = jnp.array([1.0, -2.0])
    gradients = jnp.asarray(np.random.default_rng(0).normal(size=(steps, 2)), jnp.float32)
    return np.asarray(jax.lax.scan(step, (start, transformation.init(start)), gradients)[1])


def assert_same_stage(actual: Stage, expected: Stage):
    for field in fields(Stage):
        if field.name != "optimizer":
            assert getattr(actual, field.name) == getattr(expected, field.name), field.name
    # Functions cannot be compared, so their steps are, beyond the end of the schedule.
    np.testing.assert_array_equal(path_of(actual.optimizer, 30), path_of(expected.optimizer, 30))


@pytest.mark.parametrize("learning_rate", [1e-2, COSINE, PLATEAU], ids=str)
@pytest.mark.parametrize("settings", [dict, ConfigDict])
def test_it_is_the_stage_written_out_by_hand(learning_rate, settings):
    spec = {**ADAM, "learning_rate": learning_rate}
    expected = Stage(
        name="pretrain",
        loss=toy.next_step,
        objective=toy.pretrain_objective,
        optimizer=optimizer(spec, 3 * 7),
        epochs=3,
        batch_size={"rows": 32},
        trainable=("(encoder|decoder)/.*",),
        monitor=monitor,
        patience=2,
        plateau=plateau_of(learning_rate),
    )
    actual = build_stage("pretrain", **{**SETTINGS, "optimizer_settings": settings(spec)})
    assert_same_stage(actual, expected)
    assert (actual.plateau is None) == (learning_rate is not PLATEAU)
    more = {"monitor_every": 2, "reads": ("x",), "features": toy.pooled}
    assert_same_stage(
        build_stage("pretrain", **SETTINGS, **more),
        replace(expected, optimizer=optimizer(ADAM, 3 * 7), plateau=None, **more),
    )


@pytest.mark.slow
def test_it_trains_to_the_same_bits(tmp_path):
    """Of the toy's first stage, from the optimiser of a config and from its settings."""
    by_hand = toy.pretrain(optimizer=optimizer(ADAM, 3 * 7))
    built = build_stage("pretrain", **{**SETTINGS, "patience": None})
    digests = []
    for i, stage in enumerate((by_hand, built)):
        plan = toy.make_plan(toy.training((stage,), [toy.replicate(0)]), toy.Options())
        digests.append(toy.digest(toy.train(plan, tmp_path / str(i))))
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("rows", "size", "steps"),
    [
        ({"a": 203}, {"a": 32}, 7),
        ({"a": 64}, {"a": 32}, 2),
        ({"a": 5, "b": 90}, {"a": 5, "b": 20}, 5),
        ({"a": 5, "b": 900}, {"a": 2}, 3),
        ({"a": 0}, {"a": 32}, 1),
    ],
)
def test_the_slot_with_most_batches_decides_how_many_steps_an_epoch_has(rows, size, steps):
    assert count_steps(rows, size) == steps
    linear = {"name": "sgd", "learning_rate": {"name": "linear", "peak": 0.1}}
    settings = {**SETTINGS, "rows": rows, "batch_size": size, "optimizer_settings": linear}
    actual = path_of(build_stage("any", **settings).optimizer, 30)
    np.testing.assert_array_equal(actual, path_of(optimizer(linear, 3 * steps), 30))


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"epochs": 0}, UserError, "stage 'any': epochs is 0; give 1 or more"),
        ({"patience": 0}, UserError, "stage 'any': patience is 0; give 1 or more"),
        ({"optimizer_settings": {"name": "adam"}}, UserError, "optimizer has no learning_rate"),
        ({"batch_size": {"other": 32}}, KeyError, "other"),
        (
            {"monitor": None, "optimizer_settings": {"name": "adam", "learning_rate": PLATEAU}},
            ValueError,
            "stage 'any' has a plateau and no monitor",
        ),
    ],
)
def test_settings_that_cannot_be(change, error, sentence):
    with pytest.raises(error, match=sentence):
        build_stage("any", **{**SETTINGS, **change})


def test_the_watched_value_of_a_plateau_reaches_the_stage():
    settings = {**SETTINGS, "optimizer_settings": {"name": "sgd", "learning_rate": PLATEAU}}
    expected = Plateau("monitor", 0.2, 15, floor=1e-5 / 1e-2, epsilon=1e-8 / 1e-2)
    assert build_stage("any", **settings).plateau == expected
