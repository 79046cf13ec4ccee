"""Geometry of MeTRAbs: what must hold whatever the numbers are."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trpose_ros import cameras
from trpose_ros.metrabs import assembly, warps, warps_cpu
from trpose_ros.metrabs.augmentation import augmentation_table
from trpose_ros.metrabs.crops import box_views, crop_views, sampling_positions
from trpose_ros.metrabs.heatmaps import HeatmapGeometry, decode, decode_with_spread
from trpose_ros.metrabs.reconstruction import reconstruct
from trpose_ros.people import Camera

GEOMETRY = HeatmapGeometry()
SEEDS = st.integers(0, 2**32 - 1)


def people(seed, count=3, joints=17, far=(1500, 8000)):
    """Absolute poses, their 2D in the crop, root-free 3D and intrinsics that show them whole."""
    rng = np.random.default_rng(seed)
    body = rng.normal(0, 350, (count, joints, 3))
    depth = rng.uniform(*far, (count, 1, 1))
    absolute = body + np.concatenate([rng.normal(0, 100, (count, 1, 2)), depth], axis=-1)
    absolute[..., 2] = np.maximum(absolute[..., 2], 300)
    flat = absolute[..., :2] / absolute[..., 2:]
    reach = np.abs(flat).max(axis=(1, 2))
    intrinsics = np.zeros((count, 3, 3))
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = 100 / reach
    intrinsics[:, :2, 2] = 128
    intrinsics[:, 2, 2] = 1
    px = flat * (100 / reach)[:, None, None] + 128
    relative = body + rng.normal(0, 500, (count, 1, 3))
    return [torch.from_numpy(a) for a in (absolute, px, relative, intrinsics)]


def projected(poses, intrinsics):
    px = torch.einsum('bij,bnj->bni', intrinsics, poses)
    return px[..., :2] / px[..., 2:]


@settings(max_examples=40)
@given(seed=SEEDS)
def test_exact_heads_give_the_truth_and_its_projection(seed):
    """The ridge pulls people a little nearer: by less than 2 %."""
    absolute, px, relative, intrinsics = people(seed)
    result = reconstruct(px, relative, intrinsics, GEOMETRY)
    assert result.solvable.all()
    assert result.in_view.all()
    far = absolute.norm(dim=-1)
    assert ((result.abs_mm - absolute).norm(dim=-1) / far).max() < 0.02
    assert (projected(result.abs_mm, intrinsics) - px).abs().max() < 1.5
    rays = reconstruct(px, relative, intrinsics, GEOMETRY, mix=None).abs_mm
    assert (projected(rays, intrinsics) - px).abs().max() < 1e-6  # on the ray, whatever the depth


@settings(max_examples=40)
@given(seed=SEEDS)
def test_permuting_people_permutes_results(seed):
    _, px, relative, intrinsics = people(seed, 5)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(5))
    plain = reconstruct(px, relative, intrinsics, GEOMETRY).abs_mm
    mixed = reconstruct(px[order], relative[order], intrinsics[order], GEOMETRY).abs_mm
    torch.testing.assert_close(mixed, plain[order], rtol=1e-9, atol=1e-6)


@settings(max_examples=40)
@given(seed=SEEDS)
def test_mirrored_input_gives_the_mirrored_pose(seed):
    _, px, relative, intrinsics = people(seed)
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    mirrored_px = torch.stack([256 - px[..., 0], px[..., 1]], dim=-1)
    plain = reconstruct(px, relative, intrinsics, GEOMETRY).abs_mm
    mirrored = reconstruct(mirrored_px, relative * flip, intrinsics, GEOMETRY).abs_mm
    torch.testing.assert_close(mirrored, plain * flip, rtol=1e-9, atol=1e-6)


@settings(max_examples=30)
@given(seed=SEEDS, what=st.sampled_from(['nan2d', 'nan3d', 'camera', 'point', 'outside']))
def test_a_hopeless_person_touches_nobody_else(seed, what):
    _, px, relative, intrinsics = people(seed)
    wanted = reconstruct(px, relative, intrinsics, GEOMETRY)
    if what == 'nan2d':
        px[1, 3] = float('nan')
    elif what == 'nan3d':
        relative[1, 0, 2] = float('inf')
    elif what == 'camera':
        intrinsics[1] = 0
    elif what == 'point':
        px[1], relative[1] = 128.0, 0.0
    else:
        px[1] = 250.0
    for compatible in (False, True):
        result = reconstruct(px, relative, intrinsics, GEOMETRY, compatible=compatible)
        assert not result.solvable[1]
        assert result.solvable[[0, 2]].all()
    result = reconstruct(px, relative, intrinsics, GEOMETRY)
    torch.testing.assert_close(result.abs_mm[[0, 2]], wanted.abs_mm[[0, 2]])


def test_no_people_at_all():
    shapes = ((0, 17, 2), (0, 17, 3), (0, 3, 3))
    for compatible in (False, True):
        for weak in (False, True):
            result = reconstruct(
                *[torch.zeros(s) for s in shapes], GEOMETRY, weak=weak, compatible=compatible
            )
            assert result.abs_mm.shape == (0, 17, 3)


def test_gradients_are_finite_for_every_kind_of_person():
    _, px, relative, intrinsics = people(0, 4)
    px[1], relative[1] = 128.0, 0.0
    px[2] = 250.0
    for weak in (False, True):
        c, r = px.clone().requires_grad_(), relative.clone().requires_grad_()
        reconstruct(c, r, intrinsics, GEOMETRY, weak=weak).abs_mm.sum().backward()
        assert torch.isfinite(c.grad).all()
        assert torch.isfinite(r.grad).all()


def test_a_sharp_heatmap_is_sure_and_a_flat_one_is_not():
    logits = torch.zeros(2, 9, 8, 8)
    logits[0, 0, 2, 5] = logits[0, 1 + 3, 2, 5] = 60.0  # bin 3 in depth, row 2, column 5
    coords2d, coords3d, spread = decode_with_spread(logits, GEOMETRY)
    plain = decode(logits, GEOMETRY)
    torch.testing.assert_close(plain, (coords2d, coords3d))
    torch.testing.assert_close(coords2d[0, 0], torch.tensor([176.0, 80.0]), rtol=0, atol=1e-3)
    assert spread.px[0, 0] < 0.1
    assert spread.mm[0, 0] < 1
    uniform = np.sqrt(2 * np.var(np.linspace(0, 224, 8)))
    assert spread.px[1, 0] == pytest.approx(uniform, rel=1e-5)


@settings(max_examples=40)
@given(
    x=st.floats(-100, 700),
    y=st.floats(-100, 500),
    size=st.floats(20, 600),
    aspect=st.floats(0.2, 5),
    lens=st.sampled_from(['pinhole', 'distorted', 'fisheye']),
)
def test_a_crop_camera_is_a_rotation_that_looks_at_the_box(x, y, size, aspect, lens):
    matrix = [[500.0, 0, 320], [0, 510.0, 240], [0, 0, 1]]
    distortion = {'pinhole': [], 'distorted': [-0.2, 0.05, 1e-3, 0, 0], 'fisheye': [0, 0, 0, 0]}
    kind = 'fisheye' if lens == 'fisheye' else 'pinhole'
    camera = Camera(640, 480, matrix, np.array(distortion[lens], float), kind)
    box = np.array([[x, y, size, size * aspect]])
    view = box_views(box, camera, 128)
    if view.problem[0]:
        return
    rotation = view.rotation[0]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    views = crop_views(view, camera, 128, augmentation_table(1))
    centre = sampling_positions(
        views.rotation[0, 0], views.intrinsics[0, 0], camera, np.array([[64.0, 64.0]])
    )
    middle = box[0, :2] + box[0, 2:] / 2
    if np.isfinite(cameras.undistort_points(middle, camera)).all():
        np.testing.assert_allclose(centre[0], middle, atol=1e-3)


def test_way_back_undoes_rotation_and_mirroring():
    rng = np.random.default_rng(0)
    camera = cameras.camera_from_fov(640, 480)
    table = augmentation_table(5)
    view = box_views(np.array([[100.0, 50, 200, 300], [400, 100, 80, 90]]), camera, 128)
    views = crop_views(view, camera, 128, table)
    truth = rng.normal(0, 1, (2, 3, 3))
    seen = np.einsum('nji,anki->anjk', truth, views.rotation)
    mirror = np.array([0, 2, 1])
    seen[table.flip] = seen[table.flip][:, :, mirror]
    back = assembly.to_camera_frame(seen, views.rotation, table.flip, mirror)
    np.testing.assert_allclose(back, np.broadcast_to(truth, back.shape), atol=1e-12)


@pytest.mark.parametrize('linear', [False, True])
@pytest.mark.parametrize('lens', ['pinhole', 'distorted'])
def test_both_warps_draw_the_same_smooth_image(lens, linear):
    """A smooth picture, so that only the geometry can differ."""
    y, x = np.mgrid[:480, :640]
    image = np.stack([x / 640, y / 480, (x + y) / 1120], axis=-1)
    image = np.rint(255 * (0.25 + 0.5 * image)).astype(np.uint8)
    camera = cameras.camera_from_fov(640, 480)
    if lens == 'distorted':
        camera = Camera(640, 480, camera.matrix, np.array([-0.2, 0.05, 0, 0, 0]))
    view = box_views(np.array([[200.0, 100, 200, 300]]), camera, 128)
    views = crop_views(view, camera, 128, augmentation_table(1))
    gammas = np.array([0.8])
    fast = warps_cpu.render(image, camera, views, gammas, linear)[0, 0].astype(float)
    fast = fast if linear else fast / 255
    levels = warps.pyramid(image, linear=linear)
    exact = warps.render(levels, camera, views, gammas, linear=linear)[0, 0].permute(1, 2, 0)
    assert np.abs(fast - exact.numpy()).max() < 0.02


@pytest.mark.parametrize(('name', 'value'), [('num_aug', 0), ('convention', 'caffe')])
def test_wrong_augmentation_is_refused(name, value):
    settings = {'num_aug': 3, 'convention': 'centred'} | {name: value}
    with pytest.raises(ValueError, match=str(value)):
        augmentation_table(**settings)


@pytest.mark.parametrize('compatible', [False, True])
@pytest.mark.parametrize('fov_deg', [160.0, 180.0])
@pytest.mark.parametrize('degrees', [1.0, 3.0, 8.0])  # of the body's middle, from the lens's end
def test_a_person_at_the_end_of_a_fisheye_lens_is_looked_at(degrees, fov_deg, compatible):
    focal = 320 / np.radians(fov_deg / 2)
    camera = Camera(640, 640, np.array([[focal, 0, 320], [0, focal, 320], [0, 0, 1.0]]))
    camera = dataclasses.replace(camera, model='fisheye', distortion=np.zeros(4))
    end = np.radians(min(fov_deg / 2, 89.9))
    away = end - np.radians(degrees)
    body = np.random.default_rng(0).uniform([-0.3, -0.9, -0.2], [0.3, 0.9, 0.2], (30, 3))
    body_m = body + 3 * np.array([np.sin(away), 0, np.cos(away)])
    body_px = cameras.project(body_m[body_m[:, 2] > 0.01], camera)
    low, high = body_px.min(axis=0) - 15, body_px.max(axis=0) + 15
    high[0] = max(high[0], 320 + focal * np.pi / 2 + 3)  # over the end: no ray leads there
    box = np.concatenate([low, high - low])[None]
    assert np.isnan(cameras.undistort_points(np.array([high[0], box[0, 1] + 1]), camera)).all()
    view = box_views(box, camera, 256, compatible=compatible)
    assert view.problem == ('',)
    crops = crop_views(view, camera, 256, augmentation_table(1))
    turned = body_m @ crops.rotation[0, 0].T
    crop_px = turned[:, :2] / turned[:, 2:] @ crops.intrinsics[0, 0][:2, :2].T + 128
    assert (turned[:, 2] > 0).all()
    assert ((crop_px > 0) & (crop_px < 256)).all()
    assert np.ptp(crop_px[:, 1]) > 200
    seen = body_m[:, 2] > 0.01
    back = sampling_positions(
        crops.rotation[0, 0], crops.intrinsics[0, 0], camera, crop_px[seen], compatible
    )
    np.testing.assert_allclose(back, body_px, atol=1e-6)


def test_a_box_without_any_ray_has_no_view():
    lens = np.array([[200.0, 0, 320], [0, 200.0, 320], [0, 0, 1]])
    camera = Camera(1280, 640, lens, np.zeros(4), 'fisheye')
    assert box_views(np.array([[900.0, 100, 200, 300]]), camera, 256).problem == (
        'box_without_view',
    )


def test_compatible_takes_a_tilted_lens_as_it_is():
    tilted = np.array([-0.1, 0.02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.05, -0.03])
    camera = Camera(640, 480, np.array([[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]]), tilted)
    box = np.array([[400.0, 100, 150, 300]])
    plain, same = (box_views(box, camera, 256, compatible=on) for on in (False, True))
    np.testing.assert_array_equal(plain.rotation, same.rotation)
    crops = crop_views(plain, camera, 256, augmentation_table(1))
    grid = np.array([[10.0, 20], [250, 128]])
    at = [
        sampling_positions(crops.rotation[0, 0], crops.intrinsics[0, 0], camera, grid, on)
        for on in (False, True)
    ]
    np.testing.assert_array_equal(at[0], at[1])
