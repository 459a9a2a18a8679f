"""Which genes folds may choose: those of a list or of a network, the same whatever the values."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from command import ROOT, config_of

from omics_jax.data.dataset.dataset import Dataset, Modality
from omics_jax.errors import UserError
from omics_jax.study.patients.candidates import only_candidates

SMOKE = f"--config={ROOT}/configs/gene_transformer.py:multitask,smoke"
GENES = ("TP53", "KRAS", "EGFR", "MYC", "ENSG00000141510.18", "GAPDH")


def patients():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(7, len(GENES))).astype(np.float32)
    rna = Modality(values, rng.random(values.shape) < 0.8, np.array(GENES))
    ids = np.array([f"P{i}" for i in range(7)])
    return Dataset(ids, ids, {"rna": rna}, pd.DataFrame(index=ids), {}, notes=("before",))


@pytest.fixture
def candidates(tmp_path):
    """`candidates(settings, **files)`: the dataset with candidates alone.

    files: text by name, with _ for the dot; settings: with {name} for the path of a file.
    """

    def choose(*settings, dataset=None, **files):
        paths = {}
        for name, text in files.items():
            paths[name] = tmp_path / name.replace("_", ".")
            paths[name].write_text(text)
        words = (f"--config.{setting.format(**paths)}" for setting in settings)
        return only_candidates(config_of(SMOKE, *words), dataset or patients())

    return choose


def genes_of(dataset):
    return dataset.modalities["rna"].features.tolist()


def test_without_a_list_all_genes_are_candidates(candidates):
    dataset = patients()
    assert candidates(dataset=dataset) is dataset


def test_genes_of_a_list_stay_with_their_values(candidates):
    dataset = patients()
    chosen = candidates("preprocess.genes={panel_txt}", panel_txt="MYC\ntp53\nBRCA1\n")
    assert genes_of(chosen) == ["TP53", "MYC"]  # in the order of the data
    own, before = chosen.modalities["rna"], dataset.modalities["rna"]
    np.testing.assert_array_equal(own.mask, before.mask[:, [0, 3]])
    np.testing.assert_array_equal(own.values[own.mask], before.values[:, [0, 3]][own.mask])
    note = "1 of the 3 genes of panel.txt are not in the data: BRCA1."
    assert chosen.notes[0] == "before" and chosen.notes[1].endswith(note)
    assert chosen.notes[1].startswith("rna: 2 of 6 genes are in panel.txt (1 names equal, 1 equal")


def test_genes_of_any_set_and_by_alias(candidates):
    files = dict(sets_gmt="s1\t-\tTP53\ns2\t-\tMYC\tP00533\n", other_csv="name,gene\nEGFR,P00533\n")
    words = "preprocess.genes={sets_gmt}", "network.aliases={other_csv}"
    assert genes_of(candidates(*words, **files)) == ["TP53", "EGFR", "MYC"]


def test_genes_with_an_edge_of_the_least_weight(candidates):
    files = dict(edges_csv="gene1,gene2,weight\nTP53,MYC,900\nMYC,KRAS,200\nABC,EGFR,800\n")
    words = "network.edges={edges_csv}", "preprocess.connected=True"
    assert genes_of(candidates(*words, **files)) == ["TP53", "KRAS", "EGFR", "MYC"]
    strong = candidates(*words, "network.least_weight=500", **files)
    assert genes_of(strong) == ["TP53", "EGFR", "MYC"]
    both = candidates(*words, "preprocess.genes={panel_txt}", panel_txt="KRAS\nGAPDH\n", **files)
    assert genes_of(both) == ["KRAS"] and len(both.notes) == 3


def test_candidates_are_the_same_whatever_was_measured(candidates):
    dataset = patients()
    unseen = replace(dataset.modalities["rna"], mask=np.zeros((7, 6), bool))
    other = replace(dataset, modalities={"rna": unseen})
    assert genes_of(candidates("preprocess.genes={g_txt}", dataset=other, g_txt="MYC")) == ["MYC"]


@pytest.mark.parametrize(
    ("settings", "files", "sentence"),
    [
        (
            ["preprocess.genes={panel_txt}"],
            dict(panel_txt="7157\n3845\n"),
            "rna (config.preprocess.genes): none of the 6 genes of the data (such as 'TP53', "
            "'KRAS', 'EGFR') is in panel.txt (such as '7157', '3845'); panel.txt has Entrez",
        ),
        (["preprocess.genes={panel_txt}"], dict(panel_txt="\n"), "panel.txt is empty; a list has"),
        (["preprocess.genes=/nowhere/panel.txt"], {}, "/nowhere/panel.txt does not exist, nor"),
        (
            ["preprocess.connected=True"],
            {},
            "config.preprocess.connected is True and config.network.edges is empty; name the",
        ),
        (
            ["preprocess.connected=True", "network.edges={e_csv}", "preprocess.genes={p_txt}"],
            dict(e_csv="gene1,gene2\nTP53,MYC\n", p_txt="KRAS"),
            "rna: none of its 6 features is in p.txt and in e.csv at once; change "
            "config.preprocess.genes and config.preprocess.connected, or leave the modality out",
        ),
    ],
    ids=["other names", "empty", "missing", "no network", "nothing in both"],
)
def test_lists_that_leave_nothing_are_refused(candidates, settings, files, sentence):
    with pytest.raises(UserError) as caught:
        candidates(*settings, **files)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
