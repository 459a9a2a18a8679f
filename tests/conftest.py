"""What all tests share: shape checks at run time, a warm compilation cache, the real data where they are named."""

import os
from pathlib import Path

# Before jax is imported: the tests are about values, and XLA's threads would fight pytest-xdist's processes.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("omics_jax", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402

CACHE = Path(os.environ.get("OMICS_JAX_TEST_CACHE", Path(__file__).parent.parent / ".jax_cache"))
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, from the environment variable OMICS_JAX_DATA; tests that need it skip without."""
    folder = os.environ.get("OMICS_JAX_DATA")
    if not folder:
        pytest.skip("OMICS_JAX_DATA does not name a folder with the public data (l1000/ and others)")
    return Path(folder)
