"""Whether hidden connections are found again: the measure, and that training is what finds them."""

import jax.numpy as jnp
import numpy as np
import pytest
from every_arm import arms_of
from fitted_arms import fitted
from miracle_people import arms, smoke_data

from omics_jax.nn.sparse import connected, edges_from
from omics_jax.systems.miracle.reading import knowledge_of, simulated
from omics_jax.systems.miracle.rediscovery import (
    ABSENT,
    FIELD,
    OTHERS,
    contrast_constants,
    contrasted_ends,
    kernels,
    layer_names,
    rediscovery,
)

KNOWN = np.array([(0, 0), (1, 0), (2, 1), (3, 1), (4, 1)])
HIDDEN = np.array([(2, 0), (0, 1)])


def test_a_hidden_connection_is_compared_with_unknown_ones_of_its_unit():
    contrasts = contrasted_ends(KNOWN, HIDDEN, 6, 0)
    assert contrasts.shape == (2, 2 + OTHERS)
    np.testing.assert_array_equal(contrasts[:, :2], HIDDEN[:, ::-1])
    assert set(contrasts[0, 2:].tolist()) == {3, 4, 5}
    assert set(contrasts[1, 2:].tolist()) == {1, 5}


def test_a_unit_that_is_connected_to_everything_has_no_contrast():
    everything = np.array([(i, 0) for i in range(4)])
    assert len(contrasted_ends(everything, np.array([(4, 0)]), 5, 0)) == 0


def test_folds_with_fewer_hidden_connections_are_filled_up():
    both = [(KNOWN, HIDDEN)], [(KNOWN, HIDDEN[:1])]
    first, second = contrast_constants(both, [(6,), (6,)], [0, 1])
    assert first["contrasts_0"].shape == second["contrasts_0"].shape == (2, 2 + OTHERS)
    assert (second["contrasts_0"][1] == ABSENT).all()
    kernel = jnp.zeros((6, 2)).at[2, 0].set(-3.0)
    assert rediscovery(kernel, jnp.asarray(second["contrasts_0"])) == 1.0  # the filling counts not


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0.0), (-2.0, 1.0), (0.5, 0.5)])
def test_the_measure_is_the_share_of_unknown_connections_with_smaller_weights(value, expected):
    """By magnitude; ties count half."""
    kernel = jnp.full((6, 2), 0.5)
    for i, o in HIDDEN.tolist():
        kernel = kernel.at[i, o].set(value)
    contrasts = jnp.asarray(contrasted_ends(KNOWN, HIDDEN, 6, 0))
    np.testing.assert_allclose(rediscovery(kernel, contrasts), expected)


def test_without_hidden_connections_it_is_a_half():
    none = jnp.full((3, 2 + OTHERS), ABSENT)
    assert rediscovery(jnp.ones((4, 2)), none) == 0.5


def test_layers_have_names_and_their_mirror_images():
    assert layer_names(2) == ["site_gene", "gene_pathway"]
    assert layer_names(3)[2] == "pathway_level_2"
    params = {
        "up_0": {"kernel": jnp.ones((5, 3))},
        "mean": {"kernel": jnp.ones((3, 2))},
        "down_0": {"kernel": jnp.ones((2, 3))},
        "down_1": {"kernel": jnp.ones((3, 5))},
    }
    for number, shape in enumerate([(5, 3), (3, 2)]):
        sides = kernels(params, number, 2)
        assert sides["encoder"].shape == sides["decoder"].shape == shape


def test_the_experiment_hides_what_is_known_and_what_is_shuffled():
    by_label = {arm.labels.get("hidden"): arm for arm in arms_of("miracle", "knowledge")}
    true, shuffled = by_label["both"], by_label["shuffled"]
    for arm in (true, shuffled):
        assert arm.config.model.hidden == 0.2 and arm.config.model.softness == 0.1
        assert {"contrasts_0", "contrasts_1"} <= arm.replicates[0].constants.keys()
    assert true.config.model.mask == "both" and shuffled.config.model.mask == "shuffled"


SELECTED = (
    *("--config.experiment=knowledge", "--config.compare.hidden=0.3"),
    *("--config.selection.method=t", "--config.selection.sites=12"),
    "--config.knowledge.unannotated=drop",  # every gene and site has a name that is published
)


def chosen_names(replicate, names):
    return names[replicate.constants["columns"][replicate.constants["alive"]]].tolist()


def contrasts_by_name(replicate, names, genes):
    """(gene, hidden site, other sites) of every contrast of the lowest layer."""
    contrasts = replicate.constants["contrasts_0"]
    present = contrasts[contrasts[:, 0] != ABSENT].tolist()
    sites = chosen_names(replicate, names)
    return [(genes[o], sites[i], {sites[j] for j in others}) for o, i, *others in present]


def wired_by_name(replicate, names, genes):
    """{(site, gene)} of the connections that the network has."""
    fields = {
        name.removeprefix("up_0_"): jnp.asarray(value)
        for name, value in replicate.constants.items()
        if name.startswith("up_0_")
    }
    edges = edges_from(fields)
    ends = np.asarray(edges.ends)[np.asarray(connected(edges))]
    sites = chosen_names(replicate, names)
    return {(sites[i], genes[o]) for i, o in ends.tolist()}


@pytest.mark.parametrize("how", ["both", "shuffled"])
def test_contrasts_of_chosen_sites_are_those_of_their_own_genes(how):
    """By name, as the sites of a fold are numbered among themselves."""
    config, dataset = smoke_data(*SELECTED)
    annotation, genes = simulated(config).site_genes, knowledge_of(config, dataset).genes.names
    published = {(annotation.sites[s], annotation.genes[g]) for s, g in annotation.pairs}
    names = dataset.modalities["methylation"].features
    (arm,) = (arm for arm in arms(*SELECTED) if arm.labels.get("hidden") == how)
    choices = set()
    for replicate in arm.replicates:
        chosen = chosen_names(replicate, names)
        choices.add(tuple(chosen))
        contrasts = contrasts_by_name(replicate, names, genes)
        wired = wired_by_name(replicate, names, genes)
        hidden = {(site, gene) for gene, site, _ in contrasts}
        assert hidden and not hidden & wired
        for gene, _, others in contrasts:
            assert not {(other, gene) for other in others} & (published | wired | hidden)
        if how == "both":
            assert hidden == {pair for pair in published if pair[0] in chosen} - wired
        else:
            assert not hidden & published
    assert len(choices) > 1  # folds number their sites differently


def test_a_network_that_is_not_asked_has_no_contrasts():
    for arm in arms("--config.model.hidden=0.2"):
        for replicate in arm.replicates:
            assert not any(name.startswith("contrasts") for name in replicate.constants)


@pytest.mark.slow
def test_training_finds_hidden_connections_of_sites(tmp_path):
    """Sites of one gene move together in the simulator, so that the decoder needs them; those of
    shuffled connections do not.
    """
    words = (
        *("--config.simulator.people=(150,150)", "--config.simulator.noise=0.3"),
        *("--config.training.epochs.autoencoder=40", "--config.training.patience=40"),
        *("--config.training.epochs.heads=1", "--config.training.epochs.all=1"),
        *("--config.compare.hidden=0.3", "--config.experiment=knowledge"),
    )
    decoder = {}
    for arm in arms(*words):
        if "hidden" in arm.labels:
            _, predictions = fitted(arm, tmp_path / arm.labels["hidden"])
            decoder[arm.labels["hidden"]] = np.mean([own[FIELD][0, 1] for own in predictions])
    assert decoder["both"] > 0.7
    assert abs(decoder["shuffled"] - 0.5) < 0.1
