"""Whether two groups of patients differ in how much their genes attend to each other.

    config.interpret.groups     the groups                                  left out
    "response"                  the two classes of an outcome
    "subtype=A,B"               two of its classes                          other classes
    "level"                     a number above the training median, or not
    "OS"                        an event by the median time of the          censored before it
                                training patients' events, or none

The patients are test patients of a fold, with a known outcome, at most `MOST_PATIENTS` of a group.
a_ij of a patient is the mean attention of genes i and j over heads, layers and both directions,
where both were measured; it depends on the patient's expression alone. Groups are compared by
Welch's t-test for every pair. Attention differs also because expression does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int, Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.errors import UserError
from omics_jax.evaluation.comparisons import benjamini_hochberg
from omics_jax.evaluation.tables import Frame, Table
from omics_jax.settings.words import parse_pairs, split_known
from omics_jax.study.system import Arm, Predictions
from omics_jax.systems.gene_transformer.interaction_tables import (
    LEVEL,
    TOP,
    gene_names,
    rank_stability,
)
from omics_jax.systems.gene_transformer.interactions import gene_attention
from omics_jax.systems.gene_transformer.model import ModelShape, Profile, profiles
from omics_jax.tasks.task import Task, event_times_at, known_rows, outcome
from omics_jax.training.stage import Replicate, Variables

GROUPS = "patient_groups"  # the frame, and its kind
_NAME = "interpret.groups"
SETTING = f"config.{_NAME}"
LEAST_PATIENTS, MOST_PATIENTS = 5, 100  # of a group
NO_GROUP = -1
_FIELD = "compared_"  # before the fields of the patients among a fold's constants

Codes = Int[np.ndarray, " n"]  # 0, 1 or `NO_GROUP`
ByGroup = Float[Array, "2 w w"]


# --- the groups -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Groups:
    """An outcome, and the two classes by which it makes groups; () for a number or a time."""

    task: Task
    classes: tuple[str, ...]


def groups_of(config: Any, tasks: Sequence[Task]) -> Groups | None:
    """The groups that the config names; None where it names none.

    Raises:
      UserError: no attention of pairs, no such outcome, no such class, or not two of them.
    """
    text = config.interpret.groups.strip()
    if not text:
        return None
    if config.model.attention != "exact":
        raise UserError(
            f"{SETTING} compares how much genes attend to each other, which attention of the kind "
            f"{config.model.attention!r} does not say; set --config.model.attention=exact"
        )
    by_name = {task.name: task for task in tasks}
    pairs = {text: ""} if text in by_name or "=" not in text else parse_pairs(text, _NAME)
    (name, classes), *others = pairs.items()
    if others:
        raise UserError(f"{SETTING} names {len(pairs)} outcomes; give one")
    if name not in by_name:
        raise UserError(
            f"{SETTING} names {name!r}, and the outcomes are {', '.join(by_name)}; choose one"
        )
    return Groups(by_name[name], _classes(by_name[name], classes))


def _classes(task: Task, text: str) -> tuple[str, ...]:
    """The two classes that a text names, or that the outcome has."""
    if task.kind != "classification":
        if text:
            raise UserError(
                f"{SETTING} names classes of {task.name!r}, which has none; give the outcome alone"
            )
        return ()
    known = ", ".join(task.classes)
    named = tuple(split_known(text, ",", task.classes)) if text else task.classes
    unknown = [name for name in named if name not in task.classes]
    if unknown:
        raise UserError(
            f"{SETTING} names the class {unknown[0]!r}, and {task.name!r} has {known}; choose two "
            "of them"
        )
    if len(named) != 2 or named[0] == named[1]:
        example = f"{task.name}={task.classes[0]},{task.classes[1]}"
        raise UserError(
            f"{SETTING} compares two classes, and {task.name!r} has {known}; name two of them, as "
            f"in --{SETTING}='{example}'"
        )
    return named


def codes_of(groups: Groups, train: Dataset, patients: Dataset) -> tuple[Codes, tuple[str, str]]:
    """The group of every patient, and the names of both; medians are of the training patients."""
    task, known = groups.task, known_rows(patients, groups.task)
    values = outcome(patients, task)
    if task.kind == "classification":
        first, second = (values == task.classes.index(name) for name in groups.classes)
        names = groups.classes[0], groups.classes[1]
    elif task.kind == "regression":
        middle = np.median(outcome(train, task, known_rows(train, task)))
        second = values > middle
        first, names = ~second, (f"at most {middle:.4g}", f"above {middle:.4g}")
    else:
        times, events = values[0], values[1].astype(bool)
        middle = event_times_at(outcome(train, task, known_rows(train, task)), np.array([0.5]))[0]
        second = events & (times <= middle)
        first = ~second & (times >= middle)
        names = f"no event by {middle:.4g}", f"event by {middle:.4g}"
    return np.where(known & second, 1, np.where(known & first, 0, NO_GROUP)), names


# --- before a training ----------------------------------------------------------------------------


def with_patients(arm: Arm, groups: Groups, slot: str) -> Arm:
    """The arm with each fold's compared patients among its constants.

    compared_x_M, compared_m_M (n, F) of every modality M, compared_c (n, k): their fields of a row;
    compared_group (n,) their groups, `NO_GROUP` for rows that only fill up to n.

    Raises:
      UserError: fewer than `LEAST_PATIENTS` of a group in the first fold.
    """
    chosen = [_chosen(arm, replicate, groups, slot) for replicate in arm.replicates]
    most = max(len(rows) for rows, _ in chosen)
    replicates = [
        replace(replicate, constants={**replicate.constants, **_constants(arm, *own, most)})
        for replicate, own in zip(arm.replicates, chosen, strict=True)
    ]
    return replace(arm, replicates=replicates)


def _chosen(
    arm: Arm, replicate: Replicate, groups: Groups, slot: str
) -> tuple[Int[np.ndarray, " n"], Codes]:
    """The test rows that are compared, one of each person, and their groups."""
    train, test = (arm.dataset.take(rows) for rows in (replicate.rows[slot], replicate.test))
    codes, names = codes_of(groups, train, test)
    rng = np.random.default_rng(arm.config.seed)
    members = [np.flatnonzero(codes == code) for code in range(2)]
    drawn = [_one_of_each(rng.permutation(own), test.groups)[:MOST_PATIENTS] for own in members]
    if replicate is arm.replicates[0]:
        _check_sizes(groups, names, [len(own) for own in drawn])
    places = np.concatenate(drawn)
    return replicate.test[places], codes[places]


def _one_of_each(
    rows: Int[np.ndarray, " n"], persons: Shaped[np.ndarray, " N"]
) -> Int[np.ndarray, " m"]:
    """The first of the rows of every person."""
    _, first = np.unique(persons[rows], return_index=True)
    return rows[np.sort(first)]


def _check_sizes(groups: Groups, names: tuple[str, str], sizes: Sequence[int]) -> None:
    if min(sizes) >= LEAST_PATIENTS:
        return
    counts = " and ".join(f"{size} {name!r}" for size, name in zip(sizes, names, strict=True))
    raise UserError(
        f"{SETTING}: of {groups.task.name!r} the first fold tests {counts}, and a comparison needs "
        f"{LEAST_PATIENTS} or more of each; choose other groups, or fewer folds (config.folds)"
    )


def _constants(
    arm: Arm, rows: Int[np.ndarray, " n"], codes: Codes, most: int
) -> dict[str, np.ndarray]:
    table = arm.system.arrays(arm.dataset.take(rows))
    fields = {
        name: values for name, values in table.items() if name[:2] in ("x_", "m_") or name == "c"
    }
    more = most - len(rows)
    padded = {
        f"{_FIELD}{name}": np.pad(values, [(0, more), (0, 0)]) for name, values in fields.items()
    }
    group = np.pad(codes, (0, more), constant_values=NO_GROUP).astype(np.int32)
    return {**padded, f"{_FIELD}group": group}


# --- of one training ------------------------------------------------------------------------------


def group_fields(shape: ModelShape, variables: Variables) -> dict[str, Float[Array, ...]]:
    """a_ij of the patients in both groups.

    Returns:
      group_mean, group_variance (unbiased), group_count (2, w, w): over the patients in whom both
        genes were measured; group_size (2,): how many patients there are.
    """
    constants = variables["constants"]
    compared = {k: v for k, v in constants.items() if k.startswith(_FIELD)}
    rows = {name.removeprefix(_FIELD): values for name, values in compared.items()}
    group = rows.pop("group")
    profile = profiles(shape, constants, {**rows, "row": jnp.arange(len(group))})

    def of_patient(own: Profile) -> Float[Array, "w w"]:
        return gene_attention(shape, variables, Profile(own.values[None], own.exists[None]))

    attention = jax.lax.map(of_patient, profile)
    measured = profile.exists[:, 1 + shape.covariates :]
    both = measured[:, :, None] & measured[:, None, :]
    parts = [_moments(attention, both & (group == code)[:, None, None]) for code in range(2)]
    mean, variance, count = (jnp.stack(part) for part in zip(*parts, strict=True))
    size = jnp.stack([(group == code).sum() for code in range(2)])
    return {
        "group_mean": mean,
        "group_variance": variance,
        "group_count": count,
        "group_size": size,
    }


def _moments(
    values: Float[Array, "n w w"], counted: Array
) -> tuple[Float[Array, "w w"], Float[Array, "w w"], Int[Array, "w w"]]:
    """Mean, unbiased variance and number of the counted values; 0 of too few."""
    count = counted.sum(axis=0)
    mean = jnp.where(counted, values, 0).sum(axis=0) / jnp.maximum(count, 1)
    squares = jnp.where(counted, (values - mean) ** 2, 0).sum(axis=0)
    return mean, squares / jnp.maximum(count - 1, 1), count


def group_frame(groups: Groups, predictions: Predictions, test: Dataset, train: Dataset) -> Frame:
    """A row per pair of genes: gene_a, gene_b; of both groups attention, patients and name.

    difference: attention of the second less that of the first; p: of Welch's t-test, nan where a
    group has fewer than two patients with both genes, or none of them differ.
    """
    from scipy.stats import ttest_ind_from_stats

    names = gene_names(predictions, test)
    first, second = np.triu_indices(len(names), 1)
    alive = np.flatnonzero(np.asarray(predictions["alive"]) > 0.5)
    a, b = alive[first], alive[second]
    mean, variance, count = (
        np.asarray(predictions[f"group_{field}"], np.float64)[:, a, b]
        for field in ("mean", "variance", "count")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = zip(mean, np.sqrt(variance), count, strict=True)
        one, other = (dict(zip(("mean", "std", "nobs"), part, strict=True)) for part in parts)
        p = ttest_ind_from_stats(*other.values(), *one.values(), equal_var=False).pvalue
    testable = (count > 1).all(axis=0) & (variance > 0).any(axis=0)
    _, (name_1, name_2) = codes_of(groups, train, test)
    size = np.asarray(predictions["group_size"]).astype(int)
    rows = {
        "gene_a": names[first],
        "gene_b": names[second],
        "attention_1": mean[0],
        "attention_2": mean[1],
        "patients_1": size[0],
        "patients_2": size[1],
        "name_1": name_1,
        "name_2": name_2,
        "difference": mean[1] - mean[0],
        "p": np.where(testable, p, np.nan),
    }
    return Frame(GROUPS, pd.DataFrame(rows))


# --- of all trainings -----------------------------------------------------------------------------


def group_tables(frame: pd.DataFrame | None) -> dict[str, Table]:
    """The pairs of the first fold, smallest p first, and a ranking; {} where no groups are named.

    frame: of the network's folds, see `group_frame`.
    """
    if frame is None or not len(frame):
        return {}
    first = frame[frame["fold"] == frame["fold"].iloc[0]]
    pairs = first.assign(q=benjamini_hochberg(first["p"].to_numpy()))
    pairs = pairs.sort_values("p", kind="stable").reset_index(drop=True)
    one, other = (
        f"{pairs[f'name_{i}'].iloc[0]} ({pairs[f'patients_{i}'].iloc[0]} patients)" for i in (1, 2)
    )
    beyond, stability = int((pairs["q"] < LEVEL).sum()), rank_stability(frame, "difference")
    caption = (
        f"Test patients of the first fold: {one}, and {other}. difference: mean attention of the "
        "pair in the latter less that in the former; p by Welch's t-test over patients, q after "
        f"Benjamini and Hochberg; {beyond:,} of {len(pairs):,} pairs have q < {LEVEL:g}. Rank "
        f"stability of the differences over the folds: {stability:.2f}. Attention differs between "
        "patients where their expression does, whatever the outcome: a difference says that a pair "
        "is read differently, not that it causes the outcome."
    )
    return {
        "gene_network_groups_ranking": _ranking(pairs, caption),
        "gene_network_groups": _all_pairs(pairs, caption),
    }


def _ranking(pairs: pd.DataFrame, caption: str) -> Table:
    """The pairs that differ most."""
    strongest = pairs["difference"].abs().sort_values(ascending=False, kind="stable").index[:TOP]
    top = pairs.loc[strongest]
    names = [f"more in {top[name].iloc[0]} (q < {LEVEL:g})" for name in ("name_1", "name_2")]
    direction = np.where(top["difference"] < 0, *names)
    frame = pd.DataFrame(
        {
            "label": (top["gene_a"] + " x " + top["gene_b"]).to_numpy(),
            "value": top["difference"].to_numpy(),
            "p": top["p"].to_numpy(),
            "p_adjusted": top["q"].to_numpy(),
            "series": np.where(top["q"] < LEVEL, direction, f"q of {LEVEL:g} or more"),
        }
    )
    title = "Pairs of genes to which two groups of patients attend differently"
    return Table("ranking", frame, title, caption, "difference of attention")


def _all_pairs(pairs: pd.DataFrame, caption: str) -> Table:
    names = {f"attention_{i}": f"attention ({pairs[f'name_{i}'].iloc[0]})" for i in (1, 2)}
    columns = {"gene_a": "source", "gene_b": "target", **names}
    kept = [*columns.values(), "difference", "p", "q"]
    frame = pairs.rename(columns=columns)[kept]
    return Table("table", frame, "Attention in two groups of patients: all pairs", caption)
