"""Time the sliced Wasserstein distance against a straightforward version of the same definition, and the sorts at hand.

usage: bench_swd.py [OUT.json [IMAGES]]

Two sets of IMAGES (8192) pictures of 64x64 with the published setting, one core, every measurement in a process of its own. Writes
processor time, peak memory, values, settings, machine and versions to OUT.json (nbs/assets/swd/bench.json). Takes about fifteen minutes;
a script that was stopped goes on (runs/bench_swd), a finished one measures everything again.
"""
import json, os, resource, shutil, subprocess, sys, time
from pathlib import Path
if __name__=='__main__': os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')
import numpy as np, torch, torch.nn.functional as F
from progrow.swd import (laplacian_pyramid, normalize_descriptors, patch_corners, patches, random_directions, sliced_distance,
                         sliced_wasserstein, swd_published)
import results

SEEDS = dict(real=0, fake=1, metric=0)

def pictures(n, seed, size=64):
    "Coloured clouds with a little noise, as uint8 (n, 3, size, size)"
    g,x = torch.Generator().manual_seed(seed),torch.empty(n, 3, size, size, dtype=torch.uint8)
    for part in x.split(64):
        k,noise = (torch.randn(len(part), 3, s, s, generator=g) for s in (4,size))
        part.copy_((F.interpolate(k, size=size, mode='bilinear')*60 + 128 + noise*8).round().clamp(0, 255))
    return x

def numpy_distance(a, b, directions):
    "`sliced_distance` with NumPy's sort, along the same axis"
    a,b = (np.sort((o @ directions).numpy(), axis=0) for o in (a, b))
    return torch.from_numpy(a).sub_(torch.from_numpy(b)).abs_().mean()

