"""Tokens of pathways against a dense computation in numpy, row by row and pathway by pathway."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from omics_jax.nn import pathway_tokens
from omics_jax.nn.initial import draw
from omics_jax.nn.pathway_tokens import Members, encode_pathways, pathway_parameters, plan_members
from omics_jax.nn.token_encoder import TokenEncoder, encode_tokens, encoder_parameters
from omics_jax.nn.value_encodings import ENCODINGS, IN_LOGITS, value_vectors

N, OTHERS, GENES, D, HEADS = 3, 2, 30, 8, 2
T = OTHERS + GENES
# The last pathway has no gene, the last gene no pathway; the second has more genes than a chunk.
SETS = ([3, 1, 7], [*range(5, 28), 2], [0], [7, 8, 2, 11], [])
P = len(SETS)


def pairs_of(sets=SETS):
    return np.array([(gene, p) for p, genes in enumerate(sets) for gene in genes], np.int32)


@cache
def planned():
    return members_of(pairs_of())


def members_of(pairs):
    (members,) = plan_members([pairs], GENES, P)
    return jax.tree.map(jnp.asarray, members)


def encoder(encoding="bias", layers=1):
    return TokenEncoder(T, D, HEADS, layers, 6, encoding=encoding)


@cache
def parameters(encoding, layers=1):
    """Far from those at the start, so that weights differ much."""
    shape = encoder(encoding, layers)
    described = {**encoder_parameters(shape), "pathways": pathway_parameters(shape, P)}
    p = draw(jax.random.key(0), described)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: a + jnp.asarray(rng.normal(size=a.shape), jnp.float32), p)


@cache
def profiles():
    """(x, exists): the first row has no gene of the first pathway, the last no gene at all."""
    rng = np.random.default_rng(1)
    x, exists = rng.normal(size=(N, T)), rng.random((N, T)) < 0.8
    exists[:, 0] = True
    exists[0, OTHERS + np.array(SETS[0])] = False
    exists[-1, OTHERS:] = False
    return jnp.asarray(x, jnp.float32), jnp.asarray(exists)


@partial(jax.jit, static_argnums=0)
def encode(shape, p, x, exists):
    return encode_pathways(shape, p, x, exists, planned(), OTHERS)


@partial(jax.jit, static_argnums=0)
def pooled(shape, p, x, exists, members, extra=0.0):
    """Tokens before the first layer, values and existence of all tokens."""
    return pathway_tokens.pathway_tokens(shape, p, x, exists, members, OTHERS, extra)


# --- the oracle, in float64 -----------------------------------------------------------------------


def naive(shape, p, x, exists, sets=SETS, extra=0.0):
    """Tokens (n, f + P, d), values and existence, a pathway of a row at a time."""
    is_member = np.isin(np.arange(GENES), np.concatenate(sets).astype(int))
    exists = np.asarray(exists) & np.concatenate([np.ones(OTHERS, bool), is_member])
    x = np.where(exists, np.asarray(x, float), 0)
    added = value_vectors(shape.encoding, p.get("value", {}), *map(jnp.asarray, (x, exists)), D)
    p = jax.tree.map(lambda a: np.asarray(a, float), p)
    u = np.broadcast_to(p["token"] + np.asarray(extra) + np.asarray(added, float), (N, T, D))
    own, count = p["pathways"], OTHERS + len(sets)
    t, values = np.zeros((N, count, D)), np.zeros((N, count))
    present = np.zeros((N, count), bool)
    t[:, :OTHERS], values[:, :OTHERS], present[:, :OTHERS] = (a[:, :OTHERS] for a in (u, x, exists))
    for row in range(N):
        for number, genes in enumerate(sets):
            places = [OTHERS + gene for gene in genes if exists[row, OTHERS + gene]]
            t[row, OTHERS + number] = own["token"][number]
            if places:
                there = row, OTHERS + number
                present[there] = True
                vector, values[there] = pool_by_hand(own, number, u[row, places], x[row, places])
                t[there] += vector
    return t, values, present


def pool_by_hand(own, number, u, x):
    vectors, values, c = [], [], D // HEADS
    for head in range(HEADS):
        part = slice(head * c, (head + 1) * c)
        logits = (u @ own["key"])[:, part] @ own["query"][number, part] / np.sqrt(c)
        if "slope" in own:
            logits = logits + own["slope"][number, head] * x
        weights = np.exp(logits) / np.exp(logits).sum()
        vectors.append(weights @ (u @ own["value"])[:, part])
        values.append(weights @ x)
    return np.concatenate(vectors), np.mean(values)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tokens_and_values_are_those_of_a_dense_computation(encoding):
    shape, p, (x, exists) = encoder(encoding), parameters(encoding), profiles()
    extra = jnp.asarray(np.random.default_rng(2).normal(size=(1, T, D)), jnp.float32)
    t, values, present = pooled(shape, p, x, exists, planned(), extra)
    expected = naive(shape, p, x, exists, extra=extra)
    assert_array_equal(present, expected[2])
    assert not present[0, OTHERS] and not present[-1, OTHERS:].any()
    assert_allclose(t, expected[0], rtol=1e-4, atol=1e-4)
    assert_allclose(values, expected[1], rtol=1e-4, atol=1e-5)
    assert ("slope" in p["pathways"]) == (encoding in IN_LOGITS)


def test_layers_follow_with_the_values_of_pathways_in_their_logits():
    """As of a transformer whose tokens are the pathways."""
    shape, p, (x, exists) = encoder(layers=2), parameters("bias", 2), profiles()
    found, present = encode(shape, p, x, exists)
    t, values, _ = naive(shape, p, x, exists)
    own = {**p, "token": jnp.zeros((OTHERS + P, D))}
    expected = encode_tokens(
        replace(shape, tokens=OTHERS + P),
        own,
        jnp.float32(values),
        present,
        extra=jnp.float32(t),
    )
    there = np.asarray(present)
    assert_allclose(np.asarray(found)[there], np.asarray(expected)[there], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("encoding", ["bias", "linear", "rank"])
def test_the_order_of_genes_and_of_memberships_means_nothing(encoding):
    shape, p, (x, exists) = encoder(encoding), parameters(encoding), profiles()
    expected = pooled(shape, p, x, exists, planned())
    rng = np.random.default_rng(3)
    mixed = members_of(rng.permutation(pairs_of()))
    assert_array_equal(mixed.gene, planned().gene)
    order = rng.permutation(GENES)
    places = np.concatenate([np.arange(OTHERS), OTHERS + order])
    moved = jax.tree.map(lambda a: a[places] if len(a) == T else a, p)
    new_place = np.argsort(order)
    sets = tuple([int(new_place[gene]) for gene in genes] for genes in SETS)
    found = pooled(shape, moved, x[:, places], exists[:, places], members_of(pairs_of(sets)))
    for own, other in zip(found, expected, strict=True):
        assert_allclose(own, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("encoding", ["bias", "mlp", "rank"])
def test_absent_genes_and_those_in_no_pathway_change_nothing_whatever_their_values(encoding):
    shape, p, (x, exists) = encoder(encoding), parameters(encoding), profiles()
    lone = OTHERS + GENES - 1
    exists = exists.at[:, lone].set(True)
    found, present = encode(shape, p, x, exists)
    for absent in (np.nan, np.inf, 1e9):
        wild = jnp.where(exists, x, absent).at[:, lone].set(absent)
        again, _ = encode(shape, p, wild, exists)
        assert_array_equal(np.asarray(again)[np.asarray(present)], np.asarray(found)[present])
    assert np.isfinite(found).all()


def test_a_row_depends_on_that_row_alone():
    shape, p, (x, exists) = encoder(), parameters("bias"), profiles()
    found, _ = encode(shape, p, x, exists)
    for row in range(N):
        others = np.arange(N) != row
        changed, _ = encode(
            shape, p, jnp.where(others[:, None], -2 * x, x), exists.at[others].set(True)
        )
        assert_array_equal(changed[row], found[row])


def test_large_logits_overflow_nowhere():
    """Of different chunks, too: the largest logit of one may be far below that of another."""
    shape, p, (x, exists) = encoder(), parameters("bias"), profiles()
    steep = {**p, "pathways": {**p["pathways"], "slope": 1e5 * jnp.ones((P, HEADS))}}
    _, values, present = pooled(shape, steep, x, exists, planned())
    for row in range(N - 1):
        genes = [OTHERS + gene for gene in SETS[1] if exists[row, OTHERS + gene]]
        assert_allclose(values[row, OTHERS + 1], x[row, np.array(genes)].max(), rtol=1e-5)


# --- gradients ------------------------------------------------------------------------------------


def loss(shape, p, x, exists):
    t, values, present = pooled(shape, p, x, exists, planned())
    return jnp.sum(jnp.where(present, jnp.sin(3 * t).sum(axis=-1) + values**2, 0))


@pytest.mark.parametrize("encoding", ["bias", "linear"])
def test_gradients_are_those_of_finite_differences(encoding, gradient_error):
    shape, (x, exists) = encoder(encoding), profiles()
    given = {"p": parameters(encoding), "x": x}
    of_given = lambda given: loss(shape, given["p"], given["x"], exists)
    assert gradient_error(of_given, given, coordinates=60) < 1e-6


def test_second_derivatives_by_values_are_those_of_finite_differences(x64):
    """Which interactions of genes are read from."""
    shape, (x, exists) = encoder(), profiles()
    p = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, float)), parameters("bias"))
    gradient = jax.jit(jax.grad(lambda x: loss(shape, p, x, exists)))
    x, gene = jnp.asarray(np.asarray(x, float)), OTHERS + 7  # a gene of three pathways
    step = jnp.zeros_like(x).at[1, gene].set(1e-4)
    expected = (gradient(x + step) - gradient(x - step)) / 2e-4
    found = jax.jit(jax.grad(lambda x: gradient(x)[1, gene]))(x)
    assert np.abs(expected[1]).max() > 0.1 and not np.asarray(expected)[[0, 2]].any()
    assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_row_without_genes_spoils_no_gradient():
    shape, p, (x, exists) = encoder(), parameters("bias"), profiles()
    gradient = jax.jit(jax.grad(partial(loss, shape), (0, 1)))
    for leaf in jax.tree.leaves(gradient(p, x, exists)):
        assert np.isfinite(leaf).all()


def test_blocks_of_chunks_change_nothing(monkeypatch):
    shape, p, (x, exists) = encoder("linear"), parameters("linear"), profiles()
    gradient = lambda shape: jax.tree.leaves(jax.grad(partial(loss, shape))(p, x, exists))
    at_once = gradient(shape)
    monkeypatch.setattr(pathway_tokens, "BLOCK_CELLS", 1)
    in_turn = gradient(replace(shape, layers=2))  # of which pooling knows nothing: a new program
    for own, other in zip(in_turn, at_once, strict=True):
        assert_allclose(own, other, rtol=1e-4, atol=1e-5)


# --- the plan -------------------------------------------------------------------------------------


def memberships(members: Members):
    pairs = [
        (gene, pathway)
        for genes, pathway in zip(members.gene.tolist(), members.pathway.tolist(), strict=True)
        for gene in genes
        if gene < GENES
    ]
    return sorted(pairs)


def test_plans_of_several_folds_have_one_shape_and_all_memberships():
    folds = [pairs_of(), pairs_of(SETS[:1]), np.zeros((0, 2), np.int32)]
    plans = plan_members(folds, GENES, P)
    assert len({plan.gene.shape for plan in plans}) == 1
    for pairs, plan in zip(folds, plans, strict=True):
        assert memberships(plan) == sorted(map(tuple, pairs.tolist()))
        assert (np.diff(plan.pathway) >= 0).all()
        assert (plan.gene[plan.pathway == P] == GENES).all()


def test_large_pathways_take_wide_chunks_and_small_ones_narrow_chunks():
    genes = np.arange(3000)
    pairs = lambda size: np.stack([genes, genes // size], axis=1)
    widths = [plan_members([pairs(s)], 3000, 3000 // s)[0].gene.shape[1] for s in (5, 30, 600)]
    assert widths == [8, 32, 128]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(GENES, 0)], "of 30 genes in 5 pathways"),
        ([(0, P)], "of 30 genes in 5 pathways"),
        ([(-1, 0)], "of 30 genes in 5 pathways"),
        ([(1, 0), (1, 0)], "a gene stands twice in a pathway"),
    ],
)
def test_memberships_that_cannot_be_are_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        plan_members([np.array(pairs)], GENES, P)
