"""Pairing against brute force, grouping, joining of platforms, and the designs of real studies."""

import os
from pathlib import Path
from types import SimpleNamespace

import h5py
import ml_collections
import numpy as np
import pandas as pd
import pytest

from omics_jax.data.perturbation import pairing
from omics_jax.data.perturbation.read import read_perturbations

GENES = ["TP53", "EGFR", "MYC", "GAPDH"]
COLUMNS = {
    "sample": "id",
    "cell_line": "cell",
    "drug": "drug",
    "dose": "dose",
    "time": "",
    "batch": "plate",
    "role": "type",
}
DEFAULTS = {
    "path": "",
    "orientation": "auto",
    "conditions": "",
    "columns": COLUMNS,
    "control_values": ("DMSO", "ctl_vehicle"),
    "pair_by": ("cell_line", "batch"),
    "control_profile": "mean",
    "pairs": "",
    "singletons": (),
    "unpaired_controls": False,
    "drugs": (),
    "dose": "all",
    "group_by": "cell_line",
    "min_genes": 1,
}
CONDITIONS = pd.DataFrame(
    [
        ("c1", "MCF7", "DMSO", 0, "p1", "dmso"),
        ("c2", "MCF7", "DMSO", 0, "p1", "ctl_vehicle"),
        ("c3", "A549", "DMSO", 0, "p1", "DMSO"),
        ("c4", "HeLa", "DMSO", 0, "p3", "DMSO"),
        ("t1", "MCF7", "x", 1, "p1", "trt"),
        ("t2", "MCF7", "x", 10, "p1", "trt"),
        ("t3", "MCF7", "y", 5, "p1", "trt"),
        ("t4", "A549", "x", 10, "p1", "trt"),
        ("t5", "A549", "y", 5, "p2", "trt"),
    ],
    columns=["id", "cell", "drug", "dose", "plate", "type"],
)
VALUES = np.random.default_rng(0).normal(7, 2, (9, 4)).round(3)
VALUES[0, 0] = np.nan
FRAME = pd.DataFrame(VALUES.astype("f4"), index=CONDITIONS["id"], columns=GENES)


@pytest.fixture
def study(tmp_path):
    """A matrix and a table of conditions on disk; returns a reader that takes changed settings."""
    FRAME.to_csv(tmp_path / "main.csv", index_label="sample")
    CONDITIONS.sample(frac=1, random_state=1).to_csv(tmp_path / "conditions.csv", index=False)

    def read(**changes):
        settings = {
            **DEFAULTS,
            "path": str(tmp_path / "main.csv"),
            "conditions": str(tmp_path / "conditions.csv"),
        }
        return read_perturbations(SimpleNamespace(**{**settings, **changes}))

    read.folder = tmp_path
    return read


def agreeing(treated):
    row = CONDITIONS.set_index("id").loc[treated]
    same = (CONDITIONS["cell"] == row["cell"]) & (CONDITIONS["plate"] == row["plate"])
    return CONDITIONS["id"][same & (CONDITIONS["drug"] == "DMSO")].tolist()


def test_mean_of_agreeing_controls(study):
    data = study()
    assert data.ids.tolist() == ["t1", "t2", "t3", "t4"]
    assert data.groups.tolist() == ["MCF7", "MCF7", "MCF7", "A549"]
    for k, treated in enumerate(data.ids):
        controls = agreeing(treated)
        expected = np.nanmean(FRAME.loc[controls].to_numpy(np.float64), axis=0)
        np.testing.assert_allclose(data.modalities["control"].values[k], expected, rtol=1e-6)
        np.testing.assert_array_equal(data.modalities["treated"].values[k], FRAME.loc[treated])
        assert data.table["control_id"].iloc[k] == ";".join(controls)
    assert data.modalities["control"].mask.all() and data.modalities["treated"].mask.all()
    assert data.modalities["control"].features.tolist() == GENES
    notes = " ".join(data.notes)
    assert "1 treated profile (t5)" in notes and "1 control (c4) is in no pair" in notes
    assert "4 pairs and 0 singletons over 4 genes; 2 drugs, 2 cell lines" in notes


