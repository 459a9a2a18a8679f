"""Checkpoints of a running training, from which it continues after a crash with the same bits.

Orbax writes the arrays and renames the finished folder, but it neither notices a flipped bit, nor
falls back to an older step, nor refuses a target of another shape or dtype. A manifest with a
sha256 for every leaf adds that here. Left out: typed PRNG keys, arrays sharded over hosts, two
processes in one folder.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from omics_jax.durable import DamagedFile, as_user_error, check_digests, seal, unseal
from omics_jax.errors import UserError

_log = logging.getLogger(__name__)

_STEP = re.compile(r"step_(\d+)")
_SHOWN = 6  # differing leaves named in one message


class DamagedCheckpoints(UserError):
    """Checkpoints were finished in this folder, and none of them can be restored."""


class Checkpoints:
    """The checkpoints of one training: folders `step_<n>`, of which the newest `keep` stay.

    A context manager; leaving it waits for what is still being written. What an interrupted save
    left behind is removed; files and folders of other names are left alone.

    Raises:
      UserError: `directory` cannot be made or is a file.
    """

    def __init__(self, directory: Path, keep: int = 2):
        import orbax.checkpoint as ocp

        # Orbax logs a failed write once per thread with its traceback; here it is raised, once.
        logging.getLogger("absl").addFilter(_is_not_orbax_traceback)
        if not isinstance(sys.unraisablehook, _WithoutClosedLoops):
            sys.unraisablehook = _WithoutClosedLoops(sys.unraisablehook)
        self.directory = Path(directory).absolute()
        with as_user_error(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            # Orbax would remove these in a thread that nothing waits for when no save follows.
            for unfinished in self.directory.glob("step_*.orbax-checkpoint-tmp*"):
                shutil.rmtree(unfinished)
            self._manager = ocp.CheckpointManager(
                self.directory,
                item_names=("state", "record"),
                options=ocp.CheckpointManagerOptions(max_to_keep=keep, step_prefix="step"),
            )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            self.close()
        except UserError as failure:
            if error is None:
                raise
            # The error that is already being raised came first and is more informative.
            _log.error("%s", failure)

    def save(self, step: int, state: Any, meta: Mapping[str, Any]) -> None:
        """Starts writing a checkpoint; it is finished once its folder has its final name.

        The state is copied before this returns, so its buffers may be donated. An error while
        writing is raised by the next call of `save`, `restore`, `wait` or `close`.

        Args:
          step: larger than every step in the folder.
          state: pytree of numeric arrays; None and empty subtrees are part of its structure.
          meta: JSON; comes back as JSON gives it (tuples as lists, keys as strings).

        Raises:
          UserError: this checkpoint or the one before could not be written.
          ValueError: a step that is not after the newest one, or a state without values.
          TypeError: a leaf that is a typed PRNG key or no number.
        """
        import orbax.checkpoint as ocp

        self.wait()
        leaves = {name: _copy_to_host(name, leaf) for name, leaf in _by_path(state).items()}
        # Orbax refuses empty arrays.
        stored = {name: array for name, array in leaves.items() if array.size}
        if not stored:
            raise ValueError("the state holds no values, so there is nothing to save")
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(stored),
            record=ocp.args.JsonSave(seal(leaves, meta, step=step)),
        )
        with as_user_error(self.directory):
            saved = self._manager.save(step, args=args)
        if not saved:
            newest = self._manager.latest_step()
            raise ValueError(
                f"step {step} is not after step {newest}, the newest one in {self.directory}"
            )

    def restore(self, target: Any) -> tuple[Any, dict[str, Any]] | None:
        """The newest intact checkpoint, bit for bit, or None where none was ever finished.

        Newer steps that are damaged are logged and renamed to `damaged-<step>`.

        Args:
          target: the state's pytree, of arrays or jax.ShapeDtypeStruct.

        Returns:
          (state, meta): the target's tree with numpy arrays as leaves, and the meta that was saved
          with it.

        Raises:
          UserError: the newest readable checkpoint has other leaves, shapes or dtypes than the
            target.
          DamagedCheckpoints: checkpoints were finished, but none is intact. All are left as they
            are.
        """
        self.wait()
        damage: dict[int, str] = {}
        for step in sorted(_finished_steps(self.directory), reverse=True):
            try:
                restored = self._read(step, target)
            except DamagedFile as error:
                damage[step] = str(error)
                _log.warning(
                    "checkpoint of step %d in %s is damaged: %s", step, self.directory, error
                )
            else:
                self._set_aside(list(damage))
                _log.info("restored the checkpoint of step %d in %s", step, self.directory)
                return restored
        if damage:
            reasons = "; ".join(f"step {step}: {reason}" for step, reason in damage.items())
            raise DamagedCheckpoints(
                f"no checkpoint in {self.directory} is intact ({reasons}); "
                f"put back a copy, or remove {self.directory} and repeat the run's command with "
                "--mode=train, which trains this stage from its start"
            )
        _log.info("no finished checkpoint in %s: starting from scratch", self.directory)
        return None

    def wait(self) -> None:
        """Blocks until the last `save` is finished.

        Raises:
          UserError: it could not be written.
        """
        with as_user_error(self.directory):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the last `save`, then ends the writing threads."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def _read(self, step: int, target: Any) -> tuple[Any, dict[str, Any]]:
        """The state and the meta of one step, verified.

        Raises:
          DamagedFile: its bytes are not those that were written.
          UserError: it is intact, but belongs to another training.
        """
        import orbax.checkpoint as ocp

        record = self._read_item(step, "record", ocp.args.JsonRestore())
        body = unseal(record)
        if body["step"] != step:
            raise DamagedFile(f"it holds step {body['step']}")
        expected = _by_path(target)
        self._check_same_leaves(step, expected, body["manifest"])
        arrays = {name: np.zeros(*_shape_and_dtype(leaf)) for name, leaf in expected.items()}
        stored = {name: array for name, array in arrays.items() if array.size}
        arrays.update(self._read_item(step, "state", ocp.args.StandardRestore(stored)))
        check_digests(arrays, body["manifest"])
        leaves = [arrays[name] for name in expected]
        return jax.tree.unflatten(jax.tree.structure(target), leaves), body["meta"]

    def _check_same_leaves(self, step: int, expected: Mapping, manifest: Mapping) -> None:
        differences = _differences(expected, manifest)
        if differences:
            more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
            raise UserError(
                f"the checkpoint of step {step} in {self.directory} is of another model: "
                f"{'; '.join(differences[:_SHOWN])}{more}. Give the configuration it was trained "
                "with, or another --workdir."
            )

    def _read_item(self, step: int, item: str, args: Any) -> Any:
        import orbax.checkpoint as ocp

        try:
            return self._manager.restore(step, args=ocp.args.Composite(**{item: args}))[item]
        except Exception as error:  # a damaged file raises whatever its parser stumbles over
            reason = " ".join(str(error).split())[:300]
            raise DamagedFile(
                f"its {item} cannot be read ({type(error).__name__}: {reason})"
            ) from error

    def _set_aside(self, steps: list[int]) -> None:
        """Renames damaged steps, so that they can be trained again and saved under their number."""
        with as_user_error(self.directory):
            for step in steps:
                new_name, count = self.directory / f"damaged-{step}", 1
                while new_name.exists():
                    count += 1
                    new_name = self.directory / f"damaged-{step}-{count}"
                (self.directory / f"step_{step}").rename(new_name)
        if steps:
            self._manager.reload()


class _WithoutClosedLoops:
    """Python's report of errors that nobody can catch, without those of a closed event loop.

    Orbax closes its loop at the first leaf that cannot be read; tensorstore's threads then report
    the others to it, at some later time, each with a traceback.
    """

    def __init__(self, previous: Callable[[Any], Any]):
        self._previous = previous

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            self._previous(unraisable)


def _finished_steps(directory: Path) -> list[int]:
    """Steps whose folder has its final name; unfinished ones still have a temporary name."""
    matches = ((_STEP.fullmatch(path.name), path) for path in directory.iterdir())
    return [int(match[1]) for match, path in matches if match and path.is_dir()]


def _is_not_orbax_traceback(record: logging.LogRecord) -> bool:
    return not (record.exc_info and f"{os.sep}orbax{os.sep}" in record.pathname)


def _by_path(tree: Any) -> dict[str, Any]:
    """A pytree's leaves by their path, such as `params/encoder/kernel`, in the tree's own order."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    named = {
        jax.tree_util.keystr(path, simple=True, separator="/") or ".": leaf for path, leaf in leaves
    }
    if len(named) != len(leaves):
        raise ValueError(
            "two leaves of the state have the same path; rename the keys that contain '/'"
        )
    return named


