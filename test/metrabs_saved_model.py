"""A SavedModel with the interface of published MeTRAbs models, and an answer that is known.

It has the four methods with their arguments in the published order, ragged batches, attributes as
variables, and the habits of the original that matter to a caller: an unknown skeleton yields no
joints, missing intrinsics are a matrix of -1, results are in the world frame and the units are mm.
In every box it sees the same person, upright, as far away as makes it as tall as the box.

    python test/metrabs_saved_model.py FOLDER     writes one
"""

import sys

import numpy as np
import tensorflow as tf
from metrabs_stand_in import PERSON_MM

from trpose_ros.skeletons import get_skeleton

UNKNOWN = -np.ones((3, 3), np.float32)
NO_DISTORTION = np.zeros(5, np.float32)
IDENTITY = np.eye(4, dtype=np.float32)
UP = np.array([0, -1, 0], np.float32)
SHARED = [
    tf.TensorSpec((), tf.float32),  # default_fov_degrees
    tf.TensorSpec((), tf.int32),  # internal_batch_size
    tf.TensorSpec((), tf.int32),  # antialias_factor
    tf.TensorSpec((), tf.int32),  # num_aug
    tf.TensorSpec((), tf.bool),  # average_aug
    tf.TensorSpec((), tf.string),  # skeleton
]
DETECTING = [
    tf.TensorSpec((), tf.float32),  # detector_threshold
    tf.TensorSpec((), tf.float32),  # detector_nms_iou_threshold
    tf.TensorSpec((), tf.int32),  # max_detections
    tf.TensorSpec((), tf.bool),  # detector_flip_aug
    tf.TensorSpec((), tf.bool),  # suppress_implausible_poses
]
ONE = [
    tf.TensorSpec((3, 3), tf.float32),
    tf.TensorSpec((None,), tf.float32),
    tf.TensorSpec((4, 4), tf.float32),
    tf.TensorSpec((3,), tf.float32),
]
MANY = [
    tf.TensorSpec((None, 3, 3), tf.float32),
    tf.TensorSpec((None, None), tf.float32),
    tf.TensorSpec((None, 4, 4), tf.float32),
    tf.TensorSpec((3,), tf.float32),
]
IMAGE = tf.TensorSpec((None, None, 3), tf.uint8)
IMAGES = tf.TensorSpec((None, None, None, 3), tf.uint8)
BOXES = tf.TensorSpec((None, 4), tf.float32)
RAGGED_BOXES = tf.RaggedTensorSpec((None, None, 4), tf.float32, 1, tf.int64)


def skeletons():
    """Return {name: (indices, names, edges)} into 17 + 24 joints; one name is none of ours."""
    h36m, smpl = get_skeleton('h36m_17'), get_skeleton('smpl_24')
    return {
        'h36m_17': (range(17), h36m.joint_names, h36m.bones),
        'smpl_24': (range(17, 41), smpl.joint_names, smpl.bones),
        'toy_2': (range(2), ('pelv', 'rhip'), [(0, 1)]),
    }


def joints_mm():
    smpl = np.random.default_rng(0).normal(0, 300, (24, 3))
    return np.concatenate([PERSON_MM, smpl]).astype(np.float32)


class Detector(tf.Module):
    """Finds one person in every image that is not black: a box at a fixed place."""

    @tf.function(input_signature=[IMAGES, *DETECTING[:2], tf.TensorSpec((), tf.bool), DETECTING[3]])
    def predict_multi_image(self, images, threshold, nms_iou, flip, flip_vertical):
        size = tf.cast(tf.shape(images)[1:3], tf.float32)
        box = tf.stack([0.4 * size[1], 0.2 * size[0], 0.2 * size[1], 0.6 * size[0], 0.9])
        found = tf.reduce_max(tf.cast(images, tf.int32), axis=[1, 2, 3]) > 0
        rows = tf.repeat(box[None], tf.reduce_sum(tf.cast(found, tf.int32)), axis=0)
        return tf.RaggedTensor.from_row_lengths(rows, tf.cast(found, tf.int64))


