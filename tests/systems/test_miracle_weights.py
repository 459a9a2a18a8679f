"""Weights of diseases: bounds from single networks, every policy, and resumption to the bit."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import batch_of, constants_of
from fitted_arms import fitted
from miracle_people import FreshArm, arms

from omics_jax.errors import Stopped
from omics_jax.study.starts import start_of
from omics_jax.systems.miracle.model import SLOT
from omics_jax.tasks.bounds import BOUND
from omics_jax.tasks.losses import BALANCES, BY_BOUND, BY_VALIDATION, IN_OBJECTIVE
from omics_jax.training.plan import Options
from omics_jax.training.step import gradient

PWINVAL = "--config.balancing.name=pwinval"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The arms of `multitask` under PWInVal, and of each the variables of its stages."""
    folder, by_arm, last = tmp_path_factory.mktemp("pwinval"), {}, {}
    listed = arms(PWINVAL, "--config.folds=3")
    for arm in listed:
        by_arm[arm.name], _ = fitted(arm, folder / arm.name, start_of(arm, last))
        last[arm.name] = by_arm[arm.name][arm.system.stages[-1].name]
    return listed, by_arm


def accuracy(arm, variables, place):
    """Share of the validation rows of a replicate whose disease is classified correctly."""
    (task,) = arm.spec.tasks
    replicate = arm.replicates[place]
    rows = replicate.validation[SLOT]
    own = jax.tree.map(lambda leaf: leaf[place], variables)
    own = {**own, "constants": constants_of(replicate)}
    predicted = jax.jit(arm.system.predict)(own, batch_of(arm.system.arrays(arm.dataset), rows))
    codes, known = (part[rows] for part in arm.dataset.targets[task.name])
    found = np.argmax(predicted[f"{task.name}_probability"], axis=1)
    return np.mean(found[known] == codes[known])


@pytest.mark.slow
def test_the_bound_is_the_accuracy_on_the_validation_rows_of_the_fold(trained):
    listed, by_arm = trained
    seen = set()
    for arm in listed[:-1]:
        assert [stage.name for stage in arm.system.stages][-1] == BOUND
        (name,) = (task.name for task in arm.spec.tasks)
        final = by_arm[arm.name][BOUND]
        for place in range(len(arm.replicates)):
            bound = final["params"][f"bound_{name}"]["accuracy"][place]
            assert bound == pytest.approx(accuracy(arm, final, place), abs=1e-6)
            seen.add(float(bound))
    assert len(seen) > 2


@pytest.mark.slow
def test_the_stage_of_the_bound_moves_nothing_else(trained):
    listed, by_arm = trained
    for arm in listed[:-1]:
        before, after = by_arm[arm.name]["all"], by_arm[arm.name][BOUND]
        name = f"bound_{arm.spec.tasks[0].name}"
        np.testing.assert_array_equal(before["params"][name]["accuracy"], 1)
        for kind in ("params", "batch_stats"):
            rest = [{k: v for k, v in x[kind].items() if k != name} for x in (before, after)]
            jax.tree.map(np.testing.assert_array_equal, *rest)


@pytest.mark.slow
def test_the_network_of_all_diseases_starts_from_the_bounds_and_leaves_them(trained):
    listed, by_arm = trained
    joint = listed[-1]
    assert joint.sources == tuple(arm.name for arm in listed[:-1])
    names = [f"bound_{task.name}" for task in joint.spec.tasks]
    assert set(joint.takes) == set(names) and len(names) == 2
    for stage, variables in by_arm[joint.name].items():
        for arm, name in zip(listed[:-1], names, strict=True):
            np.testing.assert_array_equal(
                variables["params"][name]["accuracy"],
                by_arm[arm.name][BOUND]["params"][name]["accuracy"],
                err_msg=stage,
            )
    # Nothing but the bounds is taken over.
    first = by_arm[joint.name]["autoencoder"]["params"]["encoder"]
    alone = by_arm[listed[0].name]["autoencoder"]["params"]["encoder"]
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (first, alone)), strict=True))


@pytest.mark.parametrize("experiment", ["weights", "knowledge", "sites"])
def test_every_experiment_trains_the_networks_that_give_the_bounds(experiment):
    words = (f"--config.experiment={experiment}", "--config.selection.method=t", PWINVAL)
    listed = arms(*words)
    single = [arm.name for arm in listed if "single" in arm.labels]
    assert single == ["IBD alone", "MS alone"]
    for arm in listed[2:]:
        is_bounded = arm.config.balancing.name == "pwinval"
        assert arm.sources == (tuple(single) if is_bounded else ())


