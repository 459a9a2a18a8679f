"""Hidden cells and their rates against CSAI's published numbers, hand-made cases and loops."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.data.clinical_series.hiding import held_out, hiding_rates, median_gaps
from omics_jax.errors import UserError

IDS = np.array([f"P{i:03d}" for i in range(60)])
MASK = np.random.default_rng(0).random((60, 24, 7)) < 0.4
OBSERVED = np.array([0.01, 0.03, 0.06, 0.1, 0.2, 0.5, 0.9])
# CSAI's rates at p = 0.1 for those observation rates.
ORACLE = {
    0.5: [0.2032, 0.0871, 0.0435, 0.0261, 0.0131, 0.0790, 0.1422],
    1.0: [0.3428, 0.2938, 0.1469, 0.0881, 0.0441, 0.0667, 0.1200],
    0.1: [0.0112, 0.0037, 0.0019, 0.0011, 0.0006, 0.0846, 0.1524],
    2.0: [0.4496, 0.4496, 0.3853, 0.2312, 0.1156, 0.0437, 0.0787],
    0.0: [0.1] * 7,
}


def observed_at(rates, cells=1000):
    """A mask (10, cells / 10, D) with exactly these shares of observed cells."""
    counts = np.round(cells * np.asarray(rates))
    mask = np.arange(cells)[:, None] < counts
    return mask.reshape(10, cells // 10, len(rates))


def test_held_out_cells_are_observed_and_nested_at_their_rates():
    rates = (0.1, 0.5, 0.9)
    levels = held_out(IDS, MASK, rates, seed=3)
    assert levels.dtype == np.uint8 and levels.shape == MASK.shape
    assert not levels[~MASK].any() and set(np.unique(levels)) == {0, 1, 2, 3}
    observed = levels[MASK]
    for k, rate in enumerate(rates, start=1):
        share = ((observed > 0) & (observed <= k)).mean()
        assert abs(share - rate) < 4 * np.sqrt(rate * (1 - rate) / observed.size)


def test_another_rate_leaves_the_first_cells_hidden():
    fewer, more = held_out(IDS, MASK, (0.2,), 0), held_out(IDS, MASK, (0.2, 0.6), 0)
    assert_array_equal(fewer == 1, more == 1)
    assert_array_equal(held_out(IDS, MASK, (0.6,), 0) > 0, more > 0)


def test_a_row_is_hidden_alike_whatever_rows_stand_beside_it():
    whole = held_out(IDS, MASK, (0.3, 0.7), 1)
    chosen = np.array([40, 3, 59])
    assert_array_equal(held_out(IDS[chosen], MASK[chosen], (0.3, 0.7), 1), whole[chosen])
    assert_array_equal(held_out(IDS.astype(object), MASK, (0.3, 0.7), 1), whole)


def test_a_cell_is_hidden_alike_whatever_else_is_observed():
    everything = held_out(IDS, np.ones_like(MASK), (0.3,), 1)
    assert_array_equal(held_out(IDS, MASK, (0.3,), 1), np.where(MASK, everything, 0))


def test_other_ids_and_other_seeds_hide_other_cells():
    full = np.ones_like(MASK)
    levels = held_out(IDS, full, (0.5,), 1).reshape(60, -1)
    assert len(np.unique(levels, axis=0)) == 60
    agreement = (levels == held_out(IDS, full, (0.5,), 2).reshape(60, -1)).mean()
    assert abs(agreement - 0.5) < 0.02


@pytest.mark.parametrize(
    "rates", [(), (0.0, 0.5), (0.5, 1.0), (0.5, 0.2), (0.5, 0.5), (float("nan"),)], ids=str
)
def test_rates_that_are_no_increasing_fractions_are_refused(rates):
    with pytest.raises(UserError, match="increasing fractions"):
        held_out(IDS, MASK, rates, 0)


@pytest.mark.parametrize("increase", ORACLE)
def test_hiding_rates_are_those_of_the_reference(increase):
    found = hiding_rates(observed_at(OBSERVED), 0.1, increase)
    assert_allclose(found, ORACLE[increase], atol=6e-5)


@pytest.mark.parametrize("increase", [0.0, 0.1, 0.5, 1.0])
def test_the_expected_share_of_hidden_cells_is_the_rate(increase):
    counts = MASK.sum(axis=(0, 1))
    assert np.isclose(hiding_rates(MASK, 0.25, increase) @ counts, 0.25 * counts.sum())


@pytest.mark.parametrize("increase", [0.0, 0.5])
def test_a_feature_never_observed_is_never_hidden(increase):
    found = hiding_rates(observed_at([0.0, 0.2, 0.4]), 0.1, increase)
    assert found[0] == 0 and (found[1:] > 0).all()
    assert not hiding_rates(observed_at([0.0, 0.0]), 0.1, increase).any()


def test_a_rate_scaled_beyond_one_always_hides():
    # n = (10, 10, 980), mean 1000/3: q = (1, 1, .8 * 2.94); scaled by .8 * 1000 / (20 + 980 *
    # 2.352) = .3441.
    q = hiding_rates(observed_at([0.01, 0.01, 0.98]), 0.8, 1.0)
    assert_allclose(q, [0.34409, 0.34409, 0.80931], atol=1e-5)
    # n = (200, 1000), mean 600: q = (1, .6); scaled by .9 * 1200 / (200 + 600) = 1.35 -> (1.35,
    # .81).
    q = hiding_rates(observed_at([0.2, 1.0]), 0.9, 2.5)
    assert_allclose(q, [1.0, 0.81])


@pytest.mark.parametrize(
    ("rate", "increase"), [(0.0, 0.5), (1.0, 0.5), (0.1, -1.0), (0.1, float("inf"))]
)
def test_impossible_hiding_rates_are_refused(rate, increase):
    with pytest.raises(UserError, match="give"):
        hiding_rates(MASK, rate, increase)


def test_median_gaps_of_a_worked_example():
    hours = np.array([[0.0, 1.0, 3.0, 7.0], [0.0, 2.0, 4.0, 5.0]])
    mask = np.zeros((2, 4, 4), bool)
    mask[0, [0, 1, 3], 0] = mask[1, [0, 3], 0] = True  # gaps 1, 6, 5: median 5
    mask[0, [2, 3], 1] = mask[1, [1, 2], 1] = True  # gaps 4, 2: median 3
    mask[:, 0, 2] = (
        True  # one observation in each of two patients: no gap, and none between patients
    )
    assert_array_equal(median_gaps(mask, hours), [5, 3, 4, 4])  # all gaps 1, 2, 4, 5, 6: median 4


def test_median_gaps_match_a_loop_over_patients_and_features():
    hours = np.cumsum(np.random.default_rng(1).exponential(size=(60, 24)), axis=1).astype(
        np.float32
    )
    mask = MASK & (np.random.default_rng(2).random(MASK.shape) < [0.1, 0.2, 0.3, 0.5, 1, 1, 1])
    expected = [
        np.median(np.concatenate([np.diff(hours[i, mask[i, :, d]]) for i in range(60)]))
        for d in range(7)
    ]
    assert_allclose(median_gaps(mask, hours), expected, rtol=1e-6)


def test_without_any_gap_the_median_is_one():
    assert_array_equal(median_gaps(np.zeros((3, 5, 2), bool), np.zeros((3, 5))), [1, 1])
