"""How many replicates train together: a chunk goes through all stages before the next begins."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, lcm
from typing import Any

from omics_jax.training.devices import Devices

# Bytes that a chunk may take. "vmap": within what an accelerator holds. "cores": what a laptop
# holds. "queue": states that are handed over to the cores at every block, which should take no
# time.
CHUNK_BYTES = {"vmap": 4 << 30, "cores": 1 << 30, "queue": 64 << 20}
QUEUED_PER_CORE = 4  # replicates


def chunk_size(
    count: int,
    requested: int,
    devices: Devices,
    strategy: str,
    *,
    state_bytes: int,
    feature_bytes: int,
    together: int = 1,
) -> int:
    """How many of `count` replicates train together.

    With "vmap" all at once: the more the better. With "map" one after another: nothing is gained by
    sharing a program, but each of several devices or cores takes one, and on cores more of them
    wait in a queue, so that none is idle when a replicate stops.

    Args:
      requested: the size to use; 0 chooses the largest that fits `CHUNK_BYTES` (but one per device,
        and one per core if the states fit), then makes the chunks equally large.
      state_bytes: of a replicate's state.
      feature_bytes: of the features that a replicate's stages compute of all rows.
      together: the size is a multiple of it, whatever fits.
    """
    largest = 1
    if strategy == "vmap":
        largest = CHUNK_BYTES["vmap"] // state_bytes
    elif devices.spread == "cores" and devices.count > 1:
        largest = _largest_on_cores(devices.count, state_bytes, feature_bytes)
    largest = max(1, min(largest, count))
    chunks = ceil(count / largest)
    size = min(requested, count) or ceil(count / chunks)
    shares = devices.count if devices.spread == "replicates" else 1
    whole = lcm(shares, together)
    return ceil(size / whole) * whole


def _largest_on_cores(cores: int, state_bytes: int, feature_bytes: int) -> int:
    # Features lie there twice: in one piece, and replicate by replicate.
    in_memory = CHUNK_BYTES["cores"] // (state_bytes + 2 * feature_bytes)
    in_queue = CHUNK_BYTES["queue"] // state_bytes
    one_per_core = min(cores, CHUNK_BYTES["cores"] // state_bytes)
    return max(min(in_queue, in_memory, QUEUED_PER_CORE * cores), one_per_core)


def pad_chunk(chunk: Sequence[Any], size: int) -> list[Any]:
    """The chunk, padded to `size` with copies of its last entry, so that one program fits all.

    The copies only fill the axis; they do not train.
    """
    return [*chunk, *[chunk[-1]] * (size - len(chunk))]
