"""How many of 1000 modes does a generator find? Three random digits as the channels of a picture, and critics of three widths.

usage: variety.py [--quick] [--next] [FILE]

Critics of full, half and quarter width with and without the minibatch deviation, other losses, and a set of 100 pictures
to learn by heart: some seconds on one core for each run. Writes FILE (nbs/assets/evidence/variety.json) after each run.
--next makes one run and ends (3: some are left). --quick takes a tenth of the steps.
"""
import torch
from functools import cache
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier
from progrow.losses import LSGAN, WGANGP, NonSaturating, RelativisticPairing
from progrow.sets import digits, stacked_digits
from progrow.variety import mode_coverage
from trials import arguments, make_rows, sheet
from tricks import batch, digit_critic, digit_generator, duel

steps,nz,rate,seeds,judged = 600,32,.005,(0,1,2),2560
widths = dict(full=32, half=16, quarter=8) # channels of the critic
losses = {'wgan-gp':WGANGP(), 'lsgan':LSGAN(noise=0), 'non-saturating':NonSaturating(r1=1.),
          'relativistic':RelativisticPairing(gamma=1.)}
few = 100 # pictures of the set that can be learned by heart

@cache
def known():
    "Reals as they are judged: the set, other triples of the same digits, and who names a digit"
    d = digits()
    x = d.level(8).reshape(len(d), -1)
    return stacked_digits().level(8),stacked_digits(judged, seed=1).level(8),KNeighborsClassifier(1).fit(x, d.labels), \
           LinearDiscriminantAnalysis().fit(x, d.labels)

def modes(x, judge): # uint8 (n, 3, 8, 8)
    return judge.predict(x.reshape(-1, 64)).reshape(-1, 3) @ [100,10,1]

def features(x, lda):
    "What tells digits apart: nine numbers for each of the three"
    return torch.tensor(lda.transform(x.reshape(-1, 64))).float().view(len(x), -1)
def pixels(x): return torch.tensor(x).float().flatten(1)

def nearest(a, b): return torch.cat([torch.cdist(o, b).min(1).values for o in a.split(256)])
def closest_pairs(x): return torch.pdist(x).sort().values

def judge(fake):
    "Modes, twins and neighbours of uint8 pictures"
    reals,other,knn,lda = known()
    covered = mode_coverage(modes(fake, knn), 1000)
    limit = closest_pairs(pixels(other))[len(other)//10] # a pair so close is rare among reals
    pairs = closest_pairs(pixels(fake))
    return dict(covered=covered.covered, kl=round(covered.kl, 4), floor=[round(v, 4) for v in covered.floor],
                twins=float(f'{(pairs<limit).float().mean():.3g}'))

def neighbours(fake, learned):
    "Median distance to the nearest of the pictures learned, as a share of that of other reals"
    _,other,_,lda = known()
    n = 512
    def share(f): return round((nearest(f(fake[:n]), f(learned)).median()/nearest(f(other[:n]), f(learned)).median()).item(), 3)
    return dict(pixels=share(pixels), features=share(lambda x: features(x, lda)))

def settings():
    return dict(steps=steps, batch=batch, latent_dim=nz, rate=rate, seeds=seeds, judged=judged, widths=widths, few=few,
                losses={k:repr(v) for k,v in losses.items()})

def main(path, once, quick):
    torch.set_num_threads(1)
    reals = known()[0]
    def make(asked):
        learned = reals[:few] if asked['pictures']=='few' else reals
        real = torch.tensor(learned).float()/127.5-1
        torch.manual_seed(asked['seed'])
        G,D = digit_generator(3, nz, 128),digit_critic(asked['layer'], 3, widths[asked['width']])
        n = steps//(10 if quick else 1)
        seconds = duel(G, D, losses[asked['loss']], real, nz, (rate, rate), n)
        with torch.no_grad(): x = G(torch.randn(judged, nz))
        if asked['seed']==0: sheet(x[:16], path.parent/path.stem/f"{'-'.join(map(str, asked.values()))}.png", 16, 1)
        u = ((x+1)*127.5).round().byte().numpy()
        return dict(images=n*batch, cpu_seconds=seconds, **judge(u), **neighbours(u, learned))
    def ask(width, layer, seed, loss='wgan-gp', pictures='all'):
        return dict(width=width, layer=layer, loss=loss, pictures=pictures, seed=seed)
    layers = 'stddev',None
    wanted = [ask(w, l, s) for s in seeds for w in ('full','quarter') for l in layers]
    wanted += [ask('full', 'stddev', s, pictures='few') for s in seeds]
    wanted += [ask('half', l, s) for s in seeds for l in layers]
    wanted += [ask('full', l, s, k) for s in seeds for k in losses for l in layers if k!='wgan-gp']
    return make_rows(path, settings(), wanted, make, once)

if __name__=='__main__': arguments(main, 'nbs/assets/evidence/variety.json')
