"""The multi-omics model's equations, stages and predictions, each against an oracle of its own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from command import ROOT, config_of

from omics_jax.data.preprocessing.features import on_union
from omics_jax.nn.blocks import RowInfo
from omics_jax.run.command import system_module
from omics_jax.run.scores import main_arm
from omics_jax.systems.multiomics import assembly, imputation, imputer, model
from omics_jax.systems.multiomics.cohort import _edges_of
from omics_jax.systems.multiomics.networks import Embedding
from omics_jax.systems.multiomics.patients import (
    SLOT,
    imputed_values,
    patients,
    prepared,
    read_patients,
    scaled,
)
from omics_jax.tasks.settings import weights_of
from omics_jax.training.freezing import freeze, keep_frozen_stats
from omics_jax.training.stage import Term

MODULE = system_module("multiomics")
CONFIG = f"--config={ROOT}/configs/multiomics.py:smoke"


def network_of(config, shape):
    return model.network_of(shape, weights_of(config))


class Made:
    """An arm's network with fresh variables and a batch of training rows."""

    def __init__(self, *words: str, arm: int = -1, rows: int = 24):
        self.config = config_of(CONFIG, *words)
        self.dataset = MODULE.read(self.config)
        self.arm = MODULE.EXPERIMENTS[self.config.experiment].arms(self.config, self.dataset)[arm]
        self.shape = assembly.shape_of(self.arm.config, self.arm.spec)
        self.network = network_of(self.arm.config, self.shape) if self.shape.tasks else None
        self.replicate = self.arm.replicates[0]
        row = self.replicate.rows[SLOT][:rows]
        self.rows = self.at(row)
        self.constants = jax.tree.map(jnp.asarray, dict(self.replicate.constants))
        self.variables = self.fresh(0)
        self.stages = {stage.name: stage for stage in self.arm.system.stages}

    def at(self, row):
        table = self.arm.system.arrays(self.arm.dataset)
        fields = {name: jnp.asarray(values[row]) for name, values in table.items()}
        return {**fields, "row": jnp.asarray(row, jnp.int32), "live": jnp.ones(len(row), bool)}

    def fresh(self, seed):
        made = self.arm.system.init(jax.random.key(seed), {SLOT: self.rows}, self.constants)
        return {**made, "constants": self.constants}


@pytest.fixture(scope="module")
def made():
    return Made()


@pytest.fixture(scope="module")
def masked():
    return Made("--config.missing=mask")


@pytest.fixture(scope="module")
def early():
    return Made("--config.missing=complete", "--config.model.fusion=early")


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


# --- the imputer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "outputs", "count"), [(5000, 5000, 40_009_000), (5000, 1800, 27_205_800)]
)
def test_parameters_of_the_papers_imputers(inputs, outputs, count):
    shapes = jax.eval_shape(
        lambda: imputer.init_imputer(jax.random.key(0), inputs, 4000, outputs, 1)
    )
    assert sum(x.size for x in jax.tree.leaves(shapes)) == count


def test_an_imputers_estimate_by_hand():
    params = jax.tree.map(np.asarray, imputer.init_imputer(jax.random.key(0), 3, 4, 2, members=2))
    params["hidden"]["bias"], params["out"]["bias"] = numbers(0, 2, 4), numbers(1, 2, 2)
    x = numbers(2, 5, 3)
    found = imputer.estimate(jax.tree.map(jnp.float32, params), jnp.float32(x))
    sigmoid = lambda v: 1 / (1 + np.exp(-v))
    for e in range(2):
        hidden = sigmoid(x @ params["hidden"]["kernel"][e] + params["hidden"]["bias"][e])
        expected = sigmoid(hidden @ params["out"]["kernel"][e] + params["out"]["bias"][e])
        np.testing.assert_allclose(found[e], expected, rtol=1e-5)
    assert np.abs(params["hidden"]["kernel"][0] - params["hidden"]["kernel"][1]).min() > 0


