"""What a lifter stream is made of: its configuration, its results, and the core it drives.

A stream (streams/stream.py) knows tracks and time; a core knows one network. The core holds a state
per slot (one slot per track, two with flip averaging) and takes all slots of a moment as one
batch. Splitting it like this keeps every network free of stamps, gaps and track ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trpose_ros.configuration import check_fields, setting

if TYPE_CHECKING:
    from torch import Tensor

LIFTER_NAMES = ('none', 'videopose3d', 'mhformer', 'mixste', 'pstmo')


@dataclass(frozen=True)
class LifterConfig:
    """Which lifter runs, and how."""

    name: str = setting(
        'videopose3d', "network that lifts 2D to 3D; 'none' lifts nothing", choices=LIFTER_NAMES
    )
    model: str = setting(
        'videopose3d-robust', 'weights: a name, a .safetensors file or an official .bin/.pth file'
    )
    look_ahead: int | None = setting(
        None,
        'frames of future to wait for, at the training rate; none: as it was trained',
        range=(0, 1000),
    )
    smoothing: int = setting(
        0,
        'frames of look_ahead that average skeletons, with as many of the past, '
        'and are not given to the network; at most all; 0: none',
        range=(0, 30),
    )
    hop: int = setting(
        1, 'run the network once per so many frames (mixste, mhformer)', range=(1, 1000)
    )
    flip: bool = setting(True, 'average with the mirrored input, in the same batch')
    device: str = setting('auto', "'auto', 'cpu' or 'cuda': where the network runs")
    dtype: str = setting(
        'float32',
        'number type; bfloat16 reduces the weights of the large matrix products, '
        'where the processor has instructions for it (else float32, with a warning)',
        choices=('float32', 'bfloat16', 'float64'),
    )
    rate_hz: float | None = setting(
        None,
        'training rate, where the weights do not state it (Human3.6M: 50)',
        range=(1.0, 1000.0),
    )
    max_gap_s: float = setting(
        0.5,
        'longer gaps between two frames of a person restart their window, s',
        range=(0.01, 60.0),
    )
    causal: bool | None = setting(
        None,
        'official VideoPose3D checkpoints only: their files do not say it',
        choices=(True, False),
    )
    frame_step: int = setting(
        1, 'temporal down-sampling of pstmo (tds; 2 for official 50 Hz weights)', range=(1, 16)
    )

    def __post_init__(self) -> None:
        """Validate the ranges and choices."""
        check_fields(self)


@dataclass(frozen=True)
class Lifted:
    """The 3D skeleton of one person at the stamp of one input frame."""

    track_id: int
    stamp_ns: int
    joints_m: np.ndarray  # (17, 3) h36m_17, relative to the pelvis, which is exactly zero
    root_m: np.ndarray | None = None  # (3,) camera frame, where the lifter has a trajectory model


class Core(Protocol):
    """A network that takes frames one at a time.

    ``step`` with ``count`` > 0 returns the poses of the ``count`` newest frames that are
    ``look_ahead`` or more frames old: the last of them is ``look_ahead`` frames behind the frame
    just given. Frames before the first are repetitions of the first, frames of the future that
    were not waited for are repetitions of the newest.
    """

    window: int  # frames that one result depends on
    look_ahead: int
    most: int  # largest count of step
    root_joints: int  # further joints at the end of the output: 1 with a trajectory model
    values_in: int  # numbers per joint: 2, x and y, or 3, and whether it can be trusted (1 or 0)

    def reserve(self, slots: int) -> None:
        """Make room for this many slots, keeping what is there; 0 frees everything."""

    def start(self, slots: Tensor, frames: Tensor) -> None:
        """Prime slots (N,) with first frames (N, J, values_in); ``step`` follows with the same."""

    def step(self, slots: Tensor, frames: Tensor | None, count: int) -> Tensor | None:
        """Take frames (N, J, values_in); return (N, count, J + root_joints, 3), None for 0.

        Without frames nothing new is taken; cores with ``most`` 1 need not support that.
        """
