"""A sheet of photographs: what the estimator saw of real people, truncated in turn, and its 3D.

One row for each photograph, one column for each condition. Above, the picture as the estimator saw
it with the skeleton over it, on a canvas wide enough for the limbs that the picture has cut off;
below, the same skeleton in space, seen from the side. As in a video, people were seen untouched in
the image before, and are looked for where they were. There is no ground truth: one looks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trpose_ros.drawing.figures import PAPER_RGB, grid, save_picture
from trpose_ros.drawing.overlay import View, draw_people, draw_text, draw_view
from trpose_ros.estimators import EstimatorConfig
from trpose_ros.occlusion.occluder import OcclusionConfig
from trpose_ros.people import People
from trpose_ros.pipeline.pipeline import PipelineConfig, PoseStageConfig
from trpose_ros.pipeline.stills import (
    Still,
    StillPipeline,
    in_whole_picture,
    largest,
    reference_box,
)
from trpose_ros.recordings.picture_source import open_pictures

SAMPLES = tuple(
    Path(__file__).parents[1] / 'samples' / name for name in ('astronaut.jpg', 'photographer.jpg')
)
_WIDTH_PX, _TITLE_PX, _PHOTO_PX, _SPACE_PX = 260, 28, 400, 240  # of a tile; heights of its parts
_GAP_PX = 4  # between photograph and space
_BEYOND = (0.15, 0.1, 0.15, 0.8)  # left, top, right, bottom: most of the picture's sides to add
_SPAN_M = 2.0
_WIDE_PX = 480.0  # lines are as wide as in a picture of this size: the tiles are small


def pipeline_config(parameters: Mapping[str, Any]) -> PipelineConfig:
    """Return the configuration that parameters of a pose node mean; others are left out."""

    def chosen(kind: Any) -> dict[str, Any]:
        names = {entry.name for entry in dataclasses.fields(kind)}
        return {name: value for name, value in parameters.items() if name in names}

    return PipelineConfig(
        estimator_name=parameters.get('estimator', PipelineConfig.estimator_name),
        estimator=EstimatorConfig(**chosen(EstimatorConfig)),
        pose=PoseStageConfig(**chosen(PoseStageConfig)),
    )


def write_photographs(
    path: Path,
    parameters: Mapping[str, Any],
    conditions: Sequence[str],
    *,
    photographs: Sequence[Path] = SAMPLES,
    pipeline: StillPipeline | None = None,
) -> None:
    """Find the people in photographs under each condition, draw a sheet of it.

    Args:
        path: PNG to write.
        parameters: of the pose node, by name.
        conditions: profiles of trpose_ros.occlusion.occluder, measured against the largest person.
        photographs: picture files.
        pipeline: stages to use instead of those of ``parameters``.

    """
    pipeline = pipeline or StillPipeline(pipeline_config(parameters))
    tiles = []
    try:
        for entry in open_pictures(photographs).frames():
            stills = []
            identity = f'photograph|{entry.file.path.stem}|none|0'
            for name in conditions:
                untouched = pipeline.find(entry.frame)
                box, occlusion = reference_box(untouched), OcclusionConfig(profile=name)
                stills.append(pipeline.occluded(entry.frame, occlusion, box, identity, known=True))
            tiles += _tiles(stills, conditions, untouched)
    finally:
        pipeline.close()
    save_picture(path, grid(tiles, len(conditions), truth=False))


def _tiles(stills: list[Still], names: Sequence[str], untouched: People) -> list[np.ndarray]:
    """Return one picture (H, W, 3) for each condition, all drawn to one scale."""
    window = _window([still.people for still in stills])
    middle = _middle(untouched)
    tiles = []
    for still, name in zip(stills, names, strict=True):
        if len(still.people):
            middle = _middle(still.people)
        photo = _photo(still, window)
        view = View(middle, azimuth_deg=60.0, elevation_deg=8.0, span_m=_SPAN_M)
        space = draw_view(
            still.people,
            view,
            width=_WIDTH_PX,
            height=_SPACE_PX,
            floor_m=_lowest(still.people),
            weight=_WIDE_PX / _SPACE_PX * 0.7,
        )
        title, gap = (
            np.full((height, _WIDTH_PX, 3), PAPER_RGB, np.uint8) for height in (_TITLE_PX, _GAP_PX)
        )
        draw_text(title, 'clean' if name == 'none' else name, (6, 19), size=0.55)
        if len(still.people) == 0:
            draw_text(space, 'nobody found', (8, 22), size=0.5)
        tiles.append(np.concatenate([title, photo, gap, space]))
    return tiles


def _photo(still: Still, window: tuple[int, int, int, int]) -> np.ndarray:
    """Return what the estimator saw with the skeletons over it, within a window in px of it."""
    x0, y0, _, y1 = window
    image = still.frame.image
    factor = _PHOTO_PX / (y1 - y0)
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(image, (width, height), interpolation=how))
    scale = (width / image.shape[1], height / image.shape[0])
    people = in_whole_picture(still.people, (width, height), scale, (0, 0))
    margin = max(_WIDTH_PX, _PHOTO_PX) + 1
    weight = _WIDE_PX / max(width, height)
    drawn = draw_people(small, people, margin_px=margin, labels=False, weight=weight)
    left, top = margin + round(x0 * factor), margin + round(y0 * factor)
    tile = np.full((_PHOTO_PX, _WIDTH_PX, 3), PAPER_RGB, np.uint8)
    part = drawn[max(top, 0) : top + _PHOTO_PX, max(left, 0) : left + _WIDTH_PX]
    tile[: part.shape[0], : part.shape[1]] = part
    return tile


def _window(everybody: list[People]) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1, px: the picture and the bodies in it, in the tile's proportions."""
    width, height = everybody[0].width, everybody[0].height
    limits = np.array([width, height, width, height]) * _BEYOND
    low, high = np.zeros(2), np.array([width, height], float)
    for people in everybody:
        index = largest(people)
        if index is None:
            continue
        joints = people.joints_px[index]
        joints = joints[np.isfinite(joints).all(axis=1)]
        if len(joints):
            air = 0.05 * np.array([width, height])
            low = np.minimum(low, np.maximum(joints.min(axis=0) - air, -limits[:2]))
            most = np.array([width, height]) + limits[2:]
            high = np.maximum(high, np.minimum(joints.max(axis=0) + air, most))
    size = high - low
    scale = max(size[0] / _WIDTH_PX, size[1] / _PHOTO_PX)
    full = scale * np.array([_WIDTH_PX, _PHOTO_PX])
    corner = low - [(full[0] - size[0]) / 2, 0.0]  # the picture stands at the top, in the middle
    x0, y0 = (round(float(value)) for value in corner)
    return x0, y0, x0 + round(float(full[0])), y0 + round(float(full[1]))


def _middle(people: People) -> tuple[float, float, float]:
    """Return the middle of the largest body, m, or a place before the camera without anybody."""
    index = largest(people)
    if index is not None:
        joints = people.joints_m[index]
        joints = joints[np.isfinite(joints).all(axis=1)]
        if len(joints):
            x, y, z = ((joints.min(axis=0) + joints.max(axis=0)) / 2).tolist()
            return x, y, z
    return 0.0, 0.0, 3.0


def _lowest(people: People) -> float | None:
    index = largest(people)
    if index is None or not np.isfinite(people.joints_m[index]).any():
        return None
    return float(np.nanmax(people.joints_m[index][:, 1]))
