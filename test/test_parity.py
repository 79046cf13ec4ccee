"""Reference numbers of MeTRAbs, file by file, and the table that compares a folder."""

from pathlib import Path

import numpy as np
import pytest
from parity import compare as parity
from parity.metrabs_numbers import CHECKERS, filled_value

REFERENCE = Path(__file__).with_name('reference')
FILES = sorted(p.name for p in REFERENCE.glob('metrabs_*') if p.name != 'metrabs_index.json')


@pytest.mark.parametrize('name', FILES)
def test_reference_numbers_are_met(name):
    matching = [check for pattern, check in CHECKERS.items() if Path(name).match(pattern)]
    assert len(matching) == 1
    rows = list(matching[0](REFERENCE / name))
    assert rows
    assert not [row for row in rows if not row.fine]


def test_the_rule_for_weights_gives_the_pinned_values():
    import hashlib

    pins = {
        'shrink.weight': ((51, 32, 1), '1c84166c642b8d8a'),
        'expand_bn.running_var': ((32,), 'a52a0b8d42a1ac29'),
        'expand_bn.weight': ((32,), '23e24dbf0fc21259'),
        'x.bias': ((3,), 'ac09afe5defb601b'),
        'a.num_batches_tracked': ((), 'af5570f5a1810b7a'),
    }
    for key, (shape, pin) in pins.items():
        assert hashlib.sha256(filled_value(key, shape).tobytes()).hexdigest()[:16] == pin


def changed(folder, name, key, change):
    """Copy a reference file with one array changed."""
    with np.load(REFERENCE / name) as data:
        arrays = dict(data)
    arrays[key] = change(arrays[key])
    np.savez(folder / name, **arrays)


def test_a_wrong_number_is_seen(tmp_path, capsys):
    changed(tmp_path, 'metrabs_decode.npz', 'coords2d_1', lambda a: a + 0.5)
    assert not parity.report(tmp_path)
    text = capsys.readouterr().out
    assert 'FAR' in text
    assert '0.5' in text
    rows = {row.quantity: row.fine for row in parity.compare(tmp_path).rows}
    assert rows == {'coords2d': False, 'coords3d_rel': True}


@pytest.mark.parametrize('change', [lambda a: a * np.nan, lambda a: a[:1]])
def test_nan_and_another_shape_are_far(tmp_path, change):
    changed(tmp_path, 'metrabs_decode.npz', 'coords2d_1', change)
    assert not parity.compare(tmp_path).fine


def test_damaged_and_unknown_files_are_named(tmp_path):
    (tmp_path / 'metrabs_decode.npz').write_bytes(b'not a zip')
    (tmp_path / 'surprise.npz').write_bytes(b'')
    changed(tmp_path, 'metrabs_distortion.npz', 'coeffs_0', lambda a: a)
    found = parity.compare(tmp_path)
    assert not found.fine
    assert len(found.failed) == 1
    assert 'metrabs_decode.npz' in found.failed[0]
    assert found.unknown == ('surprise.npz',)
    assert {row.file for row in found.rows} == {'metrabs_distortion.npz'}


def test_an_empty_or_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='no reference file'):
        parity.compare(tmp_path)
    with pytest.raises(FileNotFoundError, match='not a folder'):
        parity.compare(tmp_path / 'nowhere')
