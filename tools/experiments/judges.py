"""What the inception score says of the generators of the ablations: the one metric that their file does not have.

usage: judges.py [--next] [--runs FOLDER] [FILE]

FOLDER (runs/ablations) holds the runs that ablations.py made: a few seconds for each of their generators. Writes FILE
(nbs/assets/evidence/judges.json) after each; what is there is not made again. --next makes one row and ends (3: some are
left). Beside it lies looks.json, a ranking of the sample sheets by eye, which no script can make again.
"""
import sys, torch
from pathlib import Path
from progrow.checkpoint import load_generator
from progrow.data import image_pyramid
from progrow.feature_metrics import inception_score
from progrow.features import extract, feature_network
from progrow.images import to_uint8
from progrow.sampling import sample_images
from ablations import rows, seeds, top
from trials import make_rows

def settings(n=1024): return dict(resolution=top, n=n, splits=4, network='lite0')

def main(path, runs, once):
    torch.set_num_threads(1)
    net,s = feature_network('lite0'),settings()
    def judged(x):
        return {'IS-Lite':round(inception_score(net.head(extract(net, x, progress=False)), splits=1).mean, 3)}
    def make(asked):
        if asked=={'row':'reals'}: return dict(values=judged(torch.tensor(image_pyramid('avatars', top).level(top)[:s['n']])))
        G = load_generator(folder(asked)/'generator.pt')
        return dict(values=judged(to_uint8(sample_images(G, s['n'], seed=1))))
    def folder(asked): return runs/f"{asked['row'].replace('*', '-star')}-{asked['seed']}"
    wanted = [dict(row=r, seed=k) for k in seeds for r in rows]
    there = [o for o in wanted if (folder(o)/'generator.pt').exists()]
    return 0 if make_rows(path, s, [dict(row='reals'), *there], make, once) else 3

if __name__=='__main__':
    args = sys.argv[1:]
    runs = Path(args.pop(args.index('--runs')+1)) if '--runs' in args else Path('runs/ablations')
    names = [a for a in args if a[:2]!='--']
    sys.exit(main(Path(names[0] if names else 'nbs/assets/evidence/judges.json'), runs, '--next' in args))
