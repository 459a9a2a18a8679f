"""Which features each task's prediction stands on: integrated gradients, against networks of
permuted outcomes.

The attributions and their p-values are those of `evaluation.attribution`; here stand the score that
is attributed for each kind of task, the permuted replicates, and what the experiment says of them.
Left out: interactions of features, the way from an imputed value back to what it was imputed from,
and a null in which only one task's outcomes move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float, Num

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.attribution import (
    integrated_gradients,
    max_t_p,
    mean_attribution,
    pooled_permutation_p,
    spearman_stability,
    top_features,
)
from omics_jax.evaluation.comparisons import benjamini_hochberg
from omics_jax.evaluation.tables import Evaluation, Table
from omics_jax.nn import mtlr
from omics_jax.study.system import Arm, Predictions, Results, System
from omics_jax.systems.multiomics import model
from omics_jax.systems.multiomics.patients import SLOT, Network, average, patients
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Variables

NETWORK, PERMUTED = "network", "permuted"  # the arms
TOP = 30
LEVEL = 0.05
NULL = (
    "Beside it stand {permutations} networks that were trained on the same patients with each "
    "outcome dealt anew among the training patients that have one, and among the validation "
    "patients likewise, so that nothing measured tells of any outcome. They are explained on the "
    "same test patients. "
)


# --- attributions ---------------------------------------------------------------------------------


def explained(network: Network, system: System) -> System:
    """The system with every prediction's `attributions` beside it, and tables of their means."""
    return replace(
        system,
        predict=partial(_predict, network, system.predict),
        evaluate=partial(evaluate, network, system.evaluate),
    )


def _predict(network: Network, predict, variables: Variables, rows) -> dict[str, jax.Array]:
    return {**predict(variables, rows), **attributions(network, variables, rows)}


def attributions(network: Network, variables: Variables, rows) -> dict[str, jax.Array]:
    """TASK_attribution_M (n, F): what each feature of modality M, on its 0 to 1 scale, adds to a
    task's score.

    The sum over all features is the patient's score minus that of the average training patient,
    whose values are the baseline (`config.interpret.steps` gradients). Score: the log-probability
    of the class that is predicted of the patient; the value in standard deviations; the risk. A
    cell that was filled with the training mean and a feature that is not alive get 0 (to rounding),
    and so does a modality that is left out; an imputed one counts as measured.
    """
    found = patients(network, variables, rows)

    def outputs(x):
        (mean, _), _ = model.encode(network, variables, found._replace(x=x), rows)
        return model.head_outputs(network, variables, mean, rows)[0]

    baseline = {name: average(variables["constants"], name) for name in network.used}
    predicted, out = outputs(found.x), {}
    for task in network.tasks:
        of = partial(score, network, task, predicted[task.name])
        shares = integrated_gradients(
            lambda x, of=of, task=task: of(outputs(x)[task.name]),
            found.x,
            baseline,
            network.config.interpret.steps,
        )
        out |= {f"{task.name}_attribution_{name}": shares[name] for name in network.used}
    return out


def score(network: Network, task: Task, predicted: jax.Array, output: jax.Array) -> jax.Array:
    """(n,) the number that is attributed, from a head's `output` (n, K); the class is that of
    `predicted` (n, K).
    """
    if task.kind == "classification":
        chosen = jnp.argmax(predicted, axis=1)[:, None]
        return jnp.take_along_axis(jax.nn.log_softmax(output), chosen, axis=1)[:, 0]
    return (
        output[:, 0]
        if task.kind == "regression"
        else mtlr.risk(output, network.config.survival.hazard)
    )


def evaluate(
    network: Network, evaluate_tasks, predictions: Predictions, test: Dataset, train: Dataset
) -> Evaluation:
    """The tasks' scores, and where there are attributions a table "attribution_TASK" of their
    `magnitudes`.
    """
    found = evaluate_tasks(predictions, test, train)
    tables = {
        f"attribution_{task.name}": Table(
            "table",
            magnitudes(network.used, task.name, predictions, test),
            f"Attributions of {task.name}",
            "",
        )
        for task in network.tasks
        if all(f"{task.name}_attribution_{name}" in predictions for name in network.used)
    }
    return replace(found, tables={**found.tables, **tables})


