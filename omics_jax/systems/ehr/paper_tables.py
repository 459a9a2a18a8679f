"""The paper's tables II and III with ours, and what they are read for: what freezing the imputer
costs, and what fine-tuning it forgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from omics_jax.evaluation import comparisons
from omics_jax.evaluation.measures import measure_of
from omics_jax.evaluation.tables import Table
from omics_jax.study.comparisons import (
    adjusted_family,
    arms_with,
    compare_all,
    mean_score,
    network,
    simple_models,
)
from omics_jax.study.system import MODEL, Results
from omics_jax.systems.ehr import published

Printed = tuple[float | None, float | None]  # AUROC of validation and test patients, where known
MEAN_UNFROZEN, MEAN_FROZEN = "mean of all unfrozen", "mean of all frozen"
UNKNOWN: Printed = (None, None)


# --- tables II and III ----------------------------------------------------------------------------


def networks(results: Results) -> Table:
    """AUROC of every network, strategy and regime, with the paper's."""
    rows = []
    for arm, labels in results.labels.items():
        if "strategy" in labels:
            place = {name: labels[name] for name in ("regime", "network", "strategy")}
            rows.append(_row(results, [arm], place, _printed(place)))
    rows += _averages(results, "frozen", published.FROZEN_AVERAGE)
    rows += _averages(results, "unfrozen", published.UNFROZEN_AVERAGE)
    caption = (
        "AUROC on validation and test patients, mean over folds (s.d. in brackets of the test "
        "values), beside what the paper prints; averages are over the strategies that were run, "
        "the paper's over three. Table III is a picture in the paper; only the averages that its "
        "text names are known. The validation value is the one training stopped on, so it is too "
        "good; the paper's is, too."
    )
    return Table("table", pd.DataFrame(rows), "Tables II and III beside the paper's", caption)


def _printed(place: Mapping[str, str]) -> Printed:
    """What the paper prints of a network by one strategy."""
    if place["regime"] != "frozen":
        return UNKNOWN
    return published.FROZEN.get((place["network"], place["strategy"]), UNKNOWN)


def _averages(results: Results, regime: str, printed: Mapping[str, Printed]) -> list[dict]:
    """A row for every network that was run in a regime, averaged over its strategies."""
    rows = []
    for name in printed:
        arms = [
            arm
            for arm, labels in results.labels.items()
            if (labels.get("network"), labels.get("regime")) == (name, regime)
        ]
        if arms:
            place = {"regime": regime, "network": name, "strategy": "average"}
            rows.append(_row(results, arms, place, printed[name]))
    return rows


def _row(results: Results, arms: Sequence[str], place: Mapping[str, str], printed: Printed) -> dict:
    """The mean over the arms in every split, with its interval, and the paper's numbers."""
    scores = results.scores[results.scores["arm"].isin(arms) & (results.scores["model"] == MODEL)]
    validation, test = (_by_split(scores, metric) for metric in ("validation_auroc", "auroc"))
    ratio = float((scores["n_test"] / scores["n_train"]).mean())
    low, high = comparisons.corrected_interval(test.to_numpy(), ratio, measure_of("auroc"))
    return {
        **place,
        "validation": validation.mean(),
        "validation (paper)": printed[0],
        "test": test.mean(),
        "s.d.": test.std(),
        "low": low,
        "high": high,
        "test (paper)": printed[1],
    }


def _by_split(scores: pd.DataFrame, metric: str) -> pd.Series:
    """The metric by repeat and fold, averaged over arms."""
    chosen = scores.loc[scores["metric"] == metric]
    return chosen.groupby(["repeat", "fold"])["value"].mean()


def classical_models(results: Results) -> Table:
    """XGBoost and SVM on what the imputer learned, by probabilities and by hard decisions."""
    titles = {
        "auroc": "AUROC",
        "hard_label_auroc": "AUROC of 0/1 decisions",
        "auprc": "AUPRC",
    }
    rows = []
    for model in simple_models(results, metric="auroc"):
        scores = {t: mean_score(results.scores, model, metric) for metric, t in titles.items()}
        printed = (v for name, v in published.CLASSICAL.items() if model[1].startswith(name))
        rows.append({"model": model[1], **scores, "AUROC (paper)": next(printed, None)})
    caption = (
        "Classical models on imputed series and hidden states, and on plain summaries of what was "
        "measured. The paper's .620 and .590 look like areas under the curve of hard 0/1 "
        "decisions, which stand beside ours."
    )
    return Table("table", pd.DataFrame(rows), "Classical models", caption)


# --- what they are read for -----------------------------------------------------------------------


