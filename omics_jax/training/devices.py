"""The devices that train, and what is split over them.

Split are the rows of every batch, or whole replicates, over devices or over the cores of a CPU.
`parallel` compiles a block accordingly; no other module knows how many devices there are.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import jax
import jaxlib

from omics_jax.errors import UserError

MOST_PIECES = 4  # in which a replicate's part of a block goes through the cores' queue

# XLA's library of CPU kernels sums an array in as many parts as there are threads, so that a loss
# has other last bits on 8 cores than on 4. Without it sums cost the same; matrix products stay in
# the library.
SUMS_WITHOUT_LIBRARY = "--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_REDUCE"


@dataclass(frozen=True)
class Devices:
    """The devices to train on.

    Attributes:
      count: devices in use.
      spread: what is shared out: "data" (the rows of a batch), "replicates" (whole trainings, over
        devices) or "cores" (whole trainings, over `count` threads of a CPU, which is one device).
    """

    count: int = 1
    spread: str = "data"


def fix_order_of_sums() -> None:
    """Makes training on a CPU give the same bits whatever its number of cores.

    To be called before anything runs on jax, which reads XLA_FLAGS once. It changes nothing where
    that variable names the option already, and outside of jaxlib 0.9 and 0.10: a jaxlib that does
    not know an option ends the process.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jaxlib.__version__.startswith(("0.9.", "0.10.")) and "ynn_fusion_type" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {SUMS_WITHOUT_LIBRARY}".strip()


def choose_devices(count: int, spread: str) -> Devices:
    """The devices to train on; count 0 means all there are.

    Replicates are spread over the cores of a CPU.

    Raises:
      UserError: more devices requested than the machine has, or an unknown `spread`.
    """
    if spread not in ("data", "replicates"):
        raise UserError(
            f"run.spread is {spread!r}; choose data (rows of a batch) or replicates (whole "
            "trainings)"
        )
    available = jax.local_device_count()
    if spread == "replicates" and available == 1 and jax.default_backend() == "cpu":
        available, spread = _usable_cores(), "cores"
    if not 0 <= count <= available:
        raise UserError(
            f"run.devices is {count}, but this machine has {available}; set it to 0 to use all "
            "there are"
        )
    return Devices(count or available, spread)


def _usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def padded_batch_size(batch_size: int, devices: Devices) -> int:
    """`batch_size` rounded up so that each device gets an equal share of the rows."""
    shares = devices.count if devices.spread == "data" else 1
    return math.ceil(batch_size / shares) * shares


def programs_in_turn(devices: Devices, live: int) -> float:
    """How many programs of a block a device runs one after another.

    live: replicates that have not stopped.
    """
    if devices.spread != "cores":
        return 1.0
    return max(1.0, live * pieces_of_block(live, devices.count) / devices.count)


def pieces_of_block(live: int, cores: int) -> int:
    """In how many pieces replicates that queue for the cores train a block.

    As few as it takes for all cores to end the block together: a program that starts anew also
    takes all its memory anew.
    """
    if live <= cores:
        return 1
    return min(cores // math.gcd(live, cores), MOST_PIECES)
