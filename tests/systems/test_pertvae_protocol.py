"""PertVAE's protocol and judgement: folds, baselines, scores and conclusions."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from command import ROOT, config_of
from scipy import stats

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.data.perturbation.simulate import simulate_perturbations
from omics_jax.study.system import Results
from omics_jax.systems.pertvae import assembly, conclusions, experiments, model, scoring

SMOKE = f"--config={ROOT}/configs/pertvae.py:smoke"


@pytest.fixture(scope="module")
def config():
    return config_of(
        SMOKE, "--config.folds=4", "--config.repeats=2", "--config.simulator.replicates=2"
    )


@pytest.fixture(scope="module")
def dataset(config):
    return assembly.read(config)


@pytest.fixture(scope="module")
def replicates(config, dataset):
    return experiments.table1(config, dataset)[0].replicates


# Folds


def test_there_is_a_replicate_per_drug_repeat_and_fold(replicates):
    labels = [(r.labels["group"], r.labels["repeat"], r.labels["fold"]) for r in replicates]
    assert sorted(labels) == [
        (d, r, f) for d in ("active-1", "inert-1") for r in range(2) for f in range(4)
    ]


def test_cell_lines_never_part_and_singletons_follow_their_line(dataset, replicates):
    paired = dataset.modalities["treated"].observed_rows
    drug = dataset.table["drug"].to_numpy()
    shared = set(dataset.groups[~paired]) & set(dataset.groups[paired])
    assert shared, "the simulator gives some lines with pairs a singleton as well"
    followed = 0
    for r in replicates:
        sets = {name: set(dataset.groups[rows]) for name, rows in (
            ("pairs", r.rows["pairs"]), ("singletons", r.rows["singletons"]),
            ("validation", r.validation["pairs"]), ("test", r.test))}  # fmt: skip
        held_out = sets["validation"] | sets["test"]
        assert (
            not sets["validation"] & sets["test"]
            and not (sets["pairs"] | sets["singletons"]) & held_out
        )
        assert paired[r.rows["pairs"]].all() and not paired[r.rows["singletons"]].any()
        every = np.concatenate([r.rows["pairs"], r.validation["pairs"], r.test])
        assert sorted(every) == np.flatnonzero(paired & (drug == r.labels["group"])).tolist()
        # All singletons are used but those of held-out lines.
        left = set(np.flatnonzero(~paired)) - set(r.rows["singletons"])
        assert set(dataset.groups[sorted(left)]) == held_out & set(dataset.groups[~paired])
        followed += len(left)
    assert followed > 0


def test_validation_is_the_next_fold(dataset, replicates):
    test = {
        (r.labels["group"], r.labels["repeat"], r.labels["fold"]): set(r.test) for r in replicates
    }
    for r in replicates:
        group, repeat, fold = (r.labels[k] for k in ("group", "repeat", "fold"))
        assert set(r.validation["pairs"]) == test[group, repeat, (fold + 1) % 4]


def test_constants_come_from_training_rows_alone(config, dataset, replicates):
    r = replicates[0]
    control, treated = dataset.modalities["control"], dataset.modalities["treated"]
    l1000 = np.concatenate(
        [control.values[r.rows["pairs"]], treated.values[r.rows["pairs"]]]
    ).astype(np.float64)
    code = list(np.unique(dataset.table["platform"])).index("L1000")
    np.testing.assert_allclose(r.constants["mean"][code], l1000.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(r.constants["sd"][code], l1000.std(axis=0), rtol=1e-4)
    # What is held out may be anything.
    spoil = lambda m: replace(
        m, values=np.where(_rows(len(dataset), r), m.values, 1e3).astype(np.float32)
    )
    spoiled = replace(dataset, modalities={k: spoil(m) for k, m in dataset.modalities.items()})
    again = experiments.table1(config, spoiled)[0].replicates[0]
    for name in r.constants:
        np.testing.assert_array_equal(again.constants[name], r.constants[name])


def test_a_value_that_cannot_be_sets_no_scale_and_counts_as_the_end_of_the_range(
    config, dataset, replicates
):
    train = replicates[0].rows["pairs"]
    control = dataset.modalities["control"]
    values = control.values.copy()
    values[train[0], 0] = 1e7
    odd = replace(
        dataset, modalities={**dataset.modalities, "control": replace(control, values=values)}
    )
    before = replicates[0].constants
    after = experiments.table1(config, odd)[0].replicates[0].constants
    code = list(np.unique(dataset.table["platform"])).index("L1000")
    assert after["high"][code, 0] <= before["high"][code, 0]
    np.testing.assert_allclose(after["sd"][code, 0], before["sd"][code, 0], rtol=0.2)
    for name in ("mean", "sd", "low", "high"):
        np.testing.assert_array_equal(after[name][:, 1:], before[name][:, 1:])
    platform = np.array([code])
    row, seen = values[train[:1]], control.mask[train[:1]]
    on_device = jax.tree.map(jnp.asarray, (after, row, seen, platform))
    standard = np.asarray(model.standardize(*on_device))
    expected = (after["high"][code, 0] - after["mean"][code, 0]) / after["sd"][code, 0]
    np.testing.assert_allclose(standard[0, 0], expected, rtol=1e-5)
    plain = (row - after["mean"][platform]) / after["sd"][platform]
    np.testing.assert_allclose(standard[0, 1:], plain[0, 1:], rtol=1e-5)


def _rows(n, replicate):
    trained = np.zeros((n, 1), bool)
    trained[np.concatenate(list(replicate.rows.values()))] = True
    return trained


def test_weights_are_one_over_the_replicates_of_a_line_and_drug():
    uneven = simulate_perturbations(
        genes=20, drugs=1, null_drugs=0, cell_lines=6, replicates=3, singletons=0
    )[0]
    kept = np.delete(
        np.arange(len(uneven)), [0, 1, 4]
    )  # the first line keeps one pair, the second two
    config = config_of(SMOKE, "--config.data.weight_replicates=True", "--config.folds=3")
    dataset = uneven.take(kept)
    for r in experiments.table1(config, dataset)[0].replicates:
        groups = dataset.groups[r.rows["pairs"]]
        expected = [1 / list(groups).count(g) for g in groups]
        np.testing.assert_allclose(r.sampling["pairs"], expected)
        assert set(r.rows) == {"pairs"}


def test_shares_follow_the_rows():
    assert assembly.shares(200, {"pairs": 300, "singletons": 1300}) == {
        "pairs": 38,
        "singletons": 163,
    }
    assert assembly.shares(16, {"pairs": 5}) == {"pairs": 5}
    assert assembly.shares(4, {"pairs": 1, "singletons": 100}) == {"pairs": 1, "singletons": 4}


# Scores


def tiny(control, treated, groups=("a", "b")) -> Dataset:
    """Rows of complete profiles; NaN marks an unobserved cell."""
    ids = np.array([f"r{i}" for i in range(len(control))])
    modality = lambda v: Modality(
        np.nan_to_num(np.asarray(v, np.float32)),
        ~np.isnan(v),
        np.array([f"g{j}" for j in range(np.shape(v)[1])]),
    )
    table = pd.DataFrame({"drug": "d", "platform": "p"}, index=ids)
    return Dataset(
        ids, np.array(groups), {"control": modality(control), "treated": modality(treated)}, table
    )


def test_scores_of_a_perturbation_by_hand():
    rng = np.random.default_rng(0)
    x1, x2, centre = rng.normal(size=(2, 12)), rng.normal(size=(2, 12)), rng.normal(size=(2, 12))
    x2[0, 3] = np.nan
    predicted, rec, sd = (
        rng.normal(size=(2, 12)),
        rng.normal(size=(2, 12)),
        rng.uniform(0.5, 1, (2, 12)),
    )
    f32 = lambda a: np.asarray(a, np.float32)
    model = {
        "x2_mean": predicted,
        "x1_reconstruction": rec,
        "x2_sd": sd,
        "z1": rng.normal(size=(2, 3)),
    }
    model["z2"] = model["z1"] + 1
    found = scoring.evaluate_perturbation(
        {k: f32(v) for k, v in model.items()}, tiny(x1, x2), tiny(x1, centre)
    )
    seen, mid = ~np.isnan(x2), centre.mean(axis=0)
    rows = lambda f: np.mean([f(i, seen[i]) for i in range(2)])
    spearman = lambda p, c: rows(lambda i, s: stats.spearmanr((p[i] - c)[s], (x2[i] - c)[s])[0])
    pearson = lambda change: rows(lambda i, s: stats.pearsonr(change[i][s], (x2 - x1)[i][s])[0])
    root_mean_square = lambda error: np.sqrt(np.mean(error[seen] ** 2))
    expected = {
        "rho_pred": spearman(predicted, 0),
        "rho_rec": spearman(rec, 0),
        "rho_pred_centred": spearman(predicted, mid),
        "rho_shift": spearman(x1 + predicted - rec, 0),
        "delta_pearson_shift": pearson(predicted - rec),
        "rmse_shift": root_mean_square(x1 + predicted - rec - x2),
        "delta_pearson": pearson(predicted - x1),
        "rmse": root_mean_square(predicted - x2),
        "coverage95": np.mean((np.abs(predicted - x2) <= 1.959964 * sd)[seen]),
    }
    for name, value in expected.items():
        assert found.metrics[name] == pytest.approx(value, abs=1e-5), name
    top = lambda d, s: set(np.flatnonzero(s)[np.argsort(-np.abs(d[s]))[:3]])  # 12 // 4 genes
    recall = rows(lambda i, s: len(top((predicted - x1)[i], s) & top((x2 - x1)[i], s)) / 3)
    assert found.metrics["top50_recall"] == pytest.approx(recall)
    change = found.frames["change"].rows
    np.testing.assert_allclose(change["observed"][3], (x2 - x1)[1, 3], rtol=1e-5)
    assert change["pairs"].tolist() == [2, 2, 2, 1] + [2] * 8


def test_baselines_never_see_test_rows():
    dataset = simulate_perturbations(genes=20, drugs=1, null_drugs=0, cell_lines=8, singletons=5)[0]
    train, test = dataset.take(np.arange(4, len(dataset))), dataset.take(np.arange(4))
    expected = scoring.perturbation_baselines(train, test)
    assert set(expected) >= {
        "no change",
        "mean shift",
        "ridge",
        "PCA + linear",
        "nearest cell line",
    }
    spoil = lambda m: replace(m, values=m.values + 100)
    blind = replace(
        test, modalities={**test.modalities, "treated": spoil(test.modalities["treated"])}
    )
    for name, found in scoring.perturbation_baselines(train, blind).items():
        np.testing.assert_array_equal(found["x2_mean"], expected[name]["x2_mean"])
    # A row's prediction depends on no other test row.
    for name, found in scoring.perturbation_baselines(train, test.take(np.array([2]))).items():
        np.testing.assert_allclose(found["x2_mean"], expected[name]["x2_mean"][2:3], rtol=1e-6)
    np.testing.assert_array_equal(
        expected["no change"]["x2_mean"], test.modalities["control"].values
    )
    assert (
        scoring.evaluate_perturbation(expected["no change"], test, train).metrics["delta_pearson"]
        == 0
    )


# Conclusions


def scores_frame(seed=0):
    """Two drugs, 2 repeats of 3 folds: the model better than its reconstruction for the first drug
    only.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for group, gain in (("works", 0.2), ("idle", 0.0)):
        for repeat in range(2):
            for fold in range(3):
                place = dict(
                    arm="pertvae", replicate=0, group=group, fold=fold, repeat=repeat, seed=0
                )
                place |= dict(n_train=20, n_test=10)
                metric = {
                    m: rng.normal(0.5, 0.05)
                    for m in ("rho_rec", "rmse", *conclusions.CHANGE_METRICS)
                }
                metric["rho_pred"] = metric["rho_rec"] + gain + rng.normal(0, 0.02)
                rival = {
                    m: rng.normal(0.3, 0.05)
                    for m in (*conclusions.PROFILE_METRICS, *conclusions.CHANGE_METRICS)
                }
                rows += [
                    {**place, "model": "model", "metric": k, "value": v} for k, v in metric.items()
                ]
                for name in ("no change", "ridge"):
                    rows += [
                        {**place, "model": name, "metric": k, "value": v} for k, v in rival.items()
                    ]
    return pd.DataFrame(rows)


