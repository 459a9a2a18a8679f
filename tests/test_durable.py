"""Durable files: bit-exact round trips, damage is noticed, a failed write keeps the old content."""

import errno
import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from omics_jax.durable import (
    DamagedFile,
    as_user_error,
    check_origin,
    load_arrays,
    load_meta,
    read_record,
    save_arrays,
    write_arrays,
    write_atomically,
    write_record,
)
from omics_jax.errors import UserError

ARRAYS = {
    "prediction": np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32),
    "transposed": np.arange(6).reshape(2, 3).T,
    "file": np.array([True, False]),
    "nested/name": np.array(["GSM1", "größer"]),
    "half": np.asarray(jnp.array([1.5, -0.0], jnp.bfloat16)),
    "scalar": np.array(np.nan),
    "none": np.zeros((0, 4), np.uint8),
}
META = {"fold": 3, "metrics": {"r": 0.1}, "name": "β"}


def assert_same(arrays, meta):
    assert meta == META and list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (arrays[name].shape, arrays[name].dtype) == (array.shape, array.dtype), name
        assert arrays[name].tobytes() == array.tobytes(), name


def test_arrays_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "new" / "folder" / "fold-3.npz"
    save_arrays(path, ARRAYS, META)
    assert_same(*load_arrays(path))
    assert [child.name for child in path.parent.iterdir()] == ["fold-3.npz"]


def test_numpy_reads_it_and_the_same_arrays_give_the_same_file(tmp_path):
    for name in ("a.npz", "b.npz"):
        save_arrays(tmp_path / name, ARRAYS, META)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["prediction"], ARRAYS["prediction"])


def test_no_arrays_at_all(tmp_path):
    save_arrays(tmp_path / "a.npz", {}, META)
    assert load_arrays(tmp_path / "a.npz") == ({}, META)


def test_flips_and_truncations_never_give_other_values(tmp_path):
    path, random = tmp_path / "fold.npz", np.random.default_rng(1)
    save_arrays(path, ARRAYS, META)
    whole = path.read_bytes()
    damaged = 0
    for trial in range(600):
        content = bytearray(whole)
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(content if trial < 500 else whole[: random.integers(len(whole))])
        try:
            loaded = load_arrays(path)
        except DamagedFile as error:
            assert str(path) in str(error)
            damaged += 1
        else:
            assert trial < 500
            assert_same(*loaded)
    assert damaged > 400


def test_an_exchanged_array_is_named(tmp_path):
    path = tmp_path / "fold.npz"
    save_arrays(path, {"a": np.zeros(2), "b": np.zeros(2)}, META)
    with np.load(path) as archive:
        members = dict(archive)
    np.savez(path, **{**members, "b": np.ones(2)})
    with pytest.raises(DamagedFile, match="the bytes of leaf 'b' do not match"):
        load_arrays(path)


def test_an_exchanged_meta_is_noticed(tmp_path):
    path = tmp_path / "fold.npz"
    save_arrays(path, {"a": np.zeros(2)}, META)
    with np.load(path) as archive:
        members = dict(archive)
    seal = json.loads(members["__seal__"].tobytes())
    seal["body"]["meta"]["fold"] = 4
    members["__seal__"] = np.frombuffer(json.dumps(seal).encode(), np.uint8)
    np.savez(path, **members)
    with pytest.raises(DamagedFile, match="does not match its own sha256"):
        load_arrays(path)


@pytest.mark.parametrize(
    ("arrays", "error", "sentence"),
    [
        ({"ids": np.array(["a", 1], object)}, TypeError, "'ids' is object"),
        ({"records": np.zeros(2, [("x", "i4")])}, TypeError, "'records'"),
        ({"__seal__": np.zeros(1)}, ValueError, "__seal__"),
    ],
)
def test_what_cannot_be_saved_is_refused_by_name(tmp_path, arrays, error, sentence):
    with pytest.raises(error, match=sentence):
        save_arrays(tmp_path / "a.npz", arrays, {})
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_not_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_arrays(tmp_path / "fold.npz")


