"""What is logged for the viewer, read back with rerun's own reader."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from doubles import CAMERA, STEP_NS, blank, make_people

rerun = pytest.importorskip('rerun', reason='needs pip install "trpose_ros[view]"')

from rerun.chunk import RrdReader
from scipy.spatial.transform import Rotation

from trpose_ros.cameras import project
from trpose_ros.drawing.overlay import LEFT_RGB, OCCLUDED_RGB, RIGHT_RGB, TRUNCATED_RGB
from trpose_ros.people import Camera, Frame, JointState, Provenance, TrackState, with_visibility
from trpose_ros.skeletons import get_skeleton
from trpose_ros.viewer.rerun_log import ImageLogConfig
from trpose_ros.viewer.sinks import View

START_NS = 1_700_000_000_123_456_789


@pytest.fixture(autouse=True)
def strict():
    """Wrong use of rerun raises here; by itself it prints a warning and goes on."""
    rerun.set_strict_mode(True)
    yield
    rerun.set_strict_mode(False)


def read(path):
    """Return entity -> component -> stamp (ns; None: always) -> values, last ones last."""
    found: dict = {}
    for chunk in RrdReader(path).stream().to_chunks():
        table = chunk.to_record_batch()
        stamps = [None] * table.num_rows
        if 'stamp' in table.schema.names:
            stamps = table.column('stamp').cast('int64').to_pylist()
        for field in table.schema:
            if (field.metadata or {}).get(b'rerun:kind') != b'data':
                continue
            rows = table.column(field.name).to_pylist()
            values = found.setdefault(chunk.entity_path, {}).setdefault(
                field.name.rpartition(':')[2], {}
            )
            values.update({s: row for s, row in zip(stamps, rows, strict=True) if row is not None})
    return found


def layout_of(path):
    """Return everything that the layouts in a file say, as text."""
    reader, texts = RrdReader(path), []
    for entry in reader.blueprints():
        for chunk in reader.stream(store=entry).to_chunks():
            texts.append(str(chunk.to_record_batch().to_pydict()))
    return ' '.join(texts)


def rgb(packed):
    return [tuple(value >> shift & 255 for shift in (24, 16, 8)) for value in packed]


def tracked(stamp_ns, roots=((0.0, 0.2, 4.0),), ids=(7,), **arrays):
    return make_people(
        stamp_ns,
        np.array(roots),
        track_ids=np.array(ids),
        track_states=np.full(len(ids), TrackState.TRACKED),
        boxes_px=np.array([[200.0, 100.0, 160.0, 330.0]] * len(ids)),
        **arrays,
    )


def log(path, *steps, quality=85):
    with View('test', save=path, images=ImageLogConfig(quality)) as view:
        for step in steps:
            step(view.log)
    return read(path)


def test_numbers_and_stamps_come_back_as_they_were_logged(tmp_path):
    stamps = [START_NS + k * STEP_NS for k in range(5)]
    people = [tracked(stamp, ((0.1 * k, 0.2, 4.0),)) for k, stamp in enumerate(stamps)]
    late = [one.replace(joints_m=one.joints_m + 0.01) for one in people]

    def all_of_it(log):
        for k, one in enumerate(people):
            log.add_frame(blank(one.stamp_ns), one)
            if k >= 2:  # a lifter with two frames of look-ahead
                log.add_lifted(late[k - 2])

    found = log(tmp_path / 'a.rrd', all_of_it)
    flat, deep = found['/world/camera/joints'], found['/world/skeletons/joints']
    assert list(flat['positions']) == stamps
    assert list(deep['positions']) == stamps[:3]
    for one, later in zip(people, late, strict=True):
        np.testing.assert_array_equal(flat['positions'][one.stamp_ns], one.joints_px[0])
        if one.stamp_ns in deep['positions']:
            np.testing.assert_array_equal(deep['positions'][one.stamp_ns], later.joints_m[0])
    bones = np.array(found['/world/skeletons/bones']['strips'][stamps[1]])
    pairs = np.array(get_skeleton('h36m_17').bones)
    np.testing.assert_array_equal(bones, late[1].joints_m[0][pairs])
    boxes = found['/world/camera/boxes']
    assert boxes['half_sizes'][stamps[0]] == [[80.0, 165.0]]
    assert boxes['centers'][stamps[0]] == [[280.0, 265.0]]
    assert found['/world/skeletons/ids']['labels'][stamps[0]] == ['7']


def test_the_camera_projects_in_the_viewer_as_here(tmp_path):
    people = tracked(START_NS)
    found = log(tmp_path / 'a.rrd', lambda log: log.add_frame(blank(START_NS), people))
    camera = found['/world/camera']
    (columns,) = camera['image_from_camera'][START_NS]  # rerun keeps columns one after the other
    matrix = np.array(columns).reshape(3, 3).T
    np.testing.assert_allclose(matrix, CAMERA.matrix, rtol=1e-6)
    assert camera['resolution'][START_NS] == [[640.0, 480.0]]
    points = people.joints_m[0] @ matrix.T
    np.testing.assert_allclose(
        points[:, :2] / points[:, 2:], project(people.joints_m, CAMERA)[0], atol=1e-3
    )
    assert camera['intrinsics_assumed'][START_NS] == [False]


@pytest.mark.parametrize('quality', [0, 85])
def test_images_are_those_of_the_frame(tmp_path, quality):
    rows, columns = np.mgrid[:480, :640]
    image = np.stack([rows % 256, columns % 256, 0 * rows + 40], axis=-1).astype(np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 8)
    frame = Frame(image, START_NS, CAMERA, 'optical')
    found = log(tmp_path / 'a.rrd', lambda log: log.add_frame(frame), quality=quality)
    logged = found['/world/camera/image']
    if quality:
        assert logged['media_type'][START_NS] == ['image/jpeg']
        data = np.array(logged['blob'][START_NS][0], np.uint8)
        back = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert len(data) < image.size / 10
        assert np.abs(back.astype(int) - image).mean() < 3
    else:
        data = np.array(logged['buffer'][START_NS][0], np.uint8)
        np.testing.assert_array_equal(data.reshape(image.shape), image)


def test_an_image_of_another_size_is_no_frame_of_the_video(tmp_path):
    small = Camera(320, 240, CAMERA.matrix)
    cameras = [CAMERA, small, CAMERA, small]

    def steps(log):
        for k, camera in enumerate(cameras):
            log.add_frame(blank(START_NS + k, camera))

    found = log(tmp_path / 'a.rrd', steps)
    jpeg, other = found['/world/camera/image'], found['/world/camera/image_resized']
    assert list(jpeg['blob']) == [START_NS, START_NS + 2]
    assert list(jpeg['is_recursive']) == [START_NS + 1, START_NS + 3]
    assert [len(row[0]) for row in other['buffer'].values()] == [320 * 240 * 3] * 2
    assert list(other['is_recursive']) == [START_NS + 2]


def test_what_is_hidden_has_its_colour_and_what_is_unknown_is_not_drawn(tmp_path):
    skeleton = get_skeleton('h36m_17')
    states = np.full((1, 17), JointState.VISIBLE)
    left, right = skeleton.index('lwri'), skeleton.index('rank')
    states[0, [right, skeleton.index('relb')]] = JointState.OCCLUDED
    people = tracked(START_NS, joint_states=states)
    pixels = people.joints_px.copy()
    pixels[0, left, 0] = -50.0  # beyond the image
    pixels[0, skeleton.index('head'), 0] = np.nan
    people = with_visibility(people.replace(joints_px=pixels))
    found = log(tmp_path / 'a.rrd', lambda log: log.add_frame(blank(START_NS), people))
    joints = found['/world/camera/joints']
    numbers = joints['keypoint_ids'][START_NS]
    assert numbers == [j for j in range(17) if j != skeleton.index('head')]
    colours = dict(zip(numbers, rgb(joints['colors'][START_NS]), strict=True))
    assert colours[left] == TRUNCATED_RGB
    assert colours[right] == OCCLUDED_RGB
    assert colours[skeleton.index('lank')] == LEFT_RGB
    assert colours[skeleton.index('rwri')] == RIGHT_RGB
    bones = found['/world/camera/bones']
    assert len(bones['strips'][START_NS]) == 14
    ends = [pair for pair in skeleton.bones if skeleton.index('head') not in pair]
    bone_colours = rgb(bones['colors'][START_NS])
    of = {skeleton.joint_names[b]: c for (_, b), c in zip(ends, bone_colours, strict=True)}
    assert of['lwri'] == TRUNCATED_RGB
    assert of['relb'] == of['rwri'] == OCCLUDED_RGB  # the wrist is seen, its bone is not
    assert of['lsho'] == of['lelb'] == LEFT_RGB
    radii = dict(zip(of, bones['radii'][START_NS], strict=True))
    assert radii['lelb'] == 2 * radii['rwri']
    assert np.isfinite(joints['positions'][START_NS]).all()
    assert "'lwri'" in str(found['/world']['context'])


def test_ellipsoids_hold_one_standard_deviation(tmp_path):
    covariances = np.full((1, 17, 3, 3), np.nan)
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    covariances[0, 4] = axes @ np.diag([0.01, 0.04, 0.09]) @ axes.T
    people = tracked(START_NS, covariances_m2=covariances)
    found = log(tmp_path / 'a.rrd', lambda log: log.add_lifted(people))
    sigma = found['/world/skeletons/sigma']
    (centre,) = sigma['centers'][START_NS]
    (half,) = sigma['half_sizes'][START_NS]
    (quaternion,) = sigma['quaternions'][START_NS]  # x, y, z, w
    np.testing.assert_array_equal(centre, people.joints_m[0, 4])
    rotation = Rotation.from_quat(quaternion).as_matrix()
    np.testing.assert_allclose(
        rotation @ np.diag(np.square(half)) @ rotation.T, covariances[0, 4], atol=1e-5
    )


def test_who_has_left_is_not_shown_any_more(tmp_path):
    def steps(log):
        log.add_frame(blank(START_NS), tracked(START_NS, ((0, 0.2, 4), (1, 0.2, 5)), (1, 2)))
        lost = tracked(START_NS + 1)
        log.add_people(lost.replace(track_states=np.array([TrackState.LOST], np.uint8)))
        log.add_lifted(tracked(START_NS + 1).select([]))

    found = log(tmp_path / 'a.rrd', steps)
    for entity in ('/world/camera', '/world/estimated'):
        assert len(found[f'{entity}/joints']['positions'][START_NS]) == 34
        assert found[f'{entity}/joints']['positions'][START_NS + 1] == []
        assert found[f'{entity}/bones']['strips'][START_NS + 1] == []
        assert found[f'{entity}/ids']['labels'][START_NS + 1] == []
    assert found['/world/camera/boxes']['half_sizes'][START_NS + 1] == []
    assert found['/world/skeletons/joints']['positions'][START_NS + 1] == []


def test_people_without_tracks_boxes_or_positions(tmp_path):
    people = make_people(START_NS, (0, 0.2, 4.0))
    people = people.replace(joints_m=np.full_like(people.joints_m, np.nan))
    found = log(tmp_path / 'a.rrd', lambda log: log.add_frame(blank(START_NS), people))
    assert len(found['/world/camera/joints']['positions'][START_NS]) == 17
    assert found['/world/estimated/joints']['positions'][START_NS] == []
    assert found['/world/camera/ids']['labels'][START_NS] == []
    assert found['/world/camera/boxes']['half_sizes'][START_NS] == []


def test_people_of_another_frame_stand_apart(tmp_path):
    people = tracked(START_NS)

    def steps(log):
        log.add_frame(blank(START_NS), people)
        log.add_lifted(people.replace(frame_id='map', joints_m=people.joints_m + 7))
        log.add_lifted(people.replace(stamp_ns=START_NS + 1))

    found = log(tmp_path / 'a.rrd', steps)
    apart, here = found['/apart/joints']['positions'], found['/world/skeletons/joints']['positions']
    np.testing.assert_array_equal(apart[START_NS], people.joints_m[0] + 7)
    assert list(here) == [START_NS + 1]
    assert 'Skeletons in map' in layout_of(tmp_path / 'a.rrd')


def test_times_that_begin_at_zero_are_durations(tmp_path):
    def steps(log):
        log.add_frame(blank(0))
        log.add_frame(blank(STEP_NS), tracked(STEP_NS))
        log.add_lifted(tracked(0))

    found = log(tmp_path / 'a.rrd', steps)
    assert list(found['/world/camera/image']['blob']) == [0, STEP_NS]
    assert list(found['/world/skeletons/joints']['positions']) == [0]


def test_latency_and_time_of_the_network_are_plotted(tmp_path):
    times = Provenance(received_ns=5_000_000, published_ns=47_000_000, inference_ms=12.5)
    people = tracked(START_NS).replace(provenance=times)

    def steps(log):
        log.add_people(people)
        log.add_lifted(people)
        log.add_lifted(tracked(START_NS + 1))  # offline: not known

    found = log(tmp_path / 'a.rrd', steps)
    assert found['/plots/latency_ms']['scalars'] == {START_NS: [42.0]}
    assert found['/plots/inference_ms']['scalars'] == {START_NS: [12.5]}
    assert found['/plots/people']['scalars'] == {START_NS: [1.0]}


def test_truth_is_green_bones(tmp_path):
    found = log(tmp_path / 'a.rrd', lambda log: log.add_truth(make_people(START_NS)))
    assert len(found['/world/truth/bones']['strips'][START_NS]) == 16


def test_two_skeletons_keep_their_names(tmp_path):
    def steps(log):
        log.add_people(tracked(START_NS).replace(skeleton='coco_17'))
        log.add_lifted(tracked(START_NS))

    found = log(tmp_path / 'a.rrd', steps)
    assert found['/world/camera/joints']['class_ids'][START_NS] == [0] * 17
    assert found['/world/skeletons/joints']['class_ids'][START_NS] == [1] * 17
    assert "'leye'" in str(found['/world']['context'])


def test_the_layout_is_in_the_file(tmp_path):
    log(tmp_path / 'a.rrd', lambda log: log.add_frame(blank(START_NS), tracked(START_NS)))
    text = layout_of(tmp_path / 'a.rrd')
    for word in ('world/camera', "'3D'", "'2D'", 'TimeSeries', '- /world/estimated/**'):
        assert word in text, word
