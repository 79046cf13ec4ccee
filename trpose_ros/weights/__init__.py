"""Weights: the shipped files, reading and writing them, and what foreign files are turned into.

``files`` reads and writes safetensors with a self-describing header and its public names can be
imported from here; ``packing`` makes them small; ``pickles``, ``torch_files`` and ``tensorflowjs``
read foreign files without running anything in them.

Imports: vocabulary.
"""

from trpose_ros.weights.files import (
    REQUIRED_META,
    SHIPPED,
    WeightsError,
    WeightsFile,
    available,
    check_keys,
    load,
    read_meta,
    resolve,
    rewrite,
    save,
    sha256_of,
    user_folder,
    verify,
    write_card,
)

__all__ = [
    'REQUIRED_META',
    'SHIPPED',
    'WeightsError',
    'WeightsFile',
    'available',
    'check_keys',
    'load',
    'read_meta',
    'resolve',
    'rewrite',
    'save',
    'sha256_of',
    'user_folder',
    'verify',
    'write_card',
]
