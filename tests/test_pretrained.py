"Published weights: names and layouts, pickles that are read and not run, golden files, the command line."
import gzip, os, pickle, random, subprocess, sys, types
from math import sqrt
import numpy as np, pytest, torch
from golden_files import FULL, from_subset, there
from helpers import close
from official_files import golden_like, networks, official_class, official_pickle, record
from progrow.checkpoint import load_generator, save_generator
from progrow.cli import main as progrow
from progrow.golden import compare
from progrow.layer_table import layer_table, to_official
from progrow.networks import Generator
from progrow.pickles import read_pickle
from progrow.pretrained import from_state, load_official, main

families = [('progan', 0), ('fused', 0), ('fused', 3), ('stylegan', 0), ('stylegan', 3)]

def alike(a, b):
    assert type(a) is type(b) and a.config==b.config
    assert all(torch.equal(x, y) for x,y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))

@pytest.fixture
def file(tmp_path):
    def write(data, name='file.pkl'):
        (tmp_path/name).write_bytes(data)
        return tmp_path/name
    return write

def refused(path, match, **settings):
    with pytest.raises(ValueError, match=match): load_official(path, **settings)

# --- names and layouts

@pytest.mark.parametrize('family,classes', families)
@pytest.mark.parametrize('dialect', ('tf','torch'))
def test_weights_go_out_and_come_back(family, classes, dialect):
    fused = 'auto' if family=='stylegan' else family=='fused'
    G,D,Gs = networks(family, classes)
    state = {f'{p}.{k}':v for p,o in (('G', G), ('D', D), ('Gs', Gs)) for k,v in to_official(o, dialect, fused).items()}
    p = from_state(state, dict(fused_scale=fused, fmap_base=64))
    for mine,theirs in ((G, p.generator), (D, p.discriminator), (Gs, p.averaged_generator)):
        assert all(torch.equal(x, y) for x,y in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True))
    assert p.best is p.averaged_generator and p.settings['label_size']==classes

@pytest.mark.parametrize('name', there('pggan32','pggan16_gray','stylegan32'))
def test_official_names_are_those_of_the_golden_files(golden, name):
    g = golden(name)
    try: listed = {letter: dict(str(o).split('=') for o in g[f'{letter}_pth_to_tf']) for letter in 'GD'}
    except pytest.skip.Exception: pytest.skip(f'{name} lists no names')
    p = from_state({k:v for k,v in g.items() if k[:2] in ('G.','D.')}, {k:v for k,v in g.items() if k.startswith('cfg_')})
    for letter,net in (('G', p.generator), ('D', p.discriminator)):
        ours = {r.torch:r.tf for r in layer_table(net, p.settings['fused_scale'])}
        assert ours.items() >= {k:v for k,v in listed[letter].items() if v!='lod' and k in ours}.items()
        assert set(listed[letter])-set(ours) <= {'lod','synthesis.lod'}

def test_a_style_generator_from_128_pixels_on_is_fused():
    G,D,_ = networks('stylegan', resolution=128)
    a,b = to_official(G, 'torch'),to_official(G, 'torch', False)
    assert [k for k in a if not np.array_equal(a[k], b[k])]==['synthesis.layer10.weight']
    alike(from_state({f'G.{k}':v for k,v in a.items()}, dict(style_mixing_prob=.9, fmap_base=64)).generator, G)

# --- files

@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('family,classes', families)
def test_official_pickles(file, family, classes, protocol):
    G,D,Gs = nets = networks(family, classes)
    data = official_pickle(nets, family, protocol)
    p = load_official(file(gzip.compress(data) if protocol==4 else data))
    z,x = torch.randn(3, 8),torch.randn(3, 3, 16, 16)
    labels = torch.tensor([0, 2, 1]) if classes else None
    for mine,theirs in ((G, p.generator), (Gs, p.averaged_generator)): assert torch.equal(mine(z, labels), theirs(z, labels))
    assert torch.equal(D(x, labels), p.discriminator(x, labels)) and 'an official pickle' in p.origin
    if family=='stylegan': assert p.generator.mixing==.8

