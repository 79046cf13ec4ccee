"""Where a log goes: a viewer on this machine, a file (.rrd), or both."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from trpose_ros.viewer.library import ViewError, library
from trpose_ros.viewer.rerun_log import APPLICATION, ImageLogConfig, RerunLog
from trpose_ros.writing import Draft, write_error

PORT = 9876  # of rerun's viewers, where nothing else is said
_START_S = 60.0
_WINDOW_S = 3.0
_MEMORY = '25%'  # of the machine: the viewer forgets the oldest beyond
_FOOTER, _FOOTER_BYTES = b'FOOT', 32  # the end of a recording
_VIEWERS: list[subprocess.Popen] = []  # started here; they go on alone
_DISPLAYS = ('DISPLAY', 'WAYLAND_DISPLAY')


class View:
    """An open log; a context manager. The file appears at the end, whole; an error leaves none."""

    def __init__(
        self,
        name: str,
        *,
        show: bool = False,
        save: str | Path | None = None,
        port: int = PORT,
        images: ImageLogConfig | None = None,
        end_s: float = 10.0,
    ) -> None:
        """Open a viewer (``show``), a file to ``save``, or both.

        ``name`` is what the viewer calls the recording. A viewer that listens on
        ``port`` already is used; otherwise one is started. The end waits at most ``end_s`` for each
        of both.

        Raises ViewError without rerun or a display, and WriteError for a file that cannot be.
        """
        rr = library()
        self.path = None if save is None else Path(save)
        self._end_s = end_s
        self._draft: Draft | None = None
        self._file: Any = None
        self._window: Any = None
        if self.path is not None:
            if self.path.suffix != '.rrd':
                raise ViewError(f'{self.path} must end in .rrd: the viewer opens nothing else')
            self._draft = Draft(self.path, '.rrd')
        try:
            if show:
                open_viewer(port)
                self._window = rr.RecordingStream(APPLICATION)
                self._window.connect_grpc(f'rerun+http://127.0.0.1:{port}/proxy')
            if self._draft is not None:
                self._file = rr.RecordingStream(APPLICATION)
                self._file.save(self._draft.temporary)
            streams = [stream for stream in (self._window, self._file) if stream is not None]
            for stream in streams:
                stream.send_recording_name(name)
            self.log = RerunLog(streams, images)
        except BaseException:
            self.discard()
            raise

    def __enter__(self) -> View:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.discard()

    def finish(self) -> None:
        """Send what waits and put the file in its place; raises WriteError."""
        let_go(self._window, self._end_s)
        let_go(self._file, self._end_s)
        draft, self._draft = self._draft, None
        self._window = self._file = None
        if draft is None:
            return
        if not is_whole(draft.temporary):
            draft.discard()
            raise write_error(draft.path, 'its end is missing: is the disk full?')
        draft.finish()

    def discard(self) -> None:
        """Let go; no file is left."""
        let_go(self._window, self._end_s)
        let_go(self._file, self._end_s)
        self._window = self._file = None
        if self._draft is not None:
            self._draft.discard()
            self._draft = None


def let_go(stream: Any, limit_s: float) -> None:
    """Send what waits and close a stream, within a time: a sink that has died may never answer."""
    if stream is None:
        return
    thread = threading.Thread(target=stream.disconnect, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():  # it keeps the stream; the end of the process must not wait for it
        getattr(library(), 'unregister_shutdown', lambda: None)()


def is_whole(path: Path) -> bool:
    """Say whether a file has its end: rerun says nothing when a disk is full."""
    with path.open('rb') as stream:
        stream.seek(max(path.stat().st_size - _FOOTER_BYTES, 0))
        return _FOOTER in stream.read()


def open_viewer(port: int = PORT) -> None:
    """Make sure that a viewer listens on a port of this machine; raises ViewError.

    A viewer that is started takes connections of this machine alone, and stays open afterwards.
    """
    library()
    if _listens(port):
        return
    if sys.platform.startswith('linux') and not any(map(os.environ.get, _DISPLAYS)):
        raise ViewError(
            f'a viewer needs a display, and there is none ({" and ".join(_DISPLAYS)} are not set): '
            'write a recording instead and open it where there is one (rerun FILE.rrd), or start '
            f'rerun on your own machine and forward its port: ssh -R {port}:localhost:{port} '
            'THIS_MACHINE'
        )
    command = [sys.executable, '-m', 'rerun', '--port', str(port), '--bind', '127.0.0.1']
    command += ['--memory-limit', _MEMORY, '--expect-data-soon']
    with tempfile.TemporaryFile() as said:
        # A session of its own: Ctrl-C ends what is looked at, not the window.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        _VIEWERS.append(process)
        if _starts(process, port):
            return
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # the window is a child of this process
        process.wait()
        said.seek(0)
        lines = said.read().decode('utf-8', 'replace').splitlines()
    words = [line for line in lines if 'rror' in line or 'panicked' in line] or lines[-1:]
    raise ViewError(f'the viewer did not start: {" ".join(words)[:300] or "it said nothing"}')


def _starts(process: subprocess.Popen, port: int) -> bool:
    """Wait until a viewer listens, and whether it stays: it listens before it has a window."""
    end_s = time.monotonic() + _START_S
    while not _listens(port):
        if process.poll() is not None or time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    try:
        process.wait(_WINDOW_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(('127.0.0.1', port)) == 0
