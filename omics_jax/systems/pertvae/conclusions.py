"""Conclusions of PertVAE's experiments: table 1, figure 2, expression changes, latent shifts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from omics_jax.evaluation import comparisons
from omics_jax.evaluation.measures import measure_of
from omics_jax.evaluation.tables import Table
from omics_jax.study.comparisons import Contrast, compare_all, network
from omics_jax.study.system import MODEL, Findings, Results
from omics_jax.systems.pertvae import external

# Predicted changes are compared with rivals that smooth the control too: its noise enters the
# observed change, so smoothing alone correlates with it, even for an inert drug (measured by
# benchmarks/pertvae_truth.py --part=null).
SMOOTHING = ("ridge", "PCA + linear")
CHANGE_METRICS = ("delta_pearson", "top50_recall")
PROFILE_METRICS = ("rho_pred", "rmse")
RECONSTRUCTION = "reconstruction of x1"
HELD_OUT_CHANGE = (
    "held-out pairs of the first repeat, each predicted by a model that never saw its group"
)
EXTERNAL_CHANGE = "the external pairs, averaged over the trainings that predict them"


def conclude_perturbation(results: Results) -> Findings:
    """Table 1 with the paper's tests and corrected ones, and figures of change and latent shift."""
    scores = results.scores
    against_rivals = [
        test
        for metric, rival in _contrasts(scores)
        for test in comparisons.compare(scores, MODEL, rival, metric)
    ]
    against_reconstruction = _rho_comparison(scores)
    tables = {
        "table1": _table1(results, against_reconstruction),
        "scores_by_drug": _scores_by_group(scores),
        **_change_tables(results),
        **_latent_tables(results),
    }
    return Findings([*against_reconstruction, *against_rivals], tables)


def _contrasts(scores: pd.DataFrame) -> list[tuple[str, str]]:
    """The metrics in which the model is compared with its rivals, and these."""
    rivals = [model for model in scores["model"].unique() if model != MODEL]
    smoothing = [rival for rival in rivals if rival in SMOOTHING]
    return [
        *((metric, rival) for metric in PROFILE_METRICS for rival in rivals),
        *((metric, rival) for metric in CHANGE_METRICS for rival in smoothing),
    ]


def conclude_external(results: Results) -> Findings:
    """The same on external pairs, all tested by every training: cell lines are resampled, too."""
    drawn = external.resample(results)
    against_reconstruction = external.compare(
        drawn, (MODEL, "rho_pred"), (MODEL, "rho_rec"), ("rho", MODEL, RECONSTRUCTION)
    )
    against_rivals = [
        test
        for metric, rival in _contrasts(results.scores)
        for test in external.compare(
            drawn, (MODEL, metric), (rival, metric), (metric, MODEL, rival)
        )
    ]
    tables = {
        "external": external.table(results, drawn, against_reconstruction),
        "scores_by_drug": external.scores_by_drug(drawn),
        **_change_tables(results, EXTERNAL_CHANGE),
        **_latent_tables(results),
    }
    return Findings(
        [*against_reconstruction, *against_rivals],
        tables,
        external.intervals(drawn),
        external.METHOD,
    )


def _rho_comparison(scores: pd.DataFrame) -> list[dict]:
    """rho_pred against rho_rec of the same model: the paper's contrast, by the corrected t-test."""
    model_scores = scores[scores["model"] == MODEL]
    predicted = model_scores[model_scores["metric"] == "rho_pred"].assign(metric="rho")
    reconstructed = model_scores[model_scores["metric"] == "rho_rec"].assign(
        metric="rho", model=RECONSTRUCTION
    )
    both = pd.concat([predicted, reconstructed])
    return comparisons.compare(both, MODEL, RECONSTRUCTION, "rho", alternative="greater")


