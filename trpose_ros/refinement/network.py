"""The network of the refinement: a recurrent filter of skeletons, the same live and in training.

A gated recurrent unit reads the values of each moment (moments.py). From its state come, for every
joint and the root, a correction of what was observed, a velocity and a rate; the output is a filter
that is steered by them, in the camera frame:

    output = (1 - gain) (output before + velocity elapsed) + gain (base + correction)
    gain = 1 - exp(-rate elapsed)

so a frame that is worth little changes little, whatever the frame rate. With a last layer of zeros,
as before training, it is this filter with a constant rate on the uncorrected base. Bones get the
lengths that they had on average over the track, left and right alike, each frame weighted by what
the network thinks of it. Further outputs are standard deviations of each joint's position across
and along the ray to the root.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trpose_ros.configuration import check_fields, setting
from trpose_ros.refinement.moments import JOINTS, ROOT, SKELETON, VALUES
from trpose_ros.skeletons import get_skeleton

_RATE = 3.4  # logarithm of the rate before training, 30 / s
_MOST = 5.0  # of a logarithm of a rate or of a standard deviation, from where it began
_SIGMA_M = (0.06, 0.15)  # before training: across and along the ray
_MEMORY_S = 20.0  # of bone lengths
_FIRST_S, _LONGEST_S = 1 / 30, 0.2  # what a frame counts in them
_CORRECTION_M = 0.1  # unit of the corrections
_STEP = 0.1  # unit of the corrections of the root, shares of its distance


@dataclass(frozen=True)
class RefinementConfig:
    """Sizes."""

    hidden: int = setting(256, 'numbers of the state', range=(8, 4096))
    values: int = setting(VALUES, 'numbers of a moment', range=(1, 100_000))
    # Standard deviations are multiplied by it: fitted on people that training did not see.
    sigma_factor: float = setting(1.0, range=(0.01, 100.0))

    def __post_init__(self) -> None:
        """Validate the ranges, and that the weights know the moments of this version."""
        check_fields(self)
        if self.values != VALUES:
            raise ValueError(
                f'the refinement was trained with {self.values} numbers per moment, this version '
                f'gives {VALUES}; train it again: trpose train refinement'
            )


class Moments(NamedTuple):
    """B people over T moments; see ``moments.Moment``."""

    values: Tensor  # (B, T, VALUES)
    base_m: Tensor  # (B, T, J, 3)
    position_m: Tensor  # (B, T, 3)
    placed: Tensor  # (B, T) bool
    rotation: Tensor  # (B, T, 3, 3)
    elapsed_s: Tensor  # (B, T)


@dataclass
class State:
    """What the network keeps of B people."""

    hidden: Tensor  # (1, B, hidden)
    joints_m: Tensor  # (B, J, 3) filtered, relative to the root
    root_m: Tensor  # (B, 3)
    begun: Tensor  # (B,) 1 or 0: whether there are joints
    located: Tensor  # (B,) the same of the root
    lengths: Tensor  # (B, J - 1) weighted sum of the logarithms of the bone lengths
    weights: Tensor  # (B, J - 1)

    def select(self, rows: list[int]) -> State:
        """Return the state of some of the people."""
        kept = {f.name: getattr(self, f.name)[rows] for f in fields(self)[1:]}
        return State(self.hidden[:, rows], **kept)

    @classmethod
    def join(cls, parts: list[State]) -> State:
        """Return the state of several people together."""
        hidden = torch.cat([part.hidden for part in parts], dim=1)
        names = [f.name for f in fields(cls)[1:]]
        return cls(hidden, *(torch.cat([getattr(p, name) for p in parts]) for name in names))


class Refined(NamedTuple):
    """Output for B people over T moments."""

    joints_m: Tensor  # (B, T, J, 3) relative to the root, camera frame
    root_m: Tensor  # (B, T, 3)
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
        self._parts = (3 * JOINTS, 3 * JOINTS, JOINTS, JOINTS - 1, 2 * JOINTS, 3, 3, 2)
        self.leave = nn.Linear(size, sum(self._parts))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        parents = list(get_skeleton(SKELETON).parents)
        self._children = [j for j in range(JOINTS) if parents[j] >= 0]
        self._above = [parents[j] for j in self._children]
        mirror = get_skeleton(SKELETON).mirror.tolist()
        self._mirrored = [self._children.index(mirror[j]) for j in self._children]
        chain = torch.zeros(JOINTS, JOINTS - 1)  # which bones lead to a joint
        for joint in range(JOINTS):
            at = joint
            while parents[at] >= 0:
                chain[joint, self._children.index(at)] = 1
                at = parents[at]
        self.register_buffer('chain', chain, persistent=False)
        self.chain: Tensor

    def start(self, count: int) -> State:
        """Return the state of people of whom nothing is known."""
        zeros = self.leave.bias.new_zeros
        return State(
            zeros(1, count, self.config.hidden),
            zeros(count, JOINTS, 3),
            zeros(count, 3),
            zeros(count),
            zeros(count),
            zeros(count, JOINTS - 1),
            zeros(count, JOINTS - 1),
        )

    def forward(self, given: Moments, state: State) -> tuple[Refined, State]:
        """Return outputs and the state behind the last moment."""
        entered = self.enter(given.values)
        hidden, last = self.recur(entered, state.hidden)
        correction, velocity, rate, worth, sigma, root, drift, root_rate = self.leave(
            hidden + entered
        ).split(self._parts, dim=-1)
        shape = (*given.values.shape[:2], JOINTS, 3)
        correction = _about_root(correction.reshape(shape)) * _CORRECTION_M
        velocity = _about_root(velocity.reshape(shape))
        # a row vector times the rotation turns from the frame of the ray to that of the camera
        target = given.base_m + correction @ given.rotation
        rates = _gain(torch.cat([rate, root_rate], dim=-1), given.elapsed_s)
        joints, state = _filter_joints(
            target, velocity @ given.rotation, rates[..., :JOINTS], given.elapsed_s, state
        )
        root, state = _filter_root(given, root, drift, rates[..., JOINTS:], state)
        joints, state = self._with_bones(joints, target, torch.sigmoid(worth), given, state)
        start = sigma.new_tensor(_SIGMA_M) * self.config.sigma_factor
        sigmas = start * sigma.reshape(*shape[:3], 2).clamp(-_MOST, _MOST).exp()
        return Refined(joints, root, sigmas, target), State(last, *_rest(state))

    def _with_bones(
        self, joints: Tensor, target: Tensor, worth: Tensor, given: Moments, state: State
    ) -> tuple[Tensor, State]:
        """Give bones of joints (B, T, J, 3) the lengths of the track so far."""
        seen = (target[:, :, self._children] - target[:, :, self._above]).norm(dim=-1)
        seen = seen.clamp(min=1e-3).log()
        lengths, weights, sums, counts = state.lengths, state.weights, [], []
        share = given.elapsed_s.clamp(max=_LONGEST_S)
        share = torch.where(share > 0, share, _FIRST_S)[..., None] * worth
        keep = torch.exp(-given.elapsed_s / _MEMORY_S)[..., None]
        for t in range(given.values.shape[1]):
            lengths = keep[:, t] * lengths + share[:, t] * seen[:, t]
            weights = keep[:, t] * weights + share[:, t]
            sums.append(lengths)
            counts.append(weights)
        mean = torch.stack(sums, dim=1) + torch.stack(sums, dim=1)[..., self._mirrored]
        count = torch.stack(counts, dim=1)
        mean = mean / (count + count[..., self._mirrored])
        bones = joints[:, :, self._children] - joints[:, :, self._above]
        bones = bones / bones.norm(dim=-1, keepdim=True).clamp(min=1e-3)
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


def _filter_root(
    given: Moments, correction: Tensor, drift: Tensor, gain: Tensor, state: State
) -> tuple[Tensor, State]:
    """Follow the root, where it is known; corrections and drift are shares of its distance."""
    distance = given.position_m.norm(dim=-1, keepdim=True)
    aside = correction[..., :2] * _STEP * distance
    along = distance * (correction[..., 2:] * _STEP).clamp(-1, 1).exp()
    target = torch.cat([aside, along], dim=-1)  # in the frame of the ray
    motion = drift * _STEP * distance * given.elapsed_s[..., None]
    gain = gain[..., [0, 0, 1]]
    root, located, outputs = state.root_m, state.located[:, None], []
    for t in range(target.shape[1]):
        turn, placed = given.rotation[:, t], given.placed[:, t, None]
        before = (turn @ root[..., None])[..., 0]
        ahead = torch.where(located > 0, before + motion[:, t], target[:, t])
        new = ahead + gain[:, t] * (target[:, t] - ahead)
        new = (turn.transpose(1, 2) @ new[..., None])[..., 0]
        root = torch.where(placed, new, root)
        located = torch.maximum(located, placed.to(located.dtype))
        outputs.append(root)
    state.root_m, state.located = root, located[:, 0]
    return torch.stack(outputs, dim=1), state


def _gain(rate: Tensor, elapsed_s: Tensor) -> Tensor:
    """Return the share of what is new after a time, for logarithms of rates (B, T, n)."""
    return -torch.expm1(-(rate.clamp(-_MOST, _MOST) + _RATE).exp() * elapsed_s[..., None])


def _about_root(vectors: Tensor) -> Tensor:
    """Return vectors (B, T, J, 3) less that of the root."""
    return vectors - vectors[..., ROOT : ROOT + 1, :]


def _all(state: State) -> list[Tensor]:
    return [getattr(state, f.name) for f in fields(state)]


def _rest(state: State) -> list[Tensor]:
    return _all(state)[1:]
