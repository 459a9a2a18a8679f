"""The calibration stage: the temperatures that scipy finds on the validation patients, and nothing
else moves.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import ROOT, config_of
from fitted_arms import fitted
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from omics_jax.errors import UserError
from omics_jax.run.scores import rows_of
from omics_jax.systems.multiomics import experiments, reading
from omics_jax.systems.multiomics.patients import SLOT
from omics_jax.tasks.task import known_rows, outcome, tasks_of
from omics_jax.training.calibration import CALIBRATION

WORDS = [
    f"--config={ROOT}/configs/multiomics.py:smoke",
    "--config.missing=complete",
    "--config.simulator.patients=240",
    "--config.training.epochs.all=12",
    "--config.training.optimizer.learning_rate=0.01",
]
STAGES = "--config.training.stages=('embedding','heads','all','calibration')"


def trained(folder, *words):
    """The arm, its variables by stage, and what is predicted of each replicate's validation
    patients.
    """
    config = config_of(*WORDS, *words)
    (arm,) = experiments.multitask(config, reading.read(config))
    return arm, *fitted(arm, folder, part=lambda r: r.validation[SLOT])


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("without"))


@pytest.fixture(scope="module")
def with_it(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("with"), STAGES)


def tempered(log_p, temperature):
    return log_softmax(log_p / temperature, axis=1)


def assert_best(arm, there, log_temperature, loss) -> None:
    """No other temperature has noticeably less loss and prior, and 1 has more. there: (n,) who has
    the outcome.
    """
    share = len(there) / max(len(r.validation[SLOT]) for r in arm.replicates)
    whole = lambda log: loss(np.exp(log)) + 2 * share * log**2 / there.sum()
    best = minimize_scalar(whole, bounds=(-4, 4), method="bounded")
    assert abs(best.x) > 0.05 and abs(log_temperature - best.x) < 1e-2


def test_only_the_temperatures_move(with_it):
    before, after = with_it[1]["all"], with_it[1]["calibration"]
    assert after["params"]["calibration"].keys() == {"type", "OS"}
    assert not any(log.any() for log in before["params"]["calibration"].values())
    others = lambda v: {
        **v,
        "params": {name: tree for name, tree in v["params"].items() if name != "calibration"},
    }
    for ours, theirs in zip(
        jax.tree.leaves(others(after)), jax.tree.leaves(others(before)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("n", [4, 40])
def test_patients_who_are_all_right_do_not_ask_for_certainty(with_it, n):
    """Their loss alone would have its least at a temperature of 0."""
    arm, loss = with_it[0], with_it[0].system.stages[-1].loss
    kind = np.arange(n) % 2
    rows = {
        "y_type": kind,
        "k_type": np.ones(n, bool),
        "live": np.ones(n, bool),
        "row": np.arange(n),
    }
    rows |= {"y_OS": np.ones(n), "e_OS": np.ones(n), "k_OS": np.zeros(n, bool)}
    rows |= {
        "output_type": 2 * np.eye(2, dtype=np.float32)[kind],
        "output_OS": np.zeros((n, 5), np.float32),
    }
    rows = jax.tree.map(jnp.asarray, rows)
    size = max(len(r.validation[SLOT]) for r in arm.replicates)

    def objective(log):
        params = {"calibration": {"type": jnp.float32(log), "OS": jnp.float32(0)}}
        variables = {"params": params, "batch_stats": {}, "constants": arm.replicates[0].constants}
        terms, _ = loss(variables, {CALIBRATION: rows}, jax.random.key(0))
        return float(terms["type"].mean + terms["prior_type"].mean * size / n)

    logs = np.linspace(-4, 1, 51)
    assert -1.5 < logs[np.argmin([objective(log) for log in logs])] < 0


def test_patients_of_the_calibration_count_as_validation(with_it):
    for r in with_it[0].replicates:
        assert np.array_equal(r.rows[CALIBRATION], r.validation[SLOT])
        assert np.array_equal(rows_of(r, "train"), np.sort(r.rows[SLOT]))
        assert np.array_equal(rows_of(r, "validation"), np.sort(r.validation[SLOT]))


def test_some_stage_trains_the_heads():
    config = config_of(*WORDS, "--config.training.stages=('embedding','calibration')")
    with pytest.raises(UserError, match="which trains no head; name the stage heads or all"):
        experiments.multitask(config, reading.read(config))


def test_the_worth_of_a_stage_is_measured_on_calibrated_networks():
    config = config_of(*WORDS, STAGES, "--config.experiment=stages")
    found = {
        arm.name: [s.name for s in arm.system.stages]
        for arm in experiments.stages(config, reading.read(config))
    }
    assert found["all stages"] == ["embedding", "heads", "all", "calibration"]
    assert found["without embedding and heads"] == ["all", "calibration"]


@pytest.mark.parametrize("i", range(3))
def test_probabilities_of_classes(without, with_it, i):
    arm, raw, found = without[0], without[2][i], with_it[2][i]
    task = next(t for t in tasks_of(arm.dataset) if t.kind == "classification")
    rows, log_p = (
        arm.replicates[i].validation[SLOT],
        np.log(raw["type_probability"].astype(np.float64)),
    )
    there = known_rows(arm.dataset, task)[rows]
    right = outcome(arm.dataset, task)[rows][there].astype(int)
    log = float(with_it[1]["calibration"]["params"]["calibration"]["type"][i])
    assert_best(
        arm, there, log, lambda t: -tempered(log_p[there], t)[np.arange(len(right)), right].mean()
    )
    np.testing.assert_allclose(
        found["type_probability"], np.exp(tempered(log_p, np.exp(log))), atol=1e-5
    )


@pytest.mark.parametrize("i", range(3))
def test_survival_curves(without, with_it, i):
    """Tempered is the distribution over the bins: p_j to the power of 1 / T, over its sum. Numbers
    stay as they are.
    """
    arm, raw, found = without[0], without[2][i], with_it[2][i]
    task = next(t for t in tasks_of(arm.dataset) if t.kind == "survival")
    rows, log_p = (
        arm.replicates[i].validation[SLOT],
        np.log(-np.diff(raw["OS_survival"].astype(float), append=0)),
    )
    there = known_rows(arm.dataset, task)[rows]
    times, dead = (part[rows][there] for part in outcome(arm.dataset, task))
    bins = np.searchsorted(raw["OS_times"][0], times, side="right") - 1

    def loss(temperature):
        p = tempered(log_p[there], temperature)
        possible = [
            line[b : b + 1] if e else line[b:] for line, b, e in zip(p, bins, dead, strict=True)
        ]
        return -np.mean([logsumexp(part) for part in possible])

    log = float(with_it[1]["calibration"]["params"]["calibration"]["OS"][i])
    assert_best(arm, there, log, loss)
    p = np.exp(tempered(log_p, np.exp(log)))
    np.testing.assert_allclose(
        found["OS_survival"], np.cumsum(p[:, ::-1], axis=1)[:, ::-1], atol=1e-5
    )
    np.testing.assert_allclose(found["age_value"], raw["age_value"], rtol=1e-6)
