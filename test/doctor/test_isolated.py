"""A check that fails in any way is a finding, and never the end of the doctor."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from trpose_ros.doctor import checkup
from trpose_ros.doctor.findings import Finding, note, ok, one_line, problem
from trpose_ros.doctor.isolated import run_isolated

TEST = str(Path(__file__).resolve().parents[1])


@pytest.fixture(autouse=True)
def stand_in_is_found(monkeypatch):
    monkeypatch.setenv('PYTHONPATH', TEST + os.pathsep + os.environ.get('PYTHONPATH', ''))


def run(name, limit_s=60.0, **arguments):
    return run_isolated(name, f'doctor_stand_in:{name}', arguments, limit_s)


def test_findings_come_back_whatever_else_is_printed():
    assert run('fine', word='ä [x]') == [ok('ä [x]', number=3)]


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('raises', 'this check failed: RuntimeError: the driver says no'),
        ('leaves', 'this check failed: SystemExit: gone'),
        ('crashes', 'this check was ended by SIGSEGV: about to crash'),
        ('ends', 'this check ended with code 3: nothing was said'),
        ('no_such_function', 'this check failed: AttributeError'),
        ('says_nonsense', 'this check ended with code 1: AttributeError'),
    ],
)
def test_failure_is_a_finding(name, words):
    (finding,) = run(name)
    assert finding.mark == 'problem'
    assert words in finding.text
    assert finding.means
    assert finding.do


def test_what_hangs_is_ended_with_all_it_started(tmp_path):
    mark = tmp_path / 'pid'
    (finding,) = run('hangs', limit_s=3.0, mark=str(mark))
    assert finding.mark == 'problem'
    assert 'did not end within 3 s' in finding.text
    if mark.exists():  # a very slow machine may not have come so far
        end_s = time.monotonic() + 20
        while is_alive(int(mark.read_text() or 0)):
            assert time.monotonic() < end_s
            time.sleep(0.02)


def is_alive(pid):
    try:
        return ') Z' not in Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return False


def test_interpreter_that_is_not_there(monkeypatch):
    monkeypatch.setattr('sys.executable', '/nowhere/python')
    (finding,) = run('fine')
    assert 'could not be started' in finding.text


def test_problem_needs_meaning_and_remedy():
    with pytest.raises(ValueError, match='remedy'):
        problem('x', 'means', '')
    with pytest.raises(ValueError, match='words'):
        ok('')
    with pytest.raises(ValueError, match='mark'):
        Finding('bad', 'x')
    assert one_line(ValueError('a\n  b')) == 'ValueError: a b'
    assert len(one_line('x' * 999)) < 310


def test_sections_are_counted_and_written_as_a_document(monkeypatch):
    found = {'ros': [ok('a'), note('b', 'c')], 'dds': [problem('d', 'e', 'f', size=1)]}
    monkeypatch.setattr(checkup, 'run_isolated', lambda name, *_: found[name])
    checks = checkup.chosen(checkup.all_checks(), ['dds', 'ros'])
    assert [check.name for check in checks] == ['ros', 'dds']
    sections = list(checkup.examine(checks))
    assert checkup.count(sections) == {'ok': 1, 'note': 1, 'problem': 1}
    text = checkup.document(sections)
    assert text['healthy'] is False
    assert text['sections'][1]['findings'][0] == {
        'mark': 'problem',
        'text': 'd',
        'means': 'e',
        'do': 'f',
        'facts': {'size': 1},
    }
    with pytest.raises(ValueError, match="no check is called 'gpu'; there are python, ros"):
        checkup.chosen(checkup.all_checks(), ['gpu'])


def test_every_check_is_there():
    import importlib

    for check in checkup.all_checks():
        module, _, name = check.function.partition(':')
        assert callable(getattr(importlib.import_module(module), name))
