"""Networks in GraphML, which Cytoscape, Gephi, igraph and networkx open.

Source: the GraphML primer and its extension for attributes (graphml.graphdrawing.org). Left out:
directions, ports, hyperedges and graphs within nodes.
Deviates: the schema has ids without spaces; here an id is a node's name, whatever it holds, since
programs show it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from pandas.api import types

from omics_jax.errors import UserError

NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
NUMBER_TYPES = {"boolean": types.is_bool_dtype, "long": types.is_integer_dtype}
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_graphml(nodes: pd.DataFrame, edges: pd.DataFrame) -> bytes:
    """An undirected graph as the content of a GraphML file.

    nodes: a row per node; the first column names it, further columns are its attributes.
    edges: a row per edge; the first two columns are the names of its nodes, further columns its
      attributes.

    Attributes have the names of their columns and the type boolean, long, double or string; missing
    cells are left out. A character that XML cannot hold, such as a bell, is written as in "\\x07".

    Raises:
      UserError: a name is missing or occurs twice, or an edge leads to a node that is not there.
    """
    names = checked_names(nodes)
    source, target = (checked_ends(edges, end, names) for end in (0, 1))
    root = ElementTree.Element("graphml", xmlns=NAMESPACE)
    node_types = declare_attributes(root, "node", nodes.iloc[:, 1:])
    edge_types = declare_attributes(root, "edge", edges.iloc[:, 2:])
    graph = ElementTree.SubElement(root, "graph", edgedefault="undirected")
    parts = [ElementTree.SubElement(graph, "node", id=name) for name in names]
    add_attributes(parts, "node", nodes.iloc[:, 1:], node_types)
    ends = zip(source, target, strict=True)
    parts = [ElementTree.SubElement(graph, "edge", source=a, target=b) for a, b in ends]
    add_attributes(parts, "edge", edges.iloc[:, 2:], edge_types)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def checked_names(nodes: pd.DataFrame) -> list[str]:
    """The names of the nodes.

    Raises:
      UserError: a name is missing or occurs twice.
    """
    column = nodes.iloc[:, 0]
    names = [xml_text(name) for name in column]
    for row in np.flatnonzero(column.isna() | (column.astype(str) == "")):
        raise UserError(f"node {row + 1} of the network has no name; fill in {column.name!r}")
    for row in np.flatnonzero(pd.Series(names, dtype=object).duplicated()):
        raise UserError(f"the network has the node {names[row]!r} twice; rename or remove one")
    return names


def checked_ends(edges: pd.DataFrame, end: int, names: Sequence[str]) -> list[str]:
    """The names of the first (0) or the second (1) nodes of all edges.

    Raises:
      UserError: one is not among `names`.
    """
    known = set(names)
    ends = [xml_text(name) for name in edges.iloc[:, end]]
    for row, name in enumerate(ends):
        if name not in known:
            raise UserError(
                f"edge {row + 1} of the network leads to {name!r}, which is no node; add it to the "
                "nodes or remove the edge"
            )
    return ends


def declare_attributes(root: ElementTree.Element, part: str, frame: pd.DataFrame) -> list[str]:
    """Adds a key for every column; returns their types.

    part: "node" or "edge".
    """
    attribute_types = [attribute_type(column) for _, column in frame.items()]
    for i, (name, kind) in enumerate(zip(frame.columns, attribute_types, strict=True)):
        described = {"for": part, "attr.name": xml_text(name), "attr.type": kind}
        ElementTree.SubElement(root, "key", id=key_of(part, i), **described)
    return attribute_types


def key_of(part: str, column: int) -> str:
    """The id of an attribute, which no other attribute of nodes or edges has."""
    return f"{part}_{column}"


def attribute_type(column: pd.Series) -> str:
    """The type that holds all cells: boolean, long or double, otherwise string.

    A column without any cell is of strings.
    """
    known = column.dropna().infer_objects()
    for name, is_of_type in NUMBER_TYPES.items():
        if len(known) and is_of_type(known.dtype):
            return name
    return "double" if len(known) and types.is_float_dtype(known.dtype) else "string"


def add_attributes(
    parts: Sequence[ElementTree.Element],
    part: str,
    frame: pd.DataFrame,
    attribute_types: Sequence[str],
) -> None:
    """Adds to every node (edge) its cells of `frame`, without the missing ones."""
    for i, (kind, (_, column)) in enumerate(zip(attribute_types, frame.items(), strict=True)):
        for element, value, is_missing in zip(parts, column, column.isna(), strict=True):
            if not is_missing:
                data = ElementTree.SubElement(element, "data", key=key_of(part, i))
                data.text = cell_text(value, kind)


def cell_text(value: object, kind: str) -> str:
    """A cell as Java writes its type, which GraphML follows; doubles keep all their digits."""
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "long":
        return str(int(value))
    if kind == "double":
        return repr(float(value)).replace("inf", "Infinity")
    return xml_text(value)


def xml_text(value: object) -> str:
    """A value as text without the characters that XML cannot hold."""
    return NOT_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", str(value))
