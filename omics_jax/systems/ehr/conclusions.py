"""What the EHR experiments conclude over all their replicates: tests between arms, and the paper's
tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd

from omics_jax.evaluation import comparisons, shared_test_set
from omics_jax.evaluation.tables import Table
from omics_jax.study.system import MODEL, Findings, Results
from omics_jax.systems.ehr import external, pictures, published


def conclude_outcome(results: Results) -> Findings:
    """Every classifier against boosting and logistic regression, and against each other; curves of
    the pooled folds.
    """
    arms, compare = _classifier_arms(results), partial(comparisons.compare, results.scores)
    tests = _against_baselines(results, arms[:1], compare) + _between_arms(arms, compare)
    return Findings(tests, _outcome_tables(results, arms))


def conclude_external(results: Results) -> Findings:
    """The same where all trainings are tested on the same patients, which then are resampled, too."""
    arms = _classifier_arms(results)
    models = [(arm, MODEL) for arm in arms] + _baselines(results)
    drawn = external.resampled_scores(
        results.tables["probability"], models, pictures.STATISTICS, pictures.DRAWS
    )
    compare = partial(external.compare, drawn, results.scores)
    tests = _against_baselines(results, arms[:1], compare) + _between_arms(arms, compare)
    return Findings(
        tests, _outcome_tables(results, arms), external.intervals(drawn), shared_test_set.METHOD
    )


def _outcome_tables(results: Results, arms: list[str]) -> dict[str, Table]:
    return {
        **pictures.of_outcome(results, arms, _baselines(results)),
        **pictures.of_imputation(results),
    }


def conclude_imputation(results: Results) -> Findings:
    """Held-out errors with corrected tests of the imputers against each other and the simple
    methods.
    """
    scores = results.scores
    arms = list(dict.fromkeys(scores["arm"]))
    first = arms[0]
    metrics = [m for m in scores["metric"].unique() if m.startswith("mae_")]
    rivals = [
        (first, m) for m in scores.loc[scores["arm"] == first, "model"].unique() if m != MODEL
    ]
    rivals += [(arm, MODEL) for arm in arms[1:]]
    tests = [
        c
        for m in metrics
        for r in rivals
        for c in comparisons.compare(scores, (first, MODEL), r, m)
    ]
    return Findings(_adjusted(tests), pictures.of_imputation(results))


def conclude_tables(results: Results) -> Findings:
    """Tables II and III beside the paper's numbers, what freezing costs, and what fine-tuning
    forgets.
    """
    arms = _classifier_arms(results)
    freezing, freezing_table = _unfrozen_against_frozen(results)
    forgetting, forgetting_table = _after_against_before(results)
    shown = {**freezing_table, **forgetting_table, "classical": _classical_table(results)}
    tables = {"paper": _paper_table(results), **shown}
    tests = (
        freezing
        + forgetting
        + _against_baselines(results, arms, partial(comparisons.compare, results.scores))
    )
    return Findings(tests, {**tables, **_outcome_tables(results, arms)})


def conclude_forgetting(results: Results) -> Findings:
    """The imputation error before and after fine-tuning, and the outcome's scores."""
    tests, table = _after_against_before(results)
    against = _against_baselines(
        results, _classifier_arms(results)[:1], partial(comparisons.compare, results.scores)
    )
    return Findings(tests + against, {**table, **pictures.of_imputation(results)})


# --- tests ----------------------------------------------------------------------------------------


def _classifier_arms(results: Results) -> list[str]:
    with_outcome = results.scores[
        (results.scores["metric"] == "auroc") & (results.scores["model"] == MODEL)
    ]
    return list(dict.fromkeys(with_outcome["arm"]))


def _baselines(results: Results) -> list[tuple[str, str]]:
    """(arm, name) of the simple models of the outcome."""
    rows = results.scores[
        (results.scores["metric"] == "auroc") & (results.scores["model"] != MODEL)
    ]
    return list(dict.fromkeys(zip(rows["arm"], rows["model"], strict=True)))


def _against_baselines(results: Results, arms: list[str], compare: Callable) -> list[dict]:
    tests = []
    for arm in arms:
        for rival in _baselines(results):
            for metric in ("auroc", "auprc"):
                tests += compare((arm, MODEL), rival, metric)
    return _adjusted(tests)


