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
from omics_jax.data.patients.text_settings import named_files, parse_settings
from omics_jax.data.preprocessing.chromosome_y import on_chromosome_y
from omics_jax.data.preprocessing.log2 import log2_plus_one
from omics_jax.errors import UserError
from omics_jax.settings.words import parse_pairs
from omics_jax.study.new_rows import match_features
from omics_jax.study.system import DataSpec

DEFAULT_NAMES = ("rna", "methylation", "mirna", "protein")
RESERVED = "<+,="  # characters that separate names in settings
OnProgress = Callable[[int, int, str], None]


def _silent(done: int, total: int, what: str) -> None:
    """Shows no progress."""


def read(config: Any, on_progress: OnProgress = _silent) -> Dataset:
    """Modalities from the files that `config.data` names, or from the simulator if it names none.

    Of `config.preprocess`, the steps that fit nothing are done here: log2(x + 1), and removing
    sites on chromosome Y.
    """
    dataset = _read_modalities(config, config.preprocess, on_progress)
    return take_logarithms(config.preprocess, dataset)


def _read_modalities(
    config: Any, preprocess: Any, on_progress: OnProgress = _silent, targets: bool = True
) -> Dataset:
    """The modalities in the units of the files, without sites on chromosome Y."""
    if named_files(config.data):
        dataset = read_patients(parse_settings(config.data, targets), on_progress)
    else:
        dataset = _simulate(config.simulator)
    modalities, notes = dict(dataset.modalities), []
    _check_names(preprocess, modalities)
    chromosomes = _chromosomes(preprocess.chromosomes)
    for name in _present(preprocess.without_y, modalities, "preprocess.without_y"):
        features = modalities[name].features
        on_y, note = on_chromosome_y(features, name, chromosomes)
        remaining = [feature for feature in features if str(feature) not in on_y]
        modalities[name] = modalities[name].select_features(remaining)
        notes.append(note)
    return replace(dataset, modalities=modalities, notes=(*dataset.notes, *notes))


def take_logarithms(preprocess: Any, dataset: Dataset) -> Dataset:
    """log2(x + 1) of the modalities that `preprocess.log2` names, and a note of each."""
    modalities, notes = dict(dataset.modalities), []
    for name in _present(preprocess.log2, modalities, "preprocess.log2"):
        modalities[name] = log2_plus_one(modalities[name], name, dataset.ids)
        notes.append(_logarithm_note(name))
    return replace(dataset, modalities=modalities, notes=(*dataset.notes, *notes))


def _logarithm_note(name: str) -> str:
    return f"{name}: log2(x + 1) of every value (preprocess.log2)."


def _simulate(settings: Any) -> Dataset:
    from omics_jax.data.patients.simulate import simulate_omics

    return simulate_omics(**settings.to_dict())[0]


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


def read_new(spec: DataSpec, trained: Any, config: Any) -> Dataset:
    """New patients from the files that `config.data` names, in their units, on `spec.features`.

    trained: the config of the training, whose preprocessing applies.

    Raises:
      UserError: no files, a modality that the run was not trained with, or a modality without any
        feature of the training.
    """
    if not sources(config):
        raise UserError(
            "--mode=predict needs the new patients; name their files with --config.data.modalities"
        )
    notes = []
    if config.data.only:
        notes.append("All patients of the files are predicted: data.only is for training.")
    new = _read_modalities(_without_outcomes(config), _only_values(trained), targets=False)
    _check_known(spec, new)
    logged = _in_data(trained.preprocess.log2, new.modalities)
    notes += [_logarithm_note(name) for name in logged]
    modalities = {}
    for name, features in spec.features.items():
        if name not in new.modalities:
            modalities[name] = _missing_modality(len(new), features)
            notes.append(f"{name}: no file, missing in every patient")
            continue
        modality = new.modalities[name]
        modalities[name], note = match_features(modality, features, name, "features")
        notes.append(f"{name}: {note}")
    return replace(new, modalities=modalities, notes=(*new.notes, *notes))


def _missing_modality(patients: int, features: Sequence[str]) -> Modality:
    """A modality that no patient has."""
    values = np.zeros((patients, len(features)), np.float32)
    return Modality(values, values.astype(bool), np.asarray(features))


def _without_outcomes(config: Any) -> Any:
    """The config without the outcomes and the selection of patients in its data section."""
    config = config.copy_and_resolve_references()
    unused = ("clinical", "survival", "classes", "numbers", "survival_times", "only")
    config.data.update(dict.fromkeys(unused, ""))
    return config


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


def _in_data(names: Sequence[str], modalities: Collection[str]) -> list[str]:
    return [name for name in names if name in modalities]


def prepare_new(trained: Any, new: Dataset) -> Dataset:
    """New patients as `read` would return them, with the logarithms of the training's config."""
    preprocess = trained.preprocess.copy_and_resolve_references()
    preprocess.log2 = tuple(_in_data(preprocess.log2, new.modalities))
    return take_logarithms(preprocess, new)


def in_user_units(
    trained: Any, predictions: Mapping[str, np.ndarray], new: Dataset
) -> dict[str, np.ndarray]:
    """Imputed modalities in the units of the user's files: where logarithms were taken, 2^y - 1.

    Observed cells are the user's values. The s.d. is that of the members' logarithms y times the
    slope dx/dy = ln 2 (x + 1), the delta method.
    """
    converted = dict(predictions)
    for name in trained.preprocess.log2:
        if name not in predictions:
            continue
        modality = new.modalities[name]
        power = np.exp2(np.asarray(predictions[name], np.float64))
        imputed = np.maximum(power - 1, 0)
        values = np.where(modality.mask, modality.values, imputed)
        converted[name] = values.astype(np.float32)
        slope = np.log(2) * power
        converted[f"{name}_sd"] = (slope * predictions[f"{name}_sd"]).astype(np.float32)
    return converted
