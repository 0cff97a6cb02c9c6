"""Does growing pay? The same 64x64 networks on the same faces with the same counted arithmetic: grown from 4x4, or at 64x64 all along.

usage: growing.py [--quick] [--next] [--runs FOLDER] [FILE]

Six runs of about ten minutes on one core (three seeds each). Writes FILE (nbs/assets/speed/growing.json) after each run; one that
was stopped goes on where it stood. --next makes one run and ends (3: some are left). --quick takes a twentieth of the arithmetic.
"""
import torch
from progrow.data import image_pyramid
from progrow.feature_metrics import frechet_distance
from progrow.features import extract, feature_network
from progrow.images import enlarge, to_uint8
from progrow.losses import NonSaturating
from progrow.sampling import sample_images
from trials import arguments, Judge, distances, flops, learner, make_rows, score, sheet

top,seeds,budget = 64,(0,1,2),2.2e13 # FLOPs of one run: about 600 CPU seconds
arms = {'growing': dict(stabilize_kimg={4:3, 8:4, 16:6, 32:10, 64:30}, fade_kimg={8:1.5, 16:3, 32:4, 64:4}),
        'fixed': dict(start_resolution=top, stabilize_kimg=30.)}
pace = dict(batch_size=4, learning_rate={4:.004, 64:.003})
networks = dict(loss=NonSaturating(r1=.5, r1_every=4), latent_dim=64, fmap_base=512, fmap_max=64, average_kimg=2.)

def settings_of(arm): return dict(networks, schedule={**pace, **arms[arm]})
def told(n):
    "All that decides the rows, as the file says it; `n` pictures are judged"
    return dict(resolution=top, budget=budget, n=n, seeds=seeds, arms=arms, pace=pace, networks={k:repr(v) for k,v in networks.items()})

def main(path, once, quick, runs):
    torch.set_num_threads(1)
    images,n,total = image_pyramid('avatars', top),256 if quick else 1024,budget/(20 if quick else 1)
    reals = torch.tensor(images.level(top)[:n])
    net,known = feature_network('lite0'),[]
    def judged(learn):
        "SWD and FD-Lite0 of the averaged generator at its present resolution, enlarged to 64x64"
        x = enlarge(to_uint8(learn.sample(n, seed=1, resolution=learn.state.resolution)).cpu(), top)
        if not known: known.append(extract(net, reals, progress=False))
        return {**distances(reals, x), 'FD-Lite0':round(float(frechet_distance(known[0], extract(net, x, progress=False))), 1)}
    def make(asked):
        s = settings_of(asked['arm'])
        learn = learner(images, s, total/flops(learner(images, s)), asked['seed'], [Judge(judged)])
        folder = runs/f"{asked['arm']}-{asked['seed']}"
        with learn.no_bar(), learn.no_logging(): learn.fit_in(folder, minutes=2)
        sheet(sample_images(learn.model.averaged, 64, seed=1), runs/f'{folder.name}.png', scale=2)
        values,floors = score(learn.model.averaged, images, n)
        return dict(images=learn.images_seen, flops=flops(learn), cpu_seconds=round(learn.clock.seconds, 1),
                    values=values, floors=floors, curve=learn.judge.points)
    return make_rows(path, {**told(n), 'budget':total}, [dict(arm=a, seed=s) for s in seeds for a in arms], make, once)

if __name__=='__main__': arguments(main, 'nbs/assets/speed/growing.json')
