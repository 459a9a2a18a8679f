"""The losses of MIRACLE against closed forms, and what prediction and stages leave alone."""

from dataclasses import replace
from functools import partial

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import batch_of, normal
from miracle_people import FreshArm
from trees import jittered

from omics_jax.nn.modules import apply_module
from omics_jax.study.covariates import covariate_values
from omics_jax.systems.miracle import arms, assembly, model, sites
from omics_jax.systems.miracle.model import SLOT, Sites
from omics_jax.tasks import baselines as tasks_baselines
from omics_jax.tasks.network import row_info
from omics_jax.training.freezing import freeze, leaf_path

AGE = "--config.adjust.inputs=('age',)"


@pytest.fixture(scope="module")
def fresh():
    return FreshArm("--config.selection.method=t", "--config.selection.sites=15", AGE)


@pytest.fixture(scope="module")
def variables(fresh):
    """Without special values, such as the biases and statistics of a first step."""
    moved = jittered({k: fresh.variables[k] for k in ("params", "batch_stats")}, 0.05, 0)
    variance = lambda path, x: jnp.abs(x) + 0.5 if path[-1].key == "var" else x
    stats = jax.tree_util.tree_map_with_path(variance, moved["batch_stats"])
    return {**moved, "batch_stats": stats, "constants": fresh.constants}


# --- the terms ------------------------------------------------------------------------------------


def test_the_kl_divergence_is_that_of_normal_distributions():
    mean, log_variance = normal(0, 5, 4), normal(1, 5, 4)
    live = jnp.array([True, True, False, True, True])
    term = model.kl_term(mean, log_variance, live)
    q = distrax.MultivariateNormalDiag(mean, jnp.exp(log_variance / 2))
    p = distrax.MultivariateNormalDiag(jnp.zeros(4), jnp.ones(4))
    np.testing.assert_allclose(term.sum, jnp.sum(q.kl_divergence(p)[live]), rtol=1e-5)
    assert float(term.weight) == 4
    zero = model.kl_term(jnp.zeros((2, 4)), jnp.zeros((2, 4)), jnp.ones(2, bool))
    assert float(zero.sum) == 0


def shape_with(fresh, **settings):
    config = fresh.shape.config.copy_and_resolve_references()
    config.model.update(settings)
    return model.ModelShape(config, fresh.shape.sites, fresh.shape.units, fresh.shape.tasks)


def cells(width):
    """Sites of 6 people, a quarter of them missing, and a reconstruction."""
    rng = np.random.default_rng(0)
    observed = rng.random((6, width)) > 0.25
    beta = np.where(observed, rng.random((6, width)), 0).astype(np.float32)
    z = np.where(observed, rng.normal(size=(6, width)), 0).astype(np.float32)
    decoded = rng.normal(size=(6, width)).astype(np.float32)
    live = np.array([True] * 5 + [False])
    return z, beta, observed, decoded, live


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_the_reconstruction_counts_observed_cells_of_live_rows_alone(fresh, kind):
    z, beta, observed, decoded, live = cells(7)
    chosen = Sites(*map(jnp.asarray, (z, beta, observed)))
    shape = shape_with(fresh, reconstruction=kind)
    term = model.reconstruction_term(shape, chosen, jnp.asarray(live), jnp.asarray(decoded))
    p = 1 / (1 + np.exp(-decoded.astype(float)))
    losses = {
        "mse": (decoded - z) ** 2 / 2,
        "bce": -(beta * np.log(p) + (1 - beta) * np.log(1 - p)),
    }
    counted = observed & live[:, None]
    np.testing.assert_allclose(term.sum, losses[kind][counted].sum(), rtol=1e-5)
    assert float(term.weight) == counted.sum()


def test_the_loss_is_the_mean_of_cells_and_the_divergence_per_pathway(fresh):
    shape = shape_with(fresh, k_kl=0.3)
    terms = {"reconstruction": model.Term(6.0, 4.0), "kl": model.Term(10.0, 5.0)}
    expected = 6 / 4 + 0.3 * (10 / 5) / shape.pathways
    assert float(model.autoencoder_loss(shape, terms)) == pytest.approx(expected)


