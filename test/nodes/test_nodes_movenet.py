"""The pose node with the plain 2D estimator: images in over DDS, people without metric 3D out."""

import json

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

import torch
from live import START_NS, STEP_NS, collect_people, image, live
from movenet_stand_in import small_movenet

from trpose_ros import cameras, weights
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.pose_node import PoseNode
from trpose_ros.people import RootSource
from trpose_ros.recordings import messages
from trpose_ros.training.metrabs.batches import half_precision


def test_the_live_node_runs_the_plain_2d_estimator(tmp_path):
    model = small_movenet()
    torch.nn.init.constant_(model.heatmaps[-1].bias, 2.0)  # random, but sure of something
    meta = {
        'architecture': 'movenet',
        'config': json.dumps(model.config.to_dict()),
        'skeleton': 'coco_17',
        'licence': 'none',
        'training_data': 'none',
        'measured_error': 'none',
    }
    file = weights.save(tmp_path / 'plain.safetensors', half_precision(model), meta)
    camera = cameras.camera_from_fov(640, 480, 60.0, assumed=False)
    with live() as world:
        received = collect_people(world)
        images, infos = world.camera_publishers()
        node = world.start(
            PoseNode,
            estimator='movenet',
            model=str(file.path),
            boxes='image',
            camera_info_wait_s=0.0,
        )
        world.connected(node, 'image', 'camera_info', 'pose_node/people')
        for k in range(3):
            stamp = START_NS + k * STEP_NS
            infos.publish(conversions.make.camera_info(camera, stamp, 'optical'))
            images.publish(image(stamp))
            world.wait(lambda k=k: len(received) > k)
        people = messages.read_people(received[-1])
        errors = node.statistics.errors
    assert errors == 0
    assert len(people) == 1
    assert people.track_ids.tolist() == [0]
    assert people.provenance.estimator == 'movenet'
    assert people.provenance.weights_id.startswith('plain@')
    assert people.root_sources.tolist() == [RootSource.NONE]
    assert np.isnan(people.joints_m).all()
    assert np.isfinite(people.joints_px).all()
    assert ((people.joint_scores >= 0) & (people.joint_scores <= 1)).all()
