"""Every case of the field and of an attacker behaves as it should; two scripts do the same."""

from __future__ import annotations

import pytest
from field_cases import QUICK
from hostile_cases import HOSTILE


# The scripts that make the inputs leave files to the garbage collector.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize(
    ('kind', 'name'),
    [('field', name) for name in sorted(QUICK)] + [('hostile', name) for name in sorted(HOSTILE)],
)
def test_case(kind, name, shared_dir, tmp_path):
    folder = shared_dir / 'cases' / kind / name
    if not folder.is_dir():
        pytest.skip(f'{folder} is not there')
    (QUICK if kind == 'field' else HOSTILE)[name](folder, tmp_path)
