"""Human3.6M archives in the published format, with moving people at the published cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from made_people import metadata, moving_person

from trpose_ros.cameras import denormalise_screen
from trpose_ros.data.datasets import human36m
from trpose_ros.data.datasets import human36m_cameras as cameras

REFERENCE = np.load(Path(__file__).parent / 'reference' / 'human36m_cameras.npz')
KEPT = list(human36m.KEPT_JOINTS)


def pose(camera):
    return cameras.CameraPose(
        REFERENCE['s9_orientation'][camera].astype(float),
        REFERENCE['s9_translation'][camera].astype(float),
    )


def positions(frames, seed):
    """Return (T, 32, 3): a person at the 17 places that are kept, copies elsewhere."""
    joints = np.zeros((frames, 32, 3), np.float32)
    joints[:, KEPT] = moving_person(frames, 'h36m_17', seed)
    return joints


def project(world, camera):
    joints = cameras.world_to_camera(world.astype(float), pose(camera))
    screen = cameras.project_normalised(joints, cameras.normalised_intrinsics(camera))
    width, height = cameras.SIZES[camera]
    return denormalise_screen(screen, width, height).astype(np.float32)


def write_archives(folder, subjects=('S1', 'S9', 'S11'), frames=30, extra=0, **meta):
    takes = {
        subject: {
            take: positions(frames, seed + 10 * number)
            for seed, take in enumerate(['Directions', 'Directions 1', 'WalkDog 1'])
        }
        for number, subject in enumerate(subjects)
    }
    np.savez_compressed(folder / 'data_3d_h36m.npz', positions_3d=np.array(takes, dtype=object))
    two = {}
    for subject, actions in takes.items():
        two[subject] = {}
        for take, joints in actions.items():
            px = [project(joints[:, KEPT], camera) for camera in range(4)]
            two[subject][take] = [np.concatenate([p, p[:extra]]) for p in px]
    two['S2'] = {'Eating': [np.zeros((7, 17, 2), np.float32)] * 4}  # 2D only
    write_2d(folder / 'data_2d_h36m_gt.npz', two, **meta)
    return takes, two


def write_2d(path, positions_2d, **meta):
    np.savez_compressed(
        path,
        positions_2d=np.array(positions_2d, dtype=object),
        metadata=np.array(metadata('h36m_17') | meta, dtype=object),
    )
