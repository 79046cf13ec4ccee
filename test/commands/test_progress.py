"""What is shown while a command works: how far it is, what is left, and nothing that disturbs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trpose_ros.commands import output
from trpose_ros.commands.output import FrameBar, passing_bar
from trpose_ros.offline.run import _head


@pytest.mark.parametrize(
    ('count', 'total', 'spent_s', 'words'),
    [
        (1, 0, 5.0, 'cam: frame 1'),  # a camera has no end
        (10, 40, 20.0, 'cam: frame 10 of 40, 1:00 left'),
        (40, 40, 80.0, 'cam: frame 40 of 40, 0:00 left'),
        (41, 40, 80.0, 'cam: frame 41'),  # more than the file's header says
    ],
)
def test_run_says_how_long_a_file_will_take(count, total, spent_s, words):
    assert _head('cam', count, total, spent_s) == words


def test_a_bar_starts_again_for_the_next_piece_of_work():
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    with FrameBar('first', console=console) as bar:
        bar.update(3, 3)
        bar.begin('second')
        bar.update(1, 4)
    assert 'second' in console.file.getvalue()
    assert '1/4' in console.file.getvalue()


def test_a_passing_bar_leaves_nothing_where_nobody_looks(monkeypatch, capsys):
    with passing_bar('work', 'files') as bar:
        for done in range(3):
            bar.update(done, 3)
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.strip() == ''
    shown = Console(file=io.StringIO(), width=100, force_terminal=True)
    monkeypatch.setattr(output, 'Console', lambda **_: shown)
    with passing_bar('work', 'files') as bar:
        bar.update(2, 3)
    assert '2/3' in shown.file.getvalue()
