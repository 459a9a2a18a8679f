"""Numbers as text, verdicts and sentences, against values worked out by hand."""

import statistics

import pytest

from omics_jax.report import results

BETTER = {"pearson": "higher", "auc": "higher", "rmse": "lower", "mae": "lower"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.744, 0.7, 0.788], ["0.744", "0.700", "0.788"]),
        ([0.024, -0.006, 0.054], ["0.0240", "−0.0060", "0.0540"]),
        ([None, float("nan"), float("inf")], ["–", "–", "–"]),
        ([12345.6], ["12,346"]),
        ([0.0], ["0.00"]),
        ([1.23e-7], ["1.23e−07"]),
        ([True], ["–"]),
    ],
)
def test_numbers_share_their_decimals(values, expected):
    assert results.numbers(values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.4213, 0.51], ["0.421", "0.510"]),
        ([12.34, -0.05, 0.0], ["12.340", "−0.050", "0.000"]),
        ([1234.5, 40.0], ["1,234", "40"]),
        ([0.594, 7.03e-6], ["0.594", "7.03e−06"]),
        ([0.0, 0.0], ["0.00", "0.00"]),
        ([], []),
    ],
)
def test_a_column_shares_its_decimals_unless_its_values_are_far_apart(values, expected):
    assert results.aligned(values) == expected


@pytest.mark.parametrize(
    ("p", "text"), [(0.0312, "0.031"), (2e-9, "< 0.0001"), (None, "–"), (1.0, "1.0")]
)
def test_p_values(p, text):
    assert results.p_value(p) == text


def comparison(difference=0.1, p=None, p_adjusted=None, ci95=None, metric="pearson", **extra):
    entry = {"a": "net", "b": "ridge", "metric": metric, "difference": difference, "ci95": ci95}
    return entry | {"p": p, "p_adjusted": p_adjusted, "test": "t"} | extra


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (comparison(p=0.01, p_adjusted=0.02), "net beats ridge on pearson"),
        (comparison(p=0.01, p_adjusted=0.2), "net does not beat ridge on pearson"),
        (comparison(-0.1, p=0.01), "net is worse than ridge on pearson"),
        (comparison(-0.1, p=0.01, metric="rmse"), "net beats ridge on rmse"),
        (comparison(0.1, ci95=[0.05, 0.15]), "net beats ridge on pearson"),
        (comparison(0.1, ci95=[-0.05, 0.25]), "net does not beat ridge on pearson"),
        (comparison(0.1, p=0.001, metric="width"), "net is higher than ridge on width"),
        (comparison(None), "net and ridge could not be compared on pearson"),
        (comparison(0.1), "net and ridge could not be compared on pearson"),
        (comparison(0.1, p=0.001, group="vorinostat"), "net beats ridge on pearson in vorinostat"),
        (comparison(0.1, p=0.001, group="all"), "net beats ridge on pearson"),
    ],
)
def test_comparisons_in_words(entry, sentence):
    assert results.comparison_rows([entry], BETTER)[0]["sentence"] == sentence


def test_tallies_count_groups_and_say_nothing_of_single_comparisons():
    entries = [comparison(0.1, p=p, group=g) for g, p in (("a", 0.001), ("b", 0.002), ("c", 0.5))]
    assert results.tally_sentences(entries, BETTER) == [
        "net against ridge on pearson, in 3 groups: better in 2, no clear difference in 1."
    ]
    assert results.tally_sentences(entries[:1], BETTER) == []


def entry(mean, ci95=None, method="bootstrap by group", n=10):
    return {"mean": mean, "sd": None, "ci95": ci95, "ci_method": method, "n": n}


def test_the_best_mean_is_marked_in_the_metrics_own_direction():
    summaries = {
        "net": {"auc": entry(0.8), "mae": entry(2.0), "width": entry(1.0)},
        "ridge": {"auc": entry(0.7), "mae": entry(1.0), "width": None},
        "mean": {"auc": entry(None), "mae": entry(1.0)},
    }
    table = results.result_rows(summaries, BETTER, ["net"])
    best = {row["name"]: [cell["best"] for cell in row["cells"]] for row in table["rows"]}
    assert best == {
        "net": [True, False, False],
        "ridge": [False, True, False],
        "mean": [False, True, False],
    }
    assert [cell["mean"] for cell in table["rows"][2]["cells"]] == ["–", "1.00", "–"]
    assert [row["model"] for row in table["rows"]] == [True, False, False]


