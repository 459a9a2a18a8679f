"""Pretrain an imputer, then classify from what it learned: losses, stages and predictions of the
EHR system.

    pretrain    imputation loss alone, on series from which some observed cells are hidden in every step
    classify    classification loss alone, on all that was observed; the imputer frozen (its features are then
                computed once) or trained along, or first the one and then the other
    calibration two numbers, on the validation patients (not the papers')

The networks are in `imputers.py` and `classifiers.py`, what they see of a stay in `stays.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from omics_jax.nn import piecewise
from omics_jax.nn.gaps import time_gaps
from omics_jax.systems.ehr import classifiers, imputers
from omics_jax.systems.ehr.classifiers import Inputs
from omics_jax.systems.ehr.imputers import Series
from omics_jax.systems.ehr.stays import (
    SLOT,
    Network,
    held_out,
    hidden_cells,
    known_statics,
    learned,
    observed_series,
    run_imputer,
    standardized,
)
from omics_jax.training.calibration import CALIBRATION, calibration_stage
from omics_jax.training.monitors import auroc, binary_cross_entropy
from omics_jax.training.schedules import optimizer, plateau_of
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables

EPSILON = 1e-5  # in the denominators of the per-step losses, as released
REGRESSIONS = ("history", "feature", "combined")


# --- initial parameters ---------------------------------------------------------------------------


def init(
    network: Network, with_classifier: bool, key: jax.Array, batch: Batch, constants: Variables
) -> Variables:
    """{"imputer"} and, for a classifier's arm, {"classifier"}, where it is calibrated
    {"calibration"}.
    """
    c = network.config
    shape = network.variables, network.statics
    params = {
        "imputer": imputers.init_imputer(jax.random.fold_in(key, 0), c.model, network.steps, *shape)
    }
    if with_classifier:
        key = jax.random.fold_in(key, 1)
        params["classifier"] = classifiers.init_members(key, c.classifier, c.model.hidden, *shape)
        if c.classifier.calibrated:
            params[CALIBRATION] = {
                "outcome": {"log_temperature": jnp.zeros(()), "shift": jnp.zeros(())}
            }
    return {"params": params, "batch_stats": {}}


# --- pretraining ----------------------------------------------------------------------------------


def imputation_loss(
    network: Network, variables: Variables, batch: Batch, key: jax.Array
) -> tuple[Terms, Any]:
    """The terms of the imputation loss, each network's own steps apart.

    Returns:
      history, feature, combined: (T, 2) absolute errors of xhat, zhat, chat over the cells that
      were shown; hidden: (T,) of the mean of both directions' chat over the cells that were hidden;
      consistency: |chat_f - chat_b|, over the cells that were imputed.
    """
    rows, constants, config = batch[SLOT], variables["constants"], network.config.pretrain
    live = rows["live"][:, None, None]
    # Drawn anew in every step; the release draws once for all.
    draw = jax.random.fold_in(key, 0) if config.resample else jax.random.key(0)
    shown = rows["m"] & live & ~hidden_cells(constants, rows, draw)
    series = observed_series(network, constants, rows, shown)
    found = run_imputer(network, variables, series, jax.random.fold_in(key, 1))
    forward = shown.sum(axis=(0, 2)).astype(jnp.float32)
    weight = jnp.stack([forward, forward[::-1]], axis=1)
    hidden = rows["m"] & live & ~shown
    error = jnp.abs(found.estimates.mean(axis=0) - standardized(network, constants, rows))
    everywhere = network.config.model.compat.consistency_over_all
    compared = jnp.broadcast_to(live, shown.shape) if everywhere else live & ~shown
    apart = jnp.where(live & ~shown, jnp.abs(found.estimates[0] - found.estimates[1]), 0)
    terms = {name: Term(found.errors[i], weight) for i, name in enumerate(REGRESSIONS)}
    terms["hidden"] = Term(
        jnp.sum(jnp.where(hidden, error, 0), axis=(0, 2)),
        hidden.sum(axis=(0, 2), dtype=jnp.float32),
    )
    terms["consistency"] = Term(jnp.sum(apart), compared.sum(dtype=jnp.float32))
    return terms, {}


def imputation_objective(network: Network, terms: Terms) -> jax.Array:
    """sum over terms of its weight times sum_t (sum / count)_t, over both directions; consistency
    once.

    By `config.pretrain.weights`. Published for BRITS are .3 for history, feature and combined and
    .1 for consistency, for CSAI combined and consistency alone (`configs/ehr.py:paper`); our
    default for CSAI adds the hidden cells to BRITS'.
    """
    weights = network.config.pretrain.weights[network.config.model.imputer]
    per_step = lambda term: jnp.sum(term.sum / (term.weight + EPSILON))
    steps = sum(weights[name] * per_step(terms[name]) for name in (*REGRESSIONS, "hidden"))
    return steps + weights.consistency * terms["consistency"].mean


def imputation_monitor(network: Network, variables: Variables, batch: Batch) -> jax.Array:
    """Mean absolute error on the validation rows' held-out cells of the first level, standardised."""
    rows = batch[SLOT]
    held = held_out(rows, 1) & rows["live"][:, None, None] & learned(variables["constants"])
    series = observed_series(network, variables["constants"], rows, rows["m"] & ~held_out(rows, 1))
    estimate = run_imputer(network, variables, series).estimates.mean(axis=0)
    error = jnp.abs(estimate - standardized(network, variables["constants"], rows))
    return Term(jnp.sum(jnp.where(held, error, 0)), held.sum(dtype=jnp.float32)).mean


