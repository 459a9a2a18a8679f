"""Patients and their modalities from the user's files or the simulator; new patients to predict.

The file formats are those of `data.patients`; here the config's text becomes its settings.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.formats.read import read_table
from omics_jax.data.patients.read import read_patients
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.data.patients.text_settings import named_files, parse_settings
from omics_jax.data.preprocessing.chromosome_y import on_chromosome_y
from omics_jax.data.preprocessing.log2 import log2_plus_one, looks_like
from omics_jax.errors import UserError
from omics_jax.settings.words import parse_pairs
from omics_jax.study.external import EXPERIMENT, refuse_for_other_experiments
from omics_jax.study.new_rows import match_features
from omics_jax.study.patients.joining import FILES, join_patients
from omics_jax.study.system import DataSpec

AUTO = "auto"
COUNTS_BY_NAME = "mirna"  # counts unless the values say otherwise
# Settings of the section `data`: how files are read, and what is known about the patients.
HOW_TO_READ = ("orientation", "id", "barcode", "repeated", "missing_values", "limits")
DEFAULTS = {"orientation": "auto", "repeated": "error"}
OUTCOMES = ("clinical", "survival", "classes", "numbers", "survival_times")
TABLES = ("clinical", "survival")
_SHOWN = 5  # names in a note
DEFAULT_NAMES = ("rna", "methylation", "mirna", "protein")
RESERVED = "<+,="  # characters that separate names in settings
OnProgress = Callable[[int, int, str], None]
Simulate = Callable[[Any], Dataset]


def silent(done: int, total: int, what: str) -> None:
    """Shows no progress."""


def read(config: Any, simulate: Simulate, on_progress: OnProgress = silent) -> Dataset:
    """Modalities from the files that `config.data` names, or from the simulator if it names none.

    Of `config.preprocess`, the steps that fit nothing are done here: log2(x + 1), and removing
    sites on chromosome Y.

    In the experiment external a second set of patients follows, marked "external" in the table's
    column "set": those of the files of `data.external`, or other patients of the simulation.

    simulate: the config's section `simulator` -> simulated patients.

    Raises:
      UserError: external patients for another experiment, or what a reader or `join_patients`
        refuses.
    """
    named = named_files(config.data.external)
    refuse_for_other_experiments(config, "".join(named), FILES.external)
    if not named_files(config.data):
        dataset = internal = _simulated(config, simulate)
    else:
        dataset = internal = _read_files(config, config.preprocess, on_progress)
        if named:
            dataset = join_patients(internal, _read_external(config, internal, on_progress))
    # Whether values are counts is for the patients to say from whom a model learns.
    names, remarks = _modalities_to_log(config.preprocess, internal)
    logged = take_logarithms(names, dataset)
    return replace(
        logged,
        notes=(*logged.notes, *remarks.notes),
        warnings=(*logged.warnings, *remarks.warnings),
    )


def _simulated(config: Any, simulate: Simulate) -> Dataset:
    """Simulated patients to train on and, in the experiment external, as many others to test.

    Another seed would be another world, in which the same genes say other things.
    """
    settings = config.simulator
    if config.experiment != EXPERIMENT:
        return _without_y(config.preprocess, simulate(settings))
    twice = settings.copy_and_resolve_references()
    twice.patients = 2 * settings.patients
    both = _without_y(config.preprocess, simulate(twice))
    is_internal = np.arange(len(both)) < settings.patients
    return join_patients(both.take(is_internal), both.take(~is_internal))


def _read_external(config: Any, internal: Dataset, on_progress: OnProgress) -> Dataset:
    """The patients of the files of `data.external`, all else about them as in `data`."""
    second = config.copy_and_resolve_references()
    second.data.update(config.data.external)
    second.data.smallest_class = 0  # few external patients can be tested
    names = {name: m.features.astype(str).tolist() for name, m in internal.modalities.items()}
    return _read_files(second, _only_values(config), on_progress, names)


def _read_files(
    config: Any,
    preprocess: Any,
    on_progress: OnProgress = silent,
    features: Mapping[str, Sequence[str]] | None = None,
    targets: bool = True,
) -> Dataset:
    """The modalities in the units of the files, without sites on chromosome Y.

    features: those of a training, for other patients.
    targets: whether outcomes are read.
    """
    settings = parse_settings(config.data, targets=targets)
    return _without_y(preprocess, read_patients(settings, on_progress, features or {}))


def _without_y(preprocess: Any, dataset: Dataset) -> Dataset:
    """Without the sites on chromosome Y of the modalities that `preprocess.without_y` names."""
    modalities, notes = dict(dataset.modalities), []
    _check_names(preprocess, modalities)
    chromosomes = _chromosomes(preprocess.chromosomes)
    for name in _present(preprocess.without_y, modalities, "preprocess.without_y"):
        names = modalities[name].features
        on_y, said = on_chromosome_y(names, name, chromosomes)
        remaining = [feature for feature in names if str(feature) not in on_y]
        modalities[name] = modalities[name].select_features(remaining)
        notes.append(said)
    return replace(dataset, modalities=modalities, notes=(*dataset.notes, *notes))


def take_logarithms(names: Sequence[str], dataset: Dataset) -> Dataset:
    """log2(x + 1) of these modalities."""
    modalities = dict(dataset.modalities)
    for name in names:
        modalities[name] = log2_plus_one(modalities[name], name, dataset.ids)
    return replace(dataset, modalities=modalities)


def _modalities_to_log(preprocess: Any, dataset: Dataset) -> tuple[list[str], Remarks]:
    """The modalities whose logarithms are taken, and what is to be said of each.

    preprocess.log2: names, or "auto": those whose values look like counts, and of those whose
    values do not tell the one that is called mirna.
    """
    words = (word.strip() for item in preprocess.log2 for word in str(item).split(","))
    setting = tuple(filter(None, words))
    looks = {name: looks_like(modality) for name, modality in dataset.modalities.items()}
    if setting == (AUTO,):
        names = [
            name
            for name, look in looks.items()
            if look == "counts" or (look == "open" and name.casefold() == COUNTS_BY_NAME)
        ]
        return names, note(*(_told(name, look, name in names) for name, look in looks.items()))
    names = _present(setting, dataset.modalities, "preprocess.log2")
    remarks = note(*map(_logarithm_note, names))
    for name, look in looks.items():
        if name in names and look == "logarithms":
            remarks += warning(
                f"{name}: its values look like logarithms already, and preprocess.log2 takes their "
                "logarithm again; leave it out, or set --config.preprocess.log2=auto."
            )
        if name not in names and look == "counts":
            remarks += warning(
                f"{name}: its values look like counts (up to {_largest(dataset, name):,.0f}), and "
                "preprocess.log2 leaves them as they are; name it, or set "
                "--config.preprocess.log2=auto."
            )
    return names, remarks


def _told(name: str, look: str, is_logged: bool) -> str:
    """What "auto" decided about a modality."""
    why = {
        "counts": "its values look like counts",
        "logarithms": "its values look like logarithms, shares or scores",
        "open": "its values do not tell whether they are counts",
    }[look]
    if is_logged:
        return f"{name}: log2(x + 1) of every value (preprocess.log2=auto: {why})."
    return f"{name}: no logarithm is taken (preprocess.log2=auto: {why})."


def _largest(dataset: Dataset, name: str) -> float:
    modality = dataset.modalities[name]
    return float(np.max(modality.values, where=modality.mask, initial=0))


def _logarithm_note(name: str) -> str:
    return f"{name}: log2(x + 1) of every value (preprocess.log2)."


def _chromosomes(path: str) -> dict[str, str]:
    """Feature -> chromosome, from a table of two columns."""
    if not path:
        return {}
    frame = read_table(path)
    if frame.shape[1] < 2:
        raise UserError(
            f"{path} has one column; preprocess.chromosomes needs two, the feature and its "
            "chromosome"
        )
    return dict(zip(frame.iloc[:, 0].astype(str), frame.iloc[:, 1].astype(str), strict=True))


def _present(names: Sequence[str], modalities: Collection[str], setting: str) -> list[str]:
    """Those of the names that the data have.

    The defaults name modalities that data may lack. Where other names are given, at least one must
    be in the data.
    """
    if names and not set(names) & set(modalities) and set(names) - set(DEFAULT_NAMES):
        raise UserError(
            f"config.{setting} names {', '.join(names)}, and the data hold {', '.join(modalities)}"
        )
    return [name for name in names if name in modalities]


def _check_names(preprocess: Any, modalities: Collection[str]) -> None:
    """Refuses modality names with reserved characters, and rules for absent modalities."""
    for name in modalities:
        if set(name) & set(RESERVED):
            raise UserError(
                f"the name of the modality {name!r} contains one of the characters {RESERVED}, "
                "which separate names in settings; rename it"
            )
    for key in ("zeros", "share"):
        for name in parse_pairs(preprocess[key], f"preprocess.{key}"):
            if name not in (*modalities, *DEFAULT_NAMES):
                raise UserError(
                    f"config.preprocess.{key} names {name!r}, and the data hold "
                    f"{', '.join(modalities)}"
                )


# --- new patients ---------------------------------------------------------------------------------


def sources(config: Any) -> tuple[str, ...]:
    """The files of the new patients."""
    return named_files(config.data)


def read_new(
    spec: DataSpec,
    logged: Collection[str],
    trained: Any,
    config: Any,
    with_tables: bool = False,
) -> Dataset:
    """New patients from the files that `config.data` names, in their units, on `spec.features`.

    logged: the modalities of the training whose logarithms were taken.
    trained: the config of the training, which knows how its files were to be read.
    with_tables: whether what else is known of the patients is read, without outcomes.

    Raises:
      UserError: no files, a modality that the run was not trained with, or a modality without any
        feature of the training.
    """
    if not sources(config):
        raise UserError(
            "--mode=predict needs the new patients; name their files with --config.data.modalities"
        )
    command, notes = _as_trained(config, trained, with_tables)
    new = _read_files(command, _only_values(trained), features=spec.features, targets=False)
    _check_known(spec, new)
    notes += [_logarithm_note(name) for name in logged if name in new.modalities]
    modalities = {}
    for name, features in spec.features.items():
        if name not in new.modalities:
            modalities[name] = _missing_modality(len(new), features)
            notes.append(f"{name}: no file, missing in every patient")
            continue
        modality = new.modalities[name]
        modalities[name], said = match_features(modality, features, name, "features")
        notes.append(f"{name}: {said}.")
    new = replace(new, modalities=modalities)
    return replace(new, notes=(*new.notes, *notes), warnings=(*new.warnings, *_empty_rows(new)))


def _empty_rows(new: Dataset) -> list[str]:
    """A warning of patients without a single value of a feature of the training; or none."""
    observed = np.any([m.observed_rows for m in new.modalities.values()], axis=0)
    empty = new.ids[~observed].tolist()
    if not empty:
        return []
    more = ", ..." if len(empty) > _SHOWN else ""
    return [
        f"patients without a value of any feature of the training: {len(empty):,} "
        f"({', '.join(empty[:_SHOWN])}{more}); their outcomes are left empty, and where values "
        "are imputed these are the training means."
    ]


def without_empty_rows(
    columns: Collection[str], predictions: Mapping[str, np.ndarray], new: Dataset
) -> dict[str, np.ndarray]:
    """The predictions, nan in these fields for patients without a single value.

    columns: the fields.
    """
    observed = np.any([m.observed_rows for m in new.modalities.values()], axis=0)
    emptied = dict(predictions)
    for field in columns if not observed.all() else ():
        values = np.asarray(predictions[field], np.float32)
        is_known = observed.reshape(-1, *[1] * (values.ndim - 1))
        emptied[field] = np.where(is_known, values, np.float32(np.nan))
    return emptied


def _missing_modality(patients: int, features: Sequence[str]) -> Modality:
    """A modality that no patient has."""
    values = np.zeros((patients, len(features)), np.float32)
    return Modality(values, values.astype(bool), np.asarray(features))


def _as_trained(config: Any, trained: Any, with_tables: bool) -> tuple[Any, list[str]]:
    """The command's config with its files, read as those of the training were, and notes.

    Settings of the section `data` that the command leaves at their defaults are the training's;
    outcomes and the selection of patients are not for new ones.
    """
    config = config.copy_and_resolve_references()
    for name in HOW_TO_READ:
        if config.data[name] in (DEFAULTS.get(name), "", ()):
            value = trained.data[name]
            config.data[name] = value if isinstance(value, str) else tuple(value)
    unread = [name for name in OUTCOMES if not (with_tables and name in TABLES)]
    named = [name for name in unread if config.data[name]]
    notes = []
    if config.data.only:
        notes.append("All patients of the files are predicted: data.only is for training.")
    if named:
        notes.append(
            f"Outcomes of the new patients are not read (data.{', data.'.join(named)}): the "
            "experiment external scores predictions, with these files as "
            "--config.data.external.modalities, .clinical and .survival."
        )
    config.data.update(dict.fromkeys((*unread, "only", "group"), ""))
    return config, notes


def _only_values(trained: Any) -> Any:
    """The preprocessing of a training without the rules that chose its features."""
    preprocess = trained.preprocess.copy_and_resolve_references()
    preprocess.update(dict(without_y=(), chromosomes="", zeros="", share=""))
    return preprocess


def _check_known(spec: DataSpec, new: Dataset) -> None:
    unknown = [name for name in new.modalities if name not in spec.features]
    if unknown:
        raise UserError(
            f"the run knows no modality {unknown[0]!r}; it was trained with "
            f"{', '.join(spec.features)}: name the new files alike"
        )


def prepare_new(logged: Collection[str], new: Dataset) -> Dataset:
    """New patients as `read` would return them, with the logarithms that the training took."""
    return take_logarithms([name for name in logged if name in new.modalities], new)
