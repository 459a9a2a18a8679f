"""Pairs of genes beside known edges and gene sets; their pictures, and what a run concludes.

Oracles are loops over names and scikit-learn.
"""

from functools import cache
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from command import config_of
from gene_pairs import (
    FEW,
    GROUPS,
    NETWORK,
    alive_genes,
    arm_of,
    compared,
    folds,
    named_alike,
    parts_of,
    random_fields,
)
from gene_patients import SMOKE, arms_on, patients
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import false_discovery_control
from sklearn.metrics import roc_auc_score

from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Evaluation, Frame
from omics_jax.study.system import MODEL, Results
from omics_jax.systems.gene_transformer import (
    conclusions,
    interaction_arms,
    known_pairs,
    network_pictures,
)
from omics_jax.systems.gene_transformer.interaction_tables import KNOWN, pair_frame
from omics_jax.systems.gene_transformer.known_genes import known_genes
from omics_jax.systems.gene_transformer.model import SLOT
from omics_jax.tasks.additive_null import ADDITIVE
from omics_jax.tasks.attribution import null_arm

XML = "{http://graphml.graphdrawing.org/xmlns}"

# --- known edges ----------------------------------------------------------------------------------

EDGES = [("rna1", "rna3"), ("RNA5", "mirna2"), ("Old", "mirna3"), ("rna0", "Elsewhere")]
EDGES += [("mirna2", "mirna4"), ("rna7", "rna8"), ("rna6", "rna1")]


def edge_words(folder):
    pd.DataFrame(EDGES, columns=["gene1", "gene2"]).to_csv(folder / "edges.csv", index=False)
    (folder / "aliases.csv").write_text("name,gene\nOld,rna6\n")
    return [f"--config.network.{kind}={folder}/{kind}.csv" for kind in ("edges", "aliases")]


def test_known_edges_stand_beside_the_pairs_of_their_genes(tmp_path):
    """Under a name in another case or an alias, and in two modalities."""
    dataset, arm = named_alike(), arm_of(alike=True)
    known = known_genes(config_of(SMOKE, NETWORK, *edge_words(tmp_path)), dataset)
    edges = known_pairs.known_edges(known, dataset, arm.dataset)
    found = 0
    for fold in range(len(arm.replicates)):
        fields = random_fields(arm, fold)
        rows = known_pairs.known_pair_frame(edges, fields, *parts_of(arm, fold)).rows
        plain = pair_frame(fields, *parts_of(arm, fold)).rows
        pd.testing.assert_frame_equal(rows.drop(columns=KNOWN), plain)
        same = {"RNA5": "rna5", "Old": "rna6"}
        listed = {frozenset(same.get(name, name) for name in edge) for edge in EDGES}
        genes = [feature for _, feature in alive_genes(arm, fields)]
        expected = [frozenset(pair) in listed for pair in combinations(genes, 2)]
        assert_array_equal(rows[KNOWN], np.array(expected, float))
        found += sum(expected)
    assert found > len(arm.replicates)
    assert known_pairs.known_edges(None, dataset, arm.dataset) is None


@cache
def known_folds():
    rng, arm = np.random.default_rng(0), arm_of()
    frames = []
    for fold in range(2):
        frame = pair_frame(random_fields(arm, fold), *parts_of(arm, fold))
        known = (rng.random(len(frame.rows)) < 0.3).astype(float)
        frames.append(frame._replace(rows=frame.rows.assign(**{KNOWN: known})))
    return folds(frames)


def test_agreement_with_known_edges_is_the_mean_auroc():
    rows = known_folds().assign(rollout=0.0)  # as where attention is not exact
    table = known_pairs.known_tables(rows)["gene_network_known"]
    by_method = table.frame.set_index("method")
    columns = {
        "interaction, dose": "strength_dose",
        "gradient x attention, dose": "gradient_attention_dose",
        "attention": "attention",
        "co-expression": "coexpression",
    }
    assert "rollout" not in by_method.index and "partial correlation" in by_method.index
    for words, column in columns.items():
        each = [roc_auc_score(own[KNOWN], own[column]) for _, own in rows.groupby("fold")]
        assert_allclose(by_method["AUROC"][words], np.mean(each), atol=1e-4)
    assert by_method["p"].between(1 / 1001, 1).all()
    first = rows[rows["fold"] == 0]
    assert f"{first[KNOWN].sum():.0f} of {len(first)} pairs" in table.caption
    assert known_pairs.known_tables(rows.drop(columns=KNOWN)) == {}


