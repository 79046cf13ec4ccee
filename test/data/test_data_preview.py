"""``trpose data``: contact sheets and clips from the command line."""

import cv2
import pytest
from typer.testing import CliRunner

from trpose_ros.commands.data import app
from trpose_ros.recordings.bags import BagReader


@pytest.mark.parametrize(('kind', 'size'), [('crops', (512, 256)), ('scenes', (512, 192))])
def test_a_contact_sheet_is_written(shared_dir, tmp_path, kind, size):
    path = tmp_path / 'sheet.png'
    result = CliRunner().invoke(app, ['preview', str(path), '--kind', kind, '--count', '2'])
    assert result.exit_code == 0, result.output
    picture = cv2.imread(str(path))
    assert picture.shape == (size[1], size[0], 3)
    assert picture.std() > 5


def test_a_clip_is_rendered(shared_dir, tmp_path):
    path = tmp_path / 'clip.mcap'
    result = CliRunner().invoke(app, ['clip', str(path), '--seconds', '0.1'])
    assert result.exit_code == 0, result.output
    with BagReader(path) as bag:
        assert bag.counts['/camera/image/compressed'] == 3


def test_unknown_kinds_are_refused(tmp_path):
    result = CliRunner().invoke(app, ['preview', str(tmp_path / 'x.png'), '--kind', 'cats'])
    assert result.exit_code != 0
    assert 'cats' in result.output
