"""Where logs go: a viewer, a file, and what is said when neither can be."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import types
from contextlib import suppress

import pytest
from doubles import STEP_NS, blank, make_people

rerun = pytest.importorskip('rerun', reason='needs pip install "trpose_ros[view]"')

from rerun.chunk import RrdReader

from trpose_ros.viewer import sinks
from trpose_ros.viewer.library import ViewError, library
from trpose_ros.viewer.sinks import View, open_viewer
from trpose_ros.writing import WriteError


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test_without_rerun_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'rerun', None)
    with pytest.raises(ViewError, match=r'rerun is missing: pip install "trpose_ros\[view\]"'):
        View('x', save='x.rrd')


@pytest.mark.parametrize(
    ('other', 'words'),
    [
        ({'__version__': '1.0.30'}, 'rerun 1.0.30 is not the viewer rerun-sdk'),
        ({'__version__': '0.29.2', 'RecordingStream': object}, '0.29.2 is too old, 0.30 at least'),
    ],
)
def test_another_rerun_is_named(monkeypatch, other, words):
    module = types.ModuleType('rerun')
    vars(module).update(other)
    monkeypatch.setitem(sys.modules, 'rerun', module)
    with pytest.raises(ViewError, match=words):
        library()


def test_without_a_display_the_ways_out_are_named(tmp_path, monkeypatch):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    port = free_port()
    with pytest.raises(ViewError, match=rf'there is none.*rerun FILE\.rrd.*-R {port}:localhost'):
        View('x', show=True, save=tmp_path / 'x.rrd', port=port)
    assert list(tmp_path.iterdir()) == []


def test_a_viewer_that_does_not_start_says_why(monkeypatch):
    monkeypatch.setenv('DISPLAY', ':7531')  # nobody's
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    with pytest.raises(ViewError, match=r'the viewer did not start: .*X server'):
        open_viewer(free_port())


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ViewError, match=r'view\.mp4 must end in \.rrd'):
        View('x', save=tmp_path / 'view.mp4')
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(WriteError, match=r'file/x\.rrd cannot be written'):
        View('x', save=tmp_path / 'file' / 'x.rrd')


def test_the_file_appears_at_the_end_and_an_error_keeps_the_old_one(tmp_path):
    path = tmp_path / 'new' / 'x.rrd'
    with View('x', save=path) as view:
        view.log.add_frame(blank(STEP_NS))
        assert not path.exists()
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), View('x', save=path):
        _ = 1 / 0
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_without_its_end_is_no_result(tmp_path, monkeypatch):
    path = tmp_path / 'x.rrd'

    def cut(stream, limit_s):
        if stream is not None:
            stream.disconnect()
            (draft,) = tmp_path.glob('.*.rrd')
            draft.write_bytes(draft.read_bytes()[:-100])

    monkeypatch.setattr(sinks, 'let_go', cut)
    view = View('x', save=path)
    view.log.add_frame(blank(STEP_NS))
    with pytest.raises(WriteError, match=r'x\.rrd cannot be written: its end is missing'):
        view.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_never_closes_does_not_hold_the_end(monkeypatch):
    class Stuck:
        def disconnect(self):
            time.sleep(3)

    called = []
    monkeypatch.setattr(rerun, 'unregister_shutdown', lambda: called.append(True))
    begin = time.monotonic()
    sinks.let_go(Stuck(), 0.05)
    assert time.monotonic() - begin < 2
    assert called == [True]


@pytest.mark.filterwarnings('ignore:RRD file has no footer')
def test_a_viewer_that_runs_gets_everything_and_so_does_the_file(tmp_path):
    port, received = free_port(), tmp_path / 'received.rrd'
    # Whoever runs the tests in the background may have switched Ctrl-C off for all below.
    command = ['env', '--default-signal=INT', sys.executable, '-m', 'rerun']
    command += ['--bind', '127.0.0.1', '--port', str(port)]
    with subprocess.Popen([*command, '--save', str(received)]) as server:
        try:
            end = time.monotonic() + 60
            while not sinks._listens(port):
                assert time.monotonic() < end
                time.sleep(0.05)
            with View('x', show=True, save=tmp_path / 'x.rrd', port=port) as view:
                view.log.add_frame(blank(STEP_NS), make_people(STEP_NS))
        finally:
            server.send_signal(signal.SIGINT)  # it ends its file
            with suppress(subprocess.TimeoutExpired):
                server.wait(30)
            server.kill()
    assert found(received) >= found(tmp_path / 'x.rrd') > {'/world/camera/joints'}


def found(path):
    """The entities of the recording in a file."""
    chunks = RrdReader(path).stream().to_chunks()
    return {chunk.entity_path for chunk in chunks if not chunk.entity_path.startswith('/__')}
