"""What users get wrong: a `UserError` that names the file, the place and what to do about it."""

import gzip
import string
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omics_jax.data.formats.read import read_matrix
from omics_jax.data.perturbation.read import read_perturbations
from omics_jax.errors import UserError

CSV = "sample,cell,TP53,EGFR,MYC\ns1,A,1,2,3\ns2,B,4,5,6\ns3,C,7,8,9\n"
GCT = (
    "#1.3\n2\t3\t1\t1\nid\tpr_gene_symbol\ts1\ts2\ts3\ncell\tna\tA\tB\tC\n"
    "p1\tTP53\t1\t2\t3\np2\tEGFR\t4\t5\t6\n"
)
TWO = "#1.2\n2\t2\nNAME\tDescription\ts1\ts2\nTP53\tx\t1\t2\nEGFR\ty\t3\t4\n"
NUMBERS = "sample,TP53,EGFR\n" + "".join(f"s{i},{i},{i + 1}\n" for i in range(6))

# name of the file, content, what the message must hold (beside the name): the place, then the mend
MATRICES = {
    "empty": ("m.csv", "", ["is empty", "needs a header"]),
    "only blanks": ("m.tsv", " \n\n", ["is empty", "needs a header"]),
    "byte-order mark only": ("m.gct", b"\xef\xbb\xbf", ["is empty", "needs a header"]),
    "empty gzip": ("m.csv.gz", gzip.compress(b""), ["is empty", "needs a header"]),
    "header only": ("m.csv", "sample,TP53\n", ["line 1", "no rows", "add them"]),
    "single column": ("m.csv", "sample\ns1\n", ["line 1", "single field", "write a header"]),
    "title above the header": ("m.csv", "Exported by X\n" + CSV,
        ["line 1 holds a single field ('Exported by X')", "begins with #"]),
    "title with a comma": ("m.csv", "Exported, 2024\n" + CSV,
        ["line 2 has 5 fields where line 1 has 2", "if line 1 is a title", "with #"]),
    "comment below the header": ("m.csv", CSV.replace("s3", "# s3, next\ns3"),
        ["line 4 has 2 fields", "comment", "above the header only", "remove it"]),
    "comments alone": ("m.csv", "# a\n# b\n", ["nothing but lines that begin with #", "a header"]),
    "short row": ("m.csv", CSV.replace("s2,B,4,5", "s2,B,4"),
        ["line 3 has 4 fields", "line 1 has 5", "fill in"]),
    "long row": ("m.csv", CSV.replace("8,9", "8,9,10"), ["line 4 has 6 fields", "remove fields"]),
    "stray quotes": ("m.csv", CSV.replace("s2,B,4", 's2,B"x,y"z,4'),
        ["line 3 has 6 fields", "remove fields"]),
    "open quote": ("m.csv", CSV.replace("s2,B", 's2,"B'), ["line 3", "never closed", "close it"]),
    "text cell": ("m.csv", CSV.replace("8", "high"),
        ["line 4, column 4 ('EGFR')", "'high'", "write a number, or NA"]),
    "decimal comma among points": ("m.tsv", "sample\tTP53\ns1\t1,5\ns2\t2.5\ns3\t3\n",
        ["line 2", "'1,5'", "a decimal point"]),
    "thousands": ("m.csv", 'sample,TP53\ns1,"1,644"\ns2,2\ns3,3\n',
        ["1 cell of TP53", "'1,644' (line 2, TP53)", "may separate thousands", "(1644)"]),
    "certain thousands": ("m.csv", 'sample,TP53\ns1,"1,644.5"\ns2,2\ns3,3\n',
        ["'1,644.5'", "the comma separates thousands", "(1644.5)"]),
    "header again": ("m.csv", NUMBERS + NUMBERS,
        ["line 8", "'TP53' is not a number", "write a number"]),
    "repeated id": ("m.csv", CSV.replace("s3", "s1"),
        ["sample 's1'", "line 2 and line 4", "rename"]),
    "repeated gene": ("m.csv", CSV.replace("MYC", "TP53"),
        ["gene 'TP53'", "column 3", "column 5", "rename"]),
    "no id": ("m.csv", CSV.replace("s2", ""), ["line 3 has no sample name", "fill it in"]),
    "no gene name": ("m.csv", CSV.replace("MYC", ""), ["column 5", "no gene name", "fill it in"]),
    "unnamed text": ("m.csv", CSV.replace("cell", ""), ["column 2", "has no name", "give it one"]),
    "trailing commas": ("m.csv", CSV.replace("\n", ",\n"),
        ["column 6", "no gene name", "remove it"]),
    "infinity": ("m.csv", CSV.replace("5", "inf"),
        ["line 3, column 4 ('EGFR')", "infinite", "finite number"]),
    "overflow": ("m.csv", CSV.replace("5", "-1e300"),
        ["line 3, column 4 ('EGFR')", "infinite", "finite number"]),
    "text only": ("m.csv", "sample,cell\ns1,A\ns2,B\n", ["no genes", "add them"]),
    "all missing": ("m.csv", "sample,TP53\ns1,NA\ns2,\n",
        ["not one of its 2 cells", "check the columns"]),
    "undecidable": ("m.csv", "x,a,b\nc,1,2\nd,3,4\n",
        ["'c'", "'a'", "set --config.data.orientation=samples or"]),
    "genes with text": ("m.csv", "gene,a,note\nTP53,1,x\nMYC,2,y\n",
        ["'note' holds text", "before the samples or remove it",
         "--config.data.orientation=samples"]),
    "binary": ("m.csv", b"ab\n\x00\x01\x02,\x03", ["line 2", "zero byte", "export it as text"]),
    "hdf5 as csv": ("m.csv", b"\x89HDF\r\n\x1a\n....",
        ["is an HDF5 file", "name it .gctx or .h5ad"]),
    "excel as csv": ("m.csv", b"PK\x03\x04....", ["zip archive", "export it as .csv"]),
    "gzip as csv": ("m.csv", gzip.compress(CSV.encode()), ["gzip-compressed", "add .gz"]),
    "latin-1": ("m.csv", CSV.replace("B", "µ").encode("latin-1"),
        ["line 3", "0xb5", "save the file as UTF-8"]),
    "truncated gzip": ("m.csv.gz", gzip.compress(CSV.encode())[:-12],
        ["gzip stream ends", "again"]),
    "corrupt gzip": ("m.csv.gz", b"\x1f\x8b\x08\x00" + b"\x07" * 40, ["gzip", "fetch it again"]),
    "plain as gzip": ("m.csv.gz", CSV, ["not a valid gzip", "drop .gz"]),
    "gct as text": ("m.txt", GCT, ["line 1", "GCT", "name the file .gct"]),
    "unknown suffix": ("m.dat", CSV, ["suffix '.dat'", "use one of .gct"]),
    "workbook": ("m.xlsx", b"PK\x03\x04....", ["is a workbook", "save the sheet", "as .csv"]),
    "gzipped gctx": ("m.gctx.gz", gzip.compress(b"x"), [".gctx", "unpack it first"]),
    "gct version": ("m.gct", GCT.replace("#1.3", "#2.0"),
        ["line 1", "'#2.0'", "begins with #1.2 or #1.3"]),
    "gct dims words": ("m.gct", GCT.replace("2\t3\t1\t1", "two\t3\t1\t1"),
        ["line 2", "write the 4 whole numbers"]),
    "gct dims count": ("m.gct", GCT.replace("2\t3\t1\t1", "2\t3"),
        ["line 2", "write the 4 whole numbers"]),
    "gct12 dims count": ("m.gct", TWO.replace("2\t2\nN", "2\nN"),
        ["line 2", "write the 2 whole numbers"]),
    "gct no genes": ("m.gct", GCT.replace("2\t3\t1\t1", "0\t3\t1\t1"),
        ["line 2 announces 0 genes", "correct it"]),
    "gct cut off": ("m.gct", GCT.rsplit("p2", 1)[0],
        ["announces 2 genes but 1 rows", "correct line 2"]),
    "gct width": ("m.gct", GCT.replace("2\t3\t1\t1", "2\t2\t1\t1"),
        ["line 3 has 5 fields", "announces 4", "correct"]),
    "gct ragged": ("m.gct", GCT.replace("5\t6", "5"),
        ["line 6 has 4 fields", "announces 5", "correct one"]),
    "gct text cell": ("m.gct", GCT.replace("5\t6", "bad\t6"),
        ["line 6, column 4", "'bad'", "write a number"]),
    "gct repeated id": ("m.gct", GCT.replace("s3", "s1"),
        ["sample 's1'", "line 3, column 3", "rename"]),
    "gct repeated annotation": ("m.gct", GCT.replace("\t1\t1\n", "\t1\t2\n")
        .replace("p1\tTP53\t1", "cell\tna\t1").replace("2\t3\t1\t2", "1\t3\t1\t2"),
        ["line 5", "annotation's name", "name it"]),
    "gct ends": ("m.gct", "#1.3\n2\t3\t1\t1\n", ["ends after line 2", "then a header"]),
    "gctx not hdf5": ("m.gctx", CSV, ["not an HDF5 file", "check its name"]),
    "gctx truncated": ("m.gctx", b"\x89HDF\r\n\x1a\n" + b"\0" * 50,
        ["cannot be read as HDF5", "write it again"]),
    "h5ad not hdf5": ("m.h5ad", CSV, ["not an HDF5 file", "check its name"]),
    "parquet damaged": ("m.parquet", b"PAR1junkPAR1",
        ["cannot be read as Parquet", "write it again"]),
    "npz not zip": ("m.npz", b"nonsense", ["not an .npz", "numpy.savez"]),
}  # fmt: skip


