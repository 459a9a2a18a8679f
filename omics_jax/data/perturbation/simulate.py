"""Simulated perturbation experiments with a known truth, in the layout that the L1000 readers
produce.

A cell line has a latent state, a drug acts linearly on it, z2 = z1 + W z1 + b (the drug function of
PertVAE,
Rampasek et al.), and both states are read out as log2 expression through plates, replicates and
platforms.
Dose series, time courses, cell viability and outlier wells are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.errors import UserError

# Share of a drug's expected squared latent effect that is the same in every cell line (b rather
# than W z1).
COMMON_SHARE = 0.6
W_DENSITY = 0.25
B_DENSITY = 0.5
ARRAYS_PER_BATCH = 48

# Each part draws from a stream of its own, so that asking for more singletons leaves every pair as
# it was.
_STREAMS = (
    "genes",
    "drugs",
    "lines",
    "plates",
    "control",
    "treated",
    "platform",
    "singletons",
    "missing",
)


@dataclass(frozen=True)
class ExpressionMap:
    """From latent state to noise-free log2 expression, gene by gene.

    With u = loadings z (unit variance for z ~ N(0, I)):
    x = baseline + scale (u + curvature (sqrt(1 + u^2) - 1)), increasing in u because |curvature| <
    1.
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
      platform_shift, platform_gain: the array platform reads baseline + shift + gain (x -
        baseline).
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
    """Draw an L1000-like experiment: every drug in every cell line, and untreated profiles of
    further lines.

    Rows: (drugs + null_drugs) x cell_lines x replicates pairs, then the singletons (treated mask
      all False).
    A tenth of the singletons (a third of the cell lines at most) are of lines that also have pairs.
    A plate
    is one replicate of one cell line and carries its control and treated wells of all drugs, so its
    effect
    cancels in a pair's difference; every well has noise of its own.

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
    _check_levels(effect, batch_noise, measurement_noise, platform_shift, missing)
    rng = {name: np.random.default_rng([seed, index]) for index, name in enumerate(_STREAMS)}
    noise = (batch_noise, measurement_noise)
    gene_map = _draw_genes(rng["genes"], genes, latent)
    W, b = _draw_drugs(rng["drugs"], drugs, null_drugs, latent, effect)
    names = [f"active-{i + 1}" for i in range(drugs)] + [
        f"inert-{i + 1}" for i in range(null_drugs)
    ]
    lines = rng["lines"].standard_normal((cell_lines, latent))
    platform = _draw_platform(rng["platform"], genes, platform_shift)
    pairs = _draw_pairs(rng, gene_map, names, W, b, lines, replicates, noise)
    single = _draw_singletons(rng["singletons"], gene_map, platform, lines, singletons, noise)
    dataset = _assemble(pairs, single, missing, rng["missing"])
    return dataset, _tell_truth(pairs, single, gene_map, names, W, b, platform)


def _check_sizes(
    genes, drugs, null_drugs, cell_lines, replicates, singletons, latent, seed
) -> None:
    at_least_one = {
        "genes": genes,
        "latent": latent,
        "cell_lines": cell_lines,
        "replicates": replicates,
    }
    at_least_zero = {
        "drugs": drugs,
        "null_drugs": null_drugs,
        "singletons": singletons,
        "seed": seed,
    }
    at_least_one["drugs + null_drugs"] = drugs + null_drugs
    for minimum, sizes in ((0, at_least_zero), (1, at_least_one)):
        for name, value in sizes.items():
            if value < minimum:
                raise UserError(f"the simulator was given {name} = {value}; give {minimum} or more")


def _check_levels(effect, batch_noise, measurement_noise, platform_shift, missing) -> None:
    levels = {
        "effect": effect,
        "batch_noise": batch_noise,
        "measurement_noise": measurement_noise,
        "platform_shift": platform_shift,
    }
    for name, value in levels.items():
        if not (math.isfinite(value) and value >= 0):
            raise UserError(
                f"the simulator was given {name} = {value}; give a finite number of 0 or more"
            )
    if not 0 <= missing < 1:
        raise UserError(
            f"the simulator was given missing = {missing}; give a fraction from 0 to below 1"
        )


def _draw_genes(rng: np.random.Generator, genes: int, latent: int) -> ExpressionMap:
    """Baselines of 6 to 13 and scales of 0.5 to 1.1, near those of landmark genes over cell lines."""
    loadings = rng.standard_normal((genes, latent))
    return ExpressionMap(
        baseline=6 + 7 * rng.beta(2.5, 3.5, genes),
        scale=rng.uniform(0.5, 1.1, genes),
        curvature=rng.uniform(-0.4, 0.4, genes),
        loadings=loadings / np.linalg.norm(loadings, axis=1, keepdims=True),
    )


def _draw_drugs(rng: np.random.Generator, drugs: int, null_drugs: int, latent: int, effect: float):
    """W (drugs, latent, latent) and b (drugs, latent), zero for the null drugs at the end.

    With z1 ~ N(0, I), E|W z1 + b|^2 = |W|_F^2 + |b|^2 = latent effect^2, of which b has
    `COMMON_SHARE`.
    """
    W = np.zeros((drugs + null_drugs, latent, latent))
    b = np.zeros((drugs + null_drugs, latent))
    norm = effect * math.sqrt(latent)
    for drug in range(drugs):
        W[drug] = (
            math.sqrt(1 - COMMON_SHARE) * norm * _sparse_direction(rng, (latent, latent), W_DENSITY)
        )
        b[drug] = math.sqrt(COMMON_SHARE) * norm * _sparse_direction(rng, (latent,), B_DENSITY)
    return W, b


def _sparse_direction(
    rng: np.random.Generator, shape: tuple[int, ...], density: float
) -> np.ndarray:
    """An array of unit Euclidean length whose share `density` (one entry at least) is not zero."""
    size = math.prod(shape)
    direction = np.zeros(size)
    chosen = rng.choice(size, max(1, round(density * size)), replace=False)
    direction[chosen] = rng.choice([-1.0, 1.0], len(chosen)) * rng.uniform(0.5, 1.5, len(chosen))
    return (direction / np.linalg.norm(direction)).reshape(shape)


def _draw_platform(
    rng: np.random.Generator, genes: int, sd: float
) -> tuple[np.ndarray, np.ndarray]:
    """Shift and gain of every gene on the array platform."""
    return sd * rng.standard_normal(genes), np.exp(0.25 * sd * rng.standard_normal(genes))


def _draw_pairs(rng, genes: ExpressionMap, drugs, W, b, lines, replicates: int, noise) -> _Rows:
    """Every drug in every cell line and replicate, drug by drug."""
    shape = (len(drugs), len(lines), replicates)
    drug, line, replicate = np.indices(shape).reshape(3, -1)
    batch_noise, measurement_noise = noise
    z1 = lines[line]
    z2 = z1 + np.einsum("rij,rj->ri", W[drug], z1) + b[drug]
    plates = rng["plates"].standard_normal((len(lines), replicates, len(genes.baseline)))
    plate = batch_noise * plates[line, replicate]
    wells = {
        name: expression(genes, z)
        + plate
        + measurement_noise * rng[name].standard_normal(plate.shape)
        for name, z in (("control", z1), ("treated", z2))
    }
    return _Rows(z1=z1, z2=z2, **wells, table=_pair_table(drugs, drug, line, replicate))


def _draw_singletons(rng, genes: ExpressionMap, platform, lines, singletons: int, noise) -> _Rows:
    """Untreated profiles on the array platform: some lines that have pairs, then lines of their
    own.
    """
    shift, gain = platform
    batch_noise, measurement_noise = noise
    known = min(len(lines) // 3, singletons // 10)
    numbers = np.concatenate([np.arange(known), len(lines) + np.arange(singletons - known)])
    batch = np.arange(singletons) // ARRAYS_PER_BATCH
    z = np.concatenate([lines[:known], rng.standard_normal((singletons - known, lines.shape[1]))])
    batches = batch_noise * rng.standard_normal(
        (math.ceil(singletons / ARRAYS_PER_BATCH), len(shift))
    )
    wells = measurement_noise * rng.standard_normal((singletons, len(shift)))
    control = (
        genes.baseline
        + shift
        + gain * (expression(genes, z) - genes.baseline)
        + batches[batch]
        + wells
    )
    table = _singleton_table(numbers, batch)
    return _Rows(z1=z, z2=z, control=control, treated=np.zeros_like(control), table=table)


def _pair_table(drugs: list[str], drug, line, replicate) -> pd.DataFrame:
    names = [drugs[index] for index in drug]
    lines = [_line_name(number) for number in line]
    ids = [f"{d}_{c}_r{r + 1}" for d, c, r in zip(names, lines, replicate, strict=True)]
    return pd.DataFrame(
        {
            "id": ids,
            "drug": names,
            "cell_line": lines,
            "dose": "10 uM",
            "time": "24 h",
            "batch": [f"plate_{c}_x{r + 1}" for c, r in zip(lines, replicate, strict=True)],
            "platform": "L1000",
            "control_id": [f"{name}_control" for name in ids],
            "treated_id": [f"{name}_treated" for name in ids],
        }
    )


def _singleton_table(numbers, batch) -> pd.DataFrame:
    lines = [_line_name(number) for number in numbers]
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
        modalities[name] = Modality(values=stored, mask=mask, features=features)
    return Dataset(
        ids=table["id"].to_numpy(dtype=str),
        groups=table["cell_line"].to_numpy(dtype=str),
        modalities=modalities,
        table=table.set_index("id"),
        notes=("simulated perturbation experiment with a known truth",),
    )


def _tell_truth(pairs: _Rows, single: _Rows, genes, drugs, W, b, platform) -> PerturbationTruth:
    z1 = np.concatenate([pairs.z1, single.z1])
    z2 = np.concatenate([pairs.z2, single.z2])
    return PerturbationTruth(
        z1=z1,
        z2=z2,
        change=expression(genes, z2) - expression(genes, z1),
        drugs=tuple(drugs),
        W=W,
        b=b,
        null=~(W.any(axis=(1, 2)) | b.any(axis=1)),
        genes=genes,
        platform_shift=platform[0],
        platform_gain=platform[1],
    )
