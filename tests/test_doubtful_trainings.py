"""Trainings that break down are named in the table, the log, `metrics.json` and beside the
headline, and the means say what they would be without them.
"""

import html
import json

import pandas as pd
import pytest
from command import ROOT, command
from every_arm import few_trees_and_draws

from omics_jax.run.doubts import doubt_records
from omics_jax.study.doubts import BROKEN, LEARNED_NOTHING, NO_PROGRESS
from omics_jax.study.system import MODEL

RATES = {
    "ehr": ("pretrain", "finetune"),
    "multiomics": ("imputation", "training"),
    "pertvae": (),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RATES)
def test_an_impossible_learning_rate_is_refused_or_named_everywhere(tmp_path, name):
    sections = [f"{section}.optimizer" for section in RATES[name]] or ["optimizer"]
    rates = [f"--config.{section}.learning_rate=1e6" for section in sections]
    with few_trees_and_draws():
        outcome = command(
            f"--config={ROOT}/configs/{name}.py:smoke", *rates, f"--workdir={tmp_path}"
        )
    if outcome.status:
        assert outcome.status == 1 and "Not finite in stage" in outcome.err
        assert "Lower optimizer.learning_rate" in outcome.err
        return
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    records = {record["arm"]: record for record in metrics["doubtful"]}
    assert set(records) == set(metrics["arms"])
    table = pd.read_csv(tmp_path / "tables" / "doubtful_trainings.csv")
    for arm, record in records.items():
        assert f"3 of 3 trainings of {arm} are doubtful, such as" in record["sentence"]
        assert record["mean_without"] == {}  # none is left
        of_arm = table[(table["arm"] == arm) & (table["kind"] != NO_PROGRESS)]
        assert of_arm["replicate"].unique().tolist() == [0, 1, 2]
        for text in (outcome.out, (tmp_path / "log.txt").read_text()):
            assert f"warning: {record['sentence']}" in text
    page = (tmp_path / "report.html").read_text()
    for record in records.values():
        assert record["sentence"] in html.unescape(page)
    assert "Doubtful trainings" in page


def table(*rows):
    columns = ["arm", "replicate", "training", "kind", "doubt"]
    return pd.DataFrame([("net", r, f"all fold {r}", *rest) for r, *rest in rows], columns=columns)


SCORES = pd.DataFrame(
    [("net", model, r, "all", r, 0, "auroc", value)
     for model, values in ((MODEL, [0.5, 0.8, 0.9]), ("ridge", [0.1, 0.1, 0.1]))
     for r, value in enumerate(values)],
    columns=["arm", "model", "replicate", "group", "fold", "repeat", "metric", "value"],
)  # fmt: skip


def test_the_mean_without_the_doubtful_trainings_stands_beside_the_other():
    doubts = table((0, LEARNED_NOTHING, "its start was kept"), (0, BROKEN, "another reason"))
    (record,) = doubt_records(doubts, {"net": 3}, SCORES)
    assert record["doubtful"] == ["all fold 0"]
    assert record["mean_without"]["auroc"] == pytest.approx(0.85)
    assert record["sentence"] == (
        "1 of 3 trainings of net is doubtful, all fold 0 (its start was kept); all reasons are in "
        "tables/doubtful_trainings.csv. The means include it; without it the mean auroc is 0.850 "
        "instead of 0.733."
    )


def test_a_stage_without_progress_is_named_and_not_called_doubtful():
    doubts = table((1, NO_PROGRESS, "no epoch was better"), (2, NO_PROGRESS, "no epoch was better"))
    (record,) = doubt_records(doubts, {"net": 3}, SCORES)
    assert record == {
        "arm": "net",
        "doubtful": [],
        "mean_without": {},
        "sentence": "In 2 of 3 trainings of net a stage added nothing to what was trained before.",
    }


def test_sound_trainings_have_no_record():
    assert doubt_records(table(), {"net": 3}, SCORES) == []
