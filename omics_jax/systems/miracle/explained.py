"""What a network of MIRACLE says of people: how active pathways are, and what adds to a disease.

Beside the activity of a pathway, the mean of its unit, stands a plain measure, the mean
standardised value of its sites. What pathways, genes and sites add to the log-odds of a disease are
integrated gradients (`evaluation.attribution`). `frames` makes of them what `findings` concludes
from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int, Shaped
from scipy import stats

from omics_jax.data.dataset.dataset import Dataset
from omics_jax.data.knowledge.layers import Knowledge, is_unannotated
from omics_jax.data.methylation.simulate import MODALITY
from omics_jax.evaluation.attribution import integrated_gradients, mean_attribution
from omics_jax.evaluation.differential import design_matrix, linear_effects, t_test
from omics_jax.evaluation.tables import Evaluation, Frame
from omics_jax.nn.sparse import sparse_linear
from omics_jax.study.covariates import Levels, covariate_values, on_own_scale
from omics_jax.study.system import Predictions, System
from omics_jax.systems.miracle import model
from omics_jax.systems.miracle.model import ModelShape
from omics_jax.systems.miracle.permuted import permuted_targets
from omics_jax.tasks.network import TaskNetwork, head_outputs
from omics_jax.tasks.task import Task, known_rows, outcome
from omics_jax.training.stage import Variables

PATHWAYS, LINKS, PEOPLE = "pathways", "links", "people"  # kinds of frames, and their first words
GENES_SHOWN, SITES_SHOWN = 4, 3  # of a pathway, and of a gene
_LEAST_P = 1e-300  # below it a normal quantile is infinite

Rows = Mapping[str, Array]


def diseases_of(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The outcomes of two classes."""
    return tuple(task for task in tasks if len(task.classes) == 2)


# --- predictions ----------------------------------------------------------------------------------


def predict_compared(
    shape: ModelShape, network: TaskNetwork, variables: Variables, rows: Rows
) -> dict[str, Array]:
    """`model.predict`, mean_z (n, P) of `mean_of_sites`, and draw (n,), see `permuted_targets`."""
    constants = variables["constants"]
    predictions = model.predict(shape, network, variables, rows)
    predictions["mean_z"] = mean_of_sites(shape, constants, model.chosen_sites(variables, rows))
    if "draw" in constants:
        predictions["draw"] = jnp.broadcast_to(constants["draw"], rows["row"].shape)
    return predictions


def mean_of_sites(
    shape: ModelShape, constants: Variables, chosen: model.Sites
) -> Float[Array, "n P"]:
    """The mean standardised value of the observed sites of every pathway; 0 without any.

    A site that belongs to two genes of a pathway counts twice.
    """
    up, _ = model.layer_edges(shape, constants)

    def total(values: Float[Array, "n w"]) -> Float[Array, "n P"]:
        level = values.T
        for edges in up:
            level = sparse_linear(jnp.ones(len(edges.ends)), edges, level)
        return level.T

    count = total(chosen.observed.astype(jnp.float32))
    return total(chosen.standardized) / jnp.maximum(count, 1)


def predict_explained(
    shape: ModelShape, network: TaskNetwork, variables: Variables, rows: Rows, *, steps: int
) -> dict[str, Array]:
    """`predict_compared`, and what adds to the log-odds of every disease T.

    T_pathways (n, P), T_sites (n, w) and T_genes (n, G): integrated gradients from the person in
    whom every site has its training mean. A gene's is the sum of its sites'. columns (n, w): which
    sites they are.
    """
    constants = variables["constants"]
    predictions = predict_compared(shape, network, variables, rows)
    x = model.chosen_sites(variables, rows).standardized
    average = jnp.zeros_like(x)
    up, _ = model.layer_edges(shape, constants)
    means = predictions["embedding"][:, : shape.pathways]
    average_means = model.pathway_means(shape, variables, average, rows)
    predictions["columns"] = jnp.broadcast_to(constants["columns"], x.shape)
    for task in diseases_of(shape.tasks):

        def of_pathways(mean: Float[Array, "n P"], task: Task = task) -> Float[Array, " n"]:
            z = model.with_covariates(shape, constants, mean, rows)
            output = head_outputs(network, variables, z, rows)[0][task.name]
            return output[:, 1] - output[:, 0]

        def of_sites(x: Float[Array, "n w"], of_pathways=of_pathways) -> Float[Array, " n"]:
            return of_pathways(model.pathway_means(shape, variables, x, rows))

        own = integrated_gradients(of_sites, x, average, steps)
        genes = sparse_linear(jnp.ones(len(up[0].ends)), up[0], own.T).T
        predictions |= {
            f"{task.name}_pathways": integrated_gradients(of_pathways, means, average_means, steps),
            f"{task.name}_genes": genes,
            f"{task.name}_sites": own,
        }
    return predictions


