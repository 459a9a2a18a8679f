"""PertVAE on public L1000 and TG-GATEs files: runs of experiments/main.py, a JSON line each.

    python benchmarks/real_l1000.py --data=$OMICS_JAX_DATA/l1000 [--out=runs/real] [RUN ...]

The folder holds pairs_transigen100.npz, basal_164_cells.npz, plate_CPC006_A375_6H_X1.npz,
tggates_hepatocyte.npz with .meta.csv, tggates_pairs.csv and raw/plate_CPC006_A375_6H_X1.gctx.
Without a RUN all are run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NO_COLUMNS = {"dose": "", "time": "", "role": ""}


def columns(**names: str) -> list[str]:
    """The flags that name the columns of the table of conditions."""
    return [f"--config.data.columns.{key}={value}" for key, value in names.items()]


def runs(data: Path) -> dict[str, list[str]]:
    """Name -> flags of experiments/main.py."""
    pairs = [
        f"--config.data.path={data / 'pairs_transigen100.npz'}",
        *columns(cell_line="cell", drug="smiles", **NO_COLUMNS),
        "--config.data.dose=all",
        "--config.model.per_drug=False",
    ]
    basal = f"--config.data.singletons={data / 'basal_164_cells.npz'}"
    tggates = [
        f"--config.data.path={data / 'tggates_hepatocyte.npz'}",
        f"--config.data.conditions={data / 'tggates_hepatocyte.meta.csv'}",
        f"--config.data.pairs={data / 'tggates_pairs.csv'}",
        *columns(
            sample="sample",
            cell_line="",
            drug="treatmentid",
            dose="concentration",
            time="hours",
            role="xptype",
        ),
        "--config.data.dose=all",
        "--config.data.group_by=drug",
        "--config.model.per_drug=False",
    ]
    plate = [
        f"--config.data.path={data / 'raw' / 'plate_CPC006_A375_6H_X1.gctx'}",
        *columns(drug="pert_id", dose="exp_pert_dose", time="exp_pert_time"),
        "--config.data.control_profile=one",
        "--config.data.group_by=drug",
        "--config.data.dose=all",
        "--config.model.per_drug=False",
    ]
    # Several paths are quoted one by one.
    others = ("basal_164_cells.npz", "plate_CPC006_A375_6H_X1.npz")
    all_profiles = "--config.data.singletons=" + ",".join(f"'{data / name}'" for name in others)
    config = "--config=configs/pertvae.py:"
    ten_by_five = "--config.repeats=10"
    return {
        "figure2": [f"{config}figure2,paper", *pairs, all_profiles, "--config.repeats=1"],
        "pairs100": [f"{config}table1", ten_by_five, *pairs, basal],
        "pairs100-paper": [f"{config}table1,paper", *pairs, basal],
        "tggates": [f"{config}table1", ten_by_five, *tggates],
        "tggates-paper": [f"{config}table1,paper", *tggates],
        "plate": [f"{config}table1", ten_by_five, *plate],
    }


def main() -> None:
    """Runs what was asked for, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "real")
    parser.add_argument("run", nargs="*")
    arguments = parser.parse_args()
    known = runs(arguments.data)
    for name in arguments.run or known:
        folder = arguments.out / name
        command = [sys.executable, "experiments/main.py", *known[name], f"--workdir={folder}"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
        print(json.dumps({"run": name, **findings(folder)}), flush=True)


def findings(folder: Path) -> dict:
    """Means and intervals of the model and the baselines, the comparisons, and the timing."""
    metrics = json.loads((folder / "metrics.json").read_text())
    arms = {}
    for name, arm in metrics["arms"].items():
        arms[name] = {"model": means(arm["summary"])}
        arms[name] |= {baseline: means(summary) for baseline, summary in arm["baselines"].items()}
    fields = ("a", "b", "metric", "difference", "p_adjusted")
    comparisons = metrics["comparisons"]
    return {
        "arms": arms,
        "comparisons": [{field: rounded(test[field]) for field in fields} for test in comparisons],
        "timing": {name: round(seconds, 1) for name, seconds in metrics["timing"].items()},
    }


def means(summary: dict) -> dict:
    """Metric -> [mean, low, high] of its 95 % interval."""
    return {
        metric: [rounded(value["mean"]), *map(rounded, value["ci95"])]
        for metric, value in summary.items()
    }


def rounded(value):
    """A number to 4 decimals; names and None as they are."""
    return value if value is None or isinstance(value, str) else round(value, 4)


if __name__ == "__main__":
    main()
