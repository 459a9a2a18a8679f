"""`manifest.json`: size and sha256 of the files that a run directory promises.

A run is finished when its manifest says so and every file in it stands as it was written. What a
later command reads again (the config, what was understood of the data, what was trained) is
compared with it first. Left out: `log.txt`, and what `--mode=predict` writes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omics_jax.durable import (
    MADE_AGAIN,
    DamagedFile,
    as_user_error,
    read_record,
    write_atomically,
    write_record,
)
from omics_jax.errors import UserError

_log = logging.getLogger(__name__)

NAME = "manifest.json"
FORMAT = 1
BEGUN_WITH = ("config.json", "data.json", "training.json")  # written before anything is trained
_MOST_NAMED = 4  # files in one message


@dataclass(frozen=True)
class Manifest:
    """files: name of a file in the run directory -> {"bytes", "sha256"}.

    finished: whether the run has written all that it promises.
    """

    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    finished: bool = False


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run directory; an empty one where there is none.

    Raises:
      DamagedFile: it is not what was written.
    """
    path = folder / NAME
    if not path.exists():
        return Manifest()
    with as_user_error(path):
        record = read_record(path)
    return Manifest(record["files"], record["finished"])


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes it, atomically."""
    record = {"format": FORMAT, "finished": manifest.finished, "files": dict(manifest.files)}
    write_record(folder / NAME, record)


def list_files(folder: Path, names: Iterable[str]) -> None:
    """Lists files of the run directory as they stand, beside those that are listed already."""
    manifest = read_manifest(folder)
    listed = {name: describe(folder / name) for name in names}
    write_manifest(folder, Manifest({**manifest.files, **listed}, manifest.finished))


def describe(path: Path) -> dict[str, Any]:
    """{"bytes", "sha256"} of a file.

    Raises:
      UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": path.stat().st_size, "sha256": digest}
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; {MADE_AGAIN}") from error


def is_as_listed(folder: Path, name: str, manifest: Manifest) -> bool:
    """Whether a file stands as it is listed; also True for a file that stands and is not listed."""
    path, listed = folder / name, manifest.files.get(name)
    if not path.is_file():
        return False
    if listed is None:
        return True
    return path.stat().st_size == listed["bytes"] and describe(path) == listed


def lost_files(folder: Path) -> list[str]:
    """The listed files that are missing or are not what was written."""
    manifest = read_manifest(folder)
    return [name for name in manifest.files if not is_as_listed(folder, name, manifest)]


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Refuses files that are missing or, where they are listed, not what was written.

    Raises:
      UserError: the message names the first one.
    """
    manifest = read_manifest(folder)
    for name in names:
        if not is_as_listed(folder, name, manifest):
            path = folder / name
            what = "is damaged: it is not what was written there" if path.exists() else "is missing"
            raise DamagedFile(f"{path} {what}; put back a copy, or {MADE_AGAIN}")


def restore_file(folder: Path, name: str, text: str) -> None:
    """Writes a lost file again, if `text`, which this command would write, is what it held."""
    manifest = read_manifest(folder)
    listed = manifest.files.get(name)
    content = text.encode()
    same = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} == listed
    if same and not is_as_listed(folder, name, manifest):
        _log.warning("%s was missing or damaged and is written again", folder / name)
        write_atomically(folder / name, text)


def set_aside_damaged_manifest(folder: Path) -> None:
    """Renames a damaged manifest, for a command that writes all that it lists again."""
    try:
        read_manifest(folder)
    except DamagedFile:
        path = folder / NAME
        aside = path.with_suffix(".damaged")
        _log.warning("%s is damaged; it is set aside as %s", path, aside)
        with as_user_error(path):
            path.replace(aside)


def check_version(folder: Path) -> None:
    """Refuses a run of an earlier version, which had no manifest.

    Raises:
      UserError: there is such a run.
    """
    path = folder / "training.json"
    if (folder / NAME).exists() or not path.is_file():
        return
    try:
        records = json.loads(path.read_bytes())
        earlier = not all("identity" in record for record in records.values())
    except (ValueError, AttributeError, TypeError):
        return
    if earlier:
        raise UserError(
            f"{folder} holds a run of an earlier version of omics_jax, whose files cannot be "
            "verified; repeat its command with another --workdir, or remove the folder first"
        )


def check_begun(folder: Path) -> None:
    """Refuses a folder without a run.

    Raises:
      UserError: nothing was trained here, or the manifest of what was trained is missing.
    """
    if not (folder / "training.json").exists() and not read_manifest(folder).files:
        raise UserError(
            f"{folder} holds no finished training; name one with --workdir, or finish it with "
            "--mode=train"
        )
    check_files(folder, [NAME])


def named(names: Iterable[str]) -> str:
    """`a, b and 3 more`."""
    names = list(names)
    shown, more = ", ".join(names[:_MOST_NAMED]), len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
