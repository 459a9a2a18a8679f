"""The multi-omics model's equations, stages and predictions, each against an oracle of its own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fresh_arm import FreshArm, network_of

from omics_jax.nn.blocks import RowInfo
from omics_jax.systems.multiomics import assembly, model
from omics_jax.systems.multiomics.networks import Embedding
from omics_jax.systems.multiomics.patients import (
    SLOT,
    imputed_values,
    patients,
    prepared,
    read_patients,
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


def test_equation_1_by_hand(early):
    shape, variables, rows = early.shape, early.variables, early.rows
    found = patients(shape, variables, rows)
    terms, mean, _ = model.embedding_terms(shape, variables, found, rows)
    (mu, log_variance), _ = model.encode_patients(shape, variables, found, rows)
    module = shape.embedding
    held = {
        "params": variables["params"]["embedding"],
        "batch_stats": variables["batch_stats"]["embedding"],
    }
    logits = module.apply(held, mu, RowInfo(rows["live"], rows["row"]), method=Embedding.decode)
    bce = []
    for name in shape.used:
        x, p = (
            np.asarray(found.x[name], np.float64),
            1 / (1 + np.exp(-np.asarray(logits[name], np.float64))),
        )
        cells = np.asarray(found.cells[name])
        assert np.array_equal(
            cells, np.asarray(rows[f"m_{name}"] & early.constants[f"{name}_alive"])
        )
        bce.append(-(x * np.log(p) + (1 - x) * np.log1p(-p))[cells].mean())
    mu, s = np.asarray(mu, np.float64), np.asarray(log_variance, np.float64)
    kl = -0.5 * (1 + s - mu**2 - np.exp(s))
    c = shape.config.model
    expected = np.mean(bce) + c.k_kl * kl.mean()
    assert float(model.embedding_loss(shape, terms)) == pytest.approx(expected, rel=1e-5)
    summed = replace(shape, config=early.arm.config.copy_and_resolve_references())
    summed.config.model.reduction = "sum"
    alive = [int(early.constants[f"{name}_alive"].sum()) for name in shape.used]
    terms, *_ = model.embedding_terms(summed, variables, found, rows)
    expected = np.mean(np.array(bce) * alive) + c.k_kl * kl.sum(axis=1).mean()
    assert float(model.embedding_loss(summed, terms)) == pytest.approx(expected, rel=1e-5)
    assert np.array_equal(mean, mu.astype(np.float32))


def test_a_missing_branch_says_nothing_and_learns_nothing(masked):
    shape, variables = masked.shape, masked.variables
    i = next(
        i for i, name in enumerate(shape.used) if not np.asarray(masked.rows["has"])[:, i].all()
    )
    name = shape.used[i]
    lacks = ~np.asarray(masked.rows["has"])[:, i]
    found = patients(shape, variables, masked.rows)
    spoiled = found._replace(x={**found.x, name: jnp.where(lacks[:, None], 0.9, found.x[name])})
    encode = lambda p: model.encode_patients(shape, variables, p, masked.rows, jax.random.key(3))[
        0
    ][0]
    assert np.array_equal(encode(found), encode(spoiled))
    terms, *_ = model.embedding_terms(shape, variables, found, masked.rows)
    assert float(terms[f"bce_{name}"].weight) == np.asarray(found.cells[name])[~lacks].sum()


def test_batch_norm_of_a_branch_is_over_the_patients_that_have_it(masked):
    shape, variables = masked.shape, masked.variables
    i = next(
        i for i, name in enumerate(shape.used) if not np.asarray(masked.rows["has"])[:, i].all()
    )
    name, has = shape.used[i], np.asarray(masked.rows["has"])[:, i]
    found = patients(shape, variables, masked.rows)
    _, stats = model.encode_patients(shape, variables, found, masked.rows, jax.random.key(0))
    layer = f"branches_{name}_0"
    dense = variables["params"]["embedding"][layer]["Dense_0"]
    h = np.asarray(found.x[name])[has] @ np.asarray(dense["kernel"])
    expected = 0.1 * h.mean(axis=0)
    np.testing.assert_allclose(
        stats["embedding"][layer]["MaskedBatchNorm_0"]["mean"], expected, rtol=1e-4, atol=1e-6
    )


# --- heads and stages -----------------------------------------------------------------------------


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
        changes = any(bool(jnp.any(u != 0)) for u in jax.tree.leaves(updates[part]))
        assert changes == (part in moving), part
    for part in ("embedding", "heads"):
        old = multitask.variables["batch_stats"][part]
        same = jax.tree.map(lambda a, b: bool((a == b).all()), old, stats[part])
        assert all(jax.tree.leaves(same)) == (part not in moving), part


def test_stage_2_reads_what_prediction_reads(multitask):
    """Its features are the mean of q(z|x) by running statistics, without dropout: the embedding of
    `predict`.
    """
    z = multitask.stages["heads"].features(multitask.variables, multitask.rows)["z"]
    np.testing.assert_array_equal(
        z, multitask.predict(multitask.variables, multitask.rows)["embedding"]
    )


def test_prepared_patients_are_those_made_on_the_spot(multitask):
    once = prepared(multitask.shape, multitask.variables, multitask.rows)
    ready = read_patients(multitask.shape, multitask.variables, {**multitask.rows, **once})
    now = read_patients(multitask.shape, multitask.variables, multitask.rows)
    jax.tree.map(np.testing.assert_array_equal, ready, now)
    assert np.asarray(now.imputed).any() and np.asarray(now.present).all()
    for i, name in enumerate(multitask.shape.used):
        filled = np.asarray(now.imputed)[:, i]
        assert np.array_equal(filled, ~np.asarray(multitask.rows["has"])[:, multitask.place(name)])
        expected = np.asarray(
            imputed_values(multitask.shape, multitask.variables, multitask.rows, name)
        ).mean(axis=0)
        np.testing.assert_allclose(np.asarray(now.x[name])[filled], expected[filled], rtol=1e-6)


# --- predictions ----------------------------------------------------------------------------------


def test_predictions_are_probabilities_units_and_curves(multitask):
    out = jax.tree.map(np.asarray, multitask.predict(multitask.variables, multitask.rows))
    np.testing.assert_allclose(out["type_probability"].sum(axis=1), 1, rtol=1e-5)
    curve = out["OS_survival"]
    assert (curve[:, 0] == 1).all() and (np.diff(curve, axis=1) <= 0).all() and (curve >= 0).all()
    edges = multitask.replicate.constants["OS_edges"]
    assert np.array_equal(out["OS_times"][0], edges) and (out["OS_median"] <= edges[-1]).all()
    assert np.array_equal(out["OS_median_reached"], curve[:, -1] <= 0.5)
    higher = {**multitask.constants, "age_mean": multitask.constants["age_mean"] + 5}
    later = multitask.predict({**multitask.variables, "constants": higher}, multitask.rows)[
        "age_value"
    ]
    np.testing.assert_allclose(later - out["age_value"], 5, rtol=1e-4)
    seen = np.concatenate(
        [
            np.asarray(multitask.rows[f"m_{n}"] & multitask.constants[f"{n}_alive"])
            for n in multitask.shape.used
        ],
        1,
    )
    alive = sum(int(multitask.constants[f"{n}_alive"].sum()) for n in multitask.shape.used)
    np.testing.assert_allclose(out["imputed_share"], 1 - seen.sum(axis=1) / alive, rtol=1e-5)
    assert ((out["imputed_share"] == 0) == (seen.sum(axis=1) == alive)).all()


def test_what_no_branch_reads_is_not_counted_as_imputed(masked):
    out = masked.predict(masked.variables, masked.rows)
    has = np.asarray(masked.rows["has"])
    assert not has.all()
    cells = {
        n: np.asarray(masked.rows[f"m_{n}"] & masked.constants[f"{n}_alive"]).sum(1)
        for n in masked.shape.used
    }
    alive = np.array([int(masked.constants[f"{n}_alive"].sum()) for n in masked.shape.used])
    expected = 1 - sum(cells.values()) / (has * alive).sum(axis=1)
    np.testing.assert_allclose(out["imputed_share"], expected, atol=1e-6)
