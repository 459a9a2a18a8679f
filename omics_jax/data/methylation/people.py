"""Who is who among the rows of several studies: their ids, their table, and who is never split.

A person of one study keeps the id; one of several studies has a row in each, called STUDY:ID, and
all of these are of one group.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from omics_jax.data.formats.matrix import Matrix
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.patients.barcodes import patient_of, row_id
from omics_jax.data.patients.patient_table import PatientTable, id_column_of, patient_table
from omics_jax.data.patients.remarks import Remarks, note
from omics_jax.data.patients.sample_rows import merge_tables
from omics_jax.data.patients.settings import filled, missing_values
from omics_jax.data.patients.targets import TargetColumns
from omics_jax.data.vocabulary import Missing

_SHOWN = 8


@dataclass(frozen=True)
class People:
    """The rows of all studies' files, sorted by id.

    Attributes:
      ids: (n,) unique.
      persons: (n,) as in the file.
      files: (n,) the key in `data.studies`.
      rows: (n,) the row in that file's matrix.
    """

    ids: Shaped[np.ndarray, " n"]
    persons: Shaped[np.ndarray, " n"]
    files: Shaped[np.ndarray, " n"]
    rows: Int[np.ndarray, " n"]

    def take(self, kept: np.ndarray) -> People:
        """Those of the given rows."""
        return People(self.ids[kept], self.persons[kept], self.files[kept], self.rows[kept])

    @property
    def repeated(self) -> dict[str, list[str]]:
        """Person -> files, of those who are in several."""
        counts = pd.Series(self.persons).value_counts()
        several = counts.index[counts > 1]
        return {name: self.files[self.persons == name].tolist() for name in map(str, several)}


def people_of(matrices: Mapping[str, Matrix]) -> People:
    """The rows of the studies' matrices."""
    persons = np.concatenate([matrix.ids for matrix in matrices.values()]).astype(str)
    files = np.repeat(list(matrices), [len(matrix.ids) for matrix in matrices.values()])
    rows = np.concatenate([np.arange(len(matrix.ids)) for matrix in matrices.values()])
    is_repeated = pd.Series(persons).duplicated(keep=False).to_numpy()
    ids = np.array(
        [
            f"{file}:{person}" if several else person
            for file, person, several in zip(files, persons, is_repeated, strict=True)
        ]
    )
    order = np.argsort(ids, kind="stable")
    return People(ids[order], persons[order], files[order], rows[order])


def groups_never_split(
    groups: Shaped[np.ndarray, " n"], people: People, barcode: str
) -> tuple[Shaped[np.ndarray, " n"], Remarks]:
    """(n,) groups joined where they hold rows of one person, and a note of such persons."""
    persons = np.array([patient_of(name, barcode) or name for name in people.persons.tolist()])
    of_group, names = pd.factorize(groups)
    of_person = pd.factorize(persons)[0] + len(names)
    size = len(names) + len(groups)
    edges = coo_array((np.ones(len(groups)), (of_group, of_person)), shape=(size, size))
    component = connected_components(edges, directed=False)[1][of_group]
    first = pd.Series(groups).groupby(component).transform("first").to_numpy(dtype=str)
    repeated = people.repeated
    if not repeated:
        return first, Remarks()
    some = count_phrase(len(repeated), "person", list(repeated))
    return first, note(
        f"{some} in several files of data.studies; each has a row per study, and these are never "
        "split."
    )


# --- the table ------------------------------------------------------------------------------------