def error_of(call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("case", MATRICES)
def test_malformed_matrix(tmp_path, case):
    name, content, fragments = MATRICES[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    message = error_of(read_matrix, tmp_path / name)
    for fragment in [str(tmp_path / name), *fragments]:
        assert fragment in message


@pytest.mark.parametrize(
    ("arrays", "fragments"),
    [
        ({"samples": ["a"], "features": ["x"]}, ["no array 'X' or 'values'", "add it"]),
        ({"X": [[1.0]], "features": ["x"]}, ["no array 'samples' or 'ids'", "add it"]),
        (
            {"X": [1.0], "samples": ["a"], "features": ["x"]},
            ["'X' has shape (1,)", "needs 2 dimension"],
        ),
        (
            {"X": [[1.0, 2]], "samples": ["a", "b"], "features": ["x"]},
            ["(1, 2)", "store samples in rows"],
        ),
        ({"X": [["1"]], "samples": ["a"], "features": ["x"]}, ["'X' holds <U1", "convert it"]),
        (
            {"X": np.array([[None]]), "samples": ["a"], "features": ["x"]},
            ["array 'X'", "no object arrays"],
        ),
        (
            {"X": [[1.0]], "samples": ["a"], "features": ["x"], "mask": [[1]]},
            ["'mask' must be boolean", "True means"],
        ),
        (
            {"X": np.ones((0, 1)), "samples": np.array([], "U1"), "features": ["x"]},
            ["no samples", "add them"],
        ),
        ({"X": [[np.inf]], "samples": ["a"], "features": ["x"]}, ["sample 1, gene 1", "finite"]),
        (
            {"X": [[1.0], [2]], "samples": ["a", "a"], "features": ["x"]},
            ["sample 1 and sample 2", "rename"],
        ),
        ({"x1": [[1.0]], "x2": [[1.0]], "features": ["x"]}, ["arrays x1, x2", "path of the pairs"]),
    ],
)
def test_malformed_npz(tmp_path, arrays, fragments):
    np.savez(tmp_path / "m.npz", **arrays)
    message = error_of(read_matrix, tmp_path / "m.npz")
    for fragment in ["m.npz", *fragments]:
        assert fragment in message


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (lambda f: f.__delitem__("0/DATA/0/matrix"), ["'0/DATA/0/matrix'", "GCTX file has"]),
        (lambda f: f.__delitem__("0/META/COL/id"), ["'0/META/COL/id'", "GCTX file has"]),
        (
            lambda f: replace(f, "0/META/ROW/id", [b"x"]),
            ["(2, 2)", "1 row ids", "write the file again"],
        ),
        (lambda f: replace(f, "0/META/COL/id", [b"a", b"a"]), ["sample 'a'", "entry 1", "rename"]),
        (
            lambda f: replace(f, "0/DATA/0/matrix", np.array([[1, np.nan], [np.inf, 1]])),
            ["column id 2", "finite"],
        ),
        (
            lambda f: replace(f, "0/META/COL/dose", [1.0]),
            ["'0/META/COL/dose'", "length 2", "remove it"],
        ),
    ],
)
def test_malformed_gctx(tmp_path, change, fragments):
    with h5py.File(tmp_path / "m.gctx", "w") as file:
        file["0/DATA/0/matrix"] = np.ones((2, 2))
        file["0/META/COL/id"], file["0/META/ROW/id"] = [b"a", b"b"], [b"x", b"y"]
        change(file)
    message = error_of(read_matrix, tmp_path / "m.gctx")
    for fragment in ["m.gctx", *fragments]:
        assert fragment in message


