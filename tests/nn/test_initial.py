"""What is drawn for flax's layers and for Glorot's: bounds, variances and constants."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.nn.initial import draw, glorot_parameters, lecun_parameters
from omics_jax.nn.norm import MaskedBatchNorm


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, live):
        x = nn.Dense(200)(x)
        x = MaskedBatchNorm()(x, live, train=False)
        return nn.Dense(300)(x)


def test_flax_layers_get_kernels_of_variance_one_over_inputs_scales_of_1_and_biases_of_0():
    key = jax.random.key(0)
    x = jnp.zeros((2, 50))
    live = jnp.ones(2, bool)
    shapes = jax.eval_shape(Net().init, key, x, live)["params"]
    params = draw(key, lecun_parameters(shapes))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    for layer, inputs in (("Dense_0", 50), ("Dense_1", 200)):
        kernel = np.asarray(params[layer]["kernel"])
        assert np.isclose(kernel.var(), 1 / inputs, rtol=0.05)
        assert abs(kernel).max() <= np.sqrt(3 / inputs)
        assert (np.asarray(params[layer]["bias"]) == 0).all()
    norm = params["MaskedBatchNorm_0"]
    assert (np.asarray(norm["scale"]) == 1).all()
    assert (np.asarray(norm["bias"]) == 0).all()


def test_glorots_bound():
    p = draw(jax.random.key(1), glorot_parameters(300, 100))
    bound = np.sqrt(6 / 400)
    largest = np.abs(p["kernel"]).max()
    assert 0.99 * bound < largest <= bound
    assert (np.asarray(p["bias"]) == 0).all()
