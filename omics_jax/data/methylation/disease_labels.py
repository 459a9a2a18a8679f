"""Which people are cases of a disease and which its controls, from words in a column.

The setting names the words, or these decide: `CONTROL_WORDS`, `CASE_WORDS`, and the disease's own
name, alone or beside one of these words ("MS", "MS case", "no MS"). Where only one other word
stands beside words for controls, as "rheumatoid arthritis" beside "normal", it means the case.
Anything else is refused with the words that were seen.

A classifier of a disease learns from people of those studies alone that hold both its cases and its
controls: otherwise it would tell studies apart. Left out: degrees and subtypes of a disease.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from omics_jax.data.patients.cells import known_cells
from omics_jax.data.patients.patient_table import PatientTable
from omics_jax.data.patients.remarks import Remarks, note, warning
from omics_jax.data.patients.targets import Target
from omics_jax.data.vocabulary import Missing
from omics_jax.errors import UserError

# Compared in lower case; numbers by their value.
CONTROL_WORDS = frozenset(
    (
        *("control", "controls", "ctrl", "ctl", "hc", "cn", "healthy", "healthy control"),
        *("healthy controls", "healthy donor", "healthy individual", "healthy subject"),
        *("normal", "normal control", "unaffected", "non-diseased", "nondiseased", "no disease"),
        *("no", "n", "non", "false", "negative", "0"),
    )
)
CASE_WORDS = frozenset(
    (
        *("case", "cases", "patient", "patients", "disease", "diseased", "affected"),
        *("yes", "y", "true", "positive", "1"),
    )
)
_PART = re.compile(r":(case|control|study)=")
_SHOWN = 8  # words in a message


@dataclass(frozen=True)
class DiseaseRule:
    """Where the labels of a disease are.

    Attributes:
      column: of the people's table.
      case, control: the words, () where the vocabulary decides.
      studies: of which the column tells the disease; () for all.
    """

    column: str
    case: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()


def parse_disease(disease: str, text: str) -> DiseaseRule:
    """The rule of COLUMN, or COLUMN:case=WORD|WORD:control=WORD|WORD:study=NAME|NAME.

    Raises:
      UserError: no column, a part without words or given twice, or one word on both sides.
    """
    column, *rest = _PART.split(text)
    where = f"data.diseases has {disease}={text!r}"
    form = f"write {disease}=COLUMN:case=WORD|WORD:control=WORD|WORD"
    parts: dict[str, tuple[str, ...]] = {}
    for key, words in zip(rest[::2], rest[1::2], strict=True):
        items = tuple(filter(None, (word.strip() for word in words.split("|"))))
        if not items or key in parts:
            wrong = f"gives {key} twice" if key in parts else f"gives no word for {key}"
            raise UserError(f"{where}, which {wrong}; {form}")
        parts[key] = items
    if not column.strip():
        raise UserError(f"{where}, which names no column; {form}")
    rule = DiseaseRule(
        column.strip(), parts.get("case", ()), parts.get("control", ()), parts.get("study", ())
    )
    both = {_plain(word) for word in rule.case} & {_plain(word) for word in rule.control}
    if both:
        raise UserError(f"{where}, in which {min(both)!r} is a case and a control; {form}")
    return rule


def check_labels_differ(targets: Mapping[str, Target], rules: Mapping[str, DiseaseRule]) -> None:
    """Refuses two diseases whose labels are the same cells of one column."""
    seen: dict[tuple[str, bytes, bytes], str] = {}
    for disease, (codes, known) in targets.items():
        column = rules[disease].column
        labels = (column, codes.tobytes(), known.tobytes())
        if labels in seen:
            raise UserError(
                f"data.diseases gives {seen[labels]} and {disease} the same labels ({column}); say "
                f"which words or which studies are whose, as {disease}={column}:study=NAME"
            )
        seen[labels] = disease


def disease_target(
    people: PatientTable,
    studies: Shaped[np.ndarray, " n"],
    disease: str,
    rule: DiseaseRule,
    missing: Missing = Missing(),
) -> tuple[Target, Remarks]:
    """int32 (n,) 1 for cases and 0 for controls, the mask of people who count, and remarks.

    Args:
      people: n rows.
      studies: (n,) of each, "" where unknown.

    Raises:
      UserError: words that are neither, or no study that holds both classes.
    """
    cells, remarks = known_cells(people, rule.column, f"diseases.{disease}", disease, missing)
    asked = _in_studies(disease, rule, studies)
    words = np.array([_plain(cell) for cell in cells], dtype=object)
    words[~asked] = ""
    counts = Counter(words[words != ""].tolist())
    place = f"{people.source}: column {rule.column!r} (diseases.{disease})"
    n_unknown = int((asked & (words == "")).sum())
    case, control = _sides(place, disease, rule, counts, n_unknown)
    is_case, is_control = np.isin(words, list(case)), np.isin(words, list(control))
    others = {word: n for word, n in counts.items() if word not in case | control}
    where = f", in {' and '.join(rule.studies)}" if rule.studies else ""
    left_out = f"; neither, and left out: {_counted(others)}" if others else ""
    remarks += note(
        f"{disease} ({rule.column}{where}): cases are {_listed(case)}, controls are "
        f"{_listed(control)}{left_out}."
    )
    known, said = _within_studies(place, disease, is_case, is_control, studies)
    codes = (is_case & known).astype(np.int32)
    return (codes, known), remarks + said


def _in_studies(
    disease: str, rule: DiseaseRule, studies: Shaped[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Who is of a study for which the rule holds."""
    if not rule.studies:
        return np.ones(len(studies), bool)
    present = sorted(set(studies.tolist()) - {""})
    unknown = [name for name in rule.studies if name not in present]
    if unknown:
        raise UserError(
            f"data.diseases names the study {unknown[0]!r} for {disease}; the people's studies are "
            f"{', '.join(present)}"
        )
    return np.isin(studies, rule.studies)


