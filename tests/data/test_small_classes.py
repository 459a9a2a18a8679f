"""Classes of few patients become unknown."""

import numpy as np
import pytest

from omics_jax.data.patients.small_classes import class_sizes, without_small_classes
from omics_jax.errors import UserError

CODES = np.array([0, 0, 0, 1, 1, 1, 2, 2, 0, 2], np.int32)
KNOWN = np.array([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], bool)
# Of class 1 all three samples are of one donor.
DONORS = np.array(["a", "b", "c", "d", "d", "d", "a", "b", "e", "f"])
NAMES = {"tissue": ("brain", "marrow", "skin")}


def kept(smallest, codes=CODES, names=NAMES):
    targets = {"tissue": (codes, KNOWN), "age": (np.arange(10.0), KNOWN)}
    return without_small_classes(targets, names, DONORS, smallest)


def test_sizes_are_of_groups_with_a_known_class():
    assert class_sizes(CODES, KNOWN, DONORS, 4).tolist() == [3, 1, 2, 0]


def test_a_class_of_few_groups_is_unknown_and_the_others_keep_their_names():
    targets, classes, remarks = kept(2)
    codes, known = targets["tissue"]
    assert classes == {"tissue": ("brain", "skin")}
    assert known.tolist() == [True] * 3 + [False] * 3 + [True] * 2 + [False] * 2
    assert codes[known].tolist() == [0, 0, 0, 1, 1] and codes.dtype == np.int32
    assert targets["age"][0] is not codes and targets["age"][1] is KNOWN
    assert remarks.notes == (
        "tissue: unknown in the 3 patients of marrow, of whom there are fewer than "
        "data.smallest_class = 2.",
    )


@pytest.mark.parametrize("smallest", [0, 1])
def test_nothing_changes_where_no_class_is_small(smallest):
    targets, classes, remarks = kept(smallest)
    assert targets["tissue"][0] is CODES and classes == NAMES and not remarks.notes


def test_one_class_that_is_left_is_refused():
    with pytest.raises(UserError, match="tissue: only 1 of its 3 classes has 3 patients or more"):
        kept(3)
