"""Attributions of genes: complete, equal to finite differences, 0 where nothing was measured."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import config_of
from gene_patients import CONSTANT, MODULE, SMOKE, FreshArm, patients

from omics_jax.errors import UserError
from omics_jax.nn.value_encodings import STEPWISE
from omics_jax.systems.gene_transformer.explained import annotated_genes, gene_fields
from omics_jax.systems.gene_transformer.model import SLOT

COVARIATES = "--config.data.covariates=('age','sex')"
EXPLAINED = ("--config.predict.attributions=True", "--config.interpret.steps=24")
MODALITIES = ("rna", "mirna")
SIZE, NODES, GENES = 48, 6, 4  # a patient's finite differences fill the rows of all patients
CASES = {
    "bias": (COVARIATES,),
    "few_genes": (COVARIATES, "--config.preprocess.top_k=4", "--config.model.pool=mean"),
    "rotary": ("--config.model.encoding=rotary", "--config.model.pool=flatten"),
}


@cache
def with_survival():
    """`patients` with a survival time, too."""
    rng = np.random.default_rng(2)
    times, events = rng.exponential(900, SIZE).astype(np.float32), rng.random(SIZE) < 0.7
    known = rng.random(SIZE) < 0.9
    survival = {"OS.time": (times, known), "OS.event": (events.astype(np.int32), known)}
    return replace(patients(SIZE), targets={**patients(SIZE).targets, **survival})


@cache
def explained(*words, arm=0):
    """An arm that is not trained, and what it predicts of all patients."""
    fresh = FreshArm(*EXPLAINED, *words, dataset=with_survival(), arm=arm)
    return fresh, jax.tree.map(np.asarray, fresh.predict(fresh.variables, fresh.rows))


def scores(fresh, out, classes):
    """Task -> (n,) the score that is attributed, from the predictions.

    classes: (n,) codes.
    """
    probability = out["kind_probability"]
    return {
        "kind": np.log(probability[np.arange(len(probability)), classes]),
        "dose": out["dose_value"] / fresh.replicate.constants["dose_sd"],
        "OS": out["OS_risk"],
    }


def training_means(fresh, name):
    """(F,) of the observed training values of all genes, 0 where there is none."""
    modality = fresh.arm.dataset.modalities[name]
    values, mask = modality.values[fresh.train], modality.mask[fresh.train]
    return np.where(mask, values, 0).sum(axis=0) / np.maximum(mask.sum(axis=0), 1)


def at_average(fresh, rows):
    """The rows with every gene at its training mean, observed where it was."""
    means = {name: training_means(fresh, name) for name in MODALITIES}
    return rows | {
        f"x_{name}": jnp.broadcast_to(mean.astype(np.float32), rows[f"x_{name}"].shape)
        for name, mean in means.items()
    }


def assert_complete(fresh, out):
    start = jax.tree.map(np.asarray, fresh.predict(fresh.variables, at_average(fresh, fresh.rows)))
    classes = out["kind_probability"].argmax(axis=1)
    ends, starts = scores(fresh, out, classes), scores(fresh, start, classes)
    for task, end in ends.items():
        rise = end - starts[task]
        found = sum(out[f"{task}_attribution_{name}"].sum(axis=1) for name in MODALITIES)
        assert np.abs(rise).max() > 1e-4
        np.testing.assert_allclose(found, rise, atol=0.01 * np.abs(rise).max())


@pytest.mark.parametrize("case", CASES)
def test_attributions_add_up_to_the_score_over_that_of_average_genes(case):
    """Both scores by the predictions themselves; covariates and missing genes are the same."""
    assert_complete(*explained(*CASES[case]))


def test_genes_act_through_their_pathways(tmp_path):
    """Genes of no pathway have no attribution, and no vector in the file of genes."""
    sets = {"one": ["rna0", "rna1", "mirna0"], "two": ["rna1", "rna3", "mirna1", "mirna2"]}
    lines = ["\t".join([name, "", *genes]) for name, genes in sets.items()]
    (tmp_path / "sets.gmt").write_text("\n".join(lines) + "\n")
    words = ("--config.model.attention=pathways", f"--config.model.pathways={tmp_path}/sets.gmt")
    fresh, out = explained(*words)
    assert_complete(fresh, out)
    members = {gene for genes in sets.values() for gene in genes}
    for name in MODALITIES:
        modality = fresh.arm.dataset.modalities[name]
        is_read = np.isin(modality.features, list(members)) & modality.mask
        assert ((out[f"dose_attribution_{name}"] != 0) == is_read).all()
    fields = jax.tree.map(np.asarray, gene_fields(fresh.shape, fresh.variables))
    (genes,) = annotated_genes(fresh.arm.spec.features, fields).values()
    assert set(genes.ids.tolist()) == members


def test_attributions_of_dense_layers_add_up_too():
    fresh, out = explained(arm=1)
    assert fresh.arm.name == "MLP"
    assert_complete(fresh, out)


def test_genes_that_were_not_measured_or_not_read_have_none():
    fresh, out = explained(*CASES["few_genes"])
    assert len(fresh.chosen("rna")) < len(fresh.arm.dataset.modalities["rna"].features)
    for name in MODALITIES:
        modality = fresh.arm.dataset.modalities[name]
        read = np.isin(modality.features, fresh.chosen(name)) & (modality.features != CONSTANT)
        seen = modality.mask & read
        assert seen.any() and (read & ~modality.mask).any()
        for task in ("kind", "dose", "OS"):
            found = out[f"{task}_attribution_{name}"]
            assert found.shape == modality.values.shape
            assert (found[~seen] == 0).all() and np.abs(found[seen]).min() > 0
    whole, out = explained(*CASES["bias"])
    place = whole.arm.dataset.modalities["rna"].features.tolist().index(CONSTANT)
    assert (out["dose_attribution_rna"][:, place] == 0).all()


def test_attributions_equal_finite_differences_along_the_path():
    """(x - x') times the mean slope between them, by central differences of the predictions."""
    fresh, out = explained(*CASES["bias"])
    person, name, step = 1, "rna", 0.05
    one = {key: values[person : person + 1] for key, values in fresh.rows.items()}
    start = at_average(fresh, one)
    observed = np.flatnonzero(np.asarray(one[f"m_{name}"][0]))
    varies = [g for g in observed if fresh.arm.dataset.modalities[name].features[g] != CONSTANT]
    genes = varies[:GENES]
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    change = np.asarray(one[f"x_{name}"] - start[f"x_{name}"])[0]
    assert SIZE == 2 * NODES * GENES  # no further program is compiled
    rows = {key: jnp.repeat(values, SIZE, axis=0) for key, values in one.items()}
    for key in (f"x_{m}" for m in MODALITIES):
        middle = np.repeat((nodes + 1) / 2, 2 * GENES)[:, None]
        point = np.array(start[key] + middle * (one[key] - start[key]))
        if key == f"x_{name}":
            place = np.tile(np.repeat(genes, 2), NODES)
            point[np.arange(SIZE), place] += np.tile([step, -step], NODES * GENES)
        rows[key] = jnp.asarray(point, jnp.float32)
    moved = jax.tree.map(np.asarray, fresh.predict(fresh.variables, rows))
    classes = np.full(SIZE, out["kind_probability"][person].argmax())
    for task, score in scores(fresh, moved, classes).items():
        up, down = np.moveaxis(score.astype(float).reshape(NODES, GENES, 2), 2, 0)
        slope = (weights / 2) @ (up - down) / (2 * step)
        found = out[f"{task}_attribution_{name}"][person, genes]
        expected = change[genes] * slope
        np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("encoding", STEPWISE)
def test_encodings_without_a_gradient_are_refused(encoding):
    words = (f"--config.model.encoding={encoding}", "--config.experiment=interpret")
    with pytest.raises(UserError, match=f"config.model.encoding is {encoding}, by which no outc"):
        FreshArm(*words)


def test_the_null_learns_permuted_outcomes_and_says_the_same_fields():
    config = config_of(SMOKE, "--config.experiment=interpret")
    network, null = MODULE.EXPERIMENTS["interpret"].arms(config, with_survival())
    assert (network.name, null.name) == ("network", "permuted") and null.is_null
    assert len(null.replicates) == 3 * config.interpret.permutations
    assert null.config.predict.attributions and not config.predict.attributions
    first, table = network.replicates[0], network.system.arrays(network.dataset)
    learned = np.concatenate([first.rows[SLOT], first.validation[SLOT]])
    given = table["y_dose"][learned]
    for replicate in null.replicates:
        assert np.array_equal(replicate.test, first.test)
        own, is_permuted = (
            replicate.constants["y_dose"][learned],
            "dose" in replicate.labels["group"],
        )
        assert np.array_equal(own, given) != is_permuted
        assert np.array_equal(np.sort(own), np.sort(given))
