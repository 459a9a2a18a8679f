"""Group splits: exhaustive, disjoint, groups undivided, balanced, a function of names and seed."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omics_jax.data.dataset.splits import repeated_group_folds, with_training_rows
from omics_jax.errors import UserError

PARTS = ("train", "validation", "test")

grouped_rows = st.lists(
    st.text(min_size=1, max_size=4).filter(lambda name: not name.endswith("\0")),
    min_size=3,
    max_size=40,
).filter(lambda names: len(set(names)) >= 3)
seeds = st.integers(0, 10_000)


def folds_for(names, data):
    return data.draw(st.integers(3, min(6, len(set(names)))))


def parts_of_groups(split, groups):
    """(repeat, fold) -> which part each group is in, by name."""
    return {part: frozenset(groups[getattr(split, part)].tolist()) for part in PARTS}


@settings(max_examples=60, deadline=None)
@given(grouped_rows, seeds, st.data())
def test_splits_are_disjoint_exhaustive_and_keep_groups_whole(names, seed, data):
    groups = np.array(names)
    folds = folds_for(names, data)
    splits = repeated_group_folds(groups, folds=folds, repeats=2, seed=seed)
    assert [(s.repeat, s.fold) for s in splits] == [(r, f) for r in range(2) for f in range(folds)]
    for split in splits:
        rows = np.concatenate([split.train, split.validation, split.test])
        assert sorted(rows) == list(range(len(groups)))
        held = parts_of_groups(split, groups)
        assert sum(map(len, held.values())) == len(set(names))
        assert all(held.values())
    for repeat in range(2):
        tests = [split.test for split in splits if split.repeat == repeat]
        validations = [split.validation for split in splits if split.repeat == repeat]
        assert sorted(np.concatenate(tests)) == list(range(len(groups)))
        for fold in range(folds):
            assert (validations[fold] == tests[(fold + 1) % folds]).all()
        sizes = [len(set(groups[test].tolist())) for test in tests]
        assert max(sizes) - min(sizes) <= 1


@settings(max_examples=60, deadline=None)
@given(grouped_rows, seeds, st.data())
def test_row_order_and_repeated_rows_do_not_move_a_group(names, seed, data):
    folds = folds_for(names, data)
    groups = np.array(names)
    shuffled = np.array(data.draw(st.permutations(names + names[:3])))
    one = repeated_group_folds(groups, folds=folds, repeats=2, seed=seed)
    other = repeated_group_folds(shuffled, folds=folds, repeats=2, seed=seed)
    for a, b in zip(one, other, strict=True):
        assert parts_of_groups(a, groups) == parts_of_groups(b, shuffled)


def test_the_deal_is_the_order_of_the_hashes():
    names = [f"line-{i}" for i in range(11)]
    order = sorted(names, key=lambda name: hashlib.sha256(f"7|1|{name}".encode()).hexdigest())
    splits = repeated_group_folds(np.array(names), folds=4, repeats=2, seed=7)
    for split in splits[4:]:
        assert {names[row] for row in split.test} == set(order[split.fold :: 4])


def test_repeats_and_seeds_deal_anew():
    groups = np.array([f"line-{i}" for i in range(30)])
    tests = {
        tuple(split.test)
        for seed in range(3)
        for split in repeated_group_folds(groups, folds=5, repeats=10, seed=seed)
    }
    assert len(tests) == 150


def test_object_names_are_split_as_strings():
    names = np.array([f"line-{i}" for i in range(9)])
    one = repeated_group_folds(names, folds=3, repeats=1)
    other = repeated_group_folds(names.astype(object), folds=3, repeats=1)
    assert all((a.test == b.test).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("as_mask", [True, False])
def test_only_the_chosen_rows_are_split_and_indices_are_those_of_the_dataset(as_mask):
    groups = np.array([f"line-{i // 2}" for i in range(40)])
    chosen = np.arange(10, 34)
    rows = np.isin(np.arange(40), chosen) if as_mask else chosen[::-1]
    for split in repeated_group_folds(groups, folds=4, repeats=1, rows=rows):
        assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(chosen)
        assert all((np.diff(getattr(split, part)) > 0).all() for part in PARTS)


def test_rows_outside_the_choice_do_not_move_a_group():
    groups = np.array([f"line-{i}" for i in range(20)])
    alone = repeated_group_folds(groups[:12], folds=4, repeats=1)
    among = repeated_group_folds(groups, folds=4, repeats=1, rows=np.arange(12))
    assert all((a.test == b.test).all() for a, b in zip(alone, among, strict=True))


def test_added_training_rows_leave_held_out_groups_alone():
    groups = np.array([f"line-{i}" for i in range(12)] + [f"line-{i}" for i in range(0, 24, 2)])
    pairs = np.arange(24) < 12
    for split in repeated_group_folds(groups, folds=4, repeats=1, rows=pairs):
        more = with_training_rows(split, groups, ~pairs)
        assert (more.test == split.test).all() and (more.validation == split.validation).all()
        held = set(groups[split.test]) | set(groups[split.validation])
        expected = set(split.train) | {row for row in range(12, 24) if groups[row] not in held}
        assert more.train.tolist() == sorted(expected)
        assert with_training_rows(more, groups, np.flatnonzero(~pairs)).train.tolist() == sorted(
            expected
        )


@pytest.mark.parametrize(
    ("groups", "arguments", "sentence"),
    [
        (
            ["a", "b", "c", "c"],
            {"folds": 5},
            "5 folds .* only 3 groups.* set the number of folds to 3 or less",
        ),
        (["a", "b", "b"], {"folds": 3}, "only 2 groups.* give rows of more groups"),
        (["a", "b", "c"], {"folds": 2}, "2 folds leave no rows to train on.* 3 or more"),
        (["a", "b", "c"], {"folds": 3, "repeats": 0}, "0 repeats .* set 1 or more"),
        (["a", "b", "", "c"], {"folds": 3}, "row 2 has an empty group name"),
        (
            ["a", "b", "", "c"],
            {"folds": 3, "rows": np.array([0, 2, 3])},
            "row 2 has an empty group name",
        ),
    ],
)
def test_impossible_folds_are_named(groups, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        repeated_group_folds(np.array(groups), **arguments)


def test_a_row_mask_of_another_length_is_refused():
    with pytest.raises(ValueError, match="row mask of 2 entries was given for 4 rows"):
        repeated_group_folds(np.array(["a", "b", "c", "d"]), folds=3, rows=np.array([True, False]))
