"""What the multi-omics system refuses, and the sentence it says."""

import re
from dataclasses import replace

import numpy as np
import pytest
from command import ROOT, command, config_of

from omics_jax.errors import UserError
from omics_jax.run.command import system_module

MODULE = system_module("multiomics")
SMOKE = f"--config={ROOT}/configs/multiomics.py:smoke"


@pytest.fixture(scope="module")
def dataset():
    return MODULE.read(config_of(SMOKE))


def arms(dataset, *words):
    config = config_of(SMOKE, *words)
    return MODULE.EXPERIMENTS[config.experiment].arms(config, dataset)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--config.model.fusion=late",),
            "config.model.fusion is 'late'; choose one of early, intermediate",
        ),
        (
            ("--config.missing=drop",),
            "config.missing is 'drop'; choose one of impute, mask, complete",
        ),
        (
            ("--config.training.stages=('heads','end')",),
            "give one or more of embedding, heads, all",
        ),
        (("--config.model.shared=()",), "config.model.shared is (); give one or more widths"),
        (("--config.heads.survival.dropout=1.0",), "config.heads.survival.dropout is 1.0"),
        (
            ("--config.imputation.edges=mirna<dna",),
            "config.imputation.edges names 'dna'; the data hold rna",
        ),
        (
            ("--config.imputation.edges=mirna<protein",),
            "edges is 'mirna<protein', and the data hold rna",
        ),
        (("--config.imputation.edges=rna<rna",), "imputes 'rna' from itself"),
        (
            ("--config.imputation.edges=rna",),
            "imputation.edges (target<source+source, ...) has 'rna'; write name=value",
        ),
        (
            ("--config.weights=age=much",),
            "config.weights gives age the weight 'much'; give a number",
        ),
        (
            ("--config.weights=kind=2",),
            "config.weights names 'kind', which is no outcome of the data; they have type",
        ),
        (
            ("--config.imputation.transfer=kind=A",),
            "'kind', which is no classification of the data; they have type",
        ),
        (
            ("--config.imputation.transfer=type=C",),
            "imputation.transfer names the type 'C'; the data hold A, B",
        ),
        (("--config.imputation.transfer=type=A,age=B",), "name one class, as in type=LIHC"),
        (
            ("--config.experiment=arms", "--config.arms.letters=('E',)"),
            "give one or more of A, B, C, D",
        ),
        (
            ("--config.experiment=stages", "--config.left_out=('all',)"),
            "config.left_out is ('all',); give",
        ),
        (
            ("--config.experiment=arms", "--config.arms.sets=rna+dna"),
            "config.arms.sets names 'dna'",
        ),
        (("--config.folds=50",), "has 32 of the patients, fewer than the 50 folds"),
        (
            ("--config.missing=mask", "--config.model.fusion=early"),
            "model.fusion=early has no branches; set model.fusion to intermediate",
        ),
        (("--config.training.stages=('embedding',)",), "which trains no head"),
        (
            ("--config.preprocess.share=rna=half",),
            "config.preprocess.share of rna is 'half'; give a number",
        ),
        (
            ("--config.preprocess.share=dna=0.5",),
            "config.preprocess.share names 'dna', and the data hold",
        ),
        (("--config.preprocess.zeros=dna=keep",), "config.preprocess.zeros names 'dna'"),
        (
            ("--config.heads.survival.widths=(0,)",),
            "config.heads.survival.widths is (0,); give 1 or more",
        ),
        (
            ("--config.survival.convention=foo",),
            "config.survival.convention is 'foo'; choose one of containing",
        ),
        (
            ("--config.survival.hazard=foo",),
            "config.survival.hazard is 'foo'; choose one of proper",
        ),
        (
            ("--config.survival.bins=40",),
            "OS, fold 0, repeat 0: a quantile grid of 40 bins needs",
        ),
        (
            ("--config.preprocess.log2=('dna',)",),
            "config.preprocess.log2 names dna, and the data hold rna",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_a_wrong_config_is_answered_in_a_sentence(words, sentence, tmp_path):
    outcome = command(SMOKE, f"--workdir={tmp_path}", "--mode=inspect", *words)
    assert outcome.status == 2 and sentence in outcome.err and "Traceback" not in outcome.err


def test_a_class_with_fewer_members_than_folds_is_named(dataset):
    codes, mask = dataset.targets["type"]
    rare = np.where(np.arange(len(codes)) == np.flatnonzero(mask)[0], 2, codes)
    spoiled = replace(
        dataset,
        targets={**dataset.targets, "type": (rare, mask)},
        classes={"type": (*dataset.classes["type"], "rare")},
    )
    with pytest.raises(
        UserError,
        match="the type 'rare' has 1 of the patients, fewer than the 3 folds; make such",
    ):
        arms(spoiled)


def test_a_modality_may_be_called_as_patterns_are_written(dataset):
    called = {f"{name} (tpm)": m for name, m in dataset.modalities.items()}
    imputers = arms(replace(dataset, modalities=called), "--config.preprocess.log2=()")[0]
    for stage in imputers.system.stages:
        name = stage.name.removeprefix("impute_")
        assert name in called
        assert [
            m
            for m in called
            if any(re.fullmatch(p, f"imputer/{m}/out/bias") for p in stage.trainable)
        ] == [name]


def test_modalities_without_a_common_patient_are_named(dataset):
    half = np.arange(len(dataset)) < len(dataset) // 2
    hide = lambda m, rows: replace(
        m, mask=m.mask & ~rows[:, None], values=np.where(rows[:, None], 0, m.values)
    )
    apart = {
        "rna": hide(dataset.modalities["rna"], half),
        "mirna": hide(dataset.modalities["mirna"], ~half),
    }
    apart = replace(dataset, modalities=apart)
    with pytest.raises(
        UserError, match="has both rna and one of mirna, so that rna cannot be imputed"
    ):
        arms(apart)
    with pytest.raises(UserError, match="rows has the modalities of the arm|none of its"):
        arms(apart, "--config.missing=complete")
    assert len(arms(apart, "--config.missing=mask")) == 1


@pytest.mark.parametrize(
    ("name", "what"), [("rna", "a modality"), ("latent", "a table of every run")]
)
def test_an_outcome_named_like_something_else_is_refused(dataset, name, what):
    targets = {name: dataset.targets["age"]}
    with pytest.raises(UserError, match=f"'{name}' is the name of an outcome and of {what}"):
        arms(replace(dataset, targets=targets, classes={}))


def test_data_without_an_outcome_can_be_imputed_and_no_more(dataset):
    bare = replace(dataset, targets={}, classes={})
    with pytest.raises(
        UserError, match="the data hold nothing to predict; name columns with data.classes"
    ):
        arms(bare)
    assert [arm.name for arm in arms(bare, "--config.experiment=imputation")] == ["imputers"]
    alone = replace(bare, modalities={"rna": dataset.modalities["rna"]})
    with pytest.raises(UserError, match="needs two modalities or more; the data hold rna alone"):
        arms(alone, "--config.experiment=imputation")


def test_a_modality_alone_needs_no_imputer(dataset):
    alone = replace(dataset, modalities={"rna": dataset.modalities["rna"]})
    assert [arm.name for arm in arms(alone)] == ["multitask"]
