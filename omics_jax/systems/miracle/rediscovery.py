"""Whether training finds connections again that were hidden from it (`config.model.hidden`).

A soft mask gives a connection that is not known `model.softness` of the weight of a known one. Of a
hidden connection (i, o) the magnitude of its weight is compared with those of connections (j, o) of
the same unit that knowledge lacks, too:

    AUROC = mean over hidden (i, o) and such j of  [|w_io| > |w_jo|] + [|w_io| = |w_jo|] / 2

which is 1/2 where training finds nothing. What the degrees of units do to it, the same question
about shuffled connections shows; those that are true by chance are left out. Source: the test of
hidden edges in the authors' code, which counts weights above 0.05.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.knowledge.layers import Knowledge
from omics_jax.evaluation.tables import Evaluation
from omics_jax.study.system import Arm, Predictions, System
from omics_jax.systems.miracle.cohort import Cohort
from omics_jax.systems.miracle.model import ENCODER
from omics_jax.systems.miracle.wiring import FALSE, layer_ends, layer_sizes, own_layers
from omics_jax.training.stage import Replicate, Variables

OTHERS = 20  # connections with which each hidden one is compared
FIELD = "rediscovered"  # of a prediction
ABSENT = -1  # in place of a connection of a site that the fold did not choose

Ends = Int[np.ndarray, "_ 2"]
Rows = Mapping[str, Array]


def contrasted_ends(known: Ends, hidden: Ends, inputs: int, seed: int) -> Int[np.ndarray, "h k"]:
    """(h, 2 + OTHERS) of every hidden connection its output, its input, and the inputs of others.

    The others have the same output, are neither known nor hidden, and are drawn with replacement;
    without any such input the connection is left out.

    known: connections that are no candidates. inputs: the number of inputs.
    """
    rng = np.random.default_rng(seed)
    is_taken: dict[int, np.ndarray] = {o: np.zeros(inputs, bool) for o in hidden[:, 1].tolist()}
    for i, o in np.concatenate([known, hidden]).tolist():
        if o in is_taken:
            is_taken[o][i] = True
    free = {o: np.flatnonzero(~taken) for o, taken in is_taken.items()}
    rows = [[o, i, *rng.choice(free[o], OTHERS)] for i, o in hidden.tolist() if len(free[o])]
    return np.array(rows, np.int32).reshape(-1, 2 + OTHERS)


def candidates_of(
    knowledge: Knowledge, model: Any, replicate: Replicate
) -> list[tuple[Ends, Ends]]:
    """Of every layer the connections that are no candidates, and the hidden ones.

    They are drawn again, by the seed by which the replicate's network was wired.

    model: the section of the config.
    """
    sites, places = len(knowledge.sites), replicate.constants["columns"]
    drawn = layer_ends(knowledge, model.mask, model.hidden, replicate.seed)
    known, hidden = (own_layers(layers, sites, places) for layers in drawn)
    if model.mask not in FALSE:
        return list(zip(known, hidden, strict=True))
    true = own_layers(layer_ends(knowledge, "both", 0.0, 0)[0], sites, places)
    return [apart_from_true(*ends) for ends in zip(known, hidden, true, strict=True)]


def apart_from_true(known: Ends, hidden: Ends, true: Ends) -> tuple[Ends, Ends]:
    """False connections without those that are true by chance, which are no candidates either."""
    pairs = set(map(tuple, true.tolist()))
    is_true = np.array([tuple(pair) in pairs for pair in hidden.tolist()], bool)
    return np.concatenate([known, true]), hidden[~is_true]


def contrast_constants(
    folds: Sequence[Sequence[tuple[Ends, Ends]]],
    sizes: Sequence[Sequence[int]],
    seeds: Sequence[int],
) -> list[dict[str, np.ndarray]]:
    """The constants contrasts_L (h, 2 + OTHERS) of every fold, with `ABSENT` below shorter ones.

    folds: of every fold the known and the hidden connections of each layer.
    sizes: of every fold the numbers of inputs of each layer.
    """
    drawn = [
        [
            contrasted_ends(known, hidden, inputs, seed)
            for (known, hidden), inputs in zip(layers, own_sizes, strict=True)
        ]
        for layers, own_sizes, seed in zip(folds, sizes, seeds, strict=True)
    ]
    most = [max(map(len, layer)) for layer in zip(*drawn, strict=True)]
    return [
        {
            f"contrasts_{number}": np.pad(
                layer, ((0, most[number] - len(layer)), (0, 0)), constant_values=ABSENT
            )
            for number, layer in enumerate(layers)
        }
        for layers in drawn
    ]


def layer_names(layers: int) -> list[str]:
    """Names of the layers in metrics, the lowest first."""
    higher = [f"pathway_level_{level}" for level in range(2, layers)]
    return ["site_gene", "gene_pathway", *higher][:layers]


def kernels(params: Variables, number: int, layers: int) -> dict[str, Float[Array, "I O"]]:
    """The weights of a layer, and of its mirror image in the decoder."""
    up = "mean" if number == layers - 1 else f"up_{number}"
    down = f"down_{layers - 1 - number}"
    return {"encoder": params[up]["kernel"], "decoder": params[down]["kernel"].T}


def rediscovery(kernel: Float[Array, "I O"], contrasts: Int[Array, "h k"]) -> Float[Array, ""]:
    """The AUROC of the module's formula; 1/2 without any hidden connection."""
    output, inputs = contrasts[:, :1], contrasts[:, 1:]
    size = jnp.abs(kernel[inputs, output])
    own, others = size[:, :1], size[:, 1:]
    wins = jnp.mean((own > others) + 0.5 * (own == others), axis=1)
    present = output[:, 0] != ABSENT
    count = jnp.sum(present)
    return jnp.where(count > 0, jnp.sum(jnp.where(present, wins, 0)) / jnp.maximum(count, 1), 0.5)


