"""Which genes interact in a network: second derivatives, attention, plain networks, the tests.

Oracles are analytic, finite differences in float64, numpy alone, or scikit-learn called by hand.
"""

import warnings
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from command import command
from gene_patients import CONSTANT, SMOKE, UNSEEN, FreshArm, patients
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.covariance import GraphicalLassoCV

from omics_jax.evaluation.tables import Frame
from omics_jax.nn import token_encoder
from omics_jax.nn.initial import draw
from omics_jax.nn.token_encoder import TokenEncoder, attention_weights, encoder_parameters
from omics_jax.study.system import MODEL, Results
from omics_jax.systems.gene_transformer import interaction_tables as tables
from omics_jax.systems.gene_transformer import interactions, model
from omics_jax.systems.gene_transformer.interactions import (
    MOST_GENES,
    PROFILES,
    mixed_derivatives,
    pair_fields,
    profile_of,
)
from omics_jax.systems.gene_transformer.plain_networks import PLAIN, plain_networks
from omics_jax.tasks.network import head_outputs

NETWORK = "--config.experiment=network"
COVARIATES = "--config.data.covariates=('age','sex')"
FEW = "--config.preprocess.top_k=4"
INDUCED = ("--config.model.attention=induced", "--config.model.inducing=4")


# --- second derivatives of known functions --------------------------------------------------------


@cache
def points(rows=5, genes=4):
    return jnp.asarray(np.random.default_rng(0).normal(size=(rows, genes)), jnp.float32)


def test_a_product_of_two_genes_has_1_and_a_linear_function_0():
    found = np.asarray(mixed_derivatives(lambda x: x[:, 1] * x[:, 3] + 5 * x[:, 0], points()))
    expected = np.zeros((4, 4))
    expected[1, 3] = expected[3, 1] = 1
    assert_array_equal(found, expected)
    assert not np.asarray(mixed_derivatives(lambda x: x @ jnp.arange(4.0) - 2, points())).any()


def test_the_mean_over_profiles_of_a_cubic_function_is_analytic():
    found = np.asarray(mixed_derivatives(lambda x: x[:, 0] ** 2 * x[:, 1], points()))
    x = np.asarray(points())
    assert_allclose(found[0, 1], 2 * x[:, 0].mean(), rtol=1e-5)
    assert_array_equal(found, found.T)
    assert not np.diagonal(found).any() and not found[2:].any()  # d2/dx0^2 is not zero


# --- second derivatives through the transformer ---------------------------------------------------


@cache
def fresh(*words):
    return FreshArm(NETWORK, *words)


@cache
def fields_of(*words):
    """Of the network as it starts."""
    arm = fresh(*words)
    return asked(arm, arm.variables)


def asked(arm, variables):
    found = program_of(arm)(variables)
    return {name: np.asarray(values) for name, values in found.items()}


@cache
def program_of(arm):
    return jax.jit(lambda variables: pair_fields(arm.shape, arm.network, variables))


def outputs_of(arm, variables, alive, x):
    profile = profile_of(arm.shape, x, jnp.asarray(alive))
    z = model.encode_profiles(arm.shape, variables, profile)
    rows = {"row": jnp.arange(len(x)), "live": jnp.ones(len(x), bool)}
    return head_outputs(arm.network, variables, z, rows)[0]


def in_double(tree):
    """Floats in float64, all else as it is."""
    is_float = lambda a: jnp.issubdtype(jnp.asarray(a).dtype, jnp.floating)
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64) if is_float(a) else a, tree)


DERIVED = [(), INDUCED, ("--config.model.encoding=linear",)]


@pytest.mark.parametrize("words", DERIVED, ids=["bias", "induced", "linear"])
def test_interactions_are_finite_differences_of_the_gradient(words):
    """Also through the backward pass of attention, which is written by hand."""
    arm, fields = fresh(FEW, *words), fields_of(FEW, *words)
    alive = fields["alive"]
    draws = np.asarray(jax.random.normal(jax.random.key(0), (PROFILES, len(alive))))
    with in_x64():
        variables, x = in_double(arm.variables), jnp.asarray(draws, jnp.float64)
        scores = {
            "kind": lambda out: out["kind"][:, 1] - out["kind"][:, 0],
            "dose": lambda out: out["dose"][:, 0],
        }
        for task, score in scores.items():
            value = lambda x, score=score: jnp.sum(score(outputs_of(arm, variables, alive, x)))
            gradient = jax.jit(jax.grad(value))
            expected = by_differences(gradient, x)
            found = fields[f"interaction_{task}"]
            largest = np.abs(expected).max()
            assert largest > 1e-4
            assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * largest)
            assert_allclose(fields[f"strength_{task}"], np.abs(found), rtol=1e-6)


