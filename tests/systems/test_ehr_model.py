"""The EHR system's losses, stages and predictions: what reaches what, and every number put together
again in numpy.
"""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import ROOT, config_of
from sklearn.metrics import log_loss, roc_auc_score

from omics_jax.systems.ehr import model, predictions, reading, replicates
from omics_jax.systems.ehr.device_rows import device_rows, held_levels
from omics_jax.systems.ehr.stays import SLOT, ModelShape, hidden_cells, observed_series, run_imputer
from omics_jax.training.stage import Term

KEY = jax.random.key(3)
PATIENTS, EMPTY = 15, 2
WORDS = [
    f"--config={ROOT}/configs/ehr.py:smoke",
    f"--config.simulator.patients={PATIENTS}",
    "--config.simulator.steps=6",
    "--config.simulator.features=3",
    "--config.simulator.missing=0.4",
    "--config.model.channels=4",
    "--config.model.feedforward=4",
    "--config.classifier.dropout=0.0",
    "--config.classifier.plain_dropout=0.0",
    "--config.classifier.members=1",
    "--config.pretrain.hide=0.3",
]


def world(*words):
    """A config with its dataset, rows as the device has them, network and shaken variables; patient
    2 has no value.
    """
    config = config_of(*WORDS, *words)
    dataset = reading.read(config)
    dataset.modalities["series"].mask[EMPTY] = False
    dataset.modalities["series"].values[EMPTY] = 0
    constants = replicates.constants_of(config, dataset, np.arange(10))
    levels = tuple(str(round(100 * rate)) for rate in config.held_out)
    sizes = (len(dataset.modalities[name].features) for name in ("hours", "series", "static"))
    network = ModelShape(config, *sizes, levels)
    held = partial(held_levels, tuple(config.held_out), config.seed)
    rows = {name: jnp.asarray(a) for name, a in device_rows(held, dataset).items()}
    rows |= {"row": jnp.arange(PATIENTS, dtype=jnp.int32), "live": jnp.ones(PATIENTS, bool)}
    constants |= model.fit_summaries(
        network, constants, {name: values[:10] for name, values in rows.items()}
    )
    made = jax.jit(lambda key: model.init(network, True, key, {}, {}))(jax.random.key(0))
    rng = np.random.default_rng(0)
    shaken = jax.tree.map(
        lambda a: jnp.asarray(a + 0.3 * rng.standard_normal(a.shape), jnp.float32), made["params"]
    )
    variables = {
        "params": shaken,
        "batch_stats": {},
        "constants": jax.tree.map(jnp.asarray, constants),
    }
    call = lambda function, *fixed: jax.jit(partial(function, network, *fixed))
    return SimpleNamespace(
        config=config,
        dataset=dataset,
        network=network,
        rows=rows,
        variables=variables,
        constants=constants,
        predict=call(predictions.predict_imputation),
        encode=call(model.encode),
        loss=call(model.imputation_loss),
        outcome=call(predictions.predict_outcome),
        monitor=call(model.imputation_monitor),
        classify={frozen: call(model.classification_loss, frozen) for frozen in (True, False)},
    )


@pytest.fixture(scope="module")
def brits():
    return world(
        "--config.predict.draws=4",
        "--config.predict.steps=True",
        "--config.predict.forgetting=True",
    )


@pytest.fixture(scope="module")
def csai():
    return world("--config.model.imputer=csai", "--config.pretrain.resample=False")


@pytest.fixture(params=["brits", "csai"])
def either(request):
    return request.getfixturevalue(request.param)


def patients(rows):
    return {SLOT: rows}


def numpy_of(tree):
    return jax.tree.map(np.asarray, tree)


def z_scores(w):
    """(n, T, D) float64 of every measured cell, drawn in to the clip, 0 elsewhere."""
    series, c = w.dataset.modalities["series"], w.constants
    z = np.clip(
        (series.values.astype(np.float64) - c["mean"]) / c["sd"],
        -w.config.model.clip,
        w.config.model.clip,
    )
    return np.where(series.mask, z, 0)


