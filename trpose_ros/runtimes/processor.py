"""What the processor can do, for choices that every kind of network makes alike."""

from __future__ import annotations

import ctypes

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES = 64 << 20
_LARGEST = 32 << 20  # glibc takes no more


def cpu_has_bfloat16() -> bool:
    """Say whether the processor multiplies bfloat16 itself; else it is emulated and slow."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def keep_freed_memory() -> bool:
    """Keep freed memory of up to 64 MiB in this process; say whether that was possible (glibc).

    A network's maps have megabytes. By default glibc gives such memory back to the system as soon
    as it is freed, and gets it again, page by page and zeroed, for the next layer: on MobileNetV2
    a third of the time of an image.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept = mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    return bool(kept) and bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST))
