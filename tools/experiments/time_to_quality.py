"""How soon is the picture good? Sliced Wasserstein distance over CPU seconds on the same 32x32 faces: ours, pro-gan-pth and gan-lab.

usage: time_to_quality.py [--quick] [--next] [FILE]

Five sides: ours with the settings of `make demo`, and each peer with its own defaults and with our widths, batches, learning rate and
phases. Three seeds each, one thread, no run longer than BUDGET seconds of training; judging is not counted. A run that has its row in FILE
(nbs/assets/speed/time_to_quality.json) is not made again, one that was stopped begins again. --next makes one run and ends (3: some are
left). --quick is one seed and a twentieth of the time, in runs/time_to_quality-quick.json.
"""
import os, time
if __name__=='__main__': os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
import numpy as np, torch
from fastai.callback.core import Callback, CancelFitException
from trials import arguments, distances, make_rows
import peers
from progrow.data import image_pyramid
from progrow.images import enlarge, to_uint8
from progrow.presets import preset
from progrow.sampling import random_latents
from progrow.train import progressive_learner

top,seeds,budget,n = 32,(0,1,2),400,1024 # side in pixels, of the runs, CPU seconds of training, pictures on each side of a comparison
ours = preset('minutes', top)
same = dict(latent_dim=ours['latent_dim'], fmap_base=ours['fmap_base'], fmap_max=ours['fmap_max'])

class Curve:
    "Scores of a run against its CPU seconds"
    def __init__(self, images, budget, times=8, n=n):
        self.images,self.budget,self.n = images,budget,n
        self.due = [budget*(i+1)/times for i in range(times)]
        self.reals = torch.tensor(images.level(top)[:n])
        self.points,self.begun = [],time.process_time()

    @property
    def seconds(self): return time.process_time()-self.begun

    def look(self, draw, latent_dim, seen, end=False):
        "Judge where it is time, off the clock; `draw(z)` gives (n, 3, r, r). True: the time is over"
        if not end and self.seconds<self.due[0]: return False
        at,begun,state = self.seconds,time.process_time(),torch.get_rng_state()
        self.due = [o for o in self.due if o>at]
        with torch.no_grad(): x = torch.cat([draw(z) for z in random_latents(self.n, latent_dim, seed=1).split(64)])
        swd = distances(self.reals, enlarge(to_uint8(x), top))
        self.points.append(dict(cpu_seconds=round(at, 1), images=seen, resolution=x.shape[-1], **swd))
        torch.set_rng_state(state)
        self.begun += time.process_time()-begun
        return not self.due

    def row(self): return dict(cpu_seconds=self.points[-1]['cpu_seconds'], images=self.points[-1]['images'], curve=self.points)

class Batch:
    "Reals in an endless shuffle"
    def __init__(self, images, seed): self.images,self.rng,self.order = images,np.random.default_rng(seed),[]
    def __call__(self, resolution, n):
        if len(self.order)<n: self.order = [*self.order, *self.rng.permutation(len(self.images))]
        ids,self.order = np.array(self.order[:n]),self.order[n:]
        return self.images.batch(ids, resolution)

# ---- the sides: each makes a `Curve` full

class Looks(Callback):
    "After each step of ours"
    order = 70
    def __init__(self, curve): self.curve = curve
    def after_batch(self):
        s,G = self.state,self.model.averaged
        if self.curve.look(lambda z: G(z, resolution=s.resolution, alpha=s.alpha), G.latent_dim, self.images_seen): raise CancelFitException

def progrow(curve, seed, schedule):
    learn = progressive_learner(curve.images, schedule=schedule, seed=seed, cbs=[Looks(curve)], device='cpu',
                                **{k:ours[k] for k in ours if k!='schedule'})
    with learn.no_bar(), learn.no_logging(): learn.fit(show='nothing')
    if curve.due: curve.look(learn.model.averaged, same['latent_dim'], learn.images_seen, end=True)

def pro_gan_pth(curve, seed, schedule=None):
    "`schedule`: ours; None: the phases of its command line"
    peer = peers.ProGanPth(top, rate=.003 if schedule is None else schedule.next_batch(0).learning_rate, **({} if schedule is None else same))
    batch,seen = Batch(curve.images, seed),0
    for r,alpha,n,repeats in default_steps(len(curve.images)) if schedule is None else our_steps(schedule):
        real,depth = batch(top, n),r.bit_length()-1
        for _ in range(repeats):
            peer.step(real, depth, alpha)
            seen += n
            if curve.look(lambda z: peer.sample(z, depth, alpha), peer.latent_dim, seen): return
    curve.look(peer.sample, peer.latent_dim, seen, end=True)

def our_steps(schedule):
    seen = 0
    while seen<schedule.total_images:
        s = schedule.next_batch(seen)
        yield s.resolution,s.alpha,s.batch_size,1
        seen += s.batch_size

def default_steps(n_images, epochs=42, batch=32, repeats=4):
    "What its command line does at each resolution: 42 epochs, half of them fading, four steps with each batch"
    steps = epochs*(-(-n_images//batch))
    for r in (4, 8, 16, 32):
        for i in range(1, steps+1): yield r,min(1, 2*i/steps),batch,repeats

def gan_lab(curve, seed, schedule=None):
    "`schedule`: ours; None: its defaults"
    own = {} if schedule is None else dict(same, batch_size=schedule.batch_size, lr_base=schedule.next_batch(0).learning_rate, blur_type=None)
    phases = [600000]*99 if schedule is None else [p.end-p.start for p in schedule.phases]+[2**40]
    peer = peers.GanLab(top, images_per_phase=phases[0], **own)
    learner,batch = peer.learner,Batch(curve.images, seed)
    def draw(resolution, n):
        learner.config.nimg_transition = learner.nimg_transition = phases[min(learner.curr_phase_num+1, len(phases)-1)]
        if seen := learner.curr_img_num: # it counts before the generator's step, so the average is one step behind
            over = schedule is not None and seen>=schedule.total_images
            if over or curve.seconds>=curve.due[0]:
                if curve.look(peer.averaged(), peer.latent_dim, seen, end=over) or over: raise peers.Enough
        return batch(resolution, n)
    peer.train(draw)

sides = {'progrow': lambda *a: progrow(*a, ours['schedule']),
         'pro-gan-pth, its defaults': pro_gan_pth, 'pro-gan-pth, our settings': lambda *a: pro_gan_pth(*a, ours['schedule']),
         'gan-lab, its defaults': gan_lab, 'gan-lab, our settings': lambda *a: gan_lab(*a, ours['schedule'])}

def told(budget, n, seeds):
    "All that decides the rows, as the file says it"
    return dict(resolution=top, budget=budget, n=n, seeds=seeds, ours=repr(ours), peers=peers.packages)

def main(path, once, quick):
    torch.set_num_threads(1)
    peers.install()
    images,seconds,count = image_pyramid('avatars', top),budget/20 if quick else budget,256 if quick else n
    def make(asked):
        torch.manual_seed(asked['seed'])
        np.random.seed(asked['seed'])
        curve = Curve(images, seconds, 4 if quick else 8, count)
        sides[asked['side']](curve, asked['seed'])
        return curve.row()
    settings = told(seconds, count, seeds[:1] if quick else seeds)
    return make_rows(path, settings, [dict(side=o, seed=s) for s in settings['seeds'] for o in sides], make, once)

if __name__=='__main__': arguments(main, 'nbs/assets/speed/time_to_quality.json')
