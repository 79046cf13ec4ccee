"""The continuous guard: run the benchmarks, and name what got worse by more than noise.

    python benchmarks/run.py                  # all, compared with benchmarks/baseline.json
    python benchmarks/run.py --only lifters   # some of them
    python benchmarks/run.py --strict         # exit code 1 when something got worse
    python benchmarks/run.py --update         # three rounds; their medians are the new baseline

Ratios, sizes and errors are compared on every machine, times on the processor of the baseline
alone. Noise is measured: a number may change by twice the range of its rounds in the baseline,
and by its floor (10 %, errors 1 %), before it is named. Times are those of an idle machine: the
load at the beginning is said.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results import Number, read
from rich.console import Console
from rich.table import Table

from trpose_ros.writing import write_text

HERE = Path(__file__).resolve().parent
BASELINE = HERE / 'baseline.json'
# Each short enough that all take less than a quarter of an hour on two idle cores.
RUNS: dict[str, list[str]] = {
    'quick': ['bench_quick.py', '--workers', '2'],
    'evaluation': ['bench_evaluation.py'],
    'lifters': [
        *('bench_lifters.py', '--only', 'window', 'people', 'memory', '--scale', '0.3'),
        *('--networks', 'videopose3d', 'pstmo', 'mhformer'),
    ],
    'metrabs': ['bench_metrabs.py', '--rounds', '8'],
    'runtimes': ['bench_runtimes.py', '--rounds', '15'],
    'replay': ['bench_replay.py', '--frames', '60'],
    'live': [
        *('bench_live.py', '--only', 'import', 'delivery', 'overhead', 'first', '--seconds', '5'),
    ],
    'live_cpu': ['bench_live_cpu.py'],
    'rendering': ['bench_rendering.py', '--images', '96'],
}


@dataclass(frozen=True)
class Verdict:
    """One number against the baseline."""

    name: str
    before: str
    now: str
    change: float  # positive: worse
    allowed: float
    word: str  # same, worse, better, new, missing, other processor


def processor() -> str:
    """Return the model of the processor, as exactly as the system knows it."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(line.split(':', 1) for line in lines if ':' in line)
    facts = {key.strip(): value.strip() for key, value in found.items()}
    parts = [facts.get('model name', platform.machine())]
    parts += [f'{key} {facts[key]}' for key in ('cpu family', 'model') if key in facts]
    return ', '.join(parts)


def run_round(names: list[str], console: Console) -> tuple[dict[str, Number], dict[str, str]]:
    """Run benchmarks once; return the numbers, and what failed with its last words."""
    numbers: dict[str, Number] = {}
    failed = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            script, *arguments = RUNS[name]
            console.print(f'== {script} {" ".join(arguments)}', style='bold', highlight=False)
            file = Path(folder) / f'{name}.json'
            command = [sys.executable, str(HERE / script), *arguments, '--json', str(file)]
            begin = time.perf_counter()
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            console.print(f'{time.perf_counter() - begin:.0f} s\n', highlight=False)
            if done.returncode or not file.is_file():
                failed[name] = done.stderr.strip()[-500:] or f'exit code {done.returncode}'
                continue
            numbers |= {number.name: number for number in read(file)}
    return numbers, failed


def merge(rounds: list[dict[str, Number]]) -> dict[str, dict[str, Any]]:
    """Return the medians of rounds, each with the values and their relative range."""
    merged = {}
    for name in dict.fromkeys(name for one in rounds for name in one):
        found = [one[name] for one in rounds if name in one]
        values = [number.value for number in found]
        middle = statistics.median(values)
        merged[name] = {
            'value': middle,
            'unit': found[0].unit,
            'better': found[0].better,
            'portable': found[0].portable,
            'floor': found[0].floor,
            'noise': (max(values) - min(values)) / abs(middle) if middle else 0.0,
            'values': values,
        }
    return merged


