"""What the gene transformer refuses, and the sentence it says; with exit status 2."""

import numpy as np
import pytest
from command import command
from gene_patients import GENES, SMOKE, tables, written

EXPRESSION, CLINICAL = tables()
BALANCING = "--config.experiment=balancing"


def asked(folder, *words, expression=EXPRESSION, clinical=CLINICAL, without=()):
    """What `--mode=inspect` answers of these tables.

    without: the starts of words that are left out.
    """
    files = [w for w in written(folder, expression, clinical) if not w.startswith(without)]
    return command(SMOKE, "--mode=inspect", f"--workdir={folder}/run", *files, *words)


def refusal(folder, *words, **tables):
    outcome = asked(folder, *words, **tables)
    assert outcome.status == 2 and "Traceback" not in outcome.err
    (line,) = outcome.err.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--config.model.heads=3",),
            "config.model.channels is 8, which 3 heads do not divide; choose a multiple of "
            "config.model.heads",
        ),
        (
            ("--config.model.linear_penalty=0.01",),
            "config.model.linear_penalty is 0.01, and there is no linear map (config.model.linear "
            "is 0); set it, to 64 for instance, or the penalty to 0",
        ),
        (
            ("--config.data.covariates=age,height",),
            "config.data.covariates names the column 'height', which the table of people lacks; "
            "it has kind, age, sex",
        ),
        (
            ("--config.data.covariates=kind",),
            "config.data.covariates names the column 'kind', which an outcome is read from; name",
        ),
        (
            ("--config.data.covariates=sex", "--config.data.survival_times=OS=age:sex=m"),
            "config.data.covariates names the column 'sex', which an outcome is read from; name",
        ),
        (
            ("--config.data.numbers=c=age",),
            "'c' is the name of an outcome and of a table of every run; rename the outcome",
        ),
        (
            ("--config.data.numbers=rna=age",),
            "'rna' is the name of an outcome and of a modality; rename the outcome",
        ),
        (
            (BALANCING,),
            "weighs outcomes against each other, and the data hold one; name more (data.classes, "
            "data.numbers, data.survival_times), or choose the experiment multitask",
        ),
        (
            ("--config.model.encoding=sinus",),
            "config.model.encoding is 'sinus'; choose one of bias, linear, mlp, bins, soft_bins",
        ),
        (
            ("--config.compare.encodings=('bias','sinus')",),
            "config.compare.encodings is ('bias', 'sinus'); give one or more of bias, linear",
        ),
        (
            ("--config.preprocess.spread=iqr",),
            "config.preprocess.spread is 'iqr'; choose one of variance, mad",
        ),
        (
            ("--config.balancing.name=pwinval",),
            "config.balancing.name is 'pwinval', which needs the accuracy of a network for each "
            "outcome alone",
        ),
        (
            ("--config.training.stages=('calibration',)",),
            "which trains no head; add the stage heads or all",
        ),
        (("--config.weights=cure=2",), "config.weights names 'cure', which is no outcome"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_setting_that_cannot_be_is_answered_in_a_sentence(tmp_path, words, sentence):
    both = "--config.balancing.name=pwinval" in words
    more = ("--config.data.classes=kind=kind,sex=sex",) if both else ()
    assert sentence in refusal(tmp_path, *more, *words)


def test_files_without_an_outcome_are_refused(tmp_path):
    line = refusal(tmp_path, without=("--config.data.classes",))
    assert "the data hold nothing to predict; name columns with data.classes, data.numbers" in line


def test_a_gene_that_stands_twice_in_a_file_is_named_with_its_places(tmp_path):
    twice = EXPRESSION.rename(columns={"G3": "G2"})
    line = refusal(tmp_path, expression=twice)
    assert "expression.csv: the gene 'G2' occurs twice, at column 4 ('G2') and column 5" in line
    assert line.endswith("rename or remove one of them, or set --config.data.repeated=mean")
    outcome = asked(tmp_path, "--config.data.repeated=mean", expression=twice)
    assert (
        outcome.status == 0 and "rna: 1 feature (G2) is in the file more than once" in outcome.out
    )


def test_a_class_with_fewer_members_than_folds_is_named(tmp_path):
    kind = np.where(np.arange(len(CLINICAL)) < 2, "rare", CLINICAL["kind"])
    line = refusal(tmp_path, clinical=CLINICAL.assign(kind=kind))
    assert "the kind 'rare' has 2 of the patients, fewer than the 3 folds; make such" in line


def test_an_outcome_of_one_class_is_named(tmp_path):
    line = refusal(tmp_path, clinical=CLINICAL.assign(kind="A"))
    assert "kind has one class, A, in all 45 patients in whom it is known; check its column" in line


def test_genes_that_are_all_constant_are_refused_before_anything_is_trained(tmp_path):
    line = refusal(tmp_path, expression=EXPRESSION * 0 + 5.1)
    assert "fold 0, repeat 0: no gene of rna differs between its training patients" in line
    assert "mend the files of config.data.modalities" in line


def test_one_gene_that_varies_is_enough(tmp_path):
    one = EXPRESSION.assign(**dict.fromkeys(GENES[1:], 5.1))
    outcome = asked(tmp_path, expression=one)
    assert outcome.status == 0 and "6 features (5 constant" in outcome.out


def test_a_modality_by_the_name_of_the_covariates_is_refused(tmp_path):
    (tmp_path / "c").mkdir()
    EXPRESSION.to_csv(tmp_path / "c" / "c.csv")
    other = f"--config.data.modalities=c={tmp_path}/c/c.csv"
    line = refusal(tmp_path, other, "--config.data.covariates=sex")
    assert "'c' is the name of a modality and of the covariates of a run; rename" in line


def test_counts_are_told_and_logged_and_a_warning_says_where_they_are_not(tmp_path):
    counts = (2**EXPRESSION).round().astype(int)
    outcome = asked(tmp_path, expression=counts)
    assert outcome.status == 0
    said = "rna: log2(x + 1) of every value (preprocess.log2=auto: its values look like counts)."
    assert said in outcome.out
    outcome = asked(tmp_path, "--config.preprocess.log2=()", expression=counts)
    assert outcome.status == 0
    assert "warning: rna: its values look like counts (up to " in outcome.out
    assert "name it, or set --config.preprocess.log2=auto" in outcome.out


def test_logarithms_are_left_alone(tmp_path):
    outcome = asked(tmp_path)
    assert "rna: no logarithm is taken (preprocess.log2=auto: its values look like" in outcome.out
