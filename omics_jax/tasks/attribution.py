"""Attribution of predictions to input features, and arms of networks trained on permuted outcomes.

Attributions are integrated gradients (Sundararajan et al. 2017) of a task's score. Their null comes
from networks trained on the same rows with permuted outcomes, so that no input is related to an
outcome. `interpretation` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.evaluation.attribution import integrated_gradients, mean_attribution
from omics_jax.evaluation.tables import Frame
from omics_jax.nn import mtlr
from omics_jax.study.system import Arm, Predictions
from omics_jax.tasks.network import Rows, TaskNetwork, head_outputs
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Variables

NETWORK, PERMUTED = "network", "permuted"  # the arms
ATTRIBUTION = "attribution"  # the kind of the frames of `attribution_frames`
_PERMUTATION = " permutation "  # between an outcome and a number, in the group of a training

Inputs = Mapping[str, Float[Array, "n _"]]  # modality -> values
Outputs = Mapping[str, Float[Array, "n _"]]  # task -> the outputs of its head


# --- attributions ---------------------------------------------------------------------------------


def with_attributions(config: Any) -> Any:
    """The config with attributions among the predictions."""
    changed = config.copy_and_resolve_references()
    changed.predict.attributions = True
    return changed


def explain(
    network: TaskNetwork,
    variables: Variables,
    rows: Rows,
    encode: Callable[[Inputs], Float[Array, "n d"]],
    x: Inputs,
    baseline: Mapping[str, Float[Array, " _"]],
    in_table: Callable[[str, Float[Array, "n w"]], Float[Array, "n F"]],
) -> dict[str, Array]:
    """TASK_attribution_M (n, F) of a network's rows, see `attributions`.

    encode: x -> the embedding of the rows, with whatever else it reads of them fixed.
    in_table: (M, attributions of the features that the network reads) -> those of all features.
    """

    def outputs(x: Inputs) -> Outputs:
        return head_outputs(network, variables, encode(x), rows)[0]

    parts = attributions(
        network.tasks,
        outputs,
        x,
        baseline,
        steps=network.config.interpret.steps,
        hazard=network.config.survival.hazard,
    )
    fields = {field_of(task, name): name for task in network.tasks for name in x}
    return {field: in_table(name, parts[field]) for field, name in fields.items()}


def field_of(task: Task, modality: str) -> str:
    """The field of a prediction with a task's attributions to the features of a modality."""
    return f"{task.name}_attribution_{modality}"


def attributions(
    tasks: Sequence[Task],
    outputs: Callable[[Inputs], Outputs],
    x: Inputs,
    baseline: Mapping[str, Float[Array, " _"]],
    *,
    steps: int,
    hazard: str,
) -> dict[str, Array]:
    """TASK_attribution_M (n, F): what each feature of modality M adds to a task's score.

    The sum over all features is the row's score minus that of the baseline. The score is the
    log-probability of the class that is predicted for the row, the value in standard deviations, or
    the risk.

    Args:
      outputs: x -> the outputs of every head.
      baseline: modality -> (F,), such as the average training row.
      steps: gradients on the path from the baseline to a row.
      hazard: of the risk, see `mtlr.risk`.
    """
    predicted = outputs(x)
    fields = {}
    for task in tasks:

        def task_score(x: Inputs, task: Task = task) -> Float[Array, " n"]:
            return score(task, predicted[task.name], outputs(x)[task.name], hazard)

        parts = integrated_gradients(task_score, x, baseline, steps)
        fields |= {field_of(task, name): parts[name] for name in x}
    return fields


def score(
    task: Task, predicted: Float[Array, "n K"], output: Float[Array, "n K"], hazard: str
) -> Float[Array, " n"]:
    """The score that is attributed, from a head's output; `predicted` chooses the class."""
    if task.kind == "classification":
        chosen = jnp.argmax(predicted, axis=1)[:, None]
        return jnp.take_along_axis(jax.nn.log_softmax(output), chosen, axis=1)[:, 0]
    return output[:, 0] if task.kind == "regression" else mtlr.risk(output, hazard)


