"""Embed several modalities, then predict several outcomes at once: losses, stages and predictions.

    embedding   the VAE alone: L_embed = (1/M) sum_j BCE(x_j, x'_j) + k_kl KL(q(z|x) | N(0, I))        (equation 1)
    heads       the heads alone, on the frozen mean of q(z|x): L_down = (1/K) sum_k w_k L_k             (equation 2)
    all         everything: lambda L_embed + L_down                                                     (equation 3)
    calibration if asked for: a temperature per class or survival task, on the validation patients     (not the paper's)

Source: the paper that couples deep imputation with multi-task learning on TCGA; missing modalities
are imputed before (`imputation`) and the imputers frozen here. A row is a patient: of every
modality M its values x_M (F,) and mask m_M (F,) in the input's units, `has` (M,) the modalities
that were measured, and of every task T its outcome y_T (of survival time y_T and event e_T) and
whether it is known, k_T. What the networks see of it is in `patients`, the networks themselves in
`networks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import optax

from omics_jax.nn import mtlr
from omics_jax.nn.initial import draw, lecun
from omics_jax.nn.noise import row_normal
from omics_jax.systems.multiomics import imputation
from omics_jax.systems.multiomics.networks import Embedding, Rows
from omics_jax.systems.multiomics.patients import (
    SLOT,
    Network,
    Patients,
    patients,
    prepared,
    read_patients,
    scaled,
)
from omics_jax.tasks import calibration
from omics_jax.tasks.task import Task
from omics_jax.training.balancing import gradnorm, pcgrad, uncertainty, with_unweighted_loss
from omics_jax.training.calibration import CALIBRATION
from omics_jax.training.schedules import optimizer, plateau_of
from omics_jax.training.stage import Balance, Batch, Stage, Term, Terms, Variables

OUTCOMES = ("y_.*", "e_.*", "k_.*")  # what `task_terms` reads of a row
BALANCES = ("fixed", "gradnorm", "pcgrad", "uncertainty")


# --- initial parameters ---------------------------------------------------------------------------


def init(network: Network, key: jax.Array, batch: Batch, constants: Variables) -> Variables:
    """{"embedding", "heads"} and, where modalities are imputed, {"imputer"}, where calibrated,
    {"calibration"}.
    """
    rows = batch[SLOT]
    of = Rows(rows["live"], rows["row"])
    has_all = jnp.ones((len(rows["row"]), len(network.used)), bool)
    x = {name: scaled(constants, rows, name) for name in network.used}
    z = jnp.zeros((len(rows["row"]), network.config.model.latent))
    made = {"embedding": (network.embedding, x, has_all, of), "heads": (network.heads, z, of)}
    shapes = {
        name: jax.eval_shape(module.init, key, *inputs) for name, (module, *inputs) in made.items()
    }
    kind = lambda what: {name: shape.get(what, {}) for name, shape in shapes.items()}
    params = draw(jax.random.fold_in(key, 1), lecun(kind("params")))
    imputers = imputation.init(network, key, batch, constants)["params"] if network.edges else {}
    # The running statistics of a norm are a mean of 0 and a variance of 1.
    stats = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full(leaf.shape, float(path[-1].key == "var"), leaf.dtype),
        kind("batch_stats"),
    )
    params |= calibration.init(network)
    return {"params": {**imputers, **params}, "batch_stats": stats}


# --- the embedding --------------------------------------------------------------------------------


def encode(network: Network, variables: Variables, found: Patients, rows, key=None):
    """(mean, log variance (n, latent)), new statistics; `key` means training."""
    return _apply(
        network.embedding,
        "embedding",
        variables,
        key,
        found.x,
        found.present,
        _rows(rows),
        method=Embedding.encode,
    )


def embedding_terms(network: Network, variables: Variables, found: Patients, rows, key=None):
    """Terms of equation 1 by one draw of z per patient (its mean without `key`), q's mean, and the
    new statistics.

    Returns:
      bce_M: binary cross-entropy summed over the observed or imputed cells of modality M, weight
        the cells, or with
      the reduction "sum" the patients they would fill; kl: of the live patients, summed over the
      latent dimensions.
    """
    live, per_patient = rows["live"], network.config.model.reduction == "sum"
    (mean, log_variance), stats = encode(network, variables, found, rows, key)
    z = mean
    if key is not None:
        noise = row_normal(jax.random.fold_in(key, 2), rows["row"], mean.shape[1:])
        z = mean + jnp.exp(log_variance / 2) * noise
        variables = {**variables, "batch_stats": {**variables["batch_stats"], **stats}}
    logits, stats = _apply(
        network.embedding,
        "embedding",
        variables,
        None if key is None else jax.random.fold_in(key, 1),
        z,
        _rows(rows),
        method=Embedding.decode,
    )
    terms = {}
    for name in network.used:
        counted = found.cells[name] & live[:, None]
        bce = optax.sigmoid_binary_cross_entropy(logits[name], found.x[name])
        alive = (
            jnp.sum(variables["constants"][f"{name}_alive"], dtype=bce.dtype) if per_patient else 1
        )
        terms[f"bce_{name}"] = Term(
            jnp.sum(jnp.where(counted, bce, 0)), jnp.sum(counted, dtype=bce.dtype) / alive
        )
    kl = jnp.sum(jnp.exp(log_variance) + mean**2 - 1 - log_variance, axis=1) / 2
    terms["kl"] = Term(jnp.sum(jnp.where(live, kl, 0)), jnp.sum(live, dtype=kl.dtype))
    return terms, mean, stats


def embedding_objective(network: Network, terms: Terms) -> jax.Array:
    """Equation 1. "mean": BCE per feature and KL per latent dimension, as OmiEmbed; "sum": both per
    patient.
    """
    c = network.config.model
    bce = sum(terms[f"bce_{name}"].mean for name in network.used) / len(network.used)
    return bce + c.k_kl * terms["kl"].mean / (1 if c.reduction == "sum" else c.latent)


# --- the heads ------------------------------------------------------------------------------------


def head_outputs(network: Network, variables: Variables, mean: jax.Array, rows, key=None):
    """task -> (n, outputs) on the mean of q(z|x), and the new statistics; `key` means training."""
    outputs, stats = _apply(network.heads, "heads", variables, key, mean, _rows(rows))
    return calibration.tempered(variables, outputs), stats


def task_terms(
    network: Network, constants: Variables, outputs: Mapping[str, jax.Array], rows
) -> dict[str, Term]:
    """task_NAME: the summed loss of the live patients whose outcome is known, and their number.

    Cross-entropy; |.| or squared error ("mse") in standard deviations of the training rows; MTLR.
    """
    terms = {}
    for task in network.tasks:
        weight = (rows[f"k_{task.name}"] & rows["live"]).astype(jnp.float32)
        observed = outcomes(constants, rows, task)
        target = jnp.where(weight > 0, observed["y"], 0)
        output = outputs[task.name]
        if task.kind == "survival":
            edges = constants[f"{task.name}_edges"]
            bins = mtlr.bins_of(target, edges, network.config.survival.convention)
            event = jnp.where(weight > 0, observed["e"], 0)
            terms[f"task_{task.name}"] = Term(*mtlr.mtlr_loss(output, bins, event, weight))
            continue
        if task.kind == "classification":
            loss = optax.softmax_cross_entropy_with_integer_labels(output, target.astype(jnp.int32))
        else:
            apart = (
                output[:, 0]
                - (target - constants[f"{task.name}_mean"]) / constants[f"{task.name}_sd"]
            )
            loss = jnp.abs(apart) if network.config.model.regression_loss == "mae" else apart**2
        terms[f"task_{task.name}"] = Term(jnp.sum(jnp.where(weight > 0, loss, 0)), jnp.sum(weight))
    return terms


def outcome_fields(task: Task) -> tuple[str, ...]:
    """The parts of an outcome: y and, of a survival time, e."""
    return ("y", "e") if task.kind == "survival" else ("y",)


def outcomes(constants: Variables, rows, task: Task) -> dict[str, jax.Array]:
    """y (and e) (n,): the rows' own, or what the replicate's constants y_T (and e_T) (N,) say of
    all rows instead.

    So a replicate can learn from permuted outcomes; they must be known where the rows' own are.
    """
    given = lambda key: constants[key][rows["row"]] if key in constants else rows[key]
    return {field: given(f"{field}_{task.name}") for field in outcome_fields(task)}


def task_losses(network: Network, terms: Terms) -> jax.Array:
    """(K,) w_k L_k / K."""
    each = [network.weights.get(t.name, 1.0) * terms[f"task_{t.name}"].mean for t in network.tasks]
    return jnp.stack(each) / len(each)


# --- stages ---------------------------------------------------------------------------------------


def training_stages(network: Network, rows: Mapping[str, int]) -> tuple[Stage, ...]:
    """Those of embedding, heads, all and calibration that `config.training.stages` names, in that
    order.

    rows: slot -> the most rows of it that a replicate has.
    """
    makers = {"embedding": _embedding_stage, "heads": _heads_stage, "all": _joint_stage}
    found = [
        makers[name](network, rows[SLOT])
        for name in makers
        if name in network.config.training.stages
    ]
    if not calibration.calibrated(network):
        return tuple(found)
    return (
        *found,
        calibration.stage(
            network, rows[CALIBRATION], partial(_untempered, network), task_terms, OUTCOMES
        ),
    )


def _untempered(network: Network, variables: Variables, rows) -> dict[str, jax.Array]:
    """task -> (n, outputs) of the heads themselves."""
    (mean, _), _ = encode(network, variables, patients(network, variables, rows), rows)
    return _apply(network.heads, "heads", variables, None, mean, _rows(rows))[0]


def _embedding_stage(network: Network, rows: int) -> Stage:
    def loss(variables, batch, key):
        terms, _, stats = embedding_terms(
            network, variables, *_of_batch(network, variables, batch), key
        )
        return terms, {**variables["batch_stats"], **stats}

    def monitor(variables, batch):
        terms, _, _ = embedding_terms(network, variables, *_of_batch(network, variables, batch))
        return embedding_objective(network, terms)

    return _stage(
        network,
        "embedding",
        rows,
        ("embedding/.*",),
        loss,
        lambda t: embedding_objective(network, t),
        monitor,
    )


def _heads_stage(network: Network, rows: int) -> Stage:
    """On z alone: the embedding is frozen, so that its mean is computed once per stage and not once
    per step.
    """

    def loss(variables, batch, key):
        rows = batch[SLOT]
        outputs, stats = head_outputs(network, variables, rows["z"], rows, key)
        return task_terms(network, variables["constants"], outputs, rows), {
            **variables["batch_stats"],
            **stats,
        }

    def monitor(variables, batch):
        rows = batch[SLOT]
        outputs, _ = head_outputs(network, variables, rows["z"], rows)
        return _monitored(network, task_terms(network, variables["constants"], outputs, rows))

    def features(variables, rows):
        return {"z": encode(network, variables, patients(network, variables, rows), rows)[0][0]}

    objective = lambda terms: jnp.sum(task_losses(network, terms))
    return replace(
        _stage(network, "heads", rows, ("heads/.*",), loss, objective, monitor, features),
        reads=("z", *OUTCOMES),
    )


def _joint_stage(network: Network, rows: int) -> Stage:
    c = network.config.model

    def terms_of(variables, batch, key=None):
        found, rows = _of_batch(network, variables, batch)
        terms, mean, embedded = embedding_terms(network, variables, found, rows, key)
        later = None if key is None else jax.random.fold_in(key, 3)
        outputs, stats = head_outputs(network, variables, mean, rows, later)
        return {**terms, **task_terms(network, variables["constants"], outputs, rows)}, {
            **embedded,
            **stats,
        }

    def loss(variables, batch, key):
        terms, stats = terms_of(variables, batch, key)
        return terms, {**variables["batch_stats"], **stats}

    def monitor(variables, batch):
        return _monitored(network, terms_of(variables, batch)[0])

    whole = lambda terms: c.k_embed * embedding_objective(network, terms)
    objective = lambda terms: whole(terms) + jnp.sum(task_losses(network, terms))
    trainable = ("embedding/.*", "heads/.*")
    return _stage(
        network, "all", rows, trainable, loss, objective, monitor, balance=_balance(network, whole)
    )


def _stage(
    network, name, rows, trainable, loss, objective, monitor, features=None, balance=None
) -> Stage:
    """What the three stages have in common; where an imputer is frozen, patients are prepared once
    per stage.
    """
    c = network.config.training
    spec = c.optimizer.to_dict()
    if features is None and network.edges:
        features = lambda variables, rows: prepared(network, variables, rows)
    return Stage(
        name=name,
        loss=loss,
        objective=objective,
        optimizer=optimizer(spec, c.epochs[name] * -(-rows // c.batch_size)),
        epochs=c.epochs[name],
        batch_size={SLOT: c.batch_size},
        trainable=trainable,
        monitor=monitor,
        patience=c.patience,
        features=features,
        plateau=plateau_of(spec["learning_rate"]),
        balance=balance,
    )


def _balance(network: Network, whole) -> Balance | None:
    """How the tasks' gradients are weighed against each other in the last stage; L_embed stands
    outside of it.
    """
    c = network.config.balancing
    losses, count = lambda terms: task_losses(network, terms), len(network.tasks)
    if c.name == "fixed" or count < 2:
        return None
    learned = optimizer(dict(name="adam", learning_rate=c.learning_rate), 1)
    if c.name == "gradnorm":
        balance = gradnorm(losses, count, learned, c.alpha)
    elif c.name == "uncertainty":
        squared = network.config.model.regression_loss == "mse"
        factors = [0.5 if t.kind == "regression" and squared else 1.0 for t in network.tasks]
        balance = uncertainty(losses, factors, learned)
    else:
        balance = pcgrad(losses)
    return with_unweighted_loss(whole, balance)


def _monitored(network: Network, terms: Terms) -> dict[str, jax.Array]:
    """L_down of the validation patients, by which training stops, and every task's loss."""
    each = {f"validation_{t.name}": terms[f"task_{t.name}"].mean for t in network.tasks}
    return {"monitor": jnp.sum(task_losses(network, terms)), **each}


