"The papers' experiments in miniature: their scripts, their results files, and the numbers that the pages take from them"
import gzip, hashlib, importlib, json, re, sys
from itertools import permutations
from math import comb, log
from pathlib import Path
import pandas as pd, pytest, torch
from progrow.data import image_pyramid

root = Path(__file__).parents[1]
evidence = root/'nbs'/'assets'/'evidence'

@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(root/'tools'/'experiments'))
    yield importlib.import_module
    for m in ('ablations','diverge','escalation','judges','losses','style_tables','trials','results'): sys.modules.pop(m, None)

def held(name): return json.loads((evidence/f'{name}.json').read_text(encoding='utf-8'))
def prose(page):
    cells = json.loads((root/'nbs'/f'{page}.ipynb').read_text(encoding='utf-8'))['cells']
    return '\n'.join(''.join(c['source']) for c in cells if c['cell_type']=='markdown')

@pytest.mark.parametrize('name', ('ablations','diverge','escalation','judges','losses'))
def test_results_are_of_the_settings_that_the_script_has(script, name):
    made = held(name)
    assert made['settings']==json.loads(json.dumps(script(name).settings())) and made['versions']['torch'] and made['rows']
    asked = [json.dumps(r['asked']) for r in made['rows']]
    assert len(set(asked))==len(asked)

def test_all_rows_of_the_table_had_the_same_arithmetic():
    made = held('ablations')
    for r in made['rows']:
        share = made['settings']['rows'][r['asked']['row']]['budget']
        assert abs(r['flops']/share/made['settings']['budget']-1)<.03
        if r['asked']['seed']==0: assert (evidence/'ablations'/f"{r['asked']['row'].replace('*', '-star')}-0.png").exists()

def test_a_row_changes_what_it_says(script):
    rows = script('ablations').rows
    def differ(a, b): return {k for k in rows[a] if rows[a][k]!=rows[b][k]}
    assert differ('a', 'b')=={'schedule'}==differ('b', 'c') and differ('g', 'h')=={'budget'} and differ('f', 'g')=={'generator'}
    assert differ('d', 'e')=={'discriminator'}==differ('e*', 'e')
    assert rows['g']['generator']==rows['g']['discriminator']=={} # ProGAN as it is

@pytest.mark.parametrize('row', ('a','e*'))
def test_a_row_trains_with_an_adam_of_its_own(script, row):
    a,images = script('ablations'),image_pyramid('avatars', 32, n=64)
    learn = a.row_learner(images, row, .025) # row a: 8 steps of 32 pictures
    before = learn.model.generator.blocks['4'].conv.weight.clone()
    with learn.no_bar(), learn.no_logging(): learn.fit()
    assert not torch.equal(before, learn.model.generator.blocks['4'].conv.weight) and not learn.skipped
    assert {g['betas'] for g in learn.opt.opt.param_groups}=={(0.,a.rows[row]['beta2'])}
    assert 'generator_step' not in vars(learn)

def test_the_generator_learns_at_every_nth_step(script):
    a,images,steps = script('ablations'),image_pyramid('avatars', 32, n=64),[]
    learn = a.row_learner(images, 'a', .32) # 100 steps of 32 pictures
    class Stop(Exception): pass
    class Count(a.Callback):
        order = 61
        def after_batch(self):
            steps.append(learn.model.generator.blocks['4'].conv.weight.sum().item())
            if len(steps)==10: raise Stop('enough')
    with learn.no_bar(), learn.no_logging(), pytest.raises(Stop): learn.fit(cbs=[Count()])
    assert [i+1 for i in range(1, 10) if steps[i]!=steps[i-1]]==[5, 10]

def test_signals_are_those_that_enter_an_activation(script):
    e = script('escalation')
    probe = e.Probe(torch.randn(8, 3, 16, 16))
    class Model: generator,discriminator = e.Generator(16, **e.widths),e.Discriminator(16, fmap_base=128, fmap_max=64)
    probe.learn = type('Learn', (), dict(model=Model))()
    probe.step = 0
    quiet = probe.look()
    with torch.no_grad():
        for o in Model.discriminator.modules():
            if isinstance(o, e.Equalized): o.weight.mul_(10)
    loud = probe.look()
    assert loud['G']==quiet['G'] and loud['D']>50*quiet['D'] and loud['variety']==quiet['variety']

