"""Sizes and cases that no reference file holds, against plain float64 formulas written here.

The formulas are those of the papers, in their slowest form: loops, full matrices, a general least
squares solver. Nothing of the package is used to compute what is expected.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trpose_ros.metrabs import warps
from trpose_ros.metrabs.augmentation import augmentation_table
from trpose_ros.metrabs.crops import box_views, crop_views
from trpose_ros.metrabs.heatmaps import HeatmapGeometry, decode
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.metrabs.reconstruction import reconstruct
from trpose_ros.people import Camera

SEEDS = st.integers(0, 2**32 - 1)
VARIANTS = [  # crop side, centred stride, legacy flag
    (256, True, False),
    (384, True, False),
    (384, False, False),
    (256, False, True),
]


def geometry_of(side, centred, legacy):
    return HeatmapGeometry(
        proc_side=side, stride=32, centered_stride=centred, legacy_centered_stride_bug=legacy
    )


# -- the network ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('size', 'side', 'joints', 'tensors', 'millions'),
    [
        ('s', 256, 24, 782, 20.45),
        ('s', 256, 555, 782, 26.58),
        ('m', 256, 24, 1120, 53.14),
        ('l', 384, 24, 1548, 117.5),
        ('l', 384, 555, 1548, 123.6),
        ('l', 384, 122, 1548, None),
    ],
)
def test_sizes_of_published_networks(size, side, joints, tensors, millions):
    """Number of tensors and parameters, as counted in the published networks."""
    config = MetrabsConfig(
        f'efficientnetv2-{size}', proc_side=side, stride=32, num_joints=joints, skeleton='custom'
    )
    with torch.device('meta'):
        network = Metrabs(config).eval()
        logits = network.logits(torch.zeros(1, 3, side, side))
    assert len(network.state_dict()) == tensors
    assert logits.shape == (1, 9 * joints, side // 32, side // 32)
    if millions is not None:
        count = sum(p.numel() for p in network.parameters()) / 1e6
        assert count == pytest.approx(millions, rel=1e-3)


@pytest.mark.parametrize(('side', 'centred', 'legacy'), VARIANTS)
@pytest.mark.parametrize('joints', [1, 122])
def test_decoding(side, centred, legacy, joints):
    cells, bins = side // 32, 8
    logits = np.random.default_rng(side + joints).normal(0, 3, (2, 9 * joints, cells, cells))
    shift = 16 * centred + 16 * legacy
    last = (side - 1) - (side - 1) % 32
    at = [shift + last * i / (cells - 1) for i in range(cells)]
    wanted2d, wanted3d = np.zeros((2, joints, 2)), np.zeros((2, joints, 3))
    for b in range(2):
        for j in range(joints):
            flat = np.exp(logits[b, j])
            flat /= flat.sum()
            wanted2d[b, j] = [
                sum(flat[:, i].sum() * at[i] for i in range(cells)),
                sum(flat[i].sum() * at[i] for i in range(cells)),
            ]
            volume = np.exp(logits[b, joints + j :: joints])  # depth outermost, joint innermost
            volume /= volume.sum()
            assert volume.shape == (bins, cells, cells)
            wanted3d[b, j] = [
                sum(volume[:, :, i].sum() * at[i] for i in range(cells)) * 2200 / side,
                sum(volume[:, i].sum() * at[i] for i in range(cells)) * 2200 / side,
                sum(volume[d].sum() * 2200 * d / (bins - 1) for d in range(bins)),
            ]
    found2d, found3d = decode(torch.from_numpy(logits), geometry_of(side, centred, legacy))
    np.testing.assert_allclose(found2d, wanted2d, atol=1e-9)
    np.testing.assert_allclose(found3d, wanted3d, atol=1e-9)


# -- absolute pose ----------------------------------------------------------------------------


def pose_by_formula(px, relative, matrix, view, batch=None):
    """One person by a general least-squares solver; RMS values of ``batch``, or of the person."""
    flat = np.linalg.solve(matrix, np.column_stack([px, np.ones(len(px))]).T).T[:, :2]
    seen = ((px >= view[0]) & (px <= view[1])).all(axis=1)
    right = flat * relative[:, 2:] - relative[:, :2]
    rms_flat, rms_right = batch or (np.sqrt((flat**2).mean()), np.sqrt((right**2).mean()))
    rows, targets = [], []
    for j in range(len(px)):
        weight = seen[j] + 1e-4
        rows.append(weight * np.array([1, 0, -flat[j, 0] / rms_flat]))
        rows.append(weight * np.array([0, 1, -flat[j, 1] / rms_flat]))
        targets += [weight * right[j, 0] / rms_right, weight * right[j, 1] / rms_right]
    rows += list(0.1 * np.eye(3))
    targets += [0, 0, 0]
    solution = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
    shift = solution * rms_right
    shift[2] /= rms_flat
    metric = relative + shift
    ray = np.column_stack([flat, np.ones(len(px))]) * metric[:, 2:]
    return np.where(seen[:, None], (metric + ray) / 2, metric), (flat, right)


def random_people(seed, side, joints, count=3):
    """People partly out of the trusted window; intrinsics with skew and two focal lengths."""
    rng = np.random.default_rng(seed)
    px = rng.uniform(0, side, (count, joints, 2))
    relative = rng.uniform(0, 2200, (count, joints, 3))
    matrix = np.zeros((count, 3, 3))
    matrix[:, 0, 0], matrix[:, 1, 1] = rng.uniform(100, 3000, (2, count))
    matrix[:, 0, 1] = rng.normal(0, 5, count)
    matrix[:, :2, 2], matrix[:, 2, 2] = side / 2, 1
    return px, relative, matrix


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, variant=st.sampled_from(VARIANTS), joints=st.sampled_from([2, 24, 122, 555]))
def test_absolute_pose(seed, variant, joints):
    side, centred, _ = variant
    px, relative, matrix = random_people(seed, side, joints)
    offset = 0 if centred else -16
    view = (24 + offset, side - 24 + offset)
    alone = [pose_by_formula(*person, view) for person in zip(px, relative, matrix, strict=True)]
    flats, rights = (np.array(parts) for parts in zip(*[a[1] for a in alone], strict=True))
    rms = (np.sqrt((flats**2).mean()), np.sqrt((rights**2).mean()))
    together = [
        pose_by_formula(*person, view, rms)[0] for person in zip(px, relative, matrix, strict=True)
    ]
    given_ = [torch.from_numpy(a) for a in (px, relative, matrix)]
    geometry = geometry_of(*variant)
    for wanted, compatible in (([a[0] for a in alone], False), (together, True)):
        found = reconstruct(*given_, geometry, compatible=compatible).abs_mm.numpy()
        np.testing.assert_allclose(found, np.array(wanted), rtol=1e-6, atol=1e-3)


# -- crops ------------------------------------------------------------------------------------


def view_by_formula(box, matrix, side, up):
    """Rotation and crop scale of a box without lens distortion."""
    x, y, w, h = box
    rays = [
        np.linalg.solve(matrix, [u, v, 1.0])
        for u, v in [
            (x + w / 2, y + h / 2),
            (x + w / 2, y),
            (x + w, y + h / 2),
            (x + w / 2, y + h),
            (x, y + h / 2),
        ]
    ]
    z = rays[0] / np.linalg.norm(rays[0])
    right = np.cross(z, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(z, right), z])
    seen = [matrix @ rotation @ ray for ray in rays[1:]]
    top, right_side, bottom, left = [p[:2] / p[2] for p in seen]
    size = max(np.linalg.norm(top - bottom), np.linalg.norm(right_side - left))
    return rotation, side / size


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-600, 1900),
    y=st.floats(-500, 1000),
    w=st.floats(1, 1300),
    h=st.floats(1, 1300),
    tilt=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)),
)
def test_views_of_extreme_boxes(x, y, w, h, tilt):
    """Slim, flat, tiny, larger than the image, beyond its edge; the camera held anyhow."""
    matrix = np.array([[900.0, 3.0, 655.0], [0, 870.0, 340.0], [0, 0, 1]])
    up = np.array([0.0, -1.0, 0.0]) + tilt
    axis = np.linalg.solve(matrix, [x + w / 2, y + h / 2, 1.0])
    sine = np.linalg.norm(np.cross(axis, up)) / np.linalg.norm(axis) / max(np.linalg.norm(up), 1e-9)
    if sine < 1e-3:
        return  # along the up axis: the case of the next test
    with np.errstate(divide='ignore', invalid='ignore'):
        rotation, scale = view_by_formula((x, y, w, h), matrix, 384, up)
    view = box_views(np.array([[x, y, w, h]]), Camera(1280, 720, matrix), 384, up)
    if view.problem[0]:  # an edge of the box lies more than 90 degrees from its centre
        return
    np.testing.assert_allclose(view.rotation[0], rotation, atol=1e-9)
    np.testing.assert_allclose(view.scale[0], scale, rtol=1e-9)


@pytest.mark.parametrize('angle_deg', [0.0, 1e-7, 1e-5, 0.001, 0.1, 5.0])
@pytest.mark.parametrize('sign', [1, -1])
def test_views_near_the_up_axis_are_sound_rotations_of_the_right_scale(angle_deg, sign):
    """A ceiling camera: the roll is free there, everything else is not."""
    matrix = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    turn = np.deg2rad(angle_deg)
    up = sign * np.array([np.sin(turn), 0.0, np.cos(turn)])
    view = box_views(np.array([[280.0, 220, 80, 40]]), Camera(640, 480, matrix), 256, up)
    rotation = view.rotation[0]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(rotation[2], [0, 0, 1], atol=1e-12)
    roll = np.arctan2(rotation[0, 1], rotation[0, 0])
    # The distance between the middles of two sides does not change when the view rolls.
    assert view.scale[0] == pytest.approx(256 / 80, rel=1e-9), f'roll {roll}'


def sampled_by_formula(image, x, y, level):
    """Bilinear value in linear light, black beyond, of the box-filtered pyramid's ``level``."""
    linear = (image.astype(np.float64) / 255) ** 2.2
    for _ in range(level):
        height, width = linear.shape[0] // 2 * 2, linear.shape[1] // 2 * 2
        linear = linear[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    x, y = (x + 0.5) / 2**level - 0.5, (y + 0.5) / 2**level - 0.5
    value = np.zeros(3)
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < linear.shape[0] and 0 <= column < linear.shape[1]:
                value += (1 - abs(x - column)) * (1 - abs(y - row)) * linear[row, column]
    return value


@pytest.mark.parametrize(
    ('box', 'level'),
    [
        ([100.0, 40, 60, 150], 0),
        ([-300.0, -200, 900, 800], 1),  # larger than the image
        ([300.0, 230, 20, 10], 0),  # next to nothing, enlarged
        ([-700.0, -900, 1700, 1900], 2),
    ],
)
def test_pixels_of_large_crops(box, level):
    side, camera = 384, Camera(320, 240, [[300.0, 2, 155], [0, 310, 122], [0, 0, 1]])
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    rotation, scale = view_by_formula(box, camera.matrix, side, np.array([0, -1.0, 0]))
    table = augmentation_table(3, 'pytorch')
    views = crop_views(box_views(np.array([box]), camera, side), camera, side, table)
    crops = warps.render(warps.pyramid(image), camera, views, table.gamma, compatible=True)
    rng = np.random.default_rng(1)
    for a, (gamma, angle, size) in enumerate(
        [(0.6, -25, 0.8), (0.8, 0, 1.0), (1.0, 25, 1.1)]  # mirrored: the first and the last
    ):
        c, s = np.cos(np.deg2rad(-angle)), np.sin(np.deg2rad(-angle))
        turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ rotation
        if a != 1:
            turned[0] *= -1
        zoomed = np.eye(3)
        zoomed[:2, :2] = camera.matrix[:2, :2] * scale * size
        zoomed[:2, 2] = side / 2
        back = camera.matrix @ np.linalg.inv(zoomed @ turned)
        chosen = int(np.clip(np.floor(-np.log2(scale * size)), 0, 2))
        assert a != 1 or chosen == level
        for u, v in rng.integers(0, side, (40, 2)):
            point = back @ [u, v, 1.0]
            x, y = point[:2] / point[2]
            wanted = sampled_by_formula(image, x, y, chosen) ** (gamma / 2.2)
            found = crops[a, 0, :, v, u].numpy()
            near_edge = min(x + 1, y + 1, 320 - x, 240 - y) < 0.05 * 2**chosen
            if not near_edge:  # float32 positions decide there between black and not
                np.testing.assert_allclose(found, wanted, atol=2e-3)
