"""The continuous guard: what counts as worse, and that the benchmarks emit numbers it can read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / 'benchmarks'


@pytest.fixture
def guard(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import run

    yield run
    for name in ('run', 'results'):
        sys.modules.pop(name, None)


def baseline(guard, **changes):
    entry = {'run': 'a', 'value': 10.0, 'unit': 'ms', 'better': 'lower', 'portable': False}
    entry |= {'floor': 0.1, 'noise': 0.02, **changes}
    return {'processor': 'here', 'numbers': {'n': entry}}


@pytest.mark.parametrize(
    ('changes', 'now', 'word'),
    [
        ({}, 10.9, 'same'),
        ({}, 11.1, 'worse'),
        ({}, 8.9, 'better'),
        ({'noise': 0.2}, 13.9, 'same'),  # twice the range of the rounds
        ({'noise': 0.2}, 14.1, 'worse'),
        ({'better': 'higher'}, 8.9, 'worse'),
        ({'better': 'higher'}, 11.1, 'better'),
        ({'floor': 0.01, 'noise': 0.0}, 10.2, 'worse'),
    ],
)
def test_worse_is_what_exceeds_noise(guard, changes, now, word):
    numbers = {'n': guard.Number('n', now, 'ms')}
    (verdict,) = guard.compare(baseline(guard, **changes), numbers, 'here', ['a'])
    assert verdict.word == word


def test_times_are_compared_on_the_same_processor_alone(guard):
    numbers = {'n': guard.Number('n', 99.0, 'ms')}
    words = [
        guard.compare(baseline(guard, portable=portable), numbers, 'elsewhere', ['a'])[0].word
        for portable in (False, True)
    ]
    assert words == ['other processor', 'worse']


def test_numbers_that_come_and_go(guard):
    numbers = {'m': guard.Number('m', 1.0, 'ms')}
    words = {v.name: v.word for v in guard.compare(baseline(guard), numbers, 'here', ['a'])}
    assert words == {'n': 'missing', 'm': 'new'}
    assert guard.compare(baseline(guard), {}, 'here', ['b']) == []  # was not run


def test_noise_is_the_range_of_the_rounds(guard):
    rounds = [{'n': guard.Number('n', v, 'ms')} for v in (10.0, 12.0, 11.0)]
    merged = guard.merge(rounds)['n']
    assert merged['value'] == 11.0
    assert merged['noise'] == pytest.approx(2 / 11)
    assert merged['values'] == [10.0, 12.0, 11.0]


def test_numbers_survive_their_file_and_nothing_infinite_gets_in(guard, tmp_path):
    from results import Numbers

    numbers = Numbers()
    numbers.time('t', 3)
    numbers.time('nothing', float('nan'))
    numbers.error('e', 55.5)
    numbers.write(tmp_path / 'n.json')
    assert guard.read(tmp_path / 'n.json') == numbers.entries
    assert [n.name for n in numbers.entries] == ['t', 'e']
    assert [p.name for p in tmp_path.iterdir()] == ['n.json']


def test_the_guard_runs_names_what_got_worse_and_is_strict_when_asked(guard, tmp_path, monkeypatch):
    fake = tmp_path / 'fake.py'
    fake.write_text(
        f'import sys\nsys.path.insert(0, {str(FOLDER)!r})\n'
        'from pathlib import Path\nfrom results import Numbers\n'
        'n = Numbers()\n'
        f'n.ratio("speed", float(Path({str(tmp_path / "value")!r}).read_text()))\n'
        'n.write(Path(sys.argv[sys.argv.index("--json") + 1]))\n'
    )
    monkeypatch.setattr(guard, 'RUNS', {'fake': [str(fake)]})
    file = tmp_path / 'baseline.json'

    def main(value, *arguments):
        (tmp_path / 'value').write_text(value)
        monkeypatch.setattr(sys, 'argv', ['run.py', '--baseline', str(file), *arguments])
        return guard.main()

    assert main('1.0') == 0  # no baseline yet
    assert main('1.0', '--update', '--rounds', '2') == 0
    stored = json.loads(file.read_text())
    assert stored['numbers']['speed']['values'] == [1.0, 1.0]
    assert stored['processor'] == guard.processor()
    assert main('1.05', '--strict') == 0
    assert main('1.5') == 0
    assert main('1.5', '--strict') == 1
    assert main('broken') == 1  # a benchmark that fails is no result
    assert main('broken', '--update') == 1
    assert json.loads(file.read_text()) == stored


def test_every_benchmark_that_is_run_exists_and_takes_json(guard):
    for script, *_ in guard.RUNS.values():
        text = (FOLDER / script).read_text(encoding='utf-8')
        assert 'add_option(parser)' in text
        assert '.write(' in text
    for script in FOLDER.glob('bench_*.py'):
        assert 'add_option(parser)' in script.read_text(encoding='utf-8'), script.name


def test_the_committed_baseline_belongs_to_the_benchmarks(guard):
    content = json.loads(guard.BASELINE.read_text(encoding='utf-8'))
    assert {entry['run'] for entry in content['numbers'].values()} == set(guard.RUNS)
    assert all(entry['noise'] >= 0 for entry in content['numbers'].values())


def test_a_small_benchmark_emits_its_numbers(guard, tmp_path):
    command = [sys.executable, str(FOLDER / 'bench_lifters.py'), '--only', 'memory']
    subprocess.run([*command, '--json', str(tmp_path / 'n.json')], check=True, capture_output=True)
    numbers = guard.read(tmp_path / 'n.json')
    assert len(numbers) >= 7
    assert all(n.portable and n.value > 0 and n.unit == 'KiB' for n in numbers)
