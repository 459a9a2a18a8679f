"""Modalities of patients from files of every kind against one pandas table; layouts, refusals."""

import warnings
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict
from scipy import sparse

from omics_jax.data.dataset.summary import overlaps
from omics_jax.data.patients.read import read_patients
from omics_jax.errors import UserError

DEFAULTS = {
    "modalities": {},
    "path": "",
    "orientation": "auto",
    "clinical": "",
    "survival": "",
    "id": "",
    "barcode": "",
    "classes": {},
    "numbers": {},
    "survival_times": {},
}
TARGETS = {
    "classes": {"type": "cancer"},
    "numbers": {"age": "age"},
    "survival_times": {"OS": ("days", "dead")},
}
# p5 is in no modality, p0 in no clinical table; p3 has a row of rna without a value.
RNA = pd.DataFrame(
    [[1.5, np.nan, 7, 2], [np.nan] * 4, [0, 4, 7, np.nan], [3, 5, 7, 1]],
    index=["p4", "p3", "p1", "p0"],
    columns=["a1", "a2", "a3", "a4"],
)
MIRNA = pd.DataFrame(
    [[0.25, 8], [9, np.nan], [2, 8]], index=["p1", "p2", "p3"], columns=["m1", "m2"]
)
CLINICAL = pd.DataFrame(
    {
        "cancer": ["BRCA", "ACC", "", "BRCA", "ACC"],
        "age": ["61", "", "40.5", "70", "33"],
        "days": ["100", "30", "", "12.5", "77"],
        "dead": ["Dead", "Alive", "Alive", "", "Dead"],
    },
    index=pd.Index(["p1", "p2", "p3", "p4", "p5"], name="patient"),
)
IDS = ["p0", "p1", "p2", "p3", "p4"]


def settings(**changes) -> SimpleNamespace:
    return SimpleNamespace(**{**DEFAULTS, **changes})


def error_of(**changes) -> str:
    with pytest.raises(UserError) as caught:
        read_patients(settings(**changes))
    return str(caught.value)


def write(path, frame: pd.DataFrame) -> str:
    """Samples in rows, in the format of the path's suffix; "genes-..." has them in columns."""
    if path.name.startswith("genes-"):
        frame = frame.T
    if path.name.endswith(".parquet"):
        frame.to_parquet(path)
    elif path.name.endswith("blocks.npz"):
        halves = {"one": frame.iloc[:2], "two": frame.iloc[2:].iloc[:, ::-1]}
        arrays = {
            f"{block}_{part}": array
            for block, half in halves.items()
            for part, array in zip(
                ("X", "samples", "features"),
                (half.to_numpy("f4"), half.index.to_numpy(str), half.columns.to_numpy(str)),
                strict=True,
            )
        }
        np.savez(path, **arrays)
    elif path.name.endswith(".npz"):
        np.savez(
            path,
            X=frame.to_numpy(),
            samples=frame.index.to_numpy(str),
            features=frame.columns.to_numpy(str),
        )
    elif path.name.endswith(".h5ad"):
        anndata_of(frame).write_h5ad(path)
    else:
        frame.to_csv(path, sep="," if ".csv" in path.name else "\t")
    return str(path)


