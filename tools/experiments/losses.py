"""Does the loss matter? Four losses with everything else the same, and the gradient penalty at three sizes of the picture.

usage: losses.py [--quick] [--next] [--only PART] [--fashion FOLDER] [FILE]

Three sizes of the penalty up to 8x8 (a few seconds on one core for each run) and four losses at 32x32 (about half a
minute each), three seeds. Then the penalty at full size up to 32x32. Writes FILE (nbs/assets/evidence/losses.json) after
each run, and a sheet of pictures of each loss; what is there is not made again. --next makes one run and ends (3: some
are left). --only penalty, or losses, makes that part alone. --quick takes a tenth of the pictures. --fashion FOLDER, with
the two image files of Fashion-MNIST (train-images-idx3-ubyte.gz and t10k-images-idx3-ubyte.gz, as in Debian's package
dataset-fashion-mnist), adds the four losses on these photographs.
"""
import gzip, numpy as np, torch
from copy import copy
from pathlib import Path
from fastai.callback.core import Callback
from progrow.data import ImagePyramid, image_pyramid, pyramid_levels
from progrow.feature_metrics import frechet_distance
from progrow.images import from_uint8, to_uint8
from progrow.losses import LSGAN, WGANGP, NonSaturating, RelativisticPairing, input_gradient
from progrow.sampling import sample_images
from ablations import Judge
from trials import arguments, average_flops, flops, learner, make_rows, sheet

top,seeds = 32,(0,1,2)
losses = {'WGAN-GP':WGANGP(), 'LSGAN':LSGAN(), 'non-saturating':NonSaturating(r1=.5), 'pairing':RelativisticPairing(gamma=.5)}
full = {'WGAN-GP, full size':WGANGP(full_resolution=top)}
sizes = {'native':None, '32':32, '1024':1024} # of the pictures that the penalty is measured on
schedule = dict(stabilize_kimg={4:.75, 8:.75, 16:1.25, 32:2}, fade_kimg={8:.25, 16:.25, 32:.5}, batch_size=8, learning_rate=.004)
small = dict(stabilize_kimg={4:1, 8:1}, fade_kimg={8:.25}, batch_size=8, learning_rate=.004)
networks = dict(latent_dim=64, fmap_base=128, fmap_max=32, average_kimg=.5)

class Probe(Callback):
    "At 4x4 and 8x8: the critic's slope between reals and fakes, how far apart it scores them, and what the pictures are worth"
    order = 60
    def __init__(self, images, n=1024, every=25):
        self.images,self.n,self.every,self.points,self.ends,self.steps = images,n,every,[],{},0

    def after_batch(self):
        r,alpha,self.steps = self.state.resolution,self.state.alpha,self.steps+1
        done = self.images_seen>=self.schedule.total_images
        over = alpha==1 and (done or self.schedule.next_batch(self.images_seen).resolution>r)
        if over: self.ends[str(r)] = self.worth(r)
        elif self.steps%self.every: return
        self.points.append(dict(images=self.images_seen, resolution=r, alpha=round(alpha, 3), **self.look(r, alpha)))

    def look(self, r, alpha, n=64):
        "Of 64 reals and 64 fakes, from a random generator of its own"
        own,m = torch.Generator().manual_seed(1),self.model
        real,z = from_uint8(torch.tensor(self.images.level(r)[:n])),torch.randn(n, m.generator.latent_dim, generator=own)
        with torch.no_grad(): fake = m.generator(z, resolution=r, alpha=alpha)
        def scores(x): return m.discriminator(x, alpha=alpha)
        x = (real+(fake-real)*torch.rand(n, 1, 1, 1, generator=own)).requires_grad_()
        slope = input_gradient(scores(x), x).flatten(1).norm(dim=1).mean().item()
        with torch.no_grad(): gap = (scores(real).mean()-scores(fake).mean()).item()
        return {k:float(f'{v:.4g}') for k,v in dict(slope=slope, gap=gap).items()}

    def worth(self, r):
        "Fréchet distance of the pixels themselves; its floor is of other reals"
        reals = [torch.tensor(self.images.level(r)[i*self.n:(i+1)*self.n]) for i in range(2)]
        fake = to_uint8(self.learn.sample(self.n, seed=1, resolution=r)).cpu()
        real,other,fake = (o.flatten(1).double()/127.5 for o in (*reals, fake))
        return {k:round(float(frechet_distance(real, o)), 4) for k,o in (('pixels',fake), ('floor',other))}

