"""Time one training step in turns: ours, its textbook definition, and two peers from a package index, beside what the machine can do.

usage: bench.py [--quick] [--no-peers] [OUT.json]

A step is the critic's with its penalty, the generator's, both of Adam, and the running average. One thread, CPU seconds of this process,
all sides in turns on the same images, the least of the rounds. Then the same for StyleGAN, the whole training loop, sampling, and which
operations ours takes. Writes OUT.json (nbs/assets/speed/bench.json), which nbs/90_speed.ipynb draws; a script that was stopped goes on
(runs/bench), as long as neither it nor the package has changed. --quick takes a few of the steps, at most five minutes, and says how far
its ratios are from the committed ones. The peers (see peers.py) are installed into runs/peers; --no-peers leaves them out.
"""
import ctypes, hashlib, os, shutil, sys, time
if __name__=='__main__': os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
from pathlib import Path
from statistics import median
import numpy as np, torch, torch.nn.functional as F
import peers, progrow.callbacks, results
from fastai.callback.core import Callback, CancelFitException
from progrow.callbacks import average_weights
from progrow.cost import Meter
from progrow.data import ImagePyramid
from progrow.fade_in import fade_reals
from progrow.networks import resolutions
from progrow.schedule import GrowthSchedule
from progrow.style import style_config
from progrow.train import progressive_learner
from textbook import textbook

root = Path(__file__).parents[1]
committed = root/'nbs/assets/speed/bench.json'
widths = {'reduced': dict(fmap_base=1024, fmap_max=128, latent_dim=128), 'official': dict(fmap_base=8192, fmap_max=512, latent_dim=512)}
batches = {'reduced': {4:16, 8:16, 16:16, 32:8, 64:4, 128:4}, 'official': {4:16, 8:8, 16:4}, # images of a step, for time's sake
           'style': {8:16, 16:16, 32:8, 64:4}}
own = 'progrow','plain' # the others are peers

# ---- who takes part: a step, and pictures of latent vectors

def learner(width, r, n, styled=False, **kwargs):
    "Ours, on noise"
    count = 64 if r<=128 else 4
    images = ImagePyramid({s: np.random.default_rng(0).integers(0, 256, (count,3,s,s), dtype=np.uint8) for s in resolutions(r)})
    s = dict(schedule=GrowthSchedule(r, r, stabilize_kimg=1000, batch_size=n), loss='wgan-gp', **widths[width], **kwargs)
    if styled: s = style_config('F', **{**s, 'loss':'non-saturating:native'})
    learn = progressive_learner(images, device='cpu', mirror=False, **s)
    learn.create_opt()
    learn.model.train()
    return learn

class Ours:
    "The step of `ProgressiveLearner` without the loop around it"
    def __init__(self, real, fading, width, styled=False):
        self.real,self.alpha = real,.5 if fading else 1.
        self.learn = learner(width, real.shape[-1], len(real), styled)

    def step(self, around=peers.nullcontext()):
        with around:
            players,opt,real,m = self.learn.players,self.learn.opt,self.real,self.learn.model
            if self.alpha<1: real = fade_reals(real, self.alpha)
            average_weights(m.averaged, m.generator, .999)
            for term in players.critic_terms(real, self.alpha): term.backward()
            opt.step()
            opt.zero_grad()
            with players.critic_frozen(): players.generator_term(len(real), real.shape[-1], self.alpha).backward()
            opt.step()
            opt.zero_grad()

    @torch.no_grad()
    def sample(self, z): return self.learn.model.averaged(z)

class Direct:
    "One whose step is a method"
    def __init__(self, maker, real, fading, width, **more):
        self.side,self.real,self.alpha = maker(real.shape[-1], **widths[width], **more),real,.5 if fading else 1.
        self.sample = self.side.sample
    def step(self, around=peers.nullcontext()):
        with around: self.side.step(self.real, alpha=self.alpha)

class Plain(Ours):
    "Ours, with the layers as the pages define them"
    def step(self, around=peers.nullcontext()):
        with textbook(): super().step(around)
    def sample(self, z):
        with textbook(): return super().sample(z)

def gan_lab(real, fading, width, styled=False):
    "gan-lab with our loss: for ProGAN its own, without the blur that the official networks have not; for StyleGAN R1"
    n,r = len(real),real.shape[-1]
    more = dict(loss='nonsaturating', gradient_penalty='r1') if styled else dict(blur_type=None)
    base = n*{512:2, 1024:4}.get(r, 1) # it divides the batch by these
    peer = peers.GanLab(r, styled=styled, start=r//2 if fading else r, batch_size=base, images_per_phase=n if fading else 2**40,
                        **widths[width], **more)
    side = peers.Turns(peer, real, fading)
    side.sample = lambda z: peer.learner.gen_model_lagged(z)
    return side

