"The sets that come along: drawn faces, letters, digits; and that nothing is loaded which is not drawn"
import json, os, subprocess, sys, time
from importlib import resources
from pathlib import Path
import numpy as np, pytest
from helpers import noise, picture
from progrow import data as D, files, sets as S
from progrow.data import image_pyramid
from progrow.sets import avatars, critters, digits, glyphs, stacked_digits

pytestmark = pytest.mark.usefixtures('cache')

def test_avatars(cache):
    p = avatars(20, 32)
    assert len(p) == 20 and p.resolution == 32 and p.image_channels == 3 and 'Pablo Stanley' in p.licence
    assert set(p.attributes) == {'hair','hair_color','skin','eyes','mouth','beard','glasses','clothes','background'} and all(len(v) == 20 for v in p.attributes.values())
    assert [p.label_names[i] for i in p.labels] == p.attributes['skin'] and len(p.label_names) == 7
    q = image_pyramid('avatars', 32, n=5)
    assert (q.level(32) == p.level(32)[:5]).all() and q.attributes['hair'] == p.attributes['hair'][:5]
    assert (avatars(5, 32, seed=1).level(32) != q.level(32)).any()
    assert len(np.unique(p.level(32).reshape(20,-1), axis=0)) == 20
    assert image_pyramid('avatars', n=2).resolution == 64
    with pytest.raises(ValueError, match='n=0'): avatars(0)
    with pytest.raises(ValueError, match='power of two'): avatars(3, 33)

def test_avatar_licence_is_that_of_the_style():
    style,p = json.loads(resources.files('dicebear_styles').joinpath('avataaars.json').read_text('utf-8')),avatars(1, 8)
    assert style['meta']['license']['name'].lower() in p.licence and style['meta']['creator']['name'] in p.licence
    assert set(style['colors']['skin']['values']) == set(p.label_names)
    for part in ('mouth','eyes','eyebrows','clothes'): assert set(S.avatar_options[f'{part}Variant']) <= set(style['components'][part]['variants'])

def test_processes_draw_the_same_as_one(monkeypatch):
    many = glyphs(260, 8, cache=False)
    monkeypatch.setattr(S, 'cores', lambda: 1)
    assert (glyphs(260, 8, cache=False).level(8) == many.level(8)).all()

def test_glyphs():
    p = glyphs(30, 32)
    assert p.labels.max() < 62 and [p.label_names[i] for i in p.labels] == p.attributes['char'] and (glyphs(4, 32).level(32) == p.level(32)[:4]).all()
    assert not any(o in f for f in S.glyph_fonts for o in ('LastResort','cmex','cmsy','Siz','NonUni','Display')) and len(S.glyph_fonts) == 20
    assert 'STIX' in p.licence and (p.level(32).reshape(30,-1).max(1).astype(int) - p.level(32).reshape(30,-1).min(1) > 40).all()

def test_every_font_draws_every_letter():
    blank = lambda f,c: S._font(f, 32).getmask(c).getbbox() is None
    assert not [(f,c) for f in S.glyph_fonts for c in S.glyph_chars if blank(f, c)]

def test_digits():
    p = digits()
    assert len(p) == 1797 and p.resolutions == [4,8] and p.image_channels == 1 and p.level(8).max() == 255 and p.level(8).min() == 0
    assert np.bincount(p.labels).tolist() == [178,182,177,183,181,182,181,179,174,180] and 'CC BY' in p.licence

def test_stacked_digits():
    p = stacked_digits(500)
    assert p.level(8).shape == (500,3,8,8) and (stacked_digits(100).level(8) == p.level(8)[:100]).all() and (stacked_digits(500).labels == p.labels).all()
    one = digits()
    known = {x.tobytes():y for x,y in zip(one.level(8)[:,0], one.labels)}
    assert [100*known[r.tobytes()]+10*known[g.tobytes()]+known[b.tobytes()] for r,g,b in p.level(8)[:50]] == p.labels[:50].tolist()
    assert len(np.unique(stacked_digits().labels)) == 1000

def test_licence_and_source_of_every_set():
    for name in S.builtin_sets:
        p = image_pyramid(name, 8, **({} if name == 'digits' else {'n':3}))
        assert p.licence and p.source and p.resolution == 8 and p.labels.shape == (len(p),)

