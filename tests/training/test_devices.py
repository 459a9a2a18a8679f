"""Two and eight devices against one: losses, parameters, replicas' bits, resuming on others.

Each number of devices is one process (see across_devices.py), because fake devices are made when
jax starts.
"""

import os
import subprocess
import sys
from pathlib import Path

import across_devices
import jax
import jaxlib
import numpy as np
import pytest
import toy

from omics_jax.errors import Stopped, UserError
from omics_jax.training import plan
from omics_jax.training.block_sizer import BlockSizer
from omics_jax.training.chunks import chunk_size
from omics_jax.training.devices import (
    SUMS_WITHOUT_LIBRARY,
    Devices,
    choose_devices,
    fix_order_of_sums,
    padded_batch_size,
    programs_in_turn,
)
from omics_jax.training.plan import Options, first_variables, start_stage

COUNTS = (2, 8)


@pytest.fixture(scope="session")
def one():
    """What one device finds, in this process."""
    return across_devices.in_step(1)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return toy.train(across_devices.make(1, "ragged"), tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def several(tmp_path_factory):
    """count -> (folder, what so many devices found)."""
    running = {}
    for count in COUNTS:
        folder = tmp_path_factory.mktemp(f"devices-{count}")
        with pytest.raises(Stopped):
            toy.train(across_devices.make(1, "ragged"), folder / "half-1", toy.stop_after(10))
        flags = f"--xla_force_host_platform_device_count={count}"
        environment = {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
            "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        command = [sys.executable, str(Path(across_devices.__file__)), str(count), str(folder)]
        process = subprocess.Popen(
            command, env=os.environ | environment, stderr=subprocess.PIPE, text=True
        )
        running[count] = folder, process
    found = {}
    for count, (folder, process) in running.items():
        try:
            _, errors = process.communicate(timeout=400)
        finally:
            process.kill()
        assert process.returncode == 0, errors[-3000:]
        with np.load(folder / "found.npz") as arrays:
            found[count] = folder, dict(arrays)
    return found


@pytest.fixture(params=COUNTS)
def count(request):
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "case"), [(c, case) for c in COUNTS for case in across_devices.CASES[c]]
)
def test_losses_and_parameters_are_those_of_one_device(one, several, count, case):
    found = several[count][1]
    np.testing.assert_allclose(found[f"loss/{case}"], one[f"loss/{case}"], rtol=2e-6)
    params = one[f"params/{case}"]
    np.testing.assert_allclose(
        found[f"params/{case}"], params, rtol=0, atol=2e-5 * np.abs(params).max()
    )


@pytest.mark.slow
def test_all_devices_hold_the_same_bits_and_the_check_would_notice(several, count):
    found = several[count][1]
    assert found["replicas"] and not found["replicas without the sum"]


