"""PertVAE's network, bound and predictions against closed forms, finite differences and brute
force.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pertvae_rows import GENES, batch, constants, program, settings, slot, started
from scipy.stats import norm

from omics_jax.systems.pertvae import model
from omics_jax.systems.pertvae.network import Network
from omics_jax.training.stage import Term

KEY = jax.random.key(3)


def total(config, network, variables, rows, key=KEY):
    terms, _ = model.loss(network, variables, rows, key)
    return model.objective(config, terms)


def terms_of(network, variables, rows):
    run = program("terms", network, lambda v, r: model.loss(network, v, r, KEY)[0])
    return run(variables, rows)


def predicted(network, draws, variables, rows):
    run = program(f"predict {draws}", network, lambda v, r: model.predict(network, draws, v, r))
    return run(variables, rows)


def apply(network, variables, method, *arguments):
    def call(params, *arguments):
        return network.apply({"params": params}, *arguments, method=method)

    return program(method, network, call)(variables["params"], *arguments)


# The network


def test_number_of_parameters_of_the_paper():
    config = settings(
        encoder=(500, 300), decoder=(300, 500), latent=100, context=200, flow_hidden=300
    )
    network = Network(config, 903)
    made = jax.eval_shape(network.init, KEY, jnp.zeros((2, 903)), jnp.zeros((2, 100)))
    layer = lambda inputs, outputs: inputs * outputs + outputs
    encoder = layer(903, 500) + layer(500, 300) + 2 * layer(300, 100) + layer(300, 200)
    flow = 2 * (layer(100 + 200, 300) + 2 * layer(300, 100))
    decoder = layer(100, 300) + layer(300, 500) + 2 * layer(500, 903)
    drug = layer(100, 100) + layer(100, 100)  # W and b; the s.d. of p(z2|z1)
    gains = (500 + 300 + 100 + 100 + 200) + 2 * (300 + 100 + 100) + (300 + 500 + 903 + 903) + 100
    assert encoder + flow + decoder + drug == 2_129_506  # "2.13 M"
    assert sum(leaf.size for leaf in jax.tree.leaves(made)) == 2_129_506 + gains == 2_134_412


@pytest.mark.slow
def test_the_drug_starts_as_no_drug():
    rows = batch(pairs=8, singletons=8)
    network, variables = started(settings(), rows, scale=0.0)
    z = jax.random.normal(KEY, (50, 3))
    mean, _ = apply(network, variables, "effect", z)
    assert float(jnp.abs(mean - z).max()) < 1e-2
    found = predicted(network, 256, variables, rows["pairs"])
    np.testing.assert_allclose(found["z2"], found["z1"], atol=1e-2)
    # z2 has the spread of p(z2|z1) besides, so the means agree to a tenth of a gene's s.d. and not
    # to rounding.
    assert float(jnp.abs(found["x2_mean"] - found["x1_reconstruction"]).mean()) < 0.15


def test_effect_is_the_affine_map_of_equation_5():
    network, variables = started(settings(), batch())
    z = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    W, b = (np.asarray(variables["params"][k]) for k in "Wb")
    expected = np.stack([row + W @ row + b for row in z])
    np.testing.assert_allclose(
        apply(network, variables, "effect", z)[0], expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_log_q_is_that_of_the_noise_minus_the_log_determinant(steps):
    network, variables = started(settings(latent=4, flow_steps=steps), batch())
    encoded = apply(network, variables, "encode", jax.random.normal(KEY, (1, GENES)))
    noise = jax.random.normal(jax.random.key(5), (1, 4))
    draw = lambda e: apply(network, variables, "draw", encoded, e)
    jacobian = jax.jacfwd(lambda e: draw(e[None]).z[0])(noise[0])
    expected = norm.logpdf(noise).sum() - np.linalg.slogdet(np.asarray(jacobian, np.float64))[1]
    assert float(draw(noise).log_q.sum()) == pytest.approx(expected, abs=1e-4)


# The bound


def linear_1d(posterior):
    """One gene, one latent dimension, no hidden layer: every distribution is a Gaussian one can
    write down.
    """
    config = settings(
        encoder=(), decoder=(), latent=1, context=1, posterior=posterior, flow_steps=0
    )
    line = lambda slope, offset: {
        "direction": jnp.ones((1, 1)), "gain": jnp.array([slope]), "bias": jnp.array([offset])
    }  # fmt: skip
    params = {
        "posterior_mean": line(0.7, 0.1),
        "posterior_log_sd": line(0.2, -0.8),
        "context": line(1.0, 0.0),
        "x_mean": line(1.3, -0.2),
        "x_log_sd": line(0.1, -0.5),
        "effect_log_sd": line(-0.3, -1.0),
        "W": jnp.array([[0.4]]),
        "b": jnp.array([0.6]),
    }
    unit = constants(1) | {"mean": jnp.zeros((2, 1)), "sd": jnp.ones((2, 1))}
    return (
        config,
        Network(config, 1),
        {"params": params, "batch_stats": {}, "constants": unit},
    )


def by_hand_1d(posterior, x1, x2, e1, e2):
    """(L_S, the bracket of the pair bound) in numpy, with the parameters of `linear_1d`."""

    def kl(mean, sd, prior_mean, prior_sd, z):
        if posterior == "iaf":
            return norm.logpdf(z, mean, sd) - norm.logpdf(z, prior_mean, prior_sd)
        return np.log(prior_sd / sd) + (sd**2 + (mean - prior_mean) ** 2) / (2 * prior_sd**2) - 0.5

    def code(x, noise):
        mean, sd = 0.7 * x + 0.1, np.exp(0.2 * x - 0.8)
        return mean, sd, mean + sd * noise

    log_px = lambda x, z: norm.logpdf(x, 1.3 * z - 0.2, np.exp(0.1 * z - 0.5))
    (m1, s1, z1), (m2, s2, z2) = code(x1, e1), code(x2, e2)
    single = log_px(x1, z1) - kl(m1, s1, 0.0, 1.0, z1)
    return single, log_px(x2, z2) - kl(m2, s2, z1 + 0.4 * z1 + 0.6, np.exp(-0.3 * z1 - 1.0), z2)


@pytest.mark.slow
@pytest.mark.parametrize("posterior", ["iaf", "gaussian"])
@pytest.mark.parametrize("pairs", [4, 1])
def test_the_bound_is_the_hand_made_one(posterior, pairs):
    from omics_jax.nn.noise import row_normal

    config, network, variables = linear_1d(posterior)
    rows = batch(pairs=pairs, singletons=3, genes=1)
    rows = {
        name: {k: v - 7 if k in ("x1", "x2") else v for k, v in r.items()}
        for name, r in rows.items()
    }
    noise = lambda fold, name: np.asarray(
        row_normal(jax.random.fold_in(KEY, fold), rows[name]["row"], (1,))
    )[:, 0]
    x = lambda field, name: np.asarray(rows[name][field])[:, 0]
    pair_single, bracket = by_hand_1d(
        posterior, x("x1", "pairs"), x("x2", "pairs"), noise(1, "pairs"), noise(2, "pairs")
    )
    alone, _ = by_hand_1d(posterior, x("x1", "singletons"), 0.0, noise(1, "singletons"), 0.0)
    penalty = config.l2 * (0.4**2 + 0.6**2)
    expected = -(pair_single.sum() + bracket.sum() + alone.sum()) / (pairs + 3) + penalty
    # Free bits of 0 bind where a Monte Carlo mean is negative, so the bound is put together from
    # its terms.
    terms = terms_of(network, variables, rows)
    bound = (
        terms["log_px1"].sum
        + terms["log_px2"].sum
        - terms["kl_z1"].sum.sum()
        - terms["kl_z2"].sum.sum()
    )
    assert float(-bound / (pairs + 3) + penalty) == pytest.approx(expected, rel=2e-5)
    if all((terms[k].mean > 0).all() for k in ("kl_z1", "kl_z2")):
        assert float(model.objective(config, terms)) == pytest.approx(expected, rel=2e-5)
    # L_S is what remains without pairs.
    terms = terms_of(network, variables, {"singletons": rows["singletons"]})
    assert float(terms["log_px1"].sum - terms["kl_z1"].sum.sum()) == pytest.approx(
        alone.sum(), rel=2e-5
    )
    assert float(terms["log_px2"].sum) == 0 and float(terms["kl_z2"].weight) == 0


def test_objective_by_hand():
    config = settings(free_bits=0.5, l2=0.1)
    term = lambda sums, weight: Term(jnp.asarray(sums, jnp.float32), jnp.float32(weight))
    terms = {
        "log_px1": term(-30.0, 10), "log_px2": term(-8.0, 4), "kl_z1": term([20.0, 2.0], 10),
        "kl_z2": term([1.0, 6.0], 4), "l2": term(3.0, 1),
    }  # fmt: skip
    expected = (30 + 8 + 10 * (2.0 + 0.5) + 4 * (0.5 + 1.5)) / 10 + 0.1 * 3
    assert float(model.objective(config, terms)) == pytest.approx(expected, rel=1e-6)
    config.free_bits_mode = "example"
    summed = terms | {"kl_z1": term(22.0, 10), "kl_z2": term(7.0, 4)}
    assert float(model.objective(config, summed)) == pytest.approx(
        (30 + 8 + 22 + 7) / 10 + 0.3, rel=1e-6
    )


@pytest.mark.slow
def test_free_bits_bound_the_divergence_from_below_and_cut_its_gradient():
    rows, most = batch(), 50.0  # far above any divergence of this network
    config = settings(free_bits=most)
    network, variables = started(config, rows)
    terms = terms_of(network, variables, rows)
    n1, n2, latent = 7, 4, 3
    reconstruction = -(terms["log_px1"].sum + terms["log_px2"].sum) / n1
    expected = reconstruction + most * latent * (n1 + n2) / n1 + config.l2 * terms["l2"].sum
    assert float(model.objective(config, terms)) == pytest.approx(float(expected), rel=1e-5)
    slope = jax.jit(jax.grad(lambda p: total(config, network, variables | {"params": p}, rows)))(
        variables["params"]
    )
    # p(z2|z1) is reached by the divergence alone; W and b by their penalty beside it.
    assert all(float(jnp.abs(g).max()) == 0 for g in jax.tree.leaves(slope["effect_log_sd"]))
    np.testing.assert_allclose(slope["W"], 2 * config.l2 * variables["params"]["W"], rtol=1e-5)


def test_free_bits_per_example_are_the_maximum_of_each_row():
    rows = batch()
    network, variables = started(settings(), rows)
    singles = [
        {"singletons": jax.tree.map(lambda a, i=i: a[i : i + 1], rows["singletons"])}
        for i in range(3)
    ]
    raw = [float(terms_of(network, variables, r)["kl_z1"].sum.sum()) for r in singles]
    bound = float(np.median(raw))
    config = settings(free_bits=bound, free_bits_mode="example")
    terms = terms_of(Network(config, GENES), variables, {"singletons": rows["singletons"]})
    assert float(terms["kl_z1"].sum) == pytest.approx(sum(max(r, bound) for r in raw), rel=1e-5)


# What reaches what


def test_reconstruction_of_x2_reaches_the_posterior_of_z2():
    """In the released code z2 was drawn from q(z1|x1), and x2 was decoded from the other profile's
    code.
    """
    rows = batch()
    network, variables = started(settings(), rows)
    log_px2 = jax.jit(lambda v, r: model.loss(network, v, r, KEY)[0]["log_px2"].sum)
    slope = jax.jit(jax.grad(lambda p: log_px2(variables | {"params": p}, rows)))(
        variables["params"]
    )
    for name in ("encoder_0", "posterior_mean", "posterior_log_sd", "context", "flow"):
        assert any(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(slope[name])), name
    # It depends on x2's own encoding and not on x1 or the drug at all.
    other = {**rows, "pairs": rows["pairs"] | {"x1": rows["pairs"]["x1"] + 1}}
    assert float(log_px2(variables, other)) == float(log_px2(variables, rows))
    assert float(jnp.abs(slope["W"]).max()) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("posterior", "mode"), [("iaf", "batch"), ("gaussian", "example")])
def test_sums_add_up_over_any_split_of_the_batch(posterior, mode):
    config = settings(free_bits_mode=mode, posterior=posterior, input_noise=0.3, free_bits=0.1)
    rows = batch(pairs=5, singletons=4, missing=0.2)
    network, variables = started(config, rows)
    cut = lambda a, b: {
        "pairs": jax.tree.map(lambda v: v[a], rows["pairs"]),
        "singletons": jax.tree.map(lambda v: v[b], rows["singletons"]),
    }
    terms = lambda r: {k: t for k, t in terms_of(network, variables, r).items() if k != "l2"}
    parts = [terms(cut(slice(0, 2), slice(0, 1))), terms(cut(slice(2, 5), slice(1, 4)))]
    added = jax.tree.map(lambda *a: sum(a), *parts)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), added, terms(rows)
    )


@pytest.mark.slow
@pytest.mark.parametrize("bad", [1e6, np.nan])
def test_masked_cells_and_padding_rows_change_nothing(bad):
    config = settings(input_noise=0.3)
    rows = batch(missing=0.3)
    network, variables = started(config, rows)
    value = jax.jit(
        jax.value_and_grad(lambda p, r: total(config, network, variables | {"params": p}, r))
    )
    spoil = lambda r: r | {
        f"x{k}": jnp.where(r[f"m{k}"], r[f"x{k}"], bad) for k in (1, 2) if f"x{k}" in r
    }  # fmt: skip
    spoiled = {name: spoil(r) for name, r in rows.items()}
    expected = value(variables["params"], rows)
    jax.tree.map(np.testing.assert_array_equal, value(variables["params"], spoiled), expected)
    if np.isfinite(bad):
        padding = slot(50, 2, pairs=True) | {
            "live": jnp.zeros(2, bool),
            "x1": jnp.full((2, GENES), bad),
        }
        padded = {
            **rows,
            "pairs": jax.tree.map(lambda a, b: jnp.concatenate([a, b]), rows["pairs"], padding),
        }
        found = value(variables["params"], padded)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), found, expected
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"posterior": "gaussian"},
        {"free_bits_mode": "example", "free_bits": 0.7},
        {"input_noise": 0.4},
    ],
    ids=["iaf", "gaussian", "per example", "input noise"],
)
def test_gradient_of_the_loss_against_central_differences(gradient_error, changes):
    config = settings(**changes)
    rows = jax.tree.map(
        lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, batch(missing=0.2)
    )
    network, variables = started(config, rows)
    fixed = jax.tree.map(lambda a: a.astype(jnp.float64), variables["constants"])
    loss = lambda p: total(
        config, network, {"params": p, "batch_stats": {}, "constants": fixed}, rows
    )
    assert gradient_error(loss, variables["params"]) < 1e-6


# Predictions


def predictive_by_brute_force(network, variables, rows, n):
    """Mean and s.d. of x2 given x1 in input units, from n fresh draws of z1, z2 and x2 per row."""
    k1, k2, k3 = jax.random.split(jax.random.key(77), 3)
    platform, held = rows["platform"], variables["constants"]
    x1 = (rows["x1"] - held["mean"][platform]) / held["sd"][platform]
    encoded = apply(network, variables, "encode", x1)

    @jax.jit
    def one(i):
        noise = lambda k, shape: jax.random.normal(jax.random.fold_in(k, i), shape)
        z1 = apply(network, variables, "draw", encoded, noise(k1, encoded[0].shape)).z
        mean, log_sd = apply(network, variables, "effect", z1)
        x_mean, x_log_sd = apply(
            network, variables, "decode", mean + jnp.exp(log_sd) * noise(k2, mean.shape)
        )
        return x_mean + jnp.exp(x_log_sd) * noise(k3, x_mean.shape)

    x2 = np.asarray(jax.lax.map(one, jnp.arange(n), batch_size=1000))
    return x2 * held["sd"][platform] + held["mean"][platform]


@pytest.mark.slow
def test_prediction_is_the_mean_and_sd_of_the_predictive_distribution():
    rows = batch(pairs=3)
    network, variables = started(settings(), rows, scale=0.2)
    found = predicted(network, 4096, variables, rows["pairs"])
    draws = predictive_by_brute_force(network, variables, rows["pairs"], 40_000)
    sd = draws.std(axis=0)
    # Both sides are Monte Carlo: 0.05 s.d. is about three standard errors of the smaller one.
    assert np.abs((found["x2_mean"] - draws.mean(axis=0)) / sd).max() < 0.05
    assert np.abs(found["x2_sd"] / sd - 1).max() < 0.05


@pytest.mark.slow
def test_prediction_reads_the_control_alone_and_each_row_by_itself():
    rows = slot(0, 6, pairs=True, missing=0.2)
    network, variables = started(settings(), batch())
    predict = lambda r: jax.tree.map(np.asarray, predicted(network, 8, variables, r))
    found = predict(rows)
    for other in (
        rows | {"x2": rows["x2"] + 5},
        {k: v for k, v in rows.items() if k not in ("x2", "m2")},
    ):
        jax.tree.map(np.testing.assert_array_equal, predict(other), found)
    order = np.array([3, 0, 5, 1, 4, 2])
    permuted = predict(jax.tree.map(lambda a: a[order], rows))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b[order], rtol=1e-5, atol=1e-5), permuted, found
    )
    alone = predict(jax.tree.map(lambda a: a[2:3], rows))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b[2:3], rtol=1e-5, atol=1e-5), alone, found
    )


def test_monitor_is_the_mean_negative_log_of_the_averaged_density():
    rows = batch(missing=0.3)["pairs"]
    rows = rows | {"live": jnp.array([True, True, False, True])}
    network, variables = started(settings(), batch())
    _, (_, mean, log_sd) = jax.jit(lambda v, r: model._predictive(network, 6, v, r))(
        variables, rows
    )
    x2 = np.asarray(
        model.standardize(variables["constants"], rows["x2"], rows["m2"], rows["platform"]),
        np.float64,
    )
    density = np.where(rows["m2"], norm.logpdf(x2, mean, np.exp(log_sd)), 0).sum(axis=2)
    expected = -np.log(np.exp(density).mean(axis=0))[np.array([0, 1, 3])].mean()
    found = jax.jit(lambda v, r: model.monitor(network, 6, v, r))(variables, {"pairs": rows})
    assert float(found) == pytest.approx(expected, rel=1e-5)
