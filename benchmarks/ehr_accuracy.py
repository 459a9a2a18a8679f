"""Imputation error on held-out cells of PhysioNet 2012: our imputers, simple methods and PyPOTS.

    python benchmarks/ehr_accuracy.py --data=set-a.tar.xz --outcomes=Outcomes-a.txt --pypots=PYTHON

One split, fold 0 of five (60 % train, 20 % validation, 20 % test), with 10 % of the test rows'
observed cells held out. All methods see the same standardised series, clipped at 10 s.d., and are
scored on the same cells. Left out: further folds and seeds, so differences of a percent or two mean
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

from measuring import Stopwatch, emit, load_config, one_core

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


def first_folds(a: argparse.Namespace) -> list[Any]:
    """The arms of the experiment imputation, each reduced to its first replicate, fold 0."""
    import dataclasses

    import numpy as np

    from omics_jax.systems.ehr import EXPERIMENTS, read

    config = load_config("ehr", f"imputation,{a.size}")
    config.data.update(dict(path=a.data, outcomes=a.outcomes))
    config.imputers = tuple(a.imputers) or config.imputers
    config.pretrain.epochs = a.epochs or config.pretrain.epochs
    dataset = read(config)
    if a.patients:
        dataset = dataset.take(np.arange(min(a.patients, len(dataset))))
    arms = EXPERIMENTS["imputation"].arms(config, dataset)
    return [dataclasses.replace(arm, replicates=arm.replicates[:1]) for arm in arms]


def standardized_parts(arm) -> dict[str, Any]:
    """What every method reads and is scored on: (n, T, D) clipped z-scores.

    Mean and s.d. are those of the training rows' observed values.

    Returns:
      train, validation, test: NaN where missing, in the latter two also where held out;
      validation_full, test_full: with the held-out values; test_raw: test_full before clipping;
      scored: the test rows' held-out cells.
    """
    import numpy as np

    from omics_jax.systems.ehr.stays import SLOT

    (replicate,) = arm.replicates
    arrays = arm.system.arrays(arm.dataset)
    observed, held_out = arrays["m"], arrays["held"] == 1  # 1: the first share, 10 %
    known = observed | (arrays["held"] > 0)
    z = standardize(arrays["x"], replicate.constants)
    z = np.where(known, z, np.nan).astype(np.float32)
    limit = arm.config.model.clip
    clipped = np.clip(z, -limit, limit)
    shown = np.where(held_out | ~observed, np.nan, clipped)
    validation, test = replicate.validation[SLOT], replicate.test
    return {
        "train": np.where(observed, clipped, np.nan)[replicate.rows[SLOT]],
        "validation": shown[validation],
        "validation_full": clipped[validation],
        "test": shown[test],
        "test_full": clipped[test],
        "test_raw": z[test],
        "scored": held_out[test],
    }


def standardize(values, constants: dict[str, Any]):
    """(x - mean) / s.d. of every variable."""
    return (values - constants["mean"]) / constants["sd"]


def scores(imputed, parts: dict[str, Any]) -> dict[str, float]:
    """Errors in s.d. over the scored cells; "unclipped" is against the values as measured."""
    from omics_jax.evaluation.imputation import imputation_errors

    clipped = imputation_errors(imputed, parts["test_full"], parts["scored"])
    unclipped = imputation_errors(imputed, parts["test_raw"], parts["scored"])
    kinds = ("mae", "rmse")
    errors = {kind: round(clipped[kind], 5) for kind in kinds}
    return errors | {f"{kind}_unclipped": round(unclipped[kind], 5) for kind in kinds}


def simple_methods(parts: dict[str, Any], hours) -> Iterator[tuple[str, Any]]:
    """Name and imputed test rows of every simple method, such as the last observation."""
    import numpy as np

    from omics_jax.evaluation.series_baselines import IMPUTERS

    train, test = parts["train"], parts["test"]
    in_train, in_test = ~np.isnan(train), ~np.isnan(test)
    for name, imputer in IMPUTERS.items():
        yield name, imputer(np.nan_to_num(train), in_train, np.nan_to_num(test), in_test, hours)


def train_ours(arm) -> tuple[Any, dict[str, Any]]:
    """The test rows imputed by the arm's network, on the training scale, and figures of it."""
    import jax
    import numpy as np

    from omics_jax.training.history import History
    from omics_jax.training.loop import RunContext, fit
    from omics_jax.training.plan import Options, Training, make_plan
    from omics_jax.training.rows import apply_to_rows, compile_row_function

    system, (replicate,) = arm.system, arm.replicates
    with Stopwatch() as watch, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table = system.arrays(arm.dataset)
        training = Training(system.stages, system.init, table, arm.dataset.ids, [replicate])
        plan = make_plan(training, Options())
        context = RunContext(folder / "checkpoints", History(folder / "history.jsonl"))
        ((_, by_stage),) = fit(plan, context)
        monitored = np.array([line["monitor"] for line in context.history.lines()], float)
    variables = by_stage[system.stages[-1].name]
    width = min(system.predict_batch, len(replicate.test))
    predict = compile_row_function(system.predict, width)
    (predictions,) = apply_to_rows(predict, width, variables, plan.table, [replicate.test])
    # The first field is that of the first held-out share.
    imputed = next(values for name, values in predictions.items() if name.startswith("imputed_"))
    return standardize(imputed, replicate.constants), {
        "cpu_s": round(watch.cpu, 1),
        "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(variables["params"])),
        "epochs": len(monitored),
        "best_epoch": int(np.nanargmin(monitored)) + 1,
        "validation_mae": round(float(np.nanmin(monitored)), 5),
    }


