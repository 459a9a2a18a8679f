"""Small sound files of what is known about sites, genes and pathways, for `mutated_files`.

How each is written, read by this package, and read plainly, line by line or by pandas; see
`sound_files`.
"""

from __future__ import annotations

import gzip
import io
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from sound_files import GENES, IDS, VALUES, Content, Format, frame_content, matrix_content

SETS = {f"set {k}": GENES[k : k + 6] for k in range(8)}
TERMS = {f"GO:{k:07}": f"GO:{k // 2:07}" for k in range(1, 12)}  # term -> the term above it
SITES = [f"cg{k:08}" for k in range(30)]
HEADER = "IlmnID,Name,CHR,MAPINFO,UCSC_RefGene_Name"
UTF8 = "utf-8"


def write_lines(name: str, lines: list[str]) -> Callable[[Path], Path]:
    """A function that writes these lines to a file of a folder; packed if its name says so."""

    def write(folder: Path) -> Path:
        data = ("\n".join(lines) + "\n").encode()
        (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        return folder / name

    return write


def plain_lines(path: Path) -> list[str]:
    """The lines of a file that are not blank."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode(UTF8)
    return [line for line in text.split("\n") if line.strip()]


GMT = ["\t".join([name, f"R-{name}", *genes]) for name, genes in SETS.items()]
PAIRS = ["gene,set", *(f"{gene},{name}" for name, genes in SETS.items() for gene in genes)]
SITE_PAIRS = ["site,gene", *(f"{site},{GENES[k % 20]}" for k, site in enumerate(SITES))]
MANIFEST = [
    *("Illumina, Inc.,,,,", "[Heading],,,,", "Assay Format,Infinium 2,,,", "[Assay],,,,", HEADER),
    *(f"{site},{site},{1 + k % 22},{1000 + k},{GENES[k % 20]}" for k, site in enumerate(SITES)),
    *("[Controls],,,,", "21616500,STAINING,Red,DNP (High),"),
]
OBO = ["format-version: 1.2", "ontology: go"]
for term, above in {"GO:0000000": "", **TERMS}.items():
    OBO += ["", "[Term]", f"id: {term}", f"name: name of {term}", "namespace: biological_process"]
    OBO += [f"is_a: {above} ! name of {above}"] if above else []
GAF = ["!gaf-version: 2.1"]
for k, gene in enumerate(GENES):
    cells = ["DB", gene, gene, "", f"GO:{1 + k % 11:07}", "REF", "IDA", "", "P", "", "", "protein"]
    GAF.append("\t".join([*cells, "taxon:9606", "20200101", "DB"]))
RELATIONS = [f"R-set {k // 2}".replace(" ", "-") + f"\tR-set-{k}" for k in range(1, 8)]
SERIES = [
    *('!Series_title\t"t"', "!Sample_geo_accession\t" + "\t".join(f'"{i}"' for i in IDS)),
    "!Sample_characteristics_ch1\t" + "\t".join(f'"age: {40 + k}"' for k in range(len(IDS))),
    "!series_matrix_table_begin",
    "\t".join(['"ID_REF"', *(f'"{i}"' for i in IDS)]),
    *("\t".join([f'"{g}"', *map(str, VALUES[:, j])]) for j, g in enumerate(GENES)),
    "!series_matrix_table_end",
]


def read_sets(path: Path) -> Content:
    from omics_jax.data.knowledge.gene_sets import read_gene_sets

    sets = read_gene_sets(str(path))
    return {"sets": {name: list(genes) for name, genes in sets.genes.items()}, "notes": sets.notes}


def plain_gmt(path: Path) -> Content:
    rows = [[cell.strip() for cell in line.split("\t")] for line in plain_lines(path)]
    return {"sets": {row[0]: list(dict.fromkeys(filter(None, row[2:]))) for row in rows}}


def plain_pairs(path: Path) -> Content:
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    sets = defaultdict(dict)
    for gene, name in frame.itertuples(index=False):
        sets[name.strip()][gene.strip()] = None
    return {"sets": {name: list(genes) for name, genes in sets.items()}}


def read_sites(path: Path) -> Content:
    from omics_jax.data.knowledge.site_annotation import read_site_genes

    known = read_site_genes(str(path))
    pairs = [(str(known.sites[s]), str(known.genes[g])) for s, g in known.pairs]
    chromosomes = dict(zip(known.sites.tolist(), known.chromosomes.tolist(), strict=True))
    return {"pairs": sorted(pairs), "chromosomes": chromosomes}


def plain_sites(path: Path) -> Content:
    lines = plain_lines(path)
    start = next((i for i, line in enumerate(lines) if line.startswith("IlmnID")), 0)
    stop = next((i for i, line in enumerate(lines) if line.startswith("[Controls]")), len(lines))
    text = io.StringIO("\n".join(lines[start:stop]))
    frame = pd.read_csv(text, dtype=str, keep_default_na=False, skipinitialspace=False)
    is_manifest = "IlmnID" in frame
    site = frame["IlmnID"] if is_manifest else frame.iloc[:, 0].str.strip()
    gene = frame["UCSC_RefGene_Name"] if is_manifest else frame.iloc[:, 1].str.strip()
    chromosome = frame["CHR"] if is_manifest else pd.Series("", frame.index)
    pairs = {
        (s, g.strip()) for s, all_of in zip(site, gene, strict=True) for g in all_of.split(";")
    }
    return {
        "pairs": sorted(pair for pair in pairs if all(pair)),
        "chromosomes": dict(zip(site, chromosome, strict=True)),
    }


def read_terms(path: Path) -> Content:
    from omics_jax.data.knowledge.ontology import read_obo

    ontology = read_obo(str(path))
    ontology.ancestors()
    parents = {term: sorted(above) for term, above in ontology.parents.items()}
    return {"parents": parents, "names": dict(ontology.names), "branches": dict(ontology.branches)}


def plain_terms(path: Path) -> Content:
    parents, names, branches = {}, {}, {}
    for stanza in "\n".join(plain_lines(path)).split("[Term]")[1:]:
        own = [line.partition(":") for line in stanza.strip().split("\n")]
        tags = [(tag.strip(), value.split(" !")[0].strip()) for tag, _, value in own]
        values = dict(reversed(tags))
        if values.get("id"):
            names[values["id"]] = values.get("name") or values["id"]
            branches[values["id"]] = values.get("namespace", "")
            parents[values["id"]] = {v.split(" ")[0] for tag, v in tags if tag == "is_a"}
    known = {term: sorted(above & names.keys()) for term, above in parents.items()}
    return {"parents": known, "names": names, "branches": branches}


def read_annotations(path: Path) -> Content:
    from omics_jax.data.knowledge.ontology import read_gaf

    return {"rows": [(a.gene, a.term, a.evidence, a.branch) for a in read_gaf(str(path))]}


def plain_annotations(path: Path) -> Content:
    rows = [line.split("\t") for line in plain_lines(path) if not line.startswith("!")]
    branches = {"P": "biological_process", "F": "molecular_function", "C": "cellular_component"}
    kept = [row for row in rows if "NOT" not in row[3].split("|")]
    return {"rows": [(row[2], row[4], row[6], branches.get(row[8], "")) for row in kept]}


def read_parents(path: Path) -> Content:
    from omics_jax.data.knowledge.reactome import read_relations

    ids = [f"R-set-{k}" for k in range(8)]
    relations = read_relations(str(path), ids)
    return {"parents": {child: sorted(above) for child, above in relations.items()}}


def plain_parents(path: Path) -> Content:
    ids = {f"R-set-{k}" for k in range(8)}
    parents = defaultdict(set)
    for line in plain_lines(path):
        above, child = line.split()
        if {above, child} <= ids:
            parents[child].add(above)
    return {"parents": {child: sorted(above) for child, above in parents.items()}}


def read_series_matrix(path: Path) -> Content:
    from omics_jax.data.formats.read import read_matrix

    return matrix_content(read_matrix(path))


def plain_series_matrix(path: Path) -> Content:
    lines = [line for line in plain_lines(path) if not line.startswith(("!", '"!'))]
    frame = pd.read_csv(io.StringIO("\n".join(lines)), sep="\t", index_col=0)
    return frame_content(frame.T)


KNOWLEDGE_FORMATS: dict[str, Format] = {
    "series matrix": Format(
        write_lines("m_series_matrix.txt", SERIES), read_series_matrix, plain_series_matrix
    ),
    "series matrix, gz": Format(
        write_lines("m_series_matrix.txt.gz", SERIES), read_series_matrix, plain_series_matrix
    ),
    "gene sets, gmt": Format(write_lines("s.gmt", GMT), read_sets, plain_gmt),
    "gene sets, gmt.gz": Format(write_lines("s.gmt.gz", GMT), read_sets, plain_gmt),
    "gene sets, pairs": Format(write_lines("s.csv", PAIRS), read_sets, plain_pairs),
    "sites, pairs": Format(write_lines("p.csv", SITE_PAIRS), read_sites, plain_sites),
    "sites, manifest": Format(write_lines("m.csv", MANIFEST), read_sites, plain_sites),
    "sites, manifest gz": Format(write_lines("m.csv.gz", MANIFEST), read_sites, plain_sites),
    "ontology, obo": Format(write_lines("o.obo", OBO), read_terms, plain_terms),
    "annotations, gaf": Format(write_lines("a.gaf", GAF), read_annotations, plain_annotations),
    "annotations, gaf.gz": Format(
        write_lines("a.gaf.gz", GAF), read_annotations, plain_annotations
    ),
    "relations": Format(write_lines("r.txt", RELATIONS), read_parents, plain_parents),
}
