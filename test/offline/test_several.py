"""Replay of several cameras: whose recording is whose, what is written, what is noted."""

import json

import numpy as np
import pytest
import several_recordings as made
from typer.testing import CliRunner

from trpose_ros.commands.main import app
from trpose_ros.multiview.rig_file import read_rig
from trpose_ros.offline import replay as replay_module
from trpose_ros.offline.camera_recordings import recordings_of
from trpose_ros.offline.several import FUSED_TOPIC, MARKERS_TOPIC, SKELETON_TOPIC
from trpose_ros.recordings.bags import BagReader
from trpose_ros.recordings.messages import read_people


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('cameras')
    made.write(folder)
    made.write(folder, one=True)
    made.calibration(folder / 'rig.yaml')
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ['replay', *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch, folder):
    monkeypatch.setattr(replay_module, 'Pipeline', made.StandIn)
    monkeypatch.chdir(folder)


def test_recordings_of_cameras_are_joined_and_measured(tmp_path):
    names = made.RIG.names
    given = [f'{name}.mcap' for name in names]
    answer = run(*given, '--calibration', 'rig.yaml', '--out', tmp_path, '--no-video', '--json',
                 '--export', 'csv')  # fmt: skip
    document = json.loads(answer.stdout)
    assert answer.exit_code == 0
    assert document['problems'] == []
    assert (document['people'], document['world']) == (2, 'world')
    assert document['fused_frames'] == document['cameras']['front']['frames']
    alone = [c['errors']['lifted']['abs_mpjpe_held_mm'] for c in document['cameras'].values()]
    assert document['errors']['fused']['abs_mpjpe_held_mm'] < 0.5 * min(alone)
    assert all(0.3 < camera['weight'] <= 1 for camera in document['cameras'].values())
    with BagReader(tmp_path / 'result.mcap') as bag:
        assert set(bag.topics) == {FUSED_TOPIC, MARKERS_TOPIC, SKELETON_TOPIC}
        people = [read_people(entry.message) for entry in bag.messages([FUSED_TOPIC])]
    assert [p.stamp_ns for p in people] == list(made.seen()['front'])
    assert {p.frame_id for p in people} == {'world'}
    assert (tmp_path / 'rear' / 'result.mcap').is_file()
    assert (tmp_path / 'people.csv').is_file()
    written = json.loads((tmp_path / 'metrics.json').read_text())
    assert written['cameras']['left']['health'].startswith('ok')


def test_one_recording_of_all_cameras(tmp_path):
    answer = run('all.mcap', '--calibration', 'rig.yaml', '--out', tmp_path, '--no-video')
    assert answer.exit_code == 0
    assert '2 people in 15 frames of world' in answer.stdout
    assert set(json.loads((tmp_path / 'metrics.json').read_text())['cameras']) == set(
        made.RIG.names
    )


def test_the_same_recordings_give_the_same_files(tmp_path):
    for out in ('a', 'b'):
        run('front.mcap', 'rear.mcap', '--calibration', 'rig.yaml', '--out', tmp_path / out,
            '--no-video', '--max-frames', '5')  # fmt: skip
    for file in ('result.mcap', 'metrics.json'):
        assert (tmp_path / 'a' / file).read_bytes() == (tmp_path / 'b' / file).read_bytes()
    problems = json.loads((tmp_path / 'a' / 'metrics.json').read_text())['problems']
    assert problems == []


