"Metrics on features against golden numbers, independent packages, and their promises."
import warnings
import numpy as np, pytest, torch
from progrow.feature_metrics import (KernelDistance, PrecisionRecall, frechet_distance, inception_score, kernel_distance, precision_recall)

def normal(n, d, seed=0, mean=0., std=1.): return np.random.default_rng(seed).normal(mean, std, (n,d))
def stats(x): x = np.asarray(x, np.float64); return x.mean(0), np.cov(x, rowvar=False)
sets = ('same','shift','scale','few','identical')

# --- golden
@pytest.mark.parametrize('k', sets)
def test_golden_frechet(golden, k):
    g = golden('fid_is_kid')
    a,b,want = g[f'{k}_a'],g[f'{k}_b'],float(g[f'{k}_fid_torchfidelity'])
    for x,y in ((a,b), (b,a), (stats(a),stats(b)), (torch.tensor(a),stats(b)), ((*stats(a),len(a)),b)):
        assert frechet_distance(x, y, warn=False) == pytest.approx(want, rel=1e-6, abs=1e-9)

@pytest.mark.parametrize('k', sets)
def test_golden_kernel(golden, k):
    g = golden('fid_is_kid')
    a,b = g[f'{k}_a'],g[f'{k}_b']
    got = kernel_distance(a, b, subsets=20, subset_size=min(100,len(a),len(b)), seed=2020)
    np.testing.assert_allclose(got, g[f'{k}_kid_mean_std'], rtol=1e-6, atol=5e-7)   # the golden sums are in single precision

@pytest.mark.parametrize('k', ('flat','peaky','uneven'))
@pytest.mark.parametrize('splits', (1,10))
def test_golden_score(golden, k, splits):
    g = golden('fid_is_kid')
    np.testing.assert_allclose(inception_score(g[f'logits_{k}'], splits), g[f'is_{k}_splits{splits}'], rtol=1e-6, atol=1e-12)

# --- other packages
@pytest.mark.parametrize('n,d', ((300,40), (30,40)))
def test_torchmetrics_frechet(n, d):
    fid = pytest.importorskip('torchmetrics.image.fid')
    a,b = normal(n, d), normal(n+5, d, 1, .3, 1.5)
    want = fid._compute_fid(*(torch.tensor(o) for o in (*stats(a), *stats(b)))).item()
    assert frechet_distance(a, b, warn=False) == pytest.approx(want, rel=1e-6)

class Means(torch.nn.Module):
    num_features = 12
    def forward(self, x): return x.float().view(len(x),3,4,-1).mean(3).flatten(1)/100

def test_torchmetrics_end_to_end():
    fid = pytest.importorskip('torchmetrics.image.fid').FrechetInceptionDistance(feature=Means())
    from progrow.features import extract, feature_statistics
    r = np.random.default_rng(0)
    real,fake = r.integers(0, 256, (60,3,8,8), dtype=np.uint8), r.integers(50, 256, (50,3,8,8), dtype=np.uint8)
    fid.update(torch.tensor(real), real=True); fid.update(torch.tensor(fake), real=False)
    want = fid.compute().item()
    assert frechet_distance(extract(Means(), real), extract(Means(), fake)) == pytest.approx(want, rel=1e-5)
    assert frechet_distance(feature_statistics(Means(), real), feature_statistics(Means(), fake)) == pytest.approx(want, rel=1e-5)

def test_torchmetrics_takes_our_network():
    fid = pytest.importorskip('torchmetrics.image.fid')
    pytest.importorskip('efficientnet_lite_pytorch')
    from progrow.features import extract, feature_network
    net,r = feature_network('lite0', size=32),np.random.default_rng(0)
    real,fake = (torch.tensor(r.integers(0, 256, (6,3,32,32), dtype=np.uint8)) for _ in range(2))
    m = fid.FrechetInceptionDistance(feature=net)
    m.update(real, real=True); m.update(fake, real=False)
    assert frechet_distance(extract(net, real), extract(net, fake), warn=False) == pytest.approx(m.compute().item(), rel=1e-4)

