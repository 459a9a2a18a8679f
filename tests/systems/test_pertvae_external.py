"""PertVAE's models tested on the pairs of another file: which pairs, what is refused, and scores
against the metrics by hand.
"""

import json

import jax
import numpy as np
import pandas as pd
import pytest
from command import ROOT, command, config_of
from every_arm import with_values
from fitted_arms import fitted
from scipy.stats import spearmanr

from omics_jax.errors import UserError
from omics_jax.evaluation import bootstrap
from omics_jax.evaluation.tables import Frame
from omics_jax.run.command import system_module
from omics_jax.study.system import Results
from omics_jax.systems.pertvae import assembly, conclusions, external

MODULE = system_module("pertvae")
EXTERNAL = f"--config={ROOT}/configs/pertvae.py:external,smoke"
GENES = 12


def profiles(name, lines, drugs, seed, first=0):
    """Profiles of a control and of every drug in every line, and their conditions."""
    rng = np.random.default_rng(seed)
    genes = [f"g{j:02d}" for j in range(first, first + GENES)]
    rows = [(line, drug) for line in lines for drug in ("DMSO", *drugs)]
    ids = [f"{name}_{line}_{drug}" for line, drug in rows]
    conditions = pd.DataFrame(rows, columns=["cell_id", "pert_iname"]).assign(
        sample=ids,
        pert_dose=1,
        pert_time=24,
        pert_type=["control" if drug == "DMSO" else "treated" for _, drug in rows],
    )
    return pd.DataFrame(rng.normal(8, 2, (len(ids), GENES)), ids, genes), conditions


def write(folder, name, tables):
    matrix, conditions = tables
    matrix.to_csv(folder / f"{name}.csv", index_label="sample")
    conditions.to_csv(folder / f"{name}_conditions.csv", index=False)


OURS = profiles("in", [f"L-{i}" for i in range(6)], ("alpha", "beta"), 0)
THEIRS = profiles("out", ["l1", "M7", "M8"], ("Alpha", "gamma"), 1, first=2)


@pytest.fixture
def files(tmp_path):
    write(tmp_path, "in", OURS)
    write(tmp_path, "out", THEIRS)
    return tmp_path


def words(folder, theirs="out"):
    return [
        f"--config.data.path={folder}/in.csv",
        f"--config.data.conditions={folder}/in_conditions.csv",
        "--config.data.columns.sample=sample",
        "--config.data.orientation=samples",
        "--config.data.min_genes=5",
        f"--config.data.external.path={folder}/{theirs}.csv",
        f"--config.data.external.conditions={folder}/{theirs}_conditions.csv",
    ]


def test_pairs_of_the_drugs_and_genes_of_both_files(files):
    dataset = MODULE.read(config_of(EXTERNAL, *words(files)))
    outside = (dataset.table["set"] == "external").to_numpy()
    assert outside.sum() == 3 and (~outside).sum() == 6
    assert set(dataset.table["drug"]) == {"alpha"} and set(dataset.table["platform"]) == {"in"}
    assert dataset.table["cell_line"][outside].tolist() == ["L-1", "M7", "M8"]
    assert dataset.groups[outside].tolist() == ["L-1", "M7", "M8"]
    genes = [f"g{j:02d}" for j in range(2, 12)]
    for name, drug in (("control", "DMSO"), ("treated", "Alpha")):
        modality = dataset.modalities[name]
        assert modality.features.tolist() == genes and modality.mask.all()
        expected = THEIRS[0].loc[[f"out_{line}_{drug}" for line in ("l1", "M7", "M8")], genes]
        np.testing.assert_allclose(modality.values[outside], expected, rtol=1e-6)
    said = "\n".join(dataset.notes)
    for sentence in (
        "external: 3 pairs, taken to be of the platform in",
        "1 drug (beta) is in --config.data.path only, and left out",
        "1 drug (gamma) is in --config.data.external.path only, and left out",
        "10 genes of both sets are used, of 12 in --config.data.path and 12 in",
        "1 cell line (L-1) is in both sets: their scores say how well new measurements of known",
    ):
        assert sentence in said


