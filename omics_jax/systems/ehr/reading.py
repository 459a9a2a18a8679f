"""Stays of patients for training, from files or the simulator, and new ones for a trained model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ml_collections import ConfigDict

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.formats.messages import count_phrase
from omics_jax.errors import UserError
from omics_jax.study.external import EXPERIMENT, refuse_for_other_experiments
from omics_jax.study.new_rows import match_features
from omics_jax.study.system import DataSpec
from omics_jax.systems.ehr.device_rows import statics
from omics_jax.systems.ehr.joining import join_patients, same_steps, steps_in_words

OnProgress = Callable[[int, int, str], None]  # (done, total, what)


def read(config: ConfigDict, on_progress: OnProgress = lambda done, total, what: None) -> Dataset:
    """Series from the files `config.data` names, or from the simulator where it names none.

    In the experiment external a second set of patients follows, marked "external" in the table's
    column "set": those of `data.external.path`, or of a simulation with another seed.

    Raises:
      UserError: external patients for another experiment, or what a reader or `join_patients`
        refuses.
    """
    settings, external = config.data, config.data.external
    refuse_for_other_experiments(config, external.path, "--config.data.external.path")
    if config.experiment != EXPERIMENT:
        return _read_patients(config, settings, on_progress)
    internal = _read_patients(config, settings, on_progress)
    if not settings.path:
        other_seed = {**config.simulator, "seed": config.simulator.seed + 1}
        return join_patients(internal, _simulate(config, other_seed))
    if not external.path:
        return internal
    second = settings.copy_and_resolve_references()
    second.path, second.outcomes = external.path, external.outcomes
    return join_patients(internal, _read_patients(config, second, on_progress))


def _read_patients(config: ConfigDict, settings: ConfigDict, on_progress: OnProgress) -> Dataset:
    """The patients of the files that `settings` names, or simulated ones."""
    from omics_jax.data.clinical_series.read import read_series

    if not settings.path:
        return _simulate(config, config.simulator)
    return handle_empty_patients(read_series(settings, on_progress), settings.keep_empty)


def _simulate(config: ConfigDict, settings: ConfigDict | dict) -> Dataset:
    from omics_jax.data.clinical_series.simulate import simulate_icu

    return handle_empty_patients(simulate_icu(**settings)[0], config.data.keep_empty)


def handle_empty_patients(dataset: Dataset, keep: bool) -> Dataset:
    """Keeps (`keep`) or removes patients without any observation; adds a note if there are any."""
    seen = dataset.modalities["series"].observed_rows
    if seen.all():
        return dataset
    if keep:
        note = (
            "Patients without any observation are kept, and imputed from the population "
            "(data.keep_empty=True)."
        )
        return replace(dataset, notes=(*dataset.notes, note))
    note = "Patients without any observation are left out (data.keep_empty=False)."
    return replace(dataset.take(seen), notes=(*dataset.notes, note))


def read_new(spec: DataSpec, trained: ConfigDict, config: ConfigDict) -> Dataset:
    """New stays from `config.data.path`, on the variables and statics a run was trained with.

    Their files are read as those of the training were, except where the command says otherwise.
    Variables that the file lacks are missing everywhere.

    trained: the section `data` of the training's config.

    Raises:
      UserError: no path, no shared variable, or other steps.
    """
    from omics_jax.data.clinical_series.read import read_series
    from omics_jax.data.clinical_series.settings import remembered

    settings = remembered(trained, config.data)
    if not settings.path:
        raise UserError(
            "--mode=predict needs the new series; name their file with --config.data.path"
        )
    settings.variables = tuple(spec.features["series"])
    settings.statics = _names_in_files(spec.features.get("static", ()))
    settings.columns = {**settings.columns, "group": ""}  # nothing is split
    dataset = handle_empty_patients(read_series(settings, may_lack=True), keep=True)
    series, note = match_features(
        dataset.modalities["series"], spec.features["series"], settings.path, "variables"
    )
    _check_steps(spec, dataset, settings.path)
    modalities, notes = {"series": series, "hours": dataset.modalities["hours"]}, [note]
    if "static" in spec.features:
        names = spec.features["static"]
        modalities["static"] = statics(dataset, names).select_features(names)
        described = int(modalities["static"].mask.any(axis=0).sum())
        notes.append(f"{described} of {len(names)} descriptors found (data.statics names them)")
    return replace(
        dataset,
        modalities=modalities,
        targets={},
        notes=(*dataset.notes, *notes, *_outcome_notes(dataset)),
        warnings=(*dataset.warnings, *_empty_rows(dataset, series)),
    )


def _names_in_files(statics: Sequence[str]) -> tuple[str, ...]:
    """The descriptors of a training as a file calls them: of ICUType=1 and so on ICUType."""
    from omics_jax.data.clinical_series.challenge2012 import LEVELS

    names = (name.split("=")[0] if name.split("=")[0] in LEVELS else name for name in statics)
    return tuple(dict.fromkeys(names))


def _outcome_notes(dataset: Dataset) -> list[str]:
    """A note that the outcomes of new patients are not used."""
    return [
        f"{name} is known of {mask.sum():,} of these patients; a prediction does not score it: the "
        "experiment external does, with these files as --config.data.external.path and .outcomes"
        for name, (_, mask) in dataset.targets.items()
    ]


def _empty_rows(dataset: Dataset, series: Modality) -> list[str]:
    """A warning that names the patients without any value of a variable of the training."""
    empty = dataset.ids[~series.observed_rows].tolist()
    if not empty:
        return []
    return [
        f"{count_phrase(len(empty), 'patient', empty)} without a value of any variable of the "
        "training: what is predicted of them is that of an unknown patient"
    ]


def _check_steps(spec: DataSpec, dataset: Dataset, path: str) -> None:
    theirs, ours = dataset.modalities["hours"].features.tolist(), spec.features["hours"]
    if not same_steps(theirs, ours):
        raise UserError(
            f"{path} has {steps_in_words(theirs)}, the training had {steps_in_words(ours)}; set "
            "--config.data.hours and --config.data.bin_hours as in the training"
        )
