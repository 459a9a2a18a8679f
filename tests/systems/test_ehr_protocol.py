"""The EHR system's protocol: folds, what is fitted where, arms, baselines, and files that hold
cells out themselves.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.special
from command import ROOT, config_of
from fitted_arms import fitted
from sklearn.metrics import roc_auc_score

from omics_jax.data.clinical_series.observations import step_names
from omics_jax.data.dataset.dataset import Modality
from omics_jax.durable import load_arrays, save_arrays
from omics_jax.errors import UserError
from omics_jax.evaluation.comparisons import corrected_resampled_t, holm
from omics_jax.run.directory import prediction_file
from omics_jax.run.scores import main_arm, rows_of, score_arms
from omics_jax.study.system import Results
from omics_jax.systems.ehr import (
    assembly,
    experiments,
    joining,
    model,
    paper_tables,
    published,
    reading,
    replicates,
    scoring,
)
from omics_jax.systems.ehr.device_rows import held_levels, outcome
from omics_jax.systems.ehr.stays import SLOT, observed_series

WORDS = [
    "--config.simulator.patients=48",
    "--config.simulator.steps=6",
    "--config.simulator.features=3",
]


def settings(*words, choice="smoke"):
    return config_of(f"--config={ROOT}/configs/ehr.py:{choice}", *WORDS, *words)


@pytest.fixture(scope="module")
def config():
    return settings(
        "--config.folds=4", "--config.repeats=2", "--config.compare_regimes=('frozen', 'unfrozen')"
    )


@pytest.fixture(scope="module")
def dataset(config):
    """Stays of persons: every third person has two, and one outcome is unknown."""
    made = reading.read(config)
    persons = np.array([f"person-{i - (i % 4 == 3)}" for i in range(len(made))])
    label, mask = made.targets["death"]
    mask[7] = False
    return replace(made, groups=persons, targets={"death": (label, mask)})


@pytest.fixture(scope="module")
def arms(config, dataset):
    return experiments.mortality(config, dataset)


# Folds and what is fitted on them


def test_folds_never_part_a_person_and_share_the_deaths_evenly(dataset, arms):
    replicates = arms[0].replicates
    assert [(r.labels["repeat"], r.labels["fold"]) for r in replicates] == [
        (r, f) for r in range(2) for f in range(4)
    ]
    label, known = dataset.targets["death"]
    for repeat in range(2):
        tests = [r.test for r in replicates if r.labels["repeat"] == repeat]
        assert sorted(np.concatenate(tests)) == list(range(len(dataset)))
        # Strata are dealt by person: a person with a death counts once.
        deaths = [
            len({dataset.groups[i] for i in rows if known[i] and label[i] == 1}) for rows in tests
        ]
        assert max(deaths) - min(deaths) <= 1
    for r in replicates:
        parts = [r.rows["patients"], r.validation["patients"], r.test]
        persons = [set(dataset.groups[rows]) for rows in parts]
        assert (
            not persons[0] & persons[1]
            and not persons[0] & persons[2]
            and not persons[1] & persons[2]
        )
        assert sum(map(len, parts)) == len(dataset)
    assert len({r.seed for r in replicates}) == 8


def spoiled(dataset, rows):
    """Everything about these rows another: values, masks, descriptors and outcomes."""
    chosen = np.isin(np.arange(len(dataset)), rows)

    def spoil(m):
        where = chosen.reshape(-1, *[1] * (m.mask.ndim - 1))
        mask = np.where(where, ~m.mask, m.mask)
        return replace(
            m,
            values=np.where(where & mask, 77, np.where(mask, m.values, 0)).astype(np.float32),
            mask=mask,
        )

    modalities = {k: m if k == "hours" else spoil(m) for k, m in dataset.modalities.items()}
    label, mask = dataset.targets["death"]
    return replace(
        dataset,
        modalities=modalities,
        targets={"death": (np.where(chosen, 1 - label, label), mask)},
    )


def test_constants_come_from_training_rows_alone(config, dataset, arms):
    r = arms[0].replicates[0]
    train, series = r.rows["patients"], dataset.modalities["series"]
    values = np.where(series.mask, series.values.astype(np.float64), np.nan)[train]
    np.testing.assert_allclose(r.constants["mean"], np.nanmean(values, axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(r.constants["sd"], np.nanstd(values, axis=(0, 1)), rtol=1e-4)
    gaps = [np.diff(np.flatnonzero(series.mask[i, :, 0])) for i in train]
    assert r.constants["usual_gap"][0] == np.median(np.concatenate(gaps))
    assert (r.constants["hiding_rate"] @ series.mask[train].sum(axis=(0, 1))) == pytest.approx(
        config.pretrain.hide * series.mask[train].sum(), rel=1e-5
    )
    other = replicates.constants_of(
        config, spoiled(dataset, np.setdiff1d(np.arange(len(dataset)), train)), train
    )
    jax.tree.map(np.testing.assert_array_equal, other, r.constants)
    seen = replicates.constants_of(config, spoiled(dataset, train[:3]), train)
    assert all((seen[name] != r.constants[name]).any() for name in ("mean", "sd", "static_mean"))


def test_the_encoding_of_summaries_comes_from_training_rows_alone(config, dataset, arms):
    ours, train = arms[1].replicates[0], arms[1].replicates[0].rows["patients"]
    one = [replace(ours, constants=arms[0].replicates[0].constants)]
    fitted = lambda data: replicates.with_summaries(arms[1].config, data, one)[0].constants
    jax.tree.map(np.testing.assert_array_equal, fitted(dataset), dict(ours.constants))
    others = np.setdiff1d(np.arange(len(dataset)), train)
    jax.tree.map(
        np.testing.assert_array_equal, fitted(spoiled(dataset, others)), dict(ours.constants)
    )
    assert (
        fitted(spoiled(dataset, train[:3]))["summary_knots"] != ours.constants["summary_knots"]
    ).any()


@pytest.fixture(scope="module")
def trained(config, dataset, tmp_path_factory):
    """`trained(dataset)`: the first fold's imputer and two classifiers, name -> stage name ->
    variables.
    """
    config = config.copy_and_resolve_references()
    config.classifier.network = "mlp2"
    arms = [arm for arm in experiments.mortality(config, dataset) if arm.name != "mlp2, frozen"]

    def train(data):
        out = {}
        for arm in arms:
            start = out[arm.start_from]["pretrain"] if arm.start_from else None
            one = replace(arm, dataset=data, replicates=arm.replicates[:1])
            out[arm.name] = fitted(one, tmp_path_factory.mktemp("fold"), start)[0]
        return out

    return train


@pytest.fixture(scope="module")
def whole(trained, dataset):
    return trained(dataset)


def same(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.slow
def test_test_rows_reach_no_parameter(trained, whole, dataset, arms):
    assert same(trained(spoiled(dataset, arms[0].replicates[0].test)), whole)
    assert not same(
        trained(spoiled(dataset, arms[0].replicates[0].rows["patients"][:4]))["brits"],
        whole["brits"],
    )


@pytest.mark.slow
def test_a_frozen_imputer_keeps_its_bits_and_an_unfrozen_one_moves(whole):
    before = whole["brits"]["pretrain"]["params"]["imputer"]
    after = {
        (arm, stage): v["params"]["imputer"]
        for arm, stages in whole.items()
        for stage, v in stages.items()
    }
    assert same(after["mlp2, gradual", "classify"], before)
    assert not same(after["mlp2, unfrozen", "finetune"], before)
    assert {arm: sorted(stages) for arm, stages in whole.items()} == {
        "brits": ["pretrain"],
        "mlp2, gradual": ["calibration", "classify", "finetune"],
        "mlp2, unfrozen": ["finetune"],
    }
    head = lambda stage: whole["mlp2, gradual"][stage]["params"]["classifier"]
    # Both move, or neither where no epoch beat the frozen stage's end on the validation rows.
    assert same(after["mlp2, gradual", "finetune"], before) == same(
        head("classify"), head("finetune")
    )


# Arms


def test_mortality_sets_ours_beside_the_papers_network(arms):
    assert [arm.name for arm in arms] == [
        "brits",
        "summary, gradual",
        "mlp2, frozen",
        "mlp2, unfrozen",
    ]
    assert [arm.start_from for arm in arms] == [None, "brits", "brits", "brits"]
    assert main_arm(arms).name == "summary, gradual"
    assert [bool(arm.system.extra_parts) for arm in arms] == [False, True, True, True]
    assert arms[2].config.classifier.dropout == 0.2 and arms[1].config.classifier.dropout == 0.3
    labels = {arm.name: (arm.labels.get("network"), arm.labels.get("regime")) for arm in arms[1:]}
    assert labels == {name: tuple(name.split(", ")) for name in labels}


@pytest.mark.parametrize(
    ("choice", "regime"), [("table2,smoke", "frozen"), ("table3,smoke", "unfrozen")]
)
def test_the_papers_tables_are_networks_times_strategies(dataset, choice, regime):
    config = settings("--config.tables.networks=('mlp2', 'gru')", choice=choice)
    imputer, *arms = experiments.EXPERIMENTS[config.experiment].arms(config, dataset)
    expected = [(n, regime, s) for n in ("mlp2", "gru") for s in ("optuna", "cyclic", "plateau")]
    assert [
        tuple(arm.labels[k] for k in ("network", "regime", "strategy")) for arm in arms
    ] == expected
    assert [arm.name for arm in arms] == [", ".join(place) for place in expected]
    assert all(arm.start_from == imputer.name for arm in arms) and imputer.system.probes is not None
    for arm in arms:
        (stage,), strategy = arm.system.stages, arm.labels["strategy"]
        assert stage.name == ("classify" if regime == "frozen" else "finetune")
        assert (arm.tuning is not None) == (stage.rate is not None) == (strategy == "optuna")
        assert (stage.plateau is not None) == (strategy == "plateau")
        assert (arm.config.classifier.dropout, arm.config.classifier.series) == (0.2, "imputed")
    tuning = arms[0].tuning
    rates = tuning.space["learning_rate"]
    assert (rates.low, rates.high, rates.log, tuning.watch) == (1e-5, 1e-3, True, "validation_loss")
    assert tuning.replicate is None and not arms[0].notes
    for r in arms[0].replicates:
        constants = jax.tree.map(jnp.asarray, dict(r.constants))
        assert arms[0].system.stages[0].rate(constants) == pytest.approx(1e-4)


def test_one_learning_rate_for_all_folds_is_said_to_have_seen_test_patients(dataset):
    config = settings("--config.tune.folds=first", choice="table2,smoke")
    _, optuna, cyclic, _ = experiments.table2(config, dataset)
    assert optuna.tuning.replicate == 0 and cyclic.notes == ()
    (note,) = optuna.notes
    assert "test patients of 2 other folds" in note and "--config.tune.folds=each" in note


def test_the_papers_protocol_chooses_one_learning_rate():
    assert settings(choice="table2,paper").tune.folds == "first"
    assert settings(choice="table2").tune.folds == "each"


def test_imputers_are_compared_in_one_size(dataset):
    config = settings(choice="imputation,smoke")
    csai, brits = experiments.imputation(config, replace(dataset, targets={}))
    assert (csai.name, brits.name, csai.start_from, brits.start_from) == (
        "csai",
        "brits",
        None,
        None,
    )
    assert (csai.config.model.imputer, brits.config.model.imputer) == ("csai", "brits")
    assert csai.config.pretrain == brits.config.pretrain


def test_external_patients_are_tested_and_no_others():
    config = settings(choice="external,smoke")
    dataset = reading.read(config)
    outside = np.flatnonzero(dataset.table["set"] == "external")
    assert len(outside) == 48 and len(dataset) == 96
    for r in experiments.external(config, dataset)[0].replicates:
        np.testing.assert_array_equal(r.test, outside)
        ours = np.concatenate([r.rows["patients"], r.validation["patients"]])
        np.testing.assert_array_equal(np.sort(ours), np.arange(48))
    inside = {str(i) for i in dataset.ids[:48]}
    assert {i.removeprefix("external ") for i in dataset.ids[outside].astype(str)} == inside
    a, b = (dataset.modalities["series"].values[rows] for rows in (slice(48), slice(48, None)))
    assert not np.array_equal(a, b)


def test_patients_without_a_value_are_left_out_of_both_sets_where_asked():
    words = (
        "--config.simulator.features=1",
        "--config.simulator.missing=0.9",
        "--config.data.keep_empty=False",
    )
    dataset = reading.read(settings(*words, choice="external,smoke"))
    assert dataset.modalities["series"].observed_rows.all() and set(dataset.table["set"]) == {
        "internal",
        "external",
    }
    assert (
        len(dataset) < 96
        and sum("left out (data.keep_empty=False)" in note for note in dataset.notes) == 2
    )


def test_nobody_is_tested_on_whom_a_model_was_trained(dataset):
    with pytest.raises(
        UserError, match="with the same values as in --config.data.path; a model cannot be tested"
    ):
        joining.join_patients(dataset, dataset)
    series = dataset.modalities["series"]
    moved = replace(series, values=np.where(series.mask, series.values + 1, 0))
    both = joining.join_patients(
        dataset,
        replace(dataset, modalities={"series": moved, "hours": dataset.modalities["hours"]}),
    )
    assert any("in both files, of other values" in note for note in both.notes)
    assert any("Static descriptors are in one of the files only" in note for note in both.notes)


def test_nobody_is_tested_of_whom_another_stay_was_trained_on(dataset):
    ids = np.array([f"later-{name}" for name in dataset.ids])
    with pytest.raises(
        UserError,
        match=r"36 groups \(.*\) are in --config.data.path and in --config.data.external.path; a "
        r"model cannot",
    ):
        joining.join_patients(dataset, replace(dataset, ids=ids, table=dataset.table.set_axis(ids)))
    others = replace(dataset, ids=ids, groups=ids, table=dataset.table.set_axis(ids))
    assert len(joining.join_patients(dataset, others)) == 96


def test_cells_that_one_file_alone_holds_out_are_not_used_and_this_is_said(dataset):
    ids = np.array([f"later-{name}" for name in dataset.ids])
    other = replace(dataset, ids=ids, groups=ids, table=dataset.table.set_axis(ids))
    truth = {**dataset.modalities, "truth": dataset.modalities["series"]}
    both = joining.join_patients(replace(dataset, modalities=truth), other)
    assert "truth" not in both.modalities and any(
        "X_ori is in one of the files only" in note for note in both.notes
    )


def test_steps_pair_by_their_order_where_rows_have_hours_of_their_own(dataset):
    hours = dataset.modalities["hours"]
    own = hours.values + np.arange(len(dataset), dtype=np.float32)[:, None] / 100
    irregular = replace(hours, values=own, features=step_names(own))
    ids = np.array([f"later-{name}" for name in dataset.ids])
    other = replace(dataset, ids=ids, groups=ids, table=dataset.table.set_axis(ids))
    inner = replace(dataset, modalities={**dataset.modalities, "hours": irregular})
    found = joining.join_patients(inner, other).modalities["hours"]
    assert found.mask.all() and irregular.features.tolist()[0] == "step 0"
    np.testing.assert_array_equal(found.values, np.concatenate([own, hours.values]))
    halved = replace(hours, values=hours.values / 2, features=step_names(hours.values / 2))
    with pytest.raises(
        UserError, match=r"data.path has 6 steps \(0, 1, 2 ... 5\) .* 6 steps \(0, 0.5, 1 ... 2.5\)"
    ):
        joining.join_patients(
            dataset, replace(other, modalities={**dataset.modalities, "hours": halved})
        )


def test_the_parts_of_a_file_hold_a_person_once(dataset):
    parts = np.repeat(["train", "val", "test"], [30, 10, 8])
    of = lambda groups: replace(dataset, groups=groups, table=dataset.table.assign(split=parts))
    assert len(replicates._split_of_file(of(dataset.ids)).train) == 30
    shared = dataset.ids.copy()
    shared[47] = shared[0]
    with pytest.raises(
        UserError,
        match=r"data.split is file, and 1 group \(.*\) is in its parts train and test; keep",
    ):
        replicates._split_of_file(of(shared))


def test_what_no_training_row_has_is_neither_shown_nor_scored(config, dataset, arms):
    """A variable and a descriptor that only tested patients have, in raw units: they would drown
    all else.
    """
    r, series, static = (
        arms[0].replicates[0],
        dataset.modalities["series"],
        dataset.modalities["static"],
    )
    tested = np.isin(np.arange(len(dataset)), r.test)
    there = tested[:, None, None] & (np.arange(series.mask.shape[2]) == 0)
    mask = np.where(np.arange(series.mask.shape[2]) == 0, there, series.mask)
    static_mask = np.where(np.arange(static.mask.shape[1]) == 0, tested[:, None], static.mask)

    def made(size):
        values = np.where(there, size, np.where(mask, series.values, 0)).astype(np.float32)
        told = np.where(
            np.arange(static.mask.shape[1]) == 0, size * tested[:, None], static.values
        ).astype(np.float32)
        described = np.where(static_mask, told, 0).astype(np.float32)
        changed = {
            "series": Modality(values, mask, series.features),
            "static": Modality(described, static_mask, static.features),
        }
        return replace(dataset, modalities={**dataset.modalities, **changed})

    found = {}
    for size in (7000.0, -3.0):
        data = made(size)
        constants = replicates.constants_of(config, data, r.rows["patients"])
        assert np.isinf(constants["static_sd"][0]) and constants["hiding_rate"][0] == 0
        network = assembly.shape_of(arms[1].config, replicates.spec_of(data, [r]))
        table = arms[1].system.arrays(data)
        rows = {name: jnp.asarray(values[r.test]) for name, values in table.items()}
        rows["row"] = jnp.arange(len(r.test))
        constants |= model.fit_summaries(
            network, constants, {k: v[r.rows["patients"]] for k, v in table.items()}
        )
        constants = jax.tree.map(jnp.asarray, constants)
        shown = observed_series(network, constants, rows, rows["m"])
        assert not shown.m[..., 0].any() and shown.m[..., 1].any()
        found[size] = (shown.x, shown.static, model.plain_inputs(shown, rows, constants))
        test, train = data.take(r.test), data.take(r.rows["patients"])
        held = arms[0].system.arrays(test)["held"]
        assert (held[..., 0] > 0).any()
        imputed = {
            f"imputed_{level}": np.zeros(test.modalities["series"].values.shape)
            for level in network.levels
        }
        evaluation = arms[0].system.evaluate(imputed, test, train)
        assert 0 < evaluation.metrics[f"mae_{network.levels[0]}"] < 20
        first = evaluation.frames["errors"].rows.query("variable == @series.features[0]")
        assert (
            first["n"].min() > 0 and first["mae"].isna().all() and first["mae_units"].notna().all()
        )
    assert same(*found.values())


def test_external_patients_on_the_internal_variables(dataset):
    series = dataset.modalities["series"]
    other = Modality(
        series.values[..., [2, 0]],
        series.mask[..., [2, 0]],
        np.array([series.features[2], "other"]),
    )
    outside = replace(dataset, modalities={**dataset.modalities, "series": other})
    both = joining.join_patients(dataset, outside).modalities["series"]
    assert list(both.features) == list(series.features)
    np.testing.assert_array_equal(both.values[48:, :, 2], series.values[..., 2])
    assert not both.mask[48:, :, :2].any()
    stranger = replace(other, features=np.array(["a", "b"]))
    with pytest.raises(UserError, match="shares no variable"):
        joining.join_patients(
            dataset, replace(outside, modalities={**outside.modalities, "series": stranger})
        )
    with pytest.raises(UserError, match="outcomes"):
        joining.join_patients(dataset, replace(outside, targets={}))


# Baselines and scores


def test_everyone_learns_from_the_same_rows_and_is_scored_on_the_same(dataset, arms, tmp_path):
    """Predictions that name their rows go through `score_arms`; baselines and probes say what they
    were given.
    """
    seen, rows = [], lambda n: np.linspace(0.1, 0.9, n)

    def baselines(train, test):
        seen.append(("baselines", set(train.ids), set(test.ids)))
        return {"half": {"probability": np.full(len(test), 0.5)}}

    def probes(on_train, train, on_test, test):
        seen.append(("probes", set(train.ids), set(test.ids)))
        assert (len(on_train["probability"]), len(on_test["probability"])) == (
            len(train),
            len(test),
        )
        return {}

    arm = arms[1]
    system = replace(
        arm.system, baselines=baselines, probes=probes, extra_parts=("validation", "train")
    )
    arm = replace(arm, system=system, replicates=arm.replicates[:2])
    for r, replicate in enumerate(arm.replicates):
        sizes = {"test": replicate.test, "validation": replicate.validation["patients"]}
        for part, at in {**sizes, "train": replicate.rows["patients"]}.items():
            file = prediction_file(tmp_path, arm, r, part)
            file.parent.mkdir(parents=True, exist_ok=True)
            save_arrays(file, {"probability": rows(len(at))}, {})
    results = score_arms([arm], lambda *place: load_arrays(prediction_file(tmp_path, *place))[0])
    for replicate in arm.replicates:
        train, test = set(dataset.ids[replicate.rows["patients"]]), set(dataset.ids[replicate.test])
        assert ("baselines", train, test) in seen and ("probes", train, test) in seen
    (label, mask), scores = dataset.targets["death"], results.scores
    model = scores[scores["model"] == "model"].set_index(["metric", "replicate"])["value"]
    for metric, part in (
        ("auroc", lambda r: r.test),
        ("validation_auroc", lambda r: r.validation["patients"]),
    ):
        for r, replicate in enumerate(arm.replicates):
            at = part(replicate)
            assert model[metric, r] == pytest.approx(
                roc_auc_score(label[at][mask[at]], rows(len(at))[mask[at]])
            )
    assert (scores.query("model == 'half' and metric == 'auroc'")["value"] == 0.5).all()


def test_baselines_know_no_outcome_of_the_tested_nor_an_unknown_one(dataset, monkeypatch):
    train, test = dataset.take(np.arange(30)), dataset.take(np.arange(30, 48))
    given = []
    for name in ("logistic_on_summary", "boosting_on_summary"):
        record = lambda x, y, x_test: given.append((x, y, x_test)) or np.zeros(len(x_test))
        monkeypatch.setattr(scoring.classifiers, name, record)
    scoring.outcome_baselines(train, replace(test, targets={}))
    label, mask = train.targets["death"]
    assert not mask.all() and len(given) == 3
    for x, y, x_test in given:
        assert (len(x), len(x_test)) == (mask.sum(), 18)
        np.testing.assert_array_equal(y, label[mask])


def test_simple_imputers_see_neither_held_out_cells_nor_later_levels(dataset, config):
    train, test = dataset.take(np.arange(30)), dataset.take(np.arange(30, 48))
    held = lambda d: held_levels(tuple(config.held_out), config.seed, d)
    level, series = held(test), test.modalities["series"]
    expected = scoring.imputation_baselines(held, ("10", "50"), train, test)
    spoil = lambda cells: replace(
        test,
        modalities={
            **test.modalities,
            "series": replace(series, values=np.where(cells, 1e3, series.values)),
        },
    )
    for k, name in ((1, "10"), (2, "50")):
        hidden = (level > 0) & (level <= k)
        found = scoring.imputation_baselines(held, ("10", "50"), train, spoil(hidden))
        assert set(found) == {"mean", "locf", "linear", "knn"}
        for imputer in found:
            np.testing.assert_array_equal(
                found[imputer][f"imputed_{name}"], expected[imputer][f"imputed_{name}"]
            )


# Calibration


@pytest.fixture(scope="module")
def calibrations(tmp_path_factory):
    """(arm, variables by stage, predictions of its validation patients), calibrated and not."""
    words = [
        f"--config={ROOT}/configs/ehr.py:smoke",
        "--config.simulator.patients=240",
        "--config.finetune.epochs=10",
    ]
    words += [
        "--config.finetune.regime=frozen",
        "--config.compare_regimes=()",
        "--config.finetune.optimizer.learning_rate=0.03",
    ]
    found = {}
    for calibrated in (True, False):
        config = config_of(*words, f"--config.classifier.calibrated={calibrated}")
        arm = replace(experiments.mortality(config, reading.read(config))[1], start_from=None)
        folder = tmp_path_factory.mktemp("calibrated" if calibrated else "plain")
        found[calibrated] = arm, *fitted(arm, folder, part=lambda r: r.validation[SLOT])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("i", range(3))
def test_probabilities_are_calibrated_on_validation_patients(calibrations, i):
    """The slope and the shift of the logits are those that scipy finds, with their prior."""
    (arm, stages, found), (_, _, raw) = calibrations[True], calibrations[False]
    rows = arm.replicates[i].validation[SLOT]
    label, known = outcome(arm.dataset)
    y, there = label[rows], known[rows]
    share = len(rows) / max(len(r.validation[SLOT]) for r in arm.replicates)
    logit = scipy.special.logit(raw[i]["probability"].astype(float))

    def whole(numbers):
        moved = logit[there] / np.exp(numbers[0]) + numbers[1]
        return (
            np.mean(np.logaddexp(0, moved) - y[there] * moved)
            + 2 * share * np.sum(numbers**2) / there.sum()
        )

    best = scipy.optimize.minimize(whole, np.zeros(2)).x
    numbers = {
        name: float(x[i])
        for name, x in stages["calibration"]["params"]["calibration"]["outcome"].items()
    }
    assert np.abs(best).min() > 0.01
    np.testing.assert_allclose([numbers["log_temperature"], numbers["shift"]], best, atol=5e-3)
    expected = scipy.special.expit(logit / np.exp(numbers["log_temperature"]) + numbers["shift"])
    np.testing.assert_allclose(found[i]["probability"], expected, rtol=1e-4)


@pytest.mark.slow
def test_calibration_moves_nothing_else_and_learns_from_no_training_row(calibrations):
    arm, stages, _ = calibrations[True]
    for name in ("imputer", "classifier"):
        before, after = (stages[stage]["params"][name] for stage in ("classify", "calibration"))
        jax.tree.map(np.testing.assert_array_equal, after, before)
    assert not any(x.any() for x in jax.tree.leaves(stages["classify"]["params"]["calibration"]))
    for r in arm.replicates:
        assert np.array_equal(r.rows["calibration"], r.validation[SLOT])
        assert np.array_equal(rows_of(r, "train"), np.sort(r.rows[SLOT]))
    assert "calibration" not in calibrations[False][1]


def test_the_papers_networks_are_not_calibrated(arms):
    calibrated = {arm.name: arm.system.stages[-1].name == "calibration" for arm in arms}
    assert calibrated == {
        "brits": False,
        "summary, gradual": True,
        "mlp2, frozen": False,
        "mlp2, unfrozen": False,
    }


# Conclusions


@pytest.fixture
def both_tables():
    """Results of one network by three strategies, frozen and unfrozen."""
    rng, rows, labels = np.random.default_rng(0), [], {}
    for regime in ("frozen", "unfrozen"):
        for strategy in ("optuna", "cyclic", "plateau"):
            arm = f"mlp2, {regime}, {strategy}"
            labels[arm] = {"network": "mlp2", "regime": regime, "strategy": strategy}
            for fold in range(5):
                place = dict(
                    arm=arm, model="model", replicate=fold, group="all", fold=fold, repeat=0, seed=0
                )
                for metric in ("auroc", "validation_auroc"):
                    rows.append(
                        {
                            **place,
                            "metric": metric,
                            "value": rng.uniform(0.7, 0.8),
                            "n_train": 60,
                            "n_test": 20,
                        }
                    )
    return Results(pd.DataFrame(rows), {}, {}, labels)


def test_the_papers_numbers_stand_beside_ours(both_tables):
    scores = both_tables.scores
    table = paper_tables.networks(both_tables).frame.set_index(["regime", "strategy"])
    value = lambda arm, metric: scores.query("arm == @arm and metric == @metric")["value"]
    for strategy in ("optuna", "cyclic", "plateau"):
        row = table.loc[("frozen", strategy)]
        assert (row["validation (paper)"], row["test (paper)"]) == published.FROZEN[
            "mlp2", strategy
        ]
        assert row["test"] == pytest.approx(value(f"mlp2, frozen, {strategy}", "auroc").mean())
        assert row["validation"] == pytest.approx(
            value(f"mlp2, frozen, {strategy}", "validation_auroc").mean()
        )
        assert row["s.d."] == pytest.approx(value(f"mlp2, frozen, {strategy}", "auroc").std())
        assert row["low"] < row["test"] < row["high"]
    average = table.loc[("unfrozen", "average")]
    assert np.isnan(average["validation (paper)"]) and average["test (paper)"] == 0.798
    arms = [f"mlp2, unfrozen, {s}" for s in ("optuna", "cyclic", "plateau")]
    assert average["test"] == pytest.approx(np.mean([value(a, "auroc").mean() for a in arms]))
    # Table II's averages are those of its rows.
    for network, (validation, test) in published.FROZEN_AVERAGE.items():
        of = np.mean([v for (name, _), v in published.FROZEN.items() if name == network], axis=0)
        np.testing.assert_allclose(of, (validation, test), atol=1.1e-3)


def test_unfrozen_stands_against_frozen_by_cell_and_on_average(both_tables):
    scores, strategies = both_tables.scores, ("optuna", "cyclic", "plateau")
    by_fold = lambda regime, s: (
        scores.query(
            "metric == 'auroc' and arm == @name", local_dict={"name": f"mlp2, {regime}, {s}"}
        )
        .set_index("fold")["value"]
        .to_numpy()
    )
    tests, tables = paper_tables.unfrozen_against_frozen(both_tables)
    found = tables["freezing"].frame.set_index(["network", "strategy"])
    difference = {s: by_fold("unfrozen", s) - by_fold("frozen", s) for s in strategies}
    for s in strategies:
        test = corrected_resampled_t(difference[s], 1 / 3)
        row = found.loc[("mlp2", s)]
        assert (row["difference"], row["low"], row["high"]) == pytest.approx(
            (test.difference, *test.ci95)
        )
    overall = corrected_resampled_t(np.mean([*difference.values()], axis=0), 1 / 3)
    assert found.loc[("all", "average"), "difference"] == pytest.approx(overall.difference)
    assert tests[0]["p"] == pytest.approx(overall.p) and len(tests) == 4
    np.testing.assert_allclose(found["p (Holm)"], holm(np.array([test["p"] for test in tests])))
    one = [arm for arm, labels in both_tables.labels.items() if labels["regime"] == "frozen"]
    alone = replace(both_tables, labels={arm: both_tables.labels[arm] for arm in one})
    assert paper_tables.unfrozen_against_frozen(alone) == ([], {})


# Files that hold cells out themselves


@pytest.fixture(scope="module")
def given(dataset, tmp_path_factory):
    """(file, X, X_ori): of the cells of X_ori some are missing from X; no descriptors, no names."""
    series = dataset.modalities["series"]
    original = np.where(series.mask, series.values, np.nan)
    hidden = np.random.default_rng(0).random(original.shape) < 0.15
    X = np.where(hidden, np.nan, original)
    file = tmp_path_factory.mktemp("given") / "known.npz"
    np.savez(file, X=X, X_ori=original, y=dataset.targets["death"][0])
    return file, X, original


def test_parts_of_a_file_are_kept_where_asked(dataset, tmp_path):
    series, label = dataset.modalities["series"], dataset.targets["death"][0]
    X = np.where(series.mask, series.values, np.nan)
    parts = {"train": slice(0, 30), "val": slice(30, 39), "test": slice(39, 48)}
    np.savez(
        tmp_path / "parts.npz",
        **{f"{p}_X": X[rows] for p, rows in parts.items()},
        **{f"{p}_y": label[rows] for p, rows in parts.items()},
    )
    config = settings(f"--config.data.path={tmp_path / 'parts.npz'}", "--config.data.split=file")
    data = reading.read(config)
    arms = experiments.mortality(config, data)
    assert {len(arm.replicates) for arm in arms} == {1}
    (r,) = arms[0].replicates
    found = r.rows[SLOT], r.validation[SLOT], r.test
    for rows, part in zip(found, parts, strict=True):
        assert set(data.table["split"].iloc[rows]) == {part} and len(rows) == len(X[parts[part]])
    with pytest.raises(UserError, match="the data have no part train, val, test"):
        experiments.mortality(config, dataset)


def test_a_fold_without_a_held_out_value_is_named(given, tmp_path):
    _, X, original = given
    original = np.where(
        np.arange(len(X))[:, None, None] == 0, original, X
    )  # of the first patient alone
    np.savez(tmp_path / "few.npz", X=X, X_ori=original)
    config = settings(f"--config.data.path={tmp_path / 'few.npz'}", choice="imputation,smoke")
    with pytest.raises(UserError, match="no value of its .* rows is held out"):
        experiments.imputation(config, reading.read(config))


@pytest.mark.slow
def test_cells_that_the_file_holds_out_are_scored_and_never_shown(given, tmp_path):
    file, X, original = given
    config = settings(f"--config.data.path={file}", choice="imputation,smoke")
    data = reading.read(config)
    held = ~np.isnan(original) & np.isnan(X)
    first, arm = experiments.imputation(config, data)
    np.testing.assert_array_equal(arm.system.arrays(data)["held"], held)
    arm = replace(arm, replicates=arm.replicates[:1])
    (r,) = arm.replicates
    seen = X[r.rows["patients"]].astype(np.float64)
    np.testing.assert_allclose(r.constants["mean"], np.nanmean(seen, axis=(0, 1)), rtol=1e-5)
    _, (found,) = fitted(arm, tmp_path / "a")
    train, test = data.take(r.rows["patients"]), data.take(r.test)
    mean, sd = np.nanmean(seen, axis=(0, 1)), np.nanstd(seen, axis=(0, 1))
    error = np.abs((found["imputed_given"] - original[r.test]) / sd)[held[r.test]]
    assert arm.system.evaluate(found, test, train).metrics["mae_given"] == pytest.approx(
        error.mean(), rel=1e-4
    )
    np.testing.assert_array_equal(found["imputed_given"], found["imputed"])
    simple = first.system.baselines(train, test)
    expected = np.abs((mean - original[r.test]) / sd)[held[r.test]].mean()
    found = arm.system.evaluate(simple["mean"], test, train).metrics["mae_given"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_other_truths_of_the_tested_change_no_bit(given, tmp_path):
    file, X, original = given
    config = settings(f"--config.data.path={file}", choice="imputation,smoke")
    arm = experiments.imputation(config, reading.read(config))[1]
    arm = replace(arm, replicates=arm.replicates[:1])
    truth = arm.dataset.modalities["truth"]
    rows = np.isin(np.arange(len(arm.dataset)), arm.replicates[0].test)[:, None, None]
    other = replace(truth, values=np.where(rows & truth.mask, 500, truth.values).astype(np.float32))
    data = replace(arm.dataset, modalities={**arm.dataset.modalities, "truth": other})
    expected, found = (
        fitted(arm, tmp_path / "a"),
        fitted(replace(arm, dataset=data), tmp_path / "b"),
    )
    assert same(found[0], expected[0]) and same(found[1], expected[1])