def straightforward(real, fake, n_patches, n_directions, n_repeats, distance=sliced_distance, seed=0):
    "The definition, written down: all patches of a level at once, then project, sort, subtract, average"
    g,swd,r = torch.Generator().manual_seed(seed),{},real.shape[-1]
    for i in range((r//16).bit_length()):
        a,b = (patches(l, patch_corners(len(l), r>>i, n_patches, g)) for l in [laplacian_pyramid(x.float())[i] for x in (real, fake)])
        a,b = normalize_descriptors(a),normalize_descriptors(b)
        dirs = random_directions(n_directions*n_repeats, generator=g)
        swd[r>>i] = 1e3*float(np.mean([distance(a, b, d) for d in dirs.split(n_directions, 1)]))
    return {**swd, 'mean': sum(swd.values())/len(swd)}

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*(1 if sys.platform=='darwin' else 1024)  # bytes

def metric(f, n, **kwargs):
    "Processor seconds and memory of one call on n pictures against n others"
    real,fake = (pictures(n, SEEDS[k]) for k in ('real','fake'))
    before,cpu,wall = peak(),time.process_time(),time.time()
    swd = f(real, fake, **{**swd_published, **kwargs}, seed=SEEDS['metric'])
    cpu,wall = time.process_time()-cpu,time.time()-wall
    return dict(cpu_seconds=round(cpu,1), wall_seconds=round(wall,1), peak_bytes=peak(), before_bytes=before, swd={str(k): round(v,4) for k,v in swd.items()})

def ways_to_sort(n, m=8):
    "Milliseconds for 2^20 shadows, m directions at a time, and how far the distance strays from the exact one"
    real,fake = (pictures(n, SEEDS[k]) for k in ('real','fake'))
    g,k = torch.Generator().manual_seed(SEEDS['metric']),-(-2**20//n)
    a,b = (normalize_descriptors(patches(x.float(), patch_corners(n, 64, k, g)))[:2**20] for x in (real, fake))
    d = random_directions(m, generator=g)
    a,b = (np.ascontiguousarray((o@d).T.numpy()) for o in (a, b))  # a direction per row
    exact = np.abs(np.sort(a)-np.sort(b)).mean(1, dtype=np.float64)
    lo,hi = min(a.min(), b.min()),max(a.max(), b.max())
    step = (hi-lo)/65535
    rounded = lambda x: np.rint((x-lo)/step-32768).astype(np.int16)
    def count(x): return np.cumsum(np.stack([np.bincount(o, minlength=65536) for o in np.rint((x-lo)/step).astype(np.intp)]), 1)
    gap = lambda x,y: np.abs(x-y).mean(1, dtype=np.float64)
    ways = {'torch, along a row':                 (lambda x: torch.from_numpy(x).sort(1).values.numpy(), gap, False),
            'torch, along a column':              (lambda x: torch.from_numpy(x).sort(0).values.numpy(), lambda x,y: gap(x.T, y.T), True),
            'NumPy, along a row':                 (lambda x: np.sort(x, 1), gap, False),
            'NumPy, along a column':              (lambda x: np.sort(x, 0), lambda x,y: gap(x.T, y.T), True),
            'NumPy, along a row, stable':         (lambda x: np.sort(x, 1, kind='stable'), gap, False),
            'NumPy, along a row, as float64':     (lambda x: np.sort(x.astype(np.float64), 1), gap, False),
            'NumPy, rounded to 16 bits, radix':   (lambda x: np.sort(rounded(x), 1, kind='stable'), lambda x,y: gap(x.astype(np.float32), y)*step, False),
            'no sort: counts in 65,536 bins':     (count, lambda x,y: np.abs(x-y).sum(1)*step/a.shape[1], False)}
    rows = {}
    for name,(f,distance,columns) in ways.items():
        x,y = (np.ascontiguousarray(o.T) if columns else o for o in (a, b))
        times = []
        for _ in range(3): t = time.process_time(); u = f(x); times.append(time.process_time()-t)
        rows[name] = dict(ms=round(1e3*min(times)/m, 2), error=float(f'{np.abs(distance(u, f(y))/exact-1).max():.0e}'))
    d,p,out = random_directions(128).T,torch.randn(2048, 147).T,torch.empty(128, 2**20)
    t = time.process_time()
    for o in out.split(2048, 1): torch.mm(d, p, out=o)
    return dict(rows=rows, multiply_ms=round(1e3*(time.process_time()-t)/128, 2))

JOBS = {'sorts': ways_to_sort,
        'package': lambda n: metric(sliced_wasserstein, n),
        'straightforward': lambda n: metric(straightforward, n),
        'straightforward, NumPy sort': lambda n: metric(straightforward, n, distance=numpy_distance),
        **{f'memory {k}': lambda n,k=k: metric(sliced_wasserstein, n*k//8, n_directions=16, n_repeats=1, max_memory=2**27) for k in (1,4,16)}}

def measured(job, n):
    "One measurement, in a process of its own"
    r = subprocess.run([sys.executable, __file__, '--job', job, str(n)], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(r.stdout.splitlines()[-1])
    print(job, found, flush=True)
    return dict(found=found, load=round(os.getloadavg()[0], 1))

def main(out, n):
    load,res,parts = [round(os.getloadavg()[0], 1)],{},Path('runs/bench_swd')
    settings = dict(images=n, resolution=64, min_resolution=16, **swd_published, threads=1, seeds=SEEDS)
    for job in JOBS: # those that a stopped script left on this machine are not measured again
        file = parts/f"{job.replace(' ', '_')}.json"
        part = results.kept(file, dict(job=job, **settings), lambda: measured(job, n), ['numpy'], same=('machine','versions'))
        res[job] = part['found']
        load.append(part['load'])
    memory = {str(n*k//8): res.pop(f'memory {k}') for k in (1,4,16)}
    results.write(out, settings, ['numpy'], on=dict(load=load), sorts=res.pop('sorts'), whole=res,
                  memory=dict(settings=dict(n_patches=128, n_directions=16, n_repeats=1, max_memory=2**27), by_images=memory))
    shutil.rmtree(parts)

if __name__=='__main__':
    torch.set_num_threads(1)
    if sys.argv[1:2]==['--job']: print(json.dumps(JOBS[sys.argv[2]](int(sys.argv[3]))))
    else: main(Path(sys.argv[1] if len(sys.argv)>1 else Path(__file__).parent.parent/'nbs/assets/swd/bench.json'), int(sys.argv[2]) if len(sys.argv)>2 else 8192)
