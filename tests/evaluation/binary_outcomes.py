"""Rows that the tests of classification measures and of bootstraps share."""

import numpy as np


def patients(n=200, levels=None, seed=0):
    """Probabilities (n,), on a grid of `levels` if given, and labels (n,) drawn from less extreme
    ones.
    """
    random = np.random.default_rng(seed)
    logit = random.normal(-1.0, 1.5, n)
    probability = 1 / (1 + np.exp(-logit))
    label = random.random(n) < 1 / (1 + np.exp(-(0.4 + 0.7 * logit)))
    return (probability if levels is None else np.round(probability * levels) / levels), label
