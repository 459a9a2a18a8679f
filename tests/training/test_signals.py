"""Stop requests, with real signals: in this process, and in others where they end it."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from omics_jax.errors import Interrupted
from omics_jax.training.signals import interruptions, stop_signals

BOTH = [signal.SIGTERM, signal.SIGINT]


def handlers():
    return [signal.getsignal(number) for number in BOTH]


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_sets_the_flag_and_the_handlers_return_on_exit(number):
    before = handlers()
    with stop_signals() as request:
        assert request.received is None
        os.kill(os.getpid(), number)
        assert request.received == number
        assert handlers() == [signal.SIG_DFL, signal.SIG_DFL]
    assert handlers() == before


def test_handlers_return_after_an_error_and_after_no_signal():
    mine = lambda signum, frame: None
    before = signal.signal(signal.SIGTERM, mine)
    try:
        with pytest.raises(KeyError), stop_signals():
            raise KeyError
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_signals() as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert request.received is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert request.received == signal.SIGTERM
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_request_does_not_outlive_its_context():
    with stop_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    with stop_signals() as request:
        assert request.received is None


def test_outside_the_main_thread_nothing_is_done():
    before, seen = handlers(), []

    def run():
        with stop_signals() as request:
            seen.append((request.received, handlers() == before))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(None, True)]


@pytest.mark.parametrize("number", BOTH)
def test_outside_of_training_a_signal_is_an_exception(number):
    before, hook = handlers(), sys.unraisablehook
    with pytest.raises(Interrupted) as caught, interruptions():
        try:
            os.kill(os.getpid(), number)
        except Exception:
            pytest.fail("it is no mistake that could be handled")
    assert (caught.value.signum, caught.value.exit_status) == (number, 128 + number)
    assert handlers() == before and sys.unraisablehook is hook


def test_training_within_an_interruptible_command_is_asked_to_stop():
    with interruptions():
        outer = handlers()
        with stop_signals() as request:
            os.kill(os.getpid(), signal.SIGTERM)
            assert request.received == signal.SIGTERM
        assert handlers() == outer


IN_A_FINALISER = """
import os, signal
from omics_jax.training.signals import interruptions
class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
with interruptions():
    thing = Finalised()
    del thing
    print("goes on")
"""


def test_a_signal_that_python_cannot_raise_ends_the_process_in_the_same_words():
    words = [sys.executable, "-c", IN_A_FINALISER]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr.startswith("error: stopped by signal 15") and done.stderr.count("\n") == 1


STOPS = """
import sys, time
from omics_jax.training.signals import stop_signals
with stop_signals() as request:
    print("ready", flush=True)
    while request.received is None:
        time.sleep(0.01)
    print("saved", flush=True)
    if sys.argv[1] == "hangs":
        # One long call into C, as a compiled block is: Python handlers do not run in it.
        import ctypes
        ctypes.PyDLL(None).sleep(300)
sys.exit(128 + request.received)
"""


def start(manner):
    process = subprocess.Popen(
        [sys.executable, "-c", STOPS, manner], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", BOTH)
def test_one_signal_ends_in_order_with_its_status(number):
    with start("stops") as process:
        process.send_signal(number)
        assert process.stdout.read() == "saved\n"
    assert process.returncode == 128 + number


@pytest.mark.parametrize("second", BOTH)
def test_a_second_signal_of_either_kind_ends_the_process_even_within_a_c_call(second):
    with start("hangs") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "saved\n"
        process.send_signal(second)
        process.wait(timeout=60)
    assert process.returncode == -second