def sides(real, fading, width, with_peers, styled=False):
    "Name -> who takes part"
    if styled: found = {'progrow': lambda *a: Ours(*a, styled=True), 'gan-lab': lambda *a: gan_lab(*a, styled=True)}
    else: found = {'progrow': Ours, 'plain': Plain, 'gan-lab': gan_lab, 'pro-gan-pth': lambda *a: Direct(peers.ProGanPth, *a)}
    return {k: f(real, fading, width) for k,f in found.items() if k in own or with_peers}

# ---- what is measured

def machine_rates():
    "Name -> (what to do, GFLOP of it): what this machine does where nothing is in the way"
    a,x,w = torch.randn(1024, 1024),torch.randn(8, 128, 32, 32),torch.randn(128, 128, 3, 3)
    return {'matrix product': (lambda: a@a, 2*1024**3/1e9), '3x3 convolution': (lambda: F.conv2d(x, w, padding=1), 2*9*128*128*8*32**2/1e9)}

def rounds(jobs, seconds, least=3, clock=time.process_time):
    "Name -> seconds of each round; all in turns, each round in another order. At least `least` rounds, then until `seconds` are over"
    for f in jobs.values(): f()
    times,names,begun = {k:[] for k in jobs},list(jobs),clock()
    while len(times[names[0]])<least or clock()-begun<seconds:
        for k in names:
            t = clock()
            jobs[k]()
            times[k].append(clock()-t)
        names = names[1:]+names[:1]
    return times

def added_memory(f):
    "Bytes that `f` needs at its worst moment, above what was held before; None where the system does not tell (Linux does)"
    try:
        ctypes.CDLL(None).malloc_trim(0) # what was freed goes back
        Path('/proc/self/clear_refs').write_bytes(b'5') # the most so far is forgotten
    except (OSError, AttributeError): return None
    before = status('VmRSS')
    f()
    return 1024*(status('VmHWM')-before)

def status(key): return next(int(o.split()[1]) for o in Path('/proc/self/status').read_text().splitlines() if o.startswith(key))

def counted(side):
    "FLOP of matrix products and convolutions in a step, as counted while it runs"
    meter = Meter()
    side.step(meter)
    side.step() # a loop that is someone else's leaves the meter here
    return meter.flops

def cell(width, r, phase, n, seconds, with_peers=True, styled=False):
    "A row: one resolution, one phase, everybody"
    torch.manual_seed(0)
    real = torch.randn(n, 3, r, r).clamp(-1, 1)
    taking = sides(real, phase=='fading', width, with_peers, styled)
    rates = machine_rates()
    times = rounds({**{k:s.step for k,s in taking.items()}, **{k:f for k,(f,_) in rates.items()}}, seconds, least=9 if seconds>5 else 3)
    gflop = {k: counted(s)/1e9/n for k,s in taking.items()}
    memory = {k: added_memory(s.step) for k,s in taking.items()}
    for s in taking.values(): getattr(s, 'close', lambda: None)()
    ms = {k: 1e3*min(times[k])/n for k in taking}
    others = [k for k in taking if k not in own]
    row = dict(network='StyleGAN F' if styled else 'ProGAN', widths=width, resolution=r, phase=phase, batch=n, rounds=len(times['progrow']),
        ms_per_image=rounded(ms, 3), median_ms=rounded({k: 1e3*median(times[k])/n for k in taking}, 3), gflop_per_image=rounded(gflop, 4),
        gflop_per_second=rounded({k: gflop[k]/ms[k]*1e3 for k in taking}, 1), memory_mb={k: v and round(v/1e6, 1) for k,v in memory.items()},
        machine=rounded({k: g/min(times[k]) for k,(_,g) in rates.items()}, 1))
    if others:
        row['fastest_peer'] = min(others, key=ms.get)
        row['ratio'] = rounded({k: ratio(times, k, others) for k in taking if k in own}, 3)
    print(f"{row['network']:10} {width:8} {r:4} {phase:7}", *(f'{k} {v:.2f}' for k,v in ms.items()), 'ms |', row.get('ratio', ''), flush=True)
    return row

def ratio(times, name, others):
    "Time of the fastest peer over ours, round by round; the median, which a busy machine moves least"
    fastest = min(others, key=lambda k: min(times[k]))
    return median(b/a for a,b in zip(times[name], times[fastest]))

def rounded(numbers, digits): return {k: round(v, digits) for k,v in numbers.items()}

# ---- the loop around the step

