"""What the settings of configs/ehr.py may be."""

from omics_jax.data.clinical_series.stored_table import HOURS
from omics_jax.data.formats.cells import BELOW_DETECTION
from omics_jax.settings.checks import (
    MOST_UNITS,
    choice,
    choices,
    flag,
    names,
    number,
    positive,
    rate,
    several,
    text,
    whole,
    words,
)
from omics_jax.settings.sections import SHARED_RULES
from omics_jax.systems.ehr.classifiers import NETWORKS

IMPUTERS = ("brits", "csai")
SERIES = ("imputed", "raw")
REGIMES = ("frozen", "unfrozen", "gradual")
TUNED_FOLDS = {"each": None, "first": 0}  # config.tune.folds -> `Tuning.replicate`
MOST_HOURS = 1_000_000  # more than a century

_DATA = {
    **{
        f"data.{name}": text()
        for name in (
            *("path", "outcomes", "outcome_id", "label", "external.path", "event_value", "limits"),
        )
    },
    "data.external.outcomes": text(),
    "data.columns.*": text(),
    "data.layout": choice("auto", "long", "wide"),
    "data.time_unit": choice(*HOURS),
    "data.below_detection": choice(*BELOW_DETECTION),
    "data.missing_values": words(),
    "data.hours": positive(MOST_HOURS),
    "data.bin_hours": positive(MOST_HOURS),
    "data.variables": names(),
    "data.statics": names(),
    "data.keep_empty": flag(),
    "data.split": choice("folds", "file"),
}
_SIMULATOR = {
    **{f"simulator.{name}": whole(0, 10_000_000) for name in ("patients", "steps", "features")},
    "simulator.missing": rate(),
    "simulator.*": number(0, 100),
}
_MODEL = {
    "model.imputer": choice(*IMPUTERS),
    **{f"model.{name}": whole(1, MOST_UNITS) for name in ("hidden", "feedforward", "heads")},
    "model.channels": whole(2, MOST_UNITS),
    "model.static": flag(),
    "model.gaps": choice("paper", "code"),
    "model.sigmoid_beta": flag(),
    "model.clip": number(1),
    "model.compat.*": flag(),
    "imputers": choices(*IMPUTERS),
}
_TRAINING = {
    "held_out": several(number(), "shares", "(0.1, 0.5)", 1),
    "pretrain.hide": number(),
    "pretrain.increase": number(),
    "pretrain.resample": flag(),
    "pretrain.weights.*": number(0),
    "finetune.regime": choice(*REGIMES),
    "finetune.unfrozen_learning_rate": positive(),
    "compare_regimes": choices(*REGIMES, least=0),
    "tables.networks": choices(*NETWORKS),
    "tables.strategies": several(text(), "strategies", "('cyclic', 'plateau')", 1),
    **{f"strategies.*.{name}": text() for name in ("name", "mode", "watch")},
    "strategies.*.step_size_*": whole(0, MOST_UNITS),
    "strategies.*": number(),
    "tune.trials": whole(1, MOST_UNITS),
    "tune.folds": choice(*TUNED_FOLDS),
    "tune.learning_rate": several(positive(), "rates", "(1e-5, 1e-3)", 1),
}
_CLASSIFIER = {
    "classifier.network": choice("", *NETWORKS),
    "classifier.series": choice(*SERIES),
    "classifier.units": whole(1, MOST_UNITS),
    "classifier.bins": whole(1, 10_000),
    "classifier.plain_dropout": rate(),
    "classifier.positive_weight": number(0),
    "classifier.calibrated": flag(),
    "paper_network.series": choice(*SERIES),
    "paper_network.calibrated": flag(),
    "predict.draws": whole(0, MOST_UNITS),
    "predict.steps": flag(),
    "predict.forgetting": flag(),
}
SETTINGS = {**SHARED_RULES, **_DATA, **_SIMULATOR, **_MODEL, **_TRAINING, **_CLASSIFIER}