class StandIn(tf.Module):
    def __init__(self):
        super().__init__()
        self.detector = Detector()
        tables = skeletons()
        self.per_skeleton_indices = {
            k: tf.Variable(list(v[0]), dtype=tf.int32, trainable=False) for k, v in tables.items()
        }
        self.per_skeleton_joint_names = {
            k: tf.Variable(list(v[1]), trainable=False) for k, v in tables.items()
        }
        self.per_skeleton_joint_edges = {
            k: tf.Variable(v[2], dtype=tf.int32, trainable=False) for k, v in tables.items()
        }
        names = [f'{joint}_{i}' for i, joint in enumerate('x' * 41)]
        self.joint_names = tf.Variable(names, trainable=False)
        self.joint_edges = tf.Variable([[0, 1]], dtype=tf.int32, trainable=False)
        self.pose = tf.constant(joints_mm())
        starts = [np.array(v[0]) for v in tables.values()]
        self.table = tf.ragged.constant([list(map(int, s)) for s in starts], dtype=tf.int32)
        self.names = tf.constant(list(tables))

    def select(self, skeleton):
        """Indices of a skeleton's joints: all for '', none for an unknown name."""
        row = tf.where(self.names == skeleton)[:, 0]
        if tf.equal(skeleton, ''):
            return tf.range(tf.shape(self.pose)[0])
        return self.table[row[0]] if tf.size(row) > 0 else tf.zeros((0,), tf.int32)

    def person(self, image, boxes, matrix, distortion, extrinsic, fov, num_aug, average, skeleton):
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        focal = tf.reduce_max(size) / (2 * tf.tan(fov * (np.pi / 360)))
        assumed = tf.stack([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1]])
        matrix = assumed if tf.reduce_all(matrix == -1) else matrix
        tf.debugging.assert_less_equal(tf.size(distortion), 12)
        depth = matrix[1, 1] * 1560.0 / boxes[:, 3]
        centre = boxes[:, :2] + boxes[:, 2:4] / 2 - matrix[:2, 2]
        centre = centre / tf.linalg.diag_part(matrix)[:2] * depth[:, None]
        middle = tf.concat([centre, depth[:, None]], axis=1) - [[0.0, 80.0, 0.0]]
        pose = tf.gather(self.pose, self.select(skeleton)) + middle[:, None]  # (n, J, 3)
        # Variants differ a little in depth.
        scale = 1 + 0.01 * (
            tf.cast(tf.range(num_aug), tf.float32) - tf.cast(num_aug - 1, tf.float32) / 2
        )
        pose = pose[:, None] * scale[:, None, None]  # (n, A, J, 3)
        flat = pose[..., :2] / pose[..., 2:]
        r2 = tf.reduce_sum(flat**2, -1, keepdims=True)
        k = tf.pad(distortion, [[0, 12 - tf.size(distortion)]])
        flat = flat * (1 + r2 * (k[0] + r2 * (k[1] + r2 * k[4])))
        px = tf.einsum('najc,dc->najd', flat, matrix[:2, :2]) + matrix[:2, 2]
        ones = tf.ones_like(pose[..., :1])
        world = tf.einsum('najc,dc->najd', tf.concat([pose, ones], -1), tf.linalg.inv(extrinsic))
        world = world[..., :3]
        if average:
            return {'poses3d': tf.reduce_mean(world, 1), 'poses2d': tf.reduce_mean(px, 1)}
        return {'poses3d': world, 'poses2d': px}

    @tf.function(input_signature=[IMAGE, BOXES, *ONE, *SHARED])
    def estimate_poses(
        self, image, boxes, intrinsic_matrix=UNKNOWN, distortion_coeffs=NO_DISTORTION,
        extrinsic_matrix=IDENTITY, world_up_vector=UP, default_fov_degrees=55.0,
        internal_batch_size=64, antialias_factor=1, num_aug=5, average_aug=True, skeleton='',
    ):  # fmt: skip
        return self.person(image, boxes, intrinsic_matrix, distortion_coeffs, extrinsic_matrix,
                           default_fov_degrees, num_aug, average_aug, skeleton)  # fmt: skip

    @tf.function(input_signature=[IMAGE, *ONE, *SHARED, *DETECTING])
    def detect_poses(
        self, image, intrinsic_matrix=UNKNOWN, distortion_coeffs=NO_DISTORTION,
        extrinsic_matrix=IDENTITY, world_up_vector=UP, default_fov_degrees=55.0,
        internal_batch_size=64, antialias_factor=1, num_aug=5, average_aug=True, skeleton='',
        detector_threshold=0.3, detector_nms_iou_threshold=0.7, max_detections=-1,
        detector_flip_aug=False, suppress_implausible_poses=True,
    ):  # fmt: skip
        boxes = self.detector.predict_multi_image(
            image[None], detector_threshold, detector_nms_iou_threshold, False, detector_flip_aug
        )[0]
        result = self.person(image, boxes[:, :4], intrinsic_matrix, distortion_coeffs,
                             extrinsic_matrix, default_fov_degrees, num_aug, average_aug,
                             skeleton)  # fmt: skip
        return {'boxes': boxes, **result}

    @tf.function(input_signature=[IMAGES, RAGGED_BOXES, *MANY, *SHARED])
    def estimate_poses_batched(
        self, images, boxes, intrinsic_matrix=UNKNOWN[None],
        distortion_coeffs=NO_DISTORTION[None], extrinsic_matrix=IDENTITY[None],
        world_up_vector=UP, default_fov_degrees=55.0, internal_batch_size=64,
        antialias_factor=1, num_aug=5, average_aug=True, skeleton='',
    ):  # fmt: skip
        flat = self.person(images[0], boxes.flat_values, intrinsic_matrix[0],
                           distortion_coeffs[0], extrinsic_matrix[0], default_fov_degrees,
                           num_aug, average_aug, skeleton)  # fmt: skip
        return {k: tf.RaggedTensor.from_row_splits(v, boxes.row_splits) for k, v in flat.items()}

    @tf.function(input_signature=[IMAGES, *MANY, *SHARED, *DETECTING])
    def detect_poses_batched(
        self, images, intrinsic_matrix=UNKNOWN[None], distortion_coeffs=NO_DISTORTION[None],
        extrinsic_matrix=IDENTITY[None], world_up_vector=UP, default_fov_degrees=55.0,
        internal_batch_size=64, antialias_factor=1, num_aug=5, average_aug=True, skeleton='',
        detector_threshold=0.3, detector_nms_iou_threshold=0.7, max_detections=-1,
        detector_flip_aug=False, suppress_implausible_poses=True,
    ):  # fmt: skip
        boxes = self.detector.predict_multi_image(
            images, detector_threshold, detector_nms_iou_threshold, False, detector_flip_aug
        )
        result = self.person(images[0], boxes.flat_values[:, :4], intrinsic_matrix[0],
                             distortion_coeffs[0], extrinsic_matrix[0], default_fov_degrees,
                             num_aug, average_aug, skeleton)  # fmt: skip
        result['boxes'] = boxes.flat_values
        return {k: tf.RaggedTensor.from_row_splits(v, boxes.row_splits) for k, v in result.items()}


def write_saved_model(folder, without=()):
    """Write the stand-in; ``without`` names attributes to leave out."""
    model = StandIn()
    for name in without:
        if name in vars(model):
            delattr(model, name)
    if 'detect_poses' in without or 'estimate_poses' in without:
        model = tf.Module()  # something else altogether
        model.answer = tf.Variable(42)
    tf.saved_model.save(model, str(folder))
    return folder


if __name__ == '__main__':
    write_saved_model(sys.argv[1])
