"""Runs one experiment: python experiments/main.py --config=configs/pertvae.py [--workdir=runs/x]
[--mode=train].

Any field of the config can be set on the command line, e.g. --config.training.epochs=20. See
README.md.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from omics_jax.errors import RunEnded, UserError
from omics_jax.run.command import MODES, run


def main(argv: list[str]) -> int:
    """Exit status: 0; 2 for a mistake in what was given; 1 if training diverged; 128 + signal if
    one stopped it.
    """
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file(
        "config", None, "the config, FILE[:experiment][,size]", flag_values=values, sys_argv=argv
    )
    mode = flags.DEFINE_enum("mode", "train", MODES, "what to do", flag_values=values)
    workdir = flags.DEFINE_string(
        "workdir", "", "run directory; the default is runs/SYSTEM-EXPERIMENT", flag_values=values
    )
    if any(word in ("--help", "-h", "-help", "--helpfull") for word in argv[1:]):
        print(__doc__ + "\n" + values.main_module_help() + values.get_help())
        return 0
    try:
        _check_config_file(argv)
        left = values(argv)
        if len(left) > 1:
            raise UserError(f"{left[1]!r} is not a flag; flags are written --name=value")
    except (
        Exception
    ) as error:  # Whatever a config file raises is the mistake of who wrote or named it.
        return _end(error, UserError.exit_status, argv)
    try:
        run(config.value, mode.value, workdir.value)
    except RunEnded as error:
        return _end(error, error.exit_status, argv)
    return 0


def _check_config_file(argv: list[str]) -> None:
    """Before absl sees it, because ml_collections reports a missing file only where the config is
    first read.
    """
    words = [word.lstrip("-") for word in argv[1:]]
    named = [word.removeprefix("config=") for word in words if word.startswith("config=")]
    named += [after for word, after in zip(words, argv[2:], strict=False) if word == "config"]
    if not named:
        raise UserError(
            "--config is missing; give one of configs/, e.g. --config=configs/pertvae.py"
        )
    path = named[-1].split(":")[0]
    if not Path(path).is_file():
        raise UserError(
            f"--config={path} is no file; give one of configs/, e.g. --config=configs/pertvae.py"
        )


def _end(error: Exception, status: int, argv: list[str]) -> int:
    """One line for the user, without what absl and ml_collections put around it."""
    text = (str(error.args[0]) if isinstance(error, KeyError) else str(error)).strip()
    field = (
        re.match(r"\W*(\w+)\W", text + " ")
        if isinstance(error, KeyError | AttributeError)
        else None
    )
    flag = next(
        (w.split("=")[0] for w in argv if field and field[1] in w.split("=")[0].split(".")[1:]),
        None,
    )
    if flag:
        near = re.search(r'Did you mean "(.+?)"', text)
        text = f"{flag}: the config has no field {field[1]!r}" + (
            f"; did you mean {near[1]!r}?" if near else ""
        )
    elif "Traceback (most recent call last)" in text:
        text = f"the config cannot be read: {text.splitlines()[-1]}"
    elif not isinstance(error, RunEnded | flags.Error):
        text = f"the config cannot be read: {type(error).__name__}: {text}"
    for technical, plain in _PLAIN.items():
        text = text.replace(technical, plain)
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return status


_PLAIN = {
    "invalid literal for int() with base 10:": "not a whole number:",
    "could not convert string to float:": "not a number:",
}


if __name__ == "__main__":
    sys.exit(main(sys.argv))