# --- what the network reads -----------------------------------------------------------------------


def test_the_chosen_sites_are_those_of_numpy(fresh):
    chosen = model.chosen_sites(fresh.variables, fresh.rows)
    constants = fresh.replicate.constants
    columns = np.minimum(constants["columns"], fresh.rows["x"].shape[1] - 1)
    x, mask = (np.asarray(fresh.rows[name])[:, columns] for name in ("x", "m"))
    expected = sites.standardized(constants, x, mask, np.asarray(fresh.rows["c"]))
    np.testing.assert_allclose(chosen.standardized, expected, atol=1e-5)
    np.testing.assert_array_equal(chosen.observed, mask & constants["alive"])
    np.testing.assert_array_equal(chosen.beta, np.where(chosen.observed, x, 0))


def test_heads_read_the_means_and_the_covariates_of_the_config_on_the_scale_of_the_fold(
    fresh, variables
):
    age = fresh.arm.dataset.table["age"].astype(float).to_numpy()
    train = fresh.replicate.rows[SLOT]
    z = fresh.network.encode(variables, fresh.rows, None).embedding
    assert z.shape[1] == fresh.shape.pathways + 1 == fresh.shape.embedding
    expected = (age[np.asarray(fresh.rows["row"])] - age[train].mean()) / age[train].std()
    np.testing.assert_allclose(z[:, -1], expected, rtol=1e-4, atol=1e-4)
    unknown = {**fresh.rows, "c": jnp.full_like(fresh.rows["c"], jnp.nan)}
    assert not np.asarray(fresh.network.encode(variables, unknown, None).embedding[:, -1]).any()


# --- predictions ----------------------------------------------------------------------------------


def test_predictions_read_the_mean_and_no_noise(fresh, variables):
    first = fresh.predict(variables, fresh.rows)
    other_ids = {**fresh.rows, "row": fresh.rows["row"] + 100}
    for name, value in fresh.predict(variables, other_ids).items():
        np.testing.assert_array_equal(value, first[name])
    chosen = model.chosen_sites(variables, fresh.rows)
    mean = model.pathway_means(fresh.shape, variables, chosen.standardized, fresh.rows)
    means = first["embedding"][:, : fresh.shape.pathways]
    np.testing.assert_allclose(means, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.abs(first["activity"]), np.abs(mean), rtol=1e-5, atol=1e-6)


def test_activity_has_the_sign_that_rises_with_methylation(fresh, variables):
    """Whatever the sign of the unit: that of its weights is arbitrary."""
    params = variables["params"]
    encoder = params[model.ENCODER]
    negated = jax.tree.map(lambda leaf: -leaf, encoder["mean"])
    flipped = {**params, model.ENCODER: {**encoder, "mean": negated}}
    first, other = (
        fresh.predict({**variables, "params": p}, fresh.rows) for p in (params, flipped)
    )
    assert (np.asarray(first["embedding"]) != np.asarray(other["embedding"])).any()
    np.testing.assert_allclose(other["activity"], first["activity"], rtol=1e-5, atol=1e-6)


def test_missing_cells_and_sites_that_were_not_chosen_are_never_read(fresh, variables):
    first = fresh.predict(variables, fresh.rows)
    is_read = np.zeros(fresh.rows["x"].shape[1], bool)
    is_read[fresh.replicate.constants["columns"][fresh.replicate.constants["alive"]]] = True
    unread = ~np.asarray(fresh.rows["m"]) | ~is_read
    x = np.where(unread, 0.77, fresh.rows["x"]).astype(np.float32)
    for name, value in fresh.predict(variables, {**fresh.rows, "x": jnp.asarray(x)}).items():
        np.testing.assert_array_equal(value, first[name])


