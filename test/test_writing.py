"""Files are complete or absent, nothing stays behind, and an error names file and remedy."""

import errno
import os
import re
import stat

import pytest

from trpose_ros.writing import Draft, WriteError, whole_file, whole_stream, write_bytes, write_text


def test_what_is_written_is_there_and_nothing_else(tmp_path):
    path = tmp_path / 'new' / 'a.txt'
    write_text(path, 'Grüße\n')
    assert path.read_bytes() == 'Grüße\n'.encode()
    write_bytes(path, b'')
    assert path.read_bytes() == b''
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize('error', [RuntimeError('stop'), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / 'a.txt'
    path.write_text('old')

    def fail():
        with whole_stream(path) as stream:
            stream.write(b'new')
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ('number', 'remedy'),
    [
        (errno.ENOSPC, 'the disk is full: free some space'),
        (errno.EDQUOT, 'share of the disk is used up'),
        (errno.EROFS, 'read-only: choose another place'),
        (errno.EACCES, 'no permission'),
        (errno.EBUSY, os.strerror(errno.EBUSY)),
    ],
)
@pytest.mark.parametrize('function', ['fsync', 'replace'])
def test_a_full_disk_is_one_line_that_names_file_and_remedy(
    tmp_path, monkeypatch, number, remedy, function
):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / 'a.txt'
    path.write_text('old')
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(
        WriteError, match=re.escape(f'{path} cannot be written: ') + '.*' + remedy
    ) as caught:
        write_text(path, 'new')
    assert caught.value.errno == number
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_within_the_block_is_named_too(tmp_path):
    path = tmp_path / 'a.txt'

    def fail():
        with whole_file(path):
            raise OSError(errno.ENOSPC, 'No space left on device')

    with pytest.raises(WriteError, match=r'a\.txt cannot be written: the disk is full'):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_links_are_not_followed(tmp_path):
    """A link of a name that could be guessed led writes elsewhere."""
    victim = tmp_path / 'victim'
    victim.write_text('untouched')
    folder = tmp_path / 'out'
    folder.mkdir()
    for name in ('.a.txt.part', 'a.txt.part', 'a.part', 'a.txt'):
        (folder / name).symlink_to(victim)
    write_text(folder / 'a.txt', 'new')
    assert victim.read_text() == 'untouched'
    assert not (folder / 'a.txt').is_symlink()
    assert (folder / 'a.txt').read_text() == 'new'


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').write_text('x')
    for name in ('pipe', 'folder'):
        with pytest.raises(WriteError, match=f'{name} cannot be written: something that'):
            write_text(tmp_path / name, 'x')
    with pytest.raises(WriteError, match='cannot be written'):
        write_text(tmp_path / 'file' / 'below', 'x')
    with pytest.raises(WriteError, match='the name is too long'):
        write_text(tmp_path / ('x' * 300), 'x')
    assert len(list(tmp_path.iterdir())) == 3


def test_a_draft_is_private_until_it_is_finished(tmp_path):
    draft = Draft(tmp_path / 'a.mp4', '.mp4')
    assert draft.temporary.parent == tmp_path
    assert draft.temporary.suffix == '.mp4'
    assert stat.S_IMODE(draft.temporary.stat().st_mode) == 0o600
    assert not draft.path.exists()
    draft.discard()
    draft.discard()
    assert list(tmp_path.iterdir()) == []
