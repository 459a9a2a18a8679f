"""The genes of data among the nodes of a network: by name, form and alias, and what is refused."""

import numpy as np
import pytest

from omics_jax.data.gene_networks.matching import match_genes
from omics_jax.errors import UserError

ENSEMBL = "ENSG00000141510"


def test_genes_match_exactly_then_by_case_then_by_alias():
    nodes = ["TP53", "KRAS", "C3orf35", "MYC", "myc"]
    genes = ["MYC", "kras", "C3ORF35", "p53", "Myc", "TP53", "unknown"]
    places, note = match_genes(genes, nodes, {"P53": "tp53"})
    assert places.dtype == np.int32
    # Two nodes are called MYC but for their case: Myc is neither of them.
    assert places.tolist() == [3, 1, 2, 0, -1, 0, -1]
    assert note == (
        "5 of 7 genes have a node, 4 nodes in all (2 names equal, 2 equal but for case or "
        "version, 1 by alias); without: Myc, unknown."
    )


def test_an_alias_never_outdoes_a_name():
    places, _ = match_genes(["A", "B"], ["A", "B"], {"A": "B", "B": "A"})
    assert places.tolist() == [0, 1]
    places, _ = match_genes(["x", "A"], ["A", "B"], {"X": "A", "x": "B"})
    assert places.tolist() == [-1, 0]


@pytest.mark.parametrize(
    ("gene", "node", "place"),
    [
        (f"{ENSEMBL}.18", ENSEMBL, 0),
        (ENSEMBL, f"{ENSEMBL}.11", 0),
        (f"{ENSEMBL}.18", f"{ENSEMBL}.11", 0),
        (f"{ENSEMBL}.18", "ENSG00000141511", -1),
        ("AC004.1", "AC004", -1),
    ],
)
def test_versions_of_ensembl_ids_do_not_matter(gene, node, place):
    places, _ = match_genes([gene, "other"], [node, "other"])
    assert places.tolist() == [place, 1]


def test_a_few_genes_without_a_node_are_named():
    places, note = match_genes(np.array(["A", *"uvwxyz"]), np.array(["A"]))
    assert places.tolist() == [0, *[-1] * 6]
    assert note == "1 of 7 genes have a node (1 names equal); without: u, v, w, x, y, ..."
    assert match_genes(["A"], ["A"])[1] == "1 of 1 genes have a node (1 names equal)."


def test_genes_of_another_species_are_pointed_out():
    _, note = match_genes(["Trp53", "Egfr", "Myc"], ["TP53", "EGFR", "MYC"])
    assert "Most names differ in their case ('Egfr' and 'EGFR'), as genes of mouse or rat" in note
    assert "Most names" not in match_genes(["egfr", "MYC"], ["EGFR", "MYC"])[1]


@pytest.mark.parametrize(
    ("genes", "nodes", "hint"),
    [
        (["TP53", "KRAS"], ["7157", "3845"], "the nodes have Entrez numbers"),
        (["7157"], ["TP53"], "the data have Entrez numbers"),
        ([ENSEMBL], ["TP53"], "the data have Ensembl ids of genes"),
        ([f"{ENSEMBL}.1"], ["7157"], "ids of genes and the nodes have Entrez numbers"),
        (["TP53"], ["9606.ENSP00000000233"], "the nodes have STRING's ids of proteins"),
        (["TP53"], ["KRAS"], "the two name genes by different conventions"),
    ],
)
def test_genes_without_any_node_are_refused(genes, nodes, hint):
    with pytest.raises(UserError) as caught:
        match_genes(genes, nodes)
    message = str(caught.value)
    assert f"none of the {len(genes)} genes of the data (such as {genes[0]!r}" in message
    assert f"nodes (such as {nodes[0]!r}" in message
    assert hint in message and "or give a table of aliases" in message


def test_the_file_of_the_names_is_told_where_there_is_no_network():
    _, note = match_genes(["A", "a", "B"], ["A"], file="panel.txt")
    assert note == (
        "2 of 3 genes are in panel.txt, 1 of its genes in all (1 names equal, 1 equal but for case "
        "or version); without: B."
    )
    with pytest.raises(UserError) as caught:
        match_genes(["TP53"], ["7157"], file="panel.txt")
    message = str(caught.value)
    assert "(such as 'TP53') is in panel.txt (such as '7157'); panel.txt has Entrez" in message
    assert message.endswith("the name in the data and the name in panel.txt")
