"""Recordings, videos and lists of people when the disk is full: nothing half, and a line."""

import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from trpose_ros.recordings.bags import BagError, BagWriter
from trpose_ros.recordings.people_json import PeopleFile
from trpose_ros.recordings.video import VideoError, VideoReader, VideoWriter
from trpose_ros.writing import WriteError

IMAGE = np.zeros((32, 48, 3), np.uint8)


def time_message(bag):
    return bag.typestore.types['builtin_interfaces/msg/Time'](1, 2)


@pytest.fixture
def full_disk(monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)


@pytest.mark.parametrize('name', ['a.mcap', 'a.db3', 'folder'])
def test_a_bag_on_a_full_disk(tmp_path, full_disk, name):
    def record():
        with BagWriter(tmp_path / name) as bag:
            bag.write('/time', time_message(bag), 1)

    with pytest.raises(WriteError, match=f'{name} cannot be written: the disk is full'):
        record()
    assert list(tmp_path.iterdir()) == []


def test_a_bag_whose_writer_fails(tmp_path, monkeypatch):
    bag = BagWriter(tmp_path / 'a.mcap')
    message = time_message(bag)

    def fail(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    really_abort = bag._writer.abort

    def abort():
        really_abort()
        fail()

    monkeypatch.setattr(bag._writer, 'write', fail)
    monkeypatch.setattr(bag._writer, 'abort', abort)
    with pytest.raises(WriteError, match=r'a\.mcap cannot be written: the disk is full'):
        bag.write('/time', message, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_recording_is_not_replaced(tmp_path):
    """BagWriter removed whatever lay there."""
    folder = tmp_path / 'home'
    folder.mkdir()
    (folder / 'thesis.tex').write_text('years of work')
    (folder / 'metadata.yaml').write_text('')
    with pytest.raises(BagError, match=r'home is no recording \(it holds thesis.tex\)'):
        BagWriter(folder)
    (folder / 'thesis.tex').unlink()
    bag = BagWriter(folder)
    bag.write('/time', time_message(bag), 1)
    (folder / 'late.txt').write_text('came while it was written')
    with pytest.raises(BagError, match=r'it holds late\.txt'):
        bag.close()
    assert sorted(p.name for p in folder.iterdir()) == ['late.txt', 'metadata.yaml']
    assert list(tmp_path.iterdir()) == [folder]


def test_other_things_in_the_way_are_refused(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(BagError, match='is a file'):
        BagWriter(tmp_path / 'file')
    (tmp_path / 'a.mcap').mkdir()
    with pytest.raises(BagError, match=r'a\.mcap is no recording'):
        BagWriter(tmp_path / 'a.mcap')
    (tmp_path / 'link').symlink_to(tmp_path)
    with pytest.raises(BagError, match='link'):
        BagWriter(tmp_path / 'link')
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize('compression', ['none', 'file'])
def test_an_older_recording_is_replaced(tmp_path, compression):
    for _ in range(2):
        with BagWriter(tmp_path / 'bag', compression=compression) as bag:
            bag.write('/time', time_message(bag), 1)
    assert [p.name for p in tmp_path.iterdir()] == ['bag']
    assert (tmp_path / 'bag' / 'metadata.yaml').is_file()


@pytest.mark.parametrize('suffix', ['.mp4', '.webm'])
def test_a_video_is_opened_again_before_it_gets_its_name(tmp_path, monkeypatch, suffix):
    path = tmp_path / f'a{suffix}'
    with VideoWriter(path, 10.0) as video:
        for _ in range(3):
            video.write(IMAGE)
    with VideoReader(path) as reader:
        assert len(list(reader.frames())) == 3
    before = path.read_bytes()

    class CutOff:
        """An encoder whose disk was full: it says nothing, and half of the file is missing."""

        def __init__(self, name, *rest):
            self.name, self.writer = name, real(name, *rest)

        def __getattr__(self, name):
            return getattr(self.writer, name)

        def release(self):
            self.writer.release()
            os.truncate(self.name, 40)

    real = cv2.VideoWriter
    CutOff.fourcc = staticmethod(real.fourcc)
    monkeypatch.setattr(cv2, 'VideoWriter', CutOff)

    def write():
        with VideoWriter(path, 10.0) as video:
            video.write(IMAGE)

    with pytest.raises(VideoError, match=r'a\.\w+ cannot be written.*free some space'):
        write()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_of_an_impossible_size_leaves_nothing(tmp_path):
    def write():
        with VideoWriter(tmp_path / 'a.webm', 10.0) as video:
            video.write(np.zeros((2, 40_000, 3), np.uint8))

    with pytest.raises(VideoError, match=r'a\.webm cannot be written.*40000x2'):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_list_of_people_on_a_full_disk(tmp_path, full_disk):
    def write():
        with PeopleFile(tmp_path / 'people.json', {'a': 1, 'b': 'x'}, 'pictures') as file:
            file.add({'c': 2})
            file.finish({'d': 3})

    with pytest.raises(WriteError, match=r'people\.json cannot be written: the disk is full'):
        write()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WriteError, match='cannot be written'):
        PeopleFile(Path(tmp_path / ('x' * 300)), {}, 'pictures')
