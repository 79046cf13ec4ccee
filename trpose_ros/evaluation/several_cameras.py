"""Several cameras against the best single one: simulated and rendered scenes of two people.

Four cameras stand around, 3.2 m from the middle; one cuts off legs, one heads, two a side. They
take 15 frames a second, each at other moments. In the simulation their people are motion capture,
projected, with the errors that were fitted to an estimator (data/motion/keypoint_errors.py), and
with distances that are wrong by a factor of each person and camera, as one camera's always are.
``--rendered`` draws the scene and runs the pose stage on the images instead. Run as

    python -m trpose_ros.evaluation.several_cameras

which prints a line per camera and one for all together: people found, joints that have a position,
mean joint error in the world, the same relative to the pelvis, the share of joints whose true place
the 95 % ellipsoid holds, outputs that are nobody, and ids used. Somebody who is not found has the
joints of the last time, as in the truncation protocol.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from trpose_ros.cameras import (
    camera_from_fov,
    denormalise_screen,
    normalise_screen,
    pixel_rays,
    project,
)
from trpose_ros.data.motion.keypoint_errors import DetectorErrors, load_fitted, with_errors
from trpose_ros.data.rendering.clips import Clip, ClipConfig, Staging, play
from trpose_ros.data.rendering.sprites import load_motion, look_at
from trpose_ros.estimators import EstimatorConfig
from trpose_ros.multiview.multiview import Multiview, MultiviewConfig
from trpose_ros.multiview.rig import Rig, RigCamera, placement_of
from trpose_ros.people import Camera, People, TrackState, with_visibility
from trpose_ros.pipeline.pipeline import PipelineConfig, build_pose_stage

# Where the four look, m: beside the middle and up, and their height.
_AIMS = {
    'front': (0.0, 0.35, 1.2),  # cuts off heads
    'right': (0.0, 1.75, 1.5),  # legs
    'rear': (0.75, 1.0, 1.2),  # the right side of the picture
    'left': (-0.75, 1.0, 1.8),
}
_RADIUS_M = 3.2
_RATE_HZ = 15.0
_APART_M = 1.1  # of the lines along which the two walk
_START_NS = 1_700_000_000_000_000_000
_DEPTH = 0.08  # std of the factor of distances
_OWN_DEPTH_M = 0.04  # std of each joint's own
_FEWEST = 4  # joints in the image of somebody who is found
_SAME_M = 1.0  # farther from the truth, an output is somebody else
_INSIDE95 = 7.815  # chi-square of three degrees
WALKS = ('cmu_16_15', 'cmu_06_12')

Seen = tuple[str, People]  # camera and what it sees


def four_cameras(width: int = 640, height: int = 480, fov_deg: float = 65.0) -> Rig:
    """Return cameras around the origin; world z is up."""
    camera = camera_from_fov(width, height, fov_deg, assumed=False)
    found = []
    for turn, (name, (side, up, high)) in enumerate(_AIMS.items()):
        angle = np.pi / 2 * turn + 0.3
        away = np.array([np.cos(angle), np.sin(angle), 0.0])
        position = _RADIUS_M * away + [0, 0, high]
        aim = side * np.array([-away[1], away[0], 0.0]) + [0, 0, up]
        to_camera = look_at(position, aim)
        found.append(
            RigCamera(
                name,
                placement_of(to_camera.T, position),
                frame_id=f'{name}_optical',
                intrinsics=camera,
            )
        )
    return Rig(tuple(found))


def in_world(people: People, rig: Rig, name: str) -> People:
    """Return people of a camera with their 3D in the world."""
    rotation, position = rig[name].placement
    covariances = np.einsum('ab,njbc,dc->njad', rotation, people.covariances_m2, rotation)
    return people.replace(
        joints_m=(people.joints_m @ rotation.T + position).astype(np.float32),
        covariances_m2=covariances.astype(np.float32),
    )


def between(path_m: np.ndarray, rate_hz: float, times_s: np.ndarray) -> np.ndarray:
    """Return a path (..., T, 17, 3) at times (K,), linear between its frames."""
    place = np.clip(times_s * rate_hz, 0, path_m.shape[-3] - 1.001)
    low = place.astype(int)
    share = (place - low)[:, None, None]
    return (1 - share) * path_m[..., low, :, :] + share * path_m[..., low + 1, :, :]


def frame_times(rig: Rig, seconds: float, rate_hz: float = _RATE_HZ) -> dict[str, np.ndarray]:
    """Return when each camera takes its frames, s; no two at the same time."""
    count = len(rig.cameras)
    return {
        name: np.arange(k / count / rate_hz, seconds, 1.0 / rate_hz)
        for k, name in enumerate(rig.names)
    }


def simulate(
    joints_m: np.ndarray,
    motion_hz: float,
    rig: Rig,
    errors: DetectorErrors | None,
    seed: int = 0,
    clocks_s: dict[str, float] | None = None,
) -> list[Seen]:
    """Return what cameras see of people (P, T, 17, 3), in the order of the frames.

    Args:
        joints_m: in the world.
        motion_hz: frames of ``joints_m`` in a second.
        rig: the cameras, with intrinsics.
        errors: of the estimator in the image; None: exact.
        seed: of the errors.
        clocks_s: by which stamps of cameras are too late.

    """
    rng = np.random.default_rng(seed)
    times = frame_times(rig, joints_m.shape[1] / motion_hz)
    found: list[tuple[float, Seen]] = []
    for place, name in enumerate(rig.names):
        camera, placement = rig[name].intrinsics, rig[name].placement
        assert camera is not None
        world = between(joints_m, motion_hz, times[name])
        there = (world - placement.position_m) @ placement.rotation
        rows = [_seen(there[p], camera, errors, rng) for p in range(len(there))]
        late_s = (clocks_s or {}).get(name, 0.0)
        for k, time_s in enumerate(times[name]):
            people = _people(
                [row[k] for row in rows],
                camera,
                _START_NS + round((time_s + late_s) * 1e9),
                rig[name].frame_id,
                first_id=10 * place,
            )
            found.append((time_s, (name, people)))
    return [seen for _, seen in sorted(found, key=lambda entry: entry[0])]


def _seen(
    joints_m: np.ndarray, camera: Camera, errors: DetectorErrors | None, rng: np.random.Generator
) -> np.ndarray:
    """Return (T, 17, 6): pixel, 3D, visibility of one person's joints (T, 17, 3) in a camera."""
    exact = project(joints_m, camera)
    exact = np.where(np.isfinite(exact), exact, 1e4)
    screen = normalise_screen(exact, camera.width, camera.height)
    limit = np.array([1.0, camera.height / camera.width])
    outside = (np.abs(screen) > limit).any(axis=-1)
    px = exact
    if errors is not None:
        state = np.where(outside, 2, 0)[None]
        noisy = with_errors(screen[None].astype(np.float32), state, errors, _RATE_HZ, rng)[0]
        px = denormalise_screen(noisy, camera.width, camera.height)
    depth = joints_m[..., 2:]
    if errors is not None:
        depth = depth * np.exp(_DEPTH * rng.standard_normal())
        depth = depth + _OWN_DEPTH_M * rng.standard_normal((1, *depth.shape[1:]))
    return np.concatenate([px, pixel_rays(px, camera) * depth, ~outside[..., None]], axis=-1)


