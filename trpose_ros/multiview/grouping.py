"""Who is the same person in several cameras.

Two people of two cameras are compared by their rays, joint by joint: those of one person pass each
other closely, in units of what the angles allow. Rays of different people may meet, too (epipolar
geometry knows no distance), so the metric 3D of the cameras is compared as well, whose distance is
uncertain along each camera's direction. Pairs are joined, the best first, into groups with at most
one person of each camera, all of whom fit to each other. Who belonged together before is preferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trpose_ros.multiview.sights import Sights

_FLOOR_M = 0.04  # joints of two views are never nearer on average: of skeletons, of calibrations
_CAP = 4.0  # standard deviations: a joint beyond says nothing more
_FEWEST = 3  # joints to compare
_PREFERRED = 0.8  # off the cost of those who were one person before
_AGAINST = 0.8  # on the cost of those who were two
_LOOSER = 1.3  # gate for two of a group who are not joined by themselves


@dataclass(frozen=True)
class Member:
    """A row of the sights of one camera."""

    camera: int
    row: int


Group = tuple[Member, ...]


def group(
    views: Sequence[Sights | None], known: Sequence[Sequence[int]], gate: float
) -> list[Group]:
    """Return everybody in groups of the same person, those seen by most cameras first.

    ``views`` are the cameras' sights at one time, ``known`` the world track (or -1) that each of
    their people belonged to before; ``gate`` is the largest cost of a pair, in standard deviations.
    """
    members = [
        Member(k, n) for k, view in enumerate(views) if view is not None for n in range(len(view))
    ]
    costs = _costs(views, known, members)
    owner = list(range(len(members)))
    pairs = np.argwhere(np.triu(np.nan_to_num(costs, nan=np.inf) <= gate, 1))
    order = sorted(map(tuple, pairs), key=lambda pair: (costs[pair], pair))
    for a, b in order:
        left = [m for m, o in enumerate(owner) if o == owner[a]]
        right = [m for m, o in enumerate(owner) if o == owner[b]]
        if owner[a] == owner[b]:
            continue
        if {members[m].camera for m in left} & {members[m].camera for m in right}:
            continue
        across = costs[np.ix_(left, right)]
        if (across[np.isfinite(across)] <= _LOOSER * gate).all():
            for m in right:
                owner[m] = owner[a]
    groups: dict[int, list[Member]] = {}
    for m, o in enumerate(owner):
        groups.setdefault(o, []).append(members[m])
    return sorted((tuple(found) for found in groups.values()), key=lambda one: -len(one))


def _costs(
    views: Sequence[Sights | None], known: Sequence[Sequence[int]], members: Sequence[Member]
) -> np.ndarray:
    """Return (K, K) costs of pairs of members; NaN where they cannot be compared."""
    costs = np.full((len(members), len(members)), np.nan)
    cameras = np.array([member.camera for member in members], int)
    for a in np.unique(cameras):
        for b in np.unique(cameras[cameras > a]):
            first, second = views[a], views[b]
            assert first is not None
            assert second is not None
            table = pair_costs(first, second)
            mine, its = np.array(known[a])[:, None], np.array(known[b])[None]
            met = (mine >= 0) & (its >= 0)
            table += np.where(met, np.where(mine == its, -_PREFERRED, _AGAINST), 0.0)
            costs[np.ix_(cameras == a, cameras == b)] = np.maximum(table, 0.0)
    return costs


def pair_costs(first: Sights, second: Sights) -> np.ndarray:
    """Return (M, N): rays and 3D together; infinite where one of them says no."""
    both = np.stack([ray_costs(first, second), point_costs(first, second)])
    known = np.isfinite(both)
    squared = np.where(known, both**2, 0.0).sum(axis=0)
    count = known.sum(axis=0)
    cost = np.sqrt(squared / np.maximum(count, 1))
    cost = np.where((np.nan_to_num(both) > _CAP).any(axis=0), np.inf, cost)
    return np.asarray(np.where(count > 0, cost, np.nan))


def ray_costs(first: Sights, second: Sights) -> np.ndarray:
    """Return (M, N): how far the rays of two people pass each other, rms, standard deviations.

    Joints that are seen surely count most; NaN where the two share too few.
    """
    d1, d2 = first.rays[:, None], second.rays[None]
    between = second.origin_m - first.origin_m
    cross = _cross(d1, d2)
    sine2 = (cross**2).sum(axis=-1)
    steep = np.maximum(sine2, 1e-9)
    along1 = (_cross(between, d2) * cross).sum(axis=-1) / steep
    along2 = (_cross(between, d1) * cross).sum(axis=-1) / steep
    # Rays that are nearly parallel, or meet behind a camera, are compared where they are expected.
    odd = (sine2 < 1e-4) | (along1 < 0.1) | (along2 < 0.1)
    expected = np.where(np.isfinite(first.depths_m), first.depths_m, 3.0)[:, None]
    along1 = np.where(odd, expected, along1)
    at1 = along1[..., None] * d1 - between  # from the second camera
    along2 = np.where(odd, (at1 * d2).sum(axis=-1), along2)
    apart2 = ((at1 - along2[..., None] * d2) ** 2).sum(axis=-1)
    allowed2 = (
        (first.sigmas[:, None] * along1) ** 2 + (second.sigmas[None] * along2) ** 2 + _FLOOR_M**2
    )
    good = np.isfinite(apart2) & np.isfinite(allowed2) & (along2 > 0)
    # A joint of which both are sure says more than one that is guessed, and one that lies far off.
    weight = np.where(good, 1.0 / np.where(good, allowed2, 1.0), 0.0)
    squared = np.where(good, np.minimum(apart2 * weight, _CAP**2), 0.0)
    total = weight.sum(axis=-1)
    rms = np.sqrt((squared * weight).sum(axis=-1) / np.where(total > 0, total, 1.0))
    return np.asarray(np.where(good.sum(axis=-1) >= _FEWEST, rms, np.nan))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cross product along the last axis; numpy's takes several times as long."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def point_costs(first: Sights, second: Sights) -> np.ndarray:
    """Return (M, N): how far the 3D of two people is apart, in standard deviations."""
    ours, its = first.points_m[:, None], second.points_m[None]
    good = np.isfinite(ours).all(axis=-1) & np.isfinite(its).all(axis=-1)
    count = np.maximum(good.sum(axis=-1), 1)

    def mean(values: np.ndarray) -> np.ndarray:
        held = good[..., None] if values.ndim > good.ndim else good
        total = np.where(held, values, 0.0).sum(axis=2)
        return np.asarray(total / (count[..., None] if total.ndim > count.ndim else count))

    apart = mean(ours - its)
    spread = 2.0 * _FLOOR_M**2 * np.eye(3) + np.zeros((*count.shape, 3, 3))
    for view, axis in ((first, 1), (second, 0)):
        direction = mean(np.expand_dims(view.rays, axis))
        along = mean(np.expand_dims(view.depth_sigmas_m, axis)) ** 2
        aside = mean(np.expand_dims(view.sigmas * view.depths_m, axis)) ** 2
        spread += along[..., None, None] * direction[..., :, None] * direction[..., None, :]
        spread += aside[..., None, None] * np.eye(3)
    inward = np.linalg.solve(spread, apart[..., None])[..., 0]
    cost = np.sqrt((apart * inward).sum(axis=-1) / 2.0)
    return np.asarray(np.where(good.sum(axis=-1) >= _FEWEST, cost, np.nan))
