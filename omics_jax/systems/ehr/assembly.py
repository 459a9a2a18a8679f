"""The EHR system as a value: the user's series or the simulator in, the model's functions bound to
a config out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from omics_jax.data.clinical_series.hiding import held_out
from omics_jax.data.clinical_series.observations import STEP
from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.errors import UserError
from omics_jax.settings.checks import check_choices, check_minimum, check_rates
from omics_jax.study.system import DataSpec, System
from omics_jax.systems.ehr import classifiers, model, scoring
from omics_jax.systems.ehr.stays import Network

GIVEN = "given"  # the level of cells that the file itself holds out
SET = "set"  # the column of the table that tells internal from external patients


def read(config, on_progress=lambda done, total, what: None) -> Dataset:
    """Series from the files `config.data` names, or from the simulator where it names none.

    With `data.external.path` its patients follow, marked "external" in the table's column "set".
    """
    kept = partial(_empty_told, config.data.keep_empty)
    dataset = kept(
        _read(config.data, on_progress) if config.data.path else _simulate(config.simulator)
    )
    if not config.data.path and config.experiment == "external":
        return joined(
            dataset, kept(_simulate({**config.simulator, "seed": config.simulator.seed + 1}))
        )
    if not config.data.external.path:
        return dataset
    if config.experiment != "external":
        raise UserError(
            f"data.external.path is for the experiment external, and this is {config.experiment}; "
            "leave it empty"
        )
    settings = config.data.copy_and_resolve_references()
    settings.path, settings.outcomes = config.data.external.path, config.data.external.outcomes
    return joined(dataset, kept(_read(settings, on_progress)))


def _empty_told(keep: bool, dataset: Dataset) -> Dataset:
    """The dataset with, or without, its patients of whom nothing was observed, if any, and a note
    that says so.
    """
    seen = dataset.modalities["series"].observed_rows
    if seen.all():
        return dataset
    if keep:
        note = "Patients without any observation are kept, and imputed from the population (data.keep_empty=True)."
        return replace(dataset, notes=(*dataset.notes, note))
    note = "Patients without any observation are left out (data.keep_empty=False)."
    return replace(dataset.take(seen), notes=(*dataset.notes, note))


def _read(settings, on_progress) -> Dataset:
    from omics_jax.data.clinical_series.read import read_series

    return read_series(settings, on_progress)


def _simulate(settings) -> Dataset:
    from omics_jax.data.clinical_series.simulate import simulate_icu

    return simulate_icu(**settings)[0]


def joined(internal: Dataset, external: Dataset) -> Dataset:
    """One below the other, on the internal variables; external ids and groups are told apart where
    they repeat.

    Raises:
      UserError: they share no variable, differ in their outcome or steps, or are partly the same
        patients or persons.
    """
    ours, theirs = internal.modalities["series"], external.modalities["series"]
    if not set(map(str, ours.features)) & set(map(str, theirs.features)):
        raise UserError(
            "data.external.path shares no variable with data.path "
            f"({', '.join(map(str, theirs.features[:5]))} ... against "
            f"{', '.join(map(str, ours.features[:5]))} ...); name them alike"
        )
    steps = [dataset.modalities["hours"].features.tolist() for dataset in (internal, external)]
    if not _same_steps(*steps) or set(internal.targets) != set(external.targets):
        raise UserError(
            f"data.path has {_in_words(steps[0])} and the outcomes {sorted(internal.targets)}, "
            f"data.external.path {_in_words(steps[1])} and {sorted(external.targets)}; give both "
            "the same"
        )
    repeated = sorted(set(map(str, internal.ids)) & set(map(str, external.ids)))
    notes = [f"external: {note}" for note in external.notes]
    shared = int(np.isin(ours.features, theirs.features).sum())
    if shared < len(ours.features):
        notes.append(
            f"external: {shared} of {len(ours.features)} variables found, the others missing in "
            "all patients."
        )
    if not repeated:
        _check_persons(internal, external)
    else:
        _check_others(internal, external, repeated)
        notes.append(
            f"{few(len(repeated), 'id', repeated)} in both files, of other values: taken for other "
            "patients (and their groups for other persons), and called external in the second."
        )
    alone = set(internal.modalities) ^ set(external.modalities)
    if "static" in alone:
        notes.append("Static descriptors are in one of the files only, and left out.")
    if "truth" in alone:
        notes.append(
            "X_ori is in one of the files only, and not used: cells are held out at the rates of "
            "held_out."
        )
    mark = (
        (lambda names: np.array([f"external {name}" for name in names]))
        if repeated
        else (lambda names: names)
    )
    ids = np.concatenate([internal.ids, mark(external.ids)])
    both = {}
    for name in internal.modalities:
        if name in external.modalities:
            a = internal.modalities[name]
            b = external.modalities[name]
            b = (
                replace(b, features=a.features)
                if name == "hours"
                else b.select_features(a.features)
            )  # steps pair by their order
            both[name] = Modality(
                np.concatenate([a.values, b.values]), np.concatenate([a.mask, b.mask]), a.features
            )
    stacked = lambda name: tuple(
        np.concatenate(pair)
        for pair in zip(internal.targets[name], external.targets[name], strict=True)
    )
    where = ["internal"] * len(internal) + ["external"] * len(external)
    return Dataset(
        ids,
        np.concatenate([internal.groups, mark(external.groups)]),
        both,
        pd.DataFrame({SET: where}, index=ids),
        {name: stacked(name) for name in internal.targets},
        (*internal.notes, *notes),
    )


def _check_others(internal: Dataset, external: Dataset, repeated: Sequence[str]) -> None:
    """Refuses patients of the training data among those that a model is to be tested on."""
    row_of = lambda dataset: {str(name): row for row, name in enumerate(dataset.ids)}
    ours, theirs = (row_of(dataset) for dataset in (internal, external))
    a = internal.modalities["series"]
    b = external.modalities["series"].select_features(a.features)
    same = [
        name
        for name in repeated
        if a.mask[ours[name]].any()
        and all(
            np.array_equal(x[ours[name]], y[theirs[name]])
            for x, y in ((a.mask, b.mask), (a.values, b.values))
        )
    ]
    if same:
        raise UserError(
            f"{few(len(same), 'patient', same)} in data.external.path with the very values of "
            "data.path; a model cannot be tested on whom it was trained on: take them out of one "
            "of the files"
        )


def _check_persons(internal: Dataset, external: Dataset) -> None:
    """Refuses persons with stays on both sides, where both files say whose a stay is."""
    named = all((dataset.groups != dataset.ids).any() for dataset in (internal, external))
    both = sorted(set(map(str, internal.groups)) & set(map(str, external.groups)))
    if named and both:
        raise UserError(
            f"{few(len(both), 'group', both)} in data.path and in data.external.path; a model "
            "cannot be tested on persons it was trained on: take them out of one of the files, or "
            "name them apart if they are others"
        )


def _same_steps(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether two series have as many steps, at the same hours where each has hours of its own (see
    `step_names`).
    """
    named = all(not names[0].startswith(STEP) for names in (a, b))
    return len(a) == len(b) and (not named or list(a) == list(b))


