"""Every setting of every system with values of wrong types and far outside its range.

Each value is answered in one sentence with status 2, or, where it is allowed, with a summary of
what would be trained; never with a traceback.
"""

import math
from fnmatch import fnmatchcase

import pytest
from command import ROOT, config_of
from ml_collections import ConfigDict

from omics_jax.errors import UserError
from omics_jax.run.command import run, system_module
from omics_jax.settings.checks import (
    check_values,
    choice,
    choices,
    flag,
    leaves,
    names,
    number,
    positive,
    rate,
    text,
    whole,
    widths,
)
from omics_jax.settings.sections import SHARED_RULES

SYSTEMS = sorted(p.stem for p in (ROOT / "configs").glob("*.py"))
# By the type of the value that a config has: what a user, or a program, may put in its place.
HUGE = 10**12
WRONG = {
    bool: (2, "yes", None, (True,)),
    int: (-1, 0, 100, 1_000_000, HUGE, 2.5, "many", None, (1,)),
    float: (-1.0, 0.0, 99.0, 1e6, 1e300, math.nan, math.inf, -math.inf, "much", None, (0.5,)),
    str: (7, 2.5, None, (1,), ("a",), "\0", "x" * 200, "../..", "a=b=c", ",", "="),
    tuple: (
        *((), (1,), (-1,), (0,), (math.nan,), (math.inf,), (HUGE,), ("a",), ("",), (None,)),
        *(((1, 2),), "abc", 5, None, ("a",) * 3, (0.5, "a")),
    ),
}
# Read and built in place of the last allowed value, which is only more of the same for seconds.
BUILT = {"repeats": 3}


def settings(system: str):
    """The config of a system at smoke size."""
    config = config_of(f"--config={ROOT}/configs/{system}.py:smoke")
    config.run.memory_gb = 0.1  # what is allowed but large is told, and the test stays quick
    return config


CASES = [
    pytest.param(system, key, id=f"{system}-{key}")
    for system in SYSTEMS
    for key, _ in leaves(settings(system))
]


def with_value(config, key: str, value):
    """A copy of the config with a value of any type under the key."""
    changed = config.copy_and_resolve_references()
    *sections, name = key.split(".")
    section = changed
    for part in sections:
        section = section[part]
    with section.ignore_type():
        section[name] = value
    return changed


def refusal(system: str, config) -> str:
    """The sentence by which the rules alone refuse the config; "" where they allow it."""
    try:
        check_values(config, system_module(system).SETTINGS)
    except UserError as error:
        return str(error)
    return ""


def answer(config, folder) -> str:
    """The sentence that refuses the config, or "" where `inspect` accepts it."""
    try:
        run(config, "inspect", str(folder))
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("system", "key"), CASES)
def test_a_wrong_value_is_answered_in_a_sentence(tmp_path, capsys, system, key):
    config = settings(system)
    value = next(value for name, value in leaves(config) if name == key)
    by_rule = [refusal(system, with_value(config, key, wrong)) for wrong in WRONG[type(value)]]
    allowed = [i for i, sentence in enumerate(by_rule) if not sentence]
    # What the rules allow is read and built, which takes longer: the last value, as a rule the most
    # extreme.
    inspected = set(allowed[-1:])
    for i, wrong in enumerate(WRONG[type(value)]):
        sentence = by_rule[i]
        if i in inspected:
            built = BUILT.get(key, wrong)
            sentence = answer(with_value(config, key, built), tmp_path / "run")
            assert sentence or "would train" in capsys.readouterr().out, wrong
        assert "\n" not in sentence and len(sentence) < 600, (wrong, sentence)
        is_type = isinstance(wrong, type(value)) and not isinstance(wrong, bool)
        if not is_type and not (isinstance(value, float) and isinstance(wrong, int)):
            assert sentence, f"{key}={wrong!r} is accepted"


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_section_without_its_settings_is_answered_in_a_sentence(tmp_path, system):
    for section in ("data", "run", "model", "simulator"):
        config = settings(system)
        config[section] = ConfigDict()
        sentence = answer(config, tmp_path / "run")
        assert f"config.{section}." in sentence and "is missing; give it the value" in sentence


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_size_of_a_config_keeps_its_rules(system):
    for size in ("", "smoke", "paper"):
        config = config_of(f"--config={ROOT}/configs/{system}.py:{size}")
        check_values(config, system_module(system).SETTINGS)


def test_every_rule_of_a_system_is_about_a_setting_that_it_has():
    for system in SYSTEMS:
        keys = [key for key, _ in leaves(settings(system))]
        for pattern in system_module(system).SETTINGS:
            shared = pattern in SHARED_RULES
            assert shared or any(fnmatchcase(key, pattern) for key in keys), pattern


@pytest.mark.parametrize(
    ("rule", "good", "bad", "complaint"),
    [
        (whole(1, 9), (1, 9), (0, True, 1.0, "1", None), "give 1 or more"),
        (whole(1, 9), (), (10,), "give 9 or less"),
        (number(0), (0, 1.5), (-1, math.nan, math.inf, "1", True), "give 0 or more"),
        (positive(), (0.1, 3), (0, -1, math.nan, None), "give a positive number"),
        (rate(), (0, 0.99), (1, -0.1, math.nan, "0"), "give a rate of 0 or more and below 1"),
        (text(), ("", "a"), (1, None, ("a",)), "give a text"),
        (flag(), (True, False), (1, "True", None), "give True or False"),
        (choice("a", ""), ("a", ""), ("b", 1, None), "choose one of a, ''"),
        (choices("a", "b"), (("a",), ["b", "a"]), ((), "a", ("c",), 1), "give one or more of a, b"),
        (names(), ((), ("a",)), ("a", 1, None), "give names, as ('a', 'b')"),
        (names(), (), ((1,),), "give a text for each, as ('a', 'b')"),
        (widths(1), ((3,),), ((),), "give one or more widths, as (64, 32)"),
    ],
)
def test_rules(rule, good, bad, complaint):
    assert [rule(value) for value in good] == [""] * len(good)
    assert all(rule(value) for value in bad)
    assert rule(bad[0]) == complaint


def test_a_rule_of_its_own_comes_before_a_pattern_and_a_type_last():
    config = {"a": {"b": 3, "c": 3.5}, "free": math.nan}
    check_values(config | {"free": 1}, {"*.b": whole(9), "a.b": whole(1)})
    for rules, sentence in (
        ({"*.b": whole(9)}, "config.a.b is 3; give 9 or more"),
        ({"a.*": whole(1)}, "config.a.c is 3.5; give a whole number of 1 or more"),
        ({}, "config.free is nan; give a finite number"),
    ):
        with pytest.raises(UserError, match=sentence):
            check_values(config, rules)
