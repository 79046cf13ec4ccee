"""People as the arrays that a viewer draws, in 2D (px) or 3D (m).

Colours are those of drawing: left blue, right orange, trunk white; what is cut off is magenta, what
is hidden or predicted yellow. Who is LOST is not drawn, nor is a joint without a position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trpose_ros.drawing.markers import MarkersConfig, people_shapes
from trpose_ros.drawing.overlay import CENTRE_RGB, OCCLUDED_RGB, joint_colours
from trpose_ros.people import JointState, People, TrackState
from trpose_ros.skeletons import get_skeleton

_HIDDEN = (JointState.TRUNCATED, JointState.OCCLUDED, JointState.UNOBSERVED)


@dataclass(frozen=True)
class Figures:
    """Bones, joints and names of everybody; S bones, P joints, L names of D coordinates."""

    bones: np.ndarray  # (S, 2, D) float32
    bone_colours: np.ndarray  # (S, 3) uint8
    bones_seen: np.ndarray  # (S,) bool: both ends are seen
    joints: np.ndarray  # (P, D) float32
    joint_colours: np.ndarray  # (P, 3) uint8
    joint_numbers: np.ndarray  # (P,) uint16: index within the skeleton
    joints_seen: np.ndarray  # (P,) bool
    names: list[str]  # L
    name_places: np.ndarray  # (L, D) float32: the topmost joint of each


@dataclass(frozen=True)
class Ellipsoids:
    """One-sigma ellipsoids of the joints whose covariance is known."""

    centres_m: np.ndarray  # (E, 3)
    half_sizes_m: np.ndarray  # (E, 3)
    quaternions: np.ndarray  # (E, 4) x, y, z, w
    colours: np.ndarray  # (E, 4) uint8 RGBA


def shown(people: People) -> np.ndarray:
    """Return the indices of those who are not LOST."""
    return np.flatnonzero(people.track_states != TrackState.LOST)


def name_of(people: People, person: int) -> str:
    """Return the track id, and whether the person is only predicted; '' without a track."""
    if people.track_ids[person] < 0:
        return ''
    searching = people.track_states[person] == TrackState.SEARCHING
    return f'{people.track_ids[person]}{" searching" if searching else ""}'


def figures(people: People, points: np.ndarray) -> Figures:
    """Lay out everybody; ``points`` (N, J, D) are the 2D or 3D joints of ``people``."""
    bones = np.array(get_skeleton(people.skeleton).bones, np.intp).reshape(-1, 2)
    size = points.shape[2]
    ends, colours_of_ends, ends_seen = [np.zeros((0, 2, size))], [np.zeros((0, 3))], []
    joints, colours_of_joints, numbers, joints_seen = (
        [np.zeros((0, size))],
        [np.zeros((0, 3))],
        [],
        [],
    )
    names, places = [], [np.zeros((0, size))]
    for i in shown(people):
        known = np.isfinite(points[i]).all(axis=1)
        if not known.any():
            continue
        seen = ~np.isin(people.joint_states[i], _HIDDEN)
        colours = np.array(joint_colours(people, i))
        own = bones[known[bones].all(axis=1)]
        # A bone has the colour of its far end, or of the near one where only that is hidden.
        by = np.where(seen[own[:, 1]] & ~seen[own[:, 0]], own[:, 0], own[:, 1])
        ends.append(points[i][own])
        colours_of_ends.append(colours[by])
        ends_seen.append(seen[own].all(axis=1))
        joints.append(points[i][known])
        colours_of_joints.append(colours[known])
        numbers.append(np.flatnonzero(known))
        joints_seen.append(seen[known])
        if name := name_of(people, i):
            names.append(name)
            top = np.where(known, points[i][:, 1], np.inf).argmin()
            places.append(points[i][[top]])
    return Figures(
        np.concatenate(ends).astype(np.float32),
        np.concatenate(colours_of_ends).astype(np.uint8),
        np.concatenate([np.zeros(0, bool), *ends_seen]),
        np.concatenate(joints).astype(np.float32),
        np.concatenate(colours_of_joints).astype(np.uint8),
        np.concatenate([np.zeros(0), *numbers]).astype(np.uint16),
        np.concatenate([np.zeros(0, bool), *joints_seen]),
        names,
        np.concatenate(places).astype(np.float32),
    )


def ellipsoids(people: People) -> Ellipsoids:
    """Return the same ellipsoids as the markers of RViz."""
    config = MarkersConfig(sigma_spheres=True)
    found = [shape for shape in people_shapes(people, config) if shape.namespace == 'sigma']
    colours = np.array([shape.colours[0] for shape in found]).reshape(-1, 4)
    return Ellipsoids(
        np.array([shape.points_m[0] for shape in found], np.float32).reshape(-1, 3),
        np.array([shape.scale_m for shape in found], np.float32).reshape(-1, 3) / 2.0,
        np.array([shape.orientation for shape in found], np.float32).reshape(-1, 4),
        np.round(255 * colours).astype(np.uint8),
    )


def boxes(people: People) -> tuple[np.ndarray, np.ndarray]:
    """Return (B, 4) boxes (x, y, width, height, px) and their (B, 3) uint8 colours."""
    rows = shown(people)
    rows = rows[np.isfinite(people.boxes_px[rows]).all(axis=1)]
    searching = people.track_states[rows] == TrackState.SEARCHING
    colours = np.where(searching[:, None], OCCLUDED_RGB, CENTRE_RGB).astype(np.uint8)
    return people.boxes_px[rows], colours
