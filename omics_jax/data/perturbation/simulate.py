"""Simulated perturbation experiments with a known truth, in the layout of the L1000 readers.

A cell line has a latent state, a drug acts linearly on it, z2 = z1 + W z1 + b (the drug function of
PertVAE, Rampasek et al.), and both states are read out as log2 expression through plates,
replicates and platforms. Dose series, time courses, cell viability and outlier wells are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.simulation.arguments import check_cells, check_levels, check_shares, check_sizes

# Share of a drug's expected squared latent effect that is the same in every cell line (b rather
# than W z1).
COMMON_SHARE = 0.6
W_DENSITY = 0.25
B_DENSITY = 0.5
ARRAYS_PER_BATCH = 48

# Each part draws from its own stream, so more singletons leave every pair as it was.
_STREAMS = "genes drugs lines plates control treated platform singletons missing".split()

Streams = Mapping[str, np.random.Generator]


@dataclass(frozen=True)
class ExpressionMap:
    """From latent state to noise-free log2 expression, gene by gene.

    With u = loadings z (unit variance for z ~ N(0, I)):
    x = baseline + scale (u + curvature (sqrt(1 + u^2) - 1)),
    which increases in u because |curvature| < 1.
    """

    baseline: Float[np.ndarray, " genes"]
    scale: Float[np.ndarray, " genes"]
    curvature: Float[np.ndarray, " genes"]
    loadings: Float[np.ndarray, "genes latent"]


@dataclass(frozen=True)
class PerturbationTruth:
    """What the simulator knows about the rows and drugs of its dataset.

    Attributes:
      z1, z2: latent state before and after treatment, free of noise; z2 = z1 on singleton rows.
      change: expected treated minus control expression in log2 units; 0 on singleton rows.
      drugs: names, the axis of W, b and null.
      W, b: the drug functions z2 = z1 + W z1 + b, in units of the s.d. of z1.
      null: True for drugs without any effect.
      genes: the map from latent state to expression on the L1000 platform.
      platform_shift, platform_gain: the array platform reads
        baseline + shift + gain (x - baseline).
    """

    z1: Float[np.ndarray, "rows latent"]
    z2: Float[np.ndarray, "rows latent"]
    change: Float[np.ndarray, "rows genes"]
    drugs: tuple[str, ...]
    W: Float[np.ndarray, "drugs latent latent"]
    b: Float[np.ndarray, "drugs latent"]
    null: Bool[np.ndarray, " drugs"]
    genes: ExpressionMap
    platform_shift: Float[np.ndarray, " genes"]
    platform_gain: Float[np.ndarray, " genes"]

    @property
    def loadings(self) -> Float[np.ndarray, "genes latent"]:
        """Gene loadings on the latent state, rows of unit length."""
        return self.genes.loadings


class _Drugs(NamedTuple):
    """The drug functions z2 = z1 + W z1 + b by name."""

    names: tuple[str, ...]
    W: Float[np.ndarray, "drugs latent latent"]
    b: Float[np.ndarray, "drugs latent"]


class _Platform(NamedTuple):
    """The array platform: it reads baseline + shift + gain (x - baseline)."""

    shift: Float[np.ndarray, " genes"]
    gain: Float[np.ndarray, " genes"]


class _Noise(NamedTuple):
    """s.d. per gene of a plate's effect and of a single well, in log2 units."""

    batch: float
    measurement: float


@dataclass(frozen=True)
class _Rows:
    """Rows of one kind: latent states, measured profiles and annotations (with a column "id")."""

    z1: Float[np.ndarray, "rows latent"]
    z2: Float[np.ndarray, "rows latent"]
    control: Float[np.ndarray, "rows genes"]
    treated: Float[np.ndarray, "rows genes"]
    table: pd.DataFrame


def expression(
    genes: ExpressionMap, z: Float[np.ndarray, "n latent"]
) -> Float[np.ndarray, "n genes"]:
    """Noise-free log2 expression of latent states, see `ExpressionMap`."""
    u = z @ genes.loadings.T
    return genes.baseline + genes.scale * (u + genes.curvature * (np.sqrt(1 + u**2) - 1))


