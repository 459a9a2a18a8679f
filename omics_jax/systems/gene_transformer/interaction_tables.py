"""Pairs of genes that interact in a network: a row for each, tested and listed.

The score of a pair is the magnitude of its interaction in the first fold's network. Its null are
networks trained on draws of that outcome in which no two genes act together
(`tasks.additive_null`), and q is p after Benjamini and Hochberg. Beside it stand readings of
attention, tested against the same networks, and networks that need no training (`plain_networks`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.attribution import top_features
from omics_jax.evaluation.comparisons import benjamini_hochberg
from omics_jax.evaluation.metrics import spearman_rows
from omics_jax.evaluation.tables import Frame, Table
from omics_jax.study.system import MODEL, Predictions, Results
from omics_jax.systems.gene_transformer.plain_networks import PLAIN, plain_networks
from omics_jax.tasks.additive_null import ADDITIVE, outcome_of_draw
from omics_jax.tasks.interpretation import permutation_p_values

PAIRS = "gene_pairs"  # the frame, and its kind
ATTENTION, ROLLOUT = "attention", "rollout"
# How columns of an outcome begin.
STRENGTH, INTERACTION, GRADIENT = "strength_", "interaction_", "gradient_attention_"
KNOWN = "known"  # the column that says which pairs are known edges, where a network is given
TOP, LEVEL = 30, 0.05
Matrix = Float[np.ndarray, "n w"]
Counts = Mapping[str, int | float]


# --- of one training ------------------------------------------------------------------------------


def pair_frame(predictions: Predictions, test: Dataset, train: Dataset) -> Frame:
    """A row per pair of genes: gene_a, gene_b, what the network says of it, and `PLAIN`.

    predictions: with the fields of `interactions.pair_fields`.
    """
    rows = null_frame(predictions, test, train).rows
    alive, first, second = _pairs_of(predictions)
    plain = plain_networks(chosen_values(predictions, train)[:, alive])
    columns = {name: matrix[first, second] for name, matrix in zip(PLAIN, plain, strict=True)}
    return Frame(PAIRS, rows.assign(**columns))


def null_frame(predictions: Predictions, test: Dataset, train: Dataset) -> Frame:
    """A row per pair of genes: gene_a, gene_b, and what the network says of it."""
    names = gene_names(predictions, test)
    alive, first, second = _pairs_of(predictions)
    a, b = alive[first], alive[second]
    columns = {"gene_a": names[first], "gene_b": names[second]}
    starts = (ATTENTION, ROLLOUT, STRENGTH, INTERACTION, GRADIENT)
    fields = [name for name in predictions if name.startswith(starts)]
    columns |= {field: np.asarray(predictions[field], np.float64)[a, b] for field in fields}
    return Frame(PAIRS, pd.DataFrame(columns))


def gene_names(predictions: Predictions, test: Dataset) -> Shaped[np.ndarray, " a"]:
    """The names of the genes that there are."""
    parts = [
        _names_of(test, name, np.asarray(predictions[f"columns_{name}"]))
        for name in test.modalities
    ]
    alive, _, _ = _pairs_of(predictions)
    return np.concatenate(parts)[alive]


def _pairs_of(
    predictions: Predictions,
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """The places of the genes that there are, and of both genes of all pairs among these."""
    alive = np.flatnonzero(np.asarray(predictions["alive"]) > 0.5)
    return alive, *np.triu_indices(len(alive), 1)


def chosen_values(predictions: Predictions, train: Dataset) -> Float[np.ndarray, "n w"]:
    """The values of the genes that a fold chose, missing ones as their mean; 0 without a gene."""
    parts = []
    for name, modality in train.modalities.items():
        observed = np.where(modality.mask, modality.values, np.nan)
        count = np.maximum(modality.mask.sum(axis=0), 1)
        mean = np.nansum(observed, axis=0) / count
        filled = np.where(modality.mask, modality.values, mean)
        padded = np.concatenate([filled, np.zeros((len(filled), 1))], axis=1)
        parts.append(padded[:, np.asarray(predictions[f"columns_{name}"]).astype(int)])
    return np.concatenate(parts, axis=1)


def _names_of(dataset: Dataset, modality: str, columns: np.ndarray) -> np.ndarray:
    """The names of the chosen genes, "" where a fold chose fewer.

    A name that another modality has, too, is followed by the modality, as in "TP53 (rna)".
    """
    own = dataset.modalities[modality].features.astype(str).tolist()
    others = {
        str(feature)
        for name, other in dataset.modalities.items()
        if name != modality
        for feature in other.features
    }
    names = [f"{name} ({modality})" if name in others else name for name in own]
    return np.array([*names, ""])[columns.astype(int)]


# --- of all trainings -----------------------------------------------------------------------------


def pair_tables(results: Results, network: str) -> dict[str, Table]:
    """Every outcome's first pairs as a ranking and all its pairs as a table of edges; summaries.

    network: the arm. The null is the arm `ADDITIVE`.
    """
    frame = results.frames[PAIRS].rows
    frame = frame[frame["model"] == MODEL]
    of_network, of_null = (frame[frame["arm"] == arm] for arm in (network, ADDITIVE))
    redrawn = of_null["group"].map(outcome_of_draw)
    outcomes = [c.removeprefix(STRENGTH) for c in frame if c.startswith(STRENGTH)]
    tables, summaries = {}, []
    for outcome in outcomes:
        edges, summary = tested_pairs(of_network, of_null[redrawn == outcome], outcome)
        summaries.append({"outcome": outcome, **summary})
        tables[f"{outcome}_pairs_ranking"] = _ranking(outcome, edges, summary)
        tables[f"{outcome}_pairs"] = _edges(outcome, edges)
    caption = (
        f"Pairs of genes whose interaction, or attention, is beyond the null at q < {LEVEL:g}. The "
        "null are networks trained on draws of the outcome from a model in which every gene acts "
        "by itself."
    )
    summary = Table("table", pd.DataFrame(summaries), "Interactions beyond the null", caption)
    return {
        "gene_network": summary,
        "gene_network_methods": stability_table(of_network),
        **tables,
    }


def tested_pairs(
    frame: pd.DataFrame, null: pd.DataFrame, outcome: str
) -> tuple[pd.DataFrame, Counts]:
    """The pairs of the first fold, strongest first, and numbers about the tests.

    Columns: gene_a, gene_b; strength, null_strength (mean), p, q; attention_change, its difference
    from the mean of the null, attention_p (two-sided), attention_q; interaction, attention,
    rollout, gradient_attention, and `PLAIN` and `KNOWN` where they were asked for.

    frame: of the network's folds, see `pair_frame`, with the columns group and fold.
    null: of the networks on draws of this outcome.
    """
    first = frame[frame["fold"] == frame["fold"].iloc[0]]
    own = first.set_index(["gene_a", "gene_b"])
    strength = f"{STRENGTH}{outcome}"
    null_strength = by_training(null, strength).reindex(columns=own.index)
    null_attention = by_training(null, ATTENTION).reindex(columns=own.index)
    p, _ = permutation_p_values(own[strength].to_numpy(), null_strength.to_numpy())
    attention_p = two_sided_p(own[ATTENTION].to_numpy(), null_attention.to_numpy())
    renamed = {
        f"{start}{outcome}": start.removesuffix("_") for start in (STRENGTH, INTERACTION, GRADIENT)
    }
    kept = [*renamed, ATTENTION, ROLLOUT, *(name for name in (*PLAIN, KNOWN) if name in own)]
    pairs = (
        own[kept]
        .rename(columns=renamed)
        .assign(
            null_strength=null_strength.mean(axis=0),
            p=p,
            q=benjamini_hochberg(p),
            attention_change=own[ATTENTION] - null_attention.mean(axis=0),
            attention_p=attention_p,
            attention_q=benjamini_hochberg(attention_p),
        )
    )
    summary = {
        "pairs": int(np.isfinite(p).sum()),
        f"q below {LEVEL:g}": int((pairs["q"] < LEVEL).sum()),
        f"attention q below {LEVEL:g}": int((pairs["attention_q"] < LEVEL).sum()),
        "networks of the null": len(null_strength),
    }
    return pairs.sort_values("strength", ascending=False, kind="stable").reset_index(), summary


def two_sided_p(
    observed: Float[np.ndarray, " d"], null: Float[np.ndarray, "p d"]
) -> Float[np.ndarray, " d"]:
    """Twice the smaller of the p-values of a large and of a small value, see `interpretation`."""
    upper, _ = permutation_p_values(observed, null)
    lower, _ = permutation_p_values(-observed, -null)
    return np.minimum(2 * np.minimum(upper, lower), 1)


def by_training(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """(trainings, pairs) a column; nan for pairs of genes that a training did not choose."""
    return frame.pivot_table(
        index=["group", "fold"], columns=["gene_a", "gene_b"], values=column, sort=False
    )


def stability_table(frame: pd.DataFrame) -> Table:
    """How alike two folds rank pairs of genes, by every method. frame: of the network's folds."""
    lines = [
        {"method": in_words(name), "rank stability": round(rank_stability(frame, name), 3)}
        for name in method_columns(frame)
    ]
    caption = (
        "Rank stability: mean Spearman correlation between two folds over the pairs of genes that "
        "both chose. Co-expression and partial correlation (graphical lasso) read the training "
        "patients' expression alone and no outcome; folds share most of their patients."
    )
    return Table("table", pd.DataFrame(lines), "How alike folds rank pairs of genes", caption)


