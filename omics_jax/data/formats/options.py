"""`ReadOptions`: what a caller may choose about the reading of a matrix, for every format alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omics_jax.data.formats.cells import BELOW_DETECTION
from omics_jax.data.formats.checks import check_choice
from omics_jax.data.formats.names import Names
from omics_jax.data.vocabulary import Missing

ORIENTATIONS = ("auto", "samples", "genes")
REPEATED = ("error", "mean")


def below_detection(settings) -> str:
    """What stands for a limit of detection, of `BELOW_DETECTION`, in the settings of a reader."""
    return getattr(settings, "below_detection", "error")


@dataclass(frozen=True)
class ReadOptions:
    """The arguments of `read_matrix` after the path; see there.

    Raises:
      UserError: an orientation or a rule for repeated genes or limits that does not exist.
    """

    orientation: str = "auto"
    samples: Names | None = None
    genes: Names | None = None
    annotations: Sequence[str] = ()
    repeated: str = "error"
    below_detection: str = "error"
    missing: Missing = Missing()  # words and numbers of the user's

    def __post_init__(self):
        choices = {
            "orientation": ORIENTATIONS,
            "repeated": REPEATED,
            "below_detection": BELOW_DETECTION,
        }
        for name, known in choices.items():
            check_choice(name, getattr(self, name), known)
