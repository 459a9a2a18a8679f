"""How near held-out cells of the PhysioNet 2012 challenge are imputed: our imputers, simple
methods, PyPOTS' networks.

    python benchmarks/ehr_accuracy.py --data=set-a.tar.xz --outcomes=Outcomes-a.txt --pypots=PYTHON

One split, fold 0 of five (60 % train, 20 % validation, 20 % test), and 10 % of the test rows'
observed cells held out. All see the same standardised series, drawn in to 10 s.d., and are scored
on the same cells. Left out are further folds and seeds: differences of a percent or two mean
nothing here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ehr_imputer import ehr_config
from measuring import Stopwatch, emit, one_core

PEERS = {
    "SAITS": dict(n_layers=2, d_model=64, n_heads=4, d_k=16, d_v=16, d_ffn=128),
    "BRITS": dict(rnn_hidden_size=64),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="series, as config.data.path")
    parser.add_argument(
        "--outcomes", default="", help="as config.data.outcomes; the folds are stratified by them"
    )
    parser.add_argument(
        "--size", default="best", help="a size of configs/ehr.py, or several words of it"
    )
    parser.add_argument(
        "--imputers", nargs="*", choices=("csai", "brits"), default=["csai"], help="ours to train"
    )
    parser.add_argument("--epochs", type=int, default=0, help="of ours; 0 for the config's")
    parser.add_argument(
        "--patients", type=int, default=0, help="only so many, the first ones; 0 for all"
    )
    parser.add_argument(
        "--runs", nargs="*", default=[], help="finished runs of this size and data, to score"
    )
    parser.add_argument("--pypots", default="", help="python of an environment with pypots")
    parser.add_argument(
        "--peers", nargs="*", choices=tuple(PEERS), default=list(PEERS), help="PyPOTS' to train"
    )
    parser.add_argument("--peer-epochs", type=int, default=40)
    parser.add_argument("--peer-batch", type=int, default=64)
    parser.add_argument(
        "--core", type=int, default=None, help="the core to run on (default: the first allowed)"
    )
    parser.add_argument("--worker", nargs=2, metavar=("FOLDER", "NETWORK"), help=argparse.SUPPRESS)
    a = parser.parse_args()
    if not a.data and not a.worker:
        parser.error("name the series with --data")
    return a


# --- the split and its cells ----------------------------------------------------------------------


def arms_of(a: argparse.Namespace) -> list[Any]:
    """The arms of the experiment imputation, each cut down to its first replicate: fold 0."""
    import dataclasses

    import numpy as np

    from omics_jax.systems.ehr import EXPERIMENTS, read

    config = ehr_config(f"imputation,{a.size}")
    config.data.update(dict(path=a.data, outcomes=a.outcomes))
    config.imputers = tuple(a.imputers) or config.imputers
    config.pretrain.epochs = a.epochs or config.pretrain.epochs
    dataset = read(config)
    if a.patients:
        dataset = dataset.take(np.arange(min(a.patients, len(dataset))))
    arms = EXPERIMENTS["imputation"](config, dataset)
    return [dataclasses.replace(arm, replicates=arm.replicates[:1]) for arm in arms]


def standardized_parts(arm) -> dict[str, Any]:
    """What every method reads and is scored on, (n, T, D), z-scores by the training rows' observed
    values, clipped.

    Returns:
      train, validation, test: NaN where missing, in the latter two also where held out;
      validation_full, test_full: with the held-out values; test_raw: test_full before it was
      clipped; scored: the test rows' held-out cells.
    """
    import numpy as np

    from omics_jax.systems.ehr.stays import SLOT

    (replicate,), arrays = arm.replicates, arm.system.arrays(arm.dataset)
    known, first = arrays["m"] | (arrays["held"] > 0), arrays["held"] == 1
    z = (arrays["x"] - replicate.constants["mean"]) / replicate.constants["sd"]
    z = np.where(known, z, np.nan).astype(np.float32)
    clipped = np.clip(z, -arm.config.model.clip, arm.config.model.clip)
    shown = np.where(first | ~arrays["m"], np.nan, clipped)
    validation, test = replicate.validation[SLOT], replicate.test
    return {
        "train": np.where(arrays["m"], clipped, np.nan)[replicate.rows[SLOT]],
        "validation": shown[validation],
        "validation_full": clipped[validation],
        "test": shown[test],
        "test_full": clipped[test],
        "test_raw": z[test],
        "scored": first[test],
    }


def scores(imputed, parts: dict[str, Any]) -> dict[str, float]:
    """Errors in s.d. over the scored cells; "unclipped" are those against the values as they were
    measured.
    """
    from omics_jax.evaluation.imputation import imputation_errors

    of = lambda truth: imputation_errors(imputed, parts[truth], parts["scored"])
    clipped, raw = of("test_full"), of("test_raw")
    found = {kind: clipped[kind] for kind in ("mae", "rmse")}
    return {
        k: round(v, 5)
        for k, v in (found | {f"{kind}_unclipped": raw[kind] for kind in found}).items()
    }


# --- the methods ----------------------------------------------------------------------------------


def simple_methods(parts: dict[str, Any], hours) -> Iterator[tuple[str, Any]]:
    """Name and imputed test rows of the training mean, last observation, linear interpolation,
    nearest in time.
    """
    import numpy as np

    from omics_jax.evaluation.series_baselines import IMPUTERS

    (train, seen), (test, shown) = (
        (np.nan_to_num(parts[k]), ~np.isnan(parts[k])) for k in ("train", "test")
    )
    for name, imputer in IMPUTERS.items():
        yield name, imputer(train, seen, test, shown, hours)


def train_ours(arm) -> tuple[Any, dict[str, Any]]:
    """The test rows imputed by the arm's network, on the training scale, and what it took."""
    import jax
    import numpy as np

    from omics_jax.training.history import History
    from omics_jax.training.loop import RunContext, fit
    from omics_jax.training.plan import Options, Training, make_plan
    from omics_jax.training.rows import apply_to_rows, compile_row_function

    system, (replicate,) = arm.system, arm.replicates
    with Stopwatch() as took, tempfile.TemporaryDirectory() as folder:
        table = system.arrays(arm.dataset)
        plan = make_plan(
            Training(system.stages, system.init, table, arm.dataset.ids, [replicate]), Options()
        )
        context = RunContext(Path(folder) / "checkpoints", History(Path(folder) / "history.jsonl"))
        ((_, by_stage),) = fit(plan, context)
        monitored = [line["monitor"] for line in context.history.lines()]
    variables = by_stage[system.stages[-1].name]
    width = min(system.predict_batch, len(replicate.test))
    (found,) = apply_to_rows(
        compile_row_function(system.predict, width), width, variables, plan.table, [replicate.test]
    )
    imputed = next(
        values for name, values in found.items() if name.startswith("imputed_")
    )  # the first held-out share
    constants = replicate.constants
    return (imputed - constants["mean"]) / constants["sd"], {
        "cpu_s": round(took.cpu, 1),
        "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(variables["params"])),
        "epochs": len(monitored),
        "best_epoch": int(np.nanargmin(np.array(monitored, float))) + 1,
        "validation_mae": round(float(np.nanmin(np.array(monitored, float))), 5),
    }