@pytest.mark.slow
def test_replicates_spread_over_devices_are_those_of_one_device(several, tmp_path):
    expected = toy.train(toy.plan("features", seeds=(5, 6, 7), chunk=3), tmp_path)
    for stage, tree in expected.items():
        found = several[8][1][f"spread/{stage}"]
        np.testing.assert_allclose(found, across_devices.flat(tree), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_begun_on_one_device_and_finished_on_several(several, count, whole):
    np.testing.assert_allclose(
        several[count][1]["resumed"], across_devices.flat(whole), rtol=0, atol=2e-5
    )


@pytest.mark.slow
def test_begun_on_several_devices_and_finished_on_one(several, count, whole):
    found = toy.train(across_devices.make(1, "ragged"), several[count][0] / f"half-{count}")
    np.testing.assert_allclose(
        across_devices.flat(found), across_devices.flat(whole), rtol=0, atol=2e-5
    )


@pytest.mark.slow
def test_thousands_of_steps_on_eight_devices(several):
    found = several[8][1]
    assert found["steps"] == across_devices.LONG and found["finite"]


@pytest.mark.parametrize(
    ("count", "spread", "sentence"),
    [
        (4096, "data", "run.devices is 4096, but this machine has"),
        (-1, "data", "run.devices is -1"),
        (1, "rows", "run.spread is 'rows'; choose data"),
    ],
)
def test_devices_that_cannot_be(count, spread, sentence):
    with pytest.raises(UserError, match=sentence):
        choose_devices(count, spread)


def test_all_devices_there_are():
    assert choose_devices(0, "data") == Devices(jax.local_device_count(), "data")


CORES = """
import sys
import threading
from pathlib import Path
from typing import NamedTuple
sys.path.insert(0, sys.argv[1])
from omics_jax.training.devices import Devices, fix_order_of_sums
from omics_jax.training.parallel import compile_block
fix_order_of_sums()
import jax
import numpy as np
import toy
devices = Devices(2, "cores")

both = threading.Barrier(2)
def meet(x):
    both.wait(timeout=30)
    return x
class State(NamedTuple):
    wait: np.ndarray
    done: np.ndarray
def block(state, *others):
    wait = state.wait
    met = jax.lax.cond(wait[0], lambda: jax.pure_callback(meet, wait, wait), lambda: ~wait)
    return state._replace(wait=met), {}
empty = {"table": {}, "replicate_table": {}, "rows": {}}
run = compile_block(block, devices)
times = np.int32(0), np.int32(0), np.int32(1)
wait = np.zeros(4, bool)
# The first block is run by one core after another.
run(State(wait, wait), np.zeros(4), {}, {}, {}, empty, *times)
for meeting in ([0, 1], [1, 3]):
    wait[:] = False
    wait[meeting] = True
    run(State(wait, ~wait), np.zeros(4), {}, {}, {}, empty, *times)

print(jax.device_count())
for i, case in enumerate({cases!r}):
    ready = toy.plan(seeds=(5, 6, 7), devices=devices.count, spread=devices.spread, **case)
    print(ready.size, toy.digest(toy.train(ready, Path(sys.argv[2]) / str(i))))
"""
CORE_CASES = (
    {"variant": "frozen"},
    {"variant": "features"},
    {"variant": "features", "resident_bytes": 0},
)


@pytest.mark.optimised
def test_replicates_side_by_side_on_the_cores_of_a_cpu_have_the_bits_of_one_device(tmp_path):
    """And side by side they are, whichever two still train: they wait for each other.

    With three replicates the steps come in pieces.
    """
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    environment = (
        {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | cache | {"JAX_PLATFORMS": "cpu"}
    )
    code = CORES.replace("{cases!r}", repr(CORE_CASES))
    command = [sys.executable, "-c", code, str(Path(toy.__file__).parent), str(tmp_path / "two")]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    device, *told = found.stdout.split()
    lines = lambda name, i: sorted(
        (tmp_path / name / str(i) / "history.jsonl").read_text().splitlines()
    )
    for i, case in enumerate(CORE_CASES):
        expected = toy.digest(
            toy.train(toy.plan(seeds=(5, 6, 7), **case), tmp_path / "one" / str(i))
        )
        assert (device, *told[2 * i : 2 * i + 2]) == ("1", "3", expected)
        assert lines("one", i) == lines("two", i)


@pytest.mark.parametrize(
    ("devices", "live", "expected"),
    [
        (Devices(2, "cores"), 5, 5),  # in halves, so that both cores end together
        (
            Devices(2, "cores"),
            20,
            10,
        ),  # in one piece: a program that starts anew takes its memory anew
        (Devices(2, "cores"), 1, 1),
        (Devices(2, "cores"), 0, 1),
        (Devices(8, "cores"), 12, 3),
        (Devices(8, "cores"), 9, 4.5),  # at most four pieces, and not all end together
        (Devices(2, "replicates"), 20, 1),
    ],
)
def test_how_many_programs_a_core_runs_in_a_block(devices, live, expected):
    assert programs_in_turn(devices, live) == expected


def test_a_block_is_as_long_as_its_programs_may_be():
    sizer = BlockSizer(Options(block_seconds=1.0), longest=128)
    sizer.record(0.5, 4)
    assert sizer.next_size(1000) == 8 and sizer.next_size(5) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spread", "count", "flags", "expected"),
    [
        ("replicates", 1, "", "1 cores"),
        ("replicates", 0, "", f"{len(os.sched_getaffinity(0))} cores"),
        ("data", 0, "", "1 data"),
        ("replicates", 0, "--xla_force_host_platform_device_count=5", "5 replicates"),
    ],
)
def test_how_many_trainings_go_side_by_side_on_a_cpu(spread, count, flags, expected):
    code = "import sys; from omics_jax.training.devices import choose_devices; "
    code += (
        "found = choose_devices(int(sys.argv[2]), sys.argv[1]); print(found.count, found.spread)"
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-c", code, spread, str(count)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected


@pytest.mark.parametrize(
    ("count", "asked", "devices", "strategy", "state", "expected"),
    [
        (5, 0, Devices(2, "cores"), "map", 1 << 20, 5),
        (20, 0, Devices(2, "cores"), "map", 1 << 20, 7),  # in three chunks of about one size
        (20, 20, Devices(2, "cores"), "map", 1 << 20, 20),
        (20, 0, Devices(2, "cores"), "map", 20 << 20, 3),  # handing over more states takes time
        (20, 0, Devices(2, "cores"), "map", 1 << 40, 1),  # memory
        (5, 0, Devices(8, "cores"), "map", 1 << 20, 5),
        (5, 0, Devices(1, "cores"), "map", 1 << 20, 1),
        (5, 0, Devices(1), "map", 1 << 20, 1),
        (5, 0, Devices(2, "replicates"), "map", 1 << 20, 2),
        (5, 3, Devices(2, "replicates"), "map", 1 << 20, 4),
        (5, 0, Devices(1), "vmap", 1 << 20, 5),
        (5, 0, Devices(1), "vmap", 2 << 30, 2),
    ],
)
def test_how_many_replicates_train_together(count, asked, devices, strategy, state, expected):
    size = chunk_size(count, asked, devices, strategy, state_bytes=state, feature_bytes=0)
    assert size == expected


@pytest.mark.parametrize(
    ("count", "asked", "devices", "strategy", "state", "expected"),
    [
        (100, 0, Devices(1, "cores"), "map", 1 << 20, 20),
        (100, 0, Devices(2, "cores"), "map", 1 << 20, 20),
        (100, 0, Devices(1), "vmap", 1 << 20, 100),
        (100, 0, Devices(1), "vmap", 64 << 20, 60),  # 64 fit, in two chunks of about one size
        (100, 30, Devices(1), "vmap", 1 << 20, 40),
        (100, 0, Devices(8, "replicates"), "vmap", 64 << 20, 80),
    ],
)
def test_replicates_that_are_compared_share_a_chunk(
    count, asked, devices, strategy, state, expected
):
    size = chunk_size(
        count, asked, devices, strategy, state_bytes=state, feature_bytes=0, together=20
    )
    assert size == expected


def test_what_stages_compute_of_all_rows_counts_among_a_chunks_memory():
    def size(feature_bytes):
        cores = Devices(2, "cores")
        return chunk_size(8, 0, cores, "map", state_bytes=1 << 20, feature_bytes=feature_bytes)

    assert (size(60 << 20), size(160 << 20), size(1 << 40)) == (8, 3, 2)


def test_a_plan_is_cut_by_what_its_replicates_hold(monkeypatch):
    found = {}

    def record(*arguments, **held):
        found.update(arguments=arguments, **held)
        return 1

    monkeypatch.setattr(plan, "chunk_size", record)
    ready = toy.plan("features", seeds=(5, 6, 7), devices=2, spread="cores", strategy="vmap")
    # Cores train one by one.
    assert found["arguments"] == (3, 0, Devices(2, "cores"), "map")
    state, inputs = start_stage(ready, ready.stages[1], [0], 1, first_variables(ready, [0]))
    assert found["state_bytes"] == 4 * sum(x.nbytes for x in jax.tree.leaves(state.variables))
    assert found["feature_bytes"] == sum(x.nbytes for x in inputs.replicate_table.values()) > 0


SUMS = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
from omics_jax.training.devices import fix_order_of_sums
fix_order_of_sums()
import jax
import numpy as np
for x in np.random.default_rng(0).standard_normal((6, 4096, 128), np.float32):
    total, columns = jax.device_get(jax.jit(lambda a: ((a * a).sum(), (a * a).sum(0)))(x))
    print(total.tobytes().hex(), columns.tobytes().hex())
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not jaxlib.__version__.startswith(("0.9.", "0.10.")), reason="see fix_order_of_sums"
)
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are compared with one")
def test_sums_of_large_arrays_have_the_same_bits_on_one_core_and_on_two():
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {
        "JAX_PLATFORMS": "cpu"
    }
    one, two = (
        subprocess.run(
            [sys.executable, "-c", SUMS, n],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        for n in ("1", "2")
    )
    assert one.stdout == two.stdout != ""


def test_flags_for_sums_are_added_once_and_leave_the_users_own(monkeypatch):
    monkeypatch.setattr(jaxlib, "__version__", "0.10.2")
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    fix_order_of_sums()
    fix_order_of_sums()
    assert os.environ["XLA_FLAGS"] == f"--xla_a=1 {SUMS_WITHOUT_LIBRARY}"
    for version, flags in (("0.10.2", "--xla_cpu_experimental_ynn_fusion_type=X"), ("0.11.0", "")):
        monkeypatch.setattr(jaxlib, "__version__", version)
        monkeypatch.setenv("XLA_FLAGS", flags)
        fix_order_of_sums()
        assert os.environ["XLA_FLAGS"] == flags


@pytest.mark.parametrize(
    ("batch", "count", "spread", "expected"),
    [
        (32, 8, "data", 32),
        (33, 8, "data", 40),
        (1, 8, "data", 8),
        (33, 8, "replicates", 33),
        (5, 1, "data", 5),
    ],
)
def test_a_batch_is_rounded_up_to_equal_shares(batch, count, spread, expected):
    assert padded_batch_size(batch, Devices(count, spread)) == expected
