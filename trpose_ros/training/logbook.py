"""What a run writes about itself: log.csv, TensorBoard, run.json, and a bar or lines on screen."""

from __future__ import annotations

import csv
import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from trpose_ros.training import TrainingError
from trpose_ros.writing import write_bytes

_HEAD = ['step', 'seconds']


class Logbook:
    """The log of one run in its folder; ``silent`` for all processes but the first."""

    def __init__(self, folder: Path, step: int, tensorboard: bool, silent: bool) -> None:
        """Continue the log at ``step``; what was logged after it is dropped."""
        self.folder, self._silent = folder, silent
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: Any = None
        self._writer: Any = None
        if silent:
            return
        self._columns = _tidied(folder / 'log.csv', step)
        if tensorboard:
            self._writer = _summary_writer(folder / 'tensorboard', step)

    def record(self, facts: dict[str, Any]) -> None:
        """Add the facts of this start (configuration, seed, versions) to run.json."""
        if self._silent:
            return
        path = self.folder / 'run.json'
        starts = []
        if path.is_file():
            try:
                starts = json.loads(path.read_text(encoding='utf-8'))
            except ValueError:
                self.say(f'{path} was damaged and is written anew')
        write_bytes(path, json.dumps([*starts, facts], indent=1).encode())

    def __enter__(self) -> Logbook:
        """Show the bar, where there is a terminal."""
        if not self._silent and self._console.is_terminal:
            columns = (
                TextColumn('step {task.fields[step]}'),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn('{task.fields[left]} to go'),
            )
            self._bar = Progress(*columns, console=self._console)
            self._bar.start()
            self._task = self._bar.add_task('', total=1.0, step=0, left='?')
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def follow(self, step: int, seconds: float, progress: float) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(
                self._task, completed=progress, step=step, left=_left(seconds, progress)
            )

    def log(self, step: int, seconds: float, progress: float, means: dict[str, float]) -> None:
        """Write mean losses since the last time."""
        if self._silent:
            return
        try:
            self._write(step, seconds, means)
        except OSError as error:
            raise TrainingError(
                f'{self.folder}: the log cannot be written ({error}); the last checkpoint is kept. '
                'Free some space and give the same command again'
            ) from error
        text = ' '.join(f'{name} {value:.4g}' for name, value in means.items())
        self.say(f'step {step}: {text}; {_left(seconds, progress)} to go')

    def _write(self, step: int, seconds: float, means: dict[str, float]) -> None:
        row = {'step': step, 'seconds': round(seconds, 1)}
        row |= {name: round(value, 6) for name, value in means.items()}
        self._append(row)
        if self._writer is not None:
            for name, value in means.items():
                self._writer.add_scalar(name, value, step)

    def picture(self, name: str, image: np.ndarray, step: int) -> Path:
        """Write an (H, W, 3) uint8 RGB picture to NAME.png and to TensorBoard; return its path."""
        import cv2

        path = self.folder / f'{name}.png'
        if not self._silent:
            done, data = cv2.imencode('.png', image[..., ::-1])
            assert done
            write_bytes(path, data.tobytes())
            if self._writer is not None:
                self._writer.add_image(name, image, step, dataformats='HWC')
        return path

    def say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        if not self._silent:
            self._console.print(text, markup=False)

    def _append(self, row: dict[str, float]) -> None:
        path = self.folder / 'log.csv'
        names = [*self._columns, *(name for name in row if name not in self._columns)]
        if names != self._columns:  # the first row, or a new kind of loss
            write_bytes(path, _table(names, _rows(path)).encode())
            self._columns = names
        with path.open('a', newline='', encoding='utf-8') as stream:
            csv.DictWriter(stream, names, restval='').writerow(row)


def _tidied(path: Path, step: int) -> list[str]:
    """Drop rows after ``step`` and half-written ones from a log; return its columns."""
    if not path.is_file() or not path.stat().st_size:
        return []
    kept = [row for row in _rows(path) if int(float(row['step'])) <= step]
    with path.open(newline='', encoding='utf-8') as stream:
        names = csv.DictReader(stream).fieldnames or _HEAD
    write_bytes(path, _table(list(names), kept).encode())
    return list(names)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    text = path.read_text(encoding='utf-8')
    whole = text[: text.rfind('\n') + 1]  # a line without an end was cut off by a full disk
    rows = csv.DictReader(io.StringIO(whole, newline=''))
    return [row for row in rows if row.get('step') and None not in (*row, *row.values())]


def _table(names: list[str], rows: list[dict[str, str]]) -> str:
    stream = io.StringIO(newline='')
    writer = csv.DictWriter(stream, names, restval='')
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _left(seconds: float, progress: float) -> str:
    minutes = seconds * (1 - progress) / max(progress, 1e-6) / 60
    return f'{minutes:.0f} min' if minutes < 120 else f'{minutes / 60:.1f} h'


def _summary_writer(folder: Path, step: int) -> Any:
    """Return a TensorBoard writer, None where the package is missing."""
    # TensorBoard imports TensorFlow where it finds it, which takes seconds and gigabytes; a module
    # of this name is its own switch to do without.
    name = 'tensorboard.compat.notf'
    if 'tensorflow' not in sys.modules:
        sys.modules.setdefault(name, types.ModuleType(name))
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step or None)
