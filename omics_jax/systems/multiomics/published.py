"""The results that the paper prints for TCGA.

Only the numbers in its text are here: the copy that was at hand lacks its table II.
"""

import pandas as pd

from omics_jax.evaluation.tables import Table

# (arm, modalities, task) -> (metric, value) pairs.
PRINTED = {
    ("A", "all", "classification"): {"AUC": 0.9997, "F1": 0.965},
    ("A", "all", "regression"): {"RMSE": 10.252, "R2": 0.496},
    ("A", "RNA + DNA", "regression"): {"RMSE": 11.548, "R2": 0.361},
    ("A", "DNA", "survival"): {"C-index": 0.739},
    ("A", "all", "survival"): {"C-index": 0.729},
    ("A", "RNA + DNA", "survival"): {"C-index": 0.703},
    ("B", "RNA", "classification"): {"AUC": 0.999, "F1": 0.943},
    ("B", "RNA", "regression"): {"RMSE": 11.891, "R2": 0.323},
    ("B", "all", "survival"): {"C-index": 0.751},
    ("B", "DNA", "survival"): {"C-index": 0.750},
    ("C", "all", "classification"): {"AUC": 0.999, "F1": 0.960},
    ("C", "RNA + DNA", "regression"): {"RMSE": 9.994, "R2": 0.506},
    ("C", "RNA + DNA", "survival"): {"C-index": 0.721},
    ("D", "RNA", "classification"): {"AUC": 0.999, "F1": 0.915},
    ("D", "all", "regression"): {"RMSE": 11.628, "R2": 0.331},
    ("D", "RNA + DNA", "survival"): {"C-index": 0.735},
}


def table() -> Table:
    """The printed cells, a row per arm, modality set and task."""
    frame = pd.DataFrame(
        [{"arm": a, "modalities": m, "task": t, **values} for (a, m, t), values in PRINTED.items()]
    ).fillna("")
    caption = (
        "From the paper's text: 8,129 complete patients of TCGA (A, B) or 9,671 with imputed ones "
        "(C, D), 5 folds. Its patients, features and folds are not those used here."
    )
    return Table("table", frame, "What the paper prints", caption)