def magnitudes(
    used: Sequence[str], task: str, predictions: Predictions, test: Dataset
) -> pd.DataFrame:
    """modality, feature, magnitude, signed: a task's mean |attribution| and mean attribution over
    test patients.

    The outcome need not be known. A modality's patients are those in whom it was measured: what the
    network reads of an imputed one tells of its sources. nan where no test patient has the
    modality.
    """
    frames = []
    for name in used:
        m = test.modalities[name]
        found = mean_attribution(
            predictions[f"{task}_attribution_{name}"], m.observed_rows.astype(float)
        )
        frames.append(
            pd.DataFrame({"modality": name, "feature": m.features.astype(str), **found._asdict()}),
        )
    return pd.concat(frames, ignore_index=True)


# --- the null -------------------------------------------------------------------------------------


def permuted(arm: Arm, tasks: Sequence[Task]) -> Arm:
    """The arm's first replicate as often as `config.interpret.permutations`, each with its own
    outcomes and seed.

    What was fitted to the outcomes (scales, bins of time) stays: a permutation of the training
    patients leaves it. All start from the first replicate's imputers, which no outcome has taught.
    """
    first, c = arm.replicates[0], arm.config
    table = arm.system.arrays(arm.dataset)
    parts = (first.rows[SLOT], first.validation[SLOT])
    replicates = [
        replace(
            first,
            seed=c.seed + 1000 * (c.repeats + b),
            constants={**first.constants, **permuted_outcomes(tasks, table, parts, (c.seed, b))},
            labels={**first.labels, "group": f"permutation {b + 1}"},
        )
        for b in range(c.interpret.permutations)
    ]
    system = replace(arm.system, baselines=lambda train, test: {})
    starts, labels = [0] * len(replicates) if arm.start_from else (), {"permuted": True}
    return replace(
        arm, name=PERMUTED, system=system, replicates=replicates, starts=starts, labels=labels
    )


def permuted_outcomes(
    tasks: Sequence[Task],
    table: Mapping[str, np.ndarray],
    parts: Sequence[np.ndarray],
    seed: Sequence[int],
) -> dict[str, np.ndarray]:
    """y_T (and e_T) (N,) of every task, dealt anew among the rows of each part whose outcome is
    known.

    table: y_T, k_T (and e_T) of all N rows, whose other rows keep theirs. Time and event of a
    patient go together; tasks are permuted independently of each other.
    """
    rng, out = np.random.default_rng(seed), {}
    for task in tasks:
        source = np.arange(len(table[f"k_{task.name}"]))
        for rows in parts:
            known = rows[table[f"k_{task.name}"][rows]]
            source[known] = rng.permutation(known)
        fields = [f"{field}_{task.name}" for field in model.outcome_fields(task)]
        out |= {field: table[field][source] for field in fields}
    return out


# --- conclusions ----------------------------------------------------------------------------------


def tables(results: Results) -> dict[str, Table]:
    """For every task its ranking and a table of all features, and one line per task of how many
    stand out.
    """
    found, lines = {}, []
    for key, frame in results.tables.items():
        task = key.removeprefix("attribution_")
        if task == key or "magnitude" not in frame:
            continue
        features, line = _tested(frame)
        lines.append({"task": task, **line})
        found[f"{task}_ranking"] = _ranking(task, features, line)
        found[f"{task}_features"] = _all_features(task, features, line)
    caption = (
        "Of the features that vary, those beyond the permuted networks at a false discovery rate "
        f"(q) below {LEVEL:g} and, more strictly, where the chance of any false one among them is "
        "below that (family-wise p). Rank stability: mean Spearman correlation of the features' "
        "attribution between the networks of two folds."
    )
    return {
        "interpretation": Table("table", pd.DataFrame(lines), "Features that stand out", caption),
        **found,
    }


def shares(magnitudes: Float[np.ndarray, "r d"]) -> Float[np.ndarray, "r d"]:
    """Magnitudes over their sum in the replicate, over all modalities; nan stays nan, and is no
    part of the sum.

    A network that learned something is surer in all it says, so that every feature's magnitude is
    above those of the permuted networks; what a feature is to a prediction is its part of it.
    """
    total = np.nansum(magnitudes, axis=1, keepdims=True)
    return magnitudes / np.where(total > 0, total, 1)