def test_a_frame_id_of_another_camera_is_named_and_its_frames_left_out(tmp_path):
    path = made.calibration(tmp_path / 'rig.yaml', ('front', 'rear', 'left'))
    path.write_text(path.read_text().replace('left_optical', 'elsewhere'))
    answer = run('front=front.mcap', 'rear=rear.mcap', 'left=left.mcap', '--calibration', path,
                 '--out', tmp_path, '--no-video', '--json', '--no-bag',
                 '--max-frames', '6')  # fmt: skip
    document = json.loads(answer.stdout)
    assert answer.exit_code == 0
    assert any("frame_id 'left_optical'" in problem for problem in document['problems'])
    assert document['cameras']['left']['weight'] == 0
    taken = run('front=front.mcap', 'left=left.mcap', '--calibration', path, '--out',
                tmp_path / 'b', '--no-video', '--json', '--any-frame', '--no-bag',
                '--max-frames', '6')  # fmt: skip
    assert json.loads(taken.stdout)['cameras']['left']['weight'] > 0.3


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['front.mcap', 'rear.mcap'], 'joined by a --calibration of all'),
        (['front.mcap', '--calibration', 'rig.yaml'], 'image_topic to each camera'),
        (['roof=front.mcap', 'rear.mcap', '--calibration', 'rig.yaml'], "no camera 'roof'"),
        (['front=front.mcap', 'front=rear.mcap', '--calibration', 'rig.yaml'], 'both of camera'),
        (['front.mcap', 'none.mcap', '--calibration', 'rig.yaml'], 'none.mcap'),
        (['front.mcap', 'rear.mcap', '--calibration', 'rig.yaml', '--report'], '--report'),
        (['front.mp4', '--calibration', 'rig.yaml'], 'one video'),
        (['front.mcap', 'rear.mcap', '--calibration', 'front.mcap'], 'front.mcap'),
    ],
)
def test_what_cannot_be_joined_is_said_in_a_line(arguments, words):
    answer = run(*arguments)
    assert answer.exit_code == 1
    assert words in ' '.join(answer.stderr.split())
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ('sources', 'expected', 'noted'),
    [
        (['rear=x.mp4', 'left=y.mp4'], {'rear': 'x.mp4', 'left': 'y.mp4'}, 'no recording of'),
        (['walk_left.mp4', 'walk_front.mp4'], {'front': 'walk_front.mp4'}, 'no recording of'),
        (['1.mp4', '2.mp4', '3.mp4', '4.mp4'], {'front': '1.mp4', 'left': '4.mp4'}, 'by the order'),
    ],
)
def test_whose_recording_is_whose(folder, sources, expected, noted):
    notes = []
    found = recordings_of(sources, read_rig(folder / 'rig.yaml'), notes)
    taken = {one.camera: one.path for one in found}
    assert expected.items() <= taken.items()
    assert noted in ' '.join(notes)


def test_recordings_are_known_by_the_frame_id_of_their_images(folder, tmp_path):
    for place, name in enumerate(('rear', 'right')):
        (tmp_path / f'{place}.mcap').write_bytes((folder / f'{name}.mcap').read_bytes())
    notes = []
    sources = [str(tmp_path / '0.mcap'), str(tmp_path / '1.mcap')]
    found = recordings_of(sources, read_rig(folder / 'rig.yaml'), notes)
    assert {one.camera: one.path for one in found} == dict(
        zip(('rear', 'right'), sources, strict=True)
    )
    assert notes == ['there is no recording of front, left: the others go on without']


def test_images_of_another_lens_than_the_calibration_are_noted(tmp_path):
    path = made.calibration(tmp_path / 'rig.yaml', ('front', 'rear'))
    focal = made.RIG['front'].intrinsics.matrix[0, 0]
    path.write_text(path.read_text().replace(str(focal), str(1.3 * focal)))
    answer = run('front.mcap', 'rear.mcap', '--calibration', path, '--out', tmp_path,
                 '--no-video', '--json', '--no-bag')  # fmt: skip
    problems = json.loads(answer.stdout)['problems']
    assert len([p for p in problems if 'focal length' in p]) == 2
    assert not (tmp_path / 'result.mcap').exists()


def test_truth_is_put_into_the_world_exactly():
    people = made.truth('left', made.START_NS)
    rotation, position = made.RIG['left'].placement
    world = people.joints_m @ rotation.T + position
    np.testing.assert_allclose(world, made.joints_m()[:, 0], atol=1e-5)
