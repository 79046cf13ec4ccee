"""Passes of an estimator that never ran: people who move, with the states that a test wants."""

from __future__ import annotations

import numpy as np
from made_people import moving_person

from trpose_ros.cameras import camera_from_fov, project
from trpose_ros.evaluation.estimation import EstimatorPass
from trpose_ros.people import People, TrackState

CAMERA = camera_from_fov(640, 480)
FRAMES = 24
TRACKED = TrackState.TRACKED


def a_pass(tracks, frames=FRAMES, seed=0, turn=None):
    """Return a pass; ``tracks`` gives each id its states by frame: None where it is not there.

    At frame ``turn`` the time starts again.
    """
    bodies = {
        i: moving_person(frames, 'h36m_17', seed + i, root_m=(0, 0, 4.0)).astype(float)
        for i in tracks
    }
    people = []
    for t in range(frames):
        here = [i for i, states in tracks.items() if states[t] is not None]
        joints = np.stack([bodies[i][t] for i in here]) if here else np.zeros((0, 17, 3))
        stamp = t if turn is None or t < turn else t - turn
        people.append(
            People.build(
                stamp_ns=1_000 + stamp * 33_333_333,
                frame_id='camera',
                skeleton='h36m_17',
                width=640,
                height=480,
                joints_px=project(joints, CAMERA),
                joints_m=joints,
                track_ids=np.array(here, int),
                track_states=np.array([tracks[i][t] for i in here], np.uint8),
            )
        )
    nothing = [np.zeros((0, 4))] * frames
    return EstimatorPass(
        people, [CAMERA] * frames, nothing, np.zeros((frames, 2), int), np.zeros(frames)
    )


def always(count=FRAMES):
    return [TRACKED] * count
