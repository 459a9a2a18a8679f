"""Attributions of tasks' scores, and arms that learn permuted outcomes."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import normal
from outcome_rows import AGE, MODALITIES, OS, TYPE, make_cohort
from tiny_network import SLOT, Tiny

from omics_jax.nn import mtlr
from omics_jax.study.system import Arm, DataSpec
from omics_jax.tasks import attribution
from omics_jax.tasks.task import Task

PERMUTATIONS = 4


# --- attributions ---------------------------------------------------------------------------------


def test_the_attributions_of_a_row_add_up_to_its_score_over_the_baselines():
    sizes = {"rna": 5, "mirna": 3}
    tasks = (TYPE, AGE, replace(OS, bins=4))
    x = {m: normal(i, 7, size) for i, (m, size) in enumerate(sizes.items())}
    baseline = {m: normal(i, size) for i, (m, size) in enumerate(sizes.items(), 2)}
    weights = {task.name: normal(9, 8, task.outputs) for task in tasks}

    def outputs(x):
        side_by_side = jnp.concatenate([x[m] for m in sizes], axis=1)
        return {name: side_by_side @ w for name, w in weights.items()}

    parts = attribution.attributions(tasks, outputs, x, baseline, steps=64, hazard="proper")
    assert set(parts) == {f"{task.name}_attribution_{m}" for task in tasks for m in sizes}
    at_baseline = {m: jnp.broadcast_to(baseline[m], x[m].shape) for m in sizes}
    starts, ends = outputs(at_baseline), outputs(x)
    for task in tasks:
        end = attribution.score(task, ends[task.name], ends[task.name], "proper")
        start = attribution.score(task, ends[task.name], starts[task.name], "proper")
        rise = np.asarray(end - start)
        total = sum(parts[f"{task.name}_attribution_{m}"].sum(axis=1) for m in sizes)
        np.testing.assert_allclose(total, rise, atol=0.02 * np.abs(rise).max())


def test_the_score_of_a_class_is_that_of_the_predicted_one_all_the_way():
    predicted, output = jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 1.0]])
    task = Task("t", "classification", ("a", "b"))
    score = attribution.score(task, predicted, output, "proper")
    np.testing.assert_allclose(score, -np.log1p(np.e), rtol=1e-6)


@pytest.mark.parametrize("hazard", mtlr.HAZARDS)
def test_the_scores_of_numbers_and_times_are_their_value_and_risk(hazard):
    output = normal(0, 5, 4)
    value = attribution.score(AGE, output[:, :1], output[:, :1], hazard)
    np.testing.assert_array_equal(value, output[:, 0])
    risk = attribution.score(OS, output, output, hazard)
    np.testing.assert_array_equal(risk, mtlr.risk(output, hazard))


@pytest.fixture(scope="module")
def explained():
    return make_cohort()[1].take(np.arange(20))


def random_attributions(dataset, task):
    random = np.random.default_rng(0)
    return {
        f"{task}_attribution_{m}": random.standard_normal((len(dataset), len(part.features)))
        for m, part in dataset.modalities.items()
    }


def test_a_magnitude_is_the_mean_over_the_rows_that_have_the_modality(explained):
    predictions = random_attributions(explained, "age")
    frame = attribution.magnitudes(MODALITIES, AGE, predictions, explained)
    assert frame["modality"].drop_duplicates().tolist() == list(MODALITIES)
    for name in MODALITIES:
        modality, values = explained.modalities[name], predictions[f"age_attribution_{name}"]
        has = modality.mask.any(axis=1)
        assert 0 < has.sum() < len(explained)
        own = frame[frame["modality"] == name]
        assert own["feature"].tolist() == modality.features.tolist()
        np.testing.assert_allclose(own["magnitude"], np.abs(values[has]).mean(axis=0))
        np.testing.assert_allclose(own["signed"], values[has].mean(axis=0))


def test_a_task_without_attributions_of_every_modality_has_no_frame(explained):
    predictions = random_attributions(explained, "age")
    predictions["OS_attribution_rna"] = np.zeros((20, 40))
    frames = attribution.attribution_frames((TYPE, AGE, OS), MODALITIES, predictions, explained)
    assert list(frames) == ["attribution_age"]
    assert frames["attribution_age"].kind == attribution.ATTRIBUTION


# --- the null -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arms():
    """The tiny network's arm, starting from another, and its null."""
    tiny = Tiny()
    tiny.config.interpret = SimpleNamespace(permutations=PERMUTATIONS)
    arm = Arm(
        name=attribution.NETWORK,
        system=tiny.system,
        config=tiny.config,
        spec=DataSpec({}, {}),
        dataset=tiny.dataset,
        replicates=tiny.replicates,
        start_from="earlier",
    )
    return tiny.tasks, arm, attribution.permuted_arm(arm, tiny.tasks, SLOT)


