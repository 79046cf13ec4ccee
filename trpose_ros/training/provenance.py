"""Where weights were trained: machine and commit, for their cards."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import torch


def machine(device: torch.device) -> str:
    """Return the processor and its threads, or the GPU, in words."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    try:
        found = re.search(r'^model name\s*:\s*(.+)$', Path('/proc/cpuinfo').read_text(), re.M)
        name = found.group(1) if found else name
    except OSError:
        pass  # not Linux
    return f'{name}, {torch.get_num_threads()} threads'


def commit() -> str:
    """Return the commit of this code, 'unknown' outside a checkout."""
    command = ['git', 'describe', '--always', '--dirty', '--match=']
    try:
        return subprocess.run(
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return 'unknown'
