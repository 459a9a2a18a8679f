"""An encoder with a head per task: its parameters, heads, predictions and system."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import normal
from tiny_network import FEATURES, SLOT, WIDTH, Tiny, encode, tiny_config
from trees import leaves_differ

from omics_jax.nn.blocks import Block, RowInfo
from omics_jax.tasks.heads import Head, heads_of
from omics_jax.tasks.network import HEADS, head_outputs, no_loss, predict, uncalibrated_outputs
from omics_jax.tasks.prediction import FIELDS


@pytest.fixture(scope="module")
def tiny():
    return Tiny(training={"stages": ("all", "calibration")})


@pytest.fixture(scope="module")
def z(tiny):
    return normal(0, len(tiny.rows["row"]), WIDTH)


# --- parameters -----------------------------------------------------------------------------------


def test_the_encoder_the_heads_and_the_temperatures_have_parameters(tiny):
    params, stats = tiny.variables["params"], tiny.variables["batch_stats"]
    assert set(params) == {"encoder", HEADS, "calibration"} and set(stats) == {"encoder", HEADS}
    assert set(params[HEADS]) == {"type", "age", "OS"}
    assert params["calibration"] == {"type": 0, "age": 0, "OS": 0}
    assert params["encoder"]["Dense_0"]["kernel"].shape == (FEATURES, WIDTH)
    # The hidden layer of a survival head is a Dense too, so that its last one is the second.
    heads, bins = params[HEADS], tiny.config.survival.bins
    assert heads["type"]["Dense_0"]["kernel"].shape == (3, 2)
    assert heads["age"]["Dense_0"]["kernel"].shape == (3, 1)
    assert heads["OS"]["Dense_1"]["kernel"].shape == (3, bins)
    assert "calibration" not in Tiny().variables["params"]


def test_initial_parameters_do_not_depend_on_whether_outputs_are_calibrated(tiny):
    plain, calibrated = Tiny().variables["params"], tiny.variables["params"]
    for module in ("encoder", HEADS):
        jax.tree.map(np.testing.assert_array_equal, plain[module], calibrated[module])


# --- heads ----------------------------------------------------------------------------------------


def test_heads_follow_the_kind_of_their_task(tiny):
    config = tiny_config(heads={"survival": {"widths": (5, 2), "dropout": 0.3}})
    heads = heads_of(tiny.tasks, config.heads).heads
    assert heads["type"]["outputs"] == 2 and heads["age"]["outputs"] == 1
    assert heads["OS"] == {"kind": "survival", "widths": (5, 2), "outputs": 4, "dropout": 0.3}
    assert heads["type"]["widths"] == (3,)


def all_live(n):
    return RowInfo(jnp.ones(n, bool), jnp.arange(n))


def test_a_survival_head_is_linear_dropout_tanh(z):
    head = Head("survival", (3,), 2, dropout=0.5)
    rows = all_live(len(z))
    variables = head.init(jax.random.key(0), z, rows)
    assert set(variables) == {"params"}  # no batch norm
    hidden, last = (variables["params"][f"Dense_{i}"] for i in range(2))
    h = np.tanh(z @ hidden["kernel"] + hidden["bias"])
    expected = h @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(head.apply(variables, z, rows), expected, rtol=1e-4, atol=1e-6)
    dropped = head.apply(variables, z, rows, rngs={"dropout": jax.random.key(1)})
    assert not np.allclose(dropped, expected)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_other_heads_are_blocks_with_batch_norm(z, kind):
    head = Head(kind, (3,), 2, dropout=0.0)
    rows = all_live(len(z))
    variables = head.init(jax.random.key(0), z, rows)
    block = Block(3, 0.0)
    inner = {key: variables[key]["Block_0"] for key in ("params", "batch_stats")}
    h = block.apply(inner, z, rows)
    expected = nn.Dense(2).apply({"params": variables["params"]["Dense_0"]}, h)
    np.testing.assert_allclose(head.apply(variables, z, rows), expected, rtol=1e-5, atol=1e-6)


# --- outputs and predictions ----------------------------------------------------------------------


def test_a_temperature_divides_the_outputs_of_its_task_alone(tiny, z):
    logarithms = {"type": jnp.log(jnp.float32(2)), "OS": jnp.float32(0)}
    params = {**tiny.variables["params"], "calibration": logarithms}
    heated = {**tiny.variables, "params": params}
    raw, _ = uncalibrated_outputs(tiny.network, heated, z, tiny.rows)
    outputs, stats = head_outputs(tiny.network, heated, z, tiny.rows)
    assert stats == {}
    for name, factor in {"type": 2, "age": 1, "OS": 1}.items():
        np.testing.assert_allclose(outputs[name], raw[name] / factor, rtol=1e-6)


def test_training_moves_the_statistics_of_the_heads(tiny, z):
    key = jax.random.key(0)
    _, stats = head_outputs(tiny.network, tiny.variables, z, tiny.rows, key)
    assert set(stats) == {HEADS}
    moved = leaves_differ(tiny.variables["batch_stats"][HEADS], stats[HEADS])
    assert moved and all(moved)


def test_a_prediction_holds_the_embedding_and_every_field_of_every_task(tiny):
    predictions = predict(tiny.network, tiny.variables, tiny.rows)
    expected = {"embedding", "age_clipped"}
    for task in tiny.tasks:
        expected |= {f"{task.name}_{field}" for field in FIELDS[task.kind]}
    assert set(predictions) == expected
    z = encode(Block(WIDTH, 0.1), tiny.variables, tiny.rows, None).embedding
    np.testing.assert_array_equal(predictions["embedding"], z)


def test_a_rows_prediction_depends_on_that_row_alone(tiny):
    together = tiny.system.predict(tiny.variables, tiny.rows)
    fields = {name: values[5:6] for name, values in tiny.rows.items()}
    alone = tiny.system.predict(tiny.variables, fields)
    for name, values in alone.items():
        np.testing.assert_allclose(values[0], together[name][5], rtol=1e-5, atol=1e-6)


def test_an_encoder_without_a_loss_of_its_own_adds_none():
    assert no_loss({}) == 0


# --- the system -----------------------------------------------------------------------------------


def test_the_arrays_are_the_inputs_and_the_outcomes(tiny):
    table = tiny.system.arrays(tiny.dataset)
    outcomes = {"y_type", "k_type", "y_age", "k_age", "y_OS", "e_OS", "k_OS"}
    assert set(table) == {"x", *outcomes}
    for name in outcomes:
        assert len(table[name]) == len(tiny.dataset)
        assert table[name].dtype == (bool if name.startswith("k_") else np.float32)
    values, known = tiny.dataset.targets["age"]
    np.testing.assert_array_equal(table["y_age"], np.where(known, values, 0))
    unlabelled = tiny.system.arrays(replace(tiny.dataset, targets={}, classes={}))
    for task in tiny.tasks:
        assert not unlabelled[f"k_{task.name}"].any()


def test_predictions_and_simple_models_are_scored_alike(tiny):
    replicate = tiny.replicates[0]
    train = tiny.dataset.take(replicate.rows[SLOT])
    test = tiny.dataset.take(replicate.test)
    predicted = tiny.system.predict(tiny.variables, tiny.rows_at(replicate.test))
    predicted = {name: np.asarray(values) for name, values in predicted.items()}
    scores = tiny.system.evaluate(predicted, test, train).metrics
    assert {"type_accuracy", "age_rmse", "OS_c_index"} <= scores.keys()
    sides = tiny.system.better
    assert {name for name in scores if "_p" not in name} <= sides.keys()
    simple = tiny.system.baselines(train, test)
    clinical = {"class alone", "class and clinical"}
    assert set(simple) == {"PCA + linear", "forest", "no features", "ridge", *clinical}
    tasks_of = {"ridge": "age", **dict.fromkeys(clinical, "OS")}
    for name, fields in simple.items():
        found = tiny.system.evaluate(fields, test, train).metrics.keys()
        of_task = {metric for metric in scores if metric.startswith(tasks_of.get(name, ""))}
        assert found == of_task, name


def test_the_fields_that_are_written_are_among_the_predictions(tiny):
    predicted = tiny.system.predict(tiny.variables, tiny.rows)
    assert set(tiny.system.columns) <= set(predicted)
