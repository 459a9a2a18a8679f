"""Coverage of intervals and sets over folds, by class, and the columns of new rows."""

from math import ceil, inf

import numpy as np
import pandas as pd
import pytest
from outcome_rows import labelled

from omics_jax.evaluation.tables import Frame
from omics_jax.report.stored_tables import printed_frame
from omics_jax.study.comparisons import network
from omics_jax.study.conformal import COLUMNS, QUANTILES
from omics_jax.study.system import MODEL, Results
from omics_jax.tasks.conformal import (
    class_sets,
    conformal_columns,
    conformal_frames,
    conformal_tables,
    covered_rows,
)
from omics_jax.tasks.task import Task

CLASSES = ("common", "other", "rare")
KIND, DOSE = Task("kind", "classification", CLASSES), Task("dose", "regression")
OS = Task("OS", "survival")
ARM, SIMPLE = "net", "mean"


def patients(n, seed=0):
    """A class in ten is "rare", and doses follow another number."""
    random = np.random.default_rng(seed)
    kind = np.where(np.arange(n) % 10 == 0, 2, np.arange(n) % 2)
    dose = random.normal(20, 4, n)
    known = random.random((2, n)) < 0.9
    targets = {"kind": (kind, known[0]), "dose": (dose, known[1])}
    return labelled(targets, classes={"kind": CLASSES})


def predicted(dataset, seed=0):
    """Predictions that know the common classes, and never the rare one."""
    random = np.random.default_rng(seed)
    kind = dataset.targets["kind"][0]
    p = random.dirichlet([3, 3, 0.3], len(dataset))
    p[np.arange(len(dataset)), np.where(kind == 2, 0, kind)] += 1
    value = dataset.targets["dose"][0] + random.normal(0, 2, len(dataset))
    return {"kind_probability": p / p.sum(axis=1, keepdims=True), "dose_value": value}


def scored(n, folds, repeats=1, tested=None, tasks=(KIND, DOSE)):
    """Results as scoring leaves them, of a network and a simple model.

    tested: (repeat, fold) -> the rows of its test set; a part of all rows by default.
    """
    dataset, parts, scores = patients(n), {}, []
    for repeat in range(repeats):
        dealt = np.random.default_rng(repeat).permutation(n) % folds
        for fold in range(folds):
            test = dataset.take(
                np.flatnonzero(dealt == fold) if tested is None else tested(repeat, fold)
            )
            for seed, model in enumerate((MODEL, SIMPLE)):
                place = {"arm": ARM, "model": model, "group": "all", "fold": fold}
                place |= {"repeat": repeat}
                scores.append({**place, "metric": "kind_accuracy", "value": 0.5})
                predictions = predicted(test, 100 * repeat + 10 * fold + seed)
                for name, frame in conformal_frames(tasks, predictions, test).items():
                    assert frame.every_repeat
                    parts.setdefault(name, []).append(frame.rows.assign(**place))
    frames = {
        name: Frame("conformal", pd.concat(rows, ignore_index=True)) for name, rows in parts.items()
    }
    return Results(pd.DataFrame(scores), frames, {}, {ARM: {}})


@pytest.fixture(scope="module")
def results():
    return scored(120, 4, repeats=2)


@pytest.fixture(scope="module")
def tables(results):
    return conformal_tables(results, [ARM])


def line_of(table, **cells):
    frame = table.frame
    for column, cell in cells.items():
        frame = frame[frame[column] == cell]
    (line,) = frame.to_dict("records")
    return line


def by_hand(results, name, level):
    """Person -> whether they are covered and the threshold, in each repeat."""
    rows = results.frames[f"conformal {name}"].rows
    rows = rows[rows["model"] == MODEL]
    found = []
    for _, repeat in rows.groupby("repeat"):
        for fold in repeat["fold"].unique():
            others = sorted(repeat.loc[repeat["fold"] != fold, "score"])
            q = others[ceil(level * (len(others) + 1) - 1e-9) - 1]
            own = repeat[repeat["fold"] == fold]
            found.append(own.assign(q=q, inside=own["score"] <= q))
    return pd.concat(found)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_intervals_are_as_wide_and_cover_as_often_as_by_hand(results, tables, level):
    expected = by_hand(results, "dose", level)
    line = line_of(tables["conformal"], outcome="dose", model=ARM, level=level)
    assert line["coverage"] == pytest.approx(expected.groupby("person")["inside"].mean().mean())
    assert line["mean width"] == pytest.approx(expected.groupby("person")["q"].mean().mean() * 2)
    by_fold = expected.groupby(["repeat", "fold"])["inside"].mean()
    assert (line["lowest fold"], line["highest fold"]) == (by_fold.min(), by_fold.max())
    assert line["patients"] == expected["person"].nunique()
    assert line["low"] < line["coverage"] < line["high"] and np.isnan(line["mean classes"])
    assert abs(line["coverage"] - level) < 0.06  # about two standard errors of 108 patients


def test_sets_are_as_large_and_cover_as_often_as_by_hand(results, tables):
    expected = by_hand(results, "kind", 0.9)
    sizes = sum((expected[f"score of {name}"] <= expected["q"]).astype(int) for name in CLASSES)
    line = line_of(tables["conformal"], outcome="kind", model=ARM, level=0.9)
    person = expected["person"]
    assert line["coverage"] == pytest.approx(expected.groupby("person")["inside"].mean().mean())
    assert line["mean classes"] == pytest.approx(sizes.groupby(person).mean().mean())
    assert line["single class"] == pytest.approx((sizes == 1).groupby(person).mean().mean())
    assert 1 <= line["mean classes"] <= 3 and np.isnan(line["mean width"])


