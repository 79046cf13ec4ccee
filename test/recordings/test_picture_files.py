"""Which pictures are meant by files, folders and patterns."""

from __future__ import annotations

from pathlib import Path

import pytest
from picture_stand_in import draw

from trpose_ros.recordings.picture_files import (
    NoPictureError,
    are_pictures,
    find_pictures,
    natural_key,
)
from trpose_ros.recordings.sources import SourceError, open_source


def found(arguments, **options):
    files, notes = find_pictures(arguments, **options)
    return [file.name for file in files], notes


def test_natural_order():
    names = ['img10.jpg', 'Img9.jpg', 'img09b.jpg', 'a.jpg', 'img9a.jpg', '2.jpg', '10.jpg']
    assert sorted(names, key=natural_key) == [
        *('2.jpg', '10.jpg', 'a.jpg', 'Img9.jpg', 'img9a.jpg', 'img09b.jpg', 'img10.jpg'),
    ]


def test_folder_gives_its_pictures_and_counts_the_rest_once(tmp_path):
    for name in ('b2.JPG', 'b10.PNG', 'a b.webp', 'Größe ä.tif', 'x.Bmp', '.hidden.png'):
        draw(tmp_path / name)
    draw(tmp_path / 'sub 2' / 'c.png')
    draw(tmp_path / 'sub 10' / 'c.png')
    for name in ('notes.txt', 'movie.mp4', 'IMG.HEIC', 'README'):
        (tmp_path / name).write_text('x')
    names, notes = found([tmp_path])
    assert names == [
        *('a b.webp', 'b2.JPG', 'b10.PNG', 'Größe ä.tif', 'x.Bmp', 'sub 2/c.png', 'sub 10/c.png'),
    ]
    assert notes == ['4 other files ignored (.heic, .mp4, .txt, without suffix)']


def test_links_that_lead_in_circles_end(tmp_path):
    draw(tmp_path / 'a' / 'one.jpg')
    (tmp_path / 'a' / 'up').symlink_to(tmp_path)
    (tmp_path / 'a' / 'again').symlink_to(tmp_path / 'a')
    (tmp_path / 'self').symlink_to(tmp_path / 'self')
    (tmp_path / 'self.jpg').symlink_to(tmp_path / 'self.jpg')
    (tmp_path / 'copy.jpg').symlink_to(tmp_path / 'a' / 'one.jpg')
    names, _ = found([tmp_path])
    assert names == ['copy.jpg', 'self.jpg', 'a/one.jpg']
    with pytest.raises(NoPictureError, match='name the folder'):
        found([f'{tmp_path}/**/*.jpg'])


def test_same_name_in_two_folders(tmp_path):
    for folder in ('a', 'b'):
        draw(tmp_path / folder / 'photo.jpg')
    draw(tmp_path / 'a' / 'photo.png')
    assert found([tmp_path])[0] == ['a/photo.jpg', 'a/photo.png', 'b/photo.jpg']
    assert found([tmp_path / 'a', tmp_path / 'b'])[0] == [
        *('a/photo.jpg', 'a/photo.png', 'b/photo.jpg'),
    ]
    assert found([f'{tmp_path}/*/photo.jpg'])[0] == ['a/photo.jpg', 'b/photo.jpg']
    assert found([tmp_path / 'a' / 'photo.jpg', tmp_path / 'a'])[0] == ['photo.jpg', 'photo.png']


def test_pattern_and_a_name_that_looks_like_one(tmp_path):
    for k in (1, 2, 10):
        draw(tmp_path / f'img{k}.png')
    draw(tmp_path / 'what[1].png')
    assert found([f'{tmp_path}/img*.png'])[0] == ['img1.png', 'img2.png', 'img10.png']
    assert found([tmp_path / 'what[1].png'])[0] == ['what[1].png']
    with pytest.raises(NoPictureError, match='matches nothing'):
        found([f'{tmp_path}/*.webp'])


def test_folders_without_pictures(tmp_path):
    with pytest.raises(NoPictureError, match=r'no picture there \(known are \.jpg'):
        found([tmp_path])
    (tmp_path / 'a.txt').write_text('x')
    with pytest.raises(NoPictureError, match=r'1 other file ignored \(\.txt\)'):
        found([tmp_path])
    with pytest.raises(NoPictureError, match='does not exist'):
        found([tmp_path / 'none.jpg'])
    (tmp_path / 'IMG_1.HEIC').write_text('x')
    with pytest.raises(NoPictureError, match=r'\.heic is not read; save it as JPEG or PNG'):
        found([tmp_path / 'IMG_1.HEIC'])


def test_folder_that_must_not_be_read(tmp_path, monkeypatch):
    draw(tmp_path / 'a.png')
    draw(tmp_path / 'closed' / 'b.png')
    listed = Path.iterdir

    def iterdir(folder):
        if folder.name == 'closed':
            raise PermissionError(13, 'Permission denied')
        return listed(folder)

    monkeypatch.setattr(Path, 'iterdir', iterdir)
    names, notes = found([tmp_path])
    assert names == ['a.png']
    assert notes == [f'{tmp_path / "closed"} cannot be read: Permission denied']


def test_results_are_no_pictures_to_read(tmp_path):
    draw(tmp_path / 'a.png')
    draw(tmp_path / 'out' / 'a.png')
    assert found([tmp_path], leave_out=tmp_path / 'out')[0] == ['a.png']
    with pytest.raises(NoPictureError, match='--out'):
        found([tmp_path / 'out'], leave_out=tmp_path / 'out')


def test_pictures_and_other_sources_are_told_apart(tmp_path):
    picture = draw(tmp_path / 'a.png')
    bare = tmp_path / 'photo'
    bare.write_bytes(picture.read_bytes())
    recording = tmp_path / 'bag'
    recording.mkdir()
    (recording / 'a.mcap').write_bytes(b'')
    for names in ([picture], [tmp_path], [bare], [f'{tmp_path}/*.png'], ['a.JPG'], ['a', 'b']):
        assert are_pictures(names)
    for names in ([recording], [recording / 'a.mcap'], ['walk.mp4'], ['/dev/video0'], ['none']):
        assert not are_pictures(names)
    with pytest.raises(SourceError, match='trpose run'):
        open_source(picture)
