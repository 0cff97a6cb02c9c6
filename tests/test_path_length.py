"Perceptual path length: golden arcs, closed forms, other implementations where they are installed, and its promises."
import hashlib, sys
from math import pi, sqrt
from types import SimpleNamespace
from urllib.error import URLError
import numpy as np, pytest, torch, torch.nn.functional as F
from torch import nn
from helpers import unit
import progrow.path_length as pl
from progrow.networks import Generator
from progrow.path_length import (FeatureDistance, lpips_vgg16, path_lengths, perceptual_path_length, pixel_distance,
                                 prepare_images, slerp, trimmed_mean)

def ways(n, dim, sampling='full', seed=0): return next(pl._ways(n, dim, sampling, None, seed, n))[:3]

class Style(nn.Module):
    "A linear stand-in for a style generator"
    latent_dim = 8
    def __init__(self, layers=0, dtype=torch.double):
        super().__init__()
        self.layers,self.A = layers,nn.Parameter(torch.randn(8, 48, generator=torch.Generator().manual_seed(0), dtype=dtype))
    def mapping(self, z, labels=None):
        w = z.tanh() if labels is None else z.tanh()*(1+labels[:,None])
        return w[:,None].expand(-1, self.layers, -1) if self.layers else w
    def forward(self, z=None, labels=None, w=None):
        w = self.mapping(z, labels) if w is None else w
        return ((w.mean(1) if self.layers else w) @ self.A).view(-1, 3, 4, 4)

@pytest.fixture(scope='module')
def G():
    torch.manual_seed(0)
    return Generator(16, latent_dim=16, fmap_base=64, fmap_max=8).eval()
quick = dict(n=24, distance=pixel_distance, batch_size=24)

# --- arcs
def test_slerp_golden(golden):
    f = {k:torch.from_numpy(v) for k,v in golden('slerp').items()}
    torch.testing.assert_close(slerp(f['a'], f['b'], f['t']), f['slerp'], atol=1e-5, rtol=0)

def test_lerp_golden(golden):
    "What space W walks along is the golden straight line"
    f = {k:torch.from_numpy(v) for k,v in golden('slerp').items()}
    G = SimpleNamespace(mapping=lambda z: z)
    x,_ = pl._step(G, 'w', f['a'], f['b'], f['t'].double(), 1e-4, (), f['a'])
    torch.testing.assert_close(x, f['lerp'], atol=1e-5, rtol=0)

def test_slerp_where_arccos_fails():
    a = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    b = a+1e-5*a.flip(0)  # so close that float32 says cos = 1
    whole,half = (slerp(a, b, 1.)-unit(a)).norm(dim=1),(slerp(a, b, .5)-unit(a)).norm(dim=1)
    assert (whole>3e-6).all()
    torch.testing.assert_close(half/whole, torch.full((20,), .5), atol=.05, rtol=0)
    assert slerp(a, a, .3).isfinite().all()
    with pytest.raises(ValueError, match='equally long'): slerp(a, -a, .5)
    with pytest.raises(ValueError, match='no direction'): slerp(a, 0*a, .5)

@pytest.mark.parametrize('t', [0, .2, .5, .999])
def test_even_speed(t):
    a,b,_ = ways(50, 512)
    speed = (slerp(a, b, t+1e-4)-slerp(a, b, t)).norm(dim=1)/1e-4
    angle = torch.arccos((unit(a)*unit(b)).sum(1))
    torch.testing.assert_close(speed, angle, atol=1e-6, rtol=0)

# --- generators whose answer is known
def test_constant_is_zero():
    one = torch.randn(1, 3, 8, 8)
    for sampling in ('full','end'): assert perceptual_path_length(lambda z: one.expand(len(z), -1, -1, -1), sampling=sampling, latent_dim=4, **quick)==0

@pytest.mark.parametrize('epsilon', [1e-4, 1e-2, 1.])
@pytest.mark.parametrize('sampling', ['full', 'end'])
@pytest.mark.parametrize('layers', [0, 5])
def test_linear_in_w(epsilon, sampling, layers):
    G = Style(layers)
    a,b,_ = ways(24, 8)
    exact = ((b.tanh()-a.tanh()) @ G.A).square().mean(1).detach()
    got = path_lengths(G, 'w', sampling, epsilon=epsilon, **quick)
    torch.testing.assert_close(got, exact, rtol=1e-6, atol=0)
    assert perceptual_path_length(G, 'w', sampling, epsilon=epsilon, **quick)==pytest.approx(trimmed_mean(exact))

