"""What the inception score says of the generators of the ablations: the one metric that their file does not have.

usage: judges.py [--next] [--runs FOLDER] [FILE]

FOLDER (runs/ablations) holds the runs that ablations.py made: a few seconds on one core for each of their generators. Writes
FILE (nbs/assets/evidence/judges.json) after each; what is there is not made again. --next makes one row and ends (3: some
are left). Each row says how far its first pictures are from those of the sheet in nbs/assets/evidence/ablations. There lies
looks.json beside FILE, a ranking of these sheets by eye, which no script can make again.
"""
import numpy as np, torch
from pathlib import Path
from PIL import Image
from progrow.checkpoint import load_generator
from progrow.data import image_pyramid
from progrow.feature_metrics import inception_score
from progrow.features import extract, feature_network
from progrow.images import to_uint8
from progrow.sampling import sample_images
from ablations import rows, seeds, top
from trials import arguments, make_rows

n,splits = 256,1 # pictures of each generator; parts that are scored on their own
sheets = Path('nbs/assets/evidence/ablations')

def settings(): return dict(resolution=top, n=n, splits=splits, network='lite0')

def apart(x, name):
    "The largest difference to a pixel of the sheet, in steps of 1/255"
    there = np.array(Image.open(sheets/f'{name}.png')).astype(int)
    return int(np.abs(there-np.concatenate(list(x[:16].permute(0, 2, 3, 1).numpy()), 1)).max())

def main(path, once, runs=Path('runs/ablations')):
    torch.set_num_threads(1)
    net = feature_network('lite0')
    def scored(x): return {'IS-Lite0':round(inception_score(net.head(extract(net, x, progress=False)), splits).mean, 3)}
    def make(asked):
        if asked['row']=='reals': return dict(values=scored(torch.tensor(image_pyramid('avatars', top).level(top)[:n])))
        name = f"{asked['row'].replace('*', '-star')}-{asked['seed']}"
        x = to_uint8(sample_images(load_generator(runs/name/'generator.pt'), n, seed=1))
        return dict(values=scored(x), apart=apart(x, name))
    wanted = [dict(row='reals'), *(dict(row=r, seed=k) for k in seeds for r in rows if r!='h')] # which was not ranked
    return make_rows(path, settings(), wanted, make, once)

if __name__=='__main__': arguments(main, 'nbs/assets/evidence/judges.json')
