"""Numbers that the network in PyTorch and the one in numpy have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.refinement.moments import JOINTS, SKELETON, VALUES
from trpose_ros.skeletons import get_skeleton

RATE = 3.4  # logarithm of the rate before training, 30 / s
MOST = 5.0  # of a logarithm of a rate or of a standard deviation, from where it began
SIGMA_M = (0.06, 0.15)  # before training: across and along the ray
MEMORY_S = 20.0  # of bone lengths
FIRST_S, LONGEST_S = 1 / 30, 0.2  # what a frame counts in them
SHORTEST_M = 1e-3  # bone
FOLLOW = -1.0  # before training: logit of the share of the measured velocity
# What comes out: shares of the estimator, of the velocity, and rates of joints; worth of bones;
# sigmas.
PARTS = (JOINTS, JOINTS, JOINTS, JOINTS - 1, 2 * JOINTS)

_PARENTS = get_skeleton(SKELETON).parents
CHILDREN = [j for j in range(JOINTS) if _PARENTS[j] >= 0]  # a bone each
ABOVE = [_PARENTS[j] for j in CHILDREN]
MIRRORED = [CHILDREN.index(int(get_skeleton(SKELETON).mirror[j])) for j in CHILDREN]


def _chain() -> np.ndarray:
    """Return (J, J - 1): 1 where a bone leads to a joint."""
    chain = np.zeros((JOINTS, JOINTS - 1))
    for joint in range(JOINTS):
        at = joint
        while _PARENTS[at] >= 0:
            chain[joint, CHILDREN.index(at)] = 1
            at = _PARENTS[at]
    return chain


CHAIN = _chain()


@dataclass(frozen=True)
class RefinementConfig:
    """Sizes."""

    hidden: int = setting(160, 'numbers of the state', range=(8, 4096))
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


def parameter_shapes(config: RefinementConfig) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the parameters."""
    size = config.hidden
    return {
        'enter.0.weight': (size, config.values),
        'enter.0.bias': (size,),
        'enter.1.weight': (size,),
        'enter.1.bias': (size,),
        'recur.weight_ih_l0': (3 * size, size),
        'recur.weight_hh_l0': (3 * size, size),
        'recur.bias_ih_l0': (3 * size,),
        'recur.bias_hh_l0': (3 * size,),
        'leave.weight': (sum(PARTS), size),
        'leave.bias': (sum(PARTS),),
    }
