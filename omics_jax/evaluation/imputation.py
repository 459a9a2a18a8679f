"""How near imputed series come to values that were held out: numpy in, numbers out, in float64.

`held` is True in the cells that were observed, hidden from the imputer and are now scored; nothing
else is ever read. Errors are in the units of the arrays given: standardised ones may be pooled over
variables, original ones should be read by variable. Left out: errors on cells nobody observed, and
what an imputation is worth to a classifier.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

Series = Float[np.ndarray, "n T D"]
Cells = Bool[np.ndarray, "n T D"]


def imputation_errors(imputed: Series, truth: Series, held: Cells) -> dict[str, float]:
    """{"mae", "rmse", "mre"} over all held-out cells together: mean |e|, sqrt(mean e^2), sum |e| /
    sum |truth|.

    e = imputed - truth. All are nan when nothing was held out or a held-out cell is not finite on
    either side, mre
    also where the held-out truth is 0 throughout.
    """
    found, known = imputed[held].astype(np.float64), truth[held].astype(np.float64)
    if not known.size or not (np.isfinite(found).all() and np.isfinite(known).all()):
        return dict.fromkeys(("mae", "rmse", "mre"), float("nan"))
    error, size = np.abs(found - known), np.abs(known).sum()
    return {
        "mae": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "mre": float(error.sum() / size) if size > 0 else float("nan"),
    }


def errors_by_variable(
    imputed: Series, truth: Series, held: Cells, names: Sequence[str]
) -> list[dict]:
    """One row {"variable", "n", "mae", "rmse", "mre"} per variable, in the order of `names` (D,); n
    counts held cells.

    Raises ValueError when names and variables differ in number.
    """
    if len(names) != held.shape[-1]:
        raise ValueError(f"{len(names)} names and {held.shape[-1]} variables do not pair")
    return [
        {
            "variable": str(name),
            "n": int(held[..., [d]].sum()),
            **imputation_errors(imputed[..., [d]], truth[..., [d]], held[..., [d]]),
        }
        for d, name in enumerate(names)
    ]
