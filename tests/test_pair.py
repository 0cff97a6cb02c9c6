"The two small trained generators that ship with the package, and the script that made them"
import json, subprocess, sys
from pathlib import Path
import pytest, torch
from progrow import checkpoint
from progrow.checkpoint import load_generator, save_generator, shipped_file, shipped_generators
from progrow.data import avatars
from progrow.metrics import evaluate
from progrow.networks import Generator
from progrow.style import StyleGenerator
from progrow.train import progressive_learner, sample_images

root = Path(__file__).parents[1]
names = {'avatars-progan':Generator, 'avatars-stylegan':StyleGenerator}
larger = {'avatars64-progan':Generator, 'avatars64-stylegan':StyleGenerator}
sides = {**dict.fromkeys(names, 32), **dict.fromkeys(larger, 64)}
both = pytest.mark.parametrize('name', names)
every = pytest.mark.parametrize('name', sides)

def beside(name): return json.loads(shipped_file(name).with_suffix('.json').read_text())

def test_all_are_there(): assert shipped_generators()==sorted(sides)

@every
def test_draws_without_training(name):
    G = load_generator(name)
    assert type(G) is {**names, **larger}[name] and not G.training and not any(p.requires_grad for p in G.parameters())
    x = sample_images(G, 9, seed=1)
    assert x.shape==(9,3,sides[name],sides[name]) and x.isfinite().all() and x.std(0).mean()>.1 # nine different pictures
    assert torch.equal(x, sample_images(load_generator(name), 9, seed=1)) and torch.equal(x, sample_images(G, 9, seed=1))
    assert not torch.equal(x, sample_images(G, 9, seed=2))

@every
def test_small_and_plain(name):
    assert shipped_file(name).stat().st_size<=2*2**20
    f = torch.load(shipped_file(name), weights_only=True)
    assert f['network']=={**names, **larger}[name].__name__ and f['resolution']==sides[name]
    assert all(o.dtype==torch.float32 and o.isfinite().all() for o in f['weights'].values())

@every
def test_settings_agree(name):
    js,G = beside(name),load_generator(name)
    assert js['settings']['generator']==dict(network=type(G).__name__, **G.config)
    assert js['bytes']==shipped_file(name).stat().st_size
    assert js['pictures'].startswith('DiceBear') and 'Pablo Stanley' in js['licence'] and js['versions']['torch']
    assert '/' not in js['settings']['images']['source']

@both
def test_is_what_the_script_makes(name, monkeypatch):
    monkeypatch.syspath_prepend(root/'tools')
    import pair
    monkeypatch.setattr(pair, 'progressive_learner', lambda images, **kw: progressive_learner(avatars(64, 32), **kw)) # not all 8192
    known = lambda s: {k:v for k,v in s.items() if k!='images'}
    js,learn = beside(name),pair.learner(**pair.runs[name])
    assert known(js['settings'])==known(pair.results.plain(learn.settings)) and 0<=js['images_seen']-learn.schedule.total_images<16

@both
def test_is_trained(name):
    "Far better than it began, by the numbers beside it and by a quick look of our own"
    js = beside(name)
    assert js['judged']['SWD mean']['value']<60 and js['n']==2048
    assert js['judged']['SWD mean']['floor']<js['judged']['SWD mean']['value']
    e = evaluate(name, avatars(512, 32), 'swd-quick', n=256)
    assert e.table.value['SWD mean']<80

@pytest.mark.parametrize('name', larger)
def test_the_larger_ones_are_what_their_script_makes_and_score_as_their_files_say(name, monkeypatch):
    monkeypatch.syspath_prepend(root/'tools'/'experiments')
    import train_shipped as script
    js,known = beside(name),lambda s: {k:v for k,v in s.items() if k!='images'}
    learn = script.learner(avatars(64, 64), {**script.settings, **script.runs[name]}, seed=script.seed)
    assert known(js['settings'])==known(json.loads(json.dumps(learn.settings))) and js['decay']==learn.rate_decay.share
    assert 0<=js['images_seen']-learn.schedule.total_images<4 and js['n']==script.n
    if name=='avatars64-progan': assert 'does not make it again' in js['length_changed']['why']
    e = evaluate(name, avatars(1024, 64), 'swd-quick', n=512) # fewer pictures, so a little more
    assert abs(e.table.value['SWD mean']-js['judged']['SWD mean']['value'])<15

def test_the_first_page_says_of_the_larger_ones_what_their_files_say():
    text = (root/'README.md').read_text(encoding='utf-8')
    P,S = (beside(k) for k in larger)
    p,s = ({k:v['value'] for k,v in o['judged'].items()} for o in (P, S))
    two = lambda v: f'{v:.2f}'.lstrip('0')
    assert f"| {p['FD-Lite0']:.0f} |" in text and f"| {two(p['precision'])}, {two(p['recall'])} |" in text
    assert f"saw {S['images_seen']:,} pictures in {S['minutes']} minutes" in text
    assert f"FD-Lite0 {s['FD-Lite0']:.0f}, precision {two(s['precision'])}, recall {two(s['recall'])}" in text
    assert S['styles']['coarse']<.2<.5<S['styles']['middle'] and S['styles']['fine']>.5

def test_style_one_can_be_truncated():
    G = load_generator('avatars-stylegan')
    assert G.w_avg.abs().max()>0
    flat = sample_images(G, 4, seed=1, psi=0.)
    assert torch.allclose(flat, flat[:1].expand_as(flat), atol=1e-5)
    assert sample_images(G, 64, psi=.5).std(0).mean()<sample_images(G, 64).std(0).mean()

# --- names, without what ships

@pytest.fixture
def shelf(tmp_path, monkeypatch):
    "Two untrained generators in the place of those that ship"
    monkeypatch.setattr(checkpoint, 'shipped_folder', tmp_path/'shelf')
    torch.manual_seed(0)
    for k,v in {'plain':Generator, 'styled':StyleGenerator}.items(): save_generator(v(8, latent_dim=6, fmap_max=8), tmp_path/'shelf'/f'{k}.pt')
    (tmp_path/'shelf'/'plain.json').write_text('{}')
    return tmp_path

def test_by_name(shelf, monkeypatch):
    monkeypatch.chdir(shelf)
    assert shipped_generators()==['plain','styled'] and type(load_generator('styled')) is StyleGenerator
    for k in ('dotted', 'plain.pt', 'a/plain', ''):
        with pytest.raises(FileNotFoundError, match='check the path, or take one of plain, styled'): load_generator(k)

def test_a_file_of_that_name_comes_first(shelf, monkeypatch):
    monkeypatch.chdir(shelf)
    save_generator(Generator(4, latent_dim=6, fmap_max=8), 'styled')
    assert load_generator('styled').resolution==4
    Path('plain').mkdir() # a folder is no generator
    assert load_generator('plain').resolution==8

def test_a_style_generator_needs_no_import(tmp_path):
    "In a fresh Python: the file names the class, and the class is found"
    torch.manual_seed(0)
    path = save_generator(StyleGenerator(8, latent_dim=6, fmap_max=8), tmp_path/'g.pt')
    code = f"""import sys
from progrow.checkpoint import load_generator
assert 'progrow.style' not in sys.modules
G = load_generator({str(path)!r})
print(type(G).__name__, G(__import__('torch').zeros(1, 6)).shape[-1])"""
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert r.stdout=='StyleGenerator 8\n', r.stderr