def in_order(pairs):
    return pairs[:, np.lexsort(pairs)]


def test_a_permuted_replicate_deals_outcomes_anew_within_its_training_and_validation_rows(arms):
    tasks, network, null = arms
    first, table = network.replicates[0], network.system.arrays(network.dataset)
    seeds = {r.seed for r in (*network.replicates, *null.replicates)}
    assert len(null.replicates) == len(tasks) * PERMUTATIONS
    assert len(seeds) == len(network.replicates) + len(null.replicates)
    dealt_ages = set()
    for number, r in enumerate(null.replicates):
        np.testing.assert_array_equal(r.rows[SLOT], first.rows[SLOT])
        np.testing.assert_array_equal(r.test, first.test)
        for task in tasks:
            keys = [f"{field}_{task.name}" for field in task.fields]
            sources = (table, r.constants)
            true, dealt = (np.stack([source[key] for key in keys]) for source in sources)
            known, moved = table[f"k_{task.name}"], (true != dealt).any(axis=0)
            parts = first.rows[SLOT], first.validation[SLOT]
            fitted_to = np.isin(np.arange(len(known)), np.concatenate(parts))
            assert not moved[~known & fitted_to].any()
            # The null holds no outcome of a row that is tested.
            assert fitted_to[first.test].sum() == 0 and (dealt[:, ~fitted_to] == 0).all()
            is_permuted = task == tasks[number // PERMUTATIONS]
            for rows in parts:
                own = rows[known[rows]]
                assert moved[own].any() == is_permuted
                np.testing.assert_array_equal(in_order(true[:, own]), in_order(dealt[:, own]))
        dealt_ages.add(r.constants["y_age"].tobytes())
    assert len(dealt_ages) == PERMUTATIONS + 1


def test_the_null_starts_where_the_first_replicate_does_and_is_known_as_the_null(arms):
    _, network, null = arms
    assert null.name == attribution.PERMUTED and null.start_from == "earlier"
    assert null.starts == [0] * len(null.replicates) and null.labels == {"permuted": True}
    assert null.is_null and not network.is_null
    groups = [r.labels["group"] for r in null.replicates]
    assert groups[:2] == ["type permutation 1", "type permutation 2"]
    permuted = [attribution.permuted_outcome(group) for group in groups]
    assert permuted == [task.name for task in arms[0] for _ in range(PERMUTATIONS)]
    assert attribution.permuted_outcome("a permutation 1 permutation 2") == "a permutation 1"
    assert not null.with_baselines
    alone = attribution.permuted_arm(replace(network, start_from=None), arms[0], SLOT)
    assert alone.starts == ()


def test_outcomes_among_the_constants_take_the_place_of_the_rows_own(arms):
    tasks, network, null = arms
    dealt = null.replicates[0]
    row = dealt.rows[SLOT][::-1]
    tiny = Tiny()
    table, rows = network.system.arrays(network.dataset), tiny.rows_at(row)
    keys = [key for key in dealt.constants if key not in tiny.constants]
    assert sorted(keys) == ["e_OS", "y_OS", "y_age", "y_type"]
    outputs = {task.name: normal(0, len(row), task.outputs) for task in tasks}

    def terms(outcomes, rows):
        constants = {**tiny.constants, **outcomes}
        return jax.tree.map(np.asarray, tiny.network.losses.terms(constants, outputs, rows))

    own = terms({}, rows)
    same = terms({key: jnp.asarray(table[key]) for key in keys}, rows)
    jax.tree.map(np.testing.assert_array_equal, own, same)
    permuted = terms({key: jnp.asarray(dealt.constants[key]) for key in keys}, rows)
    permuted_rows = {key: jnp.asarray(dealt.constants[key][row]) for key in keys}
    expected = terms({}, {**rows, **permuted_rows})
    jax.tree.map(np.testing.assert_array_equal, permuted, expected)
    assert {name for name in own if permuted[name].sum != own[name].sum} == {
        f"task_{tasks[0].name}"
    }
