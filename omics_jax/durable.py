"""Finished files: text and named arrays that are wholly there or not at all, and whose damage is
noticed.

They are written to a temporary name, synced and renamed; arrays carry a sha256 each, since zip's
own CRC does
not cover its headers. The same seals guard the checkpoints. Left out: locks (of two writers, the
last wins).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from omics_jax.errors import UserError

_SEAL = "__seal__"  # the member of an npz that holds its manifest
_SHOWN = 6  # leaves named in one message


class DamagedFile(RuntimeError):
    """A finished file, or one checkpoint, whose bytes are not those that were written."""


def write_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text so that `path` holds the old content or the new, whenever the machine
    stops.

    Raises UserError where it cannot be written; the old content then stays.
    """
    _replace(path, lambda file: file.write(text.encode()))


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Writes named arrays (numbers, booleans or fixed-width text) and JSON `meta` as one npz,
    atomically.

    `np.load` reads it as well; only `load_arrays` verifies it. Raises UserError where it cannot be
    written,
    TypeError for arrays of Python objects or of records.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject or array.dtype.names:
            raise TypeError(
                f"array {name!r} is {array.dtype}; only numbers, booleans and text can be saved"
            )
    if _SEAL in arrays:
        raise ValueError(f"an array may not be called {_SEAL!r}")
    record = json.dumps(seal(arrays, meta)).encode()
    members = {**arrays, _SEAL: np.frombuffer(record, np.uint8)}
    _replace(path, lambda file: _write_npz(file, members))


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `save_arrays` wrote, bit for bit.

    Raises DamagedFile where the bytes are not those written, FileNotFoundError where there is no
    such file.
    """
    path = Path(path)
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            body = unseal(json.loads(_read_member(archive, _SEAL).tobytes()))
            manifest = body["manifest"]
            arrays = {name: _read_member(archive, name) for name in manifest}
        arrays = {name: _typed(array, manifest[name]["dtype"]) for name, array in arrays.items()}
        check_digests(arrays, manifest)
    except Exception as error:  # zip, npy and JSON parsers stumble over damage in many ways
        reason = " ".join(str(error).split())[:300]
        raise DamagedFile(
            f"{path} is damaged ({type(error).__name__}: {reason}); remove it to have it made again"
        ) from error
    return arrays, body["meta"]


def _write_npz(file: BinaryIO, members: Mapping[str, np.ndarray]) -> None:
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in members.items():
            # A fixed date, so that the same arrays give the same file.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    # The whole member first: its CRC is then checked before the npy header may ask for memory.
    content = io.BytesIO(archive.read(f"{name}.npy"))
    return np.lib.format.read_array(content, allow_pickle=False)


def _typed(array: np.ndarray, dtype: str) -> np.ndarray:
    """The npy format does not know bfloat16: such arrays come back as raw bytes of the right width."""
    if array.dtype.kind != "V":
        return array
    import ml_dtypes  # noqa: F401  (importing it makes the names of its dtypes known to numpy)

    return array.view(np.dtype(dtype))


def _replace(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes to a temporary name beside `path`, reaches the disk, and only then takes the name."""
    path = Path(path)
    # One name per file: whoever comes after a kill writes the same file again and with it replaces
    # what was left over.
    temporary = path.with_name(f".{path.name}.tmp")
    with as_user_error(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            if temporary.parent.is_dir():
                temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut; a folder can be opened and synced on POSIX only."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe(array: np.ndarray) -> dict[str, Any]:
    """Shape, dtype and sha256 of an array's bytes in C order."""
    flat = np.ascontiguousarray(array).reshape(-1)
    digest = hashlib.sha256(flat.view(np.uint8) if flat.size else b"").hexdigest()
    return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": digest}


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def seal(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The manifest and the meta as JSON, with a sha256 over both."""
    manifest = {name: describe(array) for name, array in arrays.items()}
    # Through JSON before hashing, so that what is read back gives the same text (tuples are lists
    # by then).
    body = json.loads(json.dumps({"meta": dict(meta), "manifest": manifest, **more}))
    return {"body": body, "sha256": _digest(body)}


def unseal(record: Any) -> dict[str, Any]:
    """The body of what `seal` made. Raises DamagedFile where it is not what was sealed."""
    if not isinstance(record, dict) or _digest(record.get("body", {})) != record.get("sha256"):
        raise DamagedFile("its manifest does not match its own sha256")
    return record["body"]


def check_digests(arrays: Mapping[str, np.ndarray], manifest: Mapping[str, Any]) -> None:
    """Raises DamagedFile naming the leaves whose bytes differ from the manifest's."""
    wrong = [name for name, entry in manifest.items() if describe(arrays[name]) != entry]
    if wrong:
        raise DamagedFile(f"the bytes of {_named(wrong)} do not match the manifest")


def _named(leaves: list[str]) -> str:
    """`leaf 'a', leaf 'b' and 3 more`, so that a message stays a sentence."""
    shown = ", ".join(f"leaf {name!r}" for name in leaves[:_SHOWN])
    return shown + (f" and {len(leaves) - _SHOWN} more" if len(leaves) > _SHOWN else "")


@contextmanager
def as_user_error(path: Path) -> Iterator[None]:
    """Turns an error of the file system (full, not writable, not a folder) into a UserError naming
    `path`.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        # Tensorstore, below orbax, reports the operating system's errors as ValueError.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a file stands where a folder is needed"
        elif isinstance(error, OSError):
            reason = error.strerror or str(error)
        elif code:
            reason = os.strerror(int(code[1]))
        else:
            raise
        raise UserError(
            f"{path} could not be written: {reason}. Free space there or choose another --workdir; "
            "what was finished before is unharmed."
        ) from error
