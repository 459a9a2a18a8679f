"""Knowledge from the files that settings name, what it looks like, and settings that contradict."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.knowledge.describe import degree_table, degrees_of, describe
from omics_jax.data.knowledge.read import chromosomes_of, read_knowledge, read_site_genes
from omics_jax.data.knowledge.settings import FILES, check_settings, named_files, rules
from omics_jax.errors import UserError
from omics_jax.settings.checks import check_values
from omics_jax.settings.sections import knowledge_section

SITES = ["cg1", "cg2", "cg3", "cg4", "cg5", "cg6"]
SITE_GENES = "cpg,gene\ncg1,A\ncg2,A;B\ncg3,C\ncg4,D\ncg5,\n"
GMT = "low\tR-1\tA\tB\nlow2\tR-2\tB\tC\ntop\tR-3\tC\nother\tR-4\tA\tB\tC\n"
MANIFEST = (
    "Illumina, Inc.\n[Heading]\n[Assay],\nIlmnID,Name,CHR,MAPINFO,UCSC_RefGene_Name\n"
    "cg1_TC11,cg1,X,1,A\ncg2_BC21,cg2,2,2,B;A\ncg3_TO11,cg3,,3,C\n[Controls],,\n1,Negative,Blue,\n"
)
OBO = (
    "[Term]\nid: T:1\nname: root\nnamespace: biological_process\n\n"
    "[Term]\nid: T:2\nname: leaf\nnamespace: biological_process\nis_a: T:1\n"
)


def gaf(*annotations):
    line = "DB\t{0}\t{0}\t\t{1}\tR\t{2}\t\tP\t\t\tprotein\ttaxon:9606\t20200101\tDB"
    return "\n".join(line.format(*annotation) for annotation in annotations) + "\n"


@pytest.fixture
def section(tmp_path):
    """A section `knowledge` whose files are written under their suffixes."""

    def make(**given):
        texts = {"site_genes": ("s.csv", SITE_GENES), "gene_sets": ("g.gmt", GMT)}
        texts |= {name: value for name, value in given.items() if name in FILES and value}
        settings = knowledge_section()
        settings.update({k: v for k, v in given.items() if k not in texts and v != ""})
        for name, (file, text) in texts.items():
            if given.get(name) == "":
                continue
            (tmp_path / file).write_text(text)
            settings[name] = str(tmp_path / file)
        settings.update(evidence=tuple(given.get("evidence", ())))
        return settings

    return make


def error_of(call, *args):
    with pytest.raises(UserError) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


def pairs(below, layer):
    return {(str(below[i]), str(layer.names[o])) for i, o in layer.ends}


# --- what is read ---------------------------------------------------------------------------------


def test_gene_sets_and_a_table_of_sites(section):
    knowledge = read_knowledge(section(least_genes=2, unannotated="drop"), SITES)
    assert knowledge.sites.tolist() == ["cg1", "cg2", "cg3"]
    (pathways,) = knowledge.pathways
    assert pairs(knowledge.genes.names, pathways) == {
        *(("A", "low"), ("B", "low"), ("B", "low2"), ("C", "low2")),
        *(("A", "other"), ("B", "other"), ("C", "other")),
    }


def test_a_manifest_with_suffixes_and_its_chromosomes(section):
    settings = section(site_genes=("m.csv", MANIFEST), least_genes=2, unannotated="drop")
    message = error_of(read_knowledge, settings, SITES)
    assert "strip_suffixes=True, because those of the file bear EPIC suffixes" in message
    settings.strip_suffixes = True
    site_genes = read_site_genes(settings)
    knowledge = read_knowledge(settings, SITES, site_genes)
    assert knowledge.sites.tolist() == ["cg1", "cg2", "cg3"]
    assert chromosomes_of(site_genes, stripped=True) == {"cg1": "X", "cg2": "2"}
    assert chromosomes_of(site_genes) == {"cg1_TC11": "X", "cg2_BC21": "2"}


def test_an_ontology_with_annotations(section):
    lines = gaf(("A", "T:2", "IDA"), ("B", "T:2", "IEA"), ("C", "T:1", "IDA"))
    given = dict(gene_sets="", ontology=("o.obo", OBO), annotations=("a.gaf", lines))
    settings = section(**given, least_genes=1, unannotated="drop")
    (pathways,) = read_knowledge(settings, SITES).pathways
    names = ["leaf (T:2)", "root (T:1)"]
    assert sorted(pathways.names.tolist()) == names
    settings = section(**given, least_genes=1, unannotated="drop", evidence=("IDA",))
    knowledge = read_knowledge(settings, SITES)
    assert pairs(knowledge.genes.names, knowledge.pathways[0]) == {
        *(("A", "leaf (T:2)"), ("A", "root (T:1)"), ("C", "root (T:1)")),
    }


def test_levels_of_reactome(section):
    settings = section(
        relations=("r.txt", "R-3\tR-1\nR-3\tR-2\n"), levels=2, least_genes=1, unannotated="drop"
    )
    lower, upper = read_knowledge(settings, SITES).pathways
    assert pairs(lower.names, upper) == {("low", "top"), ("low2", "top"), ("other", "other")}
    same_ids = GMT.replace("R-2", "R-1")
    settings = section(gene_sets=("g.gmt", same_ids), relations=("r.txt", "R-3\tR-1\n"))
    assert "'low' and 'low2' have one id ('R-1')" in error_of(read_knowledge, settings, SITES)


def test_aliases(section):
    settings = section(
        gene_sets=("g.gmt", "p\t\talpha\tB\n"),
        aliases=("a.csv", "alias,name\nA,alpha\n"),
        least_genes=2,
        unannotated="drop",
    )
    knowledge = read_knowledge(settings, SITES)
    assert pairs(knowledge.genes.names, knowledge.pathways[0]) == {("A", "p"), ("B", "p")}
    settings = section(aliases=("a.csv", "alias,name\nA,x\nA,y\n"))
    assert "'A' is an alias of 'x' and, in line 3, of 'y'" in error_of(
        read_knowledge, settings, SITES
    )


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "fragment"),
    [
        (dict(ontology="o.obo"), "gene_sets and knowledge.ontology both name pathways"),
        (dict(gene_sets="", ontology="o.obo"), "without knowledge.annotations"),
        (dict(annotations="a.gaf"), "without knowledge.ontology"),
        (dict(gene_sets="", relations="r.txt"), "relations is named without knowledge.gene_sets"),
        (dict(levels=2), "levels is 2 and knowledge.relations is empty"),
        (dict(evidence=("IDA",)), "evidence is named without knowledge.annotations"),
        (dict(site_genes=""), "site_genes is empty"),
        (dict(gene_sets=""), "gene_sets and knowledge.ontology are empty"),
        (dict(least_genes=9, most_genes=3), "least_genes is 9 and knowledge.most_genes is 3"),
    ],
)
def test_settings_that_contradict_each_other(given, fragment):
    settings = knowledge_section()
    settings.update({"site_genes": "s.csv", "gene_sets": "g.gmt", **given})
    message = error_of(check_settings, settings)
    assert message.startswith("config.knowledge.")
    assert fragment in message


@pytest.mark.parametrize(
    ("sites", "annotation", "fragment"),
    [
        (["ch.1.5F"], "cg1,A", "the data hold ch sites and the annotation cg sites"),
        (["chr1:1050"], "cg1,A", "the sites of the data are positions in a genome"),
        (["cg1"], "chr1:1050,A", "the sites of the annotation are positions in a genome"),
        (["chr1:1050"], "chr1:99,A", "an annotation of the same genome build"),
        (["cg1_TC21"], "cg1,A", "because they bear EPIC suffixes"),
        (["site"], "cg1,A", "name the annotation of the array that measured them"),
    ],
)
def test_sites_of_another_kind_are_refused_with_the_mend(section, sites, annotation, fragment):
    settings = section(site_genes=("s.csv", f"cpg,gene\n{annotation}\n"))
    assert fragment in error_of(read_knowledge, settings, sites)


@pytest.mark.parametrize(
    ("genes", "sets", "fragment"),
    [
        (("Trp53", "Egfr", "Myc"), ("TRP53", "EGFR", "MYC"), "the genes of the sites seem to be"),
        (("TP53", "EGFR", "MYC"), ("Tp53", "Egfr", "Myc"), "g.gmt seem to be of mouse or rat"),
        (("A", "B", "C"), ("7157", "1956", "4609"), "one of them uses Entrez numbers"),
        (("A", "B", "C"), ("ENSG01", "ENSG02", "ENSG03"), "one of them uses Ensembl ids"),
        (("A", "B", "C"), ("A", "Q", "R"), "lower --config.knowledge.least_genes"),
    ],
)
def test_genes_of_another_convention_are_refused(section, genes, sets, fragment):
    rows = "".join(f"cg{i},{gene}\n" for i, gene in enumerate(genes, 1))
    settings = section(
        site_genes=("s.csv", "cpg,gene\n" + rows), gene_sets=("g.gmt", "p\t\t" + "\t".join(sets))
    )
    assert fragment in error_of(read_knowledge, settings, SITES)


def test_genes_that_differ_in_case_alone_still_match_where_the_species_is_one(section):
    settings = section(
        site_genes=("s.csv", "cpg,gene\ncg1,C3ORF35\ncg2,C1ORF1\ncg3,TP53\n"),
        gene_sets=("g.gmt", "p\t\tC3orf35\tC1orf1\tTP53\n"),
    )
    (pathways,) = read_knowledge(settings, SITES).pathways
    assert "p" in pathways.names


def test_every_setting_has_a_rule():
    section = knowledge_section()
    assert {f"knowledge.{name}" for name in section} == set(rules())
    check_values({"knowledge": section}, rules())
    assert named_files(section) == ()
    section.gene_sets = "g.gmt"
    assert named_files(section) == ("g.gmt",)


# --- what it looks like ---------------------------------------------------------------------------


def test_degrees_are_those_of_a_count_by_hand(section):
    knowledge = read_knowledge(section(least_genes=2, n_unannotated=2), SITES)
    degrees = {kind: sorted(found.tolist()) for kind, found in degrees_of(knowledge).items()}
    assert degrees == {
        "sites per gene": [1, 1, 1, 2],
        "genes per site": [0, 0, 1, 1, 1, 2],
        "genes per pathway": [2, 2, 3],
        "pathways per gene": [0, 2, 2, 3],
    }
    table = degree_table(knowledge)
    for kind, found in degrees.items():
        of_kind = table[table["degree"] == kind]
        assert of_kind["units"].sum() == len(found)
        for row in of_kind.itertuples():
            assert row.units == sum(row.least <= degree <= row.most for degree in found)
    lines = describe(knowledge)
    assert lines[0].startswith("6 sites, 4 genes and 3 pathways remain, with ")
    assert "2 sites without a gene, in unannotated units." in lines
    assert "1 genes without a pathway, in unannotated units." in lines
    assert "genes per pathway: median 2, mean 2.33, 2 to 3." in lines
    assert "            2        2 ##############################" in lines


# --- real files -----------------------------------------------------------------------------------


@pytest.fixture
def folder():
    name = os.environ.get("OMICS_JAX_DATA")
    if not name:
        pytest.skip("OMICS_JAX_DATA names no folder")
    return Path(name) / "methylation"


def test_real_sites_and_gene_ontology_agree_with_pandas(folder):
    mini = folder / "mini"
    settings = knowledge_section()
    settings.site_genes, settings.gene_sets = (
        str(mini / "cpg2gene.csv"),
        str(mini / "go_bp_mini.gmt"),
    )
    settings.unannotated = "drop"
    sites = pd.read_csv(mini / "blood4_n160_cpg250.csv.gz", usecols=[0])["ID_REF"].tolist()
    knowledge = read_knowledge(settings, sites)
    genes = pd.read_csv(mini / "cpg2gene.csv").query("cpg in @sites").dropna()
    sets = [line.split("\t") for line in (mini / "go_bp_mini.gmt").read_text().splitlines()]
    members = {name: set(rest) & set(genes["gene"]) for name, _, *rest in sets}
    members = {name: found for name, found in members.items() if 3 <= len(found) <= 500}
    assert pairs(knowledge.genes.names, knowledge.pathways[0]) == {
        (gene, name) for name, found in members.items() for gene in found
    }
    kept = genes[genes["gene"].isin(set().union(*members.values()))]
    assert pairs(knowledge.sites, knowledge.genes) == set(kept.itertuples(index=False, name=None))


def test_real_levels_of_reactome_keep_every_gene_below(folder):
    sets = folder / "genesets"
    settings = knowledge_section()
    settings.site_genes = str(folder / "mini" / "cpg2gene.csv")
    settings.gene_sets = str(sets / "ReactomePathways.gmt.gz")
    settings.relations = str(sets / "ReactomePathwaysRelation_2025_01.txt.gz")
    settings.update(levels=3, least_genes=1, unannotated="drop")
    sites = pd.read_csv(folder / "mini" / "cpg2gene.csv")["cpg"].tolist()
    knowledge = read_knowledge(settings, sites)
    assert len(knowledge.pathways) == 3
    below = len(knowledge.genes.names)
    for layer in knowledge.pathways:
        assert len(np.unique(layer.ends[:, 0])) == below
        assert set(layer.ends[:, 1].tolist()) == set(range(len(layer.names)))
        below = len(layer.names)


def test_a_real_ontology_gives_each_term_the_genes_of_all_terms_below(folder, tmp_path):
    mini = folder / "mini"
    obo = (mini / "heartjogging.obo").read_text()
    above, terms = {}, [stanza for stanza in obo.split("\n\n") if stanza.startswith("[Term]")]
    for stanza in terms:
        lines = stanza.splitlines()
        links = [line.removeprefix("is_a: ") for line in lines if line.startswith("is_a: ")]
        part = "relationship: part_of "
        links += [line.removeprefix(part) for line in lines if line.startswith(part)]
        above[lines[1].removeprefix("id: ")] = {link.split(" ")[0] for link in links}
    chosen = sorted(above)[:20]
    genes = {f"G{i}": term for i, term in enumerate(chosen)}
    (tmp_path / "a.gaf").write_text(gaf(*((gene, term, "IDA") for gene, term in genes.items())))
    rows = "".join(f"cg{i},{gene}\n" for i, gene in enumerate(genes))
    (tmp_path / "s.csv").write_text("cpg,gene\n" + rows)
    settings = knowledge_section()
    settings.ontology, settings.annotations = (
        str(mini / "heartjogging.obo"),
        str(tmp_path / "a.gaf"),
    )
    settings.site_genes = str(tmp_path / "s.csv")
    settings.update(branch="", least_genes=1, unannotated="drop")
    knowledge = read_knowledge(settings, [f"cg{i}" for i in range(20)])
    expected = set()
    for gene, term in genes.items():
        reached, frontier = set(), {term}
        while frontier:
            reached |= frontier
            frontier = set().union(*(above[t] for t in frontier)) & set(above) - reached
        expected |= {(gene, t) for t in reached}
    found = pairs(knowledge.genes.names, knowledge.pathways[0])
    assert {(gene, name[name.rindex("(") + 1 : -1]) for gene, name in found} == expected
