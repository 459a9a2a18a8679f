"""Row order: every row once per epoch, and only (seed, stage, epoch, row) decides."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omics_jax.errors import UserError
from omics_jax.training.order import block_rows, padded_rows, steps_per_epoch
from omics_jax.training.stage import Replicate

# One shape for all examples of hypothesis, so that they share one program.
MOST_ROWS, MOST_STEPS, LENGTH, WIDTH = 203, 16, 64, 203


def make_replicate(slots, /, seed=0, **sampling):
    slots = {slot: np.asarray(r, np.int32) for slot, r in slots.items()}
    sampling = {slot: np.asarray(w, float) for slot, w in sampling.items()}
    return Replicate(
        slots, {}, np.zeros(0, np.int32), seed, labels={"fold": seed}, sampling=sampling
    )


def drawn(replicates, batch_size, start, length, stage=0):
    padded = padded_rows(replicates, batch_size)
    per_epoch, widths = int(padded["steps"].max()), tuple(sorted(batch_size.items()))
    rows = block_rows(
        padded, np.int32(start), stage=stage, length=length, per_epoch=per_epoch, widths=widths
    )
    return jax.tree.map(np.asarray, rows)


def live_rows(actual, i=0, slot="rows"):
    """Per step, the ids of its live rows."""
    return [
        row[live].tolist()
        for row, live in zip(actual[slot]["row"][i], actual[slot]["live"][i], strict=True)
    ]


def block(rows, batch, seed, start):
    """LENGTH steps of one replicate on a time axis of MOST_STEPS an epoch."""
    longest = make_replicate({"rows": np.arange(MOST_ROWS)})
    padded = padded_rows([make_replicate({"rows": rows}, seed), longest], {"rows": batch})
    settings = {"stage": 0, "length": LENGTH, "per_epoch": MOST_STEPS, "widths": (("rows", WIDTH),)}
    return live_rows(jax.tree.map(np.asarray, block_rows(padded, np.int32(start), **settings)))


@st.composite
def rows_and_batch(draw):
    n = draw(st.integers(1, MOST_ROWS))
    ids = np.random.default_rng(draw(st.integers(0, 99))).permutation(1000)[:n]
    return ids, draw(st.integers(-(-n // MOST_STEPS), n + 5))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(rows_and_batch(), st.integers(0, 3 * LENGTH), st.integers(0, 2**32 - 1))
def test_any_start_gives_the_tail_of_the_whole(given, start, seed):
    all_steps = sum((block(*given, seed, at) for at in range(0, start + LENGTH, LENGTH)), [])
    assert block(*given, seed, start) == all_steps[start : start + LENGTH]


@settings(max_examples=300, deadline=None)
@given(rows_and_batch(), st.integers(0, 2**32 - 1))
def test_every_row_once_per_epoch_in_steps_of_even_size(given, seed):
    ids, batch = given
    steps, actual = (
        steps_per_epoch(make_replicate({"rows": ids}), {"rows": batch}),
        block(ids, batch, seed, 0),
    )
    assert steps == -(-len(ids) // batch)
    for epoch in range(LENGTH // MOST_STEPS):
        here = actual[epoch * MOST_STEPS :][:MOST_STEPS]
        assert sorted(sum(here, [])) == sorted(ids)
        lengths = [len(step) for step in here[:steps]]
        assert max(lengths) - min(lengths) <= 1 and max(lengths) <= batch and not any(here[steps:])
    if len(ids) > 20:
        assert sum(actual[:MOST_STEPS], []) != sum(actual[MOST_STEPS : 2 * MOST_STEPS], [])


def test_the_slot_with_most_batches_sets_the_pace_and_the_other_is_shared_out_over_it():
    batch_size = {"pairs": 4, "singletons": 8}
    replicate = make_replicate({"pairs": range(10), "singletons": range(100, 140)})
    assert steps_per_epoch(replicate, batch_size) == 5
    actual = drawn([replicate], batch_size, 0, 5)
    assert [len(s) for s in live_rows(actual, slot="pairs")] == [2] * 5
    assert [len(s) for s in live_rows(actual, slot="singletons")] == [8] * 5
    assert sorted(sum(live_rows(actual, slot="pairs"), [])) == list(range(10))


def test_a_slot_without_rows_has_no_live_row():
    actual = drawn([make_replicate({"pairs": [], "rows": range(5)})], {"pairs": 2, "rows": 2}, 0, 3)
    assert not actual["pairs"]["live"].any() and sum(map(len, live_rows(actual))) == 5


def test_neither_padding_nor_the_other_replicates_nor_the_order_of_the_index_array_matter():
    mine, batch_size = make_replicate({"rows": np.arange(50)}, 7), {"rows": 8}
    alone = live_rows(drawn([mine], batch_size, 0, 14))
    assert live_rows(drawn([mine], batch_size, 0, 14), 0) == alone
    shuffled = make_replicate({"rows": np.random.default_rng(0).permutation(50)}, 7)
    assert live_rows(drawn([shuffled], batch_size, 0, 14)) == alone
    longer = make_replicate({"rows": np.arange(200)}, 8)
    together = live_rows(drawn([longer, mine, longer], batch_size, 0, 50), 1)
    assert together[:7] == alone[:7] and together[25:32] == alone[7:14]
    assert not any(together[7:25]) and not any(together[32:])


def test_seed_stage_and_epoch_each_change_the_order():
    batch_size, rows = {"rows": 50}, {"rows": np.arange(50)}
    orders = [
        live_rows(drawn([make_replicate(rows, seed)], batch_size, 0, 2, stage=stage))[epoch]
        for seed in (0, 1) for stage in (0, 1) for epoch in (0, 1)
    ]  # fmt: skip
    assert len({tuple(order) for order in orders}) == 8


def test_a_wider_batch_holds_the_same_live_rows():
    """As where the batch is rounded up to a multiple of the devices."""
    rows = np.arange(203)
    expected = live_rows(drawn([make_replicate({"rows": rows})], {"rows": 32}, 0, 7))
    assert block(rows, 32, 0, 0)[:7] == expected


def test_weighted_rows_are_drawn_in_proportion_and_padding_never():
    weights = np.array([0.0, 1.0, 2.0, 0.0, 5.0, 0.0])
    few = make_replicate({"rows": np.arange(10, 16)}, 3, rows=weights)
    many = make_replicate({"rows": np.arange(100, 400)}, 4, rows=np.ones(300))
    draws, per_epoch = 0, 75
    counts = np.zeros(6)
    for at in range(0, 500 * per_epoch, 100 * per_epoch):
        steps = live_rows(drawn([few, many], {"rows": 4}, at, 100 * per_epoch))
        rows = np.array([row for step in steps for row in step])
        draws += len(rows)
        counts += np.bincount(rows - 10, minlength=6)
    assert draws == 500 * 6 and set(np.flatnonzero(counts)) == {1, 2, 4}
    expected = draws * weights / weights.sum()
    chi2 = np.sum((counts[weights > 0] - expected[weights > 0]) ** 2 / expected[weights > 0])
    assert chi2 < 13.8  # the 99.9th percentile with two degrees of freedom


@pytest.mark.parametrize("weights", [[1, -1, 1], [1, np.nan, 1], [1, np.inf, 1], [0, 0, 0]])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(
        UserError, match=r"fold 0: the sampling weights of slot 'rows' must be numbers of 0 or more"
    ):
        padded_rows([make_replicate({"rows": range(3)}, rows=weights)], {"rows": 2})


def test_weights_for_other_rows_are_a_fault_of_ours():
    with pytest.raises(ValueError, match="slot 'rows' has 3 rows and 2 sampling weights"):
        padded_rows([make_replicate({"rows": range(3)}, rows=[1, 1])], {"rows": 2})
