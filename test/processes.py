"""Node processes of a test: started from their executables, read line by line, always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path


class NodeProcess:
    """A process whose output is collected; SIGINT ends it as a launch file would."""

    def __init__(self, command, domain, **environment):
        # Whoever runs the tests may ignore SIGINT (a shell's background job does); a node does not.
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, 'ROS_DOMAIN_ID': str(domain), **environment},
            restore_signals=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    @property
    def text(self):
        return '\n'.join(self.lines)

    def wait_for(self, words, latest_s=240.0):
        end = time.monotonic() + latest_s
        while words not in self.text:
            assert self._process.poll() is None, self.text
            assert time.monotonic() < end, f'{words!r} never came:\n{self.text}'
            time.sleep(0.005)

    def shared_memory(self):
        """Return the names of the segments that DDS made for the process, by the locks it holds.

        It also maps those of others; ports belong to all.
        """
        opened = [path.readlink() for path in Path(f'/proc/{self._process.pid}/fd').iterdir()]
        locks = [path.name for path in opened if path.match('/dev/shm/fastrtps_[!p]*_el')]
        return sorted(name.removesuffix('_el') for name in locks)

    def interrupt(self, latest_s=240.0):
        """Send SIGINT; return the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.ended(latest_s)

    def ended(self, latest_s=240.0):
        code = self._process.wait(latest_s)
        self._thread.join()
        self._process.stdout.close()
        return code

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        self._process.stdout.close()
