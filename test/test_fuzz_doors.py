"""The fuzzer of all doors: some inputs of each, and that it sees what it is there to see."""

from __future__ import annotations

import os
import signal

import pytest

pytest.importorskip('scipy')

import fuzz_doors
from fuzz_doors import Tally, draw, try_one, watched
from fuzz_messages import DOORS, Door

FAST = sorted(set(DOORS) - {'MATLAB files'})  # that one starts a process for each input


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', FAST)
def test_some_damaged_inputs_of_each_door(name, tmp_path):
    make = DOORS[name].open(tmp_path)
    inputs = 4 if name.startswith('recordings') else 12  # types of messages are made for each
    answers = [try_one(name, make, 0, number)[0] for number in range(inputs)]
    assert set(answers) <= {'accepted', 'refused'}, answers


def test_the_same_seed_makes_the_same_input():
    one, other = (draw(3, 'a', 5).randbytes(9) for _ in range(2))
    assert one == other != draw(3, 'a', 6).randbytes(9)


def _refuse(words):
    raise ValueError(words)


READS = {
    'KeyError in test_fuzz_doors.py': lambda: {}['x'],
    'an error of strange length': lambda: _refuse('x' * 9000),
    'the process ended by signal 11': lambda: os.kill(os.getpid(), signal.SIGSEGV),
    'the process ended by signal 9': lambda: os.kill(os.getpid(), signal.SIGKILL),
    'too much memory': lambda: len(b'x' * (100 << 20)),
    'MemoryError in test_fuzz_doors.py': lambda: len(bytearray(1 << 40)),
}


@pytest.mark.parametrize('fault', READS)
def test_each_kind_of_fault_is_seen(fault, monkeypatch):
    """The second of three inputs is one; the two others are refused, as they should be."""
    monkeypatch.setattr(fuzz_doors, 'MEMORY', 50 << 20)
    monkeypatch.setitem(DOORS, 'made', Door(1, (ValueError,), lambda _: None))
    numbers = iter(range(3))

    def make(_):
        return READS[fault] if next(numbers) == 1 else (lambda: _refuse('no'))

    tally = Tally(inputs=3)
    begin = 0
    while begin < 3:
        numbers = iter(range(begin, 3))
        begin = watched('made', make, 0, range(begin, 3), tally)
    assert [kind for kind in tally.faults if kind.startswith(fault)], tally.faults
    assert tally.refused == 2
    assert 1 in tally.examples.values()
