"""Pairs of genes beside known edges, gene sets and groups of patients; their pictures.

Oracles are loops over names, scikit-learn and scipy on values of single patients.
"""

from dataclasses import replace
from functools import cache
from itertools import combinations
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from command import config_of
from gene_patients import SMOKE, FreshArm, arms_on, patients
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import false_discovery_control, ttest_ind
from sklearn.metrics import roc_auc_score

from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Evaluation, Frame
from omics_jax.nn.token_encoder import attention_weights
from omics_jax.study.system import MODEL, Results
from omics_jax.systems.gene_transformer import (
    conclusions,
    interaction_arms,
    known_pairs,
    model,
    network_pictures,
    patient_groups,
)
from omics_jax.systems.gene_transformer.interaction_tables import KNOWN, pair_frame
from omics_jax.systems.gene_transformer.known_genes import known_genes
from omics_jax.systems.gene_transformer.model import ENCODER, SLOT
from omics_jax.tasks.task import Task

NETWORK = "--config.experiment=network"
FEW = "--config.preprocess.top_k=5"
XML = "{http://graphml.graphdrawing.org/xmlns}"
METHODS = ("strength_dose", "interaction_dose", "gradient_attention_dose", "attention", "rollout")


@cache
def named_alike():
    """Patients in whom a gene of both modalities has the name rna1."""
    mirna = patients().modalities["mirna"]
    features = np.array(["rna1", *mirna.features[1:]])
    both = {**patients().modalities, "mirna": replace(mirna, features=features)}
    return replace(patients(), modalities=both)


@cache
def arm_of(*words, alike=False):
    """The network's arm, not trained."""
    return arms_on(named_alike() if alike else patients(), NETWORK, FEW, *words)[0]


def parts_of(arm, fold=0):
    replicate = arm.replicates[fold]
    return arm.dataset.take(replicate.test), arm.dataset.take(replicate.rows[SLOT])


def random_fields(arm, fold=0):
    """What a network might say of the pairs of a fold's genes."""
    rng, constants = np.random.default_rng(fold), arm.replicates[fold].constants
    names = list(arm.dataset.modalities)
    alive = [constants[f"{name}_alive"] & (constants[f"{name}_sd"] > 0) for name in names]
    fields = {f"columns_{name}": constants[f"{name}_columns"] for name in names}
    fields["alive"] = np.concatenate(alive)
    for method in METHODS:
        matrix = rng.random((len(fields["alive"]),) * 2)
        fields[method] = np.triu(matrix, 1) + np.triu(matrix, 1).T
    return fields


def alive_genes(arm, fields):
    """(modality, feature) of the genes that there are, in their order."""
    genes = [
        (name, [*arm.dataset.modalities[name].features, None][column])
        for name in arm.dataset.modalities
        for column in fields[f"columns_{name}"]
    ]
    return [gene for gene, alive in zip(genes, fields["alive"], strict=True) if alive]


def folds(frames):
    """As `Results` have them."""
    parts = [
        frame.rows.assign(model=MODEL, arm="network", group="all", fold=fold)
        for fold, frame in enumerate(frames)
    ]
    return pd.concat(parts, ignore_index=True)


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


# --- groups of patients ---------------------------------------------------------------------------

TASKS = (
    Task("kind", "classification", ("A", "B")),
    Task("grade", "classification", ("low", "mid", "high, or so")),
    Task("dose", "regression"),
    Task("OS", "survival"),
)


def groups_in(text, *words):
    config = config_of(SMOKE, NETWORK, *words)
    config.interpret.groups = text
    return patient_groups.groups_of(config, TASKS)


@pytest.mark.parametrize(
    ("text", "task", "classes"),
    [
        ("kind", "kind", ("A", "B")),
        ("kind=B,A", "kind", ("B", "A")),
        ("grade=high, or so,low", "grade", ("high, or so", "low")),
        (" dose ", "dose", ()),
        ("OS", "OS", ()),
    ],
)
def test_groups_are_of_one_outcome(text, task, classes):
    found = groups_in(text)
    assert (found.task.name, found.classes) == (task, classes)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("age", "names 'age', and the outcomes are kind, grade, dose, OS; choose one"),
        ("age=1,2", "names 'age', and the outcomes are"),
        ("grade", "'grade' has low, mid, high, or so; name two of them, as in --config.interpret."),
        ("grade=low", "compares two classes, and 'grade' has low"),
        ("grade=low,low", "compares two classes"),
        ("grade=low,tall", "names the class 'tall', and 'grade' has low, mid"),
        ("dose=1,2", "names classes of 'dose', which has none"),
        ("kind=A,B,dose=1", "names 2 outcomes; give one"),
        ("kind=", "write name=value"),
    ],
)
def test_other_groups_are_refused(text, sentence):
    with pytest.raises(UserError, match=sentence):
        groups_in(text)