def test_table_is_text(study):
    table = study().table
    assert list(table) == [
        "drug",
        "cell_line",
        "dose",
        "time",
        "batch",
        "platform",
        "control_id",
        "treated_id",
    ]
    assert table.loc["t2"].tolist() == ["x", "MCF7", "10", "", "p1", "main", "c1;c2", "t2"]


def test_each_gives_every_agreeing_pair(study):
    data = study(control_profile="each")
    expected = [f"{c}|{t}" for t in CONDITIONS["id"] if t.startswith("t") for c in agreeing(t)]
    assert data.ids.tolist() == expected
    for pair, x1, mask in zip(data.ids, *vars_of(data, "control"), strict=True):
        control = FRAME.loc[pair.split("|")[0]].to_numpy()
        np.testing.assert_array_equal(mask, ~np.isnan(control))
        np.testing.assert_array_equal(x1, np.nan_to_num(control))


def vars_of(data, name):
    return data.modalities[name].values, data.modalities[name].mask


def test_one_deals_controls_evenly(study):
    data = study(control_profile="one")
    assert data.table["control_id"].tolist() == ["c1", "c2", "c1", "c3"]
    shuffled = study(control_profile="one", conditions=str(reordered(study.folder)))
    assert shuffled.table["control_id"].tolist() == data.table["control_id"].tolist()


def reordered(folder):
    CONDITIONS.iloc[::-1].to_csv(folder / "reordered.csv", index=False)
    return folder / "reordered.csv"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("profile", pairing.PROFILES)
def test_dealing_against_brute_force(seed, profile):
    rng = np.random.default_rng(seed)
    ids = [f"id{k:02d}" for k in rng.permutation(40)]
    keys = [(str(a), "" if b == 3 else str(b)) for a, b in rng.integers(0, 4, (40, 2))]
    controls, treated = list(range(12)), list(range(12, 40))
    matches = pairing.matching_controls(keys, treated, controls)
    pairs = pairing.assign_controls(matches, ids, profile)
    allowed = {(t, c) for t in treated for c in controls if keys[t] == keys[c] and keys[t][1]}
    dealt = [(t, c) for t, found in pairs for c in found]
    assert len(dealt) == len(set(dealt)) and set(dealt) <= allowed
    assert {t for t, _ in dealt} == {t for t, _ in allowed}
    if profile == "one":
        assert len(dealt) == len({t for t, _ in allowed})
        for key in set(keys):
            uses = [
                sum(c == used for _, used in dealt) for c in controls if keys[c] == key and key[1]
            ]
            assert not uses or max(uses) - min(uses) <= 1
    else:
        assert set(dealt) == allowed


def test_masked_mean_is_nanmean():
    rng = np.random.default_rng(0)
    values, mask = rng.normal(size=(6, 50)).astype("f4"), rng.random((6, 50)) < 0.6
    mask[:, 0], mask[0, 1:] = False, True
    mean, observed = pairing.masked_mean(np.where(mask, values, 0).astype("f4"), mask)
    expected = np.nanmean(np.where(mask, values, np.nan)[:, 1:].astype(np.float64), axis=0)
    np.testing.assert_allclose(mean[1:], expected, rtol=1e-5, atol=1e-6)
    assert not observed[0] and mean[0] == 0 and observed[1:].all()


def test_drugs_and_highest_dose(study):
    assert study(drugs=("x",)).ids.tolist() == ["t1", "t2", "t4"]
    data = study(dose="highest")
    assert data.ids.tolist() == ["t2", "t3", "t4"]
    # t5 has no control, and the dose is chosen among those that have one.
    assert any("3 of 4 treated profiles are at the highest dose" in note for note in data.notes)


