"""Damaged, huge, endless and foreign files: one sentence that names the file, and no memory taken.

Every bad file is made here, small; `benchmarks/mutated_files.py` damages files at random.
"""

import gzip
import io
import lzma
import os
import tarfile
import warnings
import zipfile
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest

from omics_jax.data.clinical_series.read import read_series
from omics_jax.data.formats import hdf5
from omics_jax.data.formats.containers import reading
from omics_jax.data.formats.h5mu import read_h5mu
from omics_jax.data.formats.options import ReadOptions
from omics_jax.data.formats.read import read_matrix, read_table
from omics_jax.data.memory import check_memory, machine_bytes, memory_limit
from omics_jax.data.patients.modality_files import read_modality
from omics_jax.errors import UserError

IDS, GENES = ["s1", "s2", "s3"], ["TP53", "EGFR", "MYC", "GAPDH"]
VALUES = np.array([[1.5, 2, 3, 4], [5, np.nan, 7, 8], [9, 10, 11, -0.25]], np.float32)
RECORD = "Time,Parameter,Value\n00:00,RecordID,{id}\n00:00,Age,54\n01:30,HR,80\n"


def error_of(call, *args, **changes) -> str:
    """The one sentence that a call is refused with."""
    with pytest.raises(UserError) as caught:
        call(*args, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def series(path, **changes):
    settings = {"variables": (), "statics": (), "outcomes": "", "hours": 6.0, "bin_hours": 1.0}
    columns = {name: name for name in ("id", "time", "variable", "value")}
    fixed = {"path": str(path), "time_unit": "hours", "columns": columns}
    return read_series(SimpleNamespace(**fixed, **{**settings, **changes}))


def write_gctx(path, **changes):
    """changes: name of a dataset -> what it holds instead."""
    with h5py.File(path, "w") as file:
        file["0/DATA/0/matrix"] = VALUES
        file["0/META/COL/id"] = IDS
        file["0/META/ROW/id"] = ["p1", "p2", "p3", "p4"]
        file["0/META/ROW/pr_gene_symbol"] = GENES
        for name, content in changes.items():
            del file[name]
            file[name] = content
    return path


def write_h5ad(path, x, index_dtype="object"):
    import anndata

    obs = pd.DataFrame({"cell": ["A", "B", "C"]}, pd.Index(IDS, dtype=index_dtype))
    var = pd.DataFrame(index=pd.Index(GENES, dtype=index_dtype))
    with warnings.catch_warnings(), anndata.settings.override(allow_write_nullable_strings=True):
        warnings.simplefilter("ignore")
        anndata.AnnData(x, obs=obs, var=var).write_h5ad(path)
    return path


def npz_of(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy_bytes(header: str, body: bytes = bytes(100)) -> bytes:
    padded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + body


# --- whatever a library raises --------------------------------------------------------------------


def test_every_exception_of_a_library_becomes_a_sentence_about_the_file():
    for error in (KeyError("pandas_type"), RuntimeError("two\nlines"), UnicodeError("x" * 999)):
        with pytest.raises(UserError, match=r"^m.x cannot be read as X \(.*\); mend it$") as caught:
            with reading("m.x", "X", "mend it"):
                raise error
        assert type(error).__name__ in str(caught.value) and len(str(caught.value)) < 200
        assert caught.value.__cause__ is error
    with pytest.raises(UserError, match="m.x needs more memory than there is"):
        with reading("m.x", "X"):
            raise MemoryError
    with pytest.raises(UserError, match="^the reader's own$"):
        with reading("m.x", "X"):
            raise UserError("the reader's own")


# --- HDF5 -----------------------------------------------------------------------------------------


def test_an_object_past_the_end_is_refused(tmp_path):
    path = write_gctx(tmp_path / "m.gctx")
    whole = bytearray(path.read_bytes())
    root = whole.index(b"TREE")  # of the groups: its first child lies 32 bytes further
    whole[root + 32 : root + 40] = (2**40).to_bytes(8, "little")
    path.write_bytes(whole)
    assert f"{path} cannot be read as HDF5 (" in (message := error_of(read_matrix, path))
    assert message.endswith("fetch the file or write it again")


@pytest.mark.parametrize("kind", ["gctx", "h5ad", "h5mu", "h5"])
def test_a_file_that_the_library_reads_for_ever_is_refused(tmp_path, monkeypatch, kind):
    """Zeros over the objects of the global heap let HDF5 count on by steps of zero."""
    monkeypatch.setattr(hdf5, "_PROBE_SECONDS", 0.3)
    path = write_gctx(tmp_path / f"m.{kind}")
    whole = bytearray(path.read_bytes())
    heap = whole.index(b"GCOL")
    whole[heap + 16 : heap + 48] = bytes(32)
    path.write_bytes(whole)
    read = {"h5mu": read_h5mu, "h5": series}.get(kind, read_matrix)
    assert "never ends in the HDF5 library); fetch the file" in error_of(read, path)


def test_a_file_that_crashes_the_library_is_refused(tmp_path, monkeypatch):
    crash = tmp_path / "crash.py"
    crash.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(hdf5, "_PROBE", crash)
    path = write_gctx(tmp_path / "m.gctx")
    assert "reading it crashes in the HDF5 library" in error_of(read_matrix, path)


def test_a_sound_file_passes_the_probe(tmp_path):
    matrix = read_matrix(write_gctx(tmp_path / "m.gctx"))
    assert matrix.features.tolist() == GENES and matrix.ids.tolist() == IDS
    np.testing.assert_array_equal(matrix.values, np.nan_to_num(VALUES))


def test_symbols_for_some_rows_only_are_refused(tmp_path):
    path = write_gctx(tmp_path / "m.gctx", **{"0/META/ROW/pr_gene_symbol": GENES[:3]})
    message = error_of(read_matrix, path)
    assert "'0/META/ROW/pr_gene_symbol' is not of length 4" in message and "again" in message


@pytest.mark.parametrize("dtype", ["object", "string"])
def test_a_nullable_text_index_is_read_as_any_other(tmp_path, dtype):
    matrix = read_matrix(write_h5ad(tmp_path / "m.h5ad", VALUES, dtype))
    assert matrix.ids.tolist() == IDS and matrix.features.tolist() == GENES
    np.testing.assert_array_equal(matrix.values, np.nan_to_num(VALUES))
    with h5py.File(tmp_path / "m.h5mu", "w") as file, h5py.File(tmp_path / "m.h5ad") as one:
        one.copy(one["/"], file, "mod/rna")
        one.copy("obs", file)
    matrices, shared = read_h5mu(tmp_path / "m.h5mu")
    assert matrices["rna"].ids.tolist() == shared.index.tolist() == IDS


# --- sizes ----------------------------------------------------------------------------------------

HUGE = 100_000  # squared and in float32: 37 GiB


def test_the_limit_is_told_with_both_numbers():
    check_memory("m.x", "X", machine_bytes())
    with memory_limit(2), pytest.raises(UserError) as caught:
        check_memory("m.x", "X", 3 * 2**30)
    assert str(caught.value) == (
        "m.x: X takes 3.0 GiB of memory, above the limit of 2.0 GiB; use less of it, or raise "
        "--config.run.memory_gb"
    )
    with memory_limit(4):
        check_memory("m.x", "X", 3 * 2**30)


@pytest.mark.parametrize("kind", ["gctx", "h5"])
def test_a_declared_shape_is_compared_with_memory_first(tmp_path, kind):
    path = tmp_path / f"m.{kind}"
    with h5py.File(path, "w") as file:
        for name, shape in {"0/DATA/0/matrix": (3, HUGE), "X": (HUGE, HUGE, 1)}.items():
            file.create_dataset(name, shape, np.float32, chunks=True)
        file["0/META/COL/id"] = IDS
        file["0/META/ROW/id"] = [f"p{j}" for j in range(HUGE)]
    assert path.stat().st_size < 10_000_000
    limit, size = (0.001, "0.0 GiB") if kind == "gctx" else (1, "37.3 GiB")
    with memory_limit(limit):
        message = error_of(series if kind == "h5" else read_matrix, path)
    assert f"takes {size} of memory, above the limit of" in message and str(path) in message


def test_a_sparse_matrix_is_compared_as_it_will_be_dense(tmp_path):
    path = tmp_path / "m.h5ad"
    with h5py.File(path, "w") as file:
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        x.attrs["shape"] = (HUGE, HUGE)
        x["data"], x["indices"] = np.ones(3, np.float32), np.arange(3)
        x["indptr"] = np.full(HUGE + 1, 3)
        for side in ("obs", "var"):
            file[f"{side}/_index"] = np.arange(HUGE).astype("S")
    with memory_limit(20):
        message = error_of(read_matrix, path)
    assert "the sparse X made dense takes 83.8 GiB of memory, above the limit of 20.0" in message


@pytest.mark.parametrize("name", ["m.csv.gz", "m.gct.gz", "set.tar.gz", "set.tar.xz"])
def test_what_unpacks_to_more_than_memory_is_refused_early(tmp_path, name):
    zeros = bytes(40 * 2**20)
    pack = lzma.compress if name.endswith("xz") else gzip.compress
    (tmp_path / name).write_bytes(pack(zeros))
    with memory_limit(0.1):
        message = error_of(series if ".tar" in name else read_matrix, tmp_path / name)
    assert "its content, while it is read, takes 0.1 GiB or more of memory" in message
    assert "above the limit of 0.1 GiB" in message


def test_a_member_of_an_npz_is_compared_before_it_is_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "m.npz", X=np.zeros((2000, 2000)), samples=IDS, features=GENES)
    assert (tmp_path / "m.npz").stat().st_size < 100_000
    with memory_limit(0.01):
        assert "array 'X': it takes 0.0 GiB of memory" in error_of(read_matrix, tmp_path / "m.npz")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 7)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (25,)}",
    ],
)
def test_a_header_that_declares_another_array_is_refused(tmp_path, header):
    content = npy_bytes(header)
    (tmp_path / "m.npy").write_bytes(content)
    assert f"{tmp_path / 'm.npy'} cannot be read as an array" in error_of(
        series, tmp_path / "m.npy"
    )
    path = npz_of(tmp_path / "m.npz", {"X.npy": content})
    assert "m.npz: array 'X' cannot be read as an array" in error_of(series, path)


