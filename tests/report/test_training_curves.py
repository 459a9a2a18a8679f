"""Quantiles, best epochs and the reading of the history, against numpy and values worked out by
hand.
"""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from omics_jax.errors import UserError
from omics_jax.report import training_curves


def history(tmp_path, lines):
    path = tmp_path / "history.jsonl"
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    )
    return path


def line(epoch, objective=1.0, monitor=None, replicate=0, **extra):
    return {"arm": "net", "stage": "one", "replicate": replicate, "epoch": epoch} | {
        "objective": objective,
        "monitor": monitor,
        **extra,
    }


def test_a_line_written_again_after_a_resume_counts_once(tmp_path):
    frame = training_curves.read_history(
        history(tmp_path, [line(0, 3.0), line(1, 2.0), "", line(1, 1.5)])
    )
    assert frame["objective"].tolist() == [3.0, 1.5]


def test_values_that_are_not_finite_are_missing(tmp_path):
    frame = training_curves.read_history(
        history(tmp_path, [line(0, float("nan")), line(1, float("inf"))])
    )
    assert frame["objective"].isna().all() and frame["monitor"].isna().all()


@pytest.mark.parametrize(
    ("bad", "word"), [('{"arm": "n', "not JSON"), ({"arm": "n", "stage": "s"}, "'epoch'")]
)
def test_a_broken_line_is_named(tmp_path, bad, word):
    with pytest.raises(UserError, match=f"line 2.*{word}"):
        training_curves.read_history(history(tmp_path, [line(0), bad]))


def test_the_band_is_numpys_quantiles_over_the_replicates_alive():
    values = np.random.default_rng(2).normal(size=(7, 4))
    frame = pd.DataFrame(
        {"replicate": r, "epoch": e, "objective": values[r, e]}
        for r in range(7)
        for e in range(4)
        if r + e < 9
    )
    band = training_curves.band(frame, "objective")
    for epoch in range(4):
        alive = values[[r for r in range(7) if r + epoch < 9], epoch]
        np.testing.assert_allclose(band.loc[epoch], np.quantile(alive, [0.1, 0.5, 0.9]))


def test_best_epochs_are_those_of_the_lowest_monitor(tmp_path):
    lines = [
        line(e, monitor=m, replicate=r)
        for r, monitors in enumerate([(3.0, 1.0, 1.0), (1.0, 2.0, None)])
        for e, m in enumerate(monitors)
    ]
    frame = training_curves.read_history(history(tmp_path, lines))
    assert training_curves.best_epochs(frame).tolist() == [1, 0]
    assert "lowest monitor" in training_curves.draw_training(frame, "net").note


@pytest.mark.parametrize(("epochs", "replicates"), [(1, 1), (3, 1), (40, 4)])
def test_curves_are_drawn_for_any_length(tmp_path, epochs, replicates):
    lines = [
        line(e, 1e4 if e == 0 else 1 / (e + 1), replicate=r)
        for r in range(replicates)
        for e in range(epochs)
    ]
    drawing = training_curves.draw_training(
        training_curves.read_history(history(tmp_path, lines)), "net"
    )
    assert drawing.svg.startswith("<svg") and "net" in drawing.alt
    assert ("trained once" in drawing.note) == (replicates == 1)
    assert ("lie outside the panel" in drawing.note) == (epochs == 40)
    assert "dashed" not in drawing.note


def shown(drawing):
    return [
        "".join(node.itertext())
        for node in ElementTree.fromstring(drawing.svg).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_a_validation_loss_is_drawn_beside_the_training_loss_and_other_scores_are_left_out(
    tmp_path,
):
    lines = [
        line(e, 2.0 - e, monitor=-0.8, validation_loss=2.5 - e, train_auroc=0.7, rate=0.1)
        for e in range(4)
    ]
    frame = training_curves.read_history(history(tmp_path, lines))
    assert frame["validation_loss"].tolist() == [2.5, 1.5, 0.5, -0.5]
    assert set(frame) == {*training_curves.KEYS, "replicate", "validation_loss", "monitor"}
    words = shown(training_curves.draw_training(frame, "net"))
    assert {"training", "validation", "loss", "validation monitor"} <= set(words)
    assert "training objective" not in words


def test_a_stage_without_a_monitor_leaves_its_place_empty(tmp_path):
    lines = [line(e, monitor=1.0) for e in range(3)] + [
        line(e) | {"stage": "two"} for e in range(3)
    ]
    words = shown(
        training_curves.draw_training(training_curves.read_history(history(tmp_path, lines)), "net")
    )
    assert words.count("training objective") == 2 and words.count("validation monitor") == 1


def test_both_losses_settle_the_axis_together():
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    training = pd.DataFrame({"middle": [900.0, *np.linspace(10, 5, 39)]})
    validation = pd.DataFrame({"middle": [950.0, *np.linspace(14, 20, 39)]})
    assert training_curves.settle(axis, [training, validation])
    assert axis.get_ylim() == pytest.approx((5 - 0.08 * 15, 20 + 0.08 * 15))
    assert not training_curves.settle(axis, [training[1:], validation[1:]])
