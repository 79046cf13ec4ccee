"""``trpose replay`` of several cameras: whose recordings are whose, what is shown at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trpose_ros.commands.output import FrameBar, Voice, end_several, report_several
from trpose_ros.exports.files import formats_of
from trpose_ros.multiview.multiview import MultiviewConfig
from trpose_ros.multiview.rig_file import is_rig, read_rig
from trpose_ros.offline.camera_recordings import recordings_of
from trpose_ros.offline.replay import ReplayOptions
from trpose_ros.offline.several import replay_several
from trpose_ros.pipeline.pipeline import PipelineConfig
from trpose_ros.recordings.sources import SourceOptions, open_source


def is_several(sources: Sequence[str], calibration: Path | None) -> bool:
    """Say whether a replay is one of several cameras; raises ValueError where it cannot be."""
    rig = calibration is not None and is_rig(calibration)
    if len(sources) > 1 and not rig:
        raise ValueError(
            f'{len(sources)} recordings are joined by a --calibration of all their cameras '
            f'(docs/several_cameras.md): {calibration or "none"} is not one'
        )
    return rig


def replay_cameras(
    sources: Sequence[str], config: PipelineConfig, where: SourceOptions, given: Mapping[str, Any]
) -> None:
    """Replay recordings of several cameras, with the options of the command."""
    if given['report']:
        raise ValueError('--report is of one camera: replay each by itself for that')
    if given['view'] or given['save_view'] is not None:
        raise ValueError('--view shows one camera: replay each by itself for that')
    formats, rig = formats_of(given['export']), read_rig(given['calibration'])
    notes: list[str] = []
    found = recordings_of(sources, rig, notes)
    opened = {one.camera: open_source(one.path, one.options(where, rig)) for one in found}
    options = ReplayOptions(
        bag=given['bag'],
        video=given['video'],
        max_frames=given['max_frames'],
        identity=given['identity'] or next(iter(opened.values())).identity,
        export=formats,
    )
    fusion = MultiviewConfig(any_frame=given['any_frame'])
    voice = Voice(given['quiet'], given['as_json'])
    with voice, FrameBar(f'replay of {len(opened)} cameras', console=voice.console) as bar:
        result = replay_several(
            opened, rig, given['out'], config, options, fusion, progress=bar.update
        )
    result.problems[:0] = notes
    report_several(result, given['out'], voice.console)
    end_several(result, given['out'], voice)
