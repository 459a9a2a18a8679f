"""Checkpoints: bit-exact round trips, and damage is noticed before it reaches a training."""

import logging
import os
import shutil
import subprocess
import sys
import textwrap

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from omics_jax.errors import UserError
from omics_jax.training.checkpoints import Checkpoints, DamagedCheckpoints


@flax.struct.dataclass
class TrainState:
    step: jax.Array
    variables: dict
    opt_state: tuple
    best: dict | None


def train_state(seed: int) -> TrainState:
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        "encoder": {"kernel": jax.random.normal(keys[0], (17, 5)), "bias": jnp.zeros(5)},
        "unused": {},
    }
    optimizer = optax.multi_transform(
        {"train": optax.adam(1e-3), "freeze": optax.set_to_zero()},
        {"encoder": {"kernel": "train", "bias": "freeze"}, "unused": {}},
    )
    odd_floats = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    odd_floats.view(np.uint32)[0] |= seed  # a NaN's payload has to survive as well
    constants = {
        "mask": jax.random.bernoulli(keys[1], 0.5, (9,)),
        "half": jax.random.normal(keys[2], (3, 2)).astype(jnp.bfloat16),
        "odd": odd_floats,
        "wide": np.array(np.pi * seed),
        "no_columns": np.zeros((4, 0), np.float32),
    }
    return TrainState(
        step=jnp.int32(seed),
        variables={"params": params, "constants": constants, "seed": jax.random.key_data(keys[0])},
        opt_state=optimizer.init(params),
        best=None,
    )


def small_state(seed: int) -> dict:
    values = np.random.default_rng(seed).standard_normal((8, 4)).astype(np.float32)
    return {
        "params": {"kernel": values, "bias": np.arange(5, dtype=np.int32) + seed},
        "live": np.array(True),
    }


def assert_same_bits(restored, expected):
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(expected), strict=True):
        theirs = np.asarray(theirs)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert ours.tobytes() == theirs.tobytes()


def restore(directory, target):
    with Checkpoints(directory) as checkpoints:
        return checkpoints.restore(target)


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """A folder with intact steps 1 and 2 of `small_state`; tests work on copies."""
    directory = tmp_path_factory.mktemp("two_steps") / "checkpoints"
    with Checkpoints(directory) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, small_state(step), {"epoch": step})
    return directory


@pytest.fixture
def copy(two_steps, tmp_path):
    return shutil.copytree(two_steps, tmp_path / "checkpoints")


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


# Round trips


@pytest.mark.parametrize("abstract", [False, True])
def test_a_train_state_comes_back_bit_for_bit(tmp_path, abstract):
    state, meta = (
        train_state(3),
        {"stage": "warm-up", "epoch": 4, "losses": [0.1, 1e-300], "name": "größer"},
    )
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state, meta)
    target = train_state(4)
    if abstract:
        target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), target)
    restored, restored_meta = restore(tmp_path, target)
    assert_same_bits(restored, state)
    assert restored_meta == meta


def test_buffers_may_be_donated_or_overwritten_while_the_checkpoint_is_written(tmp_path):
    device, host = jnp.arange(200_000.0), np.arange(200_000)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"device": device, "host": host}, {})
        jax.jit(lambda x: x * 0, donate_argnums=0)(device).block_until_ready()
        host[:] = -1
    expected = {"device": np.arange(200_000, dtype=np.float32), "host": np.arange(200_000)}
    assert_same_bits(restore(tmp_path, expected)[0], expected)


