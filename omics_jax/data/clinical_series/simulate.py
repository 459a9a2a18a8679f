"""Simulated intensive-care stays with a known truth, in the layout of the PhysioNet 2012 reader.

Latent organ failures drift and fluctuate (AR(1)), vital signs and laboratory values read them out,
sicker patients are measured more often, and level and slope of the failures decide who dies. Left
out are treatments, discharge before the last hour, and values that are capped, rounded or mistyped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from omics_jax.data.clinical_series.simulated_features import feature_names, feature_numbers
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.simulation.arguments import (
    argument_error,
    check_cells,
    check_levels,
    check_shares,
    check_sizes,
)

# A failure's variance over patients and hours is about 1. Its parts: the patient's level, slope and
# AR(1) course.
LEVEL, SLOPE, COURSE = 0.5, 0.2, 0.3
HOURLY_CORRELATION = 0.9

# Log-odds of death per s.d. of level, slope and age.
LEVEL_EFFECT, SLOPE_EFFECT, AGE_EFFECT = 1.5, 1.0, 0.4
# Log-odds of death and share of patients by unit: coronary, cardiac surgery, medical, surgical.
UNIT_EFFECT = np.array([0.0, -0.8, 0.3, 0.0])
UNIT_SHARE = np.array([0.15, 0.21, 0.36, 0.28])
AGE_MEAN, AGE_SPREAD = 65, 17
SHARE_OF_MEN = 0.56
HEIGHT_MISSING, WEIGHT_MISSING = 0.4, 0.08

# Each part draws from its own stream, so asking for more of one leaves the others as they were.
_STREAMS = "level slope course loadings noise observed empty static recorded death".split()

Streams = Mapping[str, np.random.Generator]


@dataclass(frozen=True)
class IcuTruth:
    """What the simulator knows about the patients of its dataset.

    Attributes:
      values: what a measurement in every cell reads, measured or not, in the features' units.
      noise_free: the same without measurement noise, median exp(spread loadings z).
      latent: organ failures z, of variance about 1; larger is sicker.
      loadings: of the features on the failures, rows of unit length.
      risk: probability of death.
      rates: expected share of measured cells, feature by feature, in patients that are not empty.
      auroc_ceiling: expected AUROC of the risk itself over draws of the deaths.
    """

    values: Float[np.ndarray, "n T D"]
    noise_free: Float[np.ndarray, "n T D"]
    latent: Float[np.ndarray, "n T K"]
    loadings: Float[np.ndarray, "D K"]
    risk: Float[np.ndarray, " n"]
    rates: Float[np.ndarray, " D"]
    auroc_ceiling: float


class _Failures(NamedTuple):
    """Organ failures, and the patients' levels and slopes in them."""

    z: Float[np.ndarray, "n T K"]
    level: Float[np.ndarray, "n K"]
    slope: Float[np.ndarray, "n K"]


class _Readings(NamedTuple):
    """What a measurement in every cell reads, see `IcuTruth`, and how often it is made."""

    values: Float[np.ndarray, "n T D"]
    noise_free: Float[np.ndarray, "n T D"]
    loadings: Float[np.ndarray, "D K"]
    nominal_rates: Float[np.ndarray, " D"]


def simulate_icu(
    *,
    patients: int = 800,
    steps: int = 48,
    features: int = 12,
    latent: int = 3,
    prevalence: float = 0.14,
    noise: float = 0.4,
    informative: float = 1.0,
    missing: float = 0.8,
    static: bool = True,
    empty: int = 2,
    seed: int = 0,
) -> tuple[Dataset, IcuTruth]:
    """Draw the first hours of intensive-care stays, and who died in hospital.

    Args:
      patients, steps, features, latent: numbers of patients, hours, measured features and organ
        failures.
      prevalence: mean probability of death, which sets the intercept of the risk.
      noise: s.d. of a measurement's noise relative to that of the feature's signal (of logarithms).
      informative: log-odds of measuring a rare feature per s.d. of severity, the mean failure at
        that hour; those of frequent features change by less. At 0 the mask is uninformative.
      missing: expected share of unmeasured cells in patients that are not empty; it shifts the
        log-odds of all rates by the same amount.
      static: give the descriptors (age, gender, height, weight, type of unit), on which the risk
        depends either way.
      empty: number of patients without any measurement.
      seed: non-negative; the same arguments give the same bits.

    Returns:
      The dataset (modalities "series" (n, T, D), "hours" (n, T) and "static" (n, S); target
      "death") and its truth.

    Raises:
      UserError: a size below its minimum, more empty patients than patients, a negative or
        non-finite level, `prevalence` outside (0, 1), `missing` outside [0, 1).
    """
    _check_sizes(patients, steps, features, latent, empty, seed)
    _check_levels(prevalence, noise, informative, missing)
    rng = {name: np.random.default_rng([seed, index]) for index, name in enumerate(_STREAMS)}
    failures = _draw_failures(rng, patients, steps, latent)
    readings = _draw_readings(rng, failures.z, features, noise)
    severity = _mean_failure(failures.z)
    rates = _measuring_rates(readings.nominal_rates, severity, informative, missing)
    mask = rng["observed"].random(rates.shape) < rates
    mask[rng["empty"].permutation(patients)[:empty]] = False
    descriptors = _draw_descriptors(rng["static"], rng["recorded"], patients)
    risk = _risk(failures, descriptors, prevalence)
    death = rng["death"].random(patients) < risk
    series = _series(readings.values, mask, feature_names(features))
    dataset = _assemble(series, death, descriptors if static else None, empty)
    return dataset, _truth(failures, readings, rates, risk)