def compare(
    baseline: dict[str, Any], numbers: dict[str, Number], here: str, names: list[str]
) -> list[Verdict]:
    """Return a verdict for each number of the baseline and of this run.

    A number of a benchmark that was not run is no verdict; one that was run and gave it no more is
    missing.
    """
    same = baseline['processor'] == here
    verdicts = []
    for name, before in baseline['numbers'].items():
        if before['run'] not in names:
            continue
        text = f'{before["value"]:.4g} {before["unit"]}'
        now = numbers.get(name)
        if now is None:
            verdicts.append(Verdict(name, text, '-', 0.0, 0.0, 'missing'))
            continue
        sign = 1 if before['better'] == 'lower' else -1
        change = sign * (now.value - before['value']) / (abs(before['value']) or 1.0)
        allowed = max(2.0 * before['noise'], before['floor'])
        word = 'worse' if change > allowed else 'better' if change < -allowed else 'same'
        if not before['portable'] and not same:
            word = 'other processor'
        value = f'{now.value:.4g} {now.unit}'
        verdicts.append(Verdict(name, text, value, change, allowed, word))
    for name, now in numbers.items():
        if name not in baseline['numbers']:
            value = f'{now.value:.4g} {now.unit}'
            verdicts.append(Verdict(name, '-', value, 0.0, 0.0, 'new'))
    return verdicts


def show(verdicts: list[Verdict], console: Console) -> None:
    """Print what is not the same, and how many are."""
    words = [verdict.word for verdict in verdicts]
    table = Table('', 'baseline', 'now', 'worse by', 'noise', title='against the baseline')
    styles = {'worse': 'red', 'missing': 'red', 'better': 'green', 'new': 'cyan'}
    for verdict in verdicts:
        if verdict.word in styles:
            table.add_row(
                f'{verdict.word}: {verdict.name}',
                verdict.before,
                verdict.now,
                f'{100 * verdict.change:+.1f} %' if verdict.before != '-' else '',
                f'{100 * verdict.allowed:.1f} %' if verdict.allowed else '',
                style=styles[verdict.word],
            )
    if table.row_count:
        console.print(table)
    counts = ', '.join(f'{words.count(word)} {word}' for word in dict.fromkeys(words))
    console.print(f'{len(verdicts)} numbers: {counts or "none"}', highlight=False)


def save(rounds: list[dict[str, Number]], runs: dict[str, str], path: Path) -> None:
    """Write the baseline, whole or not at all."""
    import torch

    merged = merge(rounds)
    content = {
        'processor': processor(),
        'cores': os.cpu_count(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'rounds': len(rounds),
        'numbers': {name: {'run': runs[name], **entry} for name, entry in merged.items()},
    }
    write_text(path, json.dumps(content, indent=1) + '\n')


def main() -> int:
    """Run, then compare or update; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', nargs='+', choices=RUNS, default=list(RUNS))
    parser.add_argument('--rounds', type=int, help='default: 1, and 3 with --update')
    parser.add_argument('--update', action='store_true', help='write the baseline')
    parser.add_argument('--strict', action='store_true', help='exit code 1 for what got worse')
    parser.add_argument('--baseline', type=Path, default=BASELINE)
    options = parser.parse_args()
    console = Console(width=130)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    console.print(f'{processor()}; {cores} cores, load {load:.1f}', highlight=False)
    if load > 0.5 * cores:
        console.print('other programs are running: times will be too long', style='yellow')
    count = options.rounds or (3 if options.update else 1)
    rounds, failed, runs = [], {}, {}
    for _ in range(count):
        numbers: dict[str, Number] = {}
        for name in options.only:
            found, bad = run_round([name], console)
            numbers |= found
            failed |= bad
            runs |= dict.fromkeys(found, name)
        rounds.append(numbers)
    for name, words in failed.items():
        console.print(f'failed: {name}: {words}', style='red', markup=False)
    if options.update:
        if failed or set(options.only) != set(RUNS):
            console.print('a baseline needs all benchmarks: nothing was written', style='red')
            return 1
        save(rounds, runs, options.baseline)
        console.print(f'{len(runs)} numbers -> {options.baseline}')
        return 0
    if not options.baseline.is_file():
        console.print(f'no baseline in {options.baseline}: make one with --update', style='yellow')
        return int(bool(failed))
    merged = {
        name: Number(name, entry['value'], entry['unit']) for name, entry in merge(rounds).items()
    }
    baseline = json.loads(options.baseline.read_text(encoding='utf-8'))
    verdicts = compare(baseline, merged, processor(), options.only)
    show(verdicts, console)
    worse = any(verdict.word in ('worse', 'missing') for verdict in verdicts)
    return int(bool(failed) or (options.strict and worse))


if __name__ == '__main__':
    sys.exit(main())
