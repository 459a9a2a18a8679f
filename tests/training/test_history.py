"""The history: what a resumed run writes again is dropped, and nothing else."""

import json

import pytest

from omics_jax.errors import UserError
from omics_jax.training.history import History


def line(stage, replicate, epoch):
    return {"stage": stage, "replicate": replicate, "epoch": epoch}


def written(path):
    return [tuple(json.loads(text).values()) for text in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "history.jsonl"
    for arm in ("a", "b"):
        history = History(path, {"arm": arm})
        for stage, replicate, epoch in (("one", 0, 0), ("one", 0, 1), ("one", 1, 0), ("two", 0, 0)):
            history.write(line(stage, replicate, epoch))
    return path


def test_only_the_lines_that_come_again_are_dropped(path):
    before = written(path)
    History(path, {"arm": "a"}).forget("one", [0, 2], 1)
    assert written(path) == [entry for entry in before if entry != ("a", "one", 0, 1)]
    History(path, {"arm": "b"}).forget("one", [0, 1], 0)
    assert written(path) == [
        ("a", "one", 0, 0),
        ("a", "one", 1, 0),
        ("a", "two", 0, 0),
        ("b", "two", 0, 0),
    ]


@pytest.mark.parametrize("arguments", [("one", [7], 0), ("three", [0], 0), ("one", [0], 2)])
def test_nothing_to_forget(path, arguments):
    before = path.read_bytes()
    History(path, {"arm": "a"}).forget(*arguments)
    assert path.read_bytes() == before


def test_what_this_run_wrote_itself_stays(tmp_path):
    history = History(tmp_path / "h.jsonl")
    history.write(line("one", 0, 0))
    history.forget("one", [0], 0)
    assert written(history.path) == [("one", 0, 0)]


@pytest.mark.parametrize("cut", [1, 10, 20])
def test_a_line_cut_short_by_a_crash_is_dropped(path, cut):
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert History(path).path.read_bytes() == content[: content[:-cut].rfind(b"\n") + 1]


def test_what_is_not_finite_is_null(tmp_path):
    history = History(tmp_path / "h.jsonl")
    history.write(
        {**line("one", 0, 0), "monitor": float("nan"), "objective": float("-inf"), "x": 1.5}
    )
    assert written(history.path) == [("one", 0, 0, None, None, 1.5)]


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match="history.jsonl could not be written: a file stands where a folder"
    ):
        History(tmp_path / "file" / "history.jsonl")