def replace(file, name, value):
    if name in file:
        del file[name]
    file[name] = value


@pytest.mark.parametrize(
    ("keywords", "fragments"),
    [
        ({"orientation": "rows"}, ["orientation='rows'", "auto, samples, genes"]),
        ({"samples": ["S2"]}, ["m.csv", "no sample 'S2'", "did you mean 's2'?"]),
        ({"genes": ["nowhere"]}, ["m.csv", "no gene 'nowhere'", "'TP53'"]),
    ],
)
def test_wrong_arguments(tmp_path, keywords, fragments):
    (tmp_path / "m.csv").write_text(CSV)
    message = error_of(read_matrix, tmp_path / "m.csv", **keywords)
    assert all(fragment in message for fragment in fragments)


def test_genes_in_rows_have_no_text_among_the_samples(tmp_path):
    (tmp_path / "m.csv").write_text("sample,TP53,cell\ns1,1,A\ns2,2,B\n")
    message = error_of(read_matrix, tmp_path / "m.csv", orientation="genes")
    assert "m.csv: column 'cell' holds text" in message
    assert "set --config.data.orientation=samples" in message


@pytest.mark.parametrize(
    ("path", "fragments"),
    [
        ("Matrx.csv", ["Matrx.csv", "does not exist", "did you mean 'matrix.csv'?"]),
        ("zzz.gct", ["zzz.gct", "does not exist", "correct the path"]),
        ("no/where.csv", ["where.csv", "its folder", "correct the path"]),
        ("folder", ["folder is a folder", "name one of the files", "inner.csv"]),
        ("a\0b.csv", ["does not exist", "correct the path"]),
    ],
)
def test_wrong_paths(tmp_path, path, fragments):
    (tmp_path / "matrix.csv").write_text(CSV)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inner.csv").write_text(CSV)
    message = error_of(read_matrix, tmp_path / path)
    assert all(fragment in message for fragment in fragments)


