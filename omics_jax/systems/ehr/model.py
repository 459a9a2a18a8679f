"""Pretrain an imputer, then train a classifier on its states: the EHR system's losses and stages.

    pretrain     imputation loss alone, on series with some observed cells hidden in every step
    classify     classification loss alone, on all observed cells; the imputer is frozen, and its
                 features are computed once
    finetune     the same loss, with the imputer trained too
    calibration  two numbers, on the validation patients (not in the papers)

The networks are in `imputers` and `classifiers`, their inputs in `stays`, and the predictions in
`predictions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from omics_jax.nn import piecewise
from omics_jax.nn.gaps import time_gaps
from omics_jax.systems.ehr import classifiers, imputers
from omics_jax.systems.ehr.classifiers import Inputs
from omics_jax.systems.ehr.imputers import Series
from omics_jax.systems.ehr.stays import (
    SLOT,
    Constants,
    ModelShape,
    Rows,
    held_out_cells,
    hidden_cells,
    known_statics,
    observed_series,
    run_imputer,
    seen_in_training,
    standardized,
)
from omics_jax.training.calibration import CALIBRATION, calibration_stage
from omics_jax.training.monitors import auroc, binary_cross_entropy
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables
from omics_jax.training.stage_builder import build_stage

EPSILON = 1e-5  # in the denominators of the per-step losses, as released
REGRESSIONS = ("history", "feature", "combined")


# --- initial parameters ---------------------------------------------------------------------------


def init(
    shape: ModelShape,
    with_classifier: bool,
    key: PRNGKeyArray,
    batch: Batch,
    constants: Variables,
) -> Variables:
    """Parameters of "imputer", for a classifier's arm also of "classifier" and "calibration"."""
    config = shape.config
    sizes = shape.variables, shape.statics
    imputer_key, classifier_key = (jax.random.fold_in(key, k) for k in (0, 1))
    params = {"imputer": imputers.init_imputer(imputer_key, config.model, shape.steps, *sizes)}
    if with_classifier:
        params["classifier"] = classifiers.init_members(
            classifier_key, config.classifier, config.model.hidden, *sizes
        )
        if config.classifier.calibrated:
            unmoved = {"log_temperature": jnp.zeros(()), "shift": jnp.zeros(())}
            params[CALIBRATION] = {"outcome": unmoved}
    return {"params": params, "batch_stats": {}}


# --- pretraining ----------------------------------------------------------------------------------


def imputation_loss(
    shape: ModelShape, variables: Variables, batch: Batch, key: PRNGKeyArray
) -> tuple[Terms, dict]:
    """The terms of the imputation loss, by step of each network.

    Returns:
      history, feature, combined: (T, 2) absolute errors of xhat, zhat, chat over the cells that
      were shown; hidden: (T,) of the mean of both directions' chat over the cells that were hidden;
      consistency: |chat_f - chat_b|, over the cells that were imputed.
    """
    rows, constants, config = batch[SLOT], variables["constants"], shape.config.pretrain
    live = rows["live"][:, None, None]
    # Drawn anew in every step; the release draws once for all.
    draw = jax.random.fold_in(key, 0) if config.resample else jax.random.key(0)
    shown = rows["m"] & live & ~hidden_cells(constants, rows, draw)
    series = observed_series(shape, constants, rows, shown)
    imputation = run_imputer(shape, variables, series, jax.random.fold_in(key, 1))
    forward = shown.sum(axis=(0, 2)).astype(jnp.float32)
    weight = jnp.stack([forward, forward[::-1]], axis=1)
    hidden = rows["m"] & live & ~shown
    estimate = imputation.estimates.mean(axis=0)
    error = jnp.abs(estimate - standardized(shape, constants, rows))
    everywhere = shape.config.model.compat.consistency_over_all
    compared = jnp.broadcast_to(live, shown.shape) if everywhere else live & ~shown
    distance = jnp.abs(imputation.estimates[0] - imputation.estimates[1])
    distance = jnp.where(live & ~shown, distance, 0)
    terms = {name: Term(imputation.errors[i], weight) for i, name in enumerate(REGRESSIONS)}
    hidden_error = jnp.sum(jnp.where(hidden, error, 0), axis=(0, 2))
    terms["hidden"] = Term(hidden_error, hidden.sum(axis=(0, 2), dtype=jnp.float32))
    terms["consistency"] = Term(jnp.sum(distance), compared.sum(dtype=jnp.float32))
    return terms, {}


def imputation_objective(shape: ModelShape, terms: Terms) -> Float[Array, ""]:
    """The weighted sum over terms of sum_t (sum / count)_t over both directions; consistency once.

    By `config.pretrain.weights`. Published for BRITS are .3 for history, feature and combined and
    .1 for consistency, for CSAI combined and consistency alone (`configs/ehr.py:paper`); our
    default for CSAI adds the hidden cells to BRITS'.
    """
    weights = shape.config.pretrain.weights[shape.config.model.imputer]

    def over_steps(term: Term) -> Float[Array, ""]:
        return jnp.sum(term.sum / (term.weight + EPSILON))

    steps = sum(weights[name] * over_steps(terms[name]) for name in (*REGRESSIONS, "hidden"))
    return steps + weights.consistency * terms["consistency"].mean


