"""Which controls belong to which treated profile, and the profile that stands for several controls.

Pure functions of ids and conditions. The rules are this project's. Reading files is left to `read`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Shaped

PROFILES = ("mean", "each", "one")

# (treated row, control rows)
Pair = tuple[int, tuple[int, ...]]
Matches = dict[int, list[int]]
Profiles = Float32[np.ndarray, "n g"]
ProfileMasks = Bool[np.ndarray, "n g"]


def matching_controls(
    keys: Sequence[tuple[str, ...]], treated: Sequence[int], controls: Sequence[int]
) -> Matches:
    """treated row -> the control rows with the same key; rows are positions among `keys`.

    A key with an unknown ("") part matches nothing.
    """
    controls_of_key: dict[tuple[str, ...], list[int]] = {}
    for control in controls:
        controls_of_key.setdefault(keys[control], []).append(control)
    matches = {}
    for row in treated:
        key = keys[row]
        is_known = "" not in key
        matches[row] = controls_of_key.get(key, []) if is_known else []
    return matches


def on_own_plate(matches: Matches, plates: Shaped[np.ndarray, " n"]) -> Matches:
    """The matches without controls of other plates; an unknown ("") plate is nobody's own."""
    own = {}
    for row, controls in matches.items():
        own[row] = [c for c in controls if plates[c] == plates[row] and plates[row]]
    return own


def assign_controls(matches: Matches, ids: Sequence[str], profile: str) -> list[Pair]:
    """The pairs under a control profile, in the order of the treated rows.

    Treated rows that match no control are in no pair.

    Args:
      matches: treated row -> control rows, of `matching_controls`.
      ids: of all rows.
      profile: "mean": all matching controls together. "each": one pair per matching control, in
        the order of their ids. "one": treated rows that share controls take turns, so that the
        k-th of their ids gets the k-th control, starting over after the last.
    """
    if profile == "mean":
        return [(row, tuple(controls)) for row, controls in matches.items() if controls]
    matches_by_id = {}
    for row, controls in matches.items():
        matches_by_id[row] = sorted(controls, key=lambda control: ids[control])
    if profile == "one":
        return _assign_in_turns(matches_by_id, ids)
    pairs = []
    for row, controls in matches_by_id.items():
        pairs += [(row, (control,)) for control in controls]
    return pairs


def _assign_in_turns(matches: Matches, ids: Sequence[str]) -> list[Pair]:
    next_turn: dict[tuple[int, ...], int] = {}
    control_of = {}
    for row in sorted(matches, key=lambda row: ids[row]):
        controls = tuple(matches[row])
        if not controls:
            continue
        turn = next_turn.get(controls, 0)
        next_turn[controls] = turn + 1
        control_of[row] = controls[turn % len(controls)]
    return [(row, (control_of[row],)) for row in matches if row in control_of]


def masked_mean(
    values: Profiles, mask: ProfileMasks
) -> tuple[Float32[np.ndarray, " g"], Bool[np.ndarray, " g"]]:
    """The mean of the observed values of each gene, 0 where there is none, and its mask."""
    count = mask.sum(axis=0)
    observed = np.where(mask, values, 0)
    total = observed.sum(axis=0, dtype=np.float64)
    mean = total / np.maximum(count, 1)
    return mean.astype(np.float32), count > 0


def control_profiles(
    values: Profiles, mask: ProfileMasks, pairs: Sequence[Pair]
) -> tuple[Float32[np.ndarray, "p g"], Bool[np.ndarray, "p g"]]:
    """x1 of every pair and its mask: the masked mean of the pair's controls.

    The mean is computed once per set of controls.
    """
    position: dict[tuple[int, ...], int] = {}
    means, masks, set_of_pair = [], [], []
    for _, controls in pairs:
        if controls not in position:
            position[controls] = len(means)
            rows = list(controls)
            mean, mask_of_mean = masked_mean(values[rows], mask[rows])
            means.append(mean)
            masks.append(mask_of_mean)
        set_of_pair.append(position[controls])
    x1 = np.stack(means)
    m1 = np.stack(masks)
    return x1[set_of_pair], m1[set_of_pair]


def shared_genes(genes: Sequence[str], others: Sequence[str]) -> list[str]:
    """The genes that both lists hold, in the order of the first; names must be equal."""
    in_others = set(others)
    return [name for name in genes if name in in_others]


def naming_hint(features: Sequence[str], others: Sequence[str]) -> str:
    """Why two files may share few genes, judged by how they name them."""
    recased = _recased_name(features, others)
    if recased:
        name, other = recased
        return f"some names differ in upper and lower case only ({name!r}, {other!r})"
    if _mostly_numbers(features) != _mostly_numbers(others):
        return "one of them names genes by numbers (Entrez), the other does not"
    return f"their names look like {str(features[0])!r} and {str(others[0])!r}"


def _recased_name(features: Sequence[str], others: Sequence[str]) -> tuple[str, str] | None:
    """A name and its spelling in `others` that differ in case alone, the first such of `others`."""
    in_both = set(features) & set(others)
    name_of_folded = {name.casefold(): name for name in features if name not in in_both}
    for other in others:
        folded = other.casefold()
        if other not in in_both and folded in name_of_folded:
            return name_of_folded[folded], other
    return None


def _mostly_numbers(names: Sequence[str]) -> bool:
    n_numbers = sum(name.isdigit() for name in names)
    return n_numbers > len(names) / 2
