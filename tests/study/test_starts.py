"""What an arm takes over from arms that were trained before it."""

from dataclasses import replace

import pytest
from every_arm import FIRST, arms_of

from omics_jax.study.starts import start_of

TRAINED = {
    "a": {"params": {"encoder": "a-encoder", "bound_A": 0.9}, "batch_stats": {"encoder": "a-norm"}},
    "b": {"params": {"encoder": "b-encoder", "bound_B": 0.8}, "batch_stats": {"encoder": "b-norm"}},
}


def arm(*sources, takes=()):
    any_arm = arms_of("multiomics", FIRST["multiomics"])[0]
    return replace(any_arm, name="c", start_from=sources or None, takes=takes)


def test_an_arm_without_sources_starts_afresh():
    assert start_of(arm(), TRAINED) is None
    assert start_of(arm(takes=("bound_A",)), TRAINED) is None


def test_an_arm_takes_over_everything_unless_it_says_what():
    assert start_of(arm("a"), TRAINED) == TRAINED["a"]


def test_the_first_source_that_has_a_module_gives_it():
    ab, ba = start_of(arm("a", "b"), TRAINED), start_of(arm("b", "a"), TRAINED)
    assert ab["params"] == {"encoder": "a-encoder", "bound_A": 0.9, "bound_B": 0.8}
    assert ba["params"] == {"encoder": "b-encoder", "bound_A": 0.9, "bound_B": 0.8}
    assert (ab["batch_stats"], ba["batch_stats"]) == ({"encoder": "a-norm"}, {"encoder": "b-norm"})


def test_an_arm_takes_over_the_modules_it_names_alone():
    start = start_of(arm("a", "b", takes=("bound_A", "bound_B")), TRAINED)
    assert start == {"params": {"bound_A": 0.9, "bound_B": 0.8}, "batch_stats": {}}


def test_a_module_that_no_source_has_is_refused():
    with pytest.raises(ValueError, match="arm 'c' takes over 'bound_C', which none of a, b has"):
        start_of(arm("a", "b", takes=("bound_A", "bound_C")), TRAINED)
