"""Whether the rows of a table of numbers are samples or genes, judged by its names and its shape.

The rules are this project's own; the lists hold names that are certainly genes or probes, not all
of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from omics_jax.errors import UserError

_GENE_HEADERS = frozenset(
    "gene genes gene_id geneid gene_name genename gene_symbol genesymbol symbol hugo_symbol "
    "hgnc_symbol entrez entrez_id entrezid entrez_gene_id ensembl ensembl_id probe probes "
    "probe_id probeset id_ref "
    "transcript transcript_id feature feature_id cpg pr_gene_symbol pr_gene_id".split()
)
_SAMPLE_HEADERS = frozenset(
    "sample samples sample_id sampleid sample_name patient patient_id subject subject_id donor "
    "donor_id barcode cell cell_id cell_line profile profile_id inst_id distil_id sig_id well "
    "individual".split()
)
_KNOWN_GENES = frozenset(
    "A2M ABCB1 ABL1 ACTB ACTG1 AKT1 AKT2 ALB ALK APC APOE AR ATF1 ATF3 ATM ATP1B1 AURKA AURKB "
    "AXIN1 B2M BAX BCL2 BID BIRC5 BRAF BRCA1 BRCA2 CASP3 CAT CAV1 CCNA2 CCNB1 CCND1 CCNE2 CD4 "
    "CD44 CD8A CDC20 CDH1 CDH3 CDKN1A CDKN1B CEBPA CHEK1 CISD1 CREB1 CTNNB1 CXCR4 DDIT4 DDR1 "
    "DNMT1 DUSP6 E2F2 EGF EGFR EGR1 ELAVL1 EPCAM EPHB2 ERBB2 ERBB3 ESR1 EZH2 FGFR2 FN1 FOS FOXO3 "
    "GAPDH GATA3 GNPDA1 GSTM2 H2AFV HDAC2 HDAC6 HIF1A HMGCR HMOX1 HPRT1 HSPA1A ICAM1 IDH1 IGF1R "
    "IL1B IL6 INSIG1 ITGB1 JUN KDR KIT KRAS LDLR MDM2 MET MKI67 MLH1 MMP2 MTOR MYC NFKB1 NOTCH1 "
    "NR3C1 NRAS PARP1 PCNA PGR PIK3CA PLK1 PPARG PSME1 PTEN RAC1 RB1 RELA RHEB RHOA ROCK1 SCD "
    "SMAD3 SOX2 SPDEF SRC STAT1 STAT3 TBP TERT TGFB1 TLR4 TNF "
    "TOP2A TP53 TRP53 TUBB6 TXN TYMS UBC VEGFA VIM WNT1 XBP1 XIST".split()
)
_GENE_NAME = re.compile(
    r"ENS[A-Z]{0,4}[GTP]\d{11}(\.\d+)?(_at)?"
    r"|[\da-z]+(_[asx])?_at|cg\d{8}|ILMN_\d+|[NX][MR]_\d+(\.\d+)?"
    r"|(ZNF|SLC|TMEM|RPL|RPS|MRPL|MRPS|FAM|KIAA|LINC|CDK|MAP\dK|MAPK|COL|CYP|PSM[ABCDE]"
    r"|NDUF[ABSV]|COX|HIST|EIF|ATP5|UBE2|CCDC|ANKRD|KRT|CXCL|CCL|HOX[ABCD]|HLA-|MT-|LRRC|DDX|USP"
    r"|POLR|SNORD|MIR)\d+[A-Z\d.-]*",
    re.IGNORECASE,
)


def decide_orientation(
    path,
    orientation: str,
    rows: Sequence[str],
    columns: Sequence[str],
    corner: str,
    text_columns: Sequence[str],
) -> str:
    """What the rows are, "samples" or "genes", by the rules in `read_matrix`'s docstring.

    Args:
      rows, columns: their names.
      corner: the header of the id column.
      text_columns: the columns that hold no numbers.

    Raises:
      UserError: text where the columns are samples, or nothing that decides.
    """
    if orientation == "genes" and text_columns:
        raise UserError(
            f"{path}: column {text_columns[0]!r} holds text, but with genes in rows every column "
            'is a sample; remove it, or set orientation="samples"'
        )
    if orientation != "auto":
        return orientation
    header = re.sub(r"[ .-]", "_", corner.strip().casefold())
    row_genes, column_genes = _gene_share(rows), _gene_share(columns)
    rows_have_gene_names = header not in _SAMPLE_HEADERS and row_genes > 3 * column_genes
    rows_are_genes = header in _GENE_HEADERS or rows_have_gene_names
    if text_columns and rows_are_genes:
        raise UserError(
            f"{path}: its rows look like genes (such as {rows[0]!r}), yet column "
            f'{text_columns[0]!r} holds text; remove that column and set orientation="genes", or '
            'set orientation="samples" if rows are samples'
        )
    if rows_are_genes:
        return "genes"
    if text_columns or header in _SAMPLE_HEADERS or column_genes > 3 * row_genes:
        return "samples"
    return _orientation_by_shape(path, rows, columns)


def _orientation_by_shape(path, rows: Sequence[str], columns: Sequence[str]) -> str:
    """Genes are many, and many more than samples."""
    n_rows, n_columns = len(rows), len(columns)
    longer, shorter = max(n_rows, n_columns), min(n_rows, n_columns)
    if longer >= 200 and longer >= 5 * shorter:
        return "genes" if n_rows > n_columns else "samples"
    raise UserError(
        f"{path}: cannot tell whether its {n_rows} rows (such as {rows[0]!r}) are samples or "
        f"genes, nor its {n_columns} columns (such as {columns[0]!r}); set "
        'orientation="samples" or orientation="genes"'
    )


def _gene_share(names: Sequence[str]) -> float:
    hits = sum(_is_gene(name) for name in names)
    return hits / max(len(names), 1)


def _is_gene(name: str) -> bool:
    return name.upper() in _KNOWN_GENES or _GENE_NAME.fullmatch(name) is not None
