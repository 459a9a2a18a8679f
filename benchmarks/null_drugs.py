"""Many simulated drug studies trained as one: one table of rows, one axis of all their splits.

Every pair is in the table twice, as it is and with its two sides exchanged. So a training on
exchanged pairs, or a prediction from x2 to x1, differs in its row numbers only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Study:
    """The stacked table and its replicates.

    names: "model" or "swapped" per replicate, by the pairs it was trained on.
    forward, backward: the test rows of every replicate, as they are and with exchanged sides.
    """

    system: Any
    table: dict[str, np.ndarray]
    replicates: Sequence[Any]
    names: Sequence[str]
    forward: Sequence[np.ndarray]
    backward: Sequence[np.ndarray]


def stack_studies(config, datasets: int, given=None, swapped: bool = True) -> Study:
    """Datasets with the replicates of the experiment table1, as one study.

    datasets: how many are simulated, with seeds 0, 1, ...
    given: [(dataset, arm)] instead of simulating.
    swapped: add each replicate's twin, trained on pairs of which each is exchanged with probability
      1/2, by coins of (dataset, repeat).
    """
    tables, replicates, names, forward, backward = [], [], [], [], []
    offset, system = 0, None
    for number in range(datasets):
        dataset, arm = given[number] if given else _simulate(config, number)
        system = system or arm.system
        every_row = np.arange(len(dataset))
        paired = np.flatnonzero(dataset.modalities["treated"].observed_rows)
        reverse = every_row.copy()
        reverse[paired] = len(dataset) + np.arange(len(paired))
        for replicate in arm.replicates:
            numbered = _numbered(replicate, number, named=not given)
            rows_by_name = {"model": every_row}
            if swapped:
                rows_by_name["swapped"] = _swapped_rows(reverse, number, replicate)
            for name, rows in rows_by_name.items():
                replicates.append(_look_up(numbered, rows, offset))
                names.append(name)
                forward.append(replicate.test + offset)
                backward.append(reverse[replicate.test] + offset)
        tables.append(_with_reversed(arm.system.arrays(dataset), paired))
        offset += len(dataset) + len(paired)
    table = {name: np.concatenate([part[name] for part in tables]) for name in tables[0]}
    return Study(system, table, replicates, names, forward, backward)


def _simulate(config, number: int):
    from omics_jax.data.perturbation.simulate import simulate_perturbations
    from omics_jax.systems.pertvae.experiments import table1

    dataset = simulate_perturbations(**{**config.simulator, "seed": number})[0]
    (arm,) = table1(config, dataset)
    return dataset, arm


def _numbered(replicate, number: int, named: bool):
    """The replicate with a seed of its dataset and, where `named`, the dataset in its group."""
    labels = dict(replicate.labels)
    if named:
        labels["group"] = f"{labels['group']} of dataset {number}"
    return dataclasses.replace(replicate, labels=labels, seed=replicate.seed + 100_000 * number)


def _swapped_rows(reverse: np.ndarray, number: int, replicate) -> np.ndarray:
    """Every row or its reverse, by a coin each."""
    rng = np.random.default_rng([number, replicate.labels["repeat"]])
    heads = rng.random(len(reverse)) < 0.5
    return np.where(heads, reverse, np.arange(len(reverse)))


def _look_up(replicate, rows: np.ndarray, offset: int):
    """The replicate with its rows looked up in `rows`, as row numbers of the stacked table."""
    return dataclasses.replace(
        replicate,
        rows={slot: rows[index] + offset for slot, index in replicate.rows.items()},
        validation={slot: rows[index] + offset for slot, index in replicate.validation.items()},
        test=replicate.test + offset,
    )


def _with_reversed(arrays: dict[str, np.ndarray], paired: np.ndarray) -> dict[str, np.ndarray]:
    """The rows, and after them the paired ones with their two sides exchanged."""
    other_side = {"x1": "x2", "x2": "x1", "m1": "m2", "m2": "m1"}
    table = {}
    for name, values in arrays.items():
        exchanged = arrays[other_side.get(name, name)]
        table[name] = np.concatenate([values, exchanged[paired]])
    return table


def train_and_predict(study: Study, folder: Path, chunk: int, strategy: str):
    """Trains all replicates through the project's plan and loop.

    Returns:
      (per replicate x2_mean and x1_reconstruction of its test rows, and "backward", x2_mean of the
      reversed test rows; number of programs of the training block).
    """
    from omics_jax.training.history import History
    from omics_jax.training.loop import RunContext, fit
    from omics_jax.training.plan import Options, Training, make_plan
    from omics_jax.training.rows import apply_to_rows, compile_row_function

    system = study.system
    ids = np.arange(len(study.table["x1"])).astype(str)
    training = Training(system.stages, system.init, study.table, ids, study.replicates)
    options = Options(strategy=strategy, chunk=chunk, checkpoint_seconds=1e9, block_seconds=5)
    plan = make_plan(training, options)

    def predict(variables, batch):
        fields = system.predict(variables, batch)
        return {name: fields[name] for name in ("x2_mean", "x1_reconstruction")}

    width = 2 * max(len(rows) for rows in study.forward)
    predictor = compile_row_function(predict, width)
    last_stage = system.stages[-1].name
    predictions: list[dict[str, np.ndarray]] = []
    context = RunContext(folder / "checkpoints", History(folder / "history.jsonl"))
    for members, by_stage in fit(plan, context):
        rows = [np.concatenate([study.forward[r], study.backward[r]]) for r in members]
        fields = apply_to_rows(predictor, width, by_stage[last_stage], plan.table, rows)
        for r, both_ways in zip(members, fields, strict=True):
            n = len(study.forward[r])
            forward = {name: values[:n] for name, values in both_ways.items()}
            predictions.append({**forward, "backward": both_ways["x2_mean"][n:]})
    return predictions, sum(compiled.block._cache_size() for compiled in plan.stages)


def scores_of(study: Study, predictions: Sequence[dict[str, np.ndarray]]) -> pd.DataFrame:
    """Tidy scores as `comparisons.compare` reads them: means over each replicate's test pairs."""
    sizes = [len(rows) for rows in study.forward]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    lines = []
    for (side, metric), values in _scores_of_rows(study, predictions).items():
        means = pd.Series(values).groupby(owner).mean().to_numpy()
        for r, (replicate, trained_on) in enumerate(
            zip(study.replicates, study.names, strict=True)
        ):
            if trained_on == "swapped" and side != "self":
                continue
            line = {
                "arm": "all",
                "model": trained_on if side == "self" else side,
                "metric": metric,
                "value": means[r],
                **replicate.labels,
                "n_train": len(replicate.rows["pairs"]),
                "n_test": sizes[r],
            }
            lines.append(line)
    return pd.DataFrame(lines)


