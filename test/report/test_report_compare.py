"""Side-by-side videos of any two runs: recordings with results, replays, evaluations."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import CAMERA, make_people
from recordings import START_NS, write_recording
from typer.testing import CliRunner

from trpose_ros.commands.report import app
from trpose_ros.drawing.overlay import LEFT_RGB, TRUTH_RGB
from trpose_ros.evaluation.excerpts import Scene, encode_images, load_scenes, save_scene
from trpose_ros.offline.replay import IMAGE_TOPIC, LIFTED_TOPIC, POSE_TOPIC, TRUTH_TOPIC
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter
from trpose_ros.recordings.sources import SourceError
from trpose_ros.recordings.video import VideoError, VideoReader
from trpose_ros.report.compare import compare
from trpose_ros.report.films import SideBySide, take_of_scene

STEP_NS = 40_000_000
FRAMES = 6


def result(folder, frames=FRAMES, begin=START_NS, topics=(POSE_TOPIC, LIFTED_TOPIC)):
    """The folder of a replay, as far as a comparison reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    with BagWriter(folder / 'result.mcap') as bag:
        make = MessageMaker(bag.typestore)
        for k in range(frames):
            stamp = begin + k * STEP_NS
            people = make_people(stamp, (0.02 * k, 0.2, 4.0), track_ids=np.zeros(1, int))
            image = np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8)
            bag.write(IMAGE_TOPIC, make.compressed_image(image, stamp, 'optical'), stamp)
            bag.write('/camera/camera_info', make.camera_info(CAMERA, stamp, 'optical'), stamp)
            bag.write(TRUTH_TOPIC, make.people(people), stamp)
            for topic in topics:
                bag.write(topic, make.people(people), stamp)
    return folder


def scene(shift_m=0.0, offset=(0, 0), frames=FRAMES, **changes):
    """A person who stands; the outputs are off by a shift of all joints but the root."""
    people = make_people(0).joints_m[0]
    true = np.repeat(people[None], frames, axis=0)
    output = true.copy()
    output[:, 1:, 0] += shift_m
    stamps = np.arange(frames) * STEP_NS
    height, width = CAMERA.height - offset[1], CAMERA.width - offset[0]
    image = np.full((height, width, 3), 90, np.uint8)
    kept = encode_images([(int(s), image, offset) for s in stamps], 15.0)
    values = {
        'identity': 'test|s|walk|0',
        'condition': 'fixed_upper',
        'severity': '1/3',
        'estimator': 'metrabs-fake',
        'fps': 25.0,
        'skeleton': 'h36m_17',
        'camera': CAMERA,
        'stamps_ns': stamps,
        'true_m': true,
        'hidden': np.zeros((frames, 17), bool),
        'outputs_m': {'none': output, 'mixste': true},
        'images': kept[0],
        'image_stamps_ns': kept[1],
        'offsets_px': kept[2],
    }
    return Scene(**(values | changes))


def frames_of(path):
    with VideoReader(path) as video:
        return [image for _, image in video.frames()]


def test_a_scene_survives_its_file(tmp_path):
    made = scene(0.1, (0, 100))
    save_scene(tmp_path, 'one', made)
    (again,) = load_scenes(tmp_path)
    assert again.key == made.key
    assert again.camera.width == CAMERA.width
    np.testing.assert_array_equal(again.outputs_m['none'], made.outputs_m['none'])
    np.testing.assert_array_equal(again.offsets_px, [(0, 100)] * FRAMES)
    assert again.images == made.images
    assert again.image(0).shape == (CAMERA.height - 100, CAMERA.width, 3)


def near(image, colour, tolerance=25):
    return (np.abs(image.astype(int) - colour).max(axis=-1) < tolerance).sum()


