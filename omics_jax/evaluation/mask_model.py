"""Whether missing values predict an outcome: a cheap model on the mask alone, with its null.

Where one class was measured on another machine, missing cells name the class, and any method that
fills them in can learn that. Here a small decision tree predicts the outcome from the pattern of
missing values in cross-validation, groups never split; the null is the same with permuted outcomes.
The rules are this project's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Real, Shaped

FOLDS = 3
PERMUTATIONS = 19  # the chance that a null exceeds all of them is 1 in 20
LEAST_AUROC = 0.65  # weaker predictions are not worth a sentence
_LEAST_ROWS = 15
_LEAST_PER_CLASS = FOLDS
_MOST_ROWS, _MOST_PATTERNS = 1000, 64
_LEAVES, _LEAF_ROWS = 16, 3


@dataclass(frozen=True)
class MaskModel:
    """How well the mask predicts an outcome.

    auroc: of the tree, the mean over the classes (one against the rest).
    null: (PERMUTATIONS,) the same with permuted outcomes; () where `auroc` is too small to ask.
    accuracy: of the tree; `majority`: the share of the commonest class.
    """

    auroc: float
    null: Float[np.ndarray, " p"]
    accuracy: float
    majority: float

    @property
    def predicts_outcome(self) -> bool:
        """Whether the mask predicts the outcome, better than with any permutation of it."""
        return bool(len(self.null) and self.auroc > self.null.max())


def fit_mask_model(
    mask: Bool[np.ndarray, n * f],
    outcome: Real[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"] | None = None,
    seed: int = 0,
) -> MaskModel | None:
    """The model of an outcome that is known in all n rows; None where there is nothing to learn.

    Args:
      mask: True where observed; all axes but the first are cells of a row. Of a series the share
        of observed steps counts.
      outcome: codes of classes; numbers of more than 10 values are divided at their median.
      groups: rows of one group are never split.
      seed: of the chosen rows, folds and permutations.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(len(outcome))
    if len(rows) > _MOST_ROWS:
        rows = np.sort(rng.choice(rows, _MOST_ROWS, replace=False))
    codes = _codes(outcome[rows])
    x = _patterns(mask[rows])
    is_small = len(rows) < _LEAST_ROWS or not x.shape[1]
    if is_small or len(np.unique(codes)) < 2 or np.bincount(codes).min() < _LEAST_PER_CLASS:
        return None
    group = (
        np.arange(len(rows)) if groups is None else np.unique(groups[rows], return_inverse=True)[1]
    )
    if len(np.unique(group)) < FOLDS:
        return None
    auroc, accuracy = _cross_validate(x, codes, group, seed)
    null = np.zeros(0)
    if auroc >= LEAST_AUROC:
        permuted = (rng.permutation(codes) for _ in range(PERMUTATIONS))
        null = np.array([_cross_validate(x, labels, group, seed)[0] for labels in permuted])
    return MaskModel(auroc, null, accuracy, float(np.bincount(codes).max() / len(codes)))


def mask_sentence(modality: str, outcome: str, model: MaskModel) -> str:
    """What `inspect` says where the mask predicts the outcome."""
    return (
        f"{modality}: which of its values are missing predicts {outcome} (a tree on the mask alone "
        f"has an AUROC of {model.auroc:.2f}, at most {model.null.max():.2f} in {len(model.null)} "
        f"permutations of the outcome, and an accuracy of {model.accuracy:.2f} where the commonest "
        f"class has {model.majority:.2f}); a network can learn this in place of biology."
    )


def _codes(outcome: Real[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Classes from 0 on; of many-valued numbers whether they are above the median."""
    values, codes = np.unique(outcome, return_inverse=True)
    is_number = len(values) > 10 and np.bincount(codes).min() < _LEAST_PER_CLASS
    return (outcome > np.median(outcome)).astype(int) if is_number else codes


def _patterns(mask: Bool[np.ndarray, n * f]) -> Float[np.ndarray, "n p"]:
    """The commonest columns of the mask that vary over rows, and the observed share of each row.

    Features that were measured by the same machines have the same column, so that a few columns
    say what thousands do.
    """
    cells = mask.mean(axis=1) if mask.ndim == 3 else mask
    varying = cells[:, (cells != cells[:1]).any(axis=0)].astype(np.float32)
    if not varying.shape[1]:
        return varying
    columns, counts = np.unique(varying.T, axis=0, return_counts=True)
    commonest = np.argsort(-counts, kind="stable")[:_MOST_PATTERNS]
    return np.column_stack([columns[commonest].T, varying.mean(axis=1)]).astype(np.float64)


def _cross_validate(
    x: Float[np.ndarray, "n p"],
    codes: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    seed: int,
) -> tuple[float, float]:
    """AUROC and accuracy of the tree's predictions of the rows that it was not fitted to."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.tree import DecisionTreeClassifier

    probability = np.zeros((len(codes), codes.max() + 1))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(x, codes, group):
        tree = DecisionTreeClassifier(
            max_leaf_nodes=_LEAVES, min_samples_leaf=_LEAF_ROWS, random_state=seed
        )
        tree.fit(x[train], codes[train])
        probability[np.ix_(test, tree.classes_)] = tree.predict_proba(x[test])
    by_class = [roc_auc_score(codes == code, probability[:, code]) for code in np.unique(codes)]
    accuracy = float(np.mean(probability.argmax(axis=1) == codes))
    return float(np.mean(by_class)), accuracy