def simulate_perturbations(
    *,
    genes: int = 200,
    drugs: int = 3,
    null_drugs: int = 1,
    cell_lines: int = 30,
    replicates: int = 2,
    singletons: int = 200,
    latent: int = 8,
    effect: float = 0.5,
    batch_noise: float = 0.3,
    measurement_noise: float = 0.4,
    platform_shift: float = 0.8,
    missing: float = 0.0,
    seed: int = 0,
) -> tuple[Dataset, PerturbationTruth]:
    """Draw an L1000-like experiment: every drug in every cell line, and untreated profiles.

    Rows: (drugs + null_drugs) x cell_lines x replicates pairs, then the singletons (treated mask
    all False). A tenth of the singletons (a third of the cell lines at most) are of lines that also
    have pairs. A plate is one replicate of one cell line and carries its control and treated wells
    of all drugs, so its effect cancels in a pair's difference; every well has its own noise.

    Args:
      genes, latent: numbers of genes and of latent dimensions; z1 ~ N(0, I) per cell line.
      drugs, null_drugs: numbers of drugs with an effect ("active-1", ...) and without one
        ("inert-1", ...).
      cell_lines, replicates: cell lines with pairs, and pairs per drug and line.
      singletons: untreated profiles on another platform ("array").
      effect: root mean square of z2 - z1 per latent dimension, in s.d. of z1.
      batch_noise, measurement_noise: s.d. per gene of a plate's effect and of one well, log2 units.
      platform_shift: s.d. over genes of the array platform's shift, log2 units; its log gain has a
        quarter.
      missing: expected fraction of cells hidden at random.
      seed: non-negative; the same arguments give the same bits.

    Returns:
      The dataset (modalities "control" and "treated", groups = cell lines) and its truth, row by
      row.

    Raises:
      UserError: a size below its minimum, a negative or non-finite level, `missing` outside [0, 1).
    """
    _check_sizes(genes, drugs, null_drugs, cell_lines, replicates, singletons, latent, seed)
    _check_levels(effect, batch_noise, measurement_noise, platform_shift)
    check_shares({"missing": missing})
    rng = {name: np.random.default_rng([seed, index]) for index, name in enumerate(_STREAMS)}
    noise = _Noise(batch_noise, measurement_noise)
    gene_map = _draw_genes(rng["genes"], genes, latent)
    drug_functions = _draw_drugs(rng["drugs"], drugs, null_drugs, latent, effect)
    lines = rng["lines"].standard_normal((cell_lines, latent))
    platform = _draw_platform(rng["platform"], genes, platform_shift)
    pairs = _draw_pairs(rng, gene_map, drug_functions, lines, replicates, noise)
    single = _draw_singletons(rng["singletons"], gene_map, platform, lines, singletons, noise)
    dataset = _assemble(pairs, single, missing, rng["missing"])
    return dataset, _truth(pairs, single, gene_map, drug_functions, platform)


def _check_sizes(genes, drugs, null_drugs, cell_lines, replicates, singletons, latent, seed):
    optional = {"drugs": drugs, "null_drugs": null_drugs, "singletons": singletons, "seed": seed}
    required = {
        "genes": genes,
        "latent": latent,
        "cell_lines": cell_lines,
        "replicates": replicates,
        "drugs + null_drugs": drugs + null_drugs,
    }
    check_sizes(0, optional)
    check_sizes(1, required)
    rows = (drugs + null_drugs) * cell_lines * replicates + singletons
    check_cells(rows * (genes + latent))


def _check_levels(effect, batch_noise, measurement_noise, platform_shift):
    noises = {"batch_noise": batch_noise, "measurement_noise": measurement_noise}
    check_levels({"effect": effect, **noises, "platform_shift": platform_shift})


