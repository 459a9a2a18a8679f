"""`config.run`: how a run is carried out, which does not change what it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omics_jax.training.plan import Options


def run_options(config: Any) -> Options:
    """`config.run` as the trainer's options.

    Raises:
      UserError: more devices than there are.
    """
    from omics_jax.training.devices import choose_devices
    from omics_jax.training.plan import Options

    run = config.run
    return Options(
        devices=choose_devices(run.devices, run.spread),
        strategy=run.strategy,
        chunk=run.chunk,
        block_seconds=run.block_seconds,
        block_steps=run.block_steps,
        checkpoint_seconds=run.checkpoint_seconds,
        resident_bytes=run.resident_mb << 20,
    )