def test_a_source_that_a_patient_lacks_is_0_and_flagged():
    x = {"a": jnp.ones((2, 2)), "b": jnp.full((2, 1), jnp.nan)}
    has = {"a": jnp.array([True, True]), "b": jnp.array([False, False])}
    assert imputer.sources_of(("a", "b"), x, has).tolist() == [[1, 1, 0, 1, 0]] * 2
    assert imputer.sources_of(("a",), x, has).tolist() == [[1, 1]] * 2
    assert (
        imputer.input_size({"a": 2, "b": 1}, ("a", "b")) == 5
        and imputer.input_size({"a": 2}, ("a",)) == 2
    )


def test_the_imputation_loss_is_the_rmse_of_cells_that_were_observed_with_a_source():
    it = Made("--config.experiment=imputation", arm=0)
    name = "mirna"
    found, _ = imputation.loss(it.shape, name, SLOT, it.variables, {SLOT: it.rows})
    estimates = np.asarray(imputed_values(it.shape, it.variables, it.rows, name), np.float64)
    truth = np.asarray(scaled(it.constants, it.rows, name), np.float64)
    has = np.asarray(it.rows["has"])
    place = list(it.shape.sizes).index(name)
    others = np.delete(has, place, axis=1).any(axis=1)
    cells = (
        np.asarray(it.rows[f"m_{name}"])
        & others[:, None]
        & np.asarray(it.constants[f"{name}_alive"])
    )
    assert 0 < cells.sum() < cells.size
    expected = sum(np.sqrt(((e - truth)[cells] ** 2).mean()) for e in estimates)
    assert float(imputation.objective(found)) == pytest.approx(expected, rel=1e-5)
    mean = np.sqrt(((estimates.mean(axis=0) - truth)[cells] ** 2).mean())
    monitored = imputation.monitor(it.shape, name, it.variables, {SLOT: it.rows})
    assert float(monitored) == pytest.approx(mean, rel=1e-5)
    exact = {"squares": Term(jnp.zeros(2), jnp.ones(2))}
    assert np.isfinite(
        jax.grad(lambda s: imputation.objective({"squares": Term(s, jnp.ones(2))}))(jnp.zeros(2))
    ).all()
    assert float(imputation.objective(exact)) == 0


def test_what_was_measured_comes_back_bit_for_bit_and_the_rest_is_estimated():
    it = Made("--config.experiment=imputation", arm=0)
    out = it.arm.system.predict(it.variables, it.rows)
    for name in it.shape.edges:
        seen = np.asarray(it.rows[f"m_{name}"])
        assert (
            np.asarray(out[name])[seen].tobytes()
            == np.asarray(it.rows[f"x_{name}"])[seen].tobytes()
        )
        assert (np.asarray(out[f"{name}_sd"])[seen] == 0).all() and (~seen).any()
        alive = np.asarray(it.constants[f"{name}_alive"])
        low, high = (np.asarray(it.constants[f"{name}_{k}"]) for k in ("low", "high"))
        varies = alive & (high > low)
        assert (np.asarray(out[f"{name}_sd"])[~seen & varies] > 0).all()
        inside = (np.asarray(out[name]) >= low - 1e-4) & (np.asarray(out[name]) <= high + 1e-4)
        assert inside[~seen & alive].all()
        # What is imputed does not depend on what it stands for.
        other = {**it.rows, f"x_{name}": jnp.where(seen, 0.5, 0), f"m_{name}": it.rows[f"m_{name}"]}
        assert np.array_equal(
            it.arm.system.predict(it.variables, other)[f"{name}_estimate"], out[f"{name}_estimate"]
        )