@pytest.mark.parametrize('page,name', (('91_ablations','ablations'), ('94_losses_compared','losses'), ('96_escalation','escalation')))
def test_a_page_was_run_with_the_results_that_are_there(page, name):
    cells = json.loads((root/'nbs'/f'{page}.ipynb').read_text(encoding='utf-8'))['cells']
    said = ''.join(''.join(o.get('text', '')) for c in cells for o in c.get('outputs', ()))
    rows = held(name)['rows']
    assert int(re.search(r'(\d+) of \d+ runs are done', said)[1])==len(rows), f'run nbs/{page}.ipynb again'
    minutes = sum(r['cpu_seconds'] for r in rows)/60
    assert abs(float(re.search(r'([\d.]+) CPU minutes', said)[1])-minutes)<=.51

def test_pages_say_what_their_files_say():
    made,text = held('escalation')['settings'],prose('96_escalation')
    assert f"{made['steps']} steps of {made['batch']} pictures" in text and made['rates']['high']/made['rates']['healthy']==16
    rows,text = held('ablations')['settings']['rows'],prose('91_ablations')
    assert rows['h']['budget']==3 and 'three times as much' in text
    assert [rows[r]['schedule']['batch_size'] for r in ('b','c')]==[32, 8] and 'Our batches are 32 and 8' in text
    assert rows['f']['schedule']['learning_rate']/rows['e']['schedule']['learning_rate']==pytest.approx(10)

def test_what_is_said_about_escalation_is_in_the_file():
    text,runs = prose('96_escalation'),held('escalation')['rows']
    def peak(r, k='G'): return max(p[k] for p in r['points'])
    high = [r for r in runs if r['asked']['rate']=='high']
    def of(loss, *arms): return [r for r in high if r['asked']['loss']==loss and r['asked']['arm'] in arms]
    bare,normed = of('lsgan', 'no pixelnorm', 'neither'),of('lsgan', 'both', 'not equalized')
    loud = sum(peak(r)>10 for r in bare)
    assert not any(peak(r)>10 for r in normed) and not any(peak(r)>10 for r in runs if r['asked']['loss']=='wgan-gp')
    assert f'pass 10 in {loud} of the {len(bare)} LSGAN runs without pixelnorm' in text
    assert f'in none of the {len(normed)} with it' in text
    assert f"reach {max(map(peak, bare)):.0f} without it and {max(map(peak, normed)):.1f} with it" in text
    assert f"{max(peak(r, 'D') for r in bare):.0f}" in text
    for points in (r['points'] for r in bare if peak(r)>10):
        i = next(i for i,p in enumerate(points) if p['G']>10)
        assert points[i-1]['G']<2 and points[i]['step']-points[i-1]['step']==10
    assert f'in one case out of {comb(12, loud)/comb(6, loud):.0f}' in text

# --- losses, and where the penalty is measured

def test_photographs_get_a_black_border(script, tmp_path):
    l = script('losses')
    for name,n in (('train',3), ('t10k',2)):
        data = bytes(16)+bytes([200])*(n*28*28)
        (tmp_path/f'{name}-images-idx3-ubyte.gz').write_bytes(gzip.compress(data))
    x = l.fashion_mnist(tmp_path).level(32)
    assert x.shape==(5, 1, 32, 32) and x[:, :, 2:-2, 2:-2].min()==200 and x.sum()==5*28*28*200

def test_the_probe_looks_at_the_end_of_each_size(script):
    l = script('losses')
    images = l.up_to(image_pyramid('avatars', 32, n=64), 8)
    probe = l.Probe(images, n=32, every=1000)
    learn = l.learner(images, dict(l.networks, schedule=l.small, loss=l.WGANGP(full_resolution=1024)), .02, 0, [probe])
    with learn.no_bar(), learn.no_logging(): learn.fit()
    assert list(probe.ends)==['4','8'] and [p['resolution'] for p in probe.points]==[4, 8]
    assert all(o['pixels']>o['floor']>0 for o in probe.ends.values())

