"""Which settings draw good faces soonest? Every trial gets the same counted arithmetic and is a row of a table.

usage: search.py [--quick] [--next] [--runs FOLDER] [FILE]

Trains what is not there yet, one run after the other, and writes FILE (nbs/assets/search/trials.json) after each. A run
that was stopped goes on where it stood. --next makes one run and ends (3: some are left). --quick tries every line of
this file with a hundredth of the arithmetic and few pictures, in a table of its own.
"""
import time, torch
from dataclasses import is_dataclass
from progrow.data import image_pyramid
from progrow.losses import NonSaturating, RelativisticPairing, WGANGP
import trials as shared
from trials import arguments, flops, make_rows, results, score, sheet

# ---- trials: what differs from `start`, how much of the budget, which seeds

minutes = dict(stabilize_kimg={4:6, 8:5, 16:8, 32:18}, fade_kimg={8:2, 16:4, 32:5}, batch_size=8, learning_rate=.004)
start = dict(schedule=minutes, loss=WGANGP(), latent_dim=64, fmap_base=256, fmap_max=64, average_kimg=2.)

def pace(**changes): return {**minutes, **changes}

later = dict(stabilize_kimg={4:2, 8:2, 16:3, 32:30}, fade_kimg={8:.5, 16:1, 32:1.5}, batch_size=4, learning_rate=.008)
from8 = dict(start_resolution=8, stabilize_kimg={8:6, 16:8, 32:23}, fade_kimg={16:4, 32:5}, batch_size=8,
             learning_rate=.004)
fast = pace(batch_size=4, learning_rate=.008)
late = dict(stabilize_kimg={4:3, 8:4, 16:6, 32:24}, fade_kimg={8:1, 16:2, 32:3}, batch_size=4, learning_rate=.004)
late8 = {**late, 'learning_rate':.008}
weak = NonSaturating(r1=.1, r1_every=4)
narrow = dict(schedule=late8, fmap_base=192, fmap_max=48)
style = dict(config='D', schedule=from8, loss=NonSaturating(r1=10., r1_every=4, full_resolution=32))
r1 = dict(loss=NonSaturating(r1=1., r1_every=4), decay=.5)

trials = [
    dict(name='default', budget=.5),
    dict(name='decay', budget=.5, decay=.5),
    dict(name='r1', budget=.5, **r1),
    dict(name='pairing', budget=.5, decay=.5, loss=RelativisticPairing(1., every=4)),
    dict(name='r1 weak', budget=.5, **{**r1, 'loss':weak}),
    dict(name='batch 4', budget=.5, schedule=pace(batch_size=4)),
    dict(name='style D', budget=.5, **style),
    dict(name='batch 4 r1 .1', budget=.5, schedule=pace(batch_size=4), loss=weak),
    dict(name='style D batch 4 r1 1', budget=.5, config='D', schedule={**from8, 'batch_size':4},
         loss=NonSaturating(r1=1., r1_every=4, full_resolution=32)),
    dict(name='batch 4 r1 .1 decay', budget=1., decay=.3, schedule=pace(batch_size=4), loss=weak),
    dict(name='batch 4 r1 .5', budget=.5, schedule=pace(batch_size=4), loss=NonSaturating(r1=.5, r1_every=4)),
    dict(name='batch 4 r1 .1 rate .008', budget=.5, schedule=pace(batch_size=4, learning_rate=.008), loss=weak),
    dict(name='rate .016', budget=.5, schedule=pace(batch_size=4, learning_rate=.016), loss=weak),
    dict(name='late', budget=.5, schedule={**late, 'learning_rate':.008}, loss=weak),
    dict(name='late rate .016', budget=.5, schedule={**late, 'learning_rate':.016}, loss=weak),
    dict(name='later', budget=.5, schedule=later, loss=weak),
    dict(name='late wide at 32', budget=.5, schedule=late8, loss=weak, fmap_base=512),
    dict(name='late wide at 4', budget=.5, schedule=late8, loss=weak, fmap_max=128),
    dict(name='late batch 2', budget=.5, schedule={**late8, 'batch_size':2}, loss=weak),
    dict(name='late decay', budget=1., decay=.4, schedule=late8, loss=weak),
    dict(name='late r1 .5', budget=.5, schedule=late8, loss=NonSaturating(r1=.5, r1_every=4)),
    dict(name='late narrow', budget=.5, **narrow, loss=weak, seeds=(0,1,2)),
    dict(name='late latent 32', budget=.5, schedule=late8, loss=weak, latent_dim=32),
    dict(name='narrow pairing', budget=.5, **narrow, loss=RelativisticPairing(.1, every=8), averages=(4.,8.)),
    dict(name='narrow pairing .03', budget=.5, **narrow, loss=RelativisticPairing(.03, every=8), averages=(4.,8.), seeds=(0,1,2)),
    dict(name='narrow reused fakes', budget=.5, **narrow, loss=NonSaturating(r1=.1, r1_every=8), reuse_fakes=True, averages=(4.,8.)),
]

def keys(trial): return {k:v for k,v in trial.items() if k not in ('name','budget','seeds')}

def learner(images, settings, factor=1., seed=0): return shared.learner(images, {**start, **settings}, factor, seed)

# ---- one run

plain = results.plain

def told(settings):
    "Settings as text that reads like the table above"
    return {k:repr(v) if is_dataclass(v) else v for k,v in settings.items()}

def run(images, trial, seed, folder, budget, n):
    "Train and judge one row"
    settings = keys(trial)
    factor = budget*trial['budget']/flops(learner(images, settings))
    learn = learner(images, settings, factor, seed)
    with learn.no_bar(), learn.no_logging(): learn.fit_in(folder, minutes=2)
    cpu,judging = learn.clock.seconds,time.process_time()
    sheet(learn.sample(64, seed=1), folder.parent/f'{folder.name}.png')
    values,floors = score(learn.model.averaged, images, n)
    more = learn.more_averages.networks if 'averages' in settings else {}
    more = {f'{h:g} kimg':score(net, images, n)[0] for h,net in more.items()}
    return dict(images=learn.images_seen, flops=flops(learn), cpu_seconds=round(cpu),
                judging_seconds=round(time.process_time()-judging), values=values, floors=floors, **(dict(averages=more) if more else {}),
                settings=plain(learn.settings))

# ---- the table

def asked(trial, seed): return dict(name=trial['name'], seed=seed, budget=trial['budget'], changed=told(keys(trial)))

def main(path, once, quick, runs):
    torch.set_num_threads(1)
    images,n,by_name = image_pyramid('avatars', 32),256 if quick else 2048,{t['name']:t for t in trials}
    budget = flops(learner(images, {}))*(.01 if quick else 1)
    def make(row):
        folder = runs/f"{row['name']}-{row['budget']:g}-{row['seed']}"
        return run(images, by_name[row['name']], row['seed'], folder, budget, n)
    rows = [asked(t, seed) for t in trials for seed in t.get('seeds', (0,))]
    return make_rows(path, dict(budget=budget, n=n, start=told(start)), rows, make, once)

if __name__=='__main__': arguments(main, 'nbs/assets/search/trials.json')
