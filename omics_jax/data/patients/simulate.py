"""Simulated patients with several omics modalities and a known truth: cancer type, age and
survival.

Factors shared by all modalities, and a few private to each, are read out through sparse loadings as
log2 expression, beta values, reads per million or z-scores; type, age and hazard depend on the
shared ones. Left out are centres, batches, tissues, and values that are missing for a reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.errors import UserError

FEATURES = MappingProxyType({"rna": 200, "methylation": 200, "mirna": 60})


@dataclass(frozen=True)
class Scale:
    """How one kind of modality is measured: value = link(x), x = baseline + spread (signal +
    noise).

    `name` begins the features' names, `baseline` takes uniform draws to baselines, `spread` is the
    median one.
    """

    name: str
    baseline: Callable[[np.ndarray], np.ndarray]
    spread: float
    link: Callable[[np.ndarray], np.ndarray]


def beta_value(x: np.ndarray) -> np.ndarray:
    """The logistic function, kept off 0 and 1, as the offset in an array's beta value keeps it."""
    return np.clip(0.5 + 0.5 * np.tanh(x / 2), 1e-6, 1 - 1e-6)


SCALES = {
    # log2 expression, 0 where a gene is not expressed
    "rna": Scale("gene", lambda u: 11 * u, 1.0, lambda x: np.maximum(x, 0)),
    # beta values, most near 0.1 or 0.9
    "methylation": Scale("chr", lambda u: 3 * np.cbrt(2 * u - 1), 0.8, beta_value),
    # reads per million, many rare, few abundant
    "mirna": Scale(
        "mir", lambda u: 11 * u**2, 1.2, lambda x: np.exp2(np.clip(x, 0, math.log2(1e6 + 1))) - 1
    ),
    # z-scores
    "protein": Scale("protein", lambda u: 0 * u, 1.0, lambda x: x),
}

# Share of a signal's variance that all modalities see, number of factors that only one sees, and
# the chance that a feature reads a given shared factor besides its main one.
SHARED, PRIVATE, DENSITY = 0.7, 2, 0.1

# At signal 1, per s.d. of its score: log-odds of a type, log-hazard (and that of a product), age
# over its own scatter.
TYPE_EFFECT, HAZARD_EFFECT, INTERACTION_EFFECT, AGE_EFFECT = 4.0, 1.2, 0.7, 1.0
AGE_MEAN, AGE_SPREAD, AGE_RANGE = 60.0, 12.0, (15.0, 100.0)
# Weibull times in days; the scale of the censoring times follows from the wanted share.
SURVIVAL_SCALE, SURVIVAL_SHAPE, CENSORING_SHAPE = 1500.0, 1.2, 1.5

# Each part draws from a stream of its own, so that asking for more of one leaves the others as they
# were.
_STREAMS = ("z", "directions", "type", "age", "survival", "censoring", "sex", "present", "labels")
_STREAMS += ("private", "loadings", "scale", "noise", "cells")


@dataclass(frozen=True)
class OmicsTruth:
    """What the simulator knows about the patients of its dataset, in their order.

    Attributes:
      z: latent factors that all modalities share, N(0, I).
      private: modality -> its own factors w, N(0, I).
      loadings: modality -> loadings A on [z, w], rows of unit length, or of zeros where a feature
      carries no signal. noise_free: modality -> link(baseline + spread A [z, w]) in every cell,
      missing or not.
      values: modality -> the same with noise: what a measurement of the cell reads.
      links: (site, gene) names whose loadings on z are opposite.
      chromosomes: methylation site -> "1" to "22", "X" or "Y"; sites on Y tell the sex alone.
      class_probability: of every type given z, what the types are drawn from.
      age: expected age given z, years.
      risk: log-hazard relative to the baseline; P(T > t) = exp(-(t / SURVIVAL_SCALE)^SURVIVAL_SHAPE
        e^risk).
      c_index: concordance of `risk` with the drawn times and events of all patients.
      informative: target ("type", "age", "OS") -> modality -> names of features that load on a
        factor it depends on.
    """

    z: Float[np.ndarray, "n K"]
    private: Mapping[str, Float[np.ndarray, "n P"]]
    loadings: Mapping[str, Float[np.ndarray, "_ K+P"]]
    noise_free: Mapping[str, Float32[np.ndarray, "n _"]]
    values: Mapping[str, Float32[np.ndarray, "n _"]]
    links: tuple[tuple[str, str], ...]
    chromosomes: Mapping[str, str]
    class_probability: Float[np.ndarray, "n C"]
    age: Float[np.ndarray, " n"]
    risk: Float[np.ndarray, " n"]
    c_index: float
    informative: Mapping[str, Mapping[str, tuple[str, ...]]]


