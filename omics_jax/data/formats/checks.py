"""What every reader asks of its settings and tables: a known choice, a tuple of names, a column.

Each check answers a mistake with one `UserError`, so that all readers word it alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from omics_jax.data.formats.files import nearest
from omics_jax.errors import UserError


def check_choice(setting: str, value, choices: tuple[str, ...]):
    """Refuses a value of `setting` that is not one of `choices`."""
    if value not in choices:
        raise UserError(
            f"--config.data.{setting}={value!r} is unknown; set it to one of {', '.join(choices)}"
        )


def check_name_tuple(setting: str, value):
    """Refuses a single text where `setting` needs a sequence of names."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UserError(
            f"--config.data.{setting}={value!r} must be a tuple of names; write ({value!r},)"
        )


def required_column(
    source: str, table: pd.DataFrame, columns: Mapping[str, str], name: str, setting: str
) -> np.ndarray:
    """(n,) text of the column that a canonical name stands for, or that bears the name itself.

    Args:
      source: the table's file, for messages.
      table: n rows of text columns.
      columns: canonical name -> column of the table, "" where the settings name none.
      name: a canonical name, or a column of the table.
      setting: the setting that needs the column, for messages.

    Raises:
      UserError: the settings name no column, or the table does not have it.
    """
    column = columns.get(name, name)
    if not column:
        raise UserError(
            f"{setting} needs --config.data.columns.{name}, which is empty; set it to one of the "
            f"columns of {source}: {quoted_list(table.columns, 12) or 'none'}"
        )
    if column in table:
        return table[column].to_numpy(dtype=object)
    repeated = [other for other in table.columns if str(other).startswith(f"{column} (column ")]
    if len(repeated) > 1:
        raise UserError(
            f"{source} has the column {column!r} twice ({setting}), and they differ: "
            f"{quoted_list(repeated)}; rename or remove one of them, or name one in this form"
        )
    if not len(table.columns):
        raise UserError(
            f"{source} says nothing about its samples ({setting} needs column {column!r}); name a "
            "table that does with --config.data.conditions"
        )
    near = nearest(column, table.columns)
    mend = f"did you mean {near!r}?" if near else f"it has {quoted_list(table.columns, 12)}"
    raise UserError(f"{source} has no column {column!r} ({setting}); {mend}")


def quoted_list(names: Iterable[str], most: int = 8) -> str:
    """The names as in "'a', 'b', ...", at most `most` of them; "" for none."""
    quoted = [repr(str(name)) for name in names]
    ellipsis = ", ..." if len(quoted) > most else ""
    return ", ".join(quoted[:most]) + ellipsis
