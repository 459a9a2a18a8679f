"""Many simulated drug studies trained as one: their rows in one table, all their splits on one
replicate axis.

Every pair stands in the table twice, as it is and with its two sides exchanged, so that trainings
on exchanged pairs and predictions from x2 to x1 are a matter of row numbers.
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
    """The stacked table, and of every replicate its test rows as they are and reversed.

    names: "model" or "swapped" per replicate, what it was trained on.
    """

    system: Any
    table: dict[str, np.ndarray]
    replicates: Sequence[Any]
    names: Sequence[str]
    forward: Sequence[np.ndarray]
    backward: Sequence[np.ndarray]


def stacked_training(config, datasets: int, given=None, swapped: bool = True) -> Study:
    """`datasets` simulated datasets (seeds 0, 1, ...) with the replicates of the experiment table1.

    given: [(dataset, arm)] instead of simulating. swapped: add each replicate's twin, trained on
      pairs of which each
    is exchanged with probability 1/2, by coins of (dataset, repeat).
    """
    tables, replicates, names, forward, backward = [], [], [], [], []
    offset, system = 0, None
    for number in range(datasets):
        dataset, arm = given[number] if given else _simulated(config, number)
        system = system or arm.system
        arrays = arm.system.arrays(dataset)
        paired = np.flatnonzero(dataset.modalities["treated"].observed_rows)
        reverse = np.arange(len(dataset))
        reverse[paired] = len(dataset) + np.arange(len(paired))
        for r in arm.replicates:
            group = r.labels["group"] if given else f"{r.labels['group']} of dataset {number}"
            mine = dataclasses.replace(
                r, labels={**r.labels, "group": group}, seed=r.seed + 100_000 * number
            )
            rng = np.random.default_rng([number, r.labels["repeat"]])
            coins = np.where(rng.random(len(dataset)) < 0.5, reverse, np.arange(len(dataset)))
            for name, rows in (("model", np.arange(len(dataset))), *[("swapped", coins)] * swapped):
                replicates.append(_through(mine, rows, offset))
                names.append(name)
                forward.append(r.test + offset)
                backward.append(reverse[r.test] + offset)
        tables.append(_with_reversed(arrays, paired))
        offset += len(dataset) + len(paired)
    stacked = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    return Study(system, stacked, replicates, names, forward, backward)


def _simulated(config, number: int):
    from omics_jax.data.perturbation.simulate import simulate_perturbations
    from omics_jax.systems.pertvae.experiments import table1

    dataset = simulate_perturbations(**{**config.simulator, "seed": number})[0]
    (arm,) = table1(config, dataset)
    return dataset, arm


def _through(replicate, rows: np.ndarray, offset: int):
    """The replicate with its training and validation rows looked up in `rows`, in the stacked
    table.
    """
    place = lambda slots: {slot: rows[index] + offset for slot, index in slots.items()}
    return dataclasses.replace(
        replicate,
        rows=place(replicate.rows),
        validation=place(replicate.validation),
        test=replicate.test + offset,
    )


def _with_reversed(arrays: dict[str, np.ndarray], paired: np.ndarray) -> dict[str, np.ndarray]:
    other = {"x1": "x2", "x2": "x1", "m1": "m2", "m2": "m1"}
    return {
        name: np.concatenate([v, arrays[other.get(name, name)][paired]])
        for name, v in arrays.items()
    }


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
    plan = make_plan(
        training, Options(strategy=strategy, chunk=chunk, checkpoint_seconds=1e9, block_seconds=5)
    )
    keep = lambda variables, batch: {
        k: v
        for k, v in system.predict(variables, batch).items()
        if k in ("x2_mean", "x1_reconstruction")
    }
    width = 2 * max(len(rows) for rows in study.forward)
    predictor = compile_row_function(keep, width)
    out: list[dict[str, np.ndarray]] = []
    context = RunContext(folder / "checkpoints", History(folder / "history.jsonl"))
    for chunk_of, by_stage in fit(plan, context):
        rows = [np.concatenate([study.forward[r], study.backward[r]]) for r in chunk_of]
        for r, found in zip(
            chunk_of,
            apply_to_rows(predictor, width, by_stage[system.stages[-1].name], plan.table, rows),
            strict=True,
        ):
            n = len(study.forward[r])
            out.append({**{k: v[:n] for k, v in found.items()}, "backward": found["x2_mean"][n:]})
    return out, sum(compiled.block._cache_size() for compiled in plan.stages)


def scores_of(study: Study, predictions: Sequence[dict[str, np.ndarray]]) -> pd.DataFrame:
    """Tidy scores as `comparisons.compare` reads them; means over the test pairs of each replicate,
    as in `scoring`.
    """
    from omics_jax.evaluation.metrics import pearson_rows, spearman_rows

    sizes = [len(rows) for rows in study.forward]
    rows, owner = np.concatenate(study.forward), np.repeat(np.arange(len(sizes)), sizes)
    stack = lambda name: np.concatenate([p[name] for p in predictions])
    x1, x2, m1, m2 = (study.table[name][rows] for name in ("x1", "x2", "m1", "m2"))
    predicted, both = stack("x2_mean"), m1 & m2
    change = predicted - stack("x1_reconstruction")
    per_row = {
        ("self", "rho_pred"): spearman_rows(predicted, x2, m2),
        ("self", "delta_pearson"): pearson_rows(predicted - x1, x2 - x1, both),
        ("self", "rho_shift"): spearman_rows(x1 + change, x2, both),
        ("self", "delta_pearson_shift"): pearson_rows(change, x2 - x1, both),
        ("self", "rmse"): np.sqrt(np.mean((predicted - x2) ** 2, axis=1)),
        ("reconstruction", "rho_pred"): spearman_rows(stack("x1_reconstruction"), x2, m2),
        ("no change", "rho_pred"): spearman_rows(x1, x2, m2),
        ("no change", "delta_pearson"): np.zeros(len(x1)),
        ("no change", "rho_shift"): spearman_rows(x1, x2, m2),
        ("no change", "delta_pearson_shift"): np.zeros(len(x1)),
        ("backward", "rho_pred"): spearman_rows(stack("backward"), x1, m1),
    }
    frames = []
    for (side, metric), values in per_row.items():
        means = pd.Series(values).groupby(owner).mean().to_numpy()
        for r, (replicate, trained_on) in enumerate(
            zip(study.replicates, study.names, strict=True)
        ):
            if trained_on == "swapped" and side != "self":
                continue
            model = trained_on if side == "self" else side
            place = {
                "arm": "all",
                "model": model,
                "metric": metric,
                "value": means[r],
                **replicate.labels,
            }
            frames.append({**place, "n_train": len(replicate.rows["pairs"]), "n_test": sizes[r]})
    return pd.DataFrame(frames)


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
    """One-sided p of "the model is better" per group of replicates (drug or dataset), by contrast."""
    from omics_jax.evaluation.comparisons import compare, mann_whitney_greater

    out, models = {}, set(scores["model"])
    for name, (rival, metric) in CONTRASTS.items():
        if rival in models:
            found = compare(scores, "model", rival, metric, alternative="greater")
            out[name] = np.array([c["p"] for c in found])
    rho = scores[scores["metric"] == "rho_pred"]
    sides = {
        m: rho[rho["model"] == m].groupby("group", sort=False)["value"]
        for m in ("model", "reconstruction")
    }
    other = dict(iter(sides["reconstruction"]))
    out["paper_mann_whitney"] = np.array(
        [mann_whitney_greater(v.to_numpy(), other[g].to_numpy()).p for g, v in sides["model"]]
    )
    return out


def level(p: np.ndarray) -> float:
    """Share of tests that reject at 0.05; a test without a p-value does not."""
    return round(float(np.mean(np.nan_to_num(p, nan=1.0) < 0.05)), 4)