class Watch(Callback):
    "CPU seconds of a training loop by part: data, the step itself, and the rest, which is fastai's and the callbacks'"
    order = -100
    def __init__(self): self.parts,self.mark,self.rows = dict(data=0., step=0.),None,[]
    def timed(self, f):
        def inner(*args, **kwargs):
            begun = time.process_time()
            try: return f(*args, **kwargs)
            finally: self.parts['step'] += time.process_time()-begun
        return inner
    def timed_each(self, f): # for a function that yields
        def inner(*args, **kwargs):
            it,end = f(*args, **kwargs),object()
            while (o := self.timed(next)(it, end)) is not end: yield o
        return inner
    def before_fit(self):
        p,learn = self.learn.players,self.learn
        p.critic_terms,p.generator_term = self.timed_each(p.critic_terms),self.timed(p.generator_term)
        learn._backward,learn.opt.step,learn.opt.zero_grad = map(self.timed, (learn._backward, learn.opt.step, learn.opt.zero_grad))
        progrow.callbacks.average_weights = self.timed(average_weights)
    def after_fit(self): progrow.callbacks.average_weights = average_weights
    def before_batch(self):
        if self.mark: self.parts['data'] += time.process_time()-self.mark
        self.begun = self.mark or time.process_time()
class LoopEnd(Callback):
    "The end of a step, after all other callbacks; the end of all after `steps` of them, which are of one tick"
    order = 1000
    def __init__(self, steps): self.steps = steps
    def after_batch(self):
        w = self.learn.watch
        w.mark = time.process_time()
        if w.parts['data']: w.rows.append(dict(total=w.mark-w.begun, **w.parts)) # the first step has no data before it
        w.parts.update(data=0., step=0.)
        if len(w.rows)==self.steps: raise CancelFitException