@pytest.mark.parametrize("others", [(), ("ridge", "mean")])
def test_nothing_is_best_alone_or_where_all_are_equal(others):
    table = results.result_rows(
        {name: {"auc": entry(0.8)} for name in ("net", *others)}, BETTER, ["net"]
    )
    assert not any(row["cells"][0]["best"] for row in table["rows"])


@pytest.mark.parametrize(
    ("constant", "starred"),
    [(0.3, ["ridge"]), (1e-16, []), (0.1, [])],
)
def test_a_prediction_that_is_the_same_for_every_row_wins_nothing(constant, starred):
    """Whatever it is calibrated to: where it leads or shares the lead, no cell is best."""
    summaries = {
        "net": {"mae": entry(0.2)},
        "ridge": {"mae": entry(0.1)},
        "no features": {"mae": {**entry(constant), "constant": True}},
    }
    rows = results.result_rows(summaries, BETTER, ["net"])["rows"]
    assert [row["name"] for row in rows if row["cells"][0]["best"]] == starred


def test_p_values_show_the_p_value_of_all_splits_and_no_interval():
    p = {**entry(0.2, [None, None], "none, p-values of the splits"), "p_combined": 0.4}
    (row,) = results.result_rows({"net": {"calibration_p": p}}, BETTER, ["net"])["rows"]
    assert row["cells"][0]["interval"] == "all splits: 0.40"
    both = {"net": {"auc": entry(0.8, [0.7, 0.9], n=10), "calibration_p": p}}
    sentence = results.interval_sentence(both)
    assert sentence.startswith("95 % intervals: bootstrap by group, from 10 values. The mean of p-")
    assert "none, p-values" not in sentence and "twice the mean" in sentence


def test_interval_methods_are_all_named():
    summaries = {
        "net": {"auc": entry(0.8, [0.7, 0.9], n=10), "f1": entry(0.8, [0.7, 0.9], n=8)},
        "ridge": {"auc": entry(0.7, [0.6, 0.8], "Nadeau-Bengio", 30), "f1": None},
    }
    assert results.interval_sentence(summaries) == (
        "95 % intervals: bootstrap by group, from 8 to 10 values; Nadeau-Bengio, from 30 values."
    )
    assert "No interval" in results.interval_sentence({"net": {"auc": entry(0.8)}})


def test_groups_hold_mean_and_deviation_of_their_splits():
    values = {"a": [0.71, 0.74, 0.8], "b": [0.5]}
    replicates = [{"arm": "net", "group": g, "auc": v} for g, vs in values.items() for v in vs]
    table = results.group_rows(replicates, ["auc", "absent"])
    assert table["metrics"] == ["auc"] and not table["several_arms"]
    expected = f"{statistics.mean(values['a']):.3f}", f"{statistics.stdev(values['a']):.3f}"
    assert (table["rows"][0]["cells"][0]["mean"], table["rows"][0]["cells"][0]["sd"]) == expected
    assert table["rows"][1]["cells"][0] == {"mean": "0.500", "sd": "–"}
    assert results.group_rows(replicates[:3], ["auc"]) == {}


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({}, "net was run; it reports no summary."),
        ({"summary": {"auc": None}}, "net reaches a mean auc of –."),
        (
            {
                "summary": {"mae": entry(2.0, [1.0, 3.0])},
                "baselines": {
                    "a": {"mae": entry(4.0)},
                    "b": {"mae": entry(3.0)},
                    "c": {"mae": None},
                },
            },
            "net reaches a mean mae of 2.00 (95 % interval 1.00 to 3.00); the best baseline (b) "
            "reaches 3.00.",
        ),
        (
            {"summary": {"width": entry(2.0)}, "baselines": {"a": {"width": entry(4.0)}}},
            "net reaches a mean width of 2.00; the baselines: a 4.00.",
        ),
    ],
)
def test_the_statement(metrics, expected):
    assert results.statement("net", metrics, BETTER) == expected
