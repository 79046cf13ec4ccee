"""Inputs from reports of the field: does each case behave as its README says it should?

    python test/field_cases.py [../shared/cases/field] [--networks] [--live]

prints one line a case. Without options nothing is estimated, the inputs alone are looked at (some
seconds); ``--networks`` replays recordings with the shipped weights, ``--live`` plays into the
installed nodes (a minute each). test_field_cases.py calls the quick ones.
"""

from __future__ import annotations

import argparse
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from trpose_ros.data.samples import DataError
from trpose_ros.evaluation.sequences import clip_of_bag
from trpose_ros.lifters.checkpoints import read_checkpoint
from trpose_ros.pipeline.turning import Turned
from trpose_ros.recordings import bags, image_codec
from trpose_ros.recordings.bags import BagError
from trpose_ros.recordings.camera_book import CameraConfig
from trpose_ros.recordings.picture_files import are_pictures
from trpose_ros.recordings.sources import SourceOptions, open_source
from trpose_ros.recordings.video import VideoError, VideoWriter
from trpose_ros.weights import WeightsError

Check = Callable[[Path, Path], None]  # the case's folder, an empty folder; AssertionError
QUICK: dict[str, Check] = {}
NETWORKS: dict[str, Check] = {}
LIVE: dict[str, Check] = {}
FOCAL = 502.299  # of the shipped walk, 640 px wide


def case(table: dict[str, Check], name: str) -> Callable[[Check], Check]:
    """Enter a check under the name of its folder, and what of it is looked at."""

    def enter(check: Check) -> Check:
        table[name] = check
        return check

    return enter


def made(folder: Path, out: Path, *arguments: str) -> Path:
    """Have a case's make.py write its input."""
    os.environ.setdefault('PYTHONPATH', '')
    # The cases know the modules by the names that they had when the reports were collected.
    sys.modules.setdefault('trpose_ros.bags', bags)
    sys.modules.setdefault('trpose_ros.image_codec', image_codec)
    before, path = sys.argv, list(sys.path)
    sys.argv, sys.path[:0] = ['make.py', str(out), *arguments], [str(folder.parent)]
    try:
        runpy.run_path(str(folder / 'make.py'))
    except SystemExit:
        pass
    finally:
        sys.argv, sys.path[:] = before, path
    return out


def frames_of(path: Path, topic: str | None = None, **config: bool) -> tuple[list, list[str]]:
    """Return the frames of a source and its problems."""
    source = open_source(path, SourceOptions(image_topic=topic, camera=CameraConfig(**config)))
    try:
        return [entry.frame for entry in source.frames()], source.problems
    finally:
        source.close()


def said(problems: list[str], *words: str) -> bool:
    """Whether one of the sentences has all the words."""
    return any(all(word in problem for word in words) for problem in problems)


def refusal(kind: type[Exception], call: Callable[[], object]) -> str:
    """Return the one line with which a call refuses its input."""
    try:
        call()
    except kind as error:
        text = str(error)
    else:
        raise AssertionError('it was taken')
    assert '\n' not in text
    return text


def focal(frames: list) -> float:
    """Return the focal length of the last frame, NaN where it is assumed."""
    camera = frames[-1].camera
    return float('nan') if camera.assumed else camera.matrix[0, 0]


@case(QUICK, '01-zero-stamps')
def zero_stamps(folder: Path, _: Path) -> None:
    frames, problems = frames_of(folder / 'in.mcap')
    assert len({frame.stamp_ns for frame in frames}) == len(frames) == 20
    assert said(problems, 'times of recording are taken')
    clip = clip_of_bag(folder / 'in.mcap')
    assert len({frame.stamp_ns for frame in clip.frames()}) == 20
    assert said(list(clip.problems), 'times of recording')


@case(QUICK, '03-padded-jpeg')
def padded_jpeg(folder: Path, _: Path) -> None:
    frames, problems = frames_of(folder / 'in.mcap')
    assert frames
    assert not said(problems, 'cut off')


