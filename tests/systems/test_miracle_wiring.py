"""What reaches a unit of MIRACLE's network: by the arrays, and by perturbing single sites."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miracle_people import FreshArm, arms, smoke_data

from omics_jax.data.knowledge.layers import Knowledge, Layer
from omics_jax.systems.miracle import model, wiring
from omics_jax.systems.miracle.reading import knowledge_of
from omics_jax.systems.miracle.wiring import layer_ends, layer_sizes, most_edges, wired

SITES, GENES, PATHWAYS = 7, 4, 3
GENE_ENDS = [(0, 0), (1, 0), (2, 1), (3, 1), (3, 2), (4, 2), (5, 3), (6, 3)]
PATHWAY_ENDS = [(0, 0), (1, 0), (1, 1), (2, 1), (3, 2)]
KNOWLEDGE = Knowledge(
    np.array([f"cg{i}" for i in range(SITES)]),
    Layer(np.array([f"G{i}" for i in range(GENES)]), np.array(GENE_ENDS)),
    (Layer(np.array([f"p{i}" for i in range(PATHWAYS)]), np.array(PATHWAY_ENDS)),),
    (),
)
SIZES = layer_sizes(KNOWLEDGE)


def ends_of(constants, side, number):
    """The connections of a layer as pairs, without the absent ones."""
    edges = wiring.edges_of(constants, side, number)
    exists = edges.by_output.edge.reshape(-1)[edges.place] == np.arange(len(edges.ends))
    return {tuple(pair) for pair in np.asarray(edges.ends)[np.asarray(exists)].tolist()}


def test_the_network_has_the_connections_of_the_chosen_sites_and_the_decoder_mirrors_them():
    ends, hidden = layer_ends(KNOWLEDGE, "both", 0.0, 0)
    assert not any(len(out) for out in hidden)
    constants = wired(ends, SIZES, np.array([1, 3, 6, 7]), [9, None])
    # The chosen sites 1, 3 and 6 are numbered 0, 1 and 2; number 3 is no site.
    expected = {(0, 0), (1, 1), (1, 2), (2, 3)}
    assert ends_of(constants, "up", 0) == expected
    assert ends_of(constants, "down", 0) == {(o, i) for i, o in expected}
    assert ends_of(constants, "up", 1) == set(PATHWAY_ENDS)
    assert ends_of(constants, "down", 1) == {(o, i) for i, o in PATHWAY_ENDS}


@pytest.mark.parametrize("how", ["shuffled", "random"])
def test_false_connections_are_as_many_and_others(how):
    config, dataset = smoke_data()
    knowledge = knowledge_of(config, dataset)
    true, _ = layer_ends(knowledge, "both", 0.0, 0)
    false, _ = layer_ends(knowledge, how, 0.0, 0)
    for own, other, inputs in zip(true, false, layer_sizes(knowledge), strict=False):
        assert len(own) == len(other)
        assert set(map(tuple, own.tolist())) != set(map(tuple, other.tolist()))
        if how == "shuffled":
            for side in (0, 1):
                count = [np.bincount(e[:, side], minlength=inputs) for e in (own, other)]
                np.testing.assert_array_equal(*count)
    again, _ = layer_ends(knowledge, how, 0.0, 1)
    assert any(not np.array_equal(a, b) for a, b in zip(again, false, strict=True))


def test_hidden_connections_are_a_share_of_every_layer():
    stay, hidden = layer_ends(KNOWLEDGE, "both", 0.25, 3)
    for own, out, layer in zip(stay, hidden, (GENE_ENDS, PATHWAY_ENDS), strict=True):
        assert len(out) == round(0.25 * len(layer))
        assert sorted(map(tuple, [*own.tolist(), *out.tolist()])) == sorted(layer)


def test_most_edges_is_of_the_sites_with_most_genes():
    assert [most_edges(np.array(GENE_ENDS), SITES, w) for w in (1, 2, 7)] == [2, 3, 8]


def test_masks_of_the_encoder_and_the_decoder():
    assert wiring.masks_of("both", 0.0) == ("hard", "hard")
    assert wiring.masks_of("shuffled", 0.1) == ("soft", "soft")
    assert wiring.masks_of("decoder", 0.0) == ("none", "hard")
    assert wiring.masks_of("none", 0.5) == ("none", "none")


# --- the whole network ----------------------------------------------------------------------------

# Norms would couple the people, who are one here.
PLAIN = ("--config.model.batch_norm=False",)


def reach(fresh):
    """(sites, P) whether a site moves a pathway's mean, and (P, sites) whether z moves a site."""
    up, down = model.layer_edges(fresh.shape, fresh.constants)
    network, params = fresh.shape.autoencoder, fresh.variables["params"]["encoder"]
    variables = {"params": jax.tree.map(lambda p: p + 0.1, params)}
    info = model.row_info({"live": jnp.ones(1, bool), "row": jnp.zeros(1, jnp.int32)})

    def means(x):
        return network.apply(variables, x[None], up, info, method="encode")[0][0]

    def decoded(z):
        return network.apply(variables, z[None], down, info, method="decode")[0]

    x, z = jnp.linspace(0.1, 1, fresh.shape.sites), jnp.linspace(0.1, 1, fresh.shape.pathways)
    forward, back = jax.jit(jax.jacobian(means))(x), jax.jit(jax.jacobian(decoded))(z)
    return np.asarray(forward).T != 0, np.asarray(back).T != 0


