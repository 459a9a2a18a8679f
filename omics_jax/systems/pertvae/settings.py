"""What the settings of configs/pertvae.py may be."""

from omics_jax.data.formats.cells import BELOW_DETECTION
from omics_jax.data.formats.options import ORIENTATIONS, REPEATED
from omics_jax.data.perturbation.pairing import PROFILES
from omics_jax.data.perturbation.settings import CONTROL_PLATES, DOSES
from omics_jax.settings.checks import (
    MOST_UNITS,
    choice,
    flag,
    names,
    number,
    rate,
    several,
    text,
    whole,
    widths,
    words,
)
from omics_jax.settings.sections import SHARED_RULES

_DATA = {
    **dict.fromkeys(("data.path", "data.conditions", "data.pairs", "data.group_by"), text()),
    "data.columns.*": text(),
    "data.external.*": text(),
    **dict.fromkeys(("data.control_values", "data.pair_by", "data.drugs"), names()),
    "data.singletons": several(text(), "files", "('a.csv', 'b.csv')"),
    "data.orientation": choice(*ORIENTATIONS),
    "data.control_profile": choice(*PROFILES),
    "data.dose": choice(*DOSES),
    "data.repeated": choice(*REPEATED),
    "data.below_detection": choice(*BELOW_DETECTION),
    "data.control_plates": choice(*CONTROL_PLATES),
    "data.missing_values": words(),
    "data.unpaired_controls": flag(),
    "data.weight_replicates": flag(),
    "data.min_genes": whole(0),
}
_SIMULATOR = {
    **{
        f"simulator.{name}": whole(0, 1_000_000)
        for name in ("genes", "drugs", "null_drugs", "cell_lines", "replicates", "singletons")
    },
    "simulator.latent": whole(0, 10_000),
    "simulator.missing": rate(),
    "simulator.*": number(0, 100),
}
_MODEL = {
    "model.per_drug": flag(),
    "model.encoder": widths(),
    "model.decoder": widths(),
    "model.latent": whole(1, MOST_UNITS),
    "model.context": whole(1, MOST_UNITS),
    "model.posterior": choice("iaf", "gaussian"),
    "model.flow_steps": whole(0, 1000),
    "model.flow_hidden": whole(1, MOST_UNITS),
    "model.free_bits": number(0),
    "model.free_bits_mode": choice("batch", "example"),
    "model.l2": number(0),
    "model.input_noise": number(0),
    "model.draws": whole(1, MOST_UNITS),
    "training.batch_size": whole(2, MOST_UNITS),
    "training.monitor_draws": whole(1, MOST_UNITS),
    "figure2.latent_sizes": several(whole(1, MOST_UNITS), "sizes", "(2, 5, 10)", 1),
}
SETTINGS = {**SHARED_RULES, **_DATA, **_SIMULATOR, **_MODEL}
