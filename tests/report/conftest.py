"""Run directories written by hand, small enough to read, with every part the report knows."""

import json

import numpy as np
import pandas as pd
import pytest
from figure_examples import EXAMPLES, example

METHODS = {
    "no change": 0.580,
    "mean shift": 0.615,
    "ridge": 0.650,
    "PLS": 0.685,
    "random forest": 0.720,
}
ARMS = {"pertvae": 0.744, "pertvae without flow": 0.731}
DRUGS = ("vorinostat", "sirolimus", "geldanamycin")
EPOCHS = 12
COMPARED = [
    ("no change", "pearson", 0.164, 0.03, 2e-9),
    ("ridge", "pearson", 0.094, 0.03, 0.0003),
    ("random forest", "pearson", 0.024, 0.03, 0.11),
    ("random forest", "rmse", 0.031, 0.02, 0.004),
]


def estimate(mean, half, n=30):
    return {
        "mean": mean,
        "sd": half,
        "ci95": [mean - half, mean + half],
        "ci_method": "Nadeau-Bengio corrected t",
        "n": n,
    }


def summary(level):
    return {
        "pearson": estimate(level, 0.021),
        "delta_pearson": estimate(level - 0.3, 0.034),
        "rmse": estimate(1.4 - level, 0.015),
    }


def comparison(rival, metric, difference, half, p):
    return {
        "a": "pertvae",
        "b": rival,
        "metric": metric,
        "difference": difference,
        "ci95": [difference - half, difference + half],
        "p": p,
        "p_adjusted": min(1.0, 3 * p),
        "test": "corrected resampled t",
    }


def replicate(random, arm, drug, repeat, fold):
    level = ARMS[arm]
    return {
        "arm": arm,
        "group": drug,
        "fold": fold,
        "repeat": repeat,
        "seed": 7 * repeat + fold,
        "pearson": level + random.normal(0, 0.02),
        "delta_pearson": level - 0.3 + random.normal(0, 0.04),
        "rmse": 1.4 - level + random.normal(0, 0.02),
    }


def fake_metrics(random):
    baselines = {name: summary(level) for name, level in METHODS.items()}
    arms = {arm: {"summary": summary(level), "baselines": baselines} for arm, level in ARMS.items()}
    replicates = [
        replicate(random, arm, drug, repeat, fold)
        for arm in ARMS
        for drug in DRUGS
        for repeat in range(2)
        for fold in range(5)
    ]
    return {
        "system": "pertvae",
        "experiment": "table1",
        "summary": summary(ARMS["pertvae"]),
        "baselines": baselines,
        "comparisons": [comparison(*numbers) for numbers in COMPARED],
        "arms": arms,
        "replicates": replicates,
        "timing": {"compile_s": 21.34, "train_s": 412.0, "total_s": 455.1},
        "better": {"pearson": "higher", "delta_pearson": "higher", "rmse": "lower"},
    }


def fake_tables():
    """name -> (entry of the index, frame): a curve of doses, every kind once, a printed table."""
    frames = {"dose": ("curve", example("curve", DRUGS))}
    frames |= {kind: (kind, example(kind, ("a", "b"))) for kind in EXAMPLES}
    r2 = np.resize([0.4213, np.nan, 0.51], len(DRUGS))
    frames["drugs"] = ("table", pd.DataFrame({"drug": DRUGS, "profiles": 120, "r2": r2}))
    titles = {"dose": "Response by dose", "drugs": "Drugs"}
    return {
        name: (
            {
                "name": name,
                "kind": kind,
                "title": titles.get(name, f"An example of {kind}"),
                "caption": f"What to see in {name}.",
                "x_label": "dose (µM)",
                "y_label": "response",
            },
            frame,
        )
        for name, (kind, frame) in frames.items()
    }


def fake_history(random, replicates=3):
    for stage in ("elbo", "flow"):
        for index in range(replicates):
            last = EPOCHS - int(random.integers(0, EPOCHS // 3))
            for epoch in range(last):
                falling = 900 * np.exp(-epoch) + 40 + 20 * np.exp(-epoch / 15)
                monitor = 50 + (epoch - EPOCHS / 2) ** 2 / 60 + random.normal()
                yield {
                    "arm": "pertvae",
                    "stage": stage,
                    "replicate": index,
                    "label": f"vorinostat replicate {index}",
                    "epoch": epoch,
                    "objective": falling + random.normal(0, 1),
                    "monitor": None if stage == "flow" else monitor,
                    "update_norm": 0.01,
                    "term/kl_z1": 3.2,
                }


DOCUMENTS = {
    "config.json": {
        "system": "pertvae",
        "optimizer": {"rate": 5e-4, "decay": None},
        "widths": [2, 3],
    },
    "environment.json": {
        "command": "python experiments/main.py --config=configs/pertvae.py:table1",
        "versions": {"jax": "0.10.2", "python": "3.11.9"},
        "devices": ["cpu:0"],
        "data": [{"path": "simulated", "sha256": "9f2c"}],
    },
    "data.json": {
        "summary": [["profiles", 1234], ["genes", 978], ["cell lines", "MCF7, PC3, A549"]],
        "notes": ["12 profiles without a control on their plate were left out."],
    },
}


def write_fake_run(run, only=()):
    """Writes a whole run directory; only: the tables it holds (all)."""
    random = np.random.default_rng(5)
    (run / "tables").mkdir(parents=True)
    tables = {name: table for name, table in fake_tables().items() if not only or name in only}
    for name, (_, frame) in tables.items():
        frame.to_csv(run / "tables" / f"{name}.csv", index=False)
    index = [entry for entry, _ in tables.values()]
    documents = {**DOCUMENTS, "tables/index.json": index, "metrics.json": fake_metrics(random)}
    for name, document in documents.items():
        (run / name).write_text(json.dumps(document))
    lines = [json.dumps(line) + "\n" for line in fake_history(random)]
    (run / "history.jsonl").write_text("".join(lines))
    return run


@pytest.fixture
def fake_run(tmp_path):
    """With few tables, since a drawing takes a tenth of a second."""
    return write_fake_run(tmp_path / "run", only=("dose", "drugs"))


@pytest.fixture
def whole_run(tmp_path):
    return write_fake_run(tmp_path / "run")


@pytest.fixture
def our_style():
    """Drawing as the report draws."""
    from omics_jax.report.style import drawing_style

    with drawing_style():
        yield
