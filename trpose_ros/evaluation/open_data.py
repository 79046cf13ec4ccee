"""Which clips a name means: a recording, the rendered test clips, or an installed data set."""

from __future__ import annotations

from pathlib import Path

from trpose_ros.data.registry import load_dataset
from trpose_ros.data.samples import DataError
from trpose_ros.evaluation.rendered_sequences import rendered_clips
from trpose_ros.evaluation.sequences import EvaluationClip, clip_of_bag, clip_of_sample
from trpose_ros.recordings.sources import SourceOptions


def open_data(
    name: str, limit: int = 0, options: SourceOptions | None = None
) -> list[EvaluationClip]:
    """Return the clips of a recording (a path), of 'rendered', or of an installed data set.

    ``limit`` > 0 keeps the first so many clips; ``options`` are of recordings. Raises DataError
    when nothing can be evaluated, and whatever the loader raises for data that are missing or
    damaged.
    """
    path = Path(name)
    if path.exists():
        return [clip_of_bag(path, options)]
    if name == 'rendered':
        return rendered_clips(limit)
    clips = []
    for sample in load_dataset(name, split='test'):
        clips.append(clip_of_sample(sample))
        if len(clips) == limit:
            break
    if not clips:
        raise DataError(f'{name} has no test clips')
    return clips
