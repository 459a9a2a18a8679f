"""What a mistake in an EHR command, its config or its files is answered with: status 2 and one line
that helps.
"""

import numpy as np
import pytest
from command import ROOT, command

CONFIG = f"--config={ROOT}/configs/ehr.py"

# The experiment, the words after it, and what the answer must name.
MISTAKES = [
    (
        "",
        ["--config.classifier.network=mlp3"],
        ["classifier.network", "'mlp3'", "mlp2, mlp5, lstm, gru, summary"],
    ),
    ("", ["--config.classifier.series=filled"], ["classifier.series", "'filled'", "imputed, raw"]),
    (
        "",
        ["--config.finetune.regime=thawed"],
        ["finetune.regime", "'thawed'", "frozen, unfrozen, gradual"],
    ),
    ("", ["--config.model.imputer=saits"], ["model.imputer", "'saits'", "brits, csai"]),
    ("", ["--config.model.gaps=days"], ["model.gaps", "'days'", "paper, code"]),
    ("", ["--config.model.channels=9"], ["model.channels is 9", "multiple of", "model.heads (2)"]),
    ("", ["--config.model.channels=5", "--config.model.heads=5"], ["model.channels is 5", "even"]),
    ("", ["--config.model.dropout=1.0"], ["model.dropout", "1.0", "below 1"]),
    ("", ["--config.model.hidden=0"], ["model.hidden", "1 or more"]),
    ("", ["--config.pretrain.epochs=0"], ["pretrain.epochs", "1 or more"]),
    ("", ["--config.finetune.patience=0"], ["finetune.patience", "1 or more"]),
    ("", ["--config.pretrain.hide=1.5"], ["1.5", "between 0 and 1"]),
    ("", ["--config.pretrain.increase=-1.0"], ["-1.0", "0 (uniform) or more"]),
    ("", ["--config.pretrain.optimizer.learning_rate=-1.0"], ["learning_rate", "-1.0", "positive"]),
    ("", ["--config.finetune.unfrozen_learning_rate=0.0"], ["learning_rate", "0.0", "positive"]),
    ("", ["--config.predict.draws=-1"], ["predict.draws", "0 or more"]),
    ("", ["--config.held_out=(0.5, 0.1)"], ["held_out", "(0.5, 0.1)", "increasing"]),
    ("", ["--config.held_out=(0.5, 0.501)"], ["held_out", "hundredth"]),
    ("", ["--config.held_out=()"], ["held_out", "shares"]),
    ("", ["--config.imputers=('saits',)"], ["imputers", "'saits'", "brits, csai"]),
    ("", ["--config.folds=2"], ["2 folds", "3 or more"]),
    ("", ["--config.simulator.patients=2"], ["3 folds", "2 groups"]),
    (
        "",
        ["--config.simulator.prevalence=0.001"],
        ["death is 0 of all 60 patients", "name another label"],
    ),
    ("", ["--config.simulator.missing=1.0"], ["simulator.missing is 1.0", "below 1"]),
    ("", ["--config.data.path=/nowhere/set-a"], ["/nowhere/set-a"]),
    ("", ["--mode=tune"], ["no arm of 'mortality' is tuned", "--mode=train"]),
    ("", ["--mode=predict"], ["no finished training", "--mode=train"]),
    ("", ["--mode=evaluate"], ["--mode=train"]),
    ("imputation", ["--mode=tune"], ["no arm of 'imputation' is tuned"]),
    ("table2", ["--config.tables.networks=('mlp2', 'cnn')"], ["tables.networks", "'cnn'", "mlp5"]),
    ("table2", ["--config.tables.networks=()"], ["tables.networks", "one or more"]),
    (
        "table2",
        ["--config.tables.strategies=('cyclical',)"],
        ["tables.strategies", "'cyclical'", "cyclic"],
    ),
    ("table2", ["--config.strategies.cyclic.base=-0.1"], ["learning_rate.base", "-0.1"]),
    (
        "table2",
        ["--config.strategies.cyclic.base=0.5"],
        ["learning_rate.base", "0.5", "above the max"],
    ),
    (
        "table2",
        ["--config.strategies.cyclic.mode=square"],
        ["learning_rate.mode", "'square'", "triangular"],
    ),
    ("table2", ["--config.strategies.plateau.factor=1.5"], ["factor", "1.5"]),
    (
        "table2",
        ["--config.strategies.plateau.name=plateux"],
        ["learning_rate.name", "'plateux'", "plateau"],
    ),
    ("table2", ["--config.tune.learning_rate=(0.1, 0.01)"], ["0.1 to 0.01", "low < high"]),
    ("table2", ["--config.tune.trials=0"], ["trials", "1 or more"]),
    ("table2", ["--config.tune.learning_rate=(0.1,)"], ["tune.learning_rate", "two numbers"]),
    (
        "",
        ["--config.paper_network.series=filled"],
        ["paper_network.series", "'filled'", "imputed, raw"],
    ),
    (
        "",
        ["--config.compare_regimes=('thawed',)"],
        ["compare_regimes", "'thawed'", "frozen, unfrozen"],
    ),
    (
        "",
        ["--config.pretrain.weights.brits.history=-1.0"],
        ["pretrain.weights.brits.history", "0 or more"],
    ),
    ("", ["--config.predict.draws=1"], ["predict.draws is 1", "no s.d.", "2 or more"]),
    ("external", ["--config.repeats=2"], ["repeats is 2", "external"]),
    ("", ["--config.data.split=half"], ["data.split", "'half'", "folds, file"]),
]


