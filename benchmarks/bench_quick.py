"""The quick truncation benchmark: errors of the shipped weights, and how long it takes.

    python benchmarks/bench_quick.py [--workers N]

Runs `trpose evaluate --quick` without its cache. The errors belong to the code and the weights,
the time to the machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import Numbers, add_option

from trpose_ros.evaluation.results import read_rows, study_table


def main() -> None:
    """Run, and print the table of the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--workers', type=int, default=0, help='processes that share the work')
    add_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            '-m',
            'trpose_ros',
            'evaluate',
            '--quick',
            '--no-cache',
        ]
        command += ['--workers', str(options.workers), '--out', folder]
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
        if done.returncode:
            raise SystemExit(f'{" ".join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
        rows = read_rows(Path(folder) / 'results.parquet')
    table = study_table(rows, 'mpjpe_mm', 'MPJPE, mm, protocol v1, quick')
    print(table.markdown())
    print(f'\n{seconds:.0f} s')
    numbers = Numbers()
    for key in table.rows:
        for column in ('clean', 'average'):
            name = f'quick benchmark, {" + ".join(key)}, {column}'
            numbers.error(name, table.cell(key, column).mean)
    numbers.time('quick benchmark, all of it', seconds, 's')
    numbers.write(options.json)


if __name__ == '__main__':
    main()