def simulate_omics(
    patients: int = 600,
    *,
    features: Mapping[str, int] = FEATURES,
    latent: int = 8,
    classes: int = 4,
    censored: float = 0.5,
    missing_modality: float = 0.15,
    missing_cells: float = 0.02,
    missing_labels: float = 0.05,
    noise: float = 0.7,
    signal: float = 1.0,
    seed: int = 0,
) -> tuple[Dataset, OmicsTruth]:
    """Draw patients, what was measured of them, and what became of them.

    Of every five features three carry signal; every fiftieth is constant (0; beta values 0.5),
    every fortieth methylation site lies on chromosome Y, and every fifth mirrors the gene of the
    same number.

    Args:
      patients, latent, classes: numbers of patients, shared factors and cancer types.
      features: modality ("rna", "methylation", "mirna", "protein") -> number of features.
      censored: share of patients whose death is not observed, met to within a patient.
      missing_modality: chance that a patient lacks a given modality, independent of the others but
        that nobody lacks all of them.
      missing_cells: chance that a cell of a measured modality is missing; one cell of a patient
      always stays. missing_labels: chance that a patient's type is unknown; likewise age, and
      likewise time and event together. noise: s.d. of a measurement's noise relative to that of the
      feature's signal, before the link; features without
        signal scatter by 1 instead.
      signal: how strongly type, age and hazard depend on z; at 0 nothing measured says anything
        about them.
      seed: non-negative; the same arguments give the same bits.

    Returns:
      The dataset (the modalities in the order above; targets "type", "age" in years, "OS.time" in
      whole days from 1 on, "OS.event"; annotation "sex") and its truth.

    Raises:
      UserError: no modality or an unknown one, a size below its minimum, a negative or non-finite
        level, a share outside [0, 1), a `missing_modality` that some patients could only meet
        without any modality.
    """
    features = dict(features)
    _check(patients, features, latent, classes, noise, signal, seed)
    _check_shares(censored, missing_cells, missing_labels, missing_modality, len(features))
    stream = lambda *part: _stream(seed, *part)
    z = stream("z").standard_normal((patients, latent))
    man = stream("sex").random(patients) < 0.5
    names = {kind: feature_names(kind, f) for kind, f in features.items()}
    linked = np.arange(0, min(features.get("rna", 0), features.get("methylation", 0)), 5)
    loadings = {
        kind: _draw_loadings(stream("loadings", kind), f, latent) for kind, f in features.items()
    }
    if len(linked):
        loadings["methylation"][linked, :latent] = -loadings["rna"][linked, :latent]
    private = {
        kind: stream("private", kind).standard_normal((patients, PRIVATE)) for kind in features
    }
    values, noise_free = {}, {}
    for kind, a in loadings.items():
        u = np.concatenate([z, private[kind]], axis=1) @ a.T
        values[kind], noise_free[kind] = _read(
            stream("scale", kind), stream("noise", kind), kind, u, man, noise
        )
    present = _draw_presence(stream("present"), patients, len(features), missing_modality)
    modalities = {
        kind: _observed(stream("cells", kind), values[kind], names[kind], row, missing_cells)
        for kind, row in zip(features, present.T, strict=True)
    }

    directions = {
        name: signal * d
        for name, d in _draw_directions(stream("directions"), latent, classes).items()
    }
    probability = _softmax(TYPE_EFFECT * z @ directions["type"])
    kinds = (stream("type").random((patients, 1)) >= probability.cumsum(axis=1)[:, :-1]).sum(axis=1)
    expected, age = _ages(stream("age"), AGE_EFFECT * z @ directions["age"], AGE_EFFECT * signal)
    risk = HAZARD_EFFECT * z @ directions["OS"] + INTERACTION_EFFECT * signal * _product(
        z, directions["OS"]
    )
    days, event = _survival(stream("survival"), stream("censoring"), risk, censored)
    targets = _targets(
        kinds, age, days, event, stream("labels").random((patients, 3)) >= missing_labels
    )
    truth = OmicsTruth(
        z=z,
        private=private,
        loadings=loadings,
        noise_free=noise_free,
        values=values,
        links=tuple((str(names["methylation"][j]), str(names["rna"][j])) for j in linked),
        chromosomes={
            str(name): name[3:].partition(":")[0] for name in names.get("methylation", ())
        },
        class_probability=probability,
        age=expected,
        risk=risk,
        c_index=concordance(risk, days, event),
        informative=_informative(names, loadings, directions),
    )
    return _assemble(modalities, targets, class_names(classes), man), truth


