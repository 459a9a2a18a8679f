"""What is free inside a process goes back to the system, and compiling trains nothing."""

import platform
from pathlib import Path

import jax
import pytest
import toy

from omics_jax.training.memory import release_free_memory
from omics_jax.training.plan import compile_program, first_variables, start_stage

MIB = 2**20


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be asked")
def test_freed_pieces_between_used_ones_go_back_to_the_system():
    pieces = [bytes(100_000) for _ in range(2000)]  # 190 MiB, each too small for its own mapping
    kept = pieces[::50]
    del pieces
    before = resident()
    release_free_memory()
    assert before - resident() > 100 * MIB
    assert len(kept) == 40


@pytest.mark.parametrize("stage", [0, 1])
def test_compiling_leaves_the_state_as_it_was(stage):
    plan = toy.plan("frozen")
    compiled = plan.stages[stage]
    state, inputs = start_stage(plan, compiled, [0], 1, first_variables(plan, [0]))
    before = jax.device_get(state)
    after = compile_program(plan, compiled, state, inputs)
    assert toy.digest(jax.device_get(after)) == toy.digest(before)