def unfrozen_against_frozen(results: Results) -> tuple[list[dict], dict[str, Table]]:
    """AUROC of every network and strategy, unfrozen minus frozen, and of their means where they are
    several; nothing where no network was trained in both regimes.
    """
    unfrozen, frozen = (_arms_by_cell(results, regime) for regime in ("unfrozen", "frozen"))
    cells = [cell for cell in unfrozen if cell in frozen]
    if not cells:
        return [], {}
    pairs = {("all", "average"): (MEAN_UNFROZEN, MEAN_FROZEN)} if len(cells) > 1 else {}
    pairs |= {cell: (unfrozen[cell], frozen[cell]) for cell in cells}
    means = [
        _mean_of_arms(results, [unfrozen[cell] for cell in cells], MEAN_UNFROZEN),
        _mean_of_arms(results, [frozen[cell] for cell in cells], MEAN_FROZEN),
    ]
    scores = pd.concat([results.scores, *means])
    contrasts = [(network(a), network(b), "auroc") for a, b in pairs.values()]
    tests = adjusted_family(compare_all(replace(results, scores=scores), contrasts))
    rows = []
    for ((name, strategy), (a, b)), test in zip(pairs.items(), tests, strict=True):
        auroc = {
            "unfrozen": mean_score(scores, network(a), "auroc"),
            "frozen": mean_score(scores, network(b), "auroc"),
        }
        rows.append({"network": name, "strategy": strategy, **auroc, **_test_columns(test)})
    caption = (
        "AUROC of test patients with the imputer trained along and with the imputer frozen, fold "
        'by fold; "all" is each fold\'s mean over networks and strategies. Interval and p are of '
        "the corrected resampled t-test (Nadeau-Bengio), p adjusted after Holm over the lines of "
        "this table."
    )
    table = Table("table", pd.DataFrame(rows), "Unfrozen against frozen", caption)
    return tests, {"freezing": table}


def _arms_by_cell(results: Results, regime: str) -> dict[tuple[str, str], str]:
    """(network, strategy) -> the arm of a regime."""
    return {
        (labels["network"], labels["strategy"]): arm
        for arm, labels in results.labels.items()
        if "strategy" in labels and labels["regime"] == regime
    }


def _mean_of_arms(results: Results, arms: Sequence[str], name: str) -> pd.DataFrame:
    """Scores of an arm `name` that has, in every split, the mean of the AUROC of these arms."""
    scores = results.scores[results.scores["arm"].isin(arms) & (results.scores["model"] == MODEL)]
    split = ["model", "group", "fold", "repeat", "metric", "n_train", "n_test"]
    auroc = scores[scores["metric"] == "auroc"]
    return auroc.groupby(split, as_index=False)["value"].mean().assign(arm=name)


def _test_columns(test: Mapping) -> dict[str, float]:
    """What a table shows of a test."""
    low, high = test["ci95"]
    return {
        "difference": test["difference"],
        "low": low,
        "high": high,
        "p (Holm)": test["p_adjusted"],
    }


def after_against_before(results: Results) -> tuple[list[dict], dict[str, Table]]:
    """Imputation error of every classifier's imputer after fine-tuning, minus that of the imputer
    it started from; nothing where no classifier imputes.
    """
    scores = results.scores
    metric = next((m for m in scores["metric"].unique() if m.startswith("mae_")), None)
    imputer = next(arm for arm, labels in results.labels.items() if labels.get("imputer"))
    imputing = arms_with(results, metric) if metric else []
    arms = [arm for arm in arms_with(results, "auroc") if arm in imputing]
    if not arms:
        return [], {}
    contrasts = [(network(arm), network(imputer), metric) for arm in arms]
    tests = adjusted_family(compare_all(results, contrasts))
    before = mean_score(scores, network(imputer), metric)
    rows = []
    for arm, test in zip(arms, tests, strict=True):
        labels = results.labels[arm]
        place = {k: v for k, v in labels.items() if k in ("network", "regime", "strategy")}
        after = mean_score(scores, network(arm), metric)
        errors = {"error before": before, "error after": after}
        auroc = {"AUROC": mean_score(scores, network(arm), "auroc")}
        rows.append({**place, **errors, **_test_columns(test), **auroc})
    caption = (
        "Mean absolute error on held-out cells (z-scores) of the pretrained imputer and of the "
        "same imputer after it was fine-tuned to classify. A positive difference is what was "
        "forgotten; the interval and p are of the corrected resampled t-test (Nadeau-Bengio), p "
        "adjusted after Holm over the lines of this table."
    )
    table = Table("table", pd.DataFrame(rows), "What fine-tuning forgets", caption)
    return tests, {"forgetting": table}
