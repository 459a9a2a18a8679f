"""The calibration stage: the temperatures that scipy finds on the validation rows, and nothing else
moves.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fitted_arms import fitted
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from tiny_network import KINDS, SLOT, Tiny

from omics_jax.run.scores import rows_of
from omics_jax.tasks.task import known_rows, outcome
from omics_jax.training.calibration import CALIBRATION

# So long and so wide that every fold is surer than it should be.
EPOCHS = {"all": 60, "calibration": 200}
HEADS = {kind: {"widths": (12,), "dropout": 0.0} for kind in KINDS}


def trained(folder, stages):
    """The network, its variables by stage, and what it predicts of each replicate's validation
    rows.
    """
    tiny = Tiny(training={"stages": stages, "epochs": EPOCHS}, heads=HEADS)
    return tiny, *fitted(tiny, folder, part=lambda r: r.validation[SLOT])


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("without"), ("all",))


@pytest.fixture(scope="module")
def with_it(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("with"), ("all", "calibration"))


def tempered(log_p, temperature):
    return log_softmax(log_p / temperature, axis=1)


def assert_best(tiny, known, log_temperature, loss, least=0.05) -> None:
    """No other temperature has noticeably less loss and prior, and 1 has more.

    known: (n,) the rows whose outcome is known. least: its logarithm is as far from 0 or farther.
    """
    most = max(len(r.validation[SLOT]) for r in tiny.replicates)
    share = len(known) / most

    def with_prior(log):
        return loss(np.exp(log)) + 2 * share * log**2 / known.sum()

    best = minimize_scalar(with_prior, bounds=(-4, 4), method="bounded")
    assert abs(best.x) > least and abs(log_temperature - best.x) < 1e-2


def but_for_temperatures(variables):
    params = {name: tree for name, tree in variables["params"].items() if name != "calibration"}
    return {**variables, "params": params}


def test_only_the_temperatures_move(with_it):
    before, after = with_it[1]["all"], with_it[1]["calibration"]
    assert after["params"]["calibration"].keys() == {"type", "age", "OS"}
    assert not any(log.any() for log in before["params"]["calibration"].values())
    jax.tree.map(
        np.testing.assert_array_equal, but_for_temperatures(after), but_for_temperatures(before)
    )


@pytest.mark.parametrize("n", [4, 40])
def test_rows_that_are_all_right_do_not_ask_for_certainty(with_it, n):
    """Their loss alone would have its least at a temperature of 0."""
    tiny, loss = with_it[0], with_it[0].stages["calibration"].loss
    kind = np.arange(n) % 2
    rows = {
        "y_type": kind.astype(np.float32),
        "k_type": np.ones(n, bool),
        "live": np.ones(n, bool),
        "row": np.arange(n),
        "y_OS": np.ones(n),
        "e_OS": np.ones(n),
        "k_OS": np.zeros(n, bool),
        "y_age": np.ones(n, np.float32),
        "k_age": np.zeros(n, bool),
        "output_age": np.zeros((n, 1), np.float32),
        "output_type": 2 * np.eye(2, dtype=np.float32)[kind],
        "output_OS": np.zeros((n, 4), np.float32),
    }
    rows = jax.tree.map(jnp.asarray, rows)
    size = max(len(r.validation[SLOT]) for r in tiny.replicates)

    @jax.jit
    def objective(log):
        params = {"calibration": {"type": log, "age": jnp.float32(0), "OS": jnp.float32(0)}}
        variables = {"params": params, "batch_stats": {}, "constants": tiny.constants}
        terms, _ = loss(variables, {CALIBRATION: rows}, jax.random.key(0))
        return terms["type"].mean + terms["prior_type"].mean * size / n

    logs = np.linspace(-4, 1, 51)
    objectives = [objective(jnp.float32(log)) for log in logs]
    assert -1.5 < logs[np.argmin(objectives)] < 0


def test_rows_of_the_calibration_count_as_validation(with_it):
    for r in with_it[0].replicates:
        assert np.array_equal(r.rows[CALIBRATION], r.validation[SLOT])
        assert np.array_equal(rows_of(r, "train"), np.sort(r.rows[SLOT]))
        assert np.array_equal(rows_of(r, "validation"), np.sort(r.validation[SLOT]))


def task_named(tiny, name):
    return next(task for task in tiny.tasks if task.name == name)


@pytest.mark.parametrize("i", range(3))
def test_probabilities_of_classes(without, with_it, i):
    (tiny, _, raw), (_, _, calibrated) = without, with_it
    raw, calibrated = raw[i], calibrated[i]
    task = task_named(tiny, "type")
    rows = tiny.replicates[i].validation[SLOT]
    log_p = np.log(raw["type_probability"].astype(np.float64))
    known = known_rows(tiny.dataset, task)[rows]
    right = outcome(tiny.dataset, task)[rows][known].astype(int)
    log = float(with_it[1]["calibration"]["params"]["calibration"]["type"][i])

    def loss(temperature):
        log_tempered = tempered(log_p[known], temperature)
        return -log_tempered[np.arange(len(right)), right].mean()

    assert_best(tiny, known, log, loss)
    expected = np.exp(tempered(log_p, np.exp(log)))
    np.testing.assert_allclose(calibrated["type_probability"], expected, atol=1e-5)


@pytest.mark.parametrize("i", range(3))
def test_survival_curves(without, with_it, i):
    """Tempered is the distribution over the bins: p_j to the power of 1 / T, over its sum."""
    (tiny, _, raw), (_, _, calibrated) = without, with_it
    raw, calibrated = raw[i], calibrated[i]
    task = task_named(tiny, "OS")
    rows = tiny.replicates[i].validation[SLOT]
    log_p = np.log(-np.diff(raw["OS_survival"].astype(float), append=0))
    known = known_rows(tiny.dataset, task)[rows]
    times, dead = (part[rows][known] for part in outcome(tiny.dataset, task))
    bins = np.searchsorted(raw["OS_times"][0], times, side="right") - 1

    def loss(temperature):
        p = tempered(log_p[known], temperature)
        likelihoods = [
            line[first] if is_event else logsumexp(line[first:])
            for line, first, is_event in zip(p, bins, dead, strict=True)
        ]
        return -np.mean(likelihoods)

    log = float(with_it[1]["calibration"]["params"]["calibration"]["OS"][i])
    assert_best(tiny, known, log, loss)
    p = np.exp(tempered(log_p, np.exp(log)))
    expected = np.cumsum(p[:, ::-1], axis=1)[:, ::-1]
    np.testing.assert_allclose(calibrated["OS_survival"], expected, atol=1e-5)


@pytest.mark.parametrize("i", range(3))
def test_numbers(without, with_it, i):
    """Their distance from the training mean is divided; the loss is the squared error."""
    (tiny, _, raw), (_, _, calibrated) = without, with_it
    task, replicate = task_named(tiny, "age"), tiny.replicates[i]
    rows = replicate.validation[SLOT]
    mean, sd = (float(replicate.constants[f"age_{name}"]) for name in ("mean", "sd"))
    z = (raw[i]["age_value"].astype(float) - mean) / sd
    known = known_rows(tiny.dataset, task)[rows]
    y = (outcome(tiny.dataset, task)[rows] - mean) / sd

    def loss(temperature):
        return ((z / temperature - y)[known] ** 2).mean()

    log = float(with_it[1]["calibration"]["params"]["calibration"]["age"][i])
    assert_best(tiny, known, log, loss, least=0.02)
    expected = mean + sd * z / np.exp(log)
    np.testing.assert_allclose(calibrated[i]["age_value"], expected, rtol=1e-5)
