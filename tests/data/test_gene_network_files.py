"""Networks, embeddings and aliases from files of every format, and what is refused."""

import gzip

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.gene_networks.aliases import read_aliases
from omics_jax.data.gene_networks.embedding import read_embedding
from omics_jax.data.gene_networks.gene_list import read_gene_list
from omics_jax.data.gene_networks.network import read_network
from omics_jax.errors import UserError

EDGES = {("A", "B"): 0.5, ("A", "C"): 2.0, ("B", "D"): 1.0}
LINES = [["B", "A", "0.5"], ["A", "C", "2"], ["D", "B", "1.0"]]
HEADER = ["gene1", "gene2", "weight"]

# As STRING 12 writes its files.
LINKS = (
    "protein1 protein2 combined_score\n"
    "9606.ENSP01 9606.ENSP02 173\n9606.ENSP02 9606.ENSP01 173\n"
    "9606.ENSP01 9606.ENSP03 900\n9606.ENSP04 9606.ENSP03 154\n"
)
DETAILED = (
    "protein1 protein2 neighborhood fusion combined_score\n"
    "9606.ENSP01 9606.ENSP02 0 12 173\n9606.ENSP01 9606.ENSP03 0 0 900\n"
    "9606.ENSP04 9606.ENSP03 5 0 154\n"
)
INFO = (
    "#string_protein_id\tpreferred_name\tprotein_size\tannotation\n"
    '9606.ENSP01\tARF5\t180\tBinds the 5"-end; GTPase\n9606.ENSP02\tTP53\t393\tTumor\n'
    "9606.ENSP03\tKRAS\t189\tRas\n9606.ENSP04\tARF5\t12\tits isoform\n"
)
ALIASES = (
    "#string_protein_id\talias\tsource\n"
    "9606.ENSP01\t2B6H\tEnsembl_PDB\n9606.ENSP01\tArf-5\tUniProt_GN_Name\n"
    "9606.ENSP01\tARF5\tEnsembl_HGNC_symbol\n9606.ENSP02\tP53\tUniProt_GN_Name\n"
    "9606.ENSP02\tTRP53\tUniProt_GN_Name\n9606.ENSP03\tKRAS\tBLAST_KEGG_NAME BioMart_HUGO\n"
    "9606.ENSP04\t99\tUniProt_AC\n"
)
SCORES = {
    ("9606.ENSP01", "9606.ENSP02"): 173,
    ("9606.ENSP01", "9606.ENSP03"): 900,
    ("9606.ENSP03", "9606.ENSP04"): 154,
}


@pytest.fixture
def write(tmp_path):
    def to_file(name, text):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return str(path)

    return to_file


def table(rows, mark=","):
    return "".join(mark.join(row) + "\n" for row in rows)


def edges_of(network):
    """The edges by the names of their genes; and that the network is what it says it is."""
    first, second = network.edges.T
    assert network.edges.dtype == np.int32 and network.weights.dtype == np.float32
    assert (first < second).all() and (network.weights > 0).all()
    assert set(network.edges.ravel().tolist()) == set(range(len(network.genes)))
    assert len(set(network.genes.tolist())) == len(network.genes)
    assert network.edges.tolist() == sorted(map(list, set(map(tuple, network.edges.tolist()))))
    names = zip(network.genes[first].tolist(), network.genes[second].tolist(), strict=True)
    return dict(zip(map(tuple, map(sorted, names)), network.weights.tolist(), strict=True))


def error_of(call, *args):
    with pytest.raises(UserError) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    ("name", "mark"),
    [("n.csv", ","), ("n.csv", ";"), ("n.tsv", "\t"), ("n.txt", " "), ("n.csv.gz", ",")],
)
def test_a_table_of_edges_with_or_without_a_header(write, name, mark, header):
    rows = [HEADER, *LINES] if header else LINES
    network = read_network(write(name, table(rows, mark)))
    assert network.genes.tolist() == ["A", "B", "C", "D"]
    assert edges_of(network) == EDGES
    assert network.notes == ()


