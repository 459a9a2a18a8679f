"""Time gaps against the recurrences of the papers, written out step by step in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omics_jax.nn.gaps import last_observed, reverse_hours, time_gaps

RANDOM = np.random.default_rng(0)
RATES = np.array([0.0, 0.1, 0.4, 0.8, 1.0])  # one feature never and one always observed
MASK = RANDOM.random((6, 17, 5)) < RATES
HOURS = np.cumsum(RANDOM.integers(1, 40, (6, 17)) / 8, axis=1).astype(
    np.float32
)  # exact in float32, not from 0
VALUES = RANDOM.normal(size=MASK.shape).astype(np.float32)
COLUMN = np.array([1, 0, 0, 1, 0], bool)[:, None]


def recurrence(mask, hours, convention):
    """The published recurrences, literally."""
    delta = np.full(mask.shape, 0.0 if convention == "paper" else 1.0)
    for t in range(1, mask.shape[1]):
        if convention == "paper":
            step = (hours[:, t] - hours[:, t - 1])[:, None]
            delta[:, t] = step + (1 - mask[:, t - 1]) * delta[:, t - 1]
        else:
            delta[:, t] = 1 + (1 - mask[:, t]) * delta[:, t - 1]
    return delta


def gaps(mask, hours, convention):
    return np.asarray(time_gaps(jnp.asarray(mask), jnp.asarray(hours, jnp.float32), convention))


@pytest.mark.parametrize(
    ("convention", "expected"), [("paper", [0, 1, 2, 3, 1]), ("code", [1, 2, 3, 1, 2])]
)
def test_gaps_of_a_worked_example(convention, expected):
    np.testing.assert_array_equal(gaps(COLUMN, np.arange(5), convention)[:, 0], expected)


def test_backward_gaps_come_from_the_reversed_mask():
    backward = gaps(COLUMN[::-1], reverse_hours(jnp.arange(5.0)), "paper")
    np.testing.assert_array_equal(backward[:, 0], [0, 1, 1, 2, 3])


@pytest.mark.parametrize("convention", ["paper", "code"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_gaps_follow_the_recurrence_at_irregular_hours(convention, reverse):
    mask, hours = MASK, HOURS
    if reverse:
        mask, hours = MASK[:, ::-1], np.asarray(reverse_hours(jnp.asarray(HOURS)))
    found = gaps(mask, hours, convention)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, recurrence(mask, hours, convention))


def test_the_code_counts_steps_whatever_the_hours():
    np.testing.assert_array_equal(gaps(MASK, HOURS, "code"), gaps(MASK, 7 * HOURS + 3, "code"))


def test_reversed_hours_count_back_from_the_end():
    found = np.asarray(reverse_hours(jnp.array([[1.0, 1.5, 4.0], [0.0, 1.0, 2.0]])))
    np.testing.assert_array_equal(found, [[0, 2.5, 3], [0, 1, 2]])
    np.testing.assert_array_equal(
        reverse_hours(reverse_hours(jnp.asarray(HOURS))), HOURS - HOURS[:, :1]
    )


def test_the_last_observed_value_is_strictly_earlier():
    expected, carried = np.zeros_like(VALUES), np.zeros((6, 5), np.float32)
    for t in range(17):
        expected[:, t] = carried
        carried = np.where(MASK[:, t], VALUES[:, t], carried)
    np.testing.assert_array_equal(last_observed(jnp.asarray(VALUES), jnp.asarray(MASK)), expected)


def test_unobserved_values_are_never_read():
    poisoned = jnp.asarray(np.where(MASK, VALUES, np.nan))
    assert np.isfinite(last_observed(poisoned, jnp.asarray(MASK))[:, :, 1:]).all()
    found = last_observed(poisoned, jnp.asarray(MASK))
    np.testing.assert_array_equal(found, last_observed(jnp.asarray(VALUES), jnp.asarray(MASK)))


@pytest.mark.parametrize("convention", ["paper", "code"])
def test_compiled_batched_and_single_series_agree(convention):
    mask, hours, values = jnp.asarray(MASK), jnp.asarray(HOURS), jnp.asarray(VALUES)
    whole = time_gaps(mask, hours, convention)
    np.testing.assert_array_equal(
        jax.jit(time_gaps, static_argnums=2)(mask, hours, convention), whole
    )
    np.testing.assert_array_equal(time_gaps(mask[2], hours[2], convention), whole[2])
    np.testing.assert_array_equal(time_gaps(mask[None], hours[None], convention)[0], whole)
    np.testing.assert_array_equal(last_observed(values[2], mask[2]), last_observed(values, mask)[2])


def test_a_series_of_one_step_has_no_past():
    mask, hours, values = (
        jnp.asarray(MASK[:, :1]),
        jnp.asarray(HOURS[:, :1]),
        jnp.asarray(VALUES[:, :1]),
    )
    assert not np.any(time_gaps(mask, hours, "paper")) and not np.any(last_observed(values, mask))
    assert np.all(time_gaps(mask, hours, "code") == 1)
