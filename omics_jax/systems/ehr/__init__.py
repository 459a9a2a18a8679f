"""EHR: impute irregular clinical series, then classify from what the imputer learned; the story is
in `model`.
"""

from omics_jax.systems.ehr.assembly import build, read
from omics_jax.systems.ehr.experiments import EXPERIMENTS

__all__ = ["EXPERIMENTS", "build", "read"]
