"""Every arm of every experiment of every system at smoke size, and predictions made by shape."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import ROOT, config_of

from omics_jax.durable import save_arrays
from omics_jax.run.command import system_module
from omics_jax.run.directory import OF_VARIABLES, prediction_file
from omics_jax.run.identity import origins
from omics_jax.run.prepare import prepare_arms
from omics_jax.run.scores import rows_of

SYSTEMS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
EXPERIMENTS = [(name, e) for name in SYSTEMS for e in system_module(name).EXPERIMENTS]
FIRST = {name: next(iter(system_module(name).EXPERIMENTS)) for name in SYSTEMS}
# What stands beside a network and around its scores takes most of the time of a smoke run.
SMALLER = {
    "omics_jax.tasks.baselines.TREES": 10,
    "omics_jax.evaluation.classifiers.BOOSTED_TREES": 10,
    "omics_jax.tasks.binary_figures.DRAWS": 50,
}


def smoke(name: str, experiment: str = "") -> str:
    """The --config of an experiment at its smallest size."""
    return f"--config={ROOT}/configs/{name}.py:" + ",".join(filter(None, (experiment, "smoke")))


def in_one_process(group: str, name: str, experiment: str, marks=()):
    """A test's parameters (system, experiment), run in one process with the others of the group."""
    marks = [pytest.mark.xdist_group(group), *marks]
    return pytest.param(name, experiment, marks=marks, id=f"{name}-{experiment}")


# Tests that compile share programs between the experiments of a system.
every_experiment_of_a_system = pytest.mark.parametrize(
    ("name", "experiment"), [in_one_process(f"arms-{name}", name, e) for name, e in EXPERIMENTS]
)


@cache
def data_of(name: str, experiment: str):
    """(config, dataset) of an experiment."""
    config = config_of(smoke(name, experiment))
    return config, system_module(name).read(config)


@cache
def arms_of(name: str, experiment: str):
    """The arms of an experiment."""
    config, dataset = data_of(name, experiment)
    return arms_on(name, experiment, dataset)


def arms_on(name: str, experiment: str, dataset):
    """The arms of an experiment on a dataset in place of its own."""
    config, _ = data_of(name, experiment)
    return system_module(name).EXPERIMENTS[experiment].arms(config, dataset)


def with_values(dataset, rows, change):
    """The dataset with `change(values)` in the given rows of every modality."""

    def changed(modality):
        values = modality.values.copy()
        values[rows] = change(values[rows])
        return replace(modality, values=values)

    modalities = {name: changed(m) for name, m in dataset.modalities.items()}
    return replace(dataset, modalities=modalities)


def with_other_outcomes(dataset, rows):
    """The dataset with other outcomes in the given rows, of which each part can still be scored.

    All but one event become censored, times and numbers another scale, classes those of the next
    row; one outcome of every kind becomes unknown.
    """
    targets = {}
    for name, (values, mask) in dataset.targets.items():
        values, mask = values.copy(), mask.copy()
        known = rows[mask[rows]]
        if not len(known):  # an arm about the rows of another outcome
            targets[name] = values, mask
            continue
        if name.endswith(".event"):
            values[known] = 0
            values[known[0]] = 1
            mask[known[1]] = False
        elif name.endswith(".time"):
            values[known] = 3 * values[known] + 10
            mask[known[1]] = False
        elif set(np.unique(values[known])) <= {0, 1} or name in dataset.classes:
            values[known] = np.roll(values[known], 1)
            common = np.bincount(values[known].astype(int)).argmax()
            mask[known[values[known] == common][0]] = False
        else:
            values[known] = 10 - 3 * values[known]
            mask[known[1]] = False
        targets[name] = values, mask
    return replace(dataset, targets=targets)


@contextmanager
def fixed_splits():
    """The same folds whatever the outcomes are, by which they would else be stratified."""
    from omics_jax.study import folds

    deal, dealt = folds.repeated_group_folds, {}

    def deal_once(groups, *, strata=None, rows=None, **settings):
        which = None if rows is None else np.asarray(rows).tobytes()
        key = groups.tobytes(), which, tuple(sorted(settings.items()))
        if key not in dealt:
            dealt[key] = deal(groups, strata=strata, rows=rows, **settings)
        return dealt[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folds, "repeated_group_folds", deal_once)
        yield


