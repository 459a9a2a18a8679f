"""Multi-omics preprocessing against scikit-learn and brute force.

Only training rows may reach the constants.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from omics_jax.data.dataset.dataset import Modality
from omics_jax.data.dataset.quality import describe, far_limits, is_far, robust_spread
from omics_jax.data.preprocessing import statistics
from omics_jax.data.preprocessing.chromosome_y import on_chromosome_y
from omics_jax.data.preprocessing.features import apply, constants_of, fit_folds, invert
from omics_jax.data.preprocessing.log2 import log2_plus_one, looks_like
from omics_jax.data.preprocessing.selection import (
    Rules,
    kept_features,
    most_variable,
    random_share,
    union_of_folds,
)
from omics_jax.data.preprocessing.statistics import column_variance, training_statistics
from omics_jax.errors import UserError

NAMES = ("columns", "alive", "fill", "low", "high")
TRAIN = np.random.default_rng(9).permutation(40)[:28]
on_device = jax.jit(apply)


def measured(n=40, features=30, seed=0):
    """Non-negative values with zeros, NaN where unobserved.

    Some features are mostly missing, some never; some rows have no value at all.
    """
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(0, 0.3, features))
    values = np.maximum(rng.normal(4, 2, (n, features)) * scale, 0).astype(np.float32)
    mask = rng.random((n, features)) >= rng.choice([0.0, 0.3, 0.95], features)
    values[:, 3], values[:, 4], mask[:, 3:5], mask[:, 5] = 0, 7, True, False
    mask[rng.choice(n, 5, replace=False)] = False
    return modality(np.where(mask, values, np.float32(np.nan)), mask)


def modality(values, mask=None):
    values = np.asarray(values, np.float32)
    features = np.array([f"g{j}" for j in range(values.shape[1])])
    return Modality(values, np.ones(values.shape, bool) if mask is None else mask, features)


def fitted(m, rows=TRAIN, **rules):
    """Constants of one fold."""
    (constants,) = fit_folds(m, [rows], Rules(**rules), "rna")
    return constants


def columns_where(m, rule):
    """Columns whose training column (with NaN) satisfies the rule and is not all NaN: one at a
    time, in float64.
    """
    train = m.values[TRAIN].astype(np.float64)
    return [
        j for j in range(train.shape[1]) if not np.isnan(train[:, j]).all() and rule(train[:, j])
    ]


def same_bits(a, b, names=NAMES):
    return all(a[name].tobytes() == b[name].tobytes() for name in names)


def observed(column):
    return column[~np.isnan(column)]


ROWS_WITH_VALUES = int(measured().mask[TRAIN].any(axis=1).sum())
BY_RULE = {
    "none": ({}, lambda c: True),
    "all zero": ({"zeros": "drop_all_zero"}, lambda c: (observed(c) != 0).any()),
    "any zero": ({"zeros": "drop_any_zero"}, lambda c: (observed(c) != 0).all()),
    "missing": ({"most_missing": 0.9}, lambda c: 1 - len(observed(c)) / ROWS_WITH_VALUES <= 0.9),
}


@pytest.mark.parametrize("case", BY_RULE)
def test_each_rule_keeps_what_brute_force_keeps(case):
    rules, rule = BY_RULE[case]
    expected = columns_where(measured(), rule)
    assert fitted(measured(), **rules)["columns"].tolist() == expected
    assert case == "none" or expected != columns_where(measured(), BY_RULE["none"][1])


def test_a_site_goes_above_the_share_of_missing_values_and_not_at_it():
    mask = np.arange(20)[:, None] < np.array([1, 2, 3, 20])
    m = modality(np.ones((20, 4)), mask)
    assert fitted(m, np.arange(20), most_missing=0.9)["columns"].tolist() == [1, 2, 3]
    # Patients without the modality say nothing about a site: 1 of 10, not 1 of 20.
    m.mask[10:] = False
    assert fitted(m, np.arange(20), most_missing=0.9)["columns"].tolist() == [0, 1, 2, 3]


def test_the_random_share_is_exact_nested_seeded_and_the_same_in_every_fold():
    half, tenth = random_share(1001, 0.5, 3), random_share(1001, 0.1, 3)
    assert half.sum() == 500 and tenth.sum() == 100 and not (tenth & ~half).any()
    assert (half == random_share(1001, 0.5, 3)).all() and (half != random_share(1001, 0.5, 4)).any()
    assert random_share(3, 0.01, 0).sum() == 1
    m = modality(np.random.default_rng(0).normal(size=(40, 30)))
    one, other = fit_folds(m, [TRAIN, np.arange(12)], Rules(share=0.4, seed=5), "rna")
    assert (
        one["columns"].tolist()
        == other["columns"].tolist()
        == np.flatnonzero(random_share(30, 0.4, 5)).tolist()
    )
    assert one["alive"].all() and other["alive"].all()


@pytest.mark.parametrize("k", [1, 7, 20])
def test_top_k_are_those_of_largest_observed_training_variance(k):
    passed = (
        columns_where(measured(), BY_RULE["any zero"][1])
        if k == 1
        else columns_where(measured(), lambda c: True)
    )
    variance = [np.nanvar(measured().values[TRAIN, j].astype(np.float64)) for j in passed]
    expected = sorted(sorted(passed, key=lambda j: -variance[passed.index(j)])[:k])
    zeros = "drop_any_zero" if k == 1 else "keep"
    constants = fitted(measured(), top_k=k, zeros=zeros)
    assert constants["columns"].tolist() == expected and constants["alive"].all()


@pytest.mark.parametrize(("width", "k"), [(2, 1), (65, 40), (1027, 700)])
def test_equal_variances_are_taken_in_column_order(width, k):
    odd = np.arange(width) % 2
    values = np.random.default_rng(0).normal(0, 1, (40, 1)) * (1 + odd)
    expected = [*np.flatnonzero(odd), *np.flatnonzero(odd == 0)][:k]
    assert fitted(modality(values), top_k=k)["columns"].tolist() == sorted(expected)


def scikit_learn(m):
    """Mean fill and min-max, fitted on training rows, of all rows; columns seen in training."""
    columns = columns_where(m, lambda c: True)
    steps = make_pipeline(SimpleImputer(), MinMaxScaler(clip=True))
    x = m.values[:, columns].astype(np.float64)
    return steps.fit(x[TRAIN]).transform(x), steps


def test_fill_and_range_are_those_of_scikit_learn():
    m = measured()
    constants, (_, steps) = fitted(m), scikit_learn(m)
    np.testing.assert_array_equal(constants["fill"], steps[0].statistics_.astype(np.float32))
    np.testing.assert_array_equal(constants["low"], steps[1].data_min_.astype(np.float32))
    np.testing.assert_array_equal(constants["high"], steps[1].data_max_.astype(np.float32))
    kinds = {name: (values.dtype, values.shape) for name, values in constants.items()}
    k = (len(constants["columns"]),)
    assert kinds == {
        "columns": (np.int32, k),
        "alive": (bool, k),
        **dict.fromkeys(NAMES[2:], (np.float32, k)),
    }


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_scaled_values_are_those_of_scikit_learn(array):
    m = measured()
    constants, (expected, _) = fitted(m), scikit_learn(m)
    scaled = (on_device if array is jnp.asarray else apply)(
        constants, array(m.values), array(m.mask)
    )
    assert scaled.dtype == np.float32 and isinstance(scaled, type(array(m.values)))
    varies = constants["high"] > constants["low"]
    scaled = np.asarray(scaled)
    np.testing.assert_allclose(scaled[:, varies], expected[:, varies], atol=3e-7)
    assert (
        scaled.min() == 0
        and scaled.max() == 1
        and not scaled[:, ~varies].any()
        and (~varies).sum() >= 2
    )


def test_unseen_values_are_clipped_and_constant_features_are_0():
    constants = fitted(modality([[2, 5], [4, 5]]), np.arange(2))
    values = np.array([[-1e38, 5], [3e38, 9], [3, -9]], np.float32)
    np.testing.assert_array_equal(
        apply(constants, values, values == values), [[0, 0], [1, 0], [0.5, 0]]
    )


@pytest.mark.parametrize("rules", [{}, {"top_k": 9}])
def test_what_was_observed_within_the_training_range_comes_back(rules):
    m = measured()
    constants = fitted(m, **rules)
    own, seen = m.values[:, constants["columns"]], m.mask[:, constants["columns"]]
    inside = seen & (own >= constants["low"]) & (own <= constants["high"])
    assert inside[TRAIN].sum() == seen[TRAIN].sum() and inside.sum() < seen.sum()
    back = invert(constants, apply(constants, m.values, m.mask))
    assert back.dtype == np.float32
    error = np.where(inside, np.abs(back - own), 0) / np.maximum(constants["high"], 1e-30)
    assert error.max() <= 3 * np.finfo(np.float32).eps
    np.testing.assert_allclose(np.where(seen, 0, back - constants["fill"]), 0, atol=5e-6)


def test_large_offsets_keep_float32_accuracy():
    rng = np.random.default_rng(0)
    values = (1e4 + rng.normal(0, [1, 1.02, 1.04], (4000, 3))).astype(np.float32)
    m, rows = modality(values), np.arange(3000)
    exact = values[rows].astype(np.float64)
    statistics = training_statistics(m, rows, "rna")
    np.testing.assert_allclose(statistics.mean, exact.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(column_variance(m, rows, statistics), exact.var(axis=0), rtol=1e-11)
    constants = fitted(m, rows, top_k=2)
    columns = np.sort(np.argsort(exact.var(axis=0))[1:])
    assert constants["columns"].tolist() == columns.tolist()
    scaled = apply(constants, values, m.mask)[rows]
    np.testing.assert_allclose(scaled, MinMaxScaler().fit_transform(exact[:, columns]), atol=3e-7)
    np.testing.assert_allclose(invert(constants, scaled), exact[:, columns], rtol=2e-7)


@pytest.mark.parametrize("cells", [1, 70])
def test_blocks_of_rows_change_nothing(cells, monkeypatch):
    whole = fitted(measured(), top_k=12, zeros="drop_all_zero")
    monkeypatch.setattr(statistics, "_BLOCK_CELLS", cells)
    in_blocks = fitted(measured(), top_k=12, zeros="drop_all_zero")
    assert same_bits(whole, in_blocks, ("columns", "low", "high"))
    np.testing.assert_allclose(whole["fill"], in_blocks["fill"], rtol=1e-7)


@pytest.mark.parametrize("stored", [0, -1e9])
def test_unobserved_cells_are_never_read(stored):
    m = measured()
    filled = dataclasses.replace(m, values=np.where(m.mask, m.values, np.float32(stored)))
    for rules in ({"zeros": "drop_any_zero"}, {"top_k": 5}):
        constants = fitted(m, **rules)
        assert same_bits(constants, fitted(filled, **rules))
        one, other = (apply(constants, x.values, x.mask) for x in (m, filled))
        assert one.tobytes() == other.tobytes() and np.isfinite(one).all()


EVERY_RULE = {"zeros": "drop_all_zero", "most_missing": 0.9, "share": 0.8}


@pytest.mark.parametrize(
    "rules", [EVERY_RULE, {**EVERY_RULE, "top_k": 6}, {"zeros": "drop_any_zero"}]
)
def test_rows_outside_training_never_reach_a_folds_constants(rules):
    m = measured()
    rows = np.arange(40)
    folds = [rows[rows % 4 != f] for f in range(4)]
    before = fit_folds(m, folds, Rules(**rules), "rna")
    rng = np.random.default_rng(1)
    for f, own in enumerate(before):
        values, mask = m.values.copy(), m.mask.copy()
        values[rows % 4 == f] = rng.normal(0, 1e4, (10, 30)) * rng.integers(0, 2, 30)
        mask[rows % 4 == f] = rng.random((10, 30)) < 0.7
        after = fit_folds(
            dataclasses.replace(m, values=values, mask=mask), folds, Rules(**rules), "rna"
        )
        assert not same_bits(before[f - 1], after[f - 1], ("fill",))
        # The union itself may grow by what other folds keep; what is alive in this one may not
        # change by a bit.
        own, new = ({name: c[name][c["alive"]] for name in NAMES} for c in (own, after[f]))
        assert same_bits(own, new)


def test_the_union_over_folds_by_hand():
    kept = [np.array(fold, bool) for fold in ([1, 0, 0, 1, 0], [0, 0, 1, 1, 0])]
    columns, alive = union_of_folds(kept)
    assert columns.dtype == np.int32 and columns.tolist() == [0, 2, 3]
    assert alive.tolist() == [[True, False, True], [False, True, True]]


def test_folds_share_the_union_and_dead_columns_are_0():
    # Column 0 is zero in fold 0 only, column 2 in fold 1 only, column 1 in both, column 3 in none.
    values = np.array([[0, 0, 3, 2], [5, 0, 7, 4], [6, 0, 0, 8]])
    folds = [np.array([0, 1]), np.array([1, 2])]
    one, other = fit_folds(modality(values), folds, Rules(zeros="drop_any_zero"), "rna")
    assert one["columns"].tolist() == other["columns"].tolist() == [0, 2, 3]
    assert one["alive"].tolist() == [False, True, True] and other["alive"].tolist() == [
        True,
        False,
        True,
    ]
    assert [one[name].tolist() for name in NAMES[2:]] == [[0, 5, 3], [0, 3, 2], [0, 7, 4]]
    assert [other[name].tolist() for name in NAMES[2:]] == [[5.5, 0, 6], [5, 0, 4], [6, 0, 8]]
    values = values.astype(np.float32)
    np.testing.assert_array_equal(
        apply(one, values, values == values), [[0, 0, 0], [0, 1, 1], [0, 0, 1]]
    )
    np.testing.assert_array_equal(invert(one, np.full((1, 3), 0.5, np.float32)), [[0, 5, 3]])


def test_a_stack_of_folds_is_applied_under_vmap_as_each_alone():
    m = measured()
    rows = np.arange(40)
    folds = fit_folds(
        m, [rows[rows % 3 != f] for f in range(3)], Rules(top_k=6, zeros="drop_all_zero"), "rna"
    )
    assert len({tuple(c["columns"]) for c in folds}) > 1
    stacked = {name: np.stack([c[name] for c in folds]) for name in NAMES}
    together = jax.jit(jax.vmap(apply, (0, None, None)))(stacked, m.values, m.mask)
    for scaled, constants in zip(together, folds, strict=True):
        np.testing.assert_allclose(scaled, apply(constants, m.values, m.mask), atol=1e-7)


def test_log2_of_observed_values():
    mask = np.array([[True, True, True], [True, False, False]])
    m = modality([[0, 1, 7], [2**20, -5, np.nan]], mask)
    ids = np.array(["P1", "P2"])
    logs = log2_plus_one(m, "rna", ids)
    assert logs.values.dtype == np.float32 and logs.values.tolist() == [
        [0, 1, 3],
        [np.log2(np.float32(2**20 + 1)), 0, 0],
    ]
    assert m.values[0, 2] == 7 and logs.mask is m.mask and logs.features is m.features
    assert (m.transform, logs.transform) == ("", "log2(x + 1)")
    assert (
        logs.select_features(["g1"]).transform == logs.take(np.arange(1)).transform == "log2(x + 1)"
    )
    assert log2_plus_one(m.take(np.arange(0)), "rna", ids[:0]).values.shape == (0, 3)


@pytest.mark.parametrize(
    ("values", "look"),
    [
        (np.geomspace(1, 2e4, 200), "counts"),
        (np.arange(200) % 120, "counts"),  # whole numbers above 100
        (np.linspace(0, 20, 200), "logarithms"),
        (np.append(np.linspace(0, 20, 399), 1e7), "logarithms"),  # and one that cannot be
        (np.linspace(-3000, 3000, 200), "open"),
        (np.linspace(0, 1, 200), "logarithms"),
        (np.linspace(0, 400.5, 200), "open"),
        (np.arange(200) % 25, "logarithms"),
    ],
    ids=["counts", "whole", "logs", "far", "negative", "shares", "between", "few"],
)
def test_counts_and_logarithms_are_told_by_their_values(values, look):
    m = modality(np.reshape(values, (-1, 4)))
    hidden = np.concatenate([m.values, np.full((3, 4), 9e9, np.float32)])
    mask = np.arange(len(hidden)) < len(m.values)
    assert looks_like(m) == look
    assert looks_like(modality(hidden, np.repeat(mask[:, None], 4, axis=1))) == look


def test_codes_for_missing_values_do_not_make_logarithms_look_like_counts():
    rng = np.random.default_rng(6)
    values = rng.normal(6, 1.5, (30, 20)).clip(0).astype(np.float32)
    values[rng.random(values.shape) < 0.06] = 9999
    assert looks_like(modality(values)) == "logarithms"
    values[rng.random(values.shape) < 0.02] = 99999
    assert looks_like(modality(values)) == "logarithms"


def test_a_modality_without_a_value_looks_like_nothing():
    assert looks_like(modality(np.ones((2, 2)), np.zeros((2, 2), bool))) == "open"


# --- values that cannot be ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "positive"])
@pytest.mark.parametrize("wrong", [1e7, -999.0])
def test_one_far_cell_changes_neither_scale_nor_choice(kind, wrong):
    """The scale is that of the other cells; the far one is clipped to it."""
    rng = np.random.default_rng(0)
    values = rng.normal(8, 1, (80, 6)) if kind == "normal" else np.exp(rng.normal(2, 1, (80, 6)))
    values = values.astype(np.float32)
    rows = np.arange(60)
    values[3, 2] = values[10:60, 2].min() if wrong < 0 else values[10:60, 2].max()
    before = fit_folds(modality(values), [rows], Rules(top_k=4), "rna")[0]
    spoiled = values.copy()
    spoiled[3, 2] = wrong
    after = fit_folds(modality(spoiled), [rows], Rules(top_k=4), "rna")[0]
    assert same_bits(before, after)
    statistics = training_statistics(modality(spoiled), rows, "rna")
    assert statistics.far.tolist() == [0, 0, 1, 0, 0, 0]


def test_without_far_cells_the_scale_is_that_of_the_extremes():
    rng = np.random.default_rng(1)
    values = np.exp(rng.normal(0, 3, (500, 8))).astype(np.float32)  # a heavy tail is no mistake
    statistics = training_statistics(modality(values), np.arange(500), "rna")
    np.testing.assert_array_equal(statistics.low, values.min(axis=0))
    np.testing.assert_array_equal(statistics.high, values.max(axis=0))
    assert not statistics.far.any()


def test_bounds_are_the_rule_for_far_cells():
    rng = np.random.default_rng(2)
    for scale in (1.0, 1e-3, 1e6):
        values = np.exp(rng.normal(0, 2, (60, 40))) * scale
        values[rng.integers(60, size=20), np.arange(20)] *= rng.choice([1e9, 1e-9, -1], 20)
        mask = rng.random(values.shape) < 0.9
        spread = robust_spread(values, mask)
        low, high = far_limits(spread)
        outside = mask & ((values < low) | (values > high))
        np.testing.assert_array_equal(outside, is_far(spread, values, mask))
        assert outside.any() and not outside.all()


def test_what_one_tumour_amplifies_is_no_mistake_among_genes_of_one_unit():
    """Far from its own gene's values and not from those of all genes; -999 is far from both."""
    rng = np.random.default_rng(3)
    values = (rng.normal(0, 0.1, (60, 40)) + np.linspace(2, 12, 40)).astype(np.float32)
    values[4, 0], values[5, 1] = 11.0, -999.0
    values[:, 2], values[58:, 2] = 0, (7, 7.5)  # a gene that is 0 in most samples
    m = dataclasses.replace(modality(values), one_unit=True)
    notes = describe(m.values, m.mask, m.features, one_unit=True).set_index("variable")["note"]
    assert notes[notes != ""].index.tolist() == ["g1"] and "-999" in notes["g1"]
    statistics = training_statistics(m, np.arange(60), "rna")
    assert np.flatnonzero(statistics.far).tolist() == [1] and statistics.high[0] == 11
    alone = describe(m.values, m.mask, m.features).set_index("variable")["note"]
    assert {"g0", "g1"} <= set(alone[alone != ""].index)
    assert m.select_features(["g0"]).one_unit and m.take(np.arange(3)).one_unit


