"""Optimisers and learning-rate schedules as values of a config.

optimizer = dict(name="adam", learning_rate=dict(name="cosine", peak=1e-3, warmup=50), clip=10.0)
"""

from __future__ import annotations

import math
from typing import Any

import optax

from omics_jax.errors import UserError


def schedule(spec: Any, steps: int) -> optax.Schedule:
    """A learning rate over optimiser steps.

    Args:
      spec: a number (constant), or a mapping with `name` and its arguments:
        constant: value. cosine: peak, warmup (steps from 0 to peak), floor; falls to `floor` at `steps`.
        exponential: peak, rate, every (multiplied by `rate` each `every` steps).
        linear: peak, floor; from peak to floor at `steps`.
      steps: the most optimiser steps the stage can take.

    Raises:
      UserError: an unknown name, a missing or unknown argument, or a rate that is not positive.
    """
    if not hasattr(spec, "items"):  # a ConfigDict is no Mapping
        spec = {"name": "constant", "value": spec}
    arguments = dict(spec)
    name = arguments.pop("name", None)
    if name not in _SCHEDULES:
        raise UserError(f"learning_rate.name is {name!r}; choose one of {', '.join(sorted(_SCHEDULES))}")
    for key, value in arguments.items():
        _check(f"learning_rate.{key}", value, above_zero=key in ("value", "peak", "rate", "every"))
    if arguments.get("floor", 0) > arguments.get("peak", math.inf):
        raise UserError(f"learning_rate.floor is {arguments['floor']}, above the peak {arguments['peak']}; lower it")
    try:
        return _SCHEDULES[name](steps, **arguments)
    except TypeError as error:
        raise UserError(f"learning_rate {name!r} does not take these arguments {sorted(arguments)}: {error}") from None


def optimizer(spec: Any, steps: int) -> optax.GradientTransformation:
    """Adam or SGD with an optional clip of the global gradient norm and decoupled weight decay.

    Args:
      spec: a mapping of name ("adam" | "sgd"), learning_rate (see `schedule`), and optionally clip (norm, 0 = off)
        and weight_decay.
      steps: the most optimiser steps the stage can take.

    Raises:
      UserError: an unknown or missing name or key, or a value that is not a number of 0 or more.
    """
    arguments = dict(spec)
    for key in ("name", "learning_rate"):
        if key not in arguments:
            raise UserError(f"optimizer has no {key}; give it one")
    name, rate = arguments.pop("name"), schedule(arguments.pop("learning_rate"), steps)
    clip, decay = arguments.pop("clip", 0.0), arguments.pop("weight_decay", 0.0)
    _check("optimizer.clip", clip)
    _check("optimizer.weight_decay", decay)
    if arguments:
        raise UserError(
            f"optimizer has the unknown key {sorted(arguments)[0]!r}; known: name, learning_rate, clip, weight_decay"
        )
    if name not in _OPTIMIZERS:
        raise UserError(f"optimizer.name is {name!r}; choose one of {', '.join(sorted(_OPTIMIZERS))}")
    parts = [optax.clip_by_global_norm(clip)] if clip else []
    parts.append(_OPTIMIZERS[name]())
    if decay:
        parts.append(optax.add_decayed_weights(decay))
    return optax.chain(*parts, optax.scale_by_learning_rate(rate))


def _check(name: str, value: Any, above_zero: bool = False) -> None:
    """Refuses what is not a finite number of 0 or more (text, NaN), or 0 where it must be above."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        wanted = "a positive number" if above_zero else "a number of 0 or more"
        raise UserError(f"{name} is {value!r}; it must be {wanted}")


_OPTIMIZERS = {"adam": optax.scale_by_adam, "sgd": optax.identity}


def _cosine(steps: int, peak: float, warmup: int = 0, floor: float = 0.0) -> optax.Schedule:
    return optax.warmup_cosine_decay_schedule(0.0 if warmup else peak, peak, warmup, max(steps, warmup + 1), floor)


_SCHEDULES = {
    "constant": lambda steps, value: optax.constant_schedule(value),
    "cosine": _cosine,
    "linear": lambda steps, peak, floor=0.0: optax.linear_schedule(peak, floor, steps),
    "exponential": lambda steps, peak, rate, every: optax.exponential_decay(peak, every, rate),
}
