"""PertVAE's network: encoder, flow, decoder and the drug's function on the latent state.

The equations are in `model`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from omics_jax.nn.dense import WeightNormDense
from omics_jax.nn.flows import InverseAutoregressiveFlow
from omics_jax.nn.gaussians import log_density

LOG_SD_RANGE = (-6.0, 3.0)

Profile = Float[Array, "*n genes"]  # expression, or its s.d., on the training scale
Latent = Float[Array, "*n latent"]
Gaussian = tuple[Array, Array]  # mean and log s.d., of one shape
Encoded = tuple[Latent, Latent, Float[Array, "*n context"]]  # mean, log s.d. and context of q(z|x)


class Posterior(NamedTuple):
    """A draw z ~ q(z|x) with its log density per dimension, and the Gaussian it started from."""

    z: Latent
    log_q: Latent
    mean: Latent
    log_sd: Latent


class Network(nn.Module):
    """Encoder, flow, decoder (ELU, weight normalisation) and the drug's function W, b.

    config: `config.model` of the run; the paper's encoder is 500-300, its decoder 300-500. genes:
    width of x.
    """

    config: Any
    genes: int

    def setup(self) -> None:
        c = self.config
        self.encoder = [WeightNormDense(h) for h in c.encoder]
        self.posterior_mean = WeightNormDense(c.latent)
        self.posterior_log_sd = WeightNormDense(c.latent, init_scale=0.1, init_offset=-1.0)
        self.context = WeightNormDense(c.context)
        self.flow = InverseAutoregressiveFlow(steps=c.flow_steps, hidden=c.flow_hidden)
        self.decoder = [WeightNormDense(h) for h in c.decoder]
        self.x_mean = WeightNormDense(self.genes)
        self.x_log_sd = WeightNormDense(self.genes, init_scale=0.1)
        self.W = self.param("W", _near_zero, (c.latent, c.latent))
        self.b = self.param("b", _near_zero, (c.latent,))
        self.effect_log_sd = WeightNormDense(
            c.latent, data_init=False, init_scale=0.1, init_offset=-1.0
        )

    def encode(self, x: Profile) -> Encoded:
        """Mean and log s.d. of z, and the context of the flow."""
        h = x
        for layer in self.encoder:
            h = nn.elu(layer(h))
        return self.posterior_mean(h), _clip(self.posterior_log_sd(h)), nn.elu(self.context(h))

    def draw(self, encoded: Encoded, noise: Latent) -> Posterior:
        """z = flow(mean + sd noise); log q(z) = log N(z_0) - sum_t log g_t, per dimension."""
        mean, log_sd, context = encoded
        z = mean + jnp.exp(log_sd) * noise
        log_q = log_density(z, mean, log_sd)
        if self.config.posterior == "iaf":
            z, log_gates = self.flow(z, context)
            log_q = log_q - log_gates
        return Posterior(z, log_q, mean, log_sd)

    def effect(self, z1: Latent) -> Gaussian:
        """Mean z1 + W z1 + b and log s.d. of p(z2|z1)."""
        return z1 + z1 @ self.W.T + self.b, _clip(self.effect_log_sd(z1))

    def decode(self, z: Latent) -> Gaussian:
        """Mean and log s.d. of p(x|z)."""
        h = z
        for layer in self.decoder:
            h = nn.elu(layer(h))
        return self.x_mean(h), _clip(self.x_log_sd(h))

    def __call__(self, x: Profile, noise: Latent) -> tuple[Gaussian, Gaussian]:
        """Every layer once, for initialisation."""
        posterior = self.draw(self.encode(x), noise)
        return self.effect(posterior.z), self.decode(posterior.z)


def _near_zero(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1e-4, maxval=1e-4)


def _clip(log_sd: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    return jnp.clip(log_sd, *LOG_SD_RANGE)