def fashion_mnist(folder):
    "Fashion-MNIST with a black border: 70,000 grey photographs of 32x32"
    def read(name):
        data = np.frombuffer(gzip.open(Path(folder)/f'{name}-images-idx3-ubyte.gz').read(), np.uint8, offset=16)
        return data.reshape(-1, 1, 28, 28)
    x = np.pad(np.concatenate([read('train'), read('t10k')]), ((0,0), (0,0), (2,2), (2,2)))
    return ImagePyramid(pyramid_levels(x), source='Fashion-MNIST', licence='MIT')

def up_to(images, r): return ImagePyramid({k:v for k,v in images.levels.items() if k<=r})

def settings(n=512):
    return dict(resolution=top, n=n, seeds=seeds, losses={k:repr(v) for k,v in {**losses, **full}.items()}, sizes=sizes,
                schedule=schedule, small=small, networks=networks)

def main(path, once, quick, only, fashion):
    torch.set_num_threads(1)
    n,factor,judges = 256 if quick else 512,.1 if quick else 1,{}
    def prepared(name):
        if name not in judges:
            images = fashion_mnist(fashion) if name=='fashion' else image_pyramid(name, top)
            judges[name] = images,Judge(images, n)
        return judges[name]
    def fitted(*args, **kwargs):
        learn = learner(*args, **kwargs)
        with learn.no_bar(), learn.no_logging(): learn.fit()
        return learn,dict(images=learn.images_seen, flops=flops(learn), cpu_seconds=round(learn.clock.seconds, 1), skipped=learn.skipped)
    def compare_sizes(asked):
        images = up_to(image_pyramid('avatars', top), 8)
        probe = Probe(images)
        told = fitted(images, dict(networks, schedule=small, loss=WGANGP(full_resolution=sizes[asked['size']])), factor, asked['seed'], [probe])[1]
        return dict(**told, points=probe.points, ends=probe.ends)
    def compare_losses(asked):
        images,judge = prepared(asked['images'])
        loss = copy({**losses, **full}[asked['loss']]) # a loss may remember: each run has its own
        learn,told = fitted(images, dict(networks, schedule=schedule, loss=loss), factor, asked['seed'])
        x,m = sample_images(learn.model.averaged, n, seed=1),learn.model
        name = f"{asked['images']}-{asked['loss'].replace(', ', '-').replace(' ', '_').lower()}-{asked['seed']}"
        if asked['seed']==0: sheet(x[:16].expand(-1, 3, -1, -1), path.parent/path.stem/f'{name}.png', 16, 1)
        return dict(**told, picture_flops=average_flops(m.generator, m.discriminator, loss, top, 8, 1.)/8,
                    values=judge(to_uint8(x)), floors=judge.floors)
    wanted = [dict(part='penalty', size=k, seed=s) for s in seeds for k in sizes]
    wanted += [dict(part='losses', images='avatars', loss=k, seed=s) for s in seeds for k in losses]
    wanted += [dict(part='losses', images='avatars', loss=k, seed=s) for s in seeds for k in full]
    if fashion: wanted += [dict(part='losses', images='fashion', loss=k, seed=s) for s in seeds for k in losses]
    wanted = [o for o in wanted if only in (None, o['part'])]
    make = dict(losses=compare_losses, penalty=compare_sizes)
    return make_rows(path, settings(n), wanted, lambda asked: make[asked['part']](asked), once)

if __name__=='__main__': arguments(main, 'nbs/assets/evidence/losses.json')
