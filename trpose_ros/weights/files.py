"""Weights files: safetensors with a self-describing header, shipped or imported, never downloaded.

A weights file is NAME.safetensors beside a model card NAME.md. The header (safetensors metadata,
strings only) must hold, besides anything a model adds:

    architecture    what reads it: 'metrabs', 'videopose3d', 'detector', ...
    config          JSON object of that architecture's configuration dataclass
    skeleton        a name in skeletons.SKELETONS, or 'custom' with joint_names in ``config``
    licence         SPDX identifier or a sentence, e.g. 'Apache-2.0', 'non-commercial research'
    training_data   what it was trained on
    measured_error  what was measured, on which data, with which command

A name is looked up in the package's weights folder and then in the user's, ``$TRPOSE_WEIGHTS`` or
``~/.local/share/trpose_ros/weights``, where ``trpose weights import`` puts converted checkpoints.
safetensors holds nothing executable, so loading a foreign file cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trpose_ros.weights.packing import INT8, pack, unpack
from trpose_ros.writing import whole_file, write_error, write_text

REQUIRED_META = (
    'architecture',
    'config',
    'skeleton',
    'licence',
    'training_data',
    'measured_error',
)
SHIPPED = Path(__file__).parent
# What safetensors' reader for numpy raises for headers that are no errors to the format: types that
# numpy lacks, nesting without end.
_STRANGE = (ValueError, TypeError, AttributeError, KeyError, RecursionError, MemoryError)


class WeightsError(RuntimeError):
    """Weights are missing, corrupt, for another architecture, or unsafe; the message says which."""


@dataclass(frozen=True)
class WeightsFile:
    """Tensors and header of one file."""

    tensors: dict[str, np.ndarray]
    meta: dict[str, str]
    sha256: str
    path: Path

    @property
    def weights_id(self) -> str:
        """Name and the start of the checksum; goes into Provenance."""
        return f'{self.path.stem}@{self.sha256[:12]}'

    @property
    def config(self) -> dict:
        """The configuration from the header."""
        return json.loads(self.meta['config'])


def user_folder() -> Path:
    """Return the folder of imported weights (it need not exist)."""
    given = os.environ.get('TRPOSE_WEIGHTS')
    if given:
        return Path(given).expanduser()
    base = os.environ.get('XDG_DATA_HOME') or Path.home() / '.local' / 'share'
    return Path(base) / 'trpose_ros' / 'weights'


def available() -> dict[str, Path]:
    """Return name -> path of all shipped and imported weights; shipped names win."""
    found: dict[str, Path] = {}
    for folder in (SHIPPED, user_folder()):
        if folder.is_dir():
            for path in sorted(folder.glob('*.safetensors')):
                found.setdefault(path.stem, path)
    return found


def resolve(name_or_path: str | Path) -> Path:
    """Return the file that a name or a path means; raise WeightsError when there is none."""
    text = str(name_or_path)
    if not text:
        raise WeightsError(f'no weights named; known are {sorted(available())}')
    if '/' not in text and not text.endswith('.safetensors'):
        known = available()
        if text in known:
            return known[text]
        raise WeightsError(
            f'no weights called {text!r}; known are {sorted(known)} (searched {SHIPPED} and '
            f'{user_folder()}); give a path, or import a checkpoint with `trpose weights import`'
        )
    path = Path(text).expanduser()
    if not path.is_file():
        raise WeightsError(
            f'weights file {path} does not exist; known names: {sorted(available())}'
        )
    return path


def load(name_or_path: str | Path, architecture: str | None = None) -> WeightsFile:
    """Read a weights file.

    ``architecture`` is the one the caller can use; another one in the file is an error. Raises
    WeightsError when the file is missing, cut off or otherwise corrupt, lacks required
    metadata, or is for another architecture.
    """
    from safetensors import SafetensorError, safe_open

    path = resolve(name_or_path)
    try:
        with safe_open(path, framework='numpy') as reader:
            meta = dict(reader.metadata() or {})
            names = reader.keys()  # the reader itself cannot be iterated
            tensors = unpack({name: _plain(name, reader.get_tensor(name)) for name in names})
    except (SafetensorError, OSError, *_STRANGE) as error:
        raise WeightsError(
            f'{path} is not a readable safetensors file ({error!s:.200}); it may be cut off: '
            'compare its size and sha256 with the model card and copy it again'
        ) from error
    _check_meta(meta, path)
    if architecture is not None and meta['architecture'] != architecture:
        raise WeightsError(
            f'{path} holds weights for architecture {meta["architecture"]!r:.80}, not '
            f'{architecture!r}'
        )
    return WeightsFile(tensors, meta, sha256_of(path), path)


def _plain(name: str, tensor: np.ndarray) -> np.ndarray:
    """Return a tensor of numbers that NumPy itself knows.

    Others, bfloat16 say, can be read or not by what else was imported: they are refused.
    """
    if tensor.dtype.kind not in 'fiub':
        raise ValueError(f'{name:.80} is of type {tensor.dtype}: write it as float32 or float16')
    return tensor


def read_meta(name_or_path: str | Path) -> dict[str, str]:
    """Return the header of a weights file without reading its tensors."""
    from safetensors import SafetensorError, safe_open

    path = resolve(name_or_path)
    try:
        with safe_open(path, framework='numpy') as reader:
            meta = dict(reader.metadata() or {})
    except (SafetensorError, OSError, *_STRANGE) as error:
        raise WeightsError(f'{path} is not a readable safetensors file ({error!s:.200})') from error
    _check_meta(meta, path)
    return meta


def save(path: str | Path, tensors: dict[str, np.ndarray], meta: dict[str, str]) -> WeightsFile:
    """Write a weights file (to a temporary name, then renamed) and return it.

    With ``packing`` in its metadata large tensors are written as bytes (packing.py).
    Raises WeightsError when required metadata is missing or a tensor is empty of meaning (NaN,
    infinity).
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = Path(path)
    meta = {str(key): str(value) for key, value in meta.items()}
    _check_meta(meta, path)
    bad = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if bad:
        raise WeightsError(f'refusing to save {path}: NaN or infinity in {_listing(bad)}')
    written = pack(tensors) if meta.get('packing') == INT8 else tensors
    written = {name: np.asarray(value, order='C') for name, value in written.items()}
    with whole_file(path) as temporary:
        try:
            save_file(written, temporary, metadata=meta)
        except SafetensorError as error:  # as of a full disk, in words of its own
            raise write_error(path, str(error)) from error
    return WeightsFile(unpack(written), meta, sha256_of(path), path)