def test_zeros_do_not_make_the_tail_of_a_count_far():
    rng = np.random.default_rng(4)
    counts = np.log2(np.where(rng.random(400) < 0.45, 0, np.exp(rng.normal(0, 2, 400))) + 1)
    table = describe(counts[:, None], np.ones((400, 1), bool), ["g"])
    assert table["far"].tolist() == [0]


def test_a_constant_feature_is_returned_as_the_constant():
    values = np.column_stack([np.full(20, 1.67), np.arange(20.0)]).astype(np.float32)
    constants = fitted(modality(values), np.arange(20))
    scaled = apply(constants, values, values == values)
    assert (scaled[:, 0] == 0).all()
    np.testing.assert_array_equal(invert(constants, scaled)[:, 0], values[:, 0])
    np.testing.assert_array_equal(
        invert(constants, np.full((1, 2), 0.3, np.float32))[0, 0], values[0, 0]
    )


@pytest.mark.parametrize(
    ("name", "lies_on_y"),
    [
        ("chrY:2655180-2655191", True),
        ("chrY_cg00050873", True),
        ("chry", True),
        ("Y:2655180", True),
        ("chr1:2655180", False),
        ("chrX.44", False),
        ("22:17", False),
        ("cg00050873", None),
        ("KDM5D", None),
        ("Y_RNA", None),
        ("Y_1", None),
        ("CHRM1", None),
        ("CHRNA7|1139", None),
        ("chrYorkie:1", None),
    ],
)
def test_what_a_name_alone_tells_of_its_chromosome(name, lies_on_y):
    on_y, note = on_chromosome_y([name], "methylation")
    assert on_y == ({name} if lies_on_y else set())
    assert note == (
        f"methylation: the chromosome of no feature is known (names such as {name} do not tell "
        "it), so that sites of chromosome Y stay in; an annotation of chromosomes would find them."
        if lies_on_y is None
        else f"methylation: {len(on_y)} of 1 features lie on chromosome Y."
    )


