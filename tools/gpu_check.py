"""All of progrow that wants a GPU, in one command: tests, agreement with the CPU, step times, memory, resume, two processes.

usage: gpu_check.py [--device cpu] [--quick] [--minutes M] [--parts NAME,NAME,...] [FILE]

Needs no network, and at most 8 minutes (--minutes). Writes FILE (nbs/assets/gpu/check.json) after each part, for a page on
speed. A part that fails leaves its error in the file, and the others go on. `--device cpu --quick` tries the script where no GPU is
(runs/gpu-check-cpu.json).
"""
import os
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8') # before CUDA starts: deterministic algorithms ask for it
import argparse, copy, json, subprocess, sys, tempfile, time
from contextlib import contextmanager
from pathlib import Path
import numpy as np, torch
from progrow.cost import step_cost, weights_memory
from progrow.data import ImagePyramid, pyramid_levels
from progrow.losses import Critic, NonSaturating, WGANGP
from progrow.networks import Discriminator, Generator
from progrow.players import Players
from progrow.precision import Precision, _possible
from progrow.schedule import GrowthSchedule
from progrow.style import StyleDiscriminator, StyleGenerator
from progrow.switches import Switches
from progrow.train import progressive_learner
import results

root = Path(__file__).parents[1]

# ---- switches

@contextmanager
def switched(tf32=False, benchmark=True, deterministic=False):
    "How PyTorch computes while the block runs"
    before = torch.are_deterministic_algorithms_enabled()
    with Switches(tf32=tf32, benchmark=benchmark and not deterministic).on():
        torch.use_deterministic_algorithms(deterministic)
        try: yield
        finally: torch.use_deterministic_algorithms(before)

def wait(device):
    if device.type=='cuda': torch.cuda.synchronize(device)

# ---- tests

def tests(o):
    "The tests marked gpu, as pytest counts them"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder)/'report.xml'
        done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-m', 'gpu', f'--junitxml={report}', 'tests/test_gpu.py'], cwd=root,
                              capture_output=True, text=True, timeout=min(180, o.left()))
        from xml.etree import ElementTree
        if not report.exists(): raise RuntimeError((done.stdout+done.stderr)[-2000:])
        suite = ElementTree.parse(report).getroot().find('testsuite')
        failed = {c.get('name'):(f.get('message') or '')[:500] for c in suite.iter('testcase') for f in c if f.tag in ('failure','error')}
    count = {k:int(suite.get(k)) for k in ('tests','failures','errors','skipped')}
    return dict(**count, seconds=round(float(suite.get('time')), 1), failed=failed)

# ---- agreement with the CPU

def small_networks(kind):
    torch.manual_seed(0)
    width = dict(fmap_base=1024, fmap_max=128)
    if kind=='ProGAN': return Generator(32, latent_dim=128, **width),Discriminator(32, **width),WGANGP()
    G,D = StyleGenerator(32, latent_dim=128, w_dim=128, mapping_layers=4, **width),StyleDiscriminator(32, **width)
    with torch.no_grad(): # at its start a style generator normalizes a constant, which makes rounding look large
        for p in G.parameters(): p.add_(torch.randn_like(p), alpha=.1)
    return G,D,NonSaturating(r1=10.)

def computed(G, D, loss, z, real, mix, alpha, precision):
    "Name -> what a step computes: images, scores, terms, gradients"
    G,D,res = G.eval(),D.train(),{}
    whole = torch.float64 if z.dtype==torch.float64 else torch.float32
    def scores(x):
        with precision.autocast(): return D(x, alpha=alpha).to(whole)
    def gradients(net):
        grads = [p.grad.flatten()/precision.loss_scale for p in net.parameters() if p.grad is not None]
        net.zero_grad()
        return torch.cat(grads)
    with precision.autocast(): fake = G(z, resolution=real.shape[-1], alpha=alpha).to(whole)
    res['images'] = fake.detach()
    res['scores'] = scores(fake).detach()
    critic = Critic(scores, precision.slope_scale)
    for i,term in enumerate(loss.discriminator_terms(critic, real, fake.detach(), mix)):
        precision.scale(term).backward()
        res[f'critic term {i+1}'] = term.detach()[None]
    res['critic gradients'] = gradients(D)
    D.requires_grad_(False)
    term = loss.generator_loss(critic, fake)
    precision.scale(term).backward()
    D.requires_grad_(True)
    res.update({'generator term':term.detach()[None], 'generator gradients':gradients(G)})
    return {k:v.double().cpu() for k,v in res.items()}

