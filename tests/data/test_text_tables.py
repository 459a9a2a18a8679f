"""Text tables as public sources and spreadsheets write them; oracles are the numbers written."""

import gzip
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.clinical_series.read import read_series
from omics_jax.data.dataset.account import unexpected
from omics_jax.data.formats.read import read_accounted_table, read_matrix, read_table
from omics_jax.errors import UserError

ROWS = [["s1", 1.5, 2.0, 3.25], ["s2", 4.0, 5.5, 6.0], ["s3", 7.0, 8.0, 9.75]]
VALUES = [[1.5, 2, 3.25], [4, 5.5, 6], [7, 8, 9.75]]
GENES = ["TP53", "EGFR", "MYC"]


def written(tmp_path, name, text):
    path = tmp_path / name
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def lines(mark, header=("sample", *GENES), rows=ROWS):
    return "".join(mark.join(map(str, row)) + "\n" for row in [list(header), *rows])


def used(matrix, used_as, part=None):
    """The names under which an account has used a part of the file, or left it out."""
    return [
        name
        for use in matrix.uses
        if use.used_as == used_as and part in (None, use.part)
        for name in use.names
    ]


def assert_values(matrix, values=VALUES, ids=("s1", "s2", "s3"), genes=tuple(GENES)):
    assert matrix.ids.tolist() == list(ids) and matrix.features.tolist() == list(genes)
    np.testing.assert_array_equal(np.where(matrix.mask, matrix.values, np.nan), values)


def error_of(call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# --- what separates fields ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        *[("m.csv", ","), ("m.csv", ";"), ("m.csv", "\t"), ("m.tsv", "\t"), ("m.tsv", ",")],
        *[("m.txt", mark) for mark in (",", ";", "\t", "|", " ")],
        ("m.csv.gz", ";"),
    ],
)
def test_the_delimiter_is_what_the_lines_agree_on(tmp_path, name, mark):
    path = written(tmp_path, name, lines(mark))
    assert_values(read_matrix(path))
    assert read_table(path)["EGFR"].tolist() == ["2.0", "5.5", "8.0"]
    promised = {"csv": ",", "tsv": "\t"}.get(name.split(".")[1], mark)
    told = [use for use in read_matrix(path).uses if use.part == "fields"]
    assert len(told) == (mark != promised)


def test_spaces_in_names_of_columns_separate_nothing(tmp_path):
    header = ["Patient ID", "Age at first visit", "Overall Survival (Months) since diagnosis"]
    rows = [["TCGA-ZZ-0001", 44, 41.58], ["TCGA-ZZ-0002", 56, 41.45]]
    table = read_table(written(tmp_path, "clinical.txt", lines("\t", header, rows)))
    assert table.columns.tolist() == header
    assert table["Age at first visit"].tolist() == ["44", "56"]


def test_commas_in_quoted_names_separate_nothing(tmp_path):
    text = 'id;"a, b, c";d\n1;2;3\n2;"x, y";4\n'
    assert read_table(written(tmp_path, "t.csv", text))["a, b, c"].tolist() == ["2", "x, y"]


def test_a_table_of_decimal_commas_is_one_of_numbers(tmp_path):
    for name, mark in (("m.csv", ";"), ("m.tsv", "\t"), ("m.txt", ";")):
        path = written(tmp_path, name, lines(mark).replace(".", ","))
        matrix = read_matrix(path)
        assert_values(matrix)
        assert used(matrix, "read with decimal commas") == GENES
    quoted = lines(";").replace(".", ",").replace("1,5", '"1,5"')
    assert_values(read_matrix(written(tmp_path, "m.csv", quoted)))


@pytest.mark.parametrize(
    ("cells", "fragments"),
    [
        (["1,644", "2,000", "3"], ["2 cells of TP53", "'1,644' (line 2", "may separate thousands"]),
        (["1,644", "2.5", "3"], ["1 cell of TP53", "as other numbers here have decimal points"]),
        (["1,644,100", "2", "3"], ["separates thousands; write numbers without it (1644100)"]),
        (["1,909.3", "999.0", "3"], ["separates thousands; write numbers without it (1909.3)"]),
        (["-1,644", "2,5", "3.5"], ["'-1,644'", "then write numbers without it (-1644)"]),
        (["1,5", "2.5", "3"], ["'1,5'", "write a decimal point"]),
        (["1.234,5", "2", "3"], ["points separate thousands", "write numbers as 1234.5"]),
    ],
)
def test_a_comma_that_may_separate_thousands_is_never_made_a_point(tmp_path, cells, fragments):
    rows = [[f"s{k}", f'"{cell}"'] for k, cell in enumerate(cells)]
    path = written(tmp_path, "m.csv", lines(",", ["sample", "TP53"], rows))
    message = error_of(read_matrix, path)
    assert all(fragment in message for fragment in [str(path), *fragments]), message
    if "thousands" in fragments[-1]:
        assert "only if" in message or "decimal point" not in message.replace("decimal points", "")