def test_an_annotation_goes_before_names_and_names_stand_in_for_it():
    features = np.array(["cg1", "cg2", "cg3", "chrY:10", "chrY:11", "cg4"])
    annotation = {
        "cg1": "Y",
        "cg2": " chrY",
        "cg3": "7",
        "chrY:10": "X",
        "cg4": float("nan"),
        "elsewhere": "Y",
    }
    on_y, note = on_chromosome_y(features, "methylation", annotation)
    assert on_y == {"cg1", "cg2", "chrY:11"}
    assert note == (
        "methylation: 3 of 6 features lie on chromosome Y; that of 1 is not known and they stay "
        "in, such as cg4."
    )


IDS = np.array(["P1", "P2", "P3"])
ONES = modality(np.ones((3, 4)))
HOLED = modality(np.ones((3, 4)), np.arange(12).reshape(3, 4) >= 8)
BROKEN = modality([[1, 1, 1], [1, np.inf, 1], [1, -np.inf, np.nan]])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: Rules(zeros="drop"),
            "zeros is 'drop'; choose one of keep, drop_all_zero, drop_any_zero",
        ),
        (lambda: Rules(most_missing=90.0), "most_missing is 90.0; give a share of rows"),
        (lambda: Rules(share=0.0), "share of features is 0.0; give one above 0"),
        (lambda: Rules(top_k=0), "top_k is 0; give at least 1, or None"),
        (
            lambda: log2_plus_one(modality([[1, 1], [1, -0.5], [-0.2, 1]]), "rna", IDS),
            r"rna: the value of feature 'g1' in row 'P2' is -0.5, one of 2 .* leave log2 out for "
            "this modality",
        ),
        (lambda: log2_plus_one(BROKEN, "rna", IDS), r"'g1' in row 'P2' is inf, one of 3 "),
        (lambda: fitted(ONES, np.arange(0)), "rna, fold 1 of 1: there are 0 training rows"),
        (
            lambda: fitted(HOLED, np.arange(2)),
            "none of the 2 training rows has a value of this modality",
        ),
        (
            lambda: fitted(BROKEN, np.array([2, 1])),
            "row 2, feature 'g1' is -inf but marked as observed",
        ),
        (
            lambda: fitted(
                modality([[1, np.nan], [1, np.inf]], np.array([[True, False], [True, True]])),
                np.arange(2),
            ),
            "row 1, feature 'g1' is inf",
        ),
        (
            lambda: fitted(
                modality(np.zeros((3, 4))), np.arange(3), share=0.5, zeros="drop_all_zero"
            ),
            r"of 4 features none passes all rules in the training rows \(observed 4, not zero in "
            r"every row 0, in the random 50 % 2\); loosen a rule",
        ),
        (
            lambda: on_chromosome_y(["cg1"], "methylation", {"ABC": "Y"}),
            "methylation: the annotation gives chromosomes of features such as 'ABC', .* such as "
            "'cg1'; give an annot",
        ),
    ],
)
def test_impossible_inputs_are_named(call, sentence):
    with pytest.raises(UserError, match=sentence):
        call()


def test_where_fewer_pass_than_are_asked_for_all_of_them_are_kept():
    m = modality([[1, 1, 0], [1, 1, 1], [0, 1, 1], [4, 1, 3]])
    folds = [np.array([1, 3]), np.array([0, 2])]
    first, second = fit_folds(m, folds, Rules(zeros="drop_any_zero", top_k=2), "rna")
    # Of the first fold's three the two that vary most, of the second's one that one.
    assert first["columns"].tolist() == second["columns"].tolist() == [0, 1, 2]
    assert first["alive"].tolist() == [True, False, True] and second["alive"].tolist() == [
        False,
        True,
        False,
    ]


def test_the_parts_make_the_whole():
    m, rules = measured(), Rules(zeros="drop_all_zero", top_k=8)
    statistics = training_statistics(m, TRAIN, "rna")
    columns = most_variable(
        column_variance(m, TRAIN, statistics), kept_features(statistics, rules, "rna"), 8
    )
    assert same_bits(
        constants_of(statistics, columns, np.ones(8, bool)),
        fitted(m, zeros="drop_all_zero", top_k=8),
    )