def stored_imputations(folder: Path, ids, arm) -> Iterator[tuple[str, Any]]:
    """Name and imputed test rows of every imputer of a finished run.

    ids: the test patients, in their order. arm: whose training scale the values are put on.
    Errors: SystemExit where the run's first fold has other test patients.
    """
    import numpy as np

    (replicate,) = arm.replicates
    stored = np.load(folder / "predictions.npz")
    for field in [name for name in stored.files if name.endswith("/imputed_10")]:
        name = field.removesuffix("/imputed_10")
        rows = np.flatnonzero(stored[f"{name}/replicate"] == 0)
        row_of = dict(zip(stored[f"{name}/id"][rows], rows, strict=True))
        if set(row_of) != set(ids):
            raise SystemExit(
                f"error: the first fold of {folder} has other test patients; give its files and "
                "its size"
            )
        imputed = stored[field][[row_of[patient] for patient in ids]]
        yield f"{name} of {folder.name}", standardize(imputed, replicate.constants)


def train_pypots(a: argparse.Namespace, folder: Path, network: str) -> tuple[Any, dict[str, Any]]:
    """The same for a network of PyPOTS, in a process of its own environment."""
    import numpy as np

    sizes = [f"--peer-epochs={a.peer_epochs}", f"--peer-batch={a.peer_batch}"]
    command = [a.pypots, __file__, "--worker", str(folder), network, *sizes]
    # PyPOTS writes a file of settings into the home folder.
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"PyPOTS' {network} ended with {done.returncode}: {done.stderr[-800:]}")
    return np.load(folder / f"{network}.npy"), json.loads((folder / f"{network}.json").read_text())


def pypots_worker(folder: Path, network: str, epochs: int, batch: int) -> None:
    """Trains a PyPOTS network on the series in `folder`; writes imputed test rows and figures."""
    from importlib.metadata import version

    import numpy as np
    import torch
    from pypots import imputation
    from pypots.utils.random import set_random_seed

    torch.set_num_threads(1)
    set_random_seed(0)
    parts = np.load(folder / "series.npz")
    steps, features = parts["train"].shape[1:]
    shape = dict(n_steps=steps, n_features=features)
    settings = dict(epochs=epochs, batch_size=batch, device="cpu")
    model = getattr(imputation, network)(**shape, **settings, **PEERS[network])
    validation = {"X": parts["validation"], "X_ori": parts["validation_full"]}
    with Stopwatch() as watch:
        model.fit({"X": parts["train"]}, validation)
    imputed = model.predict({"X": parts["test"]})["imputation"]
    np.save(folder / f"{network}.npy", np.asarray(imputed))
    figures = {
        "cpu_s": round(watch.cpu, 1),
        "parameters": sum(p.numel() for p in model.model.parameters()),
        "epochs": epochs,
        "batch": batch,
        "versions": {name: version(name) for name in ("pypots", "torch")},
    }
    (folder / f"{network}.json").write_text(json.dumps(figures))


def compare(a: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows and cells of the comparison, and method -> scores and figures."""
    import numpy as np

    arms = first_folds(a)
    first, parts = arms[0], standardized_parts(arms[0])
    (replicate,) = first.replicates
    test = first.dataset.take(replicate.test)
    methods = {}

    def record(name: str, imputed, figures: dict[str, Any]) -> None:
        methods[name] = {**scores(imputed, parts), **figures}
        print(name, json.dumps(methods[name]), file=sys.stderr, flush=True)

    for name, imputed in simple_methods(parts, test.modalities["hours"].values):
        record(name, imputed, {})
    for arm in arms:
        if arm.name in a.imputers:
            record(arm.name, *train_ours(arm))
    patients = test.ids.astype(str).tolist()
    for folder in a.runs:
        for name, imputed in stored_imputations(Path(folder), patients, first):
            record(name, imputed, {})
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "series.npz", **parts)
        for network in a.peers if a.pypots else ():
            record(f"PyPOTS {network}", *train_pypots(a, Path(folder), network))
    scored = parts["scored"]
    digest = hashlib.sha256("\n".join(test.ids).encode() + np.packbits(scored).tobytes())
    setting = {
        "rows": {name: len(parts[name]) for name in ("train", "validation", "test")},
        "scored_cells": int(scored.sum()),
        "cells": digest.hexdigest()[:12],
    }
    return setting, methods


def main() -> None:
    a = arguments()
    core = one_core(a.core)
    if a.worker:
        pypots_worker(Path(a.worker[0]), a.worker[1], a.peer_epochs, a.peer_batch)
        return
    setting, methods = compare(a)
    emit("ehr_accuracy", size=a.size, **setting, core=core, methods=methods)


if __name__ == "__main__":
    main()
