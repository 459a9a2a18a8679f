"""The experiment pathways of MIRACLE: permuted outcomes, attributions, and what is concluded."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from batches import batch_of, constants_of
from command import ROOT, config_of
from scipy import stats

from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Frame
from omics_jax.run import doubts
from omics_jax.run.command import system_module
from omics_jax.study.system import MODEL, Results
from omics_jax.systems.miracle import explained, findings, permuted, sites
from omics_jax.systems.miracle.model import SLOT
from omics_jax.systems.miracle.pathways import NETWORK
from omics_jax.systems.miracle.reading import knowledge_of
from omics_jax.tasks.task import tasks_of

MODULE = system_module("miracle")
CONFIG = f"--config={ROOT}/configs/miracle.py:pathways,smoke"


def arms_with(*words):
    config = config_of(CONFIG, *words)
    dataset = MODULE.read(config)
    arms = {arm.name: arm for arm in MODULE.EXPERIMENTS["pathways"].arms(config, dataset)}
    return config, dataset, arms


@pytest.fixture(scope="module")
def selected():
    """(config, dataset, arms) in which every fold selects its own sites."""
    return arms_with("--config.selection.method=t", "--config.selection.sites=8")


NULL = permuted.permuted_name(NETWORK)


# --- permuted outcomes ----------------------------------------------------------------------------


def test_people_of_a_study_exchange_outcomes_with_all_their_samples():
    groups = np.array(["a", "b", "a", "c", "d", "e", "e", "f"])
    strata = np.array([0, 0, 0, 0, 1, 0, 0, 1])
    seen = set()
    for seed in range(40):
        source = permuted.exchanged(groups, strata, np.random.default_rng(seed))
        assert sorted(source) == list(range(8))
        assert (strata[source] == strata).all()
        a, e = source[[0, 2]].tolist(), source[[5, 6]].tolist()
        assert {tuple(a), tuple(e)} == {(0, 2), (5, 6)}
        seen.add(tuple(source))
    assert len(seen) == 8  # 2 of b and c, 2 of d and f, 2 of a and e


def test_a_fold_is_tested_on_the_outcomes_on_which_the_others_are_trained(selected):
    """And neither sees outcomes of its own test people; the numbers of cases stay."""
    config, dataset, arms = selected
    assert arms[NULL].is_null and not arms[NETWORK].is_null
    folds = arms[NULL].replicates[: config.folds]
    differ = 0
    for task in tasks_of(dataset):
        field = f"y_{task.name}"
        values, known = dataset.targets[task.name]
        for tested in folds:
            rows = tested.test
            assert not tested.constants[field][rows].any()
            light = replace(dataset, modalities={}).take(rows)
            seed = (config.seed, int(tested.constants["draw"]))
            own = permuted.permuted_targets(light, tasks_of(dataset), seed)[task.name][0]
            mask = known[rows]
            assert sorted(own[mask]) == sorted(values[rows][mask])
            differ += (own[mask] != values[rows][mask]).sum()
            for other in folds:
                if other is not tested:
                    np.testing.assert_array_equal(other.constants[field][rows][mask], own[mask])
    assert differ > 5


def test_every_permutation_selects_its_sites_by_its_own_outcomes(selected):
    config, dataset, arms = selected
    real, null = arms[NETWORK].replicates, arms[NULL].replicates
    assert len(null) == config.interpret.permutations * config.folds
    tasks = tasks_of(dataset)
    replicate = null[1]
    targets = {
        task.name: (
            replicate.constants[f"y_{task.name}"].astype(int),
            dataset.targets[task.name][1],
        )
        for task in tasks
    }
    expected = sites.fit_sites(
        dataset.modalities["methylation"],
        arms_covariates(dataset),
        np.ones(arms_covariates(dataset).shape[1], bool),
        replace(dataset, targets=targets),
        tasks,
        sites.Selection("t", 8),
        replicate.rows[SLOT],
        "fold 1",
    )
    for name, values in expected.items():
        np.testing.assert_array_equal(replicate.constants[name], values, err_msg=name)
    assert not np.array_equal(replicate.constants["columns"], real[1].constants["columns"])
    seeds = [r.seed for r in (*real, *null)]
    assert len(set(seeds)) == len(seeds)


def test_networks_on_permuted_outcomes_need_learn_nothing(selected, monkeypatch):
    _, dataset, arms = selected
    field = f"{tasks_of(dataset)[0].name}_probability"
    monkeypatch.setattr(doubts, "load_arrays", lambda path: ({field: np.full((9, 2), 0.5)}, {}))
    monkeypatch.setattr(doubts, "load_outcome", lambda *place: None)
    found = doubts.find_doubts([arms[NETWORK], arms[NULL]], Path("run"))
    assert len(found) == len(arms[NETWORK].replicates) and set(found["arm"]) == {NETWORK}


def arms_covariates(dataset):
    study = dataset.table["study"].astype(str).to_numpy()
    return np.stack([study == name for name in sorted(set(study))], axis=1).astype(np.float32)


def test_bounds_of_the_null_come_from_permuted_networks_for_one_outcome():
    _, dataset, arms = arms_with("--config.balancing.name=pwinval")
    names = [task.name for task in tasks_of(dataset)]
    alone = [f"{name} alone" for name in names]
    assert arms[NETWORK].sources == tuple(alone)
    assert arms[NULL].sources == tuple(map(permuted.permuted_name, alone))
    order = list(arms)
    assert order.index(arms[NULL].sources[-1]) < order.index(NULL)
    for name in names:
        own = arms[permuted.permuted_name(f"{name} alone")].replicates
        for single, joint in zip(own, arms[NULL].replicates, strict=True):
            rows, field = single.rows[SLOT], f"y_{name}"
            np.testing.assert_array_equal(
                single.constants[field][rows], joint.constants[field][rows]
            )


def test_data_without_two_classes_are_refused():
    config = config_of(CONFIG)
    dataset = MODULE.read(config)
    ages = dataset.table["age"].astype(float).to_numpy(np.float32)
    numbers = replace(dataset, targets={"age": (ages, np.ones(len(ages), bool))}, classes={})
    with pytest.raises(UserError, match="no outcome has two classes"):
        MODULE.EXPERIMENTS["pathways"].arms(config, numbers)


# --- what a network says --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def predicted(selected):
    """(arm, predictions, rows) of the network with its first weights, of the first fold's test."""
    _, _, arms = selected
    arm = arms[NETWORK]
    replicate = arm.replicates[0]
    rows = batch_of(arm.system.arrays(arm.dataset), replicate.test)
    constants = constants_of(replicate)
    drawn = arm.system.init(jax.random.key(5), {SLOT: rows}, constants)
    predict = jax.jit(arm.system.predict)
    variables = {**drawn, "constants": constants}
    return arm, jax.tree.map(np.asarray, predict(variables, rows)), (predict, variables, rows)