def paths(fresh):
    """(sites, P) whether knowledge leads from a chosen site through a gene to a pathway."""
    layers = []
    sizes = (fresh.shape.sites, *fresh.shape.units)
    for number in range(len(fresh.shape.units)):
        matrix = np.zeros((sizes[number], sizes[number + 1]), int)
        for pair in ends_of(fresh.constants, "up", number):
            matrix[pair] = 1
        layers.append(matrix)
    return np.linalg.multi_dot(layers) > 0


@pytest.mark.parametrize("how", ["both", "shuffled"])
def test_a_site_moves_the_pathways_of_its_genes_alone_and_they_move_it_alone(how):
    fresh = FreshArm(*PLAIN, f"--config.model.mask={how}")
    forward, back = reach(fresh)
    known = paths(fresh)
    assert 0 < known.mean() < 0.5
    np.testing.assert_array_equal(forward, known)
    np.testing.assert_array_equal(back, known.T)


def test_the_knowledge_of_a_selected_site_is_its_own():
    """Places in the network are not those of the data, once sites are selected."""
    fresh = FreshArm(*PLAIN, "--config.selection.method=t", "--config.selection.sites=7")
    config, dataset = smoke_data()
    knowledge = knowledge_of(config, dataset)
    forward, _ = reach(fresh)
    genes = dict.fromkeys(range(len(knowledge.sites)), ())
    for site, gene in knowledge.genes.ends.tolist():
        genes[site] = (*genes[site], gene)
    of_gene = {}
    for gene, pathway in knowledge.pathways[0].ends.tolist():
        of_gene.setdefault(gene, set()).add(pathway)
    for place, site in enumerate(fresh.replicate.constants["columns"]):
        expected = set().union(*(of_gene[g] for g in genes.get(int(site), ())))
        assert set(np.flatnonzero(forward[place])) == expected


@pytest.mark.parametrize(("how", "encoder", "decoder"), [("none", 1, 1), ("decoder", 1, 0)])
def test_dense_layers_connect_everything(how, encoder, decoder):
    fresh = FreshArm(*PLAIN, f"--config.model.mask={how}")
    forward, back = reach(fresh)
    assert forward.all() == encoder and back.all() == decoder
    if not decoder:
        np.testing.assert_array_equal(back, paths(fresh).T)


WORDS = [
    (),
    ("--config.selection.method=t", "--config.selection.sites=15"),
    ("--config.selection.method=t", "--config.selection.sites=1000"),
    ("--config.model.mask=shuffled",),
    ("--config.model.mask=random",),
    ("--config.model.hidden=0.3",),
    ("--config.model.mask=random", "--config.model.hidden=0.3", "--config.selection.method=t"),
]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_folds_with_other_sites_and_connections_have_constants_of_one_shape(words):
    for arm in arms(*words):
        first, *others = [jax.tree.map(np.shape, dict(r.constants)) for r in arm.replicates]
        assert all(other == first for other in others)
    if "random" in str(words) or "shuffled" in str(words):
        up = [ends_of(r.constants, "up", 1) for r in arms(*words)[-1].replicates]
        assert up[0] != up[1]
