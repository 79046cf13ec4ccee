"""Rendered clips and the sample recording: exact truth, determinism, motions in sequence."""

import cv2
import numpy as np
import pytest
from tiny_body import walking

from trpose_ros.cameras import project
from trpose_ros.data.motion.packs import MotionPack
from trpose_ros.data.rendering.clips import Clip, ClipConfig, play
from trpose_ros.data.rendering.rooms import Room
from trpose_ros.data.rendering.sample_recording import SHIPPED, write_recording
from trpose_ros.data.rendering.sprites import look_at
from trpose_ros.people import Camera, JointState
from trpose_ros.recordings.bags import BagReader
from trpose_ros.recordings.messages import read_camera, read_image, read_people, stamp_ns


def pack() -> MotionPack:
    first, second = walking(40), walking(30) + np.array([5.0, 1.0, 0.0])
    return MotionPack(
        np.concatenate([first, second]).astype(np.float32),
        np.array([0, 40]),
        np.array([40, 30]),
        ('walk', 'walk2'),
        ('a', 'b'),
        ('test', 'test'),
        30.0,
    )


def test_one_motion_plays_from_the_origin_and_back():
    path = play(pack(), 'walk', 100)
    assert path.shape == (100, 17, 3)
    assert np.allclose(path[0, 0, :2], 0)
    assert np.allclose(path[78], path[0], atol=1e-5)  # there and back again
    assert np.allclose(path[39 + 7], path[39 - 7], atol=1e-5)


def test_motions_follow_each_other_without_a_jump():
    path = play(pack(), 'walk+walk2', 58)  # 40 + 30 - 12 cross-faded
    steps = np.linalg.norm(np.diff(path, axis=0), axis=-1)
    alone = np.linalg.norm(np.diff(walking(40), axis=0), axis=-1).max()
    assert steps.max() < 2 * alone
    assert path[-1, 0, 1] < -1.5  # both walked on in one direction


def test_an_unknown_motion_is_named():
    with pytest.raises(ValueError, match="no motion 'fly'"):
        play(pack(), 'walk+fly', 10)


def test_a_room_darkens_under_feet_only():
    camera = Camera(64, 48, np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]]))
    position = np.array([0.0, -4.0, 1.2])
    rotation = look_at(position, np.array([0.0, 0.0, 0.8]))
    picture = np.full((20, 30, 3), 200, np.uint8)
    room = Room(camera, rotation, position, 5.0, picture, np.random.default_rng(0))
    joints = walking(1)[0]
    shaded = room.with_shadow([joints])
    assert shaded.shape == (48, 64, 3)
    assert (shaded <= room.image + 1e-3).all()
    feet = project((joints[[3, 6]] - position) @ rotation.T, camera)
    column, row = np.rint(feet.mean(axis=0)).astype(int)
    assert shaded[row, column].sum() < 0.85 * room.image[row, column].sum()
    assert np.allclose(shaded[:10], room.image[:10])  # the wall


def clip(**changes) -> Clip:
    values = {'seconds': 1.0, 'width': 160, 'height': 120, 'seed': 5}
    return Clip(ClipConfig(**(values | changes)))


def test_truth_is_consistent_and_drawing_is_repeatable(shared_dir):
    moving = clip(motions=('accad_Model01_Female-Walk_to_stand',))
    assert len(moving) == 30
    frame, people = moving.draw(12)
    again, _ = clip(motions=('accad_Model01_Female-Walk_to_stand',)).draw(12)
    assert frame.image.tobytes() == again.image.tobytes()
    assert frame.stamp_ns == people.stamp_ns == moving.stamp_ns(12)
    assert moving.stamp_ns(12) - moving.stamp_ns(0) == 400_000_000
    assert np.allclose(project(people.joints_m, frame.camera), people.joints_px, atol=1e-3)
    assert (people.joint_states == JointState.VISIBLE).sum() >= 8
    assert np.allclose(people.joints_m[0], moving.joints_m(12)[0], atol=1e-5)
    low, size = people.boxes_px[0, :2], people.boxes_px[0, 2:]
    inside = (people.joints_px[0] > low) & (people.joints_px[0] < low + size)
    assert inside.all()
    # The person differs from the empty room where the hips are.
    x, y = np.rint(people.joints_px[0, 0]).astype(int)
    owner = moving.owner(12)
    assert owner.shape == frame.image.shape[:2]
    assert owner[y, x] == 0
    rows, columns = np.nonzero(owner == 0)
    assert np.abs([columns.min(), rows.min()] - low).max() < 3
    assert np.abs([columns.max(), rows.max()] - low - size).max() < 3
    room = moving._back.image[y, x]
    assert np.abs(frame.image[y, x] - room).max() > 10


def test_near_cameras_cut_people_off_and_whole_ones_do_not(shared_dir):
    motions = ('accad_Model01_Female-Walk_to_stand',)
    whole = clip(motions=motions).truth(5)
    assert whole.visible_fractions[0] == 1.0
    assert whole.cut_edges[0] == 0
    near = clip(motions=motions, framing='near').truth(5)
    assert near.visible_fractions[0] < 1.0
    assert (near.joint_states == JointState.TRUNCATED).any()
    assert near.cut_edges[0] != 0


