"""What the configs of all systems have in common: the words behind the colon of --config, and how a
run is carried out.

A system's own fields stand in its file in configs/.
"""

from __future__ import annotations

from collections.abc import Sequence

from ml_collections import ConfigDict

# The sections of a config that the command decides which predicts new rows, not the training's.
AT_PREDICTION = ("run", "predict")


def new_config(system: str, choice: str, sizes: Sequence[str]) -> tuple[ConfigDict, list[str]]:
    """A config with its system and experiment, and the sizes named in `choice`.

    The experiment is "" where `choice` names none: the system's first. That the system has it is
    checked when the system is loaded, which takes longer than a config may.

    choice: the name of an experiment and of sizes, in any order, separated by commas; all optional.

    Raises:
      ValueError: more than one word that is no size.
    """
    words = [word.strip() for word in choice.split(",") if word.strip()]
    experiments = [word for word in words if word not in sizes]
    if len(experiments) > 1:
        raise ValueError(
            f"{' and '.join(map(repr, experiments))} are no sizes {tuple(sizes)}, and only one "
            "word can name the experiment"
        )
    config = ConfigDict(dict(system=system, experiment="".join(experiments)))
    return config, [word for word in words if word in sizes]


def at_prediction(trained: ConfigDict, command: ConfigDict) -> ConfigDict:
    """The config of a training with the sections `AT_PREDICTION` of the command that predicts."""
    decided = {name: command[name].to_dict() for name in AT_PREDICTION if name in command}
    return ConfigDict({**trained.to_dict(), **decided})


def run_section(spread: str = "replicates") -> ConfigDict:
    """How a run is carried out, which is no part of what it is: a run may be resumed with other
    values.
    """
    run = ConfigDict()
    run.devices = 0  # 0: all there are
    run.spread = spread  # data | replicates: what several devices (on a CPU, cores) share out
    run.strategy = "auto"  # map | vmap
    run.chunk = 0  # replicates trained together; 0 chooses
    # About how long a program runs between two looks at signals and checkpoints.
    run.block_seconds = 1.0
    run.block_steps = 0  # steps of a block instead of seconds; 0 for none
    run.checkpoint_seconds = 60.0
    # A larger table stays on the host, and each block's rows are gathered for it.
    run.resident_mb = 4096
    # --mode=predict: the arm to predict with; empty for the one that the summary speaks of.
    run.arm = ""
    # Runs of the same data (A, B), whose arms of the same name and config are taken over.
    run.reuse = ""
    return run
