"""Files of text and named arrays that are complete or absent, and whose damage is noticed.

They are written to a temporary name, synced and renamed; arrays carry a sha256 each, since zip's
own CRC does not cover its headers. The same seals guard the checkpoints and small records in JSON.
Left out: locks (of two writers, the last wins).
"""

from __future__ import annotations

import errno
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
_RECORD_SEAL = "sha256"  # the entry of a sealed record that holds the digest of the others
_SHOWN = 6  # leaves named in one message
MADE_AGAIN = "repeat the run's command with --mode=train, which makes it again"
_IN_THE_WAY = "Move it away"
_NOT_ALLOWED = "Make it writable"
_MENDS = {  # of an error of the file system, besides free space
    errno.EISDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.ENOTEMPTY: _IN_THE_WAY,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: _NOT_ALLOWED,
}
_REASONS = {
    errno.EISDIR: "a folder stands where a file is needed",
    errno.EEXIST: "a file stands where a folder is needed",
    errno.ENOTDIR: "a file stands where a folder is needed",
}


class DamagedFile(UserError):
    """A finished file, or one checkpoint, whose bytes are not those that were written."""


def write_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text; `path` holds the old content or the new, whenever the machine stops.

    Raises:
      UserError: it cannot be written; the old content then stays.
    """
    _replace(path, lambda file: file.write(text.encode()))


def write_content(path: Path, content: bytes) -> None:
    """Writes bytes for others to read; `path` holds the old content or the new.

    Raises:
      UserError: it cannot be written; the old content then stays.
    """
    _replace(path, lambda file: file.write(content))


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
    write_arrays(path, {**arrays, _SEAL: np.frombuffer(record, np.uint8)})


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays as one npz for others to read, atomically and without seals.

    Raises:
      UserError: it cannot be written; the old content then stays.
    """
    _replace(path, lambda file: _write_npz(file, arrays))


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
            f"{path} is damaged ({type(error).__name__}: {reason}); put back a copy, or "
            f"{MADE_AGAIN}"
        ) from error
    return arrays, body["meta"]


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes what JSON can hold, with a sha256 over it as a last entry, atomically.

    Raises:
      UserError: it cannot be written; the old content then stays.
    """
    body = json.loads(json.dumps(record))  # JSON makes lists of tuples
    write_atomically(path, json.dumps({**body, _RECORD_SEAL: _digest(body)}, indent=1))


def read_record(path: Path) -> dict[str, Any]:
    """What `write_record` wrote.

    Raises:
      DamagedFile: it is not what was written.
      FileNotFoundError: there is no such file.
    """
    try:
        record = json.loads(path.read_bytes())
        intact = record.pop(_RECORD_SEAL) == _digest(record)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        intact = False
    if not intact:
        raise DamagedFile(
            f"{path} is damaged: it is not what was written there; put back a copy, or remove it "
            f"and {MADE_AGAIN}"
        )
    return record


def check_origin(path: Path, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses an intact file that belongs elsewhere, such as to another replicate or training.

    stored: what the file says of itself.
    expected: entries that must be among these.

    Raises:
      UserError: the message names the first entry that differs.
    """
    for name, value in expected.items():
        if name not in stored:
            raise UserError(
                f"{path} does not say which {name} it is of, because an earlier version of "
                "omics_jax wrote it; repeat the run's command with another --workdir"
            )
        if stored[name] != value:
            raise UserError(
                f"{path} belongs elsewhere ({name} is {stored[name]!r} there, {value!r} here); put "
                f"back the right one, or remove it and {MADE_AGAIN}"
            )


def load_meta(path: Path) -> dict[str, Any]:
    """The meta that `save_arrays` wrote; the arrays are neither read nor verified.

    Raises:
      DamagedFile: it is not what was written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return unseal(json.loads(_read_member(archive, _SEAL).tobytes()))["meta"]
    except Exception as error:  # as in `load_arrays`
        raise DamagedFile(f"{path} is damaged ({type(error).__name__})") from error


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
        code = _error_code(error)
        if code is None:
            raise
        reason = _REASONS.get(code) or os.strerror(code)
        mend = _MENDS.get(code, "Free space there")
        raise UserError(
            f"{path} could not be written: {reason}. {mend} or choose another --workdir; what was "
            "finished before is unharmed."
        ) from error


def _error_code(error: OSError | ValueError) -> int | None:
    """The operating system's number of an error, which tensorstore, below orbax, reports as text
    of a ValueError; None for another error.
    """
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return int(code[1]) if code else None