def test_a_new_patients_imputation_leaves_to_other_folds_what_this_one_cannot_say():
    """Features that the fold did not choose, and spread where only the training mean stands."""
    it = Made("--config.experiment=imputation", "--config.preprocess.top_k=6", arm=0)
    lone = it.rows["has"].at[:3].set(False)  # without any source
    rows = {
        **it.rows,
        "has": lone,
        **{f"m_{n}": it.rows[f"m_{n}"].at[:3].set(False) for n in it.shape.sizes},
    }
    found = jax.tree.map(np.asarray, it.arm.system.predict_new(it.variables, rows))
    whole = jax.tree.map(np.asarray, it.arm.system.predict(it.variables, rows))
    for name in it.shape.edges:
        seen, alive = np.asarray(rows[f"m_{name}"]), np.asarray(it.constants[f"{name}_alive"])
        assert not alive.all() and (~seen & ~alive).any()
        said = seen | alive
        np.testing.assert_array_equal(np.isnan(found[name]), ~said)
        np.testing.assert_array_equal(found[name][said], whole[name][said])
        np.testing.assert_allclose(
            found[name][:3, alive], np.tile(it.constants[f"{name}_fill"][alive], (3, 1))
        )
        assert np.isnan(found[f"{name}_sd"][:3]).all()
        source = found[f"{name}_source"][:, None]
        np.testing.assert_array_equal(np.isnan(found[f"{name}_sd"]), ~(seen | (alive & source)))


# --- the embedding --------------------------------------------------------------------------------


def test_equation_1_by_hand(early):
    shape, variables, rows = early.shape, early.variables, early.rows
    found = patients(shape, variables, rows)
    terms, mean, _ = model.embedding_terms(shape, variables, found, rows)
    (mu, log_variance), _ = model.encode_patients(shape, variables, found, rows)
    module = shape.embedding
    held = {
        "params": variables["params"]["embedding"],
        "batch_stats": variables["batch_stats"]["embedding"],
    }
    logits = module.apply(held, mu, RowInfo(rows["live"], rows["row"]), method=Embedding.decode)
    bce = []
    for name in shape.used:
        x, p = (
            np.asarray(found.x[name], np.float64),
            1 / (1 + np.exp(-np.asarray(logits[name], np.float64))),
        )
        cells = np.asarray(found.cells[name])
        assert np.array_equal(
            cells, np.asarray(rows[f"m_{name}"] & early.constants[f"{name}_alive"])
        )
        bce.append(-(x * np.log(p) + (1 - x) * np.log1p(-p))[cells].mean())
    mu, s = np.asarray(mu, np.float64), np.asarray(log_variance, np.float64)
    kl = -0.5 * (1 + s - mu**2 - np.exp(s))
    c = shape.config.model
    expected = np.mean(bce) + c.k_kl * kl.mean()
    assert float(model.embedding_loss(shape, terms)) == pytest.approx(expected, rel=1e-5)
    summed = replace(shape, config=early.arm.config.copy_and_resolve_references())
    summed.config.model.reduction = "sum"
    alive = [int(early.constants[f"{name}_alive"].sum()) for name in shape.used]
    terms, *_ = model.embedding_terms(summed, variables, found, rows)
    expected = np.mean(np.array(bce) * alive) + c.k_kl * kl.sum(axis=1).mean()
    assert float(model.embedding_loss(summed, terms)) == pytest.approx(expected, rel=1e-5)
    assert np.array_equal(mean, mu.astype(np.float32))


def test_a_missing_branch_says_nothing_and_learns_nothing(masked):
    shape, variables = masked.shape, masked.variables
    i = next(
        i for i, name in enumerate(shape.used) if not np.asarray(masked.rows["has"])[:, i].all()
    )
    name = shape.used[i]
    lacks = ~np.asarray(masked.rows["has"])[:, i]
    found = patients(shape, variables, masked.rows)
    spoiled = found._replace(x={**found.x, name: jnp.where(lacks[:, None], 0.9, found.x[name])})
    encode = lambda p: model.encode_patients(shape, variables, p, masked.rows, jax.random.key(3))[
        0
    ][0]
    assert np.array_equal(encode(found), encode(spoiled))
    terms, *_ = model.embedding_terms(shape, variables, found, masked.rows)
    assert float(terms[f"bce_{name}"].weight) == np.asarray(found.cells[name])[~lacks].sum()