def by_differences(gradient, x, h=1e-3):
    assert x.dtype == jnp.float64
    rows = []
    for i in range(x.shape[1]):
        step = h * jnp.eye(x.shape[1])[i]
        rows.append(np.asarray((gradient(x + step) - gradient(x - step)) / (2 * h)).mean(axis=0))
    assert_allclose(rows, np.transpose(rows), atol=1e-5 * np.abs(rows).max())
    return np.where(np.eye(len(rows)), 0, rows)


def in_x64():
    """Double precision for a block, because what is compared with it is in single precision."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


# --- the fields -----------------------------------------------------------------------------------


def test_genes_that_take_no_part_have_no_influence():
    """One that is constant, one that was never measured, which a fold's last place holds."""
    arm, fields = fresh(COVARIATES), fields_of(COVARIATES)
    names = patients().modalities["rna"].features.tolist()
    chosen = arm.chosen("rna")
    assert UNSEEN not in chosen and CONSTANT in chosen
    constant, unchosen = chosen.index(CONSTANT), len(names) - 1
    dead = sorted([constant, unchosen])
    assert np.flatnonzero(~fields["alive"]).tolist() == dead and fields["alive"].shape == (14,)
    for task in ("kind", "dose"):
        for start in ("strength", "interaction"):
            matrix = fields[f"{start}_{task}"]
            assert matrix.shape == (14, 14)
            assert not matrix[dead].any() and not matrix[:, dead].any()
            assert matrix[fields["alive"]].any(axis=1).all()


def test_constants_of_genes_that_take_no_part_are_not_read():
    arm, fields = fresh(COVARIATES), fields_of(COVARIATES)
    dead = np.flatnonzero(~fields["alive"])
    constants = dict(arm.variables["constants"])
    for key in ("fill", "low", "high"):
        constants[f"rna_{key}"] = constants[f"rna_{key}"].at[dead].set(1e6)
    other = asked(arm, {**arm.variables, "constants": constants})
    for name, values in fields.items():
        assert_array_equal(other[name], values)


def test_a_gene_without_spread_or_not_chosen_is_not_alive():
    arm, fields = fresh(COVARIATES), fields_of(COVARIATES)
    for key, value in (("sd", 0.0), ("alive", False)):
        constants = dict(arm.variables["constants"])
        constants[f"mirna_{key}"] = constants[f"mirna_{key}"].at[1].set(value)
        other = asked(arm, {**arm.variables, "constants": constants})
        assert np.flatnonzero(other["alive"] != fields["alive"]).tolist() == [9 + 1]
        assert fields["strength_dose"][10].any() and not other["strength_dose"][10].any()


def test_columns_are_those_of_the_fold_and_covariates_are_no_genes():
    arm, fields = fresh(COVARIATES, FEW), fields_of(COVARIATES, FEW)
    assert fields["alive"].shape == (8,) and arm.shape.covariates == 3
    for name in ("rna", "mirna"):
        assert_array_equal(fields[f"columns_{name}"], arm.replicate.constants[f"{name}_columns"])
    assert fields["attention"].shape == fields["interaction_kind"].shape == (8, 8)
    assert not fields["attention"].diagonal().any() and (fields["attention"] > 0).sum() == 56
    assert_array_equal(fields["attention"], fields["attention"].T)


def test_covariates_take_part_at_their_training_means():
    """Where all training patients have them, a network never saw a patient without."""
    values, exists = profile_of(fresh(COVARIATES, FEW).shape, jnp.ones((2, 8)), jnp.ones(8, bool))
    assert exists.all()
    assert_array_equal(values, [[1, 0, 0, 0, *[1] * 8]] * 2)


