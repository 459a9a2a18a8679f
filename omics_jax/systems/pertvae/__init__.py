"""PertVAE: how a drug changes a cell's gene expression.

`model` is the paper and `network` its network; `assembly` makes a `System` of them; `experiments`
are its protocols, `scoring` and `conclusions` their judgement.
"""

from omics_jax.systems.pertvae.assembly import Spec, build, read
from omics_jax.systems.pertvae.experiments import EXPERIMENTS

__all__ = ["EXPERIMENTS", "Spec", "build", "read"]