def predict_with_rediscovery(
    system: System, layers: int, variables: Variables, rows: Rows
) -> dict[str, Array]:
    """The system's predictions, and `FIELD` (n, 2 layers), the same AUROCs in every row."""
    params, constants = variables["params"][ENCODER], variables["constants"]
    found = [
        rediscovery(kernel, constants[f"contrasts_{number}"])
        for number in range(layers)
        for kernel in kernels(params, number, layers).values()
    ]
    own = jnp.stack(found)
    repeated = jnp.broadcast_to(own, (len(rows["row"]), len(found)))
    return {**system.predict(variables, rows), FIELD: repeated}


def evaluate_with_rediscovery(
    system: System, layers: int, predictions: Predictions, test: Dataset, train: Dataset
) -> Evaluation:
    """The system's scores, and of the network hidden_LAYER_SIDE_auroc."""
    evaluation = system.evaluate(predictions, test, train)
    if FIELD not in predictions:  # of a simple model
        return evaluation
    names = [f"{name}_{side}" for name in layer_names(layers) for side in ("encoder", "decoder")]
    values = np.asarray(predictions[FIELD], np.float64)[0]
    own = {f"hidden_{name}_auroc": v for name, v in zip(names, values.tolist(), strict=True)}
    return replace(evaluation, metrics={**evaluation.metrics, **own})


def with_rediscovery(arm: Arm, cohort: Cohort) -> Arm:
    """The arm, which also says how well hidden connections were found."""
    system = arm.system
    layers = 1 + len(arm.spec.pathways)
    constants = arm_contrasts(arm, cohort.knowledge)
    replicates = [
        replace(replicate, constants={**replicate.constants, **own})
        for replicate, own in zip(arm.replicates, constants, strict=True)
    ]
    asked = replace(
        system,
        predict=partial(predict_with_rediscovery, system, layers),
        evaluate=partial(evaluate_with_rediscovery, system, layers),
        predict_new=system.predict,
    )
    return replace(arm, system=asked, replicates=replicates)


def arm_contrasts(arm: Arm, knowledge: Knowledge) -> list[dict[str, np.ndarray]]:
    """The contrasts of every replicate, see `contrast_constants`."""
    above = layer_sizes(knowledge)[1:-1]
    alive = [replicate.constants["alive"] for replicate in arm.replicates]
    return contrast_constants(
        [candidates_of(knowledge, arm.config.model, replicate) for replicate in arm.replicates],
        [(int(own.sum()), *above) for own in alive],
        [replicate.seed for replicate in arm.replicates],
    )
