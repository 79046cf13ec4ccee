"""The refinement of a weights file, run moment by moment."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from trpose_ros import weights
from trpose_ros.refinement.moments import Moment
from trpose_ros.refinement.network import Moments, RefinementConfig, RefinementNetwork, State
from trpose_ros.weights import WeightsError, WeightsFile, check_keys

ARCHITECTURE = 'refinement'


@dataclass(frozen=True)
class Step:
    """Output for N people at a moment."""

    joints_m: np.ndarray  # (N, 17, 3) relative to the root, camera frame
    root_m: np.ndarray  # (N, 3) where ``placed``
    covariances_m2: np.ndarray  # (N, 17, 3, 3) of the positions


@dataclass
class RefinementModel:
    """A network with its name."""

    network: RefinementNetwork
    weights_id: str = ''
    dtype: torch.dtype = field(default=torch.float32)

    def start(self) -> State:
        """Return the state of one person of whom nothing is known."""
        return self.network.start(1)

    @torch.inference_mode()
    def __call__(self, moment: Moment, states: list[State]) -> tuple[Step, list[State]]:
        """Return the output for N people and their states."""
        given = Moments(
            *(
                torch.from_numpy(np.asarray(getattr(moment, name))[:, None]).to(
                    torch.bool if name == 'placed' else self.dtype
                )
                for name in Moments._fields
            )
        )
        out, state = self.network(given, State.join(states))
        # (row vectors) covariance = rotation^T diag(across, across, along) rotation
        spread = out.sigmas_m[:, 0, :, [0, 0, 1]].double().numpy() ** 2
        turn = np.asarray(moment.rotation)[:, None]
        step = Step(
            out.joints_m[:, 0].double().numpy(),
            out.root_m[:, 0].double().numpy(),
            np.swapaxes(turn, 2, 3) @ (spread[..., None] * turn),
        )
        return step, [state.select([i]) for i in range(len(states))]


def load_model(name: str) -> RefinementModel:
    """Read a weights file.

    Raises WeightsError when it is missing, damaged, for another architecture or another version of
    the moments.
    """
    file = weights.load(name, ARCHITECTURE)
    network = build(file)
    return RefinementModel(network, file.weights_id)


def build(file: WeightsFile) -> RefinementNetwork:
    """Return the network of a weights file, ready to run; raises WeightsError."""
    try:
        network = RefinementNetwork(RefinementConfig(**file.config))
    except (TypeError, ValueError) as error:
        raise WeightsError(f'{file.path}: {error}') from error
    wanted = network.state_dict()
    check_keys(wanted, file.tensors, str(file.path))
    for key, value in wanted.items():
        given = torch.from_numpy(np.asarray(file.tensors[key], np.float32))
        if given.shape != value.shape:
            raise WeightsError(
                f'{file.path}: {key} has shape {tuple(given.shape)}, not {tuple(value.shape)}'
            )
        value.copy_(given)
    return network.eval().requires_grad_(False)
