"""A simulation that does not fit into memory is refused before anything of it is drawn."""

import pytest

from omics_jax.data.clinical_series.simulate import simulate_icu
from omics_jax.data.gene_networks.simulate import simulate_expression
from omics_jax.data.memory import memory_limit
from omics_jax.data.methylation.simulate import simulate_methylation
from omics_jax.data.patients.simulate import simulate_omics
from omics_jax.data.perturbation.simulate import simulate_perturbations
from omics_jax.errors import UserError

TOO_LARGE = {
    "stays": lambda: simulate_icu(patients=10**7),
    "patients": lambda: simulate_omics(10**7),
    "profiles": lambda: simulate_perturbations(singletons=10**7),
    "people of a study": lambda: simulate_methylation((10**6, 60)),
    "people without an outcome": lambda: simulate_methylation(unlabelled=10**6),
    "sites": lambda: simulate_methylation(sites=10**6),
    "patients with expression": lambda: simulate_expression(10**6),
    "pairs of genes": lambda: simulate_expression(2, genes=6000),
    "modules of genes": lambda: simulate_expression(modules=20_000),
    "members of pathways": lambda: simulate_methylation((2, 2), genes=50_000, pathways=10_000),
}


@pytest.mark.parametrize("draw", TOO_LARGE.values(), ids=TOO_LARGE)
def test_it_is_refused(draw):
    with memory_limit(0.5), pytest.raises(UserError, match="a simulation of .* cells takes"):
        draw()
