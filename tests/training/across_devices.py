"""Run by test_devices.py: everything that needs several devices, a process per number of devices.

python across_devices.py COUNT FOLDER   on so many (fake) devices, writes FOLDER/found.npz

The test imports it as well, for the results of one device. FOLDER/half-1 holds a training that one
device left in the middle; it is finished here. FOLDER/half-N is left in the middle here.
"""

import hashlib
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import toy

from omics_jax.errors import Stopped
from omics_jax.training import step as step_module
from omics_jax.training.devices import Devices
from omics_jax.training.plan import Options, first_variables, make_plan, run_block, start_stage

# (rows, batch): ragged; smaller than eight devices; one row a step; last batch of one row.
SIZES = {"ragged": (203, 32), "few": (5, 3), "single": (3, 1), "last": (3, 2)}
# What is compared: stage 0 for the sizes, stage 1 for the ways of training the heads. Two devices
# repeat the hardest.
CASES = {
    1: (*SIZES, "frozen", "pcgrad"),
    2: ("ragged", "last", "pcgrad"),
    8: (*SIZES, "frozen", "pcgrad"),
}
LONG, STEPS_OF_BLOCK = 2000, 16


def flat(tree):
    return np.concatenate(
        [np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)]
    )


def losses(ready, stage=0, epochs=3):
    """(objective of every step, parameters at the end), in blocks of one step.

    It starts from untrained variables.
    """
    compiled = ready.stages[stage]
    state, inputs = start_stage(ready, compiled, [0], 1, ready_variables(ready))
    per_epoch, found = compiled.shape.per_epoch, []
    for at in range(epochs * per_epoch):
        before = float(state.epoch.objective[0])
        state, entries, _ = run_block(ready, compiled, state, inputs, at, 1)
        ended = (at + 1) % per_epoch == 0
        after = (
            float(entries["objective"][0, 0]) * per_epoch
            if ended
            else float(state.epoch.objective[0])
        )
        found.append(after - before)
    return np.array(found), state


def ready_variables(ready):
    return jax.tree.map(np.asarray, first_variables(ready, [0]))


def make(count, name, variant="frozen", **options):
    n, batch = SIZES[name]
    # Batch norm of one or two rows leaves hardly any gradient, and Adam would make whole steps of
    # its rounding error.
    return toy.plan(
        variant,
        n=n,
        batch=batch,
        devices=count,
        block_steps=1,
        sgd=name in ("last", "single"),
        **options,
    )


def in_step(count):
    """Losses per step and parameters of all sizes and of both stages' kinds of gradient."""
    found = {}
    for case in CASES[count]:
        ready = make(count, case) if case in SIZES else make(count, "ragged", case)
        found[f"loss/{case}"], state = losses(ready, stage=0 if case in SIZES else 1)
        found[f"params/{case}"] = flat(state.params)
        assert np.isfinite(found[f"params/{case}"]).all()
    return found


def shards_agree(state) -> bool:
    """Whether every device holds the same bits of every leaf."""
    digests = []
    for leaf in jax.tree.leaves(state):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(shards) == jax.device_count() and all(s.shape == leaf.shape for s in shards)
        digests.append({hashlib.sha256(s.tobytes()).hexdigest() for s in shards})
    return all(len(d) == 1 for d in digests)


def replicas(count, epochs):
    """After 50 steps; and again with the sum over devices taken out of the gradient."""
    options = Options(devices=Devices(count), block_steps=10)
    traces = []

    def loss(variables, batch, key):
        traces.append(None)
        return toy.next_step(variables, batch, key)

    def after_fifty_steps():
        stage = replace(toy.pretrain(epochs), loss=loss)
        ready = make_plan(toy.training([stage], [toy.replicate(0)]), options)
        state, inputs = start_stage(ready, ready.stages[0], [0], 1, ready_variables(ready))
        state, _, _ = run_block(ready, ready.stages[0], state, inputs, 0, 10)
        once = len(traces)
        for at, count in ((10, 10), (20, 10), (30, 7), (37, 10), (47, 3)):
            state, _, _ = run_block(ready, ready.stages[0], state, inputs, at, count)
        assert len(traces) == once  # one compilation, whatever the length of the block
        return shards_agree(state)

    found = {"replicas": after_fifty_steps()}
    sum_over_devices = step_module.sum_over_devices
    step_module.sum_over_devices = lambda tree: tree
    try:
        found["replicas without the sum"] = after_fifty_steps()
    finally:
        step_module.sum_over_devices = sum_over_devices
    return found


def many_dispatches(count):
    """More programs in flight than XLA's CPU rendezvous survives, were they not waited for."""
    options = Options(devices=Devices(count), block_steps=STEPS_OF_BLOCK)
    stage = toy.pretrain(-(-LONG // 7), monitor=None)
    ready = make_plan(toy.training([stage], [toy.replicate(0)]), options)
    state, inputs = start_stage(ready, ready.stages[0], [0], 1, ready_variables(ready))
    for at in range(0, LONG, STEPS_OF_BLOCK):
        block = run_block(ready, ready.stages[0], state, inputs, at, STEPS_OF_BLOCK)
        state = block[0]
    return {"steps": np.asarray(state.step), "finite": np.isfinite(flat(state.params)).all()}


def spread_replicates(count, folder):
    ready = toy.plan("features", seeds=(5, 6, 7), devices=count, spread="replicates", chunk=3)
    found = toy.train(ready, folder / "spread")
    return {f"spread/{stage}": flat(found[stage]) for stage in found}


def halves(count, folder):
    """Finishes what one device began, and begins what one device will finish."""
    ready = make(count, "ragged")
    found = {"resumed": flat(toy.train(ready, folder / "half-1"))}
    with suppress(Stopped):
        toy.train(ready, folder / f"half-{count}", toy.stop_after(30))
    return found


def main(count, folder):
    assert jax.device_count() == count
    found = in_step(count) | halves(count, folder) | replicas(count, 8)
    if count == 8:  # more than there are replicates
        found |= spread_replicates(count, folder) | many_dispatches(count)
    np.savez(folder / "found.npz", **found)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
