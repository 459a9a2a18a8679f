"""Whatever a report claims can be computed again from the scores that lie beside it."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from command import command
from every_arm import (
    FIRST,
    data_of,
    few_trees_and_draws,
    in_one_process,
    smoke,
    write_predicted_run,
)

from omics_jax.report import results
from omics_jax.report.page import page_content

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
EVERY_SYSTEM = pytest.mark.parametrize(
    ("name", "experiment"), [in_one_process(f"claims-{n}", n, e) for n, e in FIRST.items()]
)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """`reported(system, experiment)`: a run directory whose predictions were made by shape."""
    made = {}

    def run(name, experiment):
        if name not in made:
            folder = tmp_path_factory.mktemp(name) / "run"
            with few_trees_and_draws():
                write_predicted_run(name, experiment, folder)
                words = smoke(name, experiment), f"--workdir={folder}", "--mode=evaluate"
                outcome = command(*words)
            assert outcome.status == 0, outcome.err
            made[name] = folder
        return made[name]

    return run


def scores_of(folder):
    return pd.read_csv(folder / "tables" / "scores.csv")


def by_split(scores, arm, model, metric):
    """The mean over groups of every split, by repeat and fold."""
    chosen = (scores["arm"] == arm) & (scores["model"] == model) & (scores["metric"] == metric)
    return scores[chosen].groupby(["repeat", "fold"])["value"].mean()


@EVERY_SYSTEM
def test_every_star_is_the_best_mean_of_predictions_that_tell_rows_apart(
    reported, name, experiment
):
    folder = reported(name, experiment)
    scores, content = scores_of(folder), page_content(folder)
    arm = content["key_own"]
    models = {
        row["name"]: "model" if row["model"] else row["name"] for row in content["key"]["rows"]
    }
    stars = 0
    for column, metric in enumerate(content["key"]["metrics"]):
        means = {
            row: by_split(scores, arm, model, metric["name"]).mean()
            for row, model in models.items()
        }
        means = {row: mean for row, mean in means.items() if np.isfinite(mean)}
        starred = {row["name"] for row in content["key"]["rows"] if row["cells"][column]["best"]}
        expected = set()
        if metric["better"] and len(set(means.values())) > 1:
            best = (max if metric["better"] == "higher" else min)(means.values())
            expected = {
                row for row, mean in means.items() if mean == pytest.approx(best, rel=1e-12)
            }
        same = scores[(scores["arm"] == arm) & (scores["metric"] == metric["name"])]
        constant = same.groupby("model")["constant"].all()
        if any(constant[models[row]] for row in expected):
            expected = set()
        assert starred == expected, metric["name"]
        stars += len(starred)
    assert stars


@EVERY_SYSTEM
def test_every_comparison_is_the_corrected_test_of_the_splits(reported, name, experiment):
    folder = reported(name, experiment)
    scores = scores_of(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    main = next(iter(metrics["arms"]))
    checked = 0
    for test in metrics["comparisons"]:
        if not test["test"].startswith("corrected resampled t, two-sided"):
            continue
        sides = [side_of(scores, label, test, main) for label in (test["a"], test["b"])]
        if any(side.empty for side in sides):
            continue
        difference = (sides[0] - sides[1]).dropna().to_numpy()
        if len(difference) < 2 or np.ptp(difference) == 0:
            assert test["p"] is None  # nothing to judge by
            continue
        chosen = scores[(scores["metric"] == test["metric"]) & (scores["group"] == test["group"])]
        ratio = (chosen["n_test"] / chosen["n_train"]).mean()
        error = np.sqrt((1 / len(difference) + ratio) * difference.var(ddof=1))
        p = 2 * scipy.stats.t.sf(abs(difference.mean()) / error, len(difference) - 1)
        assert test["difference"] == pytest.approx(difference.mean())
        assert test["p"] == pytest.approx(p, rel=0.05)  # the ratio of these splits alone may differ
        verdict = results.verdict(test, metrics["better"])
        assert (verdict in ("better", "worse", "different")) == (test["p_adjusted"] < 0.05)
        side = metrics["better"].get(test["metric"])
        if verdict in ("better", "worse"):
            is_better = (difference.mean() > 0) == (side == "higher")
            assert verdict == ("better" if is_better else "worse")
        checked += 1
    assert checked


def side_of(scores, label, test, main):
    """The values of one side by repeat and fold; labels name an arm, a simple model, or both."""
    arm, _, model = label.partition("/")
    arms = set(scores["arm"])
    if arm not in arms:
        arm, model = main, label
    chosen = (scores["arm"] == arm) & (scores["model"] == (model or "model"))
    chosen &= (scores["metric"] == test["metric"]) & (scores["group"] == test["group"])
    return scores[chosen].set_index(["repeat", "fold"])["value"]


@EVERY_SYSTEM
def test_no_interval_of_a_bounded_score_leaves_its_bounds(reported, name, experiment):
    """By what is known of the scores, whatever table they are in."""
    metrics = json.loads((reported(name, experiment) / "metrics.json").read_text())
    shares = ("accuracy", "macro_f1", "auroc", "auprc", "brier", "c_index", "c_index_uno", "ibs")
    shares += ("c_index_within", "auc_t", "calibration_error", "top50_recall", "coverage95")
    seen = 0
    for arm in metrics["arms"].values():
        for summary in (arm["summary"], *arm["baselines"].values()):
            for metric, entry in summary.items():
                low, high = entry["ci95"]
                if low is None:
                    continue
                if metric.removesuffix("_complete").endswith(shares):
                    assert 0 <= low <= high <= 1, metric
                    seen += 1
                elif "rmse" in metric or "mae" in metric:
                    assert low >= 0, metric
                elif "rho" in metric or "pearson" in metric:
                    assert -1 <= low <= high <= 1, metric
                    seen += 1
                assert not metric.endswith("_p")
    assert seen


@EVERY_SYSTEM
def test_too_few_events_are_said_in_the_metrics_and_on_the_page(reported, name, experiment):
    """Of the tested patients with a known outcome, counted in the data themselves."""
    folder = reported(name, experiment)
    cautions = json.loads((folder / "metrics.json").read_text())["cautions"]
    page = (folder / "report.html").read_text()
    assert all(caution in page for caution in cautions)
    _, dataset = data_of(name, experiment)
    rare = [target for target in dataset.targets if rarest(dataset, target) < 10]
    assert len(cautions) == len(rare)


def rarest(dataset, target):
    """Events of a survival time, cases of the rarest class; 10 for other targets."""
    values, known = dataset.targets[target]
    if target.endswith(".event"):
        return values[known].sum()
    is_binary = set(np.unique(values[known])) == {0, 1}
    if target in dataset.classes or is_binary:
        return np.bincount(values[known].astype(int)).min()
    return 10
