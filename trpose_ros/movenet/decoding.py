"""From MoveNet's maps to joints and boxes, as the graphs of Google's files do it.

A joint of the person at a centre's cell is expected at the cell plus the displacement found there;
among all cells the one wins whose heatmap, weighted by the nearness to that place, is highest, and
its offset gives the joint. One person: weight 1 / (distance + 1.8) cells, and the centre is
chosen the same way around the middle of the crop; the score is the heatmap there. Several: weight
exp(-distance^2 / (0.3 * shorter side of the map)) inside the person's box and none outside; the
score is the weighted heatmap, and a person's is the centre's times the mean of the joints' scores
above 0.127.

Coordinates: the networks measure from the image's edge. Here pixel centres are integers, so half
a pixel is taken off.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trpose_ros.movenet.network import STRIDE, MoveNetMaps

_NEAR = 1.8  # cells
_SPREAD = 0.3  # of the map's shorter side
_NEIGHBOURHOOD = 5  # cells; a centre is the highest of as many
LEAST_JOINT_SCORE = 0.127  # several people: joints below do not count
_HALF = 0.5  # px from the image's edge to the first pixel's centre


class FoundPeople(NamedTuple):
    """People in one image, the most likely centre first; px of the network's input."""

    boxes: Tensor  # (N, 4) x, y, width, height px
    scores: Tensor  # (N,) of persons, centre times mean of joints
    centres: Tensor  # (N,) chance of the centre
    joints_px: Tensor  # (N, J, 2) x, y
    joint_scores: Tensor  # (N, J)


def decode_single(maps: MoveNetMaps) -> tuple[Tensor, Tensor]:
    """Return the joints (B, J, 2) x, y px and their scores (B, J) of the person in each crop."""
    batch, _, height, width = maps.heatmaps.shape
    y, x = _grid(maps)
    middle = torch.hypot(y - height // 2, x - width // 2) + _NEAR
    cell = (maps.centre / middle).flatten(1).argmax(dim=1)  # (B,)
    rows = torch.arange(batch, device=cell.device)
    displacement = maps.displacements.flatten(3)[rows, :, :, cell]  # (B, J, 2)
    centre = torch.stack([cell // width, cell % width], dim=-1)
    expected = centre[:, None] + displacement
    distance = torch.hypot(
        y - expected[..., 0, None, None], x - expected[..., 1, None, None]
    )  # (B, J, h, w)
    at = (maps.heatmaps / (distance + _NEAR)).flatten(2).argmax(dim=2)  # (B, J)
    scores = maps.heatmaps.flatten(2).gather(2, at[..., None])[..., 0]
    offset = _at(maps.offsets, at)
    return _pixels(at, offset, width), scores


def decode_people(maps: MoveNetMaps, least_centre: float, most: int) -> list[FoundPeople]:
    """Return the people of each image, at most ``most`` whose centre has ``least_centre``."""
    if maps.box_size is None or maps.box_offset is None:
        raise ValueError('maps of a network for one person have no boxes; it needs kind "multi"')
    half = _NEIGHBOURHOOD // 2
    highest = F.max_pool2d(maps.centre[:, None], _NEIGHBOURHOOD, 1, half)[:, 0]
    peaks = torch.where(maps.centre >= highest, maps.centre, 0).flatten(1)
    found = []
    for i in range(len(peaks)):
        chance, cells = peaks[i].topk(min(most, peaks.shape[1]))
        kept = chance >= max(least_centre, 1e-6)
        one = MoveNetMaps(*(None if m is None else m[i] for m in maps))  # type: ignore[arg-type]
        found.append(_people(one, chance[kept], cells[kept]))
    return found


def _people(maps: MoveNetMaps, chance: Tensor, cells: Tensor) -> FoundPeople:
    """Decode the people at ``cells`` (N,) of one image's maps (without their first axis)."""
    assert maps.box_size is not None
    assert maps.box_offset is not None
    height, width = maps.centre.shape
    y, x = _grid(maps)
    centre = torch.stack([cells // width, cells % width], dim=-1).float()  # (N, 2) y, x
    middle = centre + maps.box_offset.flatten(1)[:, cells].T
    half = maps.box_size.flatten(1)[:, cells].T / 2
    limit = middle.new_tensor([height, width])
    low = torch.minimum((middle - half).clamp(min=0), limit)
    high = torch.minimum((middle + half).clamp(min=0), limit)
    rows = (y >= low[:, 0, None, None]) & (y < high[:, 0, None, None])  # (N, h, 1)
    columns = (x >= low[:, 1, None, None]) & (x < high[:, 1, None, None])  # (N, 1, w)
    expected = centre[:, None] + maps.displacements.flatten(2)[:, :, cells].permute(2, 0, 1)
    squared = (y - expected[..., 0, None, None]) ** 2 + (x - expected[..., 1, None, None]) ** 2
    weight = torch.exp(-squared / (_SPREAD * min(height, width))) * (rows & columns)[:, None]
    weighted = (maps.heatmaps * weight).flatten(2)  # (N, J, cells)
    at = weighted.argmax(dim=2)  # (N, J)
    # What the graph calls a joint's score is the best that anybody has at its place.
    best = weighted.amax(dim=0) if len(cells) else maps.heatmaps.flatten(1)  # (J, cells)
    scores = best.gather(1, at.T).T
    offsets = maps.offsets[None].expand(len(cells), -1, -1, -1, -1)
    joints = _pixels(at, _at(offsets, at), width)
    seen = scores > LEAST_JOINT_SCORE
    person = chance * (scores * seen).sum(dim=1) / seen.sum(dim=1).clamp(min=1)
    corner = low.flip(-1) * STRIDE - _HALF
    size = (high - low).flip(-1) * STRIDE
    return FoundPeople(torch.cat([corner, size], dim=1), person, chance, joints, scores)


def _grid(maps: MoveNetMaps) -> tuple[Tensor, Tensor]:
    height, width = maps.heatmaps.shape[-2:]
    device = maps.heatmaps.device
    y = torch.arange(height, dtype=torch.float32, device=device)
    x = torch.arange(width, dtype=torch.float32, device=device)
    return y[:, None], x[None]


def _at(pairs: Tensor, cells: Tensor) -> Tensor:
    """Return the pairs (N, J, 2) of maps (N, J, 2, h, w) at cells (N, J)."""
    flat = pairs.flatten(3)
    return flat.gather(3, cells[..., None, None].expand(-1, -1, 2, 1))[..., 0]


def _pixels(cells: Tensor, offset: Tensor, width: int) -> Tensor:
    """Return x, y px of cells (N, J) and offsets (N, J, 2) y, x."""
    place = torch.stack([cells // width, cells % width], dim=-1) + offset
    return place.flip(-1) * STRIDE - _HALF
