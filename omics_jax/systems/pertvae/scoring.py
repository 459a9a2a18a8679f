"""Scores of PertVAE's predictions, and the simple models to which they are compared.

The paper reports correlations of whole profiles, which are high for any prediction because a
treated profile resembles its control; the scores of the predicted *change* are added here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.evaluation import baselines, metrics
from omics_jax.evaluation.measures import better_sides
from omics_jax.evaluation.tables import Evaluation, Frame
from omics_jax.study.system import Predictions

TOP_GENES = 50
PAIRS = "pairs"  # the frame of scores pair by pair, and its kind
SQUARES, CELLS = "squared_error", "cells"  # its columns for the rmse
BETTER = better_sides(
    (
        *("rho_pred", "rho_pred_centred", "delta_pearson", "top50_recall"),
        *("rho", "rho_shift", "delta_pearson_shift"),
        *("rho_reconstruction", "rho_reconstruction_centred"),
        *("rmse", "rmse_shift"),
    )
)


def evaluate_perturbation(predictions: Predictions, test: Dataset, train: Dataset) -> Evaluation:
    """Scores of predicted post-treatment profiles, each a mean over test pairs.

    predictions: x2_mean (n, genes) and, of the model itself, x2_sd, x1_reconstruction, z1, z2. The
    rows of `test` are pairs; expression in the input's units.

    Returns the metrics
      rho_pred: Spearman over genes of x2_mean with the observed x2 (the paper's rho_pred,pert);
      rho_rec: the same of x1_reconstruction with x2, "the drug does nothing" (the paper's
        rho_rec,pert);
      rho_pred_centred: rho_pred after subtracting each gene's mean over training pairs' treated
        profiles, so that gene-to-gene differences shared by all profiles no longer count;
      delta_pearson: Pearson over genes of the predicted with the observed change from x1; 0 for "no
        change";
      top50_recall: share of the 50 most changed genes among the 50 predicted to change most (of
        fewer than 200 genes: a quarter of them instead of 50);
      rmse: of x2_mean;
      coverage95: share of observed values inside the predicted 95 % interval;
      rho_shift, delta_pearson_shift, rmse_shift: of x1 + x2_mean - x1_reconstruction, the change
        that the model ascribes to the drug added to the observed control. What the autoencoder
        cannot reconstruct is then kept instead of lost, and the control's own noise is hardly
        mistaken for a predicted change (beyond the paper);
    and the frames "pairs" (see `_pair_frame`) and, of the model, "change" and "latent".
    """
    predicted = predictions["x2_mean"]
    pairs = _profile_scores(predicted, test, train)
    treated = test.modalities["treated"]
    errors = {"rmse": metrics.rmse(predicted, treated.values, treated.mask)}
    if "x1_reconstruction" not in predictions:
        return Evaluation({**_means(pairs), **errors}, {PAIRS: _pair_frame(pairs, predicted, test)})
    of_model = _scores_of_model(predictions, test)
    frames = {
        PAIRS: _pair_frame({**pairs, **of_model}, predicted, test),
        "change": _change_by_gene(predictions, test),
        "latent": _latent(predictions, test),
    }
    errors |= _errors_of_model(predictions, test)
    return Evaluation({**_means(pairs), **_means(of_model), **errors}, frames)


def _profile_scores(
    predicted: Float[np.ndarray, "n genes"], test: Dataset, train: Dataset
) -> dict[str, Float[np.ndarray, " n"]]:
    """Pair by pair, the scores that any prediction of the treated profile has."""
    control, treated = test.modalities["control"], test.modalities["treated"]
    x1, x2, m2 = control.values, treated.values, treated.mask
    both = control.mask & m2
    centre = _gene_means(train.modalities["treated"])
    top = max(1, min(TOP_GENES, x1.shape[1] // 4))
    rho = metrics.spearman_rows(predicted, x2, m2)
    centred = metrics.spearman_rows(predicted - centre, x2 - centre, m2)
    change, observed_change = predicted - x1, x2 - x1
    delta = metrics.pearson_rows(change, observed_change, both)
    recall = metrics.top_change_recall(change, observed_change, k=top, mask=both)
    return {
        "rho_pred": rho,
        "rho_pred_centred": centred,
        "delta_pearson": delta,
        "top50_recall": recall,
    }


def _scores_of_model(predictions: Predictions, test: Dataset) -> dict[str, Float[np.ndarray, " n"]]:
    """Pair by pair, the scores that need a reconstruction of the control."""
    control, treated = test.modalities["control"], test.modalities["treated"]
    x1, x2, m2 = control.values, treated.values, treated.mask
    both = control.mask & m2
    predicted, reconstruction = predictions["x2_mean"], predictions["x1_reconstruction"]
    change = predicted - reconstruction
    rho_rec = metrics.spearman_rows(reconstruction, x2, m2)
    rho_shift = metrics.spearman_rows(x1 + change, x2, both)
    delta_shift = metrics.pearson_rows(change, x2 - x1, both)
    return {"rho_rec": rho_rec, "rho_shift": rho_shift, "delta_pearson_shift": delta_shift}


def _errors_of_model(predictions: Predictions, test: Dataset) -> dict[str, float]:
    """The scores over all cells that need a reconstruction of the control or an s.d."""
    control, treated = test.modalities["control"], test.modalities["treated"]
    x1, x2, m2 = control.values, treated.values, treated.mask
    predicted = predictions["x2_mean"]
    shifted = x1 + predicted - predictions["x1_reconstruction"]
    return {
        "coverage95": metrics.interval_coverage(predicted, predictions["x2_sd"], x2, 0.95, m2),
        "rmse_shift": metrics.rmse(shifted, x2, control.mask & m2),
    }


def _pair_frame(
    scores: Mapping[str, Float[np.ndarray, " n"]],
    predicted: Float[np.ndarray, "n genes"],
    test: Dataset,
) -> Frame:
    """Of every pair: id, person (its cell line or other group), scores, and for the rmse the sum of
    squared errors and the number of cells.
    """
    treated = test.modalities["treated"]
    error = np.where(treated.mask, predicted - treated.values, 0).astype(np.float64)
    columns = {
        "id": test.ids.astype(str),
        "person": test.groups.astype(str),
        **scores,
        SQUARES: (error**2).sum(axis=1),
        CELLS: treated.mask.sum(axis=1),
    }
    return Frame(PAIRS, pd.DataFrame(columns))


def _means(scores: Mapping[str, Float[np.ndarray, " n"]]) -> dict[str, float]:
    return {name: _mean_score(values) for name, values in scores.items()}


def perturbation_baselines(train: Dataset, test: Dataset) -> dict[str, Predictions]:
    """No change, mean shift, ridge x1 -> x2, PCA + linear and nearest cell line.

    All are fitted to the training pairs.
    """
    pairs = train.take(train.modalities["treated"].observed_rows)
    control, treated = pairs.modalities["control"], pairs.modalities["treated"]
    control_means = _gene_means(control)
    x, y = _filled(control, control_means), _filled(treated, _gene_means(treated))
    x_test = _filled(test.modalities["control"], control_means)
    components = min(50, len(x) - 1, x.shape[1])
    cell_lines = pairs.groups.astype(str)
    predicted = {
        "no change": baselines.no_change(x_test),
        "mean shift": baselines.mean_shift(x, y, x_test),
        "ridge": baselines.ridge(x, y, x_test),
        "PCA + linear": baselines.pca_linear(x, y, x_test, components=components),
        "nearest cell line": baselines.nearest_group(x, y, cell_lines, x_test),
    }
    return {name: {"x2_mean": values} for name, values in predicted.items()}


def evaluate_reconstruction(predictions: Predictions, test: Dataset, train: Dataset) -> Evaluation:
    """Figure 2: Spearman over genes of each held-out profile with its reconstruction.

    It is also computed after centring genes.
    """
    profile = test.modalities["control"]
    centre = _gene_means(train.modalities["control"])
    reconstruction = predictions["x1_reconstruction"]
    rho = metrics.spearman_rows(reconstruction, profile.values, profile.mask)
    centred = metrics.spearman_rows(reconstruction - centre, profile.values - centre, profile.mask)
    return Evaluation(
        {
            "rho_reconstruction": _mean_score(rho),
            "rho_reconstruction_centred": _mean_score(centred),
            "rmse": metrics.rmse(reconstruction, profile.values, profile.mask),
        }
    )


def pca_baseline(latent: int, train: Dataset, test: Dataset) -> dict[str, Predictions]:
    """PCA with as many components as the VAE has latent dimensions, and the mean profile."""
    fill = _gene_means(train.modalities["control"])
    x = _filled(train.modalities["control"], fill)
    x_test = _filled(test.modalities["control"], fill)
    components = min(latent, len(x) - 1, x.shape[1])
    return {
        "PCA": {"x1_reconstruction": baselines.pca_reconstruction(x, x_test, components)},
        "mean profile": {"x1_reconstruction": np.broadcast_to(fill, x_test.shape)},
    }


def _change_by_gene(predictions: Predictions, test: Dataset) -> Frame:
    """Mean change of each gene over the test pairs: predicted by the model, and observed."""
    control, treated = test.modalities["control"], test.modalities["treated"]
    both = control.mask & treated.mask
    predicted = predictions["x2_mean"] - predictions["x1_reconstruction"]
    observed = treated.values - control.values
    columns = {
        "gene": control.features,
        "predicted": _mean_observed(predicted, both),
        "observed": _mean_observed(observed, both),
        "pairs": both.sum(axis=0),
    }
    return Frame("change", pd.DataFrame(columns))


def _latent(predictions: Predictions, test: Dataset) -> Frame:
    """Latent state of each test pair before and after, one row per pair and dimension."""
    n, latent = predictions["z1"].shape
    columns = {
        "id": np.repeat(test.ids.astype(str), latent),
        "dimension": np.tile(np.arange(latent), n),
        "z1": predictions["z1"].ravel(),
        "z2": predictions["z2"].ravel(),
    }
    return Frame("latent", pd.DataFrame(columns))


def _mean_score(scores: Float[np.ndarray, " n"]) -> float:
    """Mean over the rows that have a score, nan where none has."""
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def _gene_means(modality: Modality) -> Float[np.ndarray, " genes"]:
    """Mean over observed cells; 0 where a gene was never observed."""
    return _mean_observed(modality.values, modality.mask)


def _mean_observed(
    values: Float[np.ndarray, "n genes"], mask: Bool[np.ndarray, "n genes"]
) -> Float[np.ndarray, " genes"]:
    return np.where(mask, values, 0).sum(axis=0) / np.maximum(mask.sum(axis=0), 1)


def _filled(modality: Modality, fill: Float[np.ndarray, " genes"]) -> Float[np.ndarray, "n genes"]:
    """The values, with `fill` where a gene was not observed."""
    return np.where(modality.mask, modality.values, fill).astype(np.float32)
