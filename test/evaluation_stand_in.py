"""A made clip, recording and estimator for the tests of the evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import CAMERA, FakeEstimator, blank, make_people

from trpose_ros.data.samples import Sample
from trpose_ros.estimators import ESTIMATORS
from trpose_ros.evaluation.cases import EvaluationConfig
from trpose_ros.evaluation.conditions import Condition
from trpose_ros.evaluation.sequences import EvaluationClip
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter

FPS, FRAMES, START = 25.0, 12, 5_000_000_000
FOUR = (
    Condition('none'),
    Condition('random_box'),
    Condition('random_box', draw=1),
    Condition('fixed_lower'),
)


class Blinded(FakeEstimator):
    """Errs by as much as it is blinded: all joints but the root move with the share of black."""

    made = 0
    explode = ''

    def __init__(self, *_) -> None:
        super().__init__()
        type(self).made += 1

    def estimate(self, frame, boxes_px):
        people = super().estimate(frame, boxes_px)
        black = float((frame.image == 0).mean())
        if black and self.explode == 'occluded':
            raise RuntimeError('no memory for this')
        joints = people.joints_m.copy()
        joints[:, 1:, 0] += 0.3 * black
        return people.replace(joints_m=joints)


@pytest.fixture(autouse=True)
def _estimator(monkeypatch):
    monkeypatch.setitem(ESTIMATORS._entries, 'blinded', lambda config: Blinded())
    monkeypatch.setattr(Blinded, 'made', 0)
    monkeypatch.setattr(Blinded, 'explode', '')


def clip(name='walk', frames=FRAMES, truth=True):
    stamps = [START + round(t * 1e9 / FPS) for t in range(frames)]
    people = {s: make_people(s, track_ids=np.zeros(1, int)) for s in stamps}
    box = np.array([250.0, 100, 140, 260])
    return EvaluationClip(
        identity=f'test|s1|{name}|0',
        fps=FPS,
        truth=people if truth else {},
        boxes_px=dict.fromkeys(stamps, box),
        open_frames=lambda: iter([blank(s) for s in stamps]),
        describe=lambda: f'{name}{frames}{truth}'.encode(),
        start_ns=START,
    )


def config(**changes):
    values = {
        'estimators': ('blinded:x',),
        'lifters': ('none',),
        'conditions': FOUR,
        'boxes': 'image',
    }
    return EvaluationConfig(**(values | changes))


def finish(run):
    return [(step.case.condition.name, step.cached, step.error) for step in run.steps()]


def sample(**changes):
    stamps = [round(t * 1e9 / FPS) for t in range(3)]
    people = [make_people(s) for s in stamps]
    values = {
        'dataset': 'd',
        'subject': 's',
        'action': 'a',
        'camera_name': 'c',
        'split': 'test',
        'fps': FPS,
        'skeleton': 'h36m_17',
        'width': 640,
        'height': 480,
        'valid': np.ones((3, 17), bool),
        'joints_px': np.concatenate([p.joints_px for p in people]),
        'joints_m': np.concatenate([p.joints_m for p in people]),
        'camera': CAMERA,
        'images': [blank(s).image for s in stamps],
    }
    return Sample(**(values | changes))


def recording(path, *, truth=range(FRAMES), info=True, images=True):
    with BagWriter(path) as bag:
        maker = MessageMaker(bag.typestore)
        for t in range(FRAMES):
            stamp = START + round(t * 1e9 / FPS)
            if info:
                bag.write('/camera_info', maker.camera_info(CAMERA, stamp, 'optical'), stamp)
            if images:
                image = maker.compressed_image(blank(stamp).image, stamp, 'optical')
                bag.write('/image/compressed', image, stamp)
            if t in truth:
                people = make_people(stamp, track_ids=np.zeros(1, int))
                bag.write('/ground_truth', maker.people(people), stamp)
    return path
