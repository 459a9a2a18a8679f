"""EHR: impute irregular clinical series, then classify from what the imputer learned.

`model` is the papers' losses and stages; `assembly` makes a `System` of it; `experiments` are the
protocols, `scoring` and `conclusions` their judgement.
"""

from omics_jax.systems.ehr.assembly import build
from omics_jax.systems.ehr.experiments import EXPERIMENTS
from omics_jax.systems.ehr.reading import read
from omics_jax.systems.ehr.settings import SETTINGS

__all__ = ["EXPERIMENTS", "SETTINGS", "build", "read"]
