"""The losses of a multi-omics model's tasks, as its config weighs them."""

from omics_jax.systems.multiomics import model
from omics_jax.tasks.settings import weights_of


def losses_of(shape):
    return model.network_of(shape, weights_of(shape.config)).losses
