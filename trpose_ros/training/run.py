"""Run a trainer by name, alone or as one of the processes that torchrun starts.

trpose train NAME [OPTIONS]
torchrun --nproc-per-node 2 -m trpose_ros.training.run NAME [OPTIONS]
"""

from __future__ import annotations

import sys

from trpose_ros.training import TRAINERS, TrainingError
from trpose_ros.training.distributed import processes


def run(arguments: list[str]) -> None:
    """Run the trainer that the first argument names with the others.

    Raises ValueError for an unknown name, TrainingError for a run that could not go on, and
    whatever a trainer raises for wrong options and missing data.
    """
    if not arguments or arguments[0].startswith('-'):
        print('Usage: trpose train NAME [OPTIONS]; NAME --help shows the options')
        print(f'names: {", ".join(sorted(TRAINERS))}')
        return
    name, *rest = arguments
    trainer = TRAINERS[name]
    with processes():
        trainer(rest)


def main() -> None:
    """Run from the command line; exit code 1 with one line for what a user can mend."""
    try:
        run(sys.argv[1:])
    except (TrainingError, ValueError, OSError, FloatingPointError) as error:
        sys.exit(f'trpose train: {error}')


if __name__ == '__main__':
    main()
