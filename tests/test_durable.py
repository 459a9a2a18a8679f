"""Durable files: bit-exact round trips, damage is noticed, a failed write keeps the old content."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from omics_jax.durable import DamagedFile, load_arrays, save_arrays, write_atomically
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


def test_a_full_disk_keeps_the_old_content(tmp_path):
    path = tmp_path / "fold.npz"
    save_arrays(path, ARRAYS, META)
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from omics_jax.errors import UserError
from omics_jax.durable import save_arrays
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    save_arrays(Path(sys.argv[1]), {"a": np.zeros(10_000)}, {})
except UserError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "fold.npz could not be written: File too large" in done.stdout, done.stderr
    assert_same(*load_arrays(path))
    assert list(tmp_path.iterdir()) == [path]