def test_what_is_no_array_is_refused(tmp_path):
    np.savez(tmp_path / "m.npz", X=VALUES)
    (tmp_path / "m.npy").write_bytes((tmp_path / "m.npz").read_bytes())
    assert "m.npy cannot be read as an array (ValueError" in error_of(series, tmp_path / "m.npy")
    foreign = npz_of(tmp_path / "foreign.npz", {"X": b"words"})
    assert "foreign.npz holds 'X', which is no array (.npy)" in error_of(read_matrix, foreign)
    words = npz_of(tmp_path / "words.npz", {"X.npy": b"words"})
    assert "words.npz: array 'X' cannot be read as an array" in error_of(read_matrix, words)


def test_a_damaged_archive_of_blocks_is_refused(tmp_path):
    path = tmp_path / "blocks.npz"
    arrays = {"a_X": VALUES, "a_samples": np.array(IDS), "a_features": np.array(GENES)}
    np.savez(path, **arrays)
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"PK\x01\x02") + 2] ^= 1
    path.write_bytes(whole)
    message = error_of(read_modality, path, ReadOptions(), (), "")
    assert f"{path} cannot be read as an .npz archive (BadZipFile" in message


# --- Parquet --------------------------------------------------------------------------------------


def frame():
    return pd.DataFrame(VALUES, pd.Index(IDS, name="sample"), GENES)


