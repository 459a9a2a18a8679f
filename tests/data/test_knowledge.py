"""Sites, genes and pathways: files of knowledge, their matching, and the layers made of them."""

import gzip

import numpy as np
import pytest

from omics_jax.data.knowledge.gene_sets import GeneSets, read_gene_sets
from omics_jax.data.knowledge.layers import Matching, connect
from omics_jax.data.knowledge.ontology import ontology_gene_sets, read_gaf, read_obo
from omics_jax.data.knowledge.reactome import pathway_levels, read_relations
from omics_jax.data.knowledge.site_annotation import read_site_genes, without_suffix
from omics_jax.errors import UserError

OBO = """format-version: 1.2

[Term]
id: T:1
name: root
namespace: biological_process

[Term]
id: T:2
name: middle
namespace: biological_process
alt_id: T:20
is_a: T:1 ! root

[Term]
id: T:3
name: leaf
namespace: biological_process
relationship: part_of T:2 ! middle
relationship: regulates T:4 ! other

[Term]
id: T:4
name: other
namespace: molecular_function

[Term]
id: T:5
name: gone
is_obsolete: true

[Typedef]
id: part_of
"""


def gaf_line(gene, term, evidence="IDA", qualifier="", aspect="P"):
    cells = ["DB", gene, gene, qualifier, term, "R", evidence, "", aspect, "", "", "protein"]
    return "\t".join([*cells, "taxon:9606", "20200101", "DB", "", ""])


@pytest.fixture
def files(tmp_path):
    def write(name, text):
        path = tmp_path / name
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text)
        return str(path)

    return write


# --- gene sets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sets.gmt", "sets.gmt.gz"])
def test_gmt_holds_a_set_per_line(files, name):
    sets = read_gene_sets(files(name, "a\tid-a\tG1\tG2\tG1\n\nb\t\tG3\n"))
    assert sets.genes == {"a": ("G1", "G2"), "b": ("G3",)}
    assert sets.descriptions == {"a": "id-a", "b": ""}


def test_gene_sets_come_from_pairs_too(files):
    sets = read_gene_sets(files("sets.csv", "gene,set\nG1,a\nG2,a\nG1,b\nG1,a\n"))
    assert sets.genes == {"a": ("G1", "G2"), "b": ("G1",)}


def test_a_set_that_stands_twice_is_merged_if_equal_and_refused_if_not(files):
    sets = read_gene_sets(files("same.gmt", "a\t\tG1\tG2\na\t\tG2\tG1\n"))
    assert sets.genes == {"a": ("G1", "G2")}
    assert sets.notes == ("same.gmt: 1 sets stand twice with the same genes; merged.",)
    with pytest.raises(UserError, match="'a' occurs twice with different genes, in lines 1 and 3"):
        read_gene_sets(files("other.gmt", "a\t\tG1\nb\t\tG1\na\t\tG2\n"))


def test_sets_without_genes_are_left_out_with_a_note(files):
    sets = read_gene_sets(files("some.gmt", "a\t\tG1\nb\tnothing\n"))
    assert list(sets.genes) == ["a"]
    assert sets.notes == ("some.gmt: 1 sets without genes left out, such as 'b'.",)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.gmt", "just words\n", "line 1 has no tab"),
        ("x.gmt", "a\tb\n", "holds no set with a gene"),
        ("x.csv", "gene,set,more\nG1,a,1\n", "has 3 columns"),
        ("x.csv", "gene,set\nG1,\n", "line 2 lacks its gene or its set"),
    ],
)
def test_files_of_sets_that_are_none_are_refused(files, name, text, message):
    with pytest.raises(UserError, match=message):
        read_gene_sets(files(name, text))


# --- ontology -------------------------------------------------------------------------------------


def test_annotations_rise_along_is_a_and_part_of(files):
    ontology = read_obo(files("go.obo", OBO))
    lines = [gaf_line("G3", "T:3"), gaf_line("G2", "T:20"), gaf_line("G4", "T:4", aspect="F")]
    annotations = read_gaf(files("a.gaf", "!gaf-version: 2.1\n" + "\n".join(lines) + "\n"))
    sets = ontology_gene_sets(ontology, annotations)
    assert {name: set(genes) for name, genes in sets.genes.items()} == {
        "root (T:1)": {"G2", "G3"},
        "middle (T:2)": {"G2", "G3"},
        "leaf (T:3)": {"G3"},
    }
    assert sets.descriptions["leaf (T:3)"] == "T:3"
    every_branch = ontology_gene_sets(ontology, annotations, branch="")
    assert set(every_branch.genes) == {*sets.genes, "other (T:4)"}


