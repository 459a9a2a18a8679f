"""Gene sets of an ontology: terms from an OBO file, annotations of genes from a GAF file.

A gene that is annotated with a term belongs to all its ancestors too, along `is_a` and, where
asked, `part_of` (the true-path rule of the Gene Ontology). Formats: OBO 1.2 and 1.4, GAF 2.x.
Annotations with the qualifier NOT are left out. Left out too: regulates, and other relations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from omics_jax.data.formats.files import existing_file, read_text
from omics_jax.data.knowledge.gene_sets import GeneSets
from omics_jax.errors import UserError

RELATIONS = ("is_a", "part_of")
STANZAS = ("[Term]", "[Typedef]", "[Instance]")
BRANCHES = ("biological_process", "molecular_function", "cellular_component")
_ASPECTS = dict(zip("PFC", BRANCHES, strict=True))
_SYMBOL, _QUALIFIER, _TERM, _EVIDENCE, _ASPECT = 2, 3, 4, 6, 8  # columns of a GAF line
_GAF_COLUMNS = 15  # in its oldest version


@dataclass(frozen=True)
class Ontology:
    """Terms that are not obsolete.

    Attributes:
      source: the file.
      names: id -> name.
      branches: id -> namespace.
      parents: id -> ids of the terms above it.
      main_id: alternative id -> id.
    """

    source: str
    names: Mapping[str, str]
    branches: Mapping[str, str]
    parents: Mapping[str, tuple[str, ...]]
    main_id: Mapping[str, str]

    def ancestors(self) -> dict[str, frozenset[str]]:
        """id -> the term itself and everything above it.

        Raises:
          UserError: the relations form a cycle.
        """
        try:
            order = list(TopologicalSorter(self.parents).static_order())
        except CycleError as error:
            cycle = " -> ".join(error.args[1])
            raise UserError(
                f"{self.source}: its terms form a cycle ({cycle}); remove one of these relations"
            ) from None
        above: dict[str, frozenset[str]] = {}
        for term in order:
            parents = (above[parent] for parent in self.parents.get(term, ()))
            above[term] = frozenset({term}).union(*parents)
        return above


@dataclass(frozen=True)
class Annotation:
    """One line of a GAF: a gene, a term, its evidence code and its branch."""

    gene: str
    term: str
    evidence: str
    branch: str


def read_obo(path: str, relations: Sequence[str] = RELATIONS) -> Ontology:
    """The terms of an OBO file with the given relations.

    Raises:
      UserError: no term, a term without an id or with several, or a relation other than
        `RELATIONS`.
    """
    for relation in relations:
        if relation not in RELATIONS:
            raise UserError(f"the relation {relation!r} is unknown; use {', '.join(RELATIONS)}")
    file = existing_file(path)
    names, branches, parents, main_id = {}, {}, {}, {}
    for stanza in _terms(file, read_text(file).decode()):
        if len(stanza["id"]) != 1:
            ids = " and ".join(stanza["id"]) or "no id"
            raise UserError(
                f"{file}: a [Term] has {ids}, where it must have one id; fetch it again"
            )
        (term,) = stanza["id"]
        if stanza["is_obsolete"] == ["true"]:
            continue
        names[term] = "".join(stanza["name"][:1]) or term
        branches[term] = (stanza["namespace"] or [""])[0]
        above = [value.split(" ")[0] for value in stanza["is_a"] if "is_a" in relations]
        for value in stanza["relationship"]:
            relation, _, rest = value.partition(" ")
            if relation in relations:
                above.append(rest.split(" ")[0])
        parents[term] = tuple(dict.fromkeys(above))
        main_id |= dict.fromkeys(stanza["alt_id"], term)
    if not names:
        raise UserError(f"{file} holds no [Term]; name an OBO file such as go-basic.obo")
    known = {term: tuple(p for p in above if p in names) for term, above in parents.items()}
    return Ontology(str(file), names, branches, known, main_id)


def _terms(file: Path, text: str) -> Iterator[dict[str, list[str]]]:
    """tag -> values of every [Term], without comments and trailing modifiers."""
    stanza: dict[str, list[str]] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if line.startswith("["):
            if stanza is not None:
                yield stanza
            if line not in STANZAS:
                raise UserError(
                    f"{file}: line {number} is {line!r}, where an OBO file has one of "
                    f"{', '.join(STANZAS)}; fetch it again"
                )
            stanza = defaultdict(list) if line == STANZAS[0] else None
        elif stanza is not None and ":" in line and not line.startswith("!"):
            tag, value = line.split(":", 1)
            stanza[tag.strip()].append(value.split(" !")[0].strip())
    if stanza is not None:
        yield stanza


def read_gaf(path: str) -> list[Annotation]:
    """The annotations of a GAF file (also .gz) that are not negated.

    Raises:
      UserError: a line with too few columns, or no annotation at all.
    """
    file = existing_file(path)
    annotations = []
    for number, line in enumerate(read_text(file).decode().split("\n"), 1):
        if not line.strip() or line.startswith("!"):
            continue
        cells = line.split("\t")
        if len(cells) < _GAF_COLUMNS:
            raise UserError(
                f"{file}: line {number} has {len(cells)} columns, and a GAF line has "
                f"{_GAF_COLUMNS} or more; name a GAF file such as goa_human.gaf.gz"
            )
        if "NOT" in cells[_QUALIFIER].split("|"):
            continue
        branch = _ASPECTS.get(cells[_ASPECT], "")
        annotations.append(Annotation(cells[_SYMBOL], cells[_TERM], cells[_EVIDENCE], branch))
    if not annotations:
        raise UserError(f"{file} holds no annotation; name a GAF file such as goa_human.gaf.gz")
    return annotations


def ontology_gene_sets(
    ontology: Ontology,
    annotations: Sequence[Annotation],
    evidence: Sequence[str] = (),
    branch: str = "biological_process",
) -> GeneSets:
    """A set per term that has genes, named "name (id)": the genes of the term and those below it.

    Args:
      evidence: codes such as EXP, IDA; () for all.
      branch: one of `BRANCHES`; "" for all.

    Raises:
      UserError: an unknown branch, an ontology with a cycle, or no annotation that is left.
    """
    if branch and branch not in BRANCHES:
        raise UserError(f"the branch {branch!r} is unknown; use one of {', '.join(BRANCHES)}")
    ancestors = ontology.ancestors()
    genes: dict[str, dict[str, None]] = defaultdict(dict)
    unknown: set[str] = set()
    for annotation in annotations:
        if evidence and annotation.evidence not in evidence:
            continue
        term = ontology.main_id.get(annotation.term, annotation.term)
        if term not in ancestors:
            unknown.add(annotation.term)
            continue
        for above in ancestors[term]:
            if not branch or ontology.branches[above] == branch:
                genes[above][annotation.gene] = None
    if not genes:
        codes = sorted({annotation.evidence for annotation in annotations})
        raise UserError(
            f"no annotation is left for {ontology.source}: {len(unknown)} terms are not in it; "
            f"the evidence codes are {', '.join(codes)}; choose another branch or other codes"
        )
    notes = []
    if unknown:
        example = sorted(unknown)[0]
        notes.append(f"{len(unknown)} annotated terms are not in the ontology, such as {example}.")
    sets = {f"{ontology.names[term]} ({term})": tuple(genes[term]) for term in sorted(genes)}
    ids = {f"{ontology.names[term]} ({term})": term for term in sorted(genes)}
    return GeneSets(ontology.source, sets, ids, tuple(notes))
