"Walks through latent space against the golden numbers, and the files that animations are kept in."
import numpy as np, pytest, torch
from PIL import Image
from progrow.explore import draw, interpolate, latent_walk, random_latents, save_animation, slerp, walk_through
from progrow.images import image_grid, to_uint8
from progrow.networks import Generator
from progrow.train import sample_images

def unit(x): return x/x.norm(dim=-1, keepdim=True)

@pytest.fixture(scope='module')
def G():
    torch.manual_seed(0)
    return Generator(8, latent_dim=16, fmap_max=8).eval()

@pytest.fixture(scope='module')
def conditional():
    torch.manual_seed(0)
    return Generator(8, 1, latent_dim=16, fmap_max=8, num_classes=3).eval()

def test_slerp_golden(golden):
    f = {k:torch.from_numpy(v) for k,v in golden('slerp').items()}
    torch.testing.assert_close(slerp(f['a'], f['b'], f['t']), f['slerp'], atol=1e-5, rtol=0)

def test_slerp_where_arccos_fails():
    a = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    b = a+1e-5*a.flip(0)  # so close that float32 says cos = 1
    whole,half = (slerp(a, b, 1.)-unit(a)).norm(dim=1),(slerp(a, b, .5)-unit(a)).norm(dim=1)
    assert (whole>3e-6).all()
    torch.testing.assert_close(half/whole, torch.full((20,), .5), atol=.05, rtol=0)
    assert slerp(a, a, .3).isfinite().all()

@pytest.mark.parametrize('loop,legs', [(True,3), (False,2)])
def test_walk_passes_its_points(loop, legs):
    z = random_latents(3, 16, seed=5)
    w = walk_through(z, 30 if loop else 21, loop)
    torch.testing.assert_close(unit(w[::10][:3]), unit(z), atol=1e-5, rtol=0)
    steps = unit(w).roll(-1, 0)-unit(w) if loop else unit(w).diff(dim=0)
    for leg in range(legs):  # on each leg all steps are equally long
        s = steps[10*leg:10*leg+10].norm(dim=1)
        torch.testing.assert_close(s, s[:1].expand(10), atol=1e-5, rtol=0)
    torch.testing.assert_close(w.norm(dim=1), torch.full((len(w),), 4.), atol=1e-5, rtol=0)

@pytest.mark.parametrize('frames', [5, 7, 60, 61, 997])
@pytest.mark.parametrize('loop', [True, False])
def test_any_number_of_frames(frames, loop):
    w = latent_walk(5, frames, 8, seed=1, loop=loop)
    assert w.shape==(frames,8) and w.isfinite().all()

def test_draw_is_sample(G, conditional):
    assert torch.equal(draw(G, random_latents(5, 16, 2)), sample_images(G, 5, seed=2))
    assert torch.equal(draw(G, random_latents(5, 16, 2), batch_size=5), sample_images(G, 5, seed=2))
    labels = [0,2,1,1]
    assert torch.equal(draw(conditional, random_latents(4, 16), labels, resolution=4), sample_images(conditional, 4, labels=labels, resolution=4))
    with pytest.raises(ValueError, match='3 labels for 4 pictures'): draw(conditional, random_latents(4, 16), [0,1,2])
    with pytest.raises(ValueError, match='no truncation'): draw(G, random_latents(4, 16), psi=.5)

def test_interpolate_begins_at_the_samples(G):
    x = interpolate(G, 3, 9, seed=4, rows=2, cols=3)
    assert x.shape==(9,3,16,24) and x.dtype==np.uint8
    want = to_uint8(image_grid(sample_images(G, 6, seed=4), rows=2)).numpy()
    assert abs(x[0].astype(int)-want).max()<=1
    assert interpolate(G, 2, 4, resolution=4).shape==(4,3,4,4)