# --- words ----------------------------------------------------------------------------------------


def _plain(cell: str) -> str:
    """In lower case, with single spaces; a number without a trailing .0."""
    text = " ".join(str(cell).split()).casefold()
    number = pd.to_numeric(text, errors="coerce") if text else np.nan
    return text if np.isnan(number) else f"{number:g}"


def _sides(
    place: str, disease: str, rule: DiseaseRule, counts: Mapping[str, int], n_unknown: int
) -> tuple[frozenset[str], frozenset[str]]:
    """The words for cases and those for controls.

    n_unknown: cells without a word, for messages.

    Raises:
      UserError: see `disease_target`.
    """
    unknown = f" ({n_unknown:,} are unknown, as NA and none are)" if n_unknown else ""
    held = f"{_counted(counts) or 'nothing'}{unknown}"
    for word in map(_plain, (*rule.case, *rule.control)):
        if word not in counts:
            raise UserError(f"{place} never holds {word!r}; it holds {held}")
    case = frozenset(map(_plain, rule.case))
    control = frozenset(map(_plain, rule.control))
    others = set(counts) - case - control
    if not control:
        control = frozenset(word for word in others if _means(word, disease, CONTROL_WORDS))
    if not case:
        named, generic = _case_words(others - control, disease)
        left = others - control - named - generic
        if control and len(left) == 1 and not named | generic:
            named, left = left, set()
        # Beside a disease's name other words are other diseases; beside "case" nobody knows.
        case = frozenset(named if named and not generic else named | generic)
        if not case or (generic and left):
            raise _words_error(place, disease, rule, held)
    if not control:
        raise _words_error(place, disease, rule, held)
    return case, control


def _case_words(words: set[str], disease: str) -> tuple[set[str], set[str]]:
    """Those that name the disease, and those that mean a case of anything."""
    name = disease.casefold()
    named = {word for word in words if word == name or _means(word, disease, CASE_WORDS, True)}
    return named, {word for word in words if word in CASE_WORDS} - named