def _people(
    rows: Sequence[np.ndarray], camera: Camera, stamp_ns: int, frame_id: str, first_id: int
) -> People:
    table = np.array(rows).reshape(-1, 17, 6)
    inside = table[..., 5] > 0
    found = np.flatnonzero(inside.sum(axis=1) >= _FEWEST)
    people = People.build(
        stamp_ns=stamp_ns,
        frame_id=frame_id,
        skeleton='h36m_17',
        width=camera.width,
        height=camera.height,
        joints_px=table[found, :, :2],
        joints_m=table[found, :, 2:5],
        joint_scores=np.where(inside[found], 0.9, 0.4),
        joint_states=inside[found],  # else UNKNOWN: the estimator may put it into the image
        track_ids=first_id + found,
        track_states=np.full(len(found), TrackState.TRACKED),
    )
    return with_visibility(people)


@dataclass(frozen=True)
class Score:
    """How good people are; NaN where there are none."""

    name: str
    found: float  # share of true people
    complete: float  # share of their joints that have a position
    error_mm: float  # mean joint error in the world
    relative_mm: float  # the same relative to the pelvis
    inside95: float  # share of joints within their ellipsoid
    false: int  # outputs that are nobody
    ids: int


def score(name: str, outputs: Iterable[People], truth: dict[int, np.ndarray]) -> Score:
    """Compare people in the world with the truth (P, 17, 3) of the same stamps."""
    errors, relative, inside, ids = [], [], [], set()
    held: dict[int, np.ndarray] = {}
    expected = found = joints = false = 0
    for people in outputs:
        real = truth.get(people.stamp_ns)
        if real is None:
            continue
        seen = np.isin(people.track_states, (TrackState.NEW, TrackState.TRACKED))
        people = people.select(np.flatnonzero(seen))
        expected += len(real)
        apart = np.linalg.norm(people.joints_m[:, None] - real, axis=-1)
        table = np.nan_to_num(np.nanmean(np.minimum(apart, 10.0), axis=-1), nan=10.0)
        pairs = [p for p in zip(*linear_sum_assignment(table), strict=True) if table[p] < _SAME_M]
        found += len(pairs)
        false += len(people) - len(pairs)
        for i, p in pairs:
            ids.add(int(people.track_ids[i]))
            joints += int(np.isfinite(apart[i, p]).sum())
            inside.append(_within(people, i, real[p]))
            held[int(p)] = people.joints_m[i]
        for p, last in held.items():
            offset = last - real[p]
            errors.append(np.linalg.norm(offset, axis=-1))
            relative.append(np.linalg.norm(offset - offset[:1], axis=-1)[1:])
    if not errors:
        nan = float('nan')
        return Score(name, 0.0, nan, nan, nan, nan, false, 0)
    flags = np.concatenate(inside)
    return Score(
        name,
        found / expected,
        joints / (17 * found),
        1e3 * float(np.nanmean(np.concatenate(errors))),
        1e3 * float(np.nanmean(np.concatenate(relative))),
        float(flags.mean()) if len(flags) else float('nan'),
        false,
        len(ids),
    )