def test_groups_need_attention_of_pairs():
    assert groups_in("", "--config.model.attention=induced") is None
    with pytest.raises(UserError, match="'induced' does not say; set --config.model.attention=ex"):
        groups_in("kind", "--config.model.attention=induced")


def outcomes(size=40, seed=0):
    rng = np.random.default_rng(seed)
    known = rng.random((size, 4)) < 0.8
    targets = {
        "kind": rng.integers(2, size=size),
        "grade": rng.integers(3, size=size),
        "dose": rng.integers(10, size=size).astype(np.float32),
        "OS.time": rng.integers(1, 9, size=size).astype(np.float32),
        "OS.event": rng.integers(2, size=size),
    }
    column = {"kind": 0, "grade": 1, "dose": 2, "OS.time": 3, "OS.event": 3}
    masked = {name: (values, known[:, column[name]]) for name, values in targets.items()}
    return replace(patients(size), targets=masked)


def test_classes_are_groups():
    data = outcomes()
    for text, codes in {
        "kind": (0, 1),
        "kind=B,A": (1, 0),
        "grade=high, or so,low": (2, 0),
    }.items():
        groups = groups_in(text)
        values, known = data.targets[groups.task.name]
        found, names = patient_groups.codes_of(groups, data, data)
        expected = np.full(len(data), -1)
        for place, code in enumerate(codes):
            expected[known & (values == code)] = place
        assert_array_equal(found, expected)
        assert names == groups.classes


def test_a_number_is_divided_at_the_training_median():
    train, test = outcomes(41, 1), outcomes(40, 2)
    middle = np.median(train.targets["dose"][0][train.targets["dose"][1]])
    found, names = patient_groups.codes_of(groups_in("dose"), train, test)
    values, known = test.targets["dose"]
    assert_array_equal(found == 1, known & (values > middle))
    assert_array_equal(found == 0, known & (values <= middle))
    assert names == (f"at most {middle:.4g}", f"above {middle:.4g}") and (found == -1).any()


def test_patients_censored_before_the_median_event_time_are_left_out():
    train, test = outcomes(60, 1), outcomes(60, 2)
    (times, known), (events, _) = (train.targets[f"OS.{part}"] for part in ("time", "event"))
    middle = np.median(times[known & (events == 1)])
    found, names = patient_groups.codes_of(groups_in("OS"), train, test)
    (times, known), (events, _) = (test.targets[f"OS.{part}"] for part in ("time", "event"))
    for code, time, event, is_known in zip(found, times, events, known, strict=True):
        if not is_known or (time < middle and not event):
            expected = -1
        else:
            expected = int(event and time <= middle)
        assert code == expected
    assert set(found) == {-1, 0, 1}
    assert names == (f"no event by {middle:.4g}", f"event by {middle:.4g}")
    at_middle = known & (times == middle)
    assert set(events[at_middle]) == {0, 1}


def test_too_few_patients_of_a_group_are_refused_with_their_numbers():
    few = replace(patients(), targets={**patients().targets})
    kind, known = few.targets["kind"]
    rare = np.zeros_like(kind)
    rare[:12] = 1
    few.targets["kind"] = (rare, np.ones_like(known))
    sentence = (
        r"of 'kind' the first fold tests 1[0-9] 'A' and 4 'B', and a comparison needs 5 or mo"
    )
    with pytest.raises(UserError, match=sentence):
        arms_on(few, NETWORK, FEW, "--config.interpret.groups=kind")


# --- attention of patients ------------------------------------------------------------------------

COVARIATES = "--config.data.covariates=('age','sex')"
GROUPS = "--config.interpret.groups=kind"