def test_part_of_can_be_left_out(files):
    ontology = read_obo(files("go.obo", OBO), relations=("is_a",))
    annotations = read_gaf(files("a.gaf", gaf_line("G3", "T:3") + "\n"))
    assert set(ontology_gene_sets(ontology, annotations).genes) == {"leaf (T:3)"}


def test_evidence_codes_and_negations_are_respected(files):
    ontology = read_obo(files("go.obo", OBO))
    lines = [
        gaf_line("G1", "T:2", "IEA"),
        gaf_line("G2", "T:2", "IDA"),
        gaf_line("G3", "T:2", "IDA", qualifier="NOT|involved_in"),
        gaf_line("G4", "T:5"),
    ]
    annotations = read_gaf(files("a.gaf", "\n".join(lines)))
    sets = ontology_gene_sets(ontology, annotations, evidence=("IDA",))
    assert sets.genes["middle (T:2)"] == ("G2",)
    assert sets.notes == ("1 annotated terms are not in the ontology, such as T:5.",)


def test_an_ontology_with_a_cycle_is_refused(files):
    circular = OBO.replace("name: root\n", "name: root\nis_a: T:2\n")
    ontology = read_obo(files("go.obo", circular))
    annotations = read_gaf(files("a.gaf", gaf_line("G1", "T:2")))
    with pytest.raises(UserError, match=r"form a cycle \(T:\d -> T:\d -> T:\d\)"):
        ontology_gene_sets(ontology, annotations)


def test_files_that_are_no_ontology_are_refused(files):
    with pytest.raises(UserError, match="holds no \\[Term\\]"):
        read_obo(files("x.obo", "id,name\n1,a\n"))
    with pytest.raises(UserError, match="line 1 has 2 columns"):
        read_gaf(files("x.gaf", "a\tb\n"))
    ontology = read_obo(files("go.obo", OBO))
    annotations = read_gaf(files("a.gaf", gaf_line("G1", "T:2", "IEA")))
    with pytest.raises(UserError, match="the evidence codes are IEA"):
        ontology_gene_sets(ontology, annotations, evidence=("IDA",))


# --- Reactome -------------------------------------------------------------------------------------

REACTOME = "top\tR-1\tG0\nmid\tR-2\tG1\nleaf\tR-3\tG2\tG3\nalone\tR-4\tG4\n"


def test_levels_are_cut_below_the_roots_and_hold_what_is_below(files):
    sets = read_gene_sets(files("r.gmt", REACTOME))
    relations = files("rel.txt", "R-1\tR-2\nR-2\tR-3\nX-1\tX-2\n")
    parents = read_relations(relations, list(sets.descriptions.values()))
    assert parents == {"R-2": ("R-1",), "R-3": ("R-2",)}
    one = pathway_levels(sets, parents, 1)
    assert {name: set(genes) for name, genes in one.sets.genes.items()} == {
        "top": {"G0", "G1", "G2", "G3"},
        "alone": {"G4"},
    }
    three = pathway_levels(sets, parents, 3)
    assert {name: set(genes) for name, genes in three.sets.genes.items()} == {
        "leaf": {"G2", "G3"},
        "alone": {"G4"},
    }
    assert three.parents == (
        {"leaf": ("mid",), "alone": ("alone",)},
        {"mid": ("top",), "alone": ("alone",)},
    )


def test_relations_with_a_cycle_or_of_another_species_are_refused(files):
    ids = ["R-1", "R-2"]
    with pytest.raises(UserError, match="form a cycle"):
        read_relations(files("cycle.txt", "R-1\tR-2\nR-2\tR-1\n"), ids)
    with pytest.raises(UserError, match="relates none of the 2 pathways"):
        read_relations(files("mouse.txt", "R-MMU-1\tR-MMU-2\n"), ids)
    with pytest.raises(UserError, match="line 1 has 3 fields"):
        read_relations(files("x.txt", "a b c\n"), ids)


# --- sites ----------------------------------------------------------------------------------------

