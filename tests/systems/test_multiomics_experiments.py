"""The arms of the multi-omics experiments: who is studied, in which folds, on which features."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import config_of
from every_arm import batch_of, fixed_splits, variables_of, with_values
from fresh_arm import CONFIG, MODULE

from omics_jax.data.preprocessing.features import in_table, on_own_columns, own_columns
from omics_jax.run.scores import main_arm
from omics_jax.systems.multiomics import assembly
from omics_jax.systems.multiomics.cohort import _edges_of
from omics_jax.systems.multiomics.patients import SLOT

ARMS = CONFIG.replace(":smoke", ":arms,smoke")


def test_folds_that_chose_other_features_share_a_table_and_keep_their_own_columns_of_it():
    fold = lambda columns, alive: {
        "columns": np.array(columns, np.int32),
        "alive": np.array(alive),
        **{
            k: np.where(alive, np.arange(len(columns)) + v, 0).astype(np.float32)
            for k, v in zip(("fill", "low", "high"), (1, 2, 3), strict=True)
        },
    }
    chosen = [fold([1, 4, 5], [True, True, False]), fold([2, 4], [True, True])]
    table, (a, b) = on_own_columns(chosen, 6, 4)
    assert table.tolist() == [1, 2, 4]
    assert a["alive"].tolist() == b["alive"].tolist() == [True, True, False, False]
    assert a["columns"].tolist() == [0, 2, 3, 3] and b["columns"].tolist() == [1, 2, 3, 3]
    assert a["fill"].tolist() == [1, 2, 0, 0] and b["high"].tolist() == [3, 4, 0, 0]
    # What the other fold chose changes the places alone.
    _, (again, _) = on_own_columns([chosen[0], fold([0, 3], [True, True])], 6, 4)
    for name in ("alive", "fill", "low", "high"):
        np.testing.assert_array_equal(again[name], a[name])
    rows = jnp.arange(6.0).reshape(2, 3) + 1
    own = own_columns(a["columns"], rows)
    assert own.tolist() == [[1, 3, 0, 0], [4, 6, 0, 0]]
    assert in_table(a["columns"], own, 3).tolist() == [[1, 0, 3], [4, 0, 6]]
    assert in_table(a["columns"], jnp.asarray(a["alive"]), 3).tolist() == [True, False, True]


def chosen_features(arm, name):
    """The names of the features that the first replicate chose, in its order."""
    constants = arm.replicates[0].constants
    places = constants[f"{name}_columns"][constants[f"{name}_alive"]]
    return arm.dataset.modalities[name].features[places].tolist()


def test_no_fold_knows_which_features_another_chose():
    """Other values of the first fold's test patients change what other folds choose, and neither
    what the first one chooses and fits nor the shape of its networks.
    """
    config = config_of(CONFIG, "--config.preprocess.top_k=4")
    dataset = MODULE.read(config)
    with fixed_splits():
        arms = MODULE.EXPERIMENTS["multitask"].arms(config, dataset)
        tested = np.concatenate([arm.replicates[0].test for arm in arms])
        far = lambda values: values * np.where(np.arange(values.shape[1]) % 3, 1, 50)
        others = MODULE.EXPERIMENTS["multitask"].arms(
            config, with_values(dataset, np.unique(tested), far)
        )
    for arm, other in zip(arms, others, strict=True):
        first, again = arm.replicates[0], other.replicates[0]
        tables = [[list(m.features) for m in a.dataset.modalities.values()] for a in (arm, other)]
        assert tables[0] != tables[1]
        for name in arm.dataset.modalities:
            assert len(chosen_features(arm, name)) == 4
            assert chosen_features(arm, name) == chosen_features(other, name)
            for key in ("alive", "fill", "low", "high"):
                field = f"{name}_{key}"
                np.testing.assert_array_equal(again.constants[field], first.constants[field])
        assert shapes_of_parameters(other) == shapes_of_parameters(arm)


def shapes_of_parameters(arm):
    replicate, table = arm.replicates[0], arm.system.arrays(arm.dataset)
    batch = {slot: batch_of(table, rows[:4]) for slot, rows in replicate.rows.items()}
    shapes = jax.eval_shape(lambda: variables_of(arm, replicate, batch))
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), shapes["params"])


def test_values_of_features_that_a_fold_did_not_choose_are_kept_and_not_imputed():
    """On a table of more features than a fold's networks read."""
    config = config_of(CONFIG, "--config.preprocess.top_k=4")
    dataset = MODULE.read(config)
    arm = MODULE.EXPERIMENTS["imputation"].arms(config, dataset)[0]
    replicate, table = arm.replicates[0], arm.system.arrays(arm.dataset)
    rows = batch_of(table, replicate.test)
    variables = variables_of(arm, replicate, {SLOT: batch_of(table, replicate.rows[SLOT])})
    predicted = jax.tree.map(np.asarray, jax.jit(arm.system.predict)(variables, rows))
    new = jax.tree.map(np.asarray, jax.jit(arm.system.predict_new)(variables, rows))
    for name, modality in arm.dataset.modalities.items():
        observed = modality.mask[replicate.test]
        values = modality.values[replicate.test]
        own = np.isin(modality.features, chosen_features(arm, name))
        assert own.sum() == 4 < len(own)
        np.testing.assert_array_equal(predicted[name][observed], values[observed])
        assert (predicted[name][:, ~own][~observed[:, ~own]] == 0).all()
        assert not predicted[f"{name}_scored"][:, ~own].any()
        assert predicted[f"{name}_scored"][:, own].any()
        assert np.isnan(new[name][:, ~own][~observed[:, ~own]]).all()
        assert np.isfinite(new[name][:, own]).all()
        low, high = (
            np.nanmin(np.where(modality.mask, modality.values, np.nan)[replicate.rows[SLOT]], 0),
            np.nanmax(np.where(modality.mask, modality.values, np.nan)[replicate.rows[SLOT]], 0),
        )
        imputed = predicted[name][:, own]
        slack = 1e-5 * np.abs(high[own]).max()
        inside = (imputed >= low[own] - slack) & (imputed <= high[own] + slack)
        assert inside[~observed[:, own]].all()


