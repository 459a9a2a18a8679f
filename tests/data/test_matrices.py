"""Every format gives the same matrix; oracles are the arrays that were written, and pandas."""

import gzip
import os
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omics_jax.data.formats.hdf5 import slab
from omics_jax.data.formats.matrix import averaged_features
from omics_jax.data.formats.read import FORMATS, read_matrix
from omics_jax.errors import UserError

IDS = ["s1", "s2", "s3"]
GENES = ["TP53", "EGFR", "MYC", "GAPDH"]
VALUES = np.array([[1.5, 2, 3, 4], [5, np.nan, 7, 8], [9, 10, 11, -0.25]])
CELLS = ["A549", "MCF7", ""]
DOSE = [10.0, 0.5, np.nan]


def text(x):
    return "NA" if np.isnan(x) else f"{x:g}"


def csv_rows(delimiter=","):
    header = delimiter.join(["sample", "cell", *GENES])
    return [header] + [
        delimiter.join([i, c, *map(text, v)]) for i, c, v in zip(IDS, CELLS, VALUES, strict=True)
    ]


def gct13():
    lines = ["#1.3", "4\t3\t2\t2", "\t".join(["id", "pr_gene_symbol", "note", *IDS])]
    lines += ["\t".join(["cell", "na", "na", "A549", "MCF7", "-666"])]
    lines += ["\t".join(["dose", "na", "na", "10", "0.5", "-666"])]
    lines += ["\t".join([f"p{j}", g, "x y", *map(text, VALUES[:, j])]) for j, g in enumerate(GENES)]
    return "\n".join(lines) + "\n"


def gct12():
    lines = ["#1.2", "4\t3", "\t".join(["NAME", "Description", *IDS])]
    lines += ["\t".join([g, "a \"5' probe", *map(text, VALUES[:, j])]) for j, g in enumerate(GENES)]
    return "\n".join(lines)


def write_gctx(path, values=VALUES, ids=IDS, genes=GENES, dtype="f4", **annotations):
    with h5py.File(path, "w") as file:
        file["0/DATA/0/matrix"] = np.asarray(values, dtype=dtype)
        file["0/META/COL/id"] = np.array(ids, dtype="S")
        file["0/META/ROW/id"] = np.array(genes, dtype="S")
        for name, column in annotations.items():
            file[f"0/META/COL/{name}"] = column


def write(path, format_):
    name = f"m{format_}"
    target = path / name
    if format_ == ".gct":
        target.write_text(gct13())
    elif format_ == ".gctx":
        write_gctx(
            target,
            cell=np.array(["A549", "MCF7", "-666"], dtype="S"),
            dose=np.array([10, 0.5, -666], "f4"),
        )
    elif format_ in (".csv", ".tsv", ".txt"):
        target.write_text("\n".join(csv_rows("," if format_ == ".csv" else "\t")))
    elif format_ == ".parquet":
        frame = pd.DataFrame(VALUES, columns=GENES)
        frame.insert(0, "cell", CELLS)
        frame.insert(0, "sample", IDS)
        frame.to_parquet(target, index=False)
    elif format_ == ".npz":
        np.savez(target, X=VALUES.astype("f4"), samples=IDS, features=GENES, cell=CELLS, dose=DOSE)
    else:
        write_h5ad(target)
    return target


def write_h5ad(target, x=VALUES):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anndata

        obs = pd.DataFrame(
            {"cell": pd.Categorical([c or None for c in CELLS]), "dose": DOSE}, index=IDS
        )
        obs["passed"] = pd.array([True, None, False], dtype="boolean")
        obs["age"] = pd.array([1, None, 3], dtype="Int64")
        var = pd.DataFrame(index=GENES)
        anndata.AnnData(x, obs=obs, var=var).write_h5ad(target)


def assert_matrix(matrix, values=VALUES, ids=IDS, genes=GENES):
    assert matrix.ids.tolist() == list(ids) and matrix.features.tolist() == list(genes)
    assert matrix.values.dtype == np.float32 and matrix.mask.dtype == bool
    np.testing.assert_array_equal(matrix.mask, ~np.isnan(values))
    np.testing.assert_array_equal(matrix.values, np.nan_to_num(values).astype("f4"))
    assert matrix.table.index.tolist() == list(ids)


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_gives_the_same_matrix(tmp_path, format_):
    matrix = read_matrix(write(tmp_path, format_))
    assert_matrix(matrix)
    assert matrix.table["cell"].tolist() == CELLS
    if "dose" in matrix.table:
        np.testing.assert_allclose(matrix.table["dose"], DOSE)


