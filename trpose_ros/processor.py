"""What the processor can do, for choices that every kind of network makes alike."""

from __future__ import annotations

import torch


def cpu_has_bfloat16() -> bool:
    """Say whether the processor multiplies bfloat16 itself; else it is emulated and slow."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
