"""Safe, unique and reversible file names from the names that users give.

An arm, a drug, a task, a modality or a table may be called anything: "../up", "drug 1" and
"drug-1", nothing at all, or a name of a thousand letters. Percent-encoding (RFC 3986) gives each a
file name of its own that no file system reads as a path. Left out: file systems that ignore case.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote, unquote

_SAFE = "-_+,="  # besides letters and digits
_EMPTY = "%"  # which no encoding gives
_LONGEST = 120  # of an encoded name; file systems take 255 bytes, and suffixes follow
_KEPT = 80  # of a longer one, before its digest


def file_name(name: str) -> str:
    """The file name of a name: its letters and digits, everything else as %XX of its UTF-8 bytes.

    A name that is too long for a file system ends in a digest instead (`name_of_file` then gives
    the file name back).
    """
    encoded = quote(name, safe=_SAFE).replace(".", "%2E").replace("~", "%7E") or _EMPTY
    if len(encoded) <= _LONGEST:
        return encoded
    digest = hashlib.sha256(name.encode()).hexdigest()[:24]
    return f"{encoded[:_KEPT]}~{digest}"


def name_of_file(file: str) -> str:
    """The name that `file_name` encoded."""
    if file == _EMPTY:
        return ""
    return file if "~" in file else unquote(file)