def test_simple_models_stand_beside_the_network_at_one_level(tables):
    models = tables["conformal"].frame.groupby("model")["level"].unique()
    assert models[ARM].tolist() == [0.8, 0.9, 0.95] and models[SIMPLE].tolist() == [0.9]


def test_a_class_that_is_never_predicted_is_missed_more_often_than_others(results, tables):
    by_class = tables["conformal_classes"].frame.set_index("class")
    assert by_class.index.tolist() == list(CLASSES) and (by_class["outcome"] == "kind").all()
    expected = by_hand(results, "kind", 0.9).query("label == 'rare'")
    rare = by_class.loc["rare"]
    assert rare["coverage"] == pytest.approx(expected.groupby("person")["inside"].mean().mean())
    assert rare["coverage"] < 0.6 < by_class.loc["common", "coverage"]
    assert by_class["patients"].sum() == results.frames["conformal kind"].rows["id"].nunique()


def test_quantiles_of_new_rows_are_of_all_test_rows_with_every_patient_once(results, tables):
    """Each patient is tested once in each of two repeats."""
    frame = tables[QUANTILES].frame
    assert tables[QUANTILES].kind == "file" and frame.columns.tolist() == list(COLUMNS)
    rows = results.frames["conformal dose"].rows
    scores = sorted(rows.loc[rows["model"] == MODEL, "score"])
    count = ceil(0.9 * (len(scores) / 2 + 1) * 2 - 1e-9)
    line = line_of(tables[QUANTILES], outcome="dose", level=0.9)
    assert (line["arm"], line["group"]) == (ARM, "all")
    assert line["quantile"] == scores[count - 1]


def test_too_few_patients_have_endless_intervals_and_full_sets():
    tables = conformal_tables(scored(12, 3), [ARM])  # at most 8 calibrate
    for outcome, column, value in (("dose", "mean width", inf), ("kind", "mean classes", 3)):
        line = line_of(tables["conformal"], outcome=outcome, model=ARM, level=0.9)
        assert line[column] == value and line["coverage"] == 1
    printed = printed_frame(tables["conformal"].frame)
    assert "∞" in {cell for row in printed["rows"] for cell in row}


def test_without_patients_who_calibrate_there_is_no_table():
    everyone = scored(40, 3, tested=lambda repeat, fold: np.arange(40))
    assert conformal_tables(everyone, [ARM]) == {}
    assert conformal_tables(scored(40, 1), [ARM]) == {}
    frames = {"OS": Frame("survival", pd.DataFrame({"risk": [1.0]}))}
    survival = Results(scored(10, 2).scores, frames, {}, {ARM: {}})
    assert conformal_tables(survival, [ARM]) == {}


def test_an_outcome_that_a_model_does_not_predict_has_no_line():
    alone = conformal_tables(scored(60, 3, tasks=(DOSE,)), [ARM])
    assert set(alone) == {"conformal", QUANTILES}
    assert covered_rows(scored(60, 3).frames["conformal dose"].rows, network("else"), 0.9).empty


def test_survival_times_have_no_scores():
    dataset = labelled({"OS.time": np.ones(3), "OS.event": np.ones(3)})
    assert conformal_frames((OS,), {}, dataset) == {}


# --- new rows -------------------------------------------------------------------------------------


def quantiles(**by_task):
    rows = [(ARM, "all", task, 0.9, q) for task, q in by_task.items()]
    rows += [(ARM, "all", task, 0.95, 1e6) for task in by_task]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_an_interval_is_as_far_on_both_sides():
    values = np.array([3.0, np.nan], np.float32)
    found = conformal_columns((KIND, DOSE), 0.9, "dose_value", values, quantiles(dose=2.5))
    assert list(found) == ["low_90", "high_90"]
    np.testing.assert_array_equal(found["low_90"], np.float32([0.5, np.nan]))
    np.testing.assert_array_equal(found["high_90"], np.float32([5.5, np.nan]))
    endless = conformal_columns((DOSE,), 0.9, "dose_value", values[:1], quantiles(dose=inf))
    assert (endless["low_90"], endless["high_90"]) == (-inf, inf)


def test_a_set_names_its_classes_the_most_probable_first():
    p = np.array([[0.1, 0.7, 0.2], [0.4, 0.35, 0.25], [np.nan] * 3])
    found = conformal_columns((KIND, DOSE), 0.9, "kind_probability", p, quantiles(kind=0.7))
    assert {name: column.tolist() for name, column in found.items()} == {
        "set_90": ["other; rare", "common; other", ""]
    }
    assert class_sets(CLASSES, p[:2], 0.0).tolist() == ["other", "common"]
    assert class_sets(CLASSES, p[:1], inf).tolist() == ["other; rare; common"]


def test_other_fields_and_outcomes_without_a_quantile_have_no_columns():
    values, of_dose = np.zeros(2), quantiles(dose=1.0)
    for field in ("dose_clipped", "kind_probability", "OS_risk"):
        assert conformal_columns((KIND, DOSE, OS), 0.9, field, values, of_dose) == {}
    assert conformal_columns((DOSE,), 0.8, "dose_value", values, of_dose) == {}
