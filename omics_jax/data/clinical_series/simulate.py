"""Simulated intensive-care stays with a known truth, in the layout that the reader of PhysioNet
2012 produces.

Latent organ failures drift and fluctuate (AR(1)), vital signs and laboratory values read them out,
sicker patients are measured more often, and level and slope of the failures decide who dies. Left
out are treatments, discharge before the last hour, and values that are capped, rounded or mistyped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.errors import UserError

# Name, median, spread (s.d. of its logarithm), sign of the change with sickness, share of hours in
# which it is measured (near that of PhysioNet 2012, 1 % at least). Spreads keep bounded scales
# within their bounds up to three s.d.
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
# What follows the table is unnamed: "Lab36" and so on.
_UNNAMED = (50, 0.30, 1, 0.05)

# A failure's variance over patients and hours is about 1: parts of the patient's level, slope and
# AR(1) course.
LEVEL, SLOPE, COURSE = 0.5, 0.2, 0.3
HOURLY_CORRELATION = 0.9

# Log-odds of death per s.d. of level, slope and age, and by unit: coronary, cardiac surgery,
# medical, surgical.
LEVEL_EFFECT, SLOPE_EFFECT, AGE_EFFECT = 1.5, 1.0, 0.4
UNIT_EFFECT = np.array([0.0, -0.8, 0.3, 0.0])
UNIT_SHARE = np.array([0.15, 0.21, 0.36, 0.28])
HEIGHT_MISSING, WEIGHT_MISSING = 0.4, 0.08

# Each part draws from a stream of its own, so that asking for more of one leaves the others as they
# were.
_STREAMS = (
    "level",
    "slope",
    "course",
    "loadings",
    "noise",
    "observed",
    "empty",
    "static",
    "recorded",
    "death",
)


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
    """Draw the first hours of intensive-care stays and who died in hospital.

    Args:
      patients, steps, features, latent: numbers of patients, hours, measured features and organ
        failures.
      prevalence: mean probability of death, which sets the intercept of the risk.
      noise: s.d. of a measurement's noise relative to that of the feature's signal (both of the
      logarithm). informative: log-odds of measuring a rare feature per s.d. of severity, the mean
      failure at that hour; frequent
        ones change by less. At 0 what is measured says nothing about the patient.
      missing: expected share of unmeasured cells in patients that are not empty; it shifts all
      rates' log-odds alike. static: give the descriptors (age, gender, height, weight, type of
      unit); the risk depends on them either way. empty: number of patients without any measurement.
      seed: non-negative; the same arguments give the same bits.

    Returns:
      The dataset (modalities "series" (n, T, D), "hours" (n, T) and "static" (n, S); target
      "death") and its truth.

    Raises:
      UserError: a size below its minimum, more empty patients than patients, a negative or
        non-finite level, `prevalence` outside (0, 1), `missing` outside [0, 1).
    """
    _check(patients, steps, features, latent, prevalence, noise, informative, missing, empty, seed)
    rng = {name: np.random.default_rng([seed, index]) for index, name in enumerate(_STREAMS)}
    medians, spreads, signs, nominal = _feature_columns(features)
    level, slope = (rng[name].standard_normal((patients, latent)) for name in ("level", "slope"))
    z = _failures(rng["course"], level, slope, steps)
    loadings = _draw_loadings(rng["loadings"], signs, latent)
    signal = z @ loadings.T
    measured = signal + noise * rng["noise"].standard_normal(signal.shape)
    probability = _observation_probability(nominal, _mean_failure(z), informative, missing)
    mask = rng["observed"].random(signal.shape) < probability
    mask[rng["empty"].permutation(patients)[:empty]] = False
    descriptors = _draw_descriptors(rng["static"], rng["recorded"], patients)
    risk = _risk(_mean_failure(level), _mean_failure(slope), descriptors, prevalence)
    death = rng["death"].random(patients) < risk
    truth = IcuTruth(
        values=medians * np.exp(spreads * measured),
        noise_free=medians * np.exp(spreads * signal),
        latent=z,
        loadings=loadings,
        risk=risk,
        rates=probability.mean(axis=(0, 1)),
        auroc_ceiling=expected_auroc(risk),
    )
    names = feature_names(features)
    return _assemble(
        names, truth.values, mask, death, descriptors if static else None, empty
    ), truth


def feature_names(features: int) -> np.ndarray:
    """The names of that many features: those of the table `FEATURES`, then "Lab36" and so on."""
    unnamed = [f"Lab{number}" for number in range(len(FEATURES) + 1, features + 1)]
    return np.array([name for name, *_ in FEATURES[:features]] + unnamed)


def expected_auroc(risk: Float[np.ndarray, " n"]) -> float:
    """AUROC of the true risks p, in expectation over the deaths: sum of p_i (1 - p_j) over p_i >
    p_j / over i != j.

    Ties count one half; NaN for fewer than two patients.
    """
    ordered = np.sort(risk)
    survived = np.concatenate([[0.0], np.cumsum(1 - ordered)])
    below, up_to = (survived[np.searchsorted(ordered, ordered, side)] for side in ("left", "right"))
    own = ordered * (1 - ordered)
    pairs = ordered.sum() * survived[-1] - own.sum()
    return (
        float((ordered @ (below + up_to) / 2 - own.sum() / 2) / pairs)
        if len(risk) > 1
        else math.nan
    )


def _check(
    patients, steps, features, latent, prevalence, noise, informative, missing, empty, seed
) -> None:
    sizes = {"patients": patients, "steps": steps, "features": features, "latent": latent}
    for name, value, minimum in [
        *((n, v, 1) for n, v in sizes.items()),
        ("empty", empty, 0),
        ("seed", seed, 0),
    ]:
        if value < minimum:
            raise UserError(f"the simulator was given {name} = {value}; give {minimum} or more")
    if empty > patients:
        raise UserError(
            f"the simulator was given empty = {empty} of {patients} patients; give {patients} or "
            "less"
        )
    for name, value in {"noise": noise, "informative": informative}.items():
        if not (math.isfinite(value) and value >= 0):
            raise UserError(
                f"the simulator was given {name} = {value}; give a finite number of 0 or more"
            )
    if not 0 < prevalence < 1:
        raise UserError(
            f"the simulator was given prevalence = {prevalence}; give a fraction between 0 and 1"
        )
    if not 0 <= missing < 1:
        raise UserError(
            f"the simulator was given missing = {missing}; give a fraction from 0 to below 1"
        )


def _feature_columns(features: int) -> tuple[np.ndarray, ...]:
    """Medians, spreads, signs and nominal rates, each (features,)."""
    rows = [numbers for _, *numbers in FEATURES[:features]] + [_UNNAMED] * (
        features - len(FEATURES)
    )
    return tuple(np.array(rows, float).T)


def _failures(rng: np.random.Generator, level, slope, steps: int) -> Float[np.ndarray, "n T K"]:
    """Organ failures z_t = level + slope t + course_t, the course a stationary AR(1)."""
    shocks = rng.standard_normal((len(level), steps, level.shape[1]))
    course = shocks.copy()
    for t in range(1, steps):
        course[:, t] = (
            HOURLY_CORRELATION * course[:, t - 1]
            + math.sqrt(1 - HOURLY_CORRELATION**2) * shocks[:, t]
        )
    time = np.linspace(-1, 1, steps) if steps > 1 else np.zeros(1)
    drift = slope[:, None] * time[:, None] * math.sqrt(3)  # the mean square of `time` is about 1/3
    return math.sqrt(LEVEL) * level[:, None] + math.sqrt(SLOPE) * drift + math.sqrt(COURSE) * course


def _draw_loadings(rng: np.random.Generator, signs, latent: int) -> Float[np.ndarray, "D K"]:
    """Every feature reads one failure mostly, in turn, and a little of the others, all in its sign."""
    loadings = rng.uniform(0, 0.5, (len(signs), latent))
    loadings[np.arange(len(signs)), np.arange(len(signs)) % latent] += 1
    return signs[:, None] * loadings / np.linalg.norm(loadings, axis=1, keepdims=True)


def _mean_failure(z: Float[np.ndarray, "*n K"]) -> Float[np.ndarray, "*n"]:
    """The failures' mean, scaled to the variance of one of them."""
    return z.sum(axis=-1) / math.sqrt(z.shape[-1])