# --- before the header ----------------------------------------------------------------------------

CBIOPORTAL = (
    "#Patient Identifier\tAge\tStatus\n#The patient\tAge in years\tState at the last contact\n"
    "#STRING\tNUMBER\tSTRING\n#1\t1\t1\n"
)


def test_the_comments_of_cbioportal_are_left_out_with_a_word(tmp_path):
    text = CBIOPORTAL + "PATIENT_ID\tAGE\tOS_STATUS\nA\t44\t1:DECEASED\nB\t56\t0:LIVING\n"
    table, uses = read_accounted_table(written(tmp_path, "clinical.txt", text))
    assert table.columns.tolist() == ["PATIENT_ID", "AGE", "OS_STATUS"]
    assert table.index.tolist() == ["line 6", "line 7"]
    assert [(use.part, use.used_as, len(use.names)) for use in uses] == [("lines", "left out", 4)]
    assert "#STRING NUMBER STRING" in str(uses[0]) and "comments" in str(uses[0])


@pytest.mark.parametrize(
    "before",
    ["# exported 2024\n", "\n\n# a, b\n#\n", '"# one, two"\n', "#a\n\n", "! GEO\n", "sep=,\n"],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_comments_before_a_matrix(tmp_path, before, mark):
    path = written(tmp_path, "m.csv", mark + (before + lines(",")).encode())
    assert_values(read_matrix(path))
    message = error_of(read_matrix, written(tmp_path, "n.csv", before + lines(",") + "s4,1\n"))
    assert f"line {before.count(chr(10)) + 5} has 2 fields" in message


def test_excel_names_its_delimiter(tmp_path):
    path = written(tmp_path, "m.csv", ("sep=;\r\n" + lines(";")).encode("utf-16"))
    assert_values(read_matrix(path))


@pytest.mark.parametrize("before", ["", "# Constructed from biom file\n"])
def test_a_header_behind_a_mark_is_the_header(tmp_path, before):
    text = before + "#OTU ID\ts1\ts2\nTP53\t1\t2\nEGFR\t3\t4\n"
    matrix = read_matrix(written(tmp_path, "otu.txt", text))
    assert_values(matrix, [[1, 3], [2, 4]], ("s1", "s2"), ("TP53", "EGFR"))
    assert used(matrix, "header", "lines") == ["#OTU ID s1 s2"]
    annotations = written(tmp_path, "a.tsv", before + "#id\tcell\ns1\tA549\ns2\tMCF7\n")
    assert read_table(annotations)["cell"].tolist() == ["A549", "MCF7"]


def test_a_series_matrix_of_geo(tmp_path):
    text = (
        '!Series_title\t"A series, its \'title"\n!Series_sample_id\t"GSM1 GSM2 "\n\n'
        '!Sample_title\t"s1"\t"s2"\n!series_matrix_table_begin\n'
        '"ID_REF"\t"GSM1"\t"GSM2"\n"1007_s_at"\t1.5\t2\n"1053_at"\t3\tnull\n'
        "!series_matrix_table_end\n"
    )
    matrix = read_matrix(written(tmp_path, "GSE1_series_matrix.txt.gz", text))
    probes = ("1007_s_at", "1053_at")
    assert_values(matrix, [[1.5, 3], [2, np.nan]], ("GSM1", "GSM2"), probes)
    assert len(used(matrix, "left out", "lines")) == 3
    assert matrix.table["title"].tolist() == ["s1", "s2"]


# --- a field too many -----------------------------------------------------------------------------

LONG = "id,time,variable,value\np0,0,sbp,86.4\np0,1,hr,74.6\np1,0,hr,67.3\np1,1,sbp,80.1\n"
SERIES = {
    "outcomes": "",
    "label": "In-hospital_death",
    "outcome_id": "RecordID",
    "columns": {"id": "id", "time": "time", "variable": "variable", "value": "value"},
    "time_unit": "hours",
    "hours": 2.0,
    "bin_hours": 1.0,
    "variables": (),
    "statics": (),
}


def series(path, **changes):
    return read_series(SimpleNamespace(**{**SERIES, "path": str(path), **changes}))


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        (
            LONG.replace("4\n", "4,\n")
            .replace("6\n", "6,\n")
            .replace("3\n", "3,\n")
            .replace("1\n", "1,\n"),
            "every line below the header ends with a comma, which begins one more; remove it",
        ),
        (
            LONG.replace(".", ","),
            "the fields are separated by a comma; if numbers hold decimal commas, write decimal "
            "points, or separate the fields by semicolons or tabs",
        ),
        # First fields that are unique texts are no row names in a long table either.
        (
            "id,time,variable,value\na,p0,0,sbp,86.4x\nb,p0,1,hr,74.6x\n",
            "fill in or remove fields (they are separated by a comma)",
        ),
    ],
    ids=["trailing", "decimal", "unique"],
)
def test_a_long_table_never_has_names_of_rows(tmp_path, text, mend):
    message = error_of(series, written(tmp_path, "ward.csv", text))
    assert f"ward.csv: line 2 has 5 fields where line 1 has 4; {mend}" in message


