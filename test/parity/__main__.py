"""`python -m parity DIR` with ``test`` on the path: compare with the reference numbers in DIR."""

import sys
from pathlib import Path

from parity.compare import report

if len(sys.argv) != 2:
    sys.exit('usage: python -m parity DIR')
try:
    fine = report(Path(sys.argv[1]))
except OSError as error:
    sys.exit(f'parity: {error}')
sys.exit(0 if fine else 1)