# What reaches what


@pytest.mark.slow
@pytest.mark.parametrize("level", [1, 2])
def test_held_out_cells_never_reach_the_imputation_of_their_level(either, level):
    w, name = either, f"imputed_{either.network.levels[level - 1]}"
    hidden = np.asarray((w.rows["held"] > 0) & (w.rows["held"] <= level))
    assert hidden.sum() > 5
    found = numpy_of(w.predict(w.variables, w.rows))
    other = numpy_of(
        w.predict(w.variables, w.rows | {"x": jnp.where(hidden, w.rows["x"] + 100, w.rows["x"])})
    )
    np.testing.assert_array_equal(other[name], found[name])
    assert np.abs(other["imputed"] - found["imputed"])[~np.asarray(w.rows["m"])].max() > 0
    # The values left are handed back as they came; the held-out ones are not.
    left = np.asarray(w.rows["m"]) & ~hidden
    np.testing.assert_array_equal(found[name][left], np.asarray(w.rows["x"])[left])
    assert (found[name][hidden] != np.asarray(w.rows["x"])[hidden]).all()


def test_the_monitor_is_the_error_of_estimates_that_never_saw_the_held_out_cells(either):
    w = either
    rows = w.rows | {"live": jnp.arange(PATIENTS) != 4}
    hidden = np.asarray((rows["held"] == 1) & rows["live"][:, None, None])
    blind = np.asarray(w.predict(w.variables, rows)[f"imputed_{w.network.levels[0]}"], np.float64)
    estimate = (blind - w.constants["mean"]) / w.constants["sd"]
    expected = np.abs(estimate - z_scores(w))[hidden].mean()
    assert float(w.monitor(w.variables, patients(rows))) == pytest.approx(expected, rel=1e-4)


def test_the_label_reaches_no_prediction(brits):
    other = brits.rows | {"label": 1 - brits.rows["label"], "labelled": ~brits.rows["labelled"]}
    for predict in (brits.predict, brits.outcome):
        jax.tree.map(
            np.testing.assert_array_equal,
            predict(brits.variables, other),
            predict(brits.variables, brits.rows),
        )


# Hiding in training


def test_cells_are_hidden_anew_in_every_step_only_where_wanted(brits, csai):
    hidden = lambda w, k: np.asarray(
        w.loss(w.variables, patients(w.rows), jax.random.key(k))[0]["hidden"].weight
    )
    assert any((hidden(brits, 0) != hidden(brits, k)).any() for k in (1, 2))
    np.testing.assert_array_equal(hidden(csai, 0), hidden(csai, 1))  # pretrain.resample=False


def test_every_variable_is_hidden_at_its_rate_in_a_pattern_of_the_row(brits):
    m = jnp.ones((400, 6, 3), bool).at[0].set(False)
    rows = {"m": m, "row": jnp.arange(400, dtype=jnp.int32)}
    rate = np.array([0.1, 0.5, 0.9], np.float32)
    hide = jax.jit(lambda r: hidden_cells({"hiding_rate": jnp.asarray(rate)}, r, KEY))
    found = np.asarray(hide(rows))
    assert not found[0].any()
    # 2,394 cells each: four standard errors.
    assert (
        np.abs(found[1:].mean(axis=(0, 1)) - rate) < 4 * np.sqrt(rate * (1 - rate) / 2394)
    ).all()
    order = np.arange(400)[::-1].copy()
    np.testing.assert_array_equal(hide(jax.tree.map(lambda a: a[order], rows)), found[order])


# Losses


