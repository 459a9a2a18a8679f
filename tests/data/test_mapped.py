"""Mapped arrays hold what arrays in memory hold; a disk without room is one sentence."""

import errno
import os
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes

from omics_jax.data.dataset import mapped
from omics_jax.data.dataset.dataset import Modality
from omics_jax.data.formats.read import read_matrix
from omics_jax.data.patients.read import read_patients
from omics_jax.errors import UserError


@pytest.fixture
def small(monkeypatch):
    """Everything of a byte or more is in a file, and is read a row at a time."""
    monkeypatch.setattr(mapped, "MAPPED_BYTES", 1)
    monkeypatch.setattr(mapped, "_BLOCK_BYTES", 1)


def table(seed: int, rows=7, columns=5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((rows, columns)) < 0.3, np.nan, rng.normal(size=(rows, columns)))


@pytest.mark.parametrize("seed", range(3))
def test_rows_columns_and_masks_are_those_of_numpy(small, seed):
    raw, rng = table(seed), np.random.default_rng(seed)
    values, mask, infinite = mapped.to_values_and_mask(raw)
    assert isinstance(values, np.memmap) and isinstance(mask, np.memmap) and infinite is None
    np.testing.assert_array_equal(values, np.nan_to_num(raw).astype(np.float32))
    np.testing.assert_array_equal(mask, ~np.isnan(raw))
    rows, columns = rng.integers(0, 7, 4), np.array([3, -1, 0])
    modality = Modality(values, mask, np.array(list("abcde")))
    taken = modality.take(rows)
    np.testing.assert_array_equal(taken.values, np.nan_to_num(raw[rows]).astype(np.float32))
    np.testing.assert_array_equal(modality.take(raw[:, 0] > 0).mask, ~np.isnan(raw[raw[:, 0] > 0]))
    on = modality.select_features(["d", "z", "a"])
    np.testing.assert_array_equal(on.mask, ~np.isnan(raw[:, columns]) & (columns >= 0))
    np.testing.assert_array_equal(
        on.values, np.where(on.mask, raw[:, columns], 0).astype(np.float32)
    )
    place = np.array([2, -1, 6])
    gathered, observed = mapped.gather_rows(values, mask, place)
    np.testing.assert_array_equal(observed, ~np.isnan(raw[place]) & (place >= 0)[:, None])
    np.testing.assert_array_equal(gathered, np.where(observed, raw[place], 0).astype(np.float32))


def test_values_that_are_all_observed_are_not_copied():
    values, mask = np.ones((3, 2), np.float32), np.ones((3, 2), bool)
    assert mapped.zero_missing(values, mask) is values
    mask[1, 1] = False
    assert mapped.zero_missing(values, mask).tolist() == [[1, 1], [1, 0], [1, 1]]


@given(
    values=shapes.arrays(
        np.float64, (3, 4), elements=st.floats(allow_nan=True, allow_infinity=True)
    )
)
def test_the_first_infinite_value_is_found(values):
    with np.errstate(over="ignore"):
        wrong = np.argwhere(np.isinf(values.astype(np.float32)))
    assert mapped.to_values_and_mask(values)[2] == (
        tuple(wrong[0].tolist()) if len(wrong) else None
    )


def test_a_file_takes_no_name_and_a_small_array_no_file(monkeypatch, tmp_path):
    monkeypatch.setattr(mapped, "MAPPED_BYTES", 1000)
    monkeypatch.setattr(mapped.tempfile, "tempdir", str(tmp_path))
    large, other = (
        mapped.empty_or_mapped((250,), np.float32),
        mapped.empty_or_mapped((249,), np.float32),
    )
    assert isinstance(large, np.memmap) and not isinstance(other, np.memmap)
    large[:] = 3
    assert large.sum() == 750 and not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence(monkeypatch, small, tmp_path):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mapped.os, "posix_fallocate", full)
    monkeypatch.setattr(mapped.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(
        UserError, match=r"has no room for .* GiB .*\(No space left on device\); set .* TMPDIR"
    ):
        mapped.empty_or_mapped((2**20, 300), np.float32)


@pytest.mark.parametrize("free", [0, 2**30])
def test_where_no_room_can_be_reserved_it_is_asked_for(monkeypatch, small, tmp_path, free):
    monkeypatch.delattr(mapped.os, "posix_fallocate")
    monkeypatch.setattr(mapped.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(mapped.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    if not free:
        with pytest.raises(UserError, match="has no room"):
            mapped.empty_or_mapped((3, 2), np.float32)
        return
    array = mapped.empty_or_mapped((3, 2), np.float32)
    array[:] = 1
    assert isinstance(array, np.memmap) and array.sum() == 6


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_read_where_it_lies_unless_it_is_compressed(
    small, monkeypatch, tmp_path, save, order
):
    raw = np.asarray(table(0), order=order)
    path = tmp_path / "m.npz"
    save(path, samples=np.array(list("abcdefg")), X=raw, features=np.array(list("ABCDE")))
    read, seen = zipfile.ZipFile.open, []
    monkeypatch.setattr(
        zipfile.ZipFile,
        "open",
        lambda self, name, *a, **k: seen.append(str(name)) or read(self, name, *a, **k),
    )
    matrix = read_matrix(path)
    assert any("X.npy" in name for name in seen) == (save is np.savez_compressed)
    np.testing.assert_array_equal(matrix.values, np.nan_to_num(raw).astype(np.float32))
    np.testing.assert_array_equal(matrix.mask, ~np.isnan(raw))
    assert matrix.ids.tolist() == list("abcdefg") and matrix.features.tolist() == list("ABCDE")


def test_patients_are_the_same_in_files_and_in_memory(monkeypatch, tmp_path):
    """From reading to the table that is trained on; one modality lacks patients, one cells."""
    for seed, (name, ids) in enumerate({"rna": "cabdfeg", "mirna": "gfa"}.items()):
        columns = [f"{name}{j}" for j in range(5)]
        np.savez(
            tmp_path / f"{name}.npz", X=table(seed, len(ids)), samples=list(ids), features=columns
        )
    age = pd.DataFrame({"id": list("abcdefg"), "age": range(7)})
    age.to_csv(tmp_path / "clinical.csv", index=False)
    settings = SimpleNamespace(
        modalities={name: str(tmp_path / f"{name}.npz") for name in ("rna", "mirna")},
        clinical=str(tmp_path / "clinical.csv"),
        numbers={"age": "age"},
        **{key: "" for key in ("path", "survival", "id", "barcode")},
        **{"orientation": "auto", "classes": {}, "survival_times": {}},
    )
    one = read_patients(settings)
    monkeypatch.setattr(mapped, "MAPPED_BYTES", 1)
    monkeypatch.setattr(mapped, "_BLOCK_BYTES", 1)
    other = read_patients(settings)
    assert isinstance(other.modalities["mirna"].values, np.memmap)
    assert one.fingerprint() == other.fingerprint() and one.notes == other.notes
