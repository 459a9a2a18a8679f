"""Who is who and which controls are whose, in tables as LINCS and its users write them.

Every case is a small matrix with the columns of conditions beside the genes, read with the settings
that users start from.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.perturbation.read import read_perturbations
from omics_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
GENES = ["TP53", "EGFR", "MYC", "GAPDH"]
LINES = ["A549", "MCF7", "PC3"]


@pytest.fixture(scope="module")
def defaults():
    spec = importlib.util.spec_from_file_location("config", ROOT / "configs" / "pertvae.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config().data


def study(lines=LINES, drugs=("vorinostat", "trametinib"), **columns):
    """Two DMSO wells and a well of each drug per line; `columns`: name -> cells or one cell."""
    wells = [(line, drug) for line in lines for drug in ("DMSO", "DMSO", *drugs)]
    table = pd.DataFrame(wells, columns=["cell_id", "pert_iname"])
    is_control = table["pert_iname"] == "DMSO"
    table["pert_type"] = np.where(is_control, "ctl_vehicle", "trt_cp")
    table["pert_dose"] = np.where(is_control, "0", "10")
    table["pert_time"] = "24"
    table.insert(0, "id", [f"w{row:02d}" for row in table.index])
    values = np.random.default_rng(1).normal(8, 1, (len(table), len(GENES))).round(3)
    genes = pd.DataFrame(values, columns=GENES)
    return pd.concat([table.assign(**columns), genes], axis=1)


@pytest.fixture
def read(defaults, tmp_path):
    def read(frame, **changes):
        frame.to_csv(tmp_path / "a.csv", index=False)
        settings = defaults.copy_and_resolve_references()
        settings.update({"path": str(tmp_path / "a.csv"), "min_genes": 1, **changes})
        return read_perturbations(settings)

    return read


def treated(data):
    return data.take(data.modalities["treated"].observed_rows)


def left_out(data):
    """Reason -> ids of the profiles that are not used."""
    return {u.why: u.names for u in data.uses if u.part == "profiles" and u.used_as == "left out"}


def used(data, used_as):
    return {name for u in data.uses if u.used_as == used_as for name in u.names}


# --- one identity ---------------------------------------------------------------------------------


def test_spellings_of_cell_lines_pair_and_group(read):
    frame = study()
    is_treated = frame["pert_type"] == "trt_cp"
    other = frame["cell_id"].map({"A549": "a549", "MCF7": "MCF-7", "PC3": "PC3"})
    frame["cell_id"] = frame["cell_id"].where(~is_treated, other)
    data = read(frame)
    assert len(data) == len(treated(data)) == 6
    assert set(data.groups) == set(data.table["cell_line"]) == set(LINES)
    assert "a.csv: column 'cell_id' is read with 'a549' as 'A549', 'MCF-7' as 'MCF7'." in data.notes


def test_spellings_of_a_drug_are_one_drug(read):
    frame = study()
    frame.loc[2, "pert_iname"] = "Vorinostat"
    data = read(frame)
    assert sorted(set(data.table["drug"])) == ["Vorinostat", "trametinib"]
    assert set(read(frame, drugs=("VORINOSTAT",)).table["drug"]) == {"Vorinostat"}


def test_isomers_are_two_drugs(read):
    data = read(study(drugs=("F/C=C/F", "F/C=C\\F")))
    assert set(data.table["drug"]) == {"F/C=C/F", "F/C=C\\F"} and len(data) == 6


def test_times_are_compared_as_numbers(read):
    frame = study()
    frame["pert_time"] = np.where(frame["pert_type"] == "trt_cp", "24.0 h", "24")
    assert len(treated(read(frame))) == 6
    frame["pert_time"] = np.where(frame["pert_type"] == "trt_cp", "1", "24")
    frame["pert_time_unit"] = np.where(frame["pert_type"] == "trt_cp", "d", "h")
    assert len(treated(read(frame))) == 6
    frame["pert_time_unit"] = "h"
    with pytest.raises(UserError, match="agrees in"):
        read(frame)


def test_singletons_of_another_file_join_the_line(read, tmp_path):
    basal = pd.DataFrame({"id": ["b1"], "cell_id": ["mcf 7"], **{gene: [8.0] for gene in GENES}})
    basal.to_csv(tmp_path / "basal.csv", index=False)
    data = read(study(), singletons=(str(tmp_path / "basal.csv"),), orientation="samples")
    assert data.groups[-1] == data.table["cell_line"].iloc[-1] == "MCF7"


@pytest.mark.parametrize("word", ["NA", "-666", "Unknown", "not reported", ""])
def test_a_profile_without_a_drug_is_left_out(read, word):
    frame = study(drugs=("vorinostat", word))
    data = read(frame)
    assert len(data) == 3 and set(data.table["drug"]) == {"vorinostat"}
    reason = "without a drug in column 'pert_iname'"
    assert left_out(data) == {reason: ("w03", "w07", "w11")}
    note = f"3 treated profiles (w03, w07, w11) are {reason}, and left out."
    assert note in data.notes


def test_no_drug_at_all_is_refused(read):
    with pytest.raises(UserError, match="names no drug of the 3 treated profiles"):
        read(study(drugs=("-666",)))


def test_an_unknown_line_agrees_with_nothing(read):
    frame = study()
    frame.loc[:3, "cell_id"] = "not reported"
    data = read(frame, unpaired_controls=False)
    assert len(data) == 4 and "w02" not in data.ids
    assert left_out(data)["of unknown cell_line, time"] == ("w02", "w03")
    assert "a.csv: in column 'cell_id' unknown are 4 'not reported'." in data.notes


def test_words_of_the_user_are_unknown_too(read):
    frame = study(drugs=("vorinostat", "withheld"))
    frame.loc[0, "TP53"] = -99
    data = read(frame, missing_values=("withheld", -99))
    assert set(data.table["drug"]) == {"vorinostat"}
    control = data.modalities["control"]
    assert control.values[0, 0] == np.float32(frame["TP53"][1])  # the other of the two wells
    assert not (control.values == -99).any()


def test_a_value_that_cannot_be_is_named_before_it_is_averaged(read):
    frame = study()
    frame.loc[0, "TP53"] = -999
    (warning,) = read(frame).warnings
    assert warning == (
        "a.csv: far from all others are 1 of its values, most often -999 (1, as in profile 'w00', "
        "gene 'TP53'); if it stands for a missing value, set --config.data.missing_values=-999."
    )


# --- doses ----------------------------------------------------------------------------------------


def with_second_dose(dose, unit, column=True):
    """Every treated well at 10 uM, and once more at another dose."""
    frame = study(pert_dose_unit="uM") if column else study()
    more = frame[frame["pert_type"] == "trt_cp"].copy()
    more["id"] += "b"
    more["pert_dose"] = dose
    if column:
        more["pert_dose_unit"] = unit
    else:
        frame["pert_dose"] = frame["pert_dose"].replace("10", "10 uM")
        more["pert_dose"] = f"{dose} {unit}"
    return pd.concat([frame, more])


@pytest.mark.parametrize("column", [True, False])
def test_the_highest_dose_is_that_in_one_unit(read, column):
    data = read(with_second_dose("500", "nM", column))
    assert len(data) == 6 and not any(name.endswith("b") for name in data.ids)
    assert set(data.table["dose"]) == {"10 uM"}
    assert "6 of 12 treated profiles are at the highest dose of their drug." in data.notes


def test_a_dose_that_differs_by_rounding_is_the_same(read):
    data = read(with_second_dose("9.99999", "uM"))
    assert len(data) == 12 and set(data.table["dose"]) == {"10"}


def test_doses_that_cannot_be_compared_are_refused(read):
    frame = with_second_dose("500", "ng/ml")
    with pytest.raises(UserError) as error:
        read(frame)
    assert "doses of drug 'vorinostat' cannot be compared: '10 uM' (uM) and '500 ng/ml'" in str(
        error.value
    )
    assert "--config.data.dose=all" in str(error.value)
    assert len(read(frame, dose="all")) == 12


def test_a_number_without_a_unit_is_not_compared_with_one_that_has_it(read):
    frame = with_second_dose("10", "")
    with pytest.raises(UserError, match="without a unit"):
        read(frame)


def test_profiles_of_unknown_dose_are_left_out_if_others_of_the_drug_have_one(read):
    frame = study()
    frame.loc[2, "pert_dose"] = "-666"
    data = read(frame)
    assert len(data) == 5
    assert left_out(data) == {"without a dose, which others of their drug have": ("w02",)}
    frame.loc[frame["pert_iname"] == "vorinostat", "pert_dose"] = "-666"
    assert len(read(frame)) == 6


def test_the_highest_dose_is_chosen_among_those_with_a_control(read):
    """vorinostat at 20 is in a line without a control; at 10 it has one."""
    frame = study()
    alone = frame.iloc[[2]].assign(id="x", cell_id="HA1E", pert_dose="20")
    data = read(pd.concat([frame, alone]))
    assert len(data) == 6 and set(data.table["drug"]) == {"vorinostat", "trametinib"}
    assert (
        "1 drug (vorinostat) is taken at a lower dose than the highest, which has no control."
        in data.notes
    )


# --- controls -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ctl_vector", "CTL_UNTRT.CNS", "negative control", "ctrl"])
def test_other_kinds_of_controls_are_no_drugs(read, kind):
    frame = study()
    is_second = frame["id"].isin(["w01", "w05", "w09"])
    frame.loc[is_second, ["pert_type", "pert_iname"]] = [kind, "pLKO.1"]
    data = read(frame)
    assert len(data) == 6 and set(data.table["drug"]) == {"vorinostat", "trametinib"}
    reason = f"controls of a kind ({kind}) that --config.data.control_values does not name"
    assert left_out(data) == {reason: ("w01", "w05", "w09")}
    with_both = read(frame, control_values=("ctl_vehicle", kind))
    assert with_both.table["control_id"].iloc[0] == "w00;w01"


def test_numbers_name_roles(read):
    frame = study()
    frame["pert_type"] = np.where(frame["pert_iname"] == "DMSO", "1.0", "0.0")
    assert len(read(frame, control_values=("1",))) == 6


def two_plates():
    """Two plates of all lines, the second two units above; A549 has no control on the first."""
    first, second = study(rna_plate="P1"), study(rna_plate="P2")
    second["id"] = second["id"].str.replace("w", "v")
    second[GENES] = first[GENES] + 2
    return pd.concat([first.drop([0, 1]), second])


def test_controls_are_of_the_own_plate(read):
    data = read(two_plates())
    assert len(data) == 10
    plate = {"w": "P1", "v": "P2"}
    for row in data.table.itertuples():
        assert {plate[name[0]] for name in row.control_id.split(";")} == {row.batch}
    reason = "without a control on their own plate (--config.data.control_plates=own)"
    assert left_out(data) == {reason: ("w02", "w03")}
    assert f"2 treated profiles (w02, w03) are {reason}, and left out." in data.notes
    assert "The control profile of 10 pairs is the mean of 2 controls." in data.notes
    assert not data.warnings


def test_controls_of_all_plates_are_a_warning(read):
    data = read(two_plates(), control_plates="any")
    assert len(data) == 12 and "The control profile of 12 pairs is the mean of 2 to 4" in " ".join(
        data.notes
    )
    assert data.warnings == (
        "a.csv: 10 of 12 pairs have controls of other plates (column 'rna_plate'), so that the "
        "difference between plates is part of their change.",
    )


def test_no_control_on_any_own_plate_is_refused_with_the_setting(read):
    frame = study()
    frame["rna_plate"] = np.where(frame["pert_type"] == "trt_cp", "P1", "P2")
    with pytest.raises(UserError) as error:
        read(frame)
    assert "no treated profile has a control on its own plate (column 'rna_plate')" in str(
        error.value
    )
    assert "--config.data.control_plates=any" in str(error.value)


def test_a_file_without_plates_needs_none_but_a_column_that_is_named_must_be_there(read):
    assert len(read(study())) == 6
    with pytest.raises(UserError, match="has no column 'plate'"):
        read(study(), columns={"batch": "plate"})


# --- the account ----------------------------------------------------------------------------------


def test_every_profile_and_column_is_accounted_for(read):
    frame = two_plates().assign(well="A01")
    data = read(frame)
    profiles = [name for use in data.uses if use.part == "profiles" for name in use.names]
    assert sorted(profiles) == sorted(frame["id"])
    controls = {name for ids in data.table["control_id"] for name in ids.split(";")}
    assert used(data, "controls") == controls and used(data, "treated") == set(data.ids)
    columns = {use.used_as: use.names for use in data.uses if use.part == "columns"}
    assert columns["batch"] == ("rna_plate",) and columns["drug"] == ("pert_iname",)
    assert columns["left out"] == ("well",)


def test_rows_of_conditions_that_agree_are_one(defaults, tmp_path):
    frame = study()
    frame[["id", *GENES]].to_csv(tmp_path / "m.csv", index=False)
    conditions = frame.drop(columns=GENES)
    conditions = pd.concat([conditions, conditions.iloc[[2]], conditions.iloc[[3]].assign(id="q")])
    conditions.to_csv(tmp_path / "c.csv", index=False)
    settings = defaults.copy_and_resolve_references()
    settings.update(path=str(tmp_path / "m.csv"), conditions=str(tmp_path / "c.csv"), min_genes=1)
    settings.columns.sample = "id"
    data = read_perturbations(settings)
    assert len(data) == 6
    assert "c.csv: 1 row (w02) is the same as an earlier one." in data.notes
    assert "c.csv: 1 of its 13 samples ('q') are not in m.csv and not used." in data.notes