def table_of_people(
    path: str,
    frame: pd.DataFrame,
    people: People,
    settings: Any,
    used: Sequence[str],
    missing: Missing,
) -> tuple[PatientTable, Remarks]:
    """A table with a row per row of the studies.

    Where `data.study` names a column, a person of several studies may have a row for each.

    Args:
      frame: rows of text, indexed by their places in the file.
      settings: with id, study and barcode.
      used: columns in which several rows of one id must agree.
    """
    repeated = people.repeated

    def read(rows: pd.DataFrame) -> tuple[PatientTable, Remarks]:
        return patient_table(path, rows, settings.id, settings.barcode, used, (), missing)

    if not repeated:
        return read(frame)
    ids = frame[id_column_of(path, frame, settings.id, used)].astype(str).str.strip()
    own = ids.map(lambda name: row_id(name, settings.barcode)).isin(list(repeated))
    study = frame[settings.study].str.strip() if settings.study in frame else None
    parts: list[PatientTable] = []
    remarks = Remarks()
    for file in dict.fromkeys(people.files.tolist()) if study is not None else ():
        of_file = own & (study == file)
        if of_file.any():
            part, said = read(frame[of_file])
            parts.append(_renamed(part, file))
            remarks += said
            frame, own, study = frame[~of_file], own[~of_file], study[~of_file]
    if len(frame):
        part, said = read(frame)
        taken = {name for before in parts for name in before.table.index}
        parts.append(_once_per_row(part, people, repeated, taken))
        remarks += said
    return _joined(parts), remarks


def _renamed(table: PatientTable, file: str) -> PatientTable:
    return replace(table, table=table.table.set_axis([f"{file}:{i}" for i in table.table.index]))


def _once_per_row(
    table: PatientTable,
    people: People,
    repeated: Mapping[str, Sequence[str]],
    taken: Collection[str],
) -> PatientTable:
    """The table whose persons of several studies have their row once for each of these."""
    is_wanted = np.isin(people.persons, list(repeated)) & ~np.isin(people.ids, list(taken))
    is_wanted &= table.has(people.persons)
    rows = table.reindex(people.persons[is_wanted])
    copies = replace(rows, table=rows.table.set_axis(people.ids[is_wanted]))
    stays = ~table.table.index.isin(list(repeated))
    places = [place for place, kept in zip(table.places, stays, strict=True) if kept]
    return _joined([replace(table, table=table.table[stays], places=places), copies])


def _joined(parts: Sequence[PatientTable]) -> PatientTable:
    places = [place for part in parts for place in part.places]
    table = pd.concat([part.table for part in parts]).fillna("")
    return replace(parts[0], table=table, places=places)


def annotations(
    settings: Any, matrices: Mapping[str, Matrix], people: People
) -> tuple[PatientTable | None, Remarks]:
    """What the studies' own files say of their people, and a note; None where nothing."""
    frames = []
    for name, matrix in matrices.items():
        own = people.files == name
        rows = matrix.table.iloc[people.rows[own]]
        frames.append(rows.set_axis(people.ids[own], axis=0))
    table = merge_tables(frames)
    if not len(table.columns):
        return None, Remarks()
    some = ", ".join(table.columns[:_SHOWN]) + (", ..." if len(table.columns) > _SHOWN else "")
    source = ", ".join(Path(path).name for path in filled(settings.studies, "studies").values())
    places = [f"person {name!r}" for name in table.index]
    sentence = f"No clinical table: the annotations in the files serve instead ({some})."
    return PatientTable(source, table, places), note(sentence)


def covariates_of(
    settings: Any,
    covariates: Collection[str],
    clinical: pd.DataFrame | None,
    matrices: Mapping[str, Matrix],
    people: People,
) -> tuple[TargetColumns, Remarks]:
    """The table of new people, of the covariates alone; none of its columns is a target.

    clinical: rows of text of the table of people, None without one.
    """
    missing = missing_values(settings)
    table, remarks = None, Remarks()
    if clinical is not None:
        used = tuple(name for name in covariates if name in clinical)
        table, remarks = table_of_people(
            settings.clinical, clinical, people, settings, used, missing
        )
    elif covariates:
        table, _ = annotations(settings, matrices, people)
    if table is None:
        return TargetColumns([], {}, {}, {}, missing), remarks
    kept = [name for name in table.table.columns if name in covariates or name == settings.study]
    table = replace(table, table=table.table[kept])
    return TargetColumns([table] if kept else [], {}, {}, {}, missing), remarks