def test_runs_of_a_part_of_the_losses_had_the_same_pictures():
    for part in ('losses','penalty'):
        images = {(r['asked'].get('images'), r['images']) for r in held('losses')['rows'] if r['asked']['part']==part}
        assert len({i for i,_ in images})==len(images)

# --- which metric sees what the eye sees

def agreement(sheets, metric):
    "Rank correlation of places, best first, with a metric of which less is better; of IS-Lite0 it is more"
    return pd.Series(range(len(sheets))).corr(pd.Series([signed(o, metric) for o in sheets]).rank())

def signed(o, metric): return -o[metric] if metric=='IS-Lite0' else o[metric]

def sheets_in_order():
    def values(name): return {(r['asked']['row'], r['asked'].get('seed')):r['values'] for r in held(name)['rows']}
    table,again = values('ablations'),values('judges')
    return [{**table[o['row'],o['seed']], **again[o['row'],o['seed']]} for o in held('looks')['order']]

def test_the_sheets_that_were_ranked_are_those_that_are_there():
    for o in held('looks')['order']:
        sheet = evidence/'ablations'/f"{o['row'].replace('*', '-star')}-{o['seed']}.png"
        assert hashlib.sha256(sheet.read_bytes()).hexdigest()==o['sha256']

def test_the_generators_that_were_scored_again_are_those_of_the_sheets(script, tmp_path, monkeypatch):
    rows = held('judges')['rows']
    assert rows[0]['asked']==dict(row='reals') and {(r['asked']['row'], r['asked']['seed']) for r in rows[1:]}=={(o['row'], o['seed']) for o in held('looks')['order']}
    assert not any(r['apart'] for r in rows[1:])
    j = script('judges')
    monkeypatch.setattr(j, 'sheets', tmp_path)
    x = torch.randint(9, 200, (16, 3, 8, 8), dtype=torch.uint8)
    j.Image.fromarray(torch.cat(list(x.permute(0, 2, 3, 1)), 1).numpy()).save(tmp_path/'a-0.png')
    other = x.clone()
    other[15, 2, 7, 7] -= 9
    assert j.apart(x, 'a-0')==0 and j.apart(other, 'a-0')==9

def test_what_is_said_about_the_judges_is_in_the_files():
    text,sheets = prose('95_judges'),sheets_in_order()
    def over(k, n=24): return f'{agreement(sheets[:n], k):.2f}'
    def right(k):
        good,bad = (torch.tensor([signed(o, k) for o in part]) for part in (sheets[:15], sheets[15:]))
        return f'{(good[:,None]<bad).double().mean():.2f}'
    assert f"{over('SWD mean')} over the sheets" in text and f"SWD 32, has {over('SWD 32')} over the sheets" in text
    assert f"upside down**: {over('MS-SSIM')}" in text and f"reals**: {over('FD-Lite0')}" in text
    assert f"with {over('FD-Lite0', 15)} against {over('SWD mean', 15)} of SWD" in text
    assert right('SWD mean')=='1.00' and '135 pairs of 135' in text
    assert f"FD-Lite0 is right in {right('FD-Lite0')} of the pairs, SWD 32 in {right('SWD 32')}" in text
    assert f"MS-SSIM is right in {right('MS-SSIM')}," in text
    reals,most = held('judges')['rows'][0]['values']['IS-Lite0'],max(range(24), key=lambda i: sheets[i]['IS-Lite0'])
    rows = pd.DataFrame([{**o, **s} for o,s in zip(held('looks')['order'], sheets)]).reset_index().groupby('row')[['index','IS-Lite0']].mean()
    assert f"{over('IS-Lite0')} over the sheets and {rows['index'].corr(-rows['IS-Lite0'], 'spearman'):.2f} over the rows" in text
    assert f"By it {sum(o['IS-Lite0']>reals for o in sheets)} of the 24 generators are better than real faces, which have {reals:.2f}" in text
    assert f"with {sheets[most]['IS-Lite0']:.2f}, is one without heads, place {most+1}" in text and most>=15
    assert f"Among the heads it has {over('IS-Lite0', 15)}" in text and f"IS-Lite0 is right in {right('IS-Lite0')}," in text
    assert rows['IS-Lite0'][['d','e','e*','f','g']].idxmax()=='g'==rows['index'].idxmin()