def attribution_frames(
    tasks: Sequence[Task], modalities: Sequence[str], predictions: Predictions, test: Dataset
) -> dict[str, Frame]:
    """The `magnitudes` of every task that has attributions, by the name attribution_TASK."""
    frames = {}
    for task in tasks:
        if all(field_of(task, name) in predictions for name in modalities):
            rows = magnitudes(modalities, task, predictions, test)
            frames[f"attribution_{task.name}"] = Frame(ATTRIBUTION, rows)
    return frames


def magnitudes(
    modalities: Sequence[str], task: Task, predictions: Predictions, test: Dataset
) -> pd.DataFrame:
    """A task's mean |attribution| (magnitude) and mean attribution (signed) of every feature.

    The means are over all test rows in which the modality was measured, with or without a known
    outcome; nan where there is none. Rows in which it was imputed are left out, because there the
    network reads its sources. Columns: modality, feature, magnitude, signed.
    """
    frames = []
    for name in modalities:
        modality = test.modalities[name]
        measured = modality.observed_rows.astype(float)
        means = mean_attribution(predictions[field_of(task, name)], measured)
        columns = {"modality": name, "feature": modality.features.astype(str), **means._asdict()}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


# --- the null -------------------------------------------------------------------------------------


def permuted_arm(arm: Arm, tasks: Sequence[Task], slot: str) -> Arm:
    """The arm's first replicate, `config.interpret.permutations` times for each task.

    In each one outcome is permuted, with its own permutation and seed, and the others remain: what
    a network of several outcomes learned from one of them shows in the attributions of the others,
    and is then in the null, too. Constants that were fitted to the outcomes (scales, bins of time)
    remain, because a permutation of the training rows does not change them.
    """
    first, config = arm.replicates[0], arm.config
    table = arm.system.arrays(arm.dataset)
    parts = (first.rows[slot], first.validation[slot])
    outcomes = {}
    for place, task in enumerate(tasks):
        for number in range(config.interpret.permutations):
            seed = (config.seed, place, number)
            fields = outcomes_with_permuted(task, tasks, table, parts, seed)
            outcomes[f"{task.name}{_PERMUTATION}{number + 1}"] = fields
    return null_arm(arm, PERMUTED, outcomes, {"permuted": True})


def permuted_outcome(group: str) -> str:
    """The outcome that was permuted in the training with this label "group"."""
    return group.rpartition(_PERMUTATION)[0]


def null_arm(
    arm: Arm,
    name: str,
    outcomes: Mapping[str, Mapping[str, np.ndarray]],
    labels: Mapping[str, Any],
) -> Arm:
    """The arm's first replicate, each time on other outcomes and with another seed.

    All start from the variables that the first replicate starts from, which are trained without
    outcomes.

    outcomes: name of a training -> the fields of tasks that are replaced, y_T (N,) and such; the
      same fields in all.
    """
    first, config = arm.replicates[0], arm.config
    replicates = [
        replace(
            first,
            seed=config.seed + 1000 * (config.repeats + number),
            constants={**first.constants, **fields},
            labels={**first.labels, "group": group},
        )
        for number, (group, fields) in enumerate(outcomes.items())
    ]
    return replace(
        arm,
        name=name,
        replicates=replicates,
        starts=[0] * len(replicates) if arm.start_from else (),
        labels=labels,
        main=False,
        with_baselines=False,
        is_null=True,
    )


def outcomes_with_permuted(
    permuted: Task,
    tasks: Sequence[Task],
    table: Mapping[str, np.ndarray],
    parts: Sequence[Int[np.ndarray, " _"]],
    seed: Sequence[int],
) -> dict[str, np.ndarray]:
    """y_T (and e_T) (N,) of every task T, those of one task permuted among the rows of each part.

    Only rows with a known outcome are permuted; time and event of a row stay together. Rows in no
    part have 0: nothing fitted holds their outcomes.

    table: y_T, k_T (and e_T) of all N rows.
    """
    rng = np.random.default_rng(seed)
    is_known = table[f"k_{permuted.name}"]
    own = np.arange(len(is_known))
    source = own.copy()
    for rows in parts:
        known = rows[is_known[rows]]
        source[known] = rng.permutation(known)
    in_a_part = np.isin(own, np.concatenate(list(parts)))
    fields = {}
    for task in tasks:
        taken = source if task == permuted else own
        names = [f"{field}_{task.name}" for field in task.fields]
        fields |= {name: np.where(in_a_part, table[name][taken], 0) for name in names}
    return fields