def test_batch_norm_of_a_branch_is_over_the_patients_that_have_it(masked):
    shape, variables = masked.shape, masked.variables
    i = next(
        i for i, name in enumerate(shape.used) if not np.asarray(masked.rows["has"])[:, i].all()
    )
    name, has = shape.used[i], np.asarray(masked.rows["has"])[:, i]
    found = patients(shape, variables, masked.rows)
    _, stats = model.encode_patients(shape, variables, found, masked.rows, jax.random.key(0))
    layer = f"branches_{name}_0"
    dense = variables["params"]["embedding"][layer]["Dense_0"]
    h = np.asarray(found.x[name])[has] @ np.asarray(dense["kernel"])
    expected = 0.1 * h.mean(axis=0)
    np.testing.assert_allclose(
        stats["embedding"][layer]["MaskedBatchNorm_0"]["mean"], expected, rtol=1e-4, atol=1e-6
    )


# --- heads and stages -----------------------------------------------------------------------------


def test_equation_3_and_its_weights(made):
    stage = made.stages["all"]
    terms, _ = stage.loss(made.variables, {SLOT: made.rows}, jax.random.key(1))
    whole, each = (
        model.embedding_loss(made.shape, terms),
        made.network.losses.weighted(terms),
    )
    expected = made.config.model.k_embed * float(whole) + float(each.sum())
    assert float(stage.objective(terms)) == pytest.approx(expected, rel=1e-6)
    config = made.arm.config.copy_and_resolve_references()
    config.weights = "age=3"
    weighed = assembly.shape_of(config, made.arm.spec)
    place = [task.name for task in made.shape.tasks].index("age")
    np.testing.assert_allclose(
        network_of(config, weighed).losses.weighted(terms),
        each * np.where(np.arange(3) == place, 3, 1),
        rtol=1e-6,
    )


def gradients(made, name):
    """The gradients of a stage's objective, and the statistics after the step."""
    stage = made.stages[name]
    rows = dict(made.rows)
    if stage.features:
        rows |= stage.features(made.variables, made.rows)

    def objective(params):
        terms, stats = stage.loss(
            {**made.variables, "params": params}, {SLOT: rows}, jax.random.key(2)
        )
        return stage.objective(terms), stats

    grads, stats = jax.grad(objective, has_aux=True)(made.variables["params"])
    return grads, keep_frozen_stats(stage.trainable, made.variables["batch_stats"], stats)


@pytest.mark.parametrize(
    ("name", "moving"),
    [("embedding", {"embedding"}), ("heads", {"heads"}), ("all", {"embedding", "heads"})],
)
def test_a_stage_moves_its_own_parameters_and_statistics_alone(made, name, moving):
    grads, stats = gradients(made, name)
    tx = freeze(optax.sgd(1.0), made.stages[name].trainable, grads)
    updates, _ = tx.update(grads, tx.init(made.variables["params"]), made.variables["params"])
    for part in ("imputer", "embedding", "heads"):
        changes = any(bool(jnp.any(u != 0)) for u in jax.tree.leaves(updates[part]))
        assert changes == (part in moving), part
    for part in ("embedding", "heads"):
        old = made.variables["batch_stats"][part]
        same = jax.tree.map(lambda a, b: bool((a == b).all()), old, stats[part])
        assert all(jax.tree.leaves(same)) == (part not in moving), part


def test_stage_2_reads_what_prediction_reads(made):
    """Its features are the mean of q(z|x) by running statistics, without dropout: the embedding of
    `predict`.
    """
    z = made.stages["heads"].features(made.variables, made.rows)["z"]
    np.testing.assert_array_equal(
        z, made.arm.system.predict(made.variables, made.rows)["embedding"]
    )


