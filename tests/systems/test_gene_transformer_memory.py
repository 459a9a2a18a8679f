"""The memory of a training step: refused before training where there is too little of it."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gene_patients import FreshArm, arms_on, patients
from numpy.testing import assert_allclose

from omics_jax.errors import UserError
from omics_jax.nn.initial import draw
from omics_jax.nn.token_encoder import Randomness, TokenEncoder, encode_tokens, encoder_parameters
from omics_jax.systems.gene_transformer import step_memory
from omics_jax.systems.gene_transformer.model import encode
from omics_jax.systems.gene_transformer.step_memory import (
    PROCESS,
    parameters,
    pull_backs,
    step_bytes,
)

MIB = 2**20


@pytest.mark.optimised
def test_the_estimate_is_near_what_the_compiler_plans():
    """Temporaries of the gradient of a transformer alone, as XLA assigns them."""
    encoder = TokenEncoder(tokens=256, channels=32, heads=4, layers=2, feedforward=64, dropout=0.1)
    rows = jnp.arange(16)
    p = draw(jax.random.key(0), encoder_parameters(encoder))

    def total(p, values):
        randomness = Randomness(jax.random.key(1), rows)
        exists = jnp.ones(values.shape, bool)
        return jnp.sum(encode_tokens(encoder, p, values, exists, randomness) ** 2)

    program = jax.jit(jax.grad(total)).lower(p, jnp.ones((16, 256))).compile()
    planned = program.memory_analysis().temp_size_in_bytes
    shape = replace(FreshArm().shape, widths={"rna": 255}, covariates=0, tasks=())
    config = shape.config.copy_and_resolve_references()
    config.model.update(channels=32, heads=4, layers=2, feedforward=64, linear=0)
    config.balancing.name = "fixed"
    estimated = step_bytes(replace(shape, config=config), 16)
    assert 0.95 < estimated / planned < 1.5


def test_twice_the_patients_take_twice_the_activations():
    shape = FreshArm().shape
    one, two, four = (step_bytes(shape, n) for n in (8, 16, 32))
    assert four - two == pytest.approx(2 * (two - one), abs=8)


def test_parameters_are_those_of_the_transformer_and_of_the_heads():
    fresh = FreshArm()
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(own))
        for name, own in fresh.variables["params"].items()
    }
    found = parameters(fresh.shape)
    assert sizes["encoder"] < found <= sum(sizes.values())


@pytest.mark.parametrize("name", ["pcgrad", "gradnorm"])
def test_outcomes_that_are_pulled_back_by_themselves_take_more(name):
    alone, together = FreshArm().shape, FreshArm(f"--config.balancing.name={name}").shape
    assert pull_backs(alone) == 1 and pull_backs(together) == len(together.tasks)
    assert step_bytes(together, 16) > step_bytes(alone, 16)


def test_what_takes_more_than_there_is_is_refused_before_training(monkeypatch):
    words = "--config.training.batch_size=1000000", "--config.run.devices=1"
    monkeypatch.setattr(step_memory, "machine_bytes", lambda: PROCESS + 20 * MIB)
    assert arms_on(patients())
    with pytest.raises(UserError) as raised:
        arms_on(patients(), *words)
    message = str(raised.value)
    assert message.startswith("multitask: a training step of 1,000,000 patients with ")
    assert "above the limit of 0.5 GiB" in message
    for setting in ("training.batch_size", "preprocess.top_k", "model.attention=pathways"):
        assert f"--config.{setting}" in message or f"(--config.{setting})" in message
    with pytest.raises(UserError, match="above the limit of 1.0 GiB"):
        arms_on(patients(), *words, "--config.run.memory_gb=1")
    assert arms_on(patients(), *words, "--config.run.memory_gb=100000")


def test_networks_of_several_cores_are_added_up(monkeypatch):
    monkeypatch.setattr(step_memory, "machine_bytes", lambda: PROCESS)
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(
            step_memory,
            "choose_devices",
            lambda *_, n=cores: SimpleNamespace(count=n, spread="cores"),
        )
        with pytest.raises(UserError) as raised:
            arms_on(patients(), "--config.training.batch_size=1000000")
        found.append(str(raised.value))
    assert "at once" not in found[0] and "(3 networks at once)" in found[1]


def test_validation_patients_are_encoded_a_few_at_a_time():
    """The vectors are those of all at once, and no array holds the tokens of all."""
    fresh = FreshArm("--config.training.batch_size=8")
    whole = FreshArm(f"--config.training.batch_size={len(fresh.dataset)}")

    def z(arm, rows):
        return encode(arm.shape, fresh.variables, rows, None).embedding

    assert_allclose(z(fresh, fresh.rows), z(whole, fresh.rows), rtol=1e-5, atol=1e-6)
    program = str(jax.make_jaxpr(lambda rows: z(fresh, rows))(fresh.rows))
    everyone = f"f32[{len(fresh.dataset)},{fresh.shape.tokens},{fresh.shape.encoder.channels}]"
    assert everyone not in program
    assert everyone in str(jax.make_jaxpr(lambda rows: z(whole, rows))(fresh.rows))
    assert np.isfinite(z(fresh, fresh.rows)).all()
