"""The multi-omics model's equations, stages and predictions, each against an oracle of its own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fresh_arm import FreshArm, network_of
from trees import any_nonzero, leaves_differ

from omics_jax.nn.blocks import RowInfo
from omics_jax.systems.multiomics import assembly, model
from omics_jax.systems.multiomics.networks import Embedding
from omics_jax.systems.multiomics.patients import (
    SLOT,
    impute_patients,
    imputed_values,
    prepare_patients,
    prepared_patients,
)
from omics_jax.training.freezing import freeze, keep_frozen_stats


@pytest.fixture(scope="module")
def multitask():
    return FreshArm()


@pytest.fixture(scope="module")
def masked():
    return FreshArm("--config.missing=mask")


@pytest.fixture(scope="module")
def early():
    return FreshArm("--config.missing=complete", "--config.model.fusion=early")


# --- the embedding --------------------------------------------------------------------------------


def bce_by_hand(x, logits, cells):
    """The mean binary cross-entropy of the cells, in double precision."""
    x, logits = np.asarray(x, np.float64), np.asarray(logits, np.float64)
    p = 1 / (1 + np.exp(-logits))
    bce = -(x * np.log(p) + (1 - x) * np.log1p(-p))
    return bce[cells].mean()


@pytest.mark.slow
def test_equation_1_by_hand(early):
    shape, variables, rows = early.shape, early.variables, early.rows
    patients = impute_patients(shape, variables, rows)
    terms, mean, _ = model.embedding_terms(shape, variables, patients, rows)
    (mu, log_variance), _ = model.encode_patients(shape, variables, patients, rows)
    held = {part: variables[part]["embedding"] for part in ("params", "batch_stats")}
    info = RowInfo(rows["live"], rows["row"])
    logits = shape.embedding.apply(held, mu, info, method=Embedding.decode)
    bce = []
    for name in shape.used:
        cells = np.asarray(patients.cells[name])
        np.testing.assert_array_equal(cells, early.cells(name))
        bce.append(bce_by_hand(patients.x[name], logits[name], cells))
    mu, s = np.asarray(mu, np.float64), np.asarray(log_variance, np.float64)
    kl = -0.5 * (1 + s - mu**2 - np.exp(s))
    k_kl = shape.config.model.k_kl
    expected = np.mean(bce) + k_kl * kl.mean()
    assert float(model.embedding_loss(shape, terms)) == pytest.approx(expected, rel=1e-5)
    summed = replace(shape, config=early.arm.config.copy_and_resolve_references())
    summed.config.model.reduction = "sum"
    terms, *_ = model.embedding_terms(summed, variables, patients, rows)
    per_patient = np.array(bce) * [early.alive(name) for name in shape.used]
    expected = per_patient.mean() + k_kl * kl.sum(axis=1).mean()
    assert float(model.embedding_loss(summed, terms)) == pytest.approx(expected, rel=1e-5)
    assert np.array_equal(mean, mu.astype(np.float32))


@pytest.fixture(scope="module")
def incomplete(masked):
    """A modality that some of the patients lack, and (n,) who has it."""
    name = next(name for name in masked.shape.used if not masked.has(name).all())
    return name, masked.has(name)


def test_a_missing_branch_says_nothing_and_learns_nothing(masked, incomplete):
    shape, variables, rows = masked.shape, masked.variables, masked.rows
    name, has = incomplete
    patients = impute_patients(shape, variables, rows)
    nonsense = jnp.where(has[:, None], patients.x[name], 0.9)
    spoiled = patients._replace(x={**patients.x, name: nonsense})

    @jax.jit
    def mean_of(patients):
        (mean, _), _ = model.encode_patients(shape, variables, patients, rows, jax.random.key(3))
        return mean

    assert np.array_equal(mean_of(patients), mean_of(spoiled))
    terms, *_ = model.embedding_terms(shape, variables, patients, rows)
    learned = np.asarray(patients.cells[name])[has]
    assert float(terms[f"bce_{name}"].weight) == learned.sum()


def test_batch_norm_of_a_branch_is_over_the_patients_that_have_it(masked, incomplete):
    shape, variables, rows = masked.shape, masked.variables, masked.rows
    name, has = incomplete
    patients = impute_patients(shape, variables, rows)
    _, stats = model.encode_patients(shape, variables, patients, rows, jax.random.key(0))
    layer = f"branches_{name}_0"
    kernel = np.asarray(variables["params"]["embedding"][layer]["Dense_0"]["kernel"])
    hidden = np.asarray(patients.x[name])[has] @ kernel
    moved = stats["embedding"][layer]["MaskedBatchNorm_0"]["mean"]
    np.testing.assert_allclose(moved, 0.1 * hidden.mean(axis=0), rtol=1e-4, atol=1e-6)


# --- heads and stages -----------------------------------------------------------------------------


@pytest.mark.slow
def test_equation_3_and_its_weights(multitask):
    stage = multitask.stages["all"]
    terms, _ = stage.loss(multitask.variables, {SLOT: multitask.rows}, jax.random.key(1))
    whole, each = (
        model.embedding_loss(multitask.shape, terms),
        multitask.network.losses.weighted(terms),
    )
    expected = multitask.config.model.k_embed * float(whole) + float(each.sum())
    assert float(stage.objective(terms)) == pytest.approx(expected, rel=1e-6)
    config = multitask.arm.config.copy_and_resolve_references()
    config.weights = "age=3"
    weighed = assembly.shape_of(config, multitask.arm.spec)
    place = [task.name for task in multitask.shape.tasks].index("age")
    np.testing.assert_allclose(
        network_of(config, weighed).losses.weighted(terms),
        each * np.where(np.arange(3) == place, 3, 1),
        rtol=1e-6,
    )


def gradients(multitask, name):
    """The gradients of a stage's objective, and the statistics after the step."""
    stage = multitask.stages[name]
    rows = dict(multitask.rows)
    if stage.features:
        rows |= stage.features(multitask.variables, multitask.rows)

    def objective(params):
        terms, stats = stage.loss(
            {**multitask.variables, "params": params}, {SLOT: rows}, jax.random.key(2)
        )
        return stage.objective(terms), stats

    grads, stats = jax.jit(jax.grad(objective, has_aux=True))(multitask.variables["params"])
    return grads, keep_frozen_stats(stage.trainable, multitask.variables["batch_stats"], stats)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "moving"),
    [("embedding", {"embedding"}), ("heads", {"heads"}), ("all", {"embedding", "heads"})],
)
def test_a_stage_moves_its_own_parameters_and_statistics_alone(multitask, name, moving):
    grads, stats = gradients(multitask, name)
    tx = freeze(optax.sgd(1.0), multitask.stages[name].trainable, grads)
    updates, _ = tx.update(
        grads, tx.init(multitask.variables["params"]), multitask.variables["params"]
    )
    for part in ("imputer", "embedding", "heads"):
        assert any_nonzero(updates[part]) == (part in moving), part
    for part in ("embedding", "heads"):
        old = multitask.variables["batch_stats"][part]
        assert any(leaves_differ(old, stats[part])) == (part in moving), part


