"""Measure VideoPose3D on held-out people as the live stream runs it, and release its weights.

``python -m trpose_ros.training.videopose3d_measure WEIGHTS`` prints the errors at every look-ahead
on people that no training saw; ``--release NAME`` also writes the weights in half precision with a
model card that holds those numbers. MPJPE and P-MPJPE are in mm, MPJVE in mm per frame; the root
does not count, because it is zero by definition.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from trpose_ros import weights
from trpose_ros.data.motion import MotionPack
from trpose_ros.data.motion import find_shared
from trpose_ros.data.motion import load_mocap
from trpose_ros.data.virtual_cameras import CameraConfig
from trpose_ros.data.virtual_cameras import NoiseConfig
from trpose_ros.lifters.missing import JointFiller
from trpose_ros.lifters.offline import mirror_joints
from trpose_ros.lifters.registry import fill
from trpose_ros.lifters.videopose3d import VideoPose3D
from trpose_ros.lifters.videopose3d import VideoPose3DConfig
from trpose_ros.lifters.videopose3d_stream import VideoPose3DCore
from trpose_ros.training.lifting_samples import Sample
from trpose_ros.training.lifting_samples import make_sample

TEST_SUBJECTS = (('cmu', 'cmu014'), ('accad', 'accad_female1'))
DIAL = (0, 1, 2, 4, 8)  # and the official look-ahead


def evaluate(
    model: VideoPose3D, pack: MotionPack, seed: int = 1, outputs: int = 30
) -> dict[str, dict[str, float]]:
    """Measure on the test subjects, without and with estimator noise, in millimetres.

    Returns:
        ``{'cmu exact': {'mpjpe', 'p_mpjpe', 'mpjve'}, 'cmu noisy': ..., 'accad ...': ...}``;
        MPJPE and P-MPJPE in mm, MPJVE in mm per frame. All joints but the root count.

    """
    training = model.training
    model.eval()
    results = {}
    official = 0 if model.config.causal else model.config.receptive_field // 2
    for name, sample, first in _test_samples(model.config, pack, seed, outputs):
        target = sample.target_m[:, first : first + outputs]
        for kind, joints in (('exact', sample.exact), ('noisy', sample.joints)):
            poses = stream_poses(model, joints, first, outputs, official)
            results[f'{name} {kind}'] = errors_mm(poses, target)
        if not model.config.causal:
            poses = stream_poses(model, sample.joints, first, outputs, 0)
            results[f'{name} noisy, look-ahead 0'] = errors_mm(poses, target)
    model.train(training)
    return results


def measure_dial(
    model: VideoPose3D, pack: MotionPack, seed: int = 1, outputs: int = 30
) -> dict[str, dict[int, dict[str, float]]]:
    """Measure every look-ahead with flip averaging, as a live stream runs: {test: {L: errors}}."""
    model.eval()
    official = 0 if model.config.causal else model.config.receptive_field // 2
    dial = sorted({min(look, official) for look in (*DIAL, official)})
    results: dict[str, dict[int, dict[str, float]]] = {}
    for name, sample, first in _test_samples(model.config, pack, seed, outputs):
        target = sample.target_m[:, first : first + outputs]
        for kind, joints in (('exact', sample.exact), ('noisy', sample.joints)):
            results[f'{name} {kind}'] = {
                look: errors_mm(stream_poses(model, joints, first, outputs, look, True), target)
                for look in dial
            }
    if not results:
        raise ValueError(
            f'no clip of the test subjects {[s for _, s in TEST_SUBJECTS]} has '
            f'{model.config.receptive_field + outputs - 1} frames; nothing to measure on'
        )
    return results


def _test_samples(
    network: VideoPose3DConfig, pack: MotionPack, seed: int, outputs: int
) -> Iterator[tuple[str, Sample, int]]:
    """Yield each test subject's windows, three cameras each, and the index of the first pose."""
    frames = network.receptive_field + outputs - 1
    first = network.receptive_field - 1 if network.causal else network.receptive_field // 2
    for name, subject in TEST_SUBJECTS:
        clips = pack.select('test', subject)
        starts = clips.window_starts(frames, step=outputs)
        if len(starts) == 0:
            continue
        rng = np.random.default_rng(seed)
        world = np.repeat(clips.windows(starts, frames), 3, axis=0)
        cameras = CameraConfig(rate_hz=pack.rate_hz)
        yield name, make_sample(world, rng, cameras, NoiseConfig(), JointFiller()), first


@torch.no_grad()
def stream_poses(
    model: VideoPose3D,
    joints: np.ndarray,
    first: int,
    outputs: int,
    look_ahead: int,
    flip: bool = False,
) -> np.ndarray:
    """Return (B, outputs, 17, 3): poses from frame ``first`` on, by the stream of that look-ahead.

    All (B, T, 17, 2) windows run side by side, as the tracks of one camera do.
    """
    frames = torch.from_numpy(joints)
    if flip:
        frames = torch.cat([frames, mirror_joints(frames)])
    core = VideoPose3DCore(model, look_ahead)
    slots = torch.arange(len(frames))
    core.reserve(len(frames))
    core.start(slots, frames[:, 0])
    poses = []
    for t in range(first + outputs + look_ahead):
        wanted = t - look_ahead >= first
        pose = core.step(slots, frames[:, t], int(wanted))
        if pose is not None:
            poses.append(pose)
    lifted = torch.cat(poses, dim=1)
    if flip:
        plain, mirrored = lifted.chunk(2)
        lifted = (plain + mirror_joints(mirrored)) / 2
    return lifted.numpy()


