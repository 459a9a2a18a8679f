"""Groups of patients whose attention is compared: who is in them, their attention, the test.

Oracles are loops over patients, and scipy on the values of single patients.
"""

from dataclasses import replace
from functools import partial
from itertools import combinations

import jax
import numpy as np
import pandas as pd
import pytest
from command import config_of
from gene_pairs import ALONE, COVARIATES, FEW, KIND, NETWORK, compared, random_fields
from gene_patients import SMOKE, arms_on, patients
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import false_discovery_control, ttest_ind

from omics_jax.errors import UserError
from omics_jax.nn.token_encoder import attention_weights
from omics_jax.systems.gene_transformer import interaction_arms, model, patient_groups
from omics_jax.systems.gene_transformer.model import ENCODER, SLOT
from omics_jax.tasks.task import Task

TASKS = (
    Task("kind", "classification", ("A", "B")),
    Task("grade", "classification", ("low", "mid", "high, or so")),
    Task("dose", "regression"),
    Task("OS", "survival"),
)


def groups_in(text, *words):
    config = config_of(SMOKE, NETWORK, *words)
    config.interpret.groups = text
    return patient_groups.groups_of(config, TASKS)


@pytest.mark.parametrize(
    ("text", "task", "classes"),
    [
        ("kind", "kind", ("A", "B")),
        ("kind=B,A", "kind", ("B", "A")),
        ("grade=high, or so,low", "grade", ("high, or so", "low")),
        (" dose ", "dose", ()),
        ("OS", "OS", ()),
    ],
)
def test_groups_are_of_one_outcome(text, task, classes):
    found = groups_in(text)
    assert (found.task.name, found.classes) == (task, classes)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("age", "names 'age', and the outcomes are kind, grade, dose, OS; choose one"),
        ("age=1,2", "names 'age', and the outcomes are"),
        ("grade", "'grade' has low, mid, high, or so; name two of them, as in --config.interpret."),
        ("grade=low", "compares two classes, and 'grade' has low"),
        ("grade=low,low", "compares two classes"),
        ("grade=low,tall", "names the class 'tall', and 'grade' has low, mid"),
        ("dose=1,2", "names classes of 'dose', which has none"),
        ("kind=A,B,dose=1", "names 2 outcomes; give one"),
        ("kind=", "write name=value"),
    ],
)
def test_other_groups_are_refused(text, sentence):
    with pytest.raises(UserError, match=sentence):
        groups_in(text)


def test_groups_need_attention_of_pairs():
    assert groups_in("", "--config.model.attention=induced") is None
    with pytest.raises(UserError, match="'induced' does not say; set --config.model.attention=ex"):
        groups_in("kind", "--config.model.attention=induced")


def outcomes(size=40, seed=0):
    rng = np.random.default_rng(seed)
    known = rng.random((size, 4)) < 0.8
    targets = {
        "kind": rng.integers(2, size=size),
        "grade": rng.integers(3, size=size),
        "dose": rng.integers(10, size=size).astype(np.float32),
        "OS.time": rng.integers(1, 9, size=size).astype(np.float32),
        "OS.event": rng.integers(2, size=size),
    }
    column = {"kind": 0, "grade": 1, "dose": 2, "OS.time": 3, "OS.event": 3}
    masked = {name: (values, known[:, column[name]]) for name, values in targets.items()}
    return replace(patients(size), targets=masked)


def test_classes_are_groups():
    data = outcomes()
    for text, codes in {
        "kind": (0, 1),
        "kind=B,A": (1, 0),
        "grade=high, or so,low": (2, 0),
    }.items():
        groups = groups_in(text)
        values, known = data.targets[groups.task.name]
        found, names = patient_groups.codes_of(groups, data, data)
        expected = np.full(len(data), -1)
        for place, code in enumerate(codes):
            expected[known & (values == code)] = place
        assert_array_equal(found, expected)
        assert names == groups.classes


def test_a_number_is_divided_at_the_training_median():
    train, test = outcomes(41, 1), outcomes(40, 2)
    middle = np.median(train.targets["dose"][0][train.targets["dose"][1]])
    found, names = patient_groups.codes_of(groups_in("dose"), train, test)
    values, known = test.targets["dose"]
    assert_array_equal(found == 1, known & (values > middle))
    assert_array_equal(found == 0, known & (values <= middle))
    assert names == (f"at most {middle:.4g}", f"above {middle:.4g}") and (found == -1).any()


