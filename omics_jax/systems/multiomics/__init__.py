"""Multi-omics: impute missing modalities, embed, predict several outcomes at once; the story is in `model`."""

from omics_jax.systems.multiomics.assembly import build, read, read_new
from omics_jax.systems.multiomics.experiments import EXPERIMENTS

__all__ = ["EXPERIMENTS", "build", "read", "read_new"]