def test_prepared_patients_are_those_made_on_the_spot(made):
    once = prepared(made.shape, made.variables, made.rows)
    ready = read_patients(made.shape, made.variables, {**made.rows, **once})
    now = read_patients(made.shape, made.variables, made.rows)
    jax.tree.map(np.testing.assert_array_equal, ready, now)
    assert np.asarray(now.imputed).any() and np.asarray(now.present).all()
    for i, name in enumerate(made.shape.used):
        filled = np.asarray(now.imputed)[:, i]
        assert np.array_equal(filled, ~np.asarray(made.rows["has"])[:, made_place(made, name)])
        expected = np.asarray(imputed_values(made.shape, made.variables, made.rows, name)).mean(
            axis=0
        )
        np.testing.assert_allclose(np.asarray(now.x[name])[filled], expected[filled], rtol=1e-6)


def made_place(made, name):
    return list(made.shape.sizes).index(name)


# --- predictions ----------------------------------------------------------------------------------


def test_predictions_are_probabilities_units_and_curves(made):
    out = jax.tree.map(np.asarray, made.arm.system.predict(made.variables, made.rows))
    np.testing.assert_allclose(out["type_probability"].sum(axis=1), 1, rtol=1e-5)
    curve = out["OS_survival"]
    assert (curve[:, 0] == 1).all() and (np.diff(curve, axis=1) <= 0).all() and (curve >= 0).all()
    edges = made.replicate.constants["OS_edges"]
    assert np.array_equal(out["OS_times"][0], edges) and (out["OS_median"] <= edges[-1]).all()
    assert np.array_equal(out["OS_median_reached"], curve[:, -1] <= 0.5)
    higher = {**made.constants, "age_mean": made.constants["age_mean"] + 5}
    later = made.arm.system.predict({**made.variables, "constants": higher}, made.rows)["age_value"]
    np.testing.assert_allclose(later - out["age_value"], 5, rtol=1e-4)
    seen = np.concatenate(
        [np.asarray(made.rows[f"m_{n}"] & made.constants[f"{n}_alive"]) for n in made.shape.used],
        1,
    )
    alive = sum(int(made.constants[f"{n}_alive"].sum()) for n in made.shape.used)
    np.testing.assert_allclose(out["imputed_share"], 1 - seen.sum(axis=1) / alive, rtol=1e-5)
    assert ((out["imputed_share"] == 0) == (seen.sum(axis=1) == alive)).all()


def test_what_no_branch_reads_is_not_counted_as_imputed(masked):
    out = masked.arm.system.predict(masked.variables, masked.rows)
    has = np.asarray(masked.rows["has"])
    assert not has.all()
    cells = {
        n: np.asarray(masked.rows[f"m_{n}"] & masked.constants[f"{n}_alive"]).sum(1)
        for n in masked.shape.used
    }
    alive = np.array([int(masked.constants[f"{n}_alive"].sum()) for n in masked.shape.used])
    expected = 1 - sum(cells.values()) / (has * alive).sum(axis=1)
    np.testing.assert_allclose(out["imputed_share"], expected, atol=1e-6)


# --- what is fitted to a fold ---------------------------------------------------------------------


def test_folds_that_chose_other_features_share_their_union():
    fold = lambda columns, alive: {
        "columns": np.array(columns, np.int32),
        "alive": np.array(alive),
        **{
            k: np.where(alive, np.arange(len(columns)) + v, 0).astype(np.float32)
            for k, v in zip(("fill", "low", "high"), (1, 2, 3), strict=True)
        },
    }
    columns, (a, b) = on_union(
        [fold([1, 4, 5], [True, True, False]), fold([2, 4], [True, True])], 6
    )
    assert columns.tolist() == [1, 2, 4]
    assert a["alive"].tolist() == [True, False, True] and b["alive"].tolist() == [False, True, True]
    assert a["fill"].tolist() == [1, 0, 2] and b["high"].tolist() == [0, 3, 4]