@case(QUICK, '04-nv12')
def nv12(folder: Path, _: Path) -> None:
    one, other = (frames_of(folder / name)[0] for name in ('in.mcap', 'nv21.mcap'))
    assert len(one) == len(other) == 8
    np.testing.assert_array_equal(one[0].image, other[0].image)
    assert one[0].image.std() > 10


@case(QUICK, '05-rectified-offline')
def rectified(folder: Path, _: Path) -> None:
    frames, problems = frames_of(folder / 'in.mcap')
    assert focal(frames) == 400.0
    assert said(problems, 'image_rect', 'set rectified')
    frames, problems = frames_of(folder / 'in.mcap', rectified=True)
    assert focal(frames) == FOCAL
    assert not frames[0].camera.distortion.any()
    assert problems == []


@case(QUICK, '07-distortion-models')
def distortion_models(folder: Path, out: Path) -> None:
    for k, model in enumerate(('none', 'pinhole', 'radtan', 'Inverse Brown Conrady', '')):
        frames, problems = frames_of(made(folder, out / f'{k}.mcap', model, *'00000'))
        assert abs(focal(frames) - FOCAL / 2) < 1e-6
        assert problems == []
    odd = made(folder, out / 'odd.mcap', 'Inverse Brown Conrady', *['0.1'] * 5)
    frames, problems = frames_of(odd)
    assert frames[0].camera.assumed
    assert said(problems, 'camera_info cannot be used', 'Inverse Brown Conrady')
    assert not said(problems, 'no camera_info')


@case(QUICK, '11-custom-npz')
def custom_npz(folder: Path, out: Path) -> None:
    from trpose_ros.data.datasets.custom_2d import load

    for kind in ('plain', 'none', 'scores', 'gaps', 'start-gap'):
        (out / kind).mkdir()
        made(folder, out / kind / 'data_2d_custom_my.npz', kind)
        (sample,) = load(out / kind)
        assert sample.joints_px.shape == (40, 17, 2)
    for kind in ('empty', 'no-metadata', 'nobody', 'detectron'):
        (out / kind).mkdir()
        made(folder, out / kind / 'data_2d_custom_my.npz', kind)
        refusal(DataError, lambda kind=kind: list(load(out / kind)))


@case(QUICK, '12-other-lifter-checkpoint')
def other_checkpoints(folder: Path, out: Path) -> None:
    for kind in ('poseformer', 'motionbert', 'lightning', 'html', 'lfs', 'cut'):
        path = made(folder, out / f'{kind}.bin', kind)
        text = refusal(WeightsError, lambda path=path: read_checkpoint(path))
        assert 'depth' not in text
        assert kind not in ('poseformer', 'motionbert') or 'is none of' in text


@case(QUICK, '17-image-inputs')
def image_inputs(folder: Path, out: Path) -> None:
    assert are_pictures([str(folder / 'images')])
    assert are_pictures([str(folder / 'images' / 'img_000000.jpg')])
    address = 'rtsp://127.0.0.1:1/cam?a=[1]'
    assert not are_pictures([address])
    with VideoWriter(out / 'walk.avi', 25.0) as video:
        for _ in range(3):
            video.write(np.zeros((48, 64, 3), np.uint8))
    for suffix in ('.mts', '.m2ts', '.wmv', '.3gp'):
        (out / f'walk{suffix}').write_bytes((out / 'walk.avi').read_bytes())
        assert len(frames_of(out / f'walk{suffix}')[0]) == 3
    (out / 'walk.bag').write_bytes(b'#ROSBAG V2.0\n')
    assert address in refusal(VideoError, lambda: open_source(address))
    assert 'rosbags-convert' in refusal(BagError, lambda: open_source(out / 'walk.bag'))


@case(QUICK, '18-mono16-ir')
def infrared(folder: Path, out: Path) -> None:
    for bits in (10, 12, 14, 16):
        frames, problems = frames_of(made(folder, out / f'{bits}.mcap', str(bits)))
        assert frames[0].image.max() > 200
        assert said(problems, f'only {bits} bits') == (bits < 16)


