"""What the settings of patients' files may be, in the sections data and preprocess of a config."""

from omics_jax.data.formats.cells import BELOW_DETECTION
from omics_jax.data.formats.options import ORIENTATIONS, REPEATED
from omics_jax.settings.checks import choice, names, number, text, whole, words

PATIENT_RULES = {
    **{
        f"data.{name}": text()
        for name in ("modalities", "path", "clinical", "survival", "id", "barcode", "classes")
    },
    **{f"data.{name}": text() for name in ("numbers", "survival_times", "only")},
    **{f"data.{name}": text() for name in ("group", "limits")},
    "data.external.*": text(),
    "data.orientation": choice(*ORIENTATIONS),
    "data.zero_times": choice("error", "mask"),
    "data.smallest_class": whole(0),
    "data.repeated": choice(*REPEATED),
    "data.below_detection": choice(*BELOW_DETECTION),
    "data.missing_values": words(),
    "preprocess.log2": names(),
    "preprocess.without_y": names(),
    **{f"preprocess.{name}": text() for name in ("chromosomes", "zeros", "share")},
    "preprocess.most_missing": number(0, 1),
    "preprocess.top_k": whole(0),
}
