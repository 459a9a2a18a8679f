"""Attention in blocks against the naive form: values, gradients, invariances, dropout, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omics_jax.nn.long_attention import WeightDropout, long_attention, with_value_term

N, HEADS, T, C, D = 3, 2, 11, 5, 4


def inputs(seed=0, t=T):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    q, k = draw(N, HEADS, t, C), draw(N, HEADS, t, C)
    exists = rng.random((N, t)) < 0.7
    exists[:, 0] = True
    return q, k, draw(N, HEADS, t, D), jnp.asarray(exists)


def naive(q, k, v, exists, kept=1.0):
    logits = jnp.einsum("nhtc,nhuc->nhtu", q, k)
    logits = jnp.where(exists[:, None, None], logits, -jnp.inf)
    return jnp.einsum("nhtu,nhud->nhtd", jax.nn.softmax(logits, axis=-1) * kept, v)


def assert_near(left, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), left, right)


def value_and_gradients(attention, q, k, v):
    loss = lambda q, k, v: jnp.sum(jnp.sin(attention(q, k, v)))
    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(q, k, v)


@pytest.mark.parametrize("block", [1, 4, 11, 64])
def test_values_and_gradients_are_those_of_the_naive_form(block):
    q, k, v, exists = inputs()
    blocked = lambda q, k, v: long_attention(q, k, v, exists, block=block)
    plain = lambda q, k, v: naive(q, k, v, exists)
    assert_near(jax.jit(blocked)(q, k, v), plain(q, k, v))
    assert_near(value_and_gradients(blocked, q, k, v), value_and_gradients(plain, q, k, v))


def test_fewer_queries_than_keys():
    q, k, v, exists = inputs()
    assert_near(
        long_attention(q[:, :, :3], k, v, exists, block=2), naive(q[:, :, :3], k, v, exists)
    )


def test_the_value_term_adds_a_product_to_the_logits_of_each_head():
    q, k, v, exists = inputs()
    x = jnp.asarray(np.random.default_rng(1).normal(size=(N, T)), jnp.float32)
    strength = jnp.array([0.7, -1.3])

    def blocked(q, k, x, strength):
        with_values = with_value_term(q, k, x[:, None], x[:, None], strength)
        return jnp.sum(jnp.sin(long_attention(*with_values, v, exists)))

    def plain(q, k, x, strength):
        product = strength[None, :, None, None] * x[:, None, :, None] * x[:, None, None, :]
        logits = jnp.einsum("nhtc,nhuc->nhtu", q, k) + product
        weights = jax.nn.softmax(jnp.where(exists[:, None, None], logits, -jnp.inf), axis=-1)
        return jnp.sum(jnp.sin(jnp.einsum("nhtu,nhud->nhtd", weights, v)))

    both = (
        jax.jit(jax.value_and_grad(f, (0, 1, 2, 3)))(q, k, x, strength) for f in (blocked, plain)
    )
    assert_near(*both)


def test_weights_of_a_query_sum_to_one():
    q, k, v, exists = inputs()
    np.testing.assert_allclose(long_attention(q, k, jnp.ones_like(v), exists), 1, rtol=1e-6)


def test_order_of_tokens_and_absent_ones_change_nothing():
    q, k, v, exists = inputs()
    expected = long_attention(q, k, v, exists, block=4)
    order = np.random.default_rng(2).permutation(T)
    moved = long_attention(*(a[:, :, order] for a in (q, k, v)), exists[:, order], block=4)
    assert_near(moved, expected[:, :, order])
    wild = jnp.where(exists[:, None, :, None], 0, 1e6)
    assert_near(long_attention(q, k + wild, v + wild, exists, block=4), expected)
    more = lambda a: jnp.concatenate([a, jnp.full_like(a[:, :, :2], 9.0)], axis=2)
    absent = jnp.concatenate([exists, jnp.zeros((N, 2), bool)], axis=1)
    assert_near(long_attention(*map(more, (q, k, v)), absent, block=4)[:, :, :T], expected)


def test_a_row_without_tokens_is_zero_and_has_no_gradient():
    q, k, v, exists = inputs()
    exists = exists.at[1].set(False)
    blocked = lambda q, k, v: long_attention(q, k, v, exists, block=4)
    assert not np.asarray(blocked(q, k, v))[1].any()
    _, gradients = value_and_gradients(blocked, q, k, v)
    for gradient in gradients:
        assert np.isfinite(gradient).all() and not np.asarray(gradient)[1].any()
        assert np.asarray(gradient)[0].any()


def test_large_logits_do_not_overflow():
    q, k, v, exists = inputs()
    value, gradients = value_and_gradients(
        lambda q, k, v: long_attention(q, k, v, exists, block=4), 300 * q, k, v
    )
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)


# --- dropout --------------------------------------------------------------------------------------


def dropout(rows=range(N), rate=0.3, key=5):
    return WeightDropout(jax.random.key(key), jnp.asarray(list(rows)), rate)


def dropped_weights(drop, q, k, exists, block=4):
    """D p of every head: what attention gives for the identity as values."""
    identity = jnp.broadcast_to(jnp.eye(k.shape[2]), (*k.shape[:2], k.shape[2], k.shape[2]))
    return long_attention(q, k, identity, exists, drop, block)


def test_dropped_weights_are_zero_or_scaled_and_have_the_right_mean():
    q, k, _, _ = inputs(t=60)
    exists = jnp.ones((N, 60), bool)
    whole = dropped_weights(None, q, k, exists)
    kept = np.asarray(dropped_weights(dropout(rate=0.25), q, k, exists) / whole)
    is_kept = kept > 0
    np.testing.assert_allclose(kept[is_kept], 1 / 0.75, rtol=1e-4)
    entries = is_kept.size
    assert abs(is_kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / entries)
    for axis in (2, 3):  # neither queries nor keys are favoured
        means = is_kept.mean(axis=axis).ravel()
        assert abs(means - 0.75).max() < 5 * np.sqrt(0.75 * 0.25 / 60)
    flat = is_kept.reshape(N * HEADS, -1)
    agreement = [(flat[i] == flat[j]).mean() for i in range(len(flat)) for j in range(i)]
    assert np.abs(np.array(agreement) - (0.75**2 + 0.25**2)).max() < 0.05


def test_gradients_are_those_of_the_naive_form_with_the_same_weights_dropped():
    q, k, v, exists = inputs()
    drop = dropout()
    kept = dropped_weights(drop, q, k, exists) / jnp.maximum(
        dropped_weights(None, q, k, exists), 1e-30
    )
    kept = jnp.where(exists[:, None, None], kept, 0)
    blocked = lambda q, k, v: long_attention(q, k, v, exists, drop, 4)
    plain = lambda q, k, v: naive(q, k, v, exists, kept)
    assert_near(value_and_gradients(blocked, q, k, v), value_and_gradients(plain, q, k, v))


def test_what_is_dropped_depends_on_key_and_row_alone():
    q, k, v, exists = inputs()
    expected = long_attention(q, k, v, exists, dropout((7, 8, 9)), 4)
    np.testing.assert_array_equal(
        long_attention(q[1:2], k[1:2], v[1:2], exists[1:2], dropout((8,)), 4)[0], expected[1]
    )
    assert_near(long_attention(q, k, v, exists, dropout((7, 8, 9)), 11), expected)
    for other in (dropout((7, 3, 9)), dropout((7, 8, 9), key=6)):
        assert not np.array_equal(long_attention(q, k, v, exists, other, 4)[1], expected[1])


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_that_cannot_be(rate):
    with pytest.raises(ValueError, match="a dropout rate lies in"):
        long_attention(*inputs(), dropout(rate=rate))


# --- memory and replicates ------------------------------------------------------------------------


def test_no_array_of_tokens_by_tokens_is_made():
    t, block = 300, 20
    q, k, v, _ = inputs(t=t)
    exists = jnp.ones((N, t), bool)
    loss = lambda q, k, v: jnp.sum(long_attention(q, k, v, exists, dropout(), block) ** 2)
    text = str(jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(q, k, v))
    assert f"f32[{block},{t}]" in text and f"{t},{t}]" not in text
    sizes = [a.aval.size for a in jax.make_jaxpr(jax.grad(loss))(q, k, v).eqns[-1].outvars]
    assert max(sizes) <= N * HEADS * t * max(C, D)


def test_replicates_by_vmap_are_each_alone():
    q, k, v, exists = inputs()
    gradient = jax.grad(lambda q, k, v: jnp.sum(long_attention(q, k, v, exists, dropout(), 4) ** 2))
    two = [jnp.stack([a, 0.5 * a]) for a in (q, k, v)]
    together = jax.vmap(gradient)(*two)
    for place in range(2):
        assert_near(together[place], gradient(*(a[place] for a in two)))