def _draw_genes(rng: np.random.Generator, genes: int, latent: int) -> ExpressionMap:
    """Baselines of 6 to 13 and scales of 0.5 to 1.1, near those of landmark genes in cell lines."""
    loadings = rng.standard_normal((genes, latent))
    return ExpressionMap(
        baseline=6 + 7 * rng.beta(2.5, 3.5, genes),
        scale=rng.uniform(0.5, 1.1, genes),
        curvature=rng.uniform(-0.4, 0.4, genes),
        loadings=loadings / np.linalg.norm(loadings, axis=1, keepdims=True),
    )


def _draw_drugs(
    rng: np.random.Generator, drugs: int, null_drugs: int, latent: int, effect: float
) -> _Drugs:
    """The drugs with an effect, then the null drugs, whose W and b are 0.

    With z1 ~ N(0, I), E|W z1 + b|^2 = |W|_F^2 + |b|^2 = latent effect^2, of which b has
    `COMMON_SHARE`.
    """
    W = np.zeros((drugs + null_drugs, latent, latent))
    b = np.zeros((drugs + null_drugs, latent))
    norm = effect * math.sqrt(latent)
    W_norm = math.sqrt(1 - COMMON_SHARE) * norm
    b_norm = math.sqrt(COMMON_SHARE) * norm
    for drug in range(drugs):
        W[drug] = W_norm * _sparse_direction(rng, (latent, latent), W_DENSITY)
        b[drug] = b_norm * _sparse_direction(rng, (latent,), B_DENSITY)
    active_names = [f"active-{drug + 1}" for drug in range(drugs)]
    null_names = [f"inert-{drug + 1}" for drug in range(null_drugs)]
    return _Drugs((*active_names, *null_names), W, b)


def _sparse_direction(
    rng: np.random.Generator, shape: tuple[int, ...], density: float
) -> np.ndarray:
    """An array of unit Euclidean length whose share `density` (one entry at least) is not zero."""
    size = math.prod(shape)
    direction = np.zeros(size)
    chosen = rng.choice(size, max(1, round(density * size)), replace=False)
    signs = rng.choice([-1.0, 1.0], len(chosen))
    direction[chosen] = signs * rng.uniform(0.5, 1.5, len(chosen))
    return (direction / np.linalg.norm(direction)).reshape(shape)


def _draw_platform(rng: np.random.Generator, genes: int, sd: float) -> _Platform:
    """Shift and gain of every gene on the array platform."""
    shift = sd * rng.standard_normal(genes)
    log_gain = 0.25 * sd * rng.standard_normal(genes)
    return _Platform(shift, np.exp(log_gain))


def _draw_pairs(
    rng: Streams,
    genes: ExpressionMap,
    drugs: _Drugs,
    lines: Float[np.ndarray, "lines latent"],
    replicates: int,
    noise: _Noise,
) -> _Rows:
    """Every drug in every cell line and replicate, drug by drug."""
    shape = (len(drugs.names), len(lines), replicates)
    drug, line, replicate = np.indices(shape).reshape(3, -1)
    z1 = lines[line]
    z2 = z1 + np.einsum("rij,rj->ri", drugs.W[drug], z1) + drugs.b[drug]
    plates = rng["plates"].standard_normal((len(lines), replicates, len(genes.baseline)))
    plate = noise.batch * plates[line, replicate]

    def measure(well: str, z):
        draws = rng[well].standard_normal(plate.shape)
        return expression(genes, z) + plate + noise.measurement * draws

    return _Rows(
        z1=z1,
        z2=z2,
        control=measure("control", z1),
        treated=measure("treated", z2),
        table=_pair_table(drugs.names, drug, line, replicate),
    )


