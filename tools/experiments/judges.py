"""What the inception score says of the generators of the ablations: the one metric that their file does not have.

usage: judges.py [--next] [--runs FOLDER] [FILE]

FOLDER (runs/ablations) holds the runs that ablations.py made: less than a minute for each of their generators, on one core.
Writes FILE (nbs/assets/evidence/judges.json) after each; what is there is not made again. --next makes one row and ends
(3: some are left). FD-Lite0 comes out of the same features: it is that of the table, if the generator is. Beside FILE lies
looks.json, a ranking of the sample sheets by eye, which no script can make again.
"""
import torch
from pathlib import Path
from progrow.checkpoint import load_generator
from progrow.data import image_pyramid
from progrow.feature_metrics import frechet_distance, inception_score
from progrow.features import extract, feature_network
from progrow.images import to_uint8
from progrow.sampling import sample_images
from ablations import rows, seeds, top
from trials import arguments, make_rows

n,splits = 1024,1 # pictures of each generator; parts that are scored on their own

def settings(): return dict(resolution=top, n=n, splits=splits, network='lite0')

def main(path, once, runs=Path('runs/ablations')):
    torch.set_num_threads(1)
    net,faces = feature_network('lite0'),torch.tensor(image_pyramid('avatars', top).level(top)[:2*n])
    def features(x): return extract(net, x, progress=False)
    known = features(faces[:n])
    def make(asked):
        if asked['row']=='reals': x = faces[n:]
        else: x = to_uint8(sample_images(load_generator(runs/f"{asked['row'].replace('*', '-star')}-{asked['seed']}"/'generator.pt'), n, seed=1))
        f = features(x)
        return dict(values={'IS-Lite0':round(inception_score(net.head(f), splits).mean, 3), 'FD-Lite0':round(float(frechet_distance(known, f)), 1)})
    return make_rows(path, settings(), [dict(row='reals'), *(dict(row=r, seed=k) for k in seeds for r in rows)], make, once)

if __name__=='__main__': arguments(main, 'nbs/assets/evidence/judges.json')