def _table1(results: Results, corrected: list[dict]) -> Table:
    """A row for every drug. corrected: the tests of `_rho_comparison`."""
    scores = results.scores[results.scores["model"] == MODEL]
    splits = ["group", "fold", "repeat"]
    wide = scores.pivot_table(index=splits, columns="metric", values="value").reset_index()
    test_of = {test["group"]: test for test in corrected}
    rows = [
        _row_of_drug(str(group), part, results.sizes[str(group)], test_of[str(group)])
        for group, part in wide.groupby("group", sort=False)
    ]
    caption = (
        "rho_rec and rho_pred are the paper's Spearman correlations with the observed treated "
        "profile, of the reconstructed control and of the prediction. The paper's one-sided "
        "Mann-Whitney test takes overlapping splits for independent ones, so its p-values are too "
        "small; the corrected resampled t-test (Nadeau-Bengio, paired, one-sided; interval "
        "two-sided) with Benjamini-Hochberg over drugs is the one to quote. delta_pearson and "
        "top50_recall judge the predicted change itself."
    )
    return Table(
        "table",
        pd.DataFrame(rows),
        "Table 1: does the drug's function predict the treated profile?",
        caption,
    )


def _row_of_drug(drug: str, scores: pd.DataFrame, size: tuple[int, int], test: Mapping) -> dict:
    """One drug's line of table 1. scores: a row per split. size: (cell lines, pairs)."""
    groups, pairs = size
    low, high = test["ci95"]
    predicted, reconstructed = scores["rho_pred"], scores["rho_rec"]
    whitney = comparisons.mann_whitney_greater(predicted.to_numpy(), reconstructed.to_numpy())
    return {
        "drug": drug,
        "groups": groups,
        "pairs": pairs,
        "rho_rec": reconstructed.mean(),
        "rho_pred": predicted.mean(),
        "difference": test["difference"],
        "low": low,
        "high": high,
        "p (Mann-Whitney)": whitney.p,
        "p (corrected)": test["p"],
        "p (corrected, BH)": test["p_adjusted"],
        "delta_pearson": scores["delta_pearson"].mean(),
        "top50_recall": scores["top50_recall"].mean(),
    }


def _interval(scores: pd.DataFrame) -> tuple[float, float, float]:
    """The mean of one metric over splits with its corrected 95 % interval: (mean, low, high)."""
    ratio = float((scores["n_test"] / scores["n_train"]).mean())
    measure = measure_of(str(scores["metric"].iloc[0]))
    summary = comparisons.summarize(scores["value"].to_numpy(), ratio, measure)
    return (summary["mean"], *summary["ci95"])


def _scores_by_group(scores: pd.DataFrame) -> Table:
    """Correlation of the predicted with the observed change, by drug and model."""
    shift = scores[scores["metric"] == "delta_pearson_shift"]
    shifted = shift.assign(model="model, drug's own change")
    both = pd.concat([shifted, scores[scores["metric"] == "delta_pearson"]])
    rows = []
    for (group, model), part in both.groupby(["group", "model"], sort=False):
        mean, low, high = _interval(part)
        rows.append({"label": model, "series": group, "value": mean, "low": low, "high": high})
    caption = (
        "Mean over splits with its 95 % interval (corrected for overlapping splits). Predicting "
        "no change scores 0 by definition. The noise of the control enters the observed change "
        "and, through x1, any prediction that smooths the profile, so model, ridge and PCA lie "
        "above 0 even for an inert drug: compare those with each other. The mean shift and the "
        "nearest cell line are free of that, and nearly so is the drug's own change, which is "
        "prediction minus reconstruction."
    )
    return Table(
        "intervals",
        pd.DataFrame(rows),
        "Correlation of the predicted with the observed change",
        caption,
        x_label="Pearson correlation over genes",
    )


