"""What a training leaves when the disk is full, or a process that makes batches is killed."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess

import pytest
import torch
from training_lines import Lines

from trpose_ros.training import TrainingError
from trpose_ros.training.logbook import Logbook
from trpose_ros.training.loop import LoopConfig, TrainingLoop
from trpose_ros.training.metrabs.batches import ImageTask

LOOP = LoopConfig(steps=40, warm_up=2, log_every=10, device='cpu', tensorboard=False)


class Wide(Lines):
    """A network whose checkpoint takes about 1.3 MB."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Linear(2, 20_000), torch.nn.Linear(20_000, 1))


@contextlib.contextmanager
def small_disk(folder):
    """Mount a file system of 8 MB; skip where that is not allowed."""
    folder.mkdir()
    mount = shutil.which('mount')
    command = [mount or 'mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip('only root may mount a small disk; the test with a limit of size does the same')
    try:
        yield
    finally:
        subprocess.run(['umount', str(folder)], check=True)


@contextlib.contextmanager
def files_at_most(size: int):
    """Let no file grow beyond ``size`` bytes: writing fails with an OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def fails_to_save(folder, full) -> None:
    """Save a checkpoint, then another one on a full disk; the first one must still be good."""
    loop = TrainingLoop(Wide(), LOOP, folder)
    loop._train(next(iter(loop._batches())))
    loop.step = 1
    loop.save()
    good = (folder / 'checkpoint.pt').read_bytes()
    assert len(good) > 1_000_000
    loop._train(next(iter(loop._batches())))
    loop.step = 2
    with full, pytest.raises(TrainingError, match=r'checkpoint of step 2 .* kept.*space'):
        loop.save()
    assert (folder / 'checkpoint.pt').read_bytes() == good
    assert not list(folder.glob('*.part'))
    again = TrainingLoop(Wide(), LOOP, folder)
    assert again.step == 1


@contextlib.contextmanager
def filled(folder, left: int):
    """Fill the disk of a folder up to ``left`` bytes."""
    (folder / 'other').write_bytes(b'x' * (shutil.disk_usage(folder).free - left))
    try:
        yield
    finally:
        (folder / 'other').unlink()


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    disk = tmp_path / 'disk'
    with small_disk(disk):
        fails_to_save(disk, filled(disk, 500_000))


def test_a_limit_of_size_leaves_the_last_checkpoint(tmp_path):
    fails_to_save(tmp_path, files_at_most(300_000))


def test_a_first_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path):
    loop = TrainingLoop(Wide(), LOOP, tmp_path)
    with files_at_most(300_000), pytest.raises(TrainingError, match='none before'):
        loop.save()
    assert sorted(p.name for p in tmp_path.iterdir()) == ['run.json']


def test_a_full_disk_in_the_log_is_an_error_with_a_remedy(tmp_path):
    loop = TrainingLoop(Lines(), LOOP, tmp_path)
    with files_at_most(40), pytest.raises(TrainingError, match=r'log cannot be written.*space'):
        loop.run()
    again = TrainingLoop(Lines(), LOOP, tmp_path)
    again.run()
    lines = (tmp_path / 'log.csv').read_text().splitlines()
    assert [line.split(',')[0] for line in lines] == ['step', '10', '20', '30', '40']


class Dies(torch.utils.data.Dataset):
    """Batches whose maker is killed at step 5, as for want of memory."""

    share = None

    def __getitem__(self, step: int):
        if step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return {'x': torch.zeros(4, 2), 'y': torch.zeros(4, 1)}


class Composed(ImageTask):
    """A task with a process of its own for batches."""

    def loss(self, batch, step):
        return {'total': (self.model(batch['x']) - batch['y']).square().mean()}


# The signal of the death raises anywhere, also where hypothesis watches the collector.
@pytest.mark.filterwarnings('ignore:.*gc_callback:pytest.PytestUnraisableExceptionWarning')
# PyTorch opens files then, to see whether it still can; the signal may interrupt that, too.
@pytest.mark.filterwarnings('ignore:.*unclosed file.*:ResourceWarning')
@pytest.mark.filterwarnings('ignore:.*fork:DeprecationWarning')
def test_a_killed_maker_of_batches_ends_the_run_with_a_remedy(tmp_path):
    loop = TrainingLoop(Composed(torch.nn.Linear(2, 1), Dies(), 1), LOOP, tmp_path)
    with pytest.raises(TrainingError, match='workers'):
        loop.run()
    assert not (tmp_path / 'checkpoint.pt').exists()
    assert not list(tmp_path.glob('*.part'))


def test_the_log_goes_on_where_the_checkpoint_is(tmp_path):
    path = tmp_path / 'log.csv'
    path.write_text('step,seconds,total\n10,1.0,5.0\n20,2.0,4.0\n30,3.0,3.5\n40,4.')
    log = Logbook(tmp_path, 20, False, False)
    assert path.read_text().split() == ['step,seconds,total', '10,1.0,5.0', '20,2.0,4.0']
    log.log(30, 3.0, 0.5, {'total': 3.0, 'extra': 1.0})
    assert path.read_text().split() == [
        'step,seconds,total,extra', '10,1.0,5.0,', '20,2.0,4.0,', '30,3.0,3.0,1.0',
    ]  # fmt: skip
    log.record({'seed': 3})
    log.record({'seed': 4})
    assert [start['seed'] for start in json.loads((tmp_path / 'run.json').read_text())] == [3, 4]


def test_losses_and_pictures_are_there_for_tensorboard(tmp_path):
    loader = pytest.importorskip(
        'tensorboard.backend.event_processing.event_file_loader', reason='needs tensorboard'
    )
    import numpy as np

    with Logbook(tmp_path, 0, True, False) as log:
        log.log(10, 1.0, 0.5, {'total': 2.0})
        log.picture('held_out', np.zeros((8, 8, 3), np.uint8), 10)
    (file,) = (tmp_path / 'tensorboard').iterdir()
    events = list(loader.EventFileLoader(str(file)).Load())
    tags = {value.tag: event.step for event in events for value in event.summary.value}
    assert tags == {'total': 10, 'held_out': 10}
    assert (tmp_path / 'held_out.png').stat().st_size > 50
