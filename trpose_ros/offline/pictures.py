"""``trpose run`` for pictures: annotated copies and people.json in a folder.

Every picture gives a copy under its own name with the skeletons drawn over it, and an entry in
people.json; a picture without people gives an empty list that says so, one that cannot be read an
entry among ``skipped``. Results are drawn and given in pixels of the whole upright picture.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from trpose_ros.drawing.figures import save_picture
from trpose_ros.drawing.overlay import draw_people
from trpose_ros.people import People
from trpose_ros.pipeline.pipeline import PipelineConfig
from trpose_ros.pipeline.stills import Still, StillPipeline, in_whole_picture
from trpose_ros.recordings.people_json import (
    PeopleFile,
    camera_record,
    person_records,
    plain,
    skeleton_record,
)
from trpose_ros.recordings.picture_files import PictureFile
from trpose_ros.recordings.picture_source import PictureFrame, PictureSource
from trpose_ros.recordings.sources import SourceError

PEOPLE_FILE = 'people.json'
VERSION = 1
_NOBODY = 'nobody was found'
_WRITTEN = ('.jpg', '.jpeg', '.jpe', '.png', '.webp', '.bmp', '.tif', '.tiff', '.ppm')
_NAMES_SHOWN = 10

Progress = Callable[[int, int], None]


@dataclass
class PictureRun:
    """What came of a run."""

    pictures: int = 0  # that were meant
    read: int = 0
    people: int = 0
    without_people: list[str] = field(default_factory=list)
    skipped: list[tuple[PictureFile, str]] = field(default_factory=list)
    complete: bool = True  # False when it was stopped before the last picture
    interrupted: bool = False  # by Ctrl-C

    @property
    def counts(self) -> dict[str, int]:
        """Return the numbers as they stand in the file."""
        return {
            'pictures': self.pictures,
            'read': self.read,
            'skipped': len(self.skipped),
            'without_people': len(self.without_people),
            'people': self.people,
        }


def run_pictures(
    source: PictureSource,
    config: PipelineConfig,
    out: Path,
    *,
    limit_s: float = 0.0,
    progress: Progress | None = None,
    pipeline: StillPipeline | None = None,
) -> PictureRun:
    """Find the people in all pictures and write the results into the folder ``out``.

    Args:
        source: of ``picture_source.open_pictures``.
        config: of box source, estimator and occlusion; lifter and tracker have no part in it.
        out: folder, made if needed; results of earlier runs under the same names are replaced.
        limit_s: stop after this time; 0: at the end.
        progress: called after each picture with their number so far and in all.
        pipeline: stages to use instead of those of ``config``.

    Ctrl-C ends the run with what has been done. Raises SourceError when a result would lie where
    a picture lies, and what building the networks raises.

    """
    targets = _targets(source.files, out)
    result = PictureRun(pictures=source.total, skipped=source.skipped)
    with ExitStack() as stack:
        stack.callback(source.close)
        pipeline = pipeline or StillPipeline(config)
        stack.callback(pipeline.close)
        out.mkdir(parents=True, exist_ok=True)
        writer = stack.enter_context(PeopleFile(out / PEOPLE_FILE, _head(pipeline), 'pictures'))
        begin_s = time.perf_counter()
        try:
            for entry in source.frames():
                _one(entry, pipeline, targets[entry.file.name], out, writer, result)
                if progress is not None:
                    progress(result.read + len(result.skipped), source.total)
                if limit_s and time.perf_counter() - begin_s > limit_s:
                    break
        except KeyboardInterrupt:
            result.interrupted = True
        result.complete = result.read + len(result.skipped) >= result.pictures
        writer.finish(_tail(result))
    return result


def _one(
    entry: PictureFrame,
    pipeline: StillPipeline,
    target: str,
    out: Path,
    writer: PeopleFile,
    result: PictureRun,
) -> None:
    """Find, draw and write one picture; a model that fails costs this picture alone."""
    try:
        still = pipeline.process(entry.frame, f'picture|{entry.file.name.replace("|", "_")}|none|0')
        people = whole_people(entry, still)
        save_picture(out / target, draw_people(seen_picture(entry, still), people))
    except OSError:  # the disk: no later picture would fare better
        raise
    except Exception as error:  # whatever a model may raise, or a kind of file not hold
        result.skipped.append((entry.file, f'failed: {type(error).__name__}: {error}'))
        return
    result.read += 1
    result.people += len(people)
    if len(people) == 0:
        result.without_people.append(entry.file.name)
    writer.add(_record(entry, still, people, target))


def whole_people(entry: PictureFrame, still: Still) -> People:
    """Return the people of a still in px of the whole picture."""
    size = (entry.camera.width, entry.camera.height)
    scale = (size[0] / entry.frame.camera.width, size[1] / entry.frame.camera.height)
    offset_px = (0, 0) if still.occlusion is None else still.occlusion.offset_px
    return in_whole_picture(still.people, size, scale, offset_px)


def seen_picture(entry: PictureFrame, still: Still) -> np.ndarray:
    """Return the whole picture, with black where an occlusion has cut it off or hidden it."""
    if still.occlusion is None:
        return entry.picture.image
    image = entry.picture.image.copy()
    factor = np.array(image.shape[1::-1]) / still.occlusion.original_size
    for x, y, width, height in still.occlusion.rectangles_px:
        low = np.rint((np.array([x, y]) + 0.5) * factor).astype(int)
        high = np.rint((np.array([x + width, y + height]) + 0.5) * factor).astype(int)
        image[low[1] : high[1], low[0] : high[0]] = 0
    return image


def _targets(files: list[PictureFile], out: Path) -> dict[str, str]:
    """Return the name of each result by that of its picture.

    Raises SourceError before anything is written over a picture that is to be read.
    """
    targets = {}
    for file in files:
        suffix = Path(file.name).suffix.lower()
        targets[file.name] = file.name if suffix in _WRITTEN else f'{file.name}.png'
    if out.exists() and not out.is_dir():
        raise SourceError(f'{out} is no folder: the results of pictures go into one, name it --out')
    if out.suffix.lower() in (*_WRITTEN, '.mp4', '.avi', '.mkv', '.webm') and not out.exists():
        raise SourceError(f'--out {out}: the results of pictures go into a folder, not into a file')
    sources = {os.path.realpath(file.path) for file in files}
    for target in targets.values():
        if os.path.realpath(out / target) in sources:
            raise SourceError(
                f'the result {out / target} would replace a picture: name another folder by --out'
            )
    if len(set(targets.values())) < len(targets):
        raise SourceError('two results would have one name: give such pictures apart')
    return targets


def _head(pipeline: StillPipeline) -> dict[str, Any]:
    estimator = pipeline.pose.estimator
    return {
        'format': 'trpose people',
        'version': VERSION,
        'estimator': estimator.name,
        'weights': estimator.weights_id,
        'boxes': pipeline.pose.config.boxes,
        'skeleton': skeleton_record(pipeline.skeleton),
    }


def _record(entry: PictureFrame, still: Still, people: People, target: str) -> dict[str, Any]:
    record: dict[str, Any] = {
        'file': str(entry.file.path),
        'annotated': target,
        'width': entry.camera.width,
        'height': entry.camera.height,
        'exif_orientation': entry.picture.header.orientation,
        'camera': camera_record(entry.camera),
        'people': person_records(people),
    }
    if len(people) == 0:
        record['note'] = _NOBODY
    if still.occlusion is not None:
        record['occlusion'] = {
            'profile': still.occlusion.profile,
            'seed': still.occlusion.seed,
            'hidden_fraction': plain(still.occlusion.hidden_fraction, 4),
        }
    return record


def _tail(result: PictureRun) -> dict[str, Any]:
    return {
        'skipped': [{'file': str(file.path), 'reason': reason} for file, reason in result.skipped],
        'counts': result.counts,
        'complete': result.complete,
    }


def report(source: PictureSource, result: PictureRun, out: Path, console: Console) -> None:
    """Say in words what came of a run: notes, pictures that failed, pictures without people."""
    notes = list(source.problems)
    notes += [f'{file.path} {reason}; skipped' for file, reason in result.skipped]
    for note in notes:
        console.print(f'[yellow]note[/] {_shown(note)}', highlight=False)
    found = result.read - len(result.without_people)
    words = [f'{result.people} people in {found} of {result.read} pictures']
    if result.without_people:
        words.append(f'nobody in {_listed(result.without_people)}')
    if result.skipped:
        words.append(f'{len(result.skipped)} of {result.pictures} failed')
    if not result.complete:
        words.append(f'stopped after {result.read + len(result.skipped)} of {result.pictures}')
    console.print(_shown('; '.join(words)), highlight=False)
    console.print(_shown(f'results in {out}'), highlight=False)


def _listed(names: list[str]) -> str:
    shown = ', '.join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return shown if more <= 0 else f'{shown} and {more} more'


def _shown(text: str) -> str:
    """Return a text for the terminal: brackets are no markup, odd bytes of names are escaped."""
    return escape(text.encode('utf-8', 'backslashreplace').decode('utf-8'))