def imputation_monitor(shape: ModelShape, variables: Variables, batch: Batch) -> Float[Array, ""]:
    """Mean absolute error on held-out cells of the validation rows, first level, standardised."""
    rows, constants = batch[SLOT], variables["constants"]
    held = held_out_cells(rows, 1)
    scored = held & rows["live"][:, None, None] & seen_in_training(constants)
    series = observed_series(shape, constants, rows, rows["m"] & ~held)
    estimate = run_imputer(shape, variables, series).estimates.mean(axis=0)
    error = jnp.abs(estimate - standardized(shape, constants, rows))
    return Term(jnp.sum(jnp.where(scored, error, 0)), scored.sum(dtype=jnp.float32)).mean


# --- classification -------------------------------------------------------------------------------


def encode(
    shape: ModelShape, variables: Variables, rows: Rows, key: PRNGKeyArray | None = None
) -> dict[str, Array]:
    """The imputer on all observed cells: hidden (n, H), imputed (n, T, D) on the training scale.

    `key` switches the imputer's dropout on, where it is trained.
    """
    series = observed_series(shape, variables["constants"], rows, rows["m"])
    imputation = run_imputer(shape, variables, series, key)
    hidden = imputation.hidden.mean(axis=0)
    return {"hidden": hidden, "imputed": imputers.completed(series, imputation)}


def classifier_inputs(shape: ModelShape, variables: Variables, rows: Rows, encoded: Rows) -> Inputs:
    """A classifier's inputs from rows and their output of `encode`."""
    constants = variables["constants"]
    series = observed_series(shape, constants, rows, rows["m"])
    gap = time_gaps(series.m, series.hours, "paper")
    reads_plain = shape.config.classifier.network == "summary"
    return Inputs(
        plain=plain_inputs(series, rows, constants) if reads_plain else None,
        hidden=encoded["hidden"],
        imputed=encoded["imputed"],
        x=series.x,
        m=series.m,
        gap=gap,
        row=rows["row"],
    )


def plain_inputs(series: Series, rows: Rows, constants: Constants) -> Float[Array, "n P"]:
    """Encoded summaries, and which of the statics are known."""
    static_m = known_statics(constants, rows)
    encoding = (constants[f"summary_{k}"] for k in ("knots", "mean", "sd"))
    code = piecewise.encode(*summaries(series, static_m), *encoding)
    return jnp.concatenate([code.reshape(len(code), -1), static_m.astype(code.dtype)], axis=-1)


def summaries(
    series: Series, static_m: Bool[Array, "n S"]
) -> tuple[Float[Array, "n F"], Bool[Array, "n F"]]:
    """Plain summaries of stays on the training scale, and which are known."""
    return classifiers.summaries(series.x, series.m, series.hours, series.static, static_m)


def fit_summaries(
    shape: ModelShape,
    constants: Mapping[str, np.ndarray | Array],
    rows: Mapping[str, np.ndarray | Array],
) -> dict[str, np.ndarray]:
    """The constants of the `summary` network, from training rows (host arrays)."""
    rows = {"row": jnp.arange(len(rows["m"])), **jax.tree.map(jnp.asarray, dict(rows))}
    constants = jax.tree.map(jnp.asarray, dict(constants))
    series = observed_series(shape, constants, rows, rows["m"])
    values, known = summaries(series, known_statics(constants, rows))
    bins = shape.config.classifier.bins
    encoding = piecewise.fit_encoding(np.asarray(values), np.asarray(known), bins)
    return {f"summary_{name}": fitted for name, fitted in encoding.items()}


def classify(shape: ModelShape, variables: Variables, inputs: Inputs) -> Float[Array, " n"]:
    """Logit of the outcome: that of the mean of the members' probabilities, calibrated."""
    return calibrated_logit(variables, uncalibrated_logit(shape, variables, inputs))


def uncalibrated_logit(
    shape: ModelShape, variables: Variables, inputs: Inputs
) -> Float[Array, " n"]:
    """The same of the members as they were trained."""
    members = variables["params"]["classifier"]
    logits = classifiers.classify_members(members, shape.config.classifier, inputs)
    return classifiers.pooled_logit(logits)


def calibrated_logit(variables: Variables, logit: Float[Array, " n"]) -> Float[Array, " n"]:
    """logit / T + a (Platt 1999), where the network is calibrated."""
    if CALIBRATION not in variables["params"]:
        return logit
    fitted = variables["params"][CALIBRATION]["outcome"]
    return logit / jnp.exp(fitted["log_temperature"]) + fitted["shift"]