def _in_words(steps: Sequence[str]) -> str:
    return f"{len(steps)} steps ({', '.join(steps[:3])} ... {steps[-1]})"


def read_new(config, spec: DataSpec) -> Dataset:
    """New stays from `config.data.path`, on the variables and statics a run was trained with.

    Variables that the file lacks are missing everywhere.

    Raises:
      UserError: no path, no shared variable, or other steps.
    """
    from omics_jax.data.clinical_series.read import read_series

    if not config.data.path:
        raise UserError(
            "--mode=predict needs the new series; name their file with --config.data.path"
        )
    dataset = _empty_told(True, read_series(config.data))
    series = dataset.modalities["series"].select_features(spec.features["series"])
    found = int(series.mask.any(axis=(0, 1)).sum())
    if not found:
        raise UserError(
            f"{config.data.path} has none of the {len(series.features)} variables of the training; "
            f"name them alike, e.g. {series.features[0]!r}"
        )
    theirs, ours = dataset.modalities["hours"].features.tolist(), spec.features["hours"]
    if not _same_steps(theirs, ours):
        raise UserError(
            f"{config.data.path} has {_in_words(theirs)}, the training had {_in_words(ours)}; set "
            "data.hours and data.bin_hours as in the training"
        )
    modalities = {"series": series, "hours": dataset.modalities["hours"]}
    notes = [f"{found} of {len(series.features)} variables found"]
    if "static" in spec.features:
        modalities["static"] = statics(dataset, spec.features["static"]).select_features(
            spec.features["static"]
        )
        described = int(modalities["static"].mask.any(axis=0).sum())
        notes.append(
            f"{described} of {len(spec.features['static'])} descriptors found (data.statics names "
            "them)"
        )
    return replace(dataset, modalities=modalities, targets={}, notes=(*dataset.notes, *notes))


def build(config, spec: DataSpec) -> System:
    """The system for one config and one shape of data: an imputer's, or with `classifier.network` a
    classifier's.

    Raises:
      UserError: a value of `config` that cannot be.
    """
    check(config)
    network = network_of(config, spec)
    outcome, levels = bool(config.classifier.network), network.levels
    held = partial(held_levels, tuple(config.held_out), config.seed)
    stages = (
        model.classification(network, spec.rows)
        if outcome
        else model.pretraining(network, spec.rows)
    )
    names = spec.features["series"]
    series_fields = dict.fromkeys(
        ("imputed", "disagreement", *(("sd",) if config.predict.draws else ())), names
    )
    return System(
        arrays=partial(arrays, held),
        init=partial(model.init, network, outcome),
        stages=stages,
        predict=partial(model.predict_outcome if outcome else model.predict_imputation, network),
        predict_new=None if outcome else partial(model.predict_new_imputation, network),
        evaluate=partial(scoring.evaluate, held, levels),
        baselines=scoring.outcome_baselines
        if outcome
        else partial(scoring.imputation_baselines, held, levels),
        columns={"probability": ("probability",)} if outcome else series_fields,
        better=scoring.better(levels),
        extra_parts=("validation",) if outcome else (),
        predict_batch=config.predict.batch_size,
    )


