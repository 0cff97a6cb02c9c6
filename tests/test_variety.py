"MS-SSIM and mode coverage against golden numbers and independent implementations, and their promises."
import inspect, warnings
import numpy as np, pytest, torch
from helpers import noise_set, random_bytes as images, smooth_set
from scipy.signal import fftconvolve
import progrow.variety
from progrow.variety import (ModeCoverage, coverage_floor, gaussian_mean, gaussian_window, image_pairs, mode_coverage, ms_ssim, ms_ssim_pairs,
                             ms_ssim_weights, ssim_maps)


# --- MS-SSIM: golden
def test_golden_pairs(golden):
    g = golden('ms_ssim')
    x,close = g['images'],lambda a,b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    close(ms_ssim(x[::2], x[1::2], per_pair=True), g['per_pair_even_odd'])
    close(ms_ssim(x, g['noisy'], per_pair=True), g['per_image_vs_noisy'])
    close(ms_ssim(x[::2], x[1::2]), g['pairs_even_odd']); close(ms_ssim(x, consecutive=True), g['pairs_even_odd'])
    close(ms_ssim(x, g['noisy']), g['vs_noisy'])
    assert ms_ssim(x, x) == g['identical'] == 1

def test_golden_first_level(golden):
    g = golden('ms_ssim')
    l,cs = ssim_maps(*(torch.tensor(g[k][:4]).float() for k in ('images','noisy')))
    np.testing.assert_allclose((l*cs).mean((1,2,3)), g['ssim_level0_vs_noisy4'], rtol=1e-5)
    np.testing.assert_allclose(cs.mean((1,2,3)), g['cs_level0_vs_noisy4'], rtol=1e-5)

@pytest.mark.parametrize('r', [16,32,128])
def test_golden_sizes(golden, r):
    g = golden('ms_ssim')
    x = g[f'images{r}']
    # at 16 px the golden value itself carries the rounding of a float32 Fourier transform: see test_definition
    assert ms_ssim(x, consecutive=True) == pytest.approx(float(g[f'pairs{r}']), rel=2e-5 if r==16 else 1e-5)

@pytest.mark.parametrize('name,draw', [('noise0',noise_set), ('smooth0',smooth_set)])
def test_golden_api(golden, name, draw):
    assert ms_ssim(draw(0), consecutive=True) == pytest.approx(float(golden('ms_ssim')[f'api_512_{name}']), rel=1e-5)

def test_golden_collapsed(golden):
    assert ms_ssim(np.repeat(images(8, 64), 2, 0), consecutive=True) == golden('ms_ssim')['api_collapsed_pairs']

