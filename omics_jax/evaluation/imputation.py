"""How close imputed series come to values that were held out: numpy in, float64 numbers out.

`held_out` is True in the cells that were observed, hidden from the imputer and are now scored;
nothing else is ever read. Errors are in the units of the arrays: standardised ones may be pooled
over variables, original ones should be read by variable. Left out: errors on cells nobody observed,
and what an imputation is worth to a classifier.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

Series = Float[np.ndarray, "n T D"]
Cells = Bool[np.ndarray, "n T D"]


def imputation_errors(imputed: Series, truth: Series, held_out: Cells) -> dict[str, float]:
    """{"mae", "rmse", "mre"} over all held-out cells together.

    mean |e|, sqrt(mean e^2) and sum |e| / sum |truth| with e = imputed - truth. All are nan when
    nothing was held out or a held-out cell is not finite on either side, mre also where the
    held-out truth is 0 throughout.
    """
    estimates = imputed[held_out].astype(np.float64)
    values = truth[held_out].astype(np.float64)
    finite = np.isfinite(estimates).all() and np.isfinite(values).all()
    if not values.size or not finite:
        return dict.fromkeys(("mae", "rmse", "mre"), float("nan"))
    error = np.abs(estimates - values)
    mean_square = (error**2).mean()
    size = np.abs(values).sum()
    relative = error.sum() / size if size > 0 else np.nan
    return {
        "mae": float(error.mean()),
        "rmse": float(np.sqrt(mean_square)),
        "mre": float(relative),
    }


def errors_by_variable(
    imputed: Series,
    truth: Series,
    held_out: Cells,
    names: Sequence[str],
) -> list[dict]:
    """One row {"variable", "n", "mae", "rmse", "mre"} per variable, in the order of `names` (D,).

    n counts held-out cells. Raises ValueError when names and variables differ in number.
    """
    if len(names) != held_out.shape[-1]:
        raise ValueError(f"{len(names)} names and {held_out.shape[-1]} variables do not pair")
    rows = []
    for d, name in enumerate(names):
        variable = [array[..., [d]] for array in (imputed, truth, held_out)]
        errors = imputation_errors(*variable)
        count = held_out[..., d].sum()
        rows.append({"variable": str(name), "n": int(count), **errors})
    return rows