def classification_loss(
    shape: ModelShape, frozen: bool, variables: Variables, batch: Batch, key: PRNGKeyArray
) -> tuple[Terms, dict]:
    """bce: the members' mean cross-entropy over rows with a known outcome.

    A death has the weight `positive_weight`.
    """
    config = shape.config.classifier
    rows = batch[SLOT]
    rows = {**rows, "m": rows["m"] & rows["live"][:, None, None]}
    encoded = rows if frozen else encode(shape, variables, rows, jax.random.fold_in(key, 1))
    inputs = classifier_inputs(shape, variables, rows, encoded)
    members, dropout_key = variables["params"]["classifier"], jax.random.fold_in(key, 2)
    logits = classifiers.classify_members(members, config, inputs, dropout_key)
    counted = rows["labelled"] & rows["live"]
    label = jnp.where(counted, rows["label"], 0)
    by_class = jnp.where(label > 0, config.positive_weight, 1.0)
    weight = jnp.where(counted, by_class, 0.0)
    loss = optax.sigmoid_binary_cross_entropy(logits, label).mean(axis=0)
    return {"bce": Term(jnp.sum(jnp.where(counted, weight * loss, 0)), weight.sum())}, {}


def classification_monitor(
    shape: ModelShape, frozen: bool, variables: Variables, batch: Batch
) -> dict[str, Float[Array, ""]]:
    """Minus the AUROC of the validation rows, by which training stops, and their cross-entropy."""
    rows = batch[SLOT]
    encoded = rows if frozen else encode(shape, variables, rows)
    inputs = classifier_inputs(shape, variables, rows, encoded)
    logits = classify(shape, variables, inputs)
    weight = (rows["labelled"] & rows["live"]).astype(jnp.float32)
    label = jnp.where(weight > 0, rows["label"], 0)
    return {
        "monitor": -auroc(logits, label, weight),
        "validation_loss": binary_cross_entropy(logits, label, weight),
    }


# --- stages ---------------------------------------------------------------------------------------


def pretraining(shape: ModelShape, rows: Mapping[str, int]) -> tuple[Stage, ...]:
    """The imputer alone, stopped on the error of held-out cells of the validation rows.

    rows: slot -> the most rows of it that a replicate has.
    """
    config = shape.config.pretrain
    stage = build_stage(
        "pretrain",
        loss=partial(imputation_loss, shape),
        objective=partial(imputation_objective, shape),
        rows={SLOT: rows[SLOT]},
        batch_size={SLOT: config.batch_size},
        epochs=config.epochs,
        optimizer_settings=config.optimizer.to_dict(),
        trainable=("imputer/.*",),
        monitor=partial(imputation_monitor, shape),
        patience=config.patience,
        monitor_every=config.monitor_every,
    )
    return (stage,)


def classification(shape: ModelShape, rows: Mapping[str, int]) -> tuple[Stage, ...]:
    """The stages of a regime: "frozen" and "unfrozen" have one, "gradual" has both in this order.

    A last one calibrates, where the config asks for it.

    rows: slot -> the most rows of it that a replicate has.
    """
    regime = shape.config.finetune.regime
    frozen_in_turn = {"frozen": (True,), "unfrozen": (False,), "gradual": (True, False)}[regime]
    stages = [_classification_stage(shape, rows[SLOT], frozen) for frozen in frozen_in_turn]
    if shape.config.classifier.calibrated:
        stages.append(_calibration_stage(shape, rows[CALIBRATION]))
    return tuple(stages)


def _classification_stage(shape: ModelShape, rows: int, frozen: bool) -> Stage:
    """One stage of the classification. rows: the most that a replicate has."""
    config = shape.config.finetune
    spec = config.optimizer.to_dict()
    if not frozen and config.regime == "gradual":
        spec["learning_rate"] = config.unfrozen_learning_rate
    schedule = spec["learning_rate"]
    by_replicate = isinstance(schedule, Mapping) and schedule.get("name") == "replicate"
    return build_stage(
        "classify" if frozen else "finetune",
        loss=partial(classification_loss, shape, frozen),
        objective=lambda terms: terms["bce"].mean,
        rows={SLOT: rows},
        batch_size={SLOT: config.batch_size},
        epochs=config.epochs,
        optimizer_settings=spec,
        trainable=("classifier/.*",) if frozen else ("imputer/.*", "classifier/.*"),
        monitor=partial(classification_monitor, shape, frozen),
        patience=config.patience,
        features=partial(encode, shape) if frozen else None,
        rate=_learning_rate if by_replicate else None,
    )


def _learning_rate(constants: Constants) -> Float[Array, ""]:
    """The learning rate that a replicate was tuned to."""
    return constants["learning_rate"]


def _calibration_stage(shape: ModelShape, rows: int) -> Stage:
    """The two numbers of `calibrated_logit`. rows: the most validation rows of a replicate."""

    def features(variables: Variables, rows: Rows) -> dict[str, Array]:
        inputs = classifier_inputs(shape, variables, rows, encode(shape, variables, rows))
        return {"logit": uncalibrated_logit(shape, variables, inputs)}

    def terms(variables: Variables, rows: Rows) -> dict[str, Any]:
        counted = rows["labelled"] & rows["live"]
        label = jnp.where(counted, rows["label"], 0)
        logit = calibrated_logit(variables, rows["logit"])
        loss = optax.sigmoid_binary_cross_entropy(logit, label)
        total = jnp.sum(jnp.where(counted, loss, 0))
        return {"outcome": Term(total, counted.sum(dtype=jnp.float32))}

    return calibration_stage(rows, features, terms, ("logit", "label", "labelled"))
