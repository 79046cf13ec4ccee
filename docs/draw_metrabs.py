"""Draw docs/metrabs.svg: why a metric heatmap survives truncation, with the code's own geometry.

python docs/draw_metrabs.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from trpose_ros.metrabs.heatmaps import HeatmapGeometry
from trpose_ros.metrabs.reconstruction import in_view_mask, reconstruct
from trpose_ros.skeletons import get_skeleton

INK, DIM, SEEN, LOST, MADE = '#1d2129', '#9aa3b2', '#3b6ea8', '#c0392b', '#2e8b57'
# A standing person, mm, x right, y down; joints of h36m_17.
PERSON_MM = np.array(
    [
        [0, 0, 0], [-130, 10, 20], [-140, 450, 0], [-150, 880, 60], [130, -10, -20],
        [150, 440, -60], [160, 860, 40], [0, -240, 10], [0, -480, -10], [10, -600, -60],
        [0, -700, -20], [170, -450, 20], [300, -230, 80], [330, -20, -60], [-170, -450, -20],
        [-330, -250, -120], [-280, -30, -300],
    ],
    float,
)  # fmt: skip


def bones(axes: Axes, points: np.ndarray, colour: str, seen: np.ndarray) -> None:
    """Draw a skeleton (J, 2); joints that are not seen are hollow."""
    for a, b in get_skeleton('h36m_17').bones:
        axes.plot(*points[[a, b]].T, color=colour, lw=1.4, zorder=2)
    axes.scatter(*points[seen].T, s=22, color=colour, zorder=3)
    axes.scatter(*points[~seen].T, s=22, facecolor='white', edgecolor=LOST, zorder=3)


def frame(axes: Axes, title: str, side: float, margin: float, unit: str) -> None:
    """Set up one panel."""
    axes.set_title(title, fontsize=9, color=INK)
    axes.set_xlim(-margin, side + margin)
    axes.set_ylim(side + 2.6 * margin, -margin)
    axes.set_aspect('equal')
    axes.set_xlabel(unit, fontsize=8)
    axes.tick_params(labelsize=7)


def main() -> None:
    """Draw the three panels."""
    mpl.rcParams['svg.hashsalt'] = 'metrabs'
    geometry = HeatmapGeometry()
    side = geometry.proc_side
    focal, truth = 420.0, PERSON_MM + np.array([30.0, 520.0, 2400.0])
    true_px = truth[:, :2] / truth[:, 2:] * focal + side / 2
    low = geometry.first_px
    heads_px = true_px.clip(low, low + geometry.last_px)  # a soft-argmax stays on its grid
    metric = PERSON_MM - PERSON_MM.mean(axis=0) + geometry.box_size_mm / 2
    matrix = torch.tensor([[[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]]])
    coords2d = torch.from_numpy(heads_px)[None]
    seen = in_view_mask(coords2d, geometry)[0].numpy()
    found = reconstruct(coords2d, torch.from_numpy(metric)[None], matrix.double(), geometry)
    absolute = found.abs_mm[0].numpy()
    figure = Figure(figsize=(9.6, 4.0), layout='constrained')
    left, middle, right = figure.subplots(1, 3)
    frame(left, '2D heads: pixels of the crop', side, 30, 'px')
    view = geometry.view_px
    left.add_patch(Rectangle((0, 0), side, side, fill=False, ec=INK))
    width = view[1] - view[0]
    left.add_patch(Rectangle((view[0], view[0]), width, width, fill=False, ec=SEEN, ls='--'))
    cells = low + np.arange(side // geometry.stride) * geometry.stride
    left.scatter(*np.meshgrid(cells, cells), s=2, color=DIM)
    bones(left, heads_px, SEEN, seen)
    frame(middle, '3D heads: millimetres around the person', geometry.box_size_mm, 200, 'mm')
    box = geometry.box_size_mm
    middle.add_patch(Rectangle((0, 0), box, box, fill=False, ec=INK))
    bones(middle, metric[:, :2], SEEN, seen)
    frame(right, 'reconstruction, projected', side, 30, 'px')
    right.add_patch(Rectangle((0, 0), side, side, fill=False, ec=INK))
    bones(right, absolute[:, :2] / absolute[:, 2:] * focal + side / 2, MADE, seen)
    right.scatter(*true_px.T, s=60, facecolor='none', edgecolor=DIM, zorder=1)
    figure.savefig(Path(__file__).with_name('metrabs.svg'), metadata={'Date': None})
    error = np.linalg.norm(absolute - truth, axis=-1)
    print(f'{int(seen.sum())} of {len(seen)} joints in view; error {error.mean():.1f} mm, '
          f'of those out of view {error[~seen].mean():.1f} mm')  # fmt: skip


if __name__ == '__main__':
    main()