def _observation_probability(
    nominal, severity, informative: float, missing: float
) -> Float[np.ndarray, "n T D"]:
    log_odds = np.log(nominal / (1 - nominal)) + informative * severity[..., None] * (1 - nominal)
    return np.ones_like(log_odds) if missing == 0 else _with_mean(log_odds, 1 - missing)


def _with_mean(log_odds: np.ndarray, mean: float) -> np.ndarray:
    """Probabilities of the log-odds, all shifted alike so that their mean is as given."""
    from scipy.optimize import brentq
    from scipy.special import expit

    centre = math.log(mean / (1 - mean))
    low, high = centre - log_odds.max() - 1, centre - log_odds.min() + 1
    return expit(log_odds + brentq(lambda shift: expit(log_odds + shift).mean() - mean, low, high))


def _draw_descriptors(
    rng: np.random.Generator, recorded: np.random.Generator, patients: int
) -> pd.DataFrame:
    """Age (years), Gender (1 = male), Height (cm), Weight (kg) and the type of unit as 0 or 1; NaN
    = not recorded.
    """
    age, build, bulk = rng.standard_normal((patients, 3)).T
    man, unit = rng.random((patients, 2)).T
    height = np.where(man < 0.56, 176.0, 162.0) + 7.5 * build
    weight = 26.5 * (height / 100) ** 2 * np.exp(0.22 * bulk)
    units = np.minimum(
        np.searchsorted(np.cumsum(UNIT_SHARE), unit, side="right"), len(UNIT_SHARE) - 1
    )
    lacks_height, lacks_weight = recorded.random((patients, 2)).T
    columns = {
        "Age": np.clip(65 + 17 * age, 16, 90).round(),
        "Gender": (man < 0.56).astype(float),
        "Height": np.where(lacks_height < HEIGHT_MISSING, np.nan, height.round(1)),
        "Weight": np.where(lacks_weight < WEIGHT_MISSING, np.nan, weight.round(1)),
    }
    types = {f"ICUType={k + 1}": (units == k).astype(float) for k in range(len(UNIT_SHARE))}
    return pd.DataFrame(columns | types)