def test_terms_of_the_imputation_loss_by_hand(csai):
    w = csai
    rows = w.rows | {"live": jnp.arange(PATIENTS) != 4}
    terms = numpy_of(w.loss(w.variables, patients(rows), KEY)[0])
    live = np.asarray(rows["live"])[:, None, None]
    m = np.asarray(rows["m"]) & live
    shown = m & ~np.asarray(hidden_cells(w.variables["constants"], rows, jax.random.key(0)))
    series = observed_series(w.network, w.variables["constants"], rows, jnp.asarray(shown))
    run = jax.jit(lambda v, s: run_imputer(w.network, v, s, jax.random.fold_in(KEY, 1)))
    forward, backward = np.asarray(run(w.variables, series).estimates, np.float64)
    hidden, mean = m & ~shown, (forward + backward) / 2
    over = lambda cells, values: np.where(cells, values, 0).sum(axis=(0, 2))
    np.testing.assert_allclose(
        terms["hidden"].sum, over(hidden, np.abs(mean - z_scores(w))), rtol=1e-4
    )
    np.testing.assert_array_equal(terms["hidden"].weight, hidden.sum(axis=(0, 2)))
    combined = np.stack([over(shown, np.abs(e - z_scores(w))) for e in (forward, backward)], axis=1)
    combined[:, 1] = combined[::-1, 1]  # the backward network's own time
    np.testing.assert_allclose(terms["combined"].sum, combined, rtol=1e-4)
    for name in model.REGRESSIONS:
        np.testing.assert_array_equal(terms[name].weight[:, 0], shown.sum(axis=(0, 2)))
        np.testing.assert_array_equal(terms[name].weight[::-1, 1], shown.sum(axis=(0, 2)))
    imputed = ~shown & live
    assert terms["consistency"].sum == pytest.approx(
        np.abs(forward - backward)[imputed].sum(), rel=1e-4
    )
    assert terms["consistency"].weight == imputed.sum()


@pytest.mark.parametrize("imputer", ["brits", "csai"])
def test_the_objective_weighs_the_terms_as_its_formula_says(brits, imputer):
    """With the published weights, of which CSAI's leave two regressions out."""
    config = brits.config.copy_and_resolve_references()
    config.pretrain.weights = config_of(f"--config={ROOT}/configs/ehr.py:paper").pretrain.weights
    config.model.imputer = imputer
    rng, weights = np.random.default_rng(0), config.pretrain.weights[imputer]
    draw = lambda *shape: (rng.random(shape), rng.integers(0, 5, shape).astype(float))
    made = {name: draw(6, 2) for name in model.REGRESSIONS} | {
        "hidden": draw(6),
        "consistency": draw(),
    }
    expected = weights.consistency * np.divide(*made["consistency"])
    for name in (*model.REGRESSIONS, "hidden"):
        total, count = made[name]
        expected += weights[name] * sum(
            s / (c + 1e-5) for s, c in zip(total.ravel(), count.ravel(), strict=True)
        )
    terms = {
        name: Term(*(jnp.asarray(a, jnp.float32) for a in pair)) for name, pair in made.items()
    }
    network = ModelShape(config, 6, 3, 0, ("10",))
    assert float(model.imputation_objective(network, terms)) == pytest.approx(expected, rel=1e-5)
    regressions = (0.3, 0.3, 0.3) if imputer == "brits" else (0, 0, 0.3)
    assert (weights.history, weights.feature, weights.combined) == regressions


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_padding_rows_change_neither_loss_nor_gradient(brits, kind):
    w = brits
    total = {
        "pretrain": lambda v, r: model.imputation_objective(
            w.network, w.loss(v, patients(r), KEY)[0]
        ),
        "finetune": lambda v, r: w.classify[False](v, patients(r), KEY)[0]["bce"].mean,
    }[kind]
    slope = jax.jit(jax.value_and_grad(lambda p, r: total({**w.variables, "params": p}, r)))
    first = lambda a, n: a[:n]
    whole = jax.tree.map(lambda a: first(a, 12), w.rows)
    junk = {
        "live": jnp.arange(12) < 9,
        "x": whole["x"].at[9:].set(1e4),
        "label": whole["label"].at[9:].set(7.0),
    }
    padded = slope(w.variables["params"], whole | junk)
    alone = slope(w.variables["params"], jax.tree.map(lambda a: first(a, 9), w.rows))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6), padded, alone)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(alone[1]["imputer"])) > 0


