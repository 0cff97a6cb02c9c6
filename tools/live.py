"""Write what the page of a generator in the browser loads, into nbs/assets/live/: a shipped style generator as ONNX, the styles of some
seeds and directions for its sliders (generator.json), and the smallest WebAssembly build of onnxruntime-web, packed.

usage: pip install -e '.[onnx]', npm pack onnxruntime-web, tar xf onnxruntime-web-*.tgz, then
       python tools/live.py [--generator NAME] [--runtime package/dist]     without --runtime, the one that is there stays"""
import argparse, gzip, json, shutil
from pathlib import Path

import numpy as np, torch
from progrow.checkpoint import load_generator
from progrow.directions import find_directions, train_judge
from progrow.explore import style_vectors
from progrow.files import atomic_write
from progrow.onnx_export import export_onnx, onnx_difference
from progrow.sampling import random_latents
from progrow.sets import avatars

out = Path(__file__).parents[1]/'nbs'/'assets'/'live'
long = 'bob bigHair curly curvy dreads longButNotTooLong miaWallace straight01 straight02 straightAndStrand'.split()

def answers(faces):
    "What the sliders change, as yes or no for each face"
    a = {k:np.array(v) for k,v in faces.attributes.items()}
    return {'skin':np.isin(a['skin'], ['#614335','#ae5d29','#d08b5b']), 'head':a['hair_color']=='none', 'hair':np.isin(a['hair'], long),
            'background':np.isin(a['background'], ['#ffdfbf','#fbf3b6','#ffd5dc'])}

def numbers(x): return np.round(x.double().numpy(), 5).tolist()

def settings(name, face, other, seeds=32):
    "All that the page knows of a generator, beside its file"
    G = load_generator(name)
    faces = avatars(1024, min(64, G.resolution))
    found = find_directions(G, train_judge(faces, answers(faces)))
    z = torch.cat([random_latents(1, G.latent_dim, seed) for seed in range(seeds)])
    return dict(generator=name, resolution=G.resolution, layers=G.n_layers, start=dict(face=face, other=other, psi=.7),
                average=numbers(G.w_avg), seeds=numbers(style_vectors(G, z)[:,0]),
                directions={k:numbers(v*s) for k,v,s in zip(found.names, found.normals, found.spread)})

def pack(runtime):
    "The module as it is, the program packed -> what they are"
    module,program = 'ort.wasm.bundle.min.mjs','ort-wasm-simd-threaded.wasm'
    shutil.copy(runtime/module, out)
    (out/f'{program}.gz').write_bytes(gzip.compress((runtime/program).read_bytes(), 9, mtime=0))
    about = json.loads((runtime.parent/'package.json').read_text())
    return {**{k:about[k] for k in ('name','version','license')}, 'files':[module, program]}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--generator', default='avatars-stylegan')
    p.add_argument('--face', type=int, default=4, help='the seed shown first')
    p.add_argument('--other', type=int, default=16, help='and the one that it is mixed with')
    p.add_argument('--runtime', type=Path)
    a = p.parse_args()
    out.mkdir(parents=True, exist_ok=True)
    file = out/'generator.onnx'
    facts = export_onnx(load_generator(a.generator), file, 'w')
    print(facts, 'largest difference:', onnx_difference(load_generator(a.generator), file))
    known = json.loads((out/'generator.json').read_text()) if (out/'generator.json').exists() else {}
    runtime = pack(a.runtime) if a.runtime else known['runtime']
    found = dict(settings(a.generator, a.face, a.other), opset=facts['opset'], runtime=runtime)
    with atomic_write(out/'generator.json') as f: f.write(json.dumps(found).encode())
    print(f'{sum(o.stat().st_size for o in out.iterdir())/1e6:.1f} MB in {out}')

if __name__=='__main__': main()