# --- classification -------------------------------------------------------------------------------


def encode(network: Network, variables: Variables, rows, key=None) -> dict[str, jax.Array]:
    """What the imputer makes of all that was observed: hidden (n, H), imputed (n, T, D) on the
    training scale.

    `key` switches the imputer's dropout on, where it is trained.
    """
    series = observed_series(network, variables["constants"], rows, rows["m"])
    found = run_imputer(network, variables, series, key)
    return {"hidden": found.hidden.mean(axis=0), "imputed": imputers.completed(series, found)}


def classifier_inputs(network: Network, variables: Variables, rows, encoded) -> Inputs:
    """A classifier's inputs from rows and what `encode` made of them."""
    constants = variables["constants"]
    series = observed_series(network, constants, rows, rows["m"])
    gap = time_gaps(series.m, series.hours, "paper")
    plain = (
        plain_inputs(series, rows, constants)
        if network.config.classifier.network == "summary"
        else None
    )
    return Inputs(
        plain, encoded["hidden"], encoded["imputed"], series.x, series.m, gap, rows["row"]
    )


def plain_inputs(series: Series, rows, constants) -> jax.Array:
    """(n, P) encoded summaries and which of the statics are known."""
    static_m = known_statics(constants, rows)
    fitted = (constants[f"summary_{k}"] for k in ("knots", "mean", "sd"))
    code = piecewise.encode(*summaries(series, static_m), *fitted)
    return jnp.concatenate([code.reshape(len(code), -1), static_m.astype(code.dtype)], axis=-1)