def test_a_method_that_knows_the_edges_has_a_small_p():
    rows = known_folds()
    rows = rows.assign(attention=rows[KNOWN] + 0.1 * rows["attention"])
    frame = known_pairs.known_tables(rows)["gene_network_known"].frame.set_index("method")
    assert frame["AUROC"]["attention"] == 1 and frame["p"]["attention"] < 0.01
    assert frame["p"]["rollout"] > 0.01


# --- gene sets ------------------------------------------------------------------------------------

SETS = {  # the data have rna0, and mirna4 for Old
    "all of them": [*(f"RNA{j}" for j in range(9)), *(f"mirna{j}" for j in range(4)), "Old"],
    "of both": ["RNA1", "RNA3", "RNA5", "RNA6", "Old", "mirna0", "mirna1", "Elsewhere"],
    "of one": ["RNA0", "RNA1", "RNA3", "RNA5", "RNA7"],
    "a pair": ["RNA1", "RNA3"],
    "of another species": ["Elsewhere", "Nowhere"],
}


def set_words(folder, sets):
    text = "".join("\t".join([name, "", *genes]) + "\n" for name, genes in sets.items())
    (folder / "sets.gmt").write_text(text)
    (folder / "aliases.csv").write_text("name,gene\nmirna4,Old\n")
    return [
        f"--config.interpret.sets={folder}/sets.gmt",
        f"--config.network.aliases={folder}/aliases.csv",
    ]


def read(folder, sets=SETS):
    arm, config = arm_of(), config_of(SMOKE, NETWORK, *set_words(folder, sets))
    return known_pairs.read_sets(config, arm.dataset, arm.replicates[0].constants)


def expected_members(arm, fields):
    same = {"Old": "mirna4"}
    genes = [feature for _, feature in alive_genes(arm, fields)]
    members = {
        name: {gene for gene in genes if gene in {same.get(g, g).lower() for g in listed}}
        for name, listed in SETS.items()
    }
    return {name: own for name, own in members.items() if len(own) >= 3}


def test_the_sets_of_a_fold_have_three_of_its_genes_or_more(tmp_path):
    arm, sets = arm_of(), read(tmp_path)
    for fold in range(len(arm.replicates)):
        fields = random_fields(arm, fold)
        rows = known_pairs.set_frame(sets, fields, *parts_of(arm, fold)).rows
        assert not rows.duplicated().any()
        found = rows.groupby("set")["gene"].agg(set).to_dict()
        assert found == expected_members(arm, fields)
        assert {"all of them", "of both"} <= {*found} and "a pair" not in found
    assert any("mirna" in note for note in sets.notes)


def test_sets_are_tested_in_the_first_fold(tmp_path):
    arm, sets = arm_of(), read(tmp_path)
    each = [random_fields(arm, fold) for fold in range(2)]
    rows = folds([pair_frame(own, *parts_of(arm, i)) for i, own in enumerate(each)])
    members = folds(
        [known_pairs.set_frame(sets, own, *parts_of(arm, i)) for i, own in enumerate(each)]
    )
    (name, table), *others = known_pairs.set_tables(rows, members).items()
    assert name == "dose_sets" and not others
    expected = expected_members(arm, each[0])
    frame = table.frame.set_index("set")
    assert set(frame.index) == set(expected)
    first = rows[rows["fold"] == 0]
    for name, genes in expected.items():
        within = first["gene_a"].isin(genes) & first["gene_b"].isin(genes)
        ratio = first["strength_dose"][within].mean() / first["strength_dose"].mean()
        assert_allclose(frame["ratio"][name], ratio)
        assert frame["genes"][name] == len(genes)
    assert frame["p"]["all of them"] == 1
    assert frame["p"].is_monotonic_increasing
    assert_allclose(frame["q"], false_discovery_control(frame["p"]))
    assert known_pairs.set_tables(rows, None) == {}