def test_complete_patients_are_scored_apart_in_every_fold_or_in_none():
    config = config_of(f"--config={ROOT}/configs/multiomics.py:smoke")
    dataset = MODULE.read(config)
    # One patient lacks one modality, so that in all folds but its own all are complete.
    whole = dataset.take(assembly.is_complete(tuple(dataset.modalities), dataset))
    mirna = whole.modalities["mirna"]
    lacks = replace(mirna, mask=mirna.mask & (np.arange(len(whole)) != 0)[:, None])
    lacks = replace(lacks, values=np.where(lacks.mask, lacks.values, 0))
    for modality, expected in ((lacks, True), (mirna, False)):
        given = replace(whole, modalities={**whole.modalities, "mirna": modality})
        arm = MODULE.EXPERIMENTS["multitask"].arms(config, given)[-1]
        for r in arm.replicates:
            truth = np.zeros((len(r.test), 2))
            truth[:, 0] = 1
            found = arm.system.evaluate(
                {"type_probability": truth}, given.take(r.test), given.take(r.rows[SLOT])
            )
            assert ("type_accuracy_complete" in found.metrics) == expected


def test_the_worth_of_a_stage_is_measured_on_calibrated_networks():
    config = config_of(
        CONFIG,
        "--config.missing=complete",
        "--config.experiment=stages",
        "--config.training.stages=('embedding','heads','all','calibration')",
    )
    arms = MODULE.EXPERIMENTS["stages"].arms(config, MODULE.read(config))
    stages = {arm.name: [stage.name for stage in arm.system.stages] for arm in arms}
    assert stages["all stages"] == ["embedding", "heads", "all", "calibration"]
    assert stages["without embedding and heads"] == ["all", "calibration"]


def test_the_papers_edges_are_for_the_modalities_that_are_there():
    config = config_of(f"--config={ROOT}/configs/multiomics.py:paper")
    assert _edges_of(config.imputation.edges, ("mirna",)) == {}
    assert _edges_of(config.imputation.edges, ("rna", "mirna")) == {"mirna": ("rna",)}


def test_arms_share_folds_and_test_patients():
    words = ("--config.arms.sets=rna+methylation+mirna", "--config.arms.letters=('B','C')")
    config = config_of(f"--config={ROOT}/configs/multiomics.py:arms,smoke", *words)
    dataset = MODULE.read(config)
    arms = {arm.name: arm for arm in MODULE.EXPERIMENTS["arms"].arms(config, dataset)}
    b, c = arms["B, rna+methylation+mirna"], arms["C, rna+methylation+mirna, OS"]
    whole = assembly.is_complete(tuple(dataset.modalities), dataset)
    for r_b, r_c in zip(b.replicates, c.replicates, strict=True):
        assert set(r_b.test) == {i for i in r_c.test if whole[i]} and whole[r_b.rows[SLOT]].all()
        for name, value in arms["imputers"].replicates[r_c.labels["fold"]].constants.items():
            assert np.array_equal(value, r_c.constants[name]), name
    assert [task.name for task in c.spec.tasks] == ["OS"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            ["rna", "methylation", "mirna", "rna+methylation", "rna+methylation+mirna"],
        ),  # those of the paper
        ("mirna + rna, rna,rna+rna", ["mirna+rna", "rna"]),
    ],
)
def test_modality_sets(text, expected):
    config = config_of(
        f"--config={ROOT}/configs/multiomics.py:arms,smoke", "--config.arms.letters=('B',)"
    )
    config.arms.sets = text
    found = MODULE.EXPERIMENTS["arms"].arms(config, MODULE.read(config))
    assert [arm.name for arm in found] == [f"B, {name}" for name in expected]


@pytest.mark.parametrize(
    ("letters", "main"), [(("A", "B", "C"), "B, rna+mirna"), (("A", "C"), "C, rna+mirna, OS")]
)
def test_the_summary_speaks_of_the_last_network_for_all_tasks(letters, main):
    words = ("--config.arms.sets=rna, rna+mirna", f"--config.arms.letters={letters}")
    config = config_of(f"--config={ROOT}/configs/multiomics.py:arms,smoke", *words)
    assert main_arm(MODULE.EXPERIMENTS["arms"].arms(config, MODULE.read(config))).name == main
