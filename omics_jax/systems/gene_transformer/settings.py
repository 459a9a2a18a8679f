"""What the settings of configs/gene_transformer.py may be."""

from omics_jax.data.preprocessing.features import SPREADS
from omics_jax.evaluation.attribution import MIN_POOLED
from omics_jax.nn.token_encoder import ATTENTIONS, NORMS
from omics_jax.nn.value_encodings import ENCODINGS
from omics_jax.settings.checks import (
    MOST_UNITS,
    choice,
    choices,
    flag,
    names,
    number,
    positive,
    rate,
    text,
    whole,
    widths,
)
from omics_jax.settings.sections import SHARED_RULES
from omics_jax.study.patients.settings import PATIENT_RULES
from omics_jax.systems.gene_transformer.model import POOLS
from omics_jax.systems.gene_transformer.pathways import PATHWAYS
from omics_jax.tasks.settings import TASK_RULES

STAGES = ("pretraining", "heads", "all", "calibration")
BALANCING = ("fixed", "pcgrad", "pcgrad_features", "gradnorm", "uncertainty")

_DATA = {
    "data.covariates": names(),
    "preprocess.spread": choice(*SPREADS),
    "preprocess.genes": text(),
    "preprocess.connected": flag(),
}
_SIMULATOR = {
    "simulator.patients": whole(0, 10_000_000),
    "simulator.genes": whole(0, 1_000_000),
    "simulator.modules": whole(0, 10_000),
    "simulator.interactions": whole(0, 10_000),
    "simulator.shared": whole(0, 10_000),
    "simulator.*": number(0, 100),
}
_MODEL = {
    "model.encoding": choice(*ENCODINGS),
    "model.attention": choice(*ATTENTIONS, PATHWAYS),
    "model.pathways": text(),
    "model.least_genes": whole(1),
    "model.most_genes": whole(1),
    "model.inducing": whole(1, 4096),
    "model.norm": choice(*NORMS),
    "model.pool": choice(*POOLS),
    "model.channels": whole(2, 4096),
    "model.heads": whole(1, 256),
    "model.layers": whole(1, 100),
    "model.linear": whole(0, MOST_UNITS),
    "model.linear_dropout": rate(),
    "model.linear_penalty": number(0, 1e6),
    "model.feedforward": whole(1, MOST_UNITS),
    "training.stages": choices(*STAGES),
    "training.optimizer.learning_rate.peak": positive(),
    "training.optimizer.learning_rate.warmup": whole(),
    "training.optimizer.learning_rate.floor": number(0),
    "network.least_weight": number(0),
    "network.*": text(),
    "embedding.channels": whole(1, 4096),
    **{f"embedding.{name}": whole(2, 1000) for name in ("walk_length", "context")},
    **{f"embedding.{name}": whole(1, 1000) for name in ("walks", "negatives")},
    **{f"embedding.{name}": number(0.001, 0.4) for name in ("validation", "test")},
    "interpret.permutations": whole(MIN_POOLED, 10_000),
    "interpret.steps": whole(1, MOST_UNITS),
    "interpret.sets": text(),
    "interpret.groups": text(),
    "predict.attributions": flag(),
    "pretrain.hidden": number(0.001, 0.999),
    "compare.single": flag(),
    "compare.labelled": names(),
    "compare.mlp": widths(),
    "compare.encodings": choices(*ENCODINGS, "shuffled"),
    "compare.balancing": choices(*BALANCING),
}
SETTINGS = {**SHARED_RULES, **TASK_RULES, **PATIENT_RULES, **_DATA, **_SIMULATOR, **_MODEL}