def of_run(folder: Path, ids, arm) -> Iterator[tuple[str, Any]]:
    """Name and imputed test rows of every imputer of a run, on the training scale of `arm`, by what
    it predicted.
    """
    import numpy as np

    (replicate,) = arm.replicates
    stored = np.load(folder / "predictions.npz")
    for field in [name for name in stored.files if name.endswith("/imputed_10")]:
        name = field.removesuffix("/imputed_10")
        first = stored[f"{name}/replicate"] == 0
        row_of = {
            patient: row
            for row, patient in zip(np.flatnonzero(first), stored[f"{name}/id"][first], strict=True)
        }
        if set(row_of) != set(ids):
            raise SystemExit(
                f"error: the first fold of {folder} is not of these patients; name their files and "
                "size"
            )
        imputed = stored[field][[row_of[patient] for patient in ids]]
        yield (
            f"{name} of {folder.name}",
            (imputed - replicate.constants["mean"]) / replicate.constants["sd"],
        )


def train_pypots(a: argparse.Namespace, folder: Path, network: str) -> tuple[Any, dict[str, Any]]:
    """The same of a network of PyPOTS, in a process of its environment's."""
    import numpy as np

    sizes = [f"--peer-epochs={a.peer_epochs}", f"--peer-batch={a.peer_batch}"]
    command = [a.pypots, __file__, "--worker", str(folder), network, *sizes]
    # It writes a file of settings into the home folder.
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "HOME": str(folder)}
    )
    if done.returncode:
        raise RuntimeError(f"PyPOTS' {network} ended with {done.returncode}: {done.stderr[-800:]}")
    return np.load(folder / f"{network}.npy"), json.loads((folder / f"{network}.json").read_text())


