"""Run directories written by hand, small enough to read, with every part the report knows."""

import json

import numpy as np
import pandas as pd
import pytest

BASELINES = ("no change", "mean shift", "ridge", "PLS", "random forest")


def estimate(mean, half, n=30):
    return {
        "mean": mean,
        "sd": half,
        "ci95": [mean - half, mean + half],
        "ci_method": "Nadeau-Bengio corrected t",
        "n": n,
    }


def fake_metrics(random, drugs, baselines):
    def summary(level):
        return {
            "pearson": estimate(level, 0.021),
            "delta_pearson": estimate(level - 0.3, 0.034),
            "rmse": estimate(1.4 - level, 0.015),
        }

    arms = {"pertvae": 0.744, "pertvae without flow": 0.731}
    scored = {name: summary(0.58 + 0.035 * i) for i, name in enumerate(baselines)}
    replicates = [
        {"arm": arm, "group": drug, "fold": fold, "repeat": repeat, "seed": 7 * repeat + fold}
        | {
            "pearson": level + random.normal(0, 0.02),
            "delta_pearson": level - 0.3 + random.normal(0, 0.04),
            "rmse": 1.4 - level + random.normal(0, 0.02),
        }
        for arm, level in arms.items()
        for drug in drugs
        for repeat in range(2)
        for fold in range(5)
    ]
    comparisons = [
        {"a": "pertvae", "b": b, "metric": m, "difference": d, "ci95": [d - w, d + w], "p": p}
        | {"p_adjusted": min(1.0, 3 * p), "test": "corrected resampled t"}
        for b, m, d, w, p in [
            ("no change", "pearson", 0.164, 0.03, 2e-9),
            ("ridge", "pearson", 0.094, 0.03, 0.0003),
            ("random forest", "pearson", 0.024, 0.03, 0.11),
            ("random forest", "rmse", 0.031, 0.02, 0.004),
        ][: 4 if len(baselines) > 4 else 0]
    ]
    return {
        "system": "pertvae",
        "experiment": "table1",
        "summary": summary(arms["pertvae"]),
        "baselines": scored,
        "comparisons": comparisons,
        "arms": {
            arm: {"summary": summary(level), "baselines": scored} for arm, level in arms.items()
        },
        "replicates": replicates,
        "timing": {"compile_s": 21.34, "train_s": 412.0, "total_s": 455.1},
        "better": {"pearson": "higher", "delta_pearson": "higher", "rmse": "lower"},
    }