@pytest.mark.parametrize(
    "header", [HEADER, ["source", "target", "weight"], ["a", "b", "w"], ["", "to", "score"]]
)
def test_a_parquet_file_of_edges(tmp_path, header):
    frame = pd.DataFrame(LINES, columns=header).astype({header[2]: float})
    frame.to_parquet(tmp_path / "n.parquet")
    assert edges_of(read_network(str(tmp_path / "n.parquet"))) == EDGES


def test_numbers_of_rows_in_parquet_are_left_out(tmp_path):
    frame = pd.DataFrame(LINES, columns=HEADER).astype({"weight": float})
    frame.insert(0, "Unnamed: 0", range(3))
    frame.to_parquet(tmp_path / "n.parquet")
    assert edges_of(read_network(str(tmp_path / "n.parquet"))) == EDGES


@pytest.mark.parametrize("header", ["gene1,gene2", "Source,Target", "protein_a,protein_b"])
def test_edges_without_weights_weigh_1(write, header):
    network = read_network(write("n.csv", f"{header}\nB,A\nC,A\n"))
    assert edges_of(network) == {("A", "B"): 1, ("A", "C"): 1} and network.notes == ()


def test_a_first_line_without_names_of_columns_is_an_edge_and_said_to_be(write):
    network = read_network(write("n.csv", "TP53,MDM2\nMDM2,KRAS\n"))
    assert edges_of(network) == {("MDM2", "TP53"): 1, ("KRAS", "MDM2"): 1}
    (note,) = network.notes
    assert note == "n.csv: the first line (TP53, MDM2) is read as an edge, not as a header."


def test_numbers_of_rows_and_the_names_of_R_are_left_out(write):
    counted = [["", *HEADER], *([str(i), *line] for i, line in enumerate(LINES))]
    assert edges_of(read_network(write("p.csv", table(counted)))) == EDGES
    from_r = [HEADER, *([str(i + 1), *line] for i, line in enumerate(LINES))]
    assert edges_of(read_network(write("r.tsv", table(from_r, "\t")))) == EDGES


def test_names_of_digits_stay_as_they_are(write):
    network = read_network(write("n.csv", "gene1,gene2\n007,10\n10,7\n"))
    assert network.genes.tolist() == ["007", "10", "7"]


def test_the_column_of_weights_is_found_by_its_name(write):
    text = "gene1,gene2,method,Weight\nA,B,x,2\nA,C,y,3\n"
    network = read_network(write("n.csv", text))
    assert edges_of(network) == {("A", "B"): 2, ("A", "C"): 3}
    assert network.notes == ("n.csv: 1 column (column 'method') is left out.",)
    network = read_network(write("m.csv", "gene1,gene2,method,year\nA,B,x,\n"))
    assert edges_of(network) == {("A", "B"): 1}
    assert network.notes == (
        "m.csv: 2 columns (column 'method', column 'year') are left out.",
        "m.csv: no column is called weight or score: every edge weighs 1.",
    )


def test_repeated_edges_are_united_and_loops_dropped(write):
    text = "gene1,gene2,weight\nA,B,1\nB,A,3\nA,B,2\nA,A,9\nE,E,9\nA,C,0\nB,D,4\n"
    network = read_network(write("n.csv", text))
    assert edges_of(network) == {("A", "B"): 3, ("B", "D"): 4}
    assert network.notes == (
        "n.csv: 2 edges between a gene and itself left out.",
        "n.csv: 1 edge of weight 0 left out.",
        "n.csv: 2 edges repeated, in the same or the other direction: the largest weight counts.",
        "n.csv: 2 genes (C, E) are left out, without an edge.",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [("9606.protein.links.v12.0.txt.gz", LINKS), ("9606.protein.links.detailed.txt", DETAILED)],
)
def test_links_of_string(write, name, text):
    network = read_network(write(name, text))
    assert edges_of(network) == SCORES


def test_proteins_of_string_become_genes_by_its_table_of_names(write):
    links, info = write("links.txt.gz", LINKS), write("9606.protein.info.v12.0.txt.gz", INFO)
    network = read_network(links, info)
    # Two proteins are ARF5, and both bind KRAS: the larger score counts.
    assert edges_of(network) == {("ARF5", "TP53"): 173, ("ARF5", "KRAS"): 900}
    assert network.notes[0] == f"links.txt.gz: 4 of 4 names are in {info}; all stand for 3 genes."