def test_more_than_two_classes_have_a_magnitude_without_a_sign():
    kind, known = patients().targets["kind"]
    three = (np.arange(len(kind)) % 3).astype(np.int32)
    targets = {"kind": (three, known)}
    dataset = replace(patients(), targets=targets, classes={"kind": ("A", "B", "C")})
    arm = FreshArm(NETWORK, FEW, dataset=dataset)
    fields = asked(arm, arm.variables)
    assert np.isnan(fields["interaction_kind"]).all()
    assert not any("dose" in name for name in fields)
    alive = fields["alive"]
    x = jax.random.normal(jax.random.key(0), (PROFILES, len(alive)))
    logits = lambda x: outputs_of(arm, arm.variables, alive, x)["kind"]
    of_class = jax.jit(lambda one: mixed_derivatives(lambda x: logits(x) @ one, x))
    each = [of_class(one) for one in jnp.eye(3)]
    centred = np.asarray(each) - np.asarray(each).mean(axis=0)
    expected = np.sqrt((centred**2).sum(axis=0))
    assert expected.max() > 1e-4
    assert_allclose(fields["strength_kind"], expected, rtol=1e-3, atol=1e-3 * expected.max())


# --- attention ------------------------------------------------------------------------------------

N, T, D, HEADS = 3, 6, 8, 2


def encoder(**settings):
    sizes = dict(tokens=T, channels=D, heads=HEADS, layers=1, feedforward=6)
    return TokenEncoder(**sizes | settings)


def random_encoder(shape):
    """(parameters, values, which tokens exist)"""
    rng = np.random.default_rng(3)
    p = draw(jax.random.key(1), encoder_parameters(shape))
    p = jax.tree.map(lambda a: a + jnp.asarray(0.5 * rng.normal(size=a.shape), jnp.float32), p)
    exists = rng.random((N, T)) < 0.6
    exists[:, 0], exists[:, 4] = True, False
    return p, jnp.asarray(rng.normal(size=(N, T)), jnp.float32), jnp.asarray(exists)


def mean_weights(shape, p, x, exists):
    """Over layers, rows and heads."""
    _, weights = attention_weights(shape, p, x, exists)
    return np.asarray(weights.mean(axis=(0, 1, 2)))


def naive_weights(shape, p, x, exists):
    """Of one layer, by loops over rows and heads."""
    p = jax.tree.map(lambda a: np.asarray(a, float), p)
    own, c, total = p["layer_0"], D // HEADS, np.zeros((T, T))
    for row in range(N):
        values = np.where(exists[row], x[row], 0).astype(float)
        t = p["token"].copy()
        if shape.encoding == "linear":
            t += values[:, None] * p["value"]["weight"]
        if shape.norm == "pre":
            t = (t - t.mean(axis=1, keepdims=True)) / np.sqrt(t.var(axis=1, keepdims=True) + 1e-5)
            t = t * own["norm_1"]["scale"] + own["norm_1"]["bias"]
        for head in range(HEADS):
            part = slice(head * c, (head + 1) * c)
            q, k = t @ own["attention"]["query"][:, part], t @ own["attention"]["key"][:, part]
            logits = q @ k.T / np.sqrt(c)
            if shape.encoding == "bias":
                term = p["value"]["strength"][head] * np.outer(values, values)
                logits = logits / np.sqrt(2) + term
            weights = np.exp(logits) * np.asarray(exists[row])
            total += weights / weights.sum(axis=1, keepdims=True)
    return total / (N * HEADS)


@pytest.mark.parametrize(
    ("encoding", "norm"), [("bias", "pre"), ("linear", "post"), ("linear", "pre")]
)
def test_attention_of_one_layer_is_the_naive_mean(encoding, norm):
    shape = encoder(encoding=encoding, norm=norm)
    p, x, exists = random_encoder(shape)
    found = mean_weights(shape, p, x, exists)
    assert_allclose(found, naive_weights(shape, p, x, exists), rtol=1e-4, atol=1e-6)


def test_attention_is_shared_out_among_the_tokens_that_exist():
    shape = encoder(layers=2)
    p, x, exists = random_encoder(shape)
    found = mean_weights(shape, p, x, exists)
    assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert not found[:, 4].any() and (found[:, 0] > 0).all()
    wild = jnp.where(exists, x, jnp.nan)
    assert_array_equal(mean_weights(shape, p, wild, exists), found)


