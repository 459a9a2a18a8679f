"""Patients and their modalities: the user's files or the simulator in, and new patients for a
trained run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.formats.read import read_table
from omics_jax.data.preprocessing.chromosome_y import on_chromosome_y
from omics_jax.data.preprocessing.log2 import log2_plus_one
from omics_jax.errors import UserError
from omics_jax.study.system import DataSpec

DEFAULT_NAMES = ("rna", "methylation", "mirna", "protein")
MEANINGFUL = "<+,="  # what separates names in settings


def read(config, on_progress=lambda done, total, what: None) -> Dataset:
    """Modalities from the files `config.data` names, or from the simulator where it names none.

    What `config.preprocess` does to all rows alike is done here: log2(x + 1), sites of chromosome Y
    out.
    """
    return _logged(config, _unlogged(config, on_progress))


def _unlogged(config, on_progress=lambda done, total, what: None, targets: bool = True) -> Dataset:
    from_files = config.data.path or config.data.modalities
    dataset = (
        _read(config.data, on_progress, targets) if from_files else _simulate(config.simulator)
    )
    modalities, notes = dict(dataset.modalities), []
    _check_names(config, modalities)
    chromosomes = _chromosomes(config.preprocess.chromosomes)
    for name in _of_these(config.preprocess.without_y, modalities, "preprocess.without_y"):
        on_y, note = on_chromosome_y(modalities[name].features, name, chromosomes)
        modalities[name] = modalities[name].select_features(
            [f for f in modalities[name].features if str(f) not in on_y]
        )
        notes.append(note)
    return replace(dataset, modalities=modalities, notes=(*dataset.notes, *notes))


def _logged(config, dataset: Dataset) -> Dataset:
    modalities, notes = dict(dataset.modalities), []
    for name in _transformed(config, dataset):
        modalities[name] = log2_plus_one(modalities[name], name, dataset.ids)
        notes.append(f"{name}: log2(x + 1) of every value (preprocess.log2).")
    return replace(dataset, modalities=modalities, notes=(*dataset.notes, *notes))


def _transformed(config, dataset: Dataset) -> list[str]:
    return _of_these(config.preprocess.log2, dataset.modalities, "preprocess.log2")


def _read(settings, on_progress, targets: bool) -> Dataset:
    from omics_jax.data.patients.read import read_multiomics

    times = {
        k: tuple(v.split(":"))
        for k, v in named(settings.survival_times, "data.survival_times").items()
    }
    given = SimpleNamespace(
        **{
            k: settings[k]
            for k in (
                "path",
                "orientation",
                "clinical",
                "survival",
                "id",
                "barcode",
                "zero_times",
                "repeated",
            )
        },
        **{
            k: named(settings[k], f"data.{k}") for k in ("modalities", "classes", "numbers", "only")
        },
        survival_times=times,
        targets=targets,
    )
    return read_multiomics(given, on_progress)


def _simulate(settings) -> Dataset:
    from omics_jax.data.patients.simulate import simulate_omics

    return simulate_omics(**settings.to_dict())[0]


def _chromosomes(path: str) -> dict[str, str]:
    """feature -> chromosome, from a table of two columns."""
    if not path:
        return {}
    frame = read_table(path)
    if frame.shape[1] < 2:
        raise UserError(
            f"{path} has one column; preprocess.chromosomes wants two, the feature and its "
            "chromosome"
        )
    return dict(zip(frame.iloc[:, 0].astype(str), frame.iloc[:, 1].astype(str), strict=True))


def named(text: str, setting: str) -> dict[str, str]:
    """ "rna=a.csv, mirna=b.csv" as a mapping; "" is empty.

    Raises:
      UserError: a part without a name or value, or a name given twice.
    """
    out: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise UserError(
                f"{setting} has {part!r}; write name=value, several separated by commas"
            )
        if name in out:
            raise UserError(f"{setting} names {name!r} twice; give it once")
        out[name] = value
    return out


def _of_these(names, there, setting: str) -> list[str]:
    """The names that are there; what is named for other data (as a default) is left out, but one of
    them must fit.
    """
    if names and not set(names) & set(there) and set(names) - set(DEFAULT_NAMES):
        raise UserError(
            f"config.{setting} names {', '.join(names)}, and the data hold {', '.join(there)}"
        )
    return [name for name in names if name in there]


def _check_names(config, there) -> None:
    """Refuses modalities whose names settings cannot say, and rules for modalities that are not
    there.
    """
    for name in there:
        if set(name) & set(MEANINGFUL):
            raise UserError(f"the modality {name!r} has one of {MEANINGFUL} in its name, which mean something in "
                            "settings; call it otherwise")  # fmt: skip
    for key in ("zeros", "share"):
        for name in named(config.preprocess[key], f"preprocess.{key}"):
            if name not in (*there, *DEFAULT_NAMES):
                raise UserError(
                    f"config.preprocess.{key} names {name!r}, and the data hold {', '.join(there)}"
                )


# --- new patients ---------------------------------------------------------------------------------


def read_new(config, spec: DataSpec) -> Dataset:
    """New patients from the files `config.data` names, on the features a run was trained with.

    Raises:
      UserError: no files, a modality that the run does not know, or none of the features of one
        that it knows.
    """
    if not (config.data.path or config.data.modalities):
        raise UserError(
            "--mode=predict needs the new patients; name their files with --config.data.modalities"
        )
    config = config.copy_and_resolve_references()
    notes = (
        ["All patients of the files are predicted: data.only is for training."]
        if config.data.only
        else []
    )
    config.data.update(
        dict(clinical="", survival="", classes="", numbers="", survival_times="", only="")
    )
    # Features of the training are found by their names, and what chose them then is not asked
    # again.
    config.preprocess.update(dict(without_y=(), chromosomes="", zeros="", share=""))
    given = _unlogged(config, targets=False)
    config.preprocess.log2 = tuple(
        name for name in config.preprocess.log2 if name in given.modalities
    )
    strangers = [name for name in given.modalities if name not in spec.features]
    if strangers:
        raise UserError(
            f"the run knows no modality {strangers[0]!r}; it was trained with "
            f"{', '.join(spec.features)}: name the new files alike"
        )
    dataset = _logged(config, given)
    modalities = {}
    for name, features in spec.features.items():
        if name not in dataset.modalities:
            empty = np.zeros((len(dataset), len(features)), np.float32)
            modalities[name] = Modality(empty, empty.astype(bool), np.asarray(features))
            notes.append(f"{name}: no file, missing in every patient")
            continue
        modalities[name] = dataset.modalities[name].select_features(features)
        shared = int(np.isin(features, dataset.modalities[name].features.astype(str)).sum())
        if not shared:
            raise UserError(
                f"{name} has none of the {len(features):,} features of the training; name them "
                f"alike, e.g. {features[0]!r}"
            )
        notes.append(f"{name}: {shared:,} of {len(features):,} features found")
    # As they came, for `in_user_units`.
    raw = {
        raw_name(name): given.modalities[name].select_features(spec.features[name])
        for name in _transformed(config, given)
    }
    return replace(dataset, modalities={**modalities, **raw}, notes=(*dataset.notes, *notes))


def raw_name(name: str) -> str:
    """The name under which `read_new` keeps a modality whose logarithm the network reads."""
    return f"{name} as given"


def in_user_units(
    names: Collection[str], predictions: Mapping[str, np.ndarray], new: Dataset
) -> dict[str, np.ndarray]:
    """Imputed modalities whose logarithms were taken, as the user has them: x = 2^y - 1, observed
    cells as they came.

    The s.d. is that of the members' logarithms carried over by the slope there, ln 2 (x + 1).
    """
    out = dict(predictions)
    for name in names:
        if name not in out or raw_name(name) not in new.modalities:
            continue
        raw = new.modalities[raw_name(name)]
        power = np.exp2(np.asarray(out[name], np.float64))
        out[name] = np.where(raw.mask, raw.values, np.maximum(power - 1, 0)).astype(np.float32)
        out[f"{name}_sd"] = (np.log(2) * power * out[f"{name}_sd"]).astype(np.float32)
    return out