def assert_one_sentence(outcome, *named):
    assert outcome.status == 2, outcome
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    for words in named:
        assert words in outcome.err


def ehr(folder, experiment, *words):
    choice = f"{experiment},smoke" if experiment else "smoke"
    return command(f"{CONFIG}:{choice}", f"--workdir={folder / 'run'}", *words)


@pytest.mark.parametrize(
    ("experiment", "words", "named"),
    MISTAKES,
    ids=[" ".join((e, *w)).strip() for e, w, _ in MISTAKES],
)
def test_a_mistake_is_answered_in_one_line(tmp_path, experiment, words, named):
    assert_one_sentence(ehr(tmp_path, experiment, *words), *named)
    assert not (
        tmp_path / "run" / "config.json"
    ).exists()  # the right command may use the directory


@pytest.mark.parametrize("choice", ["mortalty", "smoke,table4"])
def test_a_choice_that_the_config_does_not_have(choice):
    assert_one_sentence(
        command(f"{CONFIG}:{choice}"),
        f"{choice.split(',')[-1]!r}, which is not an experiment of ehr",
        "choose one of mortality, table2,",
        "smoke",
    )


def stays(file, **arrays):
    """An .npz of 24 stays of 8 steps and 4 variables."""
    X = np.random.default_rng(0).normal(size=(24, 8, 4))
    np.savez(file, **{"X": X, **arrays})
    return f"--config.data.path={file}"


@pytest.mark.parametrize("experiment", ["", "table2", "forgetting"])
def test_an_outcome_that_is_not_there(tmp_path, experiment):
    path = stays(tmp_path / "stays.npz")
    assert_one_sentence(ehr(tmp_path, experiment, path), "hold none", "data.outcomes", "imputation")


@pytest.mark.parametrize("name", ["stays.npz", "external.npz"])
def test_external_patients_that_are_not_named(tmp_path, name):
    path = stays(tmp_path / name, y=np.arange(24) % 2)
    assert_one_sentence(ehr(tmp_path, "external", path), "data.external.path")


def test_external_patients_that_do_not_fit(tmp_path):
    path = stays(tmp_path / "inner.npz", y=np.arange(24) % 2)
    for arrays, named in (
        ({"features": np.array(["a", "b", "c", "d"])}, "shares no variable"),
        ({"X": np.zeros((5, 7, 4)), "y": np.arange(5) % 2}, "8 steps"),
        ({}, "outcomes"),
    ):
        stays(tmp_path / "outer.npz", **{"y": np.arange(24) % 2, **arrays} if arrays else {})
        outside = f"--config.data.external.path={tmp_path / 'outer.npz'}"
        assert_one_sentence(ehr(tmp_path, "external", path, outside), named, "data.external.path")


def test_too_few_of_a_class_for_the_svm_are_named_before_anything_is_trained(tmp_path):
    path = stays(tmp_path / "stays.npz", y=np.arange(24) % 8 == 0)
    assert_one_sentence(
        ehr(tmp_path, "table2", path), "one class has 1 training rows", "the SVM", "needs 3"
    )


def test_outcomes_of_one_class(tmp_path):
    path = stays(tmp_path / "stays.npz", y=np.zeros(24))
    assert_one_sentence(
        ehr(tmp_path, "", path), "label is 0 of all 24 patients; name another label"
    )