def test_attributions_add_up_to_the_rise_of_the_log_odds(predicted):
    """Over those of the person in whom every site has the training mean, by `predict` itself."""
    arm, out, (predict, variables, rows) = predicted
    unseen = {**rows, "m": np.zeros_like(rows["m"])}
    start = jax.tree.map(np.asarray, predict(variables, unseen))
    for task in tasks_of(arm.dataset):
        odds = [stats.logistic.ppf(each[f"{task.name}_probability"][:, 1]) for each in (out, start)]
        rise = odds[0] - odds[1]
        for level in ("pathways", "sites"):
            total = out[f"{task.name}_{level}"].sum(axis=1)
            np.testing.assert_allclose(total, rise, atol=0.02 * np.abs(rise).max())


def test_plain_values_and_genes_follow_the_connections(selected, predicted):
    """Counted one connection at a time."""
    config, dataset, _ = selected
    arm, out, (_, variables, rows) = predicted
    knowledge = knowledge_of(config, dataset)
    constants = {name: np.asarray(values) for name, values in variables["constants"].items()}
    used = constants["alive"]
    z = np.zeros((len(out["mean_z"]), len(knowledge.sites)))
    seen = np.zeros(z.shape, bool)
    columns = constants["columns"][used]
    own = {name: constants[name][..., used] for name in ("mean", "sd", "coef", "alive")}
    own |= {name: constants[name] for name in ("c_mean", "c_sd")}
    x, m = (np.asarray(rows[name])[:, columns] for name in ("x", "m"))
    z[:, columns], seen[:, columns] = sites.standardized(own, x, m, np.asarray(rows["c"])), m
    total, count = np.zeros(out["mean_z"].shape), np.zeros(out["mean_z"].shape)
    for site, gene in knowledge.genes.ends:
        for other, pathway in knowledge.pathways[0].ends:
            if gene == other:
                total[:, pathway] += z[:, site]
                count[:, pathway] += seen[:, site]
    np.testing.assert_allclose(out["mean_z"], total / np.maximum(count, 1), atol=1e-5)
    name = tasks_of(dataset)[0].name
    place = {site: i for i, site in enumerate(columns)}
    genes = np.zeros(out[f"{name}_genes"].shape)
    for site, gene in knowledge.genes.ends:
        if site in place:
            genes[:, gene] += out[f"{name}_sites"][:, place[site]]
    np.testing.assert_allclose(out[f"{name}_genes"], genes, atol=1e-5)