def test_every_training_tests_all_external_pairs_of_its_drug():
    config = config_of(EXTERNAL)
    dataset = MODULE.read(config)
    outside = (dataset.table["set"] == "external").to_numpy()
    assert outside.sum() == 18 and not set(dataset.groups[outside]) & set(dataset.groups[~outside])
    (arm,) = MODULE.EXPERIMENTS["external"].arms(config, dataset)
    for replicate in arm.replicates:
        drug = (dataset.table["drug"] == replicate.labels["group"]).to_numpy()
        np.testing.assert_array_equal(replicate.test, np.flatnonzero(outside & drug))
        ours = np.concatenate([replicate.rows["pairs"], *replicate.validation.values()])
        np.testing.assert_array_equal(np.sort(ours), np.flatnonzero(drug & ~outside))
        assert not outside[replicate.rows["singletons"]].any()
    together = config_of(EXTERNAL, "--config.model.per_drug=False")
    (arm,) = MODULE.EXPERIMENTS["external"].arms(together, dataset)
    np.testing.assert_array_equal(arm.replicates[0].test, np.flatnonzero(outside))


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (profiles("out", ["M7"], ("gamma",), 1), "of gamma, and --config.data.path of alpha, beta"),
        (
            profiles("out", ["M7"], ("alpha",), 1, first=9),
            "shares 3 of 12 genes with --config",
        ),
        (OURS, "18 profiles (in_L-0_DMSO, in_L-0_alpha,"),
    ],
    ids=["drugs", "genes", "measurements"],
)
def test_what_does_not_fit_is_refused_in_one_sentence(files, theirs, sentence):
    write(files, "other", theirs)
    outcome = command(EXTERNAL, *words(files, "other"), "--mode=inspect")
    assert outcome.status == 2 and sentence in outcome.err and "Traceback" not in outcome.err


def test_files_are_named_for_this_experiment_and_no_other(files):
    with pytest.raises(
        UserError, match="external.path is for the experiment external, and this is"
    ):
        MODULE.read(config_of(EXTERNAL.replace("external,", "table1,"), *words(files)))
    alone = config_of(EXTERNAL, *words(files)[:-2])
    with pytest.raises(UserError, match="needs pairs to test on; name their files with --config.d"):
        MODULE.EXPERIMENTS["external"].arms(alone, MODULE.read(alone))


def test_new_profiles_with_conditions_are_told_where_they_are_scored(files):
    path = f"--config.data.path={files}/out.csv"
    config = config_of(EXTERNAL, path, f"--config.data.conditions={files}/out_conditions.csv")
    spec = assembly.Spec({"control": tuple(OURS[0].columns)}, {}, ("in",))
    config.data.min_genes = 5
    told = [n for n in assembly.read_new(config, spec, config).notes if "experiment external" in n]
    assert len(told) == 1 and told[0].endswith(
        "as --config.data.external.path, --config.data.external.conditions"
    )


def pair_rows(model, fold, noise, lines=12):
    """Scores of one pair per line of two drugs, one of which some lines lack."""
    rng = np.random.default_rng(fold + int(100 * noise))
    pairs = [(d, line) for d in ("a", "b") for line in range(lines) if d == "a" or line % 3]
    n = len(pairs)
    columns = {"rho_pred": 0.8, "delta_pearson": 0.5, "top50_recall": 0.4}
    if model == "model":
        columns["rho_rec"] = 0.7
    frame = pd.DataFrame({name: mean - noise * rng.random(n) for name, mean in columns.items()})
    frame["squared_error"], frame["cells"] = (1 + noise) * rng.random(n), rng.integers(5, 9, n)
    drug, line = zip(*pairs, strict=True)
    return frame.assign(
        id=[f"{d}{i}" for d, i in pairs],
        person=[f"line{i:02d}" for i in line],
        group=drug,
        fold=fold,
        model=model,
        arm="pertvae",
    )


@pytest.fixture
def results(monkeypatch):
    monkeypatch.setattr("omics_jax.systems.pertvae.external.DRAWS", 60)
    models = (("model", 0.1), ("no change", 0.3), ("ridge", 0.2))
    frames = [pair_rows(m, f, noise) for m, noise in models for f in range(3)]
    rows = pd.concat(frames).sample(frac=1, random_state=0)
    scores = pd.DataFrame({"model": [m for m, _ in models], "metric": "rho_pred"})
    return Results(scores, {"pairs": Frame("pairs", rows)}, {"a": (12, 12), "b": (8, 8)}, {})


