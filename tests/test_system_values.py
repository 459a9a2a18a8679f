"""What every system owes as a value of pure functions: no leaks, no dependence between rows, errors
that name rows.

The common checks through the library, where data can be spoiled that no command line would let
through. All variants share one compiled plan per system, because its programs take the table of
rows as an argument.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import ROOT, config_of

from omics_jax.errors import TrainingDiverged
from omics_jax.run.command import system_module
from omics_jax.training.history import History
from omics_jax.training.loop import RunContext, fit
from omics_jax.training.plan import Options, Training, make_plan
from omics_jax.training.rows import apply_to_rows, compile_row_function

pytestmark = pytest.mark.optimised
SYSTEMS = sorted(p.stem for p in (ROOT / "configs").glob("*.py"))


class Trained:
    """One arm's first two replicates of a system at smoke size, with everything compiled once."""

    def __init__(self, name: str, folder):
        self.module, self.folder, self.runs = system_module(name), folder, 0
        self.config = config_of(f"--config={ROOT}/configs/{name}.py:smoke")
        self.dataset = self.module.read(self.config)
        self.arm = self.arm_of(self.dataset)
        self.system, self.replicates = self.arm.system, list(self.arm.replicates[:2])
        self.plan = make_plan(self.training(self.arm), Options(chunk=2))
        self.variables = self.fit()
        self.predictor = compile_row_function(self.system.predict, 4)

    def arm_of(self, dataset):
        first = next(iter(self.module.EXPERIMENTS.values()))
        return first.arms(self.config, dataset)[0]

    def training(self, arm, replicates=slice(2)) -> Training:
        system = self.arm.system
        table = system.arrays(arm.dataset)
        return Training(
            system.stages, system.init, table, arm.dataset.ids, list(arm.replicates[replicates])
        )

    def fit(self, training: Training | None = None, plan=None):
        """The variables of the last stage, (2, ...), trained on the table of `training` by the
        shared programs.
        """
        plan, self.runs = plan or self.plan, self.runs + 1
        if training is not None:
            device = {k: jnp.asarray(v) for k, v in training.table.items()}
            plan = replace(plan, training=training, table=device)
        folder = self.folder / str(self.runs)
        folder.mkdir()
        context = RunContext(folder / "checkpoints", History(folder / "history.jsonl"))
        (_, by_stage), *_ = fit(plan, context)
        return by_stage[self.system.stages[-1].name]

    def predict(self, table, rows, of: int = 0):
        one = jax.tree.map(lambda a: a[of : of + 1], self.variables)
        device = {k: jnp.asarray(v) for k, v in table.items()}
        return apply_to_rows(self.predictor, 4, one, device, [np.asarray(rows)])[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    made = {}

    def get(name: str) -> Trained:
        if name not in made:
            made[name] = Trained(name, tmp_path_factory.mktemp(name))
        return made[name]

    return get


def assert_same_bits(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def with_values(dataset, rows, change):
    """The dataset with `change(values)` in the given rows of every modality."""

    def spoil(m):
        values = m.values.copy()
        values[rows] = change(values[rows])
        return replace(m, values=values)

    return replace(dataset, modalities={name: spoil(m) for name, m in dataset.modalities.items()})


def held_out(found: Trained) -> np.ndarray:
    """Test rows of the first replicate, which no training of it may see."""
    return found.replicates[0].test


by_system = pytest.mark.parametrize("name", SYSTEMS)


@by_system
def test_one_program_per_stage_serves_the_whole_training(trained, name):
    found = trained(name)
    assert [compiled.block._cache_size() for compiled in found.plan.stages] == [1] * len(
        found.plan.stages
    )


@by_system
def test_another_seed_gives_other_variables_and_the_same_seed_the_same(trained, name):
    found = trained(name)
    assert_same_bits(found.fit(found.training(found.arm)), found.variables)
    reseeded = found.training(found.arm)
    reseeded = replace(
        reseeded, replicates=[replace(r, seed=r.seed + 50) for r in reseeded.replicates]
    )
    plan = replace(found.plan, stages=make_plan(reseeded, Options(chunk=2)).stages)
    other = found.fit(reseeded, plan)
    pairs = zip(
        jax.tree.leaves(other["params"]), jax.tree.leaves(found.variables["params"]), strict=True
    )
    assert any((a != b).any() for a, b in pairs)


@by_system
def test_a_replicate_in_the_axis_is_the_replicate_alone(trained, name):
    found = trained(name)
    alone = found.training(found.arm, slice(1, 2))
    variables = found.fit(alone, make_plan(alone, Options(chunk=1)))
    assert_same_bits(variables, jax.tree.map(lambda a: a[1:2], found.variables))


@by_system
def test_the_order_of_the_rows_in_a_file_changes_no_split(trained, name):
    found = trained(name)
    order = np.random.default_rng(0).permutation(len(found.dataset))
    permuted = found.arm_of(found.dataset.take(order))
    assert len(permuted.replicates) == len(found.arm.replicates)
    for ours, theirs in zip(permuted.replicates, found.arm.replicates, strict=True):
        assert (ours.labels, ours.seed) == (theirs.labels, theirs.seed)
        ids = lambda rows, arm: sorted(arm.dataset.ids[rows])
        assert ids(ours.test, permuted) == ids(theirs.test, found.arm)
        for slot in theirs.rows:
            assert ids(ours.rows[slot], permuted) == ids(theirs.rows[slot], found.arm)
        for key, value in theirs.constants.items():
            np.testing.assert_allclose(ours.constants[key], value, rtol=1e-5, atol=1e-5)


@by_system
def test_a_prediction_depends_on_its_own_row_alone(trained, name):
    found = trained(name)
    rows, table = held_out(found), found.system.arrays(found.arm.dataset)
    expected = found.predict(table, rows)
    assert_same_bits(found.predict(table, rows), expected)
    assert_same_bits(found.predict(table, rows[::-1]), {k: v[::-1] for k, v in expected.items()})
    others = with_values(found.arm.dataset, rows[1:], lambda v: 10 - 3 * v)
    mine = found.predict(found.system.arrays(others), rows)
    assert_same_bits({k: v[0] for k, v in mine.items()}, {k: v[0] for k, v in expected.items()})
    alone = found.predict(table, rows[:1])
    for key, value in alone.items():
        np.testing.assert_allclose(value, expected[key][:1], rtol=1e-6, atol=1e-6)


@by_system
def test_nan_in_an_observed_cell_stops_the_training_and_names_the_row(trained, name):
    found = trained(name)
    row = next(iter(found.replicates[0].rows.values()))[-1]
    # The constants are those of the sound data; fitting them on NaN is refused before any training.
    table = found.system.arrays(
        with_values(found.arm.dataset, row, lambda v: np.full_like(v, np.nan))
    )
    training = replace(found.training(found.arm), table=table)
    with pytest.raises(TrainingDiverged, match=str(found.arm.dataset.ids[row])):
        found.fit(training)


@by_system
def test_nan_in_an_unobserved_cell_changes_no_bit(trained, name):
    found = trained(name)

    def hidden(value):
        def hide(m):
            mask, values = m.mask.copy(), m.values.copy()
            mask[..., 0] &= (np.arange(len(mask)) % 3 > 0).reshape(-1, *[1] * (mask.ndim - 2))
            values[~mask] = value
            return replace(m, mask=mask, values=values)

        dataset = found.arm.dataset
        dataset = replace(dataset, modalities={k: hide(m) for k, m in dataset.modalities.items()})
        return replace(found.training(found.arm), table=found.system.arrays(dataset))

    assert_same_bits(found.fit(hidden(np.nan)), found.fit(hidden(0.0)))