def test_a_column_of_booleans_is_numbers(tmp_path):
    path = tmp_path / "m.parquet"
    frame().assign(TP53=pd.array([True, None, False], "boolean")).to_parquet(path)
    matrix = read_matrix(path)
    assert matrix.features.tolist() == GENES
    assert matrix.values[:, 0].tolist() == [1, 0, 0]
    assert matrix.mask[:, 0].tolist() == [True, False, True]
    frame().assign(TP53=[True, True, False]).to_parquet(path)
    assert read_matrix(path).values[:, 0].tolist() == [1, 1, 0]


@pytest.mark.parametrize("cell", [[1.0, 2.0], {"a": 1.0}, b"bytes"])
def test_a_column_of_no_single_numbers_or_texts_is_named(tmp_path, cell):
    frame().assign(MYC=[cell] * 3).to_parquet(tmp_path / "m.parquet")
    for read in (read_matrix, read_table):
        message = error_of(read, tmp_path / "m.parquet")
        assert "m.parquet: column 'MYC' holds" in message and "remove it" in message


def test_an_index_of_several_levels_is_named(tmp_path):
    frame().set_index("TP53", append=True).to_parquet(tmp_path / "m.parquet")
    message = error_of(read_matrix, tmp_path / "m.parquet")
    assert "the index has 2 levels (sample, TP53)" in message and "reset_index" in message


def test_broken_metadata_of_parquet_is_refused_or_does_not_matter(tmp_path):
    path = tmp_path / "m.parquet"
    frame().to_parquet(path)
    whole = path.read_bytes()
    sound = read_matrix(path)
    for old, new in ((b"pandas_type", b"pandas_tXpe"), (b'"columns"', b'"col\xffmns"')):
        path.write_bytes(whole.replace(old, new))
        try:
            matrix = read_matrix(path)
        except UserError as error:
            assert f"{path} cannot be read as Parquet (" in str(error)
            continue
        np.testing.assert_array_equal(matrix.values, sound.values)
        assert matrix.ids.tolist() == IDS


