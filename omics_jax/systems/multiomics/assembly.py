"""The multi-omics system as a value: the model's functions bound to a config and a shape of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from omics_jax.data.dataset import mapped
from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.preprocessing.features import Rules
from omics_jax.errors import UserError
from omics_jax.evaluation.attribution import MIN_POOLED
from omics_jax.nn import mtlr
from omics_jax.settings.checks import check_choices, check_minimum, check_rates, config_value
from omics_jax.study.system import DataSpec, System
from omics_jax.systems.multiomics import imputation, model
from omics_jax.systems.multiomics.networks import FUSIONS
from omics_jax.systems.multiomics.patients import Network
from omics_jax.systems.multiomics.reading import DEFAULT_NAMES, in_user_units, named
from omics_jax.tasks import baselines, scoring
from omics_jax.tasks.task import Task, known, outcome, tasks_of

KINDS = ("classification", "regression", "survival")
STAGES = ("embedding", "heads", "all", "calibration")


# --- settings -------------------------------------------------------------------------------------


def rules_of(config, name: str) -> Rules:
    """The rules by which a modality's features are chosen in every fold."""
    c = config.preprocess
    return Rules(
        zeros=named(c.zeros, "preprocess.zeros").get(name, "keep"),
        most_missing=c.most_missing,
        share=_number(
            named(c.share, "preprocess.share").get(name, "1"), f"preprocess.share of {name}"
        ),
        seed=config.seed,
        top_k=c.top_k or None,
    )


def _number(text: str, setting: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"config.{setting} is {text!r}; give a number") from None


def edges_of(config, names) -> dict[str, tuple[str, ...]]:
    """Modality -> the sources it is imputed from; "" means each from all others.

    Raises:
      UserError: a modality that the data lack, or one that would be imputed from itself.
    """
    text = config.imputation.edges
    if not text:
        return (
            {name: tuple(s for s in names if s != name) for name in names} if len(names) > 1 else {}
        )
    edges = {
        t: tuple(s.strip() for s in sources.split("+")) for t, sources in _arrows(text).items()
    }
    # The paper's edges are for its modalities; data without one of these do without its edges.
    absent = {name for name in DEFAULT_NAMES if name not in names}
    edges = {t: sources for t, sources in edges.items() if not {t, *sources} & absent}
    if len(names) > 1 and not edges:
        raise UserError(
            f"config.imputation.edges is {text!r}, and the data hold {', '.join(names)}; name "
            "edges between these, or leave it empty for each from all others"
        )
    for target, sources in edges.items():
        for name in (target, *sources):
            if name not in names:
                raise UserError(
                    f"config.imputation.edges names {name!r}; the data hold {', '.join(names)}"
                )
        if target in sources:
            raise UserError(
                f"config.imputation.edges imputes {target!r} from itself; name other sources"
            )
    return edges


def weights_of(config) -> dict[str, float]:
    """Task -> w_k, of those that `config.weights` names.

    Raises:
      UserError: a weight that is no number of 0 or more.
    """
    weights = {}
    for name, text in named(config.weights, "weights").items():
        try:
            weights[name] = float(text)
        except ValueError:
            weights[name] = -1.0
        if not 0 <= weights[name] < np.inf:
            raise UserError(
                f"config.weights gives {name} the weight {text!r}; give a number of 0 or more"
            )
    return weights


def target_class(config, dataset: Dataset) -> tuple[str, np.ndarray] | None:
    """The classification whose class `imputation.transfer` names, and the patients (n,) of that
    class.

    Raises:
      UserError: several classes, a classification or class that the data lack, or nobody outside of
        the class.
    """
    given = named(config.imputation.transfer, "imputation.transfer")
    if not given:
        return None
    if len(given) > 1:
        raise UserError(
            f"imputation.transfer is {config.imputation.transfer!r}; name one class, as in "
            "type=LIHC"
        )
    (name, wanted), *_ = given.items()
    tasks = {task.name: task for task in tasks_of(dataset) if task.kind == "classification"}
    if name not in tasks:
        have = ", ".join(tasks) or "none; name one with data.classes"
        raise UserError(
            f"imputation.transfer names {name!r}, which is no classification of the data; they "
            f"have {have}"
        )
    if wanted not in tasks[name].classes:
        known_ones = ", ".join(tasks[name].classes)
        raise UserError(
            f"imputation.transfer names the {name} {wanted!r}; the data hold {known_ones}"
        )
    rows = known(dataset, tasks[name]) & (
        outcome(dataset, tasks[name]) == tasks[name].classes.index(wanted)
    )
    if rows.all():
        raise UserError(
            f"imputation.transfer={name}={wanted}: every patient is of that class; there is no "
            "other to learn from"
        )
    return name, rows


