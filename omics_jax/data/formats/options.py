"""`ReadOptions`: what a caller may choose about the reading of a matrix, for every format alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omics_jax.data.formats.names import Names
from omics_jax.data.vocabulary import Missing
from omics_jax.errors import UserError

ORIENTATIONS = ("auto", "samples", "genes")
REPEATED = ("error", "mean")


@dataclass(frozen=True)
class ReadOptions:
    """The arguments of `read_matrix` after the path; see there.

    Raises:
      UserError: an orientation or a rule for repeated genes that does not exist.
    """

    orientation: str = "auto"
    samples: Names | None = None
    genes: Names | None = None
    annotations: Sequence[str] = ()
    repeated: str = "error"
    missing: Missing = Missing()  # words and numbers of the user's

    def __post_init__(self):
        choices = {"orientation": ORIENTATIONS, "repeated": REPEATED}
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                raise UserError(f"{name}={value!r} is unknown; set it to one of {', '.join(known)}")
