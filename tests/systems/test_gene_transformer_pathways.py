"""Pathways in place of genes: which genes they have in a fold, and what reaches a prediction."""

import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from command import command
from every_arm import few_trees_and_draws
from gene_patients import (
    CONSTANT,
    GENES,
    SMOKE,
    UNSEEN,
    FreshArm,
    arms_on,
    patients,
    tables,
    written,
)

from omics_jax.errors import UserError
from omics_jax.systems.gene_transformer import model
from omics_jax.systems.gene_transformer.interactions import pair_fields
from omics_jax.systems.gene_transformer.model import MEMBERS, SLOT, Profile

# mirna2 is in none; E has one gene of the data, F more than the most.
SETS = {
    "A": ["rna0", "RNA1", CONSTANT, "mirna0"],
    "B": ["RNA1", "rna3", UNSEEN, "elsewhere"],
    "C": ["rna5", "rna6", "rna7", "mirna0", "mirna1"],
    "D": ["rna8", "mirna3"],
    "E": ["mirna4", "elsewhere", "nowhere"],
    "F": ["rna0", "RNA1", *(f"rna{j}" for j in range(2, 9))],
}
KEPT = ("A", "B", "C", "D")
FEW = "--config.preprocess.top_k=4"
COVARIATE = "--config.data.covariates=('sex',)"
OTHERS = 3  # the first token, female and male


def gmt(folder, sets=SETS, name="sets.gmt"):
    lines = ["\t".join([key, "-", *genes]) for key, genes in sets.items()]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def words(file, *more):
    limits = "--config.model.least_genes=2", "--config.model.most_genes=5"
    attention = "--config.model.attention=pathways"
    return (attention, f"--config.model.pathways={file}", *limits, COVARIATE, *more)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """`fresh(*words)`: an arm of `patients` with pathways, not trained."""
    file = gmt(tmp_path_factory.mktemp("pathways"))
    return cache(lambda *more: FreshArm(*words(file, *more)))


# --- which genes they have ------------------------------------------------------------------------


def by_hand(arm, replicate):
    """The (place of a gene's token, pathway) of a fold, from the names of its genes."""
    pairs, first = set(), 0
    for name in ("rna", "mirna"):
        own = {key: replicate.constants[f"{name}_{key}"] for key in ("columns", "alive")}
        features = arm.dataset.modalities[name].features
        for place in np.flatnonzero(own["alive"]):
            gene = features[own["columns"][place]].casefold()
            for number, key in enumerate(KEPT):
                if gene in [other.casefold() for other in SETS[key]]:
                    pairs.add((first + place, number))
        first += len(own["columns"])
    return pairs


@pytest.mark.parametrize("more", [(), (FEW,)], ids=["all", "few"])
def test_a_fold_has_the_members_among_the_genes_that_it_chose(fresh, more):
    own = fresh(*more)
    shapes = set()
    for replicate in own.arm.replicates:
        genes, chunks = (replicate.constants[name] for name in MEMBERS)
        shapes.add((genes.shape, chunks.shape))
        width = sum(own.shape.widths.values())
        places = np.argwhere(genes < width)
        found = {(genes[i, j], chunks[i]) for i, j in places}
        assert len(found) == len(places) and found == by_hand(own.arm, replicate)
    assert len(shapes) == 1
    assert own.shape.pathways == len(KEPT) and own.shape.layer_tokens == OTHERS + len(KEPT)


def test_notes_say_what_is_left_out(fresh):
    notes = " ".join(fresh(FEW).arm.notes)
    assert "rna: 9 of 9 genes are in sets.gmt (8 names equal, 1 equal but for case" in notes
    assert (
        "4 of the 6 sets of sets.gmt have 2 to 5 genes of the data, and are the pathways" in notes
    )
    assert "left out: 1 smaller, 1 larger." in notes
    assert "in no pathway, which take no part: 0 of 9 of rna, 2 of 5 of mirna." in notes
    said = re.search(r"of the 8 genes that a fold chooses (\d) to (\d) are in a pathway", notes)
    counts = [len({i for i, _ in by_hand(fresh(FEW).arm, r)}) for r in fresh(FEW).arm.replicates]
    assert said is None or [int(said[1]), int(said[2])] == [min(counts), max(counts)]
    assert "config.preprocess.genes, of the same file, chooses among these alone" in notes