def test_cross_entropy_counts_known_outcomes_alone_and_weighs_deaths():
    w = world("--config.classifier.positive_weight=3.0", "--config.classifier.calibrated=False")
    labelled = jnp.arange(PATIENTS) % 4 != 1
    rows = w.rows | {"labelled": labelled, "label": jnp.where(labelled, w.rows["label"], jnp.nan)}
    found = w.classify[False](w.variables, patients(rows), KEY)[0]["bce"]
    p, seen = np.asarray(w.outcome(w.variables, rows)["probability"]), np.asarray(labelled)
    y = np.asarray(w.rows["label"])[seen]
    assert 0 < y.sum() < len(y)
    weight = np.where(y > 0, 3.0, 1.0)
    expected = log_loss(y, p[seen].astype(float), sample_weight=weight)
    assert float(found.mean) == pytest.approx(expected, rel=1e-4)
    assert float(found.weight) == weight.sum()


def test_the_classifier_is_stopped_on_auroc_of_known_outcomes(brits):
    w = brits
    rows = w.rows | {"labelled": jnp.arange(PATIENTS) % 4 != 1, "live": jnp.arange(PATIENTS) != 0}
    seen = np.asarray(rows["labelled"] & rows["live"])
    p, y = (
        np.asarray(w.outcome(w.variables, rows)["probability"])[seen],
        np.asarray(rows["label"])[seen],
    )
    monitor = jax.jit(lambda v, r: model.classification_monitor(w.network, False, v, r))
    found = monitor(w.variables, patients(rows))
    assert float(found["monitor"]) == pytest.approx(-roc_auc_score(y, p), abs=1e-6)
    assert float(found["validation_loss"]) == pytest.approx(log_loss(y, p.astype(float)), rel=1e-4)


# Stages


@pytest.mark.parametrize("calibrated", [False, True])
def test_regimes_are_stages(calibrated):
    frozen = ("classify", ("classifier/.*",), True)
    unfrozen = ("finetune", ("imputer/.*", "classifier/.*"), False)
    last = [("calibration", ("calibration/.*",), True)] if calibrated else []
    for regime, expected in {
        "frozen": [frozen],
        "unfrozen": [unfrozen],
        "gradual": [frozen, unfrozen],
    }.items():
        config = config_of(
            *WORDS,
            f"--config.finetune.regime={regime}",
            f"--config.classifier.calibrated={calibrated}",
        )
        stages = model.classification(
            ModelShape(config, 6, 3, 8, ("10",)), {"patients": 10, "calibration": 4}
        )
        assert [(s.name, s.trainable, s.features is not None) for s in stages] == expected + last


def test_features_of_the_frozen_stage_are_what_the_imputer_encodes(brits):
    w = brits
    features = model._classification_stage(w.network, 10, frozen=True).features
    found = jax.jit(features)(w.variables, w.rows)
    encoded = w.encode(w.variables, w.rows)
    jax.tree.map(np.testing.assert_array_equal, found, encoded)
    # Without dropout the frozen stage on its features and the unfrozen one begin with the same
    # loss.
    frozen = w.classify[True](w.variables, patients(w.rows | found), KEY)[0]["bce"]
    assert float(frozen.mean) == pytest.approx(
        float(w.classify[False](w.variables, patients(w.rows), KEY)[0]["bce"].mean)
    )
    hidden = w.predict(w.variables, w.rows)["hidden"]
    np.testing.assert_allclose(found["hidden"], hidden, rtol=1e-5, atol=1e-6)


# Predictions


