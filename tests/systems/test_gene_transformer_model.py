"""The gene transformer's inputs, pools and losses, each against an oracle of its own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from command import config_of
from gene_patients import CONSTANT, SMOKE, UNSEEN, FreshArm, fresh_arm, patients, with_cells
from scipy.stats import median_abs_deviation

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.dataset.splits import Split
from omics_jax.data.preprocessing.features import SPREADS
from omics_jax.data.preprocessing.statistics import training_statistics
from omics_jax.errors import UserError
from omics_jax.nn.token_encoder import Randomness
from omics_jax.systems.gene_transformer import assembly, model
from omics_jax.systems.gene_transformer.arms import few_labelled, shuffled
from omics_jax.systems.gene_transformer.model import ENCODER, SLOT

COVARIATES = "--config.data.covariates=('age','sex')"
FEW = "--config.preprocess.top_k=4"
FIRST = 4  # the first gene's token, behind the first token, age, female and male


# --- profiles -------------------------------------------------------------------------------------


def measured(name, rows=slice(None)):
    """A modality's values in double precision, nan where they are missing."""
    modality = patients().modalities[name]
    return np.where(modality.mask, modality.values.astype(float), np.nan)[rows]


def chosen_by_hand(name, train, top_k, spread=np.nanvar):
    """The places of the genes with the largest spread in the training rows, ascending."""
    values = measured(name, train)
    seen = np.flatnonzero(np.isfinite(values).any(axis=0))
    order = seen[np.argsort(-spread(values[:, seen], axis=0), kind="stable")]
    return np.sort(order[:top_k])


def tokens_by_hand(name, train, width, top_k):
    """(n, width) standardised values, 0 where they do not take part, and which do."""
    x, exists = np.zeros((2, len(patients()), width))
    for token, place in enumerate(chosen_by_hand(name, train, top_k)):
        values, fitted = measured(name)[:, place], measured(name, train)[:, place]
        if np.nanmin(fitted) == np.nanmax(fitted):
            continue
        clipped = values.clip(np.nanmin(fitted), np.nanmax(fitted))
        z = (clipped - np.nanmean(fitted)) / np.nanstd(fitted)
        x[:, token], exists[:, token] = np.nan_to_num(z), np.isfinite(z)
    return x, exists.astype(bool)


@pytest.mark.parametrize(("words", "top_k"), [((), 1000), ((FEW,), 4)], ids=["all", "few"])
def test_profiles_by_hand(words, top_k):
    """Genes of both modalities in their order, among them one constant and one never measured."""
    fresh = fresh_arm(COVARIATES, *words)
    profile = model.profiles(fresh.shape, fresh.constants, fresh.rows)
    assert list(fresh.shape.widths.items()) == [("rna", min(9, top_k)), ("mirna", min(5, top_k))]
    assert profile.values.shape == (len(fresh.dataset), fresh.shape.tokens)
    assert (profile.values[:, 0] == 1).all() and profile.exists[:, 0].all()
    place = FIRST
    for name, width in fresh.shape.widths.items():
        x, exists = tokens_by_hand(name, fresh.train, width, top_k)
        own = slice(place, place + width)
        np.testing.assert_allclose(profile.values[:, own], x, atol=1e-5)
        np.testing.assert_array_equal(profile.exists[:, own], exists)
        place += width
    assert place == fresh.shape.tokens


def test_genes_that_are_constant_or_never_measured_take_no_part():
    fresh = fresh_arm(COVARIATES)
    exists = np.asarray(model.profiles(fresh.shape, fresh.constants, fresh.rows).exists)
    rna = exists[:, FIRST : FIRST + 9]
    names = fresh.chosen("rna")
    assert UNSEEN not in names and not rna[:, -1].any()
    assert not rna[:, names.index(CONSTANT)].any()
    assert rna.any(axis=0).sum() == 7


def test_covariates_are_standardised_by_the_training_rows_and_absent_where_unknown():
    fresh = fresh_arm(COVARIATES)
    profile = model.profiles(fresh.shape, fresh.constants, fresh.rows)
    table = fresh.dataset.table
    age = table["age"].replace("NA", np.nan).astype(float).to_numpy()
    sex = table["sex"].to_numpy()
    for token, value in enumerate((age, *(np.where(sex == "", np.nan, sex == s) for s in "fm")), 1):
        z = (value - np.nanmean(value[fresh.train])) / np.nanstd(value[fresh.train])
        np.testing.assert_allclose(profile.values[:, token], np.nan_to_num(z), atol=1e-5)
        np.testing.assert_array_equal(profile.exists[:, token], np.isfinite(z))


