"""What the EHR experiments conclude over all their replicates: tests between arms, the paper's tables, the curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from omics_jax.evaluation import classification, comparisons, one_test_set
from omics_jax.evaluation.tables import Table
from omics_jax.systems.ehr import external, published
from omics_jax.systems.system import Findings, Results

BOOSTING = "gradient boosting"
DRAWN, DRAWN_VARIABLES = 4, 8  # models in a picture of curves, variables in one of errors
DRAWS = 1000
STATISTICS = {"auroc": classification.auroc, "auprc": classification.auprc, "brier": classification.brier}


def conclude_outcome(results: Results) -> Findings:
    """Every classifier against boosting and logistic regression, and against each other; curves of the pooled folds."""
    arms, compare = _classifier_arms(results), partial(comparisons.compare, results.scores)
    tests = _against_baselines(results, arms[:1], compare) + _between_arms(arms, compare)
    return Findings(tests, _outcome_tables(results, arms))


def conclude_external(results: Results) -> Findings:
    """The same where all trainings are tested on the same patients, which then are resampled, too."""
    arms = _classifier_arms(results)
    models = [(arm, "model") for arm in arms] + _baselines(results)
    drawn = external.resampled_scores(results.tables["probability"], models, STATISTICS, DRAWS)
    compare = partial(external.compare, drawn, results.scores)
    tests = _against_baselines(results, arms[:1], compare) + _between_arms(arms, compare)
    return Findings(tests, _outcome_tables(results, arms), external.intervals(drawn), one_test_set.METHOD)


def _outcome_tables(results: Results, arms: list[str]) -> dict[str, Table]:
    return {**_curves(results, arms), **_pooled(results, arms), **_imputed(results)}


def conclude_imputation(results: Results) -> Findings:
    """Held-out errors with corrected tests of the imputers against each other and the simple methods."""
    scores = results.scores
    arms = list(dict.fromkeys(scores["arm"]))
    first = arms[0]
    metrics = [m for m in scores["metric"].unique() if m.startswith("mae_")]
    rivals = [(first, m) for m in scores.loc[scores["arm"] == first, "model"].unique() if m != "model"]
    rivals += [(arm, "model") for arm in arms[1:]]
    tests = [c for m in metrics for r in rivals for c in comparisons.compare(scores, (first, "model"), r, m)]
    return Findings(_adjusted(tests), _imputed(results))


def conclude_tables(results: Results) -> Findings:
    """Tables II and III beside the paper's numbers, and what freezing costs."""
    arms = _classifier_arms(results)
    freezing, freezing_table = _unfrozen_against_frozen(results)
    tables = {"paper": _paper_table(results), **freezing_table, "classical": _classical_table(results)}
    tests = freezing + _against_baselines(results, arms, partial(comparisons.compare, results.scores))
    return Findings(tests, {**tables, **_outcome_tables(results, arms)})