def _of_batch(network: Network, variables: Variables, batch: Batch):
    rows = batch[SLOT]
    return read_patients(network, variables, rows), rows


def _rows(rows) -> Rows:
    return Rows(rows["live"], rows["row"])


def _apply(module, name: str, variables: Variables, key, *inputs, method=None):
    """A module's result, and {its name: new statistics}; with a key it is in training."""
    held = {"params": variables["params"][name], "batch_stats": variables["batch_stats"][name]}
    if key is None:
        return module.apply(held, *inputs, method=method), {}
    out, moved = module.apply(
        held, *inputs, method=method, rngs={"dropout": key}, mutable=["batch_stats"]
    )
    return out, {name: moved.get("batch_stats", {})}


# --- predictions ----------------------------------------------------------------------------------


def predict(network: Network, variables: Variables, rows) -> dict[str, jax.Array]:
    """Every task's prediction and what it stands on.

    Returns:
      TASK_probability (n, C); TASK_value (n,) in the input's units; of a survival task TASK_risk
      (n,), the summed cumulative hazard, TASK_survival (n, K + 1) at TASK_times (n, K + 1), and
      TASK_median (n,), the end of the grid where the curve stays above one half
      (TASK_median_reached False). embedding (n, latent): the mean of q(z|x). imputed_share (n,): of
      the features that the embedding reads of a patient, those that were imputed or filled in. A
      modality whose branch is left out is not read.
    """
    found, constants = patients(network, variables, rows), variables["constants"]
    (mean, _), _ = encode(network, variables, found, rows)
    outputs, _ = head_outputs(network, variables, mean, rows)
    out = {
        "embedding": mean,
        "imputed_share": _imputed_share(network, constants, rows, found.present),
    }
    for task in network.tasks:
        y = outputs[task.name]
        if task.kind == "classification":
            out[f"{task.name}_probability"] = jax.nn.softmax(y)
        elif task.kind == "regression":
            out[f"{task.name}_value"] = (
                y[:, 0] * constants[f"{task.name}_sd"] + constants[f"{task.name}_mean"]
            )
        else:
            edges = constants[f"{task.name}_edges"]
            out[f"{task.name}_risk"] = mtlr.risk(y, network.config.survival.hazard)
            out[f"{task.name}_survival"] = mtlr.survival_at_edges(y)
            out[f"{task.name}_times"] = jnp.broadcast_to(edges, (len(y), len(edges)))
            median = mtlr.median_survival(y, edges)
            out[f"{task.name}_median"] = jnp.minimum(median, edges[-1])
            out[f"{task.name}_median_reached"] = jnp.isfinite(median)
    return out


def _imputed_share(network: Network, constants, rows, present: jax.Array) -> jax.Array:
    # In early fusion what stands in for an absent modality is read; see `Embedding.encode`.
    there = present | (network.embedding.fusion == "early")
    alive = lambda i, name: constants[f"{name}_alive"] & there[:, i, None]
    read = jnp.concatenate([alive(i, name) for i, name in enumerate(network.used)], axis=1)
    seen = jnp.concatenate([rows[f"m_{name}"] for name in network.used], axis=1)
    # Exactly 0 where all was measured.
    return jnp.sum(~seen & read, axis=1) / jnp.maximum(jnp.sum(read, axis=1), 1)
