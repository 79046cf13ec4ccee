"""``trpose data list | check | prepare`` as a user types them."""

from __future__ import annotations

import numpy as np
import pytest
from made_people import moving_person
from typer.testing import CliRunner

from trpose_ros.commands.datasets import app
from trpose_ros.data.motion.packs import find_shared, load_pack
from trpose_ros.data.registry import DATASETS, packs_folder

# Wide, so that tables are not wrapped.
RUN = CliRunner(env={'COLUMNS': '200'})


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('TRPOSE_DATA', str(tmp_path / 'data'))
    return tmp_path


def write_pack(path, scale=1.0):
    joints = moving_person(60, 'h36m_17') * scale
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        root=joints[:, 0],
        rel=joints - joints[:, :1],
        start=[0],
        length=[60],
        name=['walk'],
        subject=['anna'],
        split=['val'],
        fps=30.0,
        joint_names=np.array(['j'] * 17),
    )


def test_list_names_all_and_marks_what_is_there(own_folder):
    write_pack(own_folder / 'data' / 'motion' / 'motion.npz')
    result = RUN.invoke(app, ['list'])
    assert result.exit_code == 0
    assert str(own_folder / 'data') in result.output.replace('\n', '')
    lines = {line.split()[1]: line for line in result.output.splitlines() if len(line.split()) > 3}
    assert set(DATASETS) <= set(lines)
    assert ' yes ' in lines['motion']
    assert ' yes ' not in lines['human36m']


def test_check_reads_everything(own_folder):
    write_pack(own_folder / 'packs' / 'motion.npz')
    result = RUN.invoke(app, ['check', str(own_folder / 'packs')])
    assert result.exit_code == 0
    assert '1 samples,      0.0 minutes, 1 subjects: anna' in result.output
    assert '0.00 % of the joints without annotation' in result.output


def test_check_says_what_is_wrong(own_folder):
    write_pack(own_folder / 'packs' / 'motion.npz', 1000)
    result = RUN.invoke(app, ['check', str(own_folder / 'packs')])
    assert result.exit_code == 1
    assert 'millimetres where metres are expected' in result.output
    (own_folder / 'empty').mkdir()
    result = RUN.invoke(app, ['check', str(own_folder / 'empty')])
    assert result.exit_code == 1
    assert 'no data set known' in result.output


def test_check_of_a_name_says_what_to_obtain(own_folder):
    result = RUN.invoke(app, ['check', 'threedpw'])
    assert result.exit_code == 1
    assert 'virtualhumans.mpi-inf.mpg.de' in result.output
    assert str(own_folder / 'data' / 'threedpw' / 'sequenceFiles') in result.output


def test_prepared_motion_is_where_trainers_look(own_folder, monkeypatch):
    from pathlib import Path

    source = Path(__file__).parents[1] / 'reference' / 'motion'
    monkeypatch.delenv('TRPOSE_SHARED', raising=False)
    result = RUN.invoke(app, ['prepare', 'motion', '--from', str(source)])
    assert result.exit_code == 1  # both excerpts are shorter than a second
    assert 'nothing longer than 1 s' in result.output
    (own_folder / 'in').mkdir()
    text = (source / '14_27.bvh').read_text().replace('.00833', '.05')
    (own_folder / 'in' / 'anna.bvh').write_text(text)
    result = RUN.invoke(app, ['prepare', 'motion', '--from', str(own_folder / 'in')])
    assert result.exit_code == 0, result.output
    target = packs_folder() / 'data' / 'mocap' / 'mocap_cmu_30hz.npz'
    assert f'wrote {target}: 1 clips' in result.output.replace('\n', '')
    assert load_pack(target).subjects == ('anna',)
    beside = Path(__file__).resolve().parents[3] / 'shared'
    assert find_shared() == (beside if beside.is_dir() else packs_folder())


def test_prepare_names_what_is_missing(own_folder):
    for name, words in (
        ('human36m', 'data_3d_h36m.npz is not there'),
        ('motion', 'mocap.cs.cmu.edu'),
        ('bodies', 'base.obj'),
        ('threedpw', "give 'human36m', 'motion' or 'bodies'"),
    ):
        result = RUN.invoke(app, ['prepare', name])
        assert result.exit_code == 1
        assert words in result.output
