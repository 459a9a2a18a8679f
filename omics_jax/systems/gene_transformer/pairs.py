"""Pairs of genes that interact in a network: scored, tested against permuted outcomes, and listed.

A pair's score is its share of the sum over all pairs of a training, because a network that learned
something is stronger in all pairs. Its p-value is that of the share in the first fold among shares
of all pairs in networks trained on permuted outcomes; q is p after Benjamini and Hochberg.
Beside it stand what a biologist would compute without a network, of the training patients:
co-expression, and partial correlation by the graphical lasso.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.attribution import spearman_stability, top_features
from omics_jax.evaluation.comparisons import benjamini_hochberg
from omics_jax.evaluation.tables import Frame, Table
from omics_jax.study.system import MODEL, Predictions, Results
from omics_jax.tasks.interpretation import attribution_shares, permutation_p_values
from omics_jax.tasks.task import Task

PAIRS = "gene_pairs"  # the frame, and its kind
ATTENTION = "attention"
STRENGTH, INTERACTION = "strength_", "interaction_"  # how columns of an outcome begin
PLAIN = ("coexpression", "partial_correlation")
TOP, LEVEL = 30, 0.05
_ROUNDING = 1e-6  # of a value in single precision, such as the mean of equal values
Matrix = Float[np.ndarray, "n w"]


# --- of one training ------------------------------------------------------------------------------


def pair_frame(
    tasks: Sequence[Task],
    predictions: Predictions,
    test: Dataset,
    values: Matrix | None,
) -> Frame:
    """A row per pair of genes: gene_a, gene_b, what the network says of it, and `PLAIN`.

    predictions: with the fields of `gene_network.pair_fields`.
    values: of the training patients, of the same genes in the same order, nothing missing; None for
      a network beside which `PLAIN` is not asked for.
    """
    names = np.concatenate(
        [
            _names_of(test, name, np.asarray(predictions[f"columns_{name}"]))
            for name in test.modalities
        ]
    )
    alive = np.flatnonzero(np.asarray(predictions["alive"]) > 0.5)
    first, second = np.triu_indices(len(alive), 1)
    a, b = alive[first], alive[second]
    columns = {"gene_a": names[a], "gene_b": names[b]}
    fields = [ATTENTION]
    fields += [f"{start}{task.name}" for task in tasks for start in (STRENGTH, INTERACTION)]
    columns |= {field: np.asarray(predictions[field], np.float64)[a, b] for field in fields}
    if values is not None:
        plain = dict(zip(PLAIN, plain_networks(values[:, alive]), strict=True))
        columns |= {name: matrix[first, second] for name, matrix in plain.items()}
    return Frame(PAIRS, pd.DataFrame(columns))


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


def plain_networks(values: Matrix) -> tuple[Float[np.ndarray, "w w"], Float[np.ndarray, "w w"]]:
    """Magnitudes of correlation, and of partial correlation by the graphical lasso.

    The penalty of the lasso is chosen by cross-validation; genes that do not vary beyond rounding
    have 0. Partial correlations are nan where the lasso fails, as it may beside two equal genes.
    """
    from sklearn.covariance import GraphicalLassoCV

    values, w = values.astype(np.float64), values.shape[1]
    correlation, partial = np.zeros((2, w, w))
    varies = np.flatnonzero(np.ptp(values, axis=0) > _ROUNDING * np.abs(values).max(axis=0))
    if len(varies) < 2:
        return correlation, partial
    scaled = values[:, varies] - values[:, varies].mean(axis=0)
    scaled = scaled / scaled.std(axis=0)
    places = np.ix_(varies, varies)
    correlation[places] = np.abs(np.corrcoef(scaled.T))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the penalties that are tried, some fail
            precision = GraphicalLassoCV().fit(scaled).precision_
    except FloatingPointError:  # ill-conditioned
        partial[places] = np.nan
        return correlation, partial
    sd = np.sqrt(np.diag(precision))
    partial[places] = np.abs(precision / np.outer(sd, sd))
    return correlation, partial


# --- of all trainings -----------------------------------------------------------------------------


def pair_tables(results: Results, network: str, permuted: str) -> dict[str, Table]:
    """Every outcome's first pairs as a ranking and all its pairs as a table of edges; a summary.

    network, permuted: the arms.
    """
    frame = results.frames[PAIRS].rows
    frame = frame[frame["model"] == MODEL]
    tasks = [c.removeprefix(STRENGTH) for c in frame.columns if c.startswith(STRENGTH)]
    tables, summaries = {}, []
    for task in tasks:
        edges, summary = tested_pairs(frame, f"{STRENGTH}{task}", network, permuted)
        own = _of_first_fold(frame, network)
        shown = [ATTENTION, *(name for name in PLAIN if name in own)]
        edges = edges.join(own[[f"{INTERACTION}{task}", *shown]])
        edges = edges.rename(columns={f"{INTERACTION}{task}": "interaction"}).reset_index()
        summaries.append({"outcome": task, **summary})
        tables[f"{task}_pairs_ranking"] = _ranking(task, edges, summary)
        tables[f"{task}_pairs"] = _edges(task, edges)
    caption = (
        f"Pairs of genes beyond the networks on permuted outcomes at q < {LEVEL:g}. Rank "
        "stability: mean Spearman correlation of the pairs' shares between the networks of two "
        "folds."
    )
    summary_table = Table("table", pd.DataFrame(summaries), "Interactions beyond the null", caption)
    return {"gene_network": summary_table, **tables}


def tested_pairs(
    frame: pd.DataFrame, column: str, network: str, permuted: str
) -> tuple[pd.DataFrame, Mapping[str, int | float]]:
    """The pairs, strongest first, and numbers about the tests.

    Columns: share (of the first fold), null_share, share_over_folds, p, q; a pair that a fold did
    not choose has 0 there.
    """
    folds, null = (_shares(frame, column, arm) for arm in (network, permuted))
    null = null.reindex(columns=folds.columns, fill_value=0.0)
    p, _ = permutation_p_values(folds.to_numpy()[0], null.to_numpy())
    pairs = pd.DataFrame(
        {
            "share": folds.iloc[0],
            "share_over_folds": folds.mean(axis=0),
            "null_share": null.mean(axis=0),
            "p": p,
            "q": benjamini_hochberg(p),
        }
    )
    summary = {
        "pairs": int(np.isfinite(p).sum()),
        f"q below {LEVEL:g}": int((pairs["q"] < LEVEL).sum()),
        "permutations": len(null),
        "rank stability": round(spearman_stability(folds.to_numpy()), 3),
    }
    return pairs.sort_values("share", ascending=False, kind="stable"), summary


def _shares(frame: pd.DataFrame, column: str, arm: str) -> pd.DataFrame:
    """(trainings, pairs) shares of an arm's trainings."""
    rows = frame[frame["arm"] == arm]
    wide = rows.pivot_table(
        index=["group", "fold"], columns=["gene_a", "gene_b"], values=column, sort=False
    ).fillna(0.0)
    return pd.DataFrame(attribution_shares(wide.to_numpy()), wide.index, wide.columns)