def summaries(series: Series, static_m: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Plain summaries of stays on the training scale, and which are known."""
    return classifiers.summaries(series.x, series.m, series.hours, series.static, static_m)


def fit_summaries(network: Network, constants, rows) -> dict[str, np.ndarray]:
    """The constants of the `summary` network, from training rows (host arrays)."""
    rows = {"row": jnp.arange(len(rows["m"])), **jax.tree.map(jnp.asarray, dict(rows))}
    constants = jax.tree.map(jnp.asarray, dict(constants))
    found = summaries(
        observed_series(network, constants, rows, rows["m"]), known_statics(constants, rows)
    )
    found = piecewise.fit_encoding(*map(np.asarray, found), network.config.classifier.bins)
    return {f"summary_{name}": values for name, values in found.items()}


def classify(network: Network, variables: Variables, inputs: Inputs) -> jax.Array:
    """(n,) logit of the outcome, of the mean of the members' probabilities."""
    return calibrated(variables, uncalibrated(network, variables, inputs))


def uncalibrated(network: Network, variables: Variables, inputs: Inputs) -> jax.Array:
    """(n,) the same, of the members as they were trained."""
    config = network.config.classifier
    return classifiers.pooled_logit(
        classifiers.classify_members(variables["params"]["classifier"], config, inputs)
    )


def calibrated(variables: Variables, logit: jax.Array) -> jax.Array:
    """(n,) logit / T + a (Platt 1999), where the network is calibrated."""
    if CALIBRATION not in variables["params"]:
        return logit
    found = variables["params"][CALIBRATION]["outcome"]
    return logit / jnp.exp(found["log_temperature"]) + found["shift"]


def classification_loss(
    network: Network, frozen: bool, variables: Variables, batch: Batch, key: jax.Array
) -> tuple[Terms, Any]:
    """bce: the members' mean cross entropy over rows with a known outcome; a death weighs
    `positive_weight`.
    """
    rows = batch[SLOT]
    rows = {**rows, "m": rows["m"] & rows["live"][:, None, None]}
    encoded = rows if frozen else encode(network, variables, rows, jax.random.fold_in(key, 1))
    inputs = classifier_inputs(network, variables, rows, encoded)
    logits = classifiers.classify_members(
        variables["params"]["classifier"],
        network.config.classifier,
        inputs,
        jax.random.fold_in(key, 2),
    )
    counted = rows["labelled"] & rows["live"]
    label = jnp.where(counted, rows["label"], 0)
    weight = jnp.where(
        counted, jnp.where(label > 0, network.config.classifier.positive_weight, 1.0), 0.0
    )
    loss = optax.sigmoid_binary_cross_entropy(logits, label).mean(axis=0)
    return {"bce": Term(jnp.sum(jnp.where(counted, weight * loss, 0)), weight.sum())}, {}


def classification_monitor(
    network: Network, frozen: bool, variables: Variables, batch: Batch
) -> Mapping[str, jax.Array]:
    """Minus the AUROC of the validation rows, by which training stops, and their cross entropy."""
    rows = batch[SLOT]
    encoded = rows if frozen else encode(network, variables, rows)
    inputs = classifier_inputs(network, variables, rows, encoded)
    logits = classify(network, variables, inputs)
    weight = (rows["labelled"] & rows["live"]).astype(jnp.float32)
    label = jnp.where(weight > 0, rows["label"], 0)
    return {
        "monitor": -auroc(logits, label, weight),
        "validation_loss": binary_cross_entropy(logits, label, weight),
    }


# --- stages ---------------------------------------------------------------------------------------


def pretraining(network: Network, rows: Mapping[str, int]) -> tuple[Stage]:
    """The imputer alone, stopped on the error of held-out cells of the validation rows. rows: see
    `classification`.
    """
    c = network.config.pretrain
    stage = Stage(
        name="pretrain",
        loss=lambda variables, batch, key: imputation_loss(network, variables, batch, key),
        objective=lambda terms: imputation_objective(network, terms),
        optimizer=optimizer(c.optimizer.to_dict(), c.epochs * -(-rows[SLOT] // c.batch_size)),
        epochs=c.epochs,
        batch_size={SLOT: c.batch_size},
        trainable=("imputer/.*",),
        monitor=lambda variables, batch: imputation_monitor(network, variables, batch),
        patience=c.patience,
        monitor_every=c.monitor_every,
    )
    return (stage,)


def classification(network: Network, rows: Mapping[str, int]) -> tuple[Stage, ...]:
    """The stages of a regime: "frozen" and "unfrozen" have one, "gradual" is the one and then the
    other.

    A last one calibrates, where the config asks for it.

    rows: slot -> the most rows of it that a replicate has.
    """
    regime = network.config.finetune.regime
    wanted = {"frozen": (True,), "unfrozen": (False,), "gradual": (True, False)}[regime]
    stages = [_classification_stage(network, rows[SLOT], frozen) for frozen in wanted]
    if network.config.classifier.calibrated:
        stages.append(_calibration_stage(network, rows[CALIBRATION]))
    return tuple(stages)


def _classification_stage(network: Network, rows: int, frozen: bool) -> Stage:
    c = network.config.finetune
    spec = c.optimizer.to_dict()
    if not frozen and c.regime == "gradual":
        spec["learning_rate"] = c.unfrozen_learning_rate
    by_replicate = (
        hasattr(spec["learning_rate"], "get") and spec["learning_rate"].get("name") == "replicate"
    )
    return Stage(
        name="classify" if frozen else "finetune",
        loss=lambda variables, batch, key: classification_loss(
            network, frozen, variables, batch, key
        ),
        objective=lambda terms: terms["bce"].mean,
        optimizer=optimizer(spec, c.epochs * -(-rows // c.batch_size)),
        epochs=c.epochs,
        batch_size={SLOT: c.batch_size},
        trainable=("classifier/.*",) if frozen else ("imputer/.*", "classifier/.*"),
        monitor=lambda variables, batch: classification_monitor(network, frozen, variables, batch),
        patience=c.patience,
        features=(lambda variables, rows: encode(network, variables, rows)) if frozen else None,
        plateau=plateau_of(spec["learning_rate"]),
        rate=(lambda constants: constants["learning_rate"]) if by_replicate else None,
    )


def _calibration_stage(network: Network, rows: int) -> Stage:
    def features(variables, rows):
        inputs = classifier_inputs(network, variables, rows, encode(network, variables, rows))
        return {"logit": uncalibrated(network, variables, inputs)}

    def terms(variables, rows):
        counted = rows["labelled"] & rows["live"]
        label = jnp.where(counted, rows["label"], 0)
        loss = optax.sigmoid_binary_cross_entropy(calibrated(variables, rows["logit"]), label)
        return {
            "outcome": Term(jnp.sum(jnp.where(counted, loss, 0)), counted.sum(dtype=jnp.float32))
        }

    return calibration_stage(rows, features, terms, ("logit", "label", "labelled"))


# --- predictions ----------------------------------------------------------------------------------


def predict_imputation(network: Network, variables: Variables, rows) -> dict[str, jax.Array]:
    """The imputed series and what the imputer knows of a stay.

    Returns (input units where a series, observed cells bit-identical):
      imputed (n, T, D); disagreement (n, T, D), half the distance of both directions' estimates, 0
      where observed; hidden_forward, hidden_backward, hidden (n, H); imputed_LEVEL and
      disagreement_LEVEL (n, T, D) for every held-out share, from the cells that are left; with
      `config.predict.draws` also sd (n, T, D), the s.d. of the imputed over so many passes in which
      observed cells are hidden at the training rates; with `config.predict.steps` also hidden_steps
      (n, T, 2, H).
    """
    constants, config = variables["constants"], network.config.predict
    shown = rows["m"]
    series = observed_series(network, constants, rows, shown)
    found = run_imputer(network, variables, series, states=config.steps)
    out = {
        "imputed": in_input_units(constants, rows, shown, found.estimates.mean(axis=0)),
        "disagreement": disagreement(constants, shown, found.estimates),
        "hidden_forward": found.hidden[0],
        "hidden_backward": found.hidden[1],
        "hidden": found.hidden.mean(axis=0),
    }
    for level, name in enumerate(network.levels, 1):
        out[f"imputed_{name}"], out[f"disagreement_{name}"] = impute_level(
            network, variables, rows, level
        )
    if config.draws:
        out["sd"] = jnp.where(
            shown, 0, masking_sd(network, variables, rows, config.draws) * constants["sd"]
        )
    if config.steps:
        out["hidden_steps"] = jnp.moveaxis(found.states, 0, 2)
    return out


def predict_new_imputation(network: Network, variables: Variables, rows) -> dict[str, jax.Array]:
    """`predict_imputation` of new stays: no cell is held out, and what this replicate cannot impute
    is nan.

    That is a variable of which its training rows have no value, where it was not observed now.
    """
    found = predict_imputation(replace(network, levels=()), variables, rows)
    speaks = rows["m"] | learned(variables["constants"])
    by_cell = {"imputed", "disagreement", "sd"} & set(found)
    return {**found, **{name: jnp.where(speaks, found[name], jnp.nan) for name in by_cell}}


def impute_level(
    network: Network, variables: Variables, rows, level: int
) -> tuple[jax.Array, jax.Array]:
    """(n, T, D) imputed from the cells that a held-out share leaves, and both directions'
    disagreement; input units.
    """
    constants = variables["constants"]
    shown = rows["m"] & ~held_out(rows, level)
    found = run_imputer(
        network, variables, observed_series(network, constants, rows, shown)
    ).estimates
    return in_input_units(constants, rows, shown, found.mean(axis=0)), disagreement(
        constants, shown, found
    )


def disagreement(constants, shown, estimates) -> jax.Array:
    """(n, T, D) half the distance between the directions' estimates in input units, 0 where a value
    was seen.
    """
    return jnp.where(shown, 0, jnp.abs(estimates[0] - estimates[1]) / 2 * constants["sd"])


def masking_sd(network: Network, variables: Variables, rows, draws: int) -> jax.Array:
    """(n, T, D) s.d. of the estimates over passes that hide observed cells, on the training scale.

    The draws are fixed and the same for all rows, so that it depends neither on the rows beside one
    nor on their order.
    """
    constants = variables["constants"]
    alike = {**rows, "row": jnp.zeros_like(rows["row"])}

    def one(key):
        shown = rows["m"] & ~hidden_cells(constants, alike, key)
        return run_imputer(
            network, variables, observed_series(network, constants, rows, shown)
        ).estimates.mean(axis=0)

    return jnp.std(jax.lax.map(one, jax.random.split(jax.random.key(1), draws)), axis=0)


def in_input_units(constants, rows, shown, estimate) -> jax.Array:
    """Observed cells exactly as they came, the others the estimate in the input's units."""
    return jnp.where(shown, rows["x"], estimate * constants["sd"] + constants["mean"])


def predict_outcome(network: Network, variables: Variables, rows) -> dict[str, jax.Array]:
    """probability (n,) of the outcome; with `config.predict.forgetting` also imputed_LEVEL of the
    first level.
    """
    inputs = classifier_inputs(network, variables, rows, encode(network, variables, rows))
    out = {"probability": jax.nn.sigmoid(classify(network, variables, inputs))}
    if network.config.predict.forgetting:
        out[f"imputed_{network.levels[0]}"] = impute_level(network, variables, rows, 1)[0]
    return out
