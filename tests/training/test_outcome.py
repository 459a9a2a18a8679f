"""How a stage ended: the monitor before the first step, the best value, and what was trained
before, as the files of finished stages hold it.
"""

import numpy as np
import pytest
import toy

from omics_jax.training.stage_files import load_outcome

pytestmark = pytest.mark.slow


def test_a_finished_stage_says_how_it_went(tmp_path):
    plan = toy.plan(epochs=3, seeds=(0, 1))
    toy.train(plan, tmp_path)
    history = [line for line in toy.History(tmp_path / "history.jsonl").lines()]
    for replicate in (0, 1):
        for compiled in plan.stages:
            stage = compiled.stage
            found = load_outcome(tmp_path / "checkpoints", stage.name, replicate)
            logged = [
                line["monitor"]
                for line in history
                if (line["stage"], line["replicate"]) == (stage.name, replicate)
            ]
            if stage.monitor is None:
                assert found is None
                continue
            assert (found.stage, found.epochs, found.trained_before) == (stage.name, 3, False)
            candidates = [found.start, *logged] if found.best_epoch < 0 else logged
            assert found.best == pytest.approx(min(candidates))
            assert found.best_epoch < 0 or logged[found.best_epoch] == found.best
            assert np.isfinite(found.start) and found.start not in logged
            assert (found.start_loss, found.best_loss) == (found.start, found.best)
