"""Multi-omics: impute missing modalities, embed, predict several outcomes at once.

`model` is the paper; `assembly` makes a `System` of it; `cohort` says who is studied, `experiments`
what is trained and `conclusions` what is concluded.
"""

from omics_jax.systems.multiomics.assembly import Spec, build
from omics_jax.systems.multiomics.experiments import EXPERIMENTS
from omics_jax.systems.multiomics.reading import read

__all__ = ["EXPERIMENTS", "Spec", "build", "read"]
