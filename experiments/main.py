"""Runs one experiment.

    python experiments/main.py --config=configs/pertvae.py [--workdir=runs/x] [--mode=train]

Any field of the config can be set on the command line, e.g. --config.training.epochs=20. See
README.md.
"""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omics_jax.errors import Interrupted, RunEnded, UserError
from omics_jax.training.signals import interruptions

if TYPE_CHECKING:
    from absl import flags

HELP = ("--help", "-h", "-help", "--helpfull")
EXAMPLE = "give one of configs/, e.g. --config=configs/pertvae.py"
PLAIN_WORDS = {
    "invalid literal for int() with base 10:": "not a whole number:",
    "could not convert string to float:": "not a number:",
}


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit status.

    0; 2 for a mistake in what was given; 1 if training diverged; 128 + signal if one stopped it.
    """
    try:
        with interruptions():
            return run_command(argv)
    except Interrupted as end:
        print_error(str(end))
        return end.exit_status


def run_command(argv: list[str]) -> int:
    """As `main`; a signal outside of training raises Interrupted."""
    # Imported here, where a signal that comes meanwhile is answered in words.
    from absl import flags
    from ml_collections import config_flags

    from omics_jax.run.command import MODES, run
    from omics_jax.run.flags import ListParser

    config_flags.register_flag_parser_for_type(tuple, ListParser())
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file(
        "config", None, "the config, FILE[:experiment][,size]", flag_values=values, sys_argv=argv
    )
    mode = flags.DEFINE_enum("mode", "train", MODES, "what to do", flag_values=values)
    workdir = flags.DEFINE_string(
        "workdir", "", "run directory; the default is runs/SYSTEM-EXPERIMENT", flag_values=values
    )
    if any(word in HELP for word in argv[1:]):
        print(f"{__doc__}\n{values.main_module_help()}{values.get_help()}")
        return 0
    try:
        check_config_file(argv)
        parse_flags(values, argv)
    except Exception as error:
        # Whatever a config file raises is a mistake of the person who wrote or named it.
        print_error(config_message(error, argv))
        return UserError.exit_status
    try:
        run(config.value, mode.value, workdir.value)
    except RunEnded as error:
        print_error(str(error))
        return error.exit_status
    return 0


def check_config_file(argv: list[str]) -> None:
    """Refuses a command without a config file.

    ml_collections would report a missing file only where the config is first read.
    """
    words = [word.lstrip("-") for word in argv[1:]]
    paths = [word.removeprefix("config=") for word in words if word.startswith("config=")]
    paths += [
        following for word, following in zip(words, argv[2:], strict=False) if word == "config"
    ]
    if not paths:
        raise UserError(f"--config is missing; {EXAMPLE}")
    path = paths[-1].split(":")[0]
    if not Path(path).is_file():
        raise UserError(f"--config={path} is no file; {EXAMPLE}")


def parse_flags(values: flags.FlagValues, argv: list[str]) -> None:
    """Reads the flags and refuses words that are none."""
    _, *others = values(argv)
    if others:
        raise UserError(f"{others[0]!r} is not a flag; flags are written --name=value")


def config_message(error: Exception, argv: list[str]) -> str:
    """A sentence about a mistake in the command or the config file."""
    from absl import flags

    text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
    text = text.strip()
    if isinstance(error, KeyError | AttributeError):
        field = re.match(r"\W*(\w+)\W", text + " ")
        flag = flag_with_field(field[1], argv) if field else None
        if flag:
            return unknown_field_message(flag, field[1], text)
    if "Traceback (most recent call last)" in text:
        return f"the config cannot be read: {text.splitlines()[-1]}"
    if isinstance(error, RunEnded | flags.Error):
        return text
    return f"the config cannot be read: {type(error).__name__}: {text}"


def flag_with_field(field: str, argv: list[str]) -> str | None:
    """The first flag, without its value, that sets a config field of this name."""
    names = [word.split("=")[0] for word in argv]
    return next((name for name in names if field in name.split(".")[1:]), None)


def unknown_field_message(flag: str, field: str, text: str) -> str:
    """text: the error of ml_collections, which may name a similar field."""
    message = f"{flag}: the config has no field {field!r}"
    similar = re.search(r'Did you mean "(.+?)"', text)
    return f"{message}; did you mean {similar[1]!r}?" if similar else message


def print_error(text: str) -> None:
    """One line on stderr, in plain words."""
    for technical, plain in PLAIN_WORDS.items():
        text = text.replace(technical, plain)
    print(f"error: {' '.join(text.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # paths may hold what it cannot show
    status = main(sys.argv)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the work is done, and only Python's end is left
    sys.exit(status)