def test_attention_of_two_layers_is_the_mean_of_both():
    """The second layer alone, on the tokens that the first gives."""
    shape, one = encoder(layers=2, norm="post"), encoder(norm="post")
    p, x, _ = random_encoder(shape)
    x, exists = x[:1], jnp.ones((1, T), bool)
    after = token_encoder.encode_tokens(one, p, x, exists)
    second = {**p, "token": after[0], "layer_0": p["layer_1"]}
    each = [mean_weights(one, own, x, exists) for own in (p, second)]
    found = mean_weights(shape, p, x, exists)
    assert_allclose(found, np.mean(each, axis=0), rtol=1e-4, atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 0.01


@pytest.mark.parametrize("norm", ["pre", "post_twice"])
def test_weights_that_are_kept_give_the_same_tokens(norm):
    shape = encoder(layers=2, norm=norm)
    p, x, exists = random_encoder(shape)
    tokens, _ = attention_weights(shape, p, x, exists)
    expected = token_encoder.encode_tokens(shape, p, x, exists)
    assert_allclose(np.asarray(tokens)[exists], np.asarray(expected)[exists], rtol=1e-4, atol=1e-5)


def test_rollout_is_the_product_over_layers():
    rng = np.random.default_rng(5)
    weights = rng.dirichlet(np.ones(4), size=(3, 2, 4))  # (layers, rows, tokens, tokens)
    found = interactions.rollout(jnp.asarray(weights))
    for row in range(2):
        expected = np.eye(4)
        for layer in range(3):
            expected = (weights[layer, row] + np.eye(4)) / 2 @ expected
        assert_allclose(found[row], expected, rtol=1e-5)
    assert_allclose(np.asarray(found).sum(axis=-1), 1, rtol=1e-5)


def test_gradient_times_attention_is_a_finite_difference():
    """Of one weight at a time: the mean over layers, rows and heads of |A dA f|."""
    arm = fresh(FEW)
    with in_x64():
        variables = in_double(arm.variables)
        draws, alive = interactions.random_profiles(arm.shape, variables)
        profile = profile_of(arm.shape, draws[:2].astype(jnp.float64), alive)
        dose = next(task for task in arm.network.tasks if task.name == "dose")
        (score,) = interactions.scores_of(dose, "proper")
        found = interactions.gradient_attention(arm.shape, arm.network, variables, profile, [score])
        encoder, (rows, tokens) = arm.shape.encoder, profile.values.shape
        start = np.zeros((encoder.layers, rows, encoder.heads, tokens, tokens))

        @jax.jit
        def value(added):
            z, _ = interactions._weights(arm.shape, variables, profile, added)
            return jnp.sum(score(interactions._head_outputs(arm.network, variables, z)))

        _, weights = interactions._weights(arm.shape, variables, profile)
        first, (i, j) = 1 + arm.shape.covariates, (1, 3)
        total = 0.0
        for a, b in ((i, j), (j, i)):
            for layer, row, head in np.ndindex(start.shape[:3]):
                place, step = (layer, row, head, first + a, first + b), start.copy()
                step[place] = 1e-4
                slope = (value(jnp.asarray(step)) - value(jnp.asarray(-step))) / 2e-4
                total += abs(slope * weights[place])
        expected = total / (2 * np.prod(start.shape[:3]))
        assert expected > 1e-8
        assert_allclose(found[i, j], expected, rtol=1e-5)


def test_induced_attention_is_of_no_pairs():
    for name in ("attention", "rollout", "gradient_attention_dose"):
        assert not fields_of(FEW, *INDUCED)[name].any() and fields_of(FEW)[name].any()
    assert fields_of(FEW)["attention"].any()


# --- frames ---------------------------------------------------------------------------------------


def framed(arm, fields, plain=True):
    dataset = arm.arm.dataset
    train, test = dataset.take(arm.train), dataset.take(arm.replicate.test)
    frame = (tables.pair_frame if plain else tables.null_frame)(fields, test, train)
    assert frame.kind == tables.PAIRS
    return frame.rows


def test_a_pair_has_the_names_of_its_genes():
    """Fewer genes than are in the table, so that places in the two differ."""
    arm, fields = fresh(COVARIATES, FEW), fields_of(COVARIATES, FEW)
    rows = framed(arm, fields)
    names = [*arm.chosen("rna"), *arm.chosen("mirna")]
    for name in ("rna", "mirna"):
        features = arm.arm.spec.features[name]
        columns = np.asarray(arm.constants[f"{name}_columns"])
        assert [str(features[j]) for j in columns] == arm.chosen(name)
    assert arm.chosen("rna") != patients().modalities["rna"].features[:4].tolist()
    alive = np.flatnonzero(fields["alive"])
    expected = [(names[i], names[j]) for i in alive for j in alive if i < j]
    assert list(zip(rows["gene_a"], rows["gene_b"], strict=True)) == expected
    place = {name: i for i, name in enumerate(names)}
    for field in ("attention", "strength_kind", "interaction_kind", "interaction_dose"):
        by_name = [fields[field][place[a], place[b]] for a, b in expected]
        assert_allclose(rows[field], by_name)


def test_plain_networks_stand_beside_the_genes_they_are_of():
    """Also behind a gene that is constant, which has no row."""
    arm, fields = fresh(COVARIATES), fields_of(COVARIATES)
    rows = framed(arm, fields)
    assert len(rows) == 12 * 11 / 2
    assert not {CONSTANT, UNSEEN, ""} & {*rows["gene_a"], *rows["gene_b"]}
    filled = {}
    for modality in arm.arm.dataset.modalities.values():
        for gene, values, mask in zip(
            modality.features, modality.values.T, modality.mask.T, strict=True
        ):
            own = np.where(mask, values.astype(float), np.nan)[arm.train]
            if np.isfinite(own).any():
                filled[gene] = np.where(np.isfinite(own), own, np.nanmean(own))
    for row in rows.itertuples():
        correlation = np.corrcoef(filled[row.gene_a], filled[row.gene_b])[0, 1]
        assert_allclose(row.coexpression, abs(correlation), atol=1e-5)
    assert rows["partial_correlation"].between(0, 1).all()
    assert list(framed(arm, fields, plain=False)) == [name for name in rows if name not in PLAIN]


def test_genes_of_one_name_in_two_modalities_are_told_apart():
    arm, fields = fresh(COVARIATES, FEW), fields_of(COVARIATES, FEW)
    test = arm.arm.dataset.take(arm.replicate.test)
    mirna = test.modalities["mirna"]
    shared = np.array(mirna.features, object)
    shared[int(fields["columns_mirna"][0])] = arm.chosen("rna")[0]
    both = {**test.modalities, "mirna": replace(mirna, features=shared.astype(str))}
    rows = tables.null_frame(fields, replace(test, modalities=both), test).rows
    assert not rows.duplicated(["gene_a", "gene_b"]).any()
    name = arm.chosen("rna")[0]
    found = {*rows["gene_a"], *rows["gene_b"]}
    assert {f"{name} (rna)", f"{name} (mirna)", arm.chosen("rna")[1]} < found and name not in found


def test_fewer_than_two_genes_have_no_pairs():
    arm, fields = fresh(COVARIATES, FEW), fields_of(COVARIATES, FEW)
    for count in (0, 1):
        rows = framed(arm, {**fields, "alive": np.arange(8) < count})
        assert len(rows) == 0
        assert {"gene_a", "gene_b", "strength_dose", *PLAIN} <= {*rows}


@cache
def correlated():
    """Values of four genes on other scales, and one that does not vary, in the second place."""
    rng = np.random.default_rng(2)
    z = rng.normal(size=(60, 4))
    z[:, 1] += z[:, 0]
    z[:, 2] -= z[:, 1]
    return np.insert(3 + z * [1, 10, 0.1, 2], 1, 5.1, axis=1).astype(np.float32)


def test_plain_networks_are_those_of_numpy_and_of_the_graphical_lasso():
    values = correlated()
    correlation, partial = plain_networks(values)
    vary = [0, 2, 3, 4]
    own = values[:, vary].astype(float)
    assert_allclose(correlation[np.ix_(vary, vary)], np.abs(np.corrcoef(own.T)), atol=1e-5)
    scaled = (own - own.mean(axis=0)) / own.std(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of penalties that are tried
        precision = GraphicalLassoCV().fit(scaled).precision_
    for i, a in enumerate(vary):
        for j, b in enumerate(vary):
            expected = abs(precision[i, j]) / np.sqrt(precision[i, i] * precision[j, j])
            assert_allclose(partial[a, b], expected, atol=1e-4)
    for matrix in (correlation, partial):
        assert not matrix[1].any() and not matrix[:, 1].any()
    assert partial[0, 3] < 0.5 * correlation[0, 3]  # they are related through another gene


@pytest.mark.parametrize("rows", range(20, 40))
def test_a_gene_that_varies_by_rounding_does_not_vary(rows):
    """The mean of equal values in single precision may be none of them."""
    values = correlated()[:rows].copy()
    values[::7, 1] = np.nextafter(np.float32(5.1), np.float32(6))
    correlation, partial = plain_networks(values[:, :2])
    assert not correlation.any() and not partial.any()


def test_equal_genes_are_co_expressed_and_stop_nothing():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 5))
    values[:, 1] = values[:, 0]
    correlation, partial = plain_networks(values)
    assert_allclose(correlation[0, 1], 1)
    assert np.isnan(partial).all() or np.isfinite(partial).all()