def _risk(level, slope, descriptors: pd.DataFrame, prevalence: float) -> Float[np.ndarray, " n"]:
    units = descriptors.filter(like="ICUType=").to_numpy()
    age = (descriptors["Age"].to_numpy() - 65) / 17
    log_odds = LEVEL_EFFECT * level + SLOPE_EFFECT * slope + AGE_EFFECT * age + units @ UNIT_EFFECT
    return _with_mean(log_odds, prevalence)


def _assemble(names, values, mask, death, descriptors: pd.DataFrame | None, empty: int) -> Dataset:
    patients, steps, _ = values.shape
    digits = max(4, len(str(patients)))
    ids = np.array([f"P{number:0{digits}d}" for number in range(1, patients + 1)])
    hours = np.tile(np.arange(steps, dtype=np.float32), (patients, 1))
    modalities = {
        "series": Modality(np.where(mask, values, 0).astype(np.float32), mask, names),
        "hours": Modality(hours, np.ones_like(hours, bool), np.arange(steps).astype(str)),
    }
    if descriptors is not None:
        columns = descriptors.columns.to_numpy(dtype=str)
        recorded = descriptors.notna().to_numpy()
        modalities["static"] = Modality(
            descriptors.fillna(0).to_numpy(np.float32), recorded, columns
        )
    return Dataset(
        ids=ids,
        groups=ids,
        modalities=modalities,
        table=pd.DataFrame(index=pd.Index(ids, name="id")),
        targets={"death": (death.astype(np.float32), np.ones(patients, bool))},
        notes=(
            "simulated intensive-care stays with a known truth",
            f"patients without any measurement: {empty}",
        ),
    )