def _means(word: str, disease: str, vocabulary: frozenset[str], named: bool = False) -> bool:
    """Whether a word is in the vocabulary, alone or beside the disease's name.

    named: whether only beside the name.
    """
    if not named and word in vocabulary:
        return True
    pieces = f" {word} ".split(f" {disease.casefold()} ")
    return len(pieces) == 2 and " ".join(pieces).strip() in vocabulary


def _words_error(place: str, disease: str, rule: DiseaseRule, held: str) -> UserError:
    return UserError(
        f"{place} holds {held}, and which of them are cases and which controls is not plain; say "
        f"it, as --config.data.diseases={disease}={rule.column}:case=WORD|WORD:control=WORD, with "
        ":study=NAME behind it if it holds for some studies alone"
    )


def _listed(words: frozenset[str]) -> str:
    return " or ".join(map(repr, sorted(words)))


def _counted(counts: Mapping[str, int]) -> str:
    """As in "'normal' 335, 'ra' 354", the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    more = ", ..." if len(ordered) > _SHOWN else ""
    return ", ".join(f"{word!r} {count:,}" for word, count in ordered[:_SHOWN]) + more


# --- studies --------------------------------------------------------------------------------------


def _within_studies(
    place: str,
    disease: str,
    is_case: Bool[np.ndarray, " n"],
    is_control: Bool[np.ndarray, " n"],
    studies: Shaped[np.ndarray, " n"],
) -> tuple[Bool[np.ndarray, " n"], Remarks]:
    """Who is a case or a control in a study that holds both, and remarks on the others."""
    labelled = is_case | is_control
    names = sorted(set(studies[labelled].tolist()))
    sizes = {
        name: (int(is_case[studies == name].sum()), int(is_control[studies == name].sum()))
        for name in names
    }
    both = [name for name, (cases, controls) in sizes.items() if name and cases and controls]
    if not both:
        listed = "; ".join(f"{name or 'no study'}: {_of(*size)}" for name, size in sizes.items())
        raise UserError(
            f"{place}: no study holds both cases and controls of {disease} ({listed}), and a case "
            "of one study is never compared with a control of another; correct the labels, or "
            "name studies that hold both"
        )
    known = labelled & np.isin(studies, both)
    counted = ", ".join(f"{name} {_of(*sizes[name])}" for name in both)
    remarks = note(f"{disease}: known of {known.sum():,} people: {counted}.")
    alone = {name: size for name, size in sizes.items() if name and name not in both}
    if alone:
        listed = ", ".join(f"{name} {_of(*size)}" for name, size in alone.items())
        remarks += note(
            f"{disease}: {sum(map(sum, alone.values())):,} people are masked, because their study "
            f"does not hold both cases and controls: {listed}."
        )
    for name, (cases, _) in alone.items():
        if cases:
            remarks += warning(
                f"the study {name} has {cases:,} cases of {disease} and no control; none of them "
                "counts, as they are never compared with controls of another study."
            )
    without = int((labelled & (studies == "")).sum())
    if without:
        remarks += warning(
            f"{disease}: {without:,} people with a label but without a study are masked."
        )
    return known, remarks


def _of(cases: int, controls: int) -> str:
    return f"{cases:,} cases and {controls:,} controls"


def unused_studies(
    studies: Shaped[np.ndarray, " n"], masks: Sequence[Bool[np.ndarray, " n"]]
) -> list[str]:
    """A warning of studies whose people count for no disease; or none."""
    counts = np.any(masks, axis=0) if len(masks) else np.ones(len(studies), bool)
    names = sorted(set(studies.tolist()) - {""} - set(studies[counts].tolist()))
    if not names:
        return []
    verb = "counts" if len(names) == 1 else "count"
    return [
        f"of {', '.join(names)} nobody {verb} for a disease: a study needs cases and controls of "
        "the same disease; its people serve the network without labels alone."
    ]
