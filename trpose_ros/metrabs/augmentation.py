"""Test-time augmentation: which variants of a crop are shown to the network.

The tables of the published packages ('pytorch', 'tensorflow') spread gamma, rotation and scale
evenly and mirror every second variant; they differ in the scale of a single variant. Note that
one variant is not the identity there: gamma 0.8 brightens the crop. 'centred', for networks
trained here, is the same idea around the identity, so that one variant is the plain crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CONVENTIONS = ('centred', 'pytorch', 'tensorflow')


@dataclass(frozen=True)
class AugmentationTable:
    """One row per variant; A variants."""

    scale: np.ndarray  # (A,) float64: crop magnification
    angle_rad: np.ndarray  # (A,) float64: rotation about the crop's centre
    gamma: np.ndarray  # (A,) float64: below 1 brightens
    flip: np.ndarray  # (A,) bool: mirrored

    def __len__(self) -> int:
        """Return the number of variants."""
        return len(self.scale)


def augmentation_table(
    num_aug: int, convention: str = 'centred', rotation_deg: float = 25.0
) -> AugmentationTable:
    """Return the table for ``num_aug`` variants.

    ``rotation_deg`` is the largest angle of the published conventions. Raises ValueError for
    num_aug < 1 or an unknown convention.
    """
    if num_aug < 1:
        raise ValueError(f'num_aug must be at least 1, got {num_aug}')
    if convention not in CONVENTIONS:
        raise ValueError(f'unknown augmentation convention {convention!r}; one of {CONVENTIONS}')
    if convention == 'centred':
        return _centred(num_aug)
    half = num_aug // 2
    rest = num_aug - half
    small = np.linspace(0.8, 1.0, half, endpoint=False)
    if rest == 1:
        large = np.array([1.05 if convention == 'tensorflow' else 1.0])
    else:
        large = np.linspace(1.0, 1.1, rest)
    return AugmentationTable(
        scale=np.concatenate([small, large]),
        angle_rad=np.deg2rad(_spread(-rotation_deg, rotation_deg, num_aug)),
        gamma=_spread(0.6, 1.0, num_aug),
        flip=(np.arange(num_aug) - half) % 2 == 1,
    )


def _spread(low: float, high: float, count: int) -> np.ndarray:
    return np.linspace(low, high, count) if count > 1 else np.array([(low + high) / 2])


def _centred(count: int) -> AugmentationTable:
    """Identity first, then mirrored and unmirrored variants further and further away."""
    share = ((np.arange(count) + 1) // 2) / max(count // 2, 1)  # 0, then pairs up to 1
    sign = np.where(np.arange(count) % 2 == 1, 1.0, -1.0)
    return AugmentationTable(
        scale=1.0 - 0.1 * sign * share,
        angle_rad=np.deg2rad(12.0) * sign * share,
        gamma=np.exp(0.2 * sign * share),
        flip=np.arange(count) % 2 == 1,
    )


def mirrored_joints(names: list[str] | tuple[str, ...]) -> np.ndarray:
    """Return the index of every joint's mirror image, by name.

    Names that start with l and r are each other's mirror ('lkne', 'rkne'); a name without a
    partner stays where it is, so that a centre joint called e.g. 'root' does no harm.
    """
    index = {name: i for i, name in enumerate(names)}
    swap = {'l': 'r', 'r': 'l'}
    partner = [swap.get(name[:1], name[:1]) + name[1:] for name in names]
    return np.array([index.get(other, i) for i, other in enumerate(partner)], dtype=np.intp)