def test_empty_path():
    assert "the path is empty" in error_of(read_matrix, "")


CONDITIONS = "id,cell,drug,dose,type\nc1,A,DMSO,0,ctl\nt1,A,x,1,trt\nt2,B,y,2,trt\n"
MATRIX = "sample,TP53,EGFR\nc1,1,2\nt1,3,4\nt2,5,6\n"
SETTINGS = {
    "path": "m.csv",
    "orientation": "auto",
    "conditions": "conditions.csv",
    "columns": {
        "sample": "id",
        "cell_line": "cell",
        "drug": "drug",
        "dose": "dose",
        "role": "type",
    },
    "control_values": ("ctl",),
    "pair_by": ("cell_line",),
    "control_profile": "mean",
    "pairs": "",
    "singletons": (),
    "unpaired_controls": False,
    "drugs": (),
    "dose": "all",
    "group_by": "cell_line",
    "min_genes": 1,
}


def columns(**changes):
    return {"columns": {**SETTINGS["columns"], **changes}}


# changed files, changed settings, what the message must hold
PAIRINGS = {
    "no path": ({}, {"path": ""}, ["path is empty", "set it"]),
    "string for a tuple": ({}, {"pair_by": "cell_line"},
        ["pair_by='cell_line'", "write ('cell_line',)"]),
    "unknown profile": ({}, {"control_profile": "median"},
        ["control_profile='median'", "mean, each, one"]),
    "unknown dose rule": ({}, {"dose": "max"}, ["dose='max'", "all, highest"]),
    "unknown column key": ({}, columns(tissue="x"), ["columns.tissue", "set names for sample"]),
    "no role column": ({}, columns(role=""), ["columns.role", "'type'", "set it"]),
    "misspelt column": ({}, columns(role="Types"),
        ["conditions.csv", "'Types'", "did you mean 'type'?"]),
    "unknown column": ({}, columns(drug="zzz"), ["conditions.csv", "'zzz'", "'dose'"]),
    "no sample column": ({}, columns(sample=""), ["columns.sample", "conditions.csv", "set it"]),
    "pair_by absent": ({}, {"pair_by": ("batch",)}, ["columns.batch", "conditions.csv", "set it"]),
    "pair_by unknown": ({}, {"pair_by": ("plate",)}, ["conditions.csv", "'plate'", "it has"]),
    "group_by unknown": ({}, {"group_by": "drgu"},
        ["conditions.csv", "'drgu'", "did you mean 'drug'?"]),
    "no controls": ({}, {"control_values": ("DMSO",)},
        ["conditions.csv", "'type'", "0 controls", "'ctl' (1)"]),
    "no treated": ({}, {"control_values": ("ctl", "TRT")},
        ["conditions.csv", "0 treated", "set control_values"]),
    "nothing agrees": ({}, {"pair_by": ("drug",)},
        ["conditions.csv", "'t1'", "('DMSO',)", "fewer columns"]),
    "unknown drug": ({}, {"drugs": ("x1",)}, ["conditions.csv", "'x1'", "did you mean 'x'?"]),
    "dose words": ({"conditions.csv": CONDITIONS.replace("A,x,1", "A,x,high")}, {"dose": "highest"},
        ["conditions.csv", "line 3", "'high'", "write numbers"]),
    "conditions twice": ({"conditions.csv": CONDITIONS + "t1,A,x,2,trt\n"}, {},
        ["conditions.csv", "'t1'", "line 3 and line 5", "different conditions", "remove one"]),
    "conditions without id": ({"conditions.csv": CONDITIONS + ",A,x,1,trt\n"}, {},
        ["conditions.csv", "line 5 has no sample id", "fill it in"]),
    "conditions of others": (
        {"conditions.csv": CONDITIONS.replace("c1", "q").replace("\nt", "\nT_")}, {},
        ["conditions.csv", "line 2", "m.csv", "correct the ids"]),
    "column twice": ({"conditions.csv": CONDITIONS.replace("dose", "drug")}, {},
        ["conditions.csv", "'drug' twice", "(column 3)", "they differ", "rename"]),
    "conditions ragged": ({"conditions.csv": CONDITIONS + "t3,A\n"}, {},
        ["conditions.csv", "line 5", "fill in"]),
    "conditions missing": ({}, {"conditions": "condition.csv"},
        ["condition.csv", "did you mean 'conditions.csv'"]),
    "group unknown": ({"conditions.csv": CONDITIONS.replace("t1,A", "t1,")}, {"pair_by": ()},
        ["conditions.csv", "line 3 has no cell_line", "fill it in"]),
    "pair of nobody": ({"pairs.csv": "control,treated\nc1,t1\nc1,t9\n"}, {"pairs": "pairs.csv"},
        ["pairs.csv", "line 3", "'t9'", "its samples are like 'c1'"]),
    "pairs without control": ({"pairs.csv": "ctrl,treated\nc1,t1\n"}, {"pairs": "pairs.csv"},
        ["pairs.csv", "'control'", "did you mean 'ctrl'?"]),
    "pair twice": ({"pairs.csv": "control,treated\nc1,t1\nc1,t1\n"}, {"pairs": "pairs.csv"},
        ["pairs.csv", "line 3 repeats the pair of line 2", "remove one"]),
    "other case": (
        {"basal.csv": "sample,tp53,egfr\na,1,2\nb,3,4\n"}, {"singletons": ("basal.csv",)},
        ["basal.csv", "m.csv", "upper and lower case", "'TP53', 'tp53'", "same names"]),
    "entrez": ({"basal.csv": "sample,7157,1956\na,1,2\nb,3,4\n"}, {"singletons": ("basal.csv",)},
        ["basal.csv", "m.csv", "Entrez", "same names"]),
    "few genes": (
        {"basal.csv": "sample,TP53,MYC\na,1,2\n"}, {"singletons": ("basal.csv",), "min_genes": 2},
        ["basal.csv", "shares 1 of the 2 genes", "min_genes=2"]),
    "too few genes": ({}, {"min_genes": 3}, ["m.csv has 2 genes", "lower min_genes"]),
    "platform twice": ({"m.tsv": MATRIX.replace(",", "\t")}, {"singletons": ("m.tsv",)},
        ["m.tsv", "m.csv", "platform 'm'", "rename"]),
}  # fmt: skip


