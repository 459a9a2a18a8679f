"""Every setting of every system with values of wrong types and far outside its range.

Each value is answered in one sentence with status 2, or, where it is allowed, with a summary of
what would be trained; never with a traceback.
"""

import math

import pytest
from command import ROOT, config_of

from omics_jax.errors import UserError
from omics_jax.run.command import run
from omics_jax.settings.checks import leaves

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
    for wrong in WRONG[type(value)]:
        sentence = answer(with_value(config, key, wrong), tmp_path / "run")
        printed = capsys.readouterr().out
        if sentence:
            assert "\n" not in sentence and len(sentence) < 600, (wrong, sentence)
        else:
            assert "would train" in printed, wrong
        is_type = isinstance(wrong, type(value)) and not isinstance(wrong, bool)
        if not is_type and not (isinstance(value, float) and isinstance(wrong, int)):
            assert sentence, f"{key}={wrong!r} is accepted"
