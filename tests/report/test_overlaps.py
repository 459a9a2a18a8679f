"""Overlaps of modalities: bars, dots and totals on the axes are what the frame says."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.report import overlaps

pytestmark = pytest.mark.usefixtures("our_style")


def draw(frame):
    note = []
    above, left, dots = overlaps.draw_overlap(frame, "", "patients", note).axes
    return above, left, dots, note


def words(texts):
    return [text.get_text() for text in texts]


FRAME = pd.DataFrame(
    {
        "combination": ["cnv", "rna + cnv", "protein + rna", ""],
        "patients": [5.0, 1200, 60, 2],
    }
)


def test_combinations_and_modalities_stand_in_the_order_of_their_patients():
    above, left, dots, note = draw(FRAME)
    assert [bar.get_height() for bar in above.patches] == [1200, 60, 5, 2]
    assert words(above.texts) == ["1,200", "60", "5", "2"]
    assert words(dots.get_yticklabels()) == ["rna", "cnv", "protein"]
    assert [bar.get_width() for bar in left.patches] == [1260, 1205, 60]
    assert words(left.texts) == ["1,260", "1,205", "60"]
    assert dots.get_ylim() == (2.5, -0.5)
    assert left.get_ylim() == dots.get_ylim()
    assert above.get_xlim() == dots.get_xlim()
    assert not note


def test_dark_dots_are_the_members_and_a_line_joins_them():
    _, _, dots, _ = draw(FRAME)
    marks = {line.get_color(): {tuple(xy) for xy in line.get_xydata()} for line in dots.lines}
    members = {(0, 0), (0, 1), (1, 0), (1, 2), (2, 1)}
    everywhere = {(x, y) for x in range(4) for y in range(3)}
    assert marks[overlaps.PRESENT] == members
    assert marks[overlaps.ABSENT] == everywhere - members
    joined = [segment.tolist() for part in dots.collections for segment in part.get_segments()]
    assert joined == [[[0, 0], [0, 1]], [[1, 0], [1, 2]], [[2, 1], [2, 1]]]


def test_rare_combinations_are_left_out_with_a_word_but_count_in_the_totals():
    combinations = [f"m{i} + rna" for i in range(17)]
    patients = np.arange(1.0, 18)
    frame = pd.DataFrame({"combination": combinations, "patients": patients})
    above, left, _, note = draw(frame)
    assert [bar.get_height() for bar in above.patches] == list(range(17, 2, -1))
    assert left.patches[0].get_width() == patients.sum()
    assert len(left.patches) == 18
    assert note == ["2 rarer combinations are left out (3 patients); all are in the data file."]
