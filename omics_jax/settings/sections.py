"""What the configs of all systems share: the choice after the colon of --config, and section run.

The fields of one system are in its own file in configs/.
"""

from __future__ import annotations

from collections.abc import Sequence

from ml_collections import ConfigDict

# A prediction takes these sections from its own command, and all others from the training.
PREDICTION_SECTIONS = ("run", "predict")


def new_config(system: str, choice: str, sizes: Sequence[str]) -> tuple[ConfigDict, list[str]]:
    """A config with its system and experiment, and the sizes named in `choice`.

    Without an experiment in `choice`, `config.experiment` is "", which stands for the system's
    first. Whether the system has the experiment is checked later, because loading a system takes
    too long here.

    choice: the name of an experiment and of sizes, in any order, separated by commas; all optional.

    Raises:
      ValueError: more than one word that is not a size.
    """
    words = [word.strip() for word in choice.split(",") if word.strip()]
    experiments = [word for word in words if word not in sizes]
    if len(experiments) > 1:
        raise ValueError(
            f"{' and '.join(map(repr, experiments))} are not among the sizes {tuple(sizes)}, and "
            "only one word can name the experiment"
        )
    config = ConfigDict(dict(system=system, experiment="".join(experiments)))
    return config, [word for word in words if word in sizes]


def prediction_config(trained: ConfigDict, command: ConfigDict) -> ConfigDict:
    """The training's config, with `PREDICTION_SECTIONS` of the command that predicts."""
    sections = {name: command[name].to_dict() for name in PREDICTION_SECTIONS if name in command}
    return ConfigDict({**trained.to_dict(), **sections})


def patients_section() -> ConfigDict:
    """Files of patients and what is to be predicted of them, none of them named; see the page on
    input formats.
    """
    text = ("modalities", "path", "limits", "clinical", "survival", "id", "barcode", "group")
    outcomes = ("classes", "numbers", "survival_times", "only")
    rules = dict(orientation="auto", zero_times="error", repeated="error", missing_values=())
    return ConfigDict({**dict.fromkeys((*text, *outcomes), ""), **rules})


def run_section(spread: str = "replicates") -> ConfigDict:
    """How a run is carried out, not what it computes: a run may be resumed with other values."""
    run = ConfigDict()
    run.devices = 0  # 0: all available
    run.spread = spread  # data | replicates: what is split over devices (on a CPU, over cores)
    run.strategy = "auto"  # auto | map | vmap
    run.chunk = 0  # replicates trained together; 0 chooses
    run.block_seconds = 1.0  # duration of a compiled block, between two checkpoints or signals
    run.block_steps = 0  # steps of a block instead of seconds; 0 for none
    run.checkpoint_seconds = 60.0
    run.resident_mb = 4096  # a larger table stays on the host, and each block gathers its rows
    run.arm = ""  # --mode=predict: the arm to predict with; empty for the summary's
    run.reuse = ""  # runs of the same data (A, B): arms of the same name and config are reused
    return run