@pytest.mark.parametrize("format_", FORMATS)
def test_subsets_come_in_the_order_asked_for(tmp_path, format_):
    matrix = read_matrix(write(tmp_path, format_), samples=["s3", "s1"], genes=["MYC", "TP53"])
    assert_matrix(matrix, VALUES[[2, 0]][:, [2, 0]], ["s3", "s1"], ["MYC", "TP53"])
    assert matrix.table["cell"].tolist() == ["", "A549"]


@pytest.mark.parametrize("format_", [".gct", ".csv", ".tsv", ".txt"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_gzip_line_endings_and_byte_order_mark(tmp_path, format_, ending, mark):
    plain = write(tmp_path, format_)
    packed = tmp_path / (plain.name + ".gz")
    packed.write_bytes(gzip.compress(mark + plain.read_bytes().replace(b"\n", ending)))
    assert_matrix(read_matrix(packed))


def test_utf16_of_spreadsheets(tmp_path):
    (tmp_path / "m.txt").write_bytes("\n".join(csv_rows("\t")).encode("utf-16"))
    assert_matrix(read_matrix(tmp_path / "m.txt"))


def test_gct12_has_names_and_ignores_quotes(tmp_path):
    (tmp_path / "m.gct").write_text(gct12())
    assert_matrix(read_matrix(tmp_path / "m.gct"))


@pytest.mark.parametrize("format_", [".csv", ".tsv", ".npz", ".h5ad", ".gct"])
def test_genes_of_the_same_name_are_refused_or_averaged(tmp_path, monkeypatch, format_):
    monkeypatch.setattr(sys.modules[__name__], "GENES", ["TP53", "EGFR", "MYC", "EGFR"])
    path = write(tmp_path, format_)
    if format_ == ".gct":
        path.write_text(gct12())
    with pytest.raises(UserError, match="'EGFR' occurs twice.*data.repeated=mean"):
        read_matrix(path)
    matrix = read_matrix(path, repeated="mean")
    both = np.nanmean(VALUES[:, [1, 3]], axis=1)
    assert_matrix(
        matrix, np.stack([VALUES[:, 0], both, VALUES[:, 2]], axis=1), genes=["TP53", "EGFR", "MYC"]
    )
    assert matrix.averaged == ("EGFR",)
    assert_matrix(
        read_matrix(path, genes=["MYC", "EGFR"], repeated="mean"),
        matrix.values[:, [2, 1]],
        genes=["MYC", "EGFR"],
    )


@given(
    names=st.lists(st.sampled_from("abcde"), min_size=1, max_size=9),
    seed=st.integers(0, 2**16),
)
def test_averaging_is_that_of_pandas(names, seed):
    rng = np.random.default_rng(seed)
    values = np.where(
        rng.random((4, len(names))) < 0.4, np.nan, rng.normal(size=(4, len(names)))
    ).astype(np.float32)
    features, means, observed, averaged = averaged_features(
        np.array(names), np.nan_to_num(values), ~np.isnan(values)
    )
    expected = (
        pd.DataFrame(values.astype(float).T, index=names).groupby(level=0, sort=False).mean().T
    )
    assert features.tolist() == expected.columns.tolist()
    assert set(averaged) == {name for name in names if names.count(name) > 1}
    np.testing.assert_allclose(
        np.where(observed, means, np.nan), expected.to_numpy(), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("repeated", ["EGFR\tnote", "-666\tnote"])
def test_gct13_falls_back_on_row_ids(tmp_path, repeated):
    (tmp_path / "m.gct").write_text(gct13().replace("MYC\tx y", repeated.replace("note", "x y")))
    assert read_matrix(tmp_path / "m.gct").features.tolist() == ["p0", "p1", "p2", "p3"]
    averaged = read_matrix(tmp_path / "m.gct", repeated="mean")
    if repeated.startswith("EGFR"):
        assert averaged.features.tolist() == ["TP53", "EGFR", "GAPDH"] and averaged.averaged == (
            "EGFR",
        )
        expected = np.nanmean(VALUES[:, [1, 2]], axis=1)
        np.testing.assert_allclose(averaged.values[:, 1], expected)
    else:
        assert averaged.features.tolist() == ["p0", "p1", "p2", "p3"]


def test_gct_padded_with_tabs(tmp_path):
    lines = [line + "\t" * k for k, line in enumerate(gct13().strip().split("\n"))]
    (tmp_path / "m.gct").write_text("\n".join(lines))
    assert_matrix(read_matrix(tmp_path / "m.gct"))


@pytest.mark.parametrize("dtype", ["i4", "f8", "u2"])
def test_gctx_number_types(tmp_path, dtype):
    write_gctx(tmp_path / "m.gctx", np.arange(12).reshape(3, 4), dtype=dtype)
    assert_matrix(read_matrix(tmp_path / "m.gctx"), np.arange(12.0).reshape(3, 4))


def test_npz_mask_and_alternative_names(tmp_path):
    mask = np.array([[True, False], [True, True]])
    np.savez(
        tmp_path / "m.npz", values=[[1, 2], [3, 4]], ids=["a", "b"], features=["x", "y"], mask=mask
    )
    matrix = read_matrix(tmp_path / "m.npz")
    np.testing.assert_array_equal(matrix.mask, mask)
    np.testing.assert_array_equal(matrix.values, [[1, 0], [3, 4]])


def test_parquet_keeps_a_stored_index(tmp_path):
    frame = pd.DataFrame(VALUES, columns=GENES, index=pd.Index(IDS, name="sample"))
    frame.to_parquet(tmp_path / "m.parquet")
    assert_matrix(read_matrix(tmp_path / "m.parquet"))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path, ".parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"m\.parquet.*pip install 'omics_jax\[io\]'"):
        read_matrix(path)


@pytest.mark.parametrize(
    "cell", ["", "NA", "na", "NaN", "nan", "NULL", "null", "N/A", "None", " NA ", "nAn", "#N/A"]
)
def test_missing_cells(tmp_path, cell):
    (tmp_path / "m.csv").write_text(f"sample,TP53,EGFR\ns1,{cell},2\ns2,3,{cell}\n")
    matrix = read_matrix(tmp_path / "m.csv")
    assert matrix.mask.tolist() == [[False, True], [True, False]]
    assert matrix.values.tolist() == [[0, 2], [3, 0]]


def test_quoted_fields(tmp_path):
    (tmp_path / "m.csv").write_text(
        'sample,"cell, line",TP53,"EG""FR"\n"s,1","two\nlines",1,"2"\n\n"s2","a ""b""",3,4\n'
    )
    matrix = read_matrix(tmp_path / "m.csv")
    assert matrix.ids.tolist() == ["s,1", "s2"] and matrix.features.tolist() == ["TP53", 'EG"FR']
    assert matrix.table["cell, line"].tolist() == ["two\nlines", 'a "b"']
    assert matrix.values.tolist() == [[1, 2], [3, 4]]


def test_r_write_table_without_corner(tmp_path):
    (tmp_path / "m.tsv").write_text("TP53\tEGFR\ns1\t1\t2\ns2\t3\t4\n")
    matrix = read_matrix(tmp_path / "m.tsv")
    assert matrix.features.tolist() == ["TP53", "EGFR"] and matrix.ids.tolist() == ["s1", "s2"]


def test_ids_that_look_like_missing_or_numbers_stay_text(tmp_path):
    (tmp_path / "m.csv").write_text("sample,TP53,7157\nNA,1,2\n007,3,4\n1e3,5,6\n")
    matrix = read_matrix(tmp_path / "m.csv")
    assert matrix.ids.tolist() == ["NA", "007", "1e3"] and matrix.features.tolist() == [
        "TP53",
        "7157",
    ]


def test_numeric_annotations_by_name(tmp_path):
    (tmp_path / "m.csv").write_text("sample,age,TP53\ns1,40,1\ns2,,2\n")
    matrix = read_matrix(tmp_path / "m.csv", annotations=("age", "absent"))
    assert matrix.features.tolist() == ["TP53"]
    np.testing.assert_array_equal(matrix.table["age"], [40, np.nan])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("corner", "rows", "columns"),
    [
        ("", ["a", "b"], ["TP53", "EGFR", "x"]),
        ("", ["A549", "MCF7", "HELA"], ["SLC2A1", "ZNF24", "UNC5B"]),
        ("", ["a", "b"], ["ENSG00000141510", "ENSG00000146648.12"]),
        ("", ["a", "b"], ["201746_at", "1007_s_at"]),
        ("", ["a", "b"], ["cg00000029", "cg00000108"]),
        ("", ["a", "b"], [f"f{j}" for j in range(200)]),
    ],
)
def test_orientation_from_names_and_shape(tmp_path, corner, rows, columns, transposed):
    values = np.arange(float(len(rows) * len(columns))).reshape(len(rows), len(columns))
    frame = pd.DataFrame(values, index=rows, columns=columns)
    (frame.T if transposed else frame).to_csv(tmp_path / "m.csv", index_label=corner)
    assert_matrix(read_matrix(tmp_path / "m.csv"), values, rows, columns)


@pytest.mark.parametrize(
    ("corner", "transposed"), [("gene_id", True), ("Hugo_Symbol", True), ("barcode", False)]
)
def test_orientation_from_the_corner(tmp_path, corner, transposed):
    (tmp_path / "m.csv").write_text(f"{corner},a,b\nc,1,2\nd,3,4\n")
    assert read_matrix(tmp_path / "m.csv").ids.tolist() == (
        ["a", "b"] if transposed else ["c", "d"]
    )


@pytest.mark.parametrize("orientation", ["samples", "genes"])
def test_orientation_as_told(tmp_path, orientation):
    (tmp_path / "m.csv").write_text(",a,b,c\nd,1,2,3\ne,4,5,6\n")
    matrix = read_matrix(tmp_path / "m.csv", orientation)
    assert matrix.ids.tolist() == (["d", "e"] if orientation == "samples" else ["a", "b", "c"])
    assert matrix.values[1, 0] == (4 if orientation == "samples" else 2)


def test_numbers_parse_as_pandas_round_trip(tmp_path):
    values = np.random.default_rng(0).normal(8, 3, (40, 30)).astype("f4")
    frame = pd.DataFrame(
        values, index=[f"s{i}" for i in range(40)], columns=[f"ZNF{j}" for j in range(30)]
    )
    frame.to_csv(tmp_path / "m.csv")
    np.testing.assert_array_equal(read_matrix(tmp_path / "m.csv").values, values)


class CountingDataset:
    """A 2-D array that records which cells were asked for."""

    def __init__(self, array):
        self.array, self.dtype, self.read = array, array.dtype, np.zeros(array.shape, int)
        self.name = "matrix"

    def __getitem__(self, key):
        self.read[key] += 1
        return self.array[key]


@pytest.mark.parametrize("seed", range(5))
def test_slab_reads_only_what_was_asked(seed, monkeypatch):
    monkeypatch.setattr("omics_jax.data.formats.hdf5.BLOCK_BYTES", 400)
    rng = np.random.default_rng(seed)
    dataset = CountingDataset(rng.normal(size=(50, 20)))
    rows, columns = rng.permutation(50)[:17], rng.permutation(15)[:6]
    np.testing.assert_array_equal(
        slab(Path("m.gctx"), dataset, rows, columns), dataset.array[np.ix_(rows, columns)]
    )
    touched = dataset.read.any(axis=1)
    assert set(np.flatnonzero(touched)) == set(rows)
    assert dataset.read.max() == 1 and not dataset.read[:, columns.max() + 1 :].any()


@pytest.fixture(scope="module")
def data():
    if not os.environ.get("OMICS_JAX_DATA"):
        pytest.skip("OMICS_JAX_DATA is not set: it names the folder of real data")
    return Path(os.environ["OMICS_JAX_DATA"])


def test_real_plate_is_the_same_in_three_formats(data):
    folder = data / "l1000"
    gct = read_matrix(folder / "raw/plate_CPC006_A375_6H_X1.gct.gz")
    gctx = read_matrix(folder / "raw/plate_CPC006_A375_6H_X1.gctx")
    npz = read_matrix(folder / "plate_CPC006_A375_6H_X1.npz")
    assert gct.values.shape == gctx.values.shape == npz.values.shape == (371, 978)
    np.testing.assert_array_equal(gct.values, gctx.values)
    assert gct.features.tolist() == gctx.features.tolist() and gct.ids.tolist() == npz.ids.tolist()
    pd.testing.assert_frame_equal(
        gct.table[sorted(gct.table)], gctx.table[sorted(gctx.table)], check_exact=False
    )
    # The .npz has today's symbols in Entrez order, so genes are matched through the Entrez ids of
    # the .gctx.
    with h5py.File(folder / "raw/plate_CPC006_A375_6H_X1.gctx") as file:
        entrez = file["0/META/ROW/pr_gene_id"][()].astype(int)
    order = {g: j for j, g in enumerate(entrez)}
    columns = [order[g] for g in np.load(folder / "plate_CPC006_A375_6H_X1.npz")["entrez"]]
    np.testing.assert_array_equal(gct.values[:, columns], npz.values)
    assert (gct.table["pert_type"] == "CTL_VEHICLE").sum() == 16


def test_real_gctx_subset_equals_the_whole(data):
    path = data / "l1000/raw/slinky_demo_level3_n131x12328.gctx"
    whole = read_matrix(path)
    assert whole.values.shape == (131, 12328)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(131)[:20], rng.permutation(12328)[:50]
    part = read_matrix(
        path, samples=whole.ids[rows].tolist(), genes=whole.features[columns].tolist()
    )
    np.testing.assert_array_equal(part.values, whole.values[np.ix_(rows, columns)])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("l1000/mini/CPC006_A375_6H_n28x200.gct", (28, 200)),
        ("l1000/mini/CPC006_A375_6H_n48x200.gctx", (48, 200)),
        ("expression/mini/Leukemia_hgu95av2_head400.gct", (48, 400)),
        ("expression/mini/vdx_n60x150.tsv", (60, 150)),
        ("tcga/mini/brca_rna.h5ad", (120, 200)),
        ("l1000/basal_164_cells.npz", (164, 978)),
    ],
)
def test_real_files_in_every_format(data, name, shape):
    assert read_matrix(data / name).values.shape == shape