@cache
def compared():
    """An arm that is not trained, the fields of its first fold, and its compared patients."""
    arm = FreshArm(NETWORK, FEW, COVARIATES, GROUPS, dataset=patients(100))
    fields = jax.jit(lambda variables: patient_groups.group_fields(arm.shape, variables))
    return arm, {name: np.asarray(values) for name, values in fields(arm.variables).items()}


def single_attention(arm, row):
    """Attention in one patient, nan where a gene was not measured."""
    own = {name: values[row : row + 1] for name, values in arm.rows.items()}
    profile = model.profiles(arm.shape, arm.constants, own)
    _, weights = attention_weights(arm.shape.encoder, arm.variables["params"][ENCODER], *profile)
    first = profile.values.shape[1] - sum(arm.shape.widths.values())
    mean = np.asarray(weights).mean(axis=(0, 1, 2))[first:, first:]
    missing = ~np.asarray(profile.exists)[0, first:]
    mean[missing], mean[:, missing] = np.nan, np.nan
    return (mean + mean.T) / 2


def test_attention_of_groups_is_that_of_their_patients_one_by_one():
    arm, fields = compared()
    groups = patient_groups.Groups(arm.network.tasks[0], ("A", "B"))
    train, test = (arm.arm.dataset.take(rows) for rows in (arm.train, arm.replicate.test))
    codes, _ = patient_groups.codes_of(groups, train, test)
    each = [
        np.stack([single_attention(arm, row) for row in arm.replicate.test[codes == code]])
        for code in range(2)
    ]
    assert_array_equal(fields["group_size"], [len(own) for own in each])
    off = ~np.eye(each[0].shape[1], dtype=bool)
    for place, own in enumerate(each):
        count = np.isfinite(own).sum(axis=0)
        assert_array_equal(fields["group_count"][place], count)
        assert 1 < count[off].min() < count.max()
        mean, variance = np.nanmean(own, axis=0), np.nanvar(own, axis=0, ddof=1)
        assert_allclose(fields["group_mean"][place][off], mean[off], rtol=1e-5)
        assert_allclose(fields["group_variance"][place][off], variance[off], rtol=1e-3)

    complete = random_fields(arm.arm) | fields
    rows = patient_groups.group_frame(groups, complete, test, train).rows
    assert rows["name_1"].eq("A").all() and rows["patients_2"].eq(len(each[1])).all()
    for row, (i, j) in zip(rows.itertuples(), np.argwhere(np.triu(off)), strict=True):
        one, other = (own[:, i, j] for own in each)
        welch = ttest_ind(other, one, equal_var=False, nan_policy="omit")
        assert_allclose(row.p, welch.pvalue, rtol=2e-3)
        assert_allclose(row.difference, np.nanmean(other) - np.nanmean(one), atol=1e-7)


def test_a_pair_that_cannot_be_tested_has_no_p():
    arm, fields = compared()
    alone = {name: values.copy() for name, values in fields.items()}
    alone["group_count"][1, 0, 1] = 1
    alone["group_variance"][:, 0, 2] = 0
    groups = patient_groups.Groups(arm.network.tasks[0], ("A", "B"))
    parts = (arm.arm.dataset.take(rows) for rows in (arm.replicate.test, arm.train))
    frame = patient_groups.group_frame(groups, random_fields(arm.arm) | alone, *parts).rows
    assert frame["p"].isna().tolist()[:3] == [True, True, False]
    assert frame["p"].notna().sum() == len(frame) - 2


def test_large_groups_are_drawn_and_all_folds_have_constants_of_one_shape(monkeypatch):
    """And of a person with several rows one is drawn."""
    monkeypatch.setattr(patient_groups, "MOST_PATIENTS", 6)
    data = patients(100)
    data = replace(data, groups=np.array([f"person {i // 2}" for i in range(100)]))
    (arm, null) = arms_on(data, NETWORK, FEW, COVARIATES, GROUPS)
    kind, known = arm.dataset.targets["kind"]
    shapes = []
    for replicate in arm.replicates:
        own = {k: v for k, v in replicate.constants.items() if k.startswith("compared_")}
        shapes.append({name: values.shape for name, values in own.items()})
        group = own["compared_group"]
        assert (np.bincount(group[group >= 0]) <= 6).all() and (group == 1).any()
        table = arm.system.arrays(arm.dataset.take(replicate.test))
        persons = []
        for x, code in zip(own["compared_x_rna"], group, strict=True):
            if code >= 0:
                (row,) = np.flatnonzero((table["x_rna"] == x).all(axis=1))
                row = replicate.test[row]
                assert known[row] and kind[row] == code
                persons.append(arm.dataset.groups[row])
        assert len({*persons}) >= len(persons) / 2
        for code in range(2):
            of_group = [p for p, own in zip(persons, group[group >= 0], strict=True) if own == code]
            assert len({*of_group}) == len(of_group)
    assert all(own == shapes[0] for own in shapes) and shapes[0]["compared_c"][1] > 0
    assert not any(k.startswith("compared_") for k in null.replicates[0].constants)


