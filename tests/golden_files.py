"""Golden files: numbers that other implementations computed. `tests/golden` holds a subset, packed by `tools/pack_golden.py`; the full set may lie elsewhere.

`golden/NAME.npz.xz` is an .npz under xz, and `golden/packed.json` says how each differs from the file that it was made from:
`cut` names the arrays of which it holds only the first rows, `rounded` the arrays that are rounded to a multiple of the number given,
`narrow` the arrays that are float32 in place of float64, `drawn` the arrays that are not stored, as `drawings` makes them, and `dropped` the arrays that are missing."""
import io, json, lzma, os
from pathlib import Path
import numpy as np, pytest

SUBSET = Path(__file__).parent/'golden'
FULL = Path(os.environ.get('PROGROW_GOLDEN', Path(__file__).parents[2]/'shared'/'golden'))

class Golden(dict):
    "The arrays of one file. What the subset left out comes from the full file; where there is none, the test skips."
    def __init__(self, name, arrays, dropped=()): super().__init__(arrays); self.name,self.dropped = name,dropped
    def __missing__(self, key):
        if key not in self.dropped: raise KeyError(f'{self.name} has no {key}')
        if (full := FULL/f'{self.name}.npz').exists():
            with np.load(full) as f: return f[key]
        pytest.skip(f'{key} is not in the subset of {self.name}, and there is no {full}')

def drawings(name):
    "The inputs of a file that NumPy's legacy generator gives back bit by bit: its streams are frozen"
    if name!='swd': return {}
    r,directions = np.random.RandomState(7),np.random.RandomState(11)
    a,b = (r.randn(300, 3, 7, 7) for _ in 'ab')
    unit = [d/np.sqrt(np.square(d).sum(0, keepdims=True)) for d in (directions.randn(147, 32) for _ in range(4))]
    return dict(det_desc_a=a.astype(np.float32)*3+1, det_desc_b=(b*2-1).astype(np.float32), det_dirs=np.stack(unit).astype(np.float32))

def packed(): return json.loads((SUBSET/'packed.json').read_text(encoding='utf-8'))

def from_subset(name):
    "A golden file of `tests/golden`"
    arrays = np.load(io.BytesIO(lzma.decompress((SUBSET/f'{name}.npz.xz').read_bytes())))
    return Golden(name, {**{k: arrays[k] for k in arrays.files}, **drawings(name)}, packed()[name].get('dropped', ()))

def from_full(name):
    "A golden file of the full set"
    with np.load(FULL/f'{name}.npz') as f: return Golden(name, {k: f[k] for k in f.files})

def golden_file(name):
    "A golden file by name, from the subset first; skips the test where there is none"
    if (SUBSET/f'{name}.npz.xz').exists(): return from_subset(name)
    if (FULL/f'{name}.npz').exists(): return from_full(name)
    pytest.skip(f'no golden file {name}: neither in {SUBSET} nor in {FULL}')

def there(*names):
    "Those of the golden files that are on this machine; `test_golden.py` names the others as skipped, once"
    return [n for n in names if (SUBSET/f'{n}.npz.xz').exists() or (FULL/f'{n}.npz').exists()]
