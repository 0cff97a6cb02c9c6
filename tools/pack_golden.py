"""Pack the subset of the golden files that travels with the repository: `python tools/pack_golden.py FULL_SET [--check]`.

Reads the .npz files of a folder and writes `tests/golden/NAME.npz.xz` and `tests/golden/packed.json`. The same full set gives the same files.
No number is computed here. A file may leave arrays out that no test reads (`drop`) or that NumPy's legacy generator gives back (`drawings` of `tests/golden_files.py`),
keep the first rows of an array (`cut`), round generator images to a multiple of 2**-14
(`round`: an error of 3e-5 at most, where tests allow 5e-4) or store float64 results as float32 (`narrow`: 6e-8, where tests allow 1e-6).
Weights and inputs are never touched: what follows from them must stay what it was. `--check` writes nothing and says whether the folder is what it would write."""
import argparse, hashlib, io, json, lzma, re, sys
from pathlib import Path
import numpy as np

root = Path(__file__).parents[1]
sys.path.insert(0, str(root/'tests'))
from golden_files import SUBSET, drawings

LIMIT = 4_000_000 # bytes of the whole subset
STEP = 2.**-14
WHOLE = 'dataset_pyramid equalized_layers fid_is_kid minibatch_stddev norms_resample process_reals slerp training_schedule training_schedule_stylegan'.split()
NETWORK = dict(drop=r'[GD]_pth_to_tf|lod\d_mixed_grads')
PACK = {**{name: {} for name in WHOLE},
        'ms_ssim': dict(drop=r'(images|pairs)128'),
        'swd': dict(drop=r'\w+_first2', # below: two images, of which the golden draw took 8 patches each
                    cut={r'det_images|det_pyr\d': 2, r'det_descriptors_seed5': 16, r'det_final_[ab]': 50}),
        'pggan16_gray': NETWORK,
        'stylegan32': dict(NETWORK, cut={r'(tf_)?img_\w+': 2}, round=r'(tf_)?img_\w+'),
        'trajectory_pggan16_stable': dict(narrow=r'final_img_Gs?')}

def pack(name, arrays, drop='', cut={}, round='', narrow=''):
    "The arrays that the subset keeps, and a note of all that is different"
    drawn = drawings(name)
    for k,v in drawn.items():
        if not (v.dtype==arrays[k].dtype and np.array_equal(v, arrays[k])): raise SystemExit(f'{name}: {k} is not what `drawings` makes')
    note,kept = dict(drawn=sorted(drawn), dropped=[], cut={}, rounded={}, narrow=[]),{}
    for k,v in arrays.items():
        if k in drawn: continue
        if re.fullmatch(drop, k):
            note['dropped'].append(k)
            continue
        for pattern,rows in cut.items():
            if re.fullmatch(pattern, k): v,note['cut'][k] = v[:rows],rows
        if re.fullmatch(round, k): v,note['rounded'][k] = (np.rint(v.astype(np.float64)/STEP)*STEP).astype(v.dtype),STEP
        if re.fullmatch(narrow, k):
            v = v.astype(np.float32)
            note['narrow'].append(k)
        kept[k] = v
    return kept,{k: v for k,v in note.items() if v}

def squeeze(arrays):
    "The bytes of an .npz under xz; its settings suit numbers of four bytes"
    npz = io.BytesIO()
    np.savez(npz, **arrays)
    return lzma.compress(npz.getvalue(), filters=[dict(id=lzma.FILTER_LZMA2, preset=9|lzma.PRESET_EXTREME, lc=1, lp=2, pb=2)])

def content(name, data):
    "What a file holds: two versions of xz may squeeze it differently"
    return lzma.decompress(data) if name.endswith('.xz') else data

def subset(full):
    "All files of the subset: name -> bytes"
    files,notes = {},{}
    for name,how in PACK.items():
        source = full/f'{name}.npz'
        with np.load(source) as f: kept,note = pack(name, {k: f[k] for k in f.files}, **how)
        files[f'{name}.npz.xz'] = squeeze(kept)
        data = source.read_bytes()
        notes[name] = dict(source_bytes=len(data), source_blake2b=hashlib.blake2b(data, digest_size=16).hexdigest(), **note)
        print(f'{name:<28}{len(data):>10,} -> {len(files[f"{name}.npz.xz"]):>10,} bytes', *(f'{k}: {len(v)}' for k,v in note.items()))
    files['packed.json'] = (json.dumps(notes, indent=1)+'\n').encode()
    return files

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('full', type=Path, help='folder of the full set')
    parser.add_argument('--check', action='store_true', help='write nothing, compare')
    args = parser.parse_args()
    files = subset(args.full)
    size = sum(map(len, files.values()))
    print(f'{"in total":<28}{"":>10} -> {size:>10,} bytes')
    if size>LIMIT: raise SystemExit(f'more than {LIMIT:,} bytes')
    if args.check:
        other = [n for n,b in files.items() if not (SUBSET/n).exists() or content(n, (SUBSET/n).read_bytes())!=content(n, b)]
        raise SystemExit(f'different: {", ".join(other)}' if other else 0)
    SUBSET.mkdir(exist_ok=True)
    for old in SUBSET.glob('*.npz.xz'): old.unlink()
    for n,b in files.items(): (SUBSET/n).write_bytes(b)

if __name__=='__main__': main()
