"""The crop network as it can run elsewhere: from a crop to joints of the crop, without geometry.

Crops are made, and poses are placed before the camera (reconstruction.py), by whoever runs it:
both are geometry in float64 and depend on the camera.
"""

from __future__ import annotations

import json

from torch import Tensor, nn

from trpose_ros.metrabs.checkpoints import LoadedNetwork
from trpose_ros.metrabs.heatmaps import decode_with_spread
from trpose_ros.metrabs.model import Metrabs
from trpose_ros.runtimes.onnx_export import Exportable

_TOLERANCES = {'joints_px': 0.05, 'joints_mm': 0.5, 'spread_px': 0.05, 'spread_mm': 0.5}
_STATES = {'state_chances': 1e-3}


class CropJoints(nn.Module):
    """Crops (B, 3, S, S), RGB 0..1 -> joints, their spread, and the chances of their states."""

    def __init__(self, model: Metrabs) -> None:
        super().__init__()
        self.model = model

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        """Return joints_px (B, J, 2), joints_mm (B, J, 3), spreads (B, J), chances (B, J, 3).

        Chances are those of visibility.py, and are missing where the network has no such head.
        """
        features = self.model.backbone(crop)
        logits = self.model.heatmap_heads(features)
        px, mm, spread = decode_with_spread(logits, self.model.config.geometry)
        found = (px, mm, spread.px, spread.mm)
        if self.model.state_head is None:
            return found
        return *found, self.model.state_head(features, logits).softmax(dim=-1)


def exportable(network: LoadedNetwork) -> Exportable:
    """Return the network and what its file has to say."""
    config = network.model.config
    side = config.proc_side
    return Exportable(
        CropJoints(network.model),
        'crop',
        (3, side, side),
        _TOLERANCES | (_STATES if config.states else {}),
        {
            'weights_id': network.weights_id,
            'licence': network.licence,
            'input': f'crop (batch, 3, {side}, {side}): RGB, 0..1',
            'outputs': 'joints_px in the crop; joints_mm relative, origin unknown; spreads are '
            'standard deviations; state_chances: visible, hidden, outside',
            'linear_light': str(network.linear_light),
            'joint_names': json.dumps(network.joint_names),
            'config': json.dumps(config.to_dict()),
        },
    )
