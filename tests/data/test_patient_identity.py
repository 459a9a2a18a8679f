"""Who is who among patients: samples of persons, groups, ids that are spelled alike; and what the
settings declare missing, which side of a table bears known features, and the account of the files.
"""

import numpy as np
import pandas as pd
import pytest
from test_multiomics import CLINICAL, MIRNA, RNA, clinical, error_of, files, settings, write

from omics_jax.data.identity import alike_ids, id_form, near_matches, persons_of_samples
from omics_jax.data.patients.read import read_patients

TUMOURS = [f"TCGA-ZZ-{k:04}-01A" for k in range(6)]
NORMALS = [f"TCGA-ZZ-{k:04}-11A" for k in range(3)]


@pytest.mark.parametrize(
    ("a", "b", "is_one"),
    [
        ("1", "01", True),
        ("1.0", "1", True),
        ("P-01", "p1", True),
        ("TCGA.AA.0001", "tcga-aa-0001", True),
        ("P1-12", "P11-2", False),
        ("10", "1", False),
        ("0", "00", True),
    ],
)
def test_ids_that_differ_in_spelling_only(a, b, is_one):
    assert (id_form(a) == id_form(b)) is is_one
    assert (near_matches([a], [b]) == {a: b}) is is_one
    assert (alike_ids([a, b]) == [(a, b)]) is is_one


@pytest.mark.parametrize(
    ("ids", "persons"),
    [
        ([*TUMOURS, *NORMALS], 6),
        (["P01-T", "P01-N", "P02-T", "P02-N"], 2),
        (["P1.1", "P1.2", "P2.1", "P2.2", "P3"], 3),
        (["a_tumor", "a_normal", "b_tumour", "b_normal"], 2),
    ],
)
def test_samples_of_fewer_persons(ids, persons):
    assert len(set(persons_of_samples(ids).values())) == persons


@pytest.mark.parametrize(
    "ids",
    [
        [f"patient-{k}" for k in range(1, 25)],
        [f"s{k}" for k in range(9)],
        [f"site{letter}_P{k}" for letter in "ab" for k in range(5)],
    ],
)
def test_persons_that_are_counted_are_no_samples(ids):
    assert not persons_of_samples(ids)


def samples_of_tcga(tmp_path, **changes):
    """Six tumours and three normals, with a survival row for each."""
    rng = np.random.default_rng(0)
    names = [*TUMOURS, *NORMALS]
    rna = pd.DataFrame(rng.normal(size=(9, 3)), names, ["TP53", "MYC", "EGFR"])
    told = pd.DataFrame(
        {
            "OS": [1, 0, 1, 0, 0, 0, 1, 0, 1],
            "OS.time": [5, 6, 7, 8, 9, 3, 5, 6, 7],
            "type": ["tumour"] * 6 + ["normal"] * 3,
        },
        pd.Index(names, name="sample"),
    )
    return read_patients(
        settings(
            modalities={"rna": write(tmp_path / "genes-rna.tsv", rna)},
            survival=write(tmp_path / "survival.csv", told),
            survival_times={"OS": "OS.time:OS"},
            **changes,
        )
    )


def test_samples_taken_for_patients_are_warned_of(tmp_path):
    dataset = samples_of_tcga(tmp_path)
    (warning,) = dataset.warnings
    assert warning == (
        "the 9 rows are TCGA barcodes of 6 patients (such as TCGA-ZZ-0000-01A and "
        "TCGA-ZZ-0000-11A), and rows of one patient may be in different folds; set "
        "--config.data.barcode=tcga (a row per patient) or --config.data.barcode=tcga_samples (a "
        "row per sample, patients never split)."
    )
    assert len(dataset) == 9


def test_a_row_per_patient(tmp_path):
    dataset = samples_of_tcga(tmp_path, barcode="tcga")
    assert len(dataset) == 6 and dataset.targets["OS.event"][0].sum() == 2
    assert not dataset.warnings and (dataset.groups == dataset.ids).all()