@pytest.mark.parametrize("case", PAIRINGS)
def test_malformed_design(tmp_path, monkeypatch, case):
    files, changes, fragments = PAIRINGS[case]
    monkeypatch.chdir(tmp_path)
    for name, content in {"m.csv": MATRIX, "conditions.csv": CONDITIONS, **files}.items():
        (tmp_path / name).write_text(content)
    message = error_of(read_perturbations, SimpleNamespace(**{**SETTINGS, **changes}))
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize(
    ("arrays", "changes", "fragments"),
    [
        (
            {"x2": np.ones((1, 2))},
            {},
            ["p.npz", "x1 is (2, 2), x2 (1, 2)", "store one row per pair"],
        ),
        ({"features": ["a"]}, {}, ["p.npz", "for 1 features", "one column per feature"]),
        ({"samples": ["a"]}, {}, ["p.npz", "'samples' names 1 of 2", "one id per pair"]),
        (
            {},
            {"conditions": "conditions.csv"},
            ["p.npz", "already holds pairs", "leave --config.data.conditions"],
        ),
        ({"x1": np.full((2, 2), np.inf)}, {}, ["p.npz", "sample 1, gene 1", "finite"]),
        ({"x1": np.array([["a", "b"]] * 2)}, {}, ["p.npz", "'x1' holds <U1", "convert it"]),
        ({"cell": ["A", ""]}, {}, ["p.npz", "row 2 has no cell_line", "fill it in"]),
        ({"drug": ["x", "y"]}, {"drugs": ("z",)}, ["p.npz", "'z'", "treated are x, y"]),
    ],
)
def test_malformed_stored_pairs(tmp_path, arrays, changes, fragments):
    whole = {
        "x1": np.ones((2, 2)),
        "x2": np.ones((2, 2)),
        "features": ["x", "y"],
        "cell": ["A", "B"],
        **arrays,
    }
    np.savez(tmp_path / "p.npz", **whole)
    if "drug" in arrays:
        changes = {**changes, "columns": {**STORED, "drug": "drug"}}
    given_settings = {
        **SETTINGS,
        "path": str(tmp_path / "p.npz"),
        "conditions": "",
        "columns": STORED,
        **changes,
    }
    message = error_of(read_perturbations, SimpleNamespace(**given_settings))
    for fragment in fragments:
        assert fragment in message