def test_a_set_whose_genes_interact_comes_first(tmp_path):
    arm, sets = arm_of(), read(tmp_path)
    fields = random_fields(arm)
    genes = [feature for _, feature in alive_genes(arm, fields)]
    strong = sorted(expected_members(arm, fields)["of both"] - {genes[-1]})
    places = np.flatnonzero(fields["alive"])[[genes.index(gene) for gene in strong]]
    fields["strength_dose"][np.ix_(places, places)] += 5
    members = folds([known_pairs.set_frame(sets, fields, *parts_of(arm))])
    rows = folds([pair_frame(fields, *parts_of(arm))])
    frame = known_pairs.set_tables(rows, members)["dose_sets"].frame
    assert frame["set"].iloc[0] == "of both" and frame["ratio"].iloc[0] > 1.2


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        ({"a pair": SETS["a pair"]}, r"no set has 3 or more of the \d+ genes that the first fold"),
        (
            {"other": SETS["of another species"]},
            r"none of the \d+ genes of the data .* is in .*sets.gmt",
        ),
    ],
    ids=["small", "other"],
)
def test_sets_of_which_the_data_have_too_few_genes_are_refused(tmp_path, sets, sentence):
    with pytest.raises(UserError, match=sentence):
        read(tmp_path, sets)


# --- pictures -------------------------------------------------------------------------------------


def test_modules_are_of_genes_that_correlate():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(400, 3))
    of_gene = [1, 0, 1, 1, 2, 2, 1, 0, 0, -1]  # two blocks of 4 and 3, a pair, and one alone
    x = rng.normal(size=(400, 10))
    for gene, factor in enumerate(of_gene):
        if factor >= 0:
            x[:, gene] += 1.5 * factors[:, factor] * (-1) ** gene
    names = [f"g{i}" for i in range(10)]
    correlation = np.abs(np.corrcoef(x.T))
    rows = [(names[i], names[j], correlation[i, j]) for i, j in combinations(range(10), 2)]
    fold = pd.DataFrame(rows, columns=["gene_a", "gene_b", "coexpression"])
    module = {1: "module 1", 0: "module 2", 2: "", -1: ""}
    expected = {name: module[factor] for name, factor in zip(names, of_gene, strict=True)}
    assert network_pictures.modules_of(fold) == expected
    assert network_pictures.modules_of(fold[:1]) == {"g0": "", "g1": ""}
    assert network_pictures.modules_of(fold[:0]) == {}


def some_edges():
    rng = np.random.default_rng(0)
    edges = pd.DataFrame(combinations("abcdefghijkl", 2), columns=["source", "target"])
    signed = rng.normal(size=len(edges))
    signed[-3:] = 0
    edges = edges.assign(strength=np.abs(signed), interaction=signed, q=rng.random(len(edges)) / 5)
    return edges.sort_values("strength", ascending=False, kind="stable").reset_index(drop=True)


def test_a_picture_has_the_strongest_pairs(monkeypatch):
    edges = some_edges()
    modules = dict.fromkeys("abcdefghijkl", "") | dict.fromkeys("abc", "module 1")
    table = network_pictures.picture("dose", edges, modules)
    assert table.kind == "network" and len(table.frame) == network_pictures.DRAWN == 40
    for row, edge in zip(table.frame.itertuples(), edges.head(40).itertuples(), strict=True):
        assert (row.source, row.target, row.value) == (edge.source, edge.target, edge.strength)
        assert row.sign == (1 if edge.interaction > 0 else -1)
        assert row.series.startswith("beyond") == (edge.q < 0.05)
        assert row.source_group == ("module 1" if row.source in "abc" else "")
        assert row.target_group == ("module 1" if row.target in "abc" else "")
    monkeypatch.setattr(network_pictures, "DRAWN", 100)
    assert (network_pictures.picture("dose", edges, modules).frame["value"] > 0).all()


def test_a_graph_has_all_pairs_beyond_the_null_and_the_strongest_others(monkeypatch):
    edges = some_edges()
    genes = pd.DataFrame({"gene": [*"lkjihgfedcba", "m"], "modality": ["rna"] * 6 + ["mirna"] * 7})
    modules = dict.fromkeys("abcdefghijkl", "module 1")
    beyond = edges["q"] < 0.05
    for most in (10, 30):
        monkeypatch.setattr(network_pictures, "WRITTEN", most)
        nodes, written = network_pictures.graph_of(edges, genes, modules)
        assert len(written) == max(most, beyond.sum()) and [*written] == [*edges]
        assert (written["q"] < 0.05).sum() == beyond.sum()
        others = written[written["q"] >= 0.05]["strength"].to_numpy()
        assert_allclose(others, edges[~beyond]["strength"].head(len(others)))
        for node in nodes.itertuples():
            own = written[(written["source"] == node.gene) | (written["target"] == node.gene)]
            assert node.interactions == len(own) > 0
            assert_allclose(node.strength, own["strength"].sum())
            assert node.modality == ("rna" if node.gene in "lkjihg" else "mirna")
        assert {*nodes["gene"]} == {*written["source"], *written["target"]}
    alone = network_pictures.graph_of(edges, genes.assign(modality="rna"), modules).nodes
    assert [*alone] == ["gene", "module", "interactions", "strength"]


