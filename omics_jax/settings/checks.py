"""What is asked of the values of a config, by dotted keys such as "model.latent"."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from omics_jax.errors import UserError


def value(config: Any, key: str) -> Any:
    """What stands in the config under a dotted key."""
    for part in key.split("."):
        config = config[part]
    return config


def check_choices(config: Any, choices: Mapping[str, Collection[Any]]) -> None:
    """Refuses a value that is none of its key's choices, or a list of values that is empty or has
    another.
    """
    for key, allowed in choices.items():
        given = value(config, key)
        words = ", ".join(choice or repr(choice) for choice in allowed)
        if isinstance(given, str):
            if given not in allowed:
                raise UserError(f"config.{key} is {given!r}; choose one of {words}")
        elif not given or not set(given) <= set(allowed):
            raise UserError(f"config.{key} is {tuple(given)}; give one or more of {words}")


def check_least(config: Any, least: Mapping[str, float | int]) -> None:
    """Refuses a number below its key's least (NaN too), or a list with such a number."""
    for key, minimum in least.items():
        given = value(config, key)
        numbers = [given] if isinstance(given, int | float) else given
        if not all(number >= minimum for number in numbers):
            raise UserError(f"config.{key} is {given}; give {minimum} or more")


def check_rates(config: Any, keys: Sequence[str]) -> None:
    """Refuses what is no probability below 1."""
    for key in keys:
        if not 0 <= value(config, key) < 1:
            raise UserError(
                f"config.{key} is {value(config, key)}; give a rate of 0 or more and below 1"
            )
