"""PertVAE as a `System`: files or the simulator in, the model's functions bound to a config out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Int32
from ml_collections import ConfigDict

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.formats.files import existing_file
from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import averaged_note, count_phrase
from omics_jax.errors import UserError
from omics_jax.settings.checks import check_values
from omics_jax.study.doubts import Span, observed_range
from omics_jax.study.external import EXPERIMENT, refuse_for_other_experiments
from omics_jax.study.new_rows import match_features
from omics_jax.study.system import DataSpec, Predictions, System
from omics_jax.systems.pertvae import model, scoring
from omics_jax.systems.pertvae.joining import FILES, join_pairs
from omics_jax.systems.pertvae.network import Network
from omics_jax.systems.pertvae.settings import SETTINGS
from omics_jax.training.stage import Variables


@dataclass(frozen=True)
class Spec(DataSpec):
    """platforms: by name, in the order in which the network counts them."""

    platforms: tuple[str, ...] = ()


def read(
    config: ConfigDict,
    on_progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Dataset:
    """Pairs and singletons from the files `config.data` names, or from the simulator.

    In the experiment external the pairs of a second set follow, marked "external" in the table's
    column "set": those of `data.external`, or of other cell lines of the simulation.

    Raises:
      UserError: external pairs for another experiment, or what a reader or `join_pairs` refuses.
    """
    settings, external = config.data, config.data.external
    refuse_for_other_experiments(config, external.path, FILES.external)
    is_external = config.experiment == EXPERIMENT
    if not settings.path:
        return _simulated_sets(config) if is_external else _simulate(config.simulator)
    from omics_jax.data.perturbation.read import read_perturbations

    internal = read_perturbations(settings)
    if not (is_external and external.path):
        return internal
    second = settings.copy_and_resolve_references()
    second.update(external)
    second.update(singletons=(), unpaired_controls=False)
    return join_pairs(settings, platforms(internal)[0], internal, read_perturbations(second))


def _simulate(settings: ConfigDict) -> Dataset:
    from omics_jax.data.perturbation.simulate import simulate_perturbations

    return simulate_perturbations(**settings)[0]


def _simulated_sets(config: ConfigDict) -> Dataset:
    """Simulated pairs to train on, and those of as many other cell lines to test.

    Another seed would be another world, in which the same drug does other things.
    """
    lines = config.simulator.cell_lines
    both = _simulate(ConfigDict({**config.simulator, "cell_lines": 2 * lines}))
    paired = both.modalities["treated"].observed_rows
    is_first = np.isin(both.groups, np.unique(both.groups[paired])[:lines])
    internal, external = both.take(~paired | is_first), both.take(paired & ~is_first)
    return join_pairs(config.data, platforms(internal)[0], internal, external)


def read_new(trained: ConfigDict, spec: Spec, config: ConfigDict) -> Dataset:
    """Profiles before treatment from `config.data.path`, on the genes a run was trained with.

    They are taken to be of the platform that most training pairs were of. Genes that the file lacks
    are missing values.

    trained: the config of the training, which knows what the files are like.

    Raises:
      UserError: no path, or fewer than `data.min_genes` of the genes in the file.
    """
    if not config.data.path:
        raise UserError(
            "--mode=predict needs the new profiles; name their file with --config.data.path"
        )
    genes = spec.features["control"]
    matrix = _read_new_profiles(trained.data, config.data, genes)
    measured = Modality(matrix.values, matrix.mask, np.asarray(matrix.features), one_unit=True)
    control, note = match_features(
        measured,
        genes,
        config.data.path,
        "genes",
        hint=" (or lower --config.data.min_genes)",
        least=config.data.min_genes,
    )
    ids = np.asarray(matrix.ids).astype(str)
    empty = ids[~control.observed_rows].tolist()
    warnings = []
    if empty:
        some = count_phrase(len(empty), "row", empty)
        warnings.append(f"{some} without a value of these genes: the prediction is missing, too.")
    table = pd.DataFrame({"platform": spec.platforms[0]}, index=ids)
    return Dataset(
        ids,
        ids,
        {"control": control},
        table,
        notes=(note, *averaged_note(config.data.path, matrix), *_outcome_notes(config.data)),
        warnings=tuple(warnings),
        uses=matrix.uses,
    )


def _outcome_notes(settings: ConfigDict) -> list[str]:
    """A note that treated profiles of the new file are not scored, if the command tells of them."""
    named = [name for name in ("conditions", "pairs") if settings[name]]
    if not named:
        return []
    return [
        f"every profile is taken to be untreated (data.{' and data.'.join(named)} of this command "
        "not read); the experiment external scores predictions of treated ones, with these files "
        f"as {', '.join(f'--config.data.external.{name}' for name in ('path', *named))}"
    ]


def _read_new_profiles(trained: ConfigDict, given: ConfigDict, genes: Sequence[str]) -> Matrix:
    """The matrix of new profiles, its rows the samples.

    Which side the genes are on is seen by their names. What the training was told of its files
    holds for new ones, which may have further words for missing values.
    """
    from omics_jax.data.perturbation.platforms import read_profiles

    settings = ConfigDict(trained.to_dict())
    settings.path = given.path
    settings.missing_values = (*trained.missing_values, *given.missing_values)
    if "mean" in (trained.repeated, given.repeated):
        settings.repeated = "mean"
    told = (given.orientation, trained.orientation, "samples")
    settings.orientation = next(orientation for orientation in told if orientation != "auto")
    return read_profiles(existing_file(given.path), settings, genes)


def missing_where_nothing_is_known(predictions: Predictions, new: Dataset) -> Predictions:
    """The predictions, nan in rows without any observed gene."""
    is_empty = ~new.modalities["control"].observed_rows
    finished = {}
    for field, values in predictions.items():
        rows = is_empty.reshape(-1, *[1] * (values.ndim - 1))
        finished[field] = np.where(rows, np.nan, values).astype(values.dtype)
    return finished


def training_range(variables: Variables) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Smallest and largest expression of each gene in the training rows of the first platform."""
    constants = variables["constants"]
    return {"control": (np.asarray(constants["low"])[0], np.asarray(constants["high"])[0])}


