"""How PertVAE's predictions are judged, and by which simple models beside it.

The paper reports correlations of whole profiles, which are high for any prediction because a
treated profile resembles its control; the scores of the predicted *change* are what it should have
reported beside them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation import baselines, metrics
from omics_jax.evaluation.tables import Evaluation, Frame
from omics_jax.study.system import Predictions

TOP_GENES = 50
BETTER = {
    **dict.fromkeys(("rho_pred", "rho_pred_centred", "delta_pearson", "top50_recall"), "higher"),
    **dict.fromkeys(("rho", "rho_shift", "delta_pearson_shift"), "higher"),
    **dict.fromkeys(("rho_reconstruction", "rho_reconstruction_centred"), "higher"),
    **dict.fromkeys(("rmse", "rmse_shift"), "lower"),
}


def evaluate_perturbation(predictions: Predictions, test: Dataset, train: Dataset) -> Evaluation:
    """Scores of predicted post-treatment profiles, each a mean over test pairs.

    predictions: x2_mean (n, genes) and, of the model itself, x2_sd, x1_reconstruction, z1, z2. The
    rows of `test` are pairs; expression in the input's units.

    Returns the metrics
      rho_pred: Spearman over genes of x2_mean with the observed x2 (the paper's rho_pred,pert);
      rho_rec: the same of x1_reconstruction with x2, "the drug does nothing" (the paper's
      rho_rec,pert); rho_pred_centred: rho_pred after subtracting each gene's mean over training
      pairs' treated profiles, so that
        gene-to-gene differences shared by all profiles no longer count;
      delta_pearson: Pearson over genes of the predicted with the observed change from x1; 0 for "no
      change"; top50_recall: share of the 50 most changed genes among the 50 predicted to change
      most (of fewer than 200 genes:
        a quarter of them instead of 50);
      rmse: of x2_mean; coverage95: share of observed values inside the predicted 95 % interval;
      rho_shift, delta_pearson_shift, rmse_shift: of x1 + x2_mean - x1_reconstruction, the change
        that the model ascribes to the drug added to the observed control. What the autoencoder
        cannot reconstruct is then kept
        instead of lost, and the control's own noise is hardly mistaken for a predicted change
        (beyond the paper).
    """
    control, treated = test.modalities["control"], test.modalities["treated"]
    x1, x2, m2 = control.values, treated.values, treated.mask
    both = control.mask & m2
    predicted = predictions["x2_mean"]
    centre = _gene_means(train.modalities["treated"])
    scores = {
        "rho_pred": _mean_score(metrics.spearman_rows(predicted, x2, m2)),
        "rho_pred_centred": _mean_score(metrics.spearman_rows(predicted - centre, x2 - centre, m2)),
        "delta_pearson": _mean_score(metrics.pearson_rows(predicted - x1, x2 - x1, both)),
        "top50_recall": _mean_score(
            metrics.top_change_recall(
                predicted - x1, x2 - x1, k=max(1, min(TOP_GENES, x1.shape[1] // 4)), mask=both
            )
        ),
        "rmse": metrics.rmse(predicted, x2, m2),
    }
    if "x1_reconstruction" not in predictions:
        return Evaluation(scores)
    reconstruction = predictions["x1_reconstruction"]
    change = predicted - reconstruction
    scores |= {
        "rho_rec": _mean_score(metrics.spearman_rows(reconstruction, x2, m2)),
        "coverage95": metrics.interval_coverage(predicted, predictions["x2_sd"], x2, 0.95, m2),
        "rho_shift": _mean_score(metrics.spearman_rows(x1 + change, x2, both)),
        "delta_pearson_shift": _mean_score(metrics.pearson_rows(change, x2 - x1, both)),
        "rmse_shift": metrics.rmse(x1 + change, x2, both),
    }
    return Evaluation(
        scores, {"change": _change_by_gene(predictions, test), "latent": _latent(predictions, test)}
    )


def perturbation_baselines(train: Dataset, test: Dataset) -> dict[str, Predictions]:
    """No change, mean shift, ridge x1 -> x2, PCA + linear and nearest cell line, fitted on the
    training pairs.
    """
    pairs = train.take(train.modalities["treated"].observed_rows)
    x_fill, y_fill = (
        _gene_means(pairs.modalities["control"]),
        _gene_means(pairs.modalities["treated"]),
    )
    x, y = (
        _filled(pairs.modalities["control"], x_fill),
        _filled(pairs.modalities["treated"], y_fill),
    )
    x_test = _filled(test.modalities["control"], x_fill)
    predicted = {
        "no change": baselines.no_change(x_test),
        "mean shift": baselines.mean_shift(x, y, x_test),
        "ridge": baselines.ridge(x, y, x_test),
        "PCA + linear": baselines.pca_linear(
            x, y, x_test, components=min(50, len(x) - 1, x.shape[1])
        ),
        "nearest cell line": baselines.nearest_group(x, y, pairs.groups.astype(str), x_test),
    }
    return {name: {"x2_mean": values} for name, values in predicted.items()}


def evaluate_reconstruction(predictions: Predictions, test: Dataset, train: Dataset) -> Evaluation:
    """Figure 2: Spearman over genes of each held-out profile with its reconstruction (and after
    centring genes).
    """
    profile = test.modalities["control"]
    centre = _gene_means(train.modalities["control"])
    found = predictions["x1_reconstruction"]
    rho = metrics.spearman_rows(found, profile.values, profile.mask)
    centred = metrics.spearman_rows(found - centre, profile.values - centre, profile.mask)
    return Evaluation(
        {
            "rho_reconstruction": _mean_score(rho),
            "rho_reconstruction_centred": _mean_score(centred),
            "rmse": metrics.rmse(found, profile.values, profile.mask),
        }
    )


def pca_baseline(latent: int, train: Dataset, test: Dataset) -> dict[str, Predictions]:
    """PCA with as many components as the VAE has latent dimensions, and the mean profile."""
    fill = _gene_means(train.modalities["control"])
    x, x_test = (
        _filled(train.modalities["control"], fill),
        _filled(test.modalities["control"], fill),
    )
    components = min(latent, len(x) - 1, x.shape[1])
    return {
        "PCA": {"x1_reconstruction": baselines.pca_reconstruction(x, x_test, components)},
        "mean profile": {"x1_reconstruction": np.broadcast_to(fill, x_test.shape)},
    }


def _change_by_gene(predictions: Predictions, test: Dataset) -> Frame:
    """Mean change of each gene over the test pairs: what the model ascribes to the drug, and what
    was observed.
    """
    control, treated = test.modalities["control"], test.modalities["treated"]
    both = control.mask & treated.mask
    frame = pd.DataFrame(
        {
            "gene": control.features,
            "predicted": _mean_observed(
                predictions["x2_mean"] - predictions["x1_reconstruction"], both
            ),
            "observed": _mean_observed(treated.values - control.values, both),
            "pairs": both.sum(axis=0),
        }
    )
    return Frame("change", frame)


def _latent(predictions: Predictions, test: Dataset) -> Frame:
    """Latent state of each test pair before and after, one row per pair and dimension."""
    n, latent = predictions["z1"].shape
    frame = pd.DataFrame(
        {
            "id": np.repeat(test.ids.astype(str), latent),
            "dimension": np.tile(np.arange(latent), n),
            "z1": predictions["z1"].ravel(),
            "z2": predictions["z2"].ravel(),
        }
    )
    return Frame("latent", frame)


def _mean_score(scores: np.ndarray) -> float:
    """Mean over the rows that have a score, nan where none has."""
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def _gene_means(modality) -> np.ndarray:
    """(genes,) mean over observed cells; 0 where a gene was never observed."""
    return _mean_observed(modality.values, modality.mask)


def _mean_observed(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask, values, 0).sum(axis=0) / np.maximum(mask.sum(axis=0), 1)


def _filled(modality, fill: np.ndarray) -> np.ndarray:
    return np.where(modality.mask, modality.values, fill).astype(np.float32)
