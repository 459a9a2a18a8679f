"""The history: what a resumed run writes again is dropped, and nothing else."""

import json

import pytest

from omics_jax.durable import DamagedFile
from omics_jax.errors import UserError
from omics_jax.training.history import History, Seal


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


@pytest.mark.parametrize(
    "damaged", [b"{}", b'{"stage', b"\xb5", b"3", b'{"stage": 1}', b"[" * 9999]
)
def test_lines_that_cannot_be_read_are_dropped_and_kept_in_a_copy(path, damaged):
    content = path.read_bytes()
    path.write_bytes(damaged + b"\n" + content)
    before = path.read_bytes()
    History(path, {"arm": "a"})
    assert path.read_bytes() == content and path.with_suffix(".damaged").read_bytes() == before


def test_lines_of_a_divergence_come_again_whatever_their_epoch(path):
    history = History(path, {"arm": "a"})
    history.write({**line("one", 0, 0), "diverged": True})
    again = History(path, {"arm": "a"})
    again.forget("one", [0], 1)
    assert ("a", "one", 0, 0) in written(path) and ("a", "one", 0, 0, True) not in written(path)


def test_seals_are_of_the_lines_of_a_stage_and_replicate(path):
    history = History(path, {"arm": "a"})
    history.write({**line("one", 0, 2), "monitor": 0.25})
    seals = [Seal("one", int(r), s, path) for r, s in history.seal("one", [0, 1, 7]).items()]
    assert len({seal.sha256 for seal in seals}) == 3
    for again in (history, History(path, {"arm": "a"})):
        again.check(seals)
    content = path.read_bytes()
    edits = [(b"0.25", b"0.24"), (b'"epoch": 1', b'"epoch": 3'), (b'"arm": "a"', b'"arm": "b"')]
    for old, new in edits:
        assert old in content
        path.write_bytes(content.replace(old, new, 1))
        with pytest.raises(DamagedFile, match=f"stage 'one', replicate 0, .* remove {path} and"):
            History(path, {"arm": "a"}).check(seals)
    # Lines of other replicates, stages and arms do not matter.
    path.write_bytes(content.replace(b'"stage": "two"', b'"stage": "six"'))
    History(path, {"arm": "a"}).check(seals)


def test_many_files_are_named_by_their_folder(tmp_path):
    history = History(tmp_path / "h.jsonl")
    for count, named in ((6, "5"), (7, "")):
        seals = [Seal("one", r, "0", tmp_path / "arm" / str(r)) for r in range(count)]
        with pytest.raises(DamagedFile, match=f"{tmp_path / 'arm' / named} and repeat"):
            history.check(seals)


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