@case(QUICK, '19-roi-binning')
def roi_and_binning(folder: Path, out: Path) -> None:
    for kind in ('plain', 'roi', 'full-roi', 'binning', 'both', 'binning-x'):
        frames, problems = frames_of(made(folder, out / f'{kind}.mcap', kind))
        half = kind in ('binning', 'both', 'binning-x')
        assert abs(focal(frames) - (FOCAL / 2 if half else FOCAL)) < 1e-6
        assert problems == []
    for kind, size in (('roi-not-cut', '400x460'), ('scaled', '640x480')):
        frames, problems = frames_of(made(folder, out / f'{kind}.mcap', kind))
        assert frames[0].camera.assumed
        assert said(problems, f'camera_info is for {size}')


@case(QUICK, '21-turned-camera')
def turned_camera(folder: Path, out: Path) -> None:
    (upright, *_), _ = frames_of(made(folder, out / '0.mcap', '0'))
    for angle in (90, 180, 270):
        (frame, *_), _ = frames_of(made(folder, out / f'{angle}.mcap', str(angle)))
        back = Turned((360 - angle) % 360).frame(frame)
        assert np.abs(back.image.astype(int) - upright.image).mean() < 4  # two JPEGs
        np.testing.assert_allclose(back.camera.matrix, upright.camera.matrix, atol=1e-9)


@case(QUICK, '22-other-cameras-info')
def other_cameras_info(folder: Path, _: Path) -> None:
    topic = '/camera/infra1/image_rect_raw/compressed'
    frames, problems = frames_of(folder / 'in.mcap', topic)
    assert frames[0].camera.assumed
    assert said(problems, '/camera/color/camera_info')
    assert said(problems, "'color'", "'infra1'")
    frames, problems = frames_of(folder / 'in.mcap', topic, any_frame=True)
    assert focal(frames) == 280.0
    assert said(problems, '/camera/color/camera_info')


def replayed(recording: Path, out: Path, *options: str) -> list[tuple[list[int], float]]:
    """Replay with the shipped weights; return ids and the first root's depth (m), by frame."""
    from trpose_ros.recordings.messages import read_people

    command = [sys.executable, '-m', 'trpose_ros', 'replay', str(recording), '--no-video']
    subprocess.run([*command, '--out', str(out), *options], check=True, capture_output=True)
    with bags.BagReader(out / 'result.mcap') as bag:
        people = [read_people(m.message) for m in bag.messages(['/lifter_node/people'])]
    return [
        (p.track_ids.tolist(), float(p.joints_m[0, 0, 2]) if len(p) else float('nan'))
        for p in people
    ]


@case(NETWORKS, '05-rectified-offline, replayed')
def rectified_replay(folder: Path, out: Path) -> None:
    found = replayed(folder / 'in.mcap', out, '--rectified')
    assert abs(found[-1][1] - 2.53) < 0.2


@case(NETWORKS, '07-distortion-models, replayed')
def named_lens_replay(folder: Path, out: Path) -> None:
    found = replayed(made(folder, out / 'in.mcap', 'none', *'00000'), out / 'result')
    assert abs(found[-1][1] - 2.71) < 0.2  # 3.32 m with the assumed field of view


@case(NETWORKS, '10-low-rate, replayed')
def low_rate_replay(folder: Path, out: Path) -> None:
    for name in ('in_3hz', 'in_1hz'):
        found = replayed(folder / f'{name}.mcap', out / name)
        assert {i for ids, _ in found for i in ids} == {0}
        assert all(len(ids) == 1 for ids, _ in found)


@case(NETWORKS, '19-roi-binning, replayed')
def cut_off_replay(folder: Path, out: Path) -> None:
    depths = []
    for kind in ('plain', 'roi', 'binning', 'both'):
        found = replayed(made(folder, out / f'{kind}.mcap', kind), out / kind)
        depths.append(found[-1][1])
    assert max(depths) - min(depths) < 0.1