def test_only_the_newest_steps_stay(tmp_path):
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (2, 3, 5, 8):
            checkpoints.save(step, small_state(step), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_3", "step_5", "step_8"]


def test_an_older_step_is_never_silently_not_saved(copy):
    with (
        Checkpoints(copy) as checkpoints,
        pytest.raises(ValueError, match="step 2 is not after step 2"),
    ):
        checkpoints.save(2, small_state(2), {})


@pytest.mark.parametrize(
    ("state", "error", "sentence"),
    [
        ({"key": jax.random.key(0)}, TypeError, "typed PRNG key"),
        ({"name": np.array(["a"])}, TypeError, "'name' has dtype"),
        ({"a/b": np.ones(1), "a": {"b": np.ones(1)}}, ValueError, "same path"),
        ({"empty": np.ones(0), "none": None}, ValueError, "no values"),
    ],
)
def test_what_cannot_be_saved_is_refused_by_name(tmp_path, state, error, sentence):
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(error, match=sentence):
        checkpoints.save(1, state, {})


# Damage


def assert_intact_or_older(directory, caplog):
    """The restored bits are step 2's, or step 1's with step 2 set aside; returns the step."""
    caplog.clear()
    state, meta = restore(directory, small_state(0))
    assert_same_bits(state, small_state(meta["epoch"]))
    fell_back = meta["epoch"] == 1
    assert fell_back == (directory / "damaged-2").is_dir() != (directory / "step_2").is_dir()
    assert fell_back == ("step 2" in caplog.text and "is damaged" in caplog.text)
    return meta["epoch"]


def test_the_undamaged_folder_restores_its_newest_step(copy, caplog):
    assert assert_intact_or_older(copy, caplog) == 2


def test_random_single_bit_flips(two_steps, tmp_path, caplog):
    random = np.random.default_rng(0)
    files = files_of(two_steps / "step_2")
    outcomes = []
    for trial in range(100):
        copy = shutil.copytree(two_steps, tmp_path / str(trial))
        path = copy / files[trial % len(files)].relative_to(two_steps)
        content = bytearray(path.read_bytes())
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(content)
        outcomes.append(assert_intact_or_older(copy, caplog))
    assert {1, 2} == set(outcomes)  # some bytes, such as time stamps, carry nothing


def test_every_flip_in_the_values_is_noticed_and_the_leaf_named(tmp_path, caplog):
    # One leaf of incompressible bytes, so that its file is nearly nothing but values.
    states = [{"noise": np.random.default_rng(seed).bytes(4000)} for seed in (1, 2)]
    states = [{"noise": np.frombuffer(state["noise"], np.uint8)} for state in states]
    with Checkpoints(tmp_path / "whole") as checkpoints:
        for step, state in enumerate(states, start=1):
            checkpoints.save(step, state, {})
    largest = max(files_of(tmp_path / "whole" / "step_2"), key=lambda path: path.stat().st_size)
    place = largest.read_bytes().index(states[1]["noise"][100:200].tobytes())
    for trial in range(10):
        copy = shutil.copytree(tmp_path / "whole", tmp_path / str(trial))
        path = copy / largest.relative_to(tmp_path / "whole")
        content = bytearray(path.read_bytes())
        content[place + 7 * trial] ^= 1 << (trial % 8)
        path.write_bytes(content)
        caplog.clear()
        assert_same_bits(restore(copy, states[0])[0], states[0])
        assert "step 2" in caplog.text and "leaf 'noise'" in caplog.text


def test_truncated_and_deleted_files(two_steps, tmp_path, caplog):
    random = np.random.default_rng(1)
    files = files_of(two_steps / "step_2")
    for trial in range(20 + len(files)):
        copy = shutil.copytree(two_steps, tmp_path / str(trial))
        path = copy / files[trial % len(files)].relative_to(two_steps)
        if trial < 20:
            os.truncate(path, random.integers(path.stat().st_size))
        else:
            path.unlink()
        assert_intact_or_older(copy, caplog)


def test_a_step_emptied_or_under_a_wrong_number_is_damaged(two_steps, tmp_path, caplog):
    emptied = shutil.copytree(two_steps, tmp_path / "emptied")
    shutil.rmtree(emptied / "step_2")
    (emptied / "step_2").mkdir()
    assert assert_intact_or_older(emptied, caplog) == 1
    renamed = shutil.copytree(two_steps, tmp_path / "renamed")
    (renamed / "step_2").rename(renamed / "step_9")
    assert restore(renamed, small_state(0))[1] == {"epoch": 1}
    assert "it holds step 2" in caplog.text


def test_training_goes_on_after_a_fall_back_and_nothing_damaged_is_deleted(copy):
    for damage in ("{}", "[]"):
        (copy / "step_2" / "record" / "metadata").write_text(damage)
        with Checkpoints(copy) as checkpoints:
            assert checkpoints.restore(small_state(0))[1] == {"epoch": 1}
            checkpoints.save(2, small_state(2), {"epoch": 2})
        assert restore(copy, small_state(0))[1] == {"epoch": 2}
    assert (copy / "damaged-2" / "record" / "metadata").read_text() == "{}"
    assert (copy / "damaged-2-2" / "record" / "metadata").read_text() == "[]"


def test_none_intact_is_an_error_that_names_each_and_moves_none(copy):
    shutil.rmtree(copy / "step_1" / "state")
    (copy / "step_2" / "record" / "metadata").write_text("not JSON")
    before = files_of(copy)
    for _ in range(2):  # asking again must not turn into a start from scratch
        with pytest.raises(DamagedCheckpoints, match=r"step 2: its record .* step 1: its state"):
            restore(copy, small_state(0))
    assert files_of(copy) == before


# What else may lie in the folder


def test_foreign_folders_and_files_do_not_confuse(copy, tmp_path):
    for directory in (copy, tmp_path / "fresh"):
        for name in ("9", "foo", "step_x", "damaged-7"):
            (directory / name).mkdir(parents=True)
        (directory / "step_30").write_text("a file, not a checkpoint")
        restored = restore(directory, small_state(0))
        assert (restored is None) if directory != copy else (restored[1] == {"epoch": 2})
        with Checkpoints(directory) as checkpoints:
            checkpoints.save(4, small_state(4), {"epoch": 4})
        assert restore(directory, small_state(0))[1] == {"epoch": 4}
        assert (directory / "9").is_dir() and (directory / "step_30").is_file()


@pytest.mark.parametrize("below", ["", "checkpoints"])
def test_a_file_where_the_folder_should_be(tmp_path, below):
    (tmp_path / "run").write_text("")
    with pytest.raises(
        UserError, match=r"run.* could not be written: a file stands where a folder"
    ):
        Checkpoints(tmp_path / "run" / below)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"params": {"kernel": np.zeros((8, 3), np.float32)}},
            r"'params/kernel' is float32\[8, 4\] there",
        ),
        ({"params": {"kernel": jnp.zeros((8, 4), jnp.bfloat16)}}, r"and bfloat16\[8, 4\] here"),
        (
            {"params": {"bias": np.zeros(5, np.uint32)}},
            r"'params/bias' is int32\[5\] there and uint32\[5\]",
        ),
        ({"genes": np.zeros(2)}, "'genes' is only in this run"),
        ({"params": {"bias": None}}, "'params/bias' is only in the checkpoint"),
        (
            {"live": {"now": np.array(True)}},
            "'live' is only in the checkpoint; 'live/now' is only in this",
        ),
    ],
)
def test_another_model_is_refused_with_the_differing_leaves(copy, change, sentence):
    target = small_state(0)
    target["params"] = {**target["params"], **change.pop("params", {})}
    before = files_of(copy)
    with pytest.raises(UserError, match=sentence):
        restore(copy, {**target, **change})
    assert files_of(copy) == before


