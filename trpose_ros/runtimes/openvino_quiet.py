"""OpenVINO's Python package, without its reports to an analytics service.

``import openvino`` reports itself, and its converter each conversion, through the package
openvino-telemetry, which pip installs with it. Hidden before the import, that package is replaced
by OpenVINO's own stand-in, which does nothing. Import OpenVINO from here and nowhere else.

If somebody else in this process has imported OpenVINO already, nothing is changed: what this
package uses of it (operators, compiler) reports nothing.
"""

from __future__ import annotations

import sys

if 'openvino' not in sys.modules:
    sys.modules['openvino_telemetry'] = None  # type: ignore[assignment]  # import raises

import openvino
from openvino import opset13 as ops

__all__ = ['openvino', 'ops']