STORED = {"cell_line": "cell", "drug": ""}
MUTATION = st.tuples(
    st.sampled_from(["insert", "delete", "replace", "swap", "repeat", "cut"]),
    st.integers(0, 10_000),
    st.one_of(
        st.binary(min_size=1, max_size=3),
        st.sampled_from([c.encode() for c in string.punctuation + string.whitespace + "019eE"]),
        st.sampled_from(
            [b'"', b'""', b"\t", b"\n", b"\r\n", b"NA", b"inf", b"1e999", b"\xef\xbb\xbf", b"#1.2"]
        ),
    ),
)


def mutated(data, mutations):
    for kind, where, piece in mutations:
        k = where % (len(data) + 1)
        if kind == "insert":
            data = data[:k] + piece + data[k:]
        elif kind == "delete":
            data = data[:k] + data[k + len(piece) :]
        elif kind == "replace":
            data = data[:k] + piece + data[k + len(piece) :]
        elif kind == "swap":
            data = data[k:] + data[:k]
        elif kind == "repeat":
            data = data + data[k : k + 9 * len(piece)]
        else:
            data = data[:k]
    return data


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.csv", CSV),
        ("f.tsv", CSV.replace(",", "\t")),
        ("f.txt", CSV),
        ("f.gct", GCT),
        ("g.gct", TWO),
    ],
)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
@given(mutations=st.lists(MUTATION, min_size=1, max_size=6))
def test_mutations_read_or_raise_user_error(tmp_path_factory, name, text, mutations):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(mutated(text.encode(), mutations))
    try:
        matrix = read_matrix(path)
    except UserError as error:
        assert name in str(error)
        return
    assert matrix.values.shape == matrix.mask.shape == (len(matrix.ids), len(matrix.features))
    assert np.isfinite(matrix.values).all() and not matrix.values[~matrix.mask].any()
    assert len(set(matrix.ids)) == len(matrix.ids) and len(set(matrix.features)) == len(
        matrix.features
    )
    assert isinstance(matrix.table, pd.DataFrame) and len(matrix.table) == len(matrix.ids)


def test_the_table_is_long_enough():
    assert len(MATRICES) + len(PAIRINGS) >= 40
