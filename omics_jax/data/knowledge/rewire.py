"""Changed connections, to ask what knowledge is worth: shuffled, random, or partly hidden.

    shuffled  every unit keeps the number of its connections, on both sides
    random    as many connections, between any units
    hidden    a share of the connections is left out

Shuffling swaps the ends of pairs of connections (Maslov & Sneppen 2002).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

Ends = Int[np.ndarray, "_ 2"]

SWAPS_PER_EDGE = 10


def shuffled_ends(ends: Ends, seed: int) -> Ends:
    """Other connections with the same numbers per input and per output, each pair once.

    In every round all connections are paired at random and each pair (a, b), (c, d) becomes
    (a, d), (c, b), unless one of these exists or is made twice.
    """
    rng = np.random.default_rng(seed)
    ends = ends.astype(np.int64)
    outputs = int(ends[:, 1].max(initial=0)) + 1
    for _ in range(SWAPS_PER_EDGE):
        order = rng.permutation(len(ends))
        first, second = order[: len(order) // 2], order[len(order) // 2 :][: len(order) // 2]
        swapped = ends.copy()
        swapped[first, 1], swapped[second, 1] = ends[second, 1], ends[first, 1]
        code, new = (pairs[:, 0] * outputs + pairs[:, 1] for pairs in (ends, swapped))
        is_new = _occurs_once(new) & ~np.isin(new, code)
        accepted = is_new[first] & is_new[second]
        for half in (first, second):
            ends[half[accepted]] = swapped[half[accepted]]
    return _by_output(ends)


def _occurs_once(code: Int[np.ndarray, " E"]) -> Bool[np.ndarray, " E"]:
    _, place, count = np.unique(code, return_inverse=True, return_counts=True)
    return count[place] == 1


def random_ends(count: int, inputs: int, outputs: int, seed: int) -> Ends:
    """So many different connections between any units.

    Raises:
      ValueError: more than the units can have.
    """
    if count > inputs * outputs:
        raise ValueError(f"{inputs} inputs and {outputs} outputs have no {count} connections")
    code = np.random.default_rng(seed).choice(inputs * outputs, count, replace=False)
    return _by_output(np.stack([code // outputs, code % outputs], axis=1))


def split_hidden(ends: Ends, share: float, seed: int) -> tuple[Ends, Ends]:
    """The connections that stay, and a random share of those that are hidden."""
    count = round(share * len(ends))
    order = np.random.default_rng(seed).permutation(len(ends))
    hidden, stay = np.sort(order[:count]), np.sort(order[count:])
    return ends[stay], ends[hidden]


def _by_output(ends: Ends) -> Ends:
    order = np.lexsort((ends[:, 0], ends[:, 1]))
    return ends[order]
