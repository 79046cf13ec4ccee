"""Truncation conditions of protocol v1: seeds, geometry, pixels, realisations, random access."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trpose_ros.cameras import camera_from_fov, project
from trpose_ros.occlusion.occluder import (
    FILLS,
    FIVE,
    PROFILES,
    OcclusionConfig,
    hidden_joints,
    joints_in,
    make_occluder,
    reference_boxes,
    seed_of,
    union_box,
)
from trpose_ros.people import Frame

WIDTH, HEIGHT = 160, 120
CAMERA = camera_from_fov(WIDTH, HEIGHT)
IMAGE = np.random.default_rng(0).integers(1, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
BOX = np.array([39.5, 11.5, 80.0, 96.0])  # on pixel borders: 4 columns of 20, 6 rows of 16 px
ODD_BOX = np.array([42.8, 9.3, 81.7, 96.4])
MS = 1_000_000
IDENTITY = 'rendered|s1|walk|0'
GOLDEN = [  # the first hidden rectangle of each of the five at 40 ms
    [79.5, 27.5, 20.0, 16.0],
    [58.5, 21.5, 40.0, 48.0],
    [-0.5, -0.5, 160.0, 44.0],
    [-0.5, 43.5, 160.0, 32.0],
    [-0.5, 75.5, 160.0, 44.0],
]
CASES = [(name, i) for name, p in PROFILES.items() for i in range(len(p.labels))]
CROPS = [name for name, profile in PROFILES.items() if profile.keep is not None]


def frame(stamp_ms=0):
    return Frame(image=IMAGE, stamp_ns=stamp_ms * MS, camera=CAMERA)


def occluder(profile, severity=-1, *, static_box_px=None, start_ns=0, **changes):
    config = OcclusionConfig(profile=profile, severity=severity, **changes)
    return make_occluder(config, IDENTITY, static_box_px, start_ns)


def mask_of(rectangles):
    """Mark the pixels whose centres lie in a rectangle, independently of the painter."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    mask = np.zeros((HEIGHT, WIDTH), int)
    for left, top, width, height in rectangles:
        mask += (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
    return mask


def test_the_protocol_by_name():
    labels = {name: profile.labels for name, profile in PROFILES.items()}
    assert labels['random_box'] == ('3', '6', '9', '12')
    assert labels['moving_box'] == ('0.35', '0.5', '0.65')
    for name in ('fixed_upper', 'fixed_middle', 'fixed_lower'):
        assert labels[name] == ('1/4', '1/3', '1/2')
    assert labels['blackout'] == ('0.2', '0.5', '1.0', '2.0')
    main = {name: PROFILES[name].labels[PROFILES[name].main] for name in FIVE}
    assert main == {
        'random_box': '6',
        'moving_box': '0.5',
        'fixed_upper': '1/3',
        'fixed_middle': '1/3',
        'fixed_lower': '1/3',
    }


@pytest.mark.parametrize(('name', 'severity'), CASES)
@pytest.mark.parametrize('draw', [0, 1, 2])
def test_seed_is_the_hash_of_the_protocol(name, severity, draw):
    text = f'v1|h36m|S9|Walking 1|54138969|{name}|{PROFILES[name].labels[severity]}|{draw}'
    digest = hashlib.sha256(text.encode()).hexdigest()
    config = OcclusionConfig(profile=name, severity=severity, draw=draw)
    assert seed_of(config, 'h36m|S9|Walking 1|54138969') == int(digest[:16], 16)


def test_draws_are_pcg64s_own():
    # key 40 (ms) of the stream: the first 24-cell draw after 40 * 2^24 values
    stream = np.random.PCG64(seed_of(OcclusionConfig('random_box'), IDENTITY))
    stream.advance(40 << 24)
    cells = np.random.Generator(stream).choice(24, 6, replace=False)
    expected = {(39.5 + 20 * (c % 4), 11.5 + 16 * (c // 4), 20.0, 16.0) for c in cells.tolist()}
    rectangles = occluder('random_box').rectangles(WIDTH, HEIGHT, BOX, 40 * MS)
    assert {tuple(r) for r in rectangles.tolist()} == expected


def test_masks_of_today_are_masks_of_tomorrow():
    # The study's masks must never change: these numbers were written down once.
    rows = [occluder(name).rectangles(WIDTH, HEIGHT, BOX, 40 * MS) for name in FIVE]
    assert [row[0].tolist() for row in rows] == GOLDEN


@pytest.mark.parametrize(('name', 'severity'), CASES)
@pytest.mark.parametrize('anchor', ['person', 'image'])
def test_rectangles_are_disjoint_whole_pixels_in_the_image(name, severity, anchor):
    cover = occluder(name, severity, anchor=anchor, static_box_px=BOX)
    for stamp_ms in (0, 33, 500, 1999, 4040, -70):
        rectangles = cover.rectangles(WIDTH, HEIGHT, ODD_BOX, stamp_ms * MS)
        assert rectangles.shape[1:] == (4,)
        assert mask_of(rectangles).max(initial=0) <= 1
        assert (rectangles[:, 2:] >= 1).all()
        low, high = rectangles[:, :2], rectangles[:, :2] + rectangles[:, 2:]
        assert (low >= -0.5).all()
        assert (high <= (WIDTH - 0.5, HEIGHT - 0.5)).all()
        np.testing.assert_array_equal(np.mod(rectangles[:, :2], 1), 0.5)
        if anchor == 'image':  # static: wherever the person goes
            again = cover.rectangles(WIDTH, HEIGHT, BOX + 11.0, stamp_ms * MS)
            np.testing.assert_array_equal(again, rectangles)


@pytest.mark.parametrize(('name', 'severity'), CASES)
@pytest.mark.parametrize('fill', FILLS)
def test_fill_changes_the_hidden_pixels_and_no_others(name, severity, fill):
    cover = occluder(name, severity, realisation='fill', fill=fill)
    before = IMAGE.copy()
    for stamp_ms in (0, 1000, 2000):
        out = cover.apply(frame(stamp_ms), BOX)
        mask = mask_of(out.rectangles_px) > 0
        np.testing.assert_array_equal(IMAGE, before)
        np.testing.assert_array_equal(out.frame.image[~mask], IMAGE[~mask])
        hidden = out.frame.image[mask]
        if fill == 'black':
            assert (hidden == 0).all()
        elif fill == 'mean':
            assert (hidden == (124, 116, 104)).all()
        else:
            assert mask.sum() < 50 or (hidden != IMAGE[mask]).mean() > 0.9
        assert out.frame.camera is CAMERA
        assert (out.offset_px, out.original_size) == ((0, 0), (WIDTH, HEIGHT))
        box = mask_of([BOX]) > 0
        assert out.hidden_fraction == pytest.approx(mask[box].mean(), abs=1e-9)


@pytest.mark.parametrize('name', CROPS)
def test_crop_cuts_pixels_and_shifts_the_intrinsics(name):
    points = np.random.default_rng(1).uniform((-1, -1, 2), (1, 1, 4), (20, 3))
    for severity, stamp_ms in itertools.product(range(len(PROFILES[name].labels)), (0, 700, 1900)):
        cover = occluder(name, severity, realisation='crop')
        out = cover.apply(frame(stamp_ms), BOX)
        x, y = out.offset_px
        cam = out.frame.camera
        part = IMAGE[y : y + cam.height, x : x + cam.width]
        np.testing.assert_array_equal(out.frame.image, part)
        shifted = project(points, cam) + out.offset_px
        np.testing.assert_allclose(shifted, project(points, CAMERA), atol=1e-9)
        assert mask_of(out.rectangles_px).sum() == WIDTH * HEIGHT - cam.width * cam.height
        filled = occluder(name, severity, realisation='fill').apply(frame(stamp_ms), BOX)
        np.testing.assert_array_equal(filled.rectangles_px, out.rectangles_px)  # the same masks


@pytest.mark.parametrize('severity', range(4))
def test_random_box_fills_n_different_cells(severity):
    n = (3, 6, 9, 12)[severity]
    cover = occluder('random_box', severity)
    seen = set()
    for step in range(40):
        rectangles = cover.rectangles(WIDTH, HEIGHT, BOX, step * 20 * MS)
        cells = {((r[0] - 39.5) / 20, (r[1] - 11.5) / 16) for r in rectangles.tolist()}
        assert len(cells) == n
        assert cells <= set(itertools.product(range(4), range(6)))
        seen.add(frozenset(cells))
    assert len(seen) == 40  # drawn anew in every frame


def test_random_box_is_uniform():
    cover, counts = occluder('random_box'), np.zeros(24)
    for step in range(2000):
        for x, y, *_ in cover.rectangles(WIDTH, HEIGHT, BOX, step * 20 * MS):
            counts[round((y - 11.5) / 16) * 4 + round((x - 39.5) / 20)] += 1
    # 500 expected in each cell, standard deviation sqrt(2000 * 1/4 * 3/4) = 19
    assert np.abs(counts - 500).max() < 5 * 19.4


@pytest.mark.parametrize(('hold', 'expected'), [('half_second', 4), ('sequence', 1)])
def test_random_box_holds(hold, expected):
    cover = occluder('random_box', hold=hold)
    draws = [cover.rectangles(WIDTH, HEIGHT, BOX, t * 20 * MS).tobytes() for t in range(100)]
    assert len(set(draws)) == expected  # 2 s
    assert [a != b for a, b in itertools.pairwise(draws)].count(True) == expected - 1


@pytest.mark.parametrize('severity', range(3))
def test_moving_box_keeps_inside_and_repeats(severity):
    share = (0.35, 0.5, 0.65)[severity]
    cover = occluder('moving_box', severity)
    rows = []
    for t in range(0, 26_000, 10):
        rectangles = cover.rectangles(1600, 1200, 10 * BOX, t * MS)
        assert len(rectangles) == 1
        rows.append(rectangles[0])
    rows = np.array(rows)
    np.testing.assert_allclose(rows[:, 2:] / (800, 960), share, atol=2e-3)
    low, high = rows[:, :2], rows[:, :2] + rows[:, 2:]
    assert (low >= 10 * BOX[:2] - 1).all()
    assert (high <= 10 * (BOX[:2] + BOX[2:]) + 1).all()
    room = np.ptp(low, axis=0)  # reaches all of it
    np.testing.assert_allclose(room, (1 - share) * 10 * BOX[2:], atol=8)
    np.testing.assert_array_equal(low[:400, 0], low[400:800, 0])  # 4.0 s in x
    np.testing.assert_array_equal(low[:520, 1], low[520:1040, 1])  # 5.2 s in y
    speed = np.abs(np.diff(low[:, 0]))  # a triangle wave has one speed
    assert np.median(speed) == pytest.approx((1 - share) * 800 / 200, abs=1)


@pytest.mark.parametrize('severity', range(3))
def test_fixed_regions_by_hand(severity):
    f = (1 / 4, 1 / 3, 1 / 2)[severity]
    top, height = 11.5, 96.0
    expected = {
        'fixed_upper': (-0.5, top + f * height),
        'fixed_middle': (top + (0.5 - f / 2) * height, top + (0.5 + f / 2) * height),
        'fixed_lower': (top + height - f * height, HEIGHT - 0.5),
    }
    for name, (y0, y1) in expected.items():
        for t in (0, 777):
            rows = occluder(name, severity).rectangles(WIDTH, HEIGHT, BOX, t * MS)
            np.testing.assert_allclose(rows, [[-0.5, y0, WIDTH, y1 - y0]], atol=0.5 + 1e-9)
    left = occluder('fixed_left', severity).rectangles(WIDTH, HEIGHT, BOX, 0)
    np.testing.assert_allclose(left, [[-0.5, -0.5, 40 + f * 80, HEIGHT]], atol=0.5 + 1e-9)
    right = occluder('fixed_right', severity).rectangles(WIDTH, HEIGHT, BOX, 0)
    x0 = 119.5 - f * 80
    np.testing.assert_allclose(right, [[x0, -0.5, WIDTH - 0.5 - x0, HEIGHT]], atol=0.5 + 1e-9)


# Standing upright in the image, arms at 20 degrees; shares of the height, h36m_17.
STANDING = np.array(
    [
        *[(0, 0.48), (-0.07, 0.48), (-0.07, 0.73), (-0.07, 0.96)],
        *[(0.07, 0.48), (0.07, 0.73), (0.07, 0.96), (0, 0.33), (0, 0.19), (0, 0.11), (0, 0.03)],
        *[(0.1, 0.2), (0.16, 0.36), (0.2, 0.49), (-0.1, 0.2), (-0.16, 0.36), (-0.2, 0.49)],
    ]
)


def test_near_crop_cuts_about_forty_percent():
    joints = STANDING * 400 + (320, 30)
    box = reference_boxes(joints[None])[0]
    cover = make_occluder(OcclusionConfig('near_crop'), IDENTITY)
    image = Frame(np.zeros((480, 640, 3), np.uint8), 0, camera_from_fov(640, 480))
    out = cover.apply(image, box)
    # zoomed 1.5 times from the framing in which the box fills the image's height
    view = box[3] / 1.5
    assert out.frame.camera.width == pytest.approx(view * 4 / 3, abs=1)
    bottom = out.offset_px[1] + out.frame.camera.height
    assert bottom == pytest.approx(box[1] + 0.28 * box[3] + view / 2, abs=1)
    assert out.hidden_fraction == pytest.approx(0.4, abs=0.03)
    hidden = hidden_joints(joints, out)
    assert np.flatnonzero(hidden).tolist() == [2, 3, 5, 6]  # knees and ankles


def test_entry_exit_sweeps_in_two_seconds_and_comes_back():
    sides = set()
    for draw in range(8):
        cover = occluder('entry_exit', draw=draw)
        shares = [cover.apply(frame(t), BOX).hidden_fraction for t in range(0, 4001, 100)]
        assert shares[0] == shares[40] == 0.0
        assert shares[20] > 0.95
        assert (np.diff(shares[:21]) >= 0).all()
        assert (np.diff(shares[20:]) <= 0).all()
        assert shares[10] == pytest.approx(0.5, abs=0.02)
        sides.add(cover.apply(frame(1000), BOX).offset_px[0] > 0)
    assert sides == {True, False}


@pytest.mark.parametrize('severity', range(4))
def test_blackout_lasts_as_long_as_it_says(severity):
    length = (200, 500, 1000, 2000)[severity]
    cover = occluder('blackout', severity)
    dark = np.array(
        [len(cover.rectangles(WIDTH, HEIGHT, BOX, t * MS)) == 1 for t in range(0, 40_000, 10)]
    ).reshape(10, 400)
    np.testing.assert_allclose(dark.sum(axis=1), length / 10, atol=1)
    onsets = (np.diff(dark.astype(int), axis=1) == 1).sum(axis=1) + dark[:, 0]
    assert (onsets == 1).all()
    assert len(set(dark.argmax(axis=1).tolist())) > 5  # at drawn moments


@given(st.data())
@settings(max_examples=30)
def test_order_and_number_of_frames_do_not_matter(data):
    name, severity = data.draw(st.sampled_from(CASES))
    fill = data.draw(st.sampled_from(FILLS))
    stamps = data.draw(st.lists(st.integers(0, 10**7), min_size=1, max_size=5, unique=True))
    one = occluder(name, severity, fill=fill)
    straight = {t: one.apply(frame(t), BOX) for t in stamps}
    for t in reversed(stamps):
        again = occluder(name, severity, fill=fill).apply(frame(t), BOX)
        np.testing.assert_array_equal(again.rectangles_px, straight[t].rectangles_px)
        np.testing.assert_array_equal(again.frame.image, straight[t].frame.image)


@given(
    st.sampled_from(CASES),
    st.tuples(*[st.floats(-500, 500)] * 2, *[st.floats(-10, 900)] * 2),
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_any_box_and_any_image_size(case, box, stamp_ms, width, height):
    image = np.full((height, width, 3), 7, np.uint8)
    small = Frame(image, stamp_ms * MS, camera_from_fov(width, height))
    out = occluder(*case).apply(small, np.array(box))
    assert out.frame.image.size > 0
    assert 0.0 <= out.hidden_fraction <= 1.0 + 1e-9
    assert hidden_joints(np.zeros((0, 17, 2)), out).shape == (0, 17)


def test_without_a_box_the_image_is_the_reference():
    for nothing in (None, np.full(4, np.nan), np.array([5.0, 5, 0, 10])):
        rows = occluder('fixed_upper').rectangles(WIDTH, HEIGHT, nothing, 0)
        np.testing.assert_allclose(rows, [[-0.5, -0.5, WIDTH, 40]])
    out = occluder('none').apply(frame(), BOX)
    assert out.frame.image is IMAGE
    assert out.rectangles_px.shape == (0, 4)


def test_hidden_joints_are_those_whose_pixel_is_painted():
    rng = np.random.default_rng(2)
    joints = rng.integers((-5, -5), (WIDTH + 5, HEIGHT + 5), (4, 500, 2)).astype(float)
    out = occluder('random_box', 3).apply(frame(), BOX)
    x, y = joints.astype(int)[..., 0], joints.astype(int)[..., 1]
    outside = (x < 0) | (y < 0) | (x >= WIDTH) | (y >= HEIGHT)
    black = (out.frame.image == 0).all(-1)
    painted = black[np.clip(y, 0, HEIGHT - 1), np.clip(x, 0, WIDTH - 1)]
    np.testing.assert_array_equal(hidden_joints(joints, out), outside | painted)
    assert hidden_joints(np.full((1, 2), np.nan), out).all()
    assert joints_in(np.zeros((3, 2)), np.zeros((0, 4)), 10, 10).tolist() == [False] * 3


def test_time_of_a_clip_starts_where_it_is_told():
    now = occluder('moving_box', start_ns=5_000 * MS).apply(frame(6_000), BOX)
    np.testing.assert_array_equal(
        now.rectangles_px, occluder('moving_box').apply(frame(1_000), BOX).rectangles_px
    )
    given_time = occluder('moving_box').apply(frame(77), BOX, time_s=1.0)
    np.testing.assert_array_equal(given_time.rectangles_px, now.rectangles_px)


def test_reference_boxes_by_hand():
    joints = np.array([[[10.0, 20], [30, 120], [20, 70]]]).repeat(3, axis=0)
    joints[1] += (9, 3)
    joints[2] = np.nan
    boxes = reference_boxes(joints, window=1)
    # 20 wide, 100 high: 12 % on top, 6 % below, 12 % at each side
    np.testing.assert_allclose(boxes[0], [7.6, 8, 24.8, 118])
    np.testing.assert_allclose(boxes[1], [16.6, 11, 24.8, 118])
    assert np.isnan(boxes[2]).all()
    smooth = reference_boxes(joints)  # one window for all: the mean of the two
    np.testing.assert_allclose(smooth, np.tile([12.1, 9.5, 24.8, 118], (3, 1)))
    np.testing.assert_allclose(union_box(boxes), [7.6, 8, 33.8, 121])
    assert np.isnan(union_box(np.zeros((0, 4)))).all()
    assert reference_boxes(np.zeros((0, 17, 2))).shape == (0, 4)


def test_reference_boxes_smooth_over_25_frames():
    joints = np.random.default_rng(0).normal(100, 20, (60, 17, 2))
    raw, smooth = reference_boxes(joints, window=1), reference_boxes(joints)
    centre = raw[:, :2] + raw[:, 2:] / 2
    np.testing.assert_allclose(smooth[30, :2] + smooth[30, 2:] / 2, centre[18:43].mean(axis=0))
    np.testing.assert_allclose(smooth[0, 2:], raw[:13, 2:].mean(axis=0))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'profile': 'fog'}, 'profile must be one of'),
        ({'profile': 'random_box', 'severity': 4}, r'severity must lie in -1\.\.3, got 4'),
        ({'profile': 'fixed_upper', 'severity': 3}, r'severities 0 to 2 \(1/4, 1/3, 1/2\), got 3'),
        ({'profile': 'fixed_upper', 'severity': -2}, 'got -2'),
        ({'profile': 'random_box', 'realisation': 'crop'}, 'cannot be cropped; only'),
        ({'fill': 'pink'}, "got 'pink'"),
        ({'anchor': 'moon'}, "anchor must be one of .*'person', 'image'.*got 'moon'"),
        ({'draw': -1}, r'draw must lie in 0\.\.99, got -1'),
    ],
)
def test_bad_configurations_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        OcclusionConfig(**changes)


def test_bad_identity_and_box_are_named():
    with pytest.raises(ValueError, match=r'dataset\|subject\|action\|camera'):
        make_occluder(OcclusionConfig('random_box'), 'walk')
    with pytest.raises(ValueError, match='shape'):
        occluder('random_box').apply(frame(), np.zeros(5))