def test_of_the_aliases_of_string_the_best_source_counts(write):
    path = write("9606.protein.aliases.v12.0.txt.gz", ALIASES)
    names = {"9606.ENSP01": "ARF5", "9606.ENSP02": "P53", "9606.ENSP03": "KRAS"}
    assert read_aliases(path) == names
    network = read_network(write("links.txt", LINKS), path)
    assert edges_of(network) == {
        **{("ARF5", "P53"): 173, ("ARF5", "KRAS"): 900},
        ("9606.ENSP04", "KRAS"): 154,
    }
    assert network.notes[:2] == (
        f"links.txt: 3 of 4 names are in {path}; all stand for 4 genes.",
        "links.txt: 1 name (9606.ENSP04) is not in it, and unchanged.",
    )


def test_aliases_of_two_columns(write):
    path = write("a.csv", "alias,gene\nB,X\nC,X\n")
    network = read_network(write("n.csv", table([HEADER, *LINES])), path)
    assert edges_of(network) == {("A", "X"): 2, ("D", "X"): 1}


@pytest.mark.parametrize("name", ["g.gmt", "g.gmt.gz"])
def test_genes_that_share_sets_are_connected(write, name):
    network = read_network(write(name, "s1\t-\tA\tB\tC\ns2\t-\tB\tA\ns3\t-\tC\tD\ns4\t-\tE\n"))
    assert edges_of(network) == {
        **{("A", "B"): 2, ("A", "C"): 1, ("B", "C"): 1, ("C", "D"): 1},
    }
    assert network.notes == (f"{name}: 1 gene (E) is left out, without an edge.",)


def test_sets_of_more_than_500_genes_connect_nothing(write):
    at_limit = "\t".join(f"G{i}" for i in range(500))
    network = read_network(write("g.gmt", f"low\t\tA\tB\nat\t\t{at_limit}\nbig\t\t{at_limit}\tH\n"))
    assert len(network.edges) == 1 + 500 * 499 // 2 and network.weights.max() == 1
    assert "g.gmt: 1 set (big) is left out, with more than 500 genes." in network.notes
    message = error_of(read_network, write("b.gmt", f"big\t\t{at_limit}\tH\n"))
    assert "each of its 1 sets has more than 500 genes" in message
    assert "no edge between two genes" in error_of(read_network, write("e.gmt", "s\t\tA\n"))


def test_two_names_of_one_gene_are_one_member_of_a_set(write):
    sets = write("g.gmt", "s1\t\tp1\tp2\tX\ns2\t\tp2\tX\n")
    network = read_network(sets, write("a.tsv", "id\tgene\np1\tG\np2\tG\n"))
    assert edges_of(network) == {("G", "X"): 2}


def test_edges_below_a_least_weight_are_left_out_and_genes_that_had_no_others(write):
    path = write("n.csv", table([HEADER, *LINES, ["C", "A", "0.1"], ["E", "D", "0.7"]]))
    network = read_network(path, least_weight=0.7)
    # Of C and A the larger weight counts, and an edge of the limit itself stays.
    kept = {("A", "C"): 2.0, ("B", "D"): 1.0, ("D", "E"): np.float32(0.7)}
    assert edges_of(network) == kept
    assert "n.csv: 1 edge of a weight below 0.7 left out." in network.notes
    network = read_network(path, least_weight=1.5)
    assert edges_of(network) == {("A", "C"): 2.0}
    assert network.notes[-1] == "n.csv: 3 genes (B, D, E) are left out, without an edge."
    assert read_network(path).notes == read_network(path, least_weight=0.5).notes
    shared = write("g.gmt", "s1\t\tA\tB\tC\ns2\t\tA\tB\n")
    assert edges_of(read_network(shared, least_weight=2)) == {("A", "B"): 2}


def test_a_network_without_an_edge_of_the_least_weight_is_refused(write):
    path = write("n.csv", table([HEADER, *LINES]))
    found = error_of(lambda path: read_network(path, least_weight=700), path)
    assert found == (
        f"{path}: none of its 3 edges has a weight of 700 or more (the largest is 2); lower "
        "--config.network.least_weight"
    )