def test_interpolate_between_classes(conditional):
    G,z = conditional,walk_through(random_latents(3, 16), 9)
    x = interpolate(G, 3, 9, labels=[2,0,1])
    for frame,label in ((0,2), (3,0), (6,1)):
        want = to_uint8(draw(G, z[frame:frame+1], [label]))[0].numpy()
        assert abs(x[frame].astype(int)-want).max()<=1
    assert (interpolate(G, 3, 9, labels=1)==interpolate(G, 3, 9, labels=[1,1,1])).all()
    for bad in ([0,1], 3, -1, [.5]):
        with pytest.raises(ValueError, match='from the 3 classes'): interpolate(G, 3, 9, labels=bad)
    with pytest.raises(ValueError, match='takes labels'): interpolate(G, 3, 9)

def movie(n=12, c=3, h=10, w=14): # different colours, so that no two frames are the same
    u = np.zeros((n,c,h,w), np.uint8)
    for i in range(n): u[i,:,:,i%w] = (np.arange(c)*70+20*i).reshape(c, 1)%256
    return u

@pytest.mark.parametrize('c', [1,3])
def test_gif(tmp_path, c):
    u = movie(c=c)
    path = save_animation(u, tmp_path/'new'/'a.gif', fps=30, scale=3)
    assert [p.name for p in path.parent.iterdir()]==['a.gif']
    with Image.open(path) as im:
        assert im.n_frames==12 and im.size==(42,30) and im.info['loop']==0
        times = []
        for i in range(12):
            im.seek(i); times.append(im.info['duration'])
            got = np.asarray(im.convert('RGB'))[::3,::3].transpose(2, 0, 1)
            assert (got==u[i]).all()
    assert sum(times)==400

def test_gif_many_colours(tmp_path):
    x = torch.linspace(-1, 1, 64)
    x = torch.stack([x[:,None].expand(64,64), x[None].expand(64,64), -x[:,None].expand(64,64)])
    path = save_animation([x, x.flip(1)], tmp_path/'a.gif', scale=1)
    with Image.open(path) as im: got = np.asarray(im.convert('RGB')).astype(int)
    assert abs(got-to_uint8(x).numpy().transpose(1, 2, 0)).mean()<6

def test_scale_left_out(tmp_path):
    for size,want in ((10,250), (128,256), (300,300)):
        with Image.open(save_animation(movie(2, 1, size, size), tmp_path/'a.gif')) as im: assert im.size==(want,want)

@pytest.mark.parametrize('c,h,w', [(3,10,14), (1,9,15)])
def test_mp4(tmp_path, c, h, w):
    av = pytest.importorskip('av')
    u = np.repeat(np.repeat(movie(12, c, h, w), 4, 2), 4, 3)[:,:,:h*4-h%2,:w*4-w%2]
    path = save_animation(u, tmp_path/'a.mp4', fps=12.5, scale=1)
    with av.open(str(path)) as f:
        s = f.streams.video[0]
        assert (s.frames, float(s.average_rate), s.codec_context.name)==(12, 12.5, 'h264')
        got = np.stack([o.to_ndarray(format='rgb24') for o in f.decode(video=0)]).transpose(0, 3, 1, 2)
    assert got.shape==(12, 3, 4*h, 4*w)
    grey = lambda x: x.astype(float).mean(1)
    assert abs(grey(got)[:,:u.shape[2],:u.shape[3]]-grey(u)).mean()<4

def test_errors(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'av', None)
    (tmp_path/'a.mp4').write_text('old')
    with pytest.raises(ImportError, match=r'progrow\[video\]'): save_animation(movie(), tmp_path/'a.mp4')
    assert (tmp_path/'a.mp4').read_text()=='old'
    for kw,match in ((dict(path='a.webm'), '.gif or .mp4'), (dict(fps=51), '50 or less'), (dict(fps=0), 'above 0'), (dict(frames=[]), 'no frames'),
                     (dict(frames=[movie()[0], movie(h=11)[0]]), 'at frame 1')):
        kw = {'frames':movie(), 'path':'a.gif', **kw}
        with pytest.raises(ValueError, match=match): save_animation(kw.pop('frames'), tmp_path/kw.pop('path'), **kw)
    assert not (tmp_path/'a.gif').exists()
    with pytest.raises(ValueError, match='as many frames'): latent_walk(5, 4, 8)
    with pytest.raises(ValueError, match='2 points'): latent_walk(1, 4, 8)