def _arrows(text: str) -> dict[str, str]:
    return named(text.replace("<", "="), "imputation.edges (target<source+source, ...)")


# --- the system -----------------------------------------------------------------------------------


def build(config, spec: DataSpec) -> System:
    """The system for one config and one shape of data: the imputers' (no task in `spec`), or the
    network's.

    Raises:
      UserError: a value of `config` that cannot be.
    """
    check(config)
    network = network_of(config, spec)
    columns, batch = _columns(network, spec), config.predict.batch_size
    # The random share was drawn before the features were limited to those of any fold.
    rules = {name: replace(rules_of(config, name), share=1.0) for name in network.sizes}
    if not network.tasks:
        return System(
            arrays=partial(arrays, network),
            init=partial(imputation.init, network),
            stages=imputation.stages(network, spec.rows),
            predict=partial(imputation.predict, network),
            predict_new=partial(imputation.predict_new, network),
            evaluate=partial(scoring.evaluate, (), None, {}),
            baselines=partial(baselines.imputation_baselines, rules, network.edges),
            columns=columns,
            better=scoring.better((), tuple(network.edges)),
            predict_batch=batch,
            finish_new=partial(in_user_units, tuple(config.preprocess.log2)),
        )
    return System(
        arrays=partial(arrays, network),
        init=partial(model.init, network),
        stages=model.training_stages(network, spec.rows),
        predict=partial(model.predict, network),
        evaluate=partial(scoring.evaluate, network.tasks, None, {}),
        baselines=partial(baselines.baselines, network.tasks, rules, network.used),
        columns=columns,
        better=scoring.better(network.tasks, ()),
        predict_batch=batch,
    )


def network_of(config, spec: DataSpec) -> Network:
    """The shapes of the model for one config and one shape of data."""
    sizes = {name: len(features) for name, features in spec.features.items()}
    used = tuple(spec.levels["used"])
    edges = {t: tuple(s.split("+")) for t, s in (e.split("<") for e in spec.levels["edges"])}
    tasks = tasks_in(spec.levels)
    bins = {t.name: int(spec.levels[f"bins of {t.name}"][0]) for t in tasks if t.kind == "survival"}
    return Network(config, sizes, used, edges, tasks, weights_of(config), bins)


def levels_of(
    used, edges: Mapping[str, tuple[str, ...]], tasks: tuple[Task, ...], bins: Mapping[str, int]
) -> dict[str, tuple[str, ...]]:
    """What `network_of` and `tasks_in` read back: kept with a run as text. bins: of every survival
    task.
    """
    levels = {"used": tuple(used), "edges": tuple(f"{t}<{'+'.join(s)}" for t, s in edges.items())}
    levels["tasks"] = tuple(f"{t.kind} {t.name}" for t in tasks)
    levels |= {f"bins of {name}": (str(count),) for name, count in bins.items()}
    return {**levels, **{f"classes of {t.name}": t.classes for t in tasks if t.classes}}


def tasks_in(levels: Mapping[str, tuple[str, ...]]) -> tuple[Task, ...]:
    """The tasks of a `DataSpec`."""
    parts = (text.partition(" ") for text in levels["tasks"])
    return tuple(
        Task(name, kind, tuple(levels.get(f"classes of {name}", ()))) for kind, _, name in parts
    )