# --- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["panel.txt", "panel.txt.gz"])
def test_a_list_has_a_gene_a_line(write, name):
    path = write(name, "# a panel\n\nTP53\r\n  KRAS  \nTP53\n'HER2 pY1248'\n")
    assert read_gene_list(path) == ("TP53", "KRAS", "HER2 pY1248")


def test_of_gene_sets_all_members_are_listed(write):
    assert read_gene_list(write("g.gmt", "s1\t-\tB\tA\ns2\t-\tA\tC\n")) == ("B", "A", "C")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n\n", "is empty; a list has one gene a line"),
        ("# TP53\n", "lists no gene; a list has one gene a line"),
        ("TP53\nKRAS\t0.5\n", "line 2 has several fields ('KRAS\\t0.5'); a list has one gene a"),
        ("TP53,KRAS\n", "line 1 has several fields ('TP53,KRAS')"),
    ],
)
def test_texts_that_are_no_list_are_refused(write, text, message):
    path = write("panel.txt", text)
    found = error_of(read_gene_list, path)
    assert message in found and found.startswith(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene1\nA\nB\n", "line 1 holds a single field ('gene1')"),
        (",gene1\n0,A\n1,B\n", "has one column; a network has two"),
        ("gene1,gene2\n", "has a header in line 1 but no rows below it"),
        ("gene1,gene2\nA,A\nB,B\n", "no edge between two genes (it has 2 edges between a gene and"),
        ("gene1,gene2,weight\nA,B,0\n", "holds no edge between two genes (it has 1 edge of weight"),
        ("gene1,gene2\nA,B\n,C\n", "line 3 lacks one of its two genes; fill it in or remove it"),
        ("gene1,gene2\nA,NA\nB,C\n", "line 2 lacks one of its two genes"),
        (
            "gene1,gene2,weight\nA,B,1\nB,C,strong\n",
            "line 3, column 'weight': 'strong' is no finite number; a weight is a number, 0 or",
        ),
        ("A,B,1\nB,C,\n", "line 2, column 3 is empty; a weight is a number"),
        ("A,B,1\nB,C,inf\n", "line 2, column 3: 'inf' is no finite number"),
        ("A,B,1\nB,C,1e39\n", "is no finite number"),
        (
            "a;b;weight\nA;B;1,5\nB;C;2,5\n",
            "the comma seems to be a decimal comma; write a decimal point",
        ),
        ("A,B,1\nB,C,-0.3\n", "line 2, column 3: the weight -0.3 is negative; give weights of 0"),
        ("A,B,1\nB,C,1,1\n", "line 2 has 4 fields where line 1 has 3"),
    ],
)
def test_tables_that_are_no_network_are_refused(write, text, message):
    path = write("n.csv", text)
    found = error_of(read_network, path)
    assert message in found and found.startswith(path)


def test_a_file_that_is_not_there_and_a_parquet_file_of_one_column(tmp_path):
    (tmp_path / "network.csv").write_text("A,B\n")
    message = error_of(read_network, str(tmp_path / "netwrok.csv"))
    assert "did you mean 'network.csv'?" in message
    pd.DataFrame({"gene1": ["A", "B"]}).to_parquet(tmp_path / "n.parquet")
    assert "has one column" in error_of(read_network, str(tmp_path / "n.parquet"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\tgene\nQ\tX\n", "names none of the 4 genes or proteins of {network} (such as 'A')"),
        ("id\tgene\nA\tX\nA\tY\n", "'A' is an alias of 'X' and, in line 3, of 'Y'; keep one"),
        ("id\tgene\nA\t\n", "line 2 lacks one of its two names"),
        (
            "#string_protein_id\talias\tsource\nA\tX\tUniProt_AC\n",
            "none of its aliases is a symbol of a gene",
        ),
    ],
)
def test_aliases_that_name_nothing_are_refused(write, text, message):
    network = write("n.csv", table([HEADER, *LINES]))
    aliases = write("a.tsv", text)
    found = error_of(read_network, network, aliases)
    assert message.format(network=network) in found and found.startswith(aliases)


# --- embeddings -----------------------------------------------------------------------------------