def test_row_names_of_r_have_no_header(tmp_path):
    matrix = read_matrix(written(tmp_path, "m.tsv", lines("\t", GENES)))
    assert_values(matrix)
    assert used(matrix, "ids") == ["the first"]
    numbered = '"sample","cell"\n"1","s1","A"\n"2","s2","B"\n'
    assert read_table(written(tmp_path, "t.csv", numbered))["cell"].tolist() == ["A", "B"]
    named = '"drug","cell"\n"s1","x","A"\n"s2","y","B"\n'
    assert read_table(written(tmp_path, "t.csv", named))["cell"].tolist() == ["A", "B"]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        (["sample", "TP53"], [["s1", 1, 5], ["s2", 2, 5]]),  # the ids have their header
        (["TP53", "EGFR"], [["s1", 1, 5], ["s1", 2, 5]]),  # names that repeat
        (["TP53", "EGFR"], [["0.5", 1, 5], ["0.7", 2, 5]]),  # numbers
        (["TP53", "EGFR"], [["s1", 1, ""], ["s2", 2, ""]]),  # an empty last field
    ],
    ids=["header", "repeated", "numbers", "trailing"],
)
def test_what_does_not_look_like_row_names_is_refused(tmp_path, header, rows):
    message = error_of(read_matrix, written(tmp_path, "m.csv", lines(",", header, rows)))
    assert "m.csv: line 2 has 3 fields where line 1 has 2;" in message


@pytest.mark.parametrize("corner", ["", "Unnamed: 0"])
@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_rows_are_no_ids(tmp_path, corner, first):
    rows = [[first + k, *row] for k, row in enumerate(ROWS)]
    path = written(tmp_path, "m.csv", lines(",", [corner, "sample", *GENES], rows))
    matrix = read_matrix(path)
    assert_values(matrix)
    assert "numbers of the rows" in " ".join(str(use) for use in matrix.uses)
    assert read_table(path).columns.tolist() == ["sample", *GENES]
    columns = zip(GENES, VALUES, strict=True)
    genes = [[first + k, name, *column] for k, (name, column) in enumerate(columns)]
    path = written(tmp_path, "g.csv", lines(",", [corner, "gene", "s1", "s2", "s3"], genes))
    assert_values(read_matrix(path), np.transpose(VALUES))
    # Ids that are numbers stay, where no other column could be the ids.
    numbers = [[first + k, *row[1:]] for k, row in enumerate(ROWS)]
    path = written(tmp_path, "n.csv", lines(",", [corner, *GENES], numbers))
    assert_values(read_matrix(path), ids=[str(first + k) for k in range(3)])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("TP53,MYC\n1,2\n3,4\n", "its first column is called 'TP53', as a gene is"),
        ("a,b\n1.5,2\n3.25,4\n", "its first column holds numbers such as '1.5', not names"),
        ("s1,1.5,2.25\ns2,3.5,4\n", "its header holds numbers such as '1.5', not names"),
    ],
    ids=["gene", "numbers", "no header"],
)
def test_a_matrix_without_ids_or_header_is_refused(tmp_path, text, sentence):
    assert f"m.csv: {sentence}" in error_of(read_matrix, written(tmp_path, "m.csv", text))


