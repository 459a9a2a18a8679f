"""PertVAE (Rampasek, Hidru, Smirnov, Haibe-Kains & Goldenberg): the network, its bound and its
predictions.

A cell line's expression before (x1) and after (x2) a drug is explained by latent states z1 and z2;
the drug acts on
the latent state as a linear function that starts as the identity. Equation numbers are the paper's.

    p(x1, x2, z1, z2) = p(x1|z1) p(x2|z2) p(z2|z1) p(z1)                                              (1)
    p(z1) = N(0, I)                                                                                   (2)
    p(z2|z1) = N(z1 + W z1 + b, exp f(z1))                                                            (3, 5)
    p(xk|zk) = N(f(zk), exp f(zk)), one decoder for k = 1, 2                                          (4)
    q(z1, z2|x1, x2) = q(z1|x1) q(z2|x2), one encoder, two gated inverse autoregressive steps         (6, 8)

A singleton has x1 alone and contributes L_S(x1); a pair contributes (12)

    L_P = L_S(x1) + E_q[log p(x2|z2)] - KL(q(z2|x2) || p(z2|z1)),
    L_S = E_q[log p(x1|z1)] - KL(q(z1|x1) || p(z1)).

Deviates: genes are standardised by constants of the training rows (the paper says nothing of
scale), and log s.d. are clipped to [-6, 3], so that one gene known too well cannot overflow a
density.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from omics_jax.nn.dense import WeightNormDense
from omics_jax.nn.flows import InverseAutoregressiveFlow
from omics_jax.nn.gaussians import free_bits, kl, kl_to_standard, log_density
from omics_jax.nn.noise import row_normal
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables

LOG_SD_RANGE = (-6.0, 3.0)


class Posterior(NamedTuple):
    """A draw z ~ q(z|x) with its log density per dimension, and the Gaussian it started from; all
    (..., latent).
    """

    z: jax.Array
    log_q: jax.Array
    mean: jax.Array
    log_sd: jax.Array


class Network(nn.Module):
    """Encoder, flow, decoder (ELU, weight normalisation) and the drug's function W, b.

    config: `config.model` of the run; the paper's encoder is 500-300, its decoder 300-500. genes:
      width of x.
    """

    config: Any
    genes: int

    def setup(self):
        c = self.config
        self.encoder = [WeightNormDense(h) for h in c.encoder]
        self.posterior_mean = WeightNormDense(c.latent)
        self.posterior_log_sd = WeightNormDense(c.latent, init_scale=0.1, init_offset=-1.0)
        self.context = WeightNormDense(c.context)
        self.flow = InverseAutoregressiveFlow(steps=c.flow_steps, hidden=c.flow_hidden)
        self.decoder = [WeightNormDense(h) for h in c.decoder]
        self.x_mean = WeightNormDense(self.genes)
        self.x_log_sd = WeightNormDense(self.genes, init_scale=0.1)
        near_zero = lambda key, shape: jax.random.uniform(key, shape, minval=-1e-4, maxval=1e-4)
        self.W = self.param("W", near_zero, (c.latent, c.latent))
        self.b = self.param("b", near_zero, (c.latent,))
        self.effect_log_sd = WeightNormDense(
            c.latent, data_init=False, init_scale=0.1, init_offset=-1.0
        )

    def encode(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """x (n, genes) -> mean, log s.d. (n, latent) and context (n, context)."""
        h = x
        for layer in self.encoder:
            h = nn.elu(layer(h))
        return self.posterior_mean(h), _clip(self.posterior_log_sd(h)), nn.elu(self.context(h))

    def draw(self, encoded: tuple[jax.Array, jax.Array, jax.Array], noise: jax.Array) -> Posterior:
        """z = flow(mean + sd noise); log q(z) = log N(z_0) - sum_t log g_t, per dimension. noise
        (n, latent).
        """
        mean, log_sd, context = encoded
        z = mean + jnp.exp(log_sd) * noise
        log_q = log_density(z, mean, log_sd)
        if self.config.posterior == "iaf":
            z, log_gates = self.flow(z, context)
            log_q = log_q - log_gates
        return Posterior(z, log_q, mean, log_sd)

    def effect(self, z1: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean z1 + W z1 + b and log s.d. of p(z2|z1), each (..., latent)."""
        return z1 + z1 @ self.W.T + self.b, _clip(self.effect_log_sd(z1))

    def decode(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """z (..., latent) -> mean and log s.d. of p(x|z), each (..., genes)."""
        h = z
        for layer in self.decoder:
            h = nn.elu(layer(h))
        return self.x_mean(h), _clip(self.x_log_sd(h))

    def __call__(self, x: jax.Array, noise: jax.Array):
        """Every layer once, for initialisation."""
        posterior = self.draw(self.encode(x), noise)
        return self.effect(posterior.z), self.decode(posterior.z)


def _clip(log_sd: jax.Array) -> jax.Array:
    return jnp.clip(log_sd, *LOG_SD_RANGE)


def standardize(constants, x, mask, platform) -> jax.Array:
    """Rows on their platform's scale, unobserved cells 0; the device's twin of
    `data.preprocessing.standardize`.
    """
    return jnp.where(mask, (x - constants["mean"][platform]) / constants["sd"][platform], 0)


def unstandardize(constants, x, platform) -> jax.Array:
    """The inverse: expression in the units of the input."""
    return x * constants["sd"][platform] + constants["mean"][platform]


def init(network: Network, key: jax.Array, batch: Batch, constants: Variables) -> Variables:
    """Parameters by data-dependent initialisation on the batch's own x1."""
    x1 = _controls(batch, constants)
    noise = jax.random.normal(jax.random.fold_in(key, 1), (len(x1), network.config.latent))
    return {"params": network.init(key, x1, noise)["params"], "batch_stats": {}}


def loss(network: Network, variables: Variables, batch: Batch, key: jax.Array) -> tuple[Terms, Any]:
    """The terms of the bound, equations (10) to (12), by one draw per profile.

    Returns:
      log_px1, log_px2: sums over rows, weights rows. kl_z1, kl_z2: per latent dimension ("batch"
      free bits) or already bounded per row ("example"). l2: |W|^2 + |b|^2.
    """
    c, constants = network.config, variables["constants"]
    apply = lambda method, *a: network.apply({"params": variables["params"]}, *a, method=method)
    pairs = batch["pairs"] if "pairs" in batch else _no_pairs(batch["singletons"])
    x1 = _controls(batch, constants)
    x2 = standardize(constants, pairs["x2"], pairs["m2"], pairs["platform"])
    join = lambda field: jnp.concatenate([batch[slot][field] for slot in _slots(batch)])
    n1, n_pairs, live1, live2 = len(x1), len(x2), join("live"), pairs["live"]
    noise1 = row_normal(jax.random.fold_in(key, 1), join("row"), (c.latent,))
    noise2 = row_normal(jax.random.fold_in(key, 2), pairs["row"], (c.latent,))
    # One pass through encoder and decoder for both sides: x2 is encoded only where it exists.
    x = jnp.concatenate([x1, x2])
    seen = x
    if c.input_noise:
        noise_of = lambda k, rows: row_normal(jax.random.fold_in(key, k), rows, (network.genes,))
        seen = x + c.input_noise * jnp.concatenate(
            [noise_of(3, join("row")), noise_of(4, pairs["row"])]
        )
    q = apply("draw", apply("encode", seen), jnp.concatenate([noise1, noise2]))
    q1, q2 = jax.tree.map(lambda a: a[:n1], q), jax.tree.map(lambda a: a[n1:], q)
    prior2 = apply("effect", q1.z[:n_pairs])
    mean, log_sd = apply("decode", q.z)
    observed = jnp.concatenate([join("m1"), pairs["m2"]])
    log_px = jnp.sum(jnp.where(observed, log_density(x, mean, log_sd), 0), axis=1)
    if c.posterior == "iaf":  # Monte Carlo, with the same z1 in both
        kl1, kl2 = q1.log_q - log_density(q1.z, 0.0, 0.0), q2.log_q - log_density(q2.z, *prior2)
    else:
        kl1, kl2 = kl_to_standard(q1.mean, q1.log_sd), kl(q2.mean, q2.log_sd, *prior2)
    if c.free_bits_mode == "example":
        kl1, kl2 = (jnp.maximum(jnp.sum(k, axis=1), c.free_bits) for k in (kl1, kl2))
    drug = variables["params"]
    terms = {
        "log_px1": _over(log_px[:n1], live1),
        "log_px2": _over(log_px[n1:], live2),
        "kl_z1": _over(kl1, live1),
        "kl_z2": _over(kl2, live2),
        "l2": Term(jnp.sum(drug["W"] ** 2) + jnp.sum(drug["b"] ** 2), jnp.float32(1)),
    }
    return terms, {}


def objective(config: Any, terms: Terms) -> jax.Array:
    """Minus the bound per row, with free bits and the L2 penalty.

    (-E log p(x1|z1) - E log p(x2|z2) + n1 sum_d max(lambda, KL1_d) + n2 sum_d max(lambda, KL2_d)) /
    n1
        + l2 (|W|^2 + |b|^2)
    with KL_d means over the (whole) batch: over all rows for z1, over pairs for z2. In mode
    "example" the bound was taken per row and total (the released code), and the sums are added as
    they are.
    """
    if config.free_bits_mode == "batch":
        bounded = lambda t: t.weight * free_bits(t.mean, config.free_bits)
    else:
        bounded = lambda t: t.sum
    total = (
        -terms["log_px1"].sum
        - terms["log_px2"].sum
        + bounded(terms["kl_z1"])
        + bounded(terms["kl_z2"])
    )
    return total / jnp.maximum(terms["log_px1"].weight, 1) + config.l2 * terms["l2"].mean


def monitor(network: Network, draws: int, variables: Variables, batch: Batch) -> jax.Array:
    """The perturbation loss of the validation pairs: the mean of -log p(x2|x1), by fixed draws.

    p(x2|x1) = E_{q(z1|x1) p(z2|z1)} p(x2|z2), a mean over `draws` fixed draws; nats per pair, in
    standardised units.
    """
    pairs, constants = batch["pairs"], variables["constants"]
    _, (_, mean, log_sd) = _predictive(network, draws, variables, pairs)
    x2 = standardize(constants, pairs["x2"], pairs["m2"], pairs["platform"])
    per_draw = jnp.sum(jnp.where(pairs["m2"], log_density(x2, mean, log_sd), 0), axis=-1)
    log_p = jax.nn.logsumexp(per_draw, axis=0) - jnp.log(draws)
    return -_over(log_p, pairs["live"]).mean


def predict(network: Network, draws: int, variables: Variables, batch) -> dict[str, jax.Array]:
    """The post-treatment profile of each row from its x1, integrated over `draws` fixed draws
    shared by all rows.

    Returns (input units where x): x2_mean, x2_sd (n, genes), the s.d. of the predictive mixture;
    x1_reconstruction
    (n, genes), the mean of p(x1|z1) under q(z1|x1); z1, z2 (n, latent), posterior and predicted
    means, whose difference is the latent shift.
    """
    constants, platform = variables["constants"], batch["platform"]
    (z1, x1_mean, _), (z2, x2_mean, x2_log_sd) = _predictive(network, draws, variables, batch)
    variance = jnp.mean(jnp.exp(2 * x2_log_sd), axis=0) + jnp.var(x2_mean, axis=0)
    return {
        "x2_mean": unstandardize(constants, jnp.mean(x2_mean, axis=0), platform),
        "x2_sd": jnp.sqrt(variance) * constants["sd"][platform],
        "x1_reconstruction": unstandardize(constants, jnp.mean(x1_mean, axis=0), platform),
        "z1": jnp.mean(z1, axis=0),
        "z2": jnp.mean(z2, axis=0),
    }


def reconstruct(network: Network, draws: int, variables: Variables, batch) -> dict[str, jax.Array]:
    """x1_reconstruction (n, genes) in input units, the mean of p(x1|z1) under q(z1|x1), and z1 (n,
    latent).
    """
    (z1, x1_mean, _), _ = _predictive(network, draws, variables, batch)
    x1 = unstandardize(variables["constants"], jnp.mean(x1_mean, axis=0), batch["platform"])
    return {"x1_reconstruction": x1, "z1": jnp.mean(z1, axis=0)}


def _predictive(network: Network, draws: int, variables: Variables, rows):
    """(z, mean and log s.d. of x) of both sides, each (draws, n, ...), from x1 alone.

    The posterior mean of a flow is not the image of its noise's mean, so the means are integrals
    over draws.
    """
    apply = lambda method, *a: network.apply({"params": variables["params"]}, *a, method=method)
    x1 = standardize(variables["constants"], rows["x1"], rows["m1"], rows["platform"])
    encoded = apply("encode", x1)
    half = jax.random.normal(jax.random.key(0), (2, -(-draws // 2), network.config.latent))
    noise = jnp.concatenate([half, -half], axis=1)[:, :draws]  # antithetic: their own mean is 0

    def one(draw):
        z1 = apply("draw", encoded, jnp.broadcast_to(draw[0], encoded[0].shape)).z
        mean, log_sd = apply("effect", z1)
        return z1, mean + jnp.exp(log_sd) * draw[1]

    z1, z2 = jax.vmap(one, in_axes=1)(noise)
    return (z1, *apply("decode", z1)), (z2, *apply("decode", z2))


def reconstruction_monitor(
    network: Network, draws: int, variables: Variables, batch: Batch
) -> jax.Array:
    """The mean of -E_q log p(x1|z1) over validation profiles, by fixed draws; nats per profile."""
    rows, constants = batch["singletons"], variables["constants"]
    (_, mean, log_sd), _ = _predictive(network, draws, variables, rows)
    x1 = standardize(constants, rows["x1"], rows["m1"], rows["platform"])
    log_p = jnp.mean(
        jnp.sum(jnp.where(rows["m1"], log_density(x1, mean, log_sd), 0), axis=-1), axis=0
    )
    return -_over(log_p, rows["live"]).mean


def stages(
    network: Network,
    optimizer: optax.GradientTransformation,
    training: Any,
    batch_size: Mapping[str, int],
) -> tuple[Stage, ...]:
    """The single stage of the paper: the bound over pairs and singletons, stopped on the
    perturbation loss.

    Without a slot of pairs it is the plain VAE of figure 2, stopped on the reconstruction of
    validation profiles.
    """
    watch = monitor if "pairs" in batch_size else reconstruction_monitor
    stage = Stage(
        name="elbo",
        loss=lambda variables, batch, key: loss(network, variables, batch, key),
        objective=lambda terms: objective(network.config, terms),
        optimizer=optimizer,
        epochs=training.epochs,
        batch_size=batch_size,
        monitor=lambda variables, batch: watch(network, training.monitor_draws, variables, batch),
        patience=training.patience,
        monitor_every=training.monitor_every,
    )
    return (stage,)


def _no_pairs(rows):
    """An empty slot of pairs, so that the bound of singletons alone is the same formula with no
    pair in it.
    """
    none = {name: values[:0] for name, values in rows.items()}
    return {**none, "x2": none["x1"], "m2": none["m1"]}


def _slots(batch: Batch) -> list[str]:
    return [slot for slot in ("pairs", "singletons") if slot in batch]


def _controls(batch: Batch, constants) -> jax.Array:
    parts = [
        standardize(constants, batch[s]["x1"], batch[s]["m1"], batch[s]["platform"])
        for s in _slots(batch)
    ]
    return jnp.concatenate(parts)


def _over(values: jax.Array, live: jax.Array) -> Term:
    """Sum over live rows, weighed by their number."""
    keep = live.reshape(-1, *[1] * (values.ndim - 1))
    return Term(jnp.sum(jnp.where(keep, values, 0), axis=0), jnp.sum(live).astype(jnp.float32))
