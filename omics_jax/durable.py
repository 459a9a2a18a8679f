"""Files of text and named arrays that are complete or absent, and whose damage is noticed.

They are written to a temporary name, synced and renamed; arrays carry a sha256 each, since zip's
own CRC does not cover its headers. The same seals guard the checkpoints. Left out: locks (of two
writers, the last wins).
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
    """Writes UTF-8 text; `path` holds the old content or the new, whenever the machine stops.

    Raises:
      UserError: it cannot be written; the old content then stays.
    """
    _replace(path, lambda file: file.write(text.encode()))


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Writes named arrays and JSON `meta` as one npz, atomically.

    Arrays hold numbers, booleans or fixed-width text. `np.load` reads the file as well; only
    `load_arrays` verifies it.

    Raises:
      UserError: it cannot be written; the old content then stays.
      TypeError: an array of Python objects or of records.
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

    Raises:
      DamagedFile: the bytes are not those that were written.
      FileNotFoundError: there is no such file.
    """
    path = Path(path)
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            body = unseal(json.loads(_read_member(archive, _SEAL).tobytes()))
            manifest = body["manifest"]
            arrays = {
                name: _with_dtype(_read_member(archive, name), entry["dtype"])
                for name, entry in manifest.items()
            }
        check_digests(arrays, manifest)
    except Exception as error:  # zip, npy and JSON parsers stumble over damage in many ways
        reason = " ".join(str(error).split())[:300]
        raise DamagedFile(
            f"{path} is damaged ({type(error).__name__}: {reason}); remove it to have it made again"
        ) from error
    return arrays, body["meta"]


def load_meta(path: Path) -> dict[str, Any]:
    """The `meta` that `save_arrays` wrote; the arrays are neither read nor verified.

    Raises:
      DamagedFile: the record is not that which was written.
      FileNotFoundError: there is no such file.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return unseal(json.loads(_read_member(archive, _SEAL).tobytes()))["meta"]
        except Exception as error:  # zip, npy and JSON parsers stumble over damage in many ways
            raise DamagedFile(f"{path} is damaged; remove it to have it made again") from error


def _write_npz(file: BinaryIO, members: Mapping[str, np.ndarray]) -> None:
    """As `numpy.savez` does, but the same arrays always give the same file."""
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in members.items():
            # `ZipInfo` has a fixed date, unless one is given.
            info = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    # All of the member first: its CRC is then checked before the npy header may ask for memory.
    content = io.BytesIO(archive.read(f"{name}.npy"))
    return np.lib.format.read_array(content, allow_pickle=False)


def _with_dtype(array: np.ndarray, dtype: str) -> np.ndarray:
    """The array in the dtype it was saved in.

    The npy format does not know bfloat16: such arrays come back as raw bytes of the right width.
    """
    if array.dtype.kind != "V":
        return array
    # Importing it makes the names of its dtypes known to numpy.
    import ml_dtypes  # noqa: F401

    return array.view(np.dtype(dtype))


def _replace(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes to a temporary name in the same folder, syncs, and only then renames it to `path`."""
    path = Path(path)
    # One temporary name per file: the run that follows a killed one replaces what it left over.
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
    """Lets a rename survive a power cut; a folder can be opened and synced on POSIX only."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _describe(array: np.ndarray) -> dict[str, Any]:
    """Shape, dtype and sha256 of an array's bytes in C order."""
    flat = np.ascontiguousarray(array).reshape(-1)
    content = flat.view(np.uint8) if flat.size else b""
    digest = hashlib.sha256(content).hexdigest()
    return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": digest}


def _digest(body: Mapping[str, Any]) -> str:
    """sha256 of a record as JSON, whatever the order of its keys."""
    text = json.dumps(body, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The manifest and the meta as JSON, with a sha256 over both."""
    manifest = {name: _describe(array) for name, array in arrays.items()}
    # Through JSON before hashing, so that what is read back gives the same text: JSON makes lists
    # of tuples.
    body = json.loads(json.dumps({"meta": dict(meta), "manifest": manifest, **more}))
    return {"body": body, "sha256": _digest(body)}


def unseal(record: Any) -> dict[str, Any]:
    """The body of what `seal` made; DamagedFile if it is not what was sealed."""
    is_record = isinstance(record, dict)
    if not is_record or _digest(record.get("body", {})) != record.get("sha256"):
        raise DamagedFile("its manifest does not match its own sha256")
    return record["body"]


def check_digests(arrays: Mapping[str, np.ndarray], manifest: Mapping[str, Any]) -> None:
    """Raises DamagedFile naming the leaves whose bytes differ from the manifest's."""
    wrong = [name for name, entry in manifest.items() if _describe(arrays[name]) != entry]
    if wrong:
        raise DamagedFile(f"the bytes of {_leaf_list(wrong)} do not match the manifest")


def _leaf_list(leaves: list[str]) -> str:
    """`leaf 'a', leaf 'b' and 3 more`, so that a message stays a sentence."""
    shown = ", ".join(f"leaf {name!r}" for name in leaves[:_SHOWN])
    hidden = len(leaves) - _SHOWN
    return f"{shown} and {hidden} more" if hidden > 0 else shown


@contextmanager
def as_user_error(path: Path) -> Iterator[None]:
    """Turns an error of the file system into a UserError that names `path`.

    Such as: the disk is full, the folder is not writable, a file is where a folder is needed.
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
