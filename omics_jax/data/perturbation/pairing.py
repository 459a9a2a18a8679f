"""Which control profile belongs to which treated profile, and the profile that stands for several
controls.

Pure functions of ids and conditions; the rules are this project's, the highest-dose rule is the
PertVAE
paper's. Reading files is left to `perturbations`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32

PROFILES = ("mean", "each", "one")

Pair = tuple[int, tuple[int, ...]]


def agreeing_controls(
    keys: Sequence[tuple[str, ...]], treated: Sequence[int], controls: Sequence[int]
) -> dict[int, list[int]]:
    """For each treated row the control rows with its key; a key with an unknown ("") part agrees
    with none.

    A row is its position among `keys`.
    """
    by_key: dict[tuple[str, ...], list[int]] = {}
    for c in controls:
        by_key.setdefault(keys[c], []).append(c)
    return {t: [] if "" in keys[t] else by_key.get(keys[t], []) for t in treated}


def dealt_pairs(agreeing: dict[int, list[int]], ids: Sequence[str], profile: str) -> list[Pair]:
    """(treated row, control rows) of every pair, in the order of the treated rows.

    "mean": all agreeing controls together; "each": one pair per agreeing control, in the order of
    their ids;
    "one": the k-th of the treated ids that share controls gets the k-th of those controls, round
    and round.
    Treated rows without a control are in no pair.
    """
    if profile == "mean":
        return [(t, tuple(controls)) for t, controls in agreeing.items() if controls]
    ordered = {t: sorted(controls, key=lambda c: ids[c]) for t, controls in agreeing.items()}
    if profile == "each":
        return [(t, (c,)) for t, controls in ordered.items() for c in controls]
    turns: dict[tuple[int, ...], int] = {}
    given = {}
    for t in sorted(agreeing, key=lambda t: ids[t]):
        sharing = tuple(ordered[t])
        turn = turns.get(sharing, 0)
        turns[sharing] = turn + 1
        if sharing:
            given[t] = sharing[turn % len(sharing)]
    return [(t, (given[t],)) for t in agreeing if t in given]


def masked_mean(
    values: Float32[np.ndarray, "k g"], mask: Bool[np.ndarray, "k g"]
) -> tuple[Float32[np.ndarray, " g"], Bool[np.ndarray, " g"]]:
    """The mean of the observed values of each gene, and where there is one; 0 where there is none."""
    count = mask.sum(axis=0)
    total = np.where(mask, values, 0).sum(axis=0, dtype=np.float64)
    return (total / np.maximum(count, 1)).astype(np.float32), count > 0


def control_profiles(
    values: Float32[np.ndarray, "n g"], mask: Bool[np.ndarray, "n g"], pairs: Sequence[Pair]
) -> tuple[Float32[np.ndarray, "p g"], Bool[np.ndarray, "p g"]]:
    """x1 of every pair: the masked mean of its controls (computed once per set of controls)."""
    sets = {
        controls: k for k, controls in enumerate(dict.fromkeys(controls for _, controls in pairs))
    }
    means = [masked_mean(values[list(controls)], mask[list(controls)]) for controls in sets]
    rows = [sets[controls] for _, controls in pairs]
    return np.stack([m for m, _ in means])[rows], np.stack([k for _, k in means])[rows]


def highest_doses(drugs: Sequence[str], doses: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Rows at the highest dose of their own drug (PertVAE, data: highest concentration only)."""
    doses = pd.Series(doses)
    return (doses == doses.groupby(np.asarray(drugs, dtype=str)).transform("max")).to_numpy()


def cell_line_groups(lines: Sequence[str]) -> list[str]:
    """One spelling per cell line: names equal but for case and punctuation (MCF7, MCF-7) take the
    first's.

    Different lines that differ in punctuation alone (TT and T.T) are put together too, which can
    only keep
    more rows on one side of a split.
    """
    first: dict[str, str] = {}
    return [
        first.setdefault("".join(filter(str.isalnum, line)).casefold() or line, line)
        for line in lines
    ]


def shared_genes(features: Sequence[Sequence[str]]) -> list[str]:
    """The genes that every list holds, in the order of the first; names are compared as they are."""
    common = set(features[0]).intersection(*features[1:])
    return [name for name in features[0] if name in common]


def naming_hint(features: Sequence[str], others: Sequence[str]) -> str:
    """Why two files may share few genes, told from the names; "" where nothing suggests itself."""
    by_case = {name.casefold(): name for name in features if name not in set(others)}
    cased = next(
        (name for name in others if name not in set(features) and name.casefold() in by_case), None
    )
    if cased is not None:
        return f"some names differ in upper and lower case only ({by_case[cased.casefold()]!r}, {cased!r})"
    numbers = [
        sum(name.isdigit() for name in names) > len(names) / 2 for names in (features, others)
    ]
    if numbers[0] != numbers[1]:
        return "one of them names genes by numbers (Entrez), the other does not"
    return f"their names look like {str(features[0])!r} and {str(others[0])!r}"
