"""The memory of a training step, estimated before training, so that none is begun that cannot end.

    bytes = 4 (n U (L (18 d + 5 f + 8 h) + 8 d) (1 + (G - 1) / 4) + P (8 + G)) + process

of n patients and U tokens of d channels, in L layers with h heads and f hidden units, whose loss is
pulled back G times, with P parameters. The backward pass of a layer holds some 18 arrays of tokens
by channels, 5 of tokens by hidden units, and 8 numbers per token and head; none is of tokens by
tokens, so that exact and induced attention take as much. The constants are fitted to peaks of
`benchmarks/gene_transformer_step.py` on a CPU. Left out: what fused kernels of accelerators save.
"""

from __future__ import annotations

import math
from typing import Any

import jax

from omics_jax.data.memory import GIB, in_gib, machine_bytes
from omics_jax.errors import UserError
from omics_jax.nn.initial import draw
from omics_jax.systems.gene_transformer.model import ModelShape, encoder_description
from omics_jax.training.devices import choose_devices

PROCESS = 460 * 2**20  # Python, jax, the package, and the compiled program
_FLOAT = 4


def check_step_memory(shape: ModelShape, replicates: int, name: str) -> None:
    """Refuses a network whose training takes more memory than there is, or than is allowed.

    replicates: that the arm trains; those of one moment are added up. name: of the arm.

    Raises:
      UserError: with both numbers, and the settings that lower the first.
    """
    config = shape.config
    at_once = min(_at_once(config), replicates)
    needed = PROCESS + at_once * step_bytes(shape, config.training.batch_size)
    allowed = int(config.run.memory_gb * GIB) or _memory()
    if needed <= allowed:
        return
    trained = "" if at_once == 1 else f" ({at_once} networks at once)"
    raise UserError(
        f"{name}: a training step of {config.training.batch_size:,} patients with "
        f"{shape.layer_tokens:,} tokens each takes {in_gib(needed)} of memory{trained}, above the "
        f"limit of {in_gib(allowed)}; set a smaller --config.training.batch_size, fewer genes "
        "(--config.preprocess.top_k), --config.model.attention=pathways, whose tokens are "
        "pathways, or --config.run.devices=1, or raise --config.run.memory_gb"
    )


def step_bytes(shape: ModelShape, patients: int) -> int:
    """Bytes of the step of one network, without those of the process."""
    encoder, gradients = shape.encoder, pull_backs(shape)
    d, f, h = encoder.channels, encoder.feedforward, encoder.heads
    per_token = encoder.layers * (18 * d + 5 * f + 8 * h) + 8 * d
    activations = patients * shape.layer_tokens * per_token * (1 + (gradients - 1) / 4)
    return _FLOAT * int(activations + parameters(shape) * (8 + gradients))


def pull_backs(shape: ModelShape) -> int:
    """G: as many as outcomes where the gradient of each is taken by itself, else 1."""
    by_itself = shape.config.balancing.name in ("pcgrad", "gradnorm")
    return max(1, len(shape.tasks)) if by_itself else 1


def parameters(shape: ModelShape) -> int:
    """P: of the transformer and of the first layer of every head."""
    description = encoder_description(shape)
    arrays = jax.eval_shape(lambda: draw(jax.random.key(0), description))
    own = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(arrays))
    widths = [tuple(shape.config.heads[task.kind].widths) or (1,) for task in shape.tasks]
    return own + shape.embedding * sum(first for first, *_ in widths)


def _at_once(config: Any) -> int:
    """How many networks are trained at one moment: on a CPU one per core."""
    devices = choose_devices(config.run.devices, config.run.spread)
    return devices.count if devices.spread == "cores" else 1


def _memory() -> int:
    """Bytes of the accelerator, or that the machine lets this process have."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("bytes_limit", 0) or machine_bytes()
