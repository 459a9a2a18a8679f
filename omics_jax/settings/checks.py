"""Checks of the values of a config, by dotted keys such as "model.latent".

A check raises UserError with the key, its value and what to give instead. Left out: checks that
need the data, which are in the reader or the system.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from omics_jax.errors import UserError


def config_value(config: Any, key: str) -> Any:
    """The value of the config under a dotted key."""
    for part in key.split("."):
        config = config[part]
    return config


def check_choices(config: Any, choices: Mapping[str, Collection[Any]]) -> None:
    """Refuses a value that is not among its key's choices.

    A value that is a list must have at least one item, and only choices as items.
    """
    for key, allowed in choices.items():
        value = config_value(config, key)
        words = ", ".join(choice or repr(choice) for choice in allowed)
        if isinstance(value, str):
            if value not in allowed:
                raise UserError(f"config.{key} is {value!r}; choose one of {words}")
        elif not value or not set(value) <= set(allowed):
            raise UserError(f"config.{key} is {tuple(value)}; give one or more of {words}")


def check_minimum(config: Any, minimums: Mapping[str, float | int]) -> None:
    """Refuses NaN and numbers below their key's minimum, also as items of a list."""
    for key, minimum in minimums.items():
        value = config_value(config, key)
        numbers = [value] if isinstance(value, int | float) else value
        if not all(number >= minimum for number in numbers):
            raise UserError(f"config.{key} is {value}; give {minimum} or more")


def check_rates(config: Any, keys: Sequence[str]) -> None:
    """Refuses a rate (of dropout, of hidden values) outside [0, 1)."""
    for key in keys:
        rate = config_value(config, key)
        if not 0 <= rate < 1:
            raise UserError(f"config.{key} is {rate}; give a rate of 0 or more and below 1")