def test_a_row_per_sample_with_patients_that_are_never_split(tmp_path):
    dataset = samples_of_tcga(tmp_path, barcode="tcga_samples", classes={"type": "type"})
    assert len(dataset) == 9 and not dataset.warnings
    assert dataset.ids[:2].tolist() == ["TCGA-ZZ-0000-01", "TCGA-ZZ-0000-11"]
    assert set(dataset.groups.tolist()) == {name[:12] for name in TUMOURS}
    assert dataset.classes["type"] == ("normal", "tumour")
    assert np.bincount(dataset.targets["type"][0]).tolist() == [3, 6]


def test_a_sample_without_a_row_of_its_own_takes_its_patients(tmp_path):
    rna = pd.DataFrame(1.5, [TUMOURS[0], NORMALS[0]], ["TP53"])
    told = pd.DataFrame({"age": [61]}, pd.Index(["tcga-zz-0000"], name="patient"))
    dataset = read_patients(
        settings(
            modalities={"rna": write(tmp_path / "genes-rna.csv", rna)},
            clinical=write(tmp_path / "c.csv", told),
            numbers={"age": "age"},
            barcode="tcga_samples",
        )
    )
    assert dataset.targets["age"][0].tolist() == [61, 61]


def test_a_column_of_groups(tmp_path):
    told = CLINICAL.assign(person=["A", "A", "unknown", "B", "B"])
    paths = {"rna": write(tmp_path / "rna.csv", RNA), "mirna": write(tmp_path / "m.csv", MIRNA)}
    dataset = read_patients(
        settings(modalities=paths, clinical=write(tmp_path / "c.csv", told), group="person")
    )
    assert dataset.groups.tolist() == ["p0", "A", "A", "p3", "B"]
    note = "Groups that are never split: 4 of person among 5 rows, unknown of 2, who are groups"
    assert any(sentence.startswith(note) for sentence in dataset.notes)


def test_other_samples_are_told_to_name_the_person(tmp_path):
    names = ["P1-T", "P1-N", "P2-T", "P2-N"]
    told = CLINICAL.iloc[:4].set_axis(names)
    dataset = read_patients(
        settings(
            modalities={"rna": write(tmp_path / "rna.csv", RNA.set_axis(names).fillna(1))},
            clinical=write(tmp_path / "c.csv", told),
            classes={"type": "cancer"},
        )
    )
    (warning,) = dataset.warnings
    assert "the 4 rows look like samples of 2 patients (such as P1-N and P1-T)" in warning
    assert warning.endswith("name the column of the person with --config.data.group.")


# --- spellings ------------------------------------------------------------------------------------


def test_ids_that_nearly_match_between_files_are_named(tmp_path):
    told = CLINICAL.set_axis(["P-1", "P2", "p3", "p4", "p5"])
    dataset = read_patients(
        settings(modalities=files(tmp_path), clinical=write(tmp_path / "told.csv", told))
    )
    (warning,) = dataset.warnings
    assert "2 patients are spelled otherwise in told.csv than in the modalities" in warning
    assert "'p1' and 'P-1', 'p2' and 'P2'" in warning
    paths = {
        "rna": write(tmp_path / "rna.csv", RNA),
        "mirna": write(tmp_path / "m.csv", MIRNA.set_axis(["P1", "p2", "p4"])),
    }
    (warning,) = read_patients(settings(modalities=paths, orientation="samples")).warnings
    assert "1 ids differ in spelling only ('P1' in mirna and 'p1' in rna)" in warning