def test_arguments_of_built_in_sets(capsys):
    for name in ('digits','stacked_digits'): assert image_pyramid(name, 4, cache=False, progress=False).resolution == 4
    with pytest.raises(TypeError, match="unknown arguments n: 'digits' takes resolution"): image_pyramid('digits', n=5)
    with pytest.raises(TypeError, match="unknown arguments colour: 'glyphs' takes n, resolution, seed"): image_pyramid('glyphs', colour=5)
    capsys.readouterr()
    image_pyramid('glyphs', 4, n=1200, progress=False)
    assert capsys.readouterr().out == ''

def test_a_folder_named_like_a_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path); (tmp_path/'digits').mkdir(); picture(noise(1)[0]).save('digits/a.png')
    assert len(image_pyramid('digits')) == 1797 and len(image_pyramid(Path('digits'))) == 1

@pytest.mark.parametrize('code', ['import progrow.data, progrow.sets', 'from progrow.data import image_pyramid; image_pyramid("digits", cache=False)',
                                  'from progrow.data import avatars, builtin_sets, glyphs'])
def test_nothing_is_loaded_that_is_not_drawn(code):
    code += '\nimport sys; print([o for o in sys.modules if o.split(".")[0] in ("dicebear", "dicebear_core", "resvg_py", "dicebear_styles")])'
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert r.stdout=='[]\n', r.stdout+r.stderr

def test_sets_are_found_in_data():
    for name in ('avatars','glyphs','digits','stacked_digits','builtin_sets'): assert getattr(D, name) is getattr(S, name)
    with pytest.raises(AttributeError, match="module 'progrow.data' has no attribute 'faces'"): D.faces
    with pytest.raises(ImportError): from progrow.data import faces

def test_critters_are_all_the_same_again_and_say_what_they_show(cache):
    a,b = critters(12, 32),critters(5, 32)
    assert (a.level(32)[:5]==b.level(32)).all() and a.attributes['eyes'][:5]==b.attributes['eyes']
    assert set(a.attributes['eyes'])<=set(S.critter_options['eyesVariant']) # no one-eyed ones
    assert [S.critter_colours[i] for i in a.labels]==a.attributes['body_color'] and 'CC0' in a.licence
    assert (critters(5, 32, seed=1).level(32)!=b.level(32)).any()

def test_a_set_of_ones_own(monkeypatch):
    monkeypatch.setitem(S.builtin_sets, 'mine', lambda resolution=8, n=3: stacked_digits(n, resolution=resolution))
    assert len(image_pyramid('mine', n=5))==5 and image_pyramid('mine', 4).resolution==4
    with pytest.raises(FileNotFoundError, match='stacked_digits, mine'): image_pyramid('yours')

@pytest.mark.parametrize('make', [avatars, critters, glyphs, stacked_digits])
@pytest.mark.parametrize('kw,says', [(dict(n=0), "n=0, expected a whole number from 1"), (dict(n=1.5), 'n=1.5'), (dict(n='9'), "n='9'"), (dict(n=True), 'n=True'), (dict(n=10**9), 'from 1 to 10000000'),
                                     (dict(seed=-1), 'seed=-1, expected a whole number from 0'), (dict(seed=2**70), 'seed=1180'), (dict(seed='x'), "seed='x'"), (dict(seed=None), 'seed=None')])
def test_odd_numbers_are_refused(make, kw, says, cache):
    with pytest.raises(ValueError, match=says): make(**kw)
    assert not cache.exists()

@pytest.mark.skipif(sys.platform!='linux', reason='fork')
def test_processes_that_draw_end_with_a_killed_parent(cache, monkeypatch):
    code = "from progrow import sets; sets.cores = lambda: 2; sets.glyphs(3000, 32)"
    p = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while p.poll() is None and not (made := list(cache.glob('.unfinished*/*.npy'))): time.sleep(.05)
    time.sleep(.3); p.kill(); p.wait()
    left, = cache.glob('.unfinished*')
    until = time.time()+20
    while files._hold(fd := files._open_to_hold(left), wait=False) is False: # held by those that have inherited it
        os.close(fd); time.sleep(.1)
        assert time.time()<until
    os.close(fd)
