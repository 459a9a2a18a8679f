"""Pruning: which epochs are shown in which order; no block, chunk or interruption changes it."""

import json

import numpy as np
import pytest
import test_early_stopping as curves
import toy

from omics_jax.errors import Stopped

CURVES = [
    [5, 4, 3, 2, 1, 0, 0, 0, 0, 0],
    [6, 5, 4, 3, 2, 1, 0, 0, 0, 0],
    [4, 9, 9, 9, 9, 9, 9, 9, 9, 9],  # worst of all from epoch 1 on
    [7, 3, 3, 3, 3, 2, 2, 2, 2, 2],  # ties for the worst in epoch 4
    [8, 2, np.inf, 2, 2, 2, 2, 2, 2, 2],
]
PATIENCE = 4


class Median:
    """A pruner with memory: stops a replicate above the median of what it has seen of the epoch."""

    def __init__(self):
        self.asked, self.shown, self.stopped = [], {}, set()

    def __call__(self, replicate, epoch, values):
        self.asked.append((epoch, replicate, values["monitor"], values["objective"]))
        shown = self.shown.setdefault(epoch, [])
        shown.append(values["monitor"])
        stop = epoch > 0 and len(shown) > 2 and bool(values["monitor"] > np.nanmedian(shown))
        assert replicate not in self.stopped
        self.stopped |= {replicate} if stop else set()
        return stop


def train(folder, stop=lambda: None, chunk=5, **settings):
    pruner = Median()
    plan = curves.ready(CURVES, chunk=chunk, patience=PATIENCE, **settings)
    return toy.train(plan, folder, stop, pruner), pruner


def history(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(line["epoch"], line["replicate"]) for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, *train(folder, block_steps=1)


def by_hand():
    """The same decisions, replicate by replicate within an epoch, together with early stopping."""
    shown, stopped, running = [], set(), dict.fromkeys(range(len(CURVES)))
    for epoch in range(10):
        seen = []
        for r in list(running):
            value = CURVES[r][epoch]
            value = value if np.isfinite(value) else np.nan
            seen.append(value)
            shown.append((epoch, r))
            stop = epoch > 0 and len(seen) > 2 and value > np.nanmedian(seen)
            stopped |= {r} if stop else set()
            if stop or curves.by_hand(CURVES[r], PATIENCE)[1] == epoch + 1:
                del running[r]
    return shown, stopped


def test_every_trained_epoch_is_asked_about_once_and_in_order(uninterrupted):
    folder, _, pruner = uninterrupted
    asked = [(epoch, replicate) for epoch, replicate, *_ in pruner.asked]
    assert (asked, pruner.stopped) == by_hand() and pruner.stopped
    assert history(folder) == asked


@pytest.mark.parametrize(
    "settings", [{"block_steps": 3}, {"block_steps": 0}, {"block_steps": 7, "strategy": "vmap"}]
)
def test_where_blocks_end_changes_no_decision_and_no_line(uninterrupted, tmp_path, settings):
    outcome, pruner = train(tmp_path, **settings)
    assert np.array_equal(pruner.asked, uninterrupted[2].asked, equal_nan=True)
    assert (tmp_path / "history.jsonl").read_bytes() == (
        uninterrupted[0] / "history.jsonl"
    ).read_bytes()
    for r in {0, 1, 2, 3, 4} - pruner.stopped:
        assert curves.epoch_of(outcome, r) == curves.epoch_of(uninterrupted[1], r)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"block_steps": 3}, {"block_steps": 7}])
def test_a_resumed_pruner_is_shown_what_it_was_shown_before(uninterrupted, tmp_path, settings):
    while True:
        try:
            outcome, pruner = train(tmp_path, toy.stop_after(1), **settings)
            break
        except Stopped:
            continue
    assert np.array_equal(pruner.asked, uninterrupted[2].asked, equal_nan=True)
    assert (tmp_path / "history.jsonl").read_bytes() == (
        uninterrupted[0] / "history.jsonl"
    ).read_bytes()


def test_finished_replicates_are_shown_again_too(tmp_path):
    """In chunks of two, stopped after the first has finished; the pruner remembers all chunks."""
    _, expected = train(tmp_path / "whole", chunk=2, block_steps=4)
    with pytest.raises(Stopped):
        train(tmp_path / "cut", toy.stop_after(7), chunk=2, block_steps=4)
    assert list((tmp_path / "cut" / "checkpoints").glob("0000-pretrain.npz"))
    _, pruner = train(tmp_path / "cut", chunk=2, block_steps=4)
    assert np.array_equal(pruner.asked, expected.asked, equal_nan=True)
    assert (tmp_path / "cut" / "history.jsonl").read_bytes() == (
        tmp_path / "whole" / "history.jsonl"
    ).read_bytes()


@pytest.mark.slow
def test_only_the_last_stage_is_asked_about(tmp_path):
    asked = []
    toy.train(
        toy.plan("frozen"),
        tmp_path,
        prune=lambda r, epoch, values: asked.append((epoch, *values)) or epoch == 1,
    )
    assert [entry[0] for entry in asked] == [0, 1]
    assert {"term/kind", "term/size"} <= set(asked[0])
    stages = [
        json.loads(line)["stage"] for line in (tmp_path / "history.jsonl").read_text().splitlines()
    ]
    assert stages == ["pretrain"] * 3 + ["heads"] * 2
