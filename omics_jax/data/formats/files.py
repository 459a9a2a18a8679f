"""Opening a file the user named: what can be wrong with it before its first line has any meaning.

Missing, a folder, a pipe or device, unreadable, damaged or truncated compression, more than memory
holds, binary under a text name, an encoding that is not UTF-8 (or UTF-16 with a byte-order mark):
each is answered with a `UserError`. Formats are read elsewhere.
"""

from __future__ import annotations

import difflib
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from omics_jax.data.memory import check_memory
from omics_jax.errors import UserError

TEXT_FACTOR = 4  # memory that a text takes while it is parsed, in sizes of the text
_PACKED = {".gz": gzip.open, ".tgz": gzip.open, ".xz": lzma.open}
_BLOCK_BYTES = 16 * 2**20  # unpacked at a time

_SIGNATURES = (
    (b"\x1f\x8b", "gzip-compressed", "add .gz to its name"),
    (b"\x89HDF", "an HDF5 file", "name it .gctx or .h5ad after what it holds"),
    (b"PAR1", "a Parquet file", "name it .parquet"),
    (
        b"PK\x03\x04",
        "a zip archive (an .npz or an Excel workbook)",
        "name it .npz, or export it as .csv",
    ),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "export it as .csv"),
)


# Spreadsheets: one file holds several tables, with formats that change what is stored.
_WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")


def existing_file(path: str | os.PathLike) -> Path:
    """The path of a regular file, with ~ expanded.

    Raises:
      UserError: no such file; the message names the most similar one in its folder. Or a workbook.
    """
    if not os.fspath(path):
        raise UserError("no file was named: the path is empty; give the path of the file to read")
    path = Path(path).expanduser()
    try:
        is_file, is_folder, has_parent = path.is_file(), path.is_dir(), path.parent.is_dir()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{str(path)!r} cannot be a file ({error}); give the path of the file to read"
        ) from None
    if is_file:
        _refuse_workbook(path)
        return path
    if is_folder:
        inside = sorted(p.name for p in path.iterdir() if p.is_file())[:3]
        examples = f"such as {', '.join(inside)}" if inside else "it holds none"
        raise UserError(f"{path} is a folder, not a file; name one of the files in it ({examples})")
    if not has_parent:
        raise UserError(
            f"{path} does not exist, nor does its folder {path.parent}; correct the path"
        )
    check_regular(path)
    near = nearest(path.name, (p.name for p in path.parent.iterdir()))
    mend = f"did you mean {near!r}?" if near else "correct the path"
    raise UserError(f"{path} does not exist in {path.parent.resolve()}; {mend}")


def check_regular(path: Path) -> None:
    """Refuses a pipe, a device or a socket, from which a reader might wait for ever."""
    if path.exists() and not path.is_file():
        raise UserError(
            f"{path} is a pipe, a device or a socket and no regular file; write what it gives into "
            "a file, and name that"
        )


def _refuse_workbook(path: Path) -> None:
    """Spreadsheets are not read: which sheet, and which of its cells, only the user knows."""
    if path.suffix.lower() in _WORKBOOKS:
        raise UserError(
            f"{path} is a workbook of a spreadsheet program, which is not read; save the sheet of "
            "the table as .csv (UTF-8), without titles above the header, and give that file"
        )


def nearest(name: str, names: Iterable[str]) -> str:
    """The most similar of `names`, case ignored; "" where none is close."""
    by_case = {str(other).casefold(): str(other) for other in names}
    close = difflib.get_close_matches(str(name).casefold(), by_case, n=1, cutoff=0.6)
    return by_case[close[0]] if close else ""


def stem(path: str | os.PathLike) -> str:
    """The file's name without folder, format and .gz: `a/plate.gct.gz` -> `plate`."""
    name = Path(path).name
    return Path(name[:-3] if name.lower().endswith(".gz") else name).stem


def read_text(path: Path) -> bytes:
    """The content as UTF-8 bytes: unpacked, without byte-order mark, lines ended by a bare newline.

    Raises:
      UserError: the file is no text, or cannot be read as UTF-8.
    """
    data = unpacked(path)
    for signature, content, mend in _SIGNATURES:
        if data.startswith(signature):
            raise UserError(f"{path} is {content}, not text as its name says; {mend}")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = _decoded(path, data, "utf-16").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise UserError(f"{path} is empty; it needs a header line and at least one row")
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise UserError(
            f"{path}: line {line} holds a zero byte, so this is no text file; export it as text"
        )
    if not data.isascii():
        _decoded(path, data, "utf-8")
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def is_packed(path: Path) -> bool:
    """Whether a file is compressed, by its name."""
    return path.suffix.lower() in _PACKED


def opened(path: Path) -> io.BufferedIOBase:
    """The bytes of the file, or of what is compressed in it, as a stream."""
    return _PACKED.get(path.suffix.lower(), open)(path, "rb")


def unpacked(path: Path) -> bytes:
    """The bytes of the file, or of what is compressed in it (.gz, .tgz, .xz).

    Raises:
      UserError: it cannot be opened, its compression is damaged, or memory cannot hold its content.
    """
    suffix = path.suffix.lower()
    kind = "xz" if suffix == ".xz" else "gzip"
    try:
        with opened(path) as stream:
            return _within_memory(path, stream)
    except EOFError:
        raise UserError(
            f"{path} is truncated: its {kind} stream ends early; fetch or copy the file again"
        ) from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise UserError(
            f"{path} is not a valid {kind} file ({error}); fetch it again, or drop {suffix} if it "
            "is plain"
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); check the file's permissions"
        ) from None


def _within_memory(path: Path, stream: io.BufferedIOBase) -> bytes:
    """All that the stream gives; a small file may unpack to more than memory holds."""
    content = io.BytesIO()
    while block := stream.read(_BLOCK_BYTES):
        content.write(block)
        check_memory(path, "its content, while it is read,", TEXT_FACTOR * content.tell(), True)
    return content.getvalue()


def _decoded(path: Path, data: bytes, encoding: str) -> str:
    """The text of the bytes; `UserError` names the line of one that is not in the encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: line {line} holds byte 0x{data[error.start]:02x}, which is not "
            f"{encoding.upper()}; save the file as UTF-8"
        ) from None
