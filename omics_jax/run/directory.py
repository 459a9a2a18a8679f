"""A run directory: what is written where, and whether a command may go on with what it finds there."""

from __future__ import annotations

import json
import logging
import math
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from omics_jax.errors import UserError

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


def open_directory(path: str) -> Path:
    """The run directory, made if it is not there.

    Raises:
      UserError: a file stands in its place, or it cannot be written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"--workdir={path} cannot be written to ({error.strerror}); name another folder"
        ) from None
    return folder


def check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Checks that the run here, if one was begun, was begun with the same config (`run.*` may
    differ).

    Raises:
      UserError: the configs differ; the message lists the keys with both values.
    """
    path = folder / "config.json"
    if not path.exists():
        return
    before, now = flat(read_json(path)), flat(json.loads(json.dumps(safe(config))))
    keys = [
        k
        for k in sorted(before.keys() | now.keys())
        if not k.startswith("run.") and before.get(k) != now.get(k)
    ]
    if keys:
        differences = "; ".join(
            f"{k}: {before.get(k)!r} there, {now.get(k)!r} now" for k in keys[:8]
        )
        more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
        raise UserError(
            f"{folder} holds a run of another config ({differences}{more}); give this one its own "
            "--workdir, or repeat the first command to go on with that run"
        )


def check_data(folder: Path, fingerprint: str) -> None:
    """Refuses to go on with a run whose data have changed since it began; a mere look at data
    begins none.

    Raises:
      UserError: the fingerprints differ.
    """
    path = folder / "data.json"
    begun = path.exists() and (folder / "config.json").exists()
    if begun and read_json(path)["fingerprint"] != fingerprint:
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


@contextmanager
def log_to(folder: Path) -> Iterator[None]:
    """Sends the package's log to `log.txt` (appended) and nowhere else: the terminal is told by
    words of its own.
    """
    handler = logging.FileHandler(folder / "log.txt")
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
        handler.close()


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    out = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out


def safe(value: Any) -> Any:
    """What JSON can hold: NaN and infinities as null, numpy numbers as numbers, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(k): safe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [safe(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_json(path: Path) -> Any:
    """The file's content.

    Raises:
      UserError: it is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON ({error}); delete the run directory or restore the file"
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Writes atomically, with NaN as null."""
    from omics_jax.durable import write_atomically

    write_atomically(path, json.dumps(safe(value), indent=1))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(
            git, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def prediction_file(folder: Path, arm: Any, replicate: int, part: str = "test") -> Path:
    """Where a replicate's predictions of its test (validation, training) rows lie."""
    suffix = "" if part == "test" else f"-{part}"
    return folder / "checkpoints" / slug(arm.name) / f"predictions-{replicate:04d}{suffix}.npz"


def tuning_file(folder: Path, arm: Any) -> Path:
    """Where the trials of an arm's tuning lie."""
    return folder / "tuning" / f"{slug(arm.name)}.json"


def slug(name: str) -> str:
    """A name as part of a path."""
    return "".join(c if c.isalnum() else "-" for c in name)
