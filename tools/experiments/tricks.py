"""Two of ProGAN's tricks on and off in a small GAN that trains: fading a layer in, and the minibatch deviation.

usage: tricks.py [--quick] [--next] [--only PART] [FILE]

Parts: fade, variety. A few seconds on one core for each run. Writes FILE (nbs/assets/evidence/tricks.json)
after each run, and sheets of pictures beside it. --next makes one run and ends (3: some are left). --quick takes a tenth
of the images.
"""
import time, torch, torch.nn.functional as F
from functools import cache, partial
from fastai.callback.core import Callback, CancelFitException
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from progrow.data import image_pyramid
from progrow.equalized import EqualizedConv2d, EqualizedLinear
from progrow.images import enlarge, to_uint8
from progrow.losses import NonSaturating
from progrow.minibatch_stddev import variety_layer
from progrow.sampling import sample_images
from progrow.sets import digits
from progrow.swd import sliced_wasserstein, swd_quick
from trials import arguments, learner, make_rows, sheet

top,judged = 16,256 # pixels, and pictures that are judged
networks = dict(latent_dim=64, fmap_base=128, fmap_max=32, average_kimg=0.)

# ---- looking

class Look(Callback):
    "`score(pictures)` of the generator as it stands, when so many images have been seen; the losses since the look before"
    order = 60
    def __init__(self, at, score, keep=()): # at, keep: images seen; of the latter, pictures are kept
        self.at,self.score,self.keep,self.points,self.pictures,self.losses = sorted(at),score,keep,[],[],[]
    def draw(self, n):
        s = self.schedule.next_batch(self.images_seen)
        return enlarge(sample_images(self.model.generator, n, 1, resolution=s.resolution, alpha=s.alpha), top)
    def after_batch(self):
        self.losses.append((float(self.learn.loss), float(self.generator_loss)))
        if self.at and self.images_seen>=self.at[0]:
            begun = time.process_time()
            self.look()
            self.clock.begun += time.process_time()-begun
    def look(self):
        state,n = torch.get_rng_state(),self.at.pop(0)
        lost = torch.tensor(self.losses).mean(0).tolist() if self.losses else (0., 0.)
        self.points.append(dict(images=self.images_seen, critic=round(lost[0], 4), generator=round(lost[1], 4),
                                **self.score(to_uint8(self.draw(judged)))))
        if n in self.keep: self.pictures.append(self.draw(16))
        self.losses = []
        torch.set_rng_state(state)

def swd(real, fake):
    "Of each level, as during training: quick"
    return {f'SWD {k}':round(v, 1) for k,v in sliced_wasserstein(real, fake, min_resolution=8, **swd_quick).items()}

# ---- fade: how the last resolution arrives

grown = 2000 # images seen when 16x16 begins
fades = {'at once':0., 'short':.4, 'long':1.2} # kimg
moments = (0, 32, 96, 200, 400, 800, 1200, 1600) # images since then
shown = (0, 96, 400, 800, 1600)
gan_loss = NonSaturating(r1=.5, r1_every=4)

def fade_learner(images, arm, factor, seed, cbs=()):
    f = fades[arm]
    schedule = dict(stabilize_kimg={4:.6, 8:1.2, 16:1.6-f}, fade_kimg={8:.2, 16:f}, batch_size=8, learning_rate=.004)
    return learner(images, dict(networks, schedule=schedule, loss=gan_loss), factor, seed, cbs)

@cache
def before_growth(images, factor, seed):
    "What all arms of a seed have in common, trained once"
    class Stop(Callback):
        order = 61
        def after_batch(self):
            if self.images_seen>=grown*factor: raise CancelFitException
    learn = fade_learner(images, 'at once', factor, seed, [Stop()])
    with learn.no_bar(), learn.no_logging(): learn.fit()
    return learn.model.state_dict()

def fade_run(asked, factor, images, reals):
    at = {n:round((grown+n)*factor/8)*8 for n in moments}
    look = Look(at.values(), partial(swd, reals), [at[n] for n in shown])
    learn = fade_learner(images, asked['arm'], factor, asked['seed'], [look])
    learn.model.load_state_dict(before_growth(images, factor, asked['seed']))
    look.learn = learn
    look.look() # at the very moment
    with learn.no_bar(), learn.no_logging(): learn.fit()
    return dict(images=learn.images_seen, cpu_seconds=round(learn.clock.seconds, 1), skipped=learn.skipped,
                points=look.points),look.pictures