def test_raw_columns_pair_and_group(study):
    data = study(pair_by=("plate",), group_by="plate", control_profile="each")
    assert len(data) == 4 * 3 and set(data.groups) == {"p1"}
    assert len(study(pair_by=(), control_plates="any")) == 5
    assert study(group_by="").groups.tolist() == ["t1", "t2", "t3", "t4"]


def test_unknown_values_agree_with_nothing(study):
    table = CONDITIONS.copy()
    table.loc[[0, 4], "plate"] = ""
    table.to_csv(study.folder / "gaps.csv", index=False)
    data = study(conditions=str(study.folder / "gaps.csv"))
    assert data.ids.tolist() == ["t2", "t3", "t4"]
    assert data.table["control_id"].tolist() == ["c2", "c2", "c3"]


def test_profiles_without_conditions_are_named(study):
    CONDITIONS.iloc[1:-1].to_csv(study.folder / "short.csv", index=False)
    notes = " ".join(study(conditions=str(study.folder / "short.csv")).notes)
    assert "2 profiles (c1, t5) are without a row or a role in short.csv" in notes


def test_unpaired_controls_become_singletons(study):
    data = study(unpaired_controls=True)
    assert data.ids.tolist() == ["t1", "t2", "t3", "t4", "c4"]
    assert data.groups[-1] == "HeLa"
    assert data.table.loc["c4"].tolist() == ["", "HeLa", "", "", "p3", "main", "c4", ""]
    assert (
        not data.modalities["treated"].mask[-1].any() and data.modalities["control"].mask[-1].all()
    )


def test_explicit_pairs_override_agreement(study):
    (study.folder / "pairs.csv").write_text("control,treated,dose\nc3,t1,99\nc1,t5,7\n")
    data = study(
        pairs=str(study.folder / "pairs.csv"), pair_by=(), group_by="drug", unpaired_controls=True
    )
    assert data.ids.tolist() == ["t1", "t5", "c2", "c4"]
    assert data.table["control_id"].tolist() == ["c3", "c1", "c2", "c4"]
    assert data.table["dose"].tolist() == ["99", "7", "", ""]
    assert data.table["drug"].tolist() == ["x", "y", "", ""]
    np.testing.assert_array_equal(data.modalities["control"].values[0], FRAME.loc["c3"])


def test_explicit_pairs_with_a_treated_sample_twice(study):
    (study.folder / "pairs.csv").write_text("control,treated\nc1,t1\nc2,t1\n")
    assert study(pairs=str(study.folder / "pairs.csv")).ids.tolist() == ["c1|t1", "c2|t1"]


def test_singletons_join_over_shared_genes_and_lines(study):
    genes = ["MYC", "NOTHERE", "TP53", "EGFR"]
    extra = pd.DataFrame(np.arange(8.0).reshape(2, 4), index=["mcf-7", "K562"], columns=genes)
    extra.to_csv(study.folder / "basal.tsv", sep="\t")
    data = study(singletons=(str(study.folder / "basal.tsv"),))
    assert data.ids.tolist()[-2:] == ["basal:mcf-7", "basal:K562"]
    assert data.groups.tolist()[-2:] == ["MCF7", "K562"]
    assert data.modalities["control"].features.tolist() == ["TP53", "EGFR", "MYC"]
    assert data.modalities["control"].values[-2:].tolist() == [[2, 3, 0], [6, 7, 4]]
    assert (
        not data.modalities["treated"].mask[-2:].any()
        and not data.modalities["treated"].values[-2:].any()
    )
    assert data.table["platform"].tolist()[-3:] == ["main", "basal", "basal"]
    assert any("1 gene (GAPDH) is not in basal.tsv" in note for note in data.notes)


def test_conditions_inside_the_matrix(tmp_path):
    CONDITIONS.set_index("id").join(FRAME).to_csv(tmp_path / "main.csv")
    settings = ml_collections.ConfigDict({**DEFAULTS, "path": str(tmp_path / "main.csv")})
    data = read_perturbations(settings)
    assert data.ids.tolist() == ["t1", "t2", "t3", "t4"]
    assert data.modalities["control"].features.tolist() == GENES
    assert data.table["dose"].tolist() == ["1", "10", "5", "10"]