def p_values(
    observed: Num[np.ndarray, " d"], null: Num[np.ndarray, "p d"]
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """p of each feature by the pooled nulls, and p for the family by maxT; nan for features that
    are 0 throughout.

    maxT compares features on one scale: each is standardised by its observed and null values
      together, which treats
    all permutations and the truth alike and so keeps it exact.
    """
    together = np.concatenate([observed[None], null])
    never = (together == 0).all(axis=0)
    spread = together.std(axis=0)
    scaled = np.where(
        spread > 0, (together - together.mean(axis=0)) / np.where(spread > 0, spread, 1), np.nan
    )
    p = np.where(never, np.nan, pooled_permutation_p(observed, null))
    return p, np.where(never, np.nan, max_t_p(scaled[0], scaled[1:]))


def _tested(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    """All features of a task with their p-values, most attributed first, and what is to be said of
    them together.
    """
    folds, null = _replicates(frame, NETWORK), _replicates(frame, PERMUTED)
    first = folds[0]
    of_folds, of_null = (shares(np.stack([f["magnitude"] for f in part])) for part in (folds, null))
    p, p_family = p_values(of_folds[0], of_null)
    q = benjamini_hochberg(p)
    found = first[["modality", "feature", "magnitude", "signed"]].assign(
        share=of_folds[0],
        null_share=of_null.mean(axis=0),
        p=p,
        q=q,
        p_family=p_family,
        share_over_folds=of_folds.mean(axis=0),
    )
    everywhere = np.isfinite(of_folds).all(axis=0) & (of_folds > 0).any(axis=0)
    line = {
        "features": int(np.isfinite(p).sum()),
        "q below .05": int((q < LEVEL).sum()),
        "family-wise p below .05": int((p_family < LEVEL).sum()),
        "permutations": len(null),
        "rank stability": round(spearman_stability(of_folds[:, everywhere]), 3),
    }
    return found.sort_values(["share", "modality", "feature"], ascending=[False, True, True]), line


def _replicates(frame: pd.DataFrame, arm: str) -> list[pd.DataFrame]:
    """The tables of an arm's replicates, in their order."""
    own = frame[(frame["arm"] == arm) & (frame["model"] == "model")]
    return [part for _, part in own.groupby(["group", "fold"], sort=False)]


def _ranking(task: str, found: pd.DataFrame, line: Mapping) -> Table:
    names = (found["feature"] + " (" + found["modality"] + ")").to_numpy()
    percent, p, q = (found[name].to_numpy(np.float64) for name in ("share", "p", "q"))
    frame = top_features(names, 100 * percent, p, q, TOP)
    frame["series"] = np.where(
        frame["p_adjusted"] < LEVEL, "beyond the null (q < .05)", "within the null"
    )
    caption = (
        f"{line['q below .05']:,} of {line['features']:,} features that vary are at q < .05. A bar "
        "is a feature's part of all that moves the prediction away from that of the average "
        "patient (integrated gradients, mean size over the first fold's test patients). "
        f"{NULL.format(permutations=line['permutations'])}It tells which features the network uses "
        "more than it would without anything to learn, not which act."
    )
    title = f"{task}: what its prediction stands on"
    return Table("ranking", frame.dropna(subset=["value"]), title, caption, "% of the attribution")


def _all_features(task: str, found: pd.DataFrame, line: Mapping) -> Table:
    caption = (
        "magnitude and signed: mean |attribution| and mean attribution over the first fold's test "
        "patients that have the modality, in the unit of the score (log-probability of the "
        "predicted class, standard deviations, risk). share: the magnitude over the sum of all; "
        "null_share: its mean over the permuted networks. p: of the share against the permuted "
        "networks, the nulls of all features pooled; q: p after Benjamini and Hochberg over all "
        "features; p_family: maxT of Westfall and Young. Rank stability over the folds "
        f"{line['rank stability']:.2f}."
    )
    return Table("table", found, f"{task}: all features", caption)
