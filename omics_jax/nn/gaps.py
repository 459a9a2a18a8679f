"""Time since the last observation of every cell of an irregular series, and its value then.

The two conventions of BRITS (Cao et al. 2018): that of the paper (section 3, also PyPOTS), in
hours, and that of its code (also CSAI's), in steps. Left out: what a network computes from the gaps
(see `decay`).
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Mask = Bool[Array, "*n T D"]  # n rows, T steps, D variables; True where observed
Cells = Float[Array, "*n T D"]
Steps = Int[Array, "*n T D"]
Hours = Float[Array, "*n T"]


def time_gaps(mask: Mask, hours: Hours, convention: Literal["paper", "code"]) -> Cells:
    """Gap delta of every cell to the observation before it, or to the start of the series.

    With observed cells m and times s:
    "paper": delta_0 = 0, delta_t = s_t - s_{t-1} + (1 - m_{t-1}) delta_{t-1}, in hours;
    "code":  delta_0 = 1, delta_t = 1 + (1 - m_t) delta_{t-1}, in steps whatever the hours, 1 at
             observed cells.
    Both telescope: delta_t is s_t - s_j with j the last observed step before t ("paper"), and
    t - j + 1 with j the last observed step up to t ("code"); j = 0 where there is none.

    For a backward pass give the reversed mask and `reverse_hours(hours)`, and use the result as it
    is, without reversing it.

    Errors: ValueError for another convention.
    """
    if convention == "paper":
        start = jnp.maximum(_last_step_before(mask), 0)
        times = hours[..., None]
        start_time = jnp.take_along_axis(times, start, axis=-2)
        return times - start_time
    if convention == "code":
        start = jnp.maximum(_last_step(mask), 0)
        gap = _step_numbers(mask) - start + 1
        return gap.astype(hours.dtype)
    raise ValueError(f"a gap convention is 'paper' or 'code', not {convention!r}")


def reverse_hours(hours: Hours) -> Hours:
    """Times of the reversed series, s'_t = s_{T-1} - s_{T-1-t}: hours before the end, from 0 up.

    The gaps of a backward pass follow from these and the reversed mask.
    Deviates: BRITS's code computes them from a mask reversed twice, and so gets the gaps of the
    forward pass.
    """
    end = hours[..., -1:]
    return end - jnp.flip(hours, axis=-1)


def last_observed(values: Cells, mask: Mask) -> Cells:
    """The most recent value observed strictly before each step, 0 where there is none.

    Source: CSAI's last_obs.
    """
    step = _last_step_before(mask)
    start = jnp.maximum(step, 0)
    recent = jnp.take_along_axis(values, start, axis=-2)
    return jnp.where(step >= 0, recent, 0)


def _step_numbers(mask: Mask) -> Int[Array, "T 1"]:
    """0..T-1 along the axis of time."""
    steps = jnp.arange(mask.shape[-2])
    return steps[:, None]


def _last_step(mask: Mask) -> Steps:
    """The last observed step up to and including each step, -1 where there is none."""
    steps = _step_numbers(mask)
    observed_steps = jnp.where(mask, steps, -1)
    time_axis = mask.ndim - 2
    return jax.lax.cummax(observed_steps, axis=time_axis)


def _last_step_before(mask: Mask) -> Steps:
    """The last observed step strictly before each step, -1 where there is none."""
    first = mask[..., :1, :]
    none_before_first = jnp.full_like(first, -1, dtype=int)
    up_to_previous = _last_step(mask)[..., :-1, :]
    return jnp.concatenate([none_before_first, up_to_previous], axis=-2)