def expected_auroc(risk: Float[np.ndarray, " n"]) -> float:
    """AUROC of the true risks p, in expectation over the deaths.

    The sum of p_i (1 - p_j) over p_i > p_j, divided by that over i != j. Ties count one half; NaN
    for fewer than two patients.
    """
    if len(risk) < 2:
        return math.nan
    ordered = np.sort(risk)
    # survived[k]: expected survivors among the k patients of lowest risk.
    survived = np.concatenate([[0.0], np.cumsum(1 - ordered)])
    below = survived[np.searchsorted(ordered, ordered, "left")]
    up_to = survived[np.searchsorted(ordered, ordered, "right")]
    with_itself = ordered * (1 - ordered)
    concordant = ordered @ (below + up_to) / 2 - with_itself.sum() / 2
    pairs = ordered.sum() * survived[-1] - with_itself.sum()
    return float(concordant / pairs)


def _check_sizes(patients, steps, features, latent, empty, seed):
    check_sizes(1, {"patients": patients, "steps": steps, "features": features, "latent": latent})
    check_sizes(0, {"empty": empty, "seed": seed})
    check_cells(patients * steps * (features + latent))
    if empty > patients:
        raise argument_error("empty", f"{empty} of {patients} patients", f"give {patients} or less")


def _check_levels(prevalence: float, noise: float, informative: float, missing: float):
    check_levels({"noise": noise, "informative": informative})
    check_shares({"missing": missing})
    if not 0 < prevalence < 1:
        raise argument_error("prevalence", prevalence, "give a fraction between 0 and 1")


def _draw_failures(rng: Streams, patients: int, steps: int, latent: int) -> _Failures:
    """Organ failures z_t = level + slope t + course_t, the course a stationary AR(1)."""
    level = rng["level"].standard_normal((patients, latent))
    slope = rng["slope"].standard_normal((patients, latent))
    course = _draw_course(rng["course"], (patients, steps, latent))
    time = np.linspace(-1, 1, steps) if steps > 1 else np.zeros(1)
    # The mean square of `time` is about 1/3.
    drift = slope[:, None] * time[:, None] * math.sqrt(3)
    level_part = math.sqrt(LEVEL) * level[:, None]
    z = level_part + math.sqrt(SLOPE) * drift + math.sqrt(COURSE) * course
    return _Failures(z, level, slope)


def _draw_course(
    rng: np.random.Generator, shape: tuple[int, int, int]
) -> Float[np.ndarray, "n T K"]:
    """A stationary AR(1) of variance 1."""
    shocks = rng.standard_normal(shape)
    shock_size = math.sqrt(1 - HOURLY_CORRELATION**2)
    course = shocks.copy()
    for t in range(1, shape[1]):
        course[:, t] = HOURLY_CORRELATION * course[:, t - 1] + shock_size * shocks[:, t]
    return course


def _draw_readings(
    rng: Streams, z: Float[np.ndarray, "n T K"], features: int, noise: float
) -> _Readings:
    """What every feature reads at every hour, measured or not."""
    medians, spreads, signs, nominal_rates = feature_numbers(features)
    loadings = _draw_loadings(rng["loadings"], signs, z.shape[-1])
    signal = z @ loadings.T
    measured = signal + noise * rng["noise"].standard_normal(signal.shape)
    return _Readings(
        values=medians * np.exp(spreads * measured),
        noise_free=medians * np.exp(spreads * signal),
        loadings=loadings,
        nominal_rates=nominal_rates,
    )


def _draw_loadings(
    rng: np.random.Generator, signs: Float[np.ndarray, " D"], latent: int
) -> Float[np.ndarray, "D K"]:
    """Every feature reads mostly one failure, in turn, and a little of the others, in its sign."""
    features = np.arange(len(signs))
    loadings = rng.uniform(0, 0.5, (len(signs), latent))
    loadings[features, features % latent] += 1
    lengths = np.linalg.norm(loadings, axis=1, keepdims=True)
    return signs[:, None] * loadings / lengths


def _mean_failure(z: Float[np.ndarray, "*n K"]) -> Float[np.ndarray, "*n"]:
    """The failures' mean, scaled to the variance of one of them."""
    n_failures = z.shape[-1]
    return z.sum(axis=-1) / math.sqrt(n_failures)