def _between_arms(arms: list[str], compare: Callable) -> list[dict]:
    first, *others = arms
    pairs = [(first, other) for other in others] + list(zip(others[1:], others, strict=False))
    return _adjusted([c for a, b in pairs for c in compare((a, MODEL), (b, MODEL), "auroc")])


def _unfrozen_against_frozen(results: Results) -> tuple[list[dict], dict[str, Table]]:
    """AUROC of every network and strategy, unfrozen minus frozen, and of their means where they are
    several.
    """
    arm_of = {
        (v["network"], v["strategy"], v["regime"]): k
        for k, v in results.labels.items()
        if "strategy" in v
    }
    both = [
        (n, s) for n, s, regime in arm_of if regime == "unfrozen" and (n, s, "frozen") in arm_of
    ]
    if not both:
        return [], {}
    pairs = (
        {("all", "average"): ("mean of all unfrozen", "mean of all frozen")}
        if len(both) > 1
        else {}
    )
    pairs |= {cell: (arm_of[*cell, "unfrozen"], arm_of[*cell, "frozen"]) for cell in both}
    mean = lambda regime: _mean_of_arms(
        results, [arm_of[*cell, regime] for cell in both], f"mean of all {regime}"
    )
    scores = pd.concat([results.scores, mean("unfrozen"), mean("frozen")])
    tests = [
        c
        for a, b in pairs.values()
        for c in comparisons.compare(scores, (a, MODEL), (b, MODEL), "auroc")
    ]
    tests = _adjusted(tests)
    rows = [
        {
            "network": network,
            "strategy": strategy,
            "unfrozen": _mean(scores, a, "auroc"),
            "frozen": _mean(scores, b, "auroc"),
            "difference": test["difference"],
            "low": test["ci95"][0],
            "high": test["ci95"][1],
            "p (Holm)": test["p_adjusted"],
        }
        for ((network, strategy), (a, b)), test in zip(pairs.items(), tests, strict=True)
    ]
    caption = (
        'AUROC of test patients with the imputer trained along and with the imputer frozen, fold by fold; "all" is '
        "each fold's mean over networks and strategies. Interval and p are of the corrected "
        "resampled t-test (Nadeau-Bengio), p adjusted after Holm over the lines of this table."
    )
    return tests, {
        "freezing": Table("table", pd.DataFrame(rows), "Unfrozen against frozen", caption)
    }


def _after_against_before(results: Results) -> tuple[list[dict], dict[str, Table]]:
    """Imputation error of every classifier's imputer after fine-tuning, minus that of the imputer
    it started from.
    """
    scores = results.scores
    metric = next((m for m in scores["metric"].unique() if m.startswith("mae_")), None)
    imputer = next(arm for arm, labels in results.labels.items() if labels.get("imputer"))
    errors = scores[(scores["metric"] == metric) & (scores["model"] == MODEL)]
    arms = [arm for arm in _classifier_arms(results) if (errors["arm"] == arm).any()]
    if not arms:
        return [], {}
    tests = [
        c
        for arm in arms
        for c in comparisons.compare(scores, (arm, MODEL), (imputer, MODEL), metric)
    ]
    tests = _adjusted(tests)
    before = _mean(scores, imputer, metric)
    rows = [
        {
            **{
                key: value
                for key, value in results.labels[arm].items()
                if key in ("network", "regime", "strategy")
            },
            "error before": before,
            "error after": _mean(scores, arm, metric),
            "difference": test["difference"],
            "low": test["ci95"][0],
            "high": test["ci95"][1],
            "p (Holm)": test["p_adjusted"],
            "AUROC": _mean(scores, arm, "auroc"),
        }
        for arm, test in zip(arms, tests, strict=True)
    ]
    caption = (
        "Mean absolute error on held-out cells (z-scores) of the pretrained imputer and of the "
        "same imputer after it was fine-tuned to classify. A positive difference is what was "
        "forgotten; the interval and p are of the corrected resampled t-test (Nadeau-Bengio), p "
        "adjusted after Holm over the lines of this table."
    )
    return tests, {
        "forgetting": Table("table", pd.DataFrame(rows), "What fine-tuning forgets", caption)
    }


def _mean_of_arms(results: Results, arms: Sequence[str], name: str) -> pd.DataFrame:
    """Scores of an arm `name` that has, in every split, the mean of the AUROC of these arms."""
    scores = results.scores[results.scores["arm"].isin(arms) & (results.scores["model"] == MODEL)]
    split = ["model", "group", "fold", "repeat", "metric", "n_train", "n_test"]
    return (
        scores[scores["metric"] == "auroc"]
        .groupby(split, as_index=False)["value"]
        .mean()
        .assign(arm=name)
    )