# --- policies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BALANCES)
def test_every_policy_builds_and_gives_a_finite_gradient_also_with_a_number(name):
    """Age is known of everyone; a policy by accuracies leaves its weight at 1."""
    fresh = FreshArm(f"--config.balancing.name={name}", with_age=True)
    assert [task.kind for task in fresh.shape.tasks] == ["classification"] * 2 + ["regression"]
    stage = fresh.stages["all"]
    assert (stage.balance is None) == (name in IN_OBJECTIVE)
    state = stage.balance.init(jax.tree.leaves(fresh.variables["params"])) if stage.balance else ()
    batch = {SLOT: fresh.rows}
    if stage.balance and stage.balance.observe:
        values = stage.monitor(fresh.variables, batch)
        assert (name in BY_VALIDATION) == ("accuracy_IBD" in values)
        assert (name in BY_BOUND) == ("bound_IBD" in values)
        state = stage.balance.observe(state, values)
    run = jax.jit(lambda variables, state: gradient(stage, variables, batch, key(), state))
    grads = run(fresh.variables, state)[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def key():
    return jax.random.key(0)


@pytest.mark.parametrize("name", BY_BOUND)
@pytest.mark.parametrize(
    ("accuracy", "proper", "slipped"),
    [
        (0.5, 0.5161, 0.5161),
        (0.8, 0.2258, 0.2258),
        (0.93, 0.1, 0.1),
        (0.95, 0.0714, 2.7857),
        (1.0, 0.0, 2.8571),
    ],
)
def test_the_weights_of_pwinval_through_the_state_of_the_stage(name, accuracy, proper, slipped):
    stage = pwinval_stage(name)
    state = stage.balance.init([jnp.zeros(3)])
    values = {f"bound_{task}": jnp.float32(0.93) for task in ("IBD", "MS")}
    values |= {"accuracy_IBD": jnp.float32(accuracy), "accuracy_MS": jnp.float32(jnp.nan)}
    state = stage.balance.observe(state, values)
    # The gradients of IBD, of MS, which has no validation rows, and of the autoencoder.
    (weights,), _ = stage.balance.combine([jnp.eye(3)], jnp.ones(3), state, jax.random.key(0))
    expected = slipped if name == "pwinval_slip" else proper
    np.testing.assert_allclose(weights, [expected, 1, 1], atol=5e-5)


@functools.cache
def pwinval_stage(name):
    words = (f"--config.balancing.name={name}", "--config.balancing.smoothing=0.0")
    return FreshArm(*words).stages["all"]


def test_inverse_sizes_come_from_the_training_rows_of_the_fold():
    words = ("--config.simulator.people=(60,24,36)", "--config.balancing.name=inverse_size")
    singles, joint = arms(*words)[:-1], arms(*words)[-1]
    for replicate in joint.replicates:
        rows = replicate.rows[SLOT]
        sizes = np.array([joint.dataset.targets[t.name][1][rows].sum() for t in joint.spec.tasks])
        expected = (1 / sizes) / np.mean(1 / sizes)
        found = [replicate.constants[f"weight_{task.name}"] for task in joint.spec.tasks]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert expected.argmax() == 1 and np.mean(found) == pytest.approx(1)
    for arm in singles:
        assert not any(name.startswith("weight_") for name in arm.replicates[0].constants)


def test_weights_by_inverse_size_are_those_of_the_objective():
    fresh = FreshArm("--config.simulator.people=(60,24)", "--config.balancing.name=inverse_size")
    stage = fresh.stages["heads"]
    batch = {SLOT: {**fresh.rows, **stage.features(fresh.variables, fresh.rows)}}
    terms, _ = jax.jit(stage.loss)(fresh.variables, batch, key())
    names = [task.name for task in fresh.shape.tasks]
    weighted = [
        float(fresh.constants[f"weight_{name}"]) * float(terms[f"task_{name}"].mean)
        for name in names
    ]
    assert float(stage.objective(terms)) == pytest.approx(sum(weighted) / 2, rel=1e-6)


# --- resumption -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_interrupted_training_under_pwinval_ends_with_the_same_bits(trained, tmp_path):
    """Stopped twice in the middle of the stage `all`, where the state holds accuracies."""
    listed, by_arm = trained
    joint = listed[-1]
    last = {arm.name: by_arm[arm.name][BOUND] for arm in listed[:-1]}
    start, options = start_of(joint, last), Options(block_steps=1)
    whole, _ = fitted(joint, tmp_path / "whole", start, options=options)
    steps = steps_of_stages(joint)
    blocks = steps["autoencoder"] + steps["heads"]
    for further in (2, 1):
        with pytest.raises(Stopped):
            stop = stop_after(blocks + further)
            fitted(joint, tmp_path / "parts", start, stop=stop, options=options)
        blocks = 0
    parts, _ = fitted(joint, tmp_path / "parts", start, options=options)
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    lines = [(tmp_path / name / "history.jsonl").read_bytes() for name in ("whole", "parts")]
    assert lines[0] == lines[1] and b"accuracy_IBD" in lines[0]


def stop_after(blocks):
    """A `stop` that says SIGTERM at the end of the given number of blocks, and ever after."""
    seen = itertools.count(1)
    return lambda: 15 if next(seen) >= blocks else None


def steps_of_stages(arm):
    most = max(len(replicate.rows[SLOT]) for replicate in arm.replicates)
    per_epoch = -(-most // arm.config.training.batch_size)
    return {stage.name: stage.epochs * per_epoch for stage in arm.system.stages}