def test_groups_are_compared_as_by_students_t():
    random = np.random.default_rng(0)
    values, group = random.normal(size=(20, 4)), np.arange(20) % 2
    values[:, 3] = 1.0
    z, difference = explained.compare_groups(values, group.astype(float), np.zeros((20, 0)))
    for j in range(3):
        cases, controls = values[group == 1, j], values[group == 0, j]
        p = stats.ttest_ind(cases, controls).pvalue
        assert stats.norm.sf(z[j]) * 2 == pytest.approx(p)
        pooled = np.sqrt((cases.var(ddof=1) + controls.var(ddof=1)) / 2)
        assert difference[j] == pytest.approx((cases.mean() - controls.mean()) / pooled)
    assert z[3] == difference[3] == 0


def test_the_scale_of_a_unit_does_not_matter(predicted):
    arm, out, _ = predicted
    units = arm.system.evaluate.args[1]
    test = arm.dataset.take(arm.replicates[0].test)
    scales = np.where(np.arange(out["activity"].shape[1]) % 2, 3.0, 0.5)
    scaled = {**out, "activity": out["activity"] * scales}
    for name, frame in explained.differences(units, out, test).items():
        other = explained.differences(units, scaled, test)[name].rows
        for column in ("z", "difference"):
            np.testing.assert_allclose(other[column], frame.rows[column], atol=1e-4)
    np.testing.assert_allclose(
        explained.people(units, scaled, test).filter(like="activity"),
        explained.people(units, out, test).filter(like="activity"),
        atol=1e-4,
    )


def test_units_without_a_pathway_are_not_ranked(predicted):
    arm, out, _ = predicted
    units = arm.system.evaluate.args[1]
    test = arm.dataset.take(arm.replicates[0].test)
    frames = explained.differences(units, out, test)
    shown = frames[f"pathways {tasks_of(arm.dataset)[0].name}"].rows["pathway"]
    assert len(shown) == units.is_pathway.sum() < len(units.pathways)
    assert not shown.str.startswith("unannotated").any()


def test_the_largest_links_of_every_unit():
    ends = np.array([[0, 0], [1, 0], [2, 0], [0, 1], [3, 1]])
    found = explained.largest_links(ends, np.array([1.0, 3.0, 2.0, 0.0]), 2)
    assert found.tolist() == [[1, 0], [2, 0], [0, 1]]


# --- what is concluded ----------------------------------------------------------------------------

NAMES = [f"pathway {i}" for i in range(12)]
# Fewer permutations could not tell a lone pathway at q < .05.
FOLDS, REPEATS, PERMUTATIONS = 4, 2, 25