def loop(r, n, steps):
    "Shares of the whole loop: medians over its steps"
    learn = learner('reduced', r, n, cbs=[Watch(), LoopEnd(steps)])
    with learn.no_bar(), learn.no_logging(): learn.fit(show='nothing')
    rows = learn.watch.rows[len(learn.watch.rows)//5:]
    total,data,step = (median(o[k] for o in rows) for k in ('total','data','step'))
    rest = median(o['total']-o['data']-o['step'] for o in rows)
    row = dict(resolution=r, batch=n, steps=len(rows), ms_per_step=round(1e3*total, 2), data=round(data/step, 4), callbacks=round(rest/step, 4))
    print('loop', row, flush=True)
    return row

# ---- on the clock of the wall, with more threads

def on_the_wall(r, n, seconds, with_peers):
    "Images per second by threads. Only a machine that does nothing else gives numbers that mean something"
    torch.manual_seed(0)
    real,res = torch.randn(n, 3, r, r).clamp(-1, 1),{}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        taking = sides(real, False, 'reduced', with_peers)
        times = rounds({k: s.step for k,s in taking.items()}, seconds, clock=time.perf_counter)
        for s in taking.values(): getattr(s, 'close', lambda: None)()
        res[threads] = rounded({k: n/min(t) for k,t in times.items()}, 1)
    torch.set_num_threads(1)
    row = dict(resolution=r, batch=n, images_per_second=res)
    print('threads', row, flush=True)
    return row

def quiet_cores():
    "Cores that this process may use and that nobody else does, by the load of the last minutes"
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return min(allowed, os.cpu_count()-max(0, os.getloadavg()[0]-.5))

# ---- sampling

def sampling(width, r, n, seconds, with_peers):
    "Images per CPU second"
    torch.manual_seed(0)
    taking = sides(torch.zeros(1, 3, r, r), False, width, with_peers)
    z = torch.randn(n, widths[width]['latent_dim'])
    with torch.no_grad(): times = rounds({k: lambda s=s: s.sample(z) for k,s in taking.items()}, seconds, least=1)
    for s in taking.values(): getattr(s, 'close', lambda: None)()
    row = dict(widths=width, resolution=r, batch=n, images_per_second=rounded({k: n/min(t) for k,t in times.items()}, 1))
    print('sampling', row, flush=True)
    return row

# ---- by what operations

def profiled(what, width, r, n):
    "Which operations a step (or drawing n images) of ours takes, how many, and the share of the time in each of the dearest"
    torch.manual_seed(0)
    taking,z,row = sides(torch.randn(n, 3, r, r).clamp(-1, 1), False, width, False),torch.randn(n, widths[width]['latent_dim']),{}
    for k,s in taking.items():
        f = s.step if what=='step' else lambda: s.sample(z)
        f()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as p:
            for _ in range(3): f()
        ops = sorted((o for o in p.key_averages() if o.key.startswith('aten::')), key=lambda o: -o.self_cpu_time_total)
        total = sum(o.self_cpu_time_total for o in ops)
        row[k] = dict(operations=sum(o.count for o in ops)//3,
                      shares={o.key[6:]: round(o.self_cpu_time_total/total, 3) for o in ops[:8]})
    print('profile', what, width, r, n, row, flush=True)
    return dict(what=what, widths=width, resolution=r, batch=n, **row)

# ---- all of it

def jobs(quick):
    "Name -> (function, arguments): each is a row"
    res = {}
    for w in ('reduced','official'):
        for r,n in batches[w].items():
            for phase in ('stable','fading'):
                if phase=='fading' and (r==4 or quick) or quick and (r>64 or n<8 and w=='official'): continue
                res[f'step {w} {r} {phase}'] = cell,(w, r, phase, n)
    for r,n in batches['style'].items():
        for phase in ('stable','fading'):
            if quick and (phase=='fading' or r!=16): continue
            res[f'style reduced {r} {phase}'] = cell,('reduced', r, phase, n)
    for r in (4,16) if quick else (4,8,16,32,64): res[f'loop {r}'] = loop,(r, batches['reduced'][r])
    for w,r,n in [('reduced',32,1), ('reduced',32,64)] if quick else [(w,r,n) for w in widths for r in (32,128) for n in (1,64)]+[('official',1024,1)]:
        res[f'sampling {w} {r} {n}'] = sampling,(w, r, n)
    if not quick:
        found = [*(('step', w, r, batches[w][r]) for w,r in [('reduced',4), ('reduced',128), ('official',4), ('official',16)]),
                 ('sampling', 'official', 32, 1), ('sampling', 'official', 32, 64)]
        res.update({f'profile {" ".join(map(str, args))}': (profiled, args) for args in found})
    if not quick and quiet_cores()>=1.9: res.update({f'threads {r}': (on_the_wall, (r, batches['reduced'][r])) for r in (4,16,64)})
    return res

def code():
    "Changes where the package or these tools change"
    files = [*sorted((root/'progrow').glob('*.py')), *(root/'tools'/f for f in ('bench.py','textbook.py','peers.py'))]
    return hashlib.sha256(b''.join(f.read_bytes() for f in files)).hexdigest()[:16]

def measure(name, f, args, quick, with_peers):
    "Do one of `jobs`"
    if f is cell: return cell(*args, 2 if quick else 12, with_peers, styled=name.startswith('style'))
    if f is loop: return loop(*args, 30 if quick else max(20, 200//args[0]))
    if f is profiled: return f(*args)
    return f(*args, .5 if quick else 2, with_peers)

def main(out, quick, with_peers):
    torch.set_num_threads(1)
    if with_peers: peers.install()
    load,parts,rows,todo = [round(os.getloadavg()[0], 1)],root/'runs'/('bench-quick' if quick else 'bench'),{},jobs(quick)
    settings = dict(widths=widths, batches=batches, threads=1, quick=quick, peers=peers.packages if with_peers else None, seed=0)
    for name in todo: # those that a stopped script left on this machine are not measured again
        make = lambda: dict(row=measure(name, *todo[name], quick, with_peers), load=round(os.getloadavg()[0], 1))
        part = results.kept(parts/f"{name.replace(' ', '_')}.json", dict(settings, job=name, code=code()), make, same=('machine','versions'))
        rows.setdefault(name.split()[0], []).append(part['row'])
        load.append(part['load'])
    results.write(out, settings, ['fastai'], on=dict(load=[min(load), max(load)]), shims=peers.shims if with_peers else {}, **rows)
    shutil.rmtree(parts)
    if quick and (before := results.read(committed)) and out!=committed: compare(before, results.read(out))

def compare(before, now):
    "How far ratios are from the committed ones"
    key = lambda o: (o['network'], o['widths'], o['resolution'], o['phase'])
    known = {key(o): o['ratio']['progrow'] for o in [*before['step'], *before['style']] if 'ratio' in o}
    far = {key(o): o['ratio']['progrow']/known[key(o)] for o in [*now['step'], *now['style']] if 'ratio' in o and key(o) in known}
    for k,v in far.items(): print(*k, f'ratio {100*(v-1):+.0f}% of the committed one')
    if far: print(f"{sum(abs(v-1)<=.15 for v in far.values())} of {len(far)} within 15%")

if __name__=='__main__':
    args = [a for a in sys.argv[1:] if a[:2]!='--']
    quick,with_peers = '--quick' in sys.argv,'--no-peers' not in sys.argv
    main(Path(args[0]) if args else root/'runs/bench-quick.json' if quick else committed, quick, with_peers)