def feature_names(kind: str, features: int) -> np.ndarray:
    """Names such as "gene0001" and "mir0001"; methylation sites are places, "chr7:10006000"."""
    if kind == "methylation":
        on_y = _on_y(kind, features)
        chromosomes = ["Y" if on_y[j] else (*range(1, 23), "X")[j % 23] for j in range(features)]
        return np.array(
            [f"chr{chromosome}:{10_000_000 + 1000 * j}" for j, chromosome in enumerate(chromosomes)]
        )
    digits = max(4, len(str(features)))
    return np.array(
        [f"{SCALES[kind].name}{number:0{digits}d}" for number in range(1, features + 1)]
    )


def class_names(classes: int) -> tuple[str, ...]:
    """From "A" to "Z", then "A1" and so on."""
    return tuple(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[c % 26] + (str(c // 26) if c >= 26 else "")
        for c in range(classes)
    )


def concordance(
    risk: Float[np.ndarray, " n"], times: Float[np.ndarray, " n"], event: Bool[np.ndarray, " n"]
) -> float:
    """Harrell's C: share of comparable pairs in which who died first had the higher risk, equal
    risks one half.

    A pair is comparable if the earlier of the two died; at equal times a death precedes a
    censoring. NaN without any comparable pair. One pass over all patients per death, O(n^2).
    """
    pairs = right = 0.0
    for i in np.flatnonzero(event):
        later = (times > times[i]) | ((times == times[i]) & ~event)
        pairs += later.sum()
        right += (risk[later] < risk[i]).sum() + 0.5 * (risk[later] == risk[i]).sum()
    return float(right / pairs) if pairs else math.nan


def _check(patients, features, latent, classes, noise, signal, seed) -> None:
    if not features or not set(features) <= set(SCALES):
        what = f"the simulator was given features = {features}"
        raise UserError(
            f"{what}; give a number for one or more of {', '.join(SCALES)} and for nothing else"
        )
    sizes = [
        ("patients", patients, 1),
        ("latent", latent, 1),
        ("classes", classes, 2),
        ("seed", seed, 0),
    ]
    for name, value, minimum in [
        *sizes,
        *((f"features.{kind}", f, 1) for kind, f in features.items()),
    ]:
        if value < minimum:
            raise UserError(f"the simulator was given {name} = {value}; give {minimum} or more")
    for name, value in {"noise": noise, "signal": signal}.items():
        if not (math.isfinite(value) and value >= 0):
            raise UserError(
                f"the simulator was given {name} = {value}; give a finite number of 0 or more"
            )


def _check_shares(
    censored, missing_cells, missing_labels, missing_modality, modalities: int
) -> None:
    shares = {
        "censored": censored,
        "missing_cells": missing_cells,
        "missing_labels": missing_labels,
    }
    for name, value in {**shares, "missing_modality": missing_modality}.items():
        if not 0 <= value < 1:
            raise UserError(
                f"the simulator was given {name} = {value}; give a fraction from 0 to below 1"
            )
    if missing_modality and missing_modality * modalities >= modalities - 1:
        mend = (
            f"less than {(modalities - 1) / modalities:.3g}"
            if modalities > 1
            else "0, or more modalities"
        )
        raise UserError(
            f"the simulator was given missing_modality = {missing_modality} of {modalities}, which "
            f"leaves patients without any; give {mend}"
        )


def _stream(seed: int, part: str, kind: str = "") -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS.index(part), ("", *SCALES).index(kind)])


