"""The calibration stage: the temperatures that scipy finds on the validation patients, and nothing else moves."""

import jax
import numpy as np
import pytest
from command import ROOT, config_of
from fitted_arms import fitted
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from omics_jax.systems.multiomics import assembly, experiments
from omics_jax.systems.multiomics.patients import SLOT
from omics_jax.systems.multiomics.tasks import known, outcome

WORDS = [
    f"--config={ROOT}/configs/multiomics.py:smoke",
    "--config.missing=complete",
    "--config.simulator.patients=240",
    "--config.training.epochs.all=12",
    "--config.training.optimizer.learning_rate=0.01",
]
STAGES = "--config.training.stages=('embedding','heads','all','calibration')"


def trained(folder, *words):
    """The arm, its variables by stage, and what is predicted of each replicate's validation patients."""
    config = config_of(*WORDS, *words)
    (arm,) = experiments.multitask(config, assembly.read(config))
    return arm, *fitted(arm, folder, part=lambda r: r.validation[SLOT])


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("without"))


@pytest.fixture(scope="module")
def with_it(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("with"), STAGES)


def tempered(log_p, temperature):
    return log_softmax(log_p / temperature, axis=1)


def assert_best(log_temperature, loss) -> None:
    """No other temperature has a loss that is noticeably less, and 1 has a higher one."""
    best = minimize_scalar(lambda log: loss(np.exp(log)), bounds=(-4, 4), method="bounded").fun
    assert loss(np.exp(log_temperature)) <= best + 2e-4 < loss(1.0)


def test_only_the_temperatures_move(with_it):
    before, after = with_it[1]["all"], with_it[1]["calibration"]
    assert after["params"]["calibration"].keys() == {"type", "OS"}
    assert not any(log.any() for log in before["params"]["calibration"].values())
    others = lambda v: {**v, "params": {name: tree for name, tree in v["params"].items() if name != "calibration"}}
    for ours, theirs in zip(jax.tree.leaves(others(after)), jax.tree.leaves(others(before)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("i", range(3))
def test_probabilities_of_classes(without, with_it, i):
    arm, raw, found = without[0], without[2][i], with_it[2][i]
    task = next(t for t in assembly.tasks_of(arm.dataset) if t.kind == "classification")
    rows, log_p = arm.replicates[i].validation[SLOT], np.log(raw["type_probability"].astype(np.float64))
    there = known(arm.dataset, task)[rows]
    right = outcome(arm.dataset, task)[rows][there].astype(int)
    log = float(with_it[1]["calibration"]["params"]["calibration"]["type"][i])
    assert_best(log, lambda t: -tempered(log_p[there], t)[np.arange(len(right)), right].mean())
    np.testing.assert_allclose(found["type_probability"], np.exp(tempered(log_p, np.exp(log))), atol=1e-5)


@pytest.mark.parametrize("i", range(3))
def test_survival_curves(without, with_it, i):
    """Tempered is the distribution over the bins: p_j to the power of 1 / T, over its sum. Numbers stay as they are."""
    arm, raw, found = without[0], without[2][i], with_it[2][i]
    task = next(t for t in assembly.tasks_of(arm.dataset) if t.kind == "survival")
    rows, log_p = arm.replicates[i].validation[SLOT], np.log(-np.diff(raw["OS_survival"].astype(float), append=0))
    there = known(arm.dataset, task)[rows]
    times, dead = (part[rows][there] for part in outcome(arm.dataset, task))
    bins = np.searchsorted(raw["OS_times"][0], times, side="right") - 1

    def loss(temperature):
        p = tempered(log_p[there], temperature)
        possible = [line[b : b + 1] if e else line[b:] for line, b, e in zip(p, bins, dead, strict=True)]
        return -np.mean([logsumexp(part) for part in possible])

    log = float(with_it[1]["calibration"]["params"]["calibration"]["OS"][i])
    assert_best(log, loss)
    p = np.exp(tempered(log_p, np.exp(log)))
    np.testing.assert_allclose(found["OS_survival"], np.cumsum(p[:, ::-1], axis=1)[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(found["age_value"], raw["age_value"], rtol=1e-6)