def anndata_of(frame: pd.DataFrame, obs: pd.DataFrame | None = None, x=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anndata

        obs = pd.DataFrame(index=frame.index) if obs is None else obs
        return anndata.AnnData(
            frame.to_numpy() if x is None else x, obs=obs, var=pd.DataFrame(index=frame.columns)
        )


def write_h5mu(path, shared: pd.DataFrame, titled=True, **modalities) -> str:
    """A MuData file: a title, an AnnData group per modality, their order and shared obs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from anndata.io import write_elem

        with h5py.File(path, "w", userblock_size=512 if titled else 0) as file:
            file.attrs.update({"encoding-type": "MuData", "encoding-version": "0.1.0", "axis": 0})
            file.create_group("mod").attrs["mod-order"] = list(modalities)
            for name, matrix in modalities.items():
                write_elem(file, f"mod/{name}", matrix)
            write_elem(file, "obs", shared)
    if titled:
        with open(path, "r+b") as stream:
            stream.write(b"MuData (format-version=0.1.0;creator=mudata;creator-version=0.3.10)")
    return str(path)


def clinical(tmp_path) -> str:
    return write(tmp_path / "clinical.csv", CLINICAL)


def files(tmp_path) -> dict:
    return {
        "rna": write(tmp_path / "rna.csv", RNA),
        "mirna": write(tmp_path / "genes-mirna.tsv", MIRNA),
    }


def assert_modality(modality, frame: pd.DataFrame):
    """Values, masks and features are those of the frame, for `IDS`."""
    expected = frame.reindex(IDS)
    features = [list(modality.features).index(name) for name in frame.columns]
    assert sorted(modality.features) == sorted(frame.columns)
    assert modality.values.dtype == np.float32 and modality.mask.dtype == bool
    np.testing.assert_array_equal(modality.mask[:, features], expected.notna().to_numpy())
    np.testing.assert_array_equal(modality.values[:, features], expected.fillna(0).to_numpy("f4"))
    assert not modality.values[~modality.mask].any()


def assert_targets(dataset):
    """What `TARGETS` finds in `CLINICAL`, by hand, for `IDS`."""
    assert set(dataset.targets) == {"type", "age", "OS.time", "OS.event"}
    values, mask = dataset.targets["type"]
    assert dataset.classes == {"type": ("ACC", "BRCA")} and values.dtype == np.int32
    assert values.tolist() == [0, 1, 0, 0, 1] and mask.tolist() == [False, True, True, False, True]
    values, mask = dataset.targets["age"]
    assert values.tolist() == [0, 61, 0, 40.5, 70] and mask.tolist() == [
        False,
        True,
        False,
        True,
        True,
    ]
    (times, mask), (events, same) = dataset.targets["OS.time"], dataset.targets["OS.event"]
    assert mask.tolist() == same.tolist() == [False, True, True, False, False]
    assert times.tolist() == [0, 100, 30, 0, 0] and events.tolist() == [0, 1, 0, 0, 0]


FORMATS = [
    f"{name}{suffix}"
    for suffix in (".csv", ".tsv", ".txt", ".csv.gz", ".parquet")
    for name in ("rna", "genes-rna")
]


@pytest.mark.parametrize("name", [*FORMATS, "rna.npz", "blocks.npz", "rna.h5ad"])
def test_every_format_and_orientation_gives_the_same_patients(tmp_path, name):
    modalities = {
        "rna": write(tmp_path / name, RNA),
        "mirna": write(tmp_path / "genes-mirna.tsv", MIRNA),
    }
    told = []
    dataset = read_patients(
        settings(modalities=modalities, clinical=clinical(tmp_path), **TARGETS),
        lambda *args: told.append(args),
    )
    assert dataset.ids.tolist() == dataset.groups.tolist() == dataset.table.index.tolist() == IDS
    assert list(dataset.modalities) == ["rna", "mirna"]
    assert_modality(dataset.modalities["rna"], RNA)
    assert_modality(dataset.modalities["mirna"], MIRNA)
    assert_targets(dataset)
    assert dataset.table["cancer"].tolist() == ["", "BRCA", "ACC", "", "BRCA"]
    assert told == [(1, 2, "modalities"), (2, 2, "modalities")]


def test_notes_say_what_was_understood(tmp_path):
    notes = read_patients(
        settings(modalities=files(tmp_path), clinical=clinical(tmp_path), **TARGETS)
    ).notes
    for expected in (
        "5 patients with 2 modalities.",
        "rna: 3 patients, 4 features (1 constant, 0 never observed), 16.7% of their cells missing.",
        "mirna: 3 patients, 2 features (1 constant, 0 never observed), 16.7% of their cells "
        "missing.",
        "Patients by what they have: mirna 2, rna 2, rna + mirna 1.",
        "1 patient (p5) is in clinical.csv without any modality; left out.",
        "1 patient (p0) is not in clinical.csv; kept, their targets masked.",
        "rna.csv has samples in rows, where ids of patients were found.",
        "genes-mirna.tsv has samples in columns, where ids of patients were found.",
        "rna: 1 patient (p3) is without a single value of it.",
        "type (cancer): 2 classes, known of 3 patients: BRCA 2, ACC 1.",
        "OS: 2 patients with only one of days and dead are masked.",
    ):
        assert expected in notes
    assert any("dead is read as alive = censored, dead = event" in note for note in notes)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_files_and_rows_changes_nothing(tmp_path, seed):
    rng = np.random.default_rng(seed)
    (tmp_path / "again").mkdir()

    def read(folder, shuffled):
        frames = [
            frame.sample(frac=1, random_state=rng) if shuffled else frame
            for frame in (RNA, MIRNA, CLINICAL)
        ]
        paths = [
            write(folder / name, frame)
            for name, frame in zip(("r.csv", "m.npz", "c.tsv"), frames, strict=True)
        ]
        return read_patients(
            settings(modalities=dict(rna=paths[0], mirna=paths[1]), clinical=paths[2], **TARGETS)
        )

    assert read(tmp_path, False).fingerprint() == read(tmp_path / "again", True).fingerprint()


@pytest.mark.parametrize("seed", range(2))
def test_overlaps_against_counting(tmp_path, seed):
    rng = np.random.default_rng(seed)
    has = rng.random((30, 3)) < 0.6
    has[0] = True
    modalities = {
        name: write(
            tmp_path / f"{name}.npz",
            pd.DataFrame(1.0, [f"p{i:02}" for i in np.flatnonzero(here)], ["f", "g"]),
        )
        for name, here in zip("abc", has.T, strict=True)
    }
    dataset = read_patients(settings(modalities=modalities))
    assert dataset.ids.tolist() == [f"p{i:02}" for i in np.flatnonzero(has.any(axis=1))]
    found = overlaps(dataset)
    assert found["patients"].is_monotonic_decreasing and found["patients"].sum() == len(dataset)
    for words, count in found.itertuples(index=False):
        assert (
            count == (has == [name in words.split(" + ") for name in "abc"]).all(axis=1).sum() > 0
        )


def test_without_a_clinical_table_other_files_then_barcodes_then_names_tell_the_orientation(
    tmp_path,
):
    found = {
        "rna": write(tmp_path / "genes-rna.csv", RNA),
        "mirna": write(tmp_path / "mirna.npz", MIRNA),
    }
    dataset = read_patients(settings(modalities=found, **TARGETS))
    assert_modality(dataset.modalities["rna"], RNA)
    assert not dataset.targets and any(
        sentence.endswith("no target type, age, OS.") for sentence in dataset.warnings
    )
    samples = RNA.set_axis([f"TCGA-AA-000{k}-01" for k in range(4)])
    barcoded = read_patients(
        settings(modalities={"rna": write(tmp_path / "genes-b.csv", samples)}, barcode="tcga")
    )
    assert barcoded.ids.tolist() == ["TCGA-AA-0000", "TCGA-AA-0002", "TCGA-AA-0003"]
    genes = RNA.set_axis(["TP53", "EGFR", "MYC", "ACTB"], axis=1)
    judged = read_patients(settings(modalities={"rna": write(tmp_path / "genes-j.csv", genes)}))
    assert judged.ids.tolist() == ["p0", "p1", "p4"]
    assert "genes-j.csv has samples in columns, judged by its names and shape." in judged.notes
    assert "set --config.data.orientation=" in error_of(
        modalities={"rna": write(tmp_path / "genes-u.csv", RNA)}
    )
    square = pd.DataFrame(1.0, ["p1", "p2"], ["p2", "p1"])
    assert "set --config.data.orientation=" in error_of(
        modalities={"k": write(tmp_path / "k.csv", square)}, clinical=clinical(tmp_path)
    )


def test_survival_in_a_table_of_its_own(tmp_path):
    path = write(tmp_path / "survival.tsv", CLINICAL[["days", "dead"]].assign(age="1").iloc[::-1])
    told = write(tmp_path / "c.csv", CLINICAL[["cancer", "age"]])
    dataset = read_patients(
        settings(modalities=files(tmp_path), clinical=told, survival=path, **TARGETS)
    )
    assert_targets(dataset)
    assert dataset.table.columns.tolist() == ["cancer", "age", "days", "dead"]
    assert dataset.table["age"].tolist() == ["", "61", "", "40.5", "70"]
    alone = read_patients(settings(modalities=files(tmp_path), survival=path, **TARGETS))
    assert set(alone.targets) == {"age", "OS.time", "OS.event"}
    assert alone.targets["age"][0].tolist() == [0, 1, 1, 1, 1]
    assert any(sentence.endswith("no target type.") for sentence in alone.warnings)


def test_a_config_is_settings_and_empty_entries_mean_none(tmp_path):
    found = files(tmp_path)
    config = ConfigDict(
        {
            **DEFAULTS,
            "modalities": {**found, "protein": ""},
            "clinical": clinical(tmp_path),
            **TARGETS,
        }
    )
    config.classes.subtype = ""
    config.survival_times.PFI = ("", "")
    assert_targets(read_patients(config))


def test_blocks_are_united_and_lack_what_others_have(tmp_path):
    np.savez(
        tmp_path / "b.npz",
        B_X=np.array([[1, np.nan]], "f4"),
        B_samples=["p2"],
        B_features=["g2", "g3"],
        A_X=np.array([[5, 6], [7, 8]], "f4"),
        A_samples=["p1", "p3"],
        A_features=["g1", "g2"],
    )
    dataset = read_patients(
        settings(modalities={"states": str(tmp_path / "b.npz")}, classes={"cohort": "block"})
    )
    states = dataset.modalities["states"]
    assert dataset.ids.tolist() == ["p1", "p2", "p3"] and states.features.tolist() == [
        "g1",
        "g2",
        "g3",
    ]
    assert states.values.tolist() == [[5, 6, 0], [0, 1, 0], [7, 8, 0]]
    assert states.mask.tolist() == [[True, True, False], [False, True, False], [True, True, False]]
    assert dataset.targets["cohort"][0].tolist() == [0, 1, 0] and dataset.classes["cohort"] == (
        "A",
        "B",
    )
    assert any("united to 3, of which all share 1" in note for note in dataset.notes)


@pytest.mark.parametrize("where", ["shared", "modality", "table"])
def test_mudata_takes_every_modality_and_its_annotations(tmp_path, where):
    zeros = MIRNA.fillna(0)
    known = CLINICAL.reindex(MIRNA.index)
    rna = anndata_of(RNA, CLINICAL.reindex(RNA.index).fillna("") if where == "modality" else None)
    mirna = anndata_of(
        zeros, known if where == "modality" else None, sparse.csr_matrix(zeros.to_numpy())
    )
    shared = CLINICAL.reindex(IDS).fillna("") if where == "shared" else pd.DataFrame(index=IDS)
    path = write_h5mu(
        tmp_path / "cohort.h5mu", shared, titled=where != "table", rna=rna, mirna=mirna
    )
    dataset = read_patients(
        settings(path=path, clinical=clinical(tmp_path) if where == "table" else "", **TARGETS)
    )
    assert list(dataset.modalities) == ["rna", "mirna"] and dataset.ids.tolist() == IDS
    assert_modality(dataset.modalities["rna"], RNA)
    assert_modality(dataset.modalities["mirna"], zeros)
    assert_targets(dataset)


def omiembed_folder(tmp_path):
    write(tmp_path / "A.tsv", RNA.T)
    write(tmp_path / "C.tsv", MIRNA.T)
    write(tmp_path / "P.csv.gz", MIRNA.T)
    known = (
        CLINICAL[CLINICAL["cancer"] != ""]["cancer"].map({"ACC": 0, "BRCA": 1}).to_frame("label")
    )
    write(tmp_path / "labels.tsv", known.assign(site="x")[["site", "label"]])
    write(tmp_path / "values.tsv", CLINICAL[["age"]])
    write(
        tmp_path / "survival.tsv",
        CLINICAL[["cancer", "days", "dead"]].replace({"Dead": "1", "Alive": "0"}),
    )
    (tmp_path / "sample_list.tsv").write_text("p1\np2\n")
    return tmp_path


def test_omiembed_layout(tmp_path):
    folder = omiembed_folder(tmp_path)
    dataset = read_patients(settings(path=str(folder), **TARGETS))
    assert list(dataset.modalities) == ["rna", "mirna", "P"]
    assert_modality(dataset.modalities["rna"], RNA)
    assert_modality(dataset.modalities["P"], MIRNA)
    assert dataset.classes == {"type": ("0", "1")}
    assert_targets(SimpleNamespace(targets=dataset.targets, classes={"type": ("ACC", "BRCA")}))
    assert dataset.table.columns.tolist() == ["site", "label", "age", "cancer", "days", "dead"]
    assert any("sample_list.tsv" in note for note in dataset.notes)
    (folder / "labels.tsv").unlink()
    without = read_patients(settings(path=str(folder), **TARGETS))
    assert "type" not in without.targets and "age" in without.targets
    assert any("has no labels.tsv, so there is no target type" in note for note in without.notes)
    named = read_patients(settings(path=str(folder), clinical=clinical(tmp_path), **TARGETS))
    assert_targets(named)
    unnamed = read_patients(settings(path=str(folder)))
    assert set(unnamed.targets) == {"value", "survival.time", "survival.event"}
    followed = read_patients(settings(path=str(folder), survival=clinical(tmp_path), **TARGETS))
    assert set(followed.targets) == {"type", "age", "OS.time", "OS.event"}
    for name in ("values.tsv", "survival.tsv"):
        (folder / name).unlink()
    assert read_patients(settings(path=str(folder), **TARGETS)).ids.tolist() == IDS


def test_barcodes_join_samples_and_patients(tmp_path):
    """Samples, aliquots and patients in four notations are joined by the patient."""
    rna = RNA.set_axis(
        ["TCGA-AA-0001-11A-01", "TCGA-AA-0002-01", "TCGA-AA-0001-01B", "TCGA-AA-0001-01A"]
    )
    mirna = MIRNA.set_axis(["TCGA.AA.0001.01A", "TCGA.AA.0003.06A", "TCGA.AA.0002.01A"])
    told = CLINICAL.iloc[:3].set_axis(["tcga-aa-0001", "tcga-aa-0002", "tcga-aa-0003"])
    paths = {
        "rna": write(tmp_path / "genes-rna.tsv", rna.fillna(1)),
        "mirna": write(tmp_path / "mirna.csv", mirna),
    }
    dataset = read_patients(
        settings(modalities=paths, clinical=write(tmp_path / "c.csv", told), barcode="tcga")
    )
    assert dataset.ids.tolist() == ["TCGA-AA-0001", "TCGA-AA-0002"]
    np.testing.assert_array_equal(
        dataset.modalities["rna"].values, rna.fillna(1).to_numpy("f4")[[2, 1]]
    )
    np.testing.assert_array_equal(dataset.modalities["mirna"].values, mirna.to_numpy("f4")[[0, 2]])
    assert dataset.table["cancer"].tolist() == ["BRCA", "ACC"]
    assert any("no primary tumours left out: 1 (type 11: 1)" in note for note in dataset.notes)


def test_target_columns_are_never_features(tmp_path):
    flat = RNA.join(CLINICAL[["age", "days"]]).assign(
        dead=["1", "0", "1", "0"], cancer=["A", "B", "A", "B"]
    )
    path = write(tmp_path / "flat.csv", flat)
    dataset = read_patients(settings(modalities={"rna": path}, orientation="samples", **TARGETS))
    assert dataset.modalities["rna"].features.tolist() == RNA.columns.tolist()
    assert dataset.targets["age"][0].tolist() == [0, 61, 70] and set(dataset.table) == {
        "age",
        "days",
        "dead",
        "cancer",
    }


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (
            dict(modalities={}),
            ["modalities and path are empty", "--config.data.modalities=rna=rna.csv"],
        ),
        (dict(modalities="rna.csv"), ["modalities='rna.csv' is no mapping"]),
        (dict(path="x.h5mu"), ["path='x.h5mu' and modalities.mirna both name data", "leave one"]),
        (
            dict(orientation="patients"),
            ["orientation='patients' is unknown", "auto, samples, genes"],
        ),
        (dict(zero_times="drop"), ["zero_times='drop' is unknown", "error, mask"]),
        (dict(barcode="TCGA"), ["data.barcode is 'TCGA'", "one of tcga, tcga_samples"]),
        (
            dict(survival_times={"OS": "days"}),
            ["data.survival_times has 'OS=days:'", "write OS=TIME:EVENT"],
        ),
        (
            dict(survival_times={"OS": ("days", "")}),
            ["data.survival_times has 'OS=days:'", "does not name both", "OS=TIME:EVENT"],
        ),
        (
            dict(classes={"type": "cancr"}),
            ["clinical.csv has no column 'cancr' (classes.type)", "did you mean 'cancer'?"],
        ),
        (dict(numbers={"OS.time": "age"}), ["two targets are called 'OS.time'", "rename one"]),
        (dict(modalities={"rna": "nowhere.csv"}), ["nowhere.csv does not exist"]),
        (
            dict(barcode="tcga"),
            [
                "clinical.csv: not one of its 5 rows (such as 'p1') bears a TCGA barcode",
                "leave data.barcode empty",
            ],
        ),
        (dict(id="sample"), ["clinical.csv has no column 'sample' (data.id)", "'patient'"]),
        (dict(group="person"), ["data.group names the column 'person'", "'cancer', 'age'"]),
        (dict(limits={"dna": (0.0, 1.0)}), ["data.limits names 'dna'", "rna, mirna"]),
    ],
)
def test_settings_that_are_refused(tmp_path, change, fragments):
    message = error_of(
        **{"modalities": files(tmp_path), "clinical": clinical(tmp_path), **TARGETS, **change}
    )
    assert all(fragment in message for fragment in fragments)


def test_a_modality_without_a_feature_that_differs_is_warned_of(tmp_path):
    flat = write(tmp_path / "flat.csv", RNA.fillna(0) * 0 + 3.5)
    dataset = read_patients(
        settings(modalities={**files(tmp_path), "flat": flat}, clinical=clinical(tmp_path))
    )
    warned = [sentence for sentence in dataset.warnings if sentence.startswith("no feature of")]
    assert len(warned) == 1 and "flat differs between patients" in warned[0]


@pytest.mark.parametrize(
    ("name", "rows", "fragments"),
    [
        (
            "rna.csv",
            list("wxyz"),
            ["neither its rows (such as 'w') nor its columns (such as 'a1')", "'p1'", "same ids"],
        ),
        (
            "rna.npz",
            list("wxyz"),
            ["not one of its 5 ids (such as 'p1')", "'w' in rna", "same ids in both"],
        ),
    ],
)
def test_ids_shared_with_no_clinical_row(tmp_path, name, rows, fragments):
    path = write(tmp_path / name, RNA.set_axis(rows))
    message = error_of(modalities={"rna": path}, clinical=clinical(tmp_path), **TARGETS)
    assert all(fragment in message for fragment in fragments) and "tcga" not in message


@pytest.mark.parametrize("name", ["rna.csv", "rna.npz"])
def test_barcodes_of_different_length_are_recognised(tmp_path, name):
    samples = [f"TCGA-AA-000{k}-01A" for k in range(4)]
    told = write(
        tmp_path / "c.csv", CLINICAL.iloc[:4].set_axis([sample[:12] for sample in samples])
    )
    path = write(tmp_path / name, RNA.set_axis(samples))
    assert "set --config.data.barcode=tcga" in error_of(modalities={"rna": path}, clinical=told)
    assert (
        len(read_patients(settings(modalities={"rna": path}, clinical=told, barcode="tcga"))) == 3
    )


def test_features_of_the_same_name_count_as_their_mean_and_this_is_said(tmp_path):
    """In a table, in a block of an .npz and in a MuData; the mean is of what is observed."""
    twice = pd.concat([RNA, RNA.iloc[:, :1] + 2], axis=1)
    np.savez(
        tmp_path / "blocks.npz",
        A_X=twice.to_numpy(),
        A_samples=twice.index.tolist(),
        A_features=twice.columns.tolist(),
    )
    mean = RNA.assign(**{RNA.columns[0]: RNA.iloc[:, 0] + 1}).dropna(how="all").sort_index()
    paths = [dict(modalities={"rna": write(tmp_path / "rna.csv", twice)}, orientation="samples")]
    paths += [dict(modalities={"rna": str(tmp_path / "blocks.npz")})]
    paths += [
        dict(
            path=write_h5mu(
                tmp_path / "c.h5mu", pd.DataFrame(index=RNA.index), rna=anndata_of(twice)
            )
        )
    ]
    for path in paths:
        assert f"{RNA.columns[0]!r} occurs twice" in error_of(**path)
        dataset = read_patients(settings(**path, repeated="mean"))
        rna = dataset.modalities["rna"]
        assert (
            dataset.ids.tolist() == mean.index.tolist()
            and rna.features.tolist() == mean.columns.tolist()
        )
        np.testing.assert_allclose(np.where(rna.mask, rna.values, np.nan), mean.to_numpy())
        repeated = f"rna: 1 feature ({RNA.columns[0]}) is in the file more than once"
        note = f"{repeated}; the mean of each counts."
        assert note in dataset.notes
    assert "repeated='most' is unknown" in error_of(**paths[0], repeated="most")


def test_a_modality_that_shares_no_patient(tmp_path):
    other = write(tmp_path / "rppa.npz", MIRNA.set_axis(["q1", "q2", "q3"]))
    message = error_of(modalities={**files(tmp_path), "rppa": other}, clinical=clinical(tmp_path))
    assert (
        "modality 'rppa' shares no patient with any other" in message
        and "'q1'" in message
        and "'p0'" in message
    )


@pytest.mark.parametrize(
    ("arrays", "fragments"),
    [
        ({"A_X": [[1.0]], "A_samples": ["p1"]}, ["has no array 'A_features'", "add it"]),
        (
            {"A_X": [[1.0]], "A_samples": ["p1", "p2"], "A_features": ["f"]},
            ["A_X is (1, 1) for 2 samples", "in rows"],
        ),
        (
            {"A_X": [[1.0]], "A_samples": ["p1"], "A_features": ["f"]}
            | {"B_X": [[1.0]], "B_samples": ["p1"], "B_features": ["f"]},
            ["'p1' occurs twice, at A_samples[0] and B_samples[0]"],
        ),
        (
            {"A_X": [[1.0, 2.0]], "A_samples": ["p1"], "A_features": ["f", "f"]},
            ["'f' occurs twice, at A_features[0]"],
        ),
    ],
)
def test_blocks_that_are_refused(tmp_path, arrays, fragments):
    np.savez(tmp_path / "b.npz", **arrays)
    message = error_of(modalities={"states": str(tmp_path / "b.npz")})
    assert all(fragment in message for fragment in ["b.npz", *fragments])


@pytest.mark.parametrize(
    ("damage", "fragments"),
    [
        (lambda f: f.__delitem__("mod"), ["cohort.h5mu has no 'mod'"]),
        (lambda f: f.__delitem__("mod/rna"), ["cohort.h5mu holds no modality under 'mod'"]),
        (lambda f: f.__delitem__("mod/rna/X"), ["cohort.h5mu/mod/rna has no 'X'"]),
        (lambda f: f.attrs.update(axis=1), ["share features (axis 1)", "axis 0"]),
    ],
)
def test_mudata_that_is_refused(tmp_path, damage, fragments):
    path = write_h5mu(tmp_path / "cohort.h5mu", pd.DataFrame(index=RNA.index), rna=anndata_of(RNA))
    with h5py.File(path, "a") as file:
        damage(file)
    message = error_of(path=path)
    assert all(fragment in message for fragment in fragments)


@pytest.mark.parametrize(
    "content", [b"MuData (format-version=0.1.0)" + bytes(600), b"no HDF5 at all"]
)
def test_mudata_that_is_damaged(tmp_path, content):
    (tmp_path / "cohort.h5mu").write_bytes(content)
    assert f"{tmp_path / 'cohort.h5mu'} " in (
        message := error_of(path=str(tmp_path / "cohort.h5mu"))
    )
    assert "again" in message


def test_paths_that_are_no_layout(tmp_path):
    assert "holds no modality of OmiEmbed's layout" in error_of(path=str(tmp_path))
    assert "is neither an .h5mu nor a folder" in error_of(path=clinical(tmp_path))
    folder = omiembed_folder(tmp_path)
    message = error_of(path=str(folder), **{**TARGETS, "numbers": {"age": "age", "bmi": "bmi"}})
    assert (
        "numbers names 2 targets (age, bmi), but" in message and "values.tsv holds one" in message
    )
    write(folder / "A.csv", RNA.T)
    assert "A.csv and A.tsv, both modality A" in error_of(path=str(folder))


def test_real_cohort_is_the_same_in_three_formats(real_data):
    mini = real_data / "tcga/mini"
    shared = dict(
        barcode="tcga",
        classes={"type": "PAM50"},
        numbers={"age": "age"},
        survival_times={"OS": ("OS.time", "OS")},
        zero_times="mask",
    )
    names = {"rna": "HiSeqV2", "methylation": "HumanMethylation27", "mirna": "miRNA"}
    text = settings(
        modalities={name: str(mini / f"TCGA.BRCA.{file}.tsv") for name, file in names.items()},
        clinical=str(mini / "TCGA.BRCA.clinical.tsv"),
        survival=str(mini / "survival_BRCA_survival.txt"),
        **shared,
    )
    xena, mudata = (
        read_patients(text),
        read_patients(settings(path=str(mini / "brca.h5mu"), **shared)),
    )
    h5ad = read_patients(settings(modalities={"rna": str(mini / "brca_rna.h5ad")}, **shared))
    followed = pd.read_csv(text.survival, sep="\t").query("OS == OS and `OS.time` > 0")
    assert (
        len(xena) == 120
        and xena.targets["OS.event"][1].sum() == len(followed)
        and len(xena.classes["type"]) == 5
    )
    assert xena.targets["OS.event"][0].sum() == followed["OS"].sum()
    for other in (mudata, h5ad):
        np.testing.assert_array_equal(other.ids, xena.ids)
        assert other.classes == xena.classes
        for name, modality in other.modalities.items():
            assert modality.features.tolist() == xena.modalities[name].features.tolist()
            np.testing.assert_array_equal(modality.mask, xena.modalities[name].mask)
            # The text has five decimals.
            np.testing.assert_allclose(
                modality.values, xena.modalities[name].values, rtol=0, atol=6e-6
            )
        for name, (values, mask) in xena.targets.items():
            np.testing.assert_array_equal(other.targets[name][0], values)
            np.testing.assert_array_equal(other.targets[name][1], mask)


# Some patients only


def test_only_patients_with_the_cells_asked_for_are_read(tmp_path):
    modalities = {
        "rna": write(tmp_path / "rna.csv", RNA),
        "mirna": write(tmp_path / "mirna.csv", MIRNA),
    }
    found = read_patients(
        settings(
            modalities=modalities, clinical=clinical(tmp_path), **TARGETS, only={"cancer": "BRCA"}
        )
    )
    assert found.ids.tolist() == ["p1", "p4"] and found.classes == {"type": ("BRCA",)}
    np.testing.assert_array_equal(found.modalities["rna"].observed_rows, [True, True])
    np.testing.assert_array_equal(found.modalities["mirna"].observed_rows, [True, False])
    assert "2 of 5 patients have cancer BRCA." in found.notes
    mirna = {"mirna": modalities["mirna"]}
    both = settings(
        modalities=mirna, clinical=clinical(tmp_path), only={"cancer": "BRCA+ACC", "dead": "Alive"}
    )
    assert read_patients(both).ids.tolist() == ["p2"]


@pytest.mark.parametrize(
    ("only", "sentence"),
    [
        (
            {"tumour": "BRCA"},
            "data.only names the column 'tumour'; the patients' tables have cancer, age",
        ),
        (
            {"cancer": "BRCA+LIHC"},
            "data.only asks for cancer 'LIHC', which no patient has; there are ACC, BRCA. "
            "Join several with +, as in cancer=A+B",
        ),
        ({"cancer": "ACC"}, "modality 'rna' has none of the patients that data.only selects"),
    ],
    ids=["column", "cell", "modality"],
)
def test_conditions_that_nobody_meets_are_refused(tmp_path, only, sentence):
    modalities = {
        "rna": write(tmp_path / "rna.csv", RNA),
        "mirna": write(tmp_path / "mirna.csv", MIRNA),
    }
    assert sentence in error_of(modalities=modalities, clinical=clinical(tmp_path), only=only)


def test_selected_cells_and_paths_may_hold_the_marks_of_lists(tmp_path):
    from ml_collections import ConfigDict

    from omics_jax.data.patients.text_settings import named_files, parse_settings
    from omics_jax.settings.sections import patients_section

    folder = tmp_path / "my, data"
    folder.mkdir()
    names = [f"p{k}" for k in range(8)]
    values = pd.DataFrame(np.arange(16.0).reshape(8, 2), names, ["TP53", "MYC"])
    values.to_csv(folder / "rna.csv", index_label="sample")
    cells = {
        "er": ["ER+", "ER-"] * 4,
        "hist": ["Other, specify"] * 3 + ["Ductal"] * 5,
        "kind": ["A", "B"] * 4,
    }
    pd.DataFrame(cells, index=names).to_csv(folder / "clinical.csv", index_label="sample")
    section = ConfigDict(patients_section())
    section.modalities, section.clinical = f"rna={folder}/rna.csv", f"{folder}/clinical.csv"
    section.classes = "kind=kind"
    assert named_files(section) == (f"{folder}/rna.csv",)
    expected = {
        "er=ER+": names[::2],
        "er=ER-": names[1::2],
        "er=ER++ER-": names,
        r"er=ER\++ER-": names,
        "hist=Other, specify": names[:3],
        r"hist=Other\, specify, er=ER+": [names[0], names[2]],
        "hist=Other, specify+Ductal, er=ER-": names[1::2],
    }
    for only, ids in expected.items():
        section.only = only
        assert read_patients(parse_settings(section)).ids.tolist() == ids, only
    section.only = "er=PR+"
    with pytest.raises(UserError, match=r"only asks for er 'PR\+', which no patient has; .*ER\+"):
        read_patients(parse_settings(section))
