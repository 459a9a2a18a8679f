"""AnnData and MuData files: sparse and dense, typed columns, other writers, damage."""

import sys
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from omics_jax.data.formats.h5mu import read_h5mu
from omics_jax.data.formats.read import read_matrix
from omics_jax.errors import UserError

IDS = ["s1", "s2", "s3"]
GENES = ["TP53", "EGFR", "MYC", "GAPDH"]
VALUES = np.array([[1.5, 2, 3, 4], [5, np.nan, 7, 8], [9, 10, 11, -0.25]])
CELLS = ["A549", "MCF7", ""]
DOSE = [10.0, 0.5, np.nan]


def anndata_of(x, obs: pd.DataFrame, genes, **parts):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anndata

        return anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=genes), **parts)


def write_h5ad(path, x=VALUES, **parts):
    obs = pd.DataFrame({"cell": pd.Categorical([c or None for c in CELLS]), "dose": DOSE}, IDS)
    obs["passed"] = pd.array([True, None, False], dtype="boolean")
    obs["age"] = pd.array([1, None, 3], dtype="Int64")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anndata_of(x, obs, GENES, **parts).write_h5ad(path)


def write_two(path, x):
    """Samples a and b, genes x and y, a column of text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        obs = pd.DataFrame({"cell": ["A", "B"]}, index=["a", "b"])
        anndata_of(x, obs, ["x", "y"]).write_h5ad(path)


def assert_matrix(matrix, values=VALUES, ids=IDS, genes=GENES):
    assert matrix.ids.tolist() == list(ids) and matrix.features.tolist() == list(genes)
    assert matrix.values.dtype == np.float32 and matrix.mask.dtype == bool
    np.testing.assert_array_equal(matrix.mask, ~np.isnan(values))
    np.testing.assert_array_equal(matrix.values, np.nan_to_num(values).astype("f4"))
    assert matrix.table.index.tolist() == list(ids)


def error_of(call, *args):
    with pytest.raises(UserError) as caught:
        call(*args)
    return str(caught.value)


def replace(file, name, value):
    if name in file:
        del file[name]
    file[name] = value


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix"])
def test_h5ad_sparse_and_typed_columns(tmp_path, kind):
    dense = np.nan_to_num(VALUES) * (VALUES > 4)
    write_h5ad(tmp_path / "m.h5ad", getattr(sparse, kind)(dense))
    matrix = read_matrix(tmp_path / "m.h5ad")
    assert_matrix(matrix, dense)
    assert matrix.table["passed"].tolist() == ["True", "", "False"]
    np.testing.assert_array_equal(matrix.table["age"], [1, np.nan, 3])


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix"])
def test_a_sparse_x_is_made_dense_a_block_of_rows_at_a_time(tmp_path, monkeypatch, kind):
    dense = np.random.default_rng(0).integers(0, 3, (3, 4)).astype(np.float32)
    write_h5ad(tmp_path / "m.h5ad", getattr(sparse, kind)(dense))
    monkeypatch.setattr("omics_jax.data.formats.h5ad.BLOCK_BYTES", 1)
    assert_matrix(read_matrix(tmp_path / "m.h5ad"), dense)
    part = read_matrix(tmp_path / "m.h5ad", samples=["s3", "s1"], genes=["MYC", "TP53"])
    assert_matrix(part, dense[[2, 0]][:, [2, 0]], ["s3", "s1"], ["MYC", "TP53"])


def test_layers_of_an_h5ad_are_not_read(tmp_path):
    write_h5ad(tmp_path / "m.h5ad", layers={"counts": sparse.csr_matrix(np.nan_to_num(VALUES))})
    with h5py.File(tmp_path / "m.h5ad", "a") as file:
        file["layers/counts"].attrs["encoding-type"] = "of another program"
    assert_matrix(read_matrix(tmp_path / "m.h5ad"))


def test_an_h5ad_of_another_program_without_encodings(tmp_path):
    with h5py.File(tmp_path / "m.h5ad", "w") as file:
        file["X"] = VALUES
        for name, index in {"obs": IDS, "var": GENES}.items():
            file.create_group(name)["_index"] = np.array(index, dtype="S")
        file["obs/cell"], file["obs/dose"] = np.array(CELLS, dtype="S4"), DOSE
        file["obs"].attrs["column-order"] = ["cell", "dose"]
    matrix = read_matrix(tmp_path / "m.h5ad")
    assert_matrix(matrix)
    assert matrix.table["cell"].tolist() == CELLS
    np.testing.assert_array_equal(matrix.table["dose"], DOSE)


def test_categories_as_the_first_anndata_with_groups_stored_them(tmp_path):
    """anndata 0.7 kept the labels of all categorical columns in a group of their own."""
    write_h5ad(tmp_path / "m.h5ad")
    with h5py.File(tmp_path / "m.h5ad", "a") as file:
        obs = file["obs"]
        obs["__categories/cell"] = np.array(["A549", "MCF7"], dtype="S")
        del obs["cell"]
        obs["cell"] = np.array([0, 1, -1], np.int8)
        obs["cell"].attrs["categories"] = obs["__categories/cell"].ref
        obs.attrs.update({"encoding-version": "0.1.0", "column-order": ["cell", "dose"]})
        for name in ("cell", "dose"):
            for attribute in {"encoding-type", "encoding-version"} & set(obs[name].attrs):
                del obs[name].attrs[attribute]
    matrix = read_matrix(tmp_path / "m.h5ad")
    assert matrix.table["cell"].tolist() == CELLS
    np.testing.assert_array_equal(matrix.table["dose"], DOSE)


def test_h5mu_as_mudata_writes_it(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mudata

        rna = anndata_of(VALUES, pd.DataFrame({"cell": CELLS}, IDS), GENES)
        patients = pd.DataFrame(index=["s2", "s4"])
        mirna = anndata_of(sparse.csr_matrix(np.eye(2)), patients, ["mir-1", "mir-2"])
        both = mudata.MuData({"rna": rna, "mirna": mirna})
        both.obs["age"] = [1.0, np.nan, 3.0, 4.0]
        both.write(tmp_path / "m.h5mu")
    matrices, shared = read_h5mu(tmp_path / "m.h5mu")
    assert list(matrices) == ["rna", "mirna"]
    assert_matrix(matrices["rna"])
    assert matrices["rna"].table["cell"].tolist() == CELLS
    assert_matrix(matrices["mirna"], np.eye(2), ["s2", "s4"], ["mir-1", "mir-2"])
    assert shared.index.tolist() == [*IDS, "s4"]
    np.testing.assert_array_equal(shared["age"], [1, np.nan, 3, 4])


@pytest.mark.parametrize("name", ["m.h5ad", "m.h5mu"])
def test_anndata_files_without_anndata_say_what_to_install(tmp_path, monkeypatch, name):
    write_h5ad(tmp_path / "m.h5ad")
    with h5py.File(tmp_path / "m.h5mu", "w") as file, h5py.File(tmp_path / "m.h5ad") as rna:
        rna.copy("/", file.create_group("mod"), "rna")
    monkeypatch.setitem(sys.modules, "anndata.io", None)
    read = read_matrix if name == "m.h5ad" else read_h5mu
    with pytest.raises(UserError, match=rf"{name}.*anndata; pip install 'omics_jax\[io\]'"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (lambda f: f.__delitem__("X"), ["has no 'X'", "h5ad file has"]),
        (lambda f: replace(f, "X", np.array([["a"] * 2] * 2, "S")), ["'X' holds |S1", "convert"]),
        (lambda f: replace(f, "X", np.ones((3, 2))), ["X is (3, 2)", "obs names 2", "again"]),
        (lambda f: replace(f, "obs", np.zeros(2, "i4,i4")), ["before 0.7", "newer anndata"]),
        (lambda f: f["obs"].__delitem__("_index"), ["has no '_index'"]),
        (lambda f: f["obs"].__delitem__("cell"), ["obs cannot be read", "write the file again"]),
        (lambda f: replace(f["obs"], "cell", np.ones(3)), ["obs cannot be read", "again"]),
        (
            lambda f: replace(unencoded(f["obs"]), "cell", np.ones(3)),
            ["obs column 'cell' has 3 rows where obs has 2", "write it again"],
        ),
        (
            lambda f: unencoded(f["obs"]).__delitem__("cell"),
            ["obs has no column 'cell'", "write the file again"],
        ),
        (
            lambda f: replace(f["obs"], "_index", [b"a", b"a"]),
            ["sample 'a'", "obs row 1", "rename"],
        ),
        (lambda f: replace(f["var"], "_index", [b"x", b"x"]), ["gene 'x'", "var row 2", "rename"]),
        (
            lambda f: replace(f["obs"], "_index", np.array(["a", ""], object)),
            ["obs row 2 has no sample name"],
        ),
    ],
)
def test_malformed_h5ad(tmp_path, change, fragments):
    write_two(tmp_path / "m.h5ad", np.ones((2, 2)))
    with h5py.File(tmp_path / "m.h5ad", "a") as file:
        change(file)
    message = error_of(read_matrix, tmp_path / "m.h5ad")
    for fragment in ["m.h5ad", *fragments]:
        assert fragment in message


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (lambda x: x.attrs.update({"encoding-type": "coo"}), ["encoded as 'coo'", "csr_matrix"]),
        (lambda x: replace(x, "indices", np.array([0, 9])), ["sparse X is inconsistent", "again"]),
        (lambda x: x.__delitem__("indptr"), ["X cannot be read", "write the file again"]),
        (lambda x: replace(x, "data", [1.0, np.inf]), ["obs row 2", "var row 2", "finite"]),
    ],
)
def test_malformed_sparse_h5ad(tmp_path, change, fragments):
    write_two(tmp_path / "m.h5ad", sparse.csr_matrix(np.eye(2)))
    with h5py.File(tmp_path / "m.h5ad", "a") as file:
        change(file["X"])
    message = error_of(read_matrix, tmp_path / "m.h5ad")
    for fragment in ["m.h5ad", *fragments]:
        assert fragment in message


def unencoded(group):
    for name in ("encoding-type", "encoding-version"):
        del group.attrs[name]
    return group
