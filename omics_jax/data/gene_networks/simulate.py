"""Simulated expression of patients whose outcomes depend on products of interacting genes.

Genes lie in modules: z_i = sqrt(s) f_m + sqrt(1 - s) e_i with the factor f of its module m, all
N(0, 1), and s the share `within`. In the gene network the genes of a module are connected at
random, and some pairs of genes, of any modules, interact. Outcomes that depend on these read

    u = sum over interactions (i, j) of c_ij (z_i z_j - E z_i z_j),  in units of its s.d.,  c = +-1

Because z is symmetric, u is uncorrelated with every z_i: a linear model of the genes is at chance.
Left out: batches, tissues, counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.patients.simulated_modalities import feature_names, hide_cells
from omics_jax.data.patients.simulated_outcomes import class_names, draw_survival, draw_types
from omics_jax.data.simulation.arguments import (
    argument_error,
    check_cells,
    check_levels,
    check_shares,
    check_sizes,
)

MODALITY = "rna"
SUBTYPES = 3
# At signal 1, per s.d. of what an outcome reads: log-odds of classes, and log-hazard.
SUBTYPE_EFFECT, RESPONSE_EFFECT, HAZARD_EFFECT = 3.0, 4.0, 1.5
LEVEL_MEAN, LEVEL_SD = 10.0, 2.0
INTERACTING = ("response", "level", "OS")  # the outcomes that depend on interactions
_STREAMS = "modules network interactions factors genes scale subtype response level death censoring"
_STREAMS += " unrelated sex cells labels"

Genes = Float[np.ndarray, "n G"]
Edges = Int[np.ndarray, "_ 2"]
PerPatient = Float[np.ndarray, " n"]
Scores = Float[np.ndarray, "n ..."]


@dataclass(frozen=True)
class ExpressionTruth:
    """What the simulator knows.

    Attributes:
      genes: (G,) names.
      module: (G,) of every gene.
      network: (E, 2) places of connected genes, the smaller first; interactions are among them.
      interactions: outcome -> (I, 2) places of the genes whose products it depends on.
      scores: outcome -> u of the module's formula, or of "subtype" the log-odds (n, 3).
      z: standardised expression without missing cells.
    """

    genes: Shaped[np.ndarray, " G"]
    module: Int[np.ndarray, " G"]
    network: Edges
    interactions: Mapping[str, Edges]
    scores: Mapping[str, Scores]
    z: Genes


def simulate_expression(
    patients: int = 1500,
    *,
    genes: int = 40,
    modules: int = 5,
    within: float = 0.3,
    degree: float = 3.0,
    interactions: int = 3,
    shared: int = 3,
    signal: float = 1.0,
    noise: float = 0.3,
    censored: float = 0.4,
    missing_cells: float = 0.01,
    missing_labels: float = 0.1,
    seed: int = 0,
) -> tuple[Dataset, ExpressionTruth]:
    """Draw patients, their expression, and outcomes of every kind.

    The outcomes are "subtype" (three classes, linear in the modules' factors), "response" (two
    classes), "level" (a number) and "OS" (survival), which depend on interactions, and "unrelated"
    (two classes), which depends on nothing.

    Args:
      patients, genes, modules: numbers.
      within: share of a gene's variance that its module's factor explains.
      degree: mean number of connections of a gene within its module.
      interactions: of each outcome that depends on interactions.
      shared: how many of these are the same in all three outcomes; the others are its own.
      signal: how strongly outcomes depend on expression; at 0 nothing can be learned.
      noise: s.d. of what else adds to u in "level".
      censored: share of patients whose death is not observed.
      missing_cells, missing_labels: chance that a cell or an outcome is not known.
      seed: non-negative; the same arguments give the same bits.

    Returns:
      The dataset (modality "rna" of log2 expression; annotation "sex") and its truth.

    Raises:
      UserError: an argument that makes no sense, or more interactions than genes for them.
    """
    check_sizes(2, {"patients": patients, "genes": genes})
    check_sizes(1, {"modules": modules})
    check_sizes(0, {"interactions": interactions, "shared": shared, "seed": seed})
    check_levels({"signal": signal, "noise": noise, "degree": degree})
    shares = dict(within=within, censored=censored, missing_cells=missing_cells)
    check_shares({**shares, "missing_labels": missing_labels})
    _check_interactions(genes, interactions, shared)
    check_cells(patients * (genes + modules) + genes**2)  # the network is drawn from all pairs
    stream = partial(_stream, seed)
    module = np.arange(genes) % modules
    own = _draw_interactions(stream("interactions"), genes, interactions, shared)
    network = _united(_connect_modules(stream("network"), module, degree), *own.values())
    factors = stream("factors").standard_normal((patients, modules))
    alone = stream("genes").standard_normal((patients, genes))
    z = np.sqrt(within) * factors[:, module] + np.sqrt(1 - within) * alone
    scores = _scores(stream("interactions", 1), z, own, shared)
    scores["subtype"] = _log_odds(stream("modules"), factors)
    targets = _draw_targets(stream, scores, signal, noise, censored)
    is_known = stream("labels").random((patients, len(INTERACTING) + 2)) >= missing_labels
    modality = _measure(stream, z, missing_cells)
    truth = ExpressionTruth(modality.features, module, network, own, scores, z)
    return _dataset(stream, modality, targets, is_known), truth


def _check_interactions(genes: int, interactions: int, shared: int) -> None:
    if shared > interactions:
        raise argument_error("shared", shared, f"give at most interactions = {interactions}")
    needed = 2 * (shared + len(INTERACTING) * (interactions - shared))
    if needed > genes:
        raise argument_error(
            "interactions",
            interactions,
            f"these take {needed} genes, each for one interaction; give {needed} genes or more, or "
            "fewer interactions",
        )


def _stream(seed: int, part: str, number: int = 0) -> np.random.Generator:
    """The random stream of one part, whatever the other parts draw."""
    return np.random.default_rng([seed, _STREAMS.split().index(part), number])


# --- the network ----------------------------------------------------------------------------------


def _draw_interactions(
    rng: np.random.Generator, genes: int, interactions: int, shared: int
) -> dict[str, Edges]:
    """Outcome -> its interactions, the shared ones first; no gene is in two of them."""
    order = rng.permutation(genes)
    places = np.sort(order[: genes // 2 * 2].reshape(-1, 2), axis=1)
    count = interactions - shared
    edges = {}
    for number, name in enumerate(INTERACTING):
        start = shared + number * count
        edges[name] = np.concatenate([places[:shared], places[start : start + count]])
    return edges


def _connect_modules(
    rng: np.random.Generator, module: Int[np.ndarray, " G"], degree: float
) -> Edges:
    """Genes of the same module are connected with the chance that gives the mean degree."""
    first, second = np.triu_indices(len(module), 1)
    is_within = module[first] == module[second]
    pairs = np.stack([first, second], axis=1)[is_within]
    chance = min(1.0, degree * len(module) / 2 / max(1, len(pairs)))
    return pairs[rng.random(len(pairs)) < chance]


def _united(*edges: Edges) -> Edges:
    """All edges once, in order of their places."""
    return np.unique(np.concatenate(edges), axis=0)


# --- outcomes -------------------------------------------------------------------------------------


def _scores(
    rng: np.random.Generator, z: Genes, interactions: Mapping[str, Edges], shared: int
) -> dict[str, PerPatient]:
    """u of every outcome; shared interactions have the same sign in all of them."""
    scores = {}
    count = max((len(edges) for edges in interactions.values()), default=0)
    common = rng.choice([-1.0, 1.0], count)
    for name, edges in interactions.items():
        sign = rng.choice([-1.0, 1.0], count)
        sign[:shared] = common[:shared]
        products = z[:, edges[:, 0]] * z[:, edges[:, 1]]
        u = products @ sign[: len(edges)] - np.sum(sign[: len(edges)] * products.mean(axis=0))
        scores[name] = u / max(float(u.std()), 1e-12)
    return scores


def _log_odds(rng: np.random.Generator, factors: Float[np.ndarray, "n M"]) -> Scores:
    """(n, 3) log-odds of the subtypes, linear in the factors."""
    directions = rng.standard_normal((factors.shape[1], SUBTYPES))
    return factors @ (directions / np.linalg.norm(directions, axis=0))


def _draw_targets(
    stream: Any, scores: Mapping[str, Scores], signal: float, noise: float, censored: float
) -> dict[str, np.ndarray]:
    """Target -> its value in every patient."""
    from scipy.special import expit, softmax

    patients = len(scores["subtype"])
    subtype = softmax(signal * SUBTYPE_EFFECT * scores["subtype"], axis=1)
    response = expit(signal * RESPONSE_EFFECT * scores["response"])
    level = signal * scores["level"] + noise * stream("level").standard_normal(patients)
    risk = signal * HAZARD_EFFECT * scores["OS"]
    days, event = draw_survival(stream("death"), stream("censoring"), risk, censored)
    return {
        "subtype": draw_types(stream("subtype"), subtype),
        "response": (stream("response").random(patients) < response).astype(int),
        "level": LEVEL_MEAN + LEVEL_SD * level,
        "OS.time": days,
        "OS.event": event,
        "unrelated": (stream("unrelated").random(patients) < 0.5).astype(int),
    }


# --- the dataset ----------------------------------------------------------------------------------


def _measure(stream: Any, z: Genes, missing_cells: float) -> Modality:
    """log2 expression, each gene about its own mean with its own spread, 0 or above."""
    patients, genes = z.shape
    rng = stream("scale")
    mean = rng.uniform(4, 12, genes)
    spread = np.exp(0.3 * rng.standard_normal(genes))
    values = np.maximum(mean + spread * z, 0).astype(np.float32)
    names = feature_names(MODALITY, genes)
    return hide_cells(stream("cells"), values, names, np.ones(patients, bool), missing_cells)


def _dataset(
    stream: Any,
    modality: Modality,
    targets: Mapping[str, np.ndarray],
    is_known: Bool[np.ndarray, "n outcomes"],
) -> Dataset:
    n = len(is_known)
    digits = max(4, len(str(n)))
    ids = np.array([f"P{number:0{digits}d}" for number in range(1, n + 1)])
    sex = np.where(stream("sex").random(n) < 0.5, "male", "female")
    return Dataset(
        ids=ids,
        groups=ids,
        modalities={MODALITY: modality},
        table=pd.DataFrame({"sex": sex}, index=pd.Index(ids, name="id")),
        targets=_with_masks(targets, is_known),
        notes=("simulated expression and outcomes with a known truth",),
        classes={
            "subtype": class_names(SUBTYPES),
            "response": ("no", "yes"),
            "unrelated": ("no", "yes"),
        },
    )


def _with_masks(
    targets: Mapping[str, np.ndarray], is_known: Bool[np.ndarray, "n outcomes"]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Target -> (values, known); time and event of survival are known together."""
    masked = {}
    outcomes: Sequence[str] = list(dict.fromkeys(name.partition(".")[0] for name in targets))
    for name, values in targets.items():
        known = is_known[:, outcomes.index(name.partition(".")[0])]
        dtype = np.int32 if values.dtype == int else np.float32
        masked[name] = np.where(known, values, 0).astype(dtype), known
    return masked
