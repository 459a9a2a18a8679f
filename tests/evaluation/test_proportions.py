"""Wilson's interval against scipy for whole counts, and between them for others."""

import numpy as np
import scipy.stats
from numpy.testing import assert_allclose

from omics_jax.evaluation.proportions import wilson_interval

SIZES = np.arange(1, 40)
ROUNDING = 1e-15


def test_intervals_of_whole_counts_are_scipys():
    for size in SIZES:
        events = np.arange(size + 1)
        low, high = wilson_interval(events / size, np.full(size + 1, size))
        for k in events:
            test = scipy.stats.binomtest(int(k), int(size))
            expected = test.proportion_ci(0.95, method="wilson")
            assert_allclose([low[k], high[k]], expected, atol=1e-12)


def test_intervals_shrink_with_the_effective_size():
    size = np.linspace(0.5, 40, 80)
    for rate in (0.0, 0.3, 1.0):
        low, high = wilson_interval(np.full(80, rate), size)
        assert (np.diff(high - low) < 0).all()
        assert (0 <= low).all() and (high <= 1).all()
        assert (low <= rate + ROUNDING).all() and (rate - ROUNDING <= high).all()


def test_an_unknown_rate_has_no_interval():
    assert np.isnan(wilson_interval(np.array([np.nan]), np.array([np.nan]))).all()
