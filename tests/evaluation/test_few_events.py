"""Outcomes of which too few events or cases were tested are named."""

import numpy as np
import pandas as pd

from omics_jax.evaluation.few_events import too_few_events
from omics_jax.evaluation.tables import Frame


def frame(kind, n, **columns):
    """Rows of n patients that two models predicted."""
    rows = pd.DataFrame({"id": [f"p{i}" for i in range(n)], **columns})
    return Frame(kind, pd.concat([rows.assign(model="model"), rows.assign(model="mean")]))


def first(n, count):
    return (np.arange(n) < count).astype(int)


def test_fewer_than_ten_events_are_too_few():
    few, enough = (frame("survival", 60, event=first(60, count)) for count in (9, 10))
    assert too_few_events({"OS": enough}) == []
    assert too_few_events({"OS": few, "PFI": enough}) == [
        "OS: 9 events among the 60 tested patients: too few for scores, intervals and tests that "
        "can be relied on (10 or more)."
    ]
    (none,) = too_few_events({"OS": frame("survival", 8, event=first(8, 0))})
    assert none.startswith("OS: no events among the 8 tested patients: too few")


def test_so_are_fewer_than_ten_cases_of_the_rarest_class():
    labels = ["A"] * 30 + ["B"] * 12 + ["C"] * 1
    (sentence,) = too_few_events({"type": frame("classification", 43, label=labels)})
    assert sentence.startswith("type: 1 case of the rarest class (C) among the 43 tested patients")


def test_of_a_binary_outcome_the_rarer_side_counts():
    for label in (first(60, 3), 1 - first(60, 3)):
        (sentence,) = too_few_events({"probability": frame("binary", 60, label=label)})
        assert sentence.startswith("The outcome: 3 cases of its rarer value among the 60 tested")


def test_an_outcome_is_named_once_and_other_frames_are_passed_over():
    labels = np.array(["no", "yes"])[first(60, 3)]
    frames = {
        "er": frame("classification", 60, label=labels),
        "binary er": frame("binary", 60, label=first(60, 3)),
        "latent": frame("embedding", 3, x=[1, 2, 3]),
        "change": Frame("change", pd.DataFrame({"gene": ["a"]})),
        "empty": Frame("survival", pd.DataFrame({"id": [], "event": []})),
    }
    (sentence,) = too_few_events(frames)
    assert sentence.startswith("er: 3 cases of the rarest class (yes)")
