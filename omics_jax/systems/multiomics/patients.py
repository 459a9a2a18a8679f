"""Patients as the networks see them: modalities scaled to the training rows, missing ones imputed.

The fields of a row are described in `model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from omics_jax.study.patients.columns import Rows, Values, chosen, scaled
from omics_jax.systems.multiomics import imputer
from omics_jax.systems.multiomics.networks import Embedding
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Variables

SLOT = "patients"
OTHERS = "others"  # patients of other classes, on which an imputer may be trained first

Cells = Bool[Array, "n w"]
PatientMask = Bool[Array, " n"]


@dataclass(frozen=True)
class ModelShape:
    """The shapes of a model.

    config: of the run.
    sizes: modality -> F, of all modalities in the rows.
    widths: modality -> the number of features that a replicate chooses of them at most, which its
      networks read; F where it has none.
    used: the modalities that are embedded.
    edges: modality -> the sources from which it is imputed where it is missing.
    tasks: those that have a head.
    """

    config: Any
    sizes: Mapping[str, int]
    used: tuple[str, ...]
    edges: Mapping[str, tuple[str, ...]]
    tasks: tuple[Task, ...] = ()
    widths: Mapping[str, int] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, int]:
        """Modality -> the number of features that the networks read."""
        return {**self.sizes, **self.widths}

    @property
    def embedding(self) -> Embedding:
        """The network that embeds the modalities `used`."""
        settings = self.config.model
        return Embedding(
            sizes={name: self.inputs[name] for name in self.used},
            fusion=settings.fusion,
            branch=tuple(settings.branch),
            shared=tuple(settings.shared),
            latent=settings.latent,
            dropout=settings.dropout,
        )


class Patients(NamedTuple):
    """Patients as the embedding reads them, of M used modalities.

    x: modality -> (n, w) in [0, 1], the features that the replicate chose, every missing cell
      filled.
    present: (n, M) whether the modality was measured or imputed.
    cells: modality -> (n, w) whether the cell was observed, or imputed with its whole modality.
    imputed: (n, M) whether the modality was imputed.
    """

    x: Mapping[str, Values]
    present: Bool[Array, "n M"]
    cells: Mapping[str, Cells]
    imputed: Bool[Array, "n M"]


# --- one modality ---------------------------------------------------------------------------------


def measured(shape: ModelShape, rows: Rows) -> dict[str, PatientMask]:
    """Modality -> whether it was measured in the patient."""
    has = rows["has"]
    return {name: has[:, i] for i, name in enumerate(shape.sizes)}


def imputable(shape: ModelShape, has: Mapping[str, PatientMask], name: str) -> PatientMask:
    """Whether the patient has a source of the modality."""
    sources = [has[source] for source in shape.edges[name]]
    return jnp.any(jnp.stack(sources), axis=0)


def imputed_values(
    shape: ModelShape, variables: Variables, rows: Rows, name: str
) -> Float[Array, "E n w"]:
    """Every member's estimate of a modality on the scale of `scaled`, measured or not.

    0 where the replicate chose fewer features than w.
    """
    constants = variables["constants"]
    params = variables["params"]["imputer"][name]
    sources = shape.edges[name]
    x = {source: scaled(constants, rows, source) for source in sources}
    has = measured(shape, rows)
    inputs = imputer.join_sources(sources, x, has)
    estimates = imputer.estimate(params, inputs)
    return jnp.where(constants[f"{name}_alive"], estimates, 0)


# --- all modalities -------------------------------------------------------------------------------


def impute_patients(shape: ModelShape, variables: Variables, rows: Rows) -> Patients:
    """Rows as the embedding reads them; modalities that have an imputer are imputed if missing."""
    constants = variables["constants"]
    has = measured(shape, rows)
    x, cells, present, imputed = {}, {}, [], []
    for name in shape.used:
        values = scaled(constants, rows, name)
        is_imputed = jnp.zeros_like(has[name])
        if name in shape.edges:
            is_imputed = ~has[name] & imputable(shape, has, name)
            members = imputed_values(shape, variables, rows, name)
            mean = members.mean(axis=0)
            values = jnp.where(is_imputed[:, None], mean, values)
        is_filled = chosen(constants, name, rows[f"m_{name}"]) | is_imputed[:, None]
        x[name] = values
        cells[name] = is_filled & constants[f"{name}_alive"]
        present.append(has[name] | is_imputed)
        imputed.append(is_imputed)
    return Patients(x, jnp.stack(present, axis=1), cells, jnp.stack(imputed, axis=1))


def prepare_patients(shape: ModelShape, variables: Variables, rows: Rows) -> dict[str, Array]:
    """`impute_patients` as fields of rows, for stages whose frozen imputers need run only once."""
    patients = impute_patients(shape, variables, rows)
    fields = {f"p_{name}": patients.x[name] for name in shape.used}
    fields |= {f"c_{name}": patients.cells[name] for name in shape.used}
    return {**fields, "present": patients.present, "imputed": patients.imputed}


def prepared_patients(shape: ModelShape, variables: Variables, rows: Rows) -> Patients:
    """The patients of a batch: from the fields of `prepare_patients`, or imputed now without."""
    if "present" not in rows:
        return impute_patients(shape, variables, rows)
    x = {name: rows[f"p_{name}"] for name in shape.used}
    cells = {name: rows[f"c_{name}"] for name in shape.used}
    return Patients(x, rows["present"], cells, rows["imputed"])