def parity(o):
    "Relative L2 distance of everything a step computes from the same in float64 on the CPU"
    rows = []
    for kind in ('ProGAN','StyleGAN'):
        G,D,loss = small_networks(kind)
        g = torch.Generator().manual_seed(1)
        z,real = torch.randn(8, 128, generator=g, dtype=torch.float64),torch.rand(8, 3, 32, 32, generator=g, dtype=torch.float64)*2-1
        mix = torch.rand(8, 1, 1, 1, generator=g, dtype=torch.float64)
        def run(device, name, dtype=torch.float32):
            nets = [copy.deepcopy(n).to(device, dtype) for n in (G, D)]
            x = [t.to(device, dtype) for t in (z, real, mix)]
            precision = Precision(name, device)
            while True: # as a run does: halve the scale until nothing overflows
                got = computed(*nets, copy.deepcopy(loss), *x, .5, precision)
                if all(v.isfinite().all() for v in got.values()) or precision.loss_scale<=1: return got
                precision.loss_scale /= 2
        exact = run('cpu', 'fp32', torch.float64)
        ways = [('cpu','fp32',False)] + [(str(o.device),'fp32',False)]
        if o.device.type=='cuda': ways += [(str(o.device),'fp32',True)]
        ways += [(str(o.device),p,False) for p in _possible(o.device) if p!='fp32']
        for device,name,tf32 in dict.fromkeys(ways):
            with switched(tf32): got = run(device, name)
            off = {k:float(f'{((got[k]-v).norm()/v.norm().clamp(min=1e-30)).item():.3g}') for k,v in exact.items()}
            rows.append(dict(networks=kind, device=device, precision=name, tf32=tf32, **off))
    return rows

# ---- step times and memory

class Game:
    "Both players at official widths, their optimizer, the average, and a step"
    def __init__(self, device, top, width, precision, channels_last, capturable=False):
        torch.manual_seed(0)
        layout = dict(memory_format=torch.channels_last) if channels_last else {}
        G,D = (n(top, fmap_base=width[0], fmap_max=width[1]).to(device, **layout) for n in (Generator, Discriminator))
        self.players = Players(G, D, WGANGP(), Precision(precision, device))
        self.averaged = [p.detach().clone() for p in G.parameters()]
        self.opt = torch.optim.Adam([*G.parameters(), *D.parameters()], lr=1e-3, betas=(0.,.99), fused=True, capturable=capturable)
        self.layout,self.device = layout,device

    def reals(self, r, n): return (torch.rand(n, 3, r, r, device=self.device)*2-1).to(**self.layout)

    def update(self):
        self.players.precision.unscale(self.opt)
        self.opt.step()
        self.opt.zero_grad()

    def step(self, real, alpha=1.):
        p = self.players
        for term in p.critic_terms(real, alpha): p.precision.scale(term).backward()
        self.update()
        with p.critic_frozen(): p.precision.scale(p.generator_term(len(real), real.shape[-1], alpha)).backward()
        self.update()
        torch._foreach_lerp_(self.averaged, list(p.generator.parameters()), .001)

def timed(step, device, seconds=1., most=20):
    "Median seconds of a step, after two that warm up"
    for _ in range(2): step()
    wait(device)
    took,begun = [],time.perf_counter()
    while len(took)<3 or len(took)<most and time.perf_counter()-begun<seconds:
        at = time.perf_counter()
        step()
        wait(device)
        took.append(time.perf_counter()-at)
    return float(np.median(took))

def replayed(game, real):
    "A step captured as a CUDA graph: what `replay` costs is what the device does, without Python"
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3): game.step(real)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    game.opt.zero_grad()
    with torch.cuda.graph(graph): game.step(real)
    return graph.replay

def ways_of(device):
    "Precision, TF32, channels-last, as a graph"
    cuda = device.type=='cuda'
    names = _possible(device) if cuda else ['fp32']
    for layout in (False,True):
        for p in names:
            for tf32 in ((False,True) if cuda and p=='fp32' else (False,)): yield p,tf32,layout,False
    if cuda:
        for p in names: yield p,p=='fp32',False,True

def times(o):
    "Seconds and memory of a whole step at each resolution and in each way, official widths and batches"
    cuda = o.device.type=='cuda'
    top = 1024 if not o.quick else 16
    width = (8192,512) if not o.quick else (256,32)
    schedule,rows = GrowthSchedule.named('official', top),[]
    batches = {p.resolution:schedule.next_batch(p.start).batch_size for p in schedule.phases}
    for precision,tf32,layout,graph in ways_of(o.device):
        game = Game(o.device, top, width, precision, layout, capturable=graph)
        for r,n in batches.items():
            if graph and r>32 or o.left()<(60 if cuda else 1): continue
            if not cuda: n = 4
            real,row = game.reals(r, n),dict(resolution=r, batch=n, precision=precision, tf32=tf32, channels_last=layout, graph=graph)
            try:
                with switched(tf32):
                    if cuda: torch.cuda.empty_cache(); torch.cuda.reset_peak_memory_stats()
                    step = replayed(game, real) if graph else lambda: game.step(real)
                    row['seconds'] = timed(step, o.device)
                    if cuda: row['peak_bytes'] = torch.cuda.max_memory_allocated()
            except RuntimeError as e: row['error'] = str(e).splitlines()[0][:300]
            if not (layout or graph or tf32):
                G,D = game.players.generator,game.players.discriminator
                cost = step_cost(G, D, game.players.loss, r, n, precision=precision)
                row.update(counted_bytes=cost.memory+sum(weights_memory(G, D)), counted_flops=cost.flops)
            rows.append(row)
        del game
        if cuda: torch.cuda.empty_cache()
    return rows

