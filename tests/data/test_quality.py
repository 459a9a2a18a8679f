"""What looks wrong with values: far ones, sentinels, two units, values outside a training range."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.quality import (
    dataset_tables,
    describe,
    far_limits,
    is_far,
    plausible_range,
    quality_warnings,
    range_warnings,
    robust_spread,
    short_table,
)

rng = np.random.default_rng(0)
HEART_RATES = rng.normal(80, 12, 400)
CELSIUS = rng.normal(37, 0.6, 300)
FAHRENHEIT = rng.normal(98.6, 1.1, 300)
MILLIGRAMS = rng.lognormal(0, 0.25, 300)


def note_of(*parts, one_unit=False) -> str:
    values = np.concatenate([np.atleast_1d(part) for part in parts])[:, None].astype(np.float64)
    return describe(values, np.ones(values.shape, bool), ["x"], one_unit)["note"][0]


# What a variable's values are, and what its note says.
NOTES = {
    "a typo": ([HEART_RATES, 1e7], "1 of its 401 values lies far from the others, as far as 1e+07"),
    "a negative typo": ([HEART_RATES, -4000.0], "1 of its 401 values lies far"),
    "a typo among zeros": ([np.zeros(300), MILLIGRAMS, 1e7], "as far as 1e+07; the median is 0"),
    "a typo in a rare state": ([np.zeros(300), np.ones(9), 1e7], "as far as 1e+07"),
    "Fahrenheit": ([CELSIUS, FAHRENHEIT[:12]], "12 of its 312 values are about 98"),
    "half Fahrenheit": ([CELSIUS, FAHRENHEIT], "300 about 98.4"),
    "mostly Fahrenheit": ([CELSIUS[:30], FAHRENHEIT], "30 of its 330 values are about 36.9"),
    "umol beside mg": ([MILLIGRAMS, 88.4 * MILLIGRAMS[:150]], "are they in two units?"),
    "sentinel": ([MILLIGRAMS, np.full(300, -999.0)], "--config.data.missing_values=-999"),
    "rare sentinel": ([HEART_RATES, np.full(9, 9999.0)], "--config.data.missing_values=9999"),
    "-1 for unknown": ([HEART_RATES, np.full(20, -1.0)], "--config.data.missing_values=-1"),
    "constant": ([np.full(30, 1e-4)], "constant, 0.0001"),
}
# What is rare, and not wrong.
RIGHT = {
    "heart rates": [HEART_RATES],
    "skewed": [rng.lognormal(1, 1.2, 2000)],
    "zeros and a few counts": [np.zeros(300), rng.poisson(3, 100)],
    "yes and no": [np.zeros(300), np.ones(20)],
    "a negative scale": [rng.normal(-2, 3, 400)],
    "temperature": [CELSIUS],
    "few": [[-1.7, -0.1, 50]],
    "shares of oxygen": [np.repeat([0.21, 0.4, 0.5, 0.6, 1.0], 60)],
}


@pytest.mark.parametrize("case", NOTES)
def test_what_looks_wrong_is_named(case):
    parts, words = NOTES[case]
    assert words in note_of(*parts)


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_rare_is_not_wrong(case):
    assert note_of(*RIGHT[case]) == ""


def test_two_groups_of_genes_are_no_units():
    assert note_of(CELSIUS, FAHRENHEIT, one_unit=True) == ""


def test_the_table_counts_and_describes_observed_cells_alone():
    values = np.array([[1.0, 5, 0], [2, 5, 0], [4, 0, 0], [1e9, 5, 0]])
    mask = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]], bool)
    table = describe(values, mask, ["a", "b", "c"])
    assert table["n"].tolist() == [3, 3, 0] and table["missing"].tolist() == [0.25, 0.25, 1]
    assert table.loc[0, ["min", "median", "max"]].tolist() == [1, 2, 4]
    assert table["note"].tolist() == ["", "constant, 5", "never observed"]
    assert quality_warnings("series", table) == []


def test_limits_of_far_values_say_what_is_far():
    """min(m - 20 s, exp(m' - 10 s')) and max(m + 20 s, exp(m' + 10 s')), put together again."""
    values = np.stack([rng.normal(80, 12, 4000), rng.lognormal(1, 0.5, 4000)], axis=1)
    mask = np.ones(values.shape, bool)
    low, high = far_limits(robust_spread(values, mask))
    for j, x in enumerate(values.T):
        median, log = np.median(x), np.log(x)
        s = 1.4826 * np.median(np.abs(x - median))
        log_s = 1.4826 * np.median(np.abs(log - np.median(log)))
        assert low[j] == pytest.approx(min(median - 20 * s, np.exp(np.median(log) - 10 * log_s)))
        assert high[j] == pytest.approx(max(median + 20 * s, np.exp(np.median(log) + 10 * log_s)))
    cells = np.array([[low[0] - 1, high[1] + 1], [low[0] + 1, high[1] - 1]])
    far = is_far(robust_spread(values, mask), cells, np.ones(cells.shape, bool))
    assert far.tolist() == [[True, True], [False, False]]


def test_the_plausible_range_is_that_of_all_values_where_none_is_far():
    values = rng.normal(80, 12, (50, 6, 3)).astype(np.float32)
    mask = rng.random(values.shape) < 0.6
    mask[..., 2] = False
    seen = np.where(mask, values, np.nan)[..., :2]
    low, high = plausible_range(values, mask)
    np.testing.assert_array_equal(low, [*np.nanmin(seen, axis=(0, 1)), 0])
    np.testing.assert_array_equal(high, [*np.nanmax(seen, axis=(0, 1)), 0])
    spoiled = values.copy()
    spoiled[0, 0, 0], mask[0, 0, 0] = 1e7, True
    seen[0, 0, 0] = np.nan
    assert plausible_range(spoiled, mask)[1][0] == np.nanmax(seen[..., 0])


def test_new_values_in_other_units_are_told_with_their_share():
    modality = Modality(
        np.array([[80000.0, 1], [75000, 2], [90, 3]]), np.ones((3, 2), bool), np.array(["hr", "k"])
    )
    (warning,) = range_warnings("series", modality, np.array([40.0, 0]), np.array([140.0, 5]))
    assert "33.3% of the new values lie outside" in warning and "hr 67%" in warning
    inside = Modality(modality.values / [1000, 1], modality.mask, modality.features)
    assert range_warnings("series", inside, np.array([0.0, 0]), np.array([140.0, 5])) == []
    unseen = np.array([-np.inf, 0]), np.array([np.inf, 5])
    assert range_warnings("series", modality, *unseen) == []


def test_many_warnings_are_counted():
    values = np.tile(np.append(HEART_RATES, 1e7)[:, None], (1, 11))
    table = describe(values, np.ones(values.shape, bool), [f"v{j}" for j in range(11)])
    warnings = quality_warnings("series", table)
    assert len(warnings) == 9 and "3 more variables" in warnings[-1]
    assert len(short_table(table)) == 11


def test_hours_and_what_a_file_holds_out_are_no_measurements():
    series = Modality(np.ones((4, 2, 1), np.float32), np.ones((4, 2, 1), bool), np.array(["hr"]))
    hours = Modality(np.ones((4, 2), np.float32), np.ones((4, 2), bool), np.array(["0", "1"]))
    ids = np.array(list("abcd"))
    dataset = Dataset(
        ids, ids, {"series": series, "hours": hours, "truth": series}, pd.DataFrame(index=ids)
    )
    assert list(dataset_tables(dataset)) == ["series"]
