"""Whether the mask tells an outcome: planted patterns are found, chance tells nothing."""

import numpy as np
import pytest

from omics_jax.evaluation.mask_model import PERMUTATIONS, fit_mask_model, mask_sentence


def by_machine(n: int, share: float, seed: int = 0):
    """A mask in which half of the features lack in `share` of class 0, and in as few of class 1."""
    rng = np.random.default_rng(seed)
    outcome = np.repeat([0, 1], n // 2)
    lacks = rng.random(n) < np.where(outcome == 0, share, 1 - share)
    mask = np.ones((n, 12), bool)
    mask[lacks, 6:] = False
    return mask, outcome, lacks


def test_a_machine_that_measured_one_class_is_found():
    mask, outcome, lacks = by_machine(60, 0.9)
    model = fit_mask_model(mask, outcome)
    assert model.predicts_outcome and len(model.null) == PERMUTATIONS
    # Nothing but `lacks` varies, so that the tree can only repeat it.
    assert model.accuracy == np.mean(lacks == (outcome == 0)) and model.majority == 0.5
    sentence = mask_sentence("rna", "type", model)
    for words in (
        "rna: which of its values are missing predicts type",
        f"an accuracy of {model.accuracy:.2f} where the commonest class has 0.50",
        f"{PERMUTATIONS} permutations",
    ):
        assert words in sentence


def test_a_series_is_judged_by_the_share_of_its_steps():
    mask, outcome, _ = by_machine(60, 0.95)
    steps = np.repeat(mask[:, None], 4, axis=1)
    assert fit_mask_model(steps, outcome).predicts_outcome


def test_a_number_is_judged_by_its_median():
    mask, outcome, _ = by_machine(60, 0.95)
    age = 40 + 20 * outcome + np.random.default_rng(0).random(60)
    assert fit_mask_model(mask, age).predicts_outcome


@pytest.mark.parametrize("seed", range(8))
def test_cells_that_are_missing_by_chance_tell_nothing(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((int(rng.choice([30, 120])), 20)) < 0.8
    model = fit_mask_model(mask, rng.integers(0, 3, len(mask)))
    assert not model.predicts_outcome


def test_what_is_learned_of_a_group_does_not_tell_its_other_rows():
    """Every group has a pattern and an outcome of its own: known rows of it would tell both."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(16), 4)
    mask = (rng.random((16, 12)) < 0.5)[group]
    outcome = rng.integers(0, 2, 16)[group]
    assert fit_mask_model(mask, outcome).auroc > 0.9
    assert fit_mask_model(mask, outcome, group).auroc < 0.75


@pytest.mark.parametrize(
    ("mask", "outcome"),
    [
        (np.ones((40, 3), bool), np.arange(40) % 2),
        (np.eye(40, dtype=bool), np.zeros(40, int)),
        (np.eye(40, dtype=bool), (np.arange(40) == 0).astype(int)),
        (np.eye(6, dtype=bool), np.arange(6) % 2),
    ],
    ids=["complete", "one class", "a class of one", "few rows"],
)
def test_where_nothing_can_be_learned_nothing_is_said(mask, outcome):
    assert fit_mask_model(mask, outcome) is None