# ---- resume, processes

pace = GrowthSchedule(16, stabilize_kimg=.096, fade_kimg=.064, batch_size=16, learning_rate=.001)

def small_learner(device, kind='ProGAN', **kwargs):
    x = np.random.default_rng(0).integers(0, 256, (64,3,16,16), dtype=np.uint8)
    nets = dict(latent_dim=16, fmap_base=128, fmap_max=32)
    if kind=='StyleGAN': nets.update(generator=StyleGenerator, discriminator=StyleDiscriminator, loss=NonSaturating(r1=10., r1_every=4))
    return progressive_learner(ImagePyramid(pyramid_levels(x)), schedule=pace, seed=3, average_kimg=.05, device=device, **nets, **kwargs)

def weights_of(learn): return {k:v.detach().cpu() for k,v in learn.model.state_dict().items() if isinstance(v, torch.Tensor)}

def fitted(learn, n=None):
    learn.fit(n, show='nothing')
    return learn

def resume(o):
    "Does a run that was stopped and resumed end in the same bits?"
    rows = []
    for kind,precision in [('ProGAN','fp32'),('StyleGAN','fp32')]+[('ProGAN',p) for p in _possible(o.device)[1:]]:
        for deterministic in (True,False):
            with switched(deterministic=deterministic, benchmark=False), tempfile.TemporaryDirectory() as folder:
                def new(): return small_learner(o.device, kind, precision=precision)
                whole = weights_of(fitted(new()))
                half = fitted(new(), 9)
                half.save_checkpoint(folder)
                again = weights_of(fitted(new().resume(folder)))
            rows.append(dict(networks=kind, precision=precision, deterministic=deterministic,
                             equal=all(torch.equal(whole[k], again[k]) for k in whole)))
    return rows

def processes(o):
    "Two processes (NCCL on two GPUs, gloo on a CPU) against one: the largest relative difference of a weight tensor"
    cuda = o.device.type=='cuda'
    if cuda and torch.cuda.device_count()<2: return dict(skipped=f'{torch.cuda.device_count()} GPU here: two are needed')
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', __file__, '--worker', folder]
        done = subprocess.run([*command, '--device', o.device.type], cwd=root, capture_output=True, text=True, timeout=o.left(),
                              env={**os.environ, 'OMP_NUM_THREADS':'1'})
        if done.returncode: raise RuntimeError((done.stdout+done.stderr)[-2000:])
        two = torch.load(Path(folder)/'weights.pt', weights_only=True)
    one = weights_of(fitted(small_learner(o.device)))
    off = max(((one[k]-v).norm()/one[k].norm().clamp(min=1e-12)).item() for k,v in two.items() if v.is_floating_point())
    return dict(backend='nccl' if cuda else 'gloo', largest_difference=float(f'{off:.3g}'))

def worker(folder, device):
    device = f"cuda:{os.environ['LOCAL_RANK']}" if device=='cuda' else device
    learn = fitted(small_learner(device))
    if learn.processes.first: torch.save(weights_of(learn), Path(folder)/'weights.pt')

# ---- all of it

parts = dict(tests=tests, parity=parity, resume=resume, processes=processes, times=times) # the long one last

def about(device):
    if device.type!='cuda': return dict(device=str(device))
    p = torch.cuda.get_device_properties(device)
    return dict(device=p.name, memory=p.total_memory, capability=f'{p.major}.{p.minor}', gpus=torch.cuda.device_count(),
                cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())

def main(args=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('file', nargs='?', type=Path)
    p.add_argument('--device', default='cuda')
    p.add_argument('--quick', action='store_true')
    p.add_argument('--minutes', type=float, default=8)
    p.add_argument('--parts', default=','.join(parts))
    p.add_argument('--worker', help=argparse.SUPPRESS)
    o = p.parse_args(args)
    if o.worker: return worker(o.worker, o.device)
    if unknown := set(o.parts.split(','))-set(parts): sys.exit(f"no part {', '.join(unknown)}: take some of {', '.join(parts)}")
    o.device,begun = torch.device(o.device),time.monotonic()
    if o.device.type=='cuda' and not torch.cuda.is_available(): sys.exit('PyTorch sees no CUDA GPU here; --device cpu --quick tries the script itself')
    o.file = o.file or root/('nbs/assets/gpu/check.json' if o.device.type=='cuda' else 'runs/gpu-check-cpu.json')
    o.left = lambda: 60*o.minutes-(time.monotonic()-begun)
    rows,took = {},{}
    for name in o.parts.split(','):
        at = time.monotonic()
        try: rows[name] = parts[name](o)
        except Exception as e: rows[name] = dict(error=f'{type(e).__name__}: {e}'[:2000])
        took[name] = round(time.monotonic()-at, 1)
        results.write(o.file, dict(quick=o.quick, minutes=o.minutes), ('fastai','numpy'), about(o.device), seconds=took, **rows)
        print(name, f'{took[name]} s', json.dumps(rows[name])[:2000], flush=True)
    print(f'Results: {o.file}')

if __name__=='__main__': main()