MANIFEST = """Illumina, Inc.
[Heading]
Descriptor File Name,Methylation450
[Assay],
IlmnID,Name,CHR,MAPINFO,UCSC_RefGene_Name
cg2,cg2,X,100,TP53;TP53;EGFR
cg1,cg1,1,200,RBL2
cg3,cg3,2,300,
[Controls],,
10609447,Negative,Blue,
"""


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.csv.gz"])
def test_a_manifest_is_read_between_its_heading_and_its_controls(files, name):
    annotation = read_site_genes(files(name, MANIFEST))
    assert annotation.sites.tolist() == ["cg1", "cg2", "cg3"]
    assert annotation.chromosomes.tolist() == ["1", "X", "2"]
    named = [(annotation.sites[s], annotation.genes[g]) for s, g in annotation.pairs]
    assert sorted(named) == [("cg1", "RBL2"), ("cg2", "EGFR"), ("cg2", "TP53")]


def test_a_table_of_sites_may_repeat_sites_and_join_genes(files):
    annotation = read_site_genes(files("s.csv", "cpg,gene\ncg1,A;B\ncg1,C\ncg2,\n"))
    named = [(annotation.sites[s], annotation.genes[g]) for s, g in annotation.pairs]
    assert sorted(named) == [("cg1", "A"), ("cg1", "B"), ("cg1", "C")]
    assert annotation.sites.tolist() == ["cg1", "cg2"]


def test_annotations_of_sites_that_are_none_are_refused(files):
    with pytest.raises(UserError, match="has 3 columns"):
        read_site_genes(files("x.csv", "a,b,c\n1,2,3\n"))
    with pytest.raises(UserError, match="not one of its 1 sites has a gene"):
        read_site_genes(files("y.csv", "cpg,gene\ncg1,\n"))
    with pytest.raises(UserError, match="line 3 has no site"):
        read_site_genes(files("z.csv", "cpg,gene\ncg1,A\n,B\n"))


def test_epic_suffixes_are_cut_off():
    names = ["cg00000029_TC21", "cg1", "ch.1.1_BO11", "rs1_x"]
    assert without_suffix(names).tolist() == ["cg00000029", "cg1", "ch.1.1", "rs1_x"]


# --- layers ---------------------------------------------------------------------------------------


@pytest.fixture
def annotation(files):
    rows = ["cg1,A", "cg2,A;B", "cg3,C", "cg4,D", "cg9,A"]
    return read_site_genes(files("sites.csv", "cpg,gene\n" + "\n".join(rows) + "\n"))


SETS = GeneSets("sets", {"ab": ("A", "B"), "abc": ("A", "b", "C", "Z"), "one": ("A",)})


def named_ends(below, layer):
    return {(str(below[i]), str(layer.names[o])) for i, o in layer.ends}


def test_layers_hold_what_knowledge_connects_and_nothing_else(annotation):
    sites = ["cg1", "cg2", "cg3", "cg4", "cg5"]
    knowledge = connect(sites, annotation, SETS, matching=Matching(least=2, unannotated="drop"))
    assert knowledge.sites.tolist() == ["cg1", "cg2", "cg3"]
    assert named_ends(knowledge.sites, knowledge.genes) == {
        ("cg1", "A"),
        ("cg2", "A"),
        ("cg2", "B"),
        ("cg3", "C"),
    }
    (pathways,) = knowledge.pathways
    assert named_ends(knowledge.genes.names, pathways) == {
        ("A", "ab"),
        ("B", "ab"),
        ("A", "abc"),
        ("B", "abc"),
        ("C", "abc"),
    }
    assert "1 sites without a gene, 1 genes without a pathway: left out." in knowledge.notes
    assert any("3 names equal, 0 by alias, 1 in another case" in note for note in knowledge.notes)


def test_what_has_no_place_goes_to_a_few_units(annotation):
    sites = ["cg1", "cg2", "cg3", "cg4", "cg5", "cg6", "cg7"]
    matching = Matching(least=2, unannotated="units", n_unannotated=2)
    knowledge = connect(sites, annotation, SETS, matching=matching)
    assert knowledge.sites.tolist() == sites
    genes = named_ends(knowledge.sites, knowledge.genes)
    assert ("cg4", "D") in genes
    assert {("cg5", "unannotated gene 1"), ("cg6", "unannotated gene 2")} <= genes
    assert len(genes) == 8
    (pathways,) = knowledge.pathways
    assert pathways.names.tolist() == ["ab", "abc", "unannotated 1", "unannotated 2"]
    connected = named_ends(knowledge.genes.names, pathways)
    assert {above for gene, above in connected if gene in ("D", "unannotated gene 1")} <= {
        "unannotated 1",
        "unannotated 2",
    }
    assert len(connected) == 8


