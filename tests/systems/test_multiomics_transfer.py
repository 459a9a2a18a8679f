"""Imputers that learn from other classes first: who learns, who is tested, and what it is compared
with.
"""

import json

import numpy as np
import pytest
from command import ROOT, command, config_of

from omics_jax.run.command import system_module
from omics_jax.run.scores import rows_of
from omics_jax.systems.multiomics.patients import OTHERS, SLOT

MODULE = system_module("multiomics")
SMOKE = f"--config={ROOT}/configs/multiomics.py:smoke"
TRANSFER = (
    "--config.imputation.transfer=type=A",
    "--config.simulator.patients=160",
    "--config.imputation.edges=mirna<rna",
)


@pytest.fixture(scope="module")
def prepared():
    config = config_of(SMOKE, *TRANSFER)
    dataset = MODULE.read(config)
    return dataset, MODULE.EXPERIMENTS["multitask"].arms(config, dataset)


def test_patients_of_other_classes_only_pretrain_the_imputers(prepared):
    dataset, (imputers, network) = prepared
    codes, known = dataset.targets["type"]
    of_a = np.flatnonzero(known & (codes == dataset.classes["type"].index("A")))
    tested = np.concatenate([r.test for r in imputers.replicates])
    np.testing.assert_array_equal(np.sort(tested), of_a)
    for r in imputers.replicates:
        np.testing.assert_array_equal(r.rows[OTHERS], np.setdiff1d(np.arange(len(dataset)), of_a))
        assert np.isin(np.concatenate([r.rows[SLOT], r.validation[SLOT]]), of_a).all()
    assert [stage.name for stage in imputers.system.stages] == ["pretrain_mirna", "impute_mirna"]
    for r in network.replicates:
        assert set(r.rows) == {SLOT} and np.isin(np.concatenate([r.rows[SLOT], r.test]), of_a).all()


def test_the_class_that_all_share_is_no_task_and_preprocessing_saw_it_alone(prepared):
    dataset, (imputers, network) = prepared
    assert [task.name for task in network.spec.tasks] == ["age", "OS"]
    values, r = dataset.modalities["rna"], imputers.replicates[0]
    columns = [list(values.features).index(f) for f in imputers.dataset.modalities["rna"].features]
    mine = np.where(values.mask, values.values, np.nan)[r.rows[SLOT]][:, columns]
    alive = r.constants["rna_alive"]
    np.testing.assert_allclose(
        r.constants["rna_high"][alive], np.nanmax(mine, axis=0)[alive], rtol=1e-6
    )


def test_simple_imputers_learn_from_the_class_and_are_scored_as_the_network_is(prepared):
    """Not on the scale, or the features, of the other classes' patients."""
    dataset, (imputers, _) = prepared
    assert imputers.system.baseline_slots == (SLOT,)
    for r in imputers.replicates:
        test = imputers.dataset.take(r.test)
        learned_from = rows_of(r, "train", imputers.system.baseline_slots)
        simple = imputers.system.baselines(imputers.dataset.take(learned_from), test)
        alone = imputers.system.baselines(imputers.dataset.take(r.rows[SLOT]), test)
        alive, low, high = (r.constants[f"mirna_{key}"] for key in ("alive", "low", "high"))
        m = test.modalities["mirna"]
        scaled = (np.clip(m.values, low, high) - low) / np.where(high > low, high - low, 1)
        scored = m.mask[:, alive] & test.modalities["rna"].observed_rows[:, None]
        for name, found in simple.items():
            np.testing.assert_array_equal(found["mirna_scored"], scored)
            np.testing.assert_allclose(
                found["mirna_truth"][scored], scaled[:, alive][scored], rtol=1e-5, atol=1e-6
            )
            np.testing.assert_array_equal(found["mirna_estimate"], alone[name]["mirna_estimate"])


@pytest.mark.slow
def test_the_experiment_compares_with_imputers_that_learned_alone(tmp_path):
    outcome = command(
        SMOKE.replace(":smoke", ":imputation,smoke"), f"--workdir={tmp_path}", *TRANSFER
    )
    assert outcome.status == 0, outcome.err
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert list(found["arms"]) == ["imputers", "imputers without transfer"]
    assert {c["b"] for c in found["comparisons"]} >= {"imputers without transfer"}
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert {(e["arm"], e["stage"]) for e in lines} == {
        ("imputers", "pretrain_mirna"),
        ("imputers", "impute_mirna"),
        ("imputers without transfer", "impute_mirna"),
    }
    table = (tmp_path / "tables" / "imputation.csv").read_text()
    assert "imputers without transfer" in table
