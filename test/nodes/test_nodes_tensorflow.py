"""The pose node with a SavedModel: images in over DDS, people of the stand-in out."""

import sys

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

import tensorflow_stand_in
from live import START_NS, STEP_NS, collect_people, image, live
from metrabs_stand_in import PERSON_MM

from trpose_ros import cameras
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.pose_node import PoseNode
from trpose_ros.pipeline.pipeline import PipelineConfig, PoseStageConfig, build_pose_stage
from trpose_ros.recordings import messages


def test_the_live_node_runs_a_saved_model_with_its_own_detector(tmp_path, monkeypatch):
    """The estimator itself is tested with the real TensorFlow, too."""
    monkeypatch.setitem(sys.modules, 'tensorflow', tensorflow_stand_in.module())
    folder = tensorflow_stand_in.write(tmp_path / 'metrabs_stand_in')
    camera = cameras.camera_from_fov(640, 480, 60.0, assumed=False)
    with live() as world:
        received = collect_people(world)
        images, infos = world.camera_publishers()
        node = world.start(
            PoseNode,
            estimator='metrabs_tensorflow',
            model=str(folder),
            boxes='model',
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
    assert people.provenance.estimator == 'metrabs_tensorflow'
    assert people.provenance.weights_id.startswith('metrabs_stand_in@')
    pose = people.joints_m[0] - people.joints_m[0, 0]
    np.testing.assert_allclose(pose, PERSON_MM / 1000, atol=1e-3)


def test_an_estimator_that_finds_nobody_by_itself_says_so(tmp_path):
    from metrabs_stand_in import save_network, stand_in_network

    from trpose_ros.estimators import EstimatorConfig

    path = save_network(tmp_path / 'known.safetensors', stand_in_network()).path
    config = PipelineConfig(
        estimator=EstimatorConfig(model=str(path)), pose=PoseStageConfig(boxes='model')
    )
    with pytest.raises(ValueError, match=r"boxes 'model'.*metrabs_tensorflow"):
        build_pose_stage(config)
