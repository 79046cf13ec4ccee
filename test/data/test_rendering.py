"""The renderer without data packs: visibility, posing, training crops, scenes, splits."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_body import PlainBackgrounds, TinyStore, make_figure, make_rig, walking

from trpose_ros.data.rendering.backgrounds import procedural, scene_of, split_of
from trpose_ros.data.rendering.bodies import SHAPE_SPLITS
from trpose_ros.data.rendering.crops import Composer, CropConfig, project, reference_box
from trpose_ros.data.rendering.groups import SceneComposer, SceneConfig
from trpose_ros.data.rendering.hiding import (
    CONDITIONS,
    draw_fragment,
    hidden_rectangles,
    hide_beyond,
)
from trpose_ros.data.rendering.posing import pose_rig, rig_joints
from trpose_ros.data.rendering.rasterizer import random_light, render
from trpose_ros.data.rendering.sprites import joint_visibility, look_at

SIZE = (96, 128)
INTRINSICS = np.array([[90.0, 0, 47.5], [0, 90, 63.5], [0, 0, 1]])
BONES = [(0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (11, 12), (12, 13), (14, 15), (15, 16)]


@pytest.fixture(scope='module')
def store() -> TinyStore:
    return TinyStore()


def rest_pose():
    rig = make_rig()
    return rig_joints(rig, rig.heads[None], np.broadcast_to(np.eye(3), (1, 31, 3, 3)))


def picture(figures=1, distance=3.0, shift=(0.4, 0.0)):
    figure = make_figure(0.08)
    matrices = []
    for n in range(figures):
        bones = np.repeat(np.eye(3, 4, dtype=np.float32)[None], 31, axis=0)
        bones[:, :2, 3] = np.array(shift) * n + [0, 0.5 * n]
        matrices.append(bones)
    middle = np.array([0.0, 0.0, 0.95])
    position = middle - np.array([0, distance, 0])
    rotation = look_at(position, middle)
    light = random_light(np.random.default_rng(0))
    raster = render([figure] * figures, matrices, rotation, position, INTRINSICS, SIZE, light)
    return raster, rotation, position


def test_boxes_appear_where_their_joints_project_with_their_depth():
    raster, rotation, position = picture()
    seen = (make_rig().heads - position) @ rotation.T
    px = np.rint(project(seen, INTRINSICS)).astype(int)
    depth = raster.depth_m[px[:, 1], px[:, 0]]
    assert (raster.owner[px[:, 1], px[:, 0]] == 0).all()
    # The face of a box lies 8 cm in front of its centre, unless another box stands before it.
    assert (depth < seen[:, 2] - 0.07).all()
    alone = np.isclose(depth, seen[:, 2] - 0.08, atol=0.011)
    assert alone.sum() >= 15
    assert np.isinf(raster.depth_m[raster.owner < 0]).all()
    assert (raster.rgb[raster.owner < 0] == 0).all()
    assert np.isfinite(raster.rgb).all()
    assert raster.rgb.max() > 0.1


def test_the_left_hand_is_on_the_right_of_a_person_who_faces_the_camera():
    raster, _, _ = picture()
    red = (raster.rgb[..., 0] > 2 * raster.rgb[..., 1]) & (raster.owner >= 0)
    columns = np.flatnonzero(red.any(axis=0))
    assert columns.min() > SIZE[0] / 2 - 4


def test_the_nearer_person_hides_the_farther_one():
    raster, _, _ = picture(figures=2, shift=(0.0, 0.0))
    alone, _, _ = picture()
    assert (raster.owner[alone.owner == 0] == 0).all()
    assert (raster.owner == 1).any()  # smaller, so it shows between the boxes


def test_rendering_twice_gives_the_same_bytes():
    first, second = picture()[0], picture()[0]
    assert first.rgb.tobytes() == second.rgb.tobytes()
    assert first.depth_m.tobytes() == second.depth_m.tobytes()


def test_a_person_around_the_camera_does_no_harm():
    raster, _, _ = picture(distance=0.05)
    assert np.isfinite(raster.rgb).all()
    assert raster.depth_m.min() >= 0.08


def test_a_joint_behind_a_surface_is_not_visible():
    depth = np.full((20, 20), 2.0, np.float32)
    depth[:, 10:] = np.inf
    joints = np.zeros((39, 3))
    joints[:, 2] = 2.02  # flesh before it
    joints[1] = (0, 0, 3.0)  # far behind
    joints[2] = (0.9, 0, 2.02)  # where nothing was drawn
    joints[3] = (90, 0, 2.02)  # outside
    joints[4] = (0, 0, -1.0)  # behind the camera
    intrinsics = np.array([[10.0, 0, 8], [0, 10, 8], [0, 0, 1]])
    visible = joint_visibility(joints, intrinsics, depth)
    assert visible.tolist() == [True, False, False, False, False] + [True] * 34


def test_the_rest_pose_is_a_fixed_point():
    posed = pose_rig(make_rig(), rest_pose())
    assert np.allclose(posed.joints_m, rest_pose(), atol=1e-6)
    limbs = [make_rig().names.index(n) for n in ('LeftUpLeg', 'RightLeg', 'LeftArm', 'Hips')]
    assert np.allclose(posed.rotations[:, limbs], np.eye(3), atol=1e-6)


@given(seed=st.integers(0, 10_000), turn=st.floats(-3.1, 3.1))
@settings(max_examples=25)
def test_posing_keeps_bones_and_follows_directions(seed, turn):
    rng = np.random.default_rng(seed)
    motion = rest_pose() + rng.normal(0, 0.08, (5, 17, 3))
    c, s = np.cos(turn), np.sin(turn)
    motion = motion @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T
    posed = pose_rig(make_rig(), motion, rng)
    rotations = posed.rotations
    unit = np.swapaxes(rotations, -1, -2) @ rotations
    assert np.allclose(unit, np.eye(3), atol=1e-6)
    assert np.allclose(np.linalg.det(rotations), 1)
    rest = rest_pose()[0]
    for a, b in BONES[1:]:
        length = np.linalg.norm(posed.joints_m[:, b] - posed.joints_m[:, a], axis=1)
        assert np.allclose(length, np.linalg.norm(rest[b] - rest[a]), atol=1e-6)
    for a, b in [(1, 2), (2, 3), (11, 12), (12, 13), (15, 16)]:  # limbs follow exactly
        got, want = posed.joints_m[:, b] - posed.joints_m[:, a], motion[:, b] - motion[:, a]
        cosine = (got * want).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(want, axis=1)
        assert np.allclose(cosine, 1, atol=1e-9)


def test_posing_refuses_another_number_of_joints():
    with pytest.raises(ValueError, match=r'\(2, 16, 3\)'):
        pose_rig(make_rig(), np.zeros((2, 16, 3)))


def test_crops_show_the_person_where_their_labels_say(store):
    config = CropConfig(side=128, hidden=0, border=0, objects=0, people=0)
    composer = Composer(store, PlainBackgrounds(), config)
    for number in range(40):
        crop = composer.training_crop(number % 4, np.random.default_rng(number))
        assert crop.image.shape == (128, 128, 3)
        assert crop.image.dtype == np.uint8
        assert np.allclose(project(crop.joints_m, crop.intrinsics), crop.joints_px, atol=1e-2)
    crop = composer.test_crop(0, 'clean', np.random.default_rng(0))
    assert (crop.joints_px > 0).all()
    assert (crop.joints_px < 128).all()
    corner = crop.image[:4, :4].reshape(-1, 3).astype(float).mean(axis=0)
    column, row = np.rint(crop.joints_px).astype(int).T
    apart = np.abs(crop.image[row, column].astype(float) - corner).max(axis=1)
    assert (apart > 15).mean() > 0.8  # a box stands at nearly every joint


def test_a_mirrored_crop_swaps_left_and_right(store):
    config = CropConfig(loose=0, near=0, rotation_deg=0, hidden=0, border=0, objects=0, people=0)
    composer = Composer(store, PlainBackgrounds(), config)
    facing, wrists = set(), set()
    for number in range(40):
        crop = composer.training_crop(1, np.random.default_rng(number))
        left = crop.joints_m[4] - crop.joints_m[1]
        up = crop.joints_m[8] - crop.joints_m[0]
        facing.add(np.sign(np.cross(left, up)[2]))  # a mirror keeps who looks at the camera
        wrists.add(
            np.sign(crop.joints_m[13, 2] - crop.joints_m[16, 2])
        )  # and swaps the nearer hand
    assert len(facing) == 1
    assert len(wrists) == 2


def covered_by(hidden, clean):
    """Return where the person's pixels went black."""
    return (hidden.image == 0).all(axis=2) & (clean.image != 0).any(axis=2)