def test_what_is_said_about_the_penalty_is_in_the_file():
    text,made = prose('94_losses_compared'),held('losses')
    runs = [r for r in made['rows'] if r['asked']['part']=='penalty']
    assert len(runs)==9
    def slopes(size, *at): return [[p['slope'] for p in r['points'] if p['resolution']==k and p['alpha']==1][-1] for r in runs for k in at if r['asked']['size']==size]
    def span(x, digits): return f'{min(x):.{digits}f}',f'{max(x):.{digits}f}'
    assert 'between {} and {} at the end of both sizes'.format(*span(slopes('native', 4, 8), 2)) in text
    assert '{} to {} of the 8 asked for at 4x4'.format(*span(slopes('32', 4), 1)) in text
    assert '{} to {} of 4 at 8x8'.format(*span(slopes('32', 8), 1)) in text
    assert 'the critic has {} to {},'.format(*span(slopes('1024', 4), 1)) in text
    def pixels(size, r): return [o['ends'][r]['pixels'] for o in runs if o['asked']['size']==size]
    assert '({} to {} against {} to {})'.format(*span(pixels('1024', '4'), 2), *span(pixels('32', '4'), 2)) in text
    assert min(pixels('native', '4'))<max(pixels('1024', '4')) and max(pixels('native', '4'))>min(pixels('32', '4'))
    for a,b in permutations(('native','32','1024'), 2): assert max(pixels(a, '8'))>min(pixels(b, '8')) # they overlap

# --- growing at a rate that is too high

def test_grown_runs_had_the_rates_and_networks_of_those_they_are_compared_with(script):
    grown,fixed = held('diverge')['settings'],held('escalation')['settings']
    assert grown=={**json.loads(json.dumps(script('diverge').settings()))}
    assert all(grown[k]==fixed[k] for k in ('resolution','steps','batch','seeds','widths','rates','losses'))

def test_what_is_said_about_growing_at_a_high_rate_is_in_the_files():
    text = prose('92_growing')
    def fallen(name, **which):
        runs = [r for r in held(name)['rows'] if which.items()<=r['asked'].items()]
        return f"{sum(bool(r['stopped']) or sum(p['variety'] for p in r['points'][-3:])/3<.1 for r in runs)} of {len(runs)}"
    assert f"At the high rate {fallen('diverge', rate='high')} grown runs have fallen and {fallen('escalation', arm='both', rate='high')} fixed ones" in text
    assert f"at the healthy rate {fallen('diverge', rate='healthy')} grown ones and {fallen('escalation', arm='both', rate='healthy')} fixed ones" in text
    assert f"{fallen('diverge', rate='high', loss='lsgan')} against {fallen('escalation', arm='both', rate='high', loss='lsgan')}" in text

# --- the tricks on and off, and a thousand modes

@pytest.fixture
def other_script(script):
    yield script
    for m in ('tricks','variety'): sys.modules.pop(m, None)

@pytest.mark.parametrize('name', ('tricks','variety'))
def test_results_of_the_tricks_are_of_the_settings_that_the_script_has(other_script, name):
    made = held(name)
    assert made['settings']==json.loads(json.dumps(other_script(name).settings())) and made['versions']['torch']
    asked = [json.dumps(r['asked']) for r in made['rows']]
    assert len(set(asked))==len(asked)>=10

def part(name): return [r for r in held('tricks')['rows'] if r['asked']['part']==name]

