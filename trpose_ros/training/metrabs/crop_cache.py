"""Composed crops as features of a frozen stem: written once, trained on many times.

The first blocks of a pretrained backbone know edges and textures; where they stay as they are,
what they make of a crop need not be computed again in every step. A shard is one file of labels
and one of float16 features for each backbone; a process that writes shards may go on while a
training reads those that are finished (``refresh``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trpose_ros.archives import mapped_array, pack_arrays
from trpose_ros.data.rendering.crops import Crop
from trpose_ros.training.metrabs.batches import Batch, collect
from trpose_ros.writing import whole_stream

_PART = 16  # crops that a stem sees at once
_LABELS = ('intrinsics', 'joints_m', 'joints_px', 'states')


def write_shard(
    folder: Path, number: int, crops: Sequence[Crop], stems: Mapping[str, nn.Module]
) -> None:
    """Write crops and what each stem makes of them; complete files only, the labels last."""
    folder.mkdir(parents=True, exist_ok=True)
    batch = collect(crops)
    assert batch.images is not None
    for name, stem in stems.items():
        with torch.inference_mode():
            parts = [stem(images.float() / 255).half() for images in batch.images.split(_PART)]
        _write(folder / f'{number:05d}.{name}.npy', torch.cat(parts).contiguous().numpy())
    labels = {name: getattr(batch, name).numpy() for name in _LABELS}
    _write(folder / f'{number:05d}.npz', labels)


def _write(path: Path, content: np.ndarray | dict[str, np.ndarray]) -> None:
    with whole_stream(path) as stream:
        if isinstance(content, dict):
            np.savez(stream, **content)  # type: ignore[arg-type]
        else:
            np.save(stream, content)


class CropCache:
    """The shards of a folder for one backbone; features stay on disk, memory-mapped."""

    def __init__(self, folder: str | Path, backbone: str) -> None:
        self.folder, self.backbone = Path(folder), backbone
        self._seen: set[str] = set()
        self._features: list[np.ndarray] = []
        self._labels: dict[str, list[np.ndarray]] = {name: [] for name in _LABELS}
        self.shard = np.zeros(0, np.int32)  # of every crop
        self.row = np.zeros(0, np.int32)  # in that shard
        self.metric = np.zeros(0, bool)  # whether its 3D is known
        self.refresh()

    def refresh(self) -> None:
        """Open shards that were finished since the last look."""
        for path in sorted(self.folder.glob('*.npz')):
            features = path.with_name(f'{path.stem}.{self.backbone}.npy')
            if path.stem in self._seen or not features.exists():
                continue
            self._seen.add(path.stem)
            arrays = pack_arrays(path, *_LABELS)
            labels = {name: arrays[name] for name in _LABELS}
            count = len(labels['states'])
            self.shard = np.append(self.shard, np.full(count, len(self._features), np.int32))
            self.row = np.append(self.row, np.arange(count, dtype=np.int32))
            self.metric = np.append(self.metric, np.isfinite(labels['joints_m'][:, 0, 0]))
            self._features.append(mapped_array(features))
            for name, value in labels.items():
                self._labels[name].append(value)

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.row)

    def batch(self, index: np.ndarray) -> Batch:
        """Return crops by number, those with 3D labels first."""
        index = np.concatenate([index[self.metric[index]], index[~self.metric[index]]])
        pairs = list(zip(self.shard[index], self.row[index], strict=True))

        def gathered(columns: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack([columns[s][r] for s, r in pairs]))

        return Batch(
            images=None,
            features=gathered(self._features),
            metric=int(self.metric[index].sum()),
            **{name: gathered(self._labels[name]) for name in _LABELS},
        )
