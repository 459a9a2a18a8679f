"""A run directory: the places of its files, and whether a command may continue in it."""

from __future__ import annotations

import json
import logging
import math
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omics_jax.durable import MADE_AGAIN, DamagedFile, as_user_error, write_atomically
from omics_jax.errors import UserError
from omics_jax.file_names import file_name
from omics_jax.run.manifest import is_as_listed, read_manifest, restore_file

if TYPE_CHECKING:
    from omics_jax.study.system import Arm

PACKAGES = (
    "omics_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "distrax",
    "numpy",
    "pandas",
    "scikit-learn",
)
MOST_DIFFERENCES = 8  # named in the message about a run of another config


def open_directory(path: str) -> Path:
    """The run directory, made if it is not there.

    Raises:
      UserError: a file stands in its place, or it cannot be made.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"--workdir={path} cannot be written to ({reason}); name another folder"
        ) from None
    return folder


def checkpoint_folder(folder: Path, arm: Arm) -> Path:
    """Where an arm's checkpoints, final variables and predictions lie."""
    return folder / "checkpoints" / file_name(arm.name)


OF_VARIABLES = "variables"  # in place of a part of the rows: the fields of `System.of_variables`


def parts_of(arm: Arm) -> tuple[str, ...]:
    """The parts of a replicate's predictions, a file each."""
    further = (OF_VARIABLES,) if arm.system.of_variables else ()
    return ("test", *arm.system.extra_parts, *further)


def prediction_file(folder: Path, arm: Arm, replicate: int, part: str = "test") -> Path:
    """Where a replicate's predictions of its test (validation, training) rows lie."""
    suffix = "" if part == "test" else f"-{part}"
    return checkpoint_folder(folder, arm) / f"predictions-{replicate:04d}{suffix}.npz"


def tuning_file(folder: Path, arm: Arm) -> Path:
    """Where the trials of an arm's tuning lie."""
    return folder / "tuning" / f"{file_name(arm.name)}.json"


def check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses to go on with a run that was begun with another config (`run.*` may differ).

    A file that was lost is written again where this command gives the same one.

    Raises:
      UserError: the configs differ; the message lists the keys with both values. Or the file is
        damaged.
    """
    path = folder / "config.json"
    restore_file(folder, path.name, json_text(config))
    if not path.exists():
        return
    _check_listed(path)
    before = flatten_keys(read_json(path))
    now = flatten_keys(json.loads(json.dumps(to_json(config))))
    keys = sorted(key for key in before.keys() | now.keys() if not key.startswith("run."))
    changed = [key for key in keys if before.get(key) != now.get(key)]
    if not changed:
        return
    differences = "; ".join(
        f"{key}: {before.get(key)!r} there, {now.get(key)!r} now"
        for key in changed[:MOST_DIFFERENCES]
    )
    left = len(changed) - MOST_DIFFERENCES
    more = f" and {left} more" if left > 0 else ""
    raise UserError(
        f"{folder} holds a run of another config ({differences}{more}); give this one its own "
        "--workdir, or repeat the first command to go on with that run"
    )


def _check_listed(path: Path) -> None:
    """Refuses a record that this command would not write again as it was."""
    if not is_as_listed(path.parent, path.name, read_manifest(path.parent)):
        raise DamagedFile(
            f"{path} is damaged: it is not what was written there; put back a copy, or remove it "
            f"and {MADE_AGAIN}"
        )


def check_data(folder: Path, fingerprint: str) -> None:
    """Refuses to go on with a run whose data have changed since it was begun.

    Raises:
      UserError: the fingerprints differ, or the file is damaged.
    """
    path = folder / "data.json"
    if not path.exists():
        return
    _check_listed(path)
    if read_json(path)["fingerprint"] != fingerprint:
        raise UserError(
            f"the data are not those that the run in {folder} was begun with (rows, genes or "
            "values changed); give this run its own --workdir"
        )


def environment(devices: str) -> dict[str, Any]:
    """Versions, devices, commit and command of this process."""
    return {
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": devices,
        "commit": _commit(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        described = subprocess.run(git, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()


@contextmanager
def log_to(folder: Path) -> Iterator[None]:
    """Appends the package's log to `log.txt`, and keeps it off the terminal.

    Raises:
      UserError: it cannot be written, now or at a later line.
    """
    path = folder / "log.txt"
    with as_user_error(path):
        handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("omics_jax")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)
        with suppress(OSError):  # it has been reported when the line was written
            handler.close()


class _LogFile(logging.FileHandler):
    """A log whose failure is reported to who logs; logging prints a traceback and goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        with as_user_error(Path(self.baseFilename)):
            raise


def read_json(path: Path) -> Any:
    """The file's content.

    Raises:
      UserError: it is missing or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = f"is not valid JSON ({error})" if path.is_file() else "is missing"
        raise UserError(f"{path} {reason}; put back a copy, or {MADE_AGAIN}") from None


def write_json(path: Path, value: Any) -> None:
    """Writes atomically, with NaN as null."""
    write_atomically(path, json_text(value))


def json_text(value: Any) -> str:
    """The text that `write_json` writes."""
    return json.dumps(to_json(value), indent=1)


def to_json(value: Any) -> Any:
    """What JSON can hold: NaN and infinities as null, numpy numbers as numbers, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): to_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(entry) for entry in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def flatten_keys(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten_keys(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
