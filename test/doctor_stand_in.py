"""Checks that are broken in every way, for the process that runs one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from trpose_ros.doctor.findings import ok


def fine(word='fine'):
    print('said by Python')
    os.write(1, b'said by C\n')
    return [ok(word, number=3)]


def raises():
    raise RuntimeError('the driver says no')


def leaves():
    sys.exit('gone')


def crashes():
    print('about to crash', file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def ends():
    os._exit(3)


def hangs(mark):
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
    with open(mark, 'w') as stream:
        stream.write(str(child.pid))
    time.sleep(600)


def says_nonsense():
    return ['no finding']