@pytest.fixture(scope="module")
def tables():
    """Of two diseases: pathways 0 and 1 differ in A, pathway 1 in B; plain values of 0 in A."""
    random = np.random.default_rng(1)

    def rows(arm, group, fold, repeat, found):
        z = np.abs(random.normal(size=len(NAMES))) + 6.0 * np.isin(np.arange(len(NAMES)), found)
        frame = pd.DataFrame({"pathway": NAMES, "z": z, "difference": z, "attribution": z})
        return frame.assign(model=MODEL, arm=arm, group=group, fold=fold, repeat=repeat)

    def frame(found):
        own = [rows(NETWORK, "all", f, r, found) for r in range(REPEATS) for f in range(FOLDS)]
        null = [
            rows(NULL, f"permutation {i}", fold, 0, [])
            for i in range(PERMUTATIONS)
            for fold in range(FOLDS)
        ]
        return Frame("pathways", pd.concat([*own, *null], ignore_index=True), True)

    people = pd.DataFrame({"id": [f"P{i}" for i in range(60)], "model": MODEL})
    people["outcome A"] = np.where(np.arange(60) < 30, np.arange(60) % 2, np.nan)
    people["outcome B"] = np.where(np.arange(60) < 30, np.nan, np.arange(60) % 2)
    people["covariate 0"] = random.normal(size=60)
    for i in range(len(NAMES)):
        people[f"activity {i}"] = random.normal(size=60)
        people[f"mean_z {i}"] = random.normal(size=60) + 3 * (i == 0) * (people["outcome A"] == 1)
    links = pd.DataFrame(
        {
            "source": [*(f"cg{i}" for i in range(3)), "GENE", "OTHER"],
            "target": ["GENE", "GENE", "GENE", "pathway 0", "pathway 11"],
            "layer": ["site", "site", "site", "gene", "gene"],
            "magnitude": [1.0, 3.0, 2.0, 5.0, 4.0],
            "difference": [0.1, 0.1, -0.1, 0.0, 0.0],
        }
    ).assign(model=MODEL, arm=NETWORK, group="all", fold=0)
    frames = {
        "pathways A": frame([0, 1]),
        "pathways B": frame([1]),
        "links A": Frame("links", links),
        "links B": Frame("links", links),
        "people": Frame("people", people),
    }
    scores = pd.DataFrame(columns=["arm", "model", "metric", "value"])
    return findings.conclude_pathways(Results(scores, frames, {})).tables


def test_pathways_beyond_the_null_come_first(tables):
    first = tables["A_pathways"].frame
    assert set(first["pathway"][:2]) == {"pathway 0", "pathway 1"}
    assert (first["q"][:2] < 0.05).all() and (first["q"][2:] > 0.05).all()
    assert first["first"][:2].tolist() == [1.0, 1.0]
    summary = tables["pathways"].frame.set_index("disease")
    assert summary.loc["A", ["q below .05", "plain q below .05", "in both"]].tolist() == [2, 1, 1]
    assert f"{PERMUTATIONS} permutations" in tables["pathways"].caption


def test_the_plain_method_is_the_moderated_t_of_the_mean_site(tables):
    frame = tables["A_pathways"].frame.set_index("pathway")
    assert frame.loc["pathway 0", "plain rank"] == 1 and frame.loc["pathway 0", "plain t"] > 3


def test_the_ranking_holds_the_null_beside_the_network(tables):
    ranking = tables["A_ranking"].frame
    assert ranking.groupby("series").size().to_dict() == {
        "network": len(NAMES),
        "permuted outcomes": len(NAMES),
    }
    null = ranking[ranking["series"] == "permuted outcomes"]
    assert (null["low"] <= null["value"]).all() and (null["value"] <= null["high"]).all()
    assert ranking["label"].str.startswith("* ").sum() == 4


def test_shared_pathways_are_counted_and_tested(tables):
    assert tables["shared"].frame["value"].tolist() == [2, 1, 1, 1]
    tests = tables["shared_tests"].frame.set_index("set").loc["q below .05"]
    assert (tests["shared"], tests["expected"]) == (1, pytest.approx(2 / 12))
    assert tests["p"] == pytest.approx(2 / 12)


def test_the_strongest_connections_lead_from_sites_to_the_disease(tables):
    edges = tables["A_layers"].frame
    of_sites = edges[edges["source_layer"] == "site"]
    assert of_sites["source"].tolist() == ["cg1", "cg2"]
    assert of_sites["series"].tolist() == ["more methylated in cases", "less methylated in cases"]
    assert (edges["target_layer"] == "disease").sum() == findings.DRAWN
    assert set(edges["target"][edges["target_layer"] == "gene"]) == {"GENE"}


def test_people_stand_by_disease_and_case(tables):
    frame = tables["activity"].frame
    assert list(frame["group"].unique()) == ["A control", "A case", "B control", "B case"]
    assert frame.groupby("group")["row"].nunique().tolist() == [15, 15, 15, 15]
