"""The replicate axis, strategies, block lengths and where the rows lie change no result."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import toy

from omics_jax.errors import UserError
from omics_jax.training import compiled_stage
from omics_jax.training.block_inputs import place_rows
from omics_jax.training.plan import Options, estimate_seconds, first_variables, make_plan
from omics_jax.training.rows import apply_to_rows, compile_row_function, in_blocks

# Claims of equal bits, which hang on how XLA fuses; the others are about values.
optimised = pytest.mark.optimised
SEEDS = (5, 6, 7)


@pytest.fixture(scope="session")
def outcome(tmp_path_factory):
    """`outcome(...)`: everything handed on by a training of three replicates; see `toy.plan`."""
    outcomes = {}

    def run(variant="frozen", seeds=SEEDS, **options):
        key = (variant, seeds, *options.items())
        if key not in outcomes:
            outcomes[key] = toy.train(
                toy.plan(variant, seeds=seeds, **options), tmp_path_factory.mktemp("run")
            )
        return outcomes[key]

    return run


def only(tree, i):
    return jax.tree.map(lambda x: x[i : i + 1], tree)


def made_again(ready):
    """A plan anew, by what has changed since it was made."""
    return make_plan(ready.training, ready.options)


def assert_close(actual, expected, tolerance):
    for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=tolerance * max(1, np.abs(theirs).max())
        )


@optimised
@pytest.mark.parametrize("variant", toy.HEADS)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path, outcome, variant):
    again = toy.train(toy.plan(variant, seeds=SEEDS, chunk=3), tmp_path)
    actual = outcome(variant, chunk=3)
    assert toy.digest(again) == toy.digest(actual)
    assert len({toy.digest(only(actual, i)) for i in range(3)}) == 3


@optimised
@pytest.mark.parametrize("variant", toy.HEADS)
@pytest.mark.parametrize("i", range(3))
def test_under_map_a_replicate_in_the_axis_is_the_replicate_alone(outcome, variant, i):
    alone = outcome(variant, seeds=(SEEDS[i],))
    assert toy.digest(only(outcome(variant, chunk=3), i)) == toy.digest(alone)


@optimised
def test_chunks_of_any_size_give_the_same_bits(outcome):
    assert toy.digest(outcome(chunk=2)) == toy.digest(outcome(chunk=3))


@pytest.mark.slow
@pytest.mark.parametrize("variant", toy.HEADS)
def test_vmap_agrees_with_map(outcome, variant):
    assert_close(outcome(variant, chunk=3, strategy="vmap"), outcome(variant, chunk=3), 1e-6)


@optimised
def test_the_steps_of_a_block_change_no_bit(outcome):
    assert toy.digest(outcome(seeds=(5,), block_steps=1)) == toy.digest(outcome(seeds=(5,)))


@optimised
@pytest.mark.parametrize("length", [1, 5])
def test_the_length_a_program_is_compiled_for_changes_no_bit(
    outcome, tmp_path, monkeypatch, length
):
    monkeypatch.setattr(compiled_stage, "LONGEST_BLOCK", length)
    short = made_again(toy.plan("frozen", seeds=(5,)))
    assert [stage.shape.length for stage in short.stages] == [max(2, length)] * len(short.stages)
    assert toy.digest(toy.train(short, tmp_path)) == toy.digest(outcome(seeds=(5,)))


@optimised
def test_rows_that_do_not_fit_are_gathered_a_few_steps_at_a_time(outcome, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled_stage, "GATHERED_BYTES", 0)
    assert made_again(toy.plan("features", seeds=(5,))).stages[-1].shape.length > 2
    short = made_again(toy.plan("features", seeds=(5,), resident_bytes=0))
    assert [stage.shape.length for stage in short.stages] == [2] * len(short.stages)
    assert toy.digest(toy.train(short, tmp_path)) == toy.digest(outcome("features", seeds=(5,)))


@optimised
@pytest.mark.parametrize("variant", ["frozen", "features"])
def test_rows_gathered_on_the_host_are_the_rows_on_the_device(outcome, variant):
    assert toy.plan(variant, seeds=(5,)).resident
    assert not toy.plan(variant, seeds=(5,), resident_bytes=0).resident
    actual = outcome(variant, seeds=(5,), resident_bytes=0)
    assert toy.digest(actual) == toy.digest(outcome(variant, seeds=(5,)))


def test_only_what_a_stage_reads_is_gathered(outcome):
    ready = toy.plan("features", seeds=(5,), resident_bytes=0)
    rows = {"rows": {"row": np.array([[[3, 1]]], np.int32)}}
    _, first, _ = place_rows(ready.stages[0].stage, ready.table, {}, rows)
    _, second, _ = place_rows(ready.stages[1].stage, ready.table, {}, rows)
    assert first.keys() == toy.TABLE.keys() and second.keys() == {
        "kind",
        "kind_known",
        "size",
        "size_known",
    }
    assert second["size"].tolist() == [toy.TABLE["size"][[3, 1]].tolist()]


@pytest.mark.parametrize("strategy", [pytest.param("map", marks=optimised), "vmap"])
def test_host_gather_with_several_replicates(outcome, strategy):
    actual = outcome("features", chunk=3, strategy=strategy, resident_bytes=0)
    assert_close(
        actual, outcome("features", chunk=3, strategy=strategy), 0 if strategy == "map" else 1e-6
    )


@optimised
@pytest.mark.parametrize("options", [{"chunk": 3}, {"chunk": 2}, {"seeds": (5,), "block_steps": 5}])
def test_one_compilation_per_stage(outcome, options):
    """Over all chunks, blocks with a ragged tail, epochs with and without the monitor."""
    outcome(**options)
    for compiled in toy.plan("frozen", **{"seeds": SEEDS, **options}).stages:
        assert compiled.block._cache_size() == 1
        assert compiled.initial_state._cache_size() == 1


@pytest.mark.slow
def test_both_signals_are_learnt(outcome):
    """Of a longer training: the drift decides both labels, so the heads must beat a constant."""
    actual = outcome("features", seeds=(5,), epochs=40)
    one = jax.tree.map(lambda x: x[0], actual["heads"])
    rows = toy.replicate(5).test
    slot = {"x": toy.TABLE["x"][rows], "row": rows, "live": np.ones(len(rows), bool)}
    out = toy.NET.apply({"params": one["params"]}, toy.pooled(one, slot)["pooled"], method="labels")
    kind, size = toy.TABLE["kind"][rows], toy.TABLE["size"][rows]
    assert np.mean((out[:, 0] > 0) == (kind > 0)) > 0.8
    assert np.corrcoef(out[:, 1], size)[0, 1] > 0.8


@optimised
def test_an_estimate_leaves_the_training_untouched(tmp_path, outcome):
    ready = toy.plan("frozen", seeds=(5,))
    seconds = estimate_seconds(ready)
    assert len(seconds) == 2 and min(seconds) >= 0
    assert toy.digest(toy.train(ready, tmp_path)) == toy.digest(outcome(seeds=(5,)))


def test_a_start_instead_of_an_initialisation(tmp_path, outcome):
    trained = outcome(chunk=3)["pretrain"]
    start = {name: trained[name] for name in ("params", "batch_stats")}
    ready = toy.plan("frozen", seeds=SEEDS, chunk=3)
    heads = make_plan(
        toy.Training(
            [ready.stages[1].stage], toy.init, toy.TABLE, toy.IDS, ready.training.replicates, start
        ),
        ready.options,
    )
    actual = toy.train(heads, tmp_path)["heads"]
    for ours, theirs in zip(
        *(jax.tree.leaves(v["params"]["encoder"]) for v in (actual, trained)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_start_of_some_modules_leaves_the_others_to_the_initialisation(tmp_path, outcome):
    """Two of three modules and one that the network lacks, for the replicates of any chunk."""
    trained = outcome(chunk=3)["pretrain"]
    ready = toy.plan("frozen", seeds=SEEDS, chunk=2)
    fresh = first_variables(ready, range(3))["params"]
    params = {name: trained["params"][name] for name in ("encoder", "decoder")}
    start = {
        "params": {**params, "elsewhere": {"bias": np.ones(3)}},
        "batch_stats": trained["batch_stats"],
    }
    started = make_plan(replace(ready.training, start=start), ready.options)
    begun = first_variables(started, [2, 0])
    for name, expected in {**params, "heads": fresh["heads"]}.items():
        assert toy.digest(begun["params"][name]) == toy.digest(
            jax.tree.map(lambda x: x[np.array([2, 0])], expected)
        )
    assert begun["params"].keys() == fresh.keys()
    elsewhere = make_plan(replace(ready.training, start=start, starts=[1, 1, 0]), ready.options)
    moved = first_variables(elsewhere, [2, 0])["params"]["encoder"]
    assert toy.digest(moved) == toy.digest(
        jax.tree.map(lambda x: x[np.array([0, 1])], params["encoder"])
    )
    assert toy.digest(begun["batch_stats"]) == toy.digest(
        jax.tree.map(lambda x: x[np.array([2, 0])], trained["batch_stats"])
    )


def test_starts_that_do_not_fit_are_refused(outcome):
    ready, trained = toy.plan("frozen", seeds=SEEDS, chunk=3), outcome(chunk=3)["pretrain"]
    none = {"params": {"other": trained["params"]["heads"]}, "batch_stats": {}}
    with pytest.raises(
        ValueError,
        match="the start has only the modules other, and the network has none of them; it has deco",
    ):
        make_plan(replace(ready.training, start=none), ready.options)
    wide = {
        "params": {"heads": {"kernel": np.zeros((3, 9, 2)), "bias": np.zeros((3, 2))}},
        "batch_stats": {},
    }
    with pytest.raises(
        ValueError, match=r"module 'heads' is of another shape: .*'kernel': \(9, 2\)"
    ):
        make_plan(replace(ready.training, start=wide), ready.options)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 8, 64])
def test_predictions_of_rows_on_host_and_device(outcome, width):
    variables = outcome(chunk=3)["heads"]
    rows = [toy.replicate(seed).test[: 10 + seed] for seed in SEEDS]
    run = compile_row_function(toy.pooled, width)
    device = {name: jax.numpy.asarray(values) for name, values in toy.TABLE.items()}
    for table in (device, toy.TABLE):
        for i, actual in enumerate(apply_to_rows(run, width, variables, table, rows)):
            one = jax.tree.map(lambda x, i=i: x[i], variables)
            slot = {
                "x": toy.TABLE["x"][rows[i]],
                "row": rows[i],
                "live": np.ones(len(rows[i]), bool),
            }
            assert actual["pooled"].shape == (len(rows[i]), toy.HIDDEN)
            np.testing.assert_allclose(actual["pooled"], toy.pooled(one, slot)["pooled"], atol=1e-6)


@pytest.mark.parametrize("count", [1, 4, 5, 8, 11])
def test_rows_in_blocks_are_the_rows_at_once(count):
    x = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    rows = {"row": np.arange(count), "x": x}
    widths = []

    def function(rows):
        widths.append(len(rows["row"]))
        return {"number": rows["row"], "square": rows["x"] ** 2}

    out = jax.jit(lambda rows: in_blocks(function, rows, 4))(rows)
    np.testing.assert_array_equal(out["number"], np.arange(count))
    np.testing.assert_array_equal(out["square"], x**2)
    assert max(widths) <= 4


def test_what_cannot_be_planned_is_refused():
    stage, none = toy.pretrain(), np.zeros(0, np.int32)
    blind = toy.Replicate(
        {"rows": np.arange(5, dtype=np.int32)}, {"rows": none}, none, 0, labels={"fold": 3}
    )
    with pytest.raises(
        UserError,
        match="fold 3 has no validation rows, which the monitor of stage 'pretrain' needs",
    ):
        make_plan(toy.training([stage], [toy.replace_constants(blind)]), Options())
    with pytest.raises(UserError, match="run.strategy is 'loop'; choose one of auto, map, vmap"):
        make_plan(toy.training([stage], [toy.replicate(0)]), Options(strategy="loop"))
    with pytest.raises(
        ValueError,
        match="trainable pattern 'heads/bias/.*' matches no parameter; there are: decoder/",
    ):
        make_plan(
            toy.training([toy.pretrain(trainable=("heads/bias/.*",))], [toy.replicate(0)]),
            Options(),
        )


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"batch": 0}, {"monitor_every": 0}, {"patience": 0}]
)
def test_stages_that_cannot_be(change):
    with pytest.raises(UserError, match="stage 'pretrain': .* is 0; give 1 or more"):
        toy.pretrain(**change)