def test_a_pathway_without_parents_stands_for_itself_above(annotation):
    parents = ({"ab": ("top",)},)
    matching = Matching(least=2, unannotated="drop")
    knowledge = connect(["cg1", "cg2", "cg3"], annotation, SETS, parents, matching)
    lower, upper = knowledge.pathways
    assert named_ends(lower.names, upper) == {("ab", "top"), ("abc", "abc")}


def test_aliases_lead_to_the_names_of_the_sets(annotation):
    sets = GeneSets("sets", {"p": ("alpha", "beta")})
    aliases = {"A": "alpha", "B": "beta"}
    matching = Matching(least=2, unannotated="drop", aliases=aliases)
    knowledge = connect(["cg1", "cg2"], annotation, sets, matching=matching)
    assert named_ends(knowledge.genes.names, knowledge.pathways[0]) == {("A", "p"), ("B", "p")}


@pytest.mark.parametrize(
    ("sites", "sets", "message"),
    [
        (["ch.1"], SETS, "none of the 1 sites .* whose sites are called like 'cg1'"),
        (["cg1_TC21"], SETS, "strip_suffixes=True"),
        (["cg1"], GeneSets("s", {"p": ("7157",)}), "one of them uses Entrez numbers"),
        (["cg1"], GeneSets("s", {"p": ("ENSG00000141510",)}), "one of them uses Ensembl ids"),
        (["cg1"], GeneSets("s", {"p": ("Q", "R")}), "a table of aliases"),
        (["cg1"], SETS, "has 3 to 500 of the genes .*the largest has 1"),
    ],
)
def test_knowledge_that_fits_nothing_is_refused(annotation, sites, sets, message):
    with pytest.raises(UserError, match=message):
        connect(sites, annotation, sets)


def test_every_array_is_linear_in_the_number_of_connections(annotation):
    knowledge = connect(["cg1", "cg2", "cg3"], annotation, SETS, matching=Matching(least=2))
    for layer in (knowledge.genes, *knowledge.pathways):
        assert layer.ends.shape[1] == 2
        assert len(np.unique(layer.ends, axis=0)) == len(layer.ends)


# --- damaged files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("[Term]\nid: T:2", "[Tezm]\nid: T:2", r"line 8 is '\[Tezm\]'"),
        ("\n[Term]\nid: T:3", "\nid: T:3", "a .Term. has T:2 and T:3"),
        ("id: T:3", "i: T:3", "a .Term. has no id"),
    ],
)
def test_a_damaged_ontology_loses_no_term_silently(tmp_path, before, after, sentence):
    file = tmp_path / "o.obo"
    file.write_text(OBO.replace(before, after))
    with pytest.raises(UserError, match=sentence):
        read_obo(str(file))


def test_a_relation_of_one_word_is_no_relation(tmp_path):
    file = tmp_path / "o.obo"
    file.write_text(OBO.replace("relationship: part_of T:2 ! middle", "relationship: part_ofT:2"))
    assert read_obo(str(file)).parents["T:3"] == ()


def test_a_line_of_a_manifest_with_a_field_too_many_is_named(tmp_path):
    file = tmp_path / "m.csv"
    header = "IlmnID,Name,CHR,MAPINFO,UCSC_RefGene_Name"
    file.write_text(f"Illumina\n{header}\ncg1,cg1,1,5,A;B\ncg2,cg2,1,,6,C\n")
    with pytest.raises(UserError, match="line 4 has 6 fields, and its header 5"):
        read_site_genes(str(file))


def test_a_damaged_packed_manifest_is_answered_in_one_sentence(tmp_path):
    lines = ["IlmnID,Name,CHR,MAPINFO,UCSC_RefGene_Name"]
    lines += [f"cg{k},cg{k},{k % 22},{k * k},GENE{k}" for k in range(200)]
    packed = bytearray(gzip.compress("\n".join(lines).encode(), mtime=0))
    file = tmp_path / "m.csv.gz"
    for place in range(20, len(packed), 97):
        damaged = packed.copy()
        damaged[place] ^= 0xFF
        file.write_bytes(damaged)
        with pytest.raises(UserError) as error:
            read_site_genes(str(file))
        assert "\n" not in str(error.value)