HARD = CropConfig(side=128, hidden=1, border=1, objects=1, people=1, furniture=1, coarse=1)


def test_masks_and_visible_joints_agree_with_the_picture(store):
    whole = CropConfig(side=128, hidden=0, border=0, objects=0, people=0)
    composer = Composer(store, PlainBackgrounds(), whole)
    for number in range(20):
        crop = composer.training_crop(number % 4, np.random.default_rng(number))
        column, row = np.rint(crop.joints_px).astype(int).T
        inside = (crop.joints_px > -0.51).all(axis=1) & (crop.joints_px < 127.51).all(axis=1)
        assert not (crop.visible & ~inside).any()
        seen = crop.visible & inside
        assert crop.mask[row[seen], column[seen]].mean() > 0.8  # joints lie inside the body
    hard = Composer(store, PlainBackgrounds(), HARD)
    fewer = 0
    for number in range(20):
        crop = hard.training_crop(number % 4, np.random.default_rng(number))
        black = (crop.image == 0).all(axis=2)
        fewer += crop.visible.sum() < 30
        assert (crop.mask & black).sum() < 0.02 * max(crop.mask.sum(), 100)
    assert fewer > 15


def test_crops_around_a_part_keep_their_labels_and_show_nothing_beyond(store):
    config = CropConfig(side=128, fragments=1, hidden=0, border=0, objects=0, people=0)
    composer = Composer(store, PlainBackgrounds(), config)
    outside = alone = 0
    for number in range(40):
        crop = composer.training_crop(number % 4, np.random.default_rng(number))
        assert np.allclose(project(crop.joints_m, crop.intrinsics), crop.joints_px, atol=1e-2)
        inside = (crop.joints_px > -0.5).all(axis=1) & (crop.joints_px < 127.5).all(axis=1)
        outside += (~inside).sum()
        assert not (crop.visible & ~inside).any()
        black = (crop.image == 0).all(axis=2)
        alone += black.any()
        assert not (crop.mask & black).sum() > 0.02 * max(crop.mask.sum(), 100)
    assert outside > 40 * 3
    assert alone > 20


