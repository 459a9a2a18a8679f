"""The table of conformal quantiles: written by a run, and read for its predictions of new rows.

An interval then needs neither the training data nor their outcomes. How the quantiles are computed
is in `evaluation.conformal`.
"""

from __future__ import annotations

QUANTILES = "conformal_quantiles"  # name of the table
# quantile: of the scores of the arm's test rows, inf where there are too few for the level.
COLUMNS = ("arm", "group", "outcome", "level", "quantile")
LEVELS = (0.8, 0.9, 0.95)  # shares of rows whose outcome shall be in its interval or set
