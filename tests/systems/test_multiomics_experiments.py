"""The arms of the multi-omics experiments: who is studied, in which folds, on which features."""

from dataclasses import replace

import numpy as np
import pytest
from command import config_of
from fresh_arm import CONFIG, MODULE

from omics_jax.data.preprocessing.features import on_union
from omics_jax.run.scores import main_arm
from omics_jax.systems.multiomics import assembly
from omics_jax.systems.multiomics.cohort import _edges_of
from omics_jax.systems.multiomics.patients import SLOT

ARMS = CONFIG.replace(":smoke", ":arms,smoke")


def test_folds_that_chose_other_features_share_their_union():
    fold = lambda columns, alive: {
        "columns": np.array(columns, np.int32),
        "alive": np.array(alive),
        **{
            k: np.where(alive, np.arange(len(columns)) + v, 0).astype(np.float32)
            for k, v in zip(("fill", "low", "high"), (1, 2, 3), strict=True)
        },
    }
    columns, (a, b) = on_union(
        [fold([1, 4, 5], [True, True, False]), fold([2, 4], [True, True])], 6
    )
    assert columns.tolist() == [1, 2, 4]
    assert a["alive"].tolist() == [True, False, True] and b["alive"].tolist() == [False, True, True]
    assert a["fill"].tolist() == [1, 0, 2] and b["high"].tolist() == [0, 3, 4]


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
