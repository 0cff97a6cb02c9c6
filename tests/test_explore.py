"Walks through latent space against the golden numbers, and the files that animations are kept in."
from functools import partial
import numpy as np, pytest, torch
from PIL import Image
import helpers, progrow.path_length
from helpers import unit
from progrow.explore import (draw, growth_slider, interpolate, latent_walk, layer_range, mix_styles, mixing_grid, mixing_slider, noise_deviation, noise_only_in, noise_strip,
                             random_latents, save_animation, slerp, style_vectors, truncation_strip, walk_through)
from progrow.images import Frames, image_grid, to_uint8
from progrow.networks import Generator
from progrow.style import StyleGenerator
from progrow.style_layers import NoiseInjection
from progrow.train import sample_images

close = partial(helpers.close, atol=1e-4)

@pytest.fixture(scope='module')
def G():
    torch.manual_seed(0)
    return Generator(8, latent_dim=16, fmap_max=8).eval()

@pytest.fixture(scope='module')
def conditional():
    torch.manual_seed(0)
    return Generator(8, 1, latent_dim=16, fmap_max=8, num_classes=3).eval()

def styled(num_classes=0, **kw):
    "A style generator whose noise and average style are not zero, as after training"
    torch.manual_seed(0)
    G = StyleGenerator(16, latent_dim=16, fmap_max=16, num_classes=num_classes, **kw).eval()
    for k,p in G.named_parameters():
        if k.endswith('strength'): p.data.normal_(std=.3)
        if k.endswith('style.weight'): p.data.mul_(3)
    G.w_avg.normal_(std=.3)
    return G

@pytest.fixture(scope='module')
def S(): return styled()

def test_the_arcs_are_those_of_path_length(): assert slerp is progrow.path_length.slerp # tested there

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

def test_walk_in_w_is_straight(S):
    w = style_vectors(S, random_latents(3, 16))
    way = walk_through(w, 20, loop=False, space='w')
    assert way.shape==(20,6,16) and torch.equal(way[0], w[0])
    close(way[-1], w[2])
    close(walk_through(w[:2], 5, False, 'w')[1], .75*w[0]+.25*w[1])
    with pytest.raises(ValueError, match="space='y'"): walk_through(w, 20, space='y')

def test_both_spaces_pass_the_same_pictures(S):
    z,w = (interpolate(S, 3, 9, seed=4, cols=2, space=o) for o in 'zw')
    assert z.shape==w.shape==(9,3,16,32) and abs(z[::3].astype(int)-w[::3]).max()<=1 and abs(z.astype(int)-w).max()>5
    half = interpolate(S, 3, 9, seed=4, cols=2, psi=.5, space='w')[0]
    assert abs(half.astype(int)-to_uint8(image_grid(draw(S, random_latents(2, 16, 4), psi=.5), 1)).numpy()).max()<=1

def test_walk_in_w_between_classes():
    C = styled(num_classes=3)
    x = interpolate(C, 3, 9, labels=[2,0,1], space='w')
    for i,label in enumerate([2,0,1]):
        want = to_uint8(draw(C, random_latents(3, 16)[i:i+1], [label]))[0].numpy()
        assert abs(x[3*i].astype(int)-want).max()<=1
    with pytest.raises(ValueError, match='from the 3 classes'): interpolate(C, 3, 9, labels=3, space='w')
    grid = mixing_grid(C, [1], [2,3], label=1)
    close(grid[:,16:,:16], draw(C, random_latents(1, 16, 1), [1])[0].clamp(-1, 1))
    for f in (truncation_strip, noise_strip, noise_deviation): assert f(C, [1], label=2).isfinite().all()
    assert len(mixing_slider(C, [1,2], label=0).values)==8 and len(growth_slider(C, [1,2], label=0).values)==3

def test_style_vectors_draw_the_same(S):
    z = random_latents(5, 16)
    for kw in ({}, dict(psi=.7), dict(psi=.7, psi_cutoff=2)):
        close(draw(S, w=style_vectors(S, z, **kw), batch_size=2), draw(S, z, **kw))

@pytest.mark.parametrize('size,ends', [(16,(2,4,6)), (32,(2,4,8)), (64,(2,4,10)), (128,(2,6,12)), (256,(4,6,14)), (512,(4,8,16)), (1024,(4,8,18))])
def test_named_layers_are_all_layers_once(S, size, ends):
    parts = [layer_range(S, o, size) for o in ('coarse','middle','fine')]
    assert sum(parts, [])==list(range(ends[-1])) and tuple(o[-1]+1 for o in parts)==ends

def test_layers_that_are_not_there(S):
    assert layer_range(S, range(2, 5))==[2,3,4] and layer_range(S, [])==[]
    with pytest.raises(ValueError, match="none of them is fine"): layer_range(S, 'fine', 8)
    with pytest.raises(ValueError, match="none of them is middle"): layer_range(S, 'middle', 4)
    with pytest.raises(ValueError, match='layers 0 to 5, got 6'): layer_range(S, [6])
    with pytest.raises(ValueError, match="got 'hair'"): layer_range(S, 'hair')

