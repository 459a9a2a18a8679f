"""omics_jax: five published deep-learning methods for omics and health-record data, in JAX.

Importing the package imports nothing heavy; each room is imported where it is used.
"""

__version__ = "0.1.0"
