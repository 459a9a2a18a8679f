"""What the settings of configs/multiomics.py may be."""

from omics_jax.data.formats.cells import BELOW_DETECTION
from omics_jax.data.formats.options import ORIENTATIONS, REPEATED
from omics_jax.evaluation.attribution import MIN_POOLED
from omics_jax.settings.checks import (
    MOST_UNITS,
    choice,
    choices,
    flag,
    names,
    number,
    text,
    whole,
    widths,
    words,
)
from omics_jax.settings.sections import SHARED_RULES
from omics_jax.systems.multiomics.networks import FUSIONS
from omics_jax.tasks.settings import TASK_RULES

STAGES = ("embedding", "heads", "all", "calibration")
LETTERS = ("A", "B", "C", "D")

_DATA = {
    **{
        f"data.{name}": text()
        for name in ("modalities", "path", "clinical", "survival", "id", "barcode", "classes")
    },
    **{f"data.{name}": text() for name in ("numbers", "survival_times", "only")},
    **{f"data.{name}": text() for name in ("group", "limits")},
    "data.external.*": text(),
    "data.orientation": choice(*ORIENTATIONS),
    "data.zero_times": choice("error", "mask"),
    "data.repeated": choice(*REPEATED),
    "data.below_detection": choice(*BELOW_DETECTION),
    "data.missing_values": words(),
    "missing": choice("impute", "mask", "complete"),
    "preprocess.log2": names(),
    "preprocess.without_y": names(),
    **{f"preprocess.{name}": text() for name in ("chromosomes", "zeros", "share")},
    "preprocess.most_missing": number(0, 1),
    "preprocess.top_k": whole(0),
}
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
