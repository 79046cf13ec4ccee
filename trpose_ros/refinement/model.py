"""The refinement of a weights file, run moment by moment in numpy.

One person's moment is a few small products of a matrix and a vector, where PyTorch spends ten times
as long on calling as on computing. A test holds it against the network in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from trpose_ros import weights
from trpose_ros.refinement.moments import JOINTS, Moment
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
    parameter_shapes,
)
from trpose_ros.weights import WeightsError, check_keys

ARCHITECTURE = 'refinement'
_NORM_EPS = 1e-5  # of PyTorch's layer norm
_CUTS = np.cumsum(PARTS)[:-1]


@dataclass(frozen=True)
class State:
    """What is kept of N people."""

    hidden: np.ndarray  # (N, hidden)
    joints_m: np.ndarray  # (N, J, 3) filtered, relative to the root
    begun: np.ndarray  # (N,) bool: whether there are joints
    lengths: np.ndarray  # (N, J - 1) weighted sum of the logarithms of the bone lengths
    weights: np.ndarray  # (N, J - 1)

    @classmethod
    def join(cls, parts: list[State]) -> State:
        """Return the state of several people together."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def select(self, rows: np.ndarray) -> State:
        """Return the state of some of the people."""
        return State(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True)
class Step:
    """Output for N people at a moment."""

    joints_m: np.ndarray  # (N, J, 3) relative to the root, camera frame
    covariances_m2: np.ndarray  # (N, J, 3, 3) of the positions


class RefinementModel:
    """A network with its name."""

    def __init__(
        self, config: RefinementConfig, tensors: dict[str, np.ndarray], weights_id: str = ''
    ) -> None:
        """Keep the parameters, in their number type.

        Raises WeightsError when they are not those of such a network.
        """
        shapes = parameter_shapes(config)
        check_keys(shapes, tensors, weights_id or 'the refinement')
        for name, shape in shapes.items():
            if tensors[name].shape != shape:
                raise WeightsError(
                    f'{weights_id}: {name} has shape {tensors[name].shape}, not {shape}'
                )
        self.config, self.weights_id = config, weights_id
        self._of = {name: np.ascontiguousarray(value.T) for name, value in tensors.items()}
        self._dtype = tensors['leave.bias'].dtype

    def start(self) -> State:
        """Return the state of one person of whom nothing is known."""
        return State(
            np.zeros((1, self.config.hidden), self._dtype),
            np.zeros((1, JOINTS, 3)),
            np.zeros(1, bool),
            np.zeros((1, JOINTS - 1)),
            np.zeros((1, JOINTS - 1)),
        )

    def __call__(self, moment: Moment, state: State) -> tuple[Step, State]:
        """Return the output for N people, and their state behind it."""
        hidden, outputs = self._network(moment.values.astype(self._dtype), state.hidden)
        share, follow, rate, worth, sigma = np.split(outputs.astype(np.float64), _CUTS, axis=1)
        turn, elapsed = moment.rotation, moment.elapsed_s[:, None]
        count = len(turn)
        mixed = _sigmoid(np.log(moment.share / (1 - moment.share)) + share) - moment.share
        target = moment.base_m + mixed[..., None] * moment.apart_m
        gain = _gain(rate, elapsed)[..., None]
        follow = (_sigmoid(follow + FOLLOW) * elapsed)[..., None]
        ahead = state.joints_m + follow * moment.velocity_m_s
        ahead = np.where(state.begun[:, None, None], ahead, target)
        joints = ahead + gain * (target - ahead)
        bones, lengths, summed = _bones(joints, target, _sigmoid(worth), elapsed, state)
        sigmas = np.array(SIGMA_M) * self.config.sigma_factor
        sigmas = sigmas * np.exp(np.clip(sigma.reshape(count, JOINTS, 2), -MOST, MOST))
        # of row vectors: rotation^T diag(across, across, along) rotation
        spread = sigmas[..., [0, 0, 1], None] ** 2 * turn[:, None]
        step = Step(bones, np.swapaxes(turn, 1, 2)[:, None] @ spread)
        after = State(hidden, joints, np.ones(count, bool), lengths, summed)
        return step, after

    def _network(self, values: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the state (N, hidden) and the outputs (N, ...)."""
        of = self._of
        entered = values @ of['enter.0.weight'] + of['enter.0.bias']
        entered = entered - entered.mean(axis=1, keepdims=True)
        spread = np.sqrt((entered * entered).mean(axis=1, keepdims=True) + _NORM_EPS)
        entered = entered / spread * of['enter.1.weight'] + of['enter.1.bias']
        entered = entered * _sigmoid(entered)
        new = entered @ of['recur.weight_ih_l0'] + of['recur.bias_ih_l0']
        old = hidden @ of['recur.weight_hh_l0'] + of['recur.bias_hh_l0']
        size = hidden.shape[1]
        reset = _sigmoid(new[:, :size] + old[:, :size])
        keep = _sigmoid(new[:, size : 2 * size] + old[:, size : 2 * size])
        fresh = np.tanh(new[:, 2 * size :] + reset * old[:, 2 * size :])
        hidden = fresh + keep * (hidden - fresh)
        return hidden, (hidden + entered) @ of['leave.weight'] + of['leave.bias']


def _bones(
    joints: np.ndarray, target: np.ndarray, worth: np.ndarray, elapsed: np.ndarray, state: State
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return joints (N, J, 3) with the bones of the track, and the two sums of the state."""
    seen = np.linalg.norm(target[:, CHILDREN] - target[:, ABOVE], axis=2)
    share = np.where(elapsed > 0, np.minimum(elapsed, LONGEST_S), FIRST_S) * worth
    keep = np.exp(-elapsed / MEMORY_S)
    lengths = keep * state.lengths + share * np.log(np.maximum(seen, SHORTEST_M))
    summed = keep * state.weights + share
    mean = (lengths + lengths[:, MIRRORED]) / (summed + summed[:, MIRRORED])
    bones = joints[:, CHILDREN] - joints[:, ABOVE]
    bones = bones / np.maximum(np.linalg.norm(bones, axis=2, keepdims=True), SHORTEST_M)
    return CHAIN @ (bones * np.exp(mean)[..., None]), lengths, summed


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _gain(rate: np.ndarray, elapsed: np.ndarray) -> np.ndarray:
    return -np.expm1(-np.exp(np.clip(rate, -MOST, MOST) + RATE) * elapsed)


def load_model(name: str) -> RefinementModel:
    """Read a weights file.

    Raises WeightsError when it is missing, damaged, for another architecture or another version of
    the moments.
    """
    file = weights.load(name, ARCHITECTURE)
    try:
        config = RefinementConfig(**file.config)
    except (TypeError, ValueError) as error:
        raise WeightsError(f'{file.path}: {error}') from error
    tensors = {key: np.asarray(value, np.float32) for key, value in file.tensors.items()}
    return RefinementModel(config, tensors, file.weights_id)
