"""What does each of ProGAN's ideas buy? Its table 1 in miniature: faces at 32x32, the same arithmetic for all rows.

usage: ablations.py [--quick] [--next] [--runs FOLDER] [FILE]

Nine rows, three seeds each: less than a minute on one core for each run, and three times that for row h. Writes FILE
(nbs/assets/evidence/ablations.json) after each run and a sheet of pictures after each row; one that was stopped goes on
where it stood. --next makes one run and ends (3: some are left). --quick takes a fiftieth of the arithmetic.
"""
import torch
from functools import partial
from fastai.callback.core import Callback
from progrow.cost import Meter, on_meta, step_cost
from progrow.data import image_pyramid
from progrow.feature_metrics import frechet_distance, precision_recall
from progrow.features import extract, feature_network
from progrow.images import to_uint8
from progrow.losses import WGANGP
from progrow.networks import Discriminator, Generator
from progrow.players import Players
from progrow.sampling import sample_images
from progrow.variety import ms_ssim
from trials import arguments, distances, learner, make_rows, sheet

top,seeds,budget = 32,(0,1,2),7e11 # FLOPs of one run

# ---- rows: each changes the one before it, but for e, which takes the place of e*

fixed = dict(start_resolution=top, stabilize_kimg=10., batch_size=32, learning_rate=4e-4)
growing = dict(stabilize_kimg={4:1.5, 8:1.5, 16:2, 32:4}, fade_kimg={8:.5, 16:1, 32:1.5}, batch_size=32,
               learning_rate=4e-4)
old = dict(generator=dict(norm='batch', activation='relu', output='tanh', equalized=False),
           discriminator=dict(norm='layer', variety=None, equalized=False), drift=0., beta2=.9, n_critic=5,
           schedule=fixed, budget=1)
new = dict(generator=dict(norm=None, equalized=False), discriminator=dict(variety=None, equalized=False), drift=1e-3,
           beta2=.99, n_critic=1, schedule={**growing, 'batch_size':8}, budget=1)
fast = {**new['schedule'], 'learning_rate':4e-3}

def critic(row, **changes): return {**row, 'discriminator':{**row['discriminator'], **changes}}

rows = {'a':old, 'b':{**old, 'schedule':growing}, 'c':{**old, 'schedule':new['schedule']}, 'd':new,
        'e*':critic(new, variety='discrimination'), 'e':critic(new, variety='stddev')}
rows['f'] = {**rows['e'], 'generator':dict(norm=None), 'discriminator':{}, 'schedule':fast}
rows['g'] = {**rows['f'], 'generator':{}}
rows['h'] = {**rows['g'], 'budget':3}
networks = dict(latent_dim=64, fmap_base=128, fmap_max=32, group_size=32, average_kimg=1.) # variety is of a whole batch

# ---- what the learner has no argument for

class Game(Callback):
    "Adam's second decay, and a generator that learns at every n-th step only"
    order = -3
    def __init__(self, beta2, n_critic): self.beta2,self.n_critic = beta2,n_critic
    def before_train(self):
        vars(self.learn).setdefault('generator_loss', torch.zeros(())) # for the history of steps without it
        for g in self.opt.opt.param_groups: g['betas'] = 0.,self.beta2
    def before_batch(self):
        step = self.images_seen//self.state.batch_size
        if (step+1)%self.n_critic: self.learn.generator_step = lambda *args: None
        else: vars(self.learn).pop('generator_step', None)
    def after_fit(self): vars(self.learn).pop('generator_step', None)

def flops(learn, n_critic):
    "Counted operations of the whole run; the generator's count where it learns"
    m,res = learn.model,0.
    for p in learn.schedule.phases:
        n,alpha = learn.schedule.next_batch(p.start).batch_size,.5 if p.phase=='fade' else 1.
        step = step_cost(m.generator, m.discriminator, learn.gan_loss, p.resolution, n, alpha).flops
        if n_critic>1: step -= (1-1/n_critic)*generator_flops(learn, p.resolution, n, alpha)
        res += (p.end-p.start)/n*step
    return res

def generator_flops(learn, resolution, n, alpha):
    players = Players(*(on_meta(o).train() for o in (learn.model.generator, learn.model.discriminator)), learn.gan_loss)
    with players.critic_frozen(), Meter() as count: players.generator_term(n, resolution, alpha).backward()
    return count.flops

def row_learner(images, row, factor=1., seed=0):
    s = rows[row]
    return learner(images, dict(networks, schedule=s['schedule'], loss=WGANGP(drift=s['drift']),
        generator=partial(Generator, **s['generator']), discriminator=partial(Discriminator, **s['discriminator'])),
        factor, seed, [Game(s['beta2'], s['n_critic'])])

# ---- judging

class Judge:
    "SWD, MS-SSIM, FD-Lite0, precision and recall of `n` pictures, and their floors: other reals in the place of fakes"
    def __init__(self, images, n):
        self.net,self.n = feature_network('lite0'),n
        self.reals,other = (torch.tensor(images.level(top)[i*n:(i+1)*n]) for i in range(2))
        self.features = extract(self.net, self.reals, progress=False)
        self.floors = self(other) # of the same number of pictures
    def __call__(self, x):
        f = extract(self.net, x, progress=False)
        pr = precision_recall(self.features, f)
        return {**distances(self.reals, x), 'MS-SSIM':round(ms_ssim(x, n_pairs=self.n), 4),
                'FD-Lite0':round(float(frechet_distance(self.features, f)), 1),
                **{k:round(float(v), 4) for k,v in zip(('precision','recall'), pr)}}

def settings(n=1024): return dict(resolution=top, budget=budget, n=n, seeds=seeds, rows=rows, networks=networks)

def main(path, once, quick, runs):
    torch.set_num_threads(1)
    images = image_pyramid('avatars', top)
    judge = Judge(images, 256 if quick else 1024)
    def make(asked):
        row,seed = asked['row'],asked['seed']
        n,share = rows[row]['n_critic'],rows[row]['budget']*budget/(50 if quick else 1)
        learn = row_learner(images, row, share/flops(row_learner(images, row), n), seed)
        folder = runs/f"{row.replace('*', '-star')}-{seed}"
        with learn.no_bar(), learn.no_logging(): learn.fit_in(folder, minutes=1)
        x = sample_images(learn.model.averaged, judge.n, seed=1)
        sheet(x[:16], path.parent/path.stem/f'{folder.name}.png', columns=16, scale=1)
        return dict(images=learn.images_seen, flops=flops(learn, n), cpu_seconds=round(learn.clock.seconds, 1),
                    skipped=learn.skipped, values=judge(to_uint8(x)), floors=judge.floors)
    wanted = [dict(row=r, seed=s) for s in seeds for r in rows if r!='h'] + [dict(row='h', seed=s) for s in seeds]
    return make_rows(path, settings(judge.n), wanted, make, once)

if __name__=='__main__': arguments(main, 'nbs/assets/evidence/ablations.json')