def test_latents_as_pictures():
    "Squared speed of an arc: the square of its angle, and on average of a right angle"
    a,b,_ = ways(2000, 256)
    exact = torch.arccos((unit(a)*unit(b)).sum(1)).square()
    got = path_lengths(lambda z: z.view(-1, 1, 16, 16).double(), latent_dim=256, n=2000, distance=pixel_distance, batch_size=2000, epsilon=1e-2)
    torch.testing.assert_close(got, exact, rtol=1e-4, atol=0)
    assert trimmed_mean(got)==pytest.approx(pi**2/4, abs=.02)

def test_scaling_and_pixel_range(G):
    one = path_lengths(G, **quick)
    torch.testing.assert_close(path_lengths(lambda z: 3*G(z), latent_dim=16, **quick), 9*one, rtol=1e-2, atol=0)
    torch.testing.assert_close(path_lengths(G, pixel_range=(0,255), **quick), 127.5**2*one, rtol=2e-2, atol=0)

def test_float32_agrees_with_float64(G):
    import copy
    exact = path_lengths(copy.deepcopy(G).double(), **quick)
    assert exact.dtype==torch.double
    torch.testing.assert_close(path_lengths(G, **quick), exact, rtol=2e-2, atol=0)
    finer = path_lengths(copy.deepcopy(G).double(), epsilon=1e-6, **quick)
    assert (finer/exact-1).abs().median()<1e-3 # a step may go over the kink of a leaky ReLU, so not all

def test_full_and_end_agree_in_z(G):
    full,end = (path_lengths(G, sampling=s, n=1000, distance=pixel_distance, batch_size=250) for s in ('full','end'))
    error = sqrt((full.var()+end.var())/1000)
    assert abs(full.mean()-end.mean()) < 4*error and not torch.equal(full, end)

# --- the protocol
def test_trimmed_mean_is_the_published_one():
    v = np.random.default_rng(0).lognormal(size=997)
    s = np.sort(v)  # 1 % of the 996 gaps is 9.96: borders 9 below, 9 above, kept
    assert trimmed_mean(v)==pytest.approx(s[9:-9].mean())
    assert trimmed_mean(torch.tensor(v))==pytest.approx(s[9:-9].mean())
    assert trimmed_mean(v, 0, 100)==pytest.approx(v.mean()) and trimmed_mean([7.])==7

def test_prepare_images():
    x = torch.arange(64.).view(1, 1, 8, 8)/32-1
    assert torch.equal(prepare_images(x, face_crop=True), x[:,:,3:7,2:6]) and prepare_images(x) is x
    torch.testing.assert_close(prepare_images(x, pixel_range=(0,255)), (x+1)*127.5)
    big = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prepare_images(big), F.avg_pool2d(big, 4))
    torch.testing.assert_close(prepare_images(big, face_crop=True), F.avg_pool2d(big[:,:,384:896,256:768], 2))
    for r in (256,128): assert prepare_images(torch.zeros(1, 3, r, r)).shape[-1]==r
    assert prepare_images(3*x).max()>1  # not clipped
    with pytest.raises(ValueError, match='eighths'): prepare_images(torch.zeros(1, 3, 4, 4), face_crop=True)
    with pytest.raises(ValueError, match='float pictures'): prepare_images(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match='diverged'): prepare_images(x/0)

def test_same_noise_for_a_pair_and_nothing_left_changed(G):
    class Noisy(nn.Module):
        latent_dim = 16
        def __init__(self): super().__init__(); self.inner,self.drop = G,nn.Dropout(.5)
        def forward(self, z): return self.drop(self.inner(z)) + torch.randn(len(z), 3, 16, 16)
    noisy = Noisy(); noisy.train(); noisy.inner.eval()
    torch.manual_seed(3); state = torch.get_rng_state()
    b = torch.backends
    flags = b.cuda.matmul.allow_tf32, b.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    got = path_lengths(noisy, **quick)
    torch.testing.assert_close(got, path_lengths(G, **quick), rtol=5e-2, atol=0)
    assert torch.equal(torch.get_rng_state(), state) and noisy.drop.training and noisy.training and not noisy.inner.training
    assert flags==(b.cuda.matmul.allow_tf32, b.cudnn.allow_tf32, torch.get_float32_matmul_precision())

def test_put_back_after_an_error(G):
    def broken(z): raise KeyError('no')
    G.train(); state = torch.get_rng_state()
    try:
        with pytest.raises(KeyError): path_lengths(G, distance=lambda a,b: broken(a), n=2)
        assert G.training and torch.equal(torch.get_rng_state(), state)
    finally: G.eval()

def test_shortcuts_are_off_inside(G):
    seen = []
    def look(z):
        b = torch.backends
        seen.append([o.fp32_precision for o in (b.cuda.matmul, b.cudnn.conv)] if hasattr(b.cudnn, 'conv') else [b.cuda.matmul.allow_tf32, b.cudnn.allow_tf32])
        seen.append(torch.is_autocast_enabled('cpu'))
        return G(z)
    torch.set_float32_matmul_precision('high')
    try:
        with torch.autocast('cpu', dtype=torch.bfloat16): got = path_lengths(look, latent_dim=16, **quick)
        assert torch.get_float32_matmul_precision()=='high' and torch.backends.cuda.matmul.allow_tf32
    finally: torch.set_float32_matmul_precision('highest')
    assert seen[0] in (['ieee','ieee'], [False,False]) and not seen[1]
    assert torch.equal(got, path_lengths(G, **quick))

