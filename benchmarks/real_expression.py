"""The gene transformer on public expression: runs of experiments/main.py, a JSON line each.

    python benchmarks/real_expression.py --data=$OMICS_JAX_DATA/expression [--out=DIR] [RUN ...]

The folder holds gtex1000.npz, tcga_brca1000.npz and genefu_expos.npz with their .labels.csv.
Without a RUN all are run. Other flags go to every run: `expo-multitask --config.repeats=2`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from measuring import findings

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "--config=configs/gene_transformer.py:"
# A thousand genes: steps of 32 patients through 32 tokens, each a second shorter than exact ones.
INDUCED = ["--config.model.attention=induced", "--config.training.batch_size=32"]


def cohorts(data: Path) -> dict[str, list[str]]:
    """Cohort -> the flags of its files and outcomes."""

    def files(name: str, *flags: str) -> list[str]:
        return [
            f"--config.data.modalities=rna={data / name}.npz",
            f"--config.data.clinical={data / name}.labels.csv",
            "--config.data.id=sample",
            *flags,
        ]

    return {
        "gtex": files(
            "gtex1000",
            "--config.data.group=donor",
            "--config.data.smallest_class=12",  # donors: 27 of 31 tissues
            "--config.data.classes=tissue=tissue, sex=sex",
            "--config.data.numbers=age=age_mid, hardy=hardy",
        ),
        "brca": files(
            "tcga_brca1000",
            "--config.data.group=patient",
            "--config.data.classes=pam50=PAM50, er=ER, pr=PR, her2=HER2_ihc, stage=stage_group",
            "--config.data.numbers=age=age",
            "--config.data.survival_times=OS=OS.time:OS, PFI=PFI.time:PFI",
            "--config.data.zero_times=mask",
        ),
        "expo": files(
            "genefu_expos",
            "--config.data.classes=er=er, pgr=pgr, her2=her2, grade=grade",
            "--config.data.numbers=age=age",
        ),
    }


def runs(data: Path) -> dict[str, list[str]]:
    """Name -> flags of experiments/main.py."""
    named = {}
    for name, flags in cohorts(data).items():
        for experiment in ("multitask", "encodings", "balancing"):
            named[f"{name}-{experiment}"] = [f"{CONFIG}{experiment}", *flags, *INDUCED]
        named[f"{name}-best"] = [f"{CONFIG}multitask,best", *flags]
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/real_expression"))
    parser.add_argument("names", nargs="*", help="runs; all without any")
    arguments, flags = parser.parse_known_args()
    chosen = runs(arguments.data.resolve())
    for name in arguments.names or chosen:
        workdir = (arguments.out / name).resolve()
        command = [sys.executable, "experiments/main.py", *chosen[name], *flags]
        done = subprocess.run([*command, f"--workdir={workdir}"], cwd=ROOT)
        if done.returncode:
            raise SystemExit(f"{name} ended with {done.returncode}")
        print(json.dumps({"run": name, **findings(workdir)}), flush=True)


if __name__ == "__main__":
    main()
