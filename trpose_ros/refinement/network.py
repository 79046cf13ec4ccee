"""The network of the refinement: a recurrent filter of skeletons, the same live and in training.

A gated recurrent unit reads the values of each moment (moments.py). From its state come, for every
joint, the share of the estimator's skeleton in the mean of it and the lifted one, the share of the
measured velocity that is believed, and a rate; the output is a filter that is steered by them, in
the camera frame:

    target = share estimated + (1 - share) lifted
    output = (1 - gain) (output before + believed velocity elapsed) + gain target
    gain = 1 - exp(-rate elapsed)

so a frame that is worth little changes little, whatever the frame rate. Nothing comes out that was
not put in: networks that were free to correct skeletons, or to say the velocity, knew the errors of
their recordings by heart and were worse on other people. With a last layer of zeros, as before
training, shares and rates are constant. Bones get the lengths that they had on average over the
track, left and right alike, each frame weighted by what the network thinks of it. Further outputs
are standard deviations of each joint's position across and along the ray to the root. Where the
root is stays with the fusion's own filter: a learned one was better where nothing was hidden, and
worse elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from trpose_ros import weights
from trpose_ros.refinement.moments import JOINTS, VALUES
from trpose_ros.refinement.settings import (
    ABOVE,
    CHAIN,
    CHILDREN,
    FIRST_S,
    FOLLOW,
    LONGEST_S,
    MEMORY_S,
    MIRRORED,
    MOST,
    PARTS,
    RATE,
    SHORTEST_M,
    SIGMA_M,
    RefinementConfig,
)


class Moments(NamedTuple):
    """B people over T moments; see ``moments.Moment``."""

    values: Tensor  # (B, T, VALUES)
    base_m: Tensor  # (B, T, J, 3)
    apart_m: Tensor  # (B, T, J, 3)
    share: Tensor  # (B, T, J)
    velocity_m_s: Tensor  # (B, T, J, 3)
    position_m: Tensor  # (B, T, 3)
    placed: Tensor  # (B, T) bool
    rotation: Tensor  # (B, T, 3, 3)
    elapsed_s: Tensor  # (B, T)


@dataclass
class State:
    """What the network keeps of B people."""

    hidden: Tensor  # (1, B, hidden)
    joints_m: Tensor  # (B, J, 3) filtered, relative to the root
    begun: Tensor  # (B,) 1 or 0: whether there are joints
    lengths: Tensor  # (B, J - 1) weighted sum of the logarithms of the bone lengths
    weights: Tensor  # (B, J - 1)


class Refined(NamedTuple):
    """Output for B people over T moments."""

    joints_m: Tensor  # (B, T, J, 3) relative to the root, camera frame
    sigmas_m: Tensor  # (B, T, J, 2) of the joints' positions, across and along the ray
    target_m: Tensor  # (B, T, J, 3) what the filter follows


class RefinementNetwork(nn.Module):
    """See the module."""

    Config = RefinementConfig

    def __init__(self, config: RefinementConfig | None = None) -> None:
        super().__init__()
        self.config = config or RefinementConfig()
        size = self.config.hidden
        self.enter = nn.Sequential(nn.Linear(VALUES, size), nn.LayerNorm(size), nn.SiLU())
        self.recur = nn.GRU(size, size, batch_first=True)
        self.leave = nn.Linear(size, sum(PARTS))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        chain = torch.from_numpy(CHAIN).float()
        self.register_buffer('chain', chain, persistent=False)
        self.chain: Tensor

    def start(self, count: int) -> State:
        """Return the state of people of whom nothing is known."""
        zeros = self.leave.bias.new_zeros
        return State(
            zeros(1, count, self.config.hidden),
            zeros(count, JOINTS, 3),
            zeros(count),
            zeros(count, JOINTS - 1),
            zeros(count, JOINTS - 1),
        )

    def forward(self, given: Moments, state: State) -> tuple[Refined, State]:
        """Return outputs and the state behind the last moment."""
        entered = self.enter(given.values)
        hidden, last = self.recur(entered, state.hidden)
        outputs = self.leave(hidden + entered)
        share, follow, rate, worth, sigma = outputs.split(PARTS, dim=-1)
        shape = (*given.values.shape[:2], JOINTS, 3)
        share = torch.sigmoid(torch.logit(given.share) + share) - given.share
        target = given.base_m + share[..., None] * given.apart_m
        gain = _gain(rate, given.elapsed_s)
        velocity = torch.sigmoid(follow + FOLLOW)[..., None] * given.velocity_m_s
        joints, state = _filter_joints(target, velocity, gain, given.elapsed_s, state)
        joints, state = self._with_bones(joints, target, torch.sigmoid(worth), given, state)
        start = sigma.new_tensor(SIGMA_M) * self.config.sigma_factor
        sigmas = start * sigma.reshape(*shape[:3], 2).clamp(-MOST, MOST).exp()
        return Refined(joints, sigmas, target), State(last, *_rest(state))

    def _with_bones(
        self, joints: Tensor, target: Tensor, worth: Tensor, given: Moments, state: State
    ) -> tuple[Tensor, State]:
        """Give bones of joints (B, T, J, 3) the lengths of the track so far."""
        seen = (target[:, :, CHILDREN] - target[:, :, ABOVE]).norm(dim=-1)
        seen = seen.clamp(min=SHORTEST_M).log()
        lengths, weights, sums, counts = state.lengths, state.weights, [], []
        share = given.elapsed_s.clamp(max=LONGEST_S)
        share = torch.where(share > 0, share, FIRST_S)[..., None] * worth
        keep = torch.exp(-given.elapsed_s / MEMORY_S)[..., None]
        for t in range(given.values.shape[1]):
            lengths = keep[:, t] * lengths + share[:, t] * seen[:, t]
            weights = keep[:, t] * weights + share[:, t]
            sums.append(lengths)
            counts.append(weights)
        mean = torch.stack(sums, dim=1) + torch.stack(sums, dim=1)[..., MIRRORED]
        count = torch.stack(counts, dim=1)
        mean = mean / (count + count[..., MIRRORED])
        bones = joints[:, :, CHILDREN] - joints[:, :, ABOVE]
        bones = bones / bones.norm(dim=-1, keepdim=True).clamp(min=SHORTEST_M)
        state.lengths, state.weights = lengths, weights
        return self.chain @ (bones * mean.exp()[..., None]), state


def _filter_joints(
    target: Tensor, velocity: Tensor, gain: Tensor, elapsed_s: Tensor, state: State
) -> tuple[Tensor, State]:
    """Follow targets (B, T, J, 3); the first one at once."""
    joints, begun, outputs = state.joints_m, state.begun[:, None, None], []
    motion = velocity * elapsed_s[..., None, None]
    for t in range(target.shape[1]):
        ahead = torch.where(begun > 0, joints + motion[:, t], target[:, t])
        joints = ahead + gain[:, t, :, None] * (target[:, t] - ahead)
        begun = torch.ones_like(begun)
        outputs.append(joints)
    state = State(*_all(state))
    state.joints_m, state.begun = joints, begun[:, 0, 0]
    return torch.stack(outputs, dim=1), state


def _gain(rate: Tensor, elapsed_s: Tensor) -> Tensor:
    """Return the share of what is new after a time, for logarithms of rates (B, T, n)."""
    return -torch.expm1(-(rate.clamp(-MOST, MOST) + RATE).exp() * elapsed_s[..., None])


def _all(state: State) -> list[Tensor]:
    return [getattr(state, f.name) for f in fields(state)]


def _rest(state: State) -> list[Tensor]:
    return _all(state)[1:]


def load_network(name: str) -> RefinementNetwork:
    """Return the network of a weights file; raises WeightsError as ``load_model`` does."""
    file = weights.load(name, 'refinement')
    network = RefinementNetwork(RefinementConfig(**file.config))
    tensors = {k: torch.from_numpy(np.asarray(v, np.float32)) for k, v in file.tensors.items()}
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)
