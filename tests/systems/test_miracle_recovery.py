"""On simulated studies with known active pathways: they are found, and nothing where nothing is."""

from dataclasses import replace

import pytest
from command import ROOT, config_of
from fitted_arms import fitted

from omics_jax.run.command import system_module
from omics_jax.run.scores import score_arms
from omics_jax.systems.miracle import findings, reading

pytestmark = [pytest.mark.slow, pytest.mark.optimised]

MODULE = system_module("miracle")
WORDS = [
    f"--config={ROOT}/configs/miracle.py:pathways",
    "--config.folds=4",
    "--config.simulator.people=(120, 100)",
    "--config.simulator.sites=480",
    "--config.simulator.genes=240",
    "--config.simulator.pathways=24",
    "--config.simulator.pathway_genes=8",
    "--config.simulator.active=2",
    "--config.simulator.shared=1",
    "--config.simulator.diseases_of_shared=2",
    "--config.simulator.hidden=0.0",
    "--config.interpret.permutations=20",
    "--config.interpret.steps=4",
    "--config.training.epochs.autoencoder=20",
    "--config.training.epochs.heads=10",
    "--config.training.epochs.all=30",
]


def concluded(folder, *words):
    """Disease -> its table of pathways, and the pathways that are active in its cases."""
    config = config_of(*WORDS, *words)
    arms = [
        replace(arm, with_baselines=False)
        for arm in MODULE.EXPERIMENTS["pathways"].arms(config, MODULE.read(config))
    ]
    predicted = {arm.name: fitted(arm, folder / f"{number}")[1] for number, arm in enumerate(arms)}
    results = score_arms(arms, lambda arm, replicate, part: predicted[arm.name][replicate])
    tables = findings.conclude_pathways(results).tables
    active = reading.simulated(config).truth.active
    return {name: (tables[f"{name}_pathways"].frame, set(own)) for name, own in active.items()}


def test_the_active_pathways_are_the_first_at_a_false_discovery_rate_of_5_percent(tmp_path):
    """Others that share genes with them really differ, too, and may follow."""
    for name, (table, active) in concluded(tmp_path, "--config.simulator.effect=2.5").items():
        first = table.head(len(active))
        assert set(first["pathway"]) == active, name
        assert (first["q"] < 0.05).all() and (first["p_family"] < 0.05).all(), name
        assert first["first"].min() >= 0.75, name


def test_without_an_effect_nothing_is_significant(tmp_path):
    for name, (table, _) in concluded(tmp_path, "--config.simulator.effect=0.0").items():
        assert (table["q"] > 0.05).all() and (table["p_family"] > 0.05).all(), name
