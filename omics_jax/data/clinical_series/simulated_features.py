"""The features of simulated intensive-care stays: names, levels and how often each is measured.

The numbers are near those of PhysioNet 2012. More features than the table has are unnamed
laboratory values.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Shaped

# Name, median, spread (s.d. of its logarithm), sign of the change with sickness, and the share of
# hours in which it is measured (1 % at least). Spreads keep bounded
# scales within their bounds up to three s.d.
FEATURES = (
    ("HR", 87, 0.17, 1, 0.88),
    ("SysABP", 118, 0.16, -1, 0.55),
    ("GCS", 9.5, 0.14, -1, 0.32),
    ("RespRate", 19, 0.20, 1, 0.27),
    ("Temp", 37.1, 0.018, 1, 0.37),
    ("Urine", 70, 0.55, -1, 0.67),
    ("Lactate", 2.2, 0.45, 1, 0.04),
    ("Creatinine", 1.1, 0.45, 1, 0.07),
    ("BUN", 22, 0.45, 1, 0.07),
    ("Platelets", 185, 0.40, -1, 0.07),
    ("WBC", 11.5, 0.35, 1, 0.06),
    ("Bilirubin", 0.9, 0.60, 1, 0.02),
    ("DiasABP", 59, 0.17, -1, 0.55),
    ("MAP", 79, 0.16, -1, 0.54),
    ("NISysABP", 117, 0.15, -1, 0.35),
    ("NIDiasABP", 57, 0.19, -1, 0.35),
    ("NIMAP", 76, 0.16, -1, 0.34),
    ("FiO2", 0.45, 0.22, 1, 0.16),
    ("pH", 7.38, 0.008, -1, 0.12),
    ("PaCO2", 39, 0.17, 1, 0.12),
    ("PaO2", 115, 0.40, -1, 0.12),
    ("HCT", 30.5, 0.13, -1, 0.09),
    ("K", 4.1, 0.12, 1, 0.07),
    ("Glucose", 128, 0.28, 1, 0.07),
    ("Na", 139, 0.03, 1, 0.07),
    ("HCO3", 23, 0.16, -1, 0.07),
    ("Mg", 2.0, 0.15, 1, 0.07),
    ("SaO2", 95, 0.014, -1, 0.04),
    ("AST", 60, 0.80, 1, 0.02),
    ("ALT", 45, 0.80, 1, 0.02),
    ("ALP", 85, 0.45, 1, 0.02),
    ("Albumin", 2.9, 0.20, -1, 0.01),
    ("TroponinT", 0.2, 0.90, 1, 0.01),
    ("TroponinI", 4.0, 0.90, 1, 0.01),
    ("Cholesterol", 150, 0.27, -1, 0.01),
)
# The numbers of all further features, which are named "Lab36" and so on.
_UNNAMED = (50, 0.30, 1, 0.05)


def feature_names(features: int) -> Shaped[np.ndarray, " D"]:
    """The names of that many features: those of the table `FEATURES`, then "Lab36" and so on."""
    named = [name for name, *_ in FEATURES[:features]]
    unnamed = [f"Lab{number}" for number in range(len(FEATURES) + 1, features + 1)]
    return np.array(named + unnamed)


def feature_numbers(features: int) -> tuple[Float64[np.ndarray, " D"], ...]:
    """Medians, spreads, signs and nominal rates."""
    named = [numbers for _, *numbers in FEATURES[:features]]
    unnamed = [_UNNAMED] * (features - len(FEATURES))
    return tuple(np.array(named + unnamed, float).T)
