"""Training in two real processes (torchrun, gloo): the same numbers as in one; one that dies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_lines

from trpose_ros.training.distributed import Share, part_of

SCRIPT = Path(__file__).parents[1] / 'training_lines.py'
ROOT = SCRIPT.parent.parent


def torchrun(folder: Path, **variables: str):
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    command += ['--nproc-per-node', '2', str(SCRIPT), str(folder)]
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'GLOO_SOCKET_IFNAME': 'lo'} | variables
    environment['PYTHONPATH'] = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def result(folder: Path, rank: int) -> dict:
    return torch.load(folder / f'result{rank}.pt', weights_only=True)


def losses(folder: Path) -> list[float]:
    return [float(line.split(',')[2]) for line in (folder / 'log.csv').read_text().split()[1:]]


def test_two_processes_one_of_which_is_killed_train_as_one(tmp_path):
    alone, shared = tmp_path / 'alone', tmp_path / 'shared'
    training_lines.main(str(alone))
    done = torchrun(shared, DIES_AT='45')
    assert done.returncode != 0
    assert 'SIGKILL' in done.stderr
    assert not list(shared.glob('result*'))
    assert not list(shared.glob('*.part'))
    done = torchrun(shared)
    assert done.returncode == 0, done.stderr
    assert result(alone, 0)['seen'] == [10]
    for rank in (0, 1):
        assert result(shared, rank)['seen'] == [5]  # each its half
        assert result(shared, rank)['first'] == 45
        for name, value in result(shared, rank)['average'].items():
            assert torch.allclose(value, result(alone, 0)['average'][name], atol=1e-4), name
    assert losses(shared) == pytest.approx(losses(alone), rel=1e-3)
    assert len(losses(alone)) == 6
    assert losses(alone)[-1] < 0.3 * losses(alone)[0]
    names = ['checkpoint.pt', 'log.csv', 'result0.pt', 'result1.pt', 'run.json']
    assert sorted(p.name for p in shared.iterdir()) == names


@pytest.mark.parametrize(('count', 'ranks'), [(0, 2), (1, 2), (7, 3), (64, 4)])
def test_shares_hold_everything_once(count, ranks):
    rows = torch.arange(count)
    parts = [part_of(('x', rows), Share(rank, ranks))[1] for rank in range(ranks)]
    assert torch.equal(torch.cat(parts), rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