@pytest.mark.parametrize(("end", "far"), [("low", -1e4), ("high", 1e4)])
def test_values_beyond_the_training_range_count_as_its_ends(end, far):
    fresh = fresh_arm(COVARIATES, FEW)
    rows = {**fresh.rows, "x_rna": jnp.full_like(fresh.rows["x_rna"], far)}
    x, observed = model.standardized(fresh.constants, rows, "rna")
    limit, mean, sd = (fresh.constants[f"rna_{key}"] for key in (end, "fill", "sd"))
    np.testing.assert_allclose(x, np.where(observed, (limit - mean) / sd, 0), rtol=1e-5)
    assert 0 < np.abs(x).max() < 3


# --- what predictions read ------------------------------------------------------------------------


def unread(fresh):
    """The rows with nonsense in every cell that is missing or of a gene that takes no part."""
    rows = dict(fresh.rows)
    for name in fresh.shape.widths:
        low, high = (fresh.replicate.constants[f"{name}_{end}"] for end in ("low", "high"))
        columns = fresh.replicate.constants[f"{name}_columns"][high > low]
        read = np.zeros(rows[f"x_{name}"].shape, bool)
        read[:, columns] = np.asarray(rows[f"m_{name}"])[:, columns]
        assert not read.all()
        rows[f"x_{name}"] = jnp.where(read, rows[f"x_{name}"], jnp.nan)
    return rows


@pytest.mark.parametrize("arm", [0, 1], ids=["transformer", "mlp"])
def test_cells_that_take_no_part_change_nothing(arm):
    fresh = fresh_arm(COVARIATES) if arm == 0 else mlp()
    before = fresh.predict(fresh.variables, fresh.rows)
    for name, after in fresh.predict(fresh.variables, unread(fresh)).items():
        np.testing.assert_array_equal(after, before[name])
        assert np.isfinite(after).all()


def test_covariates_reach_the_prediction():
    fresh = fresh_arm(COVARIATES)
    base = fresh.predict(fresh.variables, fresh.rows)["dose_value"]
    for column, change in ((0, 20.0), (1, jnp.nan)):
        rows = {**fresh.rows, "c": fresh.rows["c"].at[:, column].add(change)}
        found = fresh.predict(fresh.variables, rows)["dose_value"]
        known = np.isfinite(np.asarray(fresh.rows["c"])[:, column])
        assert 0 < known.sum() < len(known)
        assert (np.abs(found - base)[known] > 1e-4).all()
        np.testing.assert_array_equal(found[~known], base[~known])


def moved(fresh, other):
    """The variables of one arm for another whose genes have another order."""
    places = np.arange(fresh.shape.tokens)
    first = FIRST
    for name, width in fresh.shape.widths.items():
        old = fresh.chosen(name)
        places[first : first + width] = [first + old.index(gene) for gene in other.chosen(name)]
        first += width
    assert (places != np.arange(len(places))).any()
    encoder = dict(fresh.variables["params"][ENCODER])
    for key in ("token", "value"):
        by_token = lambda leaf: leaf[places] if len(leaf) == len(places) else leaf
        encoder[key] = jax.tree.map(by_token, encoder[key])
    params = {**fresh.variables["params"], ENCODER: encoder}
    return {**other.variables, "params": params}