def test_all_ways_to_grow_begin_from_the_same_run():
    for s in (0,1,2):
        first = {r['asked']['arm']: r['points'][0] for r in part('fade') if r['asked']['seed']==s}
        assert first['short']==first['long'] and first['at once']['SWD mean']>first['long']['SWD mean']

def test_a_duel_trains_both_players(other_script):
    t = other_script('tricks')
    torch.manual_seed(0)
    G,D = t.digit_generator(),t.digit_critic('stddev')
    before = [net[0].weight.detach().clone() for net in (G, D)]
    t.duel(G, D, t.NonSaturating(r1=0.), torch.rand(64, 1, 8, 8), 8, (.01,.01), 2)
    assert not any(torch.equal(a, net[0].weight) for a,net in zip(before, (G, D)))

def test_twins_and_copies_are_seen(other_script):
    v = other_script('variety')
    reals,other,*_ = v.known()
    same = other.copy()
    same[:256] = same[0] # a tenth of the pictures is one picture
    assert v.judge(other)['twins']<1e-3 and .009<v.judge(same)['twins']<.012
    assert v.neighbours(reals[:512], reals[:512])['pixels']==0 and v.neighbours(other, reals)==dict(pixels=1, features=1)

def test_what_pages_say_about_equalized_layers_and_pixelnorm_in_a_game():
    rows = held('escalation')['rows']
    def of(rate, arm): return [r for r in rows if (r['asked']['loss'],r['asked']['rate'],r['asked']['arm'])==('wgan-gp',rate,arm)]
    def uneven(r): return max(v := [o for o in r['moves']['20'].values() if o])/min(v)
    off = [uneven(r) for r in of('healthy', 'not equalized')]
    assert f'moves {min(off):.0f} to {max(off):.0f} times as far' in prose('20_equalized')
    least = min((r for rate in ('healthy','high') for a in ('both','not equalized') for r in of(rate, a)), key=lambda r: r['points'][-1]['variety'])
    assert least['asked']['arm']=='both' and 'the least varied run of all has it' in prose('20_equalized')
    loud = sum(max(p['G'] for p in r['points'])>10 for r in rows if r['asked']['loss']=='lsgan' and r['asked']['rate']=='high'
               and r['asked']['arm'] in ('no pixelnorm','neither'))
    assert loud==3 and 'in three of six games without pixelnorm' in prose('21_pixelnorm')
    assert f'one case out of {comb(12, loud)/comb(6, loud):.0f}' in prose('21_pixelnorm')

def test_what_is_said_about_the_fade_is_in_the_file():
    text,points = prose('23_fade_in'),{(r['asked']['arm'],r['asked']['seed']): r['points'] for r in part('fade')}
    known = held('tricks')['settings']['fade']
    assert f"faded in over {known['fades']['short']*1000:.0f} pictures, or over {known['fades']['long']*1000:.0f}" in text
    before = {s: points['long',s][0]['SWD mean'] for s in (0,1,2)}
    def worst(arm): return sorted(max(p['SWD mean'] for p in points[arm,s])/before[s] for s in before)
    assert f"grows to {worst('at once')[0]:.1f} to {worst('at once')[-1]:.1f} times" in text
    assert f"{worst('short')[0]:.1f} to {worst('short')[-1]:.1f} times, just where the fade ends" in text
    assert f"never exceeds {worst('long')[-1]:.2f} times" in text
    back = sorted(next(p['images'] for p in points['at once',s] if p['SWD mean']<=before[s])-known['grown'] for s in before)
    assert f'needs {back[0]} to {back[-1]} pictures to come back' in text
    peak = {max(points['short',s], key=lambda p: p['SWD mean'])['images']-known['grown'] for s in before}
    assert peak=={known['fades']['short']*1000}

