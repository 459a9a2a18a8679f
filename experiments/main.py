"""Runs one experiment: python experiments/main.py --config=configs/pertvae.py [--workdir=runs/x] [--mode=train].

Any field of the config can be set on the command line, e.g. --config.training.epochs=20. See README.md.
"""

from __future__ import annotations

import sys

from absl import flags
from ml_collections import config_flags

from omics_jax.errors import RunEnded, UserError
from omics_jax.run import MODES, run


def main(argv: list[str]) -> int:
    """Exit status: 0; 2 for a mistake in what was given; 1 if training diverged; 128 + signal if one stopped it."""
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", None, "the config, FILE[:experiment][,size]", flag_values=values)
    mode = flags.DEFINE_enum("mode", "train", MODES, "what to do", flag_values=values)
    workdir = flags.DEFINE_string(
        "workdir", "", "run directory; the default is runs/SYSTEM-EXPERIMENT", flag_values=values
    )
    if any(word in ("--help", "-h", "-help", "--helpfull") for word in argv[1:]):
        print(__doc__ + "\n" + values.main_module_help() + values.get_help())
        return 0
    try:
        left = values(argv)
        if len(left) > 1:
            raise UserError(f"{left[1]!r} is not a flag; flags are written --name=value")
        if config.value is None:
            raise UserError("--config is missing; give one of configs/, e.g. --config=configs/pertvae.py")
    except (flags.Error, UserError, ValueError, AttributeError, KeyError, TypeError, OSError) as error:
        return _end(error, UserError.exit_status)
    try:
        run(config.value, mode.value, workdir.value)
    except RunEnded as error:
        return _end(error, error.exit_status)
    return 0


def _end(error: Exception, status: int) -> int:
    """One line for the user: absl and ml_collections put the rest of theirs on further lines."""
    words = str(error.args[0] if error.args else error).split()
    print(f"error: {' '.join(words) or type(error).__name__}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv))
