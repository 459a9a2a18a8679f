"""PertVAE (Rampasek, Hidru, Smirnov, Haibe-Kains & Goldenberg): network, bound and predictions.

A cell line's expression before (x1) and after (x2) a drug is explained by latent states z1 and z2;
the drug acts on the latent state as a linear function that starts as the identity. Equation numbers
are the paper's.

    p(x1, x2, z1, z2) = p(x1|z1) p(x2|z2) p(z2|z1) p(z1)                                     (1)
    p(z1) = N(0, I)                                                                          (2)
    p(z2|z1) = N(z1 + W z1 + b, exp f(z1))                                                   (3, 5)
    p(xk|zk) = N(f(zk), exp f(zk)), one decoder for k = 1, 2                                 (4)
    q(z1, z2|x1, x2) = q(z1|x1) q(z2|x2), one encoder, two gated autoregressive steps        (6, 8)

A singleton has x1 alone and contributes L_S(x1); a pair contributes (12)

    L_P = L_S(x1) + E_q[log p(x2|z2)] - KL(q(z2|x2) || p(z2|z1)),
    L_S = E_q[log p(x1|z1)] - KL(q(z1|x1) || p(z1)).

Deviates: genes are standardised by constants of the training rows (the paper names no scale), and
log s.d. are clipped to [-6, 3], so that one gene known too well cannot overflow a density.
The network itself is in `network`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from ml_collections import ConfigDict

from omics_jax.nn.gaussians import free_bits, kl, kl_to_standard, log_density
from omics_jax.nn.noise import row_normal
from omics_jax.systems.pertvae.network import Gaussian, Latent, Network, Posterior, Profile
from omics_jax.training.stage import Batch, Stage, Term, Terms, Variables
from omics_jax.training.stage_builder import build_stage

Rows = Mapping[str, Array]  # x1, m1, platform, of pairs x2, m2, and in training row, live; (n, ...)
Constants = Mapping[str, Array]  # see `experiments.constants_of`; each (platforms, genes)
Side = tuple[Latent, Profile, Profile]  # z, mean and log s.d. of x; (draws, n, ...)


def standardize(
    constants: Constants,
    x: Profile,
    mask: Bool[Array, "*n genes"],
    platform: Int[Array, "*n"],
) -> Profile:
    """Rows on their platform's scale, 0 where unobserved; as `data.preprocessing.standardize`.

    A value that cannot be (`data.dataset.quality`) counts as the nearest end of the training range.
    """
    mean, sd = _scale(constants, platform)
    is_far = (x < constants["far_low"][platform]) | (x > constants["far_high"][platform])
    inside = jnp.clip(x, constants["low"][platform], constants["high"][platform])
    x = jnp.where(is_far, inside, x)
    return jnp.where(mask, (x - mean) / sd, 0)


def unstandardize(constants: Constants, x: Profile, platform: Int[Array, "*n"]) -> Profile:
    """The inverse: expression in the units of the input."""
    mean, sd = _scale(constants, platform)
    return x * sd + mean


def _scale(constants: Constants, platform: Int[Array, "*n"]) -> tuple[Profile, Profile]:
    """Mean and s.d. of every gene on the platform of each row."""
    mean, sd = constants["mean"], constants["sd"]
    return mean[platform], sd[platform]


# --- training -------------------------------------------------------------------------------------


def init(network: Network, key: PRNGKeyArray, batch: Batch, constants: Constants) -> Variables:
    """Parameters by data-dependent initialisation on all profiles of the batch, x1 and x2.

    x1 alone would not do. Where controls are few or alike (the mean of one plate's wells) they
    hardly vary, and gains that give them unit variance blow up every x2 and every other x1.
    """
    x = _controls(batch, constants)
    if "pairs" in batch:
        x = jnp.concatenate([x, _treated(batch["pairs"], constants)])
    # The training step names a row that is not finite; gains that are not would hide it.
    x = jnp.where(jnp.isfinite(x), x, 0)
    noise = jax.random.normal(jax.random.fold_in(key, 1), (len(x), network.config.latent))
    made = network.init(key, x, noise)
    return {"params": made["params"], "batch_stats": {}}


def loss(
    network: Network, variables: Variables, batch: Batch, key: PRNGKeyArray
) -> tuple[Terms, dict]:
    """The terms of the bound, equations (10) to (12), by one draw per profile.

    Returns:
      log_px1, log_px2: sums over rows, weights rows. kl_z1, kl_z2: per latent dimension ("batch"
      free bits) or already bounded per row ("example"). l2: |W|^2 + |b|^2.
    """
    config, constants = network.config, variables["constants"]
    if "pairs" in batch:
        pairs = batch["pairs"]
    else:
        pairs = _no_pairs(batch["singletons"])
    x1 = _controls(batch, constants)
    x2 = _treated(pairs, constants)
    n1 = len(x1)
    row1, row2 = _joined(batch, "row"), pairs["row"]

    def noise(key1: int, key2: int, width: int) -> Float[Array, "n d"]:
        of_x1 = row_normal(jax.random.fold_in(key, key1), row1, (width,))
        of_x2 = row_normal(jax.random.fold_in(key, key2), row2, (width,))
        return jnp.concatenate([of_x1, of_x2])

    # One pass through encoder and decoder for both sides: x2 is encoded only where it exists.
    x = jnp.concatenate([x1, x2])
    seen = x
    if config.input_noise:
        input_noise = noise(3, 4, network.genes)
        seen = x + config.input_noise * input_noise
    apply = _method_of(network, variables)
    encoded = apply("encode", seen)
    q = apply("draw", encoded, noise(1, 2, config.latent))
    q1 = jax.tree.map(lambda a: a[:n1], q)
    q2 = jax.tree.map(lambda a: a[n1:], q)
    prior2 = apply("effect", q1.z[: len(x2)])
    mean, log_sd = apply("decode", q.z)
    observed = jnp.concatenate([_joined(batch, "m1"), pairs["m2"]])
    log_px = _log_likelihood(x, observed, mean, log_sd)
    kl1, kl2 = _divergences(config, q1, q2, prior2)
    drug = variables["params"]
    W, b = drug["W"], drug["b"]
    l2 = jnp.sum(W**2) + jnp.sum(b**2)
    live1, live2 = _joined(batch, "live"), pairs["live"]
    terms = {
        "log_px1": _over_rows(log_px[:n1], live1),
        "log_px2": _over_rows(log_px[n1:], live2),
        "kl_z1": _over_rows(kl1, live1),
        "kl_z2": _over_rows(kl2, live2),
        "l2": Term(l2, jnp.float32(1)),
    }
    return terms, {}


def _divergences(
    config: ConfigDict, q1: Posterior, q2: Posterior, prior2: Gaussian
) -> tuple[Array, Array]:
    """KL(q(z1|x1) || p(z1)) and KL(q(z2|x2) || p(z2|z1)) of every row and latent dimension.

    In mode "example" they are summed over the dimensions and bounded.
    """
    if config.posterior == "iaf":  # Monte Carlo, with the same z1 in both
        kl1 = q1.log_q - log_density(q1.z, 0.0, 0.0)
        kl2 = q2.log_q - log_density(q2.z, *prior2)
    else:
        kl1 = kl_to_standard(q1.mean, q1.log_sd)
        kl2 = kl(q2.mean, q2.log_sd, *prior2)
    if config.free_bits_mode == "example":
        kl1 = jnp.maximum(jnp.sum(kl1, axis=1), config.free_bits)
        kl2 = jnp.maximum(jnp.sum(kl2, axis=1), config.free_bits)
    return kl1, kl2


def objective(config: ConfigDict, terms: Terms) -> Float[Array, ""]:
    """Minus the bound per row, with free bits and the L2 penalty.

    (-E log p(x1|z1) - E log p(x2|z2) + n1 sum_d max(lambda, KL1_d) + n2 sum_d max(lambda, KL2_d)) /
    n1
        + l2 (|W|^2 + |b|^2)
    with KL_d means over the batch of all devices: over all rows for z1, over pairs for z2. In mode
    "example" the bound was taken per row and total (the released code), and the sums are added as
    they are.
    """

    def bounded(term: Term) -> Float[Array, ""]:
        if config.free_bits_mode == "batch":
            return term.weight * free_bits(term.mean, config.free_bits)
        return term.sum

    log_px1, log_px2 = terms["log_px1"], terms["log_px2"]
    kl1 = bounded(terms["kl_z1"])
    kl2 = bounded(terms["kl_z2"])
    total = -log_px1.sum - log_px2.sum + kl1 + kl2
    rows = jnp.maximum(log_px1.weight, 1)
    penalty = config.l2 * terms["l2"].mean
    return total / rows + penalty


def monitor(network: Network, draws: int, variables: Variables, batch: Batch) -> Float[Array, ""]:
    """The perturbation loss of the validation pairs: the mean of -log p(x2|x1), by fixed draws.

    p(x2|x1) = E_{q(z1|x1) p(z2|z1)} p(x2|z2), a mean over `draws` fixed draws; nats per pair, in
    standardised units.
    """
    pairs, constants = batch["pairs"], variables["constants"]
    _, treated = _predictive(network, draws, variables, pairs)
    _, mean, log_sd = treated
    by_draw = _log_likelihood(_treated(pairs, constants), pairs["m2"], mean, log_sd)
    log_p = jax.nn.logsumexp(by_draw, axis=0) - jnp.log(draws)
    return -_over_rows(log_p, pairs["live"]).mean


def reconstruction_monitor(
    network: Network, draws: int, variables: Variables, batch: Batch
) -> Float[Array, ""]:
    """The mean of -E_q log p(x1|z1) over validation profiles, by fixed draws; nats per profile."""
    rows, constants = batch["singletons"], variables["constants"]
    control, _ = _predictive(network, draws, variables, rows)
    _, mean, log_sd = control
    by_draw = _log_likelihood(_control(rows, constants), rows["m1"], mean, log_sd)
    log_p = jnp.mean(by_draw, axis=0)
    return -_over_rows(log_p, rows["live"]).mean


def stages(
    network: Network, config: ConfigDict, rows: Mapping[str, int], batch_size: Mapping[str, int]
) -> tuple[Stage, ...]:
    """The paper's single stage: the bound over pairs and singletons, stopped on perturbation loss.

    Without a slot of pairs it is the plain VAE of figure 2, stopped on the reconstruction of
    validation profiles.

    config: of the run. rows: slot -> the most training rows of a replicate.
    batch_size: slot -> the most rows of a step.
    """
    training = config.training
    watched = monitor if "pairs" in batch_size else reconstruction_monitor
    stage = build_stage(
        "elbo",
        loss=partial(loss, network),
        objective=partial(objective, network.config),
        rows=rows,
        batch_size=batch_size,
        epochs=training.epochs,
        optimizer_settings=config.optimizer.to_dict(),
        monitor=partial(watched, network, training.monitor_draws),
        patience=training.patience,
        monitor_every=training.monitor_every,
    )
    return (stage,)


# --- predictions ----------------------------------------------------------------------------------


def predict(network: Network, draws: int, variables: Variables, rows: Rows) -> dict[str, Array]:
    """The post-treatment profile of each row from its x1, averaged over `draws` fixed draws.

    All rows share the draws.

    Returns (input units where x): x2_mean, x2_sd (n, genes), the s.d. of the predictive mixture;
    x1_reconstruction (n, genes), the mean of p(x1|z1) under q(z1|x1); z1, z2 (n, latent), posterior
    and predicted means, whose difference is the latent shift.
    """
    constants, platform = variables["constants"], rows["platform"]
    control, treated = _predictive(network, draws, variables, rows)
    z1, x1_mean, _ = control
    z2, x2_mean, x2_log_sd = treated
    within_draws = jnp.mean(jnp.exp(2 * x2_log_sd), axis=0)
    x2_sd = jnp.sqrt(within_draws + jnp.var(x2_mean, axis=0))
    reconstruction = jnp.mean(x1_mean, axis=0)
    return {
        "x2_mean": unstandardize(constants, jnp.mean(x2_mean, axis=0), platform),
        "x2_sd": x2_sd * constants["sd"][platform],
        "x1_reconstruction": unstandardize(constants, reconstruction, platform),
        "z1": jnp.mean(z1, axis=0),
        "z2": jnp.mean(z2, axis=0),
    }


def reconstruct(network: Network, draws: int, variables: Variables, rows: Rows) -> dict[str, Array]:
    """x1_reconstruction (n, genes), in input units, and z1 (n, latent).

    The reconstruction is the mean of p(x1|z1) under q(z1|x1).
    """
    control, _ = _predictive(network, draws, variables, rows)
    z1, x1_mean, _ = control
    reconstruction = jnp.mean(x1_mean, axis=0)
    x1 = unstandardize(variables["constants"], reconstruction, rows["platform"])
    return {"x1_reconstruction": x1, "z1": jnp.mean(z1, axis=0)}


def _predictive(
    network: Network, draws: int, variables: Variables, rows: Rows
) -> tuple[Side, Side]:
    """z and p(x|z) of both sides by draw, from x1 alone.

    The posterior mean of a flow is not the image of its noise's mean, so the means are integrals
    over draws.
    """
    apply = _method_of(network, variables)
    encoded = apply("encode", _control(rows, variables["constants"]))
    shape = (2, -(-draws // 2), network.config.latent)
    half = jax.random.normal(jax.random.key(0), shape)
    antithetic = jnp.concatenate([half, -half], axis=1)  # their own mean is 0
    noise = antithetic[:, :draws]

    def latent_states(
        draw: Float[Array, "2 latent"],
    ) -> Gaussian:
        noise1, noise2 = draw
        noise_of_rows = jnp.broadcast_to(noise1, encoded[0].shape)
        z1 = apply("draw", encoded, noise_of_rows).z
        mean, log_sd = apply("effect", z1)
        return z1, mean + jnp.exp(log_sd) * noise2

    z1, z2 = jax.vmap(latent_states, in_axes=1)(noise)
    control, treated = apply("decode", z1), apply("decode", z2)
    return (z1, *control), (z2, *treated)


# --- rows of both slots ---------------------------------------------------------------------------


def _method_of(network: Network, variables: Variables) -> Callable[..., Any]:
    """(name of a method of the network, its arguments) -> what it gives with these parameters."""

    def apply(method: str, *arguments: Any) -> Any:
        return network.apply({"params": variables["params"]}, *arguments, method=method)

    return apply


def _no_pairs(rows: Rows) -> Rows:
    """An empty slot of pairs, with which the bound of singletons alone is the same formula."""
    none = {name: values[:0] for name, values in rows.items()}
    return none | {"x2": none["x1"], "m2": none["m1"]}


def _slots(batch: Batch) -> list[str]:
    return [slot for slot in ("pairs", "singletons") if slot in batch]


def _joined(batch: Batch, field: str) -> Array:
    """The field of the rows of both slots, pairs first."""
    parts = [batch[slot][field] for slot in _slots(batch)]
    return jnp.concatenate(parts)


def _controls(batch: Batch, constants: Constants) -> Profile:
    """x1 of the rows of both slots on their platform's scale."""
    parts = [_control(batch[slot], constants) for slot in _slots(batch)]
    return jnp.concatenate(parts)


def _control(rows: Rows, constants: Constants) -> Profile:
    """x1 of the rows on their platform's scale."""
    return standardize(constants, rows["x1"], rows["m1"], rows["platform"])


def _treated(rows: Rows, constants: Constants) -> Profile:
    """x2 of the rows on their platform's scale."""
    return standardize(constants, rows["x2"], rows["m2"], rows["platform"])


def _log_likelihood(
    x: Profile, observed: Bool[Array, "*n genes"], mean: Array, log_sd: Array
) -> Array:
    """log p(x|z) summed over the observed genes; mean and log_sd may have draws before the rows."""
    by_gene = log_density(x, mean, log_sd)
    return jnp.sum(jnp.where(observed, by_gene, 0), axis=-1)


def _over_rows(values: Float[Array, " n *d"], live: Bool[Array, " n"]) -> Term:
    """Sum over live rows, weighed by their number."""
    axes_after_rows = [1] * (values.ndim - 1)
    keep = live.reshape(-1, *axes_after_rows)
    total = jnp.sum(jnp.where(keep, values, 0), axis=0)
    count = jnp.sum(live)
    return Term(total, count.astype(jnp.float32))
