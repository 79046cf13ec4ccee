"""Stands in for TensorFlow, whose import takes longer than all tests of the estimator together.

It knows what the estimator calls, and one SavedModel: that of metrabs_saved_model.py, in numpy. The
same tests run on the real one when slow tests are asked for.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import types
from pathlib import Path

import numpy as np
from metrabs_stand_in import PERSON_MM

from trpose_ros.skeletons import get_skeleton

MODEL, OTHER = b'a model of the tests', b'something else'
JOINTS = {
    'h36m_17': get_skeleton('h36m_17').joint_names,
    'smpl_24': get_skeleton('smpl_24').joint_names,
    'toy_2': ('pelv', 'rhip'),
}
POSES_MM = {
    'h36m_17': PERSON_MM,
    'smpl_24': np.random.default_rng(0).normal(0, 300, (24, 3)),
    'toy_2': PERSON_MM[:2],
}


class Value:
    """What comes out of a model."""

    def __init__(self, value):
        self.value = value

    def numpy(self):
        return self.value

    def __getitem__(self, index):
        return Value(self.value[index])


class Detector:
    def predict_multi_image(self, images, threshold, nms_iou, flip, flip_vertical):
        _, height, width, _ = images.shape
        box = [0.4 * width, 0.2 * height, 0.2 * width, 0.6 * height, 0.9]
        return Value([np.array([box][: int(image.any())]).reshape(-1, 5) for image in images])


class Model:
    """Sees the same person in every box, as far away as makes it as tall as the box."""

    def __init__(self):
        self.detector = Detector()
        self.per_skeleton_joint_names = {
            name: Value(np.array([joint.encode() for joint in joints]))
            for name, joints in JOINTS.items()
        }
        self.per_skeleton_joint_edges = {name: Value(np.array([[0, 1]])) for name in JOINTS}

    def detect_poses(self, image, **_):
        raise AssertionError('the detector of the model is asked')

    def estimate_poses(
        self,
        image,
        boxes,
        *,
        intrinsic_matrix,
        distortion_coeffs,
        internal_batch_size,
        antialias_factor,
        num_aug,
        average_aug,
        skeleton,
    ):
        assert image.dtype == np.uint8
        assert distortion_coeffs.size <= 12
        assert not average_aug
        pose = POSES_MM.get(skeleton, np.zeros((0, 3)))  # an unknown name: no joints
        depth = intrinsic_matrix[1, 1] * 1560.0 / boxes[:, 3]
        middle = boxes[:, :2] + boxes[:, 2:] / 2 - intrinsic_matrix[:2, 2]
        middle = middle / np.diag(intrinsic_matrix)[:2] * depth[:, None]
        middle = np.column_stack([middle, depth]) - [0.0, 80.0, 0.0]
        scale = 1 + 0.01 * (np.arange(num_aug) - (num_aug - 1) / 2)
        people = (pose + middle[:, None])[:, None] * scale[:, None, None]  # (N, A, J, 3)
        return {'poses3d': Value(people.astype(np.float32))}


def load(folder):
    content = (Path(folder) / 'saved_model.pb').read_bytes()
    if content not in (MODEL, OTHER):
        raise OSError('cannot parse the file')
    return Model() if content == MODEL else object()


def write(folder, content=MODEL):
    folder.mkdir(parents=True)
    (folder / 'saved_model.pb').write_bytes(content)
    return folder


def module():
    """Return what stands at the place of the module tensorflow."""
    made = types.ModuleType('tensorflow')
    made.__version__ = 'stand-in'
    made.__spec__ = importlib.machinery.ModuleSpec('tensorflow', None)
    made.float32 = np.float32
    made.constant = lambda value, kind=None: np.asarray(value, kind)
    made.device = lambda name: contextlib.nullcontext()
    made.saved_model = types.SimpleNamespace(load=load)
    made.config = types.SimpleNamespace(
        list_physical_devices=lambda kind: [],
        threading=types.SimpleNamespace(set_intra_op_parallelism_threads=lambda number: None),
    )
    return made