def test_observed_cells_come_back_bit_for_bit_and_every_number_is_finite(either):
    w = either
    found = numpy_of(w.predict(w.variables, w.rows))
    series = w.dataset.modalities["series"]
    assert found["imputed"].dtype == np.float32
    np.testing.assert_array_equal(found["imputed"][series.mask], series.values[series.mask])
    assert (found["disagreement"][series.mask] == 0).all() and (
        found["disagreement"][~series.mask] > 0
    ).any()
    assert all(np.isfinite(a).all() for a in found.values())  # patient 2 has no observation at all
    assert np.isfinite(w.outcome(w.variables, w.rows)["probability"]).all()
    jax.tree.map(np.testing.assert_array_equal, numpy_of(w.predict(w.variables, w.rows)), found)
    assert [found[k].shape[1:] for k in ("hidden", "hidden_forward", "hidden_backward")] == [
        (6,)
    ] * 3
    np.testing.assert_allclose(
        found["hidden"], (found["hidden_forward"] + found["hidden_backward"]) / 2, rtol=1e-5
    )


def test_a_row_is_predicted_by_itself(either):
    w, order = either, np.array([7, 2, 0, 11, 5, 1, 3, 4, 6, 8, 9, 10, 14, 13, 12])
    found = numpy_of(w.predict(w.variables, w.rows))
    # Another file has its rows in other places.
    moved = {**jax.tree.map(lambda a: a[order], w.rows), "row": jnp.arange(len(order))}
    permuted = numpy_of(w.predict(w.variables, moved))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b[order], rtol=1e-4, atol=1e-4), permuted, found
    )


def test_of_new_stays_nothing_is_said_of_a_variable_that_nobody_of_the_training_has(brits):
    variables = {
        **brits.variables,
        "constants": {**brits.constants, "hiding_rate": np.array([0.0, 0.1, 0.1], np.float32)},
    }
    variables = {**variables, "constants": jax.tree.map(jnp.asarray, variables["constants"])}
    new = numpy_of(
        jax.jit(lambda v, r: predictions.predict_new_imputation(brits.network, v, r))(
            variables, brits.rows
        )
    )
    shown = np.asarray(brits.rows["m"])
    silent = ~shown & (np.arange(3) == 0)
    for name in ("imputed", "disagreement", "sd"):
        np.testing.assert_array_equal(np.isnan(new[name]), silent)
    np.testing.assert_array_equal(new["imputed"][shown], np.asarray(brits.rows["x"])[shown])
    assert (
        not [name for name in new if name.startswith("imputed_")]
        and np.isfinite(new["hidden"]).all()
    )


def test_draws_leave_the_values_as_they_are_and_tell_their_spread(brits):
    found = numpy_of(brits.predict(brits.variables, brits.rows))
    config = brits.config.copy_and_resolve_references()
    config.predict.update(dict(draws=0, steps=False))
    plain = ModelShape(
        config, *(getattr(brits.network, k) for k in ("steps", "variables", "statics", "levels"))
    )
    without = jax.jit(lambda v, r: predictions.predict_imputation(plain, v, r))(
        brits.variables, brits.rows
    )
    assert set(found) - set(without) == {"sd", "hidden_steps"}
    np.testing.assert_allclose(found["imputed"], without["imputed"], rtol=1e-5)
    m = np.asarray(brits.rows["m"])
    assert (found["sd"][m] == 0).all() and (found["sd"][~m] > 0).mean() > 0.5
    # Who has nothing to hide has no spread.
    assert (found["sd"][EMPTY] == 0).all()
    steps = found["hidden_steps"]
    assert steps.shape == (PATIENTS, 6, 2, 6)
    np.testing.assert_allclose(steps[:, -1, 0], found["hidden_forward"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(steps[:, 0, 1], found["hidden_backward"], rtol=1e-5, atol=1e-6)


def test_the_imputation_after_fine_tuning_is_that_of_the_same_parameters(brits):
    level = brits.network.levels[0]
    found = brits.outcome(brits.variables, brits.rows)
    expected = brits.predict(brits.variables, brits.rows)[f"imputed_{level}"]
    np.testing.assert_allclose(found[f"imputed_{level}"], expected, rtol=1e-5, atol=1e-5)
