"""Run by test_resume.py: the toy's training in its own process, to be killed or starved of disk.

python toy_process.py FOLDER trains                prints "STAGE STEP" at the end of every block
python toy_process.py FOLDER dies-while-saving     is killed by SIGKILL once its first save started
python toy_process.py FOLDER finds-the-disk-full   may write no file beyond 2 kB after one block
"""

import os
import resource
import signal
import sys
import time
from pathlib import Path

import toy

from omics_jax.errors import RunEnded
from omics_jax.training.checkpoints import Checkpoints
from omics_jax.training.history import History
from omics_jax.training.loop import RunContext, fit
from omics_jax.training.signals import stop_signals


def die_while_saving():
    save = Checkpoints.save

    def save_and_die(self, *arguments):
        save(self, *arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.save = save_and_die


def main(folder: Path, manner: str) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    if manner == "dies-while-saving":
        die_while_saving()

    def progress(done, total, what):
        print(what.split(":")[0], done, flush=True)
        if manner == "finds-the-disk-full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        time.sleep(0.02)  # time for a signal to come between two blocks

    ready = toy.plan("frozen", block_steps=1, checkpoint_seconds=1e9 if manner == "trains" else 0)
    history = History(folder / "history.jsonl")
    try:
        with stop_signals() as request:
            context = RunContext(
                folder / "checkpoints", history, progress, lambda: request.received
            )
            for _ in fit(ready, context):
                pass
    except RunEnded as end:
        print(end, flush=True)
        return end.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
