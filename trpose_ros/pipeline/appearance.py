"""What somebody wears: colours of torso and thighs where the estimator sees them.

Points lie on the lines from shoulders to hips and along the thighs, as far as both ends are seen;
their median in CIELAB is a feature of six numbers, of which three are unknown (NaN) where a part is
hidden. From the side one shoulder and one hip are enough. It
costs some microseconds and holds for seconds, in one light; it tells two people apart who are
dressed alike no better than anybody could from afar.
"""

from __future__ import annotations

import cv2
import numpy as np

from trpose_ros.people import JointState, People
from trpose_ros.pipeline.usable import in_coco
from trpose_ros.skeletons import get_skeleton

FEATURES = 6
SAME = 8.0  # largest difference of one person's colours, CIELAB (docs/models.md)
_OTHER = 2.0  # such differences: quite other colours
_UNKNOWN = 0.2  # speaks against somebody whose colours are not seen
_LIGHTNESS = 0.5  # its weight: light changes with place and time
_ALONG = np.linspace(0.2, 0.7, 6)[:, None]  # of a line
_NAMES = ('lsho', 'rsho', 'lhip', 'rhip', 'lkne', 'rkne')


def colours(image: np.ndarray, people: People) -> np.ndarray:
    """Return (N, 6) float64: Lab of the torso, then of the thighs, NaN where they are not seen.

    ``image`` is (H, W, 3) uint8 RGB, the one that the people were estimated in.
    """
    index = [get_skeleton('coco_17').index(name) for name in _NAMES]
    seen = people.joint_states == JointState.VISIBLE
    joints = in_coco(people.joints_px, seen, people.skeleton)[:, index]
    features = np.full((len(people), FEATURES), np.nan)
    for n, (lsho, rsho, lhip, rhip, lkne, rkne) in enumerate(joints):
        torso = [s + _ALONG * (h - s) for s in (lsho, rsho) for h in (lhip, rhip)]
        legs = [h + _ALONG * (k - h) for h, k in ((lhip, lkne), (rhip, rkne))]
        features[n, :3] = _median(image, np.concatenate(torso))
        features[n, 3:] = _median(image, np.concatenate(legs))
    return features


def _median(image: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    """Return the median colour (3,) at the finite points inside the image, NaN below four."""
    points = np.rint(points_px[np.isfinite(points_px).all(axis=1)]).astype(int)
    inside = (points >= 0).all(axis=1) & (points < [image.shape[1], image.shape[0]]).all(axis=1)
    points = points[inside]
    if len(points) < 4:
        return np.full(3, np.nan)
    rgb = image[points[:, 1], points[:, 0]][None].astype(np.float32) / 255
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[0].astype(np.float64)
    return np.asarray(np.median(lab, axis=0)) * [_LIGHTNESS, 1, 1]


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how far features (M, 6) and (N, 6) are apart, (M, N).

    It is the larger one of torso and thighs, as far as both know them; NaN without any.
    """
    apart = _by_part(first, second)
    largest = np.where(np.isfinite(apart), apart, -1.0).max(axis=-1)
    return np.where(largest >= 0, largest, np.nan)


def all_other(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (M, N) bool: torso and thighs have quite other colours, as far as both are known.

    Half of a body may be a look at what hides it; that says nothing about the person.
    """
    apart = _by_part(first, second)
    other = ~np.isfinite(apart) | (apart > _OTHER * SAME)
    return np.asarray(np.isfinite(apart).any(axis=-1) & other.all(axis=-1))


def _by_part(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how far torsos and thighs of features (M, 6) and (N, 6) are apart, (M, N, 2)."""
    apart = (first[:, None] - second).reshape(len(first), len(second), 2, 3)
    return np.asarray(np.linalg.norm(apart, axis=-1))


def other_colours(worn: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return what (M, N) speaks against it that people in ``worn`` (M, 6) are those ``seen``.

    0 for the same colours, 1 for quite other ones; infinite for other ones that are
    somebody else's among the M: where one hides another the estimator sees the same one twice.
    """
    apart = differences(worn, seen) / SAME
    others = (np.nan_to_num(apart, nan=np.inf) <= 1.0).any(axis=0)
    against = np.where(np.isfinite(apart), np.minimum(apart / _OTHER, 1.0), _UNKNOWN)
    return np.where(others & (apart > _OTHER), np.inf, against)


def mixed(old: np.ndarray, new: np.ndarray, share: float) -> np.ndarray:
    """Return a running mean (6,): ``share`` of what is new; what only one of them knows stays."""
    mean = old + share * (new - old)
    return np.where(np.isfinite(mean), mean, np.where(np.isfinite(old), old, new))