def _measuring_rates(
    nominal: Float[np.ndarray, " D"],
    severity: Float[np.ndarray, "n T"],
    informative: float,
    missing: float,
) -> Float[np.ndarray, "n T D"]:
    """The probability that a cell is measured, 1 - missing on average."""
    nominal_log_odds = np.log(nominal / (1 - nominal))
    log_odds = nominal_log_odds + informative * severity[..., None] * (1 - nominal)
    if missing == 0:
        return np.ones_like(log_odds)
    return _shift_to_mean(log_odds, 1 - missing)


def _shift_to_mean(log_odds: Float[np.ndarray, "*n"], mean: float) -> Float[np.ndarray, "*n"]:
    """Probabilities of the log-odds, all shifted by the amount that gives them this mean."""
    from scipy.optimize import brentq
    from scipy.special import expit

    def excess(shift: float):
        return expit(log_odds + shift).mean() - mean

    centre = math.log(mean / (1 - mean))
    low = centre - log_odds.max() - 1
    high = centre - log_odds.min() + 1
    return expit(log_odds + brentq(excess, low, high))


def _draw_descriptors(
    rng: np.random.Generator, recorded: np.random.Generator, patients: int
) -> pd.DataFrame:
    """Age (years), Gender (1 = male), Height (cm), Weight (kg) and the type of unit as 0 or 1.

    NaN where it was not recorded.
    """
    age, build, bulk = rng.standard_normal((patients, 3)).T
    gender_draw, unit_draw = rng.random((patients, 2)).T
    is_man = gender_draw < SHARE_OF_MEN
    height = np.where(is_man, 176.0, 162.0) + 7.5 * build
    weight = 26.5 * (height / 100) ** 2 * np.exp(0.22 * bulk)
    unit = np.searchsorted(np.cumsum(UNIT_SHARE), unit_draw, side="right")
    unit = np.minimum(unit, len(UNIT_SHARE) - 1)
    height_draw, weight_draw = recorded.random((patients, 2)).T
    columns = {
        "Age": np.clip(AGE_MEAN + AGE_SPREAD * age, 16, 90).round(),
        "Gender": is_man.astype(float),
        "Height": np.where(height_draw < HEIGHT_MISSING, np.nan, height.round(1)),
        "Weight": np.where(weight_draw < WEIGHT_MISSING, np.nan, weight.round(1)),
    }
    for k in range(len(UNIT_SHARE)):
        columns[f"ICUType={k + 1}"] = (unit == k).astype(float)
    return pd.DataFrame(columns)


def _risk(
    failures: _Failures, descriptors: pd.DataFrame, prevalence: float
) -> Float[np.ndarray, " n"]:
    """The probability of death."""
    level, slope = _mean_failure(failures.level), _mean_failure(failures.slope)
    age = (descriptors["Age"].to_numpy() - AGE_MEAN) / AGE_SPREAD
    units = descriptors.filter(like="ICUType=").to_numpy()
    failure_effects = LEVEL_EFFECT * level + SLOPE_EFFECT * slope
    log_odds = failure_effects + AGE_EFFECT * age + units @ UNIT_EFFECT
    return _shift_to_mean(log_odds, prevalence)


def _truth(
    failures: _Failures,
    readings: _Readings,
    rates: Float[np.ndarray, "n T D"],
    risk: Float[np.ndarray, " n"],
) -> IcuTruth:
    return IcuTruth(
        values=readings.values,
        noise_free=readings.noise_free,
        latent=failures.z,
        loadings=readings.loadings,
        risk=risk,
        rates=rates.mean(axis=(0, 1)),
        auroc_ceiling=expected_auroc(risk),
    )


def _series(
    values: Float[np.ndarray, "n T D"], mask: Bool[np.ndarray, "n T D"], names: np.ndarray
) -> Modality:
    return Modality(np.where(mask, values, 0).astype(np.float32), mask, names)


def _assemble(
    series: Modality,
    death: Bool[np.ndarray, " n"],
    descriptors: pd.DataFrame | None,
    empty: int,
) -> Dataset:
    patients, steps, _ = series.values.shape
    digits = max(4, len(str(patients)))
    ids = np.array([f"P{number:0{digits}d}" for number in range(1, patients + 1)])
    hours = np.tile(np.arange(steps, dtype=np.float32), (patients, 1))
    hour_names = np.arange(steps).astype(str)
    modalities = {
        "series": series,
        "hours": Modality(hours, np.ones_like(hours, bool), hour_names),
    }
    if descriptors is not None:
        modalities["static"] = Modality(
            values=descriptors.fillna(0).to_numpy(np.float32),
            mask=descriptors.notna().to_numpy(),
            features=descriptors.columns.to_numpy(dtype=str),
        )
    is_known = np.ones(patients, bool)
    return Dataset(
        ids=ids,
        groups=ids,
        modalities=modalities,
        table=pd.DataFrame(index=pd.Index(ids, name="id")),
        targets={"death": (death.astype(np.float32), is_known)},
        notes=(
            "simulated intensive-care stays with a known truth",
            f"patients without any measurement: {empty}",
        ),
    )
