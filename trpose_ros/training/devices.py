"""Where training computes, and in which number format."""

from __future__ import annotations

import torch

from trpose_ros.metrabs.inference import pick_device
from trpose_ros.runtimes.processor import cpu_has_bfloat16

__all__ = ['autocast', 'pick_device', 'uses_bfloat16']


def uses_bfloat16(device: torch.device | str, precision: str = 'auto') -> bool:
    """Say whether features are computed in bfloat16.

    'auto' is bfloat16 where the device multiplies it itself; elsewhere it would be emulated and
    slow, and everything stays in float32.
    """
    if precision != 'auto':
        return precision == 'bfloat16'
    if torch.device(device).type == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_has_bfloat16()


def autocast(device: torch.device | str, precision: str = 'auto') -> torch.autocast:
    """Return the context in which a network's features are computed."""
    enabled = uses_bfloat16(device, precision)
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=enabled)