def test_patients_censored_before_the_median_event_time_are_left_out():
    train, test = outcomes(60, 1), outcomes(60, 2)
    (times, known), (events, _) = (train.targets[f"OS.{part}"] for part in ("time", "event"))
    middle = np.median(times[known & (events == 1)])
    found, names = patient_groups.codes_of(groups_in("OS"), train, test)
    (times, known), (events, _) = (test.targets[f"OS.{part}"] for part in ("time", "event"))
    for code, time, event, is_known in zip(found, times, events, known, strict=True):
        if not is_known or (time < middle and not event):
            expected = -1
        else:
            expected = int(event and time <= middle)
        assert code == expected
    assert set(found) == {-1, 0, 1}
    assert names == (f"no event by {middle:.4g}", f"event by {middle:.4g}")
    at_middle = known & (times == middle)
    assert set(events[at_middle]) == {0, 1}


def test_too_few_patients_of_a_group_are_refused_with_their_numbers():
    few = replace(patients(), targets={**patients().targets})
    kind, known = few.targets["kind"]
    rare = np.zeros_like(kind)
    rare[:12] = 1
    few.targets["kind"] = (rare, np.ones_like(known))
    sentence = (
        r"of 'kind' the first fold tests 1[0-9] 'A' and 4 'B', and a comparison needs 5 or mo"
    )
    with pytest.raises(UserError, match=sentence):
        arms_on(few, NETWORK, FEW, "--config.interpret.groups=kind")


# --- attention of patients ------------------------------------------------------------------------


def single_attention(arm, row):
    """Attention in one patient, nan where a gene was not measured."""
    own = {name: values[row : row + 1] for name, values in arm.rows.items()}
    profile = model.profiles(arm.shape, arm.constants, own)
    _, weights = attention_weights(arm.shape.encoder, arm.variables["params"][ENCODER], *profile)
    first = profile.values.shape[1] - sum(arm.shape.widths.values())
    mean = np.asarray(weights).mean(axis=(0, 1, 2))[first:, first:]
    missing = ~np.asarray(profile.exists)[0, first:]
    mean[missing], mean[:, missing] = np.nan, np.nan
    return (mean + mean.T) / 2


def test_attention_of_groups_is_that_of_their_patients_one_by_one():
    arm, fields = compared()
    train, test = (arm.arm.dataset.take(rows) for rows in (arm.train, arm.replicate.test))
    codes, _ = patient_groups.codes_of(KIND, train, test)
    each = [
        np.stack([single_attention(arm, row) for row in arm.replicate.test[codes == code]])
        for code in range(2)
    ]
    assert_array_equal(fields["group_size"], [len(own) for own in each])
    off = ~np.eye(each[0].shape[1], dtype=bool)
    for place, own in enumerate(each):
        count = np.isfinite(own).sum(axis=0)
        assert_array_equal(fields["group_count"][place], count)
        assert 1 < count[off].min() < count.max()
        mean, variance = np.nanmean(own, axis=0), np.nanvar(own, axis=0, ddof=1)
        assert_allclose(fields["group_mean"][place][off], mean[off], rtol=1e-5)
        assert_allclose(fields["group_variance"][place][off], variance[off], rtol=1e-3)

    complete = random_fields(arm.arm) | fields
    rows = patient_groups.group_frame(KIND, complete, test, train).rows
    assert rows["name_1"].eq("A").all() and rows["patients_2"].eq(len(each[1])).all()
    for row, (i, j) in zip(rows.itertuples(), np.argwhere(np.triu(off)), strict=True):
        one, other = (own[:, i, j] for own in each)
        welch = ttest_ind(other, one, equal_var=False, nan_policy="omit")
        assert_allclose(row.p, welch.pvalue, rtol=2e-3)
        assert_allclose(row.difference, np.nanmean(other) - np.nanmean(one), atol=1e-7)