@given(seed=st.integers(0, 2**32 - 1))
def test_a_fragment_is_a_part_at_one_side_of_the_box(seed):
    part = draw_fragment(np.random.default_rng(seed))
    size = part[2:] - part[:2]
    assert (part >= 0).all()
    assert (part <= 1).all()
    assert size.max() == 1
    assert 0.2 <= size.min() <= 0.75
    image, covered = np.full((64, 64, 3), 9, np.uint8), np.zeros((64, 64), bool)
    hide_beyond(image, np.array([8.0, 8, 56, 56]), part, covered)
    assert np.array_equal((image == 0).all(axis=2), covered)
    rows, columns = np.nonzero(~covered)
    shown = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    wanted = [0 if p == 0 else 64 if p == 1 else 8 + 48 * p for p in part]
    assert np.allclose(shown, wanted, atol=0.51)


@pytest.mark.parametrize('condition', CONDITIONS)
def test_conditions_hide_inside_the_crop_and_leave_the_rest(store, condition):
    composer = Composer(store, PlainBackgrounds(), CropConfig(side=128))
    clean = composer.test_crop(1, 'clean', np.random.default_rng(3))
    hidden = composer.test_crop(1, condition, np.random.default_rng(3))
    changed = (clean.image != hidden.image).any(axis=2)
    assert 0.02 < changed.mean() < 0.9
    assert (hidden.image[changed] == 0).all()
    assert np.array_equal(clean.joints_m, hidden.joints_m)
    assert clean.visible.sum() > hidden.visible.sum() >= 0
    assert not (hidden.mask & changed).any()
    assert not (hidden.visible & ~clean.visible).any()
    np.testing.assert_array_equal(hidden.mask, clean.mask & ~covered_by(hidden, clean))
    rectangles = hidden_rectangles(clean.box, condition, 128, np.random.default_rng(0), exact=True)
    assert (rectangles[:, 2:] > rectangles[:, :2]).all()


