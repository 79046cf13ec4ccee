"""Cameras of pictures, the JSON file, and what `trpose run` says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from picture_stand_in import draw, everything_in, pipeline
from PIL import Image
from typer.testing import CliRunner

from trpose_ros.commands import main as cli
from trpose_ros.people import Camera
from trpose_ros.pipeline import stills
from trpose_ros.recordings.calibration import read_calibration
from trpose_ros.recordings.people_json import PeopleFile, plain
from trpose_ros.recordings.picture_source import open_pictures
from trpose_ros.recordings.sources import SourceOptions, open_source

RUNNER = CliRunner()


def calibration_file(path, width, height, cx, cy):
    path.write_text(
        f'image_width: {width}\nimage_height: {height}\ncamera_name: c\n'
        f'camera_matrix: {{rows: 3, cols: 3, data: [300, 0, {cx}, 0, 310, {cy}, 0, 0, 1]}}\n'
        'distortion_model: plumb_bob\n'
        'distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.02, 0.001, 0.002, 0]}\n'
    )
    return path


def turned_jpeg(path, orientation, size=(320, 240)):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new('RGB', size, (90, 90, 90)).save(path, exif=exif)
    return path


@pytest.mark.parametrize('orientation', range(1, 9))
def test_calibrated_camera_is_turned_with_its_picture(tmp_path, orientation):
    calibration = read_calibration(calibration_file(tmp_path / 'c.yaml', 320, 240, 150.0, 130.0))
    picture = turned_jpeg(tmp_path / 'a.jpg', orientation)
    source = open_pictures([picture], SourceOptions(calibration=calibration))
    (entry,) = source.frames()
    assert source.problems == []
    assert not entry.camera.assumed
    size = (320, 240) if orientation < 5 else (240, 320)
    assert entry.frame.image.shape[1::-1] == (entry.camera.width, entry.camera.height) == size
    flip_x, flip_y = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    centre = [150.0, 130.0] if orientation < 5 else [130.0, 150.0]
    expected = [
        size[0] - 1 - centre[0] if flip_x else centre[0],
        size[1] - 1 - centre[1] if flip_y else centre[1],
    ]
    np.testing.assert_allclose(entry.camera.matrix[:2, 2], expected)
    focal = [300.0, 310.0] if orientation < 5 else [310.0, 300.0]
    np.testing.assert_allclose(entry.camera.matrix[[0, 1], [0, 1]], focal)


def test_calibration_of_upright_pictures_and_of_another_size(tmp_path):
    picture = turned_jpeg(tmp_path / 'a.jpg', 6)
    upright = read_calibration(calibration_file(tmp_path / 'u.yaml', 240, 320, 100.0, 200.0))
    source = open_pictures([picture, draw(tmp_path / 'b.png')], SourceOptions(calibration=upright))
    first, second = source.frames()
    np.testing.assert_allclose(first.camera.matrix[:2, 2], [100.0, 200.0])
    assert second.camera.assumed
    assert source.problems == [
        'the calibration is of 240x320 px, not 320x240: a field of view of 55 degrees is assumed'
    ]


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('{', 'c.yaml is not plain YAML'),
        ('- 1', 'no calibration'),
        ('image_width: 3', 'no calibration'),
        ('image_width: x', 'c.yaml'),
    ],
)
def test_file_that_is_no_calibration(tmp_path, text, words):
    path = tmp_path / 'c.yaml'
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_calibration(path)


def test_calibration_serves_videos_too(tmp_path):
    from trpose_ros.recordings.video import VideoWriter

    with VideoWriter(tmp_path / 'a.mp4', 25.0) as video:
        video.write(np.full((240, 320, 3), 90, np.uint8))
    for size, fits in (((320, 240), True), ((640, 480), False)):
        camera = Camera(*size, np.diag([300.0, 300.0, 1.0]))
        source = open_source(tmp_path / 'a.mp4', SourceOptions(calibration=camera))
        (entry,) = source.frames()
        source.close()
        assert entry.frame.camera.assumed is not fits
        assert len(source.problems) == (not fits)


def test_no_value_is_null():
    values = plain(np.array([1.23456, np.nan, np.inf], np.float32), 2)
    assert values == [1.23, None, None]
    assert plain([float('nan'), 3, 'a', None]) == [None, 3, 'a', None]


def test_odd_names_and_an_empty_list_are_json(tmp_path):
    with PeopleFile(tmp_path / 'a.json', {'first': 1}, 'entries') as file:
        file.add({'name': 'b\udcff "quoted" \n ü'})
        file.finish({'last': [2]})
    text = (tmp_path / 'a.json').read_text(encoding='utf-8')
    assert json.loads(text) == {
        'first': 1,
        'entries': [{'name': 'b\udcff "quoted" \n ü'}],
        'last': [2],
    }
    with PeopleFile(tmp_path / 'b.json', {'first': 1}, 'entries') as file:
        file.finish({})
    assert json.loads((tmp_path / 'b.json').read_text()) == {'first': 1, 'entries': []}
    with pytest.raises(ValueError, match='JSON'), PeopleFile(tmp_path / 'c.json', {}, 'e') as file:
        file.add({'bad': float('nan')})
    assert everything_in(tmp_path) == ['a.json', 'b.json']


@pytest.fixture
def command(monkeypatch, tmp_path):
    """`trpose run` with stand-ins for the networks."""
    built = []

    def build(config, *_, **__):
        built.append(config)
        stages = pipeline(config.occlusion)
        return stages.pose

    monkeypatch.setattr(stills, 'build_pose_stage', build)

    def call(*arguments):
        given = ['run', *map(str, arguments), '--out', str(tmp_path / 'out')]
        result = RUNNER.invoke(cli.app, given, env={'COLUMNS': '400'})  # no path is broken
        return result, ' '.join(result.output.split())

    call.built = built
    return call


def test_command_says_what_came_of_it(command, tmp_path):
    draw(tmp_path / 'in' / 'a [bold].png')
    draw(tmp_path / 'in' / 'empty.png', level=0)
    (tmp_path / 'in' / 'bad.jpg').write_text('x')
    (tmp_path / 'in' / 'notes.txt').write_text('x')
    result, words = command(tmp_path / 'in', '--fov-deg', '40', '--lifter', 'mixste')
    assert result.exit_code == 0, result.output
    for part in (
        '1 other file ignored (.txt)',
        'options of the lifter have no effect',
        'bad.jpg is no picture (first bytes 78); skipped',
        '2 people in 1 of 2 pictures; nobody in empty.png; 1 of 3 failed',
    ):
        assert part in words
    content = json.loads((tmp_path / 'out' / 'people.json').read_text())
    assert content['pictures'][0]['camera']['fov_deg'] == 40.0
    assert command.built[0].pose.max_people == 64


def test_command_fails_when_nothing_could_be_read(command, tmp_path):
    (tmp_path / 'a.jpg').write_text('x')
    (tmp_path / 'b.jpg').write_text('x')
    result, words = command(tmp_path / 'a.jpg', tmp_path / 'b.jpg')
    assert result.exit_code == 1
    assert '2 of 2 failed' in words
    assert json.loads((tmp_path / 'out' / 'people.json').read_text())['counts']['read'] == 0
    (tmp_path / 'folder').mkdir()
    for names, part in (
        ([tmp_path / 'folder'], 'no picture there'),
        ([tmp_path / 'none.png'], 'none.png does not exist'),
        ([tmp_path / 'a.mp4', tmp_path / 'b.mp4'], 'a.mp4 does not exist'),
    ):
        result, words = command(*names)
        assert result.exit_code == 1
        assert part in words
        assert 'Traceback' not in words
    assert len(command.built) == 1  # whatever is wrong is said before networks are loaded


def test_command_takes_calibration_and_limit(command, tmp_path):
    turned_jpeg(tmp_path / 'a.jpg', 6)
    file = calibration_file(tmp_path / 'c.yaml', 320, 240, 150.0, 130.0)
    result, _ = command(tmp_path / 'a.jpg', '--calibration', file)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / 'out' / 'people.json').read_text())
    camera = content['pictures'][0]['camera']
    assert (camera['assumed'], camera['matrix'][0][2]) == (False, 240 - 1 - 130.0)
    assert content['pictures'][0]['exif_orientation'] == 6
    result, words = command(tmp_path / 'a.jpg', '--max-megapixels', '0.05')
    assert result.exit_code == 1
    assert 'raise the limit with --max-megapixels' in words