def arrays(network: Network, dataset: Dataset) -> dict[str, np.ndarray]:
    """The rows as the device sees them: x_M, m_M (n, F), has (n, M), and of every task y_T, k_T
    (and e_T) (n,).
    """
    parts = {name: dataset.modalities[name] for name in network.sizes}
    out = {f"x_{name}": mapped.observed(m.values, m.mask) for name, m in parts.items()}
    out |= {f"m_{name}": m.mask for name, m in parts.items()}
    out["has"] = np.stack([m.observed_rows for m in parts.values()], axis=1)
    for task in network.tasks:
        names = (
            (f"{task.name}.time", f"{task.name}.event") if task.kind == "survival" else (task.name,)
        )
        there = all(name in dataset.targets for name in names)
        mask = known(dataset, task) if there else np.zeros(len(dataset), bool)
        for field, name in zip(("y", "e"), names, strict=False):
            values = dataset.targets[name][0] if there else np.zeros(len(dataset))
            out[f"{field}_{task.name}"] = np.where(mask, values, 0).astype(np.float32)
        out[f"k_{task.name}"] = mask
    return out


def complete(names, dataset: Dataset) -> np.ndarray:
    """(n,) whether a patient has all these modalities."""
    return np.all([dataset.modalities[name].observed_rows for name in names], axis=0)


def _columns(network: Network, spec: DataSpec) -> dict[str, tuple[str, ...]]:
    """Fields of a prediction that are written for new patients, with the names of their columns."""
    if not network.tasks:
        return {
            field: spec.features[name] for name in network.edges for field in (name, f"{name}_sd")
        }
    out = {"imputed_share": ("imputed_share",)}
    for task in network.tasks:
        if task.kind == "classification":
            out[f"{task.name}_probability"] = task.classes
        elif task.kind == "regression":
            out[f"{task.name}_value"] = (task.name,)
        else:
            out |= {f"{task.name}_{what}": (what,) for what in ("risk", "median", "median_reached")}
    return out


def check(config) -> None:
    """Refuses values of the config that cannot be."""
    choices = {
        "model.fusion": FUSIONS,
        "model.reduction": ("mean", "sum"),
        "model.regression_loss": ("mae", "mse"),
        "balancing.name": model.BALANCES,
        "survival.grid": ("quantile", "equal"),
        "survival.convention": mtlr.CONVENTIONS,
        "survival.hazard": mtlr.HAZARDS,
        "missing": ("impute", "mask", "complete"),
        "training.stages": STAGES,
        "left_out": ("embedding", "heads", "embedding+heads"),
    }
    check_choices(config, choices)
    if not {"heads", "all"} & set(config.training.stages):
        raise UserError(
            f"config.training.stages is {tuple(config.training.stages)}, which trains no head; "
            "name the stage heads or all, too"
        )
    if config.missing == "mask" and config.model.fusion == "early":
        raise UserError(
            "config.missing is mask, which leaves the branch of a missing modality out, and with "
            "model.fusion=early there are no branches; set fusion to intermediate, or missing to "
            "impute or complete"
        )
    weights_of(config)
    least = {
        "model.latent": 1, "model.k_kl": 0, "model.k_embed": 0, "model.branch": 1, "model.shared": 1,
        "imputation.hidden": 1, "imputation.members": 1, "imputation.epochs": 1, "imputation.batch_size": 1,
        "imputation.patience": 1, "imputation.transfer_epochs": 1, "imputation.transfer_batch_size": 1,
        "training.batch_size": 2, "training.patience": 1, "survival.bins": 0, "predict.batch_size": 1,
        "preprocess.top_k": 0, "interpret.permutations": MIN_POOLED, "interpret.steps": 1, "survival.times": 0,
        **{f"heads.{kind}.widths": 1 for kind in KINDS},
    }  # fmt: skip
    check_minimum(config, least)
    for key in ("model.branch", "model.shared"):
        if not config_value(config, key):
            raise UserError(f"config.{key} is (); give one or more widths")
    check_rates(config, ["model.dropout", *(f"heads.{kind}.dropout" for kind in KINDS)])
