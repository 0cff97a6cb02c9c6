"The sliced Wasserstein distance against golden numbers, and its promises."
import json, warnings
import numpy as np, pytest, torch
from helpers import noise_set, random_bytes as images, root, smooth_set
from progrow.swd import (laplacian_pyramid, normalize_descriptors, patch_corners, patches, random_directions, sliced_distance,
                             sliced_wasserstein, swd_floor, swd_published, swd_quick)

fast = dict(n_patches=8, n_directions=16, n_repeats=1)

# --- golden: the steps that draw nothing, and the whole within its spread
def test_golden_pyramid(golden):
    g = golden('swd')
    pyr = laplacian_pyramid(torch.tensor(g['det_images']).float())
    assert len(pyr)==3
    for i,p in enumerate(pyr): np.testing.assert_allclose(p.numpy(), g[f'det_pyr{i}'], rtol=0, atol=1e-3)

def test_golden_descriptors_and_distance(golden):
    g = golden('swd')
    a,b = (normalize_descriptors(torch.tensor(g[f'det_desc_{k}'])) for k in 'ab')
    for d,k in ((a,'a'),(b,'b')):
        want = g[f'det_final_{k}'] # the subset holds its first rows
        np.testing.assert_allclose(d[:len(want)].numpy(), want, rtol=0, atol=1e-5)
    assert sliced_distance(a, b, torch.tensor(g['det_dirs'])).item() == pytest.approx(float(g['det_sliced_seed11_4x32']), abs=1e-5)

def test_golden_patches_are_ours(golden):
    "Every patch that the golden draw took (stored columns first) is one that `patches` can cut"
    g = golden('swd')
    level,want = torch.tensor(g['det_pyr0']), torch.tensor(g['det_descriptors_seed5']).flatten(1)
    every = torch.cartesian_prod(torch.arange(58), torch.arange(58)).expand(len(level), -1, -1)
    nearest = torch.cdist(want, patches(level, every).transpose(2,3).flatten(1)).min(1).values
    assert nearest.max() < .5 # float noise of cdist; other patches differ by a hundred

sets = dict(noise0=(noise_set,0), noise1=(noise_set,1), smooth0=(smooth_set,0), smooth_contrast=(smooth_set,3,0,30))

@pytest.mark.parametrize('pair', ['noise0__noise1', 'smooth0__smooth_contrast'])
def test_golden_values(golden, pair):
    g = golden('swd')
    real,fake = (f(*a) for f,*a in (sets[k] for k in pair.split('__')))
    assert int(fake.sum(dtype=np.int64)) == int(g[pair.split('__')[1]+'_sum'])
    swd,want = sliced_wasserstein(real, fake), g[f'swd_{pair}'].mean(0)
    assert list(swd) == [64,32,16,'mean']
    for got,w,tol in zip(swd.values(), want, (.6,1.5,1.5,.9)): assert got == pytest.approx(w, abs=tol)

# --- promises
def test_default_is_published():
    import inspect
    d = {k: p.default for k,p in inspect.signature(sliced_wasserstein).parameters.items()}
    assert {k: d[k] for k in swd_published}==swd_published and set(swd_quick)==set(swd_published)

def test_same_as_direct():
    "In chunks and in passes, the value is that of the definition"
    real,fake = images(70, 32), images(70, 32, seed=1)//2
    g = torch.Generator().manual_seed(3)
    swd = sliced_wasserstein(real, fake, n_patches=5, n_directions=7, n_repeats=2, seed=3, max_memory=20_000)
    for i,r in enumerate((32,16)):
        a,b = (laplacian_pyramid(torch.tensor(o).float())[i] for o in (real, fake))
        a,b = (normalize_descriptors(patches(o, patch_corners(70, r, 5, g))) for o in (a, b))
        assert swd[r] == pytest.approx(1e3*sliced_distance(a, b, random_directions(14, generator=g)).item(), rel=1e-4)
    assert swd['mean'] == pytest.approx((swd[32]+swd[16])/2)

def test_places_drawn_in_parts_are_the_same():
    "The places of patches are drawn a few thousand images at a time"
    a,b = (torch.Generator().manual_seed(0) for _ in range(2))
    parts = torch.cat([patch_corners(m, 64, 5, a) for m in (3,4,1)])
    assert torch.equal(parts, patch_corners(8, 64, 5, b)) and torch.equal(torch.randn(3, generator=a), torch.randn(3, generator=b))

def test_benchmark(monkeypatch):
    "The version that the benchmark calls straightforward gives the same values, and the stored run keeps its promises"
    monkeypatch.syspath_prepend(root/'tools')
    import bench_swd as bench
    a,b = bench.pictures(70, 0),bench.pictures(70, 1)
    want = sliced_wasserstein(a, b, **fast)
    assert bench.straightforward(a, b, **fast) == pytest.approx(want, rel=1e-4)
    assert bench.straightforward(a, b, **fast, distance=bench.numpy_distance) == pytest.approx(want, rel=1e-4)
    res = json.loads((root/'nbs'/'assets'/'swd'/'bench.json').read_text())
    ours = res['whole']['package']
    assert {k: res['settings'][k] for k in swd_published}==swd_published and res['settings']['images']==8192
    assert ours['cpu_seconds']<90 and ours['peak_bytes']<2e9
    for o in res['whole'].values(): assert o['swd'] == pytest.approx(ours['swd'], rel=1e-3)

