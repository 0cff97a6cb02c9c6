"""Train the 64x64 generator of little monsters that ships with the package, with the settings that the search found, and judge it.

usage: train_shipped.py [--kimg N] [--score] [FOLDER]

A run that was stopped goes on where it stood (a checkpoint every 5 minutes). --kimg sets the length of the whole run, also
of one that has begun: the learning rate then falls to the new end. --score trains nothing: it exports and judges what is
there. FOLDER (runs/critters) gets generator.pt, strip.png and samples64.png (64 pictures, none left out); the generator is
copied to progrow/generators/critters-progan.pt, and beside it stands where it comes from and how good it is.
"""
import sys, torch
from pathlib import Path
from progrow.checkpoint import load_generator
from progrow.data import image_pyramid
from progrow.files import atomic_write
from progrow.losses import NonSaturating
from progrow.sampling import sample_images
from trials import flops, learner, packages, results, score, sheet

n,seed,kimg = 2048,0,130
shape = dict(stabilize_kimg={4:3, 8:4, 16:6, 32:14, 64:30}, fade_kimg={8:1.5, 16:3, 32:4, 64:5}, batch_size=4,
             learning_rate={4:.008, 64:.006})
settings = dict(loss=NonSaturating(r1=.2, r1_every=4), latent_dim=64, fmap_base=384, fmap_max=48,
                average_kimg=5., decay=.4)

shipped = Path(__file__).resolve().parents[2]/'progrow'/'generators'/'critters-progan.pt'
largest = 4*2**20 # bytes of the file

def finish(learn, folder, images):
    "Export, judge, draw, ship"
    path = learn.export(folder/'generator.pt')
    G = load_generator(path)
    sheet(sample_images(G, 64, seed=1), folder/'samples64.png', columns=8, scale=2)
    learn.sample_strip.show().image.save(folder/'strip.png')
    size = path.stat().st_size
    if size>largest: sys.exit(f'{path} has {size:,} bytes, more than {largest:,}: take a smaller network')
    values,floors = score(G, images, n)
    judged = {k:dict(value=v, floor=floors[k]) for k,v in values.items()}
    with atomic_write(shipped) as f: f.write(path.read_bytes())
    results.write(shipped.with_suffix('.json'), learn.settings, packages, dict(threads=1), pictures=images.source,
                  licence=images.licence, images_seen=learn.images_seen, minutes=round(learn.clock.seconds/60),
                  decay=learn.rate_decay.share, flops=flops(learn), judged=judged, n=n, bytes=size)
    print(G.resolution, learn.images_seen, judged, f'{size:,} bytes', flush=True)

def main(folder, total, only_score):
    torch.set_num_threads(1)
    images = image_pyramid('critters', 64)
    made = {**settings, 'schedule':{**shape, 'total_kimg':total}}
    learn = learner(images, made, seed=seed)
    if only_score: learn.resume(folder/'checkpoints')
    else:
        with learn.no_bar(), learn.no_logging(): learn.fit_in(folder, minutes=5)
    finish(learn, folder, images)

if __name__=='__main__':
    args = sys.argv[1:]
    total = float(args[args.index('--kimg')+1]) if '--kimg' in args else kimg
    names = [a for i,a in enumerate(args) if a[:2]!='--' and (not i or args[i-1]!='--kimg')]
    main(Path(names[0] if names else 'runs/critters'), total, '--score' in args)
