"""Replay: recordings and videos through the pipeline, damaged ones as far as they go."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from depth_bodies import bodies_depth
from doubles import CAMERA, STANDING, STEP_NS, FakeBoxes, FakeEstimator, FakeLifter
from recordings import DEPTH, START_NS, true_people, write_recording
from typer.testing import CliRunner

from trpose_ros.archives import load_arrays
from trpose_ros.commands.main import app
from trpose_ros.drawing.figures import Figure, Shot, grid
from trpose_ros.occlusion.occluder import OcclusionConfig, make_occluder
from trpose_ros.offline import replay as module
from trpose_ros.offline import run as run_module
from trpose_ros.offline.replay import LogTime, ReplayOptions, replay
from trpose_ros.people import RootSource
from trpose_ros.pipeline.lift_stage import LiftStage
from trpose_ros.pipeline.pipeline import Pipeline, PoseStage
from trpose_ros.pipeline.tracking import Tracker
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagReader, BagWriter
from trpose_ros.recordings.messages import read_people
from trpose_ros.recordings.sources import SourceOptions, open_source
from trpose_ros.recordings.video import VideoReader, VideoWriter


def stand_ins(look_ahead=2, occlusion=None, estimator=None):
    pose = PoseStage(
        estimator=estimator or FakeEstimator([(-0.4, 0.2, 4.0)]),
        box_source=FakeBoxes([[200.0, 100.0, 160.0, 330.0, 0.9]]),
        tracker=Tracker(),
        clock=None,
    )
    occluder = None
    if occlusion:
        occluder = make_occluder(OcclusionConfig(**occlusion), 'test|a|b|c')
    return Pipeline(pose=pose, lift=LiftStage(lifter=FakeLifter(look_ahead)), occluder=occluder)


def lifted_of(out):
    with BagReader(out / 'result.mcap') as bag:
        return [read_people(m.message) for m in bag.messages([module.LIFTED_TOPIC])]


def test_everything_is_written_and_every_frame_has_its_skeleton(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 12)
    seen = []
    result = replay(
        open_source(bag),
        tmp_path / 'out',
        pipeline=stand_ins(),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(k + 1, 12) for k in range(12)]
    assert result.frames == result.skeletons == result.frames_with_people == 12
    assert result.problems == []
    people = lifted_of(tmp_path / 'out')
    assert [p.stamp_ns for p in people] == [START_NS + k * STEP_NS for k in range(12)]
    np.testing.assert_allclose(
        people[3].joints_m[0], STANDING + np.array([-0.4, 0.2, 4.0]), atol=1e-5
    )
    with BagReader(tmp_path / 'out' / 'result.mcap') as out:
        assert set(out.topics) == {
            module.IMAGE_TOPIC,
            module.CAMERA_TOPIC,
            module.TRUTH_TOPIC,
            module.POSE_TOPIC,
            module.LIFTED_TOPIC,
            module.MARKERS_TOPIC,
            module.SKELETON_TOPIC,
        }
        markers = [m.message for m in out.messages([module.MARKERS_TOPIC])]
    assert [m.type for m in markers[0].markers] == [5, 7]  # LINE_LIST, SPHERE_LIST
    assert len(markers[0].markers[1].points) == 17
    with VideoReader(tmp_path / 'out' / 'annotated.mp4') as video:
        assert sum(1 for _ in video.frames()) == 12


def test_metrics_are_those_of_the_truth(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 12)
    replay(open_source(bag), tmp_path / 'out', pipeline=stand_ins())
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    errors = metrics['errors']['lifted']
    assert errors['mpjpe_held_mm'] == pytest.approx(0.0, abs=0.1)  # the same body, but
    offsets_mm = [1000 * abs(-0.5 + 0.01 * k + 0.4) for k in range(12)]  # it stands elsewhere
    assert errors['mrpe_mm'] == pytest.approx(np.mean(offsets_mm), rel=0.01)
    assert errors['coverage'] == 1.0
    assert metrics['lifter'] == 'fake_lifter'
    assert metrics['look_ahead_frames'] == 2


def test_the_same_recording_gives_the_same_files(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 8)
    contents = []
    for name in ('a', 'b'):
        pipeline = stand_ins(occlusion={'profile': 'random_box'})
        replay(open_source(bag), tmp_path / name, pipeline=pipeline)
        files = ('result.mcap', 'metrics.json', 'annotated.mp4')
        contents.append([(tmp_path / name / file).read_bytes() for file in files])
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    'occlusion',
    [{'profile': 'fixed_lower', 'realisation': 'crop'}, {'profile': 'moving_box'}],
)
def test_occlusions_are_in_the_pictures_and_reports(tmp_path, occlusion):
    bag = write_recording(tmp_path / 'in.mcap', 5)
    result = replay(open_source(bag), tmp_path / 'out', pipeline=stand_ins(occlusion=occlusion))
    assert result.metrics()['occlusion'] == occlusion['profile']
    with BagReader(tmp_path / 'out' / 'result.mcap') as out:
        reports = [m.message for m in out.messages([module.REPORT_TOPIC])]
        cameras = [m.message for m in out.messages([module.CAMERA_TOPIC])]
    assert len(reports) == 5
    assert all(0.1 < r.hidden_fraction < 0.6 for r in reports)
    if 'realisation' in occlusion:
        assert all(c.height < CAMERA.height for c in cameras)
    with VideoReader(tmp_path / 'out' / 'annotated.mp4') as video:
        sizes = {image.shape for _, image in video.frames()}
    assert len(sizes) == 1  # the whole image, whatever was cut off


def test_recording_that_was_cut_off_is_processed_as_far_as_it_goes(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 12)
    data = bag.read_bytes()
    cut = tmp_path / 'cut.mcap'
    cut.write_bytes(data[: len(data) // 2])
    result = replay(open_source(cut), tmp_path / 'out', pipeline=stand_ins())
    assert 2 <= result.frames < 12
    assert len(lifted_of(tmp_path / 'out')) == result.frames
    assert any('cut off' in problem for problem in result.problems)


def test_recording_without_messages(tmp_path):
    with BagWriter(tmp_path / 'in.mcap') as bag:
        assert bag is not None
    with pytest.raises(Exception, match='no image topic'):
        open_source(tmp_path / 'in.mcap')


def test_recording_of_which_no_image_can_be_read(tmp_path):
    bag = tmp_path / 'in.mcap'
    from trpose_ros.recordings.bag_messages import MessageMaker

    with BagWriter(bag) as writer:
        make = MessageMaker(writer.typestore)
        for k in range(3):
            image = make.compressed_image(np.zeros((48, 64, 3), np.uint8), k, 'optical')
            image.data = image.data[:40]
            writer.write('/image/compressed', image, k)
    result = replay(open_source(bag), tmp_path / 'out', pipeline=stand_ins())
    assert result.frames == 0
    assert any('3 images' in problem for problem in result.problems)
    assert 'no image could be read' in result.problems
    assert (tmp_path / 'out' / 'metrics.json').is_file()
    assert not (tmp_path / 'out' / 'annotated.mp4').exists()


def test_recording_without_camera_info_says_so_in_every_result(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 5, info=False)
    result = replay(open_source(bag), tmp_path / 'out', pipeline=stand_ins())
    assert all(p.provenance.intrinsics_assumed for p in lifted_of(tmp_path / 'out'))
    assert sum('field of view' in problem for problem in result.problems) == 1


def test_recording_that_starts_again(tmp_path):
    stamps = [START_NS + k * STEP_NS for k in (0, 1, 2, 3, 4, 0, 1, 2, 3)]
    bag = write_recording(tmp_path / 'in.mcap', 9, stamps_ns=stamps, truth=False)
    result = replay(open_source(bag), tmp_path / 'out', pipeline=stand_ins())
    assert [p.stamp_ns for p in lifted_of(tmp_path / 'out')] == stamps
    assert result.skeletons == 9


def test_video_has_no_stamps_and_no_truth(tmp_path):
    path = tmp_path / 'in.mp4'
    with VideoWriter(path, 25.0) as video:
        for k in range(6):
            video.write(np.full((480, 640, 3), 20 * k, np.uint8))
    result = replay(open_source(path), tmp_path / 'out', pipeline=stand_ins())
    assert result.frames == 6
    people = lifted_of(tmp_path / 'out')
    np.testing.assert_allclose(np.diff([p.stamp_ns for p in people]), 40e6, rtol=1e-3)
    assert people[0].provenance.intrinsics_assumed
    assert result.metrics()['errors'] == {}


def test_frame_that_fails_is_named_and_the_next_goes_on(tmp_path):
    class Moody(FakeEstimator):
        def estimate(self, frame, boxes_px):
            self.fail = frame.stamp_ns == START_NS + 3 * STEP_NS
            return super().estimate(frame, boxes_px)

    bag = write_recording(tmp_path / 'in.mcap', 8)
    pipeline = stand_ins(estimator=Moody([(-0.4, 0.2, 4.0)]))
    result = replay(open_source(bag), tmp_path / 'out', pipeline=pipeline)
    assert (result.frames, result.skipped, result.skeletons) == (8, 1, 7)
    assert any('out of memory' in problem for problem in result.problems)


def test_after_an_interruption_nothing_half_written_is_left(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 8)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay(open_source(bag), tmp_path / 'out', pipeline=stand_ins(), progress=stop)
    assert list((tmp_path / 'out').iterdir()) == []


def test_max_frames(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 8)
    options = ReplayOptions(max_frames=3, video=False, bag=False)
    result = replay(open_source(bag), tmp_path / 'out', None, options, pipeline=stand_ins())
    assert result.frames == 3
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['metrics.json']


def test_skeletons_for_other_programs(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 6)
    options = ReplayOptions(video=False, export=('csv', 'npz', 'json', 'bvh', 'trc'))
    out = tmp_path / 'out'
    result = replay(open_source(bag), out, None, options, pipeline=stand_ins())
    names = ['people.csv', 'people.npz', 'people.json', 'people-0.bvh', 'people-0.trc']
    assert [p.name for p in result.exported] == names
    assert (result.lost, result.problems) == ([], [])
    read = load_arrays(out / 'people.npz')
    for t, people in enumerate(lifted_of(out)):
        assert read['stamps_ns'][t] == people.stamp_ns
        whole = read['joints_m'][t, 0] + read['root_m'][t, 0]
        np.testing.assert_allclose(whole, people.joints_m[0], atol=1e-5)
    facts = json.loads((out / 'people.json').read_text())
    assert facts['source'] == 'in.mcap'
    assert not facts['camera']['assumed']


def test_depth_of_a_recording_puts_people_in_their_place(tmp_path):
    def depth(k):  # of a smaller person who stands nearer and looks the same
        return bodies_depth(0.9 * (STANDING + np.array([-0.4, 0.2, 4.0])))

    bag = write_recording(tmp_path / 'in.mcap', depth=depth)
    near = []
    for name, topic in (('without', None), ('with', DEPTH)):
        source = open_source(bag, SourceOptions(depth_topic=topic))
        result = replay(source, tmp_path / name, pipeline=stand_ins())
        assert not [problem for problem in result.problems if DEPTH in problem]
        lifted = list(result.lifted.values())
        near.append(np.mean([p.joints_m[0, 0, 2] for p in lifted]))
    assert near[1] == pytest.approx(0.9 * near[0], rel=0.02)
    assert {int(p.root_sources[0]) for p in lifted} == {RootSource.DEPTH}


def test_exports_of_nobody_are_named(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 2)
    options = ReplayOptions(bag=False, video=False, export=('csv', 'bvh'))
    pipeline = stand_ins(estimator=FakeEstimator([]))
    result = replay(open_source(bag), tmp_path / 'out', None, options, pipeline=pipeline)
    assert result.problems == ['no bvh: nobody had a skeleton']
    assert [p.name for p in result.exported] == ['people.csv']


def test_a_run_writes_skeletons_beside_its_video(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 4)
    result = run_module.watch(
        open_source(bag), None, out=tmp_path / 'x.mp4', export=('csv',), pipeline=stand_ins()
    )
    assert result.frames == 4
    lines = (tmp_path / 'x.csv').read_text().splitlines()
    assert len(lines) == 1 + 4 * 17  # the last ones too, whose future is missing


def test_log_times_go_forward_when_stamps_do_not():
    log = LogTime()
    times = [log.of_frame(s) for s in (10, 20, 30, 5, 15)]
    assert times == [10, 20, 30, 31, 41]
    assert log.of_result(15) == 41


# -- pictures ---------------------------------------------------------------------------------


def coloured(picture, colour):
    return int((np.abs(picture.astype(int) - colour).sum(axis=2) < 60).sum())


def test_joints_outside_of_the_image_are_on_the_canvas():
    from trpose_ros.drawing.overlay import TRUNCATED_RGB
    from trpose_ros.people import with_visibility

    near = true_people(50).replace(stamp_ns=1)
    low = with_visibility(
        near.replace(joints_m=near.joints_m, joints_px=near.joints_px + np.float32([0, 90]))
    )
    assert low.cut_edges[0] == 8
    figure = Figure(CAMERA, 480)
    image = np.full((480, 640, 3), 90, np.uint8)
    picture = figure.draw(Shot(image, CAMERA, low))
    assert picture.shape == (480, figure.size[0], 3)
    below = picture[440:, : figure.size[0] // 2]
    assert coloured(below, TRUNCATED_RGB) > 5


def test_figure_without_anybody_and_grid():
    figure = Figure(CAMERA, 241)
    picture = figure.draw(Shot(np.zeros((480, 640, 3), np.uint8), CAMERA, None))
    page = grid([picture] * 5, columns=2)
    assert page.shape[0] % 2 == page.shape[1] % 2 == 0
    assert page.shape[1] > 2 * picture.shape[1]
    assert cv2.imencode('.png', page)[0]


def wide_recording(path, width=4000, height=60):
    with BagWriter(path) as bag:
        make = MessageMaker(bag.typestore)
        for k in range(3):
            image = np.full((height, width, 3), 60 * k, np.uint8)
            bag.write('/strip/image', make.image(image, START_NS + k * STEP_NS, 'optical'), k)
    return path


class _Bare(Pipeline):
    """The stages without their networks, for commands."""

    def __init__(self, *_, **__):
        made = stand_ins()
        super().__init__(pose=made.pose, lift=made.lift)


@pytest.mark.parametrize('encodes', [True, False])
def test_a_stream_of_strips_whose_video_may_fail_is_replayed(tmp_path, monkeypatch, encodes):
    """The picture of 4000 x 60 px is 40 000 wide: an encoder may refuse it, the bag is kept."""
    bag = wide_recording(tmp_path / 'in.mcap')
    monkeypatch.setattr(module, 'Pipeline', _Bare)
    if not encodes:
        monkeypatch.setattr(VideoWriter, '_is_whole', lambda *_: False)
    command = ['replay', str(bag), '--out', str(tmp_path / 'out')]
    result = CliRunner().invoke(app, command)
    video = tmp_path / 'out' / 'annotated.mp4'
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    said = [problem for problem in metrics['problems'] if 'there is no annotated.mp4' in problem]
    assert metrics['frames'] == 3, result.output
    assert len(lifted_of(tmp_path / 'out')) == 3
    assert result.exit_code == (0 if video.exists() else 1), result.output
    assert len(said) == (0 if video.exists() else 1)
    assert encodes or not video.exists()
    assert ('annotated.mp4' in result.output) == bool(said)
    assert sorted(p.name for p in (tmp_path / 'out').iterdir() if p != video) == [
        *('metrics.json', 'result.mcap')
    ]


@pytest.mark.parametrize('encodes', [True, False])
def test_a_stream_of_strips_is_run(tmp_path, monkeypatch, encodes):
    bag = wide_recording(tmp_path / 'in.mcap')
    monkeypatch.setattr(run_module, 'Pipeline', _Bare)
    if not encodes:
        monkeypatch.setattr(VideoWriter, '_is_whole', lambda *_: False)
    video = tmp_path / 'out.mp4'
    result = CliRunner().invoke(app, ['run', str(bag), '--out', str(video)])
    assert result.exit_code == (0 if video.exists() else 1), result.output
    assert encodes or not video.exists()
    assert video.exists() or 'out.mp4 cannot be written' in result.output
    assert {p.name for p in tmp_path.iterdir()} <= {'in.mcap', 'out.mp4'}