def test_people_keep_apart_and_their_ids(shared_dir):
    moving = clip(motions=('cmu_14_19', 'cmu_14_29'), seconds=0.5)
    for index in (0, 14):
        people = moving.truth(index)
        assert people.track_ids.tolist() == [0, 1]
        apart = np.linalg.norm(people.joints_m[0, 0] - people.joints_m[1, 0])
        assert apart > 0.5


def test_things_hide_what_is_behind_them(shared_dir):
    plain, hidden = clip(seconds=0.5), clip(seconds=0.5, things=6)
    before, after = plain.truth(7), hidden.truth(7)
    np.testing.assert_array_equal(before.joints_m, after.joints_m)
    visible, still = (p.joint_states[0] == JointState.VISIBLE for p in (before, after))
    assert still.sum() < visible.sum()
    assert not (still & ~visible).any()
    mine, rest = plain.owner(7) == 0, hidden.owner(7) == 0
    assert 0 < rest.sum() < mine.sum()
    assert not (rest & ~mine).any()
    assert set(np.unique(hidden.owner(7))) <= {-1, 0}
    changed = np.abs(plain.draw(7)[0].image.astype(int) - hidden.draw(7)[0].image).max(axis=2)
    assert (changed[mine & ~rest] > 0).mean() > 0.9


def test_an_open_shutter_blurs_what_moves_and_a_lens_everything(shared_dir):
    quick = {'motions': ('accad_Model01_Female-Run',), 'seconds': 1.0, 'noise': 0.0}
    sharp, slow, soft = clip(**quick), clip(**quick, exposure=1.0), clip(**quick, lens_blur_px=2.0)
    images = [one.draw(12)[0].image.astype(int) for one in (sharp, slow, soft)]
    np.testing.assert_array_equal(sharp.truth(12).joints_px, slow.truth(12).joints_px)
    body = sharp.owner(12) == 0
    apart = np.abs(images[1] - images[0]).max(axis=2)
    assert apart[body].mean() > 1
    far = ~cv2.dilate(body.astype(np.uint8), np.ones((61, 61))).astype(bool)
    assert apart[far].max() == 0  # the room stands still
    edges = [np.abs(np.diff(image, axis=1)).mean() for image in (images[0], images[2])]
    assert edges[1] < 0.7 * edges[0]


def test_bad_settings_are_named(shared_dir):
    with pytest.raises(ValueError, match='no_such'):
        clip(background='no_such.jpg')
    with pytest.raises(ValueError, match='framing'):
        ClipConfig(framing='far')
    with pytest.raises(IndexError, match='30'):
        clip().draw(30)


def test_a_recording_holds_what_was_drawn(shared_dir, tmp_path):
    moving = clip(seconds=0.2)
    seen = []
    tick = {'progress': lambda *so_far: seen.append(so_far)}
    assert write_recording(moving, tmp_path / 'clip.mcap', **tick) == 6
    assert seen == [(done, 6) for done in range(1, 7)]
    with BagReader(tmp_path / 'clip.mcap') as bag:
        messages = list(bag.messages())
        assert not bag.problems
    people = [read_people(m.message) for m in messages if m.msgtype.endswith('PersonArray')]
    images = [m.message for m in messages if m.msgtype.endswith('CompressedImage')]
    assert len(people) == len(images) == 6
    frame, truth = moving.draw(3)
    assert np.allclose(people[3].joints_m, truth.joints_m, atol=1e-5)
    assert stamp_ns(images[3]) == frame.stamp_ns
    difference = read_image(images[3]).astype(float) - frame.image
    assert np.abs(difference).mean() < 6


def test_the_shipped_recording_is_small_and_complete():
    assert SHIPPED.stat().st_size < 2_500_000
    people, stamps, cameras = [], [], []
    with BagReader(SHIPPED) as bag:
        for entry in bag.messages():
            if entry.msgtype.endswith('PersonArray'):
                people.append(read_people(entry.message))
            elif entry.msgtype.endswith('CompressedImage'):
                stamps.append(stamp_ns(entry.message))
            elif entry.msgtype.endswith('CameraInfo'):
                cameras.append(read_camera(entry.message))
        assert not bag.problems
    assert len(people) == len(stamps) == len(cameras) == 132
    assert np.allclose(np.diff(stamps), 1e9 / 30, atol=1)
    assert [p.stamp_ns for p in people] == stamps
    assert (cameras[0].width, cameras[0].height) == (640, 480)
    for one in people:
        assert len(one) == 1
        assert np.allclose(project(one.joints_m, cameras[0]), one.joints_px, atol=0.01)
    speed = np.linalg.norm(np.diff([p.joints_m[0, 0] for p in people], axis=0), axis=1) * 30
    assert 0.2 < speed.mean() < 2.0
    # The chest is turned to the camera, but for the moment of bending down.
    joints = np.stack([p.joints_m[0] for p in people])
    to_the_left = joints[:, 4] - joints[:, 1] + joints[:, 11] - joints[:, 14]
    chest = np.cross(to_the_left, joints[:, 8] - joints[:, 0])
    to_camera = -joints[:, 0]
    cosine = (chest * to_camera).sum(axis=1)
    cosine /= np.linalg.norm(chest, axis=1) * np.linalg.norm(to_camera, axis=1)
    assert (cosine > np.cos(np.radians(45))).mean() > 0.7
    assert cosine.min() > 0