def conclude_forgetting(results: Results) -> Findings:
    """The imputation error before and after fine-tuning, and the outcome's scores."""
    scores, arms = results.scores, _classifier_arms(results)
    metric = next(m for m in scores["metric"].unique() if m.startswith("mae_"))
    imputer = next(arm for arm, labels in results.labels.items() if labels.get("imputer"))
    tests = [c for arm in arms for c in comparisons.compare(scores, (arm, "model"), (imputer, "model"), metric)]
    tests = _adjusted(tests)
    before = _mean(scores, imputer, metric)
    rows = [
        {
            "network": results.labels[arm]["network"],
            "regime": results.labels[arm]["regime"],
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
        "Mean absolute error on held-out cells (z-scores) of the pretrained imputer and of the same imputer after it "
        "was fine-tuned to classify. A positive difference is what was forgotten; the interval and p are of the "
        "corrected resampled t-test (Nadeau-Bengio), p adjusted after Holm."
    )
    table = Table("table", pd.DataFrame(rows), "What fine-tuning forgets", caption)
    tests += _against_baselines(results, arms[:1], partial(comparisons.compare, results.scores))
    return Findings(tests, {"forgetting": table, **_imputed(results)})


# --- tests ---------------------------------------------------------------------------------------------------------


def _classifier_arms(results: Results) -> list[str]:
    with_outcome = results.scores[(results.scores["metric"] == "auroc") & (results.scores["model"] == "model")]
    return list(dict.fromkeys(with_outcome["arm"]))


def _baselines(results: Results) -> list[tuple[str, str]]:
    """(arm, name) of the simple models of the outcome."""
    rows = results.scores[(results.scores["metric"] == "auroc") & (results.scores["model"] != "model")]
    return list(dict.fromkeys(zip(rows["arm"], rows["model"], strict=True)))


def _against_baselines(results: Results, arms: list[str], compare: Callable) -> list[dict]:
    tests = []
    for arm in arms:
        for rival in _baselines(results):
            if rival[0] in arms or len(arms) > 1:
                for metric in ("auroc", "auprc"):
                    tests += compare((arm, "model"), rival, metric)
    return _adjusted(tests)


def _between_arms(arms: list[str], compare: Callable) -> list[dict]:
    first, *others = arms
    pairs = [(first, other) for other in others] + list(zip(others[1:], others, strict=False))
    return _adjusted([c for a, b in pairs for c in compare((a, "model"), (b, "model"), "auroc")])


def _unfrozen_against_frozen(results: Results) -> tuple[list[dict], dict[str, Table]]:
    """AUROC of every network and strategy, unfrozen minus frozen, and of their means where they are several."""
    arm_of = {(v["network"], v["strategy"], v["regime"]): k for k, v in results.labels.items() if "strategy" in v}
    both = [(n, s) for n, s, regime in arm_of if regime == "unfrozen" and (n, s, "frozen") in arm_of]
    if not both:
        return [], {}
    pairs = {("all", "average"): ("mean of all unfrozen", "mean of all frozen")} if len(both) > 1 else {}
    pairs |= {cell: (arm_of[*cell, "unfrozen"], arm_of[*cell, "frozen"]) for cell in both}
    mean = lambda regime: _mean_of_arms(results, [arm_of[*cell, regime] for cell in both], f"mean of all {regime}")
    scores = pd.concat([results.scores, mean("unfrozen"), mean("frozen")])
    tests = [c for a, b in pairs.values() for c in comparisons.compare(scores, (a, "model"), (b, "model"), "auroc")]
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
        "each fold's mean over networks and strategies. Interval and p are of the corrected resampled "
        "t-test (Nadeau-Bengio), p adjusted after Holm over the lines of this table."
    )
    return tests, {"freezing": Table("table", pd.DataFrame(rows), "Unfrozen against frozen", caption)}


def _mean_of_arms(results: Results, arms: Sequence[str], name: str) -> pd.DataFrame:
    """Scores of an arm `name` that has, in every split, the mean of the AUROC of these arms."""
    scores = results.scores[results.scores["arm"].isin(arms) & (results.scores["model"] == "model")]
    split = ["model", "group", "fold", "repeat", "metric", "n_train", "n_test"]
    return scores[scores["metric"] == "auroc"].groupby(split, as_index=False)["value"].mean().assign(arm=name)


def _adjusted(tests: list[dict]) -> list[dict]:
    """p adjusted after Holm over all the tests of a family."""
    # Each simple model stands beside one arm only: "arm/model" is said by the arm, "arm/simple" by the simple one.
    named = lambda side: side.removesuffix("/model").split("/")[-1]
    return [{**c, "a": named(c["a"]), "b": named(c["b"])} for c in comparisons.with_adjusted_p(tests)]


def _mean(scores: pd.DataFrame, arm: str, metric: str, model: str = "model") -> float:
    chosen = (scores["arm"] == arm) & (scores["metric"] == metric) & (scores["model"] == model)
    return float(scores.loc[chosen, "value"].mean())


# --- tables and figures --------------------------------------------------------------------------------------------


def _pooled_predictions(results: Results, arm: str, model: str) -> pd.DataFrame:
    """One probability per patient: that of the fold (or the mean of the folds) that tested it."""
    frame = results.tables["probability"]
    chosen = frame[(frame["arm"] == arm) & (frame["model"] == model)]
    first = {name: (name, "first") for name in ("label", "person")}
    return chosen.groupby("id").agg(probability=("probability", "mean"), **first).sort_index()


def _drawn(results: Results, arms: list[str]) -> list[tuple[str, str, str]]:
    """(arm, model, name) of the best arms and of the two baselines that matter."""
    best = sorted(arms, key=lambda arm: -_mean(results.scores, arm, "auroc"))
    simple = [(arm, model, model) for arm, model in _baselines(results) if model in (BOOSTING, "logistic regression")]
    return [(arm, "model", arm) for arm in best[: DRAWN - len(simple[:2])]] + simple[:2]


