"""Feature tables against pandas, patient by patient and variable by variable."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.evaluation.summary_features import flatten_series, summary_features


def series(seed=0):
    """values, mask (6, 9, 3) and hours (6, 9), nan where unobserved.

    One variable is never observed, another once in a patient.
    """
    random = np.random.default_rng(seed)
    mask = random.random((6, 9, 3)) < 0.35
    mask[:, :, 2] = False
    mask[0, :, 0] = np.arange(9) == 4
    values = np.where(mask, random.normal(size=mask.shape), np.nan)
    hours = np.cumsum(random.uniform(0.5, 3.0, (6, 9)), axis=1)
    return values.astype(np.float32), mask, hours.astype(np.float32)


def pandas_summaries(values, hours):
    """The summaries of one patient's variable, nan where it was not observed."""
    seen = pd.Series(values.astype(np.float64)).dropna()
    expected = seen.agg(["mean", "min", "max"]).to_dict()
    expected["sd"] = seen.std()
    expected["rate"] = len(seen) / len(values)
    expected |= dict.fromkeys(("first", "last", "slope"), np.nan)
    if len(seen):
        expected["first"] = seen.iloc[0]
        expected["last"] = seen.iloc[-1]
    if len(seen) > 1:
        times = hours[seen.index].astype(np.float64)
        expected["slope"] = np.polyfit(times, seen, 1)[0]
    return expected


def test_summaries_are_those_of_pandas():
    values, mask, hours = series()
    variables = ["HR", "pH", "Lactate"]
    features, names = summary_features(values, mask, hours, extended=True, variables=variables)
    table = pd.DataFrame(features, columns=[*names])
    for i in range(len(values)):
        for d, variable in enumerate(variables):
            for summary, number in pandas_summaries(values[i, :, d], hours[i]).items():
                found = table.loc[i, f"{summary} {variable}"]
                assert_allclose(found, number, rtol=1e-6, err_msg=summary)
    assert table.isna().to_numpy().any()


def test_the_plain_summaries_are_the_first_of_the_extended_ones():
    plain, names = summary_features(*series())
    extended, more = summary_features(*series(), extended=True)
    assert plain.shape == (6, 15) and extended.shape == (6, 24)
    assert names == more[:15]
    assert names[0] == "mean variable 0" and names[-1] == "rate variable 2"
    assert_array_equal(plain, extended[:, :15])


def test_static_descriptors_come_last_with_nan_where_unobserved():
    static = np.tile([70.0, 1.0], (6, 1))
    observed = np.tile([True, False], (6, 1))
    features, names = summary_features(*series(), static, observed, descriptors=["Age", "Male"])
    assert names[-2:] == ("Age", "Male")
    assert features.shape == (6, 17)
    expected = np.tile([70.0, np.nan], (6, 1))
    assert_array_equal(features[:, 15:], expected)
    without_mask, _ = summary_features(*series(), static)
    assert_array_equal(without_mask[:, 15:], static)


def test_names_and_variables_must_pair():
    with pytest.raises(ValueError, match="2 names and 3 variables do not pair"):
        summary_features(*series(), variables=["HR", "pH"])


def test_slope_needs_two_hours():
    values = np.array([[[1.0], [3.0]]])
    mask = np.ones(values.shape, dtype=bool)
    hours = np.array([[5.0, 5.0]])
    features, names = summary_features(values, mask, hours, extended=True)
    slope = features[0, names.index("slope variable 0")]
    assert np.isnan(slope)


def test_flattened_goes_step_by_step():
    values, mask, _ = series()
    flat = flatten_series(values, mask)
    step, variable = 4, 1
    column = 3 * step + variable
    assert flat.shape == (6, 27)
    assert_array_equal(flat[:, column], values[:, step, variable])
    assert_array_equal(np.isnan(flat), ~mask.reshape(6, 27))