def fake_tables(random, drugs, baselines, genes):
    """name -> (kind, title, caption, x_label, y_label, frame), every kind at least once."""
    methods = ("pertvae", *baselines)
    observed = random.normal(0, 1, genes)
    scatter = pd.concat(
        pd.DataFrame(
            {"x": observed, "y": slope * observed + random.normal(0, 0.5, genes), "series": m}
        )
        for slope, m in ((0.9, "pertvae"), (0.7, "ridge"), (0.5, "no change"))
    )
    doses = np.array([0.04, 0.12, 0.37, 1.1, 3.3, 10.0])
    curve = pd.concat(
        pd.DataFrame({"x": doses, "y": y, "low": y - 0.05, "high": y + 0.05, "series": drug})
        for i, drug in enumerate(drugs)
        for y in [0.3 + 0.1 * i + 0.12 * np.log1p(doses)]
    )
    months = np.linspace(0, 60, 121)
    survival = pd.concat(
        pd.DataFrame(
            {"x": months, "y": s, "low": s * 0.95, "high": np.minimum(1, s * 1.05), "series": name}
        )
        for name, rate in (("low risk", 0.005), ("middle", 0.012), ("high risk", 0.03))
        for s in [np.exp(-rate * months)]
    )
    figure2 = pd.DataFrame(
        [
            {"label": drug, "value": v, "low": v - 0.04, "high": v + 0.04, "series": m}
            for drug in drugs
            for m in methods[:3]
            for v in [random.uniform(0.4, 0.9)]
        ]
    )
    ranking = pd.DataFrame(
        {"label": [f"GENE{i}" for i in range(45)], "value": random.normal(0, 1, 45)}
    )
    shared = pd.DataFrame(
        [
            {"label": f"Pathway {p}", "value": v, "low": v - 0.2, "high": v + 0.2, "series": m}
            for p in range(12)
            for m in ("attention", "integrated gradients")
            for v in [random.normal()]
        ]
    )
    start = random.normal(0, 1, (90, 2))
    shift = np.repeat([[1.5, 0.3], [-0.4, 1.2], [0.2, -0.9]], 30, axis=0) + random.normal(
        0, 0.2, (90, 2)
    )
    arrows = pd.DataFrame(
        {
            "x": start[:, 0],
            "y": start[:, 1],
            "x_end": (start + shift)[:, 0],
            "y_end": (start + shift)[:, 1],
        }
    ).assign(series=np.resize(np.repeat(np.resize(drugs, 3), 30), 90))
    listing = pd.DataFrame(
        {"drug": drugs, "profiles": 120, "r2": np.resize([0.4213, np.nan, 0.51], len(drugs))}
    )
    risk = np.linspace(0.05, 0.95, 10)
    both = pd.DataFrame(
        {
            "x": np.r_[0, risk, 1],
            "y": np.sqrt(np.r_[0, risk, 1]),
            "chance": 0.14,
            "series": "pertvae",
        }
    )
    bins = pd.DataFrame(
        {"x": risk, "y": risk**2, "low": risk**2 - 0.04, "high": risk**2 + 0.04, "count": 40}
    )
    hours = np.arange(0.0, 48, 4)
    imputed = pd.DataFrame(
        {"x": hours, "value": 90 + hours / 4, "low": 88 + hours / 4, "high": 92 + hours / 4}
    )
    imputed = pd.concat(
        [imputed.assign(role="imputed"), imputed[["x", "value"]][::3].assign(role="observed")],
        ignore_index=True,
    ).assign(panel="patient 132539, died", variable="HR (bpm)")
    names = "intervals", "Prediction by drug", "Each dot is one drug's mean over ten splits."
    steps = pd.concat(
        pd.DataFrame(
            {
                "x": months[::12],
                "y": s,
                "low": s * 0.9,
                "high": s,
                "at_risk": np.ceil(90 * s),
                "series": name,
            }
        )
        for name, rate in (("low risk", 0.005), ("high risk", 0.03))
        for s in [np.exp(-rate * months[::12])]
    )
    tumours = pd.DataFrame(
        [
            {"row": a, "column": b, "value": 9 if a == b else 1}
            for a in ("BRCA", "LUAD")
            for b in ("BRCA", "LUAD")
        ]
    )
    latent = pd.DataFrame(
        {"x": start[:, 0], "y": start[:, 1], "series": np.resize(["BRCA", "LUAD"], 90)}
    )
    overlap = pd.DataFrame({"combination": ["rna + methylation", "rna"], "patients": [320, 45]})
    return {
        "figure2": (*names, "Pearson correlation of change", "", figure2),
        "observed": (
            "scatter",
            "Predicted against observed change",
            "A point is a gene; on the dashed line prediction and measurement agree.",
            "observed change (log2)",
            "predicted change (log2)",
            scatter,
        ),
        "shift": ("arrows", "Latent shift", "From control to treated.", "PC 1", "PC 2", arrows),
        "dose": (
            "curve",
            "Response by dose",
            "More dose, more response.",
            "dose (µM)",
            "response",
            curve,
        ),
        "survival": (
            "curve",
            "Survival by risk",
            "",
            "time (months)",
            "probability alive",
            survival,
        ),
        "roc": (
            "roc",
            "ROC",
            "Up and left is better.",
            "false positive rate",
            "true positive rate",
            both,
        ),
        "pr": (
            "pr",
            "Precision and recall",
            "",
            "recall",
            "precision",
            both.assign(y=1 - both["y"] / 2),
        ),
        "risks": (
            "calibration",
            "Calibration",
            "On the line risks are right.",
            "predicted",
            "observed",
            bins,
        ),
        "imputed": (
            "series",
            "Imputed series",
            "The line fills the gaps.",
            "hours since admission",
            "",
            imputed,
        ),
        "genes": ("ranking", "Genes that weigh most", "", "attribution (z-score)", "", ranking),
        "pathways": ("ranking", "Pathways by two methods", "", "score (z-score)", "", shared),
        "observed_survival": (
            "survival",
            "Survival observed",
            "",
            "time (months)",
            "probability alive",
            steps,
        ),
        "confusion": (
            "matrix",
            "Confusion",
            "Dark cells off the diagonal are errors.",
            "predicted",
            "true",
            tumours,
        ),
        "latent": ("map", "Latent space", "Near points are alike.", "UMAP 1", "UMAP 2", latent),
        "overlap": ("overlap", "Modalities", "Who has what.", "", "patients", overlap),
        "drugs": ("table", "Drugs", "What was in the data.", "", "", listing),
    }


def fake_history(random, epochs, replicates, drug):
    for stage in ("elbo", "flow"):
        for replicate in range(replicates):
            last = epochs - int(random.integers(0, epochs // 3))
            for epoch in range(last):
                distance = (epoch - epochs / 2) ** 2 / 60
                yield {
                    "arm": "pertvae",
                    "stage": stage,
                    "replicate": replicate,
                    "label": f"{drug} replicate {replicate}",
                    "epoch": epoch,
                    "objective": 900 * np.exp(-epoch)
                    + 40
                    + 20 * np.exp(-epoch / 15)
                    + random.normal(0, 1),
                    "monitor": None if stage == "flow" else 50 + distance + random.normal(),
                    "update_norm": 0.01,
                    "term/kl_z1": 3.2,
                }


def write_fake_run(
    run, drugs=("vorinostat", "sirolimus", "geldanamycin"), baselines=BASELINES, only=(), **sizes
):
    """Writes a whole run directory; only: the tables it holds (all); sizes: genes, epochs,
    replicates.
    """
    random = np.random.default_rng(5)
    (run / "tables").mkdir(parents=True)
    tables = fake_tables(random, list(drugs), baselines, sizes.get("genes", 60))
    tables = {name: table for name, table in tables.items() if not only or name in only}
    keys = ("kind", "title", "caption", "x_label", "y_label")
    index = [
        {"name": name} | dict(zip(keys, table[:5], strict=True)) for name, table in tables.items()
    ]
    for name, table in tables.items():
        table[-1].to_csv(run / "tables" / f"{name}.csv", index=False)
    documents = {
        "tables/index.json": index,
        "metrics.json": fake_metrics(random, drugs, baselines),
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
    for name, document in documents.items():
        (run / name).write_text(json.dumps(document))
    lines = fake_history(random, sizes.get("epochs", 12), sizes.get("replicates", 3), drugs[0])
    (run / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
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