# --- genes in rows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "values"),
    [
        (["Hugo_Symbol", "Entrez_Gene_Id"], [100, 101, 102]),
        (["Geneid", "Length"], [1500, 900, 2100]),
        (["", "entrez id"], [100, 101, 102]),
        (["gene", "chromosome"], [17, 7, 8]),
        (["gene", "gene_type"], ["protein_coding", "protein_coding", "lncRNA"]),
        (["gene", "Description"], ["tumor protein", "growth factor", "a gene"]),
        (["gene", "unheard of"], ["x", "y", "z"]),
    ],
)
@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_columns_that_describe_genes_are_no_samples(tmp_path, header, values, format_):
    frame = pd.DataFrame(np.transpose(VALUES), columns=["s1", "s2", "s3"])
    frame.insert(0, header[1], values)
    frame.insert(0, header[0], GENES)
    path = tmp_path / f"m.{format_}"
    frame.to_csv(path, index=False) if format_ == "csv" else frame.to_parquet(path, index=False)
    for orientation in ("auto", "genes"):
        matrix = read_matrix(path, orientation)
        assert_values(matrix)
        assert used(matrix, "left out", "columns") == [header[1]]
        assert not unexpected(matrix.uses)


SUMMARIES = {
    "star": ["N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous"],
    "htseq": [
        *("__no_feature", "__ambiguous", "__too_low_aQual", "__not_aligned"),
        "__alignment_not_unique",
    ],
}


@pytest.mark.parametrize("counter", SUMMARIES)
@pytest.mark.parametrize("format_", ["tsv", "transposed.tsv", "h5ad", "npz", "gct"])
def test_summaries_of_counters_are_no_genes(tmp_path, counter, format_):
    names = [*SUMMARIES[counter][:2], *GENES, *SUMMARIES[counter][2:]]
    counts = np.full((3, len(names)), 7e6)
    counts[:, 2:5] = VALUES
    frame = pd.DataFrame(counts, ["s1", "s2", "s3"], names)
    path = tmp_path / f"m.{format_}"
    if format_ == "tsv":
        frame.T.to_csv(path, sep="\t", index_label="gene_id")
    elif format_ == "transposed.tsv":
        frame.to_csv(path, sep="\t", index_label="sample")
    elif format_ == "gct":
        body = frame.T.to_csv(sep="\t", header=False).replace("\t", "\tx\t", 0)
        body = "".join(line.replace("\t", "\tx\t", 1) + "\n" for line in body.splitlines())
        path.write_text(f"#1.2\n{len(names)}\t3\nNAME\tDescription\ts1\ts2\ts3\n{body}")
    elif format_ == "npz":
        np.savez(path, X=counts, samples=frame.index.to_numpy(str), features=np.array(names))
    else:
        anndata = pytest.importorskip("anndata")
        anndata.AnnData(frame).write_h5ad(path)
    matrix = read_matrix(path)
    assert_values(matrix)
    left_out = [use for use in matrix.uses if use.names == tuple(SUMMARIES[counter])]
    assert [use.used_as for use in left_out] == ["left out"]
    assert "reads that belong to no gene" in left_out[0].why


def test_counts_of_the_genomic_data_commons(tmp_path):
    text = (
        "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\ts1\ts2\n"
        "N_unmapped\t\t\t7044105\t8936506\nN_multimapping\t\t\t6380096\t4838578\n"
        "ENSG00000000001.2\tA\tprotein_coding\t12\t40\nENSG00000000002.3\tB\tlncRNA\t17\t0\n"
    )
    matrix = read_matrix(written(tmp_path, "star.tsv", text))
    genes = ("ENSG00000000001.2", "ENSG00000000002.3")
    assert_values(matrix, [[12, 17], [40, 0]], ("s1", "s2"), genes)
    assert used(matrix, "left out") == [
        "# gene-model: GENCODE v36",
        *("gene_name", "gene_type", "N_unmapped", "N_multimapping"),
    ]


