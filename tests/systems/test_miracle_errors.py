"""What MIRACLE refuses, and the sentence it says; through the command line with exit status 2."""

from dataclasses import replace

import numpy as np
import pytest
from command import ROOT, command, config_of
from miracle_people import MODULE, SMOKE, smoke_data

from omics_jax.errors import UserError


def arms_on(dataset, *words):
    config = config_of(SMOKE, *words)
    return MODULE.EXPERIMENTS[config.experiment].arms(config, dataset)


def refusal(dataset, *words):
    with pytest.raises(UserError) as caught:
        arms_on(dataset, *words)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--config.model.mask=dense",), "config.model.mask is 'dense'; choose one of both"),
        (("--config.model.softness=2.0",), "config.model.softness is 2.0"),
        (("--config.model.hidden=1.0",), "config.model.hidden is 1.0"),
        (("--config.model.reconstruction=mae",), "config.model.reconstruction is 'mae'"),
        (("--config.model.heads=deep",), "config.model.heads is 'deep'; choose one of geometric"),
        (("--config.selection.method=anova",), "config.selection.method is 'anova'; choose one of"),
        (("--config.selection.sites=0",), "config.selection.sites is 0"),
        (("--config.balancing.name=mgda",), "config.balancing.name is 'mgda'; choose one of fixed"),
        (("--config.balancing.smoothing=1.0",), "config.balancing.smoothing is 1.0"),
        (("--config.training.stages=('pretraining',)",), "give one or more of autoencoder, heads"),
        (("--config.training.stages=('autoencoder',)",), "which trains no head"),
        (("--config.weights=lupus=2",), "config.weights names 'lupus', which is no outcome"),
        (("--config.adjust.remove=('smoking',)",), "'smoking', which the table of people lacks"),
        (("--config.adjust.inputs=('smoking',)",), "'smoking', which the table of people lacks"),
        (("--config.folds=40",), "fewer than the 40 folds"),
        (
            ("--config.experiment=sites", "--config.selection.method=none"),
            "selection.method is none; set --config.selection.method to t, moderated_t or variance",
        ),
        (
            (
                *("--config.experiment=sites", "--config.selection.method=t"),
                "--config.compare.sites=('5','many')",
            ),
            "config.compare.sites has 'many'; give whole numbers such as 50,200,1000",
        ),
        (
            ("--config.experiment=knowledge", "--config.compare.knowledge=('true',)"),
            "config.compare.knowledge is ('true',); give one or more of both",
        ),
        (
            ("--config.experiment=weights", "--config.compare.weights=('dro',)"),
            "config.compare.weights is ('dro',); give one or more of fixed",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_setting_that_cannot_be_is_answered_in_a_sentence(words, sentence):
    assert sentence in refusal(smoke_data()[1], *words)


def with_targets(**targets):
    dataset = smoke_data()[1]
    classes = {name: ("control", "case") for name in targets}
    return replace(dataset, targets=targets, classes=classes)


def test_nothing_to_predict_is_refused():
    message = refusal(with_targets())
    assert "hold nothing to predict; name diseases with --config.data.diseases" in message


def test_a_disease_with_one_class_is_refused():
    codes, known = smoke_data()[1].targets["IBD"]
    message = refusal(with_targets(IBD=(np.zeros_like(codes), known)))
    assert message.startswith("IBD has one class, control, in all 36 patients")


def test_a_disease_with_fewer_cases_than_folds_is_refused():
    codes, known = smoke_data()[1].targets["IBD"]
    rare = np.where(np.cumsum(codes) <= 2, codes, 0)
    message = refusal(with_targets(IBD=(rare, known)))
    assert "IBD" in message and "fewer than the 3 folds" in message


@pytest.mark.parametrize("name", ["activity", "c", "latent"])
def test_an_outcome_by_a_name_of_the_runs_own_is_refused(name):
    message = refusal(with_targets(**{name: smoke_data()[1].targets["IBD"]}))
    assert f"{name!r} is the name of an outcome" in message and message.endswith("the outcome")


def test_weights_of_one_disease_cannot_be_compared():
    one = with_targets(IBD=smoke_data()[1].targets["IBD"])
    message = refusal(one, "--config.experiment=weights")
    assert "compares weights between outcomes, and the data hold one" in message


# --- through the command --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The simulated people as files: two studies, their table, and the knowledge."""
    return written(tmp_path_factory.mktemp("files"))


def written(folder):
    from miracle_files import write_people

    return write_people(folder, *smoke_data())


def answer(files, *words, without=()):
    given = {key: value for key, value in files.items() if key not in without}
    return command(SMOKE, *(f"--config.{key}={value}" for key, value in given.items()), *words)


@pytest.mark.parametrize(
    ("without", "words", "sentence"),
    [
        (
            ("knowledge.site_genes", "knowledge.gene_sets"),
            (),
            "no file says which gene a site belongs to",
        ),
        (("data.diseases",), (), "hold nothing to predict; name diseases"),
        ((), ("--config.data.diseases=IBD=gout",), "gout"),
        ((), ("--config.adjust.remove=('smoking',)",), "'smoking', which the table of people"),
        ((), ("--config.data.clinical=none.csv",), "none.csv"),
        ((), ("--config.experiment=everything",), "everything"),
    ],
)
def test_bad_input_ends_with_status_2_and_one_sentence(files, tmp_path, without, words, sentence):
    outcome = answer(files, f"--workdir={tmp_path}/run", *words, without=without)
    assert outcome.status == 2
    assert sentence in outcome.err and "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_knowledge_of_other_sites_is_refused(files, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("site,gene\ncg99999999,G1\ncg99999998,G2\n")
    outcome = answer(files, f"--workdir={tmp_path}/run", f"--config.knowledge.site_genes={other}")
    assert outcome.status == 2 and "cg9999999" in outcome.err


def test_the_config_says_how_it_is_run():
    assert (ROOT / "configs" / "miracle.py").read_text().count("python experiments/main.py") >= 5