# ---- variety: does the critic see the whole batch?

steps,batch,pace = 300,16,dict(generator=.03, critic=.003) # learning rates: a generator ten times as fast as its critic
strips = (25, 50, 100, 200, 300) # steps of which pictures are kept

def digit_critic(variety, channels=1, nf=16):
    "Two convolutions and a score; with the layer between them, where `variety` says so"
    layer,more = variety_layer(variety, nf, 4)
    return nn.Sequential(EqualizedConv2d(channels, nf), nn.LeakyReLU(.2), layer, EqualizedConv2d(nf+more, nf),
                         nn.LeakyReLU(.2), nn.Flatten(), EqualizedLinear(nf*64, 1, gain=1.), nn.Flatten(0))

def digit_generator(channels=1, nz=8, nf=64):
    return nn.Sequential(EqualizedLinear(nz, nf), nn.LeakyReLU(.2), EqualizedLinear(nf, nf), nn.LeakyReLU(.2),
                         EqualizedLinear(nf, 64*channels, gain=1.), nn.Tanh(), nn.Unflatten(1, (channels,8,8)))

def duel(G, D, loss, real, nz, rates, n, look=lambda step: None):
    "Train both for `n` steps; CPU seconds, those of `look` included"
    begun = time.process_time()
    opts = [torch.optim.Adam(m.parameters(), lr=lr, betas=(0.,.99)) for m,lr in zip((D, G), rates)]
    def learns(opt, value):
        opt.zero_grad()
        value.backward()
        opt.step()
    for i in range(1, n+1):
        fake,shown = G(torch.randn(batch, nz)),real[torch.randint(len(real), (batch,))]
        learns(opts[0], loss.discriminator_loss(D, shown, fake.detach()))
        learns(opts[1], loss.generator_loss(D, fake, *([shown] if loss.sees_reals else [])))
        look(i)
    return round(time.process_time()-begun, 1)

def judge(fake, real, classes):
    "How much pictures differ, as a share of how much reals do; and how many digits a nearest neighbour finds in them"
    u = ((fake+1)*127.5).flatten(1)
    return dict(variety=round((fake.std(0).mean()/real.std(0).mean()).item(), 4), digits=len(set(classes.predict(u.numpy()))))

def variety_run(asked, factor, images, reals):
    set_ = digits()
    real,n = torch.tensor(set_.level(8)).float()/127.5-1,round(steps*factor)
    classes = KNeighborsClassifier(1).fit(set_.level(8).reshape(len(set_), -1), set_.labels)
    torch.manual_seed(asked['seed'])
    G,D,z = digit_generator(),digit_critic(asked['layer']),torch.randn(256, 8)
    points,pictures = [],[]
    def look(i):
        if i%25 and i!=n: return
        with torch.no_grad(): x = G(z)
        points.append(dict(step=i, **judge(x, real, classes)))
        if i in strips: pictures.append(x[:16].expand(-1, 3, -1, -1))
    seconds = duel(G, D, NonSaturating(r1=0.), real, 8, (pace['critic'], pace['generator']), n, look)
    return dict(images=n*batch, cpu_seconds=seconds, points=points),pictures

# ---- what is run

parts = dict(fade=(fade_run, [dict(part='fade', arm=a, seed=s) for s in range(3) for a in fades]),
             variety=(variety_run, [dict(part='variety', layer=v, seed=s) for s in range(5) for v in (None,'stddev')]))

def settings():
    return dict(resolution=top, judged=judged, networks=networks,
                fade=dict(grown=grown, fades=fades, moments=moments, shown=shown, loss=repr(gan_loss)),
                variety=dict(steps=steps, batch=batch, rates=pace, shown=strips))

def main(path, once, quick, only):
    torch.set_num_threads(1)
    images = image_pyramid('avatars', top)
    reals = torch.tensor(images.level(top)[:judged])
    def make(asked):
        run,_ = parts[asked['part']]
        row,pictures = run(asked, .1 if quick else 1., images, reals)
        name = '-'.join(map(str, asked.values())).replace(' ', '_')
        if pictures and asked['seed']==0: sheet(torch.cat(pictures), path.parent/path.stem/f'{name}.png', 16, 1)
        return row
    wanted = [o for k,(_,rows) in parts.items() for o in rows if only in (None, k)]
    return make_rows(path, settings(), wanted, make, once)

if __name__=='__main__': arguments(main, 'nbs/assets/evidence/tricks.json')
