"""Draw docs/lifters.svg and print the table of work per frame, both counted on the real code.

    python docs/draw_lifters.py

Multiply-adds are counted by PyTorch's counter while each network runs once: the whole window as
the published programs run it, and one step of our stream. Parameters are random: the count does
not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trpose_ros.lifters.networks.build import build_network
from trpose_ros.lifters.streams.videopose3d import VideoPose3DCore
from trpose_ros.lifters.streams.windows import mhformer_core, mixste_core, pstmo_core

RATE_HZ = 50.0
PAPER, INK, DIM = '#ffffff', '#1d2129', '#6a7180'
WINDOW, WAITED, RESULT, KEPT = '#cfd8e6', '#f2b35e', '#c0392b', '#3b6ea8'


@dataclass(frozen=True)
class Case:
    """One network in one published size."""

    label: str
    name: str
    config: dict[str, Any]
    core: Callable[..., Any]
    look_ahead: int | None = None  # none: the default


CASES = (
    Case('VideoPose3D, 27', 'videopose3d', {'filter_widths': (3, 3, 3)}, VideoPose3DCore),
    Case('VideoPose3D, 243', 'videopose3d', {}, VideoPose3DCore),
    Case('VideoPose3D, 243, now', 'videopose3d', {}, VideoPose3DCore, 0),
    Case('P-STMO-S, 243', 'pstmo', {}, pstmo_core),
    Case('MHFormer, 351', 'mhformer', {}, mhformer_core),
    Case('MixSTE, 27', 'mixste', {'frames': 27}, mixste_core),
    Case('MixSTE, 243', 'mixste', {}, mixste_core),
)


@dataclass(frozen=True)
class Work:
    """What a case needs."""

    case: Case
    window: int  # frames
    look_ahead: int  # frames
    whole: float  # multiply-adds of the whole window
    stream: float  # multiply-adds of one step

    @property
    def delay_ms(self) -> float:
        """From a frame to its result."""
        return 1000 * self.look_ahead / RATE_HZ


@torch.no_grad()
def count(run: Callable[[], Any]) -> float:
    """Return the multiply-adds of a call."""
    # The counter does not know the fused attention of CPUs, so attention is spelled out here.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2


def measure(case: Case) -> Work:
    """Count one case."""
    model: Any = build_network(case.name, case.config).eval().requires_grad_(False)
    core = case.core(model, case.look_ahead)
    slots, frame = torch.zeros(1, dtype=torch.long), torch.rand(1, 17, 2)
    core.reserve(1)
    core.start(slots, frame)
    window = case.config.get('frames', core.window)
    whole = model.forward_windows if case.name == 'videopose3d' else model
    joints = torch.rand(1, window, 17, 2)
    return Work(
        case,
        core.window,
        core.look_ahead,
        count(lambda: whole(joints)),
        count(lambda: core.step(slots, frame, 1)),
    )


def table(works: list[Work]) -> str:
    """Return the Markdown table."""
    lines = [
        '| network, frames | look-ahead | delay at 50 Hz | whole window | stream | ratio |',
        '|---|---:|---:|---:|---:|---:|',
    ]
    for work in works:
        lines.append(
            f'| {work.case.label} | {work.look_ahead} | {work.delay_ms:.0f} ms '
            f'| {work.whole / 1e6:,.1f} M | {work.stream / 1e6:,.1f} M '
            f'| {work.stream / work.whole:.2f} |'
        )
    return '\n'.join(lines)


def draw(works: list[Work], path: Path) -> None:
    """Draw windows on the left, work per frame on the right."""
    mpl.rcParams.update(
        {
            'font.family': 'DejaVu Sans',
            'font.size': 9,
            'svg.fonttype': 'none',
            'svg.hashsalt': 'lifters',
            'text.color': INK,
        }
    )
    figure = Figure(figsize=(10.5, 4.0), facecolor=PAPER)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1), sharey=True)
    left.set_yticks(range(len(works)), [work.case.label for work in works])
    left.invert_yaxis()
    for row, work in enumerate(works):
        _window(left, row, work)
        _work(right, row, work)
    left.axvline(0, color=INK, linewidth=1)
    left.set_xlabel('frames before the newest one (camera at the training rate, 50 Hz)')
    left.set_title('What a result looks at, and how long it waits', loc='left', fontsize=10)
    right.set_xscale('log')
    right.set_xlim(5, 1e6)
    right.set_xlabel('million multiply-adds per frame')
    right.set_title('Work per frame: stream, and whole window', loc='left', fontsize=10)
    for axes in (left, right):
        axes.tick_params(colors=DIM, labelcolor=INK, length=0)
        for side in axes.spines.values():
            side.set_visible(False)
    marks = [
        Patch(color=WINDOW, label='frames that the result looks at'),
        Patch(color=WAITED, label='those that it waits for'),
        Line2D([], [], color=RESULT, marker='o', linestyle='', label='the frame of the result'),
        Patch(color=KEPT, label='work of the stream'),
        Patch(color=WINDOW, label='work of the whole window'),
    ]
    figure.legend(handles=marks, loc='lower center', ncols=5, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, metadata={'Date': None} if path.suffix == '.svg' else {})


def _window(axes: Axes, row: int, work: Work) -> None:
    """Draw the frames that one result depends on."""
    ahead = work.look_ahead
    first = ahead - work.window + 1 if work.case.look_ahead == 0 else -(work.window - 1)
    if work.case.name == 'videopose3d' and work.case.look_ahead == 0:
        first = -(work.window // 2)  # the frames after the newest one are repetitions of it
    axes.barh(row, -first, left=first, height=0.55, color=WINDOW)
    axes.barh(row, ahead, left=-ahead, height=0.55, color=WAITED)
    axes.plot(-ahead, row, 'o', color=RESULT, markersize=6)
    text = 'no delay' if ahead == 0 else f'{work.delay_ms:.0f} ms'
    axes.annotate(text, (9, row), va='center', color=INK, annotation_clip=False)
    axes.set_xlim(-360, 60)


def _work(axes: Axes, row: int, work: Work) -> None:
    """Draw the multiply-adds of both sides."""
    axes.barh(row, work.whole / 1e6, height=0.55, color=WINDOW)
    axes.barh(row, work.stream / 1e6, height=0.55, color=KEPT)
    text = f'{work.stream / work.whole:.0%}'
    axes.annotate(text, (work.whole / 1e6 * 1.25, row), va='center', color=INK)


def main() -> None:
    """Print the table and draw the figure."""
    works = [measure(case) for case in CASES]
    print(table(works))
    draw(works, Path(__file__).with_name('lifters.svg'))


if __name__ == '__main__':
    main()
