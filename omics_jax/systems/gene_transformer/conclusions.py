"""What the experiments of the gene transformer conclude: tests between networks, and tables."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from omics_jax.study.comparisons import (
    network,
    scores_of,
)
from omics_jax.study.system import MODEL, Findings, Results
from omics_jax.systems.gene_transformer.interaction_tables import PAIRS, pair_tables
from omics_jax.systems.gene_transformer.known_pairs import SETS, known_tables, set_tables
from omics_jax.systems.gene_transformer.network_pictures import GENES, pictures
from omics_jax.systems.gene_transformer.node_vectors import VECTORS
from omics_jax.systems.gene_transformer.patient_groups import GROUPS, group_tables
from omics_jax.systems.gene_transformer.pretraining import PRETRAINING, RESTORED
from omics_jax.tasks import external
from omics_jax.tasks.attribution import NETWORK
from omics_jax.tasks.conclusions import against_simple
from omics_jax.tasks.figures import task_figures
from omics_jax.tasks.interpretation import ranking_tables
from omics_jax.tasks.varied import (
    conclude_gain,
    conclude_joint,
    conclude_varied,
)


def conclude_multitask(results: Results) -> Findings:
    """The network of all outcomes against that of each, dense layers and simple models."""
    joint, *rivals = _networks(results)
    return conclude_joint(results, joint, rivals)


def conclude_encodings(results: Results) -> Findings:
    """Every encoding of values against the first."""
    caption = (
        "Mean (s.d.) over the test folds, on the same folds. bias: values in the logits of "
        "attention; linear, mlp, bins, soft_bins, fourier: a vector added to the gene's; rotary: "
        "queries and keys turned by the value; rank: the value's rank in the patient; shuffled: "
        "values exchanged among the genes, so that only their distribution is left."
    )
    return conclude_varied(results, "encoding", "Encodings of values", caption)


def conclude_balancing(results: Results) -> Findings:
    """Every way to weigh outcomes against the first."""
    caption = (
        "Mean (s.d.) over the test folds, on the same folds. fixed: every outcome counts alike; "
        "pcgrad: conflicting gradients are projected; pcgrad_features: those of the embedding "
        "alone; gradnorm: equal gradient norms; uncertainty: a learned noise level for each "
        "outcome."
    )
    return conclude_varied(results, "balancing", "Balancing of outcomes", caption)


def conclude_external(results: Results) -> Findings:
    """The network on external patients, all tested by every training: these are resampled, too."""
    (arm,) = _networks(results)
    findings = external.conclude_external(results, arm)
    first = external.of_first_training(results)
    return replace(findings, tables=task_figures(first, arm))


def conclude_network(results: Results) -> Findings:
    """The pairs of genes that act together, and tests against simple models."""
    names = (PAIRS, GENES, SETS, GROUPS)
    pairs, genes, sets, groups = (rows_of(results, name) for name in names)
    of_pairs = pair_tables(results, NETWORK)
    edges = {
        name.removesuffix("_pairs"): table.frame
        for name, table in of_pairs.items()
        if name.endswith("_pairs")
    }
    tables = {
        **pictures(pairs, genes, edges),
        **of_pairs,
        **known_tables(pairs),
        **set_tables(pairs, sets),
        **group_tables(groups),
        **task_figures(results, NETWORK),
    }
    return Findings(against_simple(results, NETWORK), tables)


def rows_of(results: Results, name: str) -> pd.DataFrame | None:
    """The rows of a frame of the network's folds; None where it was not asked for."""
    if name not in results.frames:
        return None
    rows = results.frames[name].rows
    return rows[(rows["arm"] == NETWORK) & (rows["model"] == MODEL)]


def conclude_interpret(results: Results) -> Findings:
    """The genes that every outcome's prediction depends on, and tests against simple models."""
    tables = {**ranking_tables(results), **task_figures(results, NETWORK)}
    return Findings(against_simple(results, NETWORK), tables)


def conclude_pretrain(results: Results) -> Findings:
    """Networks on the pretrained transformer against new ones, by the number of patients."""
    new, taken = (
        [arm for arm, labels in results.labels.items() if label in labels]
        for label in ("labelled", "pretrained")
    )
    variance = scores_of(results.scores, network(PRETRAINING), RESTORED)["value"].mean()
    caption = (
        "Mean (s.d.) over the test folds of networks trained on so many labelled patients, new and "
        "pretrained on the expression of all training patients. Of the variance of hidden genes of "
        f"test patients pretraining restored {variance:.3f}."
    )
    findings = conclude_gain(
        results,
        list(zip(taken, new, strict=True)),
        name="pretrain",
        titles=("What pretraining adds", "Pretrained, or not"),
        caption=caption,
        against=new,
    )
    return replace(findings, tables={**findings.tables, **task_figures(results, new[-1])})


def _networks(results: Results) -> list[str]:
    """The arms that predict outcomes of patients, not edges of a network."""
    return [arm for arm, labels in results.labels.items() if not labels.get(VECTORS)]
