"""Attributions of the multi-omics network are complete, and stand out where, and only where, there
is something.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from batches import batch_of, constants_of
from command import ROOT, config_of

from omics_jax.data.patients.simulate import simulate_omics
from omics_jax.errors import UserError
from omics_jax.evaluation.tables import Frame
from omics_jax.run.command import system_module
from omics_jax.run.options import run_options
from omics_jax.study.system import Results
from omics_jax.systems.multiomics import assembly
from omics_jax.systems.multiomics.patients import SLOT
from omics_jax.tasks import interpretation
from omics_jax.tasks.attribution import ATTRIBUTION
from omics_jax.training.history import History
from omics_jax.training.loop import RunContext, fit
from omics_jax.training.plan import Training, make_plan
from omics_jax.training.rows import apply_to_rows, compile_row_function

MODULE = system_module("multiomics")
CONFIG = f"--config={ROOT}/configs/multiomics.py:interpret,smoke"


@pytest.fixture(scope="module")
def arms():
    config = config_of(
        CONFIG,
        "--config.interpret.steps=64",
        "--config.interpret.permutations=4",
        "--config.missing=impute",
    )
    return {
        arm.name: arm for arm in MODULE.EXPERIMENTS["interpret"].arms(config, MODULE.read(config))
    }


@pytest.fixture(scope="module")
def shape(arms):
    return assembly.shape_of(arms["network"].config, arms["network"].spec)


# --- attributions ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_attributions_add_up_to_the_score_over_that_of_the_average_patient(arms, shape):
    """Both scores by the predictions themselves; the average patient has the training mean of every
    feature.
    """
    arm = arms["network"]
    r = arm.replicates[0]
    rows = batch_of(arm.system.arrays(arm.dataset), r.rows[SLOT])
    constants = constants_of(r)
    variables = {
        **arm.system.init(jax.random.key(5), {SLOT: rows}, constants),
        "constants": constants,
    }
    predict = jax.jit(arm.system.predict)
    out = jax.tree.map(np.asarray, predict(variables, rows))
    mean = {
        f"x_{m}": jnp.broadcast_to(constants[f"{m}_fill"], rows[f"x_{m}"].shape) for m in shape.used
    }
    measured = {key: jnp.ones_like(rows[key]) for key in ("has", *(f"m_{m}" for m in shape.used))}
    start = jax.tree.map(np.asarray, predict(variables, {**rows, **mean, **measured}))
    n = np.arange(len(rows["row"]))
    predicted = out["type_probability"].argmax(axis=1)
    assert (start["type_probability"].argmax(axis=1) != predicted).any()
    rise = {
        "type": np.log(
            out["type_probability"][n, predicted] / start["type_probability"][n, predicted]
        ),
        "age": (out["age_value"] - start["age_value"]) / r.constants["age_sd"],
        "OS": out["OS_risk"] - start["OS_risk"],
    }
    for task, expected in rise.items():
        found = sum(out[f"{task}_attribution_{m}"].sum(axis=1) for m in shape.used)
        np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
    has = dict(zip(shape.sizes, np.asarray(rows["has"]).T, strict=True))
    for m in shape.used:
        found, cells = out[f"age_attribution_{m}"], np.asarray(rows[f"m_{m}"])
        filled = has[m][:, None] & ~cells
        assert (
            filled.any()
            and (np.abs(found[filled]) < 1e-6).all()
            and np.abs(found[~has[m]]).max() > 1e-4
        )


# --- the null -------------------------------------------------------------------------------------


def test_the_null_starts_from_the_imputers_of_the_patients_it_is_trained_on(arms):
    null, imputers = arms["permuted"], arms["imputers"]
    assert null.start_from == "imputers" and null.starts == [0] * len(null.replicates)
    assert set(imputers.replicates[0].rows[SLOT]) >= set(null.replicates[-1].rows[SLOT])


def test_too_few_permutations_are_refused():
    config = config_of(CONFIG, "--config.interpret.permutations=2")
    with pytest.raises(UserError, match="config.interpret.permutations is 2; give 3 or more"):
        MODULE.EXPERIMENTS["interpret"].arms(config, MODULE.read(config))


# --- what is found --------------------------------------------------------------------------------

WORDS = [
    "--config.missing=mask",
    "--config.model.branch=(16,)",
    "--config.model.shared=(16,)",
    "--config.model.dropout=0.0",
    "--config.heads.regression.dropout=0.0",
    "--config.training.stages=('all',)",
    "--config.training.epochs.all=60",
    "--config.training.optimizer.learning_rate=0.01",
    "--config.interpret.permutations=20",
]


PLANTED = (("rna", "gene0003"), ("protein", "protein0003"))


def simulated(planted):
    """Patients of whom nothing tells the age, or (`planted`) two features that share nothing with
    any other do.
    """
    settings = dict(
        features={"rna": 30, "protein": 10}, latent=4, missing_modality=0.05, noise=0.3, signal=0.0
    )
    dataset, truth = simulate_omics(600, **settings)
    age, known = dataset.targets["age"]
    if planted:
        column = lambda m, feature: truth.values[m][
            :, dataset.modalities[m].features.tolist().index(feature)
        ]
        told = np.stack([column(*each) for each in PLANTED])
        age = age + 12 * ((told.T - told.mean(axis=1)) / told.std(axis=1)).sum(axis=1).astype(
            np.float32
        )
    return replace(dataset, targets={"age": (age, known)}, classes={})


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """`explained(dataset)`: the table of all features for age, from the first fold and its permuted
    replicates.
    """

    def run(dataset):
        config, folder = config_of(CONFIG, *WORDS), tmp_path_factory.mktemp("interpret")
        network, permuted = MODULE.EXPERIMENTS["interpret"].arms(config, dataset)
        system, dataset = network.system, network.dataset
        table, first = system.arrays(dataset), network.replicates[0]
        first = replace(
            first, constants={**first.constants, "y_age": table["y_age"]}
        )  # for one program with the null
        replicates = [first, *permuted.replicates]
        plan = make_plan(
            Training(system.stages, system.init, table, dataset.ids, replicates),
            run_options(config),
        )
        context = RunContext(folder, History(folder / "history.jsonl"))
        predictor, frames = compile_row_function(system.predict, len(first.test)), []
        train, test = dataset.take(first.rows[SLOT]), dataset.take(first.test)
        for chunk, by_stage in fit(plan, context):
            rows = [first.test] * len(chunk)
            for r, out in zip(
                chunk,
                apply_to_rows(predictor, len(test), by_stage["all"], plan.table, rows),
                strict=True,
            ):
                frame = system.evaluate(out, test, train).frames["attribution_age"].rows
                arm, group = ("permuted" if r else "network"), replicates[r].labels["group"]
                frames.append(frame.assign(arm=arm, model="model", group=group, fold=0))
        rows = Frame(ATTRIBUTION, pd.concat(frames, ignore_index=True))
        results = Results(pd.DataFrame(), {"attribution_age": rows}, {})
        return interpretation.ranking_tables(results)["age_features"].frame

    return run


@pytest.mark.slow
def test_features_that_tell_of_the_outcome_stand_out(explained):
    found = explained(simulated(planted=True))
    pairs = list(zip(found["modality"], found["feature"], strict=True))
    assert set(pairs[:2]) == set(PLANTED)
    beyond = (found["q"] < 0.05).to_numpy()
    assert beyond[:2].all() and beyond[2:].sum() <= 2
    assert (found["p_family"].to_numpy()[:2] < 0.1).any()


@pytest.mark.slow
def test_where_nothing_tells_of_the_outcome_nothing_stands_out(explained):
    found = explained(simulated(planted=False))
    assert (found["q"] < 0.05).sum() <= 1 and found["p"].mean() > 0.3
