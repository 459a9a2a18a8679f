"""A process of its own that opens every object of an HDF5 file: hdf5_probe.py FILE SECONDS.

Damaged bytes can make the HDF5 library loop for ever or crash, inside C where no exception and no
signal handler of Python reaches it. Whoever then waits is this process: the system ends it after
SECONDS of its own processor time, however slow the disk is. What the library raises is left to the
reader. It imports h5py alone, so that it starts quickly.
"""

import contextlib
import signal
import sys

import h5py

WHOLE_BYTES = 64 * 2**20  # a dataset up to this size is read, of a larger one only its index


def visit(file) -> None:
    """Opens every object that the file itself holds, with its attributes and its index of chunks.

    Links into other files are not followed.
    """
    pending, seen = [file], set()
    while pending:
        item = pending.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        with contextlib.suppress(Exception):
            list(item.attrs.values())
        if isinstance(item, h5py.Dataset):
            with contextlib.suppress(Exception):
                read(item)
            continue
        with contextlib.suppress(Exception):
            for name in item:
                with contextlib.suppress(Exception):
                    if isinstance(item.get(name, getlink=True), h5py.HardLink):
                        pending.append(item[name])


def read(dataset) -> None:
    """The values of a small dataset; the index of a large one, which is all that can loop."""
    if dataset.nbytes <= WHOLE_BYTES:
        dataset[()]
    elif dataset.chunks:
        dataset.id.get_num_chunks()


if __name__ == "__main__":
    signal.setitimer(signal.ITIMER_PROF, float(sys.argv[2]))  # SIGPROF ends the process
    with contextlib.suppress(Exception), h5py.File(sys.argv[1], "r") as opened:
        visit(opened)
