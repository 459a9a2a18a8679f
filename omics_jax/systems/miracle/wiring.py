"""The layers of a replicate's network: what knowledge connects, or what stands in its place.

    both      encoder and decoder follow the knowledge (the paper)
    decoder   the decoder alone does; the encoder is dense (the authors' last code)
    none      both are dense
    shuffled  both follow connections with the same numbers per unit and other ends
    random    both follow as many connections between any units

The lists of connections become constants of the replicate, so that a program takes them as
arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from omics_jax.data.knowledge.layers import Knowledge
from omics_jax.data.knowledge.rewire import random_ends, shuffled_ends, split_hidden
from omics_jax.nn.sparse import Edges, edge_arrays, edges_from, plan_edges, reverse

KNOWLEDGE = ("both", "decoder", "none", "shuffled", "random")
FALSE = ("shuffled", "random")  # those whose connections are true only by chance
Ends = Int[np.ndarray, "_ 2"]


def masks_of(knowledge: str, softness: float) -> tuple[str, str]:
    """The masks of encoder and decoder, see `nn.masked_dense`."""
    masked = "soft" if softness > 0 else "hard"
    if knowledge == "none":
        return "none", "none"
    return ("none" if knowledge == "decoder" else masked), masked


def layer_ends(
    knowledge: Knowledge, how: str, hidden: float, seed: int
) -> tuple[list[Ends], list[Ends]]:
    """The connections of every layer, the first from all sites to genes, and the hidden ones.

    how: one of `KNOWLEDGE`. hidden: the share of each layer's connections that is left out.
    seed: of shuffling, drawing and hiding.
    """
    sizes = layer_sizes(knowledge)
    kept, left_out = [], []
    for number, layer in enumerate((knowledge.genes, *knowledge.pathways)):
        ends = np.asarray(layer.ends)
        if how == "shuffled":
            ends = shuffled_ends(ends, seed + number)
        elif how == "random":
            ends = random_ends(len(ends), sizes[number], sizes[number + 1], seed + number)
        ends, out = split_hidden(ends, hidden, seed + number)
        kept.append(ends)
        left_out.append(out)
    return kept, left_out


def layer_sizes(knowledge: Knowledge) -> tuple[int, ...]:
    """The numbers of sites, genes, pathways and units of higher levels."""
    layers = (knowledge.genes, *knowledge.pathways)
    return (len(knowledge.sites), *(len(layer.names) for layer in layers))


def most_edges(ends: Ends, sites: int, width: int) -> int:
    """The most connections that any `width` of the sites have."""
    fan_out = np.bincount(ends[:, 0], minlength=sites)
    return int(np.sort(fan_out)[::-1][:width].sum())


def wired(
    ends: Sequence[Ends],
    sizes: Sequence[int],
    places: Int[np.ndarray, " w"],
    room: Sequence[int | None],
) -> dict[str, np.ndarray]:
    """The constants up_L_FIELD and down_L_FIELD of every layer L: its edges, and the reversed ones.

    Args:
      ends: of the layers, the first from all sites.
      sizes: numbers of units, see `layer_sizes`.
      places: (w,) the chosen sites, ascending; `sizes[0]` where there is none.
      room: connections of every layer for which the constants have room; None for as many as there
        are.
    """
    own = own_layers(ends, sizes[0], places)
    inputs = (len(places), *sizes[1:-1])
    constants = {}
    for number, layer in enumerate(own):
        edges = plan_edges(layer, inputs[number], sizes[number + 1], room[number])
        for side, plan in (("up", edges), ("down", reverse(edges, room[number]))):
            for field, array in edge_arrays(plan).items():
                constants[f"{side}_{number}_{field}"] = np.asarray(array)
    return constants


def own_layers(ends: Sequence[Ends], sites: int, places: Int[np.ndarray, " w"]) -> list[Ends]:
    """The layers' connections of the chosen sites, which are numbered by their places.

    sites: the number of all sites, which stands in `places` where none is chosen.
    """
    number_of = np.full(sites + 1, -1)
    number_of[places] = np.arange(len(places))
    number_of[sites] = -1
    numbers = number_of[ends[0][:, 0]]
    of_chosen = np.stack([numbers, ends[0][:, 1]], axis=1)[numbers >= 0]
    return [of_chosen, *ends[1:]]


def edges_of(constants: Mapping[str, Any], side: str, number: int) -> Edges:
    """The edges of a layer in a replicate's constants; side: "up" or "down"."""
    prefix = f"{side}_{number}_"
    named = {key.removeprefix(prefix): v for key, v in constants.items() if key.startswith(prefix)}
    return edges_from(named)
