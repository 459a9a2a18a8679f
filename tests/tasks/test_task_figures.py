"""The figures of tasks' predictions."""

import numpy as np
import pandas as pd

from omics_jax.tasks import figures


def test_classes_stand_in_one_order_on_both_sides_of_the_confusion_matrix():
    """Also one that is never predicted, and one that is predicted before it is seen."""
    own = pd.DataFrame({"label": ["A", "A", "B", "D"], "predicted": ["D", "A", "A", "D"]})
    frame = figures._confusion("type", own).frame
    assert frame["row"].unique().tolist() == frame["column"].unique().tolist() == ["A", "B", "D"]
    counts = frame.pivot(index="row", columns="column", values="value").to_numpy()
    np.testing.assert_array_equal(counts, [[1, 0, 1], [1, 0, 0], [0, 0, 1]])


# --- survival by predicted risk -------------------------------------------------------------------


def survivors(sign, n=120, effect=1.0, classes=None, seed=0):
    """Rows of three folds whose hazard rises (sign 1) or falls (-1) with the predicted risk."""
    random = np.random.default_rng(seed)
    risk = random.normal(size=n)
    times = np.ceil(random.exponential(400 * np.exp(-sign * effect * risk)))
    rows = {"fold": np.arange(n) % 3, "risk": risk, "time": times, "event": random.random(n) < 0.7}
    return pd.DataFrame(rows | ({} if classes is None else {"class": classes}))


def test_a_risk_that_is_right_says_so():
    caption = figures._risk_groups("OS", survivors(1)).caption
    assert "Log-rank test for trend within folds: z " in caption and "z −" not in caption
    assert "Patients of a higher predicted risk had the event earlier." in caption


def test_a_reversed_order_is_said_in_words():
    rows = survivors(-1)
    caption = figures._risk_groups("OS", rows).caption
    assert "z -" in caption and "The order is reversed: patients of a higher predicted" in caption
    assert "worse than chance" in caption
    thirds = rows.groupby("fold")["risk"].transform(lambda r: r.rank(method="first", pct=True))
    lowest = rows[thirds <= 1 / 3]
    assert f"Events, lowest third first: {lowest['event'].sum()} of {len(lowest)}, " in caption


def test_without_an_order_none_is_claimed():
    sentences = {
        figures._risk_groups("OS", survivors(1, effect=0, seed=s)).caption for s in range(4)
    }
    assert all("No order of the thirds was shown" in sentence for sentence in sentences)
    assert {"(the order is even reversed)" in sentence for sentence in sentences} == {True, False}


def test_what_the_class_explains_is_no_order_of_risk():
    """Risk and survival both follow the class, and nothing else."""
    random = np.random.default_rng(1)
    classes = np.array(["indolent", "deadly"])[np.arange(300) % 2]
    deadly = classes == "deadly"
    rows = pd.DataFrame(
        {
            "fold": np.arange(300) // 100,
            "risk": 3 * deadly + random.normal(size=300),
            "time": np.ceil(random.exponential(np.where(deadly, 100, 1000))),
            "event": np.ones(300),
        }
    )
    assert "had the event earlier" in figures._risk_groups("OS", rows).caption
    caption = figures._risk_groups("OS", rows.assign(**{"class": classes})).caption
    assert "within folds and classes: z " in caption
    assert "No order of the thirds was shown" in caption


def test_rows_of_one_class_are_strata_by_fold_alone():
    caption = figures._risk_groups("OS", survivors(1, classes="only")).caption
    assert "for trend within folds: z " in caption
