"""Arms of a system trained inside a test, without a run directory or a report."""

from __future__ import annotations

import jax
import numpy as np

from omics_jax.training.history import History
from omics_jax.training.loop import RunContext, fit
from omics_jax.training.plan import Options, Training, make_plan
from omics_jax.training.rows import apply_to_rows, compile_row_function


def fitted(arm, folder, start=None, part=None, stop=lambda: None, options=Options()):
    """Stage name -> variables (R, ...) of a trained arm, and the predictions of each replicate's
    test rows.

    start: variables (R, ...) of the arm it starts from. part: (replicate) -> rows to predict
      instead. stop: see `RunContext`.
    """
    system = arm.system
    table = system.arrays(arm.dataset)
    plan = make_plan(
        Training(system.stages, system.init, table, arm.dataset.ids, arm.replicates, start),
        options,
    )
    folder.mkdir(exist_ok=True)
    context = RunContext(folder / "checkpoints", History(folder / "history.jsonl"), stop=stop)
    chunks = [by_stage for _, by_stage in fit(plan, context)]
    by_stage = jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)
    rows = [part(r) if part else r.test for r in arm.replicates]
    width = min(system.predict_batch, max(map(len, rows)))
    predictor = compile_row_function(system.predict, width)
    return by_stage, apply_to_rows(
        predictor, width, by_stage[system.stages[-1].name], plan.table, rows
    )