# --- tests against the null -----------------------------------------------------------------------

GENES = [f"g{i}" for i in range(8)]
STRONG = ("g1", "g4")
NULLS = 30


def training(rng, arm, group, fold, strong=0.0, without=()):
    rows = [(a, b) for i, a in enumerate(GENES) for b in GENES[i + 1 :] if (a, b) not in without]
    frame = pd.DataFrame(rows, columns=["gene_a", "gene_b"])
    is_strong = (frame["gene_a"] == STRONG[0]) & (frame["gene_b"] == STRONG[1])
    signed = rng.choice([-1, 1], len(rows)) * (
        rng.uniform(0.9, 1.1, len(rows)) + strong * is_strong
    )
    frame = frame.assign(
        **{"attention": rng.random(len(rows)), "coexpression": 0.1, "partial_correlation": 0.2},
        rollout=rng.random(len(rows)),
        strength_dose=np.abs(signed),
        interaction_dose=signed,
        gradient_attention_dose=np.abs(signed),
    )
    return frame.assign(model=MODEL, arm=arm, group=group, fold=fold)


def frames_of(without=(), null_without=()):
    """(of the network, of the null). Folds by names that do not sort."""
    rng = np.random.default_rng(1)
    own = [
        training(rng, "network", group, fold, 3.0, without if place == 1 else ())
        for place, (group, fold) in enumerate([("fold 9", 9), ("fold 10", 10), ("fold 1", 1)])
    ]
    null = [
        training(rng, "additive", f"dose draw {i + 1}", 9, without=null_without)
        for i in range(NULLS)
    ]
    return pd.concat(own, ignore_index=True), pd.concat(null, ignore_index=True)


