"""Names of samples and features: that every one is filled in and unique, and where one is."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from omics_jax.data.formats.files import nearest
from omics_jax.errors import UserError

Names = Sequence[str] | np.ndarray


def check_names(
    path: str | os.PathLike,
    kind: str,
    names: Names,
    place: Callable[[int], str],
    unique: bool = True,
) -> None:
    """Refuses an empty name and, if they are to be `unique`, a repeated one.

    Args:
      kind: what is named, such as "sample", for messages.
      place: where the i-th name is in the file, for messages.

    Raises:
      UserError: a name is empty or repeated.
    """
    names = [str(name) for name in names]
    if "" in names:
        empty = place(names.index(""))
        raise UserError(f"{path}: {empty} has no {kind} name; fill it in or remove it")
    repeated = np.flatnonzero(pd.Series(names).duplicated(keep=False)) if unique else []
    if not len(repeated):
        return
    first = repeated[0]
    second = names.index(names[first], first + 1)
    mean = ", or set --config.data.repeated=mean" if kind in ("gene", "feature") else ""
    raise UserError(
        f"{path}: the {kind} {names[first]!r} occurs twice, at {place(first)} and "
        f"{place(second)}; rename or remove one of them{mean}"
    )


def locate_names(
    path: str | os.PathLike, kind: str, names: Shaped[np.ndarray, " n"], requested: Names | None
) -> Int[np.ndarray, " k"]:
    """(k,) indices of the requested names among `names`; None requests all of them, in order.

    Raises:
      UserError: a requested name is missing.
    """
    if requested is None:
        return np.arange(len(names))
    index_of = {str(name): i for i, name in enumerate(names)}
    missing = [str(name) for name in requested if str(name) not in index_of]
    if missing:
        near = nearest(missing[0], index_of)
        question = f"; did you mean {near!r}?" if near else "; correct the name"
        some = ", ".join(repr(str(name)) for name in names[:3])
        raise UserError(
            f"{path} has no {kind} {missing[0]!r}{_and_others(missing[1:])}; its {kind}s are "
            f"called like {some}{question}"
        )
    return np.array([index_of[str(name)] for name in requested], dtype=int)


def _and_others(names: Sequence[str]) -> str:
    return f" and {len(names):,} more of those asked for" if names else ""
