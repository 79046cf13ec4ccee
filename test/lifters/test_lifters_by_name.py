"""Each lifter by its name, with small random weights: in replay, in lifter_node, on the device."""

import json

import numpy as np
import pytest
import torch
from doubles import STEP_NS, FakeBoxes, FakeEstimator, make_people
from random_weights import LIFTERS, save_lifter
from recordings import write_recording
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trpose_ros.commands.given import pipeline_config
from trpose_ros.lifters import LIFTER_NAMES, LifterConfig, create_lifter
from trpose_ros.lifters.networks.build import build_network
from trpose_ros.lifters.streams.videopose3d import VideoPose3DCore
from trpose_ros.lifters.streams.windows import mhformer_core, mixste_core, pstmo_core
from trpose_ros.offline.replay import replay
from trpose_ros.people import Provenance, TrackState
from trpose_ros.pipeline.pipeline import Pipeline, PoseStage, build_lift_stage
from trpose_ros.pipeline.tracking import Tracker
from trpose_ros.recordings import messages
from trpose_ros.recordings.sources import open_source

# Frames of future that each waits for, if nothing is said.
DEFAULT = {'videopose3d': 4, 'mhformer': 17, 'mixste': 0, 'pstmo': 4}
CORES = {
    'videopose3d': VideoPose3DCore,
    'mhformer': mhformer_core,
    'mixste': mixste_core,
    'pstmo': pstmo_core,
}


def test_these_are_all():
    assert set(LIFTERS) == set(LIFTER_NAMES) - {'none'} == set(DEFAULT)


def options(**given):
    defaults = {
        'device': 'cpu',
        'lifter': '',
        'lifter_model': '',
        'look_ahead': -1,
        'smoothing': 0,
        'num_aug': 1,
        'model': '',
        'estimator': 'metrabs',
        'boxes': 'whole',
        'occlusion': 'none',
        'severity': 0,
        'realisation': 'main',
    }
    return defaults | given


@pytest.mark.parametrize('name', LIFTERS)
def test_replay_lifts_every_frame(tmp_path, name):
    weights = save_lifter(tmp_path / 'weights.safetensors', name)
    lifter = options(lifter=name, lifter_model=str(weights))
    config = pipeline_config(lifter)
    pose = PoseStage(
        estimator=FakeEstimator([(-0.4, 0.2, 4.0)]),
        box_source=FakeBoxes([[200.0, 100.0, 160.0, 330.0, 0.9]]),
        tracker=Tracker(),
        clock=None,
    )
    pipeline = Pipeline(pose=pose, lift=build_lift_stage(config))
    source = open_source(write_recording(tmp_path / 'in.mcap', 8))
    replay(source, tmp_path / 'out', pipeline=pipeline)
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert metrics['lifter'].startswith(name)
    assert metrics['look_ahead_frames'] == DEFAULT[name]
    assert metrics['errors']['lifted']['coverage'] == 1.0


@pytest.mark.parametrize('name', LIFTERS)
def test_the_node_lifts_and_says_by_what(tmp_path, name):
    pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')
    from live import START_NS, live

    from trpose_ros.msg import PersonArray
    from trpose_ros.nodes.base import conversions
    from trpose_ros.nodes.lifter_node import LifterNode

    weights = save_lifter(tmp_path / 'weights.safetensors', name)
    with live() as world:
        out = world.listen('lifter_node/people', PersonArray)
        publisher = world.tester.create_publisher(PersonArray, 'people', 10)
        node = world.start(
            LifterNode,
            lifter=name,
            lifter_model=str(weights),
            look_ahead=2 if name == 'pstmo' else -1,
            camera_info_wait_s=0.0,
        )
        world.connected(node, 'people', 'lifter_node/people')
        for k in range(6):
            people = make_people(
                START_NS + k * STEP_NS,
                track_ids=np.array([0]),
                track_states=np.array([TrackState.TRACKED]),
                provenance=Provenance(estimator='fake', received_ns=START_NS, dropped_frames=0),
            )
            publisher.publish(conversions.make.people(people))
        world.wait(lambda: len(out) == 6)  # those at the end when nothing comes any more
        lifted = [messages.read_people(message) for message in out]
    assert {people.provenance.lifter for people in lifted} == {name}
    ahead = 2 if name == 'pstmo' else DEFAULT[name]
    assert {people.provenance.lookahead for people in lifted} == {ahead}
    assert all(np.isfinite(people.joints_m).all() for people in lifted)


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of the processor; to bring one over is fine."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        name = function.overloadpacket.__name__
        if name not in ('_to_copy', 'lift_fresh', 'detach'):
            assert {one.device.type for one in given} <= {'meta'}, name
        return function(*args, **(kwargs or {}))


def test_a_tensor_on_another_device_would_be_noticed():
    weight = torch.zeros(3, 4, device='meta')
    with OneDevice(), pytest.raises(AssertionError, match='mm'):
        torch.nn.functional.linear(torch.zeros(2, 4), weight)


@pytest.mark.parametrize('name', LIFTERS)
@pytest.mark.parametrize('look_ahead', [None, 0])
def test_a_core_makes_no_tensor_on_another_device(name, look_ahead):
    """Stands for a GPU: shapes are computed on the meta device, numbers are not."""
    model = build_network(name, LIFTERS[name]).eval().requires_grad_(False)
    with torch.device('meta'):
        slots, frames = torch.zeros(2, dtype=torch.long), torch.zeros(2, 17, 2)
    core = CORES[name](model.to('meta'), look_ahead)
    with OneDevice():
        core.reserve(2)
        core.start(slots, frames)
        assert core.step(slots, frames, 0) is None
        pose = core.step(slots, frames, 1)
    assert pose.shape == (2, 1, 17, 3)
    assert pose.device.type == 'meta'
    held = [value for value in vars(core).values() if isinstance(value, torch.Tensor)]
    assert {tensor.device.type for tensor in [*held, *core._rings]} == {'meta'}


def test_a_gpu_that_is_not_there_is_named():
    if torch.cuda.is_available():
        pytest.skip('this machine has a GPU, so nothing is refused')
    with pytest.raises(ValueError, match="device 'cuda' is not available"):
        create_lifter(LifterConfig(device='cuda'))