def test_complete_patients_are_scored_apart_in_every_fold_or_in_none():
    config = config_of(CONFIG)
    dataset = MODULE.read(config)
    # One patient lacks one modality, so that in all folds but its own all are complete.
    whole = dataset.take(assembly.is_complete(tuple(dataset.modalities), dataset))
    mirna = whole.modalities["mirna"]
    lacks = replace(mirna, mask=mirna.mask & (np.arange(len(whole)) != 0)[:, None])
    lacks = replace(lacks, values=np.where(lacks.mask, lacks.values, 0))
    for modality, expected in ((lacks, True), (mirna, False)):
        given = replace(whole, modalities={**whole.modalities, "mirna": modality})
        arm = MODULE.EXPERIMENTS["multitask"].arms(config, given)[-1]
        for r in arm.replicates:
            truth = np.zeros((len(r.test), 2))
            truth[:, 0] = 1
            found = arm.system.evaluate(
                {"type_probability": truth}, given.take(r.test), given.take(r.rows[SLOT])
            )
            assert ("type_accuracy_complete" in found.metrics) == expected


def test_the_worth_of_a_stage_is_measured_on_calibrated_networks():
    config = config_of(
        CONFIG,
        "--config.missing=complete",
        "--config.experiment=stages",
        "--config.training.stages=('embedding','heads','all','calibration')",
    )
    arms = MODULE.EXPERIMENTS["stages"].arms(config, MODULE.read(config))
    stages = {arm.name: [stage.name for stage in arm.system.stages] for arm in arms}
    assert stages["all stages"] == ["embedding", "heads", "all", "calibration"]
    assert stages["without embedding and heads"] == ["all", "calibration"]


def test_the_papers_edges_are_for_the_modalities_that_are_there():
    config = config_of(CONFIG.replace(":smoke", ":paper"))
    assert _edges_of(config.imputation.edges, ("mirna",)) == {}
    assert _edges_of(config.imputation.edges, ("rna", "mirna")) == {"mirna": ("rna",)}


def test_arms_share_folds_and_test_patients():
    words = ("--config.arms.sets=rna+methylation+mirna", "--config.arms.letters=('B','C')")
    config = config_of(ARMS, *words)
    dataset = MODULE.read(config)
    arms = {arm.name: arm for arm in MODULE.EXPERIMENTS["arms"].arms(config, dataset)}
    b, c = arms["B, rna+methylation+mirna"], arms["C, rna+methylation+mirna, OS"]
    whole = assembly.is_complete(tuple(dataset.modalities), dataset)
    for r_b, r_c in zip(b.replicates, c.replicates, strict=True):
        assert set(r_b.test) == {i for i in r_c.test if whole[i]} and whole[r_b.rows[SLOT]].all()
        for name, value in arms["imputers"].replicates[r_c.labels["fold"]].constants.items():
            assert np.array_equal(value, r_c.constants[name]), name
    assert [task.name for task in c.spec.tasks] == ["OS"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            ["rna", "methylation", "mirna", "rna+methylation", "rna+methylation+mirna"],
        ),  # those of the paper
        ("mirna + rna, rna,rna+rna", ["mirna+rna", "rna"]),
    ],
)
def test_modality_sets(text, expected):
    config = config_of(ARMS, "--config.arms.letters=('B',)")
    config.arms.sets = text
    found = MODULE.EXPERIMENTS["arms"].arms(config, MODULE.read(config))
    assert [arm.name for arm in found] == [f"B, {name}" for name in expected]


@pytest.mark.parametrize(
    ("letters", "main"), [(("A", "B", "C"), "B, rna+mirna"), (("A", "C"), "C, rna+mirna, OS")]
)
def test_the_summary_speaks_of_the_last_network_for_all_tasks(letters, main):
    words = ("--config.arms.sets=rna, rna+mirna", f"--config.arms.letters={letters}")
    config = config_of(ARMS, *words)
    assert main_arm(MODULE.EXPERIMENTS["arms"].arms(config, MODULE.read(config))).name == main