def rewrite(name_or_path: str | Path, out: str | Path = '', **meta: str) -> WeightsFile:
    """Write a file again, or to ``out``, with changed metadata; the text of its card stays.

    Raises what ``load`` and ``save`` raise.
    """
    old = load(name_or_path)
    card, text = old.path.with_suffix('.md'), ''
    if card.is_file():
        blocks = card.read_text(encoding='utf-8').split('\n\n')
        text = '\n\n'.join(block for block in blocks[1:] if not block.startswith('- sha256'))
    new = save(out or old.path, old.tensors, old.meta | meta)
    write_card(new, text.replace(old.path.stem, new.path.stem))
    return new


def write_card(weights: WeightsFile, text: str = '') -> Path:
    """Write the model card NAME.md beside a weights file: header, checksum and free text."""
    rows = [('sha256', weights.sha256), ('size', f'{weights.path.stat().st_size} bytes')]
    rows += [(key, weights.meta[key]) for key in REQUIRED_META]
    rows += sorted((k, v) for k, v in weights.meta.items() if k not in REQUIRED_META)
    lines = [f'# {weights.path.stem}', '']
    lines += [f'- {key}: {_one_line(value)}' for key, value in rows]
    if text:
        lines += ['', text.strip()]
    card = weights.path.with_suffix('.md')
    write_text(card, '\n'.join(lines) + '\n')
    return card


def verify(name_or_path: str | Path) -> WeightsFile:
    """Load a file and compare it with the sha256 of its model card; raise WeightsError."""
    weights = load(name_or_path)
    card = weights.path.with_suffix('.md')
    if not card.is_file():
        raise WeightsError(f'{weights.path} has no model card {card.name} to verify against')
    match = re.search(r'sha256\W+([0-9a-f]{64})', card.read_text(encoding='utf-8'))
    if match is None:
        raise WeightsError(f'{card} states no sha256; write it again with weights.write_card')
    if match.group(1) != weights.sha256:
        raise WeightsError(
            f'{weights.path} has sha256 {weights.sha256}, its card says {match.group(1)}: '
            'the file was changed or damaged'
        )
    return weights


def check_keys(wanted: Iterable[str], given: Iterable[str], source: str) -> None:
    """Raise WeightsError that lists missing and extra parameter names, if there are any."""
    wanted, given = set(wanted), set(given)
    missing, extra = sorted(wanted - given), sorted(given - wanted)
    if missing or extra:
        raise WeightsError(
            f'{source} does not fit the model: missing {_listing(missing)}; '
            f'unexpected {_listing(extra)}'
        )


def sha256_of(path: Path) -> str:
    """Return the hex checksum of a file."""
    digest = hashlib.sha256()
    with open(path, 'rb') as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _check_meta(meta: dict[str, str], path: Path) -> None:
    missing = [key for key in REQUIRED_META if not meta.get(key)]
    if missing:
        raise WeightsError(
            f'{path} lacks the metadata {missing}; was it written by trpose_ros? A foreign '
            'checkpoint has to be imported first: `trpose weights import PATH`'
        )
    try:
        config = json.loads(meta['config'])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f'{path}: metadata "config" is not JSON ({error!s:.200})') from error
    if not isinstance(config, dict):
        raise WeightsError(f'{path}: metadata "config" must be a JSON object, got {config!r:.80}')


def _listing(names: list[str], most: int = 6) -> str:
    if not names:
        return 'nothing'
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return f'{len(names)} ({", ".join(names[:most])}{more})'


def _one_line(value: str) -> str:
    return ' '.join(value.split())