def test_many_differences_stay_one_sentence(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {str(i): np.ones(1) for i in range(50)}, {})
        with pytest.raises(UserError, match="and 44 more") as caught:
            checkpoints.restore({str(i): np.ones(2) for i in range(50)})
    assert len(str(caught.value)) < 700


# Crashes, each in its own process

SCRIPT = """
import resource, sys
import numpy as np
from omics_jax.errors import UserError
from omics_jax.training.checkpoints import Checkpoints

def noise(seed):
    return {"noise": np.random.default_rng(seed).standard_normal(100_000)}

directory, first = sys.argv[1], int(sys.argv[2])
"""

DISK_FULL = """
checkpoints = Checkpoints(directory)
for step in range(1, first):
    checkpoints.save(step, noise(step), {"step": step})
checkpoints.wait()
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
checkpoints.save(first, noise(first), {})
try:
    checkpoints.save(first + 1, noise(first), {})
except UserError as error:
    print(error)
found = checkpoints.restore(noise(0))
print(found and found[1]["step"])
checkpoints.save(first, noise(first), {})
try:
    with checkpoints:
        raise KeyError("the first error")
except KeyError as error:
    print(error)
"""

SAVES_FOR_EVER = """
with Checkpoints(directory) as checkpoints:
    for step in range(first, 100_000):
        checkpoints.save(step, noise(step), {"step": step})
        print(step, flush=True)
"""


def noise(seed):
    return {"noise": np.random.default_rng(seed).standard_normal(100_000)}


def command(tmp_path, body, first):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT) + body)
    return [sys.executable, "-W", "error", str(script), str(tmp_path / "run"), str(first)]


@pytest.mark.parametrize("first", [1, 3])
def test_a_full_disk_is_one_sentence_and_leaves_the_earlier_checkpoint(tmp_path, first, caplog):
    done = subprocess.run(
        command(tmp_path, DISK_FULL, first), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    sentence, newest_step, first_error = done.stdout.splitlines()
    assert "run could not be written: File too large. Free space" in sentence
    assert newest_step == ("None" if first == 1 else "2") and first_error == "'the first error'"
    assert "Traceback" not in done.stderr
    left_over = [path for path in (tmp_path / "run").iterdir() if "tmp" in path.name]
    assert left_over  # the very state a crash during the first save leaves
    caplog.set_level(logging.INFO, logger="omics_jax")
    restored = restore(tmp_path / "run", noise(0))
    assert not any(path.exists() for path in left_over)
    if first == 1:
        assert restored is None and "starting from scratch" in caplog.text
    else:
        assert_same_bits(restored[0], noise(2))


@pytest.mark.slow
def test_killed_while_saving(tmp_path):
    first = 1
    for _ in range(3):
        arguments = command(tmp_path, SAVES_FOR_EVER, first)
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if int(line) == first + 2:
                    process.kill()
        state, meta = restore(tmp_path / "run", noise(0))
        # A save is announced when it starts, so the one before was finished.
        assert meta["step"] >= first + 1
        assert_same_bits(state, noise(meta["step"]))
        assert not list((tmp_path / "run").glob("damaged-*"))
        first = meta["step"] + 1