def test_stage_2_reads_what_prediction_reads(multitask):
    """Its features are the mean of q(z|x) by running statistics, without dropout: the embedding of
    `predict`.
    """
    variables, rows = multitask.variables, multitask.rows
    z = multitask.stages["heads"].features(variables, rows)["z"]
    predicted = multitask.arm.system.predict(variables, rows)
    np.testing.assert_array_equal(z, predicted["embedding"])


def test_prepared_patients_are_those_made_on_the_spot(multitask):
    shape, variables, rows = multitask.shape, multitask.variables, multitask.rows
    once = prepare_patients(shape, variables, rows)
    ready = prepared_patients(shape, variables, {**rows, **once})
    now = jax.tree.map(np.asarray, prepared_patients(shape, variables, rows))
    jax.tree.map(np.testing.assert_array_equal, ready, now)
    assert now.imputed.any() and now.present.all()
    for i, name in enumerate(shape.used):
        filled = now.imputed[:, i]
        np.testing.assert_array_equal(filled, ~multitask.has(name))
        members = np.asarray(imputed_values(shape, variables, rows, name))
        expected = members.mean(axis=0)
        np.testing.assert_allclose(now.x[name][filled], expected[filled], rtol=1e-6)


# --- predictions ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predicted(multitask):
    return jax.tree.map(np.asarray, multitask.predict(multitask.variables, multitask.rows))


def test_predictions_are_probabilities_units_and_curves(multitask, predicted):
    np.testing.assert_allclose(predicted["type_probability"].sum(axis=1), 1, rtol=1e-5)
    curve = predicted["OS_survival"]
    assert (curve[:, 0] == 1).all() and (curve >= 0).all()
    assert (np.diff(curve, axis=1) <= 0).all()
    edges = multitask.replicate.constants["OS_edges"]
    assert np.array_equal(predicted["OS_times"][0], edges)
    assert (predicted["OS_median"] <= edges[-1]).all()
    assert np.array_equal(predicted["OS_median_reached"], curve[:, -1] <= 0.5)
    constants = multitask.constants
    higher = {**constants, "age_mean": constants["age_mean"] + 5}
    later = multitask.predict({**multitask.variables, "constants": higher}, multitask.rows)
    np.testing.assert_allclose(later["age_value"] - predicted["age_value"], 5, rtol=1e-4)


def test_the_imputed_share_is_of_the_features_that_the_replicate_chose(multitask, predicted):
    names, share = multitask.shape.used, predicted["imputed_share"]
    seen = sum(multitask.cells(name).sum(axis=1) for name in names)
    alive = sum(multitask.alive(name) for name in names)
    np.testing.assert_allclose(share, 1 - seen / alive, rtol=1e-5)
    assert ((share == 0) == (seen == alive)).all()


def test_what_no_branch_reads_is_not_counted_as_imputed(masked):
    share = masked.predict(masked.variables, masked.rows)["imputed_share"]
    names = masked.shape.used
    assert not all(masked.has(name).all() for name in names)
    seen = sum(masked.cells(name).sum(axis=1) for name in names)
    read = sum(masked.has(name) * masked.alive(name) for name in names)
    np.testing.assert_allclose(share, 1 - seen / read, atol=1e-6)
