"""Streams of the transformer lifters: a ring of per-frame features per slot, a window per result.

MHFormer, MixSTE and P-STMO add absolute positions to the frames of a window and attend across all
of them, so a shift by one frame changes everything behind: the window has to be computed again for
each result. What can be saved exactly is saved:

* whatever depends on one frame alone is computed once and kept: P-STMO's per-frame encoder,
  MixSTE's embedding with its first spatial block, and what the frame contributes to the queries,
  keys and values of the first block over time (normed_sum.py);
* the last block and the head compute the frames that are asked for and no others; training heads
  are left out;
* with a hop of h frames the sequence-to-sequence networks run once per h frames for the poses of
  the last h.

The look-ahead dial differs by how a network was trained. MixSTE and MHFormer were trained on
every frame of the window: the dial chooses which output is read, nothing is made up. P-STMO was
trained for the centre frame alone: frames of the future that were not waited for are repetitions
of the newest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from trpose_ros.lifters.networks.mhformer import MHFormer
from trpose_ros.lifters.networks.mhformer_folded import FoldedMHFormer, can_fold
from trpose_ros.lifters.networks.mixste import MixSTE
from trpose_ros.lifters.networks.mixste_folded import FoldedMixSTE
from trpose_ros.lifters.networks.pstmo import PSTMO
from trpose_ros.lifters.networks.pstmo_folded import FoldedPSTMO

Embed = Callable[[Tensor], tuple[Tensor, ...]]  # (N, 1, 17, 2) -> features (N, 1, ...)
Lift = Callable[..., Tensor]  # features (N, window, ...), wanted frames -> (N, wanted, 17, 3)


class WindowCore:
    """Features of the last frames of each slot, and the network's run over a window of them.

    Args:
        embed: per-frame part of the network.
        lift: the rest; returns poses of the wanted slice of the window's outputs. The features
            that it gets are its own to overwrite.
        offsets: (window,) frames of the window relative to the newest one, ascending; positive
            ones repeat the newest frame.
        output: index of the newest pose among the outputs of ``lift``.
        look_ahead: frames from that pose to the newest frame.
        most: largest number of poses from one run.
        like: a parameter of the network, for number type and device.
        values_in: numbers per joint.

    """

    root_joints = 0

    def __init__(
        self,
        embed: Embed,
        lift: Lift,
        *,
        offsets: np.ndarray,
        output: int,
        look_ahead: int,
        most: int,
        like: Tensor,
        values_in: int,
    ) -> None:
        self._embed, self._lift = embed, lift
        self.values_in = values_in
        self._output = output
        self.look_ahead, self.most = look_ahead, most
        self.window = int(offsets[-1] - offsets[0]) + 1
        past = np.minimum(offsets, 0)
        self._length = 1 - int(past[0])
        self._offsets = torch.from_numpy(past).to(like.device)
        self._like = like
        self._rings: list[Tensor] = []  # of each feature, (slots, length, ...)
        self._time = torch.zeros(0, dtype=torch.long, device=like.device)

    def reserve(self, slots: int) -> None:
        """Resize the rings; contents of the slots that remain are kept."""
        keep = min(slots, len(self._time))
        time = self._time.new_zeros(slots)
        time[:keep] = self._time[:keep]
        self._time = time
        if slots == 0:
            self._rings = []
        for i, old in enumerate(self._rings):
            self._rings[i] = old.new_zeros(slots, *old.shape[1:])
            self._rings[i][:keep] = old[:keep]

    @torch.no_grad()
    def start(self, slots: Tensor, frames: Tensor) -> None:
        """Fill the rings with the first frame; see ``Core``."""
        features = self._embed(frames[:, None])
        if not self._rings:
            slots_and_length = (len(self._time), self._length)
            self._rings = [one.new_zeros(*slots_and_length, *one.shape[2:]) for one in features]
        for ring, feature in zip(self._rings, features, strict=True):
            ring[slots] = feature
        self._time[slots] = 0

    @torch.no_grad()
    def step(self, slots: Tensor, frames: Tensor | None, count: int) -> Tensor | None:
        """Take one frame per slot and compute ``count`` poses; see ``Core``."""
        assert self._rings  # ``start`` comes first
        now = self._time[slots]
        if frames is None:
            now = now - 1
        else:
            for ring, feature in zip(self._rings, self._embed(frames[:, None]), strict=True):
                ring[slots, now % self._length] = feature[:, 0]
            self._time[slots] = now + 1
        if count == 0:
            return None
        index = (now[:, None] + self._offsets) % self._length
        window = [ring[slots[:, None], index] for ring in self._rings]  # copies
        wanted = slice(self._output - count + 1, self._output + 1)
        return self._lift(*window, wanted)


def sequence_offsets(frames: int) -> np.ndarray:
    """Return the offsets of a window that ends with the newest frame."""
    return np.arange(1 - frames, 1)


def check_look_ahead(look_ahead: int, most: int, network: str) -> None:
    """Raise ValueError unless the network can look so far ahead."""
    if not 0 <= look_ahead <= most:
        raise ValueError(f'look_ahead must be 0..{most} for this {network}, got {look_ahead}')


def mixste_core(model: MixSTE, look_ahead: int | None = None) -> WindowCore:
    """Stream MixSTE; by default each window's last frame is the result (look-ahead 0).

    With a hop of as many frames as the window this is the published evaluation.
    """
    frames = model.config.frames
    ahead = 0 if look_ahead is None else look_ahead
    check_look_ahead(ahead, frames - 1, f'{frames}-frame MixSTE')
    folded = FoldedMixSTE(model) if model.config.depth > 1 else None
    return WindowCore(
        (lambda joints: (model.embed(joints),)) if folded is None else folded.embed,
        model.lift if folded is None else folded.lift,
        offsets=sequence_offsets(frames),
        output=frames - 1 - ahead,
        look_ahead=ahead,
        most=frames - ahead,
        like=model.Spatial_pos_embed,
        values_in=model.config.values_in,
    )


def mhformer_core(model: MHFormer, look_ahead: int | None = None) -> WindowCore:
    """Stream MHFormer; by default the centre frame is the result, as in its evaluation."""
    frames = model.config.frames
    ahead = frames - 1 - frames // 2 if look_ahead is None else look_ahead
    check_look_ahead(ahead, frames - 1, f'{frames}-frame MHFormer')
    return WindowCore(
        lambda joints: (joints,),
        FoldedMHFormer(model) if can_fold(model) else model,
        offsets=sequence_offsets(frames),
        output=frames - 1 - ahead,
        look_ahead=ahead,
        most=frames - ahead,
        like=model.get_parameter('norm_1.weight'),
        values_in=model.config.values_in,
    )


def pstmo_core(
    model: PSTMO, look_ahead: int | None = None, frame_step: int = 1, half: bool = False
) -> WindowCore:
    """Stream P-STMO, whose window takes every ``frame_step``-th frame around the lifted one.

    ``half`` reduces the weights of the large maps (precision.py).
    """
    centre = (model.config.frames - 1) // 2
    official = centre * frame_step
    ahead = official if look_ahead is None else look_ahead
    network = f'{model.config.frames}-frame P-STMO with a frame step of {frame_step}'
    check_look_ahead(ahead, official, network)
    folded = FoldedPSTMO(model, half)
    return WindowCore(
        folded.embed,
        lambda x, shares, _: folded.lift(x, shares),
        offsets=frame_step * np.arange(-centre, centre + 1) - ahead,
        output=0,
        look_ahead=ahead,
        most=1,
        like=model.Transformer.pos_embedding,
        values_in=model.config.values_in,
    )
