"""What an estimator makes of rendered people whose joints are known: the data of a noise model.

Motions and bodies of the training split, never of the test split, are drawn as short clips, most of
them whole, some from near so that the image cuts people off. The detector, the tracker and the
estimator see them as they are and under the five conditions of protocol v1, as in an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trpose_ros.archives import load_arrays
from trpose_ros.cameras import normalise_screen, project
from trpose_ros.data.rendering.bodies import BodyLibrary
from trpose_ros.data.rendering.drawn_clips import drawn_clip
from trpose_ros.evaluation.cases import EvaluationConfig
from trpose_ros.evaluation.conditions import Condition
from trpose_ros.evaluation.estimation import EstimatorPass, run_pass
from trpose_ros.evaluation.rendered_sequences import evaluated
from trpose_ros.occlusion.occluder import FIVE, joints_in
from trpose_ros.people import Camera, JointState
from trpose_ros.pipeline.lift_stage import to_skeleton
from trpose_ros.training.refinement.passes import load
from trpose_ros.writing import whole_stream

SPLIT = 'train'
_NEAR_EVERY = 3  # every third clip is seen from near


@dataclass(frozen=True)
class NoiseRun:
    """One clip under one condition: T frames of one person, normalised screen coordinates."""

    clip: int  # number of the clip
    condition: str  # 'clean', 'near' or a name of the five
    truth: np.ndarray  # (T, 17, 2) float32
    seen: np.ndarray  # (T, 17, 2) float32, NaN where there was no output
    hidden: np.ndarray  # (T, 17) bool: under a mask
    half_height: float  # of the image, in half image widths
    rate_hz: float


def observe(estimator: str, clips: int, seconds: float, seed: int) -> Iterator[NoiseRun]:
    """Show ``clips`` rendered clips of ``seconds`` to an estimator (as `trpose evaluate` names it).

    Raises bodies.PackError without the data packs and whatever the estimator raises.
    """
    config = EvaluationConfig(estimators=(estimator,), threads=1)
    network, pipeline = config.create_estimator(estimator), config.pipeline(estimator)
    library = None
    try:
        for number in range(clips):
            near = number % _NEAR_EVERY == _NEAR_EVERY - 1
            library = library or BodyLibrary()
            clip = drawn_clip(SPLIT, seconds, near, [seed, number], library)
            shown = evaluated(clip, SPLIT, clip.motion.rate_hz)
            names = ('none',) if near else ('none', *FIVE)
            for name in names:
                condition = Condition(name, draw=number % 3)
                result = run_pass(shown, condition, pipeline, network)
                label = 'near' if near else condition.name
                true = np.stack([people.joints_px[0] for people in shown.truth.values()])
                yield _run_of(number, label, true, clip.camera, clip.motion.rate_hz, result)
    finally:
        network.close()


def recorded(folder: Path, estimator: str) -> list[NoiseRun]:
    """Return what an estimator made of recorded passes (training/refinement/passes.py).

    Those of the training split, clean, near, and under the five conditions in any severity.
    Raises ValueError where there are none.
    """
    runs = []
    for part in load(folder, SPLIT):
        _, number, *name, condition, _ = part.name.split('-')
        if '-'.join(name) != estimator or condition not in ('clean', *FIVE):
            continue
        camera = part.seen.cameras[0]
        true = project(part.truth_m.astype(np.float64), camera)
        label = 'near' if part.near else condition
        seconds = np.diff([people.stamp_ns for people in part.seen.people]) * 1e-9
        rate_hz = round(1 / float(np.median(seconds)), 3)
        runs.append(_run_of(int(number), label, true, camera, rate_hz, part.seen))
    if not runs:
        raise ValueError(f'{folder} holds no passes of {estimator!r} over the training split')
    return runs


def _run_of(
    number: int,
    condition: str,
    true: np.ndarray,
    camera: Camera,
    rate_hz: float,
    result: EstimatorPass,
) -> NoiseRun:
    width, height = camera.width, camera.height
    seen = np.full_like(true, np.nan)
    hidden = np.zeros(true.shape[:2], bool)
    for t, people in enumerate(result.people):
        hidden[t] = joints_in(true[t], result.rectangles_px[t], width, height)
        measured = (people.joint_states != JointState.UNOBSERVED).any(axis=1)
        found = to_skeleton(people, 'h36m_17').joints_px[measured]
        found = found[np.isfinite(found).all(axis=(1, 2))]
        if len(found):
            seen[t] = _whose(found, true[t])
    inside = (true >= -0.5).all(axis=2) & (true <= np.array([width, height]) - 0.5).all(axis=2)
    return NoiseRun(
        number,
        condition,
        normalise_screen(true, width, height).astype(np.float32),
        normalise_screen(seen, width, height).astype(np.float32),
        hidden & inside,  # outside is a state of its own
        height / width,
        rate_hz,
    )


def _whose(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the joints (17, 2) of people (N, 17, 2) that are nearest to the truth; NaN for none.

    A person whose middle lies farther off than the true one is tall is somebody else, or nobody.
    """
    far = np.linalg.norm(found.mean(axis=1) - true.mean(axis=0), axis=1)
    best = int(far.argmin())
    tall = float(np.ptp(true, axis=0).max())
    return found[best] if far[best] < tall else np.full_like(true, np.nan)


def save_runs(path: Path, runs: list[NoiseRun], origin: str = '') -> None:
    """Write runs, and in words how they came about, to an npz file: complete or not at all."""
    names = ('truth', 'seen', 'hidden')
    arrays = {f'{n}_{i}': getattr(run, n) for i, run in enumerate(runs) for n in names}
    with whole_stream(path) as stream:
        np.savez_compressed(
            stream,
            origin=np.array(origin),
            condition=np.array([run.condition for run in runs]),
            facts=np.array([(run.half_height, run.rate_hz, run.clip) for run in runs]),
            **arrays,  # type: ignore[arg-type]
        )


def load_runs(path: Path, origin: str = '') -> list[NoiseRun]:
    """Read what ``save_runs`` wrote.

    Raises ValueError for a file that is none, or that came about in another way.
    """
    try:
        data = load_arrays(path)
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} holds no runs of an estimator ({error}); delete it') from error
    if 'origin' in data and str(data['origin']) != origin:
        raise ValueError(
            f'{path} holds runs of {str(data["origin"])!r}, not of {origin!r}; delete it or '
            'name another file'
        )
    try:
        return _runs(data)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ValueError(f'{path} holds no runs of an estimator ({error!r}); delete it') from error


def _runs(data: dict[str, np.ndarray]) -> list[NoiseRun]:
    return [
        NoiseRun(
            int(data['facts'][i, 2]),
            str(condition),
            data[f'truth_{i}'],
            data[f'seen_{i}'],
            data[f'hidden_{i}'],
            float(data['facts'][i, 0]),
            float(data['facts'][i, 1]),
        )
        for i, condition in enumerate(data['condition'])
    ]
