"""How far bfloat16 moves the joints of the shipped lifter, on people that no training saw.

    python benchmarks/bench_lifter_precision.py --mocap FOLDER

Both sides stream the same noisy 2D joints with a look-ahead of 4 frames; the table shows the mean
and the largest distance between the joints of float32 and of bfloat16.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from results import Numbers, add_option

from trpose_ros.data.motion.packs import find_shared, load_mocap
from trpose_ros.data.motion.virtual_cameras import CameraConfig, NoiseConfig
from trpose_ros.lifters.streams.videopose3d import VideoPose3DCore
from trpose_ros.training.lifters.samples import estimated, make_sample, marked
from trpose_ros.training.lifters.trainer import load_network
from trpose_ros.training.lifters.windows import TEST_SUBJECTS

FRAMES, CLIPS, LOOK_AHEAD = 40, 200, 4


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', default='videopose3d-robust')
    parser.add_argument('--mocap', help='folder of the motion packs')
    add_option(parser)
    options = parser.parse_args()
    numbers = Numbers()
    folder = options.mocap
    if folder is None:
        shared = find_shared()
        if shared is None:
            parser.error('no motion packs: give --mocap FOLDER or set TRPOSE_SHARED')
        folder = shared / 'data' / 'mocap'
    torch.set_num_threads(1)
    model, pack = load_network(options.weights), load_mocap(folder)
    print('| held-out person | frames | mean change (mm) | largest (mm) |')
    print('|---|---:|---:|---:|')
    for name, subject in TEST_SUBJECTS:
        motions = pack.select('test', subject)
        world = motions.windows(motions.window_starts(FRAMES, step=FRAMES)[:CLIPS], FRAMES)
        cameras = CameraConfig(rate_hz=pack.rate_hz)
        rng = np.random.default_rng(1)
        sample = make_sample(world, rng, cameras)
        joints = marked(*estimated(sample, NoiseConfig(), pack.rate_hz, rng))
        joints = joints[..., : model.config.values_in]  # type: ignore
        full, half = (lift(model, joints, reduced) for reduced in (False, True))
        apart = 1000 * (full - half).norm(dim=-1)
        print(f'| {name} | {len(world) * FRAMES} | {apart.mean():.2f} | {apart.max():.1f} |')
        numbers.error(f'lifters, bfloat16 against float32, {name}', float(apart.mean()))
    numbers.write(options.json)


@torch.no_grad()
def lift(model: torch.nn.Module, joints: np.ndarray, half: bool) -> torch.Tensor:
    """Return (B, T, 17, 3) metres: clips side by side, as the people of one camera."""
    frames = torch.from_numpy(joints)
    core = VideoPose3DCore(model, LOOK_AHEAD, half)
    slots = torch.arange(len(frames))
    core.reserve(len(frames))
    core.start(slots, frames[:, 0])
    return torch.cat([core.step(slots, frame, 1) for frame in frames.unbind(1)], dim=1)


if __name__ == '__main__':
    main()
