"""How many replicates train together: a chunk goes through all stages before the next begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omics_jax.training.devices import Devices

# Bytes that a chunk may take. "vmap": within what an accelerator holds. "cores": what a laptop
# holds. "queue": states that are handed over to the cores at every block, which should take no
# time.
CHUNK_BYTES = {"vmap": 4 << 30, "cores": 1 << 30, "queue": 64 << 20}
IN_QUEUE = 4  # replicates per core


def chunk_size(
    count: int, asked: int, devices: Devices, strategy: str, *, state: int, own: int
) -> int:
    """How many of `count` replicates train together.

    At once ("vmap"), the more the better. In turn ("map") nothing is gained by sharing a program,
    but each of several devices or cores takes one, and on cores more of them wait in a queue, so
    that none is idle when a replicate stops.

    Args:
      asked: the size to use; 0 chooses the largest that fits `CHUNK_BYTES` (but one per device, and
        one per core as far as states go), then evens the chunks out.
      state: bytes of a replicate's state. own: bytes of what its stages compute of all rows.
    """
    most = 1
    if strategy == "vmap":
        most = CHUNK_BYTES["vmap"] // state
    elif devices.spread == "cores" and devices.count > 1:
        fits = CHUNK_BYTES["cores"] // (state + 2 * own)  # rows in one piece and by replicate
        queue = min(CHUNK_BYTES["queue"] // state, fits, IN_QUEUE * devices.count)
        most = max(queue, min(devices.count, CHUNK_BYTES["cores"] // state))
    most = max(1, min(most, count))
    size = min(asked, count) or -(-count // -(-count // most))
    shares = devices.count if devices.spread == "replicates" else 1
    return -(-size // shares) * shares


def filled(chunk: Sequence[Any], size: int) -> list[Any]:
    """The chunk, made up to `size` with idle copies of its last replicate, so that one program fits
    all chunks.
    """
    return [*chunk, *[chunk[-1]] * (size - len(chunk))]