@contextmanager
def few_trees_and_draws():
    """Small forests and few bootstrap draws, for tests that read no number of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALLER.items():
            patch.setattr(name, value)
        yield


# --- predictions made by shape --------------------------------------------------------------------


def write_predicted_run(name: str, experiment: str, folder: Path) -> None:
    """A run directory as training leaves it, whose predictions have the right shapes, and where a
    simple model predicts the same field, its values.
    """
    config = config_of(smoke(name, experiment))
    folder.mkdir(parents=True, exist_ok=True)
    arms, _ = prepare_arms(system_module(name), config, folder)
    origin_of = origins(folder)
    random = np.random.default_rng(0)
    simple: dict[tuple, dict] = {}  # shared by arms that predict the same fields of the same rows
    with few_trees_and_draws():
        for arm in arms:
            shapes: dict[int, dict] = {}  # by the number of rows
            for r, replicate in enumerate(arm.replicates):
                for part in ("test", *arm.system.extra_parts):
                    rows = rows_of(replicate, part)
                    if len(rows) not in shapes:
                        shapes[len(rows)] = prediction_shapes(arm, replicate, rows)
                    key = str(shapes[len(rows)]), replicate.test.tobytes(), part
                    if key not in simple:
                        simple[key] = simple_predictions(arm, replicate, rows)
                    fields = {k: _drawn(own, random) for k, own in shapes[len(rows)].items()}
                    file = prediction_file(folder, arm, r, part)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    meta = {**origin_of[arm.name], "replicate": r, "part": part}
                    save_arrays(file, {**fields, **simple[key]}, meta)
                if arm.system.of_variables:
                    own = {k: _drawn(v, random) for k, v in shapes_of_variables(arm, replicate)}
                    meta = {**origin_of[arm.name], "replicate": r, "part": OF_VARIABLES}
                    save_arrays(prediction_file(folder, arm, r, OF_VARIABLES), own, meta)


def simple_predictions(arm, replicate, rows) -> dict[str, np.ndarray]:
    """What the first simple model of a replicate predicts of rows."""
    train = arm.dataset.take(rows_of(replicate, "train", arm.system.baseline_slots))
    models = arm.system.baselines(train, arm.dataset.take(rows))
    return {field: np.asarray(values) for field, values in next(iter(models.values())).items()}


def shapes_of_variables(arm, replicate):
    """(field, shape and type) of what the arm's variables say by themselves."""
    table = arm.system.arrays(arm.dataset)
    batch = {slot: batch_of(table, own) for slot, own in replicate.rows.items()}
    variables = jax.eval_shape(lambda: variables_of(arm, replicate, batch))
    return jax.eval_shape(arm.system.of_variables, variables).items()


def prediction_shapes(arm, replicate, rows):
    """Field -> shape and type of what the arm predicts of the rows; nothing is compiled."""
    table = arm.system.arrays(arm.dataset)
    batch = {slot: batch_of(table, own) for slot, own in replicate.rows.items()}
    variables = jax.eval_shape(lambda: variables_of(arm, replicate, batch))
    return jax.eval_shape(arm.system.predict, variables, batch_of(table, rows))


def batch_of(table, rows):
    """The rows of a table as a slot of a batch, on the device."""
    fields = {name: jnp.asarray(values[rows]) for name, values in table.items()}
    return {**fields, "row": jnp.asarray(rows, jnp.int32), "live": jnp.ones(len(rows), bool)}


def variables_of(arm, replicate, batch):
    """Fresh variables of a replicate, with its constants, made by one program."""
    constants = {name: jnp.asarray(values) for name, values in replicate.constants.items()}
    made = jax.jit(arm.system.init)(jax.random.key(0), batch, constants)
    return {"batch_stats": {}, **made, "constants": constants}


def _drawn(shape, random):
    if shape.dtype == bool:
        return random.random(shape.shape) < 0.5
    if np.issubdtype(shape.dtype, np.integer):  # places, in a row each its own
        places = np.broadcast_to(np.arange(shape.shape[-1]), shape.shape)
        return random.permuted(places, axis=-1).astype(shape.dtype)
    return np.abs(random.normal(size=shape.shape)).astype(shape.dtype)
