"""What the multi-omics experiments conclude over all replicates: corrected tests, and tables beside
the paper's.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from omics_jax.evaluation import comparisons
from omics_jax.evaluation.tables import Table
from omics_jax.study.system import MODEL, Findings, Results
from omics_jax.systems.multiomics import published
from omics_jax.tasks import figures as pictures
from omics_jax.tasks import interpretation

# The metrics that are tested, those of the paper's table II, and the shown, by what ends a metric's
# name; all of them stand in metrics.json.
TESTED = ("accuracy", "macro_f1", "auroc", "rmse", "r2", "c_index", "ibs")
SHOWN = ("accuracy", "macro_f1", "auroc", "rmse", "r2", "c_index", "c_index_uno", "ibs")
COMPLETE = "_complete"


def conclude_multitask(results: Results) -> Findings:
    """The network against the simple models in every task."""
    arm = _networks(results)[-1]
    return Findings(
        _against_simple(results, arm), {**pictures.of_tasks(results, arm), **_imputation(results)}
    )


def conclude_imputation(results: Results) -> Findings:
    """The imputers' errors against those of the simple methods and, with transfer, of training
    without it.
    """
    arm, *others = results.labels
    metrics = [m for m in _metrics(results, arm) if m.endswith("_rmse")]
    rivals = [*_simple(results, arm), *((other, MODEL) for other in others)]
    tests = [t for m in metrics for rival in rivals for t in _test(results, (arm, MODEL), rival, m)]
    return Findings(_adjusted(tests), _imputation(results))


def conclude_arms(results: Results) -> Findings:
    """Arms A to D by modality set, every pair of them tested, beside what the paper prints."""
    scores, tests = results.scores, []
    labels = {arm: v for arm, v in results.labels.items() if "letter" in v}
    for metric in _tested(scores["metric"].unique()):
        by_set: dict[str, list[str]] = {}
        for arm, values in labels.items():
            if metric in _metrics(results, arm):
                by_set.setdefault(values["modalities"], []).append(arm)
        for arms in by_set.values():
            pairs = [(a, b) for i, a in enumerate(arms) for b in arms[i + 1 :]]
            tests += [t for a, b in pairs for t in _paired(results, a, b, metric)]
    joint = [arm for arm in labels if _simple(results, arm)]
    against = [t for arm in joint for t in _against_simple(results, arm, adjust=False)]
    tables = {
        "arms": _arms_table(results, labels),
        "paper": published.table(),
        **_imputation(results),
    }
    # Of the last network, or of the last networks for one task each.
    last = [
        arm for arm in joint if {**labels[arm], "tasks": ""} == {**labels[joint[-1]], "tasks": ""}
    ]
    drawn = {name: table for arm in last for name, table in pictures.of_tasks(results, arm).items()}
    return Findings(_adjusted(tests) + _adjusted(against), {**tables, **drawn})


def conclude_stages(results: Results) -> Findings:
    """All three stages against training without some of them."""
    first, *others = _networks(results)
    metrics = _tested(_metrics(results, first))
    tests = [t for m in metrics for other in others for t in _paired(results, first, other, m)]
    frame = pd.DataFrame([{"trained": arm, **_means(results, arm)} for arm in (first, *others)])
    caption = (
        "Mean and s.d. over the test folds; training without a stage has as many epochs in all."
    )
    tables = {
        "stages": Table("table", frame, "What each stage is worth", caption),
        **_imputation(results),
    }
    return Findings(_adjusted(tests), {**tables, **pictures.of_tasks(results, first)})


def conclude_interpret(results: Results) -> Findings:
    """Which features every task's prediction stands on, beside what the network is worth against
    simple models.
    """
    arm = interpretation.NETWORK
    tables = {
        **interpretation.tables(results),
        **pictures.of_tasks(results, arm),
        **_imputation(results),
    }
    return Findings(_against_simple(results, arm), tables)


BY_EXPERIMENT = {
    "multitask": conclude_multitask,
    "arms": conclude_arms,
    "stages": conclude_stages,
    "imputation": conclude_imputation,
    "interpret": conclude_interpret,
}


# --- tests ----------------------------------------------------------------------------------------


def _networks(results: Results) -> list[str]:
    return [arm for arm, labels in results.labels.items() if not labels.get("imputer")]


def _metrics(results: Results, arm: str) -> list[str]:
    rows = results.scores[(results.scores["arm"] == arm) & (results.scores["model"] == MODEL)]
    return rows["metric"].unique().tolist()


def _tested(metrics: Iterable[str]) -> list[str]:
    return [m for m in metrics if m.endswith(tuple(f"_{tested}" for tested in TESTED))]


def _simple(results: Results, arm: str) -> list[tuple[str, str]]:
    """(arm, name) of the simple models beside an arm."""
    rows = results.scores[(results.scores["arm"] == arm) & (results.scores["model"] != MODEL)]
    return [(arm, name) for name in rows["model"].unique()]


def _against_simple(results: Results, arm: str, adjust: bool = True) -> list[dict]:
    tests = [
        t
        for metric in _tested(_metrics(results, arm))
        for rival in _simple(results, arm)
        for t in _test(results, (arm, MODEL), rival, metric)
    ]
    return _adjusted(tests) if adjust else tests


def _paired(results: Results, a: str, b: str, metric: str) -> list[dict]:
    """a against b on the patients both tested: the complete ones where one of them tested others,
    too.
    """
    of = {
        arm: metric + COMPLETE if metric + COMPLETE in _metrics(results, arm) else metric
        for arm in (a, b)
    }
    scores = results.scores[
        ((results.scores["arm"] == a) & (results.scores["metric"] == of[a]))
        | ((results.scores["arm"] == b) & (results.scores["metric"] == of[b]))
    ]
    name = metric if of[a] == of[b] == metric else metric + COMPLETE
    return comparisons.compare(scores.assign(metric=name), (a, MODEL), (b, MODEL), name)


def _test(results: Results, a, b, metric: str) -> list[dict]:
    return comparisons.compare(results.scores, a, b, metric)


def _adjusted(tests: list[dict]) -> list[dict]:
    """p adjusted after Holm over all the tests of a family."""
    named = lambda side: side.removesuffix(f"/{MODEL}")
    return [
        {**t, "a": named(t["a"]), "b": named(t["b"])} for t in comparisons.with_adjusted_p(tests)
    ]


# --- tables ---------------------------------------------------------------------------------------


def _means(results: Results, arm: str, suffix: str = "") -> dict[str, str]:
    """metric -> "mean (s.d.)" of an arm."""
    scores = results.scores
    rows = scores[(scores["arm"] == arm) & (scores["model"] == MODEL)]
    grouped = rows.groupby("metric", sort=False)["value"].agg(["mean", "std"])
    ends = tuple(f"_{shown}{suffix}" for shown in SHOWN)
    return {
        metric.removesuffix(suffix): f"{row['mean']:.3f} ({row['std']:.3f})"
        for metric, row in grouped.iterrows()
        if metric.endswith(ends)
    }


def _arms_table(results: Results, labels) -> Table:
    """A row per modality set and arm; the models of one task each (A, C) are joined into a row."""
    rows: dict[tuple[str, str, str], dict] = {}
    for arm, values in labels.items():
        parts = {"all tested": _means(results, arm), "complete": _means(results, arm, COMPLETE)}
        for patients, means in parts.items():
            if means:
                rows.setdefault((values["modalities"], values["letter"], patients), {}).update(
                    means
                )
    keys = ("modalities", "arm", "patients")
    frame = pd.DataFrame(
        [{**dict(zip(keys, key, strict=True)), **row} for key, row in rows.items()]
    )
    caption = (
        "A: a network per task, patients with all of the modalities; B: one network for all "
        "tasks, the same patients; C, D: the same with missing modalities imputed. Mean (s.d.) "
        "over the test folds. C and D are comparable with A and B on the complete patients."
    )
    return Table("table", frame.fillna(""), "Arms by modality set", caption)


def _imputation(results: Results) -> dict[str, Table]:
    """The errors of imputing each modality, of the imputers and of the simple methods."""
    arms = [arm for arm, labels in results.labels.items() if labels.get("imputer")]
    if not arms:
        return {}
    rows = []
    for (arm, model, metric), part in results.scores.groupby(
        ["arm", "model", "metric"], sort=False
    ):
        name, _, what = metric.rpartition("_")
        if arm in arms and what in ("rmse", "mae", "pearson"):
            summary = f"{part['value'].mean():.4f} ({part['value'].std():.4f})"
            rows.append(
                {"modality": name, "method": arm if model == MODEL else model, what: summary}
            )
    frame = pd.DataFrame(rows).groupby(["modality", "method"], sort=False).first().reset_index()
    caption = (
        "Modalities of test patients that were measured, imputed as if they were not; mean (s.d.) "
        "over the folds, on the 0 to 1 scale of the training patients."
    )
    return {"imputation": Table("table", frame.fillna(""), "Imputation", caption)}
