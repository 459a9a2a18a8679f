"""Sums over devices for layers that need them, such as batch statistics.

The trainer opens `device_axis` around the function it maps; a layer calls `sum_over_devices`.
Outside any axis the sum is the identity, so the same loss also runs under plain jit on one device.
Left out: the mapping itself, since this module knows the axis by name only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
from jaxtyping import PyTree

_AXIS: ContextVar[str | None] = ContextVar("device_axis", default=None)


@contextmanager
def device_axis(name: str) -> Iterator[None]:
    """Name the mapped axis that runs over devices, while a function is being traced.

    Open it inside the mapped function: then it is open whenever that function is traced, and at no
    other time.

        def step(state, batch):
            with device_axis("device"):
                return local_step(state, batch)

        jax.pmap(step, axis_name="device", in_axes=(None, 0), out_axes=None)

    Errors: a collective inside it that no `axis_name=name` surrounds raises jax's NameError.
    """
    token = _AXIS.set(name)
    try:
        yield
    finally:
        _AXIS.reset(token)


def sum_over_devices(tree: PyTree) -> PyTree:
    """Every leaf summed over the devices of the open `device_axis`; unchanged where none is open.

    Its transpose is the same sum. So the gradient that a device computes of its local loss is the
    gradient, with respect to its own inputs, of the loss summed over all devices. One psum of the
    parameters' gradients afterwards is therefore exact; a second one in the loss would count every
    device twice.
    """
    name = _AXIS.get()
    return tree if name is None else jax.lax.psum(tree, name)
