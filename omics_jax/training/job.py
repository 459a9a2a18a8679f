"""What is trained, and how it runs: `Training` and `Options`, from which `plan` makes a `Plan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from omics_jax.training.devices import Devices
from omics_jax.training.stage import Replicate, Stage, Variables


@dataclass(frozen=True)
class Options:
    """How to run, never what is computed.

    The numbers are the same but for float rounding between strategies and device counts.

    Attributes:
      devices: where it runs. Replicates that are spread over several cores train one by one.
      strategy: "map" (replicates in turn), "vmap" (at once) or "auto" (map on CPU, vmap on
        accelerators).
      chunk: replicates that train together; 0 chooses, see `chunks.chunk_size`.
      block_seconds: about how long a program of a block may take; where replicates queue for cores,
        a block is several programs in turn.
      block_steps: the steps of a block instead, up to the most that its program can run; 0 leaves
        it to the seconds.
      checkpoint_seconds: the least time from one save of a running stage to the next.
      resident_bytes: a larger table stays on the host, and each block's rows are gathered for it.
    """

    devices: Devices = field(default_factory=Devices)
    strategy: str = "auto"
    chunk: int = 0
    block_seconds: float = 1.0
    block_steps: int = 0
    checkpoint_seconds: float = 60.0
    resident_bytes: int = 4 << 30


@dataclass(frozen=True)
class Training:
    """What is trained: stages, initialisation, the table of rows and the replicates.

    Attributes:
      stages: in the order in which every replicate goes through them.
      init: (key, batch, constants) -> {"params", "batch_stats"}; the batch is one of real training
        rows, none padded.
      table: field -> (N, ...) host arrays.
      ids: (N,) row names, for messages.
      replicates: of the same shape, trained independently of each other.
      start: {"params", "batch_stats"} with a leading axis of its own. The top-level modules that
        `init` makes too are taken from here; its other modules are ignored.
      starts: for every replicate its place on that axis; () for the replicate's own.
      together: so many consecutive replicates, which are compared as they train, share a chunk.
    """

    stages: Sequence[Stage]
    init: Callable[[jax.Array, Any, Any], Variables]
    table: Mapping[str, np.ndarray]
    ids: np.ndarray
    replicates: Sequence[Replicate]
    start: Variables | None = None
    starts: Sequence[int] = ()
    together: int = 1