# --- samples in rows ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["batch", "Plate", "age", "OS.time", "tumor_purity", "sex", "patient_id", "dose"]
)
def test_a_column_of_numbers_about_samples_is_no_gene_and_a_warning(tmp_path, name):
    rows = [[*row, k % 2] for k, row in enumerate(ROWS)]
    matrix = read_matrix(written(tmp_path, "m.csv", lines(",", ["sample", *GENES, name], rows)))
    assert_values(matrix)
    np.testing.assert_array_equal(matrix.table[name], [0, 1, 0])
    (warning,) = unexpected(matrix.uses)
    assert f"m.csv: 1 column taken for annotations ({name})" in warning
    told = read_matrix(tmp_path / "m.csv", annotations=(name,))
    assert not unexpected(told.uses) and name in told.table


def test_a_table_of_clinical_numbers_measures_them(tmp_path):
    rows = [["s1", 61, 1, 24.5], ["s2", 55, 0, 31.0]]
    path = written(tmp_path, "m.csv", lines(",", ["sample", "age", "sex", "bmi"], rows))
    assert read_matrix(path).features.tolist() == ["age", "sex", "bmi"]


def test_texts_in_a_gene_are_named(tmp_path):
    rows = [["s1", 1.5, "low", 3.25], ["s2", 4.0, "high", 6.0], ["s3", 7.0, "2.5", 9.75]]
    path = written(tmp_path, "m.csv", lines(",", ["sample", "TP53", "F2", "MYC"], rows))
    matrix = read_matrix(path)
    assert matrix.features.tolist() == ["TP53", "MYC"]
    (warning,) = unexpected(matrix.uses)
    assert (
        "1 column taken for annotations (F2): texts such as 'low' in 2 of 3 cells of F2" in warning
    )
    pure = [[*row[:2], "low", row[3]] for row in ROWS]
    gene = written(tmp_path, "g.csv", lines(",", ["sample", *GENES], pure))
    assert "EGFR" in unexpected(read_matrix(gene).uses)[0]
    cell = written(tmp_path, "c.csv", lines(",", ["sample", "TP53", "cell", "MYC"], pure))
    assert not unexpected(read_matrix(cell).uses)


def test_every_name_of_a_matrix_is_in_its_account(tmp_path):
    rows = [["s1", "A", 1, 2], ["s2", "B", 3, 4]]
    matrix = read_matrix(
        written(tmp_path, "m.csv", lines(",", ["sample", "cell", *GENES[:2]], rows))
    )
    account = {(use.part, use.used_as): use.names for use in matrix.uses}
    assert account == {
        ("rows", "samples"): ("s1", "s2"),
        ("columns", "genes or other features"): ("TP53", "EGFR"),
        ("columns", "annotations of samples"): ("cell",),
    }


# --- limits of detection --------------------------------------------------------------------------


def limited(mark="<0.1", word=None):
    rows = [["s1", mark, 2], ["s2", 3, ">100"], ["s3", "< .5", 4]]
    return lines(
        ",", ["sample", "TP53", "EGFR"], rows if word is None else [*rows, ["s4", word, 5]]
    )


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("limit", [[0.1, 2], [3, 100], [0.5, 4]]),
        ("half", [[0.05, 2], [3, 100], [0.25, 4]]),
        ("missing", [[np.nan, 2], [3, np.nan], [np.nan, 4]]),
    ],
)
@pytest.mark.parametrize("format_", ["csv", "gct", "parquet"])
def test_limits_of_detection_are_read_as_the_setting_says(tmp_path, rule, values, format_):
    path = written(tmp_path, "m.csv", limited())
    frame = pd.read_csv(path, dtype=str)
    if format_ == "parquet":
        path = tmp_path / "m.parquet"
        frame.to_parquet(path, index=False)
    elif format_ == "gct":
        body = frame.set_index("sample").T
        body.insert(0, "Description", "x")
        table = body.to_csv(sep="\t", index_label="NAME")
        path = written(tmp_path, "m.gct", f"#1.2\n2\t3\n{table}")
    matrix = read_matrix(path, below_detection=rule)
    expected = np.array(values, np.float32)
    assert_values(matrix, expected, genes=("TP53", "EGFR"))
    assert set(used(matrix, "read with limits of detection")) & {"TP53", "s1"}
    message = error_of(read_matrix, path)
    assert "3 cells of " in message and "beyond a limit of detection, such as '<0.1'" in message
    assert "set --config.data.below_detection=limit" in message and "NA" not in message


