"""Combinations of modalities, read against a count over patients and written line by line."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.evaluation.overlap_text import bar, overlap_text, read_overlap


def test_reading_gives_back_what_every_patient_has():
    random = np.random.default_rng(7)
    has = random.random((200, 3)) < [0.3, 0.9, 0.6]
    names = np.array(["cnv", "rna", "protein (RPPA)"])
    shuffled = [" + ".join(random.permutation(names[row])) for row in has]
    frame = (
        pd.Series(shuffled)
        .value_counts(sort=False)
        .rename_axis("combination")
        .rename("patients")
        .reset_index()
    )
    overlap = read_overlap(frame)
    assert overlap.names == tuple(names[[1, 2, 0]])
    assert overlap.totals.tolist() == has.sum(axis=0)[[1, 2, 0]].tolist()
    found = {
        tuple(member): count
        for member, count in zip(overlap.members.tolist(), overlap.patients, strict=True)
    }
    rows, counts = np.unique(has[:, [1, 2, 0]], axis=0, return_counts=True)
    assert found == {tuple(row): count for row, count in zip(rows.tolist(), counts, strict=True)}
    assert (np.diff(overlap.patients) <= 0).all()


def test_a_line_per_combination_with_circles_bar_and_number():
    frame = pd.DataFrame(
        {"combination": ["", "rna", "rna + methylation"], "patients": [np.nan, 600, 1200]}
    )
    assert overlap_text(frame).split("\n") == [
        "rna  methylation  patients",
        f"●    ●            {'█' * 30} 1,200",
        f"●    ○            {'█' * 15} 600",
        "○    ○            0",
    ]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, ""), (1e-9, "▏"), (0.05, "█▌"), (1 / 30, "█"), (0.5, "█" * 15), (1.0, "█" * 30)],
)
def test_bars_are_drawn_in_eighths_of_a_column(share, text):
    assert bar(share) == text


def test_nothing_is_no_mistake():
    assert overlap_text(pd.DataFrame({"combination": [], "patients": []})) == "patients"
