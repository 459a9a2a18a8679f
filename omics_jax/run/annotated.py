"""Matrices of a run as AnnData: vectors of an arm's test rows and features, and of new rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from omics_jax.data.formats.annotated import AnnotatedMatrix, as_h5ad, can_write
from omics_jax.durable import as_user_error, write_content
from omics_jax.file_names import file_name
from omics_jax.run.directory import OF_VARIABLES
from omics_jax.run.progress import print_and_log
from omics_jax.study.system import Arm, Predictions

FOLDER = "vectors"

Load = Callable[[Arm, int, str], Predictions]  # of (arm, replicate, part)
Matrices = Mapping[str, AnnotatedMatrix]


def save_vectors(folder: Path, arms: Sequence[Arm], load: Load) -> list[Path]:
    """`vectors/ARM.NAME.h5ad`: what `System.annotated` makes of each arm's first replicate.

    Arms of a null have none. Without anndata a warning says so, and nothing is written.

    Returns:
      the files.
    """
    by_arm = {arm.name: _of_first_replicate(arm, load) for arm in arms if not arm.is_null}
    names = {name: None for matrices in by_arm.values() for name in matrices}
    if not names:
        return []
    if not can_write():
        print_and_log(f"warning: {not_written(names)}")
        return []
    place = folder / FOLDER
    with as_user_error(place):
        place.mkdir(exist_ok=True)
    return [
        file
        for arm, matrices in by_arm.items()
        for file in write_matrices(place / file_name(arm), matrices)
    ]


def _of_first_replicate(arm: Arm, load: Load) -> Matrices:
    system, rows = arm.system, arm.dataset.take(arm.replicates[0].test)
    of_variables = load(arm, 0, OF_VARIABLES) if system.of_variables else {}
    return system.annotated({**load(arm, 0, "test"), **of_variables}, rows)


def write_matrices(stem: Path, matrices: Matrices) -> list[Path]:
    """STEM.NAME.h5ad of every matrix; the files."""
    files = []
    for name, matrix in matrices.items():
        files.append(stem.with_name(f"{stem.name}.{file_name(name)}.h5ad"))
        write_content(files[-1], as_h5ad(*matrix))
    return files


def not_written(names: Iterable[str]) -> str:
    """What is said where anndata is missing."""
    return (
        f"{', '.join(names)} was not written as .h5ad: anndata is missing; "
        "pip install 'omics_jax[io]'"
    )
