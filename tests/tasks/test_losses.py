"""The losses of several tasks against their formulas by hand, and what they may not read."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from batches import normal
from tiny_network import Tiny

from omics_jax.nn import mtlr
from omics_jax.tasks.losses import TaskLosses, losses_of


@pytest.fixture(scope="module")
def tiny():
    return Tiny()


@pytest.fixture(scope="module")
def outputs(tiny):
    size = len(tiny.rows["row"])
    return {task.name: normal(i, size, task.outputs) for i, task in enumerate(tiny.tasks)}


def poisoned(tiny):
    """The rows, whose unknown outcomes are nan."""
    rows = dict(tiny.rows)
    for task in tiny.tasks:
        known, values = rows[f"k_{task.name}"], rows[f"y_{task.name}"]
        rows[f"y_{task.name}"] = jnp.where(known, values, jnp.nan)
    return rows


def loss_by_hand(tiny, task, output, squared=False):
    """The mean loss over the rows whose outcome is known."""
    k = np.asarray(tiny.rows[f"k_{task.name}"])
    assert 0 < k.sum() < len(k)
    y = np.asarray(tiny.rows[f"y_{task.name}"], np.float64)[k]
    out = np.asarray(output, np.float64)[k]
    constants = tiny.constants
    if task.kind == "classification":
        powers = np.exp(out)
        p = powers / powers.sum(axis=1, keepdims=True)
        right = p[np.arange(len(y)), y.astype(int)]
        return -np.log(right).mean()
    if task.kind == "regression":
        mean, sd = (float(constants[f"{task.name}_{part}"]) for part in ("mean", "sd"))
        residual = out[:, 0] - (y - mean) / sd
        return (residual**2 if squared else np.abs(residual)).mean()
    bins = mtlr.bin_index(jnp.float32(y), constants[f"{task.name}_edges"])
    event = tiny.rows[f"e_{task.name}"][k]
    weight = jnp.ones(len(y))
    total, count = mtlr.mtlr_loss(output[k], bins, event, weight)
    return float(total / count)


@pytest.mark.slow
def test_equation_2_by_hand(tiny, outputs):
    losses = tiny.network.losses
    terms = losses.terms(tiny.constants, outputs, poisoned(tiny))
    by_hand = [loss_by_hand(tiny, task, outputs[task.name]) for task in tiny.tasks]
    expected = np.array(by_hand)
    np.testing.assert_allclose(losses.weighted(terms), expected / 3, rtol=1e-5)
    assert float(losses.total(terms)) == pytest.approx(expected.mean(), rel=1e-5)
    monitored = losses.monitored(terms)
    assert monitored["monitor"] == losses.total(terms)
    by_task = [monitored[f"validation_{task.name}"] for task in tiny.tasks]
    np.testing.assert_allclose(by_task, expected, rtol=1e-5)


def test_a_weight_multiplies_its_task_and_the_number_of_tasks_still_divides(tiny, outputs):
    plain = tiny.network.losses
    terms = plain.terms(tiny.constants, outputs, tiny.rows)
    weighted = losses_of(tiny.config, tiny.tasks, {"age": 3.0, "OS": 0.0})
    factors = [{"age": 3, "OS": 0}.get(task.name, 1) for task in tiny.tasks]
    np.testing.assert_allclose(
        weighted.weighted(terms), np.array(factors) * plain.weighted(terms), rtol=1e-6
    )


def test_squared_errors_where_the_config_asks_for_them(tiny, outputs):
    losses = replace(tiny.network.losses, regression_loss="mse")
    terms = losses.terms(tiny.constants, outputs, tiny.rows)
    (age,) = (task for task in tiny.tasks if task.name == "age")
    expected = loss_by_hand(tiny, age, outputs["age"], squared=True)
    assert float(terms["task_age"].mean) == pytest.approx(expected, rel=1e-5)


def test_padding_counts_nothing(tiny, outputs):
    """A batch with padding rows has the terms of its live rows alone."""
    losses: TaskLosses = tiny.network.losses
    live = np.arange(len(tiny.rows["row"])) < 20
    padded = {**poisoned(tiny), "live": jnp.asarray(live)}
    short = {name: values[:20] for name, values in tiny.rows.items()}
    first = {name: output[:20] for name, output in outputs.items()}
    padded_terms = losses.terms(tiny.constants, outputs, padded)
    expected_terms = losses.terms(tiny.constants, first, short)
    for name, expected in expected_terms.items():
        np.testing.assert_allclose(padded_terms[name].sum, expected.sum, rtol=1e-6)
        assert padded_terms[name].weight == expected.weight
