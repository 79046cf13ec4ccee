"""Pictures of what a network makes of held-out people, for a person who follows a training."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from trpose_ros.data.rendering.crops import Composer
from trpose_ros.data.rendering.hiding import CONDITIONS
from trpose_ros.drawing.overlay import TRUNCATED_RGB, TRUTH_RGB
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.metrabs.batches import Batch, held_out_batches

_SIDE = 192  # px of one crop in a sheet
_SHIFT = 4  # OpenCV's fixed point: sixteenths of a pixel
_FAR_PX = 1e5  # beyond, OpenCV's integers overflow


@torch.no_grad()
def pose_sheet(
    composer: Composer, predict: Callable[[Batch], Tensor], people: int = 8
) -> np.ndarray:
    """Return a contact sheet (H, W, 3) uint8: a row for each condition, a column for each person.

    ``predict`` gives joints (B, 17, 2) in crop px. The truth is drawn in green, the prediction in
    magenta over it.
    """
    rows = []
    for condition in ('clean', *CONDITIONS):
        batch = next(iter(held_out_batches(composer, condition, people)))
        found = predict(batch).float().cpu().numpy()
        assert batch.images is not None
        images = batch.images.permute(0, 2, 3, 1).numpy()
        cells = []
        for image, true_px, found_px in zip(images, batch.joints_px.numpy(), found, strict=True):
            scale = _SIDE / image.shape[0]
            cell = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
            draw_bones(cell, (true_px + 0.5) * scale - 0.5, TRUTH_RGB)
            draw_bones(cell, (found_px + 0.5) * scale - 0.5, TRUNCATED_RGB)
            cells.append(cell)
        row = np.concatenate(cells, axis=1)
        cv2.putText(row, condition, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255,) * 3, 1)
        rows.append(row)
    return np.concatenate(rows, axis=0)


def draw_bones(
    image: np.ndarray,
    joints_px: np.ndarray,
    colour: tuple[int, int, int],
    skeleton: str = 'h36m_17',
) -> None:
    """Draw the bones of joints (J, 2) over an (H, W, 3) uint8 image, in place."""
    with np.errstate(invalid='ignore'):
        usable = (np.abs(joints_px) < _FAR_PX).all(axis=1)
    points = np.rint(np.where(usable[:, None], joints_px, 0) * 2**_SHIFT).astype(int)
    for a, b in get_skeleton(skeleton).bones:
        if usable[a] and usable[b]:
            ends = tuple(points[a].tolist()), tuple(points[b].tolist())
            cv2.line(image, *ends, colour, 1, cv2.LINE_AA, _SHIFT)