def _change_tables(results: Results, who: str = HELD_OUT_CHANGE) -> dict[str, Table]:
    """Mean predicted and observed change of every gene, pairs of all folds together.

    who: whose pairs they are and by whom they were predicted, for the caption.
    """
    if "change" not in results.frames:
        return {}
    frame = results.frames["change"].rows
    weighted = frame.assign(
        predicted=frame["predicted"] * frame["pairs"], observed=frame["observed"] * frame["pairs"]
    )
    by_gene = weighted.groupby(["group", "gene"], sort=False)
    sums = by_gene[["predicted", "observed", "pairs"]].sum().reset_index()
    columns = {
        "x": sums["predicted"] / sums["pairs"],
        "y": sums["observed"] / sums["pairs"],
        "series": sums["group"],
        "gene": sums["gene"],
    }
    change = pd.DataFrame(columns)
    scatter = Table(
        "scatter",
        change,
        "Predicted against observed change",
        f"Each point is a gene: its mean change over {who}. Predicted is the drug's own change, "
        "prediction minus reconstruction of the control. Points on the line are predicted "
        "exactly.",
        x_label="predicted change (input units)",
        y_label="observed change (input units)",
    )
    return {"change": scatter}


def _latent_tables(results: Results) -> dict[str, Table]:
    """Where pairs lie in the latent space of one model, before and after."""
    if "latent" not in results.frames:
        return {}
    frame = results.frames["latent"].rows
    # Latent dimensions mean something within one model only, so only the first split's model is
    # drawn.
    frame = frame[frame["fold"] == frame["fold"].min()]
    arrows = [_arrows(part, str(group)) for group, part in frame.groupby("group", sort=False)]
    table = Table(
        "arrows",
        pd.concat(arrows),
        "Latent shift of held-out pairs",
        "Where the first split's model places each held-out control (start) and its "
        "predicted treated state (tip), along the mean shift (across) and the main remaining "
        "difference between cell lines (up).",
        x_label="latent state along the mean shift",
        y_label="first principal component of the rest",
    )
    return {"latent_shift": table}


def _arrows(frame: pd.DataFrame, group: str) -> pd.DataFrame:
    """From z1 to z2 of one drug's pairs, on the plane of `_principal_plane`."""
    z1, z2 = (
        frame.pivot(index="id", columns="dimension", values=name).to_numpy()
        for name in ("z1", "z2")
    )
    plane, centre = _principal_plane(z1, z2), z1.mean(axis=0)
    start, end = (z1 - centre) @ plane, (z2 - centre) @ plane
    columns = {"x": start[:, 0], "y": start[:, 1], "x_end": end[:, 0], "y_end": end[:, 1]}
    return pd.DataFrame({**columns, "series": group})


def _principal_plane(
    z1: Float[np.ndarray, "n latent"], z2: Float[np.ndarray, "n latent"]
) -> Float[np.ndarray, "latent 2"]:
    """The unit mean shift, and the first principal axis of z1 orthogonal to it."""
    shift = (z2 - z1).mean(axis=0)
    first = shift / max(np.linalg.norm(shift), 1e-12)
    rest = z1 - z1.mean(axis=0)
    rest = rest - np.outer(rest @ first, first)
    second = np.linalg.svd(rest, full_matrices=False)[2][0]
    return np.stack([first, second], axis=1)


def conclude_reconstruction(results: Results) -> Findings:
    """Figure 2's curve and the paired tests of VAE against PCA at each latent size."""
    metric = "rho_reconstruction"
    scores = results.scores[results.scores["metric"] == metric]
    rows = []
    contrasts: list[Contrast] = []
    for arm, of_arm in scores.groupby("arm", sort=False):
        contrasts.append((network(str(arm)), (str(arm), "PCA"), metric))
        for model, part in of_arm.groupby("model", sort=False):
            mean, low, high = _interval(part)
            series = "VAE" if model == MODEL else model
            latent = results.labels[arm]["latent"]
            rows.append({"x": latent, "y": mean, "low": low, "high": high, "series": series})
    tests = compare_all(results, contrasts)
    tests = comparisons.with_adjusted_p(tests, comparisons.benjamini_hochberg)
    curve = Table(
        "curve",
        pd.DataFrame(rows),
        "Figure 2: reconstruction by latent size",
        "Spearman correlation over genes of held-out profiles with their reconstruction; bars "
        "are 95 % intervals over splits (corrected). The paper's claim is that the VAE is better "
        "below 20 dimensions and worse above.",
        x_label="latent dimensions",
        y_label="Spearman correlation",
    )
    return Findings(tests, {"figure2": curve})
