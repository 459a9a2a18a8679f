"""GraphML: read back by a reader written from the primer, the graph is the one that was written."""

import io
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.formats.graphml import as_graphml
from omics_jax.errors import UserError

NAMESPACES = {"g": "http://graphml.graphdrawing.org/xmlns"}
PARSERS = {"boolean": {"true": True, "false": False}.__getitem__, "long": int, "double": float}
NODES = pd.DataFrame(
    {
        "gene": ["TP53", "MDM2", "HLA-DRB1 (rna)"],
        "module": ["repair", None, "immune"],
        "degree": [2, 1, 1],
        "mean": [0.1, np.nan, -np.inf],
        "known": [True, False, True],
        "nothing": [np.nan, np.nan, np.nan],
    }
)
EDGES = pd.DataFrame(
    {
        "a": ["TP53", "HLA-DRB1 (rna)"],
        "b": ["MDM2", "TP53"],
        "strength": np.array([1 / 3, 0.25], np.float32),
        "module": ["x", "y"],
        "rank": pd.array([1, None], dtype="Int64"),
        "new": pd.array([None, False], dtype=object),
    }
)


def read(content):
    """The keys {id: (for, name, type)}, nodes {id: attributes} and edges [(a, b, attributes)].

    As the primer says: every key before the graph, its id once, and every value of the type that
    its key declares, for the part it belongs to.
    """
    root = ElementTree.parse(io.BytesIO(content)).getroot()
    assert root.tag == f"{{{NAMESPACES['g']}}}graphml"
    (graph,) = root.findall("g:graph", NAMESPACES)
    assert graph.get("edgedefault") == "undirected" and list(root)[-1] is graph
    declared = root.findall("g:key", NAMESPACES)
    keys = {k.get("id"): (k.get("for"), k.get("attr.name"), k.get("attr.type")) for k in declared}
    assert len(keys) == len(declared)

    def attributes(part):
        kind = part.tag.split("}")[1]
        found = {}
        for data in part.findall("g:data", NAMESPACES):
            place, name, of_type = keys[data.get("key")]
            assert place == kind and name not in found
            found[name] = PARSERS.get(of_type, str)(data.text or "")
        return found

    nodes = {node.get("id"): attributes(node) for node in graph.findall("g:node", NAMESPACES)}
    edges = [
        (edge.get("source"), edge.get("target"), attributes(edge))
        for edge in graph.findall("g:edge", NAMESPACES)
    ]
    assert all(a in nodes and b in nodes for a, b, _ in edges)
    return keys, nodes, edges


def test_a_graph_is_read_back_with_its_types_and_without_its_gaps():
    keys, nodes, edges = read(as_graphml(NODES, EDGES))
    assert {(place, name): of_type for place, name, of_type in keys.values()} == {
        ("node", "module"): "string",
        ("node", "degree"): "long",
        ("node", "mean"): "double",
        ("node", "known"): "boolean",
        ("node", "nothing"): "string",
        ("edge", "strength"): "double",
        ("edge", "module"): "string",
        ("edge", "rank"): "long",
        ("edge", "new"): "boolean",
    }
    assert nodes == {
        "TP53": {"module": "repair", "degree": 2, "mean": 0.1, "known": True},
        "MDM2": {"degree": 1, "known": False},
        "HLA-DRB1 (rna)": {"module": "immune", "degree": 1, "mean": -np.inf, "known": True},
    }
    strength = [float(value) for value in EDGES["strength"]]
    assert edges == [
        ("TP53", "MDM2", {"strength": strength[0], "module": "x", "rank": 1}),
        ("HLA-DRB1 (rna)", "TP53", {"strength": strength[1], "module": "y", "new": False}),
    ]


def test_hostile_names_stay_text_and_apart():
    names = ["<a & 'b'>", '"]]>', "药物 é", "a\tb\nc", "bell\x07", "bell", "\ud800", "\uffff"]
    nodes = pd.DataFrame({"name": names, "<key>\x00": names})
    edges = pd.DataFrame({"a": names[:-1], "b": names[1:]})
    keys, read_nodes, read_edges = read(as_graphml(nodes, edges))
    written = [*names[:4], r"bell\x07", "bell", r"\xd800", r"\xffff"]
    assert list(read_nodes) == written
    assert [name for _, name, _ in keys.values()] == [r"<key>\x00"]
    assert [data[r"<key>\x00"] for data in read_nodes.values()] == written
    assert [(a, b) for a, b, _ in read_edges] == list(zip(written[:-1], written[1:], strict=True))


def test_a_graph_without_edges_or_nodes_is_a_graph():
    _, nodes, edges = read(as_graphml(NODES, EDGES.iloc[:0]))
    assert len(nodes) == 3 and not edges
    assert read(as_graphml(NODES.iloc[:0], EDGES.iloc[:0]))[1:] == ({}, [])


@pytest.mark.parametrize(
    ("names", "ends", "words"),
    [
        (["a", "a"], ["a", "a"], "the node 'a' twice; rename or remove"),
        (["a", None], ["a", "a"], "node 2 of the network has no name; fill in 'name'"),
        (["a", ""], ["a", "a"], "node 2 of the network has no name; fill in 'name'"),
        (["a", "b"], ["a", "c"], "edge 1 of the network leads to 'c', which is no node; add it"),
    ],
)
def test_what_is_no_graph_is_refused(names, ends, words):
    with pytest.raises(UserError, match=words):
        as_graphml(pd.DataFrame({"name": names}), pd.DataFrame([ends]))