def test_genes_have_their_modality():
    arm = arm_of(alike=True)
    fields = random_fields(arm)
    rows = network_pictures.gene_frame(fields, *parts_of(arm)).rows
    expected = [
        (f"{feature} ({name})" if feature == "rna1" else feature, name)
        for name, feature in alive_genes(arm, fields)
    ]
    assert list(rows.itertuples(index=False, name=None)) == expected
    pairs = pair_frame(fields, *parts_of(arm)).rows
    assert known_pairs.genes_of(pairs) == rows["gene"].tolist()
    matrix = known_pairs.squares(pairs, ["attention"])[0]
    alive = np.flatnonzero(fields["alive"])
    assert_allclose(matrix, fields["attention"][np.ix_(alive, alive)])
    assert np.isfinite(matrix).all()


# --- the experiment -------------------------------------------------------------------------------


def frames_of(arm, fields_of):
    """name -> the frames of all trainings."""
    frames = {}
    for number, replicate in enumerate(arm.replicates):
        test, train = (arm.dataset.take(rows) for rows in (replicate.test, replicate.rows[SLOT]))
        own = {"arm": arm.name, "model": MODEL, **replicate.labels}
        for name, frame in arm.system.evaluate(fields_of(number), test, train).frames.items():
            frames.setdefault(name, []).append(frame.rows.assign(**own))
    return frames


def edges_in(graphml):
    """(source, target) -> whether the edge is known."""
    root = ElementTree.fromstring(graphml)
    (key,) = (k.get("id") for k in root.iter(f"{XML}key") if k.get("attr.name") == "known")
    edges = list(root.iter(f"{XML}edge"))
    known = [edge.find(f"{XML}data[@key='{key}']").text == "true" for edge in edges]
    ends = [(edge.get("source"), edge.get("target")) for edge in edges]
    return dict(zip(ends, known, strict=True))


def test_all_that_was_asked_is_concluded(tmp_path, monkeypatch):
    monkeypatch.setattr(interaction_arms, "evaluate", lambda *_: Evaluation({}))
    draws = {f"dose draw {number}": {} for number in range(1, 4)}
    null_of = lambda arm, *_: null_arm(arm, ADDITIVE, draws, {})
    monkeypatch.setattr(interaction_arms, "additive_arm", null_of)
    monkeypatch.setattr(conclusions, "against_simple", lambda *_: [])
    monkeypatch.setattr(conclusions, "task_figures", lambda *_: {})
    words = [f"--config.network.edges={tmp_path}/edges.csv", set_words(tmp_path, SETS)[0]]
    edges = [(f"rna{i}", f"rna{(i + step) % 9}") for i in range(9) for step in (1, 2)]
    pd.DataFrame(edges, columns=["gene1", "gene2"]).to_csv(tmp_path / "edges.csv", index=False)
    _, arm, null = arms_on(patients(100), NETWORK, FEW, GROUPS, *words)
    of_groups = compared()[1]
    frames = frames_of(arm, lambda fold: random_fields(arm, fold) | of_groups)
    of_null = frames_of(null, lambda number: random_fields(null, number))
    for own, has_patients in ((arm, True), (null, False)):
        assert ("compared_group" in own.replicates[0].constants) == has_patients
    assert {*frames} - {*of_null} == {"genes", "gene_sets", "patient_groups"}
    pooled = {
        name: Frame(name, pd.concat([*parts, *of_null.get(name, [])], ignore_index=True))
        for name, parts in frames.items()
    }
    findings = conclusions.conclude_network(Results(pd.DataFrame(), pooled, {}))
    assert set(findings.tables) == {
        *("gene_network", "gene_network_methods", "gene_network_known"),
        *("gene_network_groups", "gene_network_groups_ranking"),
        *(f"dose_{name}" for name in ("pairs", "pairs_ranking", "network", "sets")),
    }
    graph = edges_in(findings.tables["dose_network"].formats["graphml"])
    pairs = findings.tables["dose_pairs"].frame
    assert graph == {(row.source, row.target): row.known for row in pairs.itertuples()}
    assert pairs["known"].dtype == bool and 0 < pairs["known"].sum() < len(edges)
    assert any("sets.gmt" in note for note in arm.notes)
