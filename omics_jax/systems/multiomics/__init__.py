"""Multi-omics: impute missing modalities, embed, predict several outcomes at once.

`model` holds the paper's equations and `assembly` makes a `System` of them. `cohort` selects the
patients, `experiments` lists what is trained, and `conclusions` compares the results. Reading files
and fitting features are in `study.patients`.
"""

from omics_jax.systems.multiomics.assembly import Spec, build
from omics_jax.systems.multiomics.experiments import EXPERIMENTS
from omics_jax.systems.multiomics.reading import read
from omics_jax.systems.multiomics.settings import SETTINGS

__all__ = ["EXPERIMENTS", "SETTINGS", "Spec", "build", "read"]