def _adjusted(tests: list[dict]) -> list[dict]:
    """p adjusted after Holm over all the tests of a family."""
    # Each simple model stands beside one arm only: "arm/model" is said by the arm, "arm/simple" by
    # the simple one.
    named = lambda side: side.removesuffix("/model").split("/")[-1]
    return [
        {**c, "a": named(c["a"]), "b": named(c["b"])} for c in comparisons.with_adjusted_p(tests)
    ]


def _mean(scores: pd.DataFrame, arm: str, metric: str, model: str = MODEL) -> float:
    chosen = (scores["arm"] == arm) & (scores["metric"] == metric) & (scores["model"] == model)
    return float(scores.loc[chosen, "value"].mean())


# --- tables ---------------------------------------------------------------------------------------


def _paper_table(results: Results) -> Table:
    """AUROC of every network, strategy and regime beside the paper's."""
    rows = []
    for arm, labels in results.labels.items():
        if "strategy" not in labels:
            continue
        network, regime, strategy = labels["network"], labels["regime"], labels["strategy"]
        printed = (
            published.FROZEN.get((network, strategy), (None, None))
            if regime == "frozen"
            else (None, None)
        )
        rows.append(_paper_row(results, [arm], network, regime, strategy, printed))
    for regime, printed in (
        ("frozen", published.FROZEN_AVERAGE),
        ("unfrozen", published.UNFROZEN_AVERAGE),
    ):
        for network in printed:
            arms = [
                a
                for a, v in results.labels.items()
                if (v.get("network"), v.get("regime")) == (network, regime)
            ]
            if arms:
                rows.append(_paper_row(results, arms, network, regime, "average", printed[network]))
    caption = (
        "AUROC on validation and test patients, mean over folds (s.d. in brackets of the test "
        "values), beside what the paper prints; averages are over the strategies that were run, "
        "the paper's over three. Table III is a picture in the paper; only the averages that its "
        "text names are known. The validation value is the one training stopped on, so it is too "
        "good; the paper's is, too."
    )
    return Table("table", pd.DataFrame(rows), "Tables II and III beside the paper's", caption)


def _paper_row(results: Results, arms, network, regime, strategy, printed) -> dict:
    scores = results.scores[results.scores["arm"].isin(arms) & (results.scores["model"] == MODEL)]
    of = lambda metric: (
        scores.loc[scores["metric"] == metric].groupby(["repeat", "fold"])["value"].mean()
    )
    test = of("auroc")
    ratio = float((scores["n_test"] / scores["n_train"]).mean())
    low, high = comparisons.corrected_interval(test.to_numpy(), ratio)
    return {
        "regime": regime,
        "network": network,
        "strategy": strategy,
        "validation": of("validation_auroc").mean(),
        "validation (paper)": printed[0],
        "test": test.mean(),
        "s.d.": test.std(),
        "low": low,
        "high": high,
        "test (paper)": printed[1],
    }


def _classical_table(results: Results) -> Table:
    """XGBoost and SVM on what the imputer learned, by probabilities and by hard decisions."""
    rows = []
    for arm, model in _baselines(results):
        row = {"model": model}
        for metric, name in (
            ("auroc", "AUROC"),
            ("hard_label_auroc", "AUROC of 0/1 decisions"),
            ("auprc", "AUPRC"),
        ):
            row[name] = _mean(results.scores, arm, metric, model)
        row["AUROC (paper)"] = next(
            (v for k, v in published.CLASSICAL.items() if model.startswith(k)), None
        )
        rows.append(row)
    caption = (
        "Classical models on imputed series and hidden states, and on plain summaries of what was "
        "measured. The paper's .620 and .590 look like areas under the curve of hard 0/1 "
        "decisions, which stand beside ours."
    )
    return Table("table", pd.DataFrame(rows), "Classical models", caption)


BY_EXPERIMENT = {
    "mortality": conclude_outcome,
    "external": conclude_external,
    "imputation": conclude_imputation,
    "table2": conclude_tables,
    "table3": conclude_tables,
    "forgetting": conclude_forgetting,
    "tables": conclude_tables,
}