def _draw_singletons(
    rng: np.random.Generator,
    genes: ExpressionMap,
    platform: _Platform,
    lines: Float[np.ndarray, "lines latent"],
    singletons: int,
    noise: _Noise,
) -> _Rows:
    """Untreated profiles on the array platform: first of lines that have pairs, then of others."""
    known = min(len(lines) // 3, singletons // 10)
    further = singletons - known
    line_numbers = np.concatenate([np.arange(known), len(lines) + np.arange(further)])
    z = np.concatenate([lines[:known], rng.standard_normal((further, lines.shape[1]))])

    batch = np.arange(singletons) // ARRAYS_PER_BATCH
    n_batches = math.ceil(singletons / ARRAYS_PER_BATCH)
    n_genes = len(genes.baseline)
    batch_effects = noise.batch * rng.standard_normal((n_batches, n_genes))
    wells = noise.measurement * rng.standard_normal((singletons, n_genes))
    signal = platform.gain * (expression(genes, z) - genes.baseline)
    control = genes.baseline + platform.shift + signal + batch_effects[batch] + wells
    return _Rows(
        z1=z,
        z2=z,
        control=control,
        treated=np.zeros_like(control),
        table=_singleton_table(line_numbers, batch),
    )


def _pair_table(
    drugs: tuple[str, ...],
    drug: Int[np.ndarray, " rows"],
    line: Int[np.ndarray, " rows"],
    replicate: Int[np.ndarray, " rows"],
) -> pd.DataFrame:
    names = [drugs[index] for index in drug]
    lines = [_line_name(number) for number in line]
    ids = [f"{d}_{c}_r{r + 1}" for d, c, r in zip(names, lines, replicate, strict=True)]
    plates = [f"plate_{c}_x{r + 1}" for c, r in zip(lines, replicate, strict=True)]
    return pd.DataFrame(
        {
            "id": ids,
            "drug": names,
            "cell_line": lines,
            "dose": "10 uM",
            "time": "24 h",
            "batch": plates,
            "platform": "L1000",
            "control_id": [f"{name}_control" for name in ids],
            "treated_id": [f"{name}_treated" for name in ids],
        }
    )


def _singleton_table(
    line_numbers: Int[np.ndarray, " rows"], batch: Int[np.ndarray, " rows"]
) -> pd.DataFrame:
    lines = [_line_name(number) for number in line_numbers]
    ids = [f"{line}_array" for line in lines]
    return pd.DataFrame(
        {
            "id": ids,
            "drug": "",
            "cell_line": lines,
            "dose": "",
            "time": "",
            "batch": [f"array_b{index + 1}" for index in batch],
            "platform": "array",
            "control_id": ids,
            "treated_id": "",
        }
    )


def _line_name(number: int | np.integer) -> str:
    return f"line-{number + 1:04d}"


def _assemble(pairs: _Rows, single: _Rows, missing: float, rng: np.random.Generator) -> Dataset:
    """Pairs, then singletons, with unmeasured profiles and a random fraction of cells masked."""
    table = pd.concat([pairs.table, single.table], ignore_index=True)
    treated = np.arange(len(table)) < len(pairs.table)
    features = np.array([f"gene-{g + 1:04d}" for g in range(pairs.control.shape[1])])
    modalities = {}
    for name, measured in (("control", np.ones_like(treated)), ("treated", treated)):
        values = np.concatenate([getattr(pairs, name), getattr(single, name)])
        mask = measured[:, None] & (rng.random(values.shape) >= missing)
        stored = np.where(mask, values, 0).astype(np.float32)
        modalities[name] = Modality(stored, mask, features, one_unit=True)
    return Dataset(
        ids=table["id"].to_numpy(dtype=str),
        groups=table["cell_line"].to_numpy(dtype=str),
        modalities=modalities,
        table=table.set_index("id"),
        notes=("simulated perturbation experiment with a known truth",),
    )


def _truth(
    pairs: _Rows, single: _Rows, genes: ExpressionMap, drugs: _Drugs, platform: _Platform
) -> PerturbationTruth:
    z1 = np.concatenate([pairs.z1, single.z1])
    z2 = np.concatenate([pairs.z2, single.z2])
    has_effect = drugs.W.any(axis=(1, 2)) | drugs.b.any(axis=1)
    return PerturbationTruth(
        z1=z1,
        z2=z2,
        change=expression(genes, z2) - expression(genes, z1),
        drugs=drugs.names,
        W=drugs.W,
        b=drugs.b,
        null=~has_effect,
        genes=genes,
        platform_shift=platform.shift,
        platform_gain=platform.gain,
    )
