"""Simulated patients with several omics modalities and a known truth: type, age and survival.

Factors shared by all modalities are read out with noise (`simulated_modalities`); type, age and
hazard depend on them (`simulated_outcomes`). Left out are centres, batches, tissues, and values
that are missing for a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.patients.simulated_modalities import (
    SCALES,
    Measurements,
    chromosome_of,
    draw_presence,
    hide_cells,
    linked_features,
    measure,
)
from omics_jax.data.patients.simulated_outcomes import (
    Outcomes,
    class_names,
    concordance,
    draw_outcomes,
    factors_read,
)
from omics_jax.data.patients.targets import Target
from omics_jax.data.simulation.arguments import (
    argument_error,
    check_cells,
    check_levels,
    check_shares,
    check_sizes,
)
from omics_jax.errors import UserError

FEATURES = MappingProxyType({"rna": 200, "methylation": 200, "mirna": 60})

# Each part draws from its own stream, so asking for more of one leaves the others as they were.
_STREAMS = (
    "z directions type age survival censoring sex present labels private loadings scale noise cells"
).split()


@dataclass(frozen=True)
class OmicsTruth:
    """What the simulator knows about the patients of its dataset, in their order.

    Attributes:
      z: latent factors that all modalities share, N(0, I).
      private: modality -> its own factors w, N(0, I).
      loadings: modality -> loadings A on [z, w], rows of unit length, or of zeros where a feature
        carries no signal.
      noise_free: modality -> link(baseline + spread A [z, w]) in every cell, missing or not.
      values: modality -> the same with noise: what a measurement of the cell reads.
      links: (site, gene) names whose loadings on z are opposite.
      chromosomes: methylation site -> "1" to "22", "X" or "Y"; sites on Y depend on the sex alone.
      class_probability: of every type given z, what the types are drawn from.
      age: expected age given z, years.
      risk: log-hazard relative to the baseline;
        P(T > t) = exp(-(t / SURVIVAL_SCALE)^SURVIVAL_SHAPE e^risk).
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

    Args:
      patients, latent, classes: numbers of patients, shared factors and cancer types.
      features: modality ("rna", "methylation", "mirna", "protein") -> number of features.
      censored: share of patients whose death is not observed, met to within a patient.
      missing_modality: chance that a patient lacks a given modality, independent of the others but
        that nobody lacks all of them.
      missing_cells: chance that a cell of a measured modality is missing; a patient keeps one cell.
      missing_labels: chance that a patient's type is unknown; likewise age, and likewise time and
        event together.
      noise: s.d. of a measurement's noise relative to that of the feature's signal, before the
        link; features without signal scatter by 1 instead.
      signal: how strongly type, age and hazard depend on z; at 0 no measurement informs on them.
      seed: non-negative; the same arguments give the same bits.

    Returns:
      The dataset (the modalities in the order above; targets "type", "age" in years, "OS.time" in
      whole days from 1 on, "OS.event"; annotation "sex") and its truth.

    Raises:
      UserError: no modality or an unknown one, a size below its minimum, a negative or non-finite
        level, a share outside [0, 1), or a `missing_modality` that would leave patients without
        any.
    """
    features = dict(features)
    _check_sizes(patients, features, latent, classes, seed)
    check_levels({"noise": noise, "signal": signal})
    _check_shares(censored, missing_cells, missing_labels, missing_modality, len(features))
    stream = partial(_stream, seed)
    z = stream("z").standard_normal((patients, latent))
    is_male = stream("sex").random(patients) < 0.5
    measured = measure(stream, z, is_male, features, noise)
    outcomes = draw_outcomes(stream, z, classes, censored, signal)
    modalities = _observe(stream, measured, missing_modality, missing_cells)
    is_known = stream("labels").random((patients, 3)) >= missing_labels
    dataset = _assemble(modalities, _targets(outcomes, is_known), class_names(classes), is_male)
    return dataset, _truth(z, measured, outcomes, features)


def _check_sizes(patients, features: Mapping[str, int], latent, classes, seed):
    if not features or not set(features) <= set(SCALES):
        raise UserError(
            f"the simulator was given features = {features}; give a number for one or more of "
            f"{', '.join(SCALES)} and for nothing else"
        )
    check_sizes(1, {"patients": patients, "latent": latent})
    check_sizes(2, {"classes": classes})
    check_sizes(0, {"seed": seed})
    check_sizes(1, {f"features.{kind}": f for kind, f in features.items()})
    check_cells((patients + latent) * sum(features.values()) + patients * latent)


def _check_shares(censored, missing_cells, missing_labels, missing_modality, n_modalities: int):
    shares = {
        "censored": censored,
        "missing_cells": missing_cells,
        "missing_labels": missing_labels,
        "missing_modality": missing_modality,
    }
    check_shares(shares)
    if not missing_modality or missing_modality * n_modalities < n_modalities - 1:
        return
    limit = (n_modalities - 1) / n_modalities
    mend = f"less than {limit:.3g}" if n_modalities > 1 else "0, or more modalities"
    raise argument_error(
        "missing_modality",
        f"{missing_modality} of {n_modalities}, which leaves patients without any",
        f"give {mend}",
    )


def _stream(seed: int, part: str, kind: str = "") -> np.random.Generator:
    """The random stream of one part, of one kind of modality where it has several."""
    kinds = ("", *SCALES)
    return np.random.default_rng([seed, _STREAMS.index(part), kinds.index(kind)])


def _observe(
    stream, measured: Measurements, missing_modality: float, missing_cells: float
) -> dict[str, Modality]:
    """The modalities with whole rows and single cells missing."""
    kinds = list(measured.values)
    patients = len(measured.values[kinds[0]])
    is_present = draw_presence(stream("present"), patients, len(kinds), missing_modality)
    modalities = {}
    for k, kind in enumerate(kinds):
        values, names = measured.values[kind], measured.names[kind]
        rng = stream("cells", kind)
        modalities[kind] = hide_cells(rng, values, names, is_present[:, k], missing_cells)
    return modalities


def _targets(outcomes: Outcomes, is_known: Bool[np.ndarray, "n 3"]) -> dict[str, Target]:
    """type, age and OS with their masks, 0 where unknown."""
    type_known, age_known, survival_known = is_known.T
    return {
        "type": _target(outcomes.types, type_known, np.int32),
        "age": _target(outcomes.age, age_known, np.float32),
        "OS.time": _target(outcomes.days, survival_known, np.float32),
        "OS.event": _target(outcomes.event, survival_known, np.float32),
    }


def _target(values: np.ndarray, is_known: Bool[np.ndarray, " n"], dtype) -> Target:
    return np.where(is_known, values, 0).astype(dtype), is_known


def _truth(
    z: Float[np.ndarray, "n K"],
    measured: Measurements,
    outcomes: Outcomes,
    features: Mapping[str, int],
) -> OmicsTruth:
    names = measured.names
    links = [
        (str(names["methylation"][j]), str(names["rna"][j])) for j in linked_features(features)
    ]
    sites = [str(name) for name in names.get("methylation", ())]
    return OmicsTruth(
        z=z,
        private=measured.private,
        loadings=measured.loadings,
        noise_free=measured.noise_free,
        values=measured.values,
        links=tuple(links),
        chromosomes={site: chromosome_of(site) for site in sites},
        class_probability=outcomes.class_probability,
        age=outcomes.expected_age,
        risk=outcomes.risk,
        c_index=concordance(outcomes.risk, outcomes.days, outcomes.event),
        informative=_informative_features(measured, outcomes),
    )


def _informative_features(
    measured: Measurements, outcomes: Outcomes
) -> dict[str, dict[str, tuple[str, ...]]]:
    """target -> modality -> the features that load on a factor it depends on."""
    informative = {}
    for target, direction in outcomes.directions.items():
        factors = factors_read(direction)
        informative[target] = {}
        for kind, loadings in measured.loadings.items():
            is_informative = loadings[:, factors].any(axis=1)
            names = measured.names[kind][is_informative]
            informative[target][kind] = tuple(map(str, names))
    return informative


def _assemble(
    modalities: Mapping[str, Modality],
    targets: Mapping[str, Target],
    names: tuple[str, ...],
    is_male: Bool[np.ndarray, " n"],
) -> Dataset:
    n = len(is_male)
    digits = max(4, len(str(n)))
    ids = np.array([f"P{number:0{digits}d}" for number in range(1, n + 1)])
    # In the order of `SCALES`, because a config sorts its keys.
    in_order = {kind: modalities[kind] for kind in SCALES if kind in modalities}
    lacking = []
    for kind, modality in in_order.items():
        n_lacking = (~modality.observed_rows).sum()
        lacking.append(f"{kind} {n_lacking:,}")
    sex = np.where(is_male, "male", "female")
    return Dataset(
        ids=ids,
        groups=ids,
        modalities=in_order,
        table=pd.DataFrame({"sex": sex}, index=pd.Index(ids, name="id")),
        targets=targets,
        notes=(
            "simulated multi-omics patients with a known truth",
            f"patients without a modality: {', '.join(lacking)}",
        ),
        classes={"type": names},
    )
