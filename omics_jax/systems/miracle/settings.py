"""What the settings of configs/miracle.py may be."""

from omics_jax.data.knowledge.settings import rules as knowledge_rules
from omics_jax.data.methylation.text_settings import rules as data_rules
from omics_jax.evaluation.attribution import MIN_POOLED
from omics_jax.nn.sparse import FORMS
from omics_jax.settings.checks import (
    MOST_UNITS,
    choice,
    choices,
    flag,
    names,
    number,
    rate,
    several,
    whole,
)
from omics_jax.settings.sections import SHARED_RULES
from omics_jax.systems.miracle.networks import ACTIVATIONS
from omics_jax.systems.miracle.sites import METHODS
from omics_jax.systems.miracle.wiring import KNOWLEDGE
from omics_jax.tasks.losses import BALANCES
from omics_jax.tasks.settings import TASK_RULES

STAGES = ("autoencoder", "heads", "all", "calibration")
HEADS = ("geometric", "linear", "widths")

_SIMULATOR = {
    "simulator.sites": whole(1, 500_000),
    "simulator.genes": whole(1, 50_000),
    "simulator.pathways": whole(1, 10_000),
    "simulator.pathway_genes": whole(1, 10_000),
    "simulator.active": whole(0, 1_000),
    "simulator.shared": whole(0, 1_000),
    "simulator.diseases_of_shared": whole(1, 6),
    "simulator.people": several(whole(2, 1_000_000), "sizes of studies", "(80, 60)", least=1),
    "simulator.unlabelled": whole(0, 1_000_000),
    "simulator.*": number(0, 100),
}
_MODEL = {
    "adjust.remove": names(),
    "adjust.inputs": names(),
    "selection.method": choice(*METHODS),
    "selection.sites": whole(1, MOST_UNITS),
    "model.mask": choice(*KNOWLEDGE),
    "model.softness": number(0, 1),
    "model.hidden": number(0, 0.9),
    "model.form": choice(*FORMS),
    "model.activation": choice(*ACTIVATIONS),
    "model.batch_norm": flag(),
    "model.input_dropout": rate(),
    "model.reconstruction": choice("mse", "bce"),
    "model.heads": choice(*HEADS),
    "model.k_kl": number(0),
    "model.k_autoencoder": number(0),
    "training.stages": choices(*STAGES),
    "training.supervised_autoencoder": flag(),
    "compare.single": flag(),
    "compare.weights": choices(*BALANCES),
    "compare.knowledge": choices(*KNOWLEDGE),
    "compare.hidden": number(0, 0.9),
    "compare.softness": number(0.01, 1),
    "compare.sites": names(),
    "interpret.permutations": whole(MIN_POOLED, 10_000),
    "interpret.steps": whole(1, MOST_UNITS),
}
SETTINGS = {
    **SHARED_RULES,
    **TASK_RULES,
    **data_rules(),
    **knowledge_rules(),
    **_SIMULATOR,
    **_MODEL,
}
