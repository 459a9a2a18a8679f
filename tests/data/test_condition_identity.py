"""When two spellings name one cell line, drug, dose or time."""

import numpy as np
import pytest

from omics_jax.data.identity import (
    cell_line_form,
    doses,
    drug_forms,
    label_form,
    one_spelling,
    times,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [("MCF7", "MCF-7"), ("A549", "a549"), ("SK-BR-3", "SKBR3"), ("NCI-H460", "NCI H460")],
)
def test_spellings_of_one_cell_line(one, other):
    assert cell_line_form(one) == cell_line_form(other)


@pytest.mark.parametrize(("one", "other"), [("T.T", "TT"), ("KM-H2", "KMH-2"), ("HA1E", "HA1")])
def test_cell_lines_that_are_not_one(one, other):
    assert cell_line_form(one) != cell_line_form(other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Vorinostat", "vorinostat", True),
        ("SB-202190", "SB202190", True),
        ("SN-38", "SN38", True),
        ("AG 9", "ag-9", True),
        ("5-fluorouracil", "5 Fluorouracil", True),
        ("(+)-JQ1", "(-)-JQ1", False),
        ("CHIR-99", "CHIR-9-9", False),
        ("F/C=C/F", "F/C=C\\F", False),
        ("BRD-K11", "BRD-K12", False),
    ],
)
def test_spellings_of_one_drug(one, other, same):
    first, second, _ = drug_forms([one, other, "trametinib"])
    assert (first == second) is same


def test_case_has_a_meaning_in_structures():
    benzene, cyclohexane = drug_forms(["c1ccccc1", "C1CCCCC1"])
    assert benzene != cyclohexane
    # CCCP is the name of a drug, in a column of names.
    assert len(set(drug_forms(["CCCP", "cccp", "vorinostat", "trametinib"]))) == 3


@pytest.mark.parametrize(
    ("cells", "same"),
    [
        (("1", "01", "1.0"), True),
        (("P1", "p1"), True),
        (("P1", "P-1"), False),
        (("1", "1a"), False),
    ],
)
def test_labels(cells, same):
    assert (len({label_form(cell) for cell in cells}) == 1) is same


def test_the_first_spelling_stands_for_all_and_unknown_stays_unknown():
    cells = ["", "MCF-7", "MCF7", "A549", ""]
    spelled, replaced = one_spelling(cells, ["", "mcf7", "mcf7", "a549", ""])
    assert spelled.tolist() == ["", "MCF-7", "MCF-7", "A549", ""]
    assert replaced == {"MCF-7": ["MCF7"]}


def test_doses_are_numbers_of_a_kind():
    cells = ["10.0", "500", "9.99999", "500 nM", "10 µM", "1e-5 M", "3", "2", "7", "high", ""]
    units = ["uM", "nM", "UM", "uM", "", "", "ng/ml", "ul", "", "uM", "uM"]
    found = doses(cells, units)
    assert found.kind.tolist() == [*["uM"] * 6, "ug/ml", "ul", "", "", ""]
    expected = [10, 0.5, 9.99999, 0.5, 10, 10, 0.003, 2, 7, np.nan, np.nan]
    np.testing.assert_allclose(found.number, expected)
    labels = found.labels()
    assert len({labels[k] for k in (0, 2, 4, 5)}) == 1 and labels[1] == labels[3] != labels[0]
    assert labels[-2:] == ["", ""] and len(set(labels[:-2])) == 5


def test_a_number_with_a_thousands_mark_is_no_dose():
    assert np.isnan(doses(["1,000", "1,000 nM"], ["uM", ""]).number).all()


def test_a_step_of_a_dilution_is_another_dose():
    cells = ["3.33", "3.33333", "3.0", "10", "0.37", "0.370370", "79.4", "80"]
    labels = doses(cells, ["uM"] * 8).labels()
    assert labels[0] == labels[1] and labels[4] == labels[5] and len(set(labels)) == 6


def test_times_are_hours():
    cells, units = ["24", "24.0", "24 h", "1 d", "1", "1440", "D1"], [*[""] * 4, "d", "min", ""]
    *same, unknown = times(cells, units).labels()
    assert len(set(same)) == 1 and same[0] and unknown == ""
