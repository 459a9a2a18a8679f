"""PertVAE: how a drug changes a cell's gene expression.

`model` holds the paper's equations and `network` its network; `assembly` makes a `System` of them.
`experiments` are the paper's protocols, `scoring` and `conclusions` their evaluation.
"""

from omics_jax.systems.pertvae.assembly import Spec, build, read
from omics_jax.systems.pertvae.experiments import EXPERIMENTS
from omics_jax.systems.pertvae.settings import SETTINGS

__all__ = ["EXPERIMENTS", "SETTINGS", "Spec", "build", "read"]