def test_gctx_reads_only_profiles_in_use(study, monkeypatch):
    from omics_jax.data.formats import gct

    with h5py.File(study.folder / "main.gctx", "w") as file:
        file["0/DATA/0/matrix"] = FRAME.to_numpy()
        file["0/META/COL/id"] = CONDITIONS["id"].to_numpy(dtype="S")
        file["0/META/ROW/id"] = np.array(GENES, dtype="S")
    seen = []
    monkeypatch.setattr(
        gct,
        "slab",
        lambda path, d, rows, columns: seen.append(len(rows)) or d[()][rows][:, columns],
    )
    data = study(path=str(study.folder / "main.gctx"), drugs=("y",))
    whole = study(drugs=("y",))
    assert seen == [3] and data.ids.tolist() == whole.ids.tolist() == ["t3"]
    np.testing.assert_array_equal(
        data.modalities["control"].values, whole.modalities["control"].values
    )


def test_gctx_with_conditions_of_its_own_averages_repeated_genes(study):
    path = study.folder / "main.gctx"
    with h5py.File(path, "w") as file:
        file["0/DATA/0/matrix"] = FRAME.to_numpy()
        file["0/META/COL/id"] = CONDITIONS["id"].to_numpy(dtype="S")
        file["0/META/ROW/id"] = np.array(["r1", "r2", "r3", "r4"], dtype="S")
        file["0/META/ROW/pr_gene_symbol"] = np.array(["TP53", "EGFR", "TP53", "GAPDH"], dtype="S")
    found, whole = study(path=str(path), repeated="mean"), study()
    assert any("TP53" in note and "main.gctx" in note for note in found.notes)
    treated = lambda data: pd.DataFrame(
        data.modalities["treated"].values, data.ids, data.modalities["treated"].features
    )
    expected = treated(whole)
    expected["TP53"] = expected[["TP53", "MYC"]].mean(axis=1)
    pd.testing.assert_frame_equal(
        treated(found), expected[["TP53", "EGFR", "GAPDH"]], check_names=False
    )


def test_stored_pairs(tmp_path):
    rng = np.random.default_rng(0)
    x1, x2 = rng.normal(size=(2, 4, 3)).astype("f4")
    x2[1, 2] = np.nan
    arrays = dict(
        x1=x1, x2=x2, features=GENES[:3], cell=["A", "B", "A", "C"], dose=[1.0, 1, 2, np.nan]
    )
    np.savez(tmp_path / "p.npz", **arrays)
    columns = {"cell_line": "cell", "dose": "dose"}
    data = read_perturbations(
        SimpleNamespace(**{**DEFAULTS, "path": str(tmp_path / "p.npz"), "columns": columns})
    )
    assert data.ids.tolist() == ["p:0", "p:1", "p:2", "p:3"] and data.groups.tolist() == [
        "A",
        "B",
        "A",
        "C",
    ]
    assert data.table["dose"].tolist() == ["1", "1", "2", ""]
    np.testing.assert_array_equal(data.modalities["control"].values, x1)
    np.testing.assert_array_equal(data.modalities["treated"].mask, ~np.isnan(x2))


def test_raw_counts_are_noted(study):
    (FRAME * 1000).to_csv(study.folder / "counts.csv", index_label="sample")
    assert any(
        "counts.csv" in n and "log2" in n
        for n in study(path=str(study.folder / "counts.csv")).notes
    )
    assert not any("log2" in n for n in study().notes)


def test_reading_twice_is_the_same(study):
    assert study().fingerprint() == study().fingerprint()


@pytest.fixture(scope="module")
def l1000():
    if not os.environ.get("OMICS_JAX_DATA"):
        pytest.skip("OMICS_JAX_DATA is not set: it names the folder of real data")
    return Path(os.environ["OMICS_JAX_DATA"]) / "l1000"


