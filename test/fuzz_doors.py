"""Random damage to everything that comes in: does each reader refuse it, in the words it promised?

    python test/fuzz_doors.py --inputs 100000 --seed 3 [--door NAME ...] [--only NUMBER]

Each door (messages, pickles, weights, archives, recordings, ...) begins with a small valid input,
which is damaged at random and read. Either the reader takes it or it raises what its documentation
names. Everything else is a fault: another exception, a crash, a message of kilobytes, more than
two seconds of processor time, more than 768 MiB of memory. Readers work in child processes with
limits, a thousand inputs each. The same seed makes the same inputs; ``--only`` repeats one of them
in this process and shows what happens. Prints a table; ends with 1 where there is a fault.
"""

from __future__ import annotations

import argparse
import logging
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import fuzz_files  # noqa: F401 - its doors enter themselves
import fuzz_keypoints  # noqa: F401
import fuzz_robot  # noqa: F401
import torch
from fuzz_messages import DOORS, Make

CPU_S = 2.0  # of one input
MEMORY = 768 << 20  # bytes that reading may add
LEAK = 64 << 20  # bytes that may stay after a child's inputs
_ADDRESSES = 4 << 30  # bytes; what is only reserved counts here
_HANG_S = 300.0  # of the clock, on a busy machine
_PER_CHILD = 1000
_LONGEST_WORDS = 4000  # characters of an error
_CRASH_CPU_S = 20  # after which the kernel ends a child
_BOARD = struct.Struct('<qddqqq')  # input in work, its begin, slowest ms, which, accepted, refused


@dataclass
class Tally:
    """What became of the inputs of one door."""

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_ms: float = 0.0
    slowest: int = -1
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, int] = field(default_factory=dict)

    def fault(self, kind: str, number: int) -> None:
        """Count a fault under its kind."""
        self.faults[kind] += 1
        self.examples.setdefault(kind, number)


def draw(seed: int, name: str, number: int) -> random.Random:
    """Return the generator of one input."""
    return random.Random(f'{seed} {name} {number}')


