"""Values that cannot be, of variables on one scale and of few values."""

import numpy as np

from omics_jax.data.dataset.quality import (
    describe,
    far_limits,
    is_far,
    plausible_range,
    robust_spread,
)


def log_expression(rows=40, genes=50):
    """log2 expression: genes differ by levels, samples within 0.1 of them."""
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.1, (rows, genes)) + rng.normal(9, 2, genes)


def test_a_gene_that_one_cell_line_expresses_is_not_far():
    values = log_expression()
    values[3, 4] = values[:, 4].mean() + 6
    mask = np.ones(values.shape, bool)
    assert is_far(robust_spread(values, mask), values, mask).sum() == 1
    assert not is_far(robust_spread(values, mask, one_unit=True), values, mask).any()


def test_values_of_another_scale_and_sentinels_are_far_on_one_unit():
    values = log_expression()
    values[5, 6], values[7] = -999, 2 ** values[7]
    values[7, :3] = 1e7
    mask = np.ones(values.shape, bool)
    far = is_far(robust_spread(values, mask, one_unit=True), values, mask)
    assert far[5, 6] and far[7, :3].all() and not far[[0, 1, 2, 3, 4]].any()
    low, high = plausible_range(values, mask, one_unit=True)
    assert low.min() > 0 and high.max() < 60


def test_a_repeated_value_is_a_sentinel_where_it_is_far_from_all_genes():
    """The same control stands for many treated profiles; -666 is no expression."""
    values = log_expression(100)
    values[:8, 0] = values[8:, 0].mean() + 4
    values[:8, 1] = -666
    mask = np.ones(values.shape, bool)
    notes = describe(values, mask, [f"g{j}" for j in range(50)], one_unit=True)["note"]
    assert notes[0] == "" and "--config.data.missing_values=-666" in notes[1]
    assert (notes[2:] == "").all()


def test_few_values_say_nothing_of_any_of_them():
    values = np.array([[1.0], [1.01], [1000.0]])
    mask = np.ones(values.shape, bool)
    assert not is_far(robust_spread(values, mask), values, mask).any()
    assert describe(values, mask, ["a"])["note"].tolist() == [""]
    low, high = far_limits(robust_spread(values, mask))
    assert np.isinf(low).all() and np.isinf(high).all()