def test_a_pair_beyond_the_null_is_found_and_those_like_it_are_not():
    frame, null = frames_of()
    found, summary = tables.tested_pairs(frame, null, "dose")
    names = list(zip(found["gene_a"], found["gene_b"], strict=True))
    assert names[0] == STRONG and len(found) == 28
    assert found["q"].iloc[0] < 0.05 and (found["q"].iloc[1:] > 0.05).all()
    assert (found["strength"].diff().iloc[1:] <= 0).all()
    assert summary["pairs"] == 28 and summary["networks of the null"] == NULLS
    assert summary["q below 0.05"] == 1 and summary["attention q below 0.05"] == 0
    by_pair = frame[frame["fold"] == 9].set_index(["gene_a", "gene_b"])
    assert_allclose(found["strength"], by_pair["strength_dose"][names])
    mean = null.groupby(["gene_a", "gene_b"])[["strength_dose", "attention"]].mean()
    assert_allclose(found["null_strength"], mean["strength_dose"][names])
    change = by_pair["attention"] - mean["attention"]
    assert_allclose(found["attention_change"], change[names])


def test_a_stronger_network_makes_pairs_stronger_and_that_is_no_null():
    """Magnitudes are compared as they are: draws keep what single genes do to the outcome."""
    frame, null = frames_of()
    frame["strength_dose"] *= 50
    _, summary = tables.tested_pairs(frame, null, "dose")
    assert summary["q below 0.05"] == 28


