"""What the experiments of the gene transformer conclude: tests between networks, and tables."""

from __future__ import annotations

from omics_jax.study.system import Findings, Results
from omics_jax.tasks.varied import conclude_joint, conclude_varied


def conclude_multitask(results: Results) -> Findings:
    """The network of all outcomes against that of each, dense layers and simple models."""
    joint, *_ = results.labels
    return conclude_joint(results, joint)


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
        "pcgrad: conflicting gradients are projected; gradnorm: equal gradient norms; uncertainty: "
        "a learned noise level for each outcome."
    )
    return conclude_varied(results, "balancing", "Balancing of outcomes", caption)
