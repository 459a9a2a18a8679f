"""A training that diverges stops, names place and rows, and leaves only finite values on disk."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from omics_jax.durable import load_arrays
from omics_jax.errors import TrainingDiverged
from omics_jax.training.order import block_rows, padded_rows
from omics_jax.training.plan import Options, make_plan

pytestmark = pytest.mark.slow

ROW = 123  # trained on by both replicates


def plan(row_value=None, field="x", seeds=(0,), stages=None, **options):
    table = {name: values.copy() for name, values in toy.TABLE.items()}
    if row_value is not None:
        table[field][ROW] = row_value
    replicates = [toy.replicate(seed) for seed in seeds]
    assert all(ROW in one.rows["rows"] for one in replicates)
    stages = stages or [toy.pretrain(monitor=None)]
    return make_plan(toy.training(stages, replicates, table), Options(**options))


def diverges(ready, folder):
    with pytest.raises(TrainingDiverged) as error:
        toy.train(ready, folder)
    for file in (folder / "checkpoints").glob("*.npz"):
        assert all(np.isfinite(array).all() for array in load_arrays(file)[0].values())
    return str(error.value)


def expected_place(steps=7):
    """(epoch, batch) at which the row is first seen, by running the order alone."""
    padded = padded_rows([toy.replicate(0)], {"rows": 32})
    rows = block_rows(
        padded, np.int32(0), stage=0, length=steps, per_epoch=steps, widths=(("rows", 32),)
    )
    row, live = np.asarray(rows["rows"]["row"][0]), np.asarray(rows["rows"]["live"][0])
    return 0, int(np.flatnonzero(((row == ROW) & live).any(axis=1))[0]) + 1


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (np.nan, {}),
        (np.inf, {}),
        (-np.inf, {}),
        (np.nan, {"resident_bytes": 0}),
        (np.nan, {"block_steps": 2}),
    ],
)
def test_the_row_and_its_field_are_named(tmp_path, value, options):
    epoch, batch = expected_place()
    message = diverges(plan(value, **options), tmp_path)
    assert message == (
        f"Not finite in stage 'pretrain', toy fold 0, epoch {epoch}, batch {batch} of 7: "
        "the input itself holds NaN or infinity in row patient-123 (x)."
    )


@pytest.mark.parametrize(("field", "stage"), [("weight", "pretrain"), ("size", "heads")])
def test_weights_and_labels(tmp_path, field, stage):
    known = np.isin(np.arange(toy.ROWS), ROW) | toy.TABLE["size_known"]
    ready = plan(np.nan, field)
    training = replace(ready.training, table={**ready.training.table, "size_known": known})
    training = replace(training, stages=[*training.stages, toy.heads("frozen")])
    message = diverges(make_plan(training, ready.options), tmp_path)
    assert f"stage {stage!r}, toy fold 0" in message and message.endswith(
        f"row patient-123 ({field})."
    )
    finished = sorted(file.name for file in (tmp_path / "checkpoints").glob("*.npz"))
    assert finished == ([] if stage == "pretrain" else ["0000-pretrain.npz"])


def test_an_unknown_label_may_be_nan(tmp_path):
    known = toy.TABLE["size_known"] & ~np.isin(np.arange(toy.ROWS), ROW)
    outcomes = []
    for i, value in enumerate((0.0, np.nan)):
        ready = plan(value, "size", stages=[toy.heads("frozen")])
        training = replace(ready.training, table={**ready.training.table, "size_known": known})
        outcomes.append(toy.train(make_plan(training, ready.options), tmp_path / str(i)))
    assert toy.digest(outcomes[0]) == toy.digest(outcomes[1])


def test_a_row_that_nobody_trains_on_may_be_nan(tmp_path):
    one = toy.replicate(0)
    rows = np.setdiff1d(np.concatenate([one.rows["rows"], one.validation["rows"]]), [ROW]).astype(
        np.int32
    )
    one = replace(one, rows={"rows": rows[:150]}, validation={"rows": rows[150:]})
    outcomes = []
    for i, value in enumerate((None, np.nan)):
        training = replace(plan(value).training, replicates=[one])
        outcomes.append(toy.train(make_plan(training, Options()), tmp_path / str(i)))
    assert toy.digest(outcomes[0]) == toy.digest(outcomes[1])


def test_a_learning_rate_that_explodes(tmp_path):
    """No row is to blame by itself once the parameters are huge; rows and mend are named still."""
    ready = plan(stages=[toy.pretrain(monitor=None, epochs=30, optimizer=optax.sgd(1e30))])
    message = diverges(ready, tmp_path)
    place = r"Not finite in stage 'pretrain', toy fold 0, epoch \d+, batch \d of 7: "
    assert re.match(
        place + r".*patient-\d{3}.* Lower optimizer.learning_rate or set optimizer.clip", message
    )


@pytest.mark.parametrize("strategy", ["map", "vmap"])
def test_among_several_replicates_the_one_that_failed_is_named(tmp_path, strategy):
    """The constants of the second replicate alone are broken."""
    ready = plan(seeds=(0, 1), chunk=2, strategy=strategy)
    constants = {"centre": np.full(3, 2, np.float32), "scale": np.zeros(3, np.float32)}
    replicates = [toy.replicate(0), replace(toy.replicate(1), constants=constants)]
    message = diverges(
        make_plan(replace(ready.training, replicates=replicates), ready.options), tmp_path
    )
    assert "stage 'pretrain', toy fold 1, epoch 0, batch 1 of 7" in message


def test_a_broken_optimiser_state_is_called_that(tmp_path):
    """An optimiser that spoils its own state at the fifth step."""

    def update(updates, state, params=None):
        count, stored = state
        spoilt = jnp.where(count == 4, jnp.inf, stored)
        return jax.tree.map(lambda u: -1e-3 * u + 0 * stored, updates), (count + 1, spoilt)

    start = lambda params: (jnp.int32(0), jnp.float32(0))
    ready = plan(
        stages=[toy.pretrain(monitor=None, optimizer=optax.GradientTransformation(start, update))]
    )
    message = diverges(ready, tmp_path)
    assert message == (
        "Not finite in stage 'pretrain', toy fold 0, epoch 0, batch 6 of 7: "
        "the optimiser's state held NaN or infinity before this step."
    )