@case(NETWORKS, '22-other-cameras-info, replayed')
def other_cameras_replay(folder: Path, out: Path) -> None:
    topic = ('--image-topic', '/camera/infra1/image_rect_raw/compressed')
    assumed = replayed(folder / 'in.mcap', out / 'assumed', *topic)[-1][1]
    wrong = replayed(folder / 'in.mcap', out / 'wrong', *topic, '--any-frame')[-1][1]
    assert abs(wrong - 1.5) < 0.2  # what was given in silence
    assert assumed > 2.2


@case(NETWORKS, '18-mono16-ir, replayed')
def infrared_replay(folder: Path, out: Path) -> None:
    assert all(ids == [0] for ids, _ in replayed(folder / 'in10bit.mcap', out))


@case(NETWORKS, '21-turned-camera, replayed')
def turned_replay(folder: Path, out: Path) -> None:
    found = replayed(folder / 'in180.mcap', out, '--rotate-deg', '180')
    assert len(found) == 24
    assert all(ids == [0] for ids, _ in found)


def played(folder: Path, out: Path, mode: str) -> str:
    """Run live.py of the cases with the installed nodes; return what it prints."""
    start = (
        'import sys, runpy; from trpose_ros.recordings import bags, image_codec; '
        'sys.modules["trpose_ros.bags"] = bags; '
        'sys.modules["trpose_ros.image_codec"] = image_codec; '
        f'sys.argv = ["live.py", {mode!r}]; sys.path.insert(0, {str(folder.parent)!r}); '
        f'runpy.run_path({str(folder.parent / "live.py")!r}, run_name="__main__")'
    )
    (out / 'install').symlink_to(os.environ.get('TRPOSE_INSTALL', Path.cwd() / 'install'))
    result = subprocess.run(
        [sys.executable, '-c', start], cwd=out, capture_output=True, text=True, timeout=180
    )
    return result.stdout


for _folder, _mode, _words in (
    ('01-zero-stamps', 'zero', ('has stamp zero',)),
    ('14-latched-camera-info', 'latched', ('assumed False',)),
    ('16-live-topics', 'compressed', ('set image_transport to compressed',)),
    ('16-live-topics', 'compressed-name', ('set image_transport to compressed',)),
    ('16-live-topics', 'compressed-name-both', ('Name /cam/image_raw as',)),
    ('16-live-topics', 'noframe', ('an empty frame_id',)),
):

    def _check(folder: Path, out: Path, mode: str = _mode, words: tuple = _words) -> None:
        text = played(folder, out, mode)
        missing = [word for word in words if word not in text]
        assert not missing, f'{missing} not in what the nodes said: {text[-600:]}'

    LIVE[f'{_folder}, live {_mode}'] = _check


def behaves(check: Check, folder: Path) -> str:
    """Run a check; return '' or what is wrong."""
    with tempfile.TemporaryDirectory() as out:
        try:
            check(folder, Path(out))
        except Exception as error:  # whatever a case makes the code do
            return f'{type(error).__name__}: {error}'.splitlines()[0]
    return ''


def main() -> int:
    """Print one line a case; return how many do not behave."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('cases', nargs='?', default='../shared/cases/field', type=Path)
    parser.add_argument('--networks', action='store_true', help='also replay with the networks')
    parser.add_argument('--live', action='store_true', help='also play into the installed nodes')
    given = parser.parse_args()
    cv2.setNumThreads(1)
    checks = QUICK | (NETWORKS if given.networks else {}) | (LIVE if given.live else {})
    wrong = 0
    for name, check in sorted(checks.items()):
        problem = behaves(check, given.cases / name.partition(',')[0])
        wrong += bool(problem)
        print(f'{"WRONG" if problem else "as it should"}  {name}  {problem}'.rstrip(), flush=True)
    print(f'{len(checks) - wrong} of {len(checks)} cases behave as they should')
    return wrong


if __name__ == '__main__':
    sys.exit(main())