def _carries_signal(features: int) -> Bool[np.ndarray, " f"]:
    """Roles of features go by number, so that asking for more leaves those of the first ones as
    they were.
    """
    return np.isin(np.arange(features) % 5, (0, 1, 3))


def _on_y(kind: str, features: int) -> Bool[np.ndarray, " f"]:
    return (np.arange(features) % 40 == 24) & (kind == "methylation")


def _draw_loadings(
    rng: np.random.Generator, features: int, latent: int
) -> Float[np.ndarray, "f L"]:
    """A feature with signal reads one shared factor mostly, in turn, a few others a little, and the
    private ones.
    """
    signal, rows = _carries_signal(features), np.arange(features)
    weight, chance = rng.uniform(-1, 1, (2, features, latent))
    main = np.maximum(signal.cumsum() - 1, 0) % latent
    shared = np.where(np.abs(chance) < DENSITY, weight / 2, 0)
    shared[rows, main] = np.where(weight[rows, main] < 0, -1, 1)
    own = rng.standard_normal((features, PRIVATE))
    parts = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (shared, own)]
    return signal[:, None] * np.concatenate(
        [math.sqrt(SHARED) * parts[0], math.sqrt(1 - SHARED) * parts[1]], axis=1
    )


def _read(
    rng, noise_rng, kind: str, u: Float[np.ndarray, "n f"], man, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Values with and without noise, each (n, f) float32."""
    scale, features = SCALES[kind], u.shape[1]
    on_y, varies = _on_y(kind, features), np.arange(features) % 50 != 49
    u = np.where(on_y, np.where(man, 1.0, -1.0)[:, None], u)
    scatter = np.where(_carries_signal(features) | on_y, noise, 1.0) * varies
    baseline = scale.baseline(rng.random(features)) * varies
    spread = scale.spread * np.exp(0.3 * rng.standard_normal(features))
    noisy = u + scatter * noise_rng.standard_normal(u.shape)
    return tuple(scale.link(baseline + spread * signal).astype(np.float32) for signal in (noisy, u))


def _draw_presence(
    rng: np.random.Generator, patients: int, modalities: int, missing: float
) -> Bool[np.ndarray, "n M"]:
    """Every modality is missing with the given chance; independently, given that not all are."""
    from scipy.optimize import brentq
    from scipy.special import gammaln

    if missing == 0:
        return np.ones((patients, modalities), bool)
    # How many are missing is binomial, given less than all, with the odds that make its mean the
    # wanted one.
    k = np.arange(modalities)
    log_ways = -gammaln(k + 1) - gammaln(modalities - k + 1)
    chances = lambda log_odds: _softmax((log_ways + k * log_odds)[None])[0]
    log_odds = brentq(lambda log_odds: chances(log_odds) @ k - modalities * missing, -60.0, 60.0)
    number = (rng.random((patients, 1)) >= chances(log_odds).cumsum()[:-1]).sum(
        axis=1, keepdims=True
    )
    return rng.random((patients, modalities)).argsort(axis=1).argsort(axis=1) >= number


def _observed(
    rng: np.random.Generator, values, names, present: Bool[np.ndarray, " n"], missing: float
) -> Modality:
    """The cells that were measured; a present row keeps at least the one with the largest draw."""
    draws = rng.random(values.shape)
    mask = ((draws >= missing) | (draws == draws.max(axis=1, keepdims=True))) & present[:, None]
    return Modality(np.where(mask, values, np.float32(0)), mask, names)


def _draw_directions(
    rng: np.random.Generator, latent: int, classes: int
) -> dict[str, Float[np.ndarray, "K ..."]]:
    """What each target reads of z: half of the factors, overlapping with the next target's half."""
    half = (latent + 1) // 2
    rows = lambda first: (np.arange(half) + first) % latent
    directions = {
        "type": np.zeros((latent, classes)),
        "age": np.zeros(latent),
        "OS": np.zeros(latent),
    }
    # A piece of a rotation keeps the types apart: orthogonal directions, or a tight frame if they
    # are too many.
    piece = np.linalg.qr(rng.standard_normal((max(half, classes),) * 2))[0][:half, :classes]
    directions["type"][rows(0)] = piece * math.sqrt(classes) / np.linalg.norm(piece)
    for name, first in (("age", latent // 4), ("OS", latent // 2)):
        weight = rng.uniform(0.5, 1, half) * rng.choice([-1.0, 1.0], half)
        directions[name][rows(first)] = weight / np.linalg.norm(weight)
    return directions


def _softmax(log_odds: Float[np.ndarray, "n C"]) -> Float[np.ndarray, "n C"]:
    odds = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _ages(
    rng: np.random.Generator, score: Float[np.ndarray, " n"], sd: float
) -> tuple[np.ndarray, np.ndarray]:
    """Expected and actual age: mean + spread (score + e) / sqrt(1 + sd^2), e ~ N(0, 1), sd that of
    the score.
    """
    unit = AGE_SPREAD / math.sqrt(1 + sd**2)
    expected = AGE_MEAN + unit * score
    return expected, np.clip(expected + unit * rng.standard_normal(len(score)), *AGE_RANGE)


def _product(
    z: Float[np.ndarray, "n K"], direction: Float[np.ndarray, " K"]
) -> Float[np.ndarray, " n"]:
    """Of the first and the last factor that the direction reads; 0 if it does not read two."""
    reads = np.flatnonzero(direction)
    return z[:, reads[[0, -1]]].prod(axis=1) if len(reads) > 1 else np.zeros(len(z))


def _survival(
    rng, censoring_rng, risk: Float[np.ndarray, " n"], censored: float
) -> tuple[np.ndarray, np.ndarray]:
    """Days of follow-up, whole numbers from 1 on, and whether death ends them.

    Censoring times are independent of the patient; their common scale is the one that censors the
    wanted share.
    """
    death = SURVIVAL_SCALE * (rng.standard_exponential(len(risk)) * np.exp(-risk)) ** (
        1 / SURVIVAL_SHAPE
    )
    censoring = censoring_rng.standard_exponential(len(risk)) ** (1 / CENSORING_SHAPE)
    scale = np.quantile(death / censoring, 1 - censored)
    event = death / censoring <= scale
    return np.maximum(np.ceil(np.where(event, death, scale * censoring)), 1), event


def _informative(names, loadings, directions) -> dict[str, dict[str, tuple[str, ...]]]:
    reads = {
        target: np.flatnonzero(d.reshape(len(d), -1).any(axis=1))
        for target, d in directions.items()
    }
    return {
        target: {
            kind: tuple(map(str, names[kind][loadings[kind][:, rows].any(axis=1)]))
            for kind in names
        }
        for target, rows in reads.items()
    }


def _targets(
    kinds, age, days, event, known: Bool[np.ndarray, "n 3"]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    columns = {"type": (kinds, 0), "age": (age, 1), "OS.time": (days, 2), "OS.event": (event, 2)}
    kept = {
        name: (np.where(known[:, c], values, 0), known[:, c])
        for name, (values, c) in columns.items()
    }
    return {
        name: (v.astype(np.int32 if name == "type" else np.float32), mask)
        for name, (v, mask) in kept.items()
    }


def _assemble(modalities, targets, names: tuple[str, ...], man: Bool[np.ndarray, " n"]) -> Dataset:
    digits = max(4, len(str(len(man))))
    ids = np.array([f"P{number:0{digits}d}" for number in range(1, len(man) + 1)])
    modalities = {
        kind: modalities[kind] for kind in SCALES if kind in modalities
    }  # a config sorts its keys
    lacking = ", ".join(
        f"{kind} {(~modality.observed_rows).sum():,}" for kind, modality in modalities.items()
    )
    return Dataset(
        ids=ids,
        groups=ids,
        modalities=modalities,
        table=pd.DataFrame(
            {"sex": np.where(man, "male", "female")}, index=pd.Index(ids, name="id")
        ),
        targets=targets,
        notes=(
            "simulated multi-omics patients with a known truth",
            f"patients without a modality: {lacking}",
        ),
        classes={"type": names},
    )
