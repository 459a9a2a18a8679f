"""Optimisers and learning-rate schedules as values of a config.

optimizer = dict(name="adam", learning_rate=dict(name="cosine", peak=1e-3, warmup=50), clip=10.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import optax

from omics_jax.errors import UserError
from omics_jax.training.freezing import unmatched
from omics_jax.training.packing import packed
from omics_jax.training.plateau import Plateau

# Arguments of a learning rate: words with their choices (any word, where there are none), numbers
# above 0 and whole numbers. All others are numbers of 0 or more.
_WORDS = {"mode": ("triangular", "triangular2", "exp_range"), "watch": ()}
_ABOVE_ZERO = (
    "value",
    "peak",
    "rate",
    "every",
    "max",
    "start",
    "gamma",
    "step_size_up",
    "step_size_down",
)
_WHOLE = ("step_size_up", "step_size_down", "patience")
_AT_MOST = (("floor", "peak"), ("base", "max"))  # the first may not exceed the second


def schedule(spec: Any, steps: int) -> optax.Schedule:
    """A learning rate over optimiser steps.

    Args:
      spec: a number (constant), or a mapping with `name` and its arguments:
        constant: value.
        cosine: peak, warmup (steps from 0 to peak), floor; falls to `floor` at `steps`.
        exponential: peak, rate, every (multiplied by `rate` each `every` steps).
        linear: peak, floor; from peak to floor at `steps`.
        cyclic: base, max, step_size_up (steps from base to max), step_size_down (back again; None:
          as many), mode ("triangular"; "triangular2": each cycle half as high; "exp_range": the
          height times gamma^step), gamma.
        plateau: start, factor, patience, floor, watch; here the constant `start`, see `plateau_of`.
        replicate: the constant 1, because the rate is the replicate's own, see `Stage.rate`.
      steps: the most optimiser steps the stage can take.

    Raises:
      UserError: an unknown name, a missing or unknown argument, or a rate that is not positive.
    """
    name, arguments = _checked_rate(spec)
    return _call(name, _SCHEDULES[name], steps, **arguments)


def plateau_of(spec: Any) -> Plateau | None:
    """The `Stage.plateau` of a learning rate, see `schedule`; None unless its name is "plateau".

    The schedule of a plateau is the constant `start`, and the stage's rate starts from 1. The floor
    and torch's least fall of 1e-8 are therefore given relative to `start`.

    Raises:
      UserError: as `schedule`, or a factor or patience out of its range.
    """
    name, arguments = _checked_rate(spec)
    if name != "plateau":
        return None
    return _call(name, _plateau, **arguments)[1]


def optimizer(spec: Any, steps: int, undecayed: Sequence[str] = ()) -> optax.GradientTransformation:
    """Adam or SGD with an optional clip of the global gradient norm and decoupled weight decay.

    Args:
      spec: a mapping of name ("adam" | "sgd"), learning_rate (see `schedule`), and optionally clip
        (norm, 0 = off), weight_decay, and multiple (above 0; of the learning rate, its floor
        included; 1).
      steps: the most optimiser steps the stage can take.
      undecayed: regexes of paths of parameters that the weight decay spares.

    Raises:
      UserError: an unknown or missing name or key, or a value that is not a number of 0 or more.
    """
    arguments = dict(spec)
    for key in ("name", "learning_rate"):
        if key not in arguments:
            raise UserError(f"optimizer has no {key}; give it one")
    name = arguments.pop("name")
    rate = schedule(arguments.pop("learning_rate"), steps)
    clip = arguments.pop("clip", 0.0)
    decay = arguments.pop("weight_decay", 0.0)
    multiple = arguments.pop("multiple", 1.0)
    _check_number("optimizer.clip", clip)
    _check_number("optimizer.weight_decay", decay)
    _check_number("optimizer.multiple", multiple, above_zero=True)
    if arguments:
        raise UserError(
            f"optimizer has the unknown key {sorted(arguments)[0]!r}; known: name, learning_rate, "
            "clip, weight_decay, multiple"
        )
    if name not in _OPTIMIZERS:
        raise UserError(
            f"optimizer.name is {name!r}; choose one of {', '.join(sorted(_OPTIMIZERS))}"
        )
    parts = [optax.clip_by_global_norm(clip)] if clip else []
    parts.append(_OPTIMIZERS[name]())
    scale = optax.scale_by_learning_rate(_times(multiple, rate))
    if decay and undecayed:  # the decay needs the paths, which packed parameters do not have
        some_decay = optax.add_decayed_weights(decay, partial(unmatched, undecayed))
        return optax.chain(packed(optax.chain(*parts)), some_decay, scale)
    if decay:
        parts.append(optax.add_decayed_weights(decay))
    return packed(optax.chain(*parts, scale))


# --- checks ---------------------------------------------------------------------------------------


def _checked_rate(spec: Any) -> tuple[str, dict[str, Any]]:
    """Name and checked arguments of a learning rate."""
    if not hasattr(spec, "items"):  # a ConfigDict is no Mapping
        spec = {"name": "constant", "value": spec}
    arguments = dict(spec)
    name = arguments.pop("name", None)
    if name not in _SCHEDULES:
        raise UserError(
            f"learning_rate.name is {name!r}; choose one of {', '.join(sorted(_SCHEDULES))}"
        )
    for key, value in arguments.items():
        _check_argument(key, value)
    for low, high in _AT_MOST:
        if arguments.get(low, 0) > arguments.get(high, math.inf):
            raise UserError(
                f"learning_rate.{low} is {arguments[low]}, above the {high} {arguments[high]}; "
                "lower it"
            )
    return name, arguments


def _check_argument(key: str, value: Any) -> None:
    if key in _WORDS:
        _check_word(f"learning_rate.{key}", value, _WORDS[key])
        return
    if key == "step_size_down" and value is None:
        return
    _check_number(f"learning_rate.{key}", value, above_zero=key in _ABOVE_ZERO)
    if key in _WHOLE and value != int(value):
        raise UserError(f"learning_rate.{key} is {value}; it must be a whole number")


def _check_number(name: str, value: Any, above_zero: bool = False) -> None:
    """Refuses what is not a finite number of 0 or more (text, NaN), or 0 where it must be above."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and (value > 0 or (value == 0 and not above_zero)):
        return
    allowed = "a positive number" if above_zero else "a number of 0 or more"
    raise UserError(f"{name} is {value!r}; it must be {allowed}")