def network_of(config, spec: DataSpec) -> Network:
    """The shapes of the model for one config and one shape of data."""
    levels = (
        (GIVEN,)
        if "truth" in spec.features
        else tuple(f"{round(100 * rate)}" for rate in config.held_out)
    )
    size = lambda name: len(spec.features.get(name, ()))
    return Network(config, size("hours"), size("series"), size("static"), levels)


def held_levels(rates: tuple[float, ...], seed: int, dataset: Dataset) -> np.ndarray:
    """(n, T, D) uint8: the level at which a cell is held out, 0 for never.

    Where the file holds cells out itself (modality "truth"), these and no others are level 1.
    """
    if "truth" in dataset.modalities:
        return dataset.modalities["truth"].mask.astype(np.uint8)
    return held_out(dataset.ids.astype(str), dataset.modalities["series"].mask, rates, seed)


def statics(dataset: Dataset, names: Sequence[str] = ()) -> Modality:
    """The static descriptors; those of `names`, all of them unknown, where the data have none."""
    shape = len(dataset), len(names)
    unknown = Modality(np.zeros(shape, np.float32), np.zeros(shape, bool), np.array(names, str))
    return dataset.modalities.get("static", unknown)


def arrays(held, dataset: Dataset) -> dict[str, np.ndarray]:
    """The rows as the device sees them, see `model`."""
    series, static, n = dataset.modalities["series"], statics(dataset), len(dataset)
    hours = dataset.modalities["hours"]
    label, labelled = (
        outcome(dataset) if dataset.targets else (np.zeros(n, np.float32), np.zeros(n, bool))
    )
    return {
        "x": scoring.known(dataset),
        "m": series.mask,
        "held": held(dataset),
        "hours": np.where(hours.mask, hours.values, 0),
        "static": static.values,
        "static_m": static.mask,
        "label": label,
        "labelled": labelled,
    }


def outcome(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The outcome's values (n,) float32, 0 where unknown, and mask (n,)."""
    values, mask = next(iter(dataset.targets.values()))
    return np.where(mask, values, 0).astype(np.float32), mask


def check(config) -> None:
    """Refuses values of the config that cannot be."""
    choices = {
        "model.imputer": ("brits", "csai"),
        "model.gaps": ("paper", "code"),
        "classifier.network": ("", *classifiers.NETWORKS),
        "classifier.series": ("imputed", "raw"),
        "finetune.regime": ("frozen", "unfrozen", "gradual"),
        "imputers": ("brits", "csai"),
        "tables.networks": classifiers.NETWORKS,
        "tables.strategies": tuple(config.strategies),
        "data.split": ("folds", "file"),
        "published.series": ("imputed", "raw"),
        **({"beside": ("frozen", "unfrozen", "gradual")} if config.beside else {}),
    }
    check_choices(config, choices)
    _check_held_out(tuple(config.held_out))
    least = {
        "model.hidden": 1, "model.channels": 2, "model.heads": 1, "model.feedforward": 1, "model.clip": 1,
        "pretrain.epochs": 1, "pretrain.batch_size": 1, "pretrain.patience": 1, "finetune.epochs": 1,
        "finetune.batch_size": 1, "finetune.patience": 1, "predict.draws": 0, "predict.batch_size": 1,
        "classifier.members": 1, "classifier.bins": 1, "classifier.units": 1, "classifier.positive_weight": 0,
        "published.members": 1, "tune.trials": 1,
        **{f"pretrain.weights.{name}.{term}": 0 for name, terms in config.pretrain.weights.items() for term in terms},
    }  # fmt: skip
    check_minimum(config, least)
    if config.predict.draws == 1:
        raise UserError(
            "config.predict.draws is 1, of which there is no s.d.; give 2 or more, or 0 for none"
        )
    check_rates(
        config,
        ("model.dropout", "classifier.dropout", "classifier.plain_dropout", "published.dropout"),
    )
    if config.model.channels % config.model.heads or config.model.channels % 2:
        raise UserError(
            f"config.model.channels is {config.model.channels}; give an even multiple of "
            f"config.model.heads ({config.model.heads})"
        )


def _check_held_out(rates: tuple[float, ...]) -> None:
    """Their names are whole percents, which must differ, too."""
    percents = [round(100 * rate) for rate in rates]
    if not rates or not np.all(np.diff((0, *rates, 1)) > 0) or len(set(percents)) < len(percents):
        raise UserError(
            f"config.held_out is {rates}; give increasing shares between 0 and 1 a hundredth or "
            "more apart, as (.1, .5)"
        )