def test_seeds_and_batches(G):
    a = path_lengths(G, **quick)
    assert torch.equal(a, path_lengths(G, **quick)) and not torch.equal(a, path_lengths(G, seed=1, **quick))
    torch.testing.assert_close(path_lengths(G, n=24, distance=pixel_distance, batch_size=7), a, rtol=2e-2, atol=0)
    torch.testing.assert_close(path_lengths(G, n=10, distance=pixel_distance, batch_size=4), a[:10], rtol=2e-2, atol=0)
    assert perceptual_path_length(G, **quick)==trimmed_mean(a) and a.shape==(24,)

def test_labels_and_options():
    torch.manual_seed(0)
    G = Generator(8, 1, latent_dim=8, fmap_max=8, num_classes=3).eval()
    for labels in ([0,2,2], torch.eye(3)): assert path_lengths(G, labels=labels, **quick).shape==(24,)
    only,given = path_lengths(G, labels=[1], **quick),[]
    torch.testing.assert_close(only, path_lengths(lambda z: G(z, [1]*len(z)), latent_dim=8, **quick), rtol=1e-3, atol=0)
    path_lengths(lambda z, l: given.append(l) or G(z, l), labels=[0,2,2], latent_dim=8, **quick)
    assert torch.equal(*given) and set(given[0].tolist())=={0,2} # both of a pair alike
    small = path_lengths(G, labels=[1], resolution=4, **quick)
    assert small.shape==(24,) and not torch.equal(small, only)
    a,b = (path_lengths(Style(), 'w', labels=torch.tensor([o]), **quick) for o in (0.,1.))
    torch.testing.assert_close(b, 4*a)  # the mapping network gets the labels
    with pytest.raises(ValueError, match='takes labels'): path_lengths(G, **quick)

def test_messages(G):
    for kw,match in ((dict(space='x'),"'z'"), (dict(sampling='all'),"'full'"), (dict(space='w'),'no mapping'), (dict(n=0),'above 0'), (dict(epsilon=0),'above 0'), (dict(labels=[]),'empty')):
        with pytest.raises(ValueError, match=match): path_lengths(G, **{**quick, **kw})
    with pytest.raises(ValueError, match='latent_dim'): path_lengths(lambda z: z, **quick)
    with pytest.raises(ValueError, match='not their mean'): path_lengths(G, n=4, distance=F.mse_loss)
    with pytest.raises(ValueError, match='NaN or infinity for 4'): path_lengths(G, n=4, distance=lambda a,b: pixel_distance(a, b)/0)
    with pytest.raises(ValueError, match=r'generator.float\(\)'): path_lengths(Style(dtype=torch.bfloat16), **quick)
    with pytest.raises(TypeError, match='batchsize'): path_lengths(G, **quick, batchsize=3)

def test_any_module_is_a_distance(G):
    class Module(nn.Module):
        def forward(self, a, b): return pixel_distance(a, b)[:,None,None,None] # the shape that the lpips package gives
    assert torch.equal(path_lengths(G, **{**quick, 'distance':Module()}), path_lengths(G, **quick))

# --- distances
def test_feature_distance():
    a,b = torch.randn(2, 5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    by_hand = ((a/a.norm(dim=1, keepdim=True))-(b/b.norm(dim=1, keepdim=True))).square().sum(1).mean((1,2))
    d = FeatureDistance(nn.Identity())
    torch.testing.assert_close(d(a, b), by_hand)
    assert torch.equal(d(a, a), torch.zeros(5))
    torch.testing.assert_close(d(a, 2*b), by_hand) # features count by direction
    flat = FeatureDistance(lambda x: x.flatten(1))(a, b)
    torch.testing.assert_close(flat, 2-2*F.cosine_similarity(a.flatten(1), b.flatten(1)))

def test_pictures_go_where_the_distance_computes(G):
    d = FeatureDistance(nn.Conv2d(3, 4, 3).double())
    assert path_lengths(G, n=4, distance=d).isfinite().all()

# --- LPIPS
@pytest.fixture(scope='module')
def lpips(): return pytest.importorskip('lpips')

def vgg16_at(monkeypatch, url): monkeypatch.setattr(pl, 'VGG16_Weights', SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=url)))

