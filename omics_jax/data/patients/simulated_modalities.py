"""Simulated modalities: factors of the patients in, what is measured of them out.

Factors shared by all modalities, and a few private to each, are read out through sparse loadings as
log2 expression, beta values, reads per million or z-scores. The roles of features go by their
number: of every five three carry signal; every fiftieth is constant (0; beta values 0.5), every
fortieth methylation site lies on chromosome Y, and every fifth mirrors the gene of the same number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped

from omics_jax.data.dataset.dataset import Modality

# Share of a signal's variance that all modalities see, number of factors that only one sees, and
# the chance that a feature reads a given shared factor besides its main one.
SHARED, PRIVATE, DENSITY = 0.7, 2, 0.1
_MOST_READS = 1e6

Stream = Callable[..., np.random.Generator]
FeatureFlags = Bool[np.ndarray, " f"]


# --- scales ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """How one kind of modality is measured: value = link(baseline + spread (signal + noise)).

    Attributes:
      name: begins the features' names.
      baseline: takes uniform draws to baselines.
      spread: the median one.
      link: from the signal's scale to that of the file.
    """

    name: str
    baseline: Callable[[np.ndarray], np.ndarray]
    spread: float
    link: Callable[[np.ndarray], np.ndarray]


def _expression_baseline(u: np.ndarray) -> np.ndarray:
    return 11 * u


def _expression(x: np.ndarray) -> np.ndarray:
    """log2 expression, 0 where a gene is not expressed."""
    return np.maximum(x, 0)


def _methylation_baseline(u: np.ndarray) -> np.ndarray:
    """Most beta values are near 0.1 or 0.9."""
    return 3 * np.cbrt(2 * u - 1)


def beta_value(x: np.ndarray) -> np.ndarray:
    """The logistic function, kept off 0 and 1, as the offset in an array's beta value keeps it."""
    logistic = 0.5 + 0.5 * np.tanh(x / 2)
    return np.clip(logistic, 1e-6, 1 - 1e-6)


def _reads_baseline(u: np.ndarray) -> np.ndarray:
    """Many are rare, few abundant."""
    return 11 * u**2


def _reads_per_million(x: np.ndarray) -> np.ndarray:
    highest = math.log2(_MOST_READS + 1)
    return np.exp2(np.clip(x, 0, highest)) - 1


def _zero_baseline(u: np.ndarray) -> np.ndarray:
    return 0 * u


def _z_score(x: np.ndarray) -> np.ndarray:
    return x


SCALES = {
    "rna": Scale("gene", _expression_baseline, 1.0, _expression),
    "methylation": Scale("chr", _methylation_baseline, 0.8, beta_value),
    "mirna": Scale("mir", _reads_baseline, 1.2, _reads_per_million),
    "protein": Scale("protein", _zero_baseline, 1.0, _z_score),
}


# --- features -------------------------------------------------------------------------------------


def feature_names(kind: str, features: int) -> Shaped[np.ndarray, " f"]:
    """Names such as "gene0001" and "mir0001"; methylation sites are places, "chr7:10006000"."""
    if kind == "methylation":
        return np.array([_site_name(j) for j in range(features)])
    prefix = SCALES[kind].name
    digits = max(4, len(str(features)))
    return np.array([f"{prefix}{number:0{digits}d}" for number in range(1, features + 1)])


def _site_name(number: int) -> str:
    chromosomes = (*range(1, 23), "X")
    chromosome = "Y" if _is_on_y(number) else chromosomes[number % 23]
    return f"chr{chromosome}:{10_000_000 + 1000 * number}"


def chromosome_of(site: str) -> str:
    """The chromosome of a methylation site, as "7" or "Y"."""
    return site.removeprefix("chr").partition(":")[0]


def _is_on_y(number):
    return number % 40 == 24


def _on_y(kind: str, features: int) -> FeatureFlags:
    return _is_on_y(np.arange(features)) & (kind == "methylation")


def _carries_signal(features: int) -> FeatureFlags:
    """By number, so that asking for more features leaves the first ones as they were."""
    return np.isin(np.arange(features) % 5, (0, 1, 3))


def _varies(features: int) -> FeatureFlags:
    return np.arange(features) % 50 != 49


def linked_features(features: Mapping[str, int]) -> Int[np.ndarray, " links"]:
    """Numbers of the methylation sites that mirror the gene of the same number."""
    both = min(features.get("rna", 0), features.get("methylation", 0))
    return np.arange(0, both, 5)


# --- measurements ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurements:
    """What every modality reads in every cell, by modality; see `OmicsTruth`."""

    names: Mapping[str, Shaped[np.ndarray, " _"]]
    private: Mapping[str, Float[np.ndarray, "n P"]]
    loadings: Mapping[str, Float[np.ndarray, "_ L"]]
    noise_free: Mapping[str, Float32[np.ndarray, "n _"]]
    values: Mapping[str, Float32[np.ndarray, "n _"]]


