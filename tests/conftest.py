"""What all tests share: shape checks at run time, a warm compilation cache, real data, finite
differences.
"""

import gc
import os
import signal
from functools import cache
from pathlib import Path

# Before jax and numpy are imported: the tests are about values. Two processes with two threads of
# BLAS each wait for one another, and small regressions take 10 to 50 times as long.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("omics_jax", "beartype.beartype")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from omics_jax.training.devices import fix_order_of_sums  # noqa: E402

fix_order_of_sums()  # as the command line does, before jax reads the flags

CACHE = Path(os.environ.get("OMICS_JAX_TEST_CACHE", Path(__file__).parent.parent / ".jax_cache"))
os.environ.setdefault(
    "OMICS_JAX_CACHE", str(CACHE)
)  # where whole runs, also those in other processes, look
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "slow: many devices, signals, recovery of a truth; not in `make quick`"
    )
    config.addinivalue_line(
        "markers", "optimised: claims that hang on how XLA optimises, of programs as users run them"
    )


def pytest_ignore_collect(collection_path, config):
    """Under `-m optimised` files without that mark are not imported, which would take seconds."""
    if config.option.markexpr == "optimised" and collection_path.match("test_*.py"):
        return None if names_optimised(collection_path) else True
    return None


@cache
def names_optimised(file: Path) -> bool:
    return "optimised" in file.read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def sigint_is_heard():
    """Reaches the tests and their processes, also where a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Programs that only give values are not optimised, because most of the time of these tests is
    compilation.

    The Makefile also spares these XLA's fusion emitters, which takes a flag that is read once for a
    process.
    """
    quick = item.get_closest_marker("optimised") is None
    jax.config.update("jax_disable_most_optimizations", quick)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(
        int(quick)
    )  # for processes that the test begins


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Under `--dist loadgroup` a file's tests share a process, and with it what the file prepares
    and compiles.

    Groups with slow tests go first, so that no process waits for another's at the end.
    """
    for item in items:
        if item.get_closest_marker("optimised") and not names_optimised(item.path):
            raise pytest.UsageError(f"{item.nodeid} is optimised, and its file does not say so")
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    slow = {group_of(item) for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: group_of(item) not in slow)


def group_of(item) -> str:
    """The tests that share a process with the test."""
    return item.get_closest_marker("xdist_group").args[0]


def pytest_collection_finish():
    """What jax traces are millions of objects, and Python would go through them again and again."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def programs_of_a_file():
    """Gives back the memory of a file's programs: all files together compile some gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, from the environment variable OMICS_JAX_DATA; tests that need it
    skip without.
    """
    folder = os.environ.get("OMICS_JAX_DATA")
    if not folder:
        pytest.skip(
            "OMICS_JAX_DATA does not name a folder with the public data (l1000/ and others)"
        )
    return Path(folder)


@pytest.fixture
def x64():
    """Double precision for one test; the name of jax's context manager moved after 0.7."""
    if hasattr(jax, "enable_x64"):
        context = jax.enable_x64(True)
    else:
        from jax.experimental import enable_x64

        context = enable_x64()
    with context:
        yield


def double(tree):
    """The tree with every floating leaf in float64."""
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float64)), tree)


@pytest.fixture
def gradient_error(x64):
    """`gradient_error(loss, tree)`: worst relative error of the gradient of `loss` at 20 random
    coordinates.

    The oracle is Richardson's extrapolation of two central differences in float64; errors are
    relative to the
    larger of the derivative itself and a thousandth of the largest derivative.
    """

    def error(loss, tree, coordinates=20, step=1e-3):
        leaves, structure = jax.tree.flatten(double(tree))
        flat = np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])
        ends = np.cumsum([leaf.size for leaf in leaves])[:-1]

        def at(vector):
            parts = [
                p.reshape(leaf.shape)
                for p, leaf in zip(jnp.split(vector, ends), leaves, strict=True)
            ]
            return loss(jax.tree.unflatten(structure, parts))

        value, slope = jax.jit(at), np.asarray(jax.jit(jax.grad(at))(jnp.asarray(flat)))
        picks = np.random.default_rng(0).choice(
            flat.size, min(coordinates, flat.size), replace=False
        )

        def central(i, h):
            shift = np.zeros_like(flat)
            shift[i] = h
            return float(value(flat + shift) - value(flat - shift)) / (2 * h)

        expected = np.array([(4 * central(i, step / 2) - central(i, step)) / 3 for i in picks])
        scale = np.maximum(np.abs(expected), 1e-3 * np.abs(slope).max())
        assert np.all(np.isfinite(slope)) and np.abs(slope).max() > 0
        return float(np.max(np.abs(slope[picks] - expected) / scale))

    return error
