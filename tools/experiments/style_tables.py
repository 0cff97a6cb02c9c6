"""StyleGAN's tables in miniature: A to F (table 1), mixing (table 2), path length and separability against the mapping's depth (3 and 4).

usage: style_tables.py [--quick] [--next] [--part I/N] [--tune] [--runs FOLDER] [FILE]

Twelve networks, three seeds, 60,000 pictures each at 32x32: about four minutes on one core for each run. Writes FILE
(nbs/assets/evidence/style.json) after each run; what is there is not made again, and one that was stopped goes on where it stood.
--next makes one run and ends (3: some are left). --part 1/2 makes every second run, into FILE.1; without it such files are gathered.
--tune makes the runs that chose learning rate and penalty instead, with a seed that is not in the tables, into style_tuning.json.
--quick takes a hundredth of the pictures.
"""
import numpy as np, torch
from functools import cache
from pathlib import Path
from progrow.data import image_pyramid
from progrow.directions import linear_separability, train_judge
from progrow.feature_metrics import frechet_distance
from progrow.features import extract, feature_network
from progrow.images import to_uint8
from progrow.losses import NonSaturating, WGANGP
from progrow.path_length import FeatureDistance, path_lengths, pixel_distance, trimmed_mean
from progrow.sampling import eval_mode, random_latents, sample_images, styled
from trials import arguments, flops, learner, make_rows, results, score, sheet

top,seeds,tuning_seed = 32,(0,1,2),9
sizes = dict(latent_dim=64, fmap_base=128, fmap_max=32, average_kimg=2.)
from4 = dict(stabilize_kimg={4:4, 8:6, 16:14, 32:26}, fade_kimg={8:2, 16:4, 32:4}) # A begins at 4x4, the others at 8x8: 60,000 pictures each
from8 = dict(start_resolution=8, stabilize_kimg={8:10, 16:16, 32:26}, fade_kimg={16:4, 32:4})
tuned = {'A':dict(rate=.008, loss=WGANGP()), 'others':dict(rate=.008, loss=NonSaturating(r1=8., r1_every=4))}
arms = {**{c:dict(config=c) for c in 'ABCDEF'}, # name -> what is changed
        'mixing 50%':dict(config='F', mixing=.5), 'mixing 100%':dict(config='F', mixing=1.),
        'traditional, 8 layers':dict(config='B', mapping_layers=8),
        **{f'style, {k} layers':dict(config='F', mapping_layers=k) for k in (0,2,1)}}
def r1(gamma): return NonSaturating(r1=gamma, r1_every=4)
tried = {'A':[dict(rate=r, loss=WGANGP()) for r in (.004,.008,.016)],
         'F':[dict(rate=r, loss=r1(g)) for r,g in ((.008,.5), (.016,.5), (.008,.1), (.008,2.), (.008,8.))]}

def settings_of(arm, rate=None, loss=None):
    "Arguments of `learner`"
    own = dict(arms[arm])
    chosen = tuned.get(arm, tuned['others'])
    phases = from4 if own['config']=='A' else from8
    schedule = dict(phases, batch_size=16, learning_rate=rate or chosen['rate'])
    if own['config']=='A': return dict(sizes, schedule=schedule, loss=loss or chosen['loss'], config='A')
    return dict(sizes, schedule=schedule, loss=loss or chosen['loss'], **own)

# ---- what is measured

@cache
def known():
    "The set, the features of its pictures, the network, and a judge of four attributes"
    images,net = image_pyramid('avatars', top),feature_network('lite0')
    a = {k:np.array(v) for k,v in images.attributes.items()}
    dark,warm = ('#614335','#ae5d29','#d08b5b'),('#ffdfbf','#fbf3b6','#ffd5dc')
    long = 'bob','bigHair','curly','curvy','dreads','longButNotTooLong','miaWallace','straight01','straight02','straightAndStrand'
    answers = {'dark skin':np.isin(a['skin'], dark), 'covered head':a['hair_color']=='none',
               'long hair':np.isin(a['hair'], long), 'warm background':np.isin(a['background'], warm)}
    return images,net,train_judge(images, answers, top)

@cache
def real_features(n):
    images,net,_ = known()
    return extract(net, torch.tensor(images.level(top)[:n]), progress=False)

@torch.no_grad()
def mixed_pictures(G, n, k, seed=1):
    "uint8 pictures, each with the styles of `k` latent vectors, which follow each other at random layers"
    rng,out = np.random.default_rng(seed),[]
    with eval_mode(G):
        for z in random_latents(k*n, G.latent_dim, seed).split(64*k):
            w = G.mapping(z).unflatten(0, (-1, k))
            cuts = np.sort([rng.permutation(np.arange(1, G.n_layers))[:k-1] for _ in w], 1) if k>1 else np.zeros((len(w), 0))
            which = torch.tensor((np.arange(G.n_layers)[None,:,None]>=cuts[:,None]).sum(2))
            out.append(to_uint8(G(w=w.gather(1, which[...,None].expand(-1, -1, w.shape[-1])))))
    return torch.cat(out)