def test_other_members_are_another_training(tmp_path):
    digests = []
    for genes in (["rna8", "mirna3"], ["rna8", "mirna2"]):
        (arm, *_) = arms_on(patients(), *words(gmt(tmp_path, {**SETS, "D": genes})))
        digests.append(arm.spec.pathway_digest)
    assert digests[0] != digests[1] != ""


# --- what reaches a prediction --------------------------------------------------------------------


def test_genes_in_no_pathway_change_no_prediction_and_others_do(fresh):
    own = fresh()
    base = own.predict(own.variables, own.rows)["dose_value"]
    for gene, is_read in (("mirna2", False), ("mirna4", False), ("mirna3", True), ("rna0", True)):
        name = gene.rstrip("0123456789")
        place = own.arm.dataset.modalities[name].features.tolist().index(gene)
        rows = {**own.rows, f"x_{name}": own.rows[f"x_{name}"].at[:, place].add(0.3)}
        found = own.predict(own.variables, rows)["dose_value"]
        observed = np.asarray(own.rows[f"m_{name}"])[:, place]
        assert (found != base)[observed].any() == is_read
        np.testing.assert_array_equal(found[~observed], base[~observed])


def test_the_linear_part_leaves_out_genes_in_no_pathway_too(fresh):
    own = fresh("--config.model.linear=2")
    profile = model.profiles(own.shape, own.constants, own.rows)
    lone = own.shape.others + 9 + own.chosen("mirna").index("mirna2")
    z = model.encode_profiles(own.shape, own.variables, profile)
    moved = Profile(profile.values.at[:, lone].add(1.0), profile.exists)
    np.testing.assert_array_equal(model.encode_profiles(own.shape, own.variables, moved), z)
    assert z.shape == (len(own.dataset), own.shape.embedding)


@pytest.mark.parametrize("pool", ["flatten", "mean"])
def test_a_patient_without_a_gene_of_any_pathway_is_no_trouble(fresh, pool):
    own = fresh(f"--config.model.pool={pool}")
    bare = {f"m_{name}": jnp.zeros_like(own.rows[f"m_{name}"]) for name in ("rna", "mirna")}
    loss = own.stages["all"].loss
    gradient = jax.jit(
        jax.grad(
            lambda p: sum(
                t.sum for t in loss({**own.variables, "params": p}, batch, key)[0].values()
            )
        )
    )
    batch, key = {SLOT: {**own.rows, **bare}}, jax.random.key(0)
    for leaf in jax.tree.leaves(gradient(own.variables["params"])):
        assert np.isfinite(leaf).all()


# --- interactions ---------------------------------------------------------------------------------


