"""Run by test_norm.py with eight fake CPU devices: masked batch norm on eight devices against one.

Prints one JSON object, case -> quantity -> largest difference relative to the largest entry on one
device.
"""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from omics_jax.nn.collective import device_axis, sum_over_devices
from omics_jax.nn.norm import MaskedBatchNorm

DEVICES, ROWS, INPUTS = 8, 6, 5


class Net(nn.Module):
    """Two normalised layers, so that gradients flow back through batch statistics."""

    @nn.compact
    def __call__(self, x, live):
        hidden = nn.elu(MaskedBatchNorm()(nn.Dense(7)(x), live, True))
        return nn.Dense(3)(MaskedBatchNorm()(hidden, live, True))


NET = Net()


def gradient_and_statistics(variables, batch):
    """Sums over live rows only; adding loss and gradients over devices is the trainer's part."""

    def loss(params):
        y, changed = NET.apply(
            {**variables, "params": params}, batch["x"], batch["live"], mutable=["batch_stats"]
        )
        return jnp.sum(jnp.where(batch["live"][:, None], (y - batch["y"]) ** 2, 0)), changed

    (value, changed), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    return {
        **sum_over_devices({"loss": value, "gradient": gradient}),
        "statistics": changed["batch_stats"],
    }


def on_devices(variables, batch):
    with device_axis("device"):
        return gradient_and_statistics(variables, batch)


def live_masks():
    rng = np.random.default_rng(1)
    ragged = rng.random((DEVICES, ROWS)) < np.linspace(0, 1, DEVICES)[:, None]
    one = np.zeros((DEVICES, ROWS), bool)
    one[5, 2] = True
    return {
        "full": np.ones((DEVICES, ROWS), bool),
        "ragged": ragged,
        "one": one,
        "none": np.zeros_like(one),
    }


def difference(a, b):
    """Largest absolute difference over the largest entry of b, over all leaves together."""
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (a, b)]
    assert all(np.isfinite(f).all() for f in flat)
    return float(np.abs(flat[0] - flat[1]).max() / max(np.abs(flat[1]).max(), 1e-30))


def main():
    assert jax.device_count() == DEVICES
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, (DEVICES, ROWS, INPUTS)).astype(np.float32)
    y = rng.normal(size=(DEVICES, ROWS, 3)).astype(np.float32)
    variables = NET.init(jax.random.key(0), jnp.asarray(x[0]), jnp.ones(ROWS, bool))
    variables = jax.tree.map(
        lambda a: a + 0.1 * jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), variables
    )
    many = jax.pmap(on_devices, axis_name="device", in_axes=(None, 0), out_axes=None)
    one = jax.jit(gradient_and_statistics)
    out = {}
    for name, live in live_masks().items():
        batch = {"x": x, "y": y, "live": live}
        apart = jax.block_until_ready(many(variables, batch))
        together = one(variables, jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), batch))
        removed = one(variables, {key: value[live] for key, value in batch.items()})
        out[name] = {part: difference(apart[part], together[part]) for part in together}
        out[name] |= {
            f"{part}, padding removed": difference(apart[part], removed[part]) for part in removed
        }
        out[name]["loss on one device"] = float(together["loss"])
    print(json.dumps(out))


if __name__ == "__main__":
    main()
