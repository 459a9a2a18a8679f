"""Shuffled, random and hidden connections: what they keep, and what they change."""

import numpy as np
import pytest

from omics_jax.data.knowledge.rewire import random_ends, shuffled_ends, split_hidden

INPUTS, OUTPUTS = 60, 25


def ends_of(seed, share=0.1):
    """Connections with very unequal numbers per unit."""
    rng = np.random.default_rng(seed)
    chance = share * 2 * rng.random(OUTPUTS)[:, None] * rng.random(INPUTS)[None] * 2
    output, source = np.nonzero(rng.random((OUTPUTS, INPUTS)) < chance)
    return np.stack([source, output], axis=1)


def pairs(ends):
    return set(map(tuple, ends.tolist()))


def degrees(ends):
    return [np.bincount(ends[:, side], minlength=INPUTS).tolist() for side in (0, 1)]


@pytest.mark.parametrize("seed", range(4))
def test_shuffling_keeps_the_number_of_connections_of_every_unit(seed):
    ends = ends_of(seed)
    before = ends.copy()
    other = shuffled_ends(ends, seed)
    np.testing.assert_array_equal(ends, before)
    assert degrees(other) == degrees(ends)
    assert len(pairs(other)) == len(other)
    shared = len(pairs(other) & pairs(ends)) / len(ends)
    assert shared < 0.35, shared
    np.testing.assert_array_equal(other, shuffled_ends(ends, seed))
    assert pairs(other) != pairs(shuffled_ends(ends, seed + 1))


@pytest.mark.parametrize(
    "ends",
    [
        [(i, o) for i in range(4) for o in range(3)],
        [(i, 0) for i in range(5)],
        [(0, 0)],
        np.zeros((0, 2), int),
    ],
)
def test_connections_without_an_alternative_stay(ends):
    ends = np.array(ends)
    assert pairs(shuffled_ends(ends, 0)) == pairs(ends)


def test_two_connections_swap_their_ends():
    assert pairs(shuffled_ends(np.array([(0, 0), (1, 1)]), 0)) in (
        {(0, 0), (1, 1)},
        {(0, 1), (1, 0)},
    )
    found = {
        frozenset(pairs(shuffled_ends(np.array([(0, 0), (1, 1), (2, 2)]), s))) for s in range(9)
    }
    assert len(found) > 1


@pytest.mark.parametrize("count", [0, 1, 150, 1499, 1500])
def test_random_connections_are_so_many_different_ones(count):
    ends = random_ends(count, INPUTS, OUTPUTS, 0)
    assert ends.shape == (count, 2) and len(pairs(ends)) == count
    if count:
        assert ends.min() >= 0 and (ends.max(axis=0) < (INPUTS, OUTPUTS)).all()
    np.testing.assert_array_equal(ends, random_ends(count, INPUTS, OUTPUTS, 0))


def test_random_connections_reach_every_unit_alike():
    counts = sum(np.bincount(random_ends(100, 10, 30, s)[:, 0], minlength=10) for s in range(60))
    assert (np.abs(counts / 60 - 10) < 1.5).all()
    assert pairs(random_ends(100, 10, 30, 0)) != pairs(random_ends(100, 10, 30, 1))


def test_more_connections_than_there_can_be_are_refused():
    with pytest.raises(ValueError, match="60 inputs and 25 outputs have no 1501 connections"):
        random_ends(1501, INPUTS, OUTPUTS, 0)


def test_an_array_of_all_sites_needs_no_memory_of_sites_times_genes():
    assert len(random_ends(1000, 450_000, 20_000, 0)) == 1000


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_hidden_connections_and_those_that_stay_are_all_there_are(share):
    ends = ends_of(5)
    stay, hidden = split_hidden(ends, share, 3)
    assert len(hidden) == round(share * len(ends))
    assert not pairs(stay) & pairs(hidden)
    assert pairs(stay) | pairs(hidden) == pairs(ends) and len(stay) + len(hidden) == len(ends)
    for part in (stay, hidden):  # in their order
        places = [ends.tolist().index(row) for row in part.tolist()]
        assert places == sorted(places)
    if share == 0.2:
        assert pairs(split_hidden(ends, share, 4)[1]) != pairs(hidden)