def test_attention_is_tested_on_both_sides():
    observed = np.array([9.0, -9.0, 0.1])
    null = np.random.default_rng(0).normal(size=(30, 3))
    upper = tables.permutation_p_values(observed, null)[0]
    p = tables.two_sided_p(observed, null)
    assert_allclose(p[0], 2 * upper[0])
    assert_allclose(p[1], p[0]) and upper[1] == 1
    assert 0.5 < p[2] <= 1


def test_rank_stability_is_over_the_pairs_that_both_folds_chose():
    missing = ("g0", "g7")
    frame, _ = frames_of(without=(missing,))
    by_fold = frame.pivot(index=["gene_a", "gene_b"], columns="fold", values="strength_dose")
    assert by_fold.isna().to_numpy().sum() == 1
    correlations = by_fold.corr("spearman").to_numpy()[np.triu_indices(3, 1)]
    assert_allclose(tables.rank_stability(frame, "strength_dose"), correlations.mean(), atol=1e-6)
    assert np.isnan(tables.rank_stability(frame[frame["fold"] == 9], "strength_dose"))


def test_tables_of_pairs():
    frame, null = frames_of()
    simple = frame.assign(model="a simple model", strength_dose=0.0)
    other = null.assign(group="kind draw 1", strength_dose=100.0)
    rows = pd.concat([frame, simple, null, other], ignore_index=True)
    results = Results(pd.DataFrame(), {tables.PAIRS: Frame(tables.PAIRS, rows)}, {})
    found = tables.pair_tables(results, "network")
    assert set(found) == {
        *("gene_network", "gene_network_methods", "dose_pairs_ranking", "dose_pairs")
    }
    (summary,) = found["gene_network"].frame.to_dict("records")
    assert summary["outcome"] == "dose" and summary["pairs"] == 28
    assert summary["q below 0.05"] == 1 and summary["networks of the null"] == NULLS
    methods = set(found["gene_network_methods"].frame["method"])
    assert {"interaction, dose", "attention", "co-expression", "partial correlation"} <= methods

    edges = found["dose_pairs"].frame
    asked = ["source", "target", "strength", "p", "q", "interaction", "attention", *PLAIN]
    assert {*asked} <= {*edges} and len(edges) == 28
    assert (edges["source"].iloc[0], edges["target"].iloc[0]) == STRONG
    own = frame[frame["fold"] == 9].set_index(["gene_a", "gene_b"])
    own = own.loc[list(zip(edges["source"], edges["target"], strict=True))]
    assert_allclose(edges["interaction"], own["interaction_dose"])
    assert_allclose(edges["attention"], own["attention"])

    ranking = found["dose_pairs_ranking"]
    assert ranking.kind == "ranking" and ranking.frame["label"].iloc[0] == "g1 x g4"
    assert_allclose(ranking.frame["value"], edges["strength"], rtol=1e-6)
    beyond = ranking.frame["series"].str.startswith("beyond")
    assert beyond.tolist() == [True] + 27 * [False]


# --- the experiment -------------------------------------------------------------------------------


@pytest.mark.parametrize(("top_k", "reads"), [(0, 320), (310, 310)])
def test_more_genes_than_pairs_can_be_computed_of_are_refused(tmp_path, top_k, reads):
    words = ["--config.simulator.genes=320", "--config.simulator.modules=8"]
    words += [f"--config.preprocess.top_k={top_k}", NETWORK, f"--workdir={tmp_path}/run"]
    outcome = command(SMOKE, *words)
    assert outcome.status == 2 and "Traceback" not in outcome.err
    (line,) = outcome.err.strip().splitlines()
    assert f"all pairs of at most {MOST_GENES} genes, and a fold reads {reads}" in line
    assert line.endswith(f"set --config.preprocess.top_k={MOST_GENES} or less")
    assert not list(tmp_path.glob("run/checkpoints/**/*.npz"))
