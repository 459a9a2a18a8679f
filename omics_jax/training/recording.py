"""Recording of the epochs of a stage in the history, and decisions to stop replicates early.

A `prune` function is asked about every epoch that is written, epoch by epoch and, within one,
replicate by replicate. A replicate that it stops is neither written nor asked about again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from omics_jax.training.history import History, Seal
from omics_jax.training.state import TrainState

# (replicate, epoch, that epoch's values in the history) -> whether to stop that replicate
Prune = Callable[[int, int, Mapping[str, float]], bool]
Log = Mapping[str, np.ndarray]  # name -> (c, epochs)


class EpochRecorder:
    """Records the epochs of one stage of one chunk.

    Attributes:
      stopped: the replicates that `prune` has stopped.

    Args:
      stage: its name.
      chunk: indices of the replicates.
      names: of the replicates.
      per_epoch: steps of an epoch on the chunk's shared time axis.
      prune: None where no replicate is stopped early.
    """

    def __init__(
        self,
        history: History,
        stage: str,
        chunk: Sequence[int],
        names: Sequence[str],
        per_epoch: int,
        prune: Prune | None,
    ):
        self.stopped: set[int] = set()
        self._history = history
        self._stage = stage
        self._chunk = chunk
        self._names = names
        self._per_epoch = per_epoch
        self._prune = prune

    @property
    def prunes(self) -> bool:
        """Whether replicates can be stopped; one that diverges then ends alone."""
        return self._prune is not None

    def resume(self, time: int, seals: Sequence[Seal]) -> None:
        """Continues at that time: drops what will be written again, and replays what was before.

        seals: of the lines before, as the checkpoint has them, see `History.check`.
        """
        epoch = time // self._per_epoch
        self._history.forget(self._stage, self._chunk, epoch)
        self._history.check(seals)
        self.replay(epoch)

    def replay(self, epochs: int) -> None:
        """Asks `prune` about the epochs before `epochs` again."""
        if self._prune is None:
            return
        for replicate, epoch, values in self._history.values(self._stage, self._chunk, epochs):
            self._ask(replicate, epoch, values)

    def record(self, log: Log, start: int, count: int) -> None:
        """Writes the epochs that ended in a block of `count` steps from time `start`.

        log: see `block.make_block`.
        """
        for i, epoch, values in self._ended_epochs(log, start, count):
            replicate = self._chunk[i]
            if replicate in self.stopped:
                continue
            self._history.write({**self._place(i, epoch), **values})
            self._ask(replicate, epoch, values)

    def record_diverged(self, bad_steps: np.ndarray, steps_per_epoch: np.ndarray) -> None:
        """A line for every replicate that ended in a step that was not finite, unless stopped.

        bad_steps: (c,), -1 where there is none.
        """
        for i, bad_step in enumerate(bad_steps[: len(self._chunk)]):
            if bad_step >= 0 and self._chunk[i] not in self.stopped:
                epoch = int(bad_step) // int(steps_per_epoch[i])
                self._history.write({**self._place(i, epoch), "diverged": True})

    def stop(self, state: TrainState) -> TrainState:
        """The state with the stopped replicates stopped."""
        before = np.asarray(state.stopped)
        positions = [i for i, replicate in enumerate(self._chunk) if replicate in self.stopped]
        after = before | np.isin(np.arange(len(before)), positions)
        return state if (after == before).all() else state.replace(stopped=jnp.asarray(after))

    def _ask(self, replicate: int, epoch: int, values: Mapping[str, float]) -> None:
        if self._prune is None or replicate in self.stopped:
            return
        if self._prune(replicate, epoch, values):
            self.stopped.add(replicate)

    def _ended_epochs(
        self, log: Log, start: int, count: int
    ) -> Iterator[tuple[int, int, dict[str, float]]]:
        """(position in the chunk, epoch, its values), epoch by epoch."""
        first = start // self._per_epoch
        ended = (start + count) // self._per_epoch - first
        for e in range(ended):
            for i in range(len(self._chunk)):
                if log["trained"][i, e]:
                    values = {name: column[i, e] for name, column in log.items()}
                    del values["trained"]
                    yield i, first + e, _as_stored(values)

    def _place(self, i: int, epoch: int) -> dict[str, Any]:
        return {
            "stage": self._stage,
            "replicate": self._chunk[i],
            "label": self._names[i],
            "epoch": epoch,
        }


def _as_stored(values: Mapping[str, Any]) -> dict[str, float]:
    """The values as the history returns them: it knows no infinity."""
    return {
        name: float(value) if math.isfinite(value) else math.nan for name, value in values.items()
    }