def test_a_table_that_shares_no_id_is_told_where_the_ids_are(tmp_path):
    told = CLINICAL.set_axis(range(5)).rename_axis("number").assign(patient=CLINICAL.index)
    rna = {"rna": write(tmp_path / "rna.npz", RNA)}
    message = error_of(modalities=rna, clinical=write(tmp_path / "c.csv", told))
    assert "its column 'patient' has them: set --config.data.id=patient" in message
    told = CLINICAL.set_axis(["P-1", "P-2", "P-3", "P-4", "P-0"])
    message = error_of(modalities=rna, clinical=write(tmp_path / "d.csv", told))
    assert "3 differ in spelling only, such as 'P-1' and 'p1'" in message


# --- missing values, features, account ------------------------------------------------------------


def test_numbers_words_and_limits_of_the_user_are_missing_and_counted(tmp_path):
    path = tmp_path / "rna.csv"
    path.write_text("id,a,b,c\np1,-999,2,below LOD\np2,3,-999.0,7\np3,1,500,Below LOD\n")
    dataset = read_patients(
        settings(
            modalities={"rna": str(path)},
            orientation="samples",
            missing_values="-999, below lod",
            limits={"rna": (0.0, 30.0)},
        )
    )
    rna = dataset.modalities["rna"]
    assert rna.features.tolist() == ["a", "b", "c"]
    assert rna.mask.tolist() == [[False, True, False], [True, False, True], [True, False, False]]
    assert rna.values.tolist() == [[0, 2, 0], [3, 0, 7], [1, 0, 0]]
    for note in (
        "rna: 2 values in 2 features are -999 and taken for missing (data.missing_values).",
        "rna: 1 values in 1 features are outside 0 to 30 and taken for missing (data.limits).",
    ):
        assert note in dataset.notes


@pytest.mark.parametrize("name", ["genes-new.csv", "new.csv"])
@pytest.mark.parametrize("orientation", ["auto", "samples", "genes"])
def test_the_side_with_known_features_is_the_features(tmp_path, name, orientation):
    paths = {"rna": write(tmp_path / name, RNA.fillna(1))}
    dataset = read_patients(
        settings(modalities=paths, orientation=orientation), features={"rna": ["a2", "a9"]}
    )
    assert dataset.modalities["rna"].features.tolist() == ["a1", "a2", "a3", "a4"]
    assert any("by the features of the training" in note for note in dataset.notes)


def test_every_column_of_the_tables_is_accounted_for(tmp_path):
    told = write(tmp_path / "told.csv", CLINICAL.assign(site="x"))
    dataset = read_patients(
        settings(
            modalities=files(tmp_path),
            clinical=told,
            classes={"type": "cancer"},
            survival_times={"OS": "days:dead"},
            only={"site": "x"},
        )
    )
    found = {(u.source, u.part, u.used_as): u.names for u in dataset.uses}
    assert found["told.csv", "columns", "ids"] == ("patient",)
    assert found["told.csv", "columns", "outcome type"] == ("cancer",)
    assert found["told.csv", "columns", "outcome OS"] == ("days", "dead")
    assert found["told.csv", "columns", "selection"] == ("site",)
    assert found["told.csv", "columns", "annotations"] == ("age",)
    assert found["told.csv", "rows", "left out"] == ("p5",)
    assert found["rna.csv", "columns", "genes or other features"] == ("a1", "a2", "a3", "a4")


def test_annotations_beside_a_named_table_are_told_to_be_left_out(tmp_path):
    path = write(tmp_path / "rna.csv", RNA.assign(stage=["I", "II", "I", "II"]))
    dataset = read_patients(settings(modalities={"rna": path}, clinical=clinical(tmp_path)))
    (use,) = [u for u in dataset.uses if u.used_as == "left out" and u.source == "rna"]
    assert use.names == ("stage",) and "a table of the patients is named" in use.why


def test_ids_that_differ_in_spelling_alone_are_named_where_none_matches(tmp_path):
    path = write(tmp_path / "rna.csv", RNA.rename(str.upper))
    message = error_of(modalities={"rna": path}, clinical=clinical(tmp_path))
    assert "3 of them differ in spelling alone ('P4' and 'p4')" in message
