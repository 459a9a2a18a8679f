"""Tokens of pathways in place of those of genes: every pathway pools its own genes by attention.

    l_hpi = q_hp . (K u_i)_h / sqrt(c) + b_hp x_i     of head h, pathway p, and a gene i of p
    a_hpi = softmax of l_hpi over the genes of p that exist
    t_p   = e_p + sum_i a_hpi (V u_i)_h               the heads side by side
    x_p   = mean over the heads of sum_i a_hpi x_i

u_i is the token of gene i with its value encoded. t_p and x_p are the token and the value of the
pathway, which does not exist in a row without any of its genes. The term b x stands only where a
token knows nothing of its value. Layers of attention among pathways follow, so that the cost grows
with the number of memberships and the square of that of pathways.

Source: pooling by attention with learned queries (Lee et al. 2019, Set Transformer, section 3.2),
here among the genes of a set. The genes of a pathway are cut into chunks of one width; a chunk
gives its sums relative to its largest logit, and those of a pathway's chunks are added (Milakov &
Gimelshein 2018). Left out: dropout of these weights, and genes as tokens beside the pathways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from omics_jax.nn.initial import Constant, Uniform
from omics_jax.nn.long_attention import ABSENT
from omics_jax.nn.token_encoder import Randomness, TokenEncoder, through_layers
from omics_jax.nn.value_encodings import (
    IN_LOGITS,
    STRENGTH,
    encoded_value,
    per_token,
    vectors_of,
)

WIDTHS = (8, 16, 32, 64, 128)  # genes of one chunk; the cheapest for the pathways is taken
CHUNK_COST = 64  # of a chunk itself, in genes; measured on a CPU
BLOCK_CELLS = 1 << 20  # of (chunks, n, width, channels) that exist at once

Params = Mapping[str, Any]


class Members(NamedTuple):
    """The genes of P pathways, as C chunks of one width.

    gene: (C, width) places among the G genes; G where a chunk has no further one.
    pathway: (C,) of each chunk, ascending; P for a chunk without any gene.
    """

    gene: Int[Any, "C width"]
    pathway: Int[Any, " C"]


# --- the plan, on the host ------------------------------------------------------------------------


def plan_members(
    memberships: Sequence[Int[np.ndarray, "_ 2"]], genes: int, pathways: int
) -> list[Members]:
    """The chunks of every list of (gene, pathway), such as those of folds, all of one shape.

    Raises:
      ValueError: a gene or a pathway out of range, or a pair that occurs twice.
    """
    for pairs in memberships:
        _check(pairs, genes, pathways)
    counts = [np.bincount(pairs[:, 1], minlength=pathways) for pairs in memberships]
    chunks = {width: max(int((-(-own // width)).sum()) for own in counts) for width in WIDTHS}
    width = min(WIDTHS, key=lambda width: chunks[width] * (width + CHUNK_COST))
    return [_chunks(pairs, genes, pathways, width, chunks[width]) for pairs in memberships]


def _check(pairs: Int[np.ndarray, "_ 2"], genes: int, pathways: int) -> None:
    in_range = (pairs >= 0).all() and (pairs < [genes, pathways]).all()
    if not in_range:
        raise ValueError(f"memberships must be of {genes} genes in {pathways} pathways")
    if len(np.unique(pairs, axis=0)) < len(pairs):
        raise ValueError("a gene stands twice in a pathway; give every membership once")


def _chunks(
    pairs: Int[np.ndarray, "_ 2"], genes: int, pathways: int, width: int, count: int
) -> Members:
    """`count` chunks of so many genes."""
    pairs = pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]
    size = np.bincount(pairs[:, 1], minlength=pathways)
    chunks_of = -(-size // width)
    first_chunk, first_pair = (np.cumsum(own) - own for own in (chunks_of, size))
    place = np.arange(len(pairs)) - first_pair[pairs[:, 1]]  # among the genes of its pathway
    gene = np.full(count * width, genes, np.int32)
    gene[first_chunk[pairs[:, 1]] * width + place] = pairs[:, 0]
    pathway = np.full(count, pathways, np.int32)
    pathway[: chunks_of.sum()] = np.repeat(np.arange(pathways), chunks_of)
    return Members(gene.reshape(count, width), pathway)


# --- parameters -----------------------------------------------------------------------------------


def pathway_parameters(shape: TokenEncoder, pathways: int) -> dict[str, Any]:
    """The description of q, K, V, e and b, see `initial.draw`; K and V map d channels to d."""
    d, heads = shape.channels, shape.heads
    parameters: dict[str, Any] = {
        "token": Uniform((pathways, d), d / 3),
        "query": Uniform((pathways, d), d / 3),
        "key": Uniform((d, d), d / 3),
        "value": Uniform((d, d), d / 3),
    }
    if shape.encoding in IN_LOGITS:  # half of the heads look at large values, the others at small
        signs = (-1.0) ** np.arange(heads)
        parameters["slope"] = Constant((pathways, heads), STRENGTH * signs)
    return parameters


# --- encoding -------------------------------------------------------------------------------------


def encode_pathways(
    shape: TokenEncoder,
    p: Params,
    x: Float[Array, "n t"],
    exists: Bool[Array, "n t"],
    members: Members,
    others: int,
    randomness: Randomness | None = None,
    extra: Float[Array, "1 t d"] | float = 0.0,
) -> tuple[Float[Array, "n _ d"], Bool[Array, "n _"]]:
    """The tokens after the last layer, and which of them exist; the arguments of `pathway_tokens`.

    randomness: in training; None for no dropout.
    """
    t, x, exists = pathway_tokens(shape, p, x, exists, members, others, extra)
    return through_layers(shape, p, t, x, exists, randomness), exists


def pathway_tokens(
    shape: TokenEncoder,
    p: Params,
    x: Float[Array, "n t"],
    exists: Bool[Array, "n t"],
    members: Members,
    others: int,
    extra: Float[Array, "1 t d"] | float = 0.0,
) -> tuple[Float[Array, "n u d"], Float[Array, "n u"], Bool[Array, "n u"]]:
    """Tokens before the first layer, their values, and which exist: others, then pathways.

    shape: of all tokens before the genes are pooled, with exact attention.
    p: `encoder_parameters`, and in "pathways" `pathway_parameters`.
    x, exists: of the other tokens, then of the genes. Genes in no pathway take no part.
    others: the number of tokens that are no genes.
    extra: added to the tokens' vectors, such as vectors that are known of them.
    """
    exists = exists & takes_part(members, others, x.shape[1])
    x = jnp.where(exists, x, 0)
    encoded = encoded_value(shape.encoding, x, exists)
    vectors = jnp.broadcast_to(p["token"] + extra, (1, *p["token"].shape))[0]
    t = _other_tokens(shape, p, vectors[:others], encoded[:, :others], x.shape[1])
    pooled = _pool(shape, p, vectors, x, encoded, exists, members, others)
    both = ((t, x[:, :others], exists[:, :others]), pooled)
    t, x, exists = (jnp.concatenate(parts, axis=1) for parts in zip(*both, strict=True))
    return t, x, exists


def takes_part(members: Members, others: int, tokens: int) -> Bool[Array, " t"]:
    """Which tokens are no genes, or genes of a pathway."""
    is_member = jnp.zeros(tokens - others, bool).at[members.gene].set(True, mode="drop")
    return jnp.concatenate([jnp.ones(others, bool), is_member])


def _other_tokens(
    shape: TokenEncoder,
    p: Params,
    vectors: Float[Array, "f d"],
    encoded: Num[Array, "n f"],
    tokens: int,
) -> Float[Array, "n f d"]:
    value = p.get("value", {})
    own = {name: a[: len(vectors)] for name, a in per_token(shape.encoding, value).items()}
    added = vectors_of(shape.encoding, {**value, **own}, encoded, tokens, shape.channels)
    return jnp.broadcast_to(vectors + added, (*encoded.shape, shape.channels))


# --- pooling --------------------------------------------------------------------------------------


class _Chunk(NamedTuple):
    """The w genes of one chunk. own: the `per_token` parameters of their encoding."""

    vectors: Float[Array, "w d"]
    own: Params
    query: Float[Array, "h d"]  # K' q / sqrt(c)
    slope: Float[Array, " h"]
    x: Float[Array, "n w"]
    encoded: Num[Array, "n w"]
    exists: Bool[Array, "n w"]


class _Sums(NamedTuple):
    """Sums over genes of w = exp(l - most), of w V u, and of w x; most is their largest l."""

    most: Float[Array, "*k n h"]
    weights: Float[Array, "*k n h"]
    vectors: Float[Array, "*k n h c"]
    values: Float[Array, "*k n h"]


def _pool(
    shape: TokenEncoder,
    p: Params,
    vectors: Float[Array, "t d"],
    x: Float[Array, "n t"],
    encoded: Num[Array, "n t"],
    exists: Bool[Array, "n t"],
    members: Members,
    others: int,
) -> tuple[Float[Array, "n P d"], Float[Array, "n P"], Bool[Array, "n P"]]:
    """Token, value and existence of every pathway."""
    pathway, value = p["pathways"], p.get("value", {})
    places = others + members.gene  # beyond the tokens where there is no gene
    own = {name: a.at[places].get() for name, a in per_token(shape.encoding, value).items()}

    def by_chunk(table: Num[Array, "n t"] | Bool[Array, "n t"]) -> Array:
        return jnp.moveaxis(table.at[:, places].get(mode="fill", fill_value=0), 1, 0)

    # What a chunk reads is gathered here: inside the loop, the gradient of each would be a table.
    chunks = _Chunk(
        vectors.at[places].get(mode="fill", fill_value=0),
        own,
        _queries(shape, pathway)[members.pathway],
        _slopes(shape, pathway)[members.pathway],
        *map(by_chunk, (x, encoded, exists)),
    )

    def sums_of(chunk: _Chunk) -> _Sums:
        return _sums(shape, value, _by_head(shape, pathway["value"]), x.shape[1], chunk)

    channels = 2 * shape.heads if shape.encoding in IN_LOGITS else shape.channels
    at_once = max(1, BLOCK_CELLS // (len(x) * members.gene.shape[1] * channels))
    sums = jax.lax.map(jax.checkpoint(sums_of), chunks, batch_size=at_once)
    return _tokens_of(pathway["token"], _added_up(sums, members.pathway, len(pathway["token"])))


def _by_head(shape: TokenEncoder, matrix: Float[Array, "d d"]) -> Float[Array, "d h c"]:
    return matrix.reshape(shape.channels, shape.heads, -1)


def _queries(shape: TokenEncoder, pathway: Params) -> Float[Array, "P h d"]:
    """K' q / sqrt(c) of every head, whose product with u is that of q with K u."""
    query = pathway["query"].reshape(-1, shape.heads, shape.channels // shape.heads)
    scaled = query / np.sqrt(query.shape[-1]).astype(query.dtype)
    return jnp.einsum("phc,dhc->phd", scaled, _by_head(shape, pathway["key"]))


def _slopes(shape: TokenEncoder, pathway: Params) -> Float[Array, "P h"]:
    none = jnp.zeros((len(pathway["token"]), shape.heads), pathway["token"].dtype)
    return pathway.get("slope", none)


def _sums(
    shape: TokenEncoder, value: Params, matrix: Float[Array, "d h c"], tokens: int, chunk: _Chunk
) -> _Sums:
    """The sums over the genes of a chunk that exist. matrix: V by head."""
    added = vectors_of(
        shape.encoding, {**value, **chunk.own}, chunk.encoded, tokens, shape.channels
    )
    logits = chunk.query @ chunk.vectors.T + chunk.slope[:, None] * chunk.x[:, None]
    if not isinstance(added, float):
        logits += jnp.einsum("hd,nwd->nhw", chunk.query, added)
    exists = chunk.exists[:, None]
    logits = jnp.where(exists, logits, ABSENT)
    most = jax.lax.stop_gradient(logits.max(axis=-1))  # the sums' ratios do not depend on it
    weights = jnp.where(exists, jnp.exp(logits - most[..., None]), 0)
    # The vectors first, by all heads, and then V: half of it is the same for all rows.
    vectors = jnp.einsum("nhw,wd->nhd", weights, chunk.vectors)
    if not isinstance(added, float):
        vectors += jnp.einsum("nhw,nwd->nhd", weights, added)
    return _Sums(
        most,
        weights.sum(axis=-1),
        jnp.einsum("nhd,dhc->nhc", vectors, matrix),
        jnp.sum(weights * chunk.x[:, None], axis=-1),
    )


def _added_up(sums: _Sums, pathway: Int[Array, " C"], count: int) -> _Sums:
    """The sums of every pathway from those of its chunks; 0 of one without any gene."""
    most = jax.ops.segment_max(sums.most, pathway, count, indices_are_sorted=True)
    most = jnp.maximum(most, ABSENT)  # of a pathway without a chunk, too
    scale = jnp.exp(sums.most - most[pathway])

    def total(parts: Array) -> Array:
        scaled = parts * scale.reshape(*scale.shape, *[1] * (parts.ndim - scale.ndim))
        return jax.ops.segment_sum(scaled, pathway, count, indices_are_sorted=True)

    return _Sums(most, total(sums.weights), total(sums.vectors), total(sums.values))


def _tokens_of(
    token: Float[Array, "P d"], sums: _Sums
) -> tuple[Float[Array, "n P d"], Float[Array, "n P"], Bool[Array, "n P"]]:
    """t, x and existence of every pathway."""
    exists = sums.weights > 0
    weights = jnp.where(exists, sums.weights, 1)
    vectors = sums.vectors / weights[..., None]
    t = token + jnp.moveaxis(vectors, 0, 1).reshape(vectors.shape[1], *token.shape)
    values = jnp.mean(sums.values / weights, axis=-1)
    return t, values.T, exists[..., 0].T