def test_forms_of_input_agree():
    real,fake = images(20), images(20, seed=1)
    want = sliced_wasserstein(real, fake, **fast)
    as_float = torch.tensor(fake).float()/127.5-1
    assert sliced_wasserstein(torch.tensor(real), as_float, **fast) == want
    assert sliced_wasserstein(real, as_float.double().numpy(), **fast) == want
    assert sliced_wasserstein(real[:,:1], fake[:,:1], **fast) == sliced_wasserstein(*(np.repeat(o[:,:1], 3, 1) for o in (real, fake)), **fast)

@pytest.mark.parametrize('channels', [2, 4, 8])
def test_other_channels_have_the_same_distance(channels):
    real,fake = images(30, 16, channels),images(30, 16, channels, seed=1)//2
    swd,g = sliced_wasserstein(real, fake, seed=3, **fast),torch.Generator().manual_seed(3)
    a,b = (normalize_descriptors(patches(torch.tensor(o).float(), patch_corners(30, 16, 8, g))) for o in (real, fake))
    assert swd[16]==pytest.approx(1e3*sliced_distance(a, b, random_directions(16, 49*channels, generator=g)).item(), rel=1e-4)

def test_read_only_and_memory_mapped(tmp_path):
    np.save(tmp_path/'x.npy', images(20)); x = np.load(tmp_path/'x.npy', mmap_mode='r')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert sliced_wasserstein(x, images(20, seed=1), **fast) == sliced_wasserstein(images(20), images(20, seed=1), **fast)

def test_leaves_torch_as_it_was():
    n,x = torch.get_num_threads(), torch.rand(20,3,16,16, requires_grad=True)
    sliced_wasserstein(images(20), x, **fast)
    with pytest.raises(ValueError): sliced_wasserstein(images(20), x*float('nan'), **fast)
    assert torch.get_num_threads()==n

def test_seed():
    real,fake = images(20), images(20, seed=1)
    assert sliced_wasserstein(real, fake, **fast) == sliced_wasserstein(real, fake, **fast) != sliced_wasserstein(real, fake, seed=1, **fast)

def test_min_resolution_8():
    assert list(sliced_wasserstein(images(20, 8), images(20, 8, seed=1), min_resolution=8, **fast)) == [8,'mean']
    assert list(sliced_wasserstein(images(20, 32), images(20, 32, seed=1), min_resolution=8, **fast)) == [32,16,8,'mean']

def test_collapsed_fakes_are_finite():
    swd = sliced_wasserstein(images(20, 32), np.full((20,3,32,32), 77, np.uint8), **fast)
    assert all(np.isfinite(v) and v>300 for v in swd.values())

def test_gain_and_offset_are_invisible():
    real,fake = images(20), images(20, seed=1)//4*4
    tinted = fake.copy(); tinted[:,2] = fake[:,2]//4+180
    assert sliced_wasserstein(real, tinted, **fast)['mean'] == pytest.approx(sliced_wasserstein(real, fake, **fast)['mean'], rel=1e-4)

def test_floor():
    real = torch.tensor(images(80))
    assert swd_floor(real, **fast) == swd_floor(real.numpy(), n=40, **fast)
    assert swd_floor(real, n=10, **fast)['mean'] > swd_floor(real, n=40, **fast)['mean']
    with pytest.raises(ValueError, match='needs 82 real images, got 80'): swd_floor(real, n=41)

@pytest.mark.parametrize('real,fake,error,says', [
    (images(20), images(10), ValueError, 'real\\[:10\\]'),
    (images(20), images(20, 32), ValueError, '16x16 and fake ones 32x32'),
    (images(20, 8), images(20, 8), ValueError, 'min_resolution=8'),
    (images(20, 4), images(20, 4), ValueError, 'do not fit'),
    (images(20, 24), images(20, 24), ValueError, 'power of two'),
    (images(20, c=4), images(20), ValueError, '4 channels and fake ones 3'),
    (images(20, c=9), images(20, c=9), ValueError, '1 to 8 channels'),
    (images(20), images(20).astype(np.float32), ValueError, 'expected \\[-1,1\\]'),
    (images(20), images(20)*np.float32('nan'), ValueError, 'nan'),
    (images(20), images(20).astype(int), TypeError, 'int64'),
    (images(20), [1,2], TypeError, 'list'),
    (images(0), images(0), ValueError, '0 real'),
])
def test_errors(real, fake, error, says):
    with pytest.raises(error, match=says): sliced_wasserstein(real, fake)

@pytest.mark.parametrize('name', ['n_patches','n_directions','n_repeats'])
def test_counts_below_one(name):
    with pytest.raises(ValueError, match=f'{name}=0.*at least 1'): sliced_wasserstein(images(9), images(9), **{name: 0})

def test_min_resolution_too_small():
    with pytest.raises(ValueError, match='at least 8x8'): sliced_wasserstein(images(9), images(9), min_resolution=4)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_gpu_agrees():
    real,fake = images(200, 32), images(200, 32, seed=1)//2
    a,b = sliced_wasserstein(real, fake, device='cpu'), sliced_wasserstein(real, fake, device='cuda')
    assert b == pytest.approx(a, rel=1e-3)
