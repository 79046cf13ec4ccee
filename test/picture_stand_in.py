"""Stand-ins for tests with pictures: drawn ones, and networks that see two people in them."""

from __future__ import annotations

import json

import cv2
import numpy as np
from doubles import FakeBoxes, FakeEstimator

from trpose_ros.cameras import project
from trpose_ros.occlusion.occluder import OcclusionConfig
from trpose_ros.offline.pictures import run_pictures
from trpose_ros.pipeline.pipeline import PipelineConfig, PoseStage
from trpose_ros.pipeline.pose_stage import PoseStageConfig
from trpose_ros.pipeline.stills import StillPipeline
from trpose_ros.pipeline.tracking import Tracker
from trpose_ros.recordings.picture_source import open_pictures
from trpose_ros.recordings.sources import SourceOptions

ROOTS = [(-0.5, 0.1, 4.0), (0.7, 0.1, 5.0)]


def draw(path, size=(320, 240), level=90):
    """Write a grey picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((size[1], size[0], 3), level, np.uint8)
    path.write_bytes(cv2.imencode(path.suffix.lower(), image)[1].tobytes())
    return path


class SeeingBoxes(FakeBoxes):
    """Finds the people at ROOTS, in any camera; nobody in a black picture."""

    def __init__(self) -> None:
        super().__init__(np.zeros((0, 5)))

    def boxes(self, frame):
        self.asked.append(frame.stamp_ns)
        if frame.image.max() == 0:
            return np.zeros((0, 5), np.float32)
        centre = project(np.array(ROOTS), frame.camera)
        half = np.array([0.25, 0.9]) * frame.camera.matrix[0, 0] / np.array(ROOTS)[:, 2:]
        score = np.full((len(ROOTS), 1), 0.9)
        return np.concatenate([centre - half, 2 * half, score], axis=1).astype(np.float32)


def pipeline(occlusion=None, estimator=None, source=None):
    pose = PoseStage(
        estimator=estimator or FakeEstimator(ROOTS),
        box_source=source or SeeingBoxes(),
        tracker=Tracker(),
        config=PoseStageConfig(max_people=64),
        clock=None,
    )
    config = PipelineConfig(occlusion=occlusion or OcclusionConfig())
    return StillPipeline(config, pose=pose)


def run(names, out, options=None, **arguments):
    """Run over pictures; return the result and the file."""
    source = open_pictures(names, options or SourceOptions(results=out))
    result = run_pictures(
        source,
        PipelineConfig(),
        out,
        pipeline=arguments.pop('stages', None) or pipeline(),
        **arguments,
    )
    return result, json.loads((out / 'people.json').read_text(encoding='utf-8'))


def everything_in(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file())
