"""Conformal quantiles, scores and coverage: by brute force, and on simulated exchangeable rows."""

from fractions import Fraction
from math import ceil, inf

import numpy as np
import pytest

from omics_jax.evaluation.conformal import (
    class_scores,
    conformal_quantile,
    cross_quantiles,
    number_scores,
    person_mean,
)

LEVELS = ("0.8", "0.9", "0.95")


def by_counting(scores, level: str, copies=1):
    """The ceil(level (n + 1))-th smallest score, in whole numbers; every person has `copies`."""
    needed = ceil(Fraction(level) * (len(scores) // copies + 1) * copies)
    return sorted(scores)[needed - 1] if needed <= len(scores) else inf


@pytest.mark.parametrize("level", LEVELS)
def test_the_quantile_is_the_one_that_counting_gives(level):
    random = np.random.default_rng(0)
    for n in [*range(1, 45), 99, 199]:
        scores = random.normal(size=n).round(1)  # with ties
        assert conformal_quantile(scores, np.arange(n), float(level)) == by_counting(scores, level)


def test_too_few_rows_give_no_quantile():
    assert conformal_quantile(np.zeros(0), np.zeros(0, int), 0.9) == inf
    assert conformal_quantile(np.arange(8.0), np.arange(8), 0.9) == inf
    assert conformal_quantile(np.arange(9.0), np.arange(9), 0.9) == 8.0


@pytest.mark.parametrize("level", LEVELS)
def test_the_rows_of_a_person_share_one_weight(level):
    """As if every person had six rows, made of copies of the one, two, three or six they have."""
    random = np.random.default_rng(1)
    for persons in (3, 4, 9, 19, 30):
        rows = random.choice([1, 2, 3, 6], persons)
        person = np.repeat(np.arange(persons), rows)
        scores = random.normal(size=len(person))
        copied = np.repeat(scores, 6 // rows[person])
        shuffled = random.permutation(len(person))
        found = conformal_quantile(scores[shuffled], person[shuffled], float(level))
        assert found == by_counting(copied, level, copies=6)


def test_a_class_scores_what_is_more_probable_than_it():
    random = np.random.default_rng(2)
    p = random.dirichlet(np.ones(5), 20)
    p[3] = p[4] = 0.2  # all alike
    p[5] = [0.4, 0.4, 0.1, 0.1, 0.0]
    expected = [[sum(q for q in row if q > own) for own in row] for row in p]
    np.testing.assert_allclose(class_scores(p), expected, atol=1e-12)
    np.testing.assert_allclose(class_scores(p)[5], [0, 0, 0.8, 0.8, 1.0])
    assert (class_scores(p)[np.arange(20), p.argmax(axis=1)] == 0).all()


def test_a_number_scores_its_error():
    np.testing.assert_array_equal(number_scores(np.array([1.0, 5.0]), np.array([3, 4])), [2, 1])


def test_a_fold_is_calibrated_by_the_others():
    random = np.random.default_rng(3)
    scores, fold = random.normal(size=60), random.integers(0, 4, 60)
    person = np.array([f"p{i}" for i in range(60)])
    person[np.flatnonzero(fold == 1)[0]] = person[np.flatnonzero(fold == 0)[0]]
    found = cross_quantiles(scores, person, fold, 0.9)
    for k in range(4):
        others = [i for i in range(60) if fold[i] != k and person[i] not in set(person[fold == k])]
        assert (found[fold == k] == by_counting(scores[others], "0.9")).all()


def test_nothing_calibrates_the_same_persons_in_every_fold():
    scores, person = np.arange(12.0), np.tile(np.arange(6), 2)
    assert np.isnan(cross_quantiles(scores, person, np.repeat([0, 1], 6), 0.9)).all()
    assert np.isnan(cross_quantiles(scores, np.arange(12), np.zeros(12, int), 0.9)).all()


def test_the_mean_over_persons_counts_each_of_them_once():
    assert person_mean(np.array([1, 0, 0, 1]), np.array(["a", "a", "b", "c"])) == 0.5
    assert np.isnan(person_mean(np.zeros(0), np.zeros(0, int)))


# --- coverage -------------------------------------------------------------------------------------


def assert_covers(covered, expected, draws):
    """Within three standard errors."""
    assert abs(np.mean(covered) - expected) < 3 * np.std(covered) / np.sqrt(draws)


def test_a_new_row_is_covered_as_often_as_the_level_says():
    random = np.random.default_rng(4)
    scores = random.exponential(size=(4000, 40))  # 39 calibrate, one is new
    persons = np.arange(39)
    quantiles = [conformal_quantile(row[:-1], persons, 0.9) for row in scores]
    assert_covers(scores[:, -1] <= quantiles, 36 / 40, 4000)


def test_rows_of_a_cross_validation_are_covered_as_often_as_the_level_says():
    """80 rows calibrate 20 in every fold."""
    random = np.random.default_rng(5)
    fold, persons = np.arange(100) % 5, np.arange(100)
    covered = []
    for _ in range(300):
        scores = random.normal(size=100) ** 2
        covered.append((scores <= cross_quantiles(scores, persons, fold, 0.9)).mean())
    assert_covers(covered, ceil(0.9 * 81) / 81, 300)


def test_new_persons_are_covered_where_rows_depend_on_their_person():
    """Persons with many rows err less: rows that count alike would cover .80 of the persons."""
    random = np.random.default_rng(6)
    covered, naive = [], []
    for _ in range(800):
        rows = random.choice([1, 9], 20)
        person = np.repeat(np.arange(20), rows)
        size = np.where(rows == 1, 2.0, 1.0) * random.exponential(size=20)  # of a person's errors
        scores = size[person] * random.uniform(0.9, 1, len(person))
        is_known = person > 0  # the first is new
        arguments = scores[is_known], person[is_known]
        new = scores[~is_known]
        covered.append((new <= conformal_quantile(*arguments, 0.9)).mean())
        alike = conformal_quantile(arguments[0], np.arange(is_known.sum()), 0.9)
        naive.append((new <= alike).mean())
    assert_covers(covered, 0.9, 800)
    assert np.mean(naive) < 0.85


def test_sets_of_classes_cover_and_are_never_empty():
    """Classes drawn from the predicted probabilities, four with a clear first one at times."""
    random = np.random.default_rng(7)
    covered, sizes = [], []
    for _ in range(300):
        p = random.dirichlet(np.full(4, 0.8), 120)
        label = (p.cumsum(axis=1) < random.random((120, 1))).sum(axis=1).clip(0, 3)
        scores = class_scores(p)
        own = scores[np.arange(120), label]
        q = conformal_quantile(own[:99], np.arange(99), 0.9)
        sets = scores[99:] <= q
        covered.append((own[99:] <= q).mean())
        sizes.append(sets.sum(axis=1))
    assert_covers(covered, 0.9, 300)
    assert np.min(sizes) == 1 and np.max(sizes) > 1


def test_sets_of_a_model_that_is_right_more_often_than_the_level_are_single_classes():
    p = np.tile([0.6, 0.3, 0.1], (40, 1))
    own = class_scores(p)[np.arange(40), np.r_[np.zeros(38, int), 1, 2]]
    q = conformal_quantile(own, np.arange(40), 0.9)
    assert q == 0 and ((class_scores(p) <= q).sum(axis=1) == 1).all()
