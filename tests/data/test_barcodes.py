"""Which sample of a patient counts: barcodes by hand, and the aligned table of the real data."""

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.patients.barcodes import (
    barcode_hint,
    patient_of,
    patient_rows,
    primary_samples,
    sample_type,
)
from omics_jax.errors import UserError


@pytest.mark.parametrize(
    ("sample", "patient", "kind"),
    [
        ("TCGA-OR-A5J1", "TCGA-OR-A5J1", ""),
        ("TCGA-OR-A5J1-01", "TCGA-OR-A5J1", "01"),
        ("TCGA-OR-A5J1-11A-11R-A29W-13", "TCGA-OR-A5J1", "11"),
        ("tcga.ab.2803.03b", "TCGA-AB-2803", "03"),
        ("TARGET-20-PABGKN-09A", "", ""),
        ("TCGA-OR-A5J10-01", "", ""),
        ("P1", "", ""),
    ],
)
def test_a_barcode_names_patient_and_sample_type(sample, patient, kind):
    assert patient_of(sample, "tcga") == patient and sample_type(sample) == kind
    assert patient_of(sample, "") == sample
    assert ("--config.data.barcode=tcga" in barcode_hint("P1", sample)) == bool(patient)


SAMPLES = [
    "TCGA-AA-0001-11A",  # normal tissue of a patient who has a tumour too
    "TCGA-AA-0002-06A",  # a metastasis alone
    "TCGA-AA-0001-01B",
    "TCGA-AA-0001-01A",  # a second aliquot
    "TARGET-20-PABGKN-09A",
    "TCGA-AB-0003-03A",
    "TCGA-AA-0004",
    "TCGA-AA-0002-11A",
]


def test_one_primary_sample_of_each_patient_in_file_order():
    chosen = primary_samples("rna", SAMPLES, "tcga")
    assert chosen.rows.tolist() == [2, 5, 6]
    assert chosen.patients.tolist() == ["TCGA-AA-0001", "TCGA-AB-0003", "TCGA-AA-0004"]
    stranger, others, aliquots = chosen.notes
    assert stranger.startswith("rna: 1 sample (TARGET-20-PABGKN-09A) is without a TCGA barcode")
    assert (
        "no primary tumours left out: 3 (type 06: 1, type 11: 2); patients who have no other in "
        "it: 1." in others
    )
    assert aliquots.startswith("rna: further aliquots left out") and aliquots.endswith(": 1.")


def test_samples_as_rows_are_named_by_patient_and_sample_type():
    chosen = primary_samples("rna", SAMPLES, "tcga_samples")
    assert chosen.rows.tolist() == [0, 1, 2, 5, 6, 7]
    assert chosen.patients.tolist() == [
        "TCGA-AA-0001-11",
        "TCGA-AA-0002-06",
        "TCGA-AA-0001-01",
        "TCGA-AB-0003-03",
        "TCGA-AA-0004",
        "TCGA-AA-0002-11",
    ]
    assert [patient_of(sample, "tcga_samples") for sample in chosen.patients[:2]] == [
        "TCGA-AA-0001",
        "TCGA-AA-0002",
    ]
    assert chosen.notes[-1].endswith("as of each sample the first counts: 1.")


def test_a_table_keeps_patients_without_a_primary_tumour():
    chosen = patient_rows("clinical", SAMPLES, "tcga")
    assert chosen.rows.tolist() == [1, 2, 5, 6]
    assert chosen.patients.tolist() == [
        "TCGA-AA-0002",
        "TCGA-AA-0001",
        "TCGA-AB-0003",
        "TCGA-AA-0004",
    ]
    assert chosen.notes[1].startswith("clinical: further rows") and chosen.notes[1].endswith(": 3.")


@pytest.mark.parametrize("choose", [primary_samples, patient_rows])
def test_without_a_code_every_id_is_a_patient(choose):
    chosen = choose("rna", SAMPLES, "")
    assert (
        chosen.rows.tolist() == list(range(8))
        and chosen.patients.tolist() == SAMPLES
        and not chosen.notes
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_patients_do_not_depend_on_the_order(seed):
    order = np.random.default_rng(seed).permutation(len(SAMPLES))
    chosen = primary_samples("rna", [SAMPLES[i] for i in order], "tcga")
    assert sorted(chosen.patients) == ["TCGA-AA-0001", "TCGA-AA-0004", "TCGA-AB-0003"]
    # Of two aliquots the one that stands first in the file.
    first = min((2, 3), key=order.tolist().index)
    assert order[chosen.rows[chosen.patients == "TCGA-AA-0001"]].tolist() == [first]


@pytest.mark.parametrize(
    ("samples", "fragments"),
    [
        (
            ["P1", "P2"],
            [
                "rna: not one of its 2 samples (such as 'P1') bears a TCGA barcode",
                "leave data.barcode empty",
            ],
        ),
        (
            ["TCGA-AA-0001-11"],
            [
                "not one of its 1 samples",
                "'TCGA-AA-0001-11'",
                "is a primary tumour",
                "set --config.data.barcode=tcga_samples",
            ],
        ),
    ],
)
def test_nothing_to_choose_from(samples, fragments):
    with pytest.raises(UserError) as caught:
        primary_samples("rna", samples, "tcga")
    assert all(fragment in str(caught.value) for fragment in fragments)


@pytest.mark.parametrize(
    ("file", "differ"), [("mirna_rpm", 6), ("rna_zscore_porpoise", 0), ("rppa", 0)]
)
def test_real_samples_are_those_of_the_alignment(real_data, file, differ):
    """The alignment also takes samples without a primary tumour, and of six pairs the second."""
    samples = np.load(real_data / f"tcga/{file}.npz")["samples"]
    table = pd.read_csv(real_data / "tcga/alignment.csv.gz").set_index("patient")[file]
    table = table[table >= 0]
    chosen = primary_samples(file, samples, "tcga")
    ours = pd.Series(chosen.rows, index=chosen.patients)
    with_primary = {sample[:12] for sample in samples if sample[13:15] in ("", "01", "03")}
    assert set(ours.index) == with_primary
    shared = table.index.intersection(ours.index)
    assert set(shared) == with_primary & set(table.index)
    differing = table[shared][table[shared] != ours[shared]]
    assert len(differing) == differ
    assert all(
        samples[ours[patient]][:16] == samples[row][:16] for patient, row in differing.items()
    )