@pytest.mark.parametrize('offset', [(0, 0), (0, 100)])
def test_a_picture_shows_both_and_the_truth(offset):
    takes = [take_of_scene(scene(0.1, offset), name, name) for name in ('none', 'mixste')]
    entries = [next(take.open_shots()) for take in takes]
    lines = [entry[2] for entry in entries]
    assert lines == ['MPJPE of this frame 94 mm', 'MPJPE of this frame 0 mm']  # 100 * 16 / 17
    page = SideBySide(takes).draw([entry[1] for entry in entries], lines, 'upper')
    assert page.shape[0] % 2 == page.shape[1] % 2 == 0
    half = page.shape[1] // 2
    left, right = page[:-26, :half], page[:-26, half:]
    for side in (left, right):
        assert near(side, LEFT_RGB) > 50
    assert near(left[360:], TRUTH_RGB) > near(right[360:], TRUTH_RGB)  # where it agrees, it covers
    # the same skeleton lies at the same place of the image, whatever was cut off
    whole = take_of_scene(scene(0.1), 'none', 'none')
    other = SideBySide([whole]).draw([next(whole.open_shots())[1]], [''], '')
    blue = [np.argwhere(near_mask(p[60:330, : half - 10])).mean(0) for p in (left, other)]
    np.testing.assert_allclose(*blue, atol=1.0)


def near_mask(image):
    return np.abs(image.astype(int) - LEFT_RGB).max(axis=-1) < 25


def test_frames_without_output_say_so():
    gone = np.full((FRAMES, 17, 3), np.nan, np.float32)
    take = take_of_scene(scene(outputs_m={'none': gone}), 'none', 'nothing')
    shots = [shot for _, shot, _ in take.open_shots()]
    assert all(shot.people is None for shot in shots)
    assert SideBySide([take]).draw(shots[:1], [''], '').any()


def test_two_replays(tmp_path):
    a, b = result(tmp_path / 'a'), result(tmp_path / 'b', begin=START_NS + 10**9)
    out = tmp_path / 'deep' / 'two.mp4'
    seen = []
    assert compare(a, b, out, progress=lambda *so_far: seen.append(so_far)) == FRAMES
    assert seen == [(done, FRAMES) for done in range(1, FRAMES + 1)]
    assert len(frames_of(out)) == FRAMES
    assert compare(a, b / 'result.mcap', tmp_path / 'x.webm', topics=('', POSE_TOPIC)) == FRAMES
    assert len(frames_of(tmp_path / 'x.webm')) == FRAMES
    assert not list(tmp_path.glob('.*part*'))


def test_a_shorter_run_keeps_its_last_picture(tmp_path):
    a, b = result(tmp_path / 'a'), result(tmp_path / 'b', frames=2)
    assert compare(a, b, tmp_path / 'two.mp4') == FRAMES


def test_two_methods_of_an_evaluation(tmp_path):
    save_scene(tmp_path / 'run', 'a', scene(0.1))
    save_scene(tmp_path / 'run', 'b', scene(condition='clean'))
    run, out = str(tmp_path / 'run'), str(tmp_path / 'two.mp4')
    done = CliRunner().invoke(app, ['compare', run, run, '--out', out, '--left', 'mixste'])
    assert done.exit_code == 0, done.output
    assert f'{FRAMES} pictures' in done.output
    with pytest.raises(ValueError, match=r'no method .fog.; there are metrabs-fake/none'):
        compare(tmp_path / 'run', tmp_path / 'run', tmp_path / 'x.mp4', methods=('fog', ''))
    with pytest.raises(ValueError, match="shows no 'blackout'; it shows fixed_upper, clean"):
        compare(tmp_path / 'run', tmp_path / 'run', tmp_path / 'x.mp4', condition='blackout')
    both = compare(tmp_path / 'run', result(tmp_path / 'bag'), tmp_path / 'mixed.mp4')
    assert both == FRAMES


def test_bad_input_is_named(tmp_path):
    plain = write_recording(tmp_path / 'plain.mcap')
    with pytest.raises(SourceError, match='no results on any topic: there are none'):
        compare(plain, plain, tmp_path / 'x.mp4')
    good = result(tmp_path / 'good')
    with pytest.raises(SourceError, match='no results on /fog: there are /pose_node/people'):
        compare(good, good, tmp_path / 'x.mp4', topics=('/fog', ''))
    with pytest.raises(VideoError, match=r'ending in \.mp4 or \.webm'):
        compare(good, good, tmp_path / 'x.gif')
    assert not list(tmp_path.glob('x.*'))