def errors_mm(predicted_m: np.ndarray, target_m: np.ndarray) -> dict[str, float]:
    """Return MPJPE, P-MPJPE and MPJVE of (B, T, 17, 3) root-relative poses, without the root."""
    predicted, target = predicted_m[:, :, 1:].astype(float), target_m[:, :, 1:].astype(float)
    aligned = procrustes(predicted.reshape(-1, 16, 3), target.reshape(-1, 16, 3))
    speed = np.diff(predicted, axis=1) - np.diff(target, axis=1)
    return {
        'mpjpe': round(1000 * float(np.linalg.norm(predicted - target, axis=-1).mean()), 1),
        'p_mpjpe': round(
            1000 * float(np.linalg.norm(aligned - target.reshape(-1, 16, 3), axis=-1).mean()), 1
        ),
        'mpjve': round(1000 * float(np.linalg.norm(speed, axis=-1).mean()), 2),
    }


def procrustes(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return (N, J, 3) predictions after the best similarity transform onto the targets."""
    centre_p, centre_t = predicted.mean(axis=1, keepdims=True), target.mean(axis=1, keepdims=True)
    p, t = predicted - centre_p, target - centre_t
    u, s, vt = np.linalg.svd(np.swapaxes(p, 1, 2) @ t)
    sign = np.sign(np.linalg.det(u @ vt))
    s[:, -1] *= sign
    u[:, :, -1] *= sign[:, None]
    scale = s.sum(axis=1) / np.maximum((p**2).sum(axis=(1, 2)), 1e-12)
    return scale[:, None, None] * (p @ (u @ vt)) + centre_t


def release(source: Path, target: Path, pack: MotionPack) -> None:
    """Write weights in half precision, measured in that precision, and their card."""
    file = weights.load(source, 'videopose3d')
    halves = {
        key: value.astype(np.float16) if value.dtype == np.float32 else value.reshape(())
        for key, value in file.tensors.items()
    }
    model = build({key: value.astype(np.float32) for key, value in halves.items()}, file)
    results = measure_dial(model, pack)
    command = f'python -m trpose_ros.training.videopose3d_measure {target.stem}'
    measured = {'command': command, 'unit': 'mm, mm/frame', 'flip': True, 'results': results}
    training = json.loads(file.meta.get('training', '{}'))
    training.pop('out', None)  # a path of the machine that trained
    meta = file.meta | {
        'measured_error': json.dumps(measured),
        'precision': 'float16',
        'training': json.dumps(training),
    }
    written = weights.save(target, halves, meta)
    weights.write_card(written, card_text(model.config, results, command))
    print(f'wrote {written.path}, {written.path.stat().st_size} bytes, sha256 {written.sha256}')


def build(tensors: dict[str, np.ndarray], file: weights.WeightsFile) -> VideoPose3D:
    """Return the network of a weights file with these tensors, in eval mode."""
    tensors = {
        key: value.reshape(()) if key.endswith('num_batches_tracked') else value
        for key, value in tensors.items()
    }
    model = VideoPose3D(VideoPose3DConfig(**file.config))
    fill(model, tensors, str(file.path))
    return model.eval().requires_grad_(False)


def card_text(
    network: VideoPose3DConfig, results: dict[str, dict[int, dict[str, float]]], command: str
) -> str:
    """Return the readable part of the model card."""
    lines = [
        f'VideoPose3D with {network.receptive_field} frames and {network.channels} channels, made '
        'for robots: trained on motion capture seen by random cameras at 0.5 to 2.2 m height, with '
        'the noise and the gaps of a 2D estimator, people cut off by the image, bones of random '
        'proportions, left and right mirrored. The future of most training windows was cut off at '
        'a random frame and repeated, as the stream does, so that one file serves every look-ahead '
        'from 0 to the centre.',
        '',
        'Errors on two held-out people (`exact`: 2D without noise, `noisy`: with the noise of '
        'training), three random cameras for each second of motion, flip averaging on, printed by',
        '',
        f'    {command}',
        '',
        *table(results),
        '',
        'Not measured: real images, Human3.6M, motions far from everyday ones. Poses are relative '
        'to the pelvis; lifting from one camera cannot see absolute size, so a person much taller '
        'or smaller than average is scaled wrongly.',
    ]
    return '\n'.join(lines)


def table(results: dict[str, dict[int, dict[str, float]]]) -> list[str]:
    """Return lines of a Markdown table: MPJPE / P-MPJPE / MPJVE by look-ahead."""
    names = list(results)
    looks = list(results[names[0]])
    rows = [
        f'| look-ahead (frames) | {" | ".join(names)} |',
        '| --- |' + ' --- |' * len(names),
    ]
    for look in looks:
        cells = (results[name][look] for name in names)
        text = (f'{c["mpjpe"]} / {c["p_mpjpe"]} / {c["mpjve"]}' for c in cells)
        rows.append(f'| {look} | {" | ".join(text)} |')
    return ['MPJPE / P-MPJPE / MPJVE:', '', *rows]


def main(arguments: list[str] | None = None) -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('weights', help='name or file')
    parser.add_argument('--release', type=Path, help='file to write in half precision, with card')
    parser.add_argument('--mocap', help='folder of the motion packs')
    options = parser.parse_args(arguments)
    folder = options.mocap
    if folder is None:
        shared = find_shared()
        if shared is None:
            parser.error('no motion packs: give --mocap FOLDER or set TRPOSE_SHARED')
        folder = shared / 'data' / 'mocap'
    torch.set_num_threads(1)
    pack = load_mocap(folder)
    if options.release is not None:
        release(weights.resolve(options.weights), options.release, pack)
        return
    file = weights.load(options.weights, 'videopose3d')
    tensors = {key: value.astype(np.float32) for key, value in file.tensors.items()}
    print('\n'.join(table(measure_dial(build(tensors, file), pack))))


if __name__ == '__main__':
    main(None)
