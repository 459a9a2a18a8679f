"""Perturbation designs: control and treated profiles paired, and unpaired ones beside them, as a
`Dataset`.

Source of the design: the PertVAE paper (pairs of one cell line before and after a drug, plus
"singletons"
that were never treated). Left out: normalisation and log transforms, which are fitted on training
rows
elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.formats.columns import as_numbers, as_text
from omics_jax.data.formats.files import existing_file, nearest, stem
from omics_jax.data.formats.gct import gctx_ids
from omics_jax.data.formats.matrix import checked_matrix
from omics_jax.data.formats.messages import averaged_note, count_phrase
from omics_jax.data.formats.npz import annotation_columns, npz_arrays, take_array
from omics_jax.data.formats.options import REPEATED
from omics_jax.data.formats.read import read_matrix, read_table
from omics_jax.data.perturbation import pairing
from omics_jax.data.perturbation.conditions import (
    Conditions,
    checked_columns,
    numeric_doses,
    own_conditions,
    required_column,
    sample_conditions,
)
from omics_jax.data.perturbation.platforms import (
    Block,
    condition_columns,
    joined,
    pair_block,
    pair_groups,
    singleton_blocks,
    unpaired_block,
)
from omics_jax.errors import UserError


def read_perturbations(settings) -> Dataset:
    """Reads pairs of control and treated profiles, and singletons.

    Args:
      settings: an object with these attributes (`config.data` of a run).
        path: the expression matrix (any format of `read_matrix`), or an .npz that already holds
          pairs: arrays
          x1, x2 (n, g), features (g,), optionally samples (n,); further arrays of length n are
        annotations. orientation: "auto", "samples" or "genes", see `read_matrix`.
        conditions: a table of conditions (.csv, .tsv, .txt, .parquet), one row per sample; "" = the
          matrix's
          own annotations.
        columns: mapping with the keys sample, cell_line, drug, dose, time, batch, role; the values
          are the
          names of the columns that hold them, "" = absent. `sample` is read in the table of
        conditions only. control_values: values in the role column that mean "control", case
        ignored; all others are treated.
        pair_by: names among cell_line, batch, time, drug or raw columns: a treated profile is
          paired with the
          controls that agree in all of them; an unknown value agrees with nothing. () = with all
        controls. control_profile: "mean" (x1 is the masked mean of the agreeing controls), "each"
        (a pair per agreeing
          control) or "one" (one control per treated profile, dealt out evenly in the order of the
          ids).
        pairs: a table with the columns control and treated (sample ids); further columns, found
          through
          `columns`, take precedence over the conditions of the treated sample. Overrides pair_by,
          control_values and control_profile. "" = none.
        singletons: files of unpaired profiles; each is a platform named by its stem. A profile's
          cell line
          is its annotation of that name, otherwise its id.
        unpaired_controls: whether controls that are in no pair become singletons.
        drugs: the drugs to keep, () = all.
        dose: "all", or "highest": for each drug only the treated profiles at its highest dose.
        group_by: canonical or raw column whose values are never split; "" = every row by itself.
          Cell
          lines are compared without case and punctuation, so singletons of a line join its pairs;
          where
          singletons lack the column, each is grouped by its cell line.
        min_genes: fewest genes that all files must share (names compared as they are).
        repeated (optional): "error", or "mean" for genes of the same name in a file, see
        `read_matrix`.

    Returns:
      a Dataset. Modalities: "control" (x1) and "treated" (x2, unobserved in singletons) over the
      shared
      genes in the order of the main file. ids: the treated sample, or "control|treated" where a
      treated
      sample is in more than one pair by design ("each", or repeated in `pairs`), "platform:id" for
      singletons of other files, the stored sample or "stem:row" for stored pairs.
      table: drug, cell_line, dose, time, batch, platform, control_id (ids joined by ";" under
        "mean"),
      treated_id, all text, "" where unknown. notes: what was understood, dropped or looks
      suspicious.

    Raises:
      UserError: for anything wrong with settings or files.
    """
    columns = checked_columns(settings.columns)
    _check_settings(settings)
    path = existing_file(settings.path)
    repeated = getattr(settings, "repeated", "error")
    if _holds_pairs(path):
        blocks, notes = _stored_pairs(path, settings, columns, repeated)
    else:
        blocks, notes = _matched_pairs(path, settings, columns, repeated)
    blocks += singleton_blocks(
        path, settings.singletons, settings.orientation, columns, settings.group_by, repeated
    )
    by_cell_line = bool(settings.group_by) and settings.group_by in (
        "cell_line",
        columns["cell_line"],
    )
    return joined(blocks, settings.min_genes, by_cell_line, notes)


def _check_settings(settings):
    if not settings.path:
        raise UserError("path is empty; set it to the expression matrix or to an .npz of pairs")
    for name in ("control_values", "pair_by", "singletons", "drugs"):
        value = getattr(settings, name)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise UserError(f"{name}={value!r} must be a tuple of names; write ({value!r},)")
    choices = (
        ("control_profile", pairing.PROFILES),
        ("dose", ("all", "highest")),
        ("repeated", REPEATED),
    )
    for name, known in choices:
        given = getattr(settings, name, "error") if name == "repeated" else getattr(settings, name)
        if given not in known:
            raise UserError(f"{name}={given!r} is unknown; set it to one of {', '.join(known)}")


def _holds_pairs(path: Path) -> bool:
    return path.suffix.lower() == ".npz" and {"x1", "x2"} <= set(npz_arrays(path))


def _stored_pairs(path: Path, settings, columns, repeated: str) -> tuple[list[Block], list[str]]:
    """The pairs of an .npz with arrays x1 and x2."""
    if settings.conditions or settings.pairs:
        raise UserError(f"{path} already holds pairs; leave conditions and pairs empty")
    arrays = npz_arrays(path)
    x1, x2 = (as_numbers(path, name, take_array(path, arrays, (name,), 2)) for name in ("x1", "x2"))
    features = np.char.strip(take_array(path, arrays, ("features",), 1).astype(str))
    if x1.shape != x2.shape or x1.shape[1] != len(features):
        raise UserError(
            f"{path}: x1 is {x1.shape}, x2 {x2.shape}, for {len(features)} features; "
            "store one row per pair in both and one column per feature"
        )
    n = len(x1)
    ids = [f"{stem(path)}:{k}" for k in range(n)]
    if "samples" in arrays:
        ids = take_array(path, arrays, ("samples",), 1).astype(str).tolist()
    if len(ids) != n:
        raise UserError(
            f"{path}: array 'samples' names {len(ids)} of {n} pairs; give one id per pair"
        )
    controls, treated = (
        checked_matrix(path, ids, features, x, repeated=repeated) for x in (x1, x2)
    )
    table = annotation_columns(arrays, n, ("x1", "x2", "features", "samples")).apply(as_text)
    conditions = Conditions(str(path), table, [f"row {k + 1}" for k in range(n)], columns)
    rows, notes = _chosen(conditions, list(range(n)), settings)
    taken = [ids[r] for r in rows]
    block = Block(
        str(path),
        taken,
        controls.features.tolist(),
        controls.values[rows],
        controls.mask[rows],
        treated.values[rows],
        treated.mask[rows],
        condition_columns(conditions.take(rows), stem(path), [""] * len(rows), [""] * len(rows)),
        pair_groups(conditions.take(rows), settings.group_by),
    )
    used = f"{path.name} holds {n} stored pairs, of which {len(rows)} are used."
    return [block], [used, *averaged_note(path.name, controls), *notes]


def _matched_pairs(path: Path, settings, columns, repeated: str) -> tuple[list[Block], list[str]]:
    """Pairs from a matrix, by an explicit table or by agreeing conditions.

    A GCTX with its own table of conditions may be far larger than memory: its ids are paired first
      and only
    the profiles in use are read.
    """
    matrix = None
    if settings.conditions and path.suffix.lower() == ".gctx":
        ids = gctx_ids(path).tolist()
    else:
        annotations = [
            name for name in (*columns.values(), *settings.pair_by, settings.group_by) if name
        ]
        matrix = read_matrix(path, settings.orientation, annotations=annotations, repeated=repeated)
        ids = matrix.ids.tolist()
    if settings.conditions:
        conditions = sample_conditions(str(path), settings.conditions, columns, ids)
    else:
        conditions = own_conditions(str(path), matrix, columns)
    match = _explicit_pairs if settings.pairs else _agreeing_pairs
    pairs, described, left, notes = match(settings, ids, conditions)
    notes = [f"{path.name} holds {len(ids)} profiles.", *notes]
    if left and settings.unpaired_controls:
        notes.append(
            f"{count_phrase(len(left), 'control', [ids[c] for c in left])} in no pair and used as "
            "singletons."
        )
    elif left:
        notes.append(
            f"{count_phrase(len(left), 'control', [ids[c] for c in left])} in no pair and left out."
        )
        left = []
    used = sorted({t for t, _ in pairs} | {c for _, found in pairs for c in found} | set(left))
    wanted = [ids[r] for r in used]
    if matrix is None:
        matrix = read_matrix(path, samples=wanted, repeated=repeated)
    else:
        matrix = matrix.take(np.array(used), slice(None))
    notes += averaged_note(path.name, matrix)
    row = {r: k for k, r in enumerate(used)}
    pairs = [(row[t], tuple(row[c] for c in found)) for t, found in pairs]
    by_pair = len({t for t, _ in pairs}) < len(pairs) or (
        settings.control_profile == "each" and not settings.pairs
    )
    blocks = [pair_block(path, matrix, pairs, described, settings.group_by, by_pair)]
    if left:
        rows = np.array([row[r] for r in left])
        blocks.append(
            unpaired_block(
                path, matrix.take(rows, slice(None)), conditions.take(left), settings.group_by
            )
        )
    return blocks, notes


def _agreeing_pairs(settings, ids: list[str], conditions: Conditions):
    """(pairs, conditions of the pairs, controls in no pair, notes) from roles and `pair_by`."""
    roles = conditions.column("role", "pairing")
    known = {str(value).casefold() for value in settings.control_values}
    named = [k for k, place in enumerate(conditions.places) if place]
    controls = [k for k in named if roles[k].casefold() in known]
    treated = [k for k in named if roles[k] and roles[k].casefold() not in known]
    notes = []
    unclear = sorted(set(range(len(ids))) - set(controls) - set(treated))
    if unclear:
        notes.append(
            f"{count_phrase(len(unclear), 'profile', [ids[k] for k in unclear])} without a row or a role in "
            f"{Path(conditions.source).name} and left out."
        )
    counts = Counter(roles[k] for k in controls + treated)
    if not controls or not treated:
        found = ", ".join(f"{role!r} ({count})" for role, count in counts.most_common(8))
        raise UserError(
            f"{conditions.source}: column {conditions.columns['role']!r} gives {len(controls)} "
            f"controls and {len(treated)} treated profiles; its values are {found or 'all empty'}: "
            f"set control_values (now {tuple(settings.control_values)!r}) to those that mean "
            "control"
        )
    notes.append(
        f"{len(controls)} controls; treated are "
        + ", ".join(f"{counts[role]} {role}" for role in dict.fromkeys(roles[k] for k in treated))
        + "."
    )
    treated, more = _chosen(conditions, treated, settings)
    keys = _pair_keys(conditions, settings.pair_by)
    agreeing = pairing.agreeing_controls(keys, treated, controls)
    pairs = pairing.dealt_pairs(agreeing, ids, settings.control_profile)
    alone = [t for t, found in agreeing.items() if not found]
    if not pairs:
        raise UserError(
            f"{conditions.source}: no treated profile has a control that agrees in "
            f"{tuple(settings.pair_by)!r}; treated {ids[treated[0]]!r} has {keys[treated[0]]}, "
            f"control {ids[controls[0]]!r} has {keys[controls[0]]}: pair by fewer columns"
        )
    if alone:
        notes.append(
            f"{count_phrase(len(alone), 'treated profile', [ids[t] for t in alone])} without a control that "
            f"agrees in {', '.join(settings.pair_by)}, and left out."
        )
    used = {c for _, found in pairs for c in found}
    described = conditions.take([t for t, _ in pairs])
    return pairs, described, [c for c in controls if c not in used], notes + more


def _explicit_pairs(settings, ids: list[str], conditions: Conditions):
    """(pairs, conditions of the pairs, controls in no pair, notes) from a table of pairs."""
    table = read_table(settings.pairs)
    where = {str(name): k for k, name in enumerate(ids)}
    sides = {}
    for side in ("control", "treated"):
        names = required_column(settings.pairs, table, {}, side, "every table of pairs")
        for place, name in zip(table.index, names, strict=True):
            if name not in where:
                near = nearest(name, where)
                mend = f"did you mean {near!r}?" if near else f"its samples are like {ids[0]!r}"
                raise UserError(
                    f"{settings.pairs}: {place}: {side} {name!r} is not in {settings.path}; {mend}"
                )
        sides[side] = [where[name] for name in names]
    pairs = [(t, (c,)) for c, t in zip(sides["control"], sides["treated"], strict=True)]
    first: dict = {}
    for place, pair in zip(table.index, pairs, strict=True):
        if pair in first:
            raise UserError(
                f"{settings.pairs}: {place} repeats the pair of {first[pair]}; remove one of them"
            )
        first[pair] = place
    of_treated = conditions.take(sides["treated"]).table.reset_index(drop=True)
    own = table.reset_index(drop=True)
    extra = [name for name in of_treated.columns if name not in own]
    source = f"{settings.pairs} with {conditions.source}"
    described = Conditions(
        source, pd.concat([own, of_treated[extra]], axis=1), list(table.index), conditions.columns
    )
    rows, notes = _chosen(described, list(range(len(pairs))), settings)
    kept = [pairs[r] for r in rows]
    used = {c for _, (c,) in kept}
    left = [c for c in _controls(settings, conditions, sides["control"]) if c not in used]
    notes = [
        f"{Path(settings.pairs).name} names {len(pairs)} pairs, of which {len(kept)} are used.",
        *notes,
    ]
    return kept, described.take(rows), left, notes


def _controls(settings, conditions: Conditions, paired: list[int]) -> list[int]:
    """Rows of controls: those of the table of pairs, and by role where a role column is set."""
    known = {str(value).casefold() for value in settings.control_values}
    roles = conditions.optional("role")
    by_role = [k for k, role in enumerate(roles) if role and role.casefold() in known]
    return sorted({*paired, *by_role})


def _chosen(conditions: Conditions, rows: list[int], settings) -> tuple[list[int], list[str]]:
    """The rows of the wanted drugs and doses, and what to say about it."""
    notes = []
    if settings.drugs:
        drugs = conditions.column("drug", "drugs")
        known = Counter(drugs[r] for r in rows)
        for drug in settings.drugs:
            if drug not in known:
                near = nearest(drug, known)
                mend = (
                    f"did you mean {near!r}?"
                    if near
                    else f"treated are {', '.join(sorted(known)[:6])}"
                )
                raise UserError(
                    f"{conditions.source} has no treated profile of drug {drug!r}; {mend}"
                )
        rows = [r for r in rows if drugs[r] in set(settings.drugs)]
    if settings.dose == "highest":
        drugs = conditions.column("drug", 'dose="highest"')
        highest = pairing.highest_doses([drugs[r] for r in rows], numeric_doses(conditions, rows))
        notes.append(
            f"{int(highest.sum())} of {len(rows)} treated profiles are at the highest dose of "
            "their drug."
        )
        rows = [r for r, keep in zip(rows, highest, strict=True) if keep]
    return rows, notes


def _pair_keys(conditions: Conditions, pair_by: Sequence[str]) -> list[tuple[str, ...]]:
    parts = [conditions.column(name, f"pair_by={tuple(pair_by)!r}") for name in pair_by]
    return [tuple(str(part[k]) for part in parts) for k in range(len(conditions.table))]
