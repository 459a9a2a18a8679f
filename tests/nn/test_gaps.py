"""Time gaps against the recurrences of the papers, written out step by step in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from omics_jax.nn.gaps import last_observed, reverse_hours, time_gaps

RANDOM = np.random.default_rng(0)
RATES = np.array([0.0, 0.1, 0.4, 0.8, 1.0])  # one feature never and one always observed
MASK = RANDOM.random((6, 17, 5)) < RATES
STEPS = RANDOM.integers(1, 40, (6, 17)) / 8
HOURS = np.cumsum(STEPS, axis=1).astype(np.float32)  # exact in float32, not from 0
VALUES = RANDOM.normal(size=MASK.shape).astype(np.float32)
COLUMN = np.array([1, 0, 0, 1, 0], bool)[:, None]


def recurrence(mask, hours, convention):
    """The published recurrences, literally."""
    missing = 1 - mask
    delta = np.full(mask.shape, 0.0 if convention == "paper" else 1.0)
    for t in range(1, mask.shape[1]):
        before = delta[:, t - 1]
        if convention == "paper":
            step = (hours[:, t] - hours[:, t - 1])[:, None]
            delta[:, t] = step + missing[:, t - 1] * before
        else:
            delta[:, t] = 1 + missing[:, t] * before
    return delta


def gaps(mask, hours, convention):
    hours = jnp.asarray(hours, jnp.float32)
    return np.asarray(time_gaps(jnp.asarray(mask), hours, convention))


@pytest.mark.parametrize(
    ("convention", "expected"), [("paper", [0, 1, 2, 3, 1]), ("code", [1, 2, 3, 1, 2])]
)
def test_gaps_of_a_worked_example(convention, expected):
    assert_array_equal(gaps(COLUMN, np.arange(5), convention)[:, 0], expected)


def test_backward_gaps_come_from_the_reversed_mask():
    hours = reverse_hours(jnp.arange(5.0))
    backward = gaps(COLUMN[::-1], hours, "paper")
    assert_array_equal(backward[:, 0], [0, 1, 1, 2, 3])


@pytest.mark.parametrize("convention", ["paper", "code"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_gaps_follow_the_recurrence_at_irregular_hours(convention, reverse):
    mask, hours = MASK, HOURS
    if reverse:
        mask = MASK[:, ::-1]
        hours = np.asarray(reverse_hours(jnp.asarray(HOURS)))
    found = gaps(mask, hours, convention)
    assert found.dtype == np.float32
    assert_array_equal(found, recurrence(mask, hours, convention))


def test_the_code_counts_steps_whatever_the_hours():
    other_hours = 7 * HOURS + 3
    assert_array_equal(gaps(MASK, HOURS, "code"), gaps(MASK, other_hours, "code"))


def test_reversed_hours_count_back_from_the_end():
    hours = jnp.array([[1.0, 1.5, 4.0], [0.0, 1.0, 2.0]])
    found = np.asarray(reverse_hours(hours))
    assert_array_equal(found, [[0, 2.5, 3], [0, 1, 2]])
    twice = reverse_hours(reverse_hours(jnp.asarray(HOURS)))
    assert_array_equal(twice, HOURS - HOURS[:, :1])


def test_the_last_observed_value_is_strictly_earlier():
    expected = np.zeros_like(VALUES)
    carried = np.zeros((6, 5), np.float32)
    for t in range(17):
        expected[:, t] = carried
        carried = np.where(MASK[:, t], VALUES[:, t], carried)
    found = last_observed(jnp.asarray(VALUES), jnp.asarray(MASK))
    assert_array_equal(found, expected)


def test_unobserved_values_are_never_read():
    mask = jnp.asarray(MASK)
    poisoned = jnp.asarray(np.where(MASK, VALUES, np.nan))
    found = last_observed(poisoned, mask)
    assert np.isfinite(found[:, :, 1:]).all()
    assert_array_equal(found, last_observed(jnp.asarray(VALUES), mask))


@pytest.mark.parametrize("convention", ["paper", "code"])
def test_compiled_batched_and_single_series_agree(convention):
    mask, hours, values = map(jnp.asarray, (MASK, HOURS, VALUES))
    whole = time_gaps(mask, hours, convention)
    compiled = jax.jit(time_gaps, static_argnums=2)
    assert_array_equal(compiled(mask, hours, convention), whole)
    single = time_gaps(mask[2], hours[2], convention)
    assert_array_equal(single, whole[2])
    batched = time_gaps(mask[None], hours[None], convention)
    assert_array_equal(batched[0], whole)
    single = last_observed(values[2], mask[2])
    assert_array_equal(single, last_observed(values, mask)[2])


def test_a_series_of_one_step_has_no_past():
    first_step = [series[:, :1] for series in (MASK, HOURS, VALUES)]
    mask, hours, values = map(jnp.asarray, first_step)
    assert not np.any(time_gaps(mask, hours, "paper"))
    assert not np.any(last_observed(values, mask))
    assert np.all(time_gaps(mask, hours, "code") == 1)