def test_a_pair_that_cannot_be_tested_has_no_p():
    arm, fields = compared()
    alone = {name: values.copy() for name, values in fields.items()}
    alone["group_count"][1, 0, 1] = 1
    alone["group_variance"][:, 0, 2] = 0
    parts = (arm.arm.dataset.take(rows) for rows in (arm.replicate.test, arm.train))
    frame = patient_groups.group_frame(KIND, random_fields(arm.arm) | alone, *parts).rows
    assert frame["p"].isna().tolist()[:3] == [True, True, False]
    assert frame["p"].notna().sum() == len(frame) - 2


def test_large_groups_are_drawn_and_all_folds_have_constants_of_one_shape(monkeypatch):
    """And of a person with several rows one is drawn."""
    monkeypatch.setattr(patient_groups, "MOST_PATIENTS", 6)
    data = patients(100)
    data = replace(data, groups=np.array([f"person {i // 2}" for i in range(100)]))
    (arm,) = arms_on(data, *ALONE, FEW, COVARIATES)
    arm = patient_groups.with_patients(arm, KIND, SLOT)
    kind, known = arm.dataset.targets["kind"]
    shapes = []
    for replicate in arm.replicates:
        own = {k: v for k, v in replicate.constants.items() if k.startswith("compared_")}
        shapes.append({name: values.shape for name, values in own.items()})
        group = own["compared_group"]
        assert (np.bincount(group[group >= 0]) <= 6).all() and (group == 1).any()
        table = arm.system.arrays(arm.dataset.take(replicate.test))
        persons = []
        for x, code in zip(own["compared_x_rna"], group, strict=True):
            if code >= 0:
                (row,) = np.flatnonzero((table["x_rna"] == x).all(axis=1))
                row = replicate.test[row]
                assert known[row] and kind[row] == code
                persons.append(arm.dataset.groups[row])
        assert len({*persons}) >= len(persons) / 2
        for code in range(2):
            of_group = [p for p, own in zip(persons, group[group >= 0], strict=True) if own == code]
            assert len({*of_group}) == len(of_group)
    assert all(own == shapes[0] for own in shapes) and shapes[0]["compared_c"][1] > 0


def test_tables_of_groups():
    rng = np.random.default_rng(0)
    pairs = list(combinations(["a", "b", "c", "d", "e"], 2))
    parts = []
    for fold in range(2):
        mean = rng.random((2, len(pairs)))
        rows = pd.DataFrame(pairs, columns=["gene_a", "gene_b"]).assign(
            attention_1=mean[0], attention_2=mean[1], difference=mean[1] - mean[0]
        )
        rows = rows.assign(patients_1=30 + fold, patients_2=20, name_1="no", name_2="yes")
        parts.append(rows.assign(p=rng.random(len(pairs)) * 0.2, fold=fold, group="all"))
    parts[0].loc[3, "p"] = 1e-6
    frame = pd.concat(parts, ignore_index=True)
    tables = patient_groups.group_tables(frame)
    assert {*tables} == {"gene_network_groups", "gene_network_groups_ranking"}
    edges = tables["gene_network_groups"].frame
    assert [*edges] == [
        *("source", "target", "attention (no)", "attention (yes)", "difference", "p", "q")
    ]
    first = parts[0].sort_values("p")
    assert_allclose(edges["difference"], first["difference"])
    assert_allclose(edges["q"], false_discovery_control(first["p"]))
    assert (edges["source"][0], edges["target"][0]) == pairs[3]
    assert "no (30 patients), and yes (20 patients)" in tables["gene_network_groups"].caption

    ranking = tables["gene_network_groups_ranking"].frame
    assert ranking["value"].abs().is_monotonic_decreasing and len(ranking) == len(pairs)
    own = ranking.set_index("label").loc["a x e"]
    more = "yes" if parts[0]["difference"][3] > 0 else "no"
    assert own["series"] == f"more in {more} (q < 0.05)"
    assert ranking["series"].eq("q of 0.05 or more").sum() == (edges["q"] >= 0.05).sum() > 0
    assert patient_groups.group_tables(None) == {}


def test_a_network_is_asked_for_pairs_and_for_the_attention_of_its_patients():
    arm, fields = compared()
    fields_of = partial(interaction_arms.pair_and_group_fields, arm.shape, arm.network)
    asked = jax.eval_shape(fields_of, arm.variables)
    assert {*fields} < {*asked} and {"strength_dose", "attention", "alive"} < {*asked}
    assert not any(name.startswith("group_") for name in asked.keys() - fields.keys())