def _within(people: People, i: int, real: np.ndarray) -> np.ndarray:
    """Return whether joints lie within their 95 % ellipsoid, of those that state one."""
    error, spread = people.joints_m[i] - real, people.covariances_m2[i].astype(np.float64)
    known = np.isfinite(error).all(axis=-1) & np.isfinite(spread).all(axis=(1, 2))
    error, spread = error[known], spread[known]
    squared = np.einsum('jc,jc->j', error, np.linalg.solve(spread, error[..., None])[..., 0])
    return np.asarray(squared <= _INSIDE95)


def compare(
    seen: Sequence[Seen],
    rig: Rig,
    joints_m: np.ndarray,
    motion_hz: float,
    config: MultiviewConfig | None = None,
) -> list[Score]:
    """Return the score of each camera by itself, then that of all together."""
    together = Multiview(rig, config)
    outputs: list[People] = []
    for name, people in seen:
        outputs += [fused.people for fused in together.push(name, people)]
    outputs += [fused.people for fused in together.flush()]
    alone: dict[str, list[People]] = {name: [] for name in rig.names}
    for name, people in seen:
        alone[name].append(in_world(people, rig, name))
    stamps = np.unique([p.stamp_ns for p in (*outputs, *(p for _, p in seen))])
    at = between(joints_m, motion_hz, (stamps - _START_NS) * 1e-9)
    truth = {int(stamp): at[:, k] for k, stamp in enumerate(stamps)}
    return [
        *(score(name, people, truth) for name, people in alone.items()),
        score('together', outputs, truth),
    ]


