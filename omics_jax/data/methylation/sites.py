"""The sites of studies: their names, which are left out, and all of them side by side.

Studies are united over their sites; what a study did not measure is missing in its people. Left out
are normalisation between studies and imputation, which are fitted on training rows elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

from omics_jax.data.dataset import mapped
from omics_jax.data.formats.files import existing_file, read_text
from omics_jax.data.formats.matrix import Matrix, averaged_features
from omics_jax.data.formats.messages import count_phrase
from omics_jax.data.knowledge.site_annotation import without_suffix
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.errors import UserError

_PROBE = re.compile(r"(cg|rs|ch\.|nv)[\w.-]*\d[\w.-]*", re.IGNORECASE)
_SEPARATORS = re.compile(r"[,;\t]")
SEX = ("X", "Y")


# --- names ----------------------------------------------------------------------------------------


def strip_suffixes(study: str, matrix: Matrix) -> tuple[Matrix, Remarks]:
    """The matrix without EPIC v2's suffixes of sites; sites that are then equal are their mean."""
    names = without_suffix(matrix.features)
    n_changed = int((names != matrix.features).sum())
    if not n_changed:
        return matrix, note(f"{study}: no site has a suffix to cut off (data.strip_suffixes).")
    features, values, mask, averaged = averaged_features(names, matrix.values, matrix.mask)
    remarks = note(
        f"{study}: suffixes of {n_changed:,} sites cut off, such as {_changed(matrix, names)}; "
        f"{len(averaged):,} sites were then there more than once and are their mean."
    )
    return replace(matrix, features=features, values=values, mask=mask), remarks


def _changed(matrix: Matrix, names: Shaped[np.ndarray, " S"]) -> str:
    j = int(np.argmax(names != matrix.features))
    return f"{matrix.features[j]} to {names[j]}"


def read_site_lists(paths: Sequence[str]) -> dict[str, frozenset[str]]:
    """File -> the sites that it lists, one a line; of several columns the first counts.

    A first line that is no name of a probe is a header.

    Raises:
      UserError: a file without a site.
    """
    return {Path(path).name: _read_site_list(path) for path in paths}


def _read_site_list(path: str) -> frozenset[str]:
    lines = read_text(existing_file(path)).decode().split("\n")
    fields = [_SEPARATORS.split(line, maxsplit=1)[0].strip(" \"'") for line in lines]
    sites = [field for field in fields if field and not field.startswith("#")]
    if sites and not _PROBE.fullmatch(sites[0]):
        sites = sites[1:]
    if not sites:
        raise UserError(f"{path} lists no site (data.drop_sites); it needs one a line")
    return frozenset(sites)


# --- which sites stay -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Dropping:
    """Which sites are left out.

    Attributes:
      lists: file -> sites.
      sex_chromosomes: whether those on X and Y are.
      chromosomes: site -> chromosome, where known.
      stripped: whether names were freed of suffixes; then those of lists are too.
    """

    lists: Mapping[str, Collection[str]]
    sex_chromosomes: bool
    chromosomes: Mapping[str, str]
    stripped: bool = False

    def keep(self, sites: Shaped[np.ndarray, " S"]) -> tuple[Bool[np.ndarray, " S"], Remarks]:
        """Which sites stay, and remarks.

        Raises:
          UserError: no site stays, or nothing is known of chromosomes that are to be left out.
        """
        kept, remarks = np.ones(len(sites), bool), Remarks()
        for name, listed in self.lists.items():
            names = without_suffix(list(listed)) if self.stripped else list(listed)
            is_listed = np.isin(sites, names)
            kept &= ~is_listed
            sentence = f"{is_listed.sum():,} of the {len(listed):,} sites of {name} left out."
            none = f"none of the {len(listed):,} sites of {name} (data.drop_sites) is in the data."
            remarks += note(sentence) if is_listed.any() else warning(none)
        if self.sex_chromosomes:
            on_sex, said = self._on_sex_chromosomes(sites)
            kept &= ~on_sex
            remarks += said
        if not kept.any():
            raise UserError(
                f"all {len(sites):,} sites are left out by data.drop_sites and "
                "data.sex_chromosomes; drop fewer of them"
            )
        return kept, remarks

    def _on_sex_chromosomes(
        self, sites: Shaped[np.ndarray, " S"]
    ) -> tuple[Bool[np.ndarray, " S"], Remarks]:
        found = np.array([self.chromosomes.get(site, "") for site in sites.tolist()], dtype=str)
        if not (found != "").any():
            raise UserError(
                "--config.data.sex_chromosomes=drop needs the chromosomes of the sites, and the "
                "annotation of sites tells none; name Illumina's manifest with "
                "--config.knowledge.site_genes, or set --config.data.sex_chromosomes=keep"
            )
        plain = np.char.upper(np.char.replace(found, "chr", ""))
        counts = ", ".join(f"{name} {(plain == name).sum():,}" for name in SEX)
        remarks = note(f"Sites on the sex chromosomes left out: {counts}.")
        if n_unknown := int((found == "").sum()):
            remarks += warning(
                f"the chromosome of {n_unknown:,} sites is unknown; they are kept although "
                "data.sex_chromosomes=drop."
            )
        return np.isin(plain, SEX), remarks


