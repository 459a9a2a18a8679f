"""`config.run`: how a run is carried out, which does not change what it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omics_jax.errors import UserError
from omics_jax.settings.checks import check_choices, check_minimum

if TYPE_CHECKING:
    from omics_jax.training.plan import Options

CHOICES = {"run.strategy": ("auto", "map", "vmap"), "run.spread": ("data", "replicates")}
NOT_NEGATIVE = (
    "run.devices",
    "run.chunk",
    "run.block_seconds",
    "run.block_steps",
    "run.checkpoint_seconds",
    "run.resident_mb",
    "run.memory_gb",
)


def check_run(config: Any) -> None:
    """Refuses a seed or a value of `config.run` that no run can have.

    Raises:
      UserError: the message names the field and its range.
    """
    if not 0 <= config.seed < 2**31:
        raise UserError(f"config.seed is {config.seed}; give a whole number from 0 to {2**31 - 1}")
    check_choices(config, CHOICES)
    check_minimum(config, dict.fromkeys(NOT_NEGATIVE, 0))


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
