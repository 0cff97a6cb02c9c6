"Shared by all tests: golden files by name, and that a missing one skips."
import pytest
from golden_files import golden_file

@pytest.fixture(scope='session')
def golden(): return golden_file