# --- the union ------------------------------------------------------------------------------------


def unite_sites(
    studies: Mapping[str, Shaped[np.ndarray, " s"]],
) -> tuple[Shaped[np.ndarray, " S"], Remarks]:
    """All sites in the order of first appearance, and a warning of those that a study lacks."""
    of_study = list(studies.values())
    if len(of_study) == 1 or all(np.array_equal(of_study[0], sites) for sites in of_study[1:]):
        return of_study[0], Remarks()
    place = dict.fromkeys(site for sites in of_study for site in sites.tolist())
    union = np.array(list(place), dtype=str)
    lacking = {name: len(union) - len(sites) for name, sites in studies.items()}
    shared = set(of_study[0].tolist()).intersection(*(sites.tolist() for sites in of_study[1:]))
    if not shared:
        examples = ", ".join(f"{str(sites[0])!r} in {name}" for name, sites in studies.items())
        raise UserError(
            f"the studies share no site ({examples}); name matrices of the same kind of array, or "
            "set --config.data.strip_suffixes=True if one of them is of EPIC v2"
        )
    n_partial = len(union) - len(shared)
    if not n_partial:
        return union, Remarks()
    listed = ", ".join(f"{name} lacks {count:,}" for name, count in lacking.items())
    return union, warning(
        f"{n_partial:,} of {len(union):,} sites are not in every study ({listed}); they are "
        "missing there, which tells the study: for a comparison without them, drop them with "
        "data.drop_sites."
    )


def known_sites(wanted: Shaped[np.ndarray, " S"], present: Collection[str]) -> Remarks:
    """A note of the sites of a training that new people lack; a warning of their number if many."""
    missing = [site for site in wanted.tolist() if site not in present]
    if not missing:
        return Remarks()
    some = count_phrase(len(missing), "site", missing)
    sentence = f"{some} of the training and not of these people; missing in all of them."
    if 2 * len(missing) > len(wanted):
        return warning(sentence)
    return note(sentence)


def place_study(
    out: tuple[Float32[np.ndarray, "n S"], Bool[np.ndarray, "n S"]],
    rows: Int[np.ndarray, " k"],
    matrix: Matrix,
    own_rows: Int[np.ndarray, " k"],
    columns: Int[np.ndarray, " S"],
) -> None:
    """Writes people of a study into the arrays of all: row `own_rows[i]` into row `rows[i]`.

    columns: (S,) the site's column in the study, -1 where it has none.
    """
    values, mask = out
    exists = columns >= 0
    for block in mapped.row_blocks(matrix.values[: len(rows)]):
        own = own_rows[block]
        seen = matrix.mask[own][:, columns] & exists
        mask[rows[block]] = seen
        values[rows[block]] = np.where(seen, matrix.values[own][:, columns], 0)


def columns_of(
    sites: Shaped[np.ndarray, " S"], of_study: Shaped[np.ndarray, " s"]
) -> Int[np.ndarray, " S"]:
    """(S,) the column of each site in a study, -1 where it has none."""
    if np.array_equal(sites, of_study):
        return np.arange(len(sites))
    column_of = {site: j for j, site in enumerate(of_study.tolist())}
    return np.array([column_of.get(site, -1) for site in sites.tolist()], dtype=int)