@pytest.mark.parametrize("encoding", ["bias", "linear"])
def test_the_order_of_genes_in_a_file_means_nothing(encoding):
    """A gene keeps its vector wherever its column stands; without that genes are mixed up."""
    words = (COVARIATES, FEW, f"--config.model.encoding={encoding}")
    fresh = fresh_arm(*words)
    rng = np.random.default_rng(5)
    modalities = {
        name: m.select_features(rng.permutation(m.features))
        for name, m in patients().modalities.items()
    }
    other = FreshArm(*words, dataset=replace(patients(), modalities=modalities))
    assert all(
        set(other.chosen(name)) == set(fresh.chosen(name)) != other.chosen(name)
        for name in modalities
    )
    expected = fresh.predict(fresh.variables, fresh.rows)["dose_value"]
    found = other.predict(moved(fresh, other), other.rows)["dose_value"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    mixed_up = {**other.variables, "params": fresh.variables["params"]}
    assert np.abs(other.predict(mixed_up, other.rows)["dose_value"] - expected).max() > 1e-3


def mlp():
    return FreshArm(COVARIATES, arm=1)


def test_dense_layers_read_the_same_values_without_the_first_token():
    fresh = mlp()
    profile = model.profiles(fresh.shape, fresh.constants, fresh.rows)
    kernel = fresh.variables["params"][ENCODER]["Block_0"]["Dense_0"]["kernel"]
    hidden = np.asarray(profile.values)[:, 1:] @ np.asarray(kernel)
    z = fresh.network.encode(fresh.variables, fresh.rows, None).embedding
    np.testing.assert_allclose(z, np.where(hidden > 0, hidden, 0.2 * hidden), rtol=1e-3, atol=1e-5)


# --- pools ----------------------------------------------------------------------------------------


def pools_by_hand(w, t, exists):
    """The pools of one patient: tokens (T, d), and which of them exist."""
    present = t[exists]
    weights = np.exp(present @ w)
    attention = (weights / weights.sum()) @ present
    return {
        "attention": attention,
        "cls": t[0],
        "cls_attention": np.concatenate([t[0], attention]),
        "mean": present.mean(axis=0),
        "flatten": np.where(exists[:, None], t, 0).ravel(),
    }


@pytest.mark.parametrize("how", model.POOLS)
def test_pools_by_hand(how):
    rng = np.random.default_rng(0)
    t, w = rng.normal(size=(5, 7, 3)), rng.normal(size=3)
    exists = rng.random((5, 7)) < 0.6
    exists[:, 0], exists[0, 1:] = True, False  # a patient without a gene has the first token
    found = model.pooled(how, {"pool": jnp.float32(w)}, jnp.float32(t), jnp.asarray(exists))
    expected = [pools_by_hand(w, *patient)[how] for patient in zip(t, exists, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", model.POOLS)
def test_what_does_not_exist_reaches_no_pool(how):
    rng = np.random.default_rng(1)
    t, exists = jnp.float32(rng.normal(size=(4, 6, 3))), jnp.asarray(rng.random((4, 6)) < 0.5)
    exists = exists.at[:, 0].set(True)
    p = {"pool": jnp.float32(rng.normal(size=3))}
    spoiled = jnp.where(exists[:, :, None], t, 1e6)
    np.testing.assert_array_equal(
        model.pooled(how, p, t, exists), model.pooled(how, p, spoiled, exists)
    )


@pytest.mark.parametrize("how", model.POOLS)
def test_the_embedding_is_as_wide_as_its_pool_says(how):
    fresh = fresh_arm(COVARIATES, FEW)
    config = fresh.config.copy_and_resolve_references()
    config.model.pool = how
    shape = replace(fresh.shape, config=config)
    encoded = jax.eval_shape(
        lambda: model.encode(shape, fresh.variables, fresh.rows, None).embedding
    )
    assert encoded.shape == (len(fresh.dataset), shape.embedding)


# --- losses ---------------------------------------------------------------------------------------


def test_the_losses_ignore_unknown_outcomes():
    fresh = fresh_arm(COVARIATES)
    loss = jax.jit(fresh.stages["all"].loss)
    spoiled = dict(fresh.rows)
    for name in ("kind", "dose"):
        known = fresh.rows[f"k_{name}"]
        assert 0 < known.sum() < len(known)
        spoiled[f"y_{name}"] = jnp.where(known, fresh.rows[f"y_{name}"], 1e6)
    key = jax.random.key(1)
    terms, _ = loss(fresh.variables, {SLOT: fresh.rows}, key)
    others, _ = loss(fresh.variables, {SLOT: spoiled}, key)
    for name in ("kind", "dose"):
        assert float(terms[f"task_{name}"].weight) == fresh.rows[f"k_{name}"].sum()
        assert float(others[f"task_{name}"].sum) == float(terms[f"task_{name}"].sum) > 0
    known_of_less = {**fresh.rows, "k_dose": fresh.rows["k_dose"].at[:20].set(False)}
    fewer, _ = loss(fresh.variables, {SLOT: known_of_less}, key)
    assert float(fewer["task_dose"].sum) < float(terms["task_dose"].sum)


# --- genes are chosen inside the fold -------------------------------------------------------------


def mad_by_hand(values, axis):
    return median_abs_deviation(values, axis=axis, nan_policy="omit")


def test_the_median_absolute_deviation_is_that_of_scipy():
    modality, train = patients().modalities["rna"], np.arange(0, 45, 2)
    found = SPREADS["mad"](modality, train, training_statistics(modality, train, "rna"))
    seen = modality.mask[train].any(axis=0)
    expected = mad_by_hand(measured("rna", train)[:, seen], axis=0)
    np.testing.assert_allclose(found[seen], expected, rtol=1e-6)
    assert not found[~seen].any() and (expected > 0).sum() > 5


@pytest.mark.parametrize(("spread", "by_hand"), [("variance", np.nanvar), ("mad", mad_by_hand)])
def test_genes_are_chosen_by_the_training_rows_of_the_fold_alone(spread, by_hand):
    words = (COVARIATES, FEW, f"--config.preprocess.spread={spread}")
    fresh = fresh_arm(*words)
    for name in ("rna", "mirna"):
        places = chosen_by_hand(name, fresh.train, 4, by_hand)
        assert fresh.chosen(name) == patients().modalities[name].features[places].tolist()
    names = patients().modalities["rna"].features.tolist()
    (left_out, *_) = [
        j for j, gene in enumerate(names) if gene not in (*fresh.chosen("rna"), CONSTANT, UNSEEN)
    ]
    test = fresh.replicate.test
    wild = with_cells(patients(), "rna", test, left_out, 1e4)
    wild = with_cells(wild, "rna", test[::2], left_out, -1e4)
    other = FreshArm(*words, dataset=wild)
    np.testing.assert_array_equal(other.train, fresh.train)
    assert other.chosen("rna") == fresh.chosen("rna")
    for key in ("fill", "low", "high", "sd"):
        np.testing.assert_array_equal(other.constants[f"rna_{key}"], fresh.constants[f"rna_{key}"])


def test_the_two_spreads_choose_other_genes():
    chosen = [
        fresh_arm(COVARIATES, FEW, f"--config.preprocess.spread={spread}").chosen("rna")
        for spread in ("variance", "mad")
    ]
    assert chosen[0] != chosen[1]


def test_simple_models_read_the_genes_of_the_fold():
    fresh = fresh_arm(COVARIATES, FEW, "--config.preprocess.spread=mad")
    train, test = (fresh.arm.dataset.take(rows) for rows in (fresh.train, fresh.replicate.test))
    x, x_test = assembly.scaled_values(fresh.config, fresh.arm.spec, train, test)
    genes, covariates = 8, 3  # age, female and male
    assert x.shape == (len(train), genes + covariates)
    assert x_test.shape == (len(test), genes + covariates)
    place = 0
    for name in ("rna", "mirna"):
        for gene in fresh.chosen(name):
            (column,) = np.flatnonzero(patients().modalities[name].features == gene)
            values = measured(name, fresh.train)[:, column]
            filled = np.where(np.isfinite(values), values, np.nanmean(values))
            expected = (filled - np.nanmin(values)) / np.ptp(values[np.isfinite(values)])
            np.testing.assert_allclose(x[:, place], expected, atol=1e-5)
            place += 1


# --- exchanged values -----------------------------------------------------------------------------


def test_exchanging_values_among_genes_keeps_each_patients_values():
    mixed = shuffled(patients(), 0)
    for name, modality in patients().modalities.items():
        other = mixed.modalities[name]
        assert (other.values != modality.values).any(axis=1).all()
        for i in range(len(patients())):
            ours, theirs = (np.sort(m.values[i][m.mask[i]]) for m in (modality, other))
            np.testing.assert_array_equal(ours, theirs)
    again = shuffled(patients(), 0).modalities["rna"].values
    np.testing.assert_array_equal(again, mixed.modalities["rna"].values)


def test_simple_models_read_the_covariates_too():
    """On the scale of the genes, and the training mean where one is unknown."""
    n = 30
    sex = np.where(np.arange(n) % 3 == 0, "f", "m").astype(object)
    sex[4] = ""
    data = with_covariate(n, sex)
    config = config_of(SMOKE, "--config.data.covariates=('sex',)")
    spec = assembly.Spec(
        {"rna": tuple(data.modalities["rna"].features.tolist())},
        {},
        widths={"rna": 3},
        levels={"sex": ("f", "m")},
    )
    x, x_test = assembly.scaled_values(config, spec, data, data.take(np.arange(5)))
    assert x.shape == (n, 3 + 2) and x_test.shape == (5, 3 + 2)
    np.testing.assert_allclose(x_test, x[:5], rtol=1e-6)
    unit = x[:, :3].std(axis=0).mean()
    np.testing.assert_allclose(np.delete(x[:, 3:], 4, axis=0).std(axis=0), unit, rtol=1e-5)
    assert not x[4, 3:].any()
    assert (x[[0, 3], 3] > 0).all() and (x[[1, 2], 3] < 0).all()


def with_covariate(n, sex):
    values = np.random.default_rng(0).normal(8, 1, (n, 3)).astype(np.float32)
    ids = np.array([f"P{i}" for i in range(n)])
    table = pd.DataFrame({"sex": sex}, index=ids)
    modality = Modality(values, np.ones(values.shape, bool), np.array(["a", "b", "c"]))
    return Dataset(ids, ids, {"rna": modality}, table, {})


# --- few labelled patients ------------------------------------------------------------------------


def test_few_labelled_patients_have_an_outcome_and_are_among_more():
    rng = np.random.default_rng(0)
    is_labelled = rng.random(1000) < 0.4
    split = Split(np.arange(600), np.arange(600, 800), np.arange(800, 1000), fold=0, repeat=0)
    strata = (rng.random(1000) < 0.1).astype(float)
    few, more = (few_labelled(split, count, is_labelled, strata) for count in (50, 100))
    for own, count in ((few, 50), (more, 100)):
        assert len(own.train) == count and is_labelled[own.train].all()
        assert is_labelled[own.validation].all() and set(own.validation) <= set(split.validation)
        assert own.test is split.test
        share = strata[:600][is_labelled[:600]].mean()
        assert abs(strata[own.train].sum() - share * count) <= 1
    assert set(few.train) < set(more.train) and set(few.validation) <= set(more.validation)
    labelled = is_labelled[:600].sum()
    assert len(few.validation) == 30  # the least
    share = 200 / labelled * is_labelled[600:800].sum()
    assert len(few_labelled(split, 200, is_labelled, strata).validation) == round(share)
    with pytest.raises(UserError, match=f"has {labelled}, and fold 0 has {labelled} training"):
        few_labelled(split, int(labelled), is_labelled, strata)


# --- the linear map -------------------------------------------------------------------------------


def test_the_heads_read_a_linear_map_of_all_values_beside_the_tokens():
    arm = fresh_arm("--config.model.linear=3", "--config.data.covariates=('age','sex')")
    without = fresh_arm("--config.data.covariates=('age','sex')")
    p = arm.variables["params"][model.ENCODER]
    profile = model.profiles(arm.shape, arm.variables["constants"], arm.rows)
    z = np.asarray(model.encode_profiles(arm.shape, arm.variables, profile))
    assert z.shape[1] == arm.shape.embedding == without.shape.embedding + 3
    x = np.where(profile.exists, profile.values, 0).astype(float)
    np.testing.assert_allclose(z[:, -3:], x @ np.asarray(p["linear"], float), rtol=1e-5, atol=1e-6)
    dropped = model.encode_profiles(
        arm.shape, arm.variables, profile, Randomness(jax.random.key(0), arm.rows["row"])
    )
    assert not np.allclose(dropped[:, -3:], z[:, -3:])


def test_absolute_weights_of_the_linear_map_are_in_the_loss():
    """Once, however many patients a batch has; nothing of it in validation."""
    sparse, dense = (
        fresh_arm("--config.model.linear=3", f"--config.model.linear_penalty={penalty}")
        for penalty in (0.5, 0)
    )
    variables = sparse.variables
    absolute = np.abs(np.asarray(variables["params"][ENCODER]["linear"], float)).sum()

    @jax.jit
    def objective_and_monitor(rows):
        found = []
        for stage in (arm.arm.system.stages[-1] for arm in (sparse, dense)):
            terms, _ = stage.loss(variables, {SLOT: rows}, jax.random.key(0))
            found.append((stage.objective(terms), stage.monitor(variables, {SLOT: rows})))
        return found

    for count in (9, len(patients())):
        rows = jax.tree.map(lambda values, n=count: values[:n], sparse.rows)
        (objective, monitored), (without, expected) = objective_and_monitor(rows)
        np.testing.assert_allclose(objective - without, 0.5 * absolute, rtol=1e-4)
        jax.tree.map(np.testing.assert_array_equal, monitored, expected)
