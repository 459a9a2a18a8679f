"""Networks of genes as computed without outcomes: co-expression, and partial correlation.

The latter is by the graphical lasso (Friedman et al. 2008, by scikit-learn).
"""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float

PLAIN = ("coexpression", "partial_correlation")
_ROUNDING = 1e-6  # of a value in single precision, such as the mean of equal values
Matrix = Float[np.ndarray, "n w"]


def plain_networks(values: Matrix) -> tuple[Float[np.ndarray, "w w"], Float[np.ndarray, "w w"]]:
    """Magnitudes of correlation, and of partial correlation by the graphical lasso.

    The penalty of the lasso is chosen by cross-validation; genes that do not vary beyond rounding
    have 0. Partial correlations are nan where the lasso fails, as it may beside two equal genes.
    """
    from sklearn.covariance import GraphicalLassoCV

    values, w = values.astype(np.float64), values.shape[1]
    correlation, partial = np.zeros((2, w, w))
    varies = np.flatnonzero(np.ptp(values, axis=0) > _ROUNDING * np.abs(values).max(axis=0))
    if len(varies) < 2:
        return correlation, partial
    scaled = values[:, varies] - values[:, varies].mean(axis=0)
    scaled = scaled / scaled.std(axis=0)
    places = np.ix_(varies, varies)
    correlation[places] = np.abs(np.corrcoef(scaled.T))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the penalties that are tried, some fail
            precision = GraphicalLassoCV().fit(scaled).precision_
    except FloatingPointError:  # ill-conditioned
        partial[places] = np.nan
        return correlation, partial
    sd = np.sqrt(np.diag(precision))
    partial[places] = np.abs(precision / np.outer(sd, sd))
    return correlation, partial
