"""Running the command line inside the test process, so that compiled programs are shared between
tests.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Outcome(NamedTuple):
    """What a command left behind: its exit status and what it printed."""

    status: int
    out: str
    err: str


def _load_main():
    spec = importlib.util.spec_from_file_location(
        "experiments_main", ROOT / "experiments" / "main.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


main = _load_main()


def command(*words: str) -> Outcome:
    """`python experiments/main.py WORDS` in this process."""
    # ml_collections loads every config file under one module name, so the last one's functions
    # would linger.
    sys.modules.pop("config_config", None)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _old_loader():
        status = main(["main.py", *map(str, words)])
    return Outcome(status, out.getvalue(), err.getvalue())


def config_of(*words: str):
    """The config that these words of a command name, with the default experiment by its name."""
    from absl import flags
    from ml_collections import config_flags

    from omics_jax.run.command import choose_experiment, system_module

    sys.modules.pop("config_config", None)
    values = flags.FlagValues()
    argv = ["main.py", *map(str, words)]
    config = config_flags.DEFINE_config_file("config", None, "", flag_values=values, sys_argv=argv)
    with _old_loader():
        values(argv)
    if not config.value.experiment:
        choose_experiment(system_module(config.value.system), config.value)
    return config.value


@contextlib.contextmanager
def _old_loader():
    """ml_collections loads config files by a method that Python has announced to remove."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"the load_module\(\) method", category=DeprecationWarning
        )
        yield
