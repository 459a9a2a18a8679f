"""Two sets of rows as one dataset: internal ones to train on, external ones that are only tested.

Every model is trained on folds of the internal rows and tested on all external rows, such as those
of another hospital. Left out: what the two sets must have in common (variables, steps, genes),
which each system checks, and the intervals of such scores (`evaluation.shared_test_set`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Real, Shaped

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.splits import Split
from omics_jax.data.formats.messages import count_phrase
from omics_jax.errors import UserError
from omics_jax.study.folds import deal_folds

EXPERIMENT = "external"  # the name of the experiment in every system
SET = "set"  # the column of the table that holds INTERNAL or EXTERNAL
INTERNAL, EXTERNAL = "internal", "external"


class Settings(NamedTuple):
    """The settings that name the files of the two sets, for messages."""

    internal: str = "--config.data.path"
    external: str = "--config.data.external.path"


# --- two sets as one ------------------------------------------------------------------------------


def join_sets(internal: Dataset, external: Dataset, notes: Sequence[str] = ()) -> Dataset:
    """The internal rows and below them the external ones, on the internal modalities and features.

    What the external rows lack of these is missing, as are columns of the internal table that they
    lack. Classes have their internal codes. Where ids
    repeat, external ids and groups are renamed "external ID".

    notes: on the external rows, besides those of their reader.

    Raises:
      UserError: outcomes or classes that the internal rows do not have, or fewer outcomes.
    """
    repeated = repeated_names(internal.ids, external.ids)
    rename = _external_names if repeated else np.asarray
    ids = np.concatenate([internal.ids, rename(external.ids)])
    theirs = external.table.reindex(columns=internal.table.columns)
    table = pd.concat([internal.table, theirs]).set_axis(ids, axis=0)
    table[SET] = [INTERNAL] * len(internal) + [EXTERNAL] * len(external)
    return Dataset(
        ids,
        np.concatenate([internal.groups, rename(external.groups)]),
        _join_modalities(internal, external),
        table,
        _join_targets(internal, external),
        notes=(
            *internal.notes,
            *(f"external: {note}" for note in external.notes),
            *notes,
            *_renaming_note(repeated),
        ),
        classes=internal.classes,
        warnings=(*internal.warnings, *(f"external: {text}" for text in external.warnings)),
        uses=(*internal.uses, *external.uses),
    )


def repeated_names(ours: Shaped[np.ndarray, " n"], theirs: Shaped[np.ndarray, " m"]) -> list[str]:
    """The names, such as ids or groups, that are in both sets."""
    return sorted(set(map(str, ours)) & set(map(str, theirs)))


def _external_names(names: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    return np.array([f"external {name}" for name in names])


def _renaming_note(repeated: Sequence[str]) -> list[str]:
    if not repeated:
        return []
    return [
        f"{count_phrase(len(repeated), 'id', repeated)} in both files, of other values: taken for "
        "others (and their groups too), and called external in the second."
    ]


def _join_modalities(internal: Dataset, external: Dataset) -> dict[str, Modality]:
    joined = {}
    for name, ours in internal.modalities.items():
        values, mask = _external_cells(ours, external.modalities.get(name), len(external))
        joined[name] = replace(
            ours,
            values=np.concatenate([ours.values, values]),
            mask=np.concatenate([ours.mask, mask]),
        )
    return joined


def _external_cells(
    ours: Modality, theirs: Modality | None, rows: int
) -> tuple[Shaped[np.ndarray, "m ..."], Bool[np.ndarray, "m ..."]]:
    """Values and mask of the external rows on the internal features."""
    if theirs is None:
        shape = (rows, *ours.values.shape[1:])
        return np.zeros(shape, ours.values.dtype), np.zeros(shape, bool)
    on_ours = theirs.select_features(ours.features)
    return on_ours.values, on_ours.mask


def _join_targets(
    internal: Dataset, external: Dataset
) -> dict[str, tuple[Real[np.ndarray, " n"], Bool[np.ndarray, " n"]]]:
    joined = {}
    for name, (values, mask) in internal.targets.items():
        theirs, known = external.targets[name]
        if name in internal.classes:
            codes = np.array([internal.classes[name].index(c) for c in external.classes[name]], int)
            theirs = np.where(known, codes[np.where(known, theirs, 0).astype(int)], 0)
        joined[name] = (
            np.concatenate([values, theirs.astype(values.dtype)]),
            np.concatenate([mask, known]),
        )
    return joined


# --- what is refused ------------------------------------------------------------------------------


def check_outcomes(internal: Dataset, external: Dataset, settings: Settings = Settings()) -> None:
    """Refuses external rows with other outcomes, or with a class that no internal row has."""
    if set(internal.targets) != set(external.targets):
        raise UserError(
            f"{settings.internal} has the outcomes {_listed(internal.targets)} and "
            f"{settings.external} {_listed(external.targets)}; give both the same"
        )
    for name, theirs in external.classes.items():
        ours = internal.classes.get(name, ())
        unknown = [label for label in theirs if label not in ours]
        if unknown:
            raise UserError(
                f"{settings.external} has the {name} {unknown[0]!r}, and {settings.internal} "
                f"{', '.join(ours)}; name classes alike, or leave out its rows (data.only)"
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def check_groups(
    internal: Dataset, external: Dataset, settings: Settings = Settings(), noun: str = "group"
) -> None:
    """Refuses groups (persons) of the internal rows among the external ones."""
    both = repeated_names(internal.groups, external.groups)
    if both:
        raise UserError(
            f"{count_phrase(len(both), noun, both)} in {settings.internal} and in "
            f"{settings.external}; a model cannot be tested on persons it was trained on: remove "
            "them from one of the files, or rename them if they are different persons"
        )


def check_repeated_rows(
    internal: Dataset,
    external: Dataset,
    names: Sequence[str],
    noun: str,
    settings: Settings = Settings(),
) -> None:
    """Refuses external rows with the id and the values of an internal one.

    names: the modalities that are compared.
    """
    same = _same_rows(internal, external, names)
    if same:
        raise UserError(
            f"{count_phrase(len(same), noun, same)} in {settings.external} with the same values as "
            f"in {settings.internal}; a model cannot be tested on {noun}s it was trained on: "
            "remove them from one of the files"
        )


def _same_rows(internal: Dataset, external: Dataset, names: Sequence[str]) -> list[str]:
    """Ids of both sets whose rows have the same observed values, at least one."""
    repeated = repeated_names(internal.ids, external.ids)
    if not repeated:
        return []
    ours, theirs = (d.take(_rows_of(d, repeated)).modalities for d in (internal, external))
    same, observed = np.ones(len(repeated), bool), np.zeros(len(repeated), bool)
    for name in names:
        a, b = ours[name], theirs[name].select_features(ours[name].features)
        axes = tuple(range(1, a.mask.ndim))
        same &= ((a.mask == b.mask) & (~a.mask | (a.values == b.values))).all(axis=axes)
        observed |= a.observed_rows
    return [name for name, is_same in zip(repeated, same & observed, strict=True) if is_same]


def _rows_of(dataset: Dataset, ids: Sequence[str]) -> Int[np.ndarray, " r"]:
    row_of = {str(name): row for row, name in enumerate(dataset.ids)}
    return np.array([row_of[name] for name in ids], int)


def check_experiment(config: Any, dataset: Dataset, noun: str, setting: str) -> None:
    """Refuses a dataset of one set, and repeats, whose trainings would share all their test rows.

    noun, setting: what is tested, and the setting that names its files.
    """
    if SET not in dataset.table or set(dataset.table[SET]) != {INTERNAL, EXTERNAL}:
        raise UserError(
            f"the experiment external needs {noun} to test on; name their files with {setting}"
        )
    if config.repeats > 1:
        raise UserError(
            f"config.repeats is {config.repeats}; external trains config.folds models: give 1, and "
            "for more models more folds"
        )


def refuse_for_other_experiments(config: Any, named: str, setting: str) -> None:
    """Refuses files of external rows where the experiment would not test them.

    named: the files; "" for none.
    """
    if named and config.experiment != EXPERIMENT:
        raise UserError(
            f"{setting} is for the experiment external, and this is {config.experiment}; leave it "
            "empty"
        )


# --- folds ----------------------------------------------------------------------------------------


def is_external(dataset: Dataset) -> Bool[np.ndarray, " n"]:
    """Whether each row is of the external set."""
    return (dataset.table[SET] == EXTERNAL).to_numpy()


def deal_internal(
    config: Any,
    dataset: Dataset,
    strata: Real[np.ndarray, " n"] | None = None,
    rows: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"] | None = None,
) -> list[Split]:
    """Folds of the internal rows, one of them to validate; all external rows are tested.

    The arguments are those of `folds.deal_folds`.
    """
    outside = is_external(dataset)
    chosen = np.ones(len(dataset), bool)
    if rows is not None:
        chosen[:] = False
        chosen[rows] = True
    splits = deal_folds(config, dataset, strata, chosen & ~outside)
    tested = np.flatnonzero(chosen & outside)
    return [tested_on(tested, split) for split in splits]


def tested_on(rows: Int[np.ndarray, " m"], split: Split) -> Split:
    """The split with these rows to test; those that it tested before are trained on."""
    return replace(split, train=np.union1d(split.train, split.test), test=rows)