def pypots_worker(folder: Path, network: str, epochs: int, batch: int) -> None:
    """Trains a network of PyPOTS on the series in `folder` and leaves the imputed test rows and the
    figures there.
    """
    from importlib.metadata import version

    import numpy as np
    import torch
    from pypots import imputation
    from pypots.utils.random import set_random_seed

    torch.set_num_threads(1)
    set_random_seed(0)
    parts = np.load(folder / "series.npz")
    steps, features = parts["train"].shape[1:]
    model = getattr(imputation, network)(
        n_steps=steps,
        n_features=features,
        epochs=epochs,
        batch_size=batch,
        device="cpu",
        **PEERS[network],
    )
    with Stopwatch() as took:
        model.fit(
            {"X": parts["train"]}, {"X": parts["validation"], "X_ori": parts["validation_full"]}
        )
    np.save(
        folder / f"{network}.npy", np.asarray(model.predict({"X": parts["test"]})["imputation"])
    )
    figures = {
        "cpu_s": round(took.cpu, 1),
        "parameters": sum(p.numel() for p in model.model.parameters()),
        "epochs": epochs,
        "batch": batch,
        "versions": {name: version(name) for name in ("pypots", "torch")},
    }
    (folder / f"{network}.json").write_text(json.dumps(figures))


# --- all of them ----------------------------------------------------------------------------------


def compare(a: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was compared on, and method -> scores and what it took."""
    import numpy as np

    arms = arms_of(a)
    first, parts = arms[0], standardized_parts(arms[0])
    (replicate,) = first.replicates
    test, found = first.dataset.take(replicate.test), {}

    def note(name: str, imputed, figures: dict[str, Any]) -> None:
        found[name] = {**scores(imputed, parts), **figures}
        print(name, json.dumps(found[name]), file=sys.stderr, flush=True)

    for name, imputed in simple_methods(parts, test.modalities["hours"].values):
        note(name, imputed, {})
    for arm in arms:
        if arm.name in a.imputers:
            note(arm.name, *train_ours(arm))
    for folder in a.runs:
        for name, imputed in of_run(Path(folder), test.ids.astype(str).tolist(), first):
            note(name, imputed, {})
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "series.npz", **parts)
        for network in a.peers if a.pypots else ():
            note(f"PyPOTS {network}", *train_pypots(a, Path(folder), network))
    cells = hashlib.sha256(
        "\n".join(test.ids).encode() + np.packbits(parts["scored"]).tobytes()
    ).hexdigest()[:12]
    rows = {name: len(parts[name]) for name in ("train", "validation", "test")}
    return {"rows": rows, "scored_cells": int(parts["scored"].sum()), "cells": cells}, found


def main() -> None:
    a = arguments()
    core = one_core(a.core)
    if a.worker:
        pypots_worker(Path(a.worker[0]), a.worker[1], a.peer_epochs, a.peer_batch)
        return
    on, found = compare(a)
    emit("ehr_accuracy", size=a.size, **on, core=core, methods=found)


if __name__ == "__main__":
    main()
