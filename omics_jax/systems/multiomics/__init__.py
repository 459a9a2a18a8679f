"""Multi-omics: impute missing modalities, embed, predict several outcomes at once; the story is in
`model`.
"""

from omics_jax.systems.multiomics.assembly import build
from omics_jax.systems.multiomics.experiments import EXPERIMENTS
from omics_jax.systems.multiomics.reading import read, read_new

__all__ = ["EXPERIMENTS", "build", "read", "read_new"]
