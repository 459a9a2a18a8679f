"""Parsing of settings that are structured text, such as "rna=a.csv, mirna=b.csv"."""

from __future__ import annotations

from omics_jax.errors import UserError


def parse_pairs(text: str, setting: str) -> dict[str, str]:
    """The pairs of a text such as "rna=a.csv, mirna=b.csv"; none for "".

    Raises:
      UserError: a part without a name or value, or a name that occurs twice.
    """
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise UserError(
                f"{setting} has {part!r}; write name=value, several separated by commas"
            )
        if name in pairs:
            raise UserError(f"{setting} names {name!r} twice; give it once")
        pairs[name] = value
    return pairs


def parse_number(text: str, setting: str) -> float:
    """The number that a text represents.

    Raises:
      UserError: the text is not a number.
    """
    try:
        return float(text)
    except ValueError:
        raise UserError(f"config.{setting} is {text!r}; give a number") from None