def test_mixing_is_the_generators_own(S):
    w,w2 = style_vectors(S, random_latents(4, 16)).chunk(2)
    for c in range(7): assert torch.equal(mix_styles(S, w, w2, range(c, 6)), S.mix(w, w2, c))
    assert torch.equal(mix_styles(S, w, w2, []), w) and torch.equal(mix_styles(S, w, w2, range(6)), w2)
    m = mix_styles(S, w, w2, 'middle')
    assert torch.equal(m[:,2:4], w2[:,2:4]) and torch.equal(m[:,:2], w[:,:2]) and torch.equal(m[:,4:], w[:,4:])
    assert mix_styles(S, w[:1], w2, 'fine').shape==(2,6,16)

def tiles(grid, r=16): # (rows, columns, c, r, r)
    c,h,w = grid.shape
    return grid.view(c, h//r, r, w//r, r).permute(1, 3, 0, 2, 4)

def test_mixing_grid_has_everyone_in_place(S):
    a,b = random_latents(3, 16, 1),random_latents(2, 16, 2)
    t = tiles(mixing_grid(S, a, b, ['coarse','fine',range(1,3)], psi=.7))
    shown = lambda w: draw(S, w=w).clamp(-1, 1)
    w,w2 = style_vectors(S, a, psi=.7),style_vectors(S, b, psi=.7)
    assert t.shape[:2]==(4,3) and (t[0,0]==0).all()
    close(t[0,1:], shown(w2)); close(t[1:,0], shown(w))
    for i,s in enumerate(['coarse','fine',range(1,3)]):
        for j in range(2): close(t[i+1,j+1], shown(mix_styles(S, w[i:i+1], w2[j:j+1], s))[0])
    close(mixing_grid(S, a, b, range(6))[:,16:32,16:], mixing_grid(S, a, b, range(6))[:,:16,16:])
    assert torch.equal(mixing_grid(S, [4,5], [6]), mixing_grid(S, torch.cat([random_latents(1, 16, o) for o in (4,5)]), random_latents(1, 16, 6)))
    with pytest.raises(ValueError, match='2 choices of styles for 3 rows'): mixing_grid(S, a, b, ['coarse','fine'])

def test_mixing_slider(S):
    import ipywidgets
    z = random_latents(3, 16)
    f = mixing_slider(S, z)
    assert isinstance(f, Frames) and list(f.sliders)==['coarse from','middle from','fine from'] and len(f.images)==27
    w = style_vectors(S, z)
    for k,(a,b,c) in enumerate(f.values):
        o = torch.cat([w[a-1:a,:2], w[b-1:b,2:4], w[c-1:c,4:]], 1)
        want = image_grid(torch.cat([draw(S, w=w)[[a-1,b-1,c-1]], draw(S, w=o)]), 1)
        assert abs(np.asarray(f.images[k]).astype(int)-to_uint8(want).permute(1, 2, 0).numpy()).max()<=1
    box = mixing_slider(S, z, live=True)
    assert isinstance(box, ipywidgets.VBox) and len([o for o in box.children if isinstance(o, ipywidgets.SelectionSlider)])==3
    assert len(mixing_slider(S, z, parts={'first':[0], 'rest':range(1,6)}).values)==9

def test_truncation(S):
    z = random_latents(3, 16)
    t = tiles(truncation_strip(S, z))
    assert t.shape[:2]==(3,6)
    close(t[:,0], draw(S, z).clamp(-1, 1))
    close(t[:,1], draw(S, z, psi=.7).clamp(-1, 1))
    close(t[0,3], t[1,3]); close(t[1,3], t[2,3])
    close(tiles(truncation_strip(S, z, [.5], psi_cutoff=0))[:,0], t[:,0])
    assert truncation_strip(S, z, [1,0], resolution=8).shape==(3,24,16)

def test_noise_deviation(S):
    z = random_latents(2, 16)
    quiet = styled()
    for k,p in quiet.named_parameters():
        if k.endswith('strength'): p.data.zero_()
    assert (noise_deviation(quiet, z, 3)==0).all() and (noise_deviation(S, z, 3, layers='none')==0).all()
    m = noise_deviation(S, z, 10)
    assert m.shape==(2,1,16,16) and (m>0).all() and torch.equal(m, noise_deviation(S, z, 10)) and not torch.equal(m, noise_deviation(S, z, 10, seed=1))
    x = []
    g = torch.Generator().manual_seed(0)
    for _ in range(10): x.append(draw(S, z, noise='random', randn=lambda *s, device: torch.randn(*s, generator=g)).mean(1, keepdim=True))
    close(m, torch.stack(x).std(0, correction=0))
    assert noise_deviation(S, z, 3, resolution=8).shape==(2,1,8,8)
    with pytest.raises(ValueError, match='2 draws or more'): noise_deviation(S, z, 1)

def test_noise_in_some_layers(S):
    z = random_latents(2, 16)
    t = tiles(noise_strip(S, z, ['all','none','fine','coarse',range(6),[]]))
    close(t[:,1], draw(S, z, noise='off').clamp(-1, 1))
    assert torch.equal(t[:,0], t[:,4]) and torch.equal(t[:,1], t[:,5])
    half = styled()  # as if the fine layers had never learned to use noise
    for o in (half.blocks['16'].end0, half.blocks['16'].end1): o.noise.strength.data.zero_()
    close(tiles(noise_strip(half, z, ['all']))[:,0], t[:,3])
    assert not torch.equal(t[:,2], t[:,1]) and not torch.equal(t[:,2], t[:,0])
    assert all(p.abs().sum()>0 for k,p in S.named_parameters() if k.endswith('strength'))  # nothing was changed
    with pytest.raises(ValueError, match='adds no noise'): noise_strip(styled(noise=False), z)

def test_a_copy_that_adds_noise_in_some_layers_only(S):
    z = random_latents(2, 16)
    for kept in ([], [0], [5], range(6)):
        only = noise_only_in(S, kept)
        by_hand = styled()
        by_hand.load_state_dict(S.state_dict())
        for i,end in enumerate(m for m in by_hand.modules() if isinstance(m, NoiseInjection)): end.strength.data *= i in kept
        for noise in ('fixed','off'): assert torch.equal(draw(only, z, noise=noise), draw(by_hand, z, noise=noise))
    assert torch.equal(draw(noise_only_in(S, [0,1], 8), z, resolution=8), draw(noise_only_in(S, [0,1]), z, resolution=8))
    assert all(p.abs().sum()>0 for k,p in S.named_parameters() if k.endswith('strength'))

def test_growth_slider(G, S):
    import ipywidgets
    z = random_latents(3, 16)
    for net,start,sizes in ((G,4,[4,8]), (S,8,[8,16])):
        f = growth_slider(net, z, rows=1, start_resolution=start)
        assert f.values==sizes
        for im,r in zip(f.images, sizes): assert np.array_equal(np.asarray(im), to_uint8(image_grid(draw(net, z, resolution=r), 1)).permute(1, 2, 0).numpy())
    assert isinstance(growth_slider(G, z, live=True), ipywidgets.VBox)
    with pytest.raises(ValueError, match='above the 8'): growth_slider(G, z, start_resolution=16)

def test_a_generator_without_styles_says_so(G):
    z = random_latents(2, 16)
    for f in (lambda: style_vectors(G, z), lambda: mixing_grid(G, z, z), lambda: mixing_slider(G, z), lambda: truncation_strip(G, z), lambda: noise_strip(G, z),
              lambda: noise_deviation(G, z), lambda: layer_range(G, 'fine'), lambda: interpolate(G, space='w'), lambda: draw(G, w=z), lambda: draw(G, z, noise='off')):
        with pytest.raises(ValueError, match='style generators, and a Generator has no styles'): f()
    with pytest.raises(ValueError, match='one of the two'): draw(G)

@pytest.mark.parametrize('space', ['z','w'])
@pytest.mark.parametrize('loop', [True, False])
def test_a_smooth_walk_passes_its_points_without_a_corner(space, loop):
    z = random_latents(4, 16, seed=5)
    frames = 400 if loop else 301
    soft,corners = (walk_through(z, frames, loop, space, smooth=o) for o in (True,False))
    want = unit(z)*4 if space=='z' else z
    torch.testing.assert_close(soft[::100][:4], want, atol=1e-4, rtol=0)
    def turn(way): return torch.cosine_similarity(way[100]-way[99], way[101]-way[100], dim=0)
    assert turn(soft)>.99 and turn(corners)<.9
    if space=='z': torch.testing.assert_close(soft.norm(dim=1), torch.full((frames,), 4.), atol=1e-4, rtol=0)

def test_a_walk_through_chosen_seeds(G, S):
    x = interpolate(G, 3, 6, seed=[9,2,5], loop=True)
    for i,seed in enumerate([9,2,5]):
        want = to_uint8(sample_images(G, 1, seed=seed))[0].numpy()
        assert abs(x[2*i].astype(int)-want).max()<=1
    with pytest.raises(ValueError, match='2 seeds for 3 points'): interpolate(G, 3, 6, seed=[9,2])

def test_low_layers_only_can_be_truncated(S):
    for space in 'zw':
        x = interpolate(S, 2, 2, psi=.5, psi_cutoff=2, space=space)[0]
        want = to_uint8(draw(S, random_latents(1, 16), psi=.5, psi_cutoff=2))[0].numpy()
        assert abs(x.astype(int)-want).max()<=1
    grid = mixing_grid(S, [1], [2], psi=.5, psi_cutoff=2)
    close(grid[:,16:,:16], draw(S, random_latents(1, 16, 1), psi=.5, psi_cutoff=2)[0].clamp(-1, 1))
