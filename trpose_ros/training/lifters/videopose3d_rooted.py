"""VideoPose3D with a trajectory model, and training on people whose 3D is not known.

Pavllo et al., CVPR 2019, section 4. A second network of the same shape gives the root in the
camera's frame; a root far away may be wrong by more, so its error counts by the inverse of its
depth. With both, a person without labels can teach: the predicted skeleton, put at the predicted
root and seen by the camera, has to lie on the 2D joints, and bones shall on average be as long as
those of the labelled people in the batch, or a skeleton could shrink towards the camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.lifters.trainer import WindowTask, cut_future, mpjpe
from trpose_ros.training.lifters.videopose3d_options import VideoPose3DTraining

_NEAREST_M = 0.1  # predicted joints nearer than this, or behind the camera, are projected from here
_BONES = np.array(get_skeleton('h36m_17').bones).T


class RootedVideoPose3D(VideoPose3D):
    """A pose network and its trajectory model; ``forward`` gives the pose alone.

    Names of parameters are those of a weights file: the trajectory model's begin with
    'trajectory.'.
    """

    def __init__(self, config: VideoPose3DConfig) -> None:
        super().__init__(config)
        self.trajectory = VideoPose3D(replace(config, joints_out=1))

    def both(self, joints: Tensor) -> Tensor:
        """Return (B, 18, 3) of windows (B, R, 17, values): the pose, then the root, metres."""
        pose, root = self.forward_windows(joints), self.trajectory.forward_windows(joints)
        return torch.cat([pose, root], dim=2)[:, 0]


def decay_momentum(model: VideoPose3D, share: float) -> None:
    """Set the momentum of all batch norms after a share 0..1 of a run: 0.1, at the end 0.001."""
    model.set_bn_momentum(0.1 * 100**-share)


class RootedTask(WindowTask):
    """Pose, trajectory and, with a weight for them, people without labels."""

    training: VideoPose3DTraining

    @property
    def dial_share(self) -> float:
        """Share of windows whose future is cut off."""
        return 0.0 if self.training.causal else self.training.dial_share

    def batches(self, first_step: int, last_step: int) -> Iterator[Any]:
        """Yield joints, targets and roots, and joints and cameras of people without labels."""
        for step in range(first_step, last_step):
            rng = np.random.default_rng([self.seed, step])
            batch = self._drawn(rng, True)[:3]
            if self.training.unlabelled > 0 and step >= self.training.unlabelled_after:
                joints, _, _, cameras = self._drawn(rng, False)
                batch = (*batch, joints, cameras)
            yield tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in batch)

    def _drawn(self, rng: np.random.Generator, labelled: bool) -> tuple[np.ndarray, ...]:
        joints, target_m, root_m, cameras = self.windows.draw_rooted(
            rng, self.training.batch, labelled
        )
        if self.windows.marked:
            cut_future(joints, self.dial_share, rng)
        return joints, target_m, root_m, cameras

    def loss(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Return the losses of pose and root and, with unlabelled people, of image and bones."""
        joints, target_m, root_m, *rest = batch
        model, count = cast(RootedVideoPose3D, self.model), len(joints)
        decay_momentum(model, step / self.steps)
        lifted = -1 if self.training.causal else target_m.shape[1] // 2
        seen = torch.cat([joints, rest[0]]) if rest else joints
        both = self.run(model.both, seen)
        pose, root = both[:, :17], both[:, 17]
        losses = {
            'pose': mpjpe(pose[:count], target_m[:, lifted]),
            'root': root_error(root[:count], root_m[:, lifted]),
        }
        if rest:
            shown = rest[0][:, lifted]
            absolute = pose[count:] + root[count:, None]
            losses['image'] = image_error(absolute, shown, rest[1])
            losses['bones'] = bone_error(pose[count:], pose[:count])
        teach = self.training.unlabelled * sum(losses[k] for k in ('image', 'bones') if k in losses)
        return {'total': losses['pose'] + losses['root'] + teach, **losses}


def root_error(predicted_m: Tensor, target_m: Tensor) -> Tensor:
    """Return the mean distance of roots (B, 3), each divided by its true depth."""
    depth = target_m[:, 2].clamp_min(_NEAREST_M)
    return ((predicted_m - target_m).norm(dim=-1) / depth).mean()


def image_error(joints_m: Tensor, seen: Tensor, cameras: Tensor) -> Tensor:
    """Return the mean distance of projections of (B, 17, 3) and joints seen (B, 17, 2 or 3).

    In half image widths; joints that are not trusted, by their mark, do not count.
    """
    depth = joints_m[..., 2:].clamp_min(_NEAREST_M)
    projected = joints_m[..., :2] / depth * cameras[:, None, :2] + cameras[:, None, 2:]
    # A joint very near is projected very far: how far says nothing.
    distance = (projected - seen[..., :2]).norm(dim=-1).clamp_max(1.0)
    trust = seen[..., 2] if seen.shape[-1] == 3 else torch.ones_like(distance)
    return (trust * distance).sum() / trust.sum().clamp_min(1.0)


def bone_error(unlabelled_m: Tensor, labelled_m: Tensor) -> Tensor:
    """Return the mean difference of mean bone lengths of two batches (B, 17, 3), metres.

    The labelled ones are the measure, and do not learn from this.
    """

    def lengths(joints_m: Tensor) -> Tensor:
        parents, children = (torch.from_numpy(index) for index in _BONES)
        bones = joints_m[:, children] - joints_m[:, parents]
        return bones.norm(dim=-1).mean(dim=0)

    return (lengths(unlabelled_m) - lengths(labelled_m.detach())).abs().mean()
