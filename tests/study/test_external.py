"""Two sets of rows as one dataset: what is joined, who is tested, and what is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.errors import UserError
from omics_jax.study import external

CONFIG = ConfigDict({"folds": 3, "repeats": 1, "seed": 0, "experiment": "external"})
CLASSES = ("A", "B")


def rows(names, features=("a", "b"), classes=CLASSES, shift=0.0):
    """Rows with a class each, the first class unknown, and one missing cell."""
    n = len(names)
    values = shift + np.arange(n * len(features), dtype=np.float32).reshape(n, -1)
    mask = np.ones(values.shape, bool)
    values[0, 0], mask[0, 0] = 0, False
    ids = np.array(names)
    known = np.arange(n) > 0
    codes = np.where(known, np.arange(n) % len(classes), 0).astype(np.int32)
    return Dataset(
        ids,
        ids,
        {"rna": Modality(values, mask, np.array(features), transform="log2(x + 1)")},
        pd.DataFrame({"sex": "f", "only": "x"}, index=ids),
        {"type": (codes, known)},
        notes=("read",),
        classes={"type": tuple(classes)},
        warnings=("odd",),
    )


OURS = rows([f"p{i}" for i in range(9)])


def test_external_rows_stand_below_on_the_internal_features_and_codes():
    theirs = rows(["q0", "q1", "q2"], ("b", "z"), ("B", "A"), 100)
    theirs = replace(theirs, table=theirs.table[["sex"]])
    both = external.join_sets(OURS, theirs, ["said"])
    assert both.ids.tolist() == [*OURS.ids, "q0", "q1", "q2"] and both.classes == OURS.classes
    found = both.modalities["rna"]
    assert found.features.tolist() == ["a", "b"] and found.transform == "log2(x + 1)"
    np.testing.assert_array_equal(found.values[:9], OURS.modalities["rna"].values)
    assert not found.mask[9:, 0].any() and (found.values[9:, 0] == 0).all()
    # Their column b is the first of theirs, unobserved in their first row.
    assert found.mask[9:, 1].tolist() == [False, True, True]
    assert found.values[9:, 1].tolist() == [0, 102, 104]
    codes, known = both.targets["type"]
    names = [CLASSES[code] for code in codes[9:]]
    assert names[1:] == ["A", "B"] and known.tolist() == [False, *[True] * 8, False, True, True]
    assert both.table.columns.tolist() == ["sex", "only", "set"]
    assert both.table["only"].isna().tolist() == [False] * 9 + [True] * 3
    assert both.table["set"].tolist() == ["internal"] * 9 + ["external"] * 3
    assert both.notes == ("read", "external: read", "said")
    assert both.warnings == ("odd", "external: odd")


def test_a_modality_that_the_external_rows_lack_is_missing():
    theirs = replace(rows(["q0", "q1"]), modalities={})
    found = external.join_sets(OURS, theirs).modalities["rna"]
    assert found.mask.shape == (11, 2) and not found.mask[9:].any()


def test_repeated_ids_are_told_apart():
    both = external.join_sets(OURS, rows(["p3", "new"], shift=50))
    assert both.ids[9:].tolist() == both.groups[9:].tolist() == ["external p3", "external new"]
    assert any("1 id (p3) is in both files, of other values" in note for note in both.notes)


def test_rows_of_both_sets_are_refused():
    again = OURS.take(np.array([4, 2]))
    with pytest.raises(
        UserError, match=r"2 patients \(p2, p4\) are in --config.data.external.path"
    ):
        external.check_repeated_rows(OURS, again, ("rna",), "patient")
    external.check_repeated_rows(OURS, rows(["p2", "p4"], shift=50), ("rna",), "patient")
    nothing = np.zeros((2, 2), bool)
    unseen = replace(again, modalities={"rna": replace(again.modalities["rna"], mask=nothing)})
    external.check_repeated_rows(OURS, unseen, ("rna",), "patient")
    with pytest.raises(UserError, match=r"1 group \(p2\) is in --config.data.path and in"):
        external.check_groups(OURS, rows(["p2", "q4"]))


def test_other_outcomes_and_unknown_classes_are_refused():
    with pytest.raises(UserError, match="has the outcomes type and .* none; give both the same"):
        external.check_outcomes(OURS, replace(rows(["q0"]), targets={}, classes={}))
    with pytest.raises(UserError, match="has the type 'C', and --config.data.path A, B; name"):
        external.check_outcomes(OURS, rows(["q0", "q1"], classes=("A", "C")))
    external.check_outcomes(OURS, rows(["q0", "q1"], classes=("B",)))


def test_every_fold_tests_the_external_rows_and_no_others():
    both = external.join_sets(OURS, rows(["q0", "q1", "q2"]))
    splits = external.deal_internal(CONFIG, both)
    assert len(splits) == 3
    for split in splits:
        assert split.test.tolist() == [9, 10, 11]
        ours = np.concatenate([split.train, split.validation])
        assert sorted(ours) == list(range(9)) and len(split.validation) == 3
    assert sorted(np.concatenate([s.validation for s in splits])) == list(range(9))


def test_folds_of_chosen_rows_hold_these_alone():
    both = external.join_sets(OURS, rows(["q0", "q1", "q2"]))
    chosen = np.array([0, 1, 2, 3, 10])
    for rows_of in (chosen, np.isin(np.arange(12), chosen)):
        for split in external.deal_internal(CONFIG, both, rows=rows_of):
            assert split.test.tolist() == [10]
            assert sorted([*split.train, *split.validation]) == [0, 1, 2, 3]


def test_the_experiment_needs_two_sets_and_one_repeat():
    both = external.join_sets(OURS, rows(["q0"]))
    external.check_experiment(CONFIG, both, "patients", "--config.x")
    with pytest.raises(
        UserError, match="needs patients to test on; name their files with --config.x"
    ):
        external.check_experiment(CONFIG, OURS, "patients", "--config.x")
    twice = ConfigDict({**CONFIG, "repeats": 2})
    with pytest.raises(UserError, match="repeats is 2; external trains config.folds models"):
        external.check_experiment(twice, both, "patients", "--config.x")
    external.refuse_for_other_experiments(CONFIG, "file", "--config.x")
    other = ConfigDict({**CONFIG, "experiment": "first"})
    external.refuse_for_other_experiments(other, "", "--config.x")
    with pytest.raises(
        UserError, match="--config.x is for the experiment external, and this is fi"
    ):
        external.refuse_for_other_experiments(other, "file", "--config.x")
