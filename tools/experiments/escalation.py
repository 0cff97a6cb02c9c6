"""Do signals escalate, and what stops them? Networks with and without pixelnorm and equalized layers, step by step.

usage: escalation.py [--quick] [--next] [FILE]

Two losses, two learning rates, four pairs of networks, three seeds: 48 runs of 200 steps, about ten seconds each on one
core. Writes FILE (nbs/assets/evidence/escalation.json) after each run. --next makes one run and ends (3: some are left).
--quick takes a tenth of the steps.
"""
import torch
from functools import partial
from fastai.callback.core import Callback
from progrow.data import image_pyramid
from progrow.equalized import Equalized
from progrow.losses import LSGAN, WGANGP
from progrow.networks import Discriminator, Generator
from progrow.pixelnorm import Activation
from progrow.sampling import random_latents, sample_images
from trials import arguments, learner, make_rows, sheet

top,seeds,steps,batch = 16,(0,1,2),200,8
widths = dict(latent_dim=64, fmap_base=128, fmap_max=64)
losses = {'wgan-gp':WGANGP(), 'lsgan':LSGAN(noise=0)} # without the noise that the paper adds against escalation
rates = {'healthy':.002, 'high':.032} # of equalized layers
he_share = 1/12 # of that, where weights are scaled at the start: 3x3 layers of 32 channels then start alike
arms = {'both':(True,True), 'no pixelnorm':(False,True), 'not equalized':(True,False),
        'neither':(False,False)} # pixelnorm, equalized

class Probe(Callback):
    "Sizes of signals, variety of pictures, and how far each layer moves in a step"
    order = 60
    def __init__(self, reals, at=(20,150)):
        self.points,self.moves,self.at,self.z = [],{},at,random_latents(32, widths['latent_dim'], 1)
        self.spread = reals.std(0).mean()

    def layers(self):
        nets = ('G',self.model.generator),('D',self.model.discriminator)
        return {f'{k}.{n}':o for k,net in nets for n,o in net.named_modules() if isinstance(o, Equalized)}

    def before_batch(self):
        self.step = self.images_seen//batch
        if self.step in self.at: self.before = {n:o.scaled_weight.detach().clone() for n,o in self.layers().items()}

    def after_batch(self):
        if self.step in self.at:
            def moved(o, w): return ((o.scaled_weight.detach()-w).norm()/w.norm()).item()
            self.moves[str(self.step)] = {n:float(f'{moved(o, self.before[n]):.3g}') for n,o in self.layers().items()}
        if self.step%(2 if self.step<40 else 10)==0: self.points.append(self.look())

    @torch.no_grad()
    def look(self):
        "Root mean squares of what enters the activations: the loudest layer of each network"
        G,D = self.model.generator,self.model.discriminator
        sizes,hooks = {id(G):[], id(D):[]},[]
        for net in (G, D):
            for m in net.modules():
                note = lambda m, x, net=net: sizes[id(net)].append(x[0].square().mean().sqrt().item())
                if isinstance(m, Activation): hooks.append(m.register_forward_pre_hook(note))
        fake = G(self.z)
        score = D(fake)
        for h in hooks: h.remove()
        plain = dict(G=max(sizes[id(G)]), D=max(sizes[id(D)]), score=score.abs().mean().item(),
                     variety=(fake.clamp(-1, 1).std(0).mean()/self.spread).item())
        return dict(step=self.step+1, **{k:float(f'{v:.4g}') for k,v in plain.items()})

def settings():
    return dict(resolution=top, steps=steps, batch=batch, seeds=seeds, widths=widths, rates=rates, he_share=he_share,
                arms=arms, losses={k:repr(v) for k,v in losses.items()})

def main(path, once, quick):
    torch.set_num_threads(1)
    images = image_pyramid('avatars', top)
    reals = torch.tensor(images.level(top)[:1024]).float()/127.5-1
    kimg = steps*batch/1000/(10 if quick else 1)
    def make(asked):
        pixelnorm,equalized = arms[asked['arm']]
        G = partial(Generator, norm='pixel' if pixelnorm else None, equalized=equalized)
        rate = rates[asked['rate']]*(1 if equalized else he_share)
        probe = Probe(reals, (2,15) if quick else (20,150))
        schedule = dict(start_resolution=top, stabilize_kimg=kimg, batch_size=batch, learning_rate=rate)
        learn = learner(images, dict(schedule=schedule, loss=losses[asked['loss']], generator=G,
            discriminator=partial(Discriminator, equalized=equalized), average_kimg=0., **widths),
            seed=asked['seed'], cbs=[probe])
        stopped = None
        with learn.no_bar(), learn.no_logging():
            try: learn.fit()
            except FloatingPointError as e: stopped = str(e)[:100]
        name = '-'.join(map(str, asked.values())).replace(' ', '_')
        pictures = sample_images(learn.model.generator.eval(), 16, seed=1)
        if asked['seed']==0: sheet(pictures, path.parent/path.stem/f'{name}.png', 16, 1)
        return dict(images=learn.images_seen, cpu_seconds=round(learn.clock.seconds, 1), skipped=learn.skipped,
                    stopped=stopped, points=probe.points, moves=probe.moves)
    wanted = [dict(loss=l, rate=r, arm=a, seed=s) for l in losses for s in seeds for r in rates for a in arms]
    return make_rows(path, settings(), wanted, make, once)

if __name__=='__main__': arguments(main, 'nbs/assets/evidence/escalation.json')
