"""How long ago every cell of an irregular series was last observed, and what was observed then.

The two gap conventions of BRITS (Cao et al. 2018): that of the paper (section 3, also PyPOTS), in
hours, and that of its code (also CSAI's), in steps. What a network makes of the gaps (decays,
embeddings) is left out.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def time_gaps(
    mask: Bool[Array, "*n T D"], hours: Float[Array, "*n T"], convention: Literal["paper", "code"]
) -> Float[Array, "*n T D"]:
    """Gap delta of every cell to the observation before it, or to the start of the series where
    there is none.

    With observed cells m and times s:
    "paper": delta_0 = 0, delta_t = s_t - s_{t-1} + (1 - m_{t-1}) delta_{t-1}, in hours;
    "code": delta_0 = 1, delta_t = 1 + (1 - m_t) delta_{t-1}, in steps whatever the hours, 1 at
    observed cells.
    Both telescope: delta_t = s_t - s_j with j the last observed step before t, and t - j + 1 with j
      the last
    observed step up to t; j = 0 where there is none.

    For a backward pass give the reversed mask and `reverse_hours(hours)`, then leave the result as
    it is.
    Errors: ValueError for another convention.
    """
    if convention == "paper":
        start = jnp.maximum(_last_step_before(mask), 0)
        return hours[..., None] - jnp.take_along_axis(hours[..., None], start, axis=-2)
    if convention == "code":
        start = jnp.maximum(_last_step(mask), 0)
        return (jnp.arange(mask.shape[-2])[:, None] - start + 1).astype(hours.dtype)
    raise ValueError(f"a gap convention is 'paper' or 'code', not {convention!r}")


def reverse_hours(hours: Float[Array, "*n T"]) -> Float[Array, "*n T"]:
    """Times of the reversed series, s'_t = s_{T-1} - s_{T-1-t}: hours before the end, increasing
    from 0.

    The gaps of a backward pass follow from these and the reversed mask. Deviates from BRITS's code,
    which computes
    them from a mask reversed twice, and so gets the gaps of the forward pass.
    """
    return hours[..., -1:] - jnp.flip(hours, axis=-1)


def last_observed(
    values: Float[Array, "*n T D"], mask: Bool[Array, "*n T D"]
) -> Float[Array, "*n T D"]:
    """The most recent value observed strictly before each step, 0 where there is none (CSAI's
    last_obs).
    """
    step = _last_step_before(mask)
    recent = jnp.take_along_axis(values, jnp.maximum(step, 0), axis=-2)
    return jnp.where(step >= 0, recent, 0)


def _last_step(mask: Bool[Array, "*n T D"]) -> Int[Array, "*n T D"]:
    """The last observed step up to and including each step, -1 where there is none."""
    steps = jnp.arange(mask.shape[-2])[:, None]
    return jax.lax.cummax(jnp.where(mask, steps, -1), axis=mask.ndim - 2)


def _last_step_before(mask: Bool[Array, "*n T D"]) -> Int[Array, "*n T D"]:
    """The last observed step strictly before each step, -1 where there is none."""
    first = jnp.full_like(mask[..., :1, :], -1, dtype=int)
    return jnp.concatenate([first, _last_step(mask)[..., :-1, :]], axis=-2)
