"""Every case of the field behaves as its README says; field_cases.py is the same as a script."""

from __future__ import annotations

import pytest
from field_cases import QUICK


# The scripts that make the inputs leave files to the garbage collector.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('name', sorted(QUICK))
def test_case_of_the_field(name, shared_dir, tmp_path):
    folder = shared_dir / 'cases' / 'field' / name
    if not folder.is_dir():
        pytest.skip(f'{folder} is not there')
    QUICK[name](folder, tmp_path)
