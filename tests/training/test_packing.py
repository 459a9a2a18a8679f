"""Small arrays end to end: nothing is lost, and an optimiser does not notice."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from omics_jax.training.packing import SMALL, pack, packed, unpack

RANDOM = np.random.default_rng(0)
TREE = {
    "a": jnp.asarray(RANDOM.normal(size=(3, 2)), jnp.float32),
    "large": jnp.asarray(RANDOM.normal(size=(SMALL + 1,)), jnp.float32),
    "b": {"just": jnp.asarray(RANDOM.normal(size=(SMALL,)), jnp.float32), "scalar": jnp.float32(7)},
}
TREES = {"both": TREE, "small only": {"a": TREE["a"]}, "large only": {"large": TREE["large"]}}


@pytest.mark.parametrize("name", TREES)
def test_what_is_packed_comes_back_bit_by_bit(name):
    jax.tree.map(np.testing.assert_array_equal, unpack(pack(TREES[name]), TREES[name]), TREES[name])


def test_replicates_are_unpacked_together():
    two = jax.tree.map(lambda x: np.stack([x, 2 * x]), TREE)
    parts = jax.tree.map(lambda x: np.stack([x, 2 * x]), pack(TREE))
    jax.tree.map(np.testing.assert_array_equal, unpack(parts, TREE), two)


def test_arrays_of_several_dtypes_are_refused():
    with pytest.raises(ValueError, match="float32, int32"):
        pack({"a": jnp.float32(1), "b": jnp.int32(1)})


@pytest.mark.slow
@pytest.mark.parametrize("name", TREES)
def test_an_optimizer_moves_packed_parameters_as_it_moves_the_tree(name):
    chain = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.scale_by_adam(),
        optax.add_decayed_weights(0.1),
        optax.scale(-0.01),
    )

    def after(optimizer, steps=3):
        params, state = TREES[name], optimizer.init(TREES[name])
        for k in range(steps):
            grads = jax.tree.map(lambda x, k=k: jnp.sin(x + k), params)
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return params

    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, after(packed(chain)), after(chain))
