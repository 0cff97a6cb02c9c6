"Shared by all tests: where the golden files are, and that a missing one skips."
import os
from pathlib import Path
import numpy as np, pytest

GOLDEN = Path(os.environ.get('PROGROW_GOLDEN', Path(__file__).parents[2]/'shared'/'golden'))

@pytest.fixture(scope='session')
def golden():
    "Load a golden file by name, as a dict of arrays"
    def load(name):
        p = GOLDEN/f'{name}.npz'
        if not p.exists(): pytest.skip(f'no golden file {p}')
        with np.load(p) as f: return {k:f[k] for k in f.files}
    return load
