"""The root fit: exact on exact data, robust to what is left out, honest about failure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.cameras import camera_from_fov, project
from trpose_ros.lifters import LifterConfig, create_lifter
from trpose_ros.lifters.root import fit_root, place_roots
from trpose_ros.people import Camera, JointState, People, RootSource
from trpose_ros.pipeline.lift_stage import LiftStage


def _skeletons(rng, count):
    joints = rng.normal(0, 0.35, (count, 17, 3))
    joints[:, 0] = 0
    return joints


def _cameras():
    matrix = np.array([[600.0, 0, 320], [0, 610, 235], [0, 0, 1]])
    return [
        camera_from_fov(640, 480, 60.0),
        Camera(640, 480, matrix, np.array([-0.2, 0.05, 0.001, -0.002, 0.0])),
        Camera(640, 480, matrix, np.array([0.01, -0.003, 0.001, 0.0]), 'fisheye'),
    ]


@pytest.mark.parametrize('camera', _cameras(), ids=['pinhole', 'radial', 'fisheye'])
def test_exact_projections_give_the_exact_root(camera):
    rng = np.random.default_rng(0)
    joints = _skeletons(rng, 40)
    roots = rng.uniform([-0.5, -0.5, 2.5], [0.5, 0.5, 7], (40, 3))
    pixels = project(joints + roots[:, None], camera)
    got, errors = fit_root(joints, pixels, camera)
    np.testing.assert_allclose(got, roots, atol=1e-5)
    assert errors.max() < 1e-3


@given(st.integers(0, 10_000))
def test_joints_left_out_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    camera = _cameras()[0]
    joints = _skeletons(rng, 3)
    roots = rng.uniform([-1, -1, 2.5], [1, 1, 6], (3, 3))
    pixels = project(joints + roots[:, None], camera)
    weights = np.ones((3, 17))
    weights[0, :8] = 0
    pixels[0, :8] += 500  # nonsense, but without weight
    weights[1, 3] = np.nan
    pixels[2, 5:] = np.nan  # missing
    got, errors = fit_root(joints, pixels, camera, weights)
    np.testing.assert_allclose(got, roots, atol=1e-6)
    assert errors.max() < 1e-4


def test_error_tells_a_wrong_skeleton_and_noise_is_averaged():
    rng = np.random.default_rng(1)
    camera = _cameras()[0]
    joints = _skeletons(rng, 100)
    roots = rng.uniform([-1, -1, 3], [1, 1, 5], (100, 3))
    pixels = project(joints + roots[:, None], camera) + rng.normal(0, 2, (100, 17, 2))
    got, errors = fit_root(joints, pixels, camera)
    assert 1.8 < errors.mean() < 2.9  # sqrt(2) * 2 px, less what the fit takes up
    assert np.abs(got[:, :2] - roots[:, :2]).mean() < 0.03
    assert np.abs(got[:, 2] - roots[:, 2]).mean() < 0.15
    _, wrong = fit_root(joints[::-1], pixels, camera)
    assert np.nanmedian(wrong) > 10 * errors.mean()


def test_too_little_to_go_by_is_nan_and_never_raises():
    camera = _cameras()[0]
    joints = _skeletons(np.random.default_rng(2), 4)
    pixels = project(joints + np.array([0, 0, 3]), camera)
    pixels[0, 2:] = np.nan  # two joints
    pixels[1] = np.nan
    pixels[2] = 100.0  # all in one point
    roots, errors = fit_root(joints, pixels, camera)
    assert np.isnan(roots[:3]).all()
    assert np.isnan(errors[:3]).all()
    np.testing.assert_allclose(roots[3], [0, 0, 3], atol=1e-6)
    # A point reflection looks the same from the other side: the exact fit is behind the camera.
    behind, _ = fit_root(-joints[3:], pixels[3:], camera)
    assert np.isnan(behind).all()
    empty, none = fit_root(np.zeros((0, 17, 3)), np.zeros((0, 17, 2)), camera)
    assert empty.shape == (0, 3)
    assert none.shape == (0,)


def test_bad_shapes_and_weights_are_named():
    camera = _cameras()[0]
    with pytest.raises(ValueError, match=r'\(2, 17, 3\)'):
        fit_root(np.zeros((1, 17, 2)), np.zeros((2, 17, 3)), camera)
    with pytest.raises(ValueError, match='weights must be'):
        fit_root(np.zeros((1, 17, 3)), np.zeros((1, 17, 2)), camera, np.ones(17))
    with pytest.raises(ValueError, match='negative'):
        fit_root(np.zeros((1, 17, 3)), np.zeros((1, 17, 2)), camera, -np.ones((1, 17)))


def _relative_people(camera, roots, joints, sources):
    """Return people whose skeletons stand at the origin but were seen at ``roots``."""
    return People.build(
        stamp_ns=1,
        frame_id='camera',
        skeleton='h36m_17',
        width=camera.width,
        height=camera.height,
        joints_px=project(joints + roots[:, None], camera),
        joints_m=joints,
        root_sources=np.array(sources, np.uint8),
    )


def test_relative_people_are_placed_and_say_how():
    rng = np.random.default_rng(3)
    camera = _cameras()[0]
    joints = _skeletons(rng, 4)
    roots = rng.uniform([-0.5, -0.5, 3], [0.5, 0.5, 6], (4, 3))
    sources = [RootSource.NONE, RootSource.NONE, RootSource.ESTIMATOR, RootSource.NONE]
    people = _relative_people(camera, roots, joints, sources)
    states = np.full((4, 17), JointState.VISIBLE, np.uint8)
    states[0, 5:9] = JointState.OCCLUDED
    pixels = people.joints_px.copy()
    pixels[0, 5:9] += 300  # predictions gone astray: they must not count
    states[3, 2:] = JointState.UNOBSERVED  # two joints are too few
    people = people.replace(joint_states=states, joints_px=pixels)
    trajectory = np.full((4, 3), np.nan)
    trajectory[1] = roots[1] + [0, 0, 0.1]
    placed = place_roots(people, trajectory, camera)
    assert placed.root_sources.tolist() == [
        RootSource.FIT,
        RootSource.TRAJECTORY,
        RootSource.ESTIMATOR,
        RootSource.NONE,
    ]
    np.testing.assert_allclose(placed.joints_m[0], joints[0] + roots[0], atol=1e-3)
    np.testing.assert_allclose(placed.joints_m[1], joints[1] + trajectory[1], atol=1e-5)
    np.testing.assert_array_equal(placed.joints_m[2:], people.joints_m[2:])
    assert placed.reprojection_errors_px[0] < 0.1
    assert placed.reprojection_errors_px[1] > 0.1
    assert len(place_roots(people.select(np.zeros(4, bool)), trajectory[:0], camera)) == 0


def test_people_known_in_2d_alone_get_a_position_from_the_lifted_skeleton():
    camera = _cameras()[0]
    body = np.array(STANDING)
    stage = LiftStage(lifter=create_lifter(LifterConfig(look_ahead=0)))
    for frame in range(5):
        at = np.array([[0.1 * frame, 0.1, 4.0]])
        people = _relative_people(camera, at, body[None], [RootSource.NONE]).replace(
            stamp_ns=frame * 33_333_333,
            joints_m=np.full((1, 17, 3), np.nan, np.float32),
            track_ids=np.array([5]),
            joint_states=np.full((1, 17), JointState.VISIBLE, np.uint8),
        )
        (result,) = stage.push(people, camera)
        assert result.root_sources[0] == RootSource.FIT
        assert np.isfinite(result.joints_m).all()
        assert result.joints_m[0, 0, 2] == pytest.approx(4.0, rel=0.25)  # size is not known
        assert result.joints_m[0, 0, 0] == pytest.approx(at[0, 0], abs=0.15)
        assert result.reprojection_errors_px[0] < 15


# Metres relative to the pelvis, camera axes (y down), h36m_17.
STANDING = [
    (0, 0, 0),
    (-0.13, 0, 0),
    (-0.13, 0.45, 0),
    (-0.13, 0.88, 0.03),
    (0.13, 0, 0),
    (0.13, 0.45, 0),
    (0.13, 0.88, 0.03),
    (0, -0.24, 0),
    (0, -0.5, 0),
    (0, -0.6, -0.05),
    (0, -0.72, 0),
    (0.16, -0.46, 0),
    (0.2, -0.18, 0),
    (0.22, 0.06, -0.05),
    (-0.16, -0.46, 0),
    (-0.2, -0.18, 0),
    (-0.22, 0.06, -0.05),
]