def test_a_pickle_of_python_2(file):
    "There bytes are text, of all 256 letters"
    with official_class('tfutil') as Network: data = pickle.dumps(record(Network, networks('fused')[0], 'Gs', 'fused'), 2)
    assert load_official(file(data)).best is not None
    x = np.arange(3, dtype=np.float32)
    raw = x.tobytes()
    old = (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x03tcnumpy\ndtype\n(U\x02f4K\x00K\x01tR"
           b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U" + bytes([len(raw)]) + raw + b'tb.')
    assert np.array_equal(read_pickle(file(old)).value, x)

@pytest.mark.parametrize('new', (True, False))
@pytest.mark.parametrize('outer', (True, False))
def test_states_of_genforce(tmp_path, new, outer):
    G,D,Gs = networks('stylegan')
    parts = {k: {n:torch.tensor(v) for n,v in to_official(o, 'torch').items()} for k,o in dict(generator=G, discriminator=D, generator_smooth=Gs).items()}
    for v in parts.values(): v['lod' if 'input0.bias' in v else 'synthesis.lod'] = torch.zeros(())
    torch.save({'models':parts} if outer else parts, tmp_path/'x.pth', _use_new_zipfile_serialization=new)
    p = load_official(tmp_path/'x.pth')
    for mine,theirs in ((G, p.generator), (D, p.discriminator), (Gs, p.averaged_generator)):
        assert all(torch.equal(x, y) for x,y in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True))
    torch.save({f'module.{k}':v for k,v in parts['generator'].items()}, tmp_path/'y.pth', _use_new_zipfile_serialization=new)
    assert torch.equal(load_official(tmp_path/'y.pth').generator.w_avg, G.w_avg)

def zoo_state(n=3, seed=0):
    "Weights as pytorch_GAN_zoo names them"
    torch.manual_seed(seed)
    d = [8, 8, 6][:n]
    G = {'formatLayer':(8*16, 5), 'groupScale0.0':(8, 8, 3, 3), **{f'toRGBLayers.{i}':(3, d[i], 1, 1) for i in range(n)}}
    D = {'groupScaleZero.0':(8, 9, 3, 3), 'groupScaleZero.1':(8, 128), 'decisionLayer':(1, 8), **{f'fromRGBLayers.{i}':(d[i], 3, 1, 1) for i in range(n)}}
    for i in range(1, n):
        G.update({f'scaleLayers.{i-1}.0':(d[i], d[i-1], 3, 3), f'scaleLayers.{i-1}.1':(d[i], d[i], 3, 3)})
        D.update({f'scaleLayers.{i-1}.0':(d[i], d[i], 3, 3), f'scaleLayers.{i-1}.1':(d[i-1], d[i], 3, 3)})
    def drawn(shapes): return {f'{k}.module.{p}': torch.randn(s if p=='weight' else s[:1]) for k,s in shapes.items() for p in ('weight','bias')}
    return drawn(G),drawn(D)

def zoo_by_hand(g, z, alpha):
    "Its generator, from a description: the scale multiplies the bias too, and every gain is √2"
    import torch.nn.functional as F
    def layer(k, x, how=F.conv2d):
        w = g[f'{k}.module.weight']
        pad = dict(padding=w.shape[-1]//2) if w.ndim==4 else {}
        return how(x, w, g[f'{k}.module.bias'], **pad)*sqrt(2/w[0].numel())
    def norm(x): return x/(x.square().mean(1, keepdim=True)+1e-8).sqrt()
    def act(x): return norm(F.leaky_relu(x, .2))
    def up(x): return F.interpolate(x, scale_factor=2)
    x = act(layer('groupScale0.0', act(layer('formatLayer', norm(z), F.linear).view(-1, 8, 4, 4))))
    n = sum(k.startswith('toRGBLayers') for k in g)//2
    for i in range(1, n):
        if i==n-1: old = up(layer(f'toRGBLayers.{i-1}', x))
        x = act(layer(f'scaleLayers.{i-1}.1', act(layer(f'scaleLayers.{i-1}.0', up(x)))))
    new = layer(f'toRGBLayers.{n-1}', x)
    return alpha*new + (1-alpha)*old

def test_checkpoints_of_pytorch_gan_zoo(tmp_path):
    g,d = zoo_state()
    for name in ('models','models.utils','models.utils.config'): sys.modules[name] = types.ModuleType(name)
    class BaseConfig: pass
    BaseConfig.__module__,BaseConfig.__qualname__ = 'models.utils.config','BaseConfig'
    sys.modules['models.utils.config'].BaseConfig = BaseConfig
    config = BaseConfig()
    config.depth = 3
    torch.save(dict(config=config, netG=g, netD=d, avgG={f'module.{k}':v for k,v in g.items()}), tmp_path/'x.pt')
    for name in ('models','models.utils','models.utils.config'): del sys.modules[name]
    p = load_official(tmp_path/'x.pt')
    z = torch.randn(4, 5)
    with torch.no_grad():
        for alpha in (1., .3): close(p.averaged_generator(z, alpha=alpha), zoo_by_hand(g, z, alpha), 5e-5)
    save_generator(p.best, tmp_path/'ours.pt')
    assert torch.equal(load_generator(tmp_path/'ours.pt')(z), p.best(z))
    with pytest.raises(ValueError, match='labels of pytorch_GAN_zoo are not known'): load_official(tmp_path/'x.pt', label_size=3)

# --- what is refused

class Runs:
    def __init__(self, f, *args): self.f,self.args = f,args
    def __reduce__(self): return self.f,self.args

def asks(module, name): return b'\x80\x02c' + f'{module}\n{name}\n'.encode() + b'X\x01\x00\x00\x00x\x85R.'

@pytest.mark.parametrize('data,match', [
    (pickle.dumps(Runs(os.system, 'true')), 'asks for (posix|nt).system'), (asks('builtins', 'eval'), 'asks for builtins.eval'), (asks('__builtin__', 'getattr'), 'asks for __builtin__.getattr'),
    (asks('numpy.core.multiarray', 'fromfile'), 'asks for numpy.core.multiarray.fromfile'), (asks('numpy', 'load'), 'asks for numpy.load'), (asks('torch', 'load'), 'asks for torch.load'),
    (b'\x80\x02}K\x01' + b'\x85'*10**5 + b'K\x01s.', 'keys are not plain|more steps'), (b'\x80\x04' + b'\x94'.join([b']']*5) + b'\x85'*99_000 + b'.', 'more steps|holds|damaged'),
    (pickle.dumps({1}, 4), 'a set'), (pickle.dumps(frozenset([1]), 4), 'a set'), (pickle.dumps(range(3)), 'asks for builtins.range'), (pickle.dumps([1, 2]), 'damaged|no published|holds a list'),
    (b'\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.', "type 'O8'"), (b'\x80\x05\x96' + (10**15).to_bytes(8, 'little') + b'.', 'ends too early'),
    (b'\x80\x02\x82\x01.', 'extension'), (b'\x80\x02cnumpy\nndarray\n}b.', '.'), (gzip.compress(bytes(2**24), mtime=0), 'do not pack so well'), (b'\x80\x02', '.'), (b'\x80\x02Q.', '.')],
    ids=lambda o: str(o)[:24])
def test_a_pickle_that_is_no_network_is_refused_in_a_sentence(file, data, match):
    for d in (data, data[:len(data)//2]): refused(file(d), match if d is data else '.')

def test_a_billion_laughs_are_not_told(file):
    "A list of twice itself, forty times over, as a setting and as a name"
    with official_class('tfutil') as Network:
        for place in ('static_kwargs','build_func_name','variables'):
            lol = ['lol']
            for _ in range(40): lol = [lol, lol]
            state = dict(build_func_name='G_paper', static_kwargs={}, variables=[])
            state[place] = dict(resolution=lol) if place=='static_kwargs' else lol
            refused(file(pickle.dumps(Network(**state), 2)), '.')

@pytest.mark.parametrize('change,match', [
    (lambda w: w.update({'layer1.bias':torch.ones(7)}), "channels|does not fit"), (lambda w: w.update({'layer1.weight':torch.ones(16, 16, 3, 1)}), "'layer1.weight' of the generator is \\(16, 16, 3, 1\\)"),
    (lambda w: w['layer1.weight'].view(-1)[3].fill_(torch.nan), 'no finite numbers'), (lambda w: w.pop('output1.weight'), "lacks 'output1.weight'"), (lambda w: w.pop('layer1.bias'), "has no 'layer1.bias'"),
    (lambda w: w.update(more=torch.ones(2)), "does not: 'more'"), (lambda w: w.update({'layer1.bias':torch.ones(16, dtype=torch.int64)}), 'expected floats'), (lambda w: w.update({'layer1.bias':3}), 'no tensor'),
    (lambda w: [w.pop(k) for k in list(w)]+[w.update({'conv1.weight':torch.ones(2)})], 'not a generator of progrow')], ids=lambda o: o if isinstance(o, str) else 'change')
def test_weights_that_do_not_fit_are_named(tmp_path, change, match):
    w = {k:torch.tensor(v) for k,v in to_official(networks('progan')[0], 'torch').items()}
    change(w)
    torch.save(w, tmp_path/'x.pth')
    refused(tmp_path/'x.pth', match, fused_scale=False)

def test_settings_that_do_not_fit_are_named(file):
    with official_class('tfutil') as Network:
        r = record(Network, networks('fused', 3)[0], 'Gs', 'fused')
        for setting,match in ((dict(resolution=32), 'settings say resolution=32'), (dict(label_size=12), 'label_size=12'), (dict(latent_size=9), 'latent_size=9'),
                              (dict(fmap_max=8), 'channels'), (dict(use_leakyrelu=False), 'use_leakyrelu=False'), (dict(fused_scale=False), 'fused_scale=False')):
            kept = dict(r.state['static_kwargs'])
            r.state['static_kwargs'].update(setting)
            refused(file(pickle.dumps(r, 2)), match)
            r.state['static_kwargs'] = kept
        r.state['build_func_name'] = 'G_main'
        refused(file(pickle.dumps(r, 2)), "built by 'G_main'")

def test_files_of_others(tmp_path):
    torch.save(dict(generator={}, g_running={'progression.0.conv.weight':torch.ones(1)}), tmp_path/'x.pt')
    refused(tmp_path/'x.pt', "rosinality's StyleGAN, which is another network")
    save_generator(networks('progan')[0], tmp_path/'ours.pt')
    refused(tmp_path/'ours.pt', "progrow's own|no published network")
    torch.save(torch.nn.Linear(2, 2), tmp_path/'m.pt')
    refused(tmp_path/'m.pt', 'asks for torch.nn.modules.linear.Linear')
    torch.save(dict(generator={'layer0.weight':torch.ones(2, dtype=torch.bfloat16)}), tmp_path/'b.pt')
    refused(tmp_path/'b.pt', 'asks for torch.BFloat16Storage')
    with pytest.raises(FileNotFoundError, match='there is no file'): load_official(tmp_path/'no.pkl')
    with pytest.raises(ValueError, match='is no file'): load_official(tmp_path)

def test_what_a_discriminator_does_not_say_is_asked(tmp_path):
    D = networks('fused')[1]
    torch.save({k:torch.tensor(v) for k,v in to_official(D, 'torch', True).items()}, tmp_path/'d.pth')
    refused(tmp_path/'d.pth', "give family='progan' or family='stylegan'")
    refused(tmp_path/'d.pth', 'layers of this discriminator that change the resolution are fused: give fused_scale=True', family='progan')
    D2 = load_official(tmp_path/'d.pth', family='progan', fused_scale=True).discriminator
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(D(x), D2(x))

def test_a_tensor_larger_than_its_numbers_is_refused(tmp_path):
    for w in (torch.ones(1).expand(10**9), torch.ones(2).as_strided((10**9,), (0,))):
        for new in (True, False):
            torch.save({'layer0.weight':w}, tmp_path/'x.pth', _use_new_zipfile_serialization=new)
            refused(tmp_path/'x.pth', 'larger arrays than it has numbers for')

# --- damaged files, many of them

def mutated(data, r):
    "A file with a few bytes changed, cut out, doubled or put in"
    d = bytearray(data)
    for _ in range(r.randint(1, 4)):
        i,how = r.randrange(len(d)),r.randrange(5)
        if how==0: d[i] ^= 1<<r.randrange(8)
        elif how==1: d[i] = r.randrange(256)
        elif how==2: del d[i:i+r.randint(1, 40)]
        elif how==3: d[i:i] = d[i:i+r.randint(1, 40)]
        else: d[i:i] = r.choice((b'cos\nsystem\n', b'cbuiltins\neval\n', b'X\x01\x00\x00\x00x\x85R', b'\x85'*500, b'0', b'(', b'2', b'\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f'))
        if not d: return b''
    return bytes(d)

FUZZ = """
import os, random, resource, sys, tempfile, time
sys.path[:0] = {paths!r}
from pathlib import Path
from test_pretrained import load_official, mutated, seeds_of_files
import subprocess
def caught(*args, **kw): raise SystemExit('something was run')
files = seeds_of_files(Path(tempfile.mkdtemp()))
begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
os.system = os.popen = subprocess.Popen = caught
r,path,slow,good = random.Random(0),Path(tempfile.mkdtemp())/'x',0,0
for i in range({n}):
    path.write_bytes(mutated(files[i%len(files)], r))
    t = time.process_time()
    try: load_official(path, fused_scale=True); good += 1
    except ValueError as e: assert str(e) and len(str(e))<2000, str(e)[:3000]
    slow = max(slow, time.process_time()-t)
print(good, slow, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-begin)
"""

def seeds_of_files(folder):
    "Small files of each kind, as bytes"
    nets = networks('fused')
    found = [official_pickle(nets, 'fused', p) for p in (0, 2, 4)] + [gzip.compress(official_pickle(networks('stylegan'), 'stylegan', 5))]
    state = {k:torch.tensor(v) for k,v in to_official(nets[0], 'torch', True).items()}
    for new in (True, False):
        torch.save(dict(generator=state), folder/'x', _use_new_zipfile_serialization=new)
        found.append((folder/'x').read_bytes())
    np.savez(folder/'y.npz', **{f'G.{k}':v.numpy() for k,v in state.items()})
    return [*found, (folder/'y.npz').read_bytes()]

def test_two_thousand_damaged_files_run_nothing_and_take_little():
    "Each is read or refused in a sentence, in less than ten seconds of CPU and, all in all, 256 MB"
    here = os.path.dirname(__file__)
    code = FUZZ.format(paths=[here, os.path.dirname(here)], n=2000)
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=280)
    assert r.returncode==0, r.stderr[-3000:] + r.stdout
    good,slow,kb = map(float, r.stdout.split())
    assert good<2000 and slow<10 and kb<256*1024

# --- golden files

@pytest.mark.parametrize('name', there('pggan16_gray','stylegan32','trajectory_pggan16_stable'))
def test_golden_files(tmp_path, capsys, name):
    g = from_subset(name)
    np.savez(tmp_path/'g.npz', **g)
    kinds = 'golden','trajectory'
    kind = kinds[name.startswith('trajectory')]
    assert main([kind, str(tmp_path/'g.npz')])==0
    out = capsys.readouterr().out
    assert 'all within their tolerances' in out and ('final scores' in out if kind=='trajectory' else 'gradient penalty, its gradients' in out)
    assert main([kinds[kind=='golden'], str(tmp_path/'g.npz')])==2
    assert 'it is one for' in capsys.readouterr().err

def test_a_changed_number_fails(tmp_path, capsys):
    g = dict(from_subset('pggan16_gray'))
    for key,what in (('img_lod1','pictures'), ('lod1_gp_param_grad_norms','gradient penalty, its gradients'), ('d_scores_batch4','scores, batch of 4'), ('lod0_g_loss_nonsat','g loss nonsat')):
        np.savez(tmp_path/'g.npz', **{**g, key:g[key]*1.01+.001})
        assert main(['golden', str(tmp_path/'g.npz')])==1
        assert [l for l in capsys.readouterr().out.splitlines() if 'TOO FAR' in l][0].startswith(what)

@pytest.mark.parametrize('family,classes,resolution,channels', [('fused', 0, 32, 3), ('progan', 4, 16, 3), ('fused', 4, 16, 1), ('stylegan', 4, 16, 1), ('stylegan', 0, 128, 3)])
def test_golden_files_of_any_kind(family, classes, resolution, channels):
    g = golden_like(networks(family, classes, resolution, channels), family)
    d = compare(g)
    assert d.good, str(d)
    assert len(d)>=8 and not compare({**g, 'img_lod1':g['img_lod1']+.01}).good

def test_a_golden_trajectory_of_a_fading_style_network_runs():
    "Its numbers are checked by files that have them; here, that both R1 and a fade are taken, and compared"
    for family,lod in (('stylegan', 0.), ('progan', .4)):
        G,D,_ = networks(family)
        g = {f'init_{p}.{k}':v for p,o in (('G', G), ('D', D)) for k,v in to_official(o, 'torch').items()}
        torch.manual_seed(0)
        g.update(reals=torch.randn(2, 4, 3, 16, 16), z_d=torch.randn(2, 4, 8), z_g=torch.randn(2, 4, 8), cfg_lod=lod, cfg_lr=1e-3, cfg_betas=[0, .99], cfg_adam_eps=1e-8,
                 cfg_ema_beta=.999, cfg_resolution=16, d_loss=np.zeros(2), final_img_G=np.zeros((4, 3, 16, 16)), final_img_Gs=np.zeros((4, 3, 16, 16)), final_scores=np.zeros((4, 1)))
        if family!='stylegan': g['gp_eps'] = torch.rand(2, 4, 1, 1, 1)
        for k,o in dict(G=G, D=D, Gs=G).items():
            names = [n for n in to_official(o, 'torch') if n not in ('truncation.w_avg',) and 'apply_noise.noise' not in n]
            g[f'final_{k}_names'],g[f'final_{k}_norms'] = np.array(names),np.zeros(len(names))
        d = compare({k:np.asarray(v) for k,v in g.items()})
        assert not d.good and all(np.isfinite(o.off) for o in d) and len(d)==7

def test_golden_files_of_pytorch_gan_zoo():
    g,z = {},np.random.RandomState(0).randn(4, 5).astype(np.float32)
    for n in (1, 2, 3):
        for p,state in zip('GD', zoo_state(n, n)): g.update({f'res{2<<n}_{p}.{k}':v.numpy() for k,v in state.items()})
        g[f'res{2<<n}_d_in'] = np.random.RandomState(n).randn(4, 3, 2<<n, 2<<n).astype(np.float32)
        if n>1:
            for alpha in (0., .25): g[f'res{2<<n}_alpha{alpha}_img'] = zoo_by_hand(zoo_state(n, n)[0], torch.tensor(z), 1-alpha).numpy()
    d = compare({**g, 'z':z})
    assert d.good and len(d)==4
    with pytest.raises(ValueError, match="no array 'z'"): compare(g)

def test_files_that_cannot_be_compared(tmp_path, capsys):
    (tmp_path/'x.npz').write_bytes(b'PK\3\4 and no more')
    np.savez(tmp_path/'y.npz', a=np.ones(2))
    np.savez(tmp_path/'o.npz', a=np.array([{}], dtype=object))
    for name,match in (('x','no file of named arrays'), ('y','no state of a published'), ('o','no file of named arrays'), ('no','No such file')):
        assert main(['golden', str(tmp_path/f'{name}.npz')])==2 and match in capsys.readouterr().err

# --- the command line

@pytest.fixture
def published(file): return file(official_pickle(networks('stylegan'), 'stylegan'), 'weights.pkl')

def test_commands_take_published_weights(published, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in ('sample {} --n 2 --out a.png', 'grid {} --rows 2 --cols 2 --out b.png', 'mix {} --rows 2 --cols 2 --out c.png',
                 'interpolate {} --frames 4 --n-points 2 --out d.gif', 'info {}', 'convert {} own.pt', 'sample own.pt --n 2 --out e.png'):
        assert progrow([o.format(published) for o in line.split()])==0, capsys.readouterr().err
    assert (tmp_path/'a.png').read_bytes()==(tmp_path/'e.png').read_bytes()
    assert progrow(['info', str(published)])==0
    out = capsys.readouterr().out
    assert 'published weights' in out and 'StyleGAN under official names' in out and 'mapping layers' in out
    assert progrow(['evaluate', str(published)])==1 and 'name them' in capsys.readouterr().err

def test_commands_refuse_in_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({k:torch.tensor(v) for k,v in to_official(Generator(16, latent_dim=8, fmap_base=64, fmap_max=8), 'torch').items()}, 'g.pth')
    assert progrow(['convert', 'g.pth', 'x.pt'])==1
    err = capsys.readouterr().err
    assert '--fused-scale' in err and err.count('\n')==1
    assert progrow(['convert', 'g.pth', 'x.pt', '--no-fused-scale'])==0 and load_generator('x.pt').resolution==16
    (tmp_path/'evil.pkl').write_bytes(asks('os', 'system'))
    for line in ('sample evil.pkl', 'info evil.pkl', 'convert evil.pkl y.pt'):
        assert progrow(line.split())==1 and 'asks for os.system' in capsys.readouterr().err
