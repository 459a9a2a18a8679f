"""One sentence for whatever a library raises while it reads a damaged file.

h5py, anndata, pyarrow, numpy, zipfile, gzip, lzma, tarfile and the parsers beneath them raise some
twenty types of exceptions on damaged bytes; no reader needs to know which.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from omics_jax.errors import RunEnded, UserError

AGAIN = "fetch the file or write it again"
_SHOWN = 120  # characters of the library's own message


@contextmanager
def reading(source: str | os.PathLike, what: str, mend: str = AGAIN) -> Iterator[None]:
    """Inside, every exception is a `UserError` about the file; those of a reader stay as they are.

    Args:
      source: the file, or a part of it.
      what: what it should be, such as "Parquet".
      mend: what to do about it.

    Raises:
      UserError: the file is damaged or something else, or there is not enough memory for it.
    """
    try:
        yield
    except RunEnded:
        raise
    except MemoryError as error:
        raise UserError(
            f"{source} needs more memory than there is ({_reason(error) or 'MemoryError'}); read a "
            "part of it, or use a larger machine"
        ) from error
    except Exception as error:
        raise UserError(f"{source} cannot be read as {what} ({_reason(error)}); {mend}") from error


def _reason(error: Exception) -> str:
    """What the library says, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:_SHOWN]