def _curves(results: Results, arms: list[str]) -> dict[str, Table]:
    """ROC, precision-recall and calibration curves of pooled test patients."""
    roc, pr, calibration = [], [], []
    for arm, model, name in _drawn(results, arms):
        pooled = _pooled_predictions(results, arm, model)
        p, y = pooled["probability"].to_numpy(), pooled["label"].to_numpy()
        frame = lambda curve: pd.DataFrame({k: v for k, v in curve.items() if k != "threshold"})
        area = f"{name}, AUROC {classification.auroc(p, y):.3f}"
        roc.append(frame(classification.roc_curve(p, y)).assign(series=area))
        precision = f"{name}, AUPRC {classification.auprc(p, y):.3f}"
        pr.append(frame(classification.precision_recall_curve(p, y)).assign(series=precision, chance=y.mean()))
        calibration.append(frame(classification.calibration_curve(p, y)).assign(series=name))
    pooled_note = "Every patient once, with the mean probability of the folds that tested it; folds pooled."
    return {
        "roc": Table("roc", pd.concat(roc), "ROC curves", pooled_note, "false positive rate", "true positive rate"),
        "pr": Table("pr", pd.concat(pr), "Precision and recall", pooled_note, "recall", "precision"),
        "calibration": Table(
            "calibration",
            pd.concat(calibration),
            "Calibration",
            f"{pooled_note} Tenths of the patients by predicted risk; bars are 95 % Wilson intervals.",
            "predicted risk",
            "observed rate",
        ),
    }


def _pooled(results: Results, arms: list[str]) -> dict[str, Table]:
    """Scores over pooled test patients with bootstrap intervals, and each model's difference from boosting."""
    everyone = [(arm, "model") for arm in arms] + _baselines(results)
    reference = next((pair for pair in everyone if pair[1] == BOOSTING), None)
    against = _pooled_predictions(results, *reference) if reference else None
    rows = []
    for arm, model in everyone:
        pooled = _pooled_predictions(results, arm, model)
        p, y, person = (pooled[name].to_numpy() for name in ("probability", "label", "person"))
        row = {"model": arm if model == "model" else model, "patients": len(y)}
        for name, statistic in STATISTICS.items():
            low, high = classification.bootstrap_interval(statistic, p, y, person, n=DRAWS)
            row |= {
                name.upper() if name != "brier" else "Brier": statistic(p, y),
                f"{name} low": low,
                f"{name} high": high,
            }
        if against is not None and (arm, model) != reference:
            difference, low, high, chance = classification.paired_bootstrap(
                classification.auroc, p, against["probability"].to_numpy(), y, person, n=DRAWS
            )
            row |= {"AUROC - boosting": difference, "low": low, "high": high, "p": chance}
        rows.append(row)
    caption = (
        "Scores over all tested patients pooled, with 95 % intervals from a bootstrap over patients (1,000 draws; all "
        "stays of a person together), "
        "and the paired difference in AUROC from gradient boosting on plain summaries, trained on the same rows. This "
        "interval knows the sampling of test patients and not that of training sets; the corrected tests above do."
    )
    return {"pooled": Table("table", pd.DataFrame(rows), "Pooled scores", caption)}


def _imputed(results: Results) -> dict[str, Table]:
    """Error by variable of models and simple methods, and the series of a few patients of the first fold."""
    if "variables" not in results.tables:
        return {}
    frame = results.tables["variables"]
    first_arm, level = frame["arm"].iloc[0], frame["level"].iloc[0]
    shown = frame[frame["level"] == level]
    weighted = shown.assign(mae=shown["mae"] * shown["n"], mae_units=shown["mae_units"] * shown["n"])
    table = weighted.groupby(["arm", "model", "variable"], sort=False)[["n", "mae", "mae_units"]].sum(min_count=1)
    table = table.assign(mae=table["mae"] / table["n"], mae_units=table["mae_units"] / table["n"]).reset_index()
    table = table[(table["arm"] == first_arm) | (table["model"] == "model")]
    name = lambda row: row["arm"] if row["model"] == "model" else row["model"]
    table["method"] = table.apply(name, axis=1)
    wide = table.pivot_table(index="variable", columns="method", values="mae", sort=False)
    own = table[(table["arm"] == first_arm) & (table["model"] == "model")].set_index("variable")
    wide.insert(0, "held-out cells", own["n"].astype(int))
    wide[f"{first_arm}, input units"] = own["mae_units"]
    wide = wide.sort_values("held-out cells", ascending=False).reset_index()
    few = wide["variable"][:DRAWN_VARIABLES]
    dots = table[table["model"].isin(["model", "linear", "locf"]) & table["variable"].isin(few)]
    dots = pd.DataFrame({"label": dots["variable"], "value": dots["mae"], "series": dots["method"]})
    held = f"the {level} % of observed values held out" if str(level).isdigit() else "the values that the file held out"
    out = {
        "errors_by_variable": Table(
            "table", wide, "Error by variable",
            f"Mean absolute error on {held}, in s.d. of the training rows; last column in the variable's own units.",
        ),
        "error_ranking": Table(
            "ranking", dots, "Error of the most measured variables",
            f"Mean absolute error on {held} (s.d. of the training rows), per variable and method.",
            x_label="mean absolute error (s.d.)",
        ),
        "errors_by_variable_and_share": Table(
            "file", _all_errors(frame), "Error by variable and share held out",
            "Mean absolute, root mean square and mean relative error on the scale of the training rows and in the "
            "variable's own units (_units), over the held-out cells (n) of the test patients of all folds.",
        ),
    }  # fmt: skip
    if "series" in results.tables:
        series = results.tables["series"]
        series = series[(series["fold"] == series["fold"].min()) & (series["arm"] == series["arm"].iloc[0])]
        out["series"] = Table(
            "series", series[["panel", "variable", "x", "value", "low", "high", "role"]], "Imputed series",
            "Four of the best observed test patients of the first fold. The line is what the model imputes, with the "
            "disagreement of its two directions as a band; filled dots were seen by it, open dots were held out.",
            x_label="hours since admission",
        )  # fmt: skip
    return out