def mixing(G, n):
    "FD-Lite0 of pictures with one to four latent vectors"
    net = known()[1]
    return {str(k):round(float(frechet_distance(real_features(n), extract(net, mixed_pictures(G, n, k), progress=False))), 1) for k in (1,2,3,4)}

def latent_spaces(G): return 'zw' if styled(G) and G.config['mapping_layers'] else 'z'

def lengths(G, n):
    "Path lengths by pixels and by the features of Lite0, whose step is larger, for its rounding"
    net = known()[1]
    by = {'pixels':(pixel_distance, 1e-4), 'Lite0':(FeatureDistance(lambda x: net.features((x+1)*127.5)), 1e-2)}
    return {f'{k} {space} {where}':float(f'{trimmed_mean(path_lengths(G, space, where, n, eps, f, batch_size=64)):.4g}')
            for k,(f,eps) in by.items() for space in latent_spaces(G) for where in ('full','end')}

def separability(G, n):
    "In each space: the measure, or which attribute cannot be judged"
    def of(space):
        try: return round(linear_separability(G, known()[2], space, n)[0], 3)
        except ValueError as e: return str(e)
    return {space:of(space) for space in latent_spaces(G)}

# ---- runs

def run(images, own, seed, folder, factor, n, picture=None, tables=True):
    "Train and judge one row; sixteen pictures go to `picture`"
    learn = learner(images, own, factor, seed)
    with learn.no_bar(), learn.no_logging(): learn.fit_in(folder, minutes=2)
    G = learn.model.averaged
    values,floors = score(G, images, n)
    row = dict(images=learn.images_seen, flops=flops(learn), cpu_seconds=round(learn.clock.seconds), values=values, floors=floors)
    if not tables: return row
    if picture: sheet(sample_images(G, 16, seed=1), picture, scale=2)
    if own['config'] in 'EF' and not own.get('mapping_layers', 8)<8: row['mixed'] = mixing(G, n//2)
    return dict(row, lengths=lengths(G, n//4), separability=separability(G, 2*n))

def settings(factor=1, n=2048):
    "All that decides the rows, as the file says it; `n` pictures are judged"
    return dict(resolution=top, seeds=seeds, factor=factor, n=n, sizes=sizes, from4=from4, from8=from8, batch_size=16, arms=arms,
                tuned={k:dict(rate=o['rate'], loss=repr(o['loss'])) for k,o in tuned.items()})

def tables(path, runs, once, quick, part):
    factor,n = (.01,256) if quick else (1,2048)
    images = image_pyramid('avatars', top)
    groups = list(arms)[:8],list(arms)[8:-1],list(arms)[-1:] # tables 1 and 2 first
    wanted = results.plain([dict(arm=a, seed=s) for names in groups for s in seeds for a in names])
    if part is None: gather(path, wanted)
    else: wanted,path = wanted[part[0]-1::part[1]],path.with_name(f'{path.name}.{part[0]}')
    def make(asked):
        name = f"{asked['arm']}-{asked['seed']}".replace(' ', '-').replace(',', '').replace('%', '')
        picture = path.parent/'style'/f'{name}.png' if asked['arm'] in tuple('ABCDEF') and not asked['seed'] else None
        return run(images, settings_of(asked['arm']), asked['seed'], runs/name, factor, n, picture)
    return make_rows(path, settings(factor, n), wanted, make, once)

def gather(path, wanted):
    "Rows of the files of parts, in order, into one file"
    parts = sorted(path.parent.glob(f'{path.name}.*'))
    found = [o for o in map(results.read, [path, *parts]) if o]
    if not parts: return
    rows = {str(r['asked']):r for o in found for r in o['rows']}
    results.write_json(path, {**found[0], 'rows':[rows[str(a)] for a in wanted if str(a) in rows]})
    for p in parts: p.unlink()

def tuning(path, runs, once, quick):
    "Half the pictures, with a seed of its own"
    factor,n = (.01,256) if quick else (.5,2048)
    images = image_pyramid('avatars', top)
    by = {f"{a} rate {o['rate']:g} {o['loss']!r}":(a, o) for a in tried for o in tried[a]}
    def make(asked):
        arm,o = by[asked['what']]
        return run(images, settings_of(arm, **o), tuning_seed, runs/f"tuning-{list(by).index(asked['what'])}", factor, n, tables=False)
    told = dict(resolution=top, seed=tuning_seed, factor=factor, n=n, sizes=sizes, from4=from4, from8=from8, batch_size=16)
    return make_rows(path, told, [dict(what=k) for k in by], make, once)

def main(path, runs, once, quick, part=None, tune=False):
    torch.set_num_threads(1)
    if tune: return tuning(path.with_name(path.name.replace('style', 'style_tuning')), runs, once, quick)
    return tables(path, runs, once, quick, part and tuple(map(int, part.split('/'))))

if __name__=='__main__': arguments(main, 'nbs/assets/evidence/style.json')
