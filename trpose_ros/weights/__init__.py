"""Weights: the shipped files, reading and writing them, and what foreign files are turned into.

``files`` reads and writes safetensors with a self-describing header and its public names can be
imported from here; ``packing`` makes them small; ``pickles``, ``torch_files`` and ``tensorflowjs``
read foreign files without running anything in them. Imports nothing of the package.
"""

from trpose_ros.weights.files import REQUIRED_META as REQUIRED_META
from trpose_ros.weights.files import SHIPPED as SHIPPED
from trpose_ros.weights.files import WeightsError as WeightsError
from trpose_ros.weights.files import WeightsFile as WeightsFile
from trpose_ros.weights.files import available as available
from trpose_ros.weights.files import check_keys as check_keys
from trpose_ros.weights.files import load as load
from trpose_ros.weights.files import read_meta as read_meta
from trpose_ros.weights.files import resolve as resolve
from trpose_ros.weights.files import rewrite as rewrite
from trpose_ros.weights.files import save as save
from trpose_ros.weights.files import sha256_of as sha256_of
from trpose_ros.weights.files import user_folder as user_folder
from trpose_ros.weights.files import verify as verify
from trpose_ros.weights.files import write_card as write_card
