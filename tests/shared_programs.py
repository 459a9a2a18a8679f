"""Commands that train the same arm on the same data share its programs, which are compiled once."""

from __future__ import annotations

import functools
import json
import pickle
from contextlib import contextmanager
from dataclasses import replace

import pytest

from omics_jax.run import train, tuning

PROGRAMS = ("block", "initial_state", "features")  # of a stage


@contextmanager
def programs_compiled_once():
    """Within, a training takes the programs of an earlier one of the same origin.

    An origin is a digest of the settings and the data. How a run is cut into blocks and saved is no
    part of a program. Of equal replicates the whole plan is taken, because the shapes that a plan
    finds out take as long as its programs' traces.
    """
    plans, programs, predictors = {}, {}, {}

    def plan_of(origin, make_plan, training, options):
        key = origin, replace(options, block_steps=0, block_seconds=0.0, checkpoint_seconds=0.0)
        # A test may put another function in place of `make_plan`.
        whole = make_plan, key, pickle.dumps(training.replicates), training.together
        if whole not in plans:
            plans[whole] = with_programs_of_the_first(key, make_plan(training, options))
        return replace(plans[whole], training=training, options=options)

    def with_programs_of_the_first(key, plan):
        first = programs.setdefault(key, plan)
        stages = [
            replace(stage, **{name: getattr(made, name) for name in PROGRAMS})
            for stage, made in zip(plan.stages, first.stages, strict=True)
        ]
        return replace(plan, stages=stages, init=first.init)

    def predictor_of(origin, compile_row_function, function, width):
        if (origin, width) not in predictors:
            predictors[origin, width] = compile_row_function(function, width)
        return predictors[origin, width]

    def sharing(function):
        """The function of an arm, ..., and its origin, with the shared programs."""

        @functools.wraps(function)
        def of_arm(*arguments):
            origin = json.dumps(arguments[-1], sort_keys=True)
            with pytest.MonkeyPatch.context() as patch:
                for module, name, shared in (
                    (train, "make_plan", plan_of),
                    (tuning, "make_plan", plan_of),
                    (train, "compile_row_function", predictor_of),
                ):
                    compiled = getattr(module, name)
                    patch.setattr(module, name, functools.partial(shared, origin, compiled))
                return function(*arguments)

        return of_arm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_train_arm", sharing(train._train_arm))
        patch.setattr(train, "choose_constants", sharing(train.choose_constants))
        yield
