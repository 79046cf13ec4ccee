"""Where training computes, and in which number format."""

from __future__ import annotations

import torch

from trpose_ros.metrabs.inference import cpu_has_bfloat16
from trpose_ros.metrabs.inference import pick_device

__all__ = ['autocast', 'pick_device']


def autocast(device: torch.device | str, precision: str = 'auto') -> torch.autocast:
    """Return the context in which a network's features are computed.

    'auto' is bfloat16 where the device multiplies it natively; elsewhere it would be emulated and
    slow, and everything stays in float32.
    """
    device = torch.device(device)
    if precision == 'auto':
        has = torch.cuda.is_bf16_supported() if device.type == 'cuda' else cpu_has_bfloat16()
        precision = 'bfloat16' if has else 'float32'
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == 'bfloat16')