def test_text_is_replaced_whole(tmp_path):
    path = tmp_path / "metrics.json"
    for text in ("a long first content\n", "größer\r\n"):
        write_atomically(path, text)
        assert path.read_bytes().decode() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("obstacle", ["a file as parent", "a folder of that name"])
def test_where_nothing_can_be_written(tmp_path, obstacle):
    if obstacle == "a file as parent":
        (tmp_path / "run").write_text("")
    else:
        (tmp_path / "run" / "metrics.json").mkdir(parents=True)
    with pytest.raises(UserError, match="metrics.json could not be written"):
        write_atomically(tmp_path / "run" / "metrics.json", "{}")
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "No space left on device. Free space there or choose another --workdir"),
        (errno.EACCES, "Permission denied. Make it writable or"),
        (errno.EROFS, "Read-only file system. Make it writable or"),
        (errno.EISDIR, "a folder stands where a file is needed. Move it away or"),
        (errno.EEXIST, "a file stands where a folder is needed. Move it away or"),
    ],
)
def test_the_mend_fits_the_reason(tmp_path, number, sentence):
    with pytest.raises(UserError, match=f"x could not be written: {sentence}"):
        with as_user_error(tmp_path / "x"):
            raise OSError(number, os.strerror(number))


def test_errors_that_are_not_of_the_file_system_pass(tmp_path):
    with pytest.raises(ValueError, match="^ours$"), as_user_error(tmp_path):
        raise ValueError("ours")


RECORD = {"trials": [{"rate": 0.1, "best": True}], "tuning": {"space": [0, 1]}, "arm": "größer"}


def test_records_come_back_and_their_damage_is_noticed(tmp_path):
    path, random = tmp_path / "toy.json", np.random.default_rng(2)
    write_record(path, {**RECORD, "tuning": {"space": (0, 1)}})
    assert read_record(path) == RECORD and list(json.loads(path.read_text()))[-1] == "sha256"
    whole, damaged = path.read_bytes(), 0
    for trial in range(300):
        content = bytearray(whole)
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(content if trial < 250 else whole[: random.integers(len(whole))])
        try:
            found = read_record(path)
        except DamagedFile as error:
            assert f"{path} is damaged" in str(error)
            damaged += 1
        else:
            assert trial < 250 and found == RECORD  # \u00F6 is \u00f6
    assert damaged > 280
    for other in (b"[]", b"3", b"null", b'{"sha256": "0"}', b"\xb5", b"[" * 100_000):
        path.write_bytes(other)
        with pytest.raises(DamagedFile, match=f"{path} is damaged"):
            read_record(path)


def test_what_a_file_says_of_itself(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, {"a": np.zeros(2)}, {"arm": "main", "replicate": 1})
    assert load_meta(path) == {"arm": "main", "replicate": 1}
    check_origin(path, load_meta(path), {"arm": "main", "replicate": 1})
    with pytest.raises(
        UserError, match=r"a.npz belongs elsewhere \(replicate is 1 there, 0 here\)"
    ):
        check_origin(path, load_meta(path), {"arm": "main", "replicate": 0})
    with pytest.raises(UserError, match="does not say which stage .* an earlier version"):
        check_origin(path, load_meta(path), {"stage": "fit"})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DamagedFile, match="a.npz is damaged"):
        load_meta(path)


def test_arrays_for_others_have_no_seal(tmp_path):
    write_arrays(tmp_path / "a.npz", {"id": np.array(["=1"]), "x": np.zeros(1)})
    with np.load(tmp_path / "a.npz") as archive:
        assert archive.files == ["id", "x"]


@pytest.mark.parametrize("write", ["save_arrays(path, arrays, {})", "write_arrays(path, arrays)"])
def test_a_full_disk_keeps_the_old_content(tmp_path, write):
    path = tmp_path / "fold.npz"
    save_arrays(path, ARRAYS, META)
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from omics_jax.errors import UserError
from omics_jax.durable import save_arrays, write_arrays
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
path, arrays = Path(sys.argv[1]), {"a": np.zeros(10_000)}
try:
    exec(sys.argv[2])
except UserError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(path), write]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "fold.npz could not be written: File too large" in done.stdout, done.stderr
    assert_same(*load_arrays(path))
    assert list(tmp_path.iterdir()) == [path]