# --- MS-SSIM: independent implementations
def textbook(a, b, dtype=np.float64):
    "MS-SSIM written as in the equations, with a 2-D window and a Fourier transform"
    a,b,value = a.astype(dtype),b.astype(dtype),1.
    for i,weight in enumerate((.0448, .2856, .3001, .2363, .1333)):
        k = min(11, a.shape[-1]); t = np.arange(k)-(k-1)/2
        w = np.exp(-(t[:,None]**2+t**2)/(2*(1.5*k/11)**2)); w = (w/w.sum())[None,None]
        m = lambda x: fftconvolve(x, w, mode='valid', axes=(2,3))
        ma,mb = m(a),m(b); va,vb,cov = m(a*a)-ma*ma,m(b*b)-mb*mb,m(a*b)-ma*mb
        v = (2*cov+58.5225)/(va+vb+58.5225)
        if i==4: v = v*(2*ma*mb+6.5025)/(ma*ma+mb*mb+6.5025)
        value = value*v.mean((1,2,3)).clip(0)**weight
        if a.shape[-1]>1: a,b = (x.reshape(*x.shape[:2], x.shape[2]//2, 2, -1, 2).mean((3,5)) for x in (a,b))
    return value

@pytest.mark.parametrize('r', [4,8,16,32,64])
@pytest.mark.parametrize('c', [1,3])
def test_textbook(r, c):
    a = images(12, r, c); b = np.rint(.6*a+.4*images(12, r, c, 1)).astype(np.uint8)
    np.testing.assert_allclose(ms_ssim(a, b, per_pair=True), textbook(a, b), rtol=1e-5, atol=1e-7)

@pytest.mark.parametrize('r', [16,32,128])
def test_definition(golden, r):
    "In float32, the textbook form gives the golden numbers to twelve digits: the definition is theirs"
    x = golden('ms_ssim')[f'images{r}']
    assert textbook(x[::2], x[1::2], np.float32).mean() == pytest.approx(float(golden('ms_ssim')[f'pairs{r}']), rel=1e-10)

@pytest.mark.parametrize('r', [192,256])
def test_torchmetrics(r):
    "The library's definition begins at 176 pixels, and mirrors the borders of the last size, where ours uses whole windows only"
    torchmetrics = pytest.importorskip('torchmetrics')
    a = torch.nn.functional.interpolate(torch.tensor(images(6, 16)).float(), size=r, mode='bicubic').clamp(0, 255).round().byte()
    b = (a*.7+.3*a.flip(0)).round().byte()
    metric = torchmetrics.image.MultiScaleStructuralSimilarityIndexMeasure(data_range=255., reduction=None)
    want,got = metric(a.float(), b.float()),ms_ssim(a, b, per_pair=True)
    np.testing.assert_allclose(got, want, rtol=.01)
    last = [torch.nn.functional.avg_pool2d(o.float(), 16) for o in (a,b)]
    whole,mirrored = ((l*cs).mean((1,2,3)) for l,cs in (ssim_maps(*last), ssim_maps(*(torch.nn.functional.pad(o, (5,)*4, mode='reflect') for o in last))))
    np.testing.assert_allclose(got*(mirrored/whole)**ms_ssim_weights[-1], want, rtol=1e-5)

# --- MS-SSIM: known values
@pytest.mark.parametrize('r', [1,2,4,8,16,32,64,128])
def test_black_and_white(r):
    black = np.zeros((2,3,r,r), np.uint8)
    assert ms_ssim(black, black+255) == pytest.approx(.292950, abs=2e-6)
    assert ms_ssim(black, black) == 1 == ms_ssim(images(4, r), images(4, r))

def test_symmetric():
    a,b = images(8, 32),images(8, 32)//2+images(8, 32, seed=1)//2
    assert torch.equal(ms_ssim(a, b, per_pair=True), ms_ssim(b, a, per_pair=True))

def test_window():
    for n in (1,2,8,11,64):
        g = np.array(gaussian_window(n))
        assert len(g) == min(11, n) and g.sum() == pytest.approx(1, abs=1e-12) and np.allclose(g, g[::-1])
    assert gaussian_mean(torch.ones(2,3,16,24)).shape == (2,3,6,14)
    assert sum(ms_ssim_weights) == pytest.approx(1, abs=2e-4)

def test_any_sides():
    assert ms_ssim(images(4, 48)[...,:21], images(4, 48)[...,:21]) == 1 and 0 <= ms_ssim(images(4, 48)[:,:,:33]) < .5

# --- MS-SSIM: promises
def test_forms_of_input_agree():
    x = images(20); want = ms_ssim(x)
    as_float = torch.tensor(x).float()/127.5-1
    for o in (torch.tensor(x), as_float, as_float.double().numpy(), as_float.requires_grad_()): assert ms_ssim(o) == want
    assert ms_ssim(x[:,:1]) == pytest.approx(ms_ssim(np.repeat(x[:,:1], 3, 1)), rel=1e-5)
    assert ms_ssim(x[::2], torch.tensor(x[1::2])) == ms_ssim(x, consecutive=True)

def test_read_only_and_memory_mapped(tmp_path):
    np.save(tmp_path/'x.npy', images(20)); x = np.load(tmp_path/'x.npy', mmap_mode='r')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert ms_ssim(x) == ms_ssim(images(20))

def test_portions_and_memory(monkeypatch):
    "The value does not depend on the portions, and none is larger than the memory allows"
    x,sizes,real = images(40, 32),[],ms_ssim_pairs
    want = ms_ssim(x, per_pair=True)
    monkeypatch.setattr(progrow.variety, 'ms_ssim_pairs', lambda a,b: (sizes.append(a.numel()), real(a, b))[1])
    np.testing.assert_allclose(ms_ssim(x, per_pair=True, max_memory=10**6), want, rtol=1e-6)
    assert max(sizes)*64 <= 10**6 and len(sizes) > 100
    ms_ssim(x[:4], max_memory=1)
    assert sizes[-1] == 3*32*32

def test_seeds():
    x = images(200, 8)
    assert ms_ssim(x, n_pairs=50) == ms_ssim(x, n_pairs=50) != ms_ssim(x, n_pairs=50, seed=1)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    ms_ssim(x, n_pairs=50)
    assert torch.equal(state[0], torch.get_rng_state()) and (state[1]==np.random.get_state()[1]).all()

def test_default_is_the_papers():
    assert inspect.signature(ms_ssim).parameters['n_pairs'].default == inspect.signature(image_pairs).parameters['n_pairs'].default == 10_000
    p = image_pairs(20_000)
    assert p.shape == (10_000,2) and len(np.unique(p)) == 20_000

@pytest.mark.parametrize('n,m', [(2,1), (3,2), (5,100), (7,12), (100,99), (101,1000), (1000,10_000)])
def test_pairs(n, m):
    p = image_pairs(n, m)
    assert len(p) == min(m, n*(n-1)//2) and (p[:,0]!=p[:,1]).all() and p.min()>=0 and p.max()<n
    assert np.array_equal(image_pairs(n, m, consecutive=True), [(2*i,2*i+1) for i in range(min(m, n//2))])
    used = np.bincount(p.flatten(), minlength=n)
    if n%2==0: assert used.max()-used.min() <= 1

@pytest.mark.parametrize('args,error,says', [
    (([1,2],), TypeError, 'stack lists'), ((images(4)[0],), ValueError, 'expected (n, c, h, w)'), ((images(4).transpose(0,2,3,1),), ValueError, 'channels'),
    ((images(4).astype(int),), TypeError, 'int64'), ((images(4).astype(np.float32),), ValueError, '[-1,1]'), ((images(4)*np.float32('nan'),), ValueError, 'nan'),
    ((images(1),), ValueError, 'two pictures'), ((images(4), images(3)), ValueError, 'picture by picture'), ((images(4), images(4, 8)), ValueError, 'one size'),
    ((images(4), np.full((4,3,16,16), np.inf)), ValueError, 'other'), ((images(4), None, 0), ValueError, 'n_pairs=0'), ((images(4)[:0],), ValueError, '(0, 3, 16, 16)')])
def test_complaints(args, error, says):
    with pytest.raises(error) as e: ms_ssim(*args)
    assert says in str(e.value)

def test_garbage_looks_varied():
    "What the measure cannot see: noise has more variety than anything drawn"
    x = smooth_set(0)[:64,:,::2,::2]
    assert ms_ssim(images(64, 32)) < ms_ssim(x//2+x[:1]//2) < 1

# --- mode coverage
def test_known_coverage():
    covered,kl = mode_coverage([0,0,1,2], 4)
    assert covered == 3 and kl == pytest.approx(.5*np.log(2))
    assert mode_coverage(torch.arange(1000)%100, 100) == (100, pytest.approx(0, abs=1e-12))
    assert mode_coverage(np.full(7, 3), 10) == (1, pytest.approx(np.log(10)))
    assert mode_coverage([0], 1) == (1, 0)
    assert mode_coverage(np.uint8([1,2]), 300).covered == 2

def test_kl_is_the_definition():
    p = np.random.default_rng(0).integers(0, 50, 300)**2//50
    res = mode_coverage(p, 50); q = res.counts/300; q = q[q>0]
    assert res.counts.sum() == 300 and res.kl == pytest.approx((q*np.log(q*50)).sum())

@pytest.mark.parametrize('n,k', [(1,4), (3,4), (4,2), (6,3)])
def test_floor_by_listing_all_draws(n, k):
    "The floor is the mean over every possible set of predictions"
    every = [mode_coverage(p, k) for p in np.stack(np.meshgrid(*[range(k)]*n), -1).reshape(-1, n)]
    floor = coverage_floor(n, k)
    assert floor.covered == pytest.approx(np.mean([o.covered for o in every])) and floor.kl == pytest.approx(np.mean([o.kl for o in every]))
    assert every[0].floor == floor

def test_floor_for_many_pictures():
    for n,k in ((25_600,1000), (200_000,10), (50_000,1)): assert coverage_floor(n, k).kl == pytest.approx((k-1)/(2*n), rel=.01, abs=1e-12)
    assert coverage_floor(25_600, 1000).covered == pytest.approx(1000, abs=1e-6)
    r = np.random.default_rng(0)
    got = np.mean([mode_coverage(r.integers(0, 100, 250), 100) for _ in range(300)], 0)
    np.testing.assert_allclose(got, coverage_floor(250, 100), rtol=.02)

def test_coverage_prints_its_floor():
    assert str(mode_coverage(np.arange(8)%4, 4)) == 'covered 4 (floor 3.6), KL 0.0000 (floor 0.2209)'
    assert str(ModeCoverage(3, .5)) == 'covered 3, KL 0.5000'

@pytest.mark.parametrize('args,says', [(([.5,1.],10), 'whole number'), ((np.ones((5,10)),10), 'argmax'), (([],10), 'whole number'), (([3,10],10), '0..9'), (([-1,2],10), '0..9')])
def test_coverage_complaints(args, says):
    with pytest.raises(ValueError) as e: mode_coverage(*args)
    assert says in str(e.value)
    with pytest.raises(ValueError, match='at least one'): coverage_floor(0, 10)