def test_what_is_said_about_collapse_is_in_the_file():
    text = prose('22_minibatch_stddev')
    end = {layer: sorted(r['points'][-1]['variety'] for r in part('variety') if r['asked']['layer']==layer) for layer in (None,'stddev')}
    assert len(end[None])==len(end['stddev'])==5 and comb(10, 5)==252 and 'one case out of 252' in text
    assert end[None][-1]<.2<.8<end['stddev'][0] and 'five of five collapse; with it none of five' in text
    assert f"at {end[None][0]:.2f} to {end[None][-1]:.2f} of the reals' without it, and at {end['stddev'][0]:.2f} to {end['stddev'][-1]:.2f} with it" in text
    turned = sum(min(p['variety'] for p in r['points'])<.2 for r in part('variety') if r['asked']['layer']=='stddev')
    assert turned==3 and 'three of the five *were* below 0.2' in text

def test_what_is_said_about_a_thousand_modes_is_in_the_file():
    text,rows = prose('93_thousand_modes'),held('variety')['rows']
    def of(width, layer, k): return [r[k] for r in rows if (a := r['asked'])['width']==width and a['layer']==layer
                                     and a['loss']=='wgan-gp' and a['pictures']=='all']
    full = {layer: sorted(of('full', layer, 'covered')) for layer in ('stddev',None)}
    assert [len(o) for o in full.values()]==[3, 3] and full['stddev'][0]>full[None][-1]
    said = [f'{o[0]} to {o[-1]}' for o in full.values()]
    assert f'cover {said[0]} modes with the layer and {said[1]} without it' in text
    narrow = [of('quarter', layer, 'covered')[:2] for layer in ('stddev',None)]
    assert 'cover {} and {} modes with the layer, and {} and {} without it'.format(*narrow[0], *narrow[1]) in text
    draws = [[round((2*log(2)/p)**.5) for p in of('full', layer, 'twins')[:2]] for layer in ('stddev',None)]
    assert 'after {} and {} pictures with the layer at full width, and after {} and {} without it'.format(*draws[0], *draws[1]) in text
    assert min(of('quarter', None, 'twins')[:2])>.99 and rows[0]['floor'][0]==pytest.approx(923, abs=.5) and 'the 923 of real pictures' in text
    assert min(r['pixels'] for r in rows if r['asked']['pictures']=='all')>1.25 and '1.3 times as far' in text

# --- StyleGAN's tables

def test_the_tables_of_stylegan_were_made_with_the_settings_of_the_script(script):
    tables,made,tuning = script('style_tables'),held('style'),held('style_tuning')
    assert made['settings']==json.loads(json.dumps(tables.settings())) and made['versions']['torch']
    asked = [(r['asked']['arm'], r['asked']['seed']) for r in made['rows']]
    assert len(set(asked))==len(asked)==len(tables.arms)*len(tables.seeds)
    assert all(r['images']>=60000 for r in made['rows']) and tuning['settings']['seed'] not in tables.seeds
    best = {a: min((r for r in tuning['rows'] if r['asked']['what'][0]==a), key=lambda r: r['values']['FD-Lite0'])['asked']['what'] for a in 'AF'}
    for a,k in (('A','A'), ('F','others')): assert best[a]==f"{a} rate {tables.tuned[k]['rate']:g} {tables.tuned[k]['loss']!r}"

def test_an_arm_is_the_network_that_its_name_says(script):
    tables = script('style_tables')
    def made(arm): return tables.learner(image_pyramid('avatars', 32, n=64), tables.settings_of(arm), .01).model.generator
    plain,deep,none,mixing = (made(a) for a in ('B','traditional, 8 layers','style, 0 layers','mixing 50%'))
    assert (plain.config['styles'], plain.config['mapping_layers'], deep.config['styles'], deep.config['mapping_layers'])==(False, 0, False, 8)
    assert (none.config['mapping_layers'], none.config['styles'], none.mixing, mixing.mixing)==(0, True, .9, .5)
    assert tables.latent_spaces(plain)=='z' and tables.latent_spaces(deep)=='zw' and tables.latent_spaces(none)=='z'

