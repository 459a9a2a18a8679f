"""The words of public tables for unknown and for events; oracles are the tables' own manuals."""

import numpy as np
import pytest

from omics_jax.data.vocabulary import Missing, blank_unknown, event_codes, parse_missing
from omics_jax.errors import UserError


@pytest.mark.parametrize(
    ("cells", "codes", "words"),
    [
        (["0:CENSORED", "1:PROGRESSION", ""], [0, 1, np.nan], ("0", "1")),
        (["1:DECEASED", "0:LIVING"], [1, 0], ("0", "1")),
        (["N", "Y", "y"], [0, 1, 1], ("n", "y")),
        (["No", "YES"], [0, 1], ("no", "yes")),
        (["1.0", "0", "1"], [1, 0, 1], ("0", "1")),
        (["True", "False"], [1, 0], ("false", "true")),
        (["Alive", "Dead", "alive"], [0, 1, 0], ("alive", "dead")),
        (["LIVING", "DECEASED"], [0, 1], ("living", "deceased")),
        (["DiseaseFree", "Recurred/Progressed"], [0, 1], ("diseasefree", "recurred/progressed")),
        (["censored", "event"], [0, 1], ("censored", "event")),
        (["0", "0"], [0, 0], ("0", "1")),
    ],
)
def test_events_of_public_tables(cells, codes, words):
    found, pair = event_codes(np.array(cells, object))
    np.testing.assert_array_equal(found, codes)
    assert pair == words


@pytest.mark.parametrize("cells", [["1", "2"], ["A", "B"], ["0", "1", "2"], ["alive", "lost"]])
def test_codes_without_a_known_meaning_are_not_guessed(cells):
    assert event_codes(np.array(cells, object)) is None


@pytest.mark.parametrize(
    ("cells", "event", "codes", "words"),
    [
        (["1", "2", "", "2.0"], "2", [0, 1, np.nan, 1], ("1", "2")),
        (["A", "B", "C"], "b", [0, 1, 0], ("a or c", "b")),
        (["1:DECEASED", "0:LIVING"], "1:DECEASED", [1, 0], ("0", "1")),
        # The user's word outdoes the usual meaning.
        (["0", "1"], "0", [1, 0], ("1", "0")),
    ],
)
def test_the_user_names_the_event(cells, event, codes, words):
    found, pair = event_codes(np.array(cells, object), event)
    np.testing.assert_array_equal(found, codes)
    assert pair == words


def test_an_event_that_no_cell_holds_is_none():
    assert event_codes(np.array(["1", "2"], object), "dead") is None


@pytest.mark.parametrize(
    "word",
    ["not reported", "Unknown", "'--", "[Not Available]", "[Discrepancy]", "NA", "-666", "n.a."],
)
def test_public_words_for_unknown(word):
    cells, counts = blank_unknown(np.array(["Basal", word, "LumA", word], object))
    assert cells.tolist() == ["Basal", "", "LumA", ""] and counts == {word: 2}


def test_known_words_stay():
    cells = np.array(["None of these", "Na", "stage II", "0", "unknown primary"], object)
    left, counts = blank_unknown(cells)
    # Na alone is the spelling of a missing value, in text as in numbers.
    assert left.tolist() == ["None of these", "", "stage II", "0", "unknown primary"]
    assert counts == {"Na": 1}


def test_missing_values_of_the_user():
    missing = parse_missing(("-999", "Unmeasured", "-9.50"))
    assert missing.numbers == (-999.0, -9.5)
    assert missing.is_word(" unmeasured ") and missing.is_word("-999") and not missing.is_word("9")
    values = np.array([-999, -9.5, 9, np.nan], np.float32)
    assert missing.is_number(values).tolist() == [True, True, False, False]
    assert not Missing().is_number(values).any()
    cells, counts = blank_unknown(np.array(["unmeasured", "x"], object), missing)
    assert cells.tolist() == ["", "x"] and counts == {"unmeasured": 1}


@pytest.mark.parametrize("words", [("",), ("inf",), ("-999", " ")])
def test_missing_values_that_cannot_be(words):
    with pytest.raises(UserError, match="give numbers or words such as -999"):
        parse_missing(words)