def _all_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Every kind of error by arm, model, level and variable, cells of all folds pooled."""
    by = ["arm", "model", "level", "variable"]
    kinds = [f"{kind}{unit}" for unit in ("", "_units") for kind in ("mae", "rmse", "mre")]
    # What is added up: absolute errors, squared errors, and (error / its relative error) the size of the truth.
    sums = frame[[*by, "n"]].copy()
    for unit in ("", "_units"):
        mae, rmse, mre = (frame[f"{kind}{unit}"] for kind in ("mae", "rmse", "mre"))
        sums[f"mae{unit}"], sums[f"rmse{unit}"] = mae * frame["n"], rmse**2 * frame["n"]
        sums[f"mre{unit}"] = np.where(mre > 0, mae * frame["n"] / mre.where(mre > 0, 1), 0)
    total = sums.groupby(by, sort=False)[["n", *kinds]].sum().reset_index()
    for unit in ("", "_units"):
        error, size = total[f"mae{unit}"], total[f"mre{unit}"]
        total[f"mre{unit}"] = error / size.where(size > 0)
        total[f"mae{unit}"] = error / total["n"].where(total["n"] > 0)
        total[f"rmse{unit}"] = np.sqrt(total[f"rmse{unit}"] / total["n"].where(total["n"] > 0))
    return total


def _paper_table(results: Results) -> Table:
    """AUROC of every network, strategy and regime beside the paper's."""
    rows = []
    for arm, labels in results.labels.items():
        if "strategy" not in labels:
            continue
        network, regime, strategy = labels["network"], labels["regime"], labels["strategy"]
        printed = published.FROZEN.get((network, strategy), (None, None)) if regime == "frozen" else (None, None)
        rows.append(_paper_row(results, [arm], network, regime, strategy, printed))
    for regime, printed in (("frozen", published.FROZEN_AVERAGE), ("unfrozen", published.UNFROZEN_AVERAGE)):
        for network in printed:
            arms = [a for a, v in results.labels.items() if (v.get("network"), v.get("regime")) == (network, regime)]
            if arms:
                rows.append(_paper_row(results, arms, network, regime, "average", printed[network]))
    caption = (
        "AUROC on validation and test patients, mean over folds (s.d. in brackets of the test values), beside what "
        "the paper prints; averages are over the strategies that were run, the paper's over three. "
        "Table III is a picture in the paper; only the averages that its text names are known. The "
        "validation value is the one training stopped on, so it is too good; the paper's is, too."
    )
    return Table("table", pd.DataFrame(rows), "Tables II and III beside the paper's", caption)


def _paper_row(results: Results, arms, network, regime, strategy, printed) -> dict:
    scores = results.scores[results.scores["arm"].isin(arms) & (results.scores["model"] == "model")]
    of = lambda metric: scores.loc[scores["metric"] == metric].groupby(["repeat", "fold"])["value"].mean()
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
        for metric, name in (("auroc", "AUROC"), ("hard_label_auroc", "AUROC of 0/1 decisions"), ("auprc", "AUPRC")):
            row[name] = _mean(results.scores, arm, metric, model)
        row["AUROC (paper)"] = next((v for k, v in published.CLASSICAL.items() if model.startswith(k)), None)
        rows.append(row)
    caption = (
        "Classical models on imputed series and hidden states, and on plain summaries of what was measured. The "
        "paper's .620 and .590 look like areas under the curve of hard 0/1 decisions, which stand beside ours."
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
