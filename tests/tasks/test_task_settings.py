"""What a config may say of tasks, and the sentences that refuse the rest."""

import pytest
from outcome_rows import AGE, OS, TYPE
from tiny_network import tiny_config

from omics_jax.errors import UserError
from omics_jax.tasks.settings import check_named_tasks, check_task_settings, weights_of


def test_weights_are_those_that_the_config_names():
    assert weights_of(tiny_config()) == {}
    assert weights_of(tiny_config(weights="age=2, OS=0.5,type=0")) == {
        "age": 2,
        "OS": 0.5,
        "type": 0,
    }


@pytest.mark.parametrize("weight", ["much", "-1", "inf", "nan"])
def test_a_weight_is_a_number_of_0_or_more(weight):
    sentence = f"config.weights gives age the weight '{weight}'; give a number of 0 or more"
    with pytest.raises(UserError, match=sentence):
        weights_of(tiny_config(weights=f"age={weight}"))


@pytest.mark.parametrize(
    ("setting", "known", "unknown"),
    [
        ("weights", {"weights": "age=2"}, {"weights": "stage=2"}),
        (
            "training.stopping",
            {"training": {"stopping": "age"}},
            {"training": {"stopping": "stage"}},
        ),
    ],
)
def test_no_outcome_of_the_data_is_named_beside_the_outcomes(setting, known, unknown):
    check_named_tasks(tiny_config(**known), (TYPE, AGE, OS))
    sentence = (
        f"config.{setting} names 'stage', which is no outcome of the data; they have type, age, OS"
    )
    with pytest.raises(UserError, match=sentence):
        check_named_tasks(tiny_config(**unknown), (TYPE, AGE, OS))
    with pytest.raises(UserError, match="they have none"):
        check_named_tasks(tiny_config(weights="stage=2"), ())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": {"regression_loss": "huber"}}, "config.model.regression_loss is 'huber'"),
        ({"balancing": {"name": "random"}}, "config.balancing.name is 'random'; choose one of"),
        ({"balancing": {"order": "given"}}, "config.balancing.order is 'given'; choose one of"),
        ({"survival": {"grid": "log"}}, "config.survival.grid is 'log'; choose one of quantile"),
        ({"survival": {"convention": "left"}}, "config.survival.convention is 'left'"),
        ({"survival": {"hazard": "odd"}}, "config.survival.hazard is 'odd'; choose one of proper"),
        ({"survival": {"bins": -1}}, "config.survival.bins is -1; give 0 or more"),
        ({"training": {"stages": ("calibration",)}}, "which trains no head; add the stage heads"),
        ({"training": {"batch_size": 1}}, "config.training.batch_size is 1; give 2 or more"),
        ({"training": {"patience": 0}}, "config.training.patience is 0; give 1 or more"),
        ({"heads": {"survival": {"widths": (0,), "dropout": 0.0}}}, "heads.survival.widths is"),
        (
            {"heads": {"regression": {"widths": (3,), "dropout": 1.0}}},
            "heads.regression.dropout is",
        ),
        ({"weights": "age"}, "has 'age'; write name=value"),
    ],
)
def test_a_setting_that_cannot_be_is_answered_in_a_sentence(changes, sentence):
    check_task_settings(tiny_config())
    with pytest.raises(UserError) as refused:
        check_task_settings(tiny_config(**changes))
    assert sentence in str(refused.value)
