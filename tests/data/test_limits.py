"""Limits of variables: their text, the values that they take out, and what is refused."""

import numpy as np
import pytest

from omics_jax.data.dataset.dataset import Modality
from omics_jax.data.dataset.limits import (
    bounds_of,
    limits_note,
    parse_limits,
    unused_limits,
    within_limits,
)
from omics_jax.errors import UserError


def test_the_text_of_limits():
    limits = parse_limits("hr=20:300, temp = 25 : 45,lactate=0:, base excess=:30")
    assert limits == {
        "hr": (20, 300),
        "temp": (25, 45),
        "lactate": (0, np.inf),
        "base excess": (-np.inf, 30),
    }
    assert parse_limits("") == {}
    low, high = bounds_of(limits, ["temp", "other"])
    assert low.tolist() == [25, -np.inf] and high.tolist() == [45, np.inf]


@pytest.mark.parametrize("text", ["hr", "hr=20", "hr=:", "hr=a:b", "hr=300:20", "hr=20:20"])
def test_a_text_that_is_no_limits(text):
    with pytest.raises(UserError, match=r"--config\.data\.limits has"):
        parse_limits(text)


def test_a_variable_twice():
    with pytest.raises(UserError, match=r"--config\.data\.limits names 'hr' twice"):
        parse_limits("hr=1:2, hr=1:3")


@pytest.mark.parametrize("shape", [(4, 2), (2, 2, 2)])
def test_values_outside_are_missing_and_counted(shape):
    values = np.array([20, 1, 300, 2, 19.9, 3, 300.1, 0], np.float32).reshape(shape)
    mask = np.ones(shape, bool)
    mask.flat[6] = False
    modality = Modality(np.where(mask, values, 0), mask, np.array(["hr", "k"]))
    found, counts = within_limits(modality, parse_limits("hr=20:300"))
    assert found.mask[..., 0].ravel().tolist() == [True, True, False, False]
    assert found.mask[..., 1].all() and counts == {"hr": 1}
    assert found.values.dtype == np.float32 and not found.values[~found.mask].any()
    assert limits_note(counts) == ["Values outside of data.limits, now missing: hr 1."]
    same, none = within_limits(modality, {})
    assert same is modality and none == {} and limits_note(none) == []


def test_limits_of_a_variable_that_is_not_there():
    (warning,) = unused_limits("ward.csv", {"hrr": (1.0, 2.0), "k": (0.0, 1.0)}, ["hr", "k"])
    assert "'hrr', which is no variable of ward.csv; did you mean 'hr'?" in warning