def test_interactions_go_through_pathways_and_attention_of_genes_is_0(fresh):
    """The mean second derivative of a prediction by two genes, by differences of its gradient."""
    own = fresh("--config.experiment=network")
    fields = jax.jit(lambda v: pair_fields(own.shape, own.network, v))(own.variables)
    strength = np.asarray(fields["strength_dose"])
    in_pathway = np.zeros(14, bool)
    in_pathway[[place for place, _ in by_hand(own.arm, own.replicate)]] = True
    in_pathway &= np.asarray(fields["alive"])
    assert not strength[~in_pathway].any() and not strength[:, ~in_pathway].any()
    assert (strength[np.ix_(in_pathway, in_pathway)] > 0).sum() == in_pathway.sum() ** 2 - sum(
        in_pathway
    )
    for name in ("attention", "rollout", "gradient_attention_dose"):
        assert fields[name].shape == (14, 14) and not np.asarray(fields[name]).any()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "settings", "sentence"),
    [
        (SETS, ["pathways="], "config.model.attention is pathways and config.model.pathways is em"),
        (
            SETS,
            ["attention=exact"],
            "and config.model.attention is 'exact'; set it to pathways, or",
        ),
        (
            SETS,
            ["least_genes=7"],
            "least_genes is 7 and config.model.most_genes is 5; give a least",
        ),
        (
            {"A": ["rna0"], "B": SETS["F"]},
            [],
            "none of the 2 sets of {file} has 2 to 5 of the genes of the data (the largest has 9)",
        ),
        (
            {"A": ["7157", "3845"]},
            [],
            "is in sets.gmt (such as '3845', '7157'); sets.gmt has Entrez",
        ),
    ],
    ids=["no file", "other attention", "limits", "sizes", "names"],
)
def test_settings_that_give_no_pathway_are_refused(tmp_path, sets, settings, sentence):
    file = gmt(tmp_path, sets)
    more = [f"--config.model.{setting}" for setting in settings]
    with pytest.raises(UserError) as caught:
        arms_on(patients(), *words(file, *more))
    assert sentence.format(file=file) in str(caught.value)


def test_restoring_genes_has_no_token_to_restore_them_from(tmp_path):
    stages = "--config.training.stages=('pretraining','all')"
    with pytest.raises(
        UserError, match="has pretraining, which restores values of genes, and with"
    ):
        arms_on(patients(), *words(gmt(tmp_path), stages))


def test_a_fold_whose_genes_are_in_no_pathway_is_refused(tmp_path):
    least = by_spread("rna")[:3]
    with pytest.raises(
        UserError, match="fold 0, repeat 0: none of the genes that it chose is in a"
    ):
        arms_on(patients(), *words(gmt(tmp_path, {"A": least})), "--config.preprocess.top_k=1")


def by_spread(name):
    """The genes of a modality in ascending order of their variance."""
    modality = patients().modalities[name]
    columns = zip(modality.values.T, modality.mask.T, strict=True)
    spread = [np.var(values[mask]) if mask.any() else 0 for values, mask in columns]
    return modality.features[np.argsort(spread)].tolist()


# --- a run ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_on_pathways_of_listed_genes_predicts_new_patients(tmp_path):
    expression, clinical = tables()
    files = written(tmp_path, expression, clinical)
    sets = gmt(tmp_path, {"one": GENES[:3], "two": GENES[2:5]})
    settings = words(sets, f"--config.preprocess.genes={sets}", "--config.compare.mlp=()")
    run = f"--workdir={tmp_path / 'run'}"
    with few_trees_and_draws():
        outcome = command(SMOKE, run, *settings, *files)
    assert outcome.status == 0, outcome.err
    assert "note: rna: 5 of 5 genes are in sets.gmt" in outcome.out
    assert "note: of the 5 genes that a fold chooses 5 are in a pathway.\n" in outcome.out
    new = expression.iloc[:9].drop(columns=[GENES[0]])
    (tmp_path / "new").mkdir()
    new.to_csv(tmp_path / "new" / "new.csv")
    clinical.to_csv(tmp_path / "new" / "clinical.csv")
    outcome = command(
        SMOKE,
        run,
        "--mode=predict",
        f"--config.data.modalities=rna={tmp_path}/new/new.csv",
        f"--config.data.clinical={tmp_path}/new/clinical.csv",
    )
    assert outcome.status == 0, outcome.err
    assert "rna: 4 of 5 features found; without a value is 1 (G0)" in outcome.out
    (found,) = re.findall(r"\S*/predictions-\S+", outcome.out)
    chances = pd.read_csv(f"{found}/all.kind_probability.csv", index_col="id")
    assert np.isfinite(chances[["A", "B"]]).all().all() and chances["A"].nunique() == 9
