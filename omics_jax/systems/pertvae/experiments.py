"""PertVAE's experiments: the protocol of table 1 and the comparison of figure 2, as arms."""

from __future__ import annotations

import numpy as np
import pandas as pd

from omics_jax.data.dataset import Dataset, Modality
from omics_jax.data.preprocessing import fit_standardizer
from omics_jax.data.splits import repeated_group_folds, with_training_rows
from omics_jax.errors import UserError
from omics_jax.systems.pertvae.assembly import build, platform_codes, platforms
from omics_jax.systems.system import Arm, DataSpec
from omics_jax.training.stage import Replicate


def table1(config, dataset: Dataset) -> list[Arm]:
    """Table 1: one model per drug (or one for all, `model.per_drug=False`), repeated folds by group.

    Validation rows are the next fold's; the singletons of a held-out cell line leave the training set with it.
    """
    paired = dataset.modalities["treated"].observed_rows
    if not paired.any():
        raise UserError(
            "the data hold no pair of a control and a treated profile; check data.control_values and data.pair_by"
        )
    singletons = np.flatnonzero(~paired)
    drug = dataset.table["drug"].astype(str).to_numpy()
    names = sorted(set(drug[paired])) if config.model.per_drug else ["all drugs"]
    replicates = []
    for name in names:
        rows = np.flatnonzero(paired & (drug == name)) if config.model.per_drug else np.flatnonzero(paired)
        splits = _splits(config, dataset.groups, rows, f"drug {name!r}")
        for split in splits:
            replicates.append(_pair_replicate(config, dataset, split, singletons, name))
    spec = spec_of(dataset, replicates)
    return [Arm("pertvae", build(config, spec), config, spec, dataset, replicates)]


def figure2(config, dataset: Dataset) -> list[Arm]:
    """Figure 2: a plain VAE against PCA with as many dimensions, on all profiles, control and treated alike."""
    if not config.figure2.latent_sizes or min(config.figure2.latent_sizes) < 1:
        raise UserError(f"config.figure2.latent_sizes is {config.figure2.latent_sizes}; list sizes of 1 or more")
    profiles = all_profiles(dataset)
    splits = _splits(config, profiles.groups, np.arange(len(profiles)), "figure2")
    arms = []
    for latent in config.figure2.latent_sizes:
        sized = config.copy_and_resolve_references()
        sized.model.latent = latent
        replicates = [
            Replicate(
                rows={"singletons": s.train},
                validation={"singletons": s.validation},
                test=s.test,
                seed=_seed(config, s),
                constants=_constants(profiles, s.train),
                labels={"group": "all profiles", "fold": s.fold, "repeat": s.repeat},
            )
            for s in splits
        ]
        spec = spec_of(profiles, replicates)
        labels = {"latent": latent}
        arms.append(Arm(f"latent {latent}", build(sized, spec), sized, spec, profiles, replicates, labels=labels))
    return arms


def _splits(config, groups, rows, what: str):
    try:
        return repeated_group_folds(groups, folds=config.folds, repeats=config.repeats, seed=config.seed, rows=rows)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def _pair_replicate(config, dataset, split, singletons, name) -> Replicate:
    whole = with_training_rows(split, dataset.groups, singletons)
    alone = np.setdiff1d(whole.train, split.train)
    sampling = {}
    if config.data.weight_replicates:
        # Each (cell line, drug) counts the same, however often it was measured.
        measured = dataset.table.iloc[split.train].groupby(["cell_line", "drug"])["drug"].transform("size")
        sampling["pairs"] = (1.0 / measured).to_numpy(np.float32)
    rows = {"pairs": split.train, **({"singletons": alone} if len(singletons) else {})}
    return Replicate(
        rows=rows,
        validation={"pairs": split.validation},
        test=split.test,
        seed=_seed(config, split),
        constants=_constants(dataset, whole.train),
        labels={"group": name, "fold": split.fold, "repeat": split.repeat},
        sampling=sampling,
    )


def _seed(config, split) -> int:
    """Of the split itself, not of its place among the replicates, which changes with the choice of drugs."""
    return config.seed + 1000 * split.repeat + split.fold


def _constants(dataset: Dataset, train: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and s.d. per platform and gene, over the training rows' control and treated profiles."""
    levels = platforms(dataset)
    codes = platform_codes(dataset, levels)[train]
    parts = [dataset.modalities[name].take(train) for name in dataset.modalities]
    values, mask = (np.concatenate([getattr(p, what) for p in parts]) for what in ("values", "mask"))
    return fit_standardizer(values, mask, np.tile(codes, len(parts)), len(levels))


def spec_of(dataset: Dataset, replicates) -> DataSpec:
    """Genes, the most training rows of each slot, and the platforms."""
    slots = replicates[0].rows
    rows = {slot: max(len(r.rows[slot]) for r in replicates) for slot in slots}
    features = {name: tuple(m.features.astype(str).tolist()) for name, m in dataset.modalities.items()}
    return DataSpec(features, rows, {"platform": platforms(dataset)})


def all_profiles(dataset: Dataset) -> Dataset:
    """Every profile as a row of the modality "control": each control once, treated profiles, singletons.

    A control is what it is in the pairs: under `data.control_profile="mean"` the mean of its wells.
    """
    control, treated = dataset.modalities["control"], dataset.modalities["treated"]
    paired = treated.observed_rows
    # Pairs of one control repeat its profile; only the bytes tell, as stored pairs do not name their controls.
    first = ~pd.Series([row.tobytes() for row in control.values]).duplicated().to_numpy()
    before, after = np.flatnonzero(first | ~paired), np.flatnonzero(paired)
    stack = lambda a, b: np.concatenate([a[before], b[after]])
    ids = np.concatenate([[f"{i}|control" for i in dataset.ids[before]], dataset.ids[after]])
    table = pd.concat([dataset.table.iloc[before], dataset.table.iloc[after]])
    table.index = ids
    modality = Modality(stack(control.values, treated.values), stack(control.mask, treated.mask), control.features)
    return Dataset(ids, stack(dataset.groups, dataset.groups), {"control": modality}, table)


EXPERIMENTS = {"table1": table1, "figure2": figure2}
