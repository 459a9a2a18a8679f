"""Simulated outcomes of patients: cancer type, age and survival, as they depend on shared factors.

Each target reads half of the factors. Times to death are Weibull with proportional hazards;
censoring is independent of the patient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

# At signal 1, per s.d. of its score: log-odds of a type, log-hazard (and that of a product), age
# over its own scatter.
TYPE_EFFECT, HAZARD_EFFECT, INTERACTION_EFFECT, AGE_EFFECT = 4.0, 1.2, 0.7, 1.0
AGE_MEAN, AGE_SPREAD, AGE_RANGE = 60.0, 12.0, (15.0, 100.0)
# Weibull times in days; the scale of the censoring times follows from the wanted share.
SURVIVAL_SCALE, SURVIVAL_SHAPE, CENSORING_SHAPE = 1500.0, 1.2, 1.5

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Stream = Callable[..., np.random.Generator]
Factors = Float[np.ndarray, "n K"]
PerPatient = Float[np.ndarray, " n"]
Flags = Bool[np.ndarray, " n"]
Directions = dict[str, Float[np.ndarray, "K ..."]]


@dataclass(frozen=True)
class Outcomes:
    """Type, age, follow-up and death of n patients, and what they were drawn from.

    Attributes:
      directions: target ("type", "age", "OS") -> what it reads of the factors.
      class_probability: of every type.
      types: the codes drawn from it.
      expected_age, age: in years.
      risk: log-hazard relative to the baseline.
      days: of follow-up, whole numbers from 1 on.
      event: whether death ends them.
    """

    directions: Directions
    class_probability: Float[np.ndarray, "n C"]
    types: Int[np.ndarray, " n"]
    expected_age: PerPatient
    age: PerPatient
    risk: PerPatient
    days: PerPatient
    event: Flags


def draw_outcomes(
    stream: Stream, z: Factors, classes: int, censored: float, signal: float
) -> Outcomes:
    """Draws what became of patients with these factors.

    Args:
      stream: part -> its random stream.
      z: factors, N(0, I).
      classes: number of types.
      censored: share of patients whose death is not observed.
      signal: how strongly the outcomes depend on z.
    """
    from scipy.special import softmax

    latent = z.shape[1]
    directions = _draw_directions(stream("directions"), latent, classes)
    for name in directions:
        directions[name] = signal * directions[name]
    type_log_odds = TYPE_EFFECT * z @ directions["type"]
    probability = softmax(type_log_odds, axis=1)
    types = draw_types(stream("type"), probability)
    age_score = AGE_EFFECT * z @ directions["age"]
    expected_age, age = _draw_ages(stream("age"), age_score, AGE_EFFECT * signal)
    interaction = _product_of_factors(z, directions["OS"])
    main_effect = HAZARD_EFFECT * z @ directions["OS"]
    risk = main_effect + INTERACTION_EFFECT * signal * interaction
    days, event = draw_survival(stream("survival"), stream("censoring"), risk, censored)
    return Outcomes(directions, probability, types, expected_age, age, risk, days, event)


def class_names(classes: int) -> tuple[str, ...]:
    """From "A" to "Z", then "A1" and so on."""
    names = []
    for c in range(classes):
        suffix = str(c // 26) if c >= 26 else ""
        names.append(_LETTERS[c % 26] + suffix)
    return tuple(names)


def concordance(risk: PerPatient, times: PerPatient, event: Flags) -> float:
    """Harrell's C: share of comparable pairs in which who died first had the higher risk.

    Equal risks count one half. A pair is comparable if the earlier of the two died; at equal times
    a death precedes a censoring. NaN without any comparable pair. One pass over all patients per
    death, O(n^2).
    """
    pairs = concordant = 0.0
    for i in np.flatnonzero(event):
        is_later = times > times[i]
        is_later |= (times == times[i]) & ~event
        later_risk = risk[is_later]
        n_lower = (later_risk < risk[i]).sum()
        n_equal = (later_risk == risk[i]).sum()
        pairs += len(later_risk)
        concordant += n_lower + 0.5 * n_equal
    if not pairs:
        return math.nan
    return float(concordant / pairs)


def factors_read(direction: Float[np.ndarray, "K ..."]) -> Int[np.ndarray, " r"]:
    """The factors that a target depends on."""
    is_read = direction.reshape(len(direction), -1).any(axis=1)
    return np.flatnonzero(is_read)


def _draw_directions(rng: np.random.Generator, latent: int, classes: int) -> Directions:
    """What each target reads: half of the factors, overlapping with the next target's half."""
    half = (latent + 1) // 2
    # A piece of a rotation keeps the types apart: orthogonal directions, or a tight frame if they
    # are too many.
    size = max(half, classes)
    rotation, _ = np.linalg.qr(rng.standard_normal((size, size)))
    piece = rotation[:half, :classes]
    types = np.zeros((latent, classes))
    types[:half] = piece * math.sqrt(classes) / np.linalg.norm(piece)
    directions = {"type": types}
    for name, first in (("age", latent // 4), ("OS", latent // 2)):
        factors = (np.arange(half) + first) % latent
        magnitude = rng.uniform(0.5, 1, half)
        weight = magnitude * rng.choice([-1.0, 1.0], half)
        directions[name] = np.zeros(latent)
        directions[name][factors] = weight / np.linalg.norm(weight)
    return directions


def draw_types(
    rng: np.random.Generator, probability: Float[np.ndarray, "n C"]
) -> Int[np.ndarray, " n"]:
    up_to = probability.cumsum(axis=1)
    draws = rng.random((len(probability), 1))
    return (draws >= up_to[:, :-1]).sum(axis=1)


def _draw_ages(
    rng: np.random.Generator, score: PerPatient, sd: float
) -> tuple[PerPatient, PerPatient]:
    """Expected and actual age: mean + spread (score + e) / sqrt(1 + sd^2), e ~ N(0, 1).

    sd: of the score.
    """
    unit = AGE_SPREAD / math.sqrt(1 + sd**2)
    expected = AGE_MEAN + unit * score
    age = expected + unit * rng.standard_normal(len(score))
    return expected, np.clip(age, *AGE_RANGE)


def _product_of_factors(z: Factors, direction: Float[np.ndarray, " K"]) -> PerPatient:
    """Of the first and the last factor that the direction reads; 0 if it does not read two."""
    factors = np.flatnonzero(direction)
    if len(factors) < 2:
        return np.zeros(len(z))
    return z[:, factors[[0, -1]]].prod(axis=1)


def draw_survival(
    rng: np.random.Generator,
    censoring_rng: np.random.Generator,
    risk: PerPatient,
    censored: float,
) -> tuple[PerPatient, Flags]:
    """Days of follow-up, whole numbers from 1 on, and whether death ends them.

    Censoring times are independent of the patient; their common scale is the one that censors the
    wanted share.
    """
    n = len(risk)
    hazard_units = rng.standard_exponential(n) * np.exp(-risk)
    death = SURVIVAL_SCALE * hazard_units ** (1 / SURVIVAL_SHAPE)
    censoring = censoring_rng.standard_exponential(n) ** (1 / CENSORING_SHAPE)
    ratio = death / censoring
    scale = np.quantile(ratio, 1 - censored)
    event = ratio <= scale
    days = np.where(event, death, scale * censoring)
    return np.maximum(np.ceil(days), 1), event