# --- scores ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Units:
    """The units of a network and what they are compared by.

    tasks: all that are predicted.
    levels: of the covariates, see `covariates`.
    pathways: (P,) names of the units in the bottleneck; is_pathway: (P,) whether one is a pathway,
      and does not stand for genes without any.
    genes: (G,) their names.
    site_genes, gene_pathways: (E, 2) the connections, each pair once.
    """

    tasks: tuple[Task, ...]
    levels: Levels
    pathways: Shaped[np.ndarray, " P"]
    is_pathway: Bool[np.ndarray, " P"]
    genes: Shaped[np.ndarray, " G"]
    site_genes: Int[np.ndarray, "E 2"]
    gene_pathways: Int[np.ndarray, "F 2"]


def units_of(tasks: tuple[Task, ...], levels: Levels, knowledge: Knowledge) -> Units:
    """The units of the network that this knowledge connects."""
    top = knowledge.pathways[-1]
    return Units(
        tasks=tasks,
        levels=levels,
        pathways=top.names,
        is_pathway=~is_unannotated(top),
        genes=knowledge.genes.names,
        site_genes=np.asarray(knowledge.genes.ends),
        gene_pathways=genes_of_top(knowledge),
    )


def genes_of_top(knowledge: Knowledge) -> Int[np.ndarray, "E 2"]:
    """(E, 2) gene and unit of the highest level, each pair once."""
    first, *higher = (np.asarray(layer.ends) for layer in knowledge.pathways)
    pairs = pd.DataFrame(first, columns=["gene", "unit"])
    for ends in higher:
        above = pd.DataFrame(ends, columns=["unit", "next"])
        pairs = pairs.merge(above, on="unit")[["gene", "next"]].drop_duplicates()
        pairs.columns = ["gene", "unit"]
    return pairs.to_numpy()


def evaluate_permuted(
    system: System,
    units: Units,
    predictions: Predictions,
    test: Dataset,
    train: Dataset,
    *,
    seed: int,
) -> Evaluation:
    """The scores against the outcomes of the replicate's own permutation, and the differences."""
    draw = int(predictions["draw"][0])
    targets = permuted_targets(replace(test, modalities={}), units.tasks, (seed, draw))
    permuted = replace(test, targets=targets)
    scored = system.evaluate(predictions, permuted, train)
    return replace(scored, frames=differences(units, predictions, permuted))


def evaluate_explained(
    system: System, units: Units, predictions: Predictions, test: Dataset, train: Dataset
) -> Evaluation:
    """The scores; of the network also differences, links and people, see the functions below."""
    scored = system.evaluate(predictions, test, train)
    if "activity" not in predictions:  # of a simple model
        return scored
    frames = {**scored.frames, **differences(units, predictions, test)}
    for task in diseases_of(units.tasks):
        frames[f"{LINKS} {task.name}"] = Frame(LINKS, links(units, task, predictions, test))
    frames[PEOPLE] = Frame(PEOPLE, people(units, predictions, test))
    return replace(scored, frames=frames)


def differences(units: Units, predictions: Predictions, test: Dataset) -> dict[str, Frame]:
    """For every disease the difference of every pathway's activity between cases and controls.

    Columns: pathway; z, the normal quantile of its two-sided p of t, at least 0; difference, cases
    less controls in residual s.d., adjusted for covariates; and, where there are attributions,
    attribution, their mean magnitude in units of log-odds.
    """
    activity = np.asarray(predictions["activity"], np.float64)[:, units.is_pathway]
    covariates = covariate_values(test, units.levels)
    frames = {}
    for task in diseases_of(units.tasks):
        known = known_rows(test, task)
        group = np.asarray(outcome(test, task, known), np.float64)
        centred = on_own_scale(covariates[known])
        z, difference = compare_groups(activity[known], group, centred)
        rows = {
            "pathway": units.pathways[units.is_pathway],
            "z": z,
            "difference": difference,
        }
        if f"{task.name}_pathways" in predictions:
            own = np.asarray(predictions[f"{task.name}_pathways"])[known][:, units.is_pathway]
            rows["attribution"] = mean_attribution(own).magnitude
        frames[f"{PATHWAYS} {task.name}"] = Frame(PATHWAYS, pd.DataFrame(rows), every_repeat=True)
    return frames


