"""VideoPose3D one frame at a time: exact, and O(layers) per frame for any look-ahead.

The layers form a tree: a column of layer i summarises D_{i+1} consecutive frames and is computed
from w_i columns of the layer before, D_i frames apart. A new frame x_t completes one new column
per layer; older columns wait in rings. That is the official network with its official delay.

The look-ahead dial asks for the pose of frame t - L although the symmetric network wants
pad = (R - 1) / 2 frames of future: the missing q = pad - L frames are repetitions of x_t. In the
tree of that one output each layer has three kinds of columns: those whose frames all lie in the
past (they are in the rings already), those whose frames are all x_t (one "steady" column per
layer), and at most one that straddles the present, ending r_i = q mod D_{i+1} frames after it.
So any look-ahead costs three columns per layer, computed in one matrix product; with weights being
read once for all of them, that is hardly more than one.

Batch norms are folded into the convolutions, which is exact in eval mode.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trpose_ros.lifters.networks.inputs import from_root
from trpose_ros.lifters.networks.precision import HALF, linear
from trpose_ros.lifters.networks.videopose3d import VideoPose3D


def fold_batch_norm(weight: Tensor, bn: Any) -> tuple[Tensor, Tensor]:
    """Return weight (out, k * in), taps in time order, and bias (out,) with the norm folded in."""
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    folded = weight.transpose(1, 2).reshape(len(weight), -1) * scale[:, None]
    return folded.contiguous(), bn.bias - bn.running_mean * scale


class VideoPose3DCore:
    """Ring buffers of one pose network."""

    most = 1
    root_joints = 0

    def __init__(
        self, model: VideoPose3D, look_ahead: int | None = None, half: bool = False
    ) -> None:
        config = model.config
        if config.dense:
            raise ValueError('the dense ablation of VideoPose3D has no stream; use its forward')
        self.config, self.values_in = config, config.values_in
        self.window = config.receptive_field
        pad = (self.window - 1) // 2
        official = 0 if config.causal else pad
        self.look_ahead = official if look_ahead is None else look_ahead
        if not 0 <= self.look_ahead <= official:
            raise ValueError(
                f'look_ahead must be 0..{official} for this '
                f'{"causal" if config.causal else "symmetric"} {self.window}-frame network, '
                f'got {look_ahead}'
            )
        self._future = official - self.look_ahead  # q: frames to be made up by repetition
        self._steps = config.dilations
        with torch.no_grad():
            self._folded(model, half)
        self._lengths = [
            (w - 1) * d + 1 for w, d in zip(config.filter_widths, self._steps, strict=True)
        ]
        hidden = [config.channels] * (len(self._lengths) - 1)
        self._features = [config.values_in * config.joints_in, *hidden]
        self._rings: list[Tensor] = []
        self._time = torch.zeros(0, dtype=torch.long)
        self.reserve(0)

    def _folded(self, model: VideoPose3D, half: bool) -> None:
        self._expand = fold_batch_norm(model.expand_conv.weight, model.expand_bn)
        convs: Any = model.layers_conv
        norms: Any = model.layers_bn
        pairs = [fold_batch_norm(c.weight, n) for c, n in zip(convs, norms, strict=True)]
        if half:  # see precision.py
            pairs = [(weight.to(HALF), bias) for weight, bias in pairs]
        self._blocks = list(zip(pairs[0::2], pairs[1::2], strict=True))
        shrink: Any = model.shrink
        self._shrink = (shrink.weight[:, :, 0].clone(), shrink.bias.clone())

    def reserve(self, slots: int) -> None:
        """Resize the rings; contents of the slots that remain are kept."""
        like = self._shrink[0]
        old = self._rings
        self._rings = [
            like.new_zeros(slots, n, f) for n, f in zip(self._lengths, self._features, strict=True)
        ]
        time = self._time.new_zeros(slots, device=like.device)
        keep = min(slots, len(self._time))
        if keep:
            for new, ring in zip(self._rings, old, strict=True):
                new[:keep] = ring[:keep]
            time[:keep] = self._time[:keep]
        self._time = time

    @torch.no_grad()
    def start(self, slots: Tensor, frames: Tensor) -> None:
        """Fill the rings with what endless repetition of the first frame would leave there."""
        column = from_root(frames, self.config.relative, self.config.size_power).reshape(
            len(frames), -1
        )
        for i, (ring, width) in enumerate(zip(self._rings, self.config.filter_widths, strict=True)):
            ring[slots] = column[:, None]
            if i + 1 < len(self._rings):
                taps = column[:, None].expand(-1, width, -1)
                column = self._layer(i, taps)
        self._time[slots] = 0

    @torch.no_grad()
    def step(self, slots: Tensor, frames: Tensor | None, count: int) -> Tensor | None:
        """Take one frame per slot; see ``Core``."""
        assert frames is not None  # only hops of more than one frame ask without
        now = self._time[slots]
        self._time[slots] = now + 1
        real = steady = from_root(frames, self.config.relative, self.config.size_power).reshape(
            len(frames), -1
        )
        straddling: Tensor | None = None
        dial = self._future > 0 and count > 0
        last = len(self._rings) - 1
        for i, width in enumerate(self.config.filter_widths):
            ring = self._rings[i]
            ring[slots, now % ring.shape[1]] = real
            groups = []
            if not dial or i < last:
                groups.append(self._taps(i, slots, now, 0, None, None))
            if dial:
                if i < last:
                    groups.append(steady[:, None].expand(-1, width, -1))
                groups.append(self._taps(i, slots, now, self._reach(i), steady, straddling))
            if i == last and count == 0:
                return None
            columns = self._layer(i, torch.cat(groups)).split(len(frames))
            real, straddling = columns[0], columns[-1]
            if dial and i < last:
                steady = columns[1]
                if self._reach(i) == 0:
                    straddling = None
        pose = F.linear(real if not dial else columns[-1], *self._shrink)
        return pose.reshape(len(frames), 1, self.config.joints_out, 3)

    def _reach(self, layer: int) -> int:
        """Return r_i: frames by which this layer's straddling column ends after the present."""
        return self._future % (self._steps[layer] * self.config.filter_widths[layer])

    def _taps(
        self,
        layer: int,
        slots: Tensor,
        now: Tensor,
        reach: int,
        steady: Tensor | None,
        straddling: Tensor | None,
    ) -> Tensor:
        """Gather the (N, w, F) input columns of a column that ends ``reach`` frames from now."""
        ring, step = self._rings[layer], self._steps[layer]
        ends = [reach - m * step for m in reversed(range(self.config.filter_widths[layer]))]
        past = [end for end in ends if end <= 0]
        index = (
            now[:, None] + torch.tensor(past, device=now.device, dtype=torch.long)
        ) % ring.shape[1]
        taps = [ring[slots[:, None], index]]
        for end in ends[len(past) :]:
            column = straddling if end < step else steady
            assert column is not None
            taps.append(column[:, None])
        return taps[0] if len(taps) == 1 else torch.cat(taps, dim=1)

    def _layer(self, layer: int, taps: Tensor) -> Tensor:
        """Compute columns (N, C) from their taps (N, w, F), oldest first."""
        rows = taps.reshape(len(taps), -1)
        if layer == 0:
            return F.relu(F.linear(rows, *self._expand))
        wide, narrow = self._blocks[layer - 1]
        residual = taps[:, -1 if self.config.causal else taps.shape[1] // 2]
        return residual + F.relu(linear(F.relu(linear(rows, *wide)), *narrow))


class RootedCore:
    """A pose network and its trajectory model side by side: the root is one more joint."""

    most = 1
    root_joints = 1

    def __init__(self, pose: VideoPose3DCore, root: VideoPose3DCore) -> None:
        self._pose, self._root = pose, root
        self.window, self.look_ahead = pose.window, pose.look_ahead
        self.values_in = pose.values_in

    def reserve(self, slots: int) -> None:
        """Resize the rings of both."""
        self._pose.reserve(slots)
        self._root.reserve(slots)

    def start(self, slots: Tensor, frames: Tensor) -> None:
        """Prime both; see ``Core``."""
        self._pose.start(slots, frames)
        self._root.start(slots, frames)

    def step(self, slots: Tensor, frames: Tensor | None, count: int) -> Tensor | None:
        """Take one frame per slot; see ``Core``."""
        pose = self._pose.step(slots, frames, count)
        root = self._root.step(slots, frames, count)
        return None if pose is None or root is None else torch.cat([pose, root], dim=2)
