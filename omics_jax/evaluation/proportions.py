"""The 95 % interval of a proportion by Wilson (1927, J. Am. Stat. Assoc. 22:209-212).

Hand-written because scipy's (`scipy.stats.binomtest`) takes one proportion of a whole number of
rows, and under censoring the effective number of rows is not whole.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real

Z_95 = 1.959963984540054  # normal quantile of .975


def wilson_interval(
    rate: Real[np.ndarray, "*bins"],
    size: Real[np.ndarray, "*bins"],
) -> tuple[Float[np.ndarray, "*bins"], Float[np.ndarray, "*bins"]]:
    """(low, high) of proportions `rate`, each observed in `size` > 0 rows.

    (rate + z^2/2n +- z sqrt(rate (1 - rate)/n + z^2/4n^2)) / (1 + z^2/n), clipped to [0, 1].
    """
    shrink = 1 + Z_95**2 / size
    centre = (rate + Z_95**2 / (2 * size)) / shrink
    variance = rate * (1 - rate) / size + Z_95**2 / (4 * size**2)
    half_width = Z_95 * np.sqrt(variance) / shrink
    return np.maximum(centre - half_width, 0.0), np.minimum(centre + half_width, 1.0)
