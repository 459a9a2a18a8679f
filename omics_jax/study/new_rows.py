"""New rows on the features of a training: what a file has of them, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

from omics_jax.data.dataset.dataset import Modality
from omics_jax.errors import UserError

_SHOWN = 4  # names in one note


def match_features(
    modality: Modality, names: Sequence[str], source: str, noun: str, hint: str = "", least: int = 1
) -> tuple[Modality, str]:
    """The modality on the features of a training, missing where it has none, and a note of how many
    have a value, which have none, and which of the file the training does not know.

    names: the features of the training, in its order.
    source, noun: what the modality is of (a file) and what its features are ("genes"), in messages.
    least: rows with values of fewer features than this are refused.
    hint: another way out than other names, for the message.

    Raises:
      UserError: values of fewer than `least` features; the message shows a name of either side.
    """
    columns = modality.mask.reshape(-1, len(modality.features))
    with_values = {str(name) for name in modality.features[columns.any(axis=0)]}
    shared = sum(name in with_values for name in names)
    if shared < least:
        other = next((name for name in map(str, modality.features) if name not in names), "")
        theirs = f", the file has {other!r}" if other else ""
        raise UserError(
            f"{source} has values of {shared or 'none'} of the {len(names):,} {noun} of the "
            f"training; they must be named alike: the training has {names[0]!r}{theirs}{hint}"
        )
    note = f"{shared:,} of {len(names):,} {noun} found"
    known = set(names)
    absent = [name for name in names if name not in with_values]
    unknown = [name for name in map(str, modality.features) if name not in known]
    if absent:
        note += f"; without a value {_listed(absent)}"
    if unknown:
        note += f"; unknown to the training and not used {_listed(unknown)}"
    return modality.select_features(names), note


def _listed(names: Sequence[str]) -> str:
    """As in "are 7 (a, b, c, d, ...)"."""
    ellipsis = ", ..." if len(names) > _SHOWN else ""
    verb = "is" if len(names) == 1 else "are"
    return f"{verb} {len(names):,} ({', '.join(names[:_SHOWN])}{ellipsis})"