def memory_bytes(key: str) -> int:
    """Return VmRSS or VmHWM of this process."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) << 10
    return 0


def try_one(name: str, make: Make, seed: int, number: int) -> tuple[str, float]:
    """Read one input; return 'accepted', 'refused' or the kind of a fault, and its seconds."""
    read = make(draw(seed, name, number))
    begin_s = time.process_time()
    try:
        read()
        answer = 'accepted'
    except DOORS[name].refuses as error:
        answer = 'refused' if 0 < len(str(error)) < _LONGEST_WORDS else 'an error of strange length'
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = next(
            (
                frame
                for frame in reversed(traceback.extract_tb(error.__traceback__))
                if 'trpose_ros/' in frame.filename
            ),
            place,
        )
        file = Path(where.filename).name
        answer = f'{type(error).__name__} in {file}:{where.lineno} ({str(error)[:80]!r})'
    return answer, time.process_time() - begin_s


def child(name: str, make: Make, seed: int, numbers: range, board: mmap.mmap, out: int) -> None:
    """Read inputs; write where it is to ``board``, and faults, a line each, to ``out``."""
    now = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + _ADDRESSES, now + _ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders in C complain of every input
    accepted = refused = 0
    slowest, which = 0.0, -1
    before = most = memory_bytes('VmRSS')
    for number in numbers:
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + _CRASH_CPU_S
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        board[:] = _BOARD.pack(number, time.monotonic(), slowest, which, accepted, refused)
        answer, spent_s = try_one(name, make, seed, number)
        accepted += answer == 'accepted'
        refused += answer == 'refused'
        faults = [] if answer in ('accepted', 'refused') else [answer]
        if 1e3 * spent_s > slowest:
            slowest, which = 1e3 * spent_s, number
        if spent_s > CPU_S:
            faults.append('more than two seconds')
        if (peak := memory_bytes('VmHWM')) - before > MEMORY and peak > most:
            faults.append('too much memory')
        most = max(peak, most)
        for fault in faults:
            os.write(out, f'{number} {" ".join(fault.split())}\n'.encode(errors='replace'))
    if len(numbers) == _PER_CHILD and memory_bytes('VmRSS') - before > LEAK:
        os.write(out, f'{numbers[-1]} memory stays in use\n'.encode())
    board[:] = _BOARD.pack(numbers[-1] + 1, time.monotonic(), slowest, which, accepted, refused)


def watched(name: str, make: Make, seed: int, numbers: range, tally: Tally) -> int:
    """Have a child read inputs; return the number of the first one that it did not come to."""
    board = mmap.mmap(-1, _BOARD.size)
    board[:] = _BOARD.pack(numbers[0], time.monotonic(), 0.0, -1, 0, 0)
    with tempfile.TemporaryFile() as faults:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child(name, make, seed, numbers, board, faults.fileno())
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        pause_s = 0.001
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() - _BOARD.unpack(board[:])[1] > _HANG_S:
                os.kill(pid, signal.SIGKILL)
            time.sleep(pause_s := min(2 * pause_s, 0.2))
        next_, _, slowest, which, accepted, refused = _BOARD.unpack(board[:])
        faults.seek(0)
        for line in faults.read().decode(errors='replace').splitlines():
            number, _, kind = line.partition(' ')
            tally.fault(kind, int(number))
    if ended[1]:
        how = f'signal {os.WTERMSIG(ended[1])}' if os.WIFSIGNALED(ended[1]) else 'an early end'
        tally.fault(f'the process ended by {how}', next_)
        next_ += 1
    tally.accepted, tally.refused = tally.accepted + accepted, tally.refused + refused
    if slowest > tally.slowest_ms:
        tally.slowest_ms, tally.slowest = slowest, which
    return next_


def fuzz(name: str, seed: int, inputs: int) -> Tally:
    """Read so many damaged inputs of a door."""
    folder = Path(tempfile.mkdtemp(prefix='fuzz_'))
    tally, number = Tally(inputs=inputs), 0
    try:
        make = DOORS[name].open(folder)
        while number < inputs:
            numbers = range(number, min(inputs, number + _PER_CHILD))
            number = watched(name, make, seed, numbers, tally)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return tally


def quiet() -> None:
    """Keep what readers log and warn out of the table; one thread, as children are forked."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter('ignore')
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def repeat(name: str, seed: int, number: int) -> None:
    """Read one input in this process and show what happens."""
    with tempfile.TemporaryDirectory(prefix='fuzz_') as folder:
        read = DOORS[name].open(Path(folder))(draw(seed, name, number))
        begin_s = time.process_time()
        try:
            print('accepted:', read())
        except Exception:
            traceback.print_exc(file=sys.stdout)
        print(f'{1e3 * (time.process_time() - begin_s):.1f} ms')


def main() -> int:
    """Print a line a door; return 1 where something is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--inputs', type=int, default=10_000, help='of all doors together')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--door', action='append', choices=sorted(DOORS), help='only this one')
    parser.add_argument('--only', type=int, help='repeat this input of --door')
    given = parser.parse_args()
    quiet()
    names = given.door or list(DOORS)
    if given.only is not None:
        repeat(names[0], given.seed, given.only)
        return 0
    shares = sum(DOORS[name].share for name in names)
    print(f'{"door":28} {"inputs":>8} {"accepted":>8} {"refused":>8} {"slowest ms":>10}  faults')
    whole = Tally()
    for name in names:
        tally = fuzz(name, given.seed, max(1, round(given.inputs * DOORS[name].share / shares)))
        print(_row(name, tally), flush=True)
        for kind, count in tally.faults.most_common():
            print(f'    {count} x {kind}: --only {tally.examples[kind]}', flush=True)
        for key in ('inputs', 'accepted', 'refused', 'faults'):
            setattr(whole, key, getattr(whole, key) + getattr(tally, key))
        whole.slowest_ms = max(whole.slowest_ms, tally.slowest_ms)
    print(_row('all', whole))
    return int(bool(whole.faults))


def _row(name: str, tally: Tally) -> str:
    slow = f'{tally.slowest_ms:10.0f}'
    counts = f'{tally.inputs:8} {tally.accepted:8} {tally.refused:8}'
    return f'{name:28} {counts} {slow}  {tally.faults.total()}'


if __name__ == '__main__':
    sys.exit(main())