def test_pictures_with_several_styles_take_each_of_them(script):
    tables = script('style_tables')
    G = tables.learner(image_pyramid('avatars', 32, n=64), tables.settings_of('F'), .01).model.generator
    seen = []
    def synthesis(w, *args): # which of the latent vectors each layer follows
        z = tables.random_latents(4*3, G.latent_dim, 1)
        known = G.mapping(z).unflatten(0, (3, 4))
        seen.append((w[:,:,None]-known[:,None]).abs().sum(-1).argmin(-1))
        return torch.zeros(len(w), 3, 32, 32)
    G.synthesis = synthesis
    tables.mixed_pictures(G, 3, 4)
    for layers in seen[0].tolist(): assert layers==sorted(layers) and set(layers)=={0,1,2,3}

def test_files_of_parts_become_one_in_order(script, tmp_path):
    tables,wanted = script('style_tables'),[dict(arm=a, seed=0) for a in 'ABC']
    def write(name, *arms): (tmp_path/name).write_text(json.dumps(dict(settings={'n':1}, rows=[dict(asked=dict(arm=a, seed=0), fd=a) for a in arms])))
    write('style.json', 'B'); write('style.json.1', 'C'); write('style.json.2', 'A', 'B')
    tables.gather(tmp_path/'style.json', wanted)
    assert [r['fd'] for r in json.loads((tmp_path/'style.json').read_text())['rows']]==['A','B','C'] and len(list(tmp_path.iterdir()))==1

def test_what_is_said_about_the_tables_of_stylegan_is_in_the_file():
    text,made = prose('95_style_tables'),held('style')
    def of(arm): return sorted((r for r in made['rows'] if r['asked']['arm']==arm), key=lambda r: r['asked']['seed'])
    def values(arm, k): return [r['values'][k] for r in of(arm)]
    def beaten(k): return ', '.join(b for b in 'BCDEF' if max(values('A', k))<min(values(b, k)))
    assert f"by FD-Lite0 it beats {beaten('FD-Lite0')} with every seed, and by SWD all five others ({beaten('SWD mean')})" in text
    def apart(a, b, k): return max(values(a, k))<min(values(b, k))
    assert not any(apart(a, b, 'FD-Lite0') for a,b in ('CB','EF','FE'))
    tried = {r['asked']['what'].split(' WGANGP')[0]: r['values']['FD-Lite0'] for r in held('style_tuning')['rows']}
    assert f"came to {tried['A rate 0.004']:.0f} with a rate of 0.004 and to {tried['A rate 0.008']:.0f} with 0.008" in text
    def rises(arm): return [r['mixed']['4']/r['mixed']['1']-1 for r in of(arm)]
    def percent(x): return ', '.join(f'{100*v:+.0f}%' for v in x)
    assert f"changes by {percent(rises('E'))} without mixing in training (three seeds)" in text and min(rises('E'))>0
    assert f"{percent(rises('F'))} with 90% and {percent(rises('mixing 100%'))} with 100%" in text
    def lengths(arm, space): return [r['lengths'][f'Lite0 {space} full'] for r in of(arm)]
    eight = (*'CDEF','mixing 50%','mixing 100%')
    ratios = [z/w for a in eight for z,w in zip(lengths(a, 'z'), lengths(a, 'w'))]
    assert f'In all {len(ratios)} runs' in text and f'paths in $z$ are {min(ratios):.1f} to {max(ratios):.1f} times as long as in $w$' in text
    def mean(x): return sum(x)/len(x)
    depths = [mean(lengths(a, 'z')) for a in ('style, 0 layers','style, 1 layers','style, 2 layers','F')]
    assert 'paths in $z$ have lengths of {:.0f}, {:.0f}, {:.0f} and {:.0f}'.format(*depths) in text
    old,bent,straight = mean(lengths('B', 'z')),mean(lengths('traditional, 8 layers', 'z')),mean(lengths('traditional, 8 layers', 'w'))
    assert f'{old:.0f} without it, {bent:.0f} in $z$ and {straight:.0f} in $w$ with eight layers' in text
    assert max(lengths('F', 'w'))<min(lengths('E', 'w')) and 'Mixing shortens paths' in text
    assert max(lengths('B', 'z'))<min(lengths('traditional, 8 layers', 'z')) and max(lengths('B', 'z'))>min(lengths('traditional, 8 layers', 'w'))