def test_tables_of_groups():
    rng = np.random.default_rng(0)
    pairs = list(combinations(["a", "b", "c", "d", "e"], 2))
    parts = []
    for fold in range(2):
        mean = rng.random((2, len(pairs)))
        rows = pd.DataFrame(pairs, columns=["gene_a", "gene_b"]).assign(
            attention_1=mean[0], attention_2=mean[1], difference=mean[1] - mean[0]
        )
        rows = rows.assign(patients_1=30 + fold, patients_2=20, name_1="no", name_2="yes")
        parts.append(rows.assign(p=rng.random(len(pairs)) * 0.2, fold=fold, group="all"))
    parts[0].loc[3, "p"] = 1e-6
    frame = pd.concat(parts, ignore_index=True)
    tables = patient_groups.group_tables(frame)
    assert {*tables} == {"gene_network_groups", "gene_network_groups_ranking"}
    edges = tables["gene_network_groups"].frame
    assert [*edges] == [
        *("source", "target", "attention (no)", "attention (yes)", "difference", "p", "q")
    ]
    first = parts[0].sort_values("p")
    assert_allclose(edges["difference"], first["difference"])
    assert_allclose(edges["q"], false_discovery_control(first["p"]))
    assert (edges["source"][0], edges["target"][0]) == pairs[3]
    assert "no (30 patients), and yes (20 patients)" in tables["gene_network_groups"].caption

    ranking = tables["gene_network_groups_ranking"].frame
    assert ranking["value"].abs().is_monotonic_decreasing and len(ranking) == len(pairs)
    own = ranking.set_index("label").loc["a x e"]
    more = "yes" if parts[0]["difference"][3] > 0 else "no"
    assert own["series"] == f"more in {more} (q < 0.05)"
    assert ranking["series"].eq("q of 0.05 or more").sum() == (edges["q"] >= 0.05).sum() > 0
    assert patient_groups.group_tables(None) == {}


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
    assert jnp.isfinite(matrix).all()


# --- the experiment -------------------------------------------------------------------------------


def test_a_network_is_asked_for_pairs_and_for_the_attention_of_its_patients():
    arm, fields = compared()
    asked = jax.eval_shape(arm.arm.system.of_variables, arm.variables)
    assert {*fields} < {*asked} and {"strength_dose", "attention", "alive"} < {*asked}
    assert not any(name.startswith("group_") for name in asked.keys() - fields.keys())


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
    return {
        (edge.get("source"), edge.get("target")): edge.find(f"{XML}data[@key='{key}']").text
        == "true"
        for edge in root.iter(f"{XML}edge")
    }


def test_all_that_was_asked_is_concluded(tmp_path, monkeypatch):
    monkeypatch.setattr(interaction_arms, "evaluate", lambda *_: Evaluation({}))
    monkeypatch.setattr(conclusions, "against_simple", lambda *_: [])
    monkeypatch.setattr(conclusions, "task_figures", lambda *_: {})
    words = [f"--config.network.edges={tmp_path}/edges.csv", set_words(tmp_path, SETS)[0]]
    edges = [(f"rna{i}", f"rna{(i + step) % 9}") for i in range(9) for step in (1, 2)]
    pd.DataFrame(edges, columns=["gene1", "gene2"]).to_csv(tmp_path / "edges.csv", index=False)
    _, arm, null = arms_on(patients(100), NETWORK, FEW, GROUPS, *words)
    of_groups = compared()[1]
    frames = frames_of(arm, lambda fold: random_fields(arm, fold) | of_groups)
    of_null = frames_of(null, lambda number: random_fields(null, number))
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