def test_an_unknown_condition_is_named():
    with pytest.raises(ValueError, match='fog'):
        hidden_rectangles(np.array([0, 0, 9, 9.0]), 'fog', 128, np.random.default_rng(0))
    with pytest.raises(ValueError, match='loose'):
        CropConfig(loose=1.5)
    box = reference_box(np.array([[0.0, 0.0], [10.0, 100.0]]))
    assert np.allclose(box, [-1.2, -12, 11.2, 106])


def test_scenes_box_what_can_be_seen(store):
    config = SceneConfig(width=160, height=120, objects=0, empty=0)
    composer = SceneComposer(store, PlainBackgrounds(), config)
    total = 0
    for number in range(30):
        scene = composer.scene(np.random.default_rng(number))
        again = composer.scene(np.random.default_rng(number))
        assert scene.image.tobytes() == again.image.tobytes()
        low, high = scene.boxes_px[:, :2], scene.boxes_px[:, :2] + scene.boxes_px[:, 2:]
        assert (low >= -0.5).all()
        assert (high <= [159.5, 119.5]).all()
        assert ((scene.seen > 0) & (scene.seen <= 1.3)).all()
        for row, (x, y, w, h) in enumerate(scene.boxes_px):
            ys, xs = np.nonzero(scene.owner == row)
            assert (xs.min() - 0.5, ys.min() - 0.5) == (x, y)
            assert (xs.max() + 0.5, ys.max() + 0.5) == (x + w, y + h)
        assert scene.owner.max(initial=-1) == len(scene.boxes_px) - 1
        assert (scene.owner == -2).any() == (len(scene.faint_px) > 0)
        total += len(scene.boxes_px)
    assert total > 25
    nobody = SceneComposer(store, PlainBackgrounds(), SceneConfig(empty=1.0))
    assert nobody.scene(np.random.default_rng(0)).boxes_px.shape == (0, 4)


def test_a_truncated_person_has_a_box_around_all_that_is_seen(store):
    alone = SceneConfig(width=160, height=120, objects=0, empty=0, most_people=1, largest=0.9)
    hidden = dataclasses.replace(alone, truncated=1.0)
    smaller = split = 0
    for number in range(40):
        whole, part = (
            SceneComposer(store, PlainBackgrounds(), config).scene(np.random.default_rng(number))
            for config in (alone, hidden)
        )
        if not len(whole.boxes_px) or not len(part.boxes_px):
            continue
        x, y, w, h = whole.boxes_px[0]
        a, b, c, d = part.boxes_px[0]
        assert a >= x
        assert b >= y
        assert a + c <= x + w
        assert b + d <= y + h
        assert part.seen[0] <= whole.seen[0]
        smaller += part.seen[0] < whole.seen[0]
        rows = np.flatnonzero((part.owner == 0).any(axis=1))
        split += len(rows) < np.ptp(rows) + 1  # a band is missing, and the box spans it
    assert smaller > 20
    assert split > 2


def test_people_behind_a_cover_do_not_count(store):
    config = SceneConfig(width=160, height=120, objects=0, empty=0, min_seen=1.0, smallest=2.0)
    composer = SceneComposer(store, PlainBackgrounds(), config)
    scenes = [composer.scene(np.random.default_rng(n)) for n in range(10)]
    assert sum(len(s.faint_px) for s in scenes) > sum(len(s.boxes_px) for s in scenes)


def test_splits_share_neither_bodies_nor_rooms():
    shapes = [set(SHAPE_SPLITS[name]) for name in ('train', 'val', 'test')]
    assert sum(map(len, shapes)) == len(set.union(*shapes)) == 40
    assert scene_of('pano_hall_3.jpg') == scene_of('pano_hall_0.jpg')
    drawn = {split_of(f'scene{i}') for i in range(200)}
    assert drawn == {'train', 'val', 'test'}
    image = procedural(30, 20, np.random.default_rng(0))
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8


def test_the_box_person_walks():
    assert walking(10).shape == (10, 17, 3)