def measure(
    stream: Stream,
    z: Float[np.ndarray, "n K"],
    is_male: Bool[np.ndarray, " n"],
    features: Mapping[str, int],
    noise: float,
) -> Measurements:
    """Reads the factors z out in every modality.

    Args:
      stream: (part, kind) -> the random stream of that part of a modality.
      z: factors shared by all modalities.
      is_male: chromosome Y is read in men.
      features: modality -> number of features.
      noise: s.d. relative to that of the signal.
    """
    n, latent = z.shape
    names = {kind: feature_names(kind, f) for kind, f in features.items()}
    loadings = _draw_all_loadings(stream, features, latent)
    private, values, noise_free = {}, {}, {}
    for kind in features:
        private[kind] = stream("private", kind).standard_normal((n, PRIVATE))
        factors = np.concatenate([z, private[kind]], axis=1)
        signal = factors @ loadings[kind].T
        values[kind], noise_free[kind] = _read_out(stream, kind, signal, is_male, noise)
    return Measurements(names, private, loadings, noise_free, values)


def _draw_all_loadings(
    stream: Stream, features: Mapping[str, int], latent: int
) -> dict[str, Float[np.ndarray, "_ L"]]:
    loadings = {}
    for kind, f in features.items():
        loadings[kind] = _draw_loadings(stream("loadings", kind), f, latent)
    linked = linked_features(features)
    if len(linked):
        loadings["methylation"][linked, :latent] = -loadings["rna"][linked, :latent]
    return loadings


def _draw_loadings(
    rng: np.random.Generator, features: int, latent: int
) -> Float[np.ndarray, "f L"]:
    """Rows of unit length, or of zeros for features without signal.

    A feature reads mostly one shared factor, in turn, a few others a little, and the private ones.
    """
    has_signal = _carries_signal(features)
    weight, chance = rng.uniform(-1, 1, (2, features, latent))
    is_read = np.abs(chance) < DENSITY
    shared = np.where(is_read, weight / 2, 0)
    rows = np.arange(features)
    main = np.maximum(has_signal.cumsum() - 1, 0) % latent
    shared[rows, main] = np.where(weight[rows, main] < 0, -1, 1)
    private = rng.standard_normal((features, PRIVATE))
    shared_part = math.sqrt(SHARED) * _unit_rows(shared)
    private_part = math.sqrt(1 - SHARED) * _unit_rows(private)
    loadings = np.concatenate([shared_part, private_part], axis=1)
    return has_signal[:, None] * loadings


def _unit_rows(a: Float[np.ndarray, "f L"]) -> Float[np.ndarray, "f L"]:
    lengths = np.linalg.norm(a, axis=1, keepdims=True)
    return a / lengths


def _read_out(
    stream: Stream,
    kind: str,
    signal: Float[np.ndarray, "n f"],
    is_male: Bool[np.ndarray, " n"],
    noise: float,
) -> tuple[Float32[np.ndarray, "n f"], Float32[np.ndarray, "n f"]]:
    """Values with and without noise."""
    scale, features = SCALES[kind], signal.shape[1]
    on_y, varies = _on_y(kind, features), _varies(features)
    sex = np.where(is_male, 1.0, -1.0)
    signal = np.where(on_y, sex[:, None], signal)
    has_signal = _carries_signal(features) | on_y
    scatter = np.where(has_signal, noise, 1.0) * varies
    rng = stream("scale", kind)
    baseline = scale.baseline(rng.random(features)) * varies
    spread = scale.spread * np.exp(0.3 * rng.standard_normal(features))
    noisy = signal + scatter * stream("noise", kind).standard_normal(signal.shape)
    values = scale.link(baseline + spread * noisy)
    noise_free = scale.link(baseline + spread * signal)
    return values.astype(np.float32), noise_free.astype(np.float32)


# --- what is missing ------------------------------------------------------------------------------


def draw_presence(
    rng: np.random.Generator, patients: int, modalities: int, missing: float
) -> Bool[np.ndarray, "n M"]:
    """Every modality is missing with the given chance; independently, given that not all are."""
    from scipy.optimize import brentq
    from scipy.special import gammaln, softmax

    if missing == 0:
        return np.ones((patients, modalities), bool)
    # How many are missing is binomial, given less than all; the odds give the wanted mean.
    count = np.arange(modalities)
    log_ways = -gammaln(count + 1) - gammaln(modalities - count + 1)

    def chances(log_odds: float):
        return softmax(log_ways + count * log_odds)

    def excess(log_odds: float):
        return chances(log_odds) @ count - modalities * missing

    log_odds = brentq(excess, -60.0, 60.0)
    up_to = chances(log_odds).cumsum()
    n_missing = (rng.random((patients, 1)) >= up_to[:-1]).sum(axis=1, keepdims=True)
    rank = rng.random((patients, modalities)).argsort(axis=1).argsort(axis=1)
    return rank >= n_missing


def hide_cells(
    rng: np.random.Generator,
    values: Float32[np.ndarray, "n f"],
    names: Shaped[np.ndarray, " f"],
    is_present: Bool[np.ndarray, " n"],
    missing: float,
) -> Modality:
    """The cells that were measured; a present row keeps at least the one with the largest draw."""
    draws = rng.random(values.shape)
    is_kept = (draws >= missing) | (draws == draws.max(axis=1, keepdims=True))
    mask = is_kept & is_present[:, None]
    return Modality(np.where(mask, values, np.float32(0)), mask, names, one_unit=True)
