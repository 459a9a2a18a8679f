"""Rows that the tests of survival measures share: many ties in time and in risk, and heavy
censoring.
"""

import numpy as np
from sksurv.util import Surv


def tied(n=80, seed=0):
    """(times, events, risk): times 1 to 12, about a third events, seven risks that foretell the
    events a little.
    """
    random = np.random.default_rng(seed)
    risk = random.integers(0, 7, n)
    times = np.clip(np.ceil(random.exponential(10 * np.exp(-0.15 * risk))), 1, 12)
    return times, random.random(n) < 0.35, risk.astype(float)


def training(n=80, seed=100):
    """(times, events) followed a little longer than the rows of `tied`, so that G > 0 wherever
    those need it.
    """
    times, events, _ = tied(n, seed)
    return np.append(times, 13.0), np.append(events, True)


def exponential(n=400, seed=0, censored=True):
    """(times, events, hazard): T_i ~ Exp(hazard_i) under independent censoring of about 40 %, no
    ties.
    """
    random = np.random.default_rng(seed)
    hazard = np.exp(random.normal(-1.0, 0.8, n))
    times, censoring = random.exponential(1 / hazard), random.exponential(5.0, n)
    return (
        (np.minimum(times, censoring), times <= censoring, hazard)
        if censored
        else (times, times > 0, hazard)
    )


def structured(outcome):
    """The pair (times, events) as scikit-survival wants it."""
    return Surv.from_arrays(outcome[1], outcome[0])