def _copy_to_host(name: str, leaf: Any) -> np.ndarray:
    """A copy, because the device buffer may be donated while a background thread still writes."""
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raise TypeError(f"leaf {name!r} is a typed PRNG key; store jax.random.key_data of it")
    array = np.array(leaf, order="C")
    if array.dtype.kind in "OSUMm" or array.dtype.names:
        raise TypeError(
            f"leaf {name!r} has dtype {array.dtype}; a checkpoint holds numbers and booleans"
        )
    return array


def _shape_and_dtype(leaf: Any) -> tuple[tuple[int, ...], np.dtype]:
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return tuple(leaf.shape), np.dtype(leaf.dtype)


def _differences(target: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """A phrase for every leaf in which the checkpoint and the target differ."""
    phrases = [f"{name!r} is only in the checkpoint" for name in manifest if name not in target]
    for name, leaf in target.items():
        if name not in manifest:
            phrases.append(f"{name!r} is only in this run")
            continue
        shape, dtype = _shape_and_dtype(leaf)
        stored = tuple(manifest[name]["shape"]), manifest[name]["dtype"]
        if stored != (shape, str(dtype)):
            phrases.append(
                f"{name!r} is {stored[1]}{list(stored[0])} there and {dtype}{list(shape)} here"
            )
    return phrases