def test_table1_against_scipy():
    frame = scores_frame()
    found = conclusions.conclude_perturbation(
        Results(frame, {}, {"works": (6, 30), "idle": (6, 28)})
    )
    table = found.tables["table1"].frame.set_index("drug")
    model = frame[frame["model"] == "model"]
    corrected = {}
    for group, part in model.groupby("group"):
        wide = part.pivot(index=["repeat", "fold"], columns="metric", values="value")
        d = (wide["rho_pred"] - wide["rho_rec"]).to_numpy()
        # Nadeau and Bengio: 1/J + n_test/n_train in the place of 1/J.
        t = d.mean() / np.sqrt((1 / 6 + 0.5) * d.var(ddof=1))
        corrected[group] = stats.t.sf(t, 5)
        row = table.loc[group]
        assert row["difference"] == pytest.approx(d.mean())
        assert row["p (corrected)"] == pytest.approx(corrected[group])
        whitney = stats.mannwhitneyu(
            wide["rho_pred"], wide["rho_rec"], alternative="greater"
        ).pvalue
        assert row["p (Mann-Whitney)"] == pytest.approx(whitney)
        assert row["rho_pred"] == pytest.approx(wide["rho_pred"].mean())
    adjusted = stats.false_discovery_control([corrected["works"], corrected["idle"]])
    np.testing.assert_allclose(table.loc[["works", "idle"], "p (corrected, BH)"], adjusted)
    assert table.loc["works", "p (corrected)"] < 0.01 < 0.05 < table.loc["idle", "p (corrected)"]
    assert (table.loc["works", "groups"], table.loc["works", "pairs"]) == (6, 30)
    judged = {(c["metric"], c["b"]) for c in found.comparisons}
    profiles = {(m, b) for m in ("rho_pred", "rmse") for b in ("no change", "ridge")}
    # Changes are compared with rivals that smooth the control as the model does, and with no
    # others.
    changes = {(m, "ridge") for m in ("delta_pearson", "top50_recall")}
    assert judged == {("rho", "reconstruction of x1")} | profiles | changes