def test_in_training_z_is_drawn_around_the_mean_by_person_and_key(fresh, variables):
    encode = jax.jit(fresh.network.encode)
    first, again, other = (
        encode(variables, fresh.rows, jax.random.key(seed)).terms["reconstruction"].sum
        for seed in (0, 0, 1)
    )
    assert float(first) == float(again) != float(other)


def test_the_range_of_the_training_is_of_the_chosen_sites(fresh):
    variables = jax.tree.map(np.asarray, fresh.variables)
    low, high = fresh.arm.system.training_range(variables)["methylation"]
    constants = fresh.replicate.constants
    chosen = constants["columns"][constants["alive"]]
    modality, train = fresh.arm.dataset.modalities["methylation"], fresh.replicate.rows[SLOT]
    values = np.where(modality.mask, modality.values, np.nan)[train][:, chosen]
    np.testing.assert_array_equal(low[chosen], np.nanmin(values, axis=0))
    np.testing.assert_array_equal(high[chosen], np.nanmax(values, axis=0))
    others = np.setdiff1d(np.arange(len(low)), chosen)
    assert len(others) and np.isnan(low[others]).all() and np.isnan(high[others]).all()


# --- simple models of many sites ------------------------------------------------------------------


def test_simple_models_read_the_sites_that_vary_most(fresh, monkeypatch):
    """Those of the largest s.d., a constant one last, on the scale of the network."""
    dataset, rows = fresh.arm.dataset, fresh.replicate.rows[SLOT]
    modality = dataset.modalities["methylation"]
    values = modality.values.copy()
    values[:, fresh.replicate.constants["columns"][0]] = 0.5
    constant = replace(modality, values=values)
    train = replace(dataset, modalities={"methylation": constant}).take(rows)
    scaled = partial(assembly.scaled_sites, all_sites(fresh.arm.config), fresh.arm.spec)
    whole, _ = scaled(train, train)
    monkeypatch.setattr(tasks_baselines, "MOST_FEATURES", 5)
    most, _ = scaled(train, train)
    assert whole.shape[1] == values.shape[1] and most.shape[1] == 5
    fit = sites_of(fresh, train)
    order = np.argsort(-np.where(fit["low"] == fit["high"], 0, fit["sd"]), kind="stable")
    np.testing.assert_array_equal(most, whole[:, np.sort(order[:5])])


def all_sites(config):
    config = config.copy_and_resolve_references()
    config.selection.method = "none"
    return config


def sites_of(fresh, train):
    """The scales of all sites, of which all are observed."""
    config, spec = all_sites(fresh.arm.config), fresh.arm.spec
    covariates = covariate_values(train, spec.levels, assembly.missing_of(config))
    fit = sites.fit_sites(
        train.modalities["methylation"],
        covariates,
        assembly.is_removed(config, spec.levels),
        train,
        spec.tasks,
        assembly.selection_of(config),
        np.arange(len(train)),
        "a test",
    )
    assert fit["alive"].all()
    return fit


def test_more_sites_than_simple_models_read_are_told(fresh, monkeypatch):
    count = int(fresh.replicate.constants["alive"].sum())
    assert fresh.arm.notes == ()
    monkeypatch.setattr(arms, "MOST_FEATURES", 4)
    (note,) = arms.notes_of_simple_models("multitask", [fresh.replicate])
    assert note == (
        f"multitask: the network reads {count} sites, the simple models the 4 of them that vary "
        "most among the training people of a fold"
    )


# --- stages ---------------------------------------------------------------------------------------


def test_weight_decay_spares_the_decoder_and_the_norms_of_the_encoder(fresh, variables):
    """Without a gradient a step of the last stage is the decay alone."""
    stage, params = fresh.stages["all"], variables["params"]
    optimizer = freeze(stage.optimizer, stage.trainable, params)
    no_gradient = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(no_gradient, optimizer.init(params), params)
    leaves = jax.tree_util.tree_leaves_with_path(updates)
    moved = {leaf_path(path): bool((leaf != 0).all()) for path, leaf in leaves}
    still = {leaf_path(path): not (leaf != 0).any() for path, leaf in leaves}
    spared = {path.split("/")[1] for path in moved if still[path]}
    assert spared == {"down_0", "down_1", "down_norms_0", "up_norms_0"}
    assert all(moved[path] != still[path] for path in moved)


