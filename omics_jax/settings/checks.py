"""What the settings of a config may be: for every dotted key a rule on its type and range, as data.

    {"model.latent": whole(1), "*.dropout": rate(), "model.encoder": several(whole(1), 1)}

A rule takes a value and says what to give instead, "" where the value is allowed. A setting without
a rule is checked by the type of its value. Left out: checks that compare settings with each other
or with the data, which are in the reader or the system.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from omics_jax.errors import UserError

Rule = Callable[[Any], str]
Real = float | int
LARGEST = 2**31 - 1  # of a whole number without a limit of its own
LONGEST_TEXT = 100_000  # characters
MOST_UNITS = 1_000_000  # of a layer, of a batch, of epochs
_SHOWN = 60  # characters of a value in a message


def whole(least: int = 0, most: int = LARGEST) -> Rule:
    """A whole number from `least` to `most`."""

    def rule(value: Any) -> str:
        if not isinstance(value, int) or isinstance(value, bool):
            return f"give a whole number of {least} or more"
        return _outside(value, least, most)

    return rule


def number(least: Real = -math.inf, most: Real = math.inf) -> Rule:
    """A finite number from `least` to `most`."""

    def rule(value: Any) -> str:
        if not _is_number(value):
            lower = "" if least == -math.inf else f" of {least:g} or more"
            return f"give a finite number{lower}"
        return _outside(value, least, most)

    return rule


def positive(most: Real = math.inf) -> Rule:
    """A finite number above 0."""

    def rule(value: Any) -> str:
        if not _is_number(value) or value <= 0:
            return "give a positive number"
        return _outside(value, 0, most)

    return rule


def rate() -> Rule:
    """A rate of dropout, of hidden or missing values: from 0 to below 1."""

    def rule(value: Any) -> str:
        if _is_number(value) and 0 <= value < 1:
            return ""
        return "give a rate of 0 or more and below 1"

    return rule


def text() -> Rule:
    """A text; "" is allowed."""

    def rule(value: Any) -> str:
        if not isinstance(value, str):
            return "give a text"
        if len(value) > LONGEST_TEXT:
            return f"give a text of {LONGEST_TEXT:,} characters at most"
        return ""

    return rule


def flag() -> Rule:
    """True or False."""
    return lambda value: "" if isinstance(value, bool) else "give True or False"


def choice(*words: str) -> Rule:
    """One of the words."""
    shown = ", ".join(word or repr(word) for word in words)

    def rule(value: Any) -> str:
        allowed = isinstance(value, str) and value in words
        return "" if allowed else f"choose one of {shown}"

    return rule


def one_of(*numbers: Real) -> Rule:
    """One of the numbers."""
    shown = ", ".join(map(str, numbers))

    def rule(value: Any) -> str:
        allowed = _is_number(value) and value in numbers
        return "" if allowed else f"choose one of {shown}"

    return rule


def choices(*words: str, least: int = 1) -> Rule:
    """A tuple of some of the words; with `least` 0 it may be empty."""
    shown = ", ".join(words)

    def rule(value: Any) -> str:
        are_known = _is_tuple(value) and all(item in words for item in value)
        return "" if are_known and len(value) >= least else f"give one or more of {shown}"

    return rule


def several(of: Rule, noun: str, example: str, least: int = 0) -> Rule:
    """A tuple of values that each follow the rule `of`.

    noun, example: what they are, and such a tuple in words.
    """

    def rule(value: Any) -> str:
        if not _is_tuple(value):
            return f"give {noun}, as {example}"
        if len(value) < least:
            return f"give one or more {noun}, as {example}"
        complaint = next(filter(None, map(of, value)), "")
        return complaint and f"{complaint} for each, as {example}"

    return rule


def names() -> Rule:
    """A tuple of names; it may be empty."""
    return several(text(), "names", "('a', 'b')")


def words() -> Rule:
    """A tuple of words and numbers; it may be empty."""

    def word(value: Any) -> str:
        return "" if _is_number(value) else text()(value)

    return several(word, "words and numbers", "(-999, 'unmeasured')")


def widths(least: int = 0) -> Rule:
    """A tuple of the sizes of layers."""
    return several(whole(1, MOST_UNITS), "widths", "(64, 32)", least)


def check_values(config: Any, rules: Mapping[str, Rule]) -> None:
    """Refuses the first setting that breaks its rule.

    rules: dotted key -> rule. A key may be a pattern such as "*.dropout"; a key without patterns
      comes first, then the patterns in their order.

    Raises:
      UserError: the message names the key, its value and what to give instead.
    """
    for key, value in leaves(config):
        complaint = _rule_of(key, value, rules)(value)
        if complaint:
            shown = repr(value)
            if len(shown) > _SHOWN:
                shown = f"{shown[:_SHOWN]}..."
            raise UserError(f"config.{key} is {shown}; {complaint}")


def check_present(config: Any, rules: Mapping[str, Rule]) -> None:
    """Refuses a config without one of the settings that have a rule; patterns name none.

    Raises:
      UserError: the message names the first that is missing.
    """
    present = {key for key, _ in leaves(config)}
    missing = [key for key in rules if "*" not in key and key not in present]
    if missing:
        raise UserError(
            f"config.{missing[0]} is missing; give it the value that it has in the system's file "
            "in configs/"
        )


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted key and the value of every setting of a config, in the order of the config."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if hasattr(value, "items"):
            yield from leaves(value, f"{key}.")
        else:
            yield key, value


def _rule_of(key: str, value: Any, rules: Mapping[str, Rule]) -> Rule:
    if key in rules:
        return rules[key]
    matches = (rule for pattern, rule in rules.items() if fnmatchcase(key, pattern))
    return next(matches, _by_type)


def _by_type(value: Any) -> str:
    """The rule of a setting that has none: its number is finite, its text not endless."""
    if isinstance(value, str):
        return _TEXT(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _WHOLE(value)
    return _NUMBER(value) if isinstance(value, float) else ""


def _outside(value: Real, least: Real, most: Real) -> str:
    """What to give instead of a number outside its range; "" inside."""
    if value < least:
        return f"give {least:g} or more"
    return f"give {most:,} or less" if value > most else ""


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and abs(value) < math.inf  # a comparison, because an int may exceed all floats


def _is_tuple(value: Any) -> bool:
    return isinstance(value, tuple | list)


_TEXT, _WHOLE, _NUMBER = text(), whole(-LARGEST), number()