def method_columns(frame: pd.DataFrame) -> list[str]:
    """The columns by which pairs are ranked, without those that are 0 everywhere."""
    starts = (STRENGTH, GRADIENT, ATTENTION, ROLLOUT, *PLAIN)
    return [name for name in frame if name.startswith(starts) and frame[name].to_numpy().any()]


def in_words(column: str) -> str:
    """The method of such a column."""
    for start, words in ((STRENGTH, "interaction"), (GRADIENT, "gradient x attention")):
        if column.startswith(start):
            return f"{words}, {column.removeprefix(start)}"
    return {"coexpression": "co-expression"}.get(column, column.replace("_", " "))


def rank_stability(frame: pd.DataFrame, column: str) -> float:
    """Mean Spearman correlation between two trainings over the pairs of genes that both have.

    nan where no two trainings have three pairs in common.
    """
    values = by_training(frame, column).to_numpy()
    correlations = []
    for i in range(len(values)):
        for other in values[:i]:
            both = np.isfinite(values[i]) & np.isfinite(other)
            if both.sum() >= 3:
                correlations.append(spearman_rows(values[i : i + 1, both], other[None, both])[0])
    return float(np.mean(correlations)) if correlations else float("nan")


def _ranking(outcome: str, edges: pd.DataFrame, summary: Counts) -> Table:
    names = (edges["gene_a"] + " x " + edges["gene_b"]).to_numpy()
    strength, p, q = (edges[name].to_numpy(np.float64) for name in ("strength", "p", "q"))
    frame = top_features(names, strength, p, q, TOP)
    frame["series"] = np.where(
        frame["p_adjusted"] < LEVEL, f"beyond the null (q < {LEVEL:g})", "within the null"
    )
    caption = (
        f"{summary[f'q below {LEVEL:g}']:,} of {summary['pairs']:,} pairs have q < {LEVEL:g}. A "
        "bar is a pair's interaction in the first fold's network: the magnitude of the second "
        "derivative of the prediction by both genes, per s.d. of each, mean over random profiles. "
        f"The null is of {summary['networks of the null']} networks on draws of the outcome from "
        "a model in which every gene acts by itself, in a curve if need be. Where some pairs act "
        "together, others that share a gene with them, or whose genes are correlated with theirs, "
        "can be beyond the null, too."
    )
    title = f"{outcome}: pairs of genes that act together"
    return Table("ranking", frame.dropna(subset=["value"]), title, caption, "interaction")


def _edges(outcome: str, edges: pd.DataFrame) -> Table:
    caption = (
        "A row per pair, as network software reads it (source, target). strength: magnitude of the "
        "interaction in the first fold's network; null_strength: its mean over the networks of the "
        "null; p with the nulls of all pairs pooled, q after Benjamini and Hochberg. interaction: "
        "with its sign, per s.d. of both genes. attention, rollout: of the network, of no outcome "
        "in particular; gradient_attention: attention times the outcome's gradient by it. "
        "attention_change: attention less its mean in the networks of the null, with a two-sided p "
        "and its q. coexpression, partial_correlation: what the training patients' values say by "
        "themselves."
    )
    frame = edges.rename(columns={"gene_a": "source", "gene_b": "target"})
    if KNOWN in frame:
        frame = frame.astype({KNOWN: bool})
        caption += " known: whether the pair is an edge of the network in config.network.edges."
    return Table("table", frame, f"{outcome}: all pairs", caption)