def test_figure2_curve_and_tests():
    rng = np.random.default_rng(0)
    rows = []
    for latent, gain in ((2, 0.1), (50, -0.1)):
        for fold in range(5):
            place = dict(
                arm=f"latent {latent}", group="all", fold=fold, repeat=0, n_train=80, n_test=20
            )
            place |= {"metric": "rho_reconstruction"}
            pca = rng.normal(0.5, 0.02)
            rows.append({**place, "model": "PCA", "value": pca})
            rows.append({**place, "model": "model", "value": pca + gain + rng.normal(0, 0.01)})
    frame = pd.DataFrame(rows)
    labels = {"latent 2": {"latent": 2}, "latent 50": {"latent": 50}}
    found = conclusions.conclude_reconstruction(Results(frame, {}, {}, labels))
    curve = found.tables["figure2"].frame.set_index(["x", "series"])
    means = frame.groupby(["arm", "model"])["value"].mean()
    assert curve.loc[(2, "VAE"), "y"] == pytest.approx(means["latent 2", "model"])
    assert curve.loc[(50, "PCA"), "y"] == pytest.approx(means["latent 50", "PCA"])
    differences = [c["difference"] for c in found.comparisons]
    assert differences[0] > 0.05 and differences[1] < -0.05
    p = [c["p"] for c in found.comparisons]
    np.testing.assert_allclose(
        [c["p_adjusted"] for c in found.comparisons], stats.false_discovery_control(p)
    )