def test_torch_fidelity_kernel():
    kid = pytest.importorskip('torch_fidelity.metric_kid')
    a,b = normal(80, 6), normal(90, 6, 1, .5)
    w = kid.kid_features_to_metric(torch.tensor(a), torch.tensor(b), kid_subsets=12, kid_subset_size=50, rng_seed=5, verbose=False)
    got = kernel_distance(a, b, 12, 50, 5)
    assert got == pytest.approx((w['kernel_inception_distance_mean'], w['kernel_inception_distance_std']), rel=1e-9)

def test_torch_fidelity_score():
    isc = pytest.importorskip('torch_fidelity.metric_isc')
    logits = normal(103, 7, std=3.)
    w = isc.isc_features_to_metric(torch.tensor(logits), splits=4, shuffle=False)
    assert inception_score(logits, 4) == pytest.approx((w['inception_score_mean'], w['inception_score_std']), rel=1e-9)

@pytest.mark.parametrize('k', (1,3,5))
def test_torch_fidelity_precision_recall(k):
    prc = pytest.importorskip('torch_fidelity.metric_prc')
    real,fake = (torch.tensor(o) for o in (normal(150, 5), normal(120, 5, 1, .8, .7)))
    assert precision_recall(real, fake, k) == pytest.approx(prc.calculate_precision_recall_part(fake, real, neighborhood=k), abs=1e-7)

# --- Fréchet distance
def test_frechet_identities():
    d = 6
    mu,I,zero = np.arange(d)*1.,np.eye(d),np.zeros(d)
    assert frechet_distance((mu,I), (zero,I)) == pytest.approx((mu**2).sum())
    assert frechet_distance((zero,I), (zero,4*I)) == pytest.approx(d)
    x,y = normal(50, d), normal(60, d, 1, 1., 2.)
    q = np.linalg.qr(normal(d, d))[0]
    assert frechet_distance(x@q+3, y@q+3) == pytest.approx(frechet_distance(x, y)) == pytest.approx(frechet_distance(y, x))
    assert frechet_distance(10*x, 10*y) == pytest.approx(100*frechet_distance(x, y))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)

@pytest.mark.parametrize('how', ('features','stats'))
def test_frechet_singular(how):
    "Rank-deficient sets, also with exactly constant features, agree with the sum over the axes"
    f = (lambda x: x) if how=='features' else stats
    base = normal(40, 3)
    x,y = (np.concatenate([b, np.zeros((40,97))], 1) for b in (base, base*2))
    assert frechet_distance(f(x), f(x), warn=False) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(f(x), f(y), warn=False) == pytest.approx(frechet_distance(base, base*2), rel=1e-6)
    z = np.zeros((40,100))
    assert frechet_distance(f(x), f(z), warn=False) == pytest.approx((x.mean(0)**2).sum() + np.trace(np.cov(x.T)), rel=1e-9)
    assert frechet_distance(f(z), f(z), warn=False) == 0

def test_frechet_rank_deficient_identical_stats():
    x = normal(30, 200, std=50.)@normal(200, 200, 1)
    assert frechet_distance(stats(x), stats(x)) < 1e-6*np.trace(stats(x)[1])

def test_frechet_warns():
    with pytest.warns(UserWarning, match='10 images in 12 dimensions'): frechet_distance(normal(10, 12), normal(99, 12, 1))
    with pytest.warns(UserWarning, match='12 images'): frechet_distance((*stats(normal(12, 12)), 12), stats(normal(99, 12)))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        frechet_distance(normal(13, 12), normal(13, 12, 1))
        frechet_distance(stats(normal(10, 12)), stats(normal(10, 12, 1)))       # who knows how many
        frechet_distance(normal(10, 12), normal(10, 12, 1), warn=False)

def test_frechet_floor():
    "Two sets of n from N(0,I) lie about (2d + d(d+1)/2)/n apart"
    got = np.mean([frechet_distance(normal(1000, 16, 2*s), normal(1000, 16, 2*s+1)) for s in range(8)])
    assert got == pytest.approx((32+136)/1000, rel=.1)

@pytest.mark.parametrize('a,error,says', [
    (np.zeros((4,3,8,8)), ValueError, 'extract(network, images)'), (np.zeros(5), ValueError, '(n, d)'), ([1,2,3,4], ValueError, 'of 4'), ({'mu':1}, TypeError, 'dict'),
    (np.zeros((9,4)), ValueError, 'same network'), (np.full((9,5), np.inf), ValueError, 'infinite'), (np.zeros((1,5)), ValueError, 'at least 2'),
    ((np.zeros(5),np.eye(4)), ValueError, 'covariance of shape'), ((np.eye(5),np.eye(5)), ValueError, '(d,)')])