GENES, VECTORS = ["TP53", "KRAS", "7157"], [[0.5, -1.0], [2.0, 0.25], [0.0, 1e-3]]
CELLS = [[gene, *map(str, vector)] for gene, vector in zip(GENES, VECTORS, strict=True)]


def assert_embedding(found):
    genes, vectors = found
    assert genes.tolist() == GENES and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.float32(VECTORS))


@pytest.mark.parametrize(
    "header", [None, ["gene", "0", "1"], ["", "0", "1"], ["node", "x", "y"], ["", "1", "2"]]
)
@pytest.mark.parametrize(("name", "mark"), [("e.csv", ","), ("e.tsv.gz", "\t"), ("e.emb", " ")])
def test_an_embedding_with_or_without_a_header(write, header, name, mark):
    rows = [header, *CELLS] if header else CELLS
    assert_embedding(read_embedding(write(name, table(rows, mark))))


@pytest.mark.parametrize("end", ["\n", " \n"])
def test_an_embedding_in_the_format_of_word2vec(write, end):
    text = "3 2\n" + "".join(" ".join(row) + end for row in CELLS)
    assert_embedding(read_embedding(write("e.txt", text)))


@pytest.mark.parametrize("first", [0, 1])
def test_a_first_line_that_counts_columns_is_a_header(write, first):
    header = f"node,{','.join(str(k + first) for k in range(4))}"
    genes, vectors = read_embedding(write("e.csv", f"{header}\nA,1,2,3,4\nB,5,6,7,8\n"))
    assert genes.tolist() == ["A", "B"] and vectors[:, 0].tolist() == [1, 5]


def test_equal_numbers_in_the_first_row_are_no_repeated_columns(write):
    genes, vectors = read_embedding(write("e.csv", "A,0.5,0.5\nB,0.5,0.5\n"))
    assert genes.tolist() == ["A", "B"] and (vectors == 0.5).all() and vectors.shape == (2, 2)


@pytest.mark.parametrize("is_index", [True, False])
def test_an_embedding_in_parquet(tmp_path, is_index):
    frame = pd.DataFrame(VECTORS, index=GENES).rename(columns=str)
    frame = frame if is_index else frame.reset_index(names="gene")
    frame.to_parquet(tmp_path / "e.parquet")
    assert_embedding(read_embedding(str(tmp_path / "e.parquet")))


def test_the_names_that_R_leaves_out_of_a_header(write):
    rows = [["V1", "V2"], *CELLS]
    assert_embedding(read_embedding(write("e.tsv", table(rows, "\t"))))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A,1,2\nB,1\n", "line 2 has 2 fields where line 1 has 3"),
        ("A,1\nB,1,2\nC,1,2\n", "line 2 has 3 fields where line 1 has 2"),
        ("A,1,2\nB,x,2\n", "line 2, column 2: 'x' is no finite number; a vector has a number in"),
        ("A,1,x\nB,1,2\n", "line 1, column 3: 'x' is no finite number"),
        ("gene,a,b\nA,1,2\nB,nan,2\n", "line 3, column 'a' is empty; a vector has a number"),
        ("A,1,2\nB,inf,2\n", "line 2, column 2: 'inf' is no finite number"),
        ("A,1,2\nB,1,2\nA,3,4\n", "the row 'A' occurs twice, at line 1 and line 3; rename or"),
        ("A,1,2\n,1,2\n", "line 2 has no row name; fill it in or remove it"),
        ("gene,a,b\n", "has a header in line 1 but no rows below it"),
        ("", "is empty"),
        (",gene\n0,A\n1,B\n", "has one column; an embedding has the gene and then its numbers"),
    ],
)
def test_tables_that_are_no_embedding_are_refused(write, text, message):
    path = write("e.csv", text)
    found = error_of(read_embedding, path)
    assert message in found and found.startswith(path)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("4 2", "line 1 promises 4 genes, and 3 follow; fetch the file again, or remove line 1"),
        ("3 5", "line 1 promises 5 numbers for each gene, and line 2 has 2"),
    ],
)
def test_a_file_of_word2vec_that_is_cut_short_is_refused(write, first, message):
    assert message in error_of(read_embedding, write("e.txt", f"{first}\n{table(CELLS, ' ')}"))
