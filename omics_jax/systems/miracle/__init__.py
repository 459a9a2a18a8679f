"""MIRACLE: from blood methylation to diseases, through a network of sites, genes and pathways.

`model` holds the equations, `networks` its layers and `wiring` their connections; `sites` and
`covariates` prepare the people of a fold. `assembly` makes a `System` of them, `experiments` lists
what is trained, and `conclusions` compares the results.
"""

from omics_jax.systems.miracle.assembly import Spec, build
from omics_jax.systems.miracle.experiments import EXPERIMENTS
from omics_jax.systems.miracle.reading import read
from omics_jax.systems.miracle.settings import SETTINGS

__all__ = ["EXPERIMENTS", "SETTINGS", "Spec", "build", "read"]
