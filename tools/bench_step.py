"""How long a training step takes: the definitions of the pages, spelt out, against what the package does.

usage: bench_step.py [--quick] [--seconds S] [--out OUT.json]

A step is everything: the critic's terms with their penalty, the generator's, both Adams, the average. All contestants take turns in one process,
in random order, and CPU time is counted, so what else the machine does is shared fairly. `python tools/bench_step.py --quick` takes five minutes."""
import argparse, random, statistics
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial
from time import perf_counter, process_time
from unittest import mock
import torch, torch.nn.functional as F
from progrow import minibatch_stddev, networks
from progrow.cost import step_cost
from progrow.equalized import Equalized
from progrow.fade_in import downsample, upsample
from progrow.losses import WGANGP
from progrow.networks import Discriminator, Generator
from progrow.players import Players
import results

widths = {'1024/128':dict(fmap_base=1024, fmap_max=128), '8192/512':dict(fmap_base=8192, fmap_max=512)}
batches = {'1024/128':{4:64, 8:32, 16:16, 32:8, 64:8, 128:4}, '8192/512':{4:16, 8:8, 16:4}}

# --- the layers as the pages define them, before anything is melted together

def deviation(x, group_size):
    s = (x.reshape(group_size, len(x)//group_size, -1).var(0, correction=0)+1e-8).sqrt().mean(1)
    return torch.cat([x, s.repeat(group_size).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])], 1)

@contextmanager
def textbook():
    "Within it, the networks compute as the text says"
    with ExitStack() as stack:
        def put(owner, **functions): stack.enter_context(mock.patch.multiple(owner, **functions))
        put(Equalized, scaled=lambda layer, x: (x, layer.scaled_weight))
        put(networks, leaky_relu=partial(F.leaky_relu, negative_slope=0.2),
            paint=lambda z, dense: torch.einsum('nc,ocij->noij', z, dense.scaled_weight),
            upsample_conv2d=lambda x, w, b: F.conv2d(upsample(x), w, b, padding=1),
            conv2d_downsample=lambda x, w, b: downsample(F.conv2d(x, w, b, padding=1)))
        put(minibatch_stddev, minibatch_stddev=deviation)
        yield

# --- who takes part: name -> function of (resolution, width, alpha) that makes (step, GFLOP per image); a step takes a batch of reals

def players(resolution, width):
    torch.manual_seed(0)
    w = widths[width]
    return Players(Generator(resolution, latent_dim=w['fmap_max'], **w), Discriminator(resolution, **w), WGANGP())

def one_step(p, adams, average, real, alpha):
    "Returns both losses"
    (g_opt,d_opt),lost = adams,0.
    for term in p.critic_terms(real, alpha): term.backward(); lost += term.item()
    d_opt.step(); d_opt.zero_grad()
    with p.critic_frozen(): loss = p.generator_term(len(real), real.shape[-1], alpha); loss.backward()
    g_opt.step(); g_opt.zero_grad()
    average()
    return lost,loss.item()

def adams(p, **kwargs):
    return [torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.,.99), eps=1e-8, **kwargs) for net in (p.generator, p.discriminator)]

def counted(p, resolution, width, alpha):
    n = batches[width][resolution]
    return step_cost(p.generator, p.discriminator, p.loss, resolution, n, alpha).flops/n/1e9

def ours(resolution, width, alpha):
    p = players(resolution, width)
    averaged,now = (list(net.parameters()) for net in (deepcopy(p.generator).requires_grad_(False), p.generator))
    opts = adams(p, fused=True)
    def step(real): return one_step(p, opts, lambda: torch._foreach_lerp_(averaged, now, .01), real, alpha)
    return step,counted(p, resolution, width, alpha)

def plain(resolution, width, alpha):
    p = players(resolution, width)
    averaged = deepcopy(p.generator).requires_grad_(False)
    def average():
        for a,w in zip(averaged.parameters(), p.generator.parameters()): a.lerp_(w.detach(), .01)
    opts = adams(p)
    def step(real):
        with textbook(): return one_step(p, opts, average, real, alpha)
    with textbook(): return step,counted(p, resolution, width, alpha)

contestants = dict(plain=plain, ours=ours)

# --- measuring

def convolution_rate():
    "GFLOP per CPU second of 3x3 convolutions, the best of some sizes: what a step could reach at most"
    best = 0.
    for n,c,r in ((16,128,16), (32,128,8), (8,64,32)):
        x,w = torch.randn(n, c, r, r),torch.randn(c, c, 3, 3)
        for _ in range(8):
            begun = process_time(); F.conv2d(x, w, padding=1)
            best = max(best, 2*9*c*c*r*r*n/1e9/(process_time()-begun))
    return best

def race(resolution, width, alpha, seconds, least=5):
    "One row for each contestant"
    n = batches[width][resolution]
    real = torch.randn(n, 3, resolution, resolution)
    made = {k: make(resolution, width, alpha) for k,make in contestants.items()}
    for step,_ in made.values(): step(real); step(real) # Adam's state, and what is made once
    times,rate,end = {k:[] for k in made},0.,perf_counter()+seconds
    while perf_counter()<end or len(times['ours'])<least:
        rate = max(rate, convolution_rate())
        for k in random.sample(list(made), len(made)):
            begun = process_time(); made[k][0](real); times[k].append(process_time()-begun)
    middle = {k: statistics.median(o)/n for k,o in times.items()}
    return [dict(resolution=resolution, width=width, phase='fading' if alpha<1 else 'stable', contestant=k, batch=n, rounds=len(times[k]),
                 seconds_per_image=middle[k], least_seconds_per_image=min(times[k])/n, times_as_long=middle[k]/middle['ours'], gflop_per_image=made[k][1],
                 gflop_per_second=made[k][1]/middle[k], share_of_convolution_rate=made[k][1]/middle[k]/rate) for k in made]

def main():
    parse = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parse.add_argument('--quick', action='store_true', help='up to 64x64, stable only')
    parse.add_argument('--seconds', type=float, default=20., help='for each resolution, width and phase')
    parse.add_argument('--out', help='a JSON file for the rows')
    a = parse.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    settings,rows = dict(seconds=a.seconds, quick=a.quick, threads=1, loss='wgan-gp'),[]
    for width,sizes in batches.items():
        for r in [r for r in sizes if r<=64 or not a.quick]:
            for alpha in (1.,) if a.quick or r==4 else (1., .5):
                rows += (new := race(r, width, alpha, a.seconds))
                for o in new: print(f"{width} {r:4d} {o['phase']:6} {o['contestant']:8} {1000*o['seconds_per_image']:8.2f} ms per image, "
                    f"{o['times_as_long']:.2f} of ours, {o['gflop_per_image']:.3f} GFLOP, {o['share_of_convolution_rate']:.0%} of the convolution rate", flush=True)
    if a.out: results.write(a.out, settings, rows=rows)

if __name__=='__main__': main()
