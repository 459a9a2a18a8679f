"""Linear layers whose connections are fixed and few, such as site -> gene -> pathway.

    y_o = b_o + sum over the edges e = (i_e, o_e) with o_e = o of w_e x_{i_e}

Only the weights w of the edges exist: they are what is initialised, trained and saved. Activations
are stored feature by feature, (features, n), so that a gathered row is contiguous.

The edges of every unit are cut into chunks of one width, so that a unit with a thousand inputs
costs no padding of the others. A scan over blocks of chunks gathers, multiplies and adds every
block to its units, in their order, while it is in the cache. The gradient of the input is the same
computation on the chunks of the reversed edges. The measurements behind this are in
`benchmarks/sparse_layers.py`. The dense form, for many edges, puts the weights into a matrix and
multiplies; its gradient is read at the edges alone. Left out: masks that change during training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

WIDTHS = (1, 2, 4, 8)  # edges of one chunk; the cheapest for the edges at hand is taken
CHUNK_COST = 2  # of a chunk itself, in gathered cells
BLOCK_CELLS = 1 << 20  # of (chunks, width, n) that one step of the scan gathers
# From this share of edges among inputs x outputs a matrix product is faster on a CPU.
DENSE_SHARE = 0.1
FORMS = ("auto", "dense", "sparse")

SIDES = ("by_output", "by_input")  # the fields of `Edges` that are chunks
REST = ("place", "ends", "fan_in", "fan_out")

Weights = Float[Array, " E"]


class Chunks(NamedTuple):
    """The edges by target unit, C chunks of one width; padding has edge = E, whose weight is 0.

    source: (C, width) the unit that each edge reads.
    edge: (C, width) its place among the weights.
    target: (C,) the unit to which each chunk adds, ascending.
    """

    source: Int[Array, "C width"]
    edge: Int[Array, "C width"]
    target: Int[Array, " C"]


class Edges(NamedTuple):
    """E connections of I inputs to O outputs, as arrays that a program takes as arguments.

    by_output, by_input: the edges as chunks, for the layer and for the gradient of its input.
    place: (E,) the cell of `by_output` that holds each edge.
    ends: (E, 2) input and output of each edge.
    fan_in: (O,) how many inputs each output has; fan_out: (I,) how many outputs each input has.
    """

    by_output: Chunks
    by_input: Chunks
    place: Int[Array, " E"]
    ends: Int[Array, "E 2"]
    fan_in: Int[Array, " O"]
    fan_out: Int[Array, " I"]


# --- the plan, on the host ------------------------------------------------------------------------


def plan_edges(
    ends: Int[np.ndarray, "e 2"], inputs: int, outputs: int, size: int | None = None
) -> Edges:
    """The chunks of a list of connections; time and memory are linear in their number.

    Args:
      ends: (e, 2) input and output of each connection, each pair once. Weights are in this order.
      size: E, so that lists of at most E connections have plans of equal shapes (one of each
        replicate). The weights of the connections that are not there have no effect and gradient 0.

    Raises:
      ValueError: a unit out of range, a connection that occurs twice, or more than `size`.
    """
    ends = np.asarray(ends, dtype=np.int32).reshape(-1, 2)
    source, target = ends[:, 0], ends[:, 1]
    if len(ends) and not (0 <= ends.min() and source.max() < inputs and target.max() < outputs):
        raise ValueError(f"connections must be among {inputs} inputs and {outputs} outputs")
    if len(np.unique(source.astype(np.int64) * outputs + target)) < len(ends):
        raise ValueError("a connection occurs twice; give every pair of units once")
    if size is not None and len(ends) > size:
        raise ValueError(f"{len(ends)} connections are more than the size of {size}")
    by_output, place = _chunks(source, target, outputs, size)
    by_input, _ = _chunks(target, source, inputs, size)
    absent = 0 if size is None else size - len(ends)
    return Edges(
        by_output=by_output,
        by_input=by_input,
        place=place,
        ends=np.concatenate([ends, np.zeros((absent, 2), np.int32)]),
        fan_in=np.bincount(target, minlength=outputs).astype(np.int32),
        fan_out=np.bincount(source, minlength=inputs).astype(np.int32),
    )


def reverse(edges: Edges, size: int | None = None) -> Edges:
    """The same connections from outputs to inputs, with weights in the same order: a decoder.

    size: that of the plan, see `plan_edges`; it must be given where plans shall have equal shapes.
    """
    exists = np.asarray(connected(edges))
    ends = np.asarray(edges.ends)[exists, ::-1]
    size = len(exists) if size is None and not exists.all() else size
    return plan_edges(ends, len(edges.fan_in), len(edges.fan_out), size)


def edge_arrays(edges: Edges) -> dict[str, Int[Any, ...]]:
    """The arrays of the edges by name, as a program takes them; `edges_from` is the inverse."""
    flat = {f"{side}_{field}": array for side in SIDES for field, array in _fields(edges, side)}
    return {**flat, **{name: getattr(edges, name) for name in REST}}


def edges_from(arrays: Mapping[str, Any]) -> Edges:
    """The edges of which `edge_arrays` made these."""
    sides = {
        side: Chunks(*(arrays[f"{side}_{field}"] for field in Chunks._fields)) for side in SIDES
    }
    return Edges(**sides, **{name: arrays[name] for name in REST})


def _fields(edges: Edges, side: str) -> Iterable[tuple[str, Any]]:
    return getattr(edges, side)._asdict().items()


def _chunks(
    source: Int[np.ndarray, " e"], target: Int[np.ndarray, " e"], units: int, size: int | None
) -> tuple[Chunks, Int[np.ndarray, " E"]]:
    """The edges by target, and the cell of the chunks that holds each edge.

    With a size, width and number of chunks depend on it alone; the last cell is then empty.
    """
    order = np.lexsort((source, target))
    count = np.bincount(target, minlength=units)
    if size is None:
        size, width = len(order), _cheapest_width(count)
        n_chunks = int((-(-count // width)).sum())
    else:
        width = _cheapest_width(np.full(units, -(-size // units)))
        n_chunks = size // width + min(units, size) + 1
    chunks_of_unit = -(-count // width)
    first_chunk = np.cumsum(chunks_of_unit) - chunks_of_unit
    first_edge = np.cumsum(count) - count
    rank = np.arange(len(order)) - first_edge[target[order]]  # among the edges of its unit
    cell = (first_chunk[target[order]] + rank // width) * width + rank % width
    sources = np.zeros(n_chunks * width, np.int32)
    edge = np.full(n_chunks * width, size, np.int32)
    sources[cell], edge[cell] = source[order], order
    place = np.full(size, n_chunks * width - 1, np.int32)
    place[order] = cell
    targets = np.full(n_chunks, units - 1, np.int32)
    used = int(chunks_of_unit.sum())
    targets[:used] = np.repeat(np.arange(units), chunks_of_unit)
    shape = (n_chunks, width)
    return Chunks(sources.reshape(shape), edge.reshape(shape), targets), place


def _cheapest_width(count: Int[np.ndarray, " units"]) -> int:
    """The width of chunks with the least work for units that have so many edges."""
    return min(WIDTHS, key=lambda width: (-(-count // width)).sum() * (width + CHUNK_COST))


# --- the layer ------------------------------------------------------------------------------------


def initial_weights(key: PRNGKeyArray, edges: Edges) -> Weights:
    """w_e ~ U(-sqrt(3/f), sqrt(3/f)), f the number of inputs that the edge's output really has.

    The variance is 1/f, as that of a dense layer (LeCun et al. 1998) with f inputs. Weights without
    a connection are 0 (see `size` of `plan_edges`).
    """
    numbers = jax.random.uniform(key, (len(edges.ends),), jnp.float32, -1, 1)
    exists = connected(edges)
    fan_in = jnp.where(exists, edges.fan_in[edges.ends[:, 1]], 1).astype(jnp.float32)
    return jnp.where(exists, numbers * jnp.sqrt(3 / fan_in), 0)


def choose_form(form: str, edges: Edges) -> str:
    """ "dense" or "sparse"; "auto" is dense from `DENSE_SHARE` of all possible edges on."""
    if form != "auto":
        return form
    possible = len(edges.fan_in) * len(edges.fan_out)
    return "dense" if len(edges.ends) >= DENSE_SHARE * possible else "sparse"


def sparse_linear(
    weights: Weights, edges: Edges, x: Float[Array, "I n"], form: str = "auto"
) -> Float[Array, "O n"]:
    """sum_e w_e x_{i_e} for every output, without a bias.

    form: one of `FORMS`; all give the same values up to the order of sums.
    """
    if choose_form(form, edges) == "dense":
        return _dense_matrix(weights, edges) @ x
    return _product(weights, edges, x)


def _dense_matrix(weights: Weights, edges: Edges) -> Float[Array, "O I"]:
    matrix = jnp.zeros((len(edges.fan_in), len(edges.fan_out)), weights.dtype)
    existing = jnp.where(connected(edges), weights, 0)
    return matrix.at[edges.ends[:, 1], edges.ends[:, 0]].add(existing)


@jax.custom_vjp
def _product(weights: Weights, edges: Edges, x: Float[Array, "I n"]) -> Float[Array, "O n"]:
    return _add_up(weights, edges.by_output, x, len(edges.fan_in))


def _product_forward(weights: Weights, edges: Edges, x: Float[Array, "I n"]):
    return _product(weights, edges, x), (weights, edges, x)


def _product_backward(saved, dy: Float[Array, "O n"]):
    weights, edges, x = saved
    dx = _add_up(weights, edges.by_input, dy, len(edges.fan_out))
    cells = _correlate(edges.by_output, x, dy).reshape(-1)[edges.place]
    dw = jnp.where(connected(edges), cells, 0)
    no_gradient = jax.tree.map(lambda i: np.zeros(i.shape, jax.dtypes.float0), edges)
    return dw, no_gradient, dx


_product.defvjp(_product_forward, _product_backward)


def connected(edges: Edges) -> Bool[Array, " E"]:
    """Whether each weight belongs to a connection, see `size` of `plan_edges`."""
    return edges.by_output.edge.reshape(-1)[edges.place] == jnp.arange(len(edges.ends))


def _add_up(
    weights: Weights, chunks: Chunks, x: Float[Array, "sources n"], units: int
) -> Float[Array, "targets n"]:
    """For every one of the `units` targets the sum of w x over its edges.

    Each block is added at once, so that no array of all chunks is made. The edges of a chunk are
    added one after another: XLA fuses that with the gather, and no product of matrices.
    """
    padded = jnp.append(weights, 0)

    def add_block(
        total: Float[Array, "targets n"], part: Chunks
    ) -> tuple[Float[Array, "targets n"], None]:
        places = zip(part.edge.T, part.source.T, strict=True)
        sums = sum(padded[edge][:, None] * x[source] for edge, source in places)
        return total.at[part.target].add(sums, indices_are_sorted=True, mode="drop"), None

    total = jnp.zeros((units, x.shape[1]), jnp.result_type(weights, x))
    return _scan_blocks(add_block, total, chunks, x.shape[1], filling=units)[0]


def _correlate(
    chunks: Chunks, x: Float[Array, "sources n"], dy: Float[Array, "targets n"]
) -> Float[Array, "C width"]:
    """sum over the rows of x_i dy_o for every cell of the chunks."""

    def block(_, part: Chunks) -> tuple[None, Float[Array, "c width"]]:
        return None, _sum_in_halves(x[part.source] * dy[part.target][:, None, :])

    out = _scan_blocks(block, None, chunks, x.shape[1], filling=0)[1]
    return out.reshape(-1, out.shape[-1])[: len(chunks.target)]


def _scan_blocks(
    block: Callable[[Any, Chunks], tuple[Any, Any]],
    carry: Any,
    chunks: Chunks,
    rows: int,
    filling: int,
) -> tuple[Any, Any]:
    """`jax.lax.scan` of `block` over some chunks at a time.

    filling: the target of the chunks that fill the last block; they read unit and edge 0.
    """
    n_chunks, width = chunks.source.shape
    size = max(1, min(n_chunks, BLOCK_CELLS // (width * max(1, rows))))
    steps = -(-n_chunks // size)
    if steps <= 1:
        return block(carry, chunks)
    missing = steps * size - n_chunks

    def cut(array: Int[Any, "C ..."], value: int) -> Int[Array, "steps size ..."]:
        filled = jnp.concatenate([array, jnp.full_like(array[:missing], value)])
        return filled.reshape(steps, size, *array.shape[1:])

    return jax.lax.scan(block, carry, Chunks(*map(cut, chunks, (0, 0, filling))))


def _sum_in_halves(a: Float[Array, "*k n"]) -> Float[Array, "*k"]:
    """The sum over the last axis, by adding its halves: XLA's reduction of it is not vectorised."""
    while a.shape[-1] > 8 and a.shape[-1] % 2 == 0:
        half = a.shape[-1] // 2
        a = a[..., :half] + a[..., half:]
    return a.sum(axis=-1)