def _check_word(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuses what is not a word, or none of the choices where there are some."""
    if isinstance(value, str) and value and (not choices or value in choices):
        return
    advice = f"choose one of {', '.join(choices)}" if choices else "name a monitored value"
    raise UserError(f"{name} is {value!r}; {advice}")


def _call(name: str, make: Callable, *positional: Any, **arguments: Any) -> Any:
    try:
        return make(*positional, **arguments)
    except TypeError as error:
        raise UserError(
            f"learning_rate {name!r} does not take these arguments {sorted(arguments)}: {error}"
        ) from None


def _times(multiple: float, rate: optax.Schedule) -> optax.Schedule:
    """The schedule whose rate is so many times as large at every step."""
    return rate if multiple == 1 else lambda step: multiple * rate(step)


# --- the schedules --------------------------------------------------------------------------------


def _cosine(steps: int, peak: float, warmup: int = 0, floor: float = 0.0) -> optax.Schedule:
    start = 0.0 if warmup else peak
    return optax.warmup_cosine_decay_schedule(start, peak, warmup, max(steps, warmup + 1), floor)


def _cyclic(
    steps: int,
    base: float,
    max: float,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
) -> optax.Schedule:
    """torch.optim.lr_scheduler.CyclicLR without its momentum.

    With T = up + down and x = step mod T,
      rate = base + (max - base) * (x / up if x <= up else (T - x) / down) * scale,
    scale being 1 ("triangular"), 1 / 2^floor(step / T) ("triangular2") or gamma^step ("exp_range").
    """
    up, down = step_size_up, step_size_down or step_size_up
    period = up + down

    def scale(step):
        if mode == "triangular":
            return 1.0
        if mode == "triangular2":
            return 0.5 ** (step // period)
        # Not a power of gamma: 0.999 in float32 to the 2000 is 6e-5 off.
        return jnp.exp(step * math.log(gamma))

    def rate(step):
        # Of whole numbers, so that no digit is lost however many cycles have passed.
        x = step % period
        height = jnp.where(x <= up, x / up, (period - x) / down)
        return base + (max - base) * height * scale(step)

    return rate


def _plateau(
    start: float = 1e-3,
    factor: float = 0.2,
    patience: int = 15,
    floor: float = 1e-5,
    watch: str = "validation_loss",
) -> tuple[float, Plateau]:
    if floor > start:
        raise UserError(f"learning_rate.floor is {floor}, above the start {start}; lower it")
    return start, Plateau(watch, factor, patience, floor=floor / start, epsilon=1e-8 / start)


_SCHEDULES = {
    "constant": lambda steps, value: optax.constant_schedule(value),
    "cosine": _cosine,
    "linear": lambda steps, peak, floor=0.0: optax.linear_schedule(peak, floor, steps),
    "cyclic": _cyclic,
    "plateau": lambda steps, **arguments: optax.constant_schedule(_plateau(**arguments)[0]),
    "replicate": lambda steps: optax.constant_schedule(1.0),
    "exponential": lambda steps, peak, rate, every: optax.exponential_decay(peak, every, rate),
}
_OPTIMIZERS = {"adam": optax.scale_by_adam, "sgd": optax.identity}
