"""The stages that train a `TaskNetwork`: the heads alone, everything, and calibration.

    (encoder)    the encoder alone, by its own loss, under the name that the system gives it
    heads        the heads on the frozen embedding:  L_down = (1/K) sum_k w_k L_k
    all          everything:                         lambda L_encoder + L_down
    calibration  a temperature per task, on the validation rows

Left out: stages that train a part of the encoder, which the system defines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from omics_jax.errors import UserError
from omics_jax.tasks.bounds import BOUND, bound_stage, monitored_accuracies
from omics_jax.tasks.calibration import apply_temperatures
from omics_jax.tasks.losses import (
    AT_EMBEDDING,
    BY_BOUND,
    BY_VALIDATION,
    OUTCOME_FIELDS,
    Outputs,
    balance_of,
)
from omics_jax.tasks.network import (
    HEADS,
    Embedding,
    Rows,
    TaskNetwork,
    head_outputs,
    no_loss,
    uncalibrated_outputs,
)
from omics_jax.training.calibration import CALIBRATION, calibration_stage
from omics_jax.training.pcgrad import conflict_free_copies
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables
from omics_jax.training.stage_builder import build_stage

Stats = Mapping[str, Any]  # new batch statistics


def training_stages(
    network: TaskNetwork,
    rows: Mapping[str, int],
    encoder_stages: Mapping[str, Callable[[], Stage]] | None = None,
) -> tuple[Stage, ...]:
    """The stages that `config.training.stages` names: the encoder's, heads, all, calibration.

    rows: slot -> the most rows of it that a replicate has.
    encoder_stages: name -> a function that makes the stage; they come before the other stages.
    """
    makers = {
        **(encoder_stages or {}),
        "heads": lambda: heads_stage(network, rows[network.slot]),
        "all": lambda: joint_stage(network, rows[network.slot]),
    }
    stages = [make() for name, make in makers.items() if name in network.config.training.stages]
    if BOUND in rows:
        (task,) = network.tasks
        outputs = partial(deterministic_outputs, network)
        stages.append(bound_stage(outputs, task, rows[BOUND]))
    if network.calibrated:
        stages.append(temperature_stage(network, rows[CALIBRATION]))
    return tuple(stages)


def section_stage(network: TaskNetwork, name: str, rows: int, **fields: Any) -> Stage:
    """A stage with the settings of the config's section `training`.

    rows: the most rows that a replicate trains on.
    fields: the other arguments of `build_stage`.
    """
    settings = network.config.training
    optimizer = {**settings.optimizer.to_dict(), "multiple": settings.rates[name]}
    return build_stage(
        name,
        rows={network.slot: rows},
        batch_size={network.slot: settings.batch_size},
        epochs=settings.epochs[name],
        optimizer_settings=optimizer,
        undecayed=network.undecayed,
        patience=settings.patience,
        **fields,
    )


def encoder_stage(network: TaskNetwork, name: str, rows: int) -> Stage:
    """The encoder alone, by its own loss."""

    def loss(variables: Variables, batch: Batch, key: PRNGKeyArray) -> tuple[Terms, Stats]:
        encoded = network.encode(variables, batch[network.slot], key)
        return encoded.terms, {**variables["batch_stats"], **encoded.stats}

    def monitor(variables: Variables, batch: Batch) -> Float[Array, ""]:
        encoded = network.encode(variables, batch[network.slot], None)
        return network.encoder_loss(encoded.terms)

    return section_stage(
        network,
        name,
        rows,
        trainable=tuple(f"{module}/.*" for module in network.modules),
        loss=loss,
        objective=network.encoder_loss,
        monitor=monitor,
        features=network.prepare,
        reads=network.reads,
    )


def heads_stage(network: TaskNetwork, rows: int) -> Stage:
    """The heads alone. The encoder is frozen, so its embedding is computed once per stage."""
    losses = network.losses

    def head_terms(
        variables: Variables, batch: Batch, key: PRNGKeyArray | None = None
    ) -> tuple[Terms, Stats]:
        rows = batch[network.slot]
        outputs, stats = head_outputs(network, variables, rows["z"], rows, key)
        return losses.terms(variables["constants"], outputs, rows), stats

    def loss(variables: Variables, batch: Batch, key: PRNGKeyArray) -> tuple[Terms, Stats]:
        terms, stats = head_terms(variables, batch, key)
        return terms, {**variables["batch_stats"], **stats}

    def monitor(variables: Variables, batch: Batch) -> dict[str, Float[Array, ""]]:
        terms, _ = head_terms(variables, batch)
        return losses.monitored(terms)

    def features(variables: Variables, rows: Rows) -> dict[str, Float[Array, "n d"]]:
        return {"z": network.encode(variables, rows, None).embedding}

    return section_stage(
        network,
        "heads",
        rows,
        trainable=(f"{HEADS}/.*",),
        loss=loss,
        objective=losses.total,
        monitor=monitor,
        features=features,
        reads=("z", *OUTCOME_FIELDS),
    )


def joint_stage(network: TaskNetwork, rows: int, name: str = "all") -> Stage:
    """Encoder and heads together, with the task balancing of the config's section `balancing`.

    Raises:
      UserError: a balancing by bounds, of tasks that have none.
    """
    losses, policy = network.losses, network.config.balancing.name
    if policy in BY_BOUND and not network.has_bounds:
        raise UserError(
            f"config.balancing.name is {policy!r}, which needs the accuracy of a network for each "
            "outcome alone, and this system or experiment trains none; choose another, such as "
            "inverse_accuracy"
        )

    def forward(
        variables: Variables, rows: Rows, key: PRNGKeyArray | None = None
    ) -> tuple[Terms, Outputs, Stats]:
        encoded = network.encode(variables, rows, key)
        heads_key = None if key is None else jax.random.fold_in(key, 3)
        z = embedding_for_heads(network, encoded.embedding, key)
        outputs, stats = head_outputs(network, variables, z, rows, heads_key)
        terms = losses.terms(variables["constants"], outputs, rows)
        return {**encoded.terms, **terms}, outputs, {**encoded.stats, **stats}

    def loss(variables: Variables, batch: Batch, key: PRNGKeyArray) -> tuple[Terms, Stats]:
        terms, _, stats = forward(variables, batch[network.slot], key)
        return terms, {**variables["batch_stats"], **stats}

    def monitor(variables: Variables, batch: Batch) -> dict[str, Float[Array, ""]]:
        rows = batch[network.slot]
        terms, outputs, _ = forward(variables, rows)
        values = losses.monitored(terms)
        if policy in BY_VALIDATION:
            values |= monitored_accuracies(losses.tasks, variables, outputs, rows)
        return values

    def weighted_encoder_loss(terms: Terms) -> Float[Array, ""]:
        return jnp.asarray(network.encoder_weight * network.encoder_loss(terms))

    def objective(terms: Terms) -> Float[Array, ""]:
        return weighted_encoder_loss(terms) + losses.total(terms)

    return section_stage(
        network,
        name,
        rows,
        trainable=(*(f"{name}/.*" for name in network.modules), f"{HEADS}/.*"),
        loss=loss,
        objective=objective,
        monitor=monitor,
        features=network.prepare,
        reads=(*network.reads, *OUTCOME_FIELDS),
        balance=balance_of(
            network.config.balancing,
            losses,
            None if network.encoder_loss is no_loss else weighted_encoder_loss,
        ),
    )


def embedding_for_heads(
    network: TaskNetwork, z: Float[Array, "n d"], key: PRNGKeyArray | None
) -> Embedding:
    """The embedding, in training by `AT_EMBEDDING` a copy for each of several tasks."""
    settings, count = network.config.balancing, len(network.tasks)
    if key is None or settings.name != AT_EMBEDDING or count < 2:
        return z
    return conflict_free_copies(z, jax.random.fold_in(key, 4), count, settings.order)


def deterministic_outputs(network: TaskNetwork, variables: Variables, rows: Rows) -> Outputs:
    """Task -> (n, outputs) of its head, without training."""
    z = network.encode(variables, rows, None).embedding
    return head_outputs(network, variables, z, rows)[0]


def temperature_stage(network: TaskNetwork, rows: int) -> Stage:
    """A temperature per task, on at most `rows` validation rows."""
    tasks = network.calibrated
    # Squared errors of numbers: of absolute ones the best temperature has a kink.
    losses = replace(network.losses, tasks=tasks, regression_loss="mse")

    def features(variables: Variables, rows: Rows) -> dict[str, Float[Array, "n _"]]:
        z = network.encode(variables, rows, None).embedding
        outputs, _ = uncalibrated_outputs(network, variables, z, rows)
        return {f"output_{task.name}": outputs[task.name] for task in tasks}

    def terms(variables: Variables, rows: Rows) -> dict[str, Term]:
        outputs = {task.name: rows[f"output_{task.name}"] for task in tasks}
        calibrated = apply_temperatures(variables, outputs)
        by_field = losses.terms(variables["constants"], calibrated, rows)
        return {task.name: by_field[f"task_{task.name}"] for task in tasks}

    epochs = network.config.training.epochs.calibration
    return calibration_stage(rows, features, terms, ("output_.*", *OUTCOME_FIELDS), epochs)