@pytest.fixture
def made_up(lpips, tmp_path, monkeypatch):
    "A file of weights in the form of torchvision's, and LPIPS's own network with the same"
    with pytest.warns(UserWarning): theirs = lpips.LPIPS(net='vgg', pnet_rand=True, verbose=False).eval()
    file = tmp_path/'saved.pth'
    state = {'features.'+k.partition('.')[2]:v for k,v in theirs.net.state_dict().items()}
    torch.save(state | {'classifier.0.bias':torch.zeros(3)}, file)
    vgg16_at(monkeypatch, f'https://x.org/vgg16-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth')
    return file,theirs

def pictures(n=3, channels=3, size=64):
    return torch.rand(2, n, channels, size, size, generator=torch.Generator().manual_seed(1))*2-1

def test_lpips_is_theirs(made_up):
    file,theirs = made_up
    before = torch.get_rng_state()
    d = lpips_vgg16(file)
    assert torch.equal(torch.get_rng_state(), before) and not d.training and not any(p.requires_grad for p in d.parameters())
    a,b = pictures()
    with torch.no_grad(): want = theirs(a, b).flatten()
    assert torch.equal(d(a, b), want) and want.min()>0 and (d(a, a)==0).all()
    assert d(*pictures(2, 1, 16)).shape==(2,)
    with pytest.raises(ValueError, match='16x16 or more'): d(*pictures(2, 3, 8))

def test_lpips_is_the_equation(made_up):
    "Scaled to length one, squared differences, weights of the channels, sums over layers (LPIPS, equation 1)"
    file,theirs = made_up
    a,b = (theirs.net(theirs.scaling_layer(o)) for o in pictures())
    by_hand = sum(((F.normalize(x, dim=1)-F.normalize(y, dim=1)).square()*head.model[-1].weight[0]).sum(1).mean((1,2))
                  for x,y,head in zip(a, b, theirs.lins))
    torch.testing.assert_close(lpips_vgg16(file)(*pictures()), by_hand.detach(), rtol=1e-4, atol=1e-7)

def test_lpips_is_the_default(made_up, monkeypatch):
    d = lpips_vgg16(made_up[0])
    monkeypatch.setattr(pl, 'lpips_vgg16', lambda: d)
    torch.manual_seed(0)
    G = Generator(16, 1, latent_dim=8, fmap_max=8)
    assert perceptual_path_length(G, n=4)==perceptual_path_length(G, n=4, distance=d)>0

def test_lpips_wants_the_published_file(lpips, tmp_path):
    file = tmp_path/'saved.pth'
    file.write_bytes(b'abc')
    with pytest.raises(ValueError, match='is not the published vgg16-397923af.pth'): lpips_vgg16(file)

@pytest.fixture
def hub(tmp_path, monkeypatch):
    "An empty download folder, and no network"
    def offline(*a, **k): raise URLError('no network')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', offline)
    return tmp_path/'checkpoints'

def test_lpips_not_installed(hub, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r'no file .*gone.pth: .*https://download.pytorch.org/models/vgg16-397923af.pth.*pixel_distance'):
        lpips_vgg16(hub/'gone.pth')
    monkeypatch.setitem(sys.modules, 'lpips', None)
    with pytest.raises(ImportError, match=r"pip install 'progrow\[metrics\]'.*pixel_distance"): lpips_vgg16()
    assert not hub.exists()

def test_lpips_offline(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, 'lpips', SimpleNamespace(LPIPS=None))
    with pytest.raises(FileNotFoundError, match='no network.*https://download.pytorch.org/.*checkpoints.vgg16-397923af.pth.*pixel_distance'):
        lpips_vgg16()

# --- against others
def test_equals_torchmetrics():
    tm = pytest.importorskip('torchmetrics')
    from torchmetrics.functional.image import perceptual_path_length as theirs
    a,b,_ = ways(200, 16, 'end', seed=4)
    class Gen(nn.Module):
        draws = [a,b]
        def sample(self, n): return self.draws.pop(0)
        def forward(self, z): return (F.pad(z.view(-1, 1, 4, 4), (2,)*4).sin()+1)*127.5
    def pic(z): return F.pad(z.view(-1, 1, 4, 4), (2,)*4).sin()
    class Pixels(nn.Module):
        def forward(self, a, b): return pixel_distance(a, b)
    eps = 1e-3
    _,_,d = theirs(Gen(), num_samples=200, batch_size=50, interpolation_method='lerp', epsilon=eps, resize=None, lower_discard=None, upper_discard=None, sim_net=Pixels(), device='cpu')
    class W: # a straight line from its beginning is what torchmetrics calls lerp
        latent_dim = 16
        def mapping(self, z): return z
        def __call__(self, w): return pic(w)
    got = path_lengths(W(), 'w', 'end', n=200, epsilon=eps, distance=pixel_distance, seed=4, batch_size=50)
    torch.testing.assert_close(got, d.double(), rtol=2e-3, atol=1e-6)