LINCS = {
    "sample": "inst_id",
    "cell_line": "cell_id",
    "drug": "pert_iname",
    "dose": "pert_dose",
    "time": "pert_time",
    "batch": "rna_plate",
    "role": "pert_type",
}
TGGATES = {
    "sample": "sample",
    "drug": "treatmentid",
    "dose": "concentration",
    "time": "hours",
    "role": "xptype",
}


def read(**changes):
    return read_perturbations(SimpleNamespace(**{**DEFAULTS, "min_genes": 100, **changes}))


def test_real_plate(l1000):
    meta = pd.read_csv(l1000 / "plate_CPC006_A375_6H_X1.meta.csv")
    path = l1000 / "plate_CPC006_A375_6H_X1.npz"
    settings = dict(
        path=str(path), conditions=str(l1000 / "plate_CPC006_A375_6H_X1.meta.csv"), columns=LINCS
    )
    data = read(**settings, group_by="drug")
    drugs = set(meta.pert_iname[meta.pert_type == "trt_cp"])
    assert len(data) == 355 and set(data.groups) == drugs - {"curcumin"}
    assert any("'curcumin' as 'Curcumin'" in note for note in data.notes)
    controls = np.load(path)["X"][(meta.pert_type == "ctl_vehicle").to_numpy()]
    assert len(controls) == 16
    np.testing.assert_allclose(
        data.modalities["control"].values[7], controls.mean(axis=0), rtol=1e-6
    )
    assert len(read(**settings, control_profile="each", group_by="drug")) == 355 * 16
    own = dict(LINCS, drug="pert_desc", dose="exp_pert_dose", time="exp_pert_time")
    same = read(
        path=str(l1000 / "raw/plate_CPC006_A375_6H_X1.gct.gz"), columns=own, group_by="drug"
    )
    assert same.ids.tolist() == data.ids.tolist()


def test_real_tggates_agreement_finds_the_published_pairs(l1000):
    settings = dict(
        path=str(l1000 / "tggates_hepatocyte.npz"),
        conditions=str(l1000 / "tggates_hepatocyte.meta.csv"),
        columns=TGGATES,
        control_values=("control",),
        group_by="drug",
    )
    explicit = read(**settings, pairs=str(l1000 / "tggates_pairs.csv"))
    agreeing = read(**settings, pair_by=("drug", "time", "replicate"))
    assert len(explicit) == 1712 and len(set(explicit.groups)) == 146
    assert dict(zip(explicit.ids, explicit.table["control_id"], strict=True)) == dict(
        zip(agreeing.ids, agreeing.table["control_id"], strict=True)
    )


def test_real_pairs_with_basal_profiles(l1000):
    data = read(
        path=str(l1000 / "pairs_transigen100.npz"),
        columns={"cell_line": "cell", "drug": "smiles"},
        singletons=(str(l1000 / "basal_164_cells.npz"),),
    )
    paired = data.modalities["treated"].observed_rows
    assert paired.sum() == 100 and len(data) == 264 and len(set(data.groups[paired])) == 43
    assert set(data.groups[paired]) <= set(data.groups[~paired])


def test_real_gctx_with_conditions_of_its_own(l1000):
    data = read(
        path=str(l1000 / "raw/slinky_demo_level3_n131x12328.gctx"),
        conditions=str(l1000 / "raw/slinky_demo_inst_info.txt"),
        columns=LINCS,
        drugs=("amoxicillin",),
        pair_by=("batch",),
        control_profile="one",
    )
    info = pd.read_csv(l1000 / "raw/slinky_demo_inst_info.txt", sep="\t").set_index("inst_id")
    assert len(data) == 5 and data.modalities["control"].values.shape == (5, 12328)
    for row in data.table.itertuples():
        assert info.rna_plate[row.control_id] == info.rna_plate[row.treated_id]
