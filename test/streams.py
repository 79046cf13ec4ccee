"""Streams of small lifters with random weights, and what they must agree with."""

import numpy as np
import torch
from parity.lifters_numbers import filled_state_dict

from trpose_ros.lifters import offline
from trpose_ros.lifters.networks.mhformer import MHFormer, MHFormerConfig
from trpose_ros.lifters.networks.mixste import MixSTE, MixSTEConfig
from trpose_ros.lifters.networks.pstmo import PSTMO, PSTMOConfig
from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig
from trpose_ros.lifters.streams.base import LifterConfig
from trpose_ros.lifters.streams.stream import LifterStream
from trpose_ros.lifters.streams.videopose3d import VideoPose3DCore
from trpose_ros.lifters.streams.windows import mhformer_core, mixste_core, pstmo_core

RATE_HZ = 50.0
STEP_NS = 20_000_000
LIFTERS = {
    'videopose3d': (VideoPose3D(VideoPose3DConfig((3, 3), 32)), VideoPose3DCore),
    'videopose3d_353': (VideoPose3D(VideoPose3DConfig((3, 5), 16)), VideoPose3DCore),
    'videopose3d_causal': (VideoPose3D(VideoPose3DConfig((3, 3), 32, True)), VideoPose3DCore),
    'mhformer': (MHFormer(MHFormerConfig(9, 32, 64, 2)), mhformer_core),
    'mixste': (MixSTE(MixSTEConfig(9, 32, 2)), mixste_core),
    'pstmo': (PSTMO(PSTMOConfig(9, 32, 64, 2)), pstmo_core),
}
for _model, _ in LIFTERS.values():
    _shapes = {key: tuple(value.shape) for key, value in _model.state_dict().items()}
    _model.load_state_dict(
        {key: torch.from_numpy(value) for key, value in filled_state_dict(_shapes).items()}
    )
    _model.eval().requires_grad_(False).double()

WINDOW = {name: 15 if name == 'videopose3d_353' else 9 for name in LIFTERS}
MOST = {'mhformer': 8, 'mixste': 8, 'pstmo': 4, 'videopose3d_causal': 0, 'videopose3d_353': 7}
ALL = [(name, ahead) for name in LIFTERS for ahead in range(MOST.get(name, 4) + 1)]


def make(name, look_ahead=None, *, hop=1, flip=False, step=1, rate_hz=RATE_HZ, **options):
    model, core = LIFTERS[name]
    more = {'frame_step': step} if name == 'pstmo' else {}
    config = LifterConfig(
        name=name.split('_')[0], model='test', hop=hop, flip=flip, dtype='float64', **options
    )
    return LifterStream(
        core(model, look_ahead, **more),
        config,
        rate_hz=rate_hz,
        weights_id='test',
        dtype=torch.float64,
    )


def whole_windows(name, joints, look_ahead, *, flip=False, step=1):
    """Lift a clip (T, 17, 2) window by window."""
    model = LIFTERS[name][0]
    size = WINDOW[name]
    target, output, forward = size // 2, 0, model
    if name in ('mhformer', 'mixste'):
        target = output = size - 1 - look_ahead
    elif name == 'videopose3d_causal':
        target = size - 1
    indices = offline.window_indices(len(joints), size, target, look_ahead, step)
    return offline.lift_windows(forward, torch.from_numpy(joints), indices, output, flip).numpy()


def clip(frames, seed=0, people=1):
    rng = np.random.default_rng(seed)
    walk = rng.normal(0, 0.03, (people, frames, 17, 2)).cumsum(axis=1)
    return walk + rng.uniform(-0.5, 0.5, (people, 1, 17, 2))


def run(stream, joints, ids=None, start_ns=1_000, step_ns=STEP_NS):
    """Push (N, T, 17, 2) and flush; return (N, T, 17, 3), NaN where nothing came."""
    ids = np.arange(len(joints)) if ids is None else ids
    lifted = np.full((*joints.shape[:3], 3), np.nan)
    results = []
    for t in range(joints.shape[1]):
        results += stream.push(start_ns + t * step_ns, ids, joints[:, t])
    results += stream.flush()
    assert len({(r.track_id, r.stamp_ns) for r in results}) == len(results)
    for result in results:
        row, frame = list(ids).index(result.track_id), (result.stamp_ns - start_ns) // step_ns
        lifted[row, frame] = result.joints_m
    return lifted
