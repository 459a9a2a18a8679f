"""How a list is written on the command line."""

from __future__ import annotations

from ml_collections.config_flags.tuple_parser import TupleParser

from omics_jax.settings.words import parse_tuple


class ListParser(TupleParser):
    """Lists on the command line as a,b: every field of a config that is a tuple is read by it."""

    def parse(self, argument):
        """One text, or those of a flag that is given several times."""
        texts = argument if isinstance(argument, list) else [argument]
        if not all(isinstance(text, str) for text in texts):
            return super().parse(argument)
        return tuple(item for text in texts for item in parse_tuple(text))
