"""PertVAE's experiments: the protocol of table 1 and the comparison of figure 2, as arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int
from ml_collections import ConfigDict

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.quality import far_limits, plausible_range, robust_spread
from omics_jax.data.dataset.splits import Split, with_training_rows
from omics_jax.data.preprocessing.standardize import fit_standardizer
from omics_jax.errors import UserError
from omics_jax.study import folds
from omics_jax.study.external import check_experiment, is_external, tested_on
from omics_jax.study.system import Arm, Experiment
from omics_jax.systems.pertvae import conclusions, drugs
from omics_jax.systems.pertvae.assembly import Spec, build, platform_codes, platforms
from omics_jax.systems.pertvae.joining import FILES
from omics_jax.training.stage import Replicate


def table1(config: ConfigDict, dataset: Dataset) -> list[Arm]:
    """Table 1: a model per drug, or one for all (`model.per_drug=False`), repeated folds by group.

    Validation rows are the next fold's; the singletons of a held-out cell line leave the training
    set with it. A drug in fewer groups than there are folds is left out with a note.
    """
    paired = dataset.modalities["treated"].observed_rows
    if not paired.any():
        raise UserError(
            "the data hold no pair of a control and a treated profile; check data.control_values "
            "and data.pair_by"
        )
    splits, left_out = drugs.splits_by_model(config, dataset, paired)
    return [_perturbation_arm(config, dataset, splits, left_out)]


def external(config: ConfigDict, dataset: Dataset) -> list[Arm]:
    """The models of table 1 trained on one set of pairs, tested on another (`data.external`)."""
    check_experiment(config, dataset, "pairs", FILES.external)
    paired, outside = dataset.modalities["treated"].observed_rows, is_external(dataset)
    splits, left_out = drugs.splits_by_model(config, dataset, paired & ~outside)
    drug = dataset.table["drug"].to_numpy(str)
    tested = {
        name: np.flatnonzero(outside & ((drug == name) | (name == drugs.ALL))) for name in splits
    }
    splits = {
        name: [tested_on(tested[name], split) for split in parts] for name, parts in splits.items()
    }
    return [_perturbation_arm(config, dataset, splits, left_out)]


def _perturbation_arm(
    config: ConfigDict,
    dataset: Dataset,
    splits: Mapping[str, Sequence[Split]],
    left_out: Sequence[str],
) -> Arm:
    """A model per name of `splits` and split.

    left_out: notes on drugs without a model.
    """
    singletons = np.flatnonzero(~dataset.modalities["treated"].observed_rows)
    replicates = [
        _pair_replicate(config, dataset, split, singletons, name)
        for name, splits_of_model in splits.items()
        for split in splits_of_model
    ]
    notes = (*left_out, *drugs.limits(dataset, splits))
    spec = spec_of(dataset, replicates)
    return Arm("pertvae", build(config, spec), config, spec, dataset, replicates, notes=notes)


def figure2(config: ConfigDict, dataset: Dataset) -> list[Arm]:
    """Figure 2: a plain VAE against PCA of as many dimensions, on control and treated profiles."""
    sizes = config.figure2.latent_sizes
    if not sizes or min(sizes) < 1:
        raise UserError(f"config.figure2.latent_sizes is {sizes}; list sizes of 1 or more")
    profiles = all_profiles(dataset)
    splits = folds.deal_folds(config, profiles)
    trained = folds.replicates(
        config, splits, "singletons", lambda s: constants_of(profiles, s.train), "all profiles"
    )
    spec = spec_of(profiles, trained)
    return [_reconstruction_arm(config, latent, spec, profiles, trained) for latent in sizes]


def _reconstruction_arm(
    config: ConfigDict,
    latent: int,
    spec: Spec,
    profiles: Dataset,
    replicates: Sequence[Replicate],
) -> Arm:
    """The plain VAE of one latent size."""
    sized = config.copy_and_resolve_references()
    sized.model.latent = latent
    system, labels = build(sized, spec), {"latent": latent}
    return Arm(f"latent {latent}", system, sized, spec, profiles, replicates, labels=labels)


def _pair_replicate(
    config: ConfigDict,
    dataset: Dataset,
    split: Split,
    singletons: Int[np.ndarray, " m"],
    drug: str,
) -> Replicate:
    """A split of the pairs, with the singletons of the cell lines that it trains on."""
    together = with_training_rows(split, dataset.groups, singletons)
    alone = np.setdiff1d(together.train, split.train)
    sampling = {}
    if config.data.weight_replicates:
        # Each (cell line, drug) counts the same, however often it was measured.
        pairs = dataset.table.iloc[split.train].groupby(["cell_line", "drug"])
        sampling["pairs"] = (1.0 / pairs["drug"].transform("size")).to_numpy(np.float32)
    return Replicate(
        rows={"pairs": split.train, **({"singletons": alone} if len(singletons) else {})},
        validation={"pairs": split.validation},
        test=split.test,
        seed=folds.seed_of(config, split),
        constants=constants_of(dataset, together.train),
        labels=folds.labels_of(split, drug),
        sampling=sampling,
    )


def constants_of(dataset: Dataset, train: Int[np.ndarray, " train"]) -> dict[str, np.ndarray]:
    """Scale and range per platform and gene, over the training rows' control and treated profiles.

    Returns:
      mean, sd, low, high, far_low and far_high, (platforms, genes) float32. low and high are the
      smallest and largest values that are not far from all others, and far_low and far_high the
      limits outside of which a value is far (`data.dataset.quality`). Mean and s.d. are those of
      values clipped to low and high.
    """
    levels = platforms(dataset)
    parts = [dataset.modalities[name].take(train) for name in dataset.modalities]
    codes = np.tile(platform_codes(dataset, levels)[train], len(parts))
    values, mask = (
        np.concatenate([getattr(p, what) for p in parts]) for what in ("values", "mask")
    )
    shape = (len(levels), values.shape[1])
    low, high = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    far_low, far_high = np.full(shape, -np.inf, np.float32), np.full(shape, np.inf, np.float32)
    for code in np.unique(codes):
        cells = values[codes == code], mask[codes == code]
        low[code], high[code] = plausible_range(*cells, one_unit=True)
        far_low[code], far_high[code] = far_limits(robust_spread(*cells, one_unit=True))
    clipped = np.clip(values, low[codes], high[codes])
    scale = fit_standardizer(clipped, mask, codes, len(levels))
    return {**scale, "low": low, "high": high, "far_low": far_low, "far_high": far_high}


def spec_of(dataset: Dataset, replicates: Sequence[Replicate]) -> Spec:
    """Genes, the most training rows of each slot, and the platforms."""
    return Spec(folds.features_of(dataset), folds.most_rows(replicates), platforms(dataset))


def all_profiles(dataset: Dataset) -> Dataset:
    """Every profile as a row of the modality "control": controls once, treated ones, singletons.

    A control is what it is in the pairs: under `data.control_profile="mean"` the mean of its wells.
    """
    control, treated = dataset.modalities["control"], dataset.modalities["treated"]
    paired = treated.observed_rows
    # Pairs of one control repeat its profile. Only the bytes show it: stored pairs do not name
    # their controls.
    first = ~pd.Series([row.tobytes() for row in control.values]).duplicated().to_numpy()
    before, after = np.flatnonzero(first | ~paired), np.flatnonzero(paired)

    def stack(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate([a[before], b[after]])

    ids = np.concatenate([[f"{i}|control" for i in dataset.ids[before]], dataset.ids[after]])
    table = pd.concat([dataset.table.iloc[before], dataset.table.iloc[after]])
    table.index = ids
    modality = Modality(
        stack(control.values, treated.values), stack(control.mask, treated.mask), control.features
    )
    return Dataset(ids, stack(dataset.groups, dataset.groups), {"control": modality}, table)


EXPERIMENTS = {
    "table1": Experiment(table1, conclusions.conclude_perturbation),
    "external": Experiment(external, conclusions.conclude_external),
    "figure2": Experiment(figure2, conclusions.conclude_reconstruction),
}
