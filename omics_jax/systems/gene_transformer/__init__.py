"""Gene transformer: several outcomes of a patient by attention among genes.

`model` holds the network's equations and `assembly` makes a `System` of it. `arms` are the networks
that are trained, `experiments` lists them, and `conclusions` compares the results.
"""

from omics_jax.systems.gene_transformer.assembly import Spec, build
from omics_jax.systems.gene_transformer.experiments import EXPERIMENTS
from omics_jax.systems.gene_transformer.reading import read
from omics_jax.systems.gene_transformer.settings import SETTINGS

__all__ = ["EXPERIMENTS", "SETTINGS", "Spec", "build", "read"]
