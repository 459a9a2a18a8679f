"""Names of rows and columns whose meaning is known from public tables: genes, ids, annotations.

Headers are compared in the form that `header_form` makes. The lists are this project's own and hold
names that are certain, not all of them. Sources of their formats: cBioPortal (Entrez_Gene_Id), the
Genomic Data Commons (gene_name, gene_type, N_unmapped), featureCounts (Chr, Start, Length), HTSeq
(__no_feature).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# The header of a column of genes, or of any other features.
GENE_HEADERS = frozenset(
    "gene genes gene_id geneid gene_name genename gene_symbol genesymbol symbol hugo_symbol "
    "hgnc_symbol entrez entrez_id entrezid entrez_gene_id ensembl ensembl_id probe probes "
    "probe_id probeset id_ref "
    "transcript transcript_id feature feature_id cpg pr_gene_symbol pr_gene_id".split()
)
# The header of a column of samples, or of patients.
SAMPLE_HEADERS = frozenset(
    "sample samples sample_id sampleid sample_name patient patient_id subject subject_id donor "
    "donor_id barcode cell cell_id cell_line profile profile_id inst_id distil_id sig_id well "
    "individual".split()
)
# The header of any other column of ids.
OTHER_ID_HEADERS = frozenset("id ids name stay stay_id record recordid record_id case_id".split())

# Where one of these is a column, the rows are genes whatever the first column is called.
GENE_IDENTIFIERS = frozenset(
    "gene_id geneid gene_name genename gene_symbol genesymbol hugo_symbol hgnc_symbol hgnc_id "
    "entrez entrez_id entrezid entrez_gene_id ensembl ensembl_id ensembl_gene_id gene_type "
    "gene_biotype".split()
)
# Columns that describe the genes of a table of genes in rows, although they may hold numbers.
GENE_ANNOTATIONS = (
    GENE_HEADERS
    | GENE_IDENTIFIERS
    | frozenset(
        "biotype description chr chrom chromosome start end stop strand length gene_length "
        "transcript_length gc gc_content gc_percent cytoband location map_location locus "
        "uniprot uniprot_id refseq refseq_id pfam id_number "
        "chromosome_name start_position end_position gene_start gene_end".split()
    )
)
# Columns that describe the samples of a table of samples in rows, although they hold numbers.
SAMPLE_ANNOTATIONS = frozenset(
    "batch batch_id batch_number plate plate_id plate_number well run run_id lane flowcell "
    "array_row array_column site_id center_id centre_id replicate replicate_id bio_rep tech_rep "
    "patient patient_id patient_number subject_id donor_id sample_number "
    "age age_years age_at_diagnosis sex gender tumor_purity tumour_purity purity ploidy rin "
    "os os_time os_months os_days os_event os_status dss dss_time pfi pfi_time pfs pfs_time "
    "pfs_months dfs_months dfi dfi_time rfs rfs_time overall_survival survival_time "
    "days_to_death days_to_last_follow_up days_to_last_followup vital_status event status time "
    "dose concentration label library_size n_counts total_counts n_genes percent_mito".split()
)

# Rows that counters of reads write beside the genes.
_SUMMARY = re.compile(
    r"N_(unmapped|multimapping|noFeature|ambiguous)"
    r"|__(no_feature|ambiguous|too_low_aQual|not_aligned|alignment_not_unique)"
    r"|Unassigned_\w+",
    re.IGNORECASE,
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


def header_form(name: str) -> str:
    """In lower case, with underscores for spaces, dots and hyphens: OS.time -> os_time."""
    return re.sub(r"[ .-]+", "_", name.strip().casefold())


def is_id_header(name: str) -> bool:
    """Whether a column of this name holds the ids of the rows."""
    return header_form(name) in GENE_HEADERS | SAMPLE_HEADERS | OTHER_ID_HEADERS


def are_row_numbers(header: str, names: Sequence[str]) -> bool:
    """Whether the first column counts the rows, as R and pandas write it when nobody forbids it."""
    if header_form(header) not in ("", "unnamed:_0", "index", "x"):
        return False
    return (
        any(all(name == str(k) for k, name in enumerate(names, first)) for first in (0, 1))
        and len(names) > 1
    )


def is_gene(name: str) -> bool:
    """Whether a name is certainly that of a gene, a gene family's member or a probe."""
    return name.upper() in _KNOWN_GENES or _GENE_NAME.fullmatch(name) is not None


def is_summary(name: str) -> bool:
    """Whether a row of this name counts the reads that belong to no gene."""
    return _SUMMARY.fullmatch(name) is not None
