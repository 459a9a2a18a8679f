"""`Remarks`: what a reader of patients says about its files, collected while it reads."""

from __future__ import annotations

from dataclasses import dataclass

from omics_jax.data.dataset.account import Use


@dataclass(frozen=True)
class Remarks:
    """Sentences for the user, and what became of rows and columns; those of two parts add up.

    Attributes:
      notes: what was understood, dropped or assumed.
      warnings: what looks wrong and should be looked at before any result is used.
      uses: of the rows and columns of the files.
    """

    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    uses: tuple[Use, ...] = ()

    def __add__(self, other: Remarks) -> Remarks:
        return Remarks(
            self.notes + other.notes, self.warnings + other.warnings, self.uses + other.uses
        )


def note(*sentences: str) -> Remarks:
    """Remarks of these notes."""
    return Remarks(notes=sentences)


def warning(*sentences: str) -> Remarks:
    """Remarks of these warnings."""
    return Remarks(warnings=sentences)