def prediction_range(
    fields: Sequence[str], variables: Variables
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a prediction can be: the training range, and its own width on either side of it.

    A new cell line may well lie outside of the range, but not so far.
    """
    low, high = training_range(variables)["control"]
    width = high - low
    return {field: (low - width, high + width) for field in fields}


def build(config: ConfigDict, spec: Spec) -> System:
    """The system for one config and one shape of data.

    Raises:
      UserError: a value of `config.model` or `config.training` that cannot be.
    """
    _check(config)
    genes = spec.features["control"]
    network = Network(config.model, len(genes))
    batch_size = shares(config.training.batch_size, spec.rows)
    system = partial(
        System,
        arrays=partial(arrays, spec.platforms),
        init=partial(model.init, network),
        stages=model.stages(network, config, spec.rows, batch_size),
        better=scoring.BETTER,
        read_new=partial(read_new, config, spec),
        finish_new=missing_where_nothing_is_known,
        training_range=training_range,
    )
    if "pairs" not in spec.rows:
        return system(
            predict=partial(model.reconstruct, network, config.model.draws),
            prediction_range=partial(prediction_range, ("x1_reconstruction",)),
            ranges=partial(ranges, {"x1_reconstruction": "control"}),
            evaluate=scoring.evaluate_reconstruction,
            baselines=partial(scoring.pca_baseline, config.model.latent),
        )
    return system(
        predict=partial(model.predict, network, config.model.draws),
        prediction_range=partial(prediction_range, ("x2_mean", "x1_reconstruction")),
        evaluate=scoring.evaluate_perturbation,
        baselines=scoring.perturbation_baselines,
        baseline_slots=("pairs",),
        ranges=partial(ranges, {"x2_mean": "treated", "x1_reconstruction": "control"}),
        # Not z1 and z2: their dimensions mean something within one replicate only.
        columns=dict.fromkeys(("x2_mean", "x2_sd"), genes),
    )


def ranges(modality_of: Mapping[str, str], dataset: Dataset) -> dict[str, Span]:
    """Field of a prediction -> the range over all genes, which share a unit, of its modality."""
    modalities = {field: dataset.modalities[name] for field, name in modality_of.items()}
    return {field: observed_range(m.values, m.mask) for field, m in modalities.items()}


def shares(batch_size: int, rows: Mapping[str, int]) -> dict[str, int]:
    """Slots of a batch in proportion to the rows, so that an epoch sees every row once.

    Every row then weighs the same, as in equation (10). Of 300 pairs and 1,300 singletons, a batch
    of 200 has 38 and 163.
    """
    total = sum(rows.values())
    steps = max(1, math.ceil(total / batch_size))
    return {slot: max(1, math.ceil(count / steps)) for slot, count in rows.items() if count}


def arrays(levels: tuple[str, ...], dataset: Dataset) -> dict[str, np.ndarray]:
    """The rows as the device sees them: x1, m1, x2, m2 (n, genes) and platform (n,)."""
    control = dataset.modalities["control"]
    rows = {"x1": control.values, "m1": control.mask, "platform": platform_codes(dataset, levels)}
    if "treated" in dataset.modalities:
        treated = dataset.modalities["treated"]
        rows |= {"x2": treated.values, "m2": treated.mask}
    return rows


def platforms(dataset: Dataset) -> tuple[str, ...]:
    """The platforms by name, the one with most pairs first."""
    platform = dataset.table["platform"].astype(str)
    paired = platform
    if "treated" in dataset.modalities:
        paired = platform[dataset.modalities["treated"].observed_rows]
    return tuple(sorted(set(platform), key=lambda name: (-int((paired == name).sum()), name)))


def platform_codes(dataset: Dataset, levels: tuple[str, ...]) -> Int32[np.ndarray, " n"]:
    """The place of each row's platform among the levels."""
    place = {name: i for i, name in enumerate(levels)}
    return dataset.table["platform"].astype(str).map(place).to_numpy(np.int32)


def _check(config: ConfigDict) -> None:
    """Refuses a config with values that cannot be."""
    check_values(config, SETTINGS)
