"""The simulator of methylation studies: its structure, its truth, its null."""

import numpy as np
import pytest

from omics_jax.data.methylation.simulate import DISEASES, PEOPLE, simulate_methylation
from omics_jax.errors import UserError
from omics_jax.evaluation.differential import design_matrix, linear_effects, moderated_t


@pytest.fixture(scope="module")
def studies():
    return simulate_methylation(effect=1.5, seed=3)


def test_people_are_of_one_study_and_their_outcome_is_known_in_it_alone(studies):
    dataset = studies.dataset
    assert list(dataset.targets) == list(DISEASES)
    known = np.stack([mask for _, mask in dataset.targets.values()])
    np.testing.assert_array_equal(known.sum(axis=0), 1)
    np.testing.assert_array_equal(known.sum(axis=1), PEOPLE)
    for values, mask in dataset.targets.values():
        assert abs(values[mask].mean() - 0.5) < 0.02
        assert not values[~mask].any()


def test_values_are_beta_values(studies):
    modality = studies.dataset.modalities["methylation"]
    cells = modality.values[modality.mask]
    assert 0 < cells.min() and cells.max() < 1
    assert modality.mask.mean() == pytest.approx(0.99, abs=0.002)


def test_active_pathways_are_more_active_in_cases_and_no_others(studies):
    truth, dataset = studies.truth, studies.dataset
    for name, (values, mask) in dataset.targets.items():
        cases, controls = truth.activity[mask & (values == 1)], truth.activity[mask & (values == 0)]
        difference = cases.mean(axis=0) - controls.mean(axis=0)
        is_active = np.isin(truth.pathways, truth.active[name])
        assert difference[is_active].mean() == pytest.approx(1.5, abs=0.4)
        assert abs(difference[~is_active].mean()) < 0.15


def test_shared_pathways_are_active_in_four_diseases(studies):
    truth = studies.truth
    for pathway in truth.shared:
        assert sum(pathway in active for active in truth.active.values()) == 4
    assert all(len(active) >= 2 for active in truth.active.values())


def test_sites_of_active_pathways_differ_and_at_the_null_none_does():
    def smallest_p(effect):
        dataset = simulate_methylation(effect=effect, seed=1).dataset
        modality = dataset.modalities["methylation"]
        values, mask = dataset.targets["RA"]
        rows = np.flatnonzero(mask)
        design = design_matrix(values[rows].astype(float))
        _, p = moderated_t(linear_effects(modality.values[rows], modality.mask[rows], design))
        return np.sort(p)

    assert smallest_p(1.5)[20] < 1e-6
    assert smallest_p(0.0)[0] * 1200 > 0.05


def test_hidden_connections_are_real_and_not_published(studies):
    truth, annotation = studies.truth, studies.site_genes
    published = {(annotation.sites[s], annotation.genes[g]) for s, g in annotation.pairs}
    assert 0.07 < len(truth.hidden_genes) / (len(published) + len(truth.hidden_genes)) < 0.13
    assert not published & set(truth.hidden_genes)
    in_sets = {(gene, name) for name, genes in studies.gene_sets.genes.items() for gene in genes}
    assert truth.hidden_sets and not in_sets & set(truth.hidden_sets)


def test_the_same_arguments_give_the_same_bits_and_another_seed_does_not():
    small = dict(people=(10, 12), sites=40, genes=20, pathways=8, pathway_genes=4)
    prints = [simulate_methylation(**small, seed=s).dataset.fingerprint() for s in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_cases_are_older_where_age_confounds():
    dataset = simulate_methylation(confounding=1.0).dataset
    values, mask = dataset.targets["RA"]
    age = dataset.table["age"].astype(float).to_numpy()
    assert age[mask & (values == 1)].mean() - age[mask & (values == 0)].mean() > 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(people=()), "people"),
        (dict(people=(10,) * 7), "people"),
        (dict(pathways=5), "pathways = 5; give 14 or more"),
        (dict(pathway_genes=401), "pathway_genes"),
        (dict(effect=-1.0), "effect"),
        (dict(hidden=1.0), "hidden"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        simulate_methylation(**arguments)


def test_unlabelled_people_are_a_study_of_their_own_and_change_nobody_else():
    sizes = dict(people=(20, 16), sites=80, genes=30, pathways=8, pathway_genes=4, active=1)
    without = simulate_methylation(**sizes).dataset
    dataset = simulate_methylation(**sizes, unlabelled=9).dataset
    assert list(dataset.table["study"][36:]) == ["unlabelled"] * 9
    for name, (_, known) in dataset.targets.items():
        assert not known[36:].any(), name
    for field in ("values", "mask"):
        own, same = (getattr(d.modalities["methylation"], field) for d in (dataset, without))
        np.testing.assert_array_equal(own[:36], same)
    assert without.table.equals(dataset.table[:36])