def walks(motion_split: str = 'val', names: Sequence[str] = WALKS, seconds: float = 4.0) -> tuple[
    np.ndarray, float
]:  # fmt: skip
    """Return two people (2, T, 17, 3) who walk past each other around the origin, and the rate."""
    motion = load_motion(motion_split)
    frames = round(seconds * motion.rate_hz)
    paths = []
    for place, name in enumerate(names):
        path = play(motion, name, frames)
        middle = (path[:, 0].min(axis=0) + path[:, 0].max(axis=0)) / 2 * [1, 1, 0]
        paths.append(path - middle + [_APART_M * (place - 0.5), 0.0, 0.0])
    return np.stack(paths), motion.rate_hz


def render(
    joints_m: np.ndarray, motion_hz: float, rig: Rig, model: str, seed: int = 0
) -> tuple[list[Seen], np.ndarray]:
    """Return what a pose stage sees in rendered images, and the bodies' true joints (2, T, 17, 3).

    Images are drawn at the rate of the motion; each camera takes every second one, in turn.
    """
    config = PipelineConfig(estimator=EstimatorConfig(model=model))
    found: list[tuple[int, Seen]] = []
    truth = joints_m
    for place, name in enumerate(rig.names):
        camera, placement = rig[name].intrinsics, rig[name].placement
        assert camera is not None
        fov_deg = 2 * np.degrees(np.arctan(camera.width / 2 / camera.matrix[0, 0]))
        staging = Staging(
            tuple(joints_m), joints_m.shape[1], placement.rotation.T, placement.position_m
        )
        clip = Clip(
            ClipConfig(
                split='val',
                seed=seed,
                width=camera.width,
                height=camera.height,
                fov_deg=float(fov_deg),
                start_ns=_START_NS,
            ),
            staging=staging,
        )
        bodies = np.stack([clip.joints_m(t) for t in range(len(clip))], axis=1)
        truth = bodies @ placement.rotation.T + placement.position_m
        stage = build_pose_stage(config)
        for index in range(place % 2, len(clip), round(motion_hz / _RATE_HZ)):
            frame, _ = clip.draw(index)
            people = stage.process(frame).replace(frame_id=rig[name].frame_id)
            found.append((index, (name, people)))
        stage.close()
    return [seen for _, seen in sorted(found, key=lambda entry: entry[0])], truth


def table(scores: Iterable[Score]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield '| camera | found | joints | error, mm | relative, mm | in 95 % | nobody | ids |'
    yield '|---|---|---|---|---|---|---|---|'
    for one in scores:
        inside = f'{100 * one.inside95:.0f} %' if np.isfinite(one.inside95) else '-'
        yield (
            f'| {one.name} | {100 * one.found:.0f} % | {100 * one.complete:.0f} % '
            f'| {one.error_mm:.0f} | {one.relative_mm:.0f} '
            f'| {inside} | {one.false} | {one.ids} |'
        )


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--errors', default='metrabs-m', help='of the simulated estimator')
    parser.add_argument('--rendered', action='store_true', help='draw, and run the pose stage')
    parser.add_argument('--model', default='metrabs-s', help='its weights')
    parser.add_argument('--seconds', type=float, default=4.0)
    parser.add_argument('--seed', type=int, default=0)
    given = parser.parse_args(arguments)
    rig = four_cameras()
    joints_m, rate_hz = walks(seconds=given.seconds)
    if given.rendered:
        seen, joints_m = render(joints_m, rate_hz, rig, given.model, given.seed)
    else:
        seen = simulate(joints_m, rate_hz, rig, load_fitted(given.errors), given.seed)
    for line in table(compare(seen, rig, joints_m, rate_hz)):
        print(line, flush=True)


if __name__ == '__main__':
    main()