def test_draws_are_the_means_of_the_drawn_lines_pairs_drug_by_drug(results):
    drawn = external.resample(results)
    rows = results.frames["pairs"].rows.query("model == 'ridge' and fold == 1")
    rows = rows.sort_values(["group", "id"]).reset_index(drop=True)
    for d, chosen in enumerate(bootstrap.draw_rows(len(rows), rows["person"].to_numpy(), 60, 0)):
        part = rows.loc[chosen]
        for k, drug in enumerate(drawn.drugs):
            pairs = part[part["group"] == drug]
            found = drawn.scores["ridge", "rho_pred"].draws[d, 1, k]
            assert found == pytest.approx(pairs["rho_pred"].mean(), nan_ok=True)
            rmse = np.sqrt(pairs["squared_error"].sum() / pairs["cells"].sum())
            assert drawn.scores["ridge", "rmse"].draws[d, 1, k] == pytest.approx(rmse)
    assert set(drawn.drugs) == {"a", "b"}


def test_conclusions_hold_intervals_and_tests_by_drug(results):
    found = conclusions.conclude_external(results)
    low, high = found.intervals["pertvae", "model", "rho_pred"]
    rows = results.frames["pairs"].rows.query("model == 'model'")
    mean = rows.groupby(["fold", "group"])["rho_pred"].mean().mean()
    assert low < mean < high and found.method == "bootstrap of test cell lines and trainings"
    tests = [t for t in found.comparisons if (t["metric"], t["b"]) == ("rho_pred", "no change")]
    assert {t["group"] for t in tests} == {"a", "b"}
    for test in tests:
        assert test["ci95"][0] < test["difference"] < test["ci95"][1]
        assert test["difference"] > 0 and test["p"] <= test["p_adjusted"] <= 1
    assert found.tables["external"].frame["pairs"].tolist() == [
        results.sizes[drug][1] for drug in found.tables["external"].frame["drug"]
    ]


@pytest.mark.slow
def test_external_profiles_reach_no_trained_bit(tmp_path):
    config = config_of(EXTERNAL)
    dataset = MODULE.read(config)
    outside = np.flatnonzero(dataset.table["set"] == "external")
    trained = []
    for name, given in (
        ("one", dataset),
        ("two", with_values(dataset, outside, lambda values: 20 - 2 * values)),
    ):
        (arm,) = MODULE.EXPERIMENTS["external"].arms(config, given)
        trained.append(fitted(arm, tmp_path / name)[0])
    for a, b in zip(*map(jax.tree.leaves, trained), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.optimised
def test_scores_are_those_of_the_stored_predictions(files, tmp_path):
    run = tmp_path / "run"
    outcome = command(EXTERNAL, *words(files), f"--workdir={run}")
    assert outcome.status == 0, outcome.err
    found = json.loads((run / "metrics.json").read_text())
    with np.load(run / "predictions.npz") as stored:
        fields = {key.removeprefix("pertvae/"): stored[key] for key in stored.files}
    dataset = MODULE.read(config_of(EXTERNAL, *words(files)))
    row_of = {name: row for row, name in enumerate(dataset.ids)}
    observed = dataset.modalities["treated"].values[[row_of[name] for name in fields["id"]]]
    by_fold = []
    for fold in range(3):
        rows = fields["replicate"] == fold
        pairs = zip(fields["x2_mean"][rows], observed[rows], strict=True)
        correlations = np.array([spearmanr(*pair).statistic for pair in pairs])
        by_fold.append(correlations.mean())
    summary = found["summary"]["rho_pred"]
    assert summary["mean"] == pytest.approx(np.mean(by_fold), rel=1e-5)
    assert summary["ci_method"] == "bootstrap of test cell lines and trainings"
    assert found["summary"]["coverage95"]["ci_method"].startswith("none")
    assert {"mean shift", "no change"} <= found["baselines"].keys()
