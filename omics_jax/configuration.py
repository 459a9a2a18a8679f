"""What the configs of all systems have in common: the words behind the colon of --config, and how a run is carried out.

A system's own fields stand in its file in configs/.
"""

from __future__ import annotations

from collections.abc import Sequence

from ml_collections import ConfigDict


def begin(system: str, choice: str, experiments: Sequence[str], sizes: Sequence[str]) -> tuple[ConfigDict, list[str]]:
    """A config with its system and experiment, and the words of `choice`.

    choice: names of an experiment and a size, in any order, separated by a comma; both are optional, and the first of
    `experiments` is the default. ValueError for other words.
    """
    words = [word for word in choice.split(",") if word]
    unknown = [word for word in words if word not in (*experiments, *sizes)]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is neither an experiment {tuple(experiments)} nor a size {tuple(sizes)}")
    experiment = next((word for word in words if word in experiments), experiments[0])
    return ConfigDict(dict(system=system, experiment=experiment)), words


def run_section(spread: str = "replicates") -> ConfigDict:
    """How a run is carried out, which is no part of what it is: a run may be resumed with other values."""
    run = ConfigDict()
    run.devices = 0  # 0: all there are
    run.spread = spread  # data | replicates: what several devices (on a CPU, cores) share out
    run.strategy = "auto"  # map | vmap
    run.chunk = 0  # replicates trained together; 0 chooses
    run.block_seconds = 1.0  # about how long a program runs between two looks at signals and checkpoints
    run.block_steps = 0  # steps of a block instead of seconds; 0 for none
    run.checkpoint_seconds = 60.0
    run.resident_mb = 4096  # a larger table stays on the host, and each block's rows are gathered for it
    run.arm = ""  # --mode=predict: the arm to predict with; empty for the one that the summary speaks of
    run.reuse = ""  # runs of the same data (A, B), whose arms of the same name and config are taken over
    return run
