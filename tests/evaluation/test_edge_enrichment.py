"""Agreement of scores of pairs with known edges and sets; oracles are scikit-learn and loops."""

from itertools import combinations, permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import kstest, mannwhitneyu
from sklearn.metrics import roc_auc_score

from omics_jax.evaluation.edge_enrichment import edge_auroc, permutations_of, set_strength


def symmetric(rng, w, levels=0):
    """Random scores; with `levels` so few values that many are tied. The diagonal is not read."""
    values = rng.integers(levels, size=(w, w)) if levels else rng.random((w, w))
    upper = np.triu(values.astype(float), 1)
    return upper + upper.T + np.diag(np.full(w, 99.0))


def random_edges(rng, w, chance=0.3):
    upper = np.triu(rng.random((w, w)) < chance, 1)
    return upper | upper.T


def in_pairs(matrix):
    return matrix[np.triu_indices(len(matrix), 1)]


def renamed(matrix, order):
    return matrix[np.ix_(order, order)]


NO_PERMUTATIONS = np.empty((0, 8), int)


@pytest.mark.parametrize("levels", [0, 3])
def test_auroc_is_that_of_scikit_learn_and_p_counts_permutations(levels):
    rng = np.random.default_rng(levels)
    scores = np.stack([symmetric(rng, 8, levels) for _ in range(2)])
    known, order = random_edges(rng, 8), permutations_of(40, 8, 1)
    auroc, p = edge_auroc(scores, known, order)
    label = in_pairs(known)
    for place, own in enumerate(scores):
        observed = roc_auc_score(label, in_pairs(own))
        null = [roc_auc_score(label, in_pairs(renamed(own, each))) for each in order]
        assert_allclose(auroc[place], observed)
        assert_allclose(p[place], (1 + np.sum(np.array(null) >= observed - 1e-12)) / 41)


def test_permutations_are_of_all_genes_and_differ():
    order = permutations_of(50, 6, 0)
    assert (np.sort(order, axis=1) == np.arange(6)).all()
    assert len(np.unique(order, axis=0)) > 40
    assert (permutations_of(50, 6, 0) == order).all() and (permutations_of(50, 6, 1) != order).any()


def test_no_two_kinds_of_pairs_have_no_auroc_and_no_other_method_is_harmed_by_nan():
    rng = np.random.default_rng(0)
    scores, known = np.stack([symmetric(rng, 8)] * 2), random_edges(rng, 8)
    for constant in (np.zeros((8, 8), bool), np.ones((8, 8), bool)):
        assert np.isnan(edge_auroc(scores, constant, NO_PERMUTATIONS)).all()
    scores[0, 1, 2] = scores[0, 2, 1] = np.nan
    auroc, p = edge_auroc(scores, known, NO_PERMUTATIONS)
    assert np.isnan([auroc[0], p[0]]).all() and np.isfinite(auroc[1]) and p[1] == 1


def test_edges_among_strong_genes_are_no_more_surprising_than_the_genes():
    """A clique of a few genes, of which by chance many are strong; pairs are not independent."""
    rng = np.random.default_rng(3)
    p, of_pairs = [], []
    for _ in range(150):
        strength = np.exp(rng.normal(size=20))
        scores = np.outer(strength, strength)
        clique = np.isin(np.arange(20), rng.permutation(20)[:6])
        known = np.outer(clique, clique)
        order = permutations_of(99, 20, int(rng.integers(1_000_000)))
        p.append(edge_auroc(scores[None], known, order)[1][0])
        label, values = in_pairs(known), in_pairs(scores)
        of_pairs.append(mannwhitneyu(values[label], values[~label], alternative="greater").pvalue)
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) < 0.1 < 0.15 < np.mean(np.array(of_pairs) <= 0.05)


# --- sets -----------------------------------------------------------------------------------------


def within(matrix, genes):
    return np.mean([matrix[i, j] for i, j in combinations(genes, 2)])


def test_a_set_is_compared_with_all_others_of_its_size():
    """Of so few genes that all permutations can be listed."""
    rng = np.random.default_rng(1)
    scores = np.stack([symmetric(rng, 5), symmetric(rng, 5, 2)])
    sets = [(0, 3), (1, 2, 4), (0, 1, 2, 3, 4), (2,)]
    members = np.array([np.isin(np.arange(5), own) for own in sets])
    order = np.array(list(permutations(range(5))))
    ratio, p = set_strength(scores, members, order)
    for m, matrix in enumerate(scores):
        for k, own in enumerate(sets[:3]):
            observed = within(matrix, own)
            assert_allclose(ratio[m, k], observed / in_pairs(matrix).mean())
            null = [within(matrix, each[list(own)]) for each in order]
            reached = np.sum(np.array(null) >= observed - 1e-9)
            assert_allclose(p[m, k], (1 + reached) / (1 + len(order)))
    assert (p[:, 2] == 1).all() and np.isnan(ratio[:, 3]).all() and np.isnan(p[:, 3]).all()


def test_the_planted_set_is_found():
    rng = np.random.default_rng(2)
    members = np.array([np.isin(np.arange(30), rng.permutation(30)[:5]) for _ in range(6)])
    scores = symmetric(rng, 30) + 0.5 * np.outer(members[2], members[2])
    ratio, p = set_strength(scores[None], members, permutations_of(999, 30, 0))
    assert p[0, 2] == p[0].min() <= 0.002 and ratio[0, 2] > 1.5
    assert np.delete(p[0], 2).min() > 0.01


def test_no_set_has_no_rows():
    ratio, p = set_strength(np.ones((2, 4, 4)), np.zeros((0, 4), bool), permutations_of(3, 4, 0))
    assert ratio.shape == p.shape == (2, 0)