def compare_groups(
    values: Float[np.ndarray, "n P"],
    group: Float[np.ndarray, " n"],
    covariates: Float[np.ndarray, "n k"],
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """|z| and the difference in residual s.d. of every column; both 0 where nothing is determined.

    |z| is the normal quantile that has the p of the t-test, so that folds of any size compare.
    """
    effects = linear_effects(values, np.ones(values.shape, bool), design_matrix(group, covariates))
    p = t_test(effects)[1]
    z = stats.norm.isf(np.maximum(p, _LEAST_P) / 2)
    varies = np.nan_to_num(effects.variance) > 0
    sd = np.sqrt(np.where(varies, effects.variance, 1))
    return np.maximum(z, 0), np.where(varies, np.nan_to_num(effects.effect) / sd, 0)


def people(units: Units, predictions: Predictions, test: Dataset) -> pd.DataFrame:
    """Every person's outcomes, covariates, and activity and mean_z of every pathway.

    The activity is in s.d. of the test people. Columns: id, outcome T (nan where
    unknown), covariate i, activity i, mean_z i.
    """
    activity = np.asarray(predictions["activity"], np.float64)[:, units.is_pathway]
    mean_z = np.asarray(predictions["mean_z"], np.float64)[:, units.is_pathway]
    sd = activity.std(axis=0)
    scaled = (activity - activity.mean(axis=0)) / np.where(sd > 0, sd, 1)
    columns: dict[str, Shaped[np.ndarray, " n"]] = {"id": test.ids.astype(str)}
    for task in diseases_of(units.tasks):
        codes = np.asarray(outcome(test, task), np.float64)
        columns[f"outcome {task.name}"] = np.where(known_rows(test, task), codes, np.nan)
    parts = {
        "covariate": covariate_values(test, units.levels),
        "activity": scaled,
        "mean_z": mean_z,
    }
    for name, values in parts.items():
        columns |= {f"{name} {i}": column for i, column in enumerate(values.T)}
    return pd.DataFrame(columns)


def links(units: Units, task: Task, predictions: Predictions, test: Dataset) -> pd.DataFrame:
    """From each pathway down to the genes, and the sites of those, that add most to a disease.

    Columns: source, target, layer (of the source), magnitude: the mean |attribution| of the source
    over the people of the disease, and difference: of a site's beta value, cases less controls,
    adjusted for covariates; 0 for a gene.
    """
    known = known_rows(test, task)
    genes = mean_attribution(np.asarray(predictions[f"{task.name}_genes"])[known]).magnitude
    own = mean_attribution(np.asarray(predictions[f"{task.name}_sites"])[known]).magnitude
    features = test.modalities[MODALITY].features
    sites = np.zeros(len(features) + 1)  # the last for places that a fold does not use
    sites[np.minimum(np.asarray(predictions["columns"])[0], len(features))] = own
    is_shown = units.is_pathway[units.gene_pathways[:, 1]]
    to_pathways = largest_links(units.gene_pathways[is_shown], genes, GENES_SHOWN)
    used = np.isin(units.site_genes[:, 1], to_pathways[:, 0])
    to_genes = largest_links(units.site_genes[used], sites, SITES_SHOWN)
    of_sites = pd.DataFrame(
        {
            "source": features[to_genes[:, 0]].astype(str),
            "target": units.genes[to_genes[:, 1]],
            "layer": "site",
            "magnitude": sites[to_genes[:, 0]],
            "difference": site_differences(units, task, test, to_genes[:, 0]),
        }
    )
    of_genes = pd.DataFrame(
        {
            "source": units.genes[to_pathways[:, 0]],
            "target": units.pathways[to_pathways[:, 1]],
            "layer": "gene",
            "magnitude": genes[to_pathways[:, 0]],
            "difference": 0.0,
        }
    )
    return pd.concat([of_sites, of_genes], ignore_index=True)


def site_differences(
    units: Units, task: Task, test: Dataset, columns: Int[np.ndarray, " e"]
) -> Float[np.ndarray, " e"]:
    """Cases less controls in beta value, adjusted for covariates; 0 where nothing is determined."""
    known = known_rows(test, task)
    modality = test.modalities[MODALITY]
    covariates = on_own_scale(covariate_values(test, units.levels)[known])
    design = design_matrix(np.asarray(outcome(test, task, known), np.float64), covariates)
    used, place = np.unique(columns, return_inverse=True)
    values, mask = modality.values[:, used][known], modality.mask[:, used][known]
    return np.nan_to_num(linear_effects(values, mask, design).effect)[place]


def largest_links(
    ends: Int[np.ndarray, "E 2"], size: Float[np.ndarray, " I"], count: int
) -> Int[np.ndarray, "e 2"]:
    """Of every upper unit the `count` connections whose lower unit is largest; none of size 0."""
    ends = ends[size[ends[:, 0]] > 0]
    order = np.lexsort((-size[ends[:, 0]], ends[:, 1]))
    ends = ends[order]
    first = np.searchsorted(ends[:, 1], ends[:, 1])
    return ends[np.arange(len(ends)) - first < count]
