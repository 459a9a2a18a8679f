"""Tiny networks and batches for the tests of PertVAE."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from omics_jax.systems.pertvae import model
from omics_jax.systems.pertvae.network import Network

GENES, PLATFORMS = 5, 2


def settings(**changes) -> ConfigDict:
    """`config.model` of a network small enough for finite differences."""
    sizes = dict(encoder=(6,), decoder=(6,), latent=3, context=2, flow_steps=2, flow_hidden=6)
    bound = dict(free_bits=0.0, free_bits_mode="batch", l2=0.05, input_noise=0.0, draws=8)
    config = ConfigDict(dict(posterior="iaf", **sizes, **bound))
    config.update(changes)
    return config


def slot(
    first: int, n: int, *, pairs: bool, genes: int = GENES, seed: int = 0, missing: float = 0.0
):
    """n rows with ids first, first + 1, ..., all live."""
    rng = np.random.default_rng([seed, first])
    draw = lambda: jnp.asarray(rng.normal(7, 1.5, (n, genes)), jnp.float32)
    seen = lambda: jnp.asarray(rng.random((n, genes)) >= missing)
    rows = {
        "x1": draw(),
        "m1": seen(),
        "platform": jnp.asarray(np.arange(n) % PLATFORMS, jnp.int32),
    }
    rows |= {"row": jnp.arange(first, first + n, dtype=jnp.int32), "live": jnp.ones(n, bool)}
    return rows | {"x2": draw(), "m2": seen()} if pairs else rows


def batch(pairs: int = 4, singletons: int = 3, **kind):
    """Both slots."""
    return {
        "pairs": slot(0, pairs, pairs=True, **kind),
        "singletons": slot(100, singletons, pairs=False, **kind),
    }


def constants(genes: int = GENES):
    """Means near 7 and s.d. near 1.5, of each platform its own; values up to 100 are plausible."""
    rng = np.random.default_rng(9)
    shape = (PLATFORMS, genes)
    return {
        "mean": jnp.asarray(rng.normal(7, 0.3, shape), jnp.float32),
        "sd": jnp.asarray(rng.uniform(1, 2, shape), jnp.float32),
        **{"low": jnp.full(shape, 3.0), "high": jnp.full(shape, 11.0)},
        **{"far_low": jnp.full(shape, -100.0), "far_high": jnp.full(shape, 100.0)},
    }


PROGRAMS = {}


def program(name, network, function):
    """The compiled function; one for all tests that ask for this name of an equal network."""
    return PROGRAMS.setdefault((name, repr(network)), jax.jit(function))


def started(config, rows, scale: float = 0.3, seed: int = 0):
    """(network, variables): initialised on the rows, then shaken so that no parameter sits at a
    special value.
    """
    genes = rows["singletons"]["x1"].shape[1]
    network = Network(config, genes)
    variables = jax.jit(lambda key: model.init(network, key, rows, constants(genes)))(
        jax.random.key(seed)
    )
    rng = np.random.default_rng(seed)
    shake = lambda leaf: jnp.asarray(leaf + scale * rng.standard_normal(leaf.shape), jnp.float32)
    return network, {
        "params": jax.tree.map(shake, variables["params"]),
        "batch_stats": {},
        "constants": constants(genes),
    }