@pytest.mark.parametrize("word", ["<LOD", "ND", "n.d.", "BLQ", "< LLOQ", "not detected"])
def test_a_word_gives_no_limit(tmp_path, word):
    path = written(tmp_path, "m.csv", limited(word=word))
    matrix = read_matrix(path, below_detection="missing")
    assert matrix.mask[:, 0].tolist() == [False, True, False, False]
    for rule in ("error", "limit", "half"):
        message = error_of(read_matrix, path, below_detection=rule)
        assert f"such as {word!r} gives no limit" in message
        assert "or set --config.data.below_detection=missing" in message


def test_genes_mostly_below_detection_stay_genes(tmp_path):
    rows = [[f"s{k}", "<LOD" if k < 4 else k, "ND", k] for k in range(6)]
    path = written(tmp_path, "m.csv", lines(",", ["sample", *GENES], rows))
    assert "10 cells of 2 columns or variables (TP53, EGFR)" in error_of(read_matrix, path)
    matrix = read_matrix(path, below_detection="missing")
    assert matrix.features.tolist() == GENES
    assert matrix.mask.sum(axis=0).tolist() == [2, 0, 6]


def test_annotations_that_are_asked_for_keep_their_texts(tmp_path):
    rows = [["s1", "<5", 1], ["s2", "10", 2], ["s3", "7", 3]]
    path = written(tmp_path, "m.csv", lines(",", ["sample", "viral load", "TP53"], rows))
    matrix = read_matrix(path, annotations=("viral load",))
    assert matrix.table["viral load"].tolist() == ["<5", "10", "7"]


def test_limits_in_a_long_table_are_named_by_variable(tmp_path):
    text = LONG + "p0,1,lact,<0.1\np1,1,lact,1.2\np1,0,trop,<0.01\np0,0,trop,>50\n"
    path = written(tmp_path, "ward.csv", text)
    message = error_of(series, path)
    assert "ward.csv: 3 cells of 2 columns or variables (lact, trop) beyond a limit" in message
    assert "'<0.1' (line 6, lact)" in message and "NA" not in message
    found = series(path, below_detection="half").modalities["series"]
    column = {str(name): j for j, name in enumerate(found.features)}
    assert found.values[0, 1, column["lact"]] == np.float32(0.05)
    assert found.values[1, 0, column["trop"]] == np.float32(0.005)
    assert found.values[0, 0, column["trop"]] == 50
    missing = series(path, below_detection="missing").modalities["series"]
    assert missing.mask[:, :, column["trop"]].sum() == 0


def test_decimal_commas_in_a_long_table(tmp_path):
    text = "id;time;variable;value\np0;0,5;hr;74,6\np1;1;hr;67,35\n"
    found = series(written(tmp_path, "ward.csv", text)).modalities["series"]
    assert found.values[0, 0, 0] == np.float32(74.6) and found.values[1, 1, 0] == np.float32(67.35)


# --- names ----------------------------------------------------------------------------------------


def test_a_column_named_twice_is_in_the_way_of_nobody_else(tmp_path):
    path = written(tmp_path, "t.csv", "id,drug,note,note\ns1,x,1,2\ns2,y,3,4\n")
    table = read_table(path)
    assert table["drug"].tolist() == ["x", "y"]
    assert table.columns.tolist() == ["id", "drug", "note (column 3)", "note (column 4)"]
    same, uses = read_accounted_table(written(tmp_path, "s.csv", "id,a,b,a\ns1,x,1,x\ns2,y,2,y\n"))
    assert same.columns.tolist() == ["id", "a", "b"]
    assert uses[0].used_as == "used once" and uses[0].names == ("a",)


def test_a_name_that_is_not_found_shows_those_of_the_file(tmp_path):
    path = written(tmp_path, "m.csv", lines(","))
    message = error_of(read_matrix, path, genes=np.array(["TP35", "XYZ"]))
    assert "has no gene 'TP35' and 1 more of those asked for" in message
    assert "called like 'TP53', 'EGFR', 'MYC'; did you mean 'TP53'?" in message
    assert "its samples are called like 's1', 's2', 's3'; correct" in error_of(
        read_matrix, path, samples=["zzz"]
    )