def _scores_of_rows(
    study: Study, predictions: Sequence[dict[str, np.ndarray]]
) -> dict[tuple[str, str], np.ndarray]:
    """(what predicts, metric) -> the score of every test row of every replicate.

    "self" is the replicate's own model; metrics are those of `scoring`.
    """
    from omics_jax.evaluation.metrics import pearson_rows, spearman_rows

    rows = np.concatenate(study.forward)
    x1, x2, m1, m2 = (study.table[name][rows] for name in ("x1", "x2", "m1", "m2"))
    predicted, reconstructed, backward = (
        np.concatenate([p[name] for p in predictions])
        for name in ("x2_mean", "x1_reconstruction", "backward")
    )
    both = m1 & m2
    change = predicted - reconstructed
    unchanged = np.zeros(len(x1))
    return {
        ("self", "rho_pred"): spearman_rows(predicted, x2, m2),
        ("self", "delta_pearson"): pearson_rows(predicted - x1, x2 - x1, both),
        ("self", "rho_shift"): spearman_rows(x1 + change, x2, both),
        ("self", "delta_pearson_shift"): pearson_rows(change, x2 - x1, both),
        ("self", "rmse"): np.sqrt(np.mean((predicted - x2) ** 2, axis=1)),
        ("reconstruction", "rho_pred"): spearman_rows(reconstructed, x2, m2),
        ("no change", "rho_pred"): spearman_rows(x1, x2, m2),
        ("no change", "delta_pearson"): unchanged,
        ("no change", "rho_shift"): spearman_rows(x1, x2, m2),
        ("no change", "delta_pearson_shift"): unchanged,
        ("backward", "rho_pred"): spearman_rows(backward, x1, m1),
    }


# Contrast -> the rival of the model, and the metric.
CONTRASTS = {
    "paper": ("reconstruction", "rho_pred"),
    "no_change_rho": ("no change", "rho_pred"),
    "no_change_delta": ("no change", "delta_pearson"),
    "no_change_rho_shift": ("no change", "rho_shift"),
    "no_change_delta_shift": ("no change", "delta_pearson_shift"),
    "swapped_rho_shift": ("swapped", "rho_shift"),
    "swapped_delta_shift": ("swapped", "delta_pearson_shift"),
    "swapped_rho": ("swapped", "rho_pred"),
    "swapped_delta": ("swapped", "delta_pearson"),
    "backward_rho": ("backward", "rho_pred"),
}


def contrasts(scores: pd.DataFrame) -> dict[str, np.ndarray]:
    """Contrast -> one-sided p of "the model is better" per group of replicates (drug, dataset)."""
    from omics_jax.evaluation.comparisons import compare, mann_whitney_greater

    p_values, models = {}, set(scores["model"])
    for name, (rival, metric) in CONTRASTS.items():
        if rival in models:
            tests = compare(scores, "model", rival, metric, alternative="greater")
            p_values[name] = np.array([test["p"] for test in tests])
    rho = scores[scores["metric"] == "rho_pred"]
    by_group = {
        model: rho[rho["model"] == model].groupby("group", sort=False)["value"]
        for model in ("model", "reconstruction")
    }
    reconstruction = dict(iter(by_group["reconstruction"]))
    p_values["paper_mann_whitney"] = np.array(
        [
            mann_whitney_greater(values.to_numpy(), reconstruction[group].to_numpy()).p
            for group, values in by_group["model"]
        ]
    )
    return p_values


def rejection_rate(p: np.ndarray) -> float:
    """Share of tests that reject at 0.05; a test without a p-value does not."""
    return round(float(np.mean(np.nan_to_num(p, nan=1.0) < 0.05)), 4)