def test_the_decoder_drops_nothing(fresh, variables):
    shape = shape_with(fresh, dropout=0.9)
    module, z = shape.autoencoder, normal(2, len(fresh.rows["row"]), shape.pathways)
    _, down = model.layer_edges(shape, fresh.constants)
    decode = type(module).decode
    first, other = (
        apply_module(
            module, model.ENCODER, variables, key, z, down, row_info(fresh.rows), method=decode
        )[0]
        for key in (jax.random.key(0), jax.random.key(1))
    )
    np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("name", ["autoencoder", "heads", "all"])
def test_padding_changes_neither_loss_nor_statistics(fresh, variables, name):
    stage = fresh.stages[name]
    loss = jax.jit(stage.loss)

    def terms_of(rows):
        extra = stage.features(variables, rows) if stage.features else {}
        return loss(variables, {SLOT: {**rows, **extra}}, jax.random.key(0))

    rows = np.asarray(fresh.rows["row"])
    padded = batch_of(fresh.table, np.concatenate([rows, rows[:3]]))
    padded["live"] = padded["live"].at[-3:].set(False)
    padded["x"] = padded["x"].at[-3:].set(jnp.nan)
    expected, actual = terms_of(fresh.rows), terms_of(padded)
    assert jax.tree.structure(expected) == jax.tree.structure(actual)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5), actual, expected
    )


def test_the_stage_of_the_heads_leaves_the_statistics_of_the_autoencoder(fresh, variables):
    stage = fresh.stages["heads"]
    batch = {SLOT: {**fresh.rows, **stage.features(variables, fresh.rows)}}
    _, stats = jax.jit(stage.loss)(variables, batch, jax.random.key(0))
    jax.tree.map(
        np.testing.assert_array_equal, stats["encoder"], variables["batch_stats"]["encoder"]
    )
    _, moved = jax.jit(fresh.stages["all"].loss)(variables, {SLOT: fresh.rows}, jax.random.key(0))
    changed = jax.tree.map(
        lambda a, b: bool((a != b).any()), moved["encoder"], variables["batch_stats"]["encoder"]
    )
    assert all(jax.tree.leaves(changed))  # of the decoder's norms, too


def test_the_authors_first_stage_trains_the_heads_as_well():
    fresh = FreshArm("--config.training.supervised_autoencoder=True")
    batch = {SLOT: fresh.rows}
    terms, _ = jax.eval_shape(fresh.stages["autoencoder"].loss, fresh.variables, batch, key())
    assert {"kl", "reconstruction", *(f"task_{t.name}" for t in fresh.shape.tasks)} == set(terms)
    alone, _ = jax.eval_shape(FreshArm().stages["autoencoder"].loss, fresh.variables, batch, key())
    assert set(alone) == {"kl", "reconstruction"}


def key():
    return jax.random.key(0)


def test_a_disease_without_people_in_a_batch_adds_nothing(fresh, variables):
    first, second = (task.name for task in fresh.shape.tasks)
    rows = np.flatnonzero(fresh.arm.dataset.targets[first][1])[:8]
    batch = {SLOT: batch_of(fresh.table, rows)}
    terms, _ = jax.jit(fresh.stages["all"].loss)(variables, batch, jax.random.key(0))
    assert float(terms[f"task_{first}"].weight) == 8
    assert float(terms[f"task_{second}"].sum) == float(terms[f"task_{second}"].weight) == 0

    def loss(params):
        terms, _ = fresh.stages["all"].loss({**variables, "params": params}, batch, key())
        return fresh.network.losses.total(terms)

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient["heads"][second]))
    assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient["heads"][first]))