def test_a_large_table_of_parquet_is_compared_with_memory_first(tmp_path):
    pd.DataFrame({"id": np.arange(10**6).astype(str), "x": 1.0}).to_parquet(tmp_path / "m.parquet")
    with memory_limit(0.01):
        message = error_of(read_matrix, tmp_path / "m.parquet")
    assert "its table of 2,000,000 cells takes 0.0 GiB of memory" in message


# --- records, pipes and names ---------------------------------------------------------------------


def write_records(folder, **texts):
    folder.mkdir()
    for i in range(3):
        (folder / f"{9990 + i}.txt").write_text(RECORD.format(id=9990 + i))
    for name, text in texts.items():
        (folder / f"{name}.txt").write_bytes(text)
    return folder


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have names on POSIX alone")
def test_pipes_and_devices_are_refused(tmp_path):
    folder = write_records(tmp_path / "set-a")
    os.mkfifo(folder / "9996.txt")
    assert "9996.txt is a pipe, a device or a socket" in error_of(series, folder)
    os.mkfifo(tmp_path / "m.csv")
    assert "m.csv is a pipe, a device or a socket" in error_of(read_matrix, tmp_path / "m.csv")
    (tmp_path / "n.csv").symlink_to("/dev/zero")
    assert "n.csv is a pipe, a device or a socket" in error_of(read_matrix, tmp_path / "n.csv")
    assert "/dev/zero is a pipe, a device" in error_of(read_matrix, "/dev/zero")


def test_a_folder_is_no_record(tmp_path):
    folder = write_records(tmp_path / "set-a")
    (folder / "9999.txt").mkdir()
    assert len(series(folder)) == 3


@pytest.mark.parametrize("length", [3000, 20_000_000])
def test_a_long_name_is_refused_before_all_names_take_its_room(tmp_path, length):
    text = RECORD.format(id=9997) + f"02:00,{'x' * length},1\n"
    folder = write_records(tmp_path / "set-a", **{"9997": text.encode()})
    message = error_of(series, folder)
    assert f"has {length:,} characters, and a name has 2,000 at most; shorten it" in message


def test_long_names_in_other_files_are_refused(tmp_path):
    long = "x" * 3000
    features = np.array([*GENES[:3], long])
    np.savez(tmp_path / "m.npz", X=VALUES, samples=IDS, features=features)
    assert "has 3,000 characters" in error_of(read_matrix, tmp_path / "m.npz")
    path = write_gctx(tmp_path / "m.gctx", **{"0/META/COL/id": ["s1", "s2", long]})
    assert f"{path}: /0/META/COL/id: the name 'xxxx" in error_of(read_matrix, path)
    table = f"id,time,variable,value\np1,1,{long},2\np2,1,HR,3\n"
    (tmp_path / "long.csv").write_text(table)
    assert "long.csv: the name 'xxxx" in error_of(series, tmp_path / "long.csv")


def test_a_zero_byte_in_a_record_is_refused(tmp_path):
    text = RECORD.format(id=9997).encode().replace(b"80", b"\0\0")
    folder = write_records(tmp_path / "set-a", **{"9997": text})
    message = error_of(series, folder)
    assert "9997.txt: line 4 holds a zero byte" in message and "again" in message


def test_a_member_with_a_damaged_header_does_not_end_the_archive(tmp_path):
    """tarfile alone takes what follows for nothing, and patients would be lost in silence."""
    path = tmp_path / "set-a.tar"
    with tarfile.open(path, "w") as archive:
        for i in range(3):
            info = tarfile.TarInfo(f"{9990 + i}.txt")
            text = RECORD.format(id=9990 + i).encode()
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    assert len(series(path)) == 3
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"9991.txt")] = ord("8")
    path.write_bytes(whole)
    assert "cannot be read as a tar archive (it ends early)" in error_of(series, path)


def test_an_open_quotation_mark_is_found_in_the_time_of_the_file(tmp_path):
    """Lines that were added to the open one by one took minutes for 60 MB."""
    rows = "s2,3,4\n" * 1_000_000
    (tmp_path / "m.csv").write_text(f'sample,a,b\ns1,"1,2\n{rows}')
    message = error_of(read_matrix, tmp_path / "m.csv")
    assert "line 2 opens a quotation mark that is never closed" in message


def test_more_chunks_than_the_file_has_bytes_are_refused_at_once(tmp_path):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", shape=(10,), maxshape=(None,), chunks=(2,), dtype="f4")
        dataset[:] = 1
        dataset.resize((1 << 28,))
    with h5py.File(path) as file, pytest.raises(UserError, match="declares 134,217,728 chunks"):
        hdf5.declared_bytes(file)