def _of_first_fold(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    rows = frame[frame["arm"] == arm]
    first = rows[rows["fold"] == rows["fold"].iloc[0]]
    return first.set_index(["gene_a", "gene_b"])


def _ranking(task: str, edges: pd.DataFrame, summary: Mapping[str, int | float]) -> Table:
    names = (edges["gene_a"] + " x " + edges["gene_b"]).to_numpy()
    share, p, q = (edges[name].to_numpy(np.float64) for name in ("share", "p", "q"))
    frame = top_features(names, 100 * share, p, q, TOP)
    frame["series"] = np.where(
        frame["p_adjusted"] < LEVEL, f"beyond the null (q < {LEVEL:g})", "within the null"
    )
    caption = (
        f"{summary[f'q below {LEVEL:g}']:,} of {summary['pairs']:,} pairs have q < {LEVEL:g}. A "
        "bar is a pair's share of all interactions of the first fold's network: of the magnitude "
        "of the second derivative of the prediction by both genes, over random profiles. The null "
        f"is of {summary['permutations']} networks on outcomes that were permuted among patients: "
        "it shows which pairs a network uses that has something to learn. Strong effects of single "
        "genes can put their pairs there, too, where the network's response to them is curved."
    )
    title = f"{task}: pairs of genes that act together"
    return Table("ranking", frame.dropna(subset=["value"]), title, caption, "% of the interactions")


def _edges(task: str, edges: pd.DataFrame) -> Table:
    caption = (
        "A row per pair, as network software reads it (source, target). share: of the first fold's "
        "interactions; null_share: its mean over permuted networks; p of the share with the nulls "
        "of all pairs pooled, q after Benjamini and Hochberg. interaction: the second derivative "
        "with its sign, per s.d. of both genes. attention: of the network, of no outcome in "
        "particular. coexpression, partial_correlation: what the training patients' values say by "
        "themselves."
    )
    frame = edges.rename(columns={"gene_a": "source", "gene_b": "target"})
    return Table("table", frame, f"{task}: all pairs", caption)