def test_frechet_complains(a, error, says):
    with pytest.raises(error) as e: frechet_distance(a, normal(9, 5))
    assert says in str(e.value)

# --- kernel distance
def direct(a, b):
    k = lambda x,y: (x@y.T/x.shape[1]+1)**3
    m,n = len(a),len(b)
    off = lambda K: (K.sum()-np.trace(K))/(len(K)*(len(K)-1))
    return off(k(a,a)) + off(k(b,b)) - 2*k(a,b).mean()

def test_kernel_is_direct():
    a,b = normal(40, 5), normal(40, 5, 1, .3)
    got = kernel_distance(a, b, subsets=3, subset_size=40)
    assert got.mean == pytest.approx(direct(a, b)) and got.std == pytest.approx(0, abs=1e-9)

def test_kernel_both_ways():
    "All pairs at once, or subset by subset: the same numbers"
    a,b = normal(1100, 3), normal(1050, 3, 1)
    r,want = np.random.RandomState(4),[]
    for _ in range(6): want.append(direct(a[r.choice(1100, 30, replace=False)], b[r.choice(1050, 30, replace=False)]))
    assert kernel_distance(a, b, 6, 30, seed=4) == pytest.approx((np.mean(want), np.std(want)))   # subset by subset
    r,want = np.random.RandomState(4),[]
    for _ in range(6): want.append(direct(a[r.choice(1100, 900, replace=False)], b[r.choice(1050, 900, replace=False)]))
    assert kernel_distance(a, b, 6, 900, seed=4) == pytest.approx((np.mean(want), np.std(want)))  # all at once, in blocks

def test_kernel_is_unbiased():
    got = [kernel_distance(normal(20, 4, 2*s), normal(20, 4, 2*s+1), 1, 20).mean for s in range(400)]
    assert abs(np.mean(got)) < 3*np.std(got)/20 and min(got) < 0

def test_kernel_sizes():
    assert isinstance(kernel_distance(normal(9, 2), normal(7, 2)), KernelDistance)
    assert kernel_distance(normal(9, 2), normal(7, 2), 5) == kernel_distance(normal(9, 2), normal(7, 2), 5, subset_size=3)
    for m in (0, 1, 8):
        with pytest.raises(ValueError, match='expected 2 to 7'): kernel_distance(normal(9, 2), normal(7, 2), subset_size=m)

# --- score
def test_score_identities():
    sure = np.eye(8).repeat(4, 0)*1e5
    assert inception_score(sure, 1) == pytest.approx((8, 0))
    assert inception_score(np.zeros((20,5))) == pytest.approx((1, 0))
    with pytest.raises(ValueError, match='probabilities'): inception_score(np.full((20,5), .2))
    for s in (0, 21):
        with pytest.raises(ValueError, match='expected 1 to 20'): inception_score(np.zeros((20,5)), s)

# --- precision and recall
def test_precision_recall_direct():
    real,fake = normal(60, 4), normal(50, 4, 1, .7)
    d = lambda a,b: np.linalg.norm(a[:,None]-b, axis=2)
    radius = lambda x: np.sort(d(x, x), 1)[:,3]
    want = (d(fake, real) <= radius(real)).any(1).mean(), (d(real, fake) <= radius(fake)).any(1).mean()
    for block in (7, 1024): assert precision_recall(real, fake, block=block) == pytest.approx(want)
    assert isinstance(precision_recall(real, fake), PrecisionRecall)

def test_precision_recall_extremes():
    x = normal(50, 8)
    assert precision_recall(x, x)==(1, 1) and precision_recall(x, x+1000)==(0, 0)
    assert precision_recall(x*1e-3+1e3, x*1e-3+1e3)==(1, 1)
    copies = x[:5].repeat(10, 0)
    assert precision_recall(x, copies)==(1, .1)   # no reach, but each finds itself
    with pytest.raises(ValueError, match='at least 4'): precision_recall(x[:3], x)
    with pytest.raises(ValueError, match='k=0'): precision_recall(x, x, k=0)
    with pytest.raises(ValueError, match='real holds nan'): precision_recall(x*np.nan, x)
