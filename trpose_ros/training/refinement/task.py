"""What the refinement is trained to do: joints, how they move, bones, roots, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from trpose_ros.refinement.moments import JOINTS, ROOT, SKELETON
from trpose_ros.refinement.network import Moments, Refined, RefinementNetwork
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.refinement.samples import RATE_HZ, draw, moments_of
from trpose_ros.training.refinement.sequences import Named, Track

Batch = tuple[Moments, Tensor]  # and the truth (B, T, 17, 3), camera frame
_BLOCK, _SHOWN = 6, 3
_MIXED = 0.5  # share of mixed tracks
_LARGEST_M = 1.0  # errors in the likelihood are cut off here
_PARENTS = get_skeleton(SKELETON).parents
_CHILDREN = [j for j in range(JOINTS) if _PARENTS[j] >= 0]
_ABOVE = [_PARENTS[j] for j in _CHILDREN]


class RefinementTask:
    """Draws windows and weighs what the network makes of them."""

    def __init__(
        self,
        model: RefinementNetwork,
        tracks: Sequence[Named],
        batch: int,
        frames: int,
        seed: int,
        dropout: float,
        motion: float,
        mixed: Sequence[Track] = (),
    ) -> None:
        """Keep the tracks; where there are ``mixed`` ones, they are most of a batch."""
        self.model: nn.Module = model
        self._network = model
        own = [named.track for named in tracks]
        self._tracks = [*own, *mixed]
        lengths = np.array([len(track) for track in self._tracks], float)
        if mixed:
            lengths[: len(own)] *= (1 - _MIXED) / lengths[: len(own)].sum()
            lengths[len(own) :] *= _MIXED / lengths[len(own) :].sum()
        self._weights = lengths / lengths.sum()
        self._batch, self._frames, self._seed = batch, frames, seed
        self._dropout, self._motion = dropout, motion

    def batches(self, first_step: int, last_step: int) -> Iterator[Batch]:
        """Yield the batch of every step; each depends on the seed and its number alone.

        Making windows costs as much as learning from them, so each is shown ``_SHOWN`` times, with
        other numbers left out.
        """
        block, made = -1, []
        for number in range(first_step, last_step):
            if number // (_BLOCK * _SHOWN) != block:
                block = number // (_BLOCK * _SHOWN)
                made = [self._made(block, k) for k in range(_BLOCK)]
            given, true = made[number % _BLOCK]
            rng = np.random.default_rng([self._seed, number])
            kept = rng.random((len(given.values), 1, given.values.shape[2])) >= self._dropout
            yield given._replace(values=given.values * torch.from_numpy(kept)), true

    def _made(self, block: int, number: int) -> Batch:
        rng = np.random.default_rng([self._seed, block, number])
        windows = draw(self._tracks, self._weights, self._batch, self._frames, rng)
        return moments_of(windows), torch.from_numpy(windows.true_m).float()

    def loss(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the losses; metres throughout."""
        given, true = batch
        out, _ = self.model(given, self._network.start(len(true)))
        return losses(out, given, true, self._motion)


def losses(out: Refined, given: Moments, true: Tensor, motion: float) -> dict[str, Tensor]:
    """Return the losses of outputs for truth (B, T, 17, 3)."""
    wanted = true - true[:, :, ROOT : ROOT + 1]
    joints = _length(out.joints_m - wanted).mean()
    target = _length(out.target_m - wanted).mean()
    elapsed = given.elapsed_s[:, 1:, None, None]
    # of steps of one camera frame: what happens in longer ones counts less
    share = (1 / RATE_HZ / elapsed.clamp(min=1e-3)).clamp(max=4.0)
    speed = torch.diff(out.joints_m - wanted, dim=1) * share
    even = torch.isclose(elapsed[:, 1:], elapsed[:, :-1], rtol=0.05)
    change = torch.diff(speed, dim=1) * even
    bones = _bones(out.joints_m).log() - _bones(wanted).clamp(min=0.02).log()
    doubt = _doubt(out, given, true)
    total = (
        joints
        + 0.3 * target
        + motion * (_length(speed).mean() + _length(change).mean())
        + 0.05 * bones.abs().mean()
        + 0.01 * doubt
    )
    return {
        'total': total,
        'joints_mm': 1e3 * joints,
        'target_mm': 1e3 * target,
        'speed_mm': 1e3 * _length(speed).mean(),
        'change_mm': 1e3 * _length(change).mean(),
        'doubt': doubt,
    }


def _doubt(out: Refined, given: Moments, true: Tensor) -> Tensor:
    """Return the mean negative log likelihood of the positions; only sigmas learn from it."""
    error = (out.joints_m + given.position_m[:, :, None] - true).detach()
    turned = (error @ given.rotation.transpose(2, 3)).clamp(-_LARGEST_M, _LARGEST_M)
    across, along = out.sigmas_m.unbind(dim=-1)
    side = turned[..., :2].square().sum(dim=-1)
    value = side / (2 * across**2) + 2 * across.log()
    value = value + turned[..., 2].square() / (2 * along**2) + along.log()
    placed = given.placed.float()[..., None]
    return (value * placed).sum() / (placed.sum().clamp(min=1) * JOINTS)


def _length(vectors: Tensor) -> Tensor:
    """Return lengths; with a gradient at zero too."""
    return (vectors.square().sum(dim=-1) + 1e-8).sqrt()


def _bones(joints: Tensor) -> Tensor:
    return _length(joints[..., _CHILDREN, :] - joints[..., _ABOVE, :])
