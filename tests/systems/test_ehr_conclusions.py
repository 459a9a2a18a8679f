"""What the EHR experiments say over all folds: errors by variable, trainings tested on the same
patients.
"""

import numpy as np
import pandas as pd
import pytest

from omics_jax.evaluation import bootstrap, classification, imputation
from omics_jax.evaluation.tables import Frame
from omics_jax.run.scores import summaries
from omics_jax.study.system import Results
from omics_jax.systems.ehr import conclusions, figures, paper_tables
from omics_jax.tasks.binary import BINARY, STATISTICS
from omics_jax.tasks.binary_figures import DRAWS, pooled_predictions

RNG = np.random.default_rng(0)


def test_errors_by_variable_are_those_of_all_folds_cells_together():
    frames, cells = [], []
    for fold in range(3):
        imputed, truth = RNG.normal(size=(2, 7, 5, 4))
        held = RNG.random((7, 5, 4)) < 0.4
        held[..., 3] = False  # a variable of which nothing is held out
        z = pd.DataFrame(imputation.errors_by_variable(imputed, truth, held, list("abcd")))
        units = pd.DataFrame(
            imputation.errors_by_variable(10 * imputed, 10 * truth, held, list("abcd"))
        )
        units = units[["mae", "rmse", "mre"]].add_suffix("_units")
        frames.append(
            pd.concat([z, units], axis=1).assign(level="10", arm="csai", model="model", fold=fold)
        )
        cells.append((imputed, truth, held))
    found = figures.all_errors(pd.concat(frames)).set_index("variable")
    whole = pd.DataFrame(
        imputation.errors_by_variable(
            *(np.concatenate(part) for part in zip(*cells, strict=True)), list("abcd")
        )
    ).set_index("variable")
    for kind in ("n", "mae", "rmse", "mre"):
        np.testing.assert_allclose(found[kind], whole[kind].to_numpy())
    np.testing.assert_allclose(found["rmse_units"], 10 * whole["rmse"].to_numpy())
    np.testing.assert_allclose(found["mre_units"], whole["mre"].to_numpy())


@pytest.fixture(scope="module")
def outside():
    """Five trainings of two models, tested on the same 200 patients; trainings hardly differ."""
    label, truth = (RNG.random(200) < 0.3).astype(int), RNG.normal(size=200)
    frames, scores = [], []
    for arm, model, strength in (("net", "model", 1.5), ("net", "gradient boosting", 1.0)):
        for fold in range(5):
            p = 1 / (1 + np.exp(-(strength * label + truth + 0.01 * RNG.normal(size=200))))
            ids = np.array([f"p{i:03d}" for i in range(200)])
            frame = pd.DataFrame({"id": ids, "person": ids, "probability": p, "label": label})
            frames.append(
                frame.assign(arm=arm, model=model, group="all", fold=fold).sample(
                    frac=1, random_state=fold
                )
            )
            place = {"arm": arm, "model": model, "group": "all", "fold": fold, "repeat": 0}
            place |= {"n_train": 160, "n_test": 200}
            values = {name: f(p, label) for name, f in STATISTICS.items()} | {
                "calibration_slope": 1.0
            }
            scores += [{**place, "metric": name, "value": value} for name, value in values.items()]
    return Results(
        pd.DataFrame(scores),
        {"probability": Frame("probability", pd.concat(frames))},
        {},
        {"net": {}},
    )


@pytest.mark.slow
def test_intervals_of_external_patients_hold_their_sampling(outside):
    found = conclusions.conclude_external(outside)
    summary = summaries(outside.scores, "net", found)
    auroc, slope = summary["summary"]["auroc"], summary["summary"]["calibration_slope"]
    assert auroc["ci_method"] == "bootstrap of test patients and trainings"
    low, high = auroc["ci95"]
    pooled = found.tables["pooled"].frame.iloc[0]
    assert high - low == pytest.approx(pooled["auroc high"] - pooled["auroc low"], rel=0.05)
    by_training = summaries(outside.scores, "net")["summary"]["auroc"]["ci95"]
    assert by_training[1] - by_training[0] < (high - low) / 5
    assert np.isnan(slope["ci95"]).all() and slope["ci_method"].startswith("none")


@pytest.mark.slow
def test_tests_on_external_patients_pair_patients_and_trainings(outside):
    tests = {t["metric"]: t for t in conclusions.conclude_external(outside).comparisons}
    of = lambda model: outside.scores.query("model == @model and metric == 'auroc'")["value"].mean()
    test = tests["auroc"]
    assert test["difference"] == pytest.approx(of("model") - of("gradient boosting"))
    assert (
        test["ci95"][0] < test["difference"] < test["ci95"][1]
        and 0 < test["p"] <= test["p_adjusted"] <= 1
    )
    assert test["b"] == "gradient boosting"


def test_stays_of_one_person_are_drawn_together(outside):
    frame = outside.frames["probability"].rows
    of_persons = frame.assign(person=frame["id"].str.slice(0, 3))  # 20 persons of 10 stays
    grouped = pooled_predictions(Frame(BINARY, of_persons), ("net", "model"))
    p, y, person = (grouped[name].to_numpy() for name in ("probability", "label", "person"))
    table = figures.outcome_tables(
        Results(outside.scores, {"probability": Frame(BINARY, of_persons)}, {}), ["net"], []
    )["pooled"].frame
    expected = bootstrap.bootstrap_interval(classification.auroc, p, y, person, n=DRAWS)
    assert tuple(table.iloc[0][["auroc low", "auroc high"]]) == pytest.approx(expected)


def test_forgetting_is_the_fine_tuned_error_minus_that_before_fold_by_fold():
    before, labels, scores = RNG.random(4), {"csai": {"imputer": True}}, []
    place = {"model": "model", "group": "all", "repeat": 0, "n_train": 60, "n_test": 20}
    for regime in ("frozen", "unfrozen"):
        arm = f"mlp2, {regime}, cyclic"
        labels[arm] = {"network": "mlp2", "regime": regime, "strategy": "cyclic"}
        scores += [
            {**place, "arm": arm, "fold": f, "metric": "auroc", "value": 0.7 + f / 100}
            for f in range(4)
        ]
    after = before + 0.1 + RNG.random(4) / 100
    for arm, values in (("csai", before), ("mlp2, unfrozen, cyclic", after)):
        scores += [
            {**place, "arm": arm, "fold": f, "metric": "mae_10", "value": v}
            for f, v in enumerate(values)
        ]
    tests, tables = paper_tables.after_against_before(Results(pd.DataFrame(scores), {}, {}, labels))
    row = tables["forgetting"].frame.iloc[0]
    assert len(tables["forgetting"].frame) == 1 and (row["regime"], row["strategy"]) == (
        "unfrozen",
        "cyclic",
    )
    assert row["error before"] == pytest.approx(before.mean()) and row[
        "error after"
    ] == pytest.approx(after.mean())
    assert row["difference"] == pytest.approx((after - before).mean())
    assert row["low"] < row["difference"] < row["high"] and tests[0]["metric"] == "mae_10"
    frozen = [s for s in scores if s["arm"] != "mlp2, unfrozen, cyclic"]
    assert paper_tables.after_against_before(Results(pd.DataFrame(frozen), {}, {}, labels)) == (
        [],
        {},
    )
