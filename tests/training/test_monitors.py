"""Monitors against the measures of `evaluation`: ties, padding and weights, over replicates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from omics_jax.evaluation import classification
from omics_jax.training import monitors

AUROC = jax.jit(monitors.auroc)
CROSS_ENTROPY = jax.jit(monitors.binary_cross_entropy)


def rows(n, levels, seed=0):
    """float32 scores on `levels` levels (so with ties), labels that follow them, 0-1 weights."""
    random = np.random.default_rng(seed)
    score = random.integers(levels, size=n).astype(np.float32) / levels - 0.3
    label = (random.random(n) < 0.2 + 0.5 * (score > 0.1)).astype(np.float32)
    return score, label, (random.random(n) < 0.7).astype(np.float32)


@pytest.mark.parametrize("levels", [1, 2, 7, 10_000])
@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_evaluations_over_the_rows_that_count(levels, seed):
    score, label, weight = rows(60, levels, seed)
    expected = classification.auroc(score[weight > 0], label[weight > 0])
    assert float(AUROC(score, label, weight)) == pytest.approx(expected, abs=1e-6)


def test_auroc_of_a_whole_cohort_stays_exact_in_single_precision():
    score, label, weight = rows(4000, 900)
    expected = classification.auroc(score[weight > 0], label[weight > 0])
    assert float(AUROC(score, label, weight)) == pytest.approx(expected, abs=1e-6)


def test_auroc_takes_any_weights():
    score, label, _ = rows(60, 9)
    weight = np.random.default_rng(1).exponential(size=60).astype(np.float32)
    expected = roc_auc_score(label, score, sample_weight=weight)
    assert float(AUROC(score, label, weight)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("monitor", [AUROC, CROSS_ENTROPY])
@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf, 1e30])
def test_rows_without_weight_are_never_read(monitor, hidden):
    score, label, weight = rows(60, 9)
    dirty = [np.where(weight > 0, part, hidden).astype(np.float32) for part in (score, label)]
    assert float(monitor(*dirty, weight)) == float(monitor(score, label, weight))


def test_a_counted_row_without_a_score_makes_auroc_nan():
    score, label, weight = rows(60, 9)
    score[np.flatnonzero(weight)[3]] = np.nan
    assert np.isnan(AUROC(score, label, weight))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_auroc_of_one_class_is_nan(label):
    score, _, weight = rows(60, 9)
    mixed = np.where(weight > 0, label, 1 - label).astype(np.float32)
    assert np.isnan(AUROC(score, mixed, weight))


@pytest.mark.parametrize("monitor", [AUROC, CROSS_ENTROPY])
def test_nothing_to_look_at_is_nan(monitor):
    score, label, weight = rows(60, 9)
    assert np.isnan(monitor(score, label, 0 * weight))


@pytest.mark.parametrize("monitor", [AUROC, CROSS_ENTROPY])
@pytest.mark.parametrize("kind", [bool, np.int32, np.float32])
def test_labels_and_weights_may_be_of_any_kind(monitor, kind):
    score, label, weight = rows(60, 9)
    assert float(monitor(score, label.astype(kind), weight.astype(kind))) == float(
        monitor(score, label, weight)
    )


@pytest.mark.parametrize("monitor", [monitors.auroc, monitors.binary_cross_entropy])
def test_over_replicates_each_is_what_it_is_alone(monitor):
    alone = [rows(60, 9, seed) for seed in range(4)]
    together = jax.jit(jax.vmap(monitor))(*(jnp.stack(parts) for parts in zip(*alone, strict=True)))
    np.testing.assert_allclose(together, [monitor(*replicate) for replicate in alone], rtol=1e-6)


def test_infinite_scores_rank_at_the_ends():
    score = np.array([-np.inf, 0.0, 0.0, np.inf], dtype=np.float32)
    assert float(AUROC(score, np.array([0, 0, 1, 1]), np.ones(4))) == pytest.approx(3.5 / 4)


def test_cross_entropy_is_scikit_learns():
    logit, label, weight = rows(60, 10_000)
    expected = log_loss(label, 1 / (1 + np.exp(-5.0 * logit)), sample_weight=weight)
    assert float(CROSS_ENTROPY(5 * logit, label, weight)) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_of_a_sure_mistake_is_finite():
    """A logit of 200 is a probability of 1 in single precision; a label of 0 costs 200 nats."""
    loss = CROSS_ENTROPY(np.array([200.0, -200.0], np.float32), np.array([0, 1]), np.ones(2))
    assert float(loss) == pytest.approx(200.0)
