"""What the settings of configs/multiomics.py may be."""

from omics_jax.evaluation.attribution import MIN_POOLED
from omics_jax.settings.checks import (
    MOST_UNITS,
    choice,
    choices,
    flag,
    number,
    text,
    whole,
    widths,
)
from omics_jax.settings.sections import SHARED_RULES
from omics_jax.study.patients.settings import PATIENT_RULES
from omics_jax.systems.multiomics.networks import FUSIONS
from omics_jax.tasks.settings import TASK_RULES

STAGES = ("embedding", "heads", "all", "calibration")
LETTERS = ("A", "B", "C", "D")

_DATA = {**PATIENT_RULES, "missing": choice("impute", "mask", "complete")}
_SIMULATOR = {
    "simulator.patients": whole(0, 10_000_000),
    "simulator.features.*": whole(0, 10_000_000),
    "simulator.latent": whole(0, 10_000),
    "simulator.classes": whole(0, 10_000),
    "simulator.*": number(0, 100),
}
_IMPUTATION = {
    "imputation.edges": text(),
    "imputation.transfer": text(),
    "imputation.transfer_epochs": whole(1, MOST_UNITS),
    "imputation.transfer_batch_size": whole(1, MOST_UNITS),
    "imputation.hidden": whole(1, MOST_UNITS),
}
_MODEL = {
    "model.fusion": choice(*FUSIONS),
    "model.branch": widths(1),
    "model.shared": widths(1),
    "model.latent": whole(1, MOST_UNITS),
    "model.k_kl": number(0),
    "model.k_embed": number(0),
    "model.reduction": choice("mean", "sum"),
    "training.stages": choices(*STAGES),
    "left_out": choices("embedding", "heads", "embedding+heads"),
    "arms.letters": choices(*LETTERS),
    "arms.sets": text(),
    "interpret.permutations": whole(MIN_POOLED, 10_000),
    "interpret.steps": whole(1, MOST_UNITS),
    "predict.attributions": flag(),
}
SETTINGS = {**SHARED_RULES, **TASK_RULES, **_DATA, **_SIMULATOR, **_IMPUTATION, **_MODEL}
