"The style generator and its discriminator against an independent implementation, published parameter counts, and identities."
from copy import deepcopy
from functools import partial
import numpy as np, pytest, torch, torch.nn.functional as F
from torch import tensor
from golden_files import there
from golden_nets import golden_style_discriminator, golden_style_generator, growth, style_file, theirs
from helpers import close, count, norms, shrink
from progrow import style
from progrow.checkpoint import load_generator, save_generator
from progrow.fade_in import downsample, upsample
from progrow.losses import NonSaturating, WGANGP, gradient_penalty, input_gradient, official_scale, r1_penalty
from progrow.networks import Discriminator, Generator, conv2d_downsample, leaky_relu, resolutions, upsample_conv2d
from progrow.path_length import path_lengths, perceptual_path_length, pixel_distance
from progrow.pixelnorm import pixel_norm
from progrow.presets import preset
from progrow.schedule import GrowthSchedule
from progrow.style import LayerEnd, StyleDiscriminator, StyleGenerator, style_config
from progrow.style_layers import NoiseInjection, adain, blur
from progrow.train import progressive_learner, sample_images

tiny = dict(fmap_base=32, fmap_max=8)
plain = dict(mapping_layers=0, styles=False, constant_input=False, noise=False)
def generator(resolution=16, strength=.3, **kwargs):
    "A small generator, with noise that is seen and an average that is not zero"
    torch.manual_seed(0)
    G = StyleGenerator(resolution, **{'latent_dim':6, **tiny, **kwargs}).eval()
    for m in G.modules():
        if isinstance(m, NoiseInjection): m.strength.data.fill_(strength)
    G.w_avg.normal_()
    return G

@pytest.fixture
def G(): return generator()
@pytest.fixture
def z(): return torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
@pytest.fixture
def z2(): return torch.randn(4, 6, generator=torch.Generator().manual_seed(2))

def layers_of(net, *args, **kwargs):
    "What comes out of each layer"
    out = []
    hooks = [m.register_forward_hook(lambda m,i,o: out.append(o)) for m in net.modules() if isinstance(m, LayerEnd)]
    net(*args, **kwargs)
    for h in hooks: h.remove()
    return out

# --- golden numbers of the generator

files = there('stylegan32', 'stylegan64', 'stylegan128_fused', 'stylegan16_gray_cond')

@pytest.fixture(scope='module', params=files)
def made(request, golden):
    "A golden file, its generator, and how it draws: from the latents (and labels) of which the file holds images, the first ones"
    g = golden(request.param)
    G,n = golden_style_generator(g),len(g['img_lod0'])
    labels = dict(labels=tensor(g['label'])[:n]) if G.num_classes else {}
    return g,G,partial(G, tensor(g['z'])[:n], **labels)

@torch.no_grad()
def test_golden_images_at_every_lod(made):
    g,G,draw = made
    for i,lod in enumerate(g['lods']):
        r,alpha = growth(lod, G.resolution)
        x = draw(resolution=r, alpha=alpha)
        assert x.shape[-1]==r
        close(F.interpolate(x, size=G.resolution), g[f'img_lod{i}'], 5e-4)
        if f'tf_img_lod{i}' in g: close(F.interpolate(x, size=G.resolution), g[f'tf_img_lod{i}'], 5e-4)

@torch.no_grad()
def test_golden_styles(made):
    g,G,_ = made
    labels = tensor(g['label']) if G.num_classes else None
    for z,w in (('z','w'), ('z2','w2')): close(G.mapping(tensor(g[z]), labels), g[w], 2e-5)
    close(G.per_layer(tensor(g['w'])), g['wp_notrunc'], 0.)
    close(G(w=tensor(g['w'])[:len(g['img_lod0'])]), g['img_lod0'], 5e-4)

@torch.no_grad()
def test_golden_truncation(made):
    g,G,draw = made
    for i,(psi,cutoff) in enumerate(g['truncs']): close(G.truncate(tensor(g['w']), float(psi), int(cutoff)), g[f'wp_trunc{i}'], 2e-5)
    psi,cutoff = g['truncs'][0]
    close(draw(psi=float(psi), psi_cutoff=int(cutoff)), g['img_trunc0'], 5e-4)

@torch.no_grad()
def test_golden_mixing(made):
    g,_,draw = made
    for i,c in enumerate(g['mix_cutoffs']):
        want = g[f'img_mix{i}']
        close(draw(z2=tensor(g['z2'])[:len(want)], crossover=c), want, 5e-4)

@torch.no_grad()
def test_golden_without_noise(made):
    g,G,draw = made
    close(draw(noise='off'), g['img_zero_noise_strength'], 5e-4)
    still = deepcopy(G)
    for m in still.modules():
        if isinstance(m, NoiseInjection): m.strength.zero_()
    close(still(*draw.args, **draw.keywords, noise='random'), g['img_zero_noise_strength'], 5e-4)

@torch.no_grad()
def test_golden_average_of_w(made):
    g,G,_ = made
    G = deepcopy(G).train()
    G(tensor(g['z']), tensor(g['label']) if G.num_classes else None)
    close(G.w_avg, g['w_avg_after_update_beta0.995'], 1e-6)

# --- golden numbers of the discriminator and the losses

@pytest.fixture(scope='module', params=files)
def judge(request, golden):
    g = golden(request.param)
    D = golden_style_discriminator(g)
    return g,D,tensor(g['label']) if D.num_classes else None

@torch.no_grad()
def test_golden_scores_at_every_lod(judge):
    g,D,labels = judge
    for i,lod in enumerate(g['lods']):
        r,alpha = growth(lod, D.resolution)
        close(D(shrink(tensor(g['d_in']), r), labels, alpha=alpha), g[f'd_scores_lod{i}'][:,0], 1e-5)

@torch.no_grad()
def test_golden_scores_of_batches(judge):
    g,D,labels = judge
    x = torch.cat([tensor(g['d_in'])]*12)
    sizes = [int(k[14:]) for k in g if k.startswith('d_scores_batch')]
    assert {1,2}<=set(sizes) and (len(g['d_in'])<8 or {4,12}<=set(sizes))
    for b in sizes: close(D(x[:b], None if labels is None else torch.cat([labels]*12)[:b]), g[f'd_scores_batch{b}'][:,0], 1e-5)

@pytest.fixture(params=(0,1), ids=('lod0','lod1'))
def case(request, judge):
    g,D,labels = judge
    i,R = request.param,D.resolution
    r,alpha = growth(g['lods'][i], R)
    names = {o:k for k,o in theirs(R)[1].items()}
    params = [D.get_parameter(f'{names[layer]}.{p}') for layer,p in (str(n).split('.') for n in g['d_param_names'])]
    return dict(D=partial(D, labels=labels, alpha=alpha), R=R, params=params, mix=tensor(g['gp_eps']), real=shrink(tensor(g['d_in']), r), fake=shrink(tensor(g['gp_fake']), r),
                **{k[5:]: tensor(v) for k,v in g.items() if k.startswith(f'lod{i}_')})

def test_golden_slopes_and_gradient_penalty(case):
    c = case
    x = (c['real'] + (c['fake']-c['real'])*c['mix']).requires_grad_()
    scores = c['D'](x)
    close(scores, c['mixed_scores'][:,0], 1e-5)
    slopes = input_gradient(scores, x).flatten(1).norm(dim=1)*official_scale(x, c['R'])
    close(slopes, c['mixed_norms'], 0., 1e-4); close((slopes-1).square(), c['gp_per_sample'], 0., 1e-4)
    penalty = 10*gradient_penalty(c['D'], c['real'], c['fake'], full_resolution=c['R'], mix=c['mix'])
    close(penalty, c['gp_x10_mean'], 0., 1e-4); close(norms(penalty, c['params']), c['gp_param_grad_norms'], 1e-5, 1e-3)

def test_golden_r1(case):
    c = case
    penalty = 5*r1_penalty(c['D'], c['real'], c['R'])
    close(penalty, c['r1_gamma10_mean'], 0., 2e-3); close(penalty, 5*c['r1_per_sample'].mean(), 0., 2e-3)
    close(norms(penalty, c['params']), c['r1_param_grad_norms'], 1e-5, 5e-3)

def test_golden_losses(case):
    c = case
    wgan,nonsat = WGANGP(full_resolution=c['R']),NonSaturating(full_resolution=c['R'])
    close(c['D'](c['real']), c['real_scores'][:,0], 1e-5); close(c['D'](c['fake']), c['fake_scores'][:,0], 1e-5)
    close(wgan.discriminator_loss(c['D'], c['real'], c['fake'], c['mix']), c['d_loss_wgan_gp_drift'], 0., 1e-3)
    close(nonsat.discriminator_loss(c['D'], c['real'], c['fake']), c['d_loss_logistic_r1'], 0., 1e-3)
    close(wgan.generator_loss(c['D'], c['fake']), c['g_loss_wgan'], 1e-5, 1e-3)
    close(nonsat.generator_loss(c['D'], c['fake']), c['g_loss_nonsat'], 0., 1e-3)

def their_doubling(x, w):
    "How the library of the golden files doubles and convolves from 128 pixels on: sum of four shifts of an (out, in) kernel, transposed, stride 2"
    shifts = sum(F.pad(w, (i, 1-i, j, 1-j)) for i in (0,1) for j in (0,1))
    return F.conv_transpose2d(x, shifts.transpose(0, 1), stride=2, padding=1)

def test_transposed_kernels_of_files_from_128_pixels_on():
    "The rule by which the golden files' fused layers are read: turned around, with the channels where they are"
    torch.manual_seed(0)
    x,w = torch.randn(2, 5, 4, 4),torch.randn(7, 5, 3, 3)
    close(their_doubling(x, w), upsample_conv2d(x, w.flip(2, 3)), 1e-5)

@pytest.mark.parametrize('kwargs', (dict(fmap_max=4), dict(fmap_max=16), dict(fmap_max=16, num_classes=3)), ids=('square', 'halved', 'labels'))
@torch.no_grad()
def test_a_file_of_256_pixels_is_read(kwargs, monkeypatch):
    "A file of our own numbers: it is read back, and their kernels doubled their way draw what ours draw"
    G = generator(256, **{**dict(fmap_base=1024, latent_dim=4, mapping_layers=2), **kwargs})
    for m in G.modules():
        if isinstance(m, NoiseInjection): m.noise.normal_()
    g = style_file(G)
    read = golden_style_generator(g).state_dict()
    assert G.state_dict().keys()==read.keys() and all(torch.equal(v, read[k]) for k,v in G.state_dict().items())
    kernels = {r: tensor(g[f'G.synthesis.layer{2*i}.weight'])*G.blocks[str(r)].conv0.c for i,r in enumerate(G.resolutions) if r>=128}
    assert list(kernels)==[128,256]
    args = (torch.randn(2, 4), torch.tensor([0, 2]) if G.num_classes else None)
    ours,asked = G(*args),[]
    def theirs_from_128_on(x, w):
        r = 2*x.shape[-1]
        if r not in kernels: return upsample_conv2d(x, w)
        asked.append(r)
        return their_doubling(x, kernels[r])
    monkeypatch.setattr(style, 'upsample_conv2d', theirs_from_128_on)
    close(G(*args), ours, 1e-4)
    assert asked==[128,256]

# --- sizes

published = {8:11295750, 16:17068553, 32:22841356, 64:25137935, 128:25843858, 256:26086229, 512:26179768, 1024:26219627}
progan_d = {8:11283457, 16:16005121, 32:20726785, 64:22498049, 128:22941313, 256:23052353, 512:23080225, 1024:23087249}
buffers = {8:160, 16:672, 32:2720, 64:10912, 128:43680, 256:174752, 512:699040, 1024:2796192}

@pytest.mark.parametrize('r', published)
def test_parameter_counts(r):
    with torch.device('meta'): G,D = StyleGenerator(r),StyleDiscriminator(r)
    assert (count(G), count(G.mapping), count(D))==(published[r], 2101248, progan_d[r])
    assert sum(b.numel() for k,b in G.named_buffers() if k.endswith('noise'))==buffers[r]
    assert G.n_layers==2*np.log2(r)-2

def test_parameter_counts_with_labels():
    with torch.device('meta'): assert (count(StyleGenerator(1024, num_classes=10)), count(StyleDiscriminator(1024, num_classes=10)))==(26486891, 23091866)

def test_parameters_of_the_configurations():
    with torch.device('meta'): n = {c: count(style_config(c)['generator'](1024)) for c in 'ABCDEF'}
    assert n==dict(A=23079115, B=23079115, C=30400651, D=26214539, E=26219627, F=26219627)

# --- the parts, spelled out

@torch.no_grad()
def test_a_layer_end_step_by_step():
    torch.manual_seed(0)
    end,x,bias,w = LayerEnd(4, 8, 6, True),torch.randn(3, 4, 8, 8),torch.randn(4),torch.randn(3, 6)
    end.noise.strength.normal_(); end.adain.style.bias.normal_()
    scale,shift = F.linear(w, end.adain.style.weight*6**-.5, end.adain.style.bias).chunk(2, 1)
    h = F.leaky_relu(x + end.noise.noise*end.noise.strength.view(-1, 1, 1) + bias.view(-1, 1, 1), .2)
    h = (h-h.mean((2, 3), keepdim=True))/(h.var((2, 3), correction=0, keepdim=True)+1e-8).sqrt()
    close(end(x, bias, w, 'fixed', None), h*(1+scale)[...,None,None] + shift[...,None,None], 1e-5)
    close(LayerEnd(4, 8, 0, False)(x, bias, None, 'fixed', None), pixel_norm(leaky_relu(x+bias.view(-1, 1, 1))))

@torch.no_grad()
def test_layers_before_and_after_the_first_doubling(G, z):
    "The whole of a small generator, written out"
    G = generator(8)
    w,b4,b8 = G.mapping(z),G.blocks['4'],G.blocks['8']
    def finish(end, x, bias):
        x = leaky_relu(x + end.noise.noise*end.noise.strength.view(-1, 1, 1) + bias.view(-1, 1, 1))
        s,b = end.adain.style(w).chunk(2, 1)
        return adain(x, 1+s, b)
    h = finish(b4.end0, b4.constant.expand(4, -1, -1, -1), b4.bias)
    h = finish(b4.end1, F.conv2d(h, b4.conv.weight*b4.conv.c, padding=1), b4.conv.bias)
    h = finish(b8.end0, blur(F.conv2d(upsample(h), b8.conv0.weight*b8.conv0.c, padding=1)), b8.conv0.bias)
    h = finish(b8.end1, F.conv2d(h, b8.conv1.weight*b8.conv1.c, padding=1), b8.conv1.bias)
    close(G(z), G.to_rgb['8'](h), 1e-4)

@torch.no_grad()
def test_a_block_of_the_discriminator_step_by_step():
    torch.manual_seed(0)
    m,x = StyleDiscriminator(8, **tiny).blocks['8'],torch.randn(3, 8, 8, 8)
    for c in (m.conv0, m.conv1): c.bias.normal_()
    h = blur(leaky_relu(m.conv0(x)))
    close(m(x), leaky_relu(F.avg_pool2d(F.conv2d(h, m.conv1.weight*m.conv1.c, padding=1), 2) + m.conv1.bias.view(-1, 1, 1)), 1e-5)

@torch.no_grad()
def test_initial_state():
    torch.manual_seed(0)
    G = StyleGenerator(16, latent_dim=6, **tiny)
    assert (G.blocks['4'].constant==1).all() and not G.w_avg.any()
    for k,p in G.named_parameters():
        if k.endswith('bias') or 'strength' in k: assert not p.any(), k
    x,z = StyleGenerator(16, latent_dim=200, **tiny).mapping.layers[1].weight,torch.randn(2, 6)
    assert x.std()==pytest.approx(100, rel=.02)
    assert torch.equal(G.eval()(z, noise='random'), G(z, noise='off')) and torch.equal(G(z, noise='random'), G(z))

# --- ProGAN inside

@pytest.mark.parametrize('kwargs', (dict(), dict(image_channels=1, latent_dim=20)))
@torch.no_grad()
def test_everything_off_is_progan_with_blur(monkeypatch, kwargs):
    torch.manual_seed(0)
    old,G = Generator(16, **{'latent_dim':6, **tiny, **kwargs}),generator(**plain, **kwargs)
    assert G.load_state_dict(old.state_dict(), strict=False)==(['w_avg'], [])
    z = torch.randn(4, old.latent_dim)
    close(G(z, resolution=4), old(z, resolution=4)); assert (G(z)-old(z)).abs().max()>.01
    monkeypatch.setattr(style, 'blur', lambda x: x)
    for r in old.resolutions:
        for alpha in (0.,.3,1.): close(G(z, resolution=r, alpha=alpha), old(z, resolution=r, alpha=alpha), 1e-5)

@torch.no_grad()
def test_the_discriminator_without_blur_is_progans(monkeypatch):
    torch.manual_seed(0)
    D,old,x = StyleDiscriminator(16, **tiny),Discriminator(16, **tiny),torch.randn(8, 3, 16, 16)
    D.load_state_dict(old.state_dict())
    assert (D(x)-old(x)).abs().max()>1e-3
    monkeypatch.setattr(style, 'blur', lambda x: x)
    for alpha in (0.,.3,1.): close(D(x, alpha=alpha), old(x, alpha=alpha), 1e-5)

# --- growth

@torch.no_grad()
@pytest.mark.parametrize('config', 'BCDEF')
def test_alpha_0_is_the_smaller_picture_in_every_configuration(config, z):
    torch.manual_seed(0)
    G = style_config(config)['generator'](16, latent_dim=6, **tiny).eval()
    for r in (8,16): assert torch.equal(G(z, resolution=r, alpha=0.), upsample(G(z, resolution=r//2)))
    y = [G(z, alpha=a) for a in (0.,.25,1.)]
    close(y[1], .75*y[0]+.25*y[2], 1e-5)
    assert torch.equal(y[2], G(z)) and torch.equal(G(z, resolution=4, alpha=.3), G(z, resolution=4))

@torch.no_grad()
def test_alpha_0_of_the_discriminator():
    torch.manual_seed(0)
    D,x = StyleDiscriminator(16, **tiny),torch.randn(4, 3, 16, 16)
    assert torch.equal(D(x, alpha=0.), D(downsample(x)))

@pytest.mark.parametrize('r', (4,8,16))
@torch.no_grad()
def test_smaller_pictures_use_fewer_layers(G, z, r):
    used = 2*resolutions(16).index(r)+2
    assert len(layers_of(G, z, resolution=r))==used
    w = G.per_layer(G.mapping(z))
    junk = torch.cat([w[:,:used], torch.full_like(w[:,used:], float('nan'))], 1)
    close(G(w=junk, resolution=r), G(z, resolution=r), 1e-4); close(G.synthesis(w[:,:used], r), G(z, resolution=r), 1e-4)

def test_every_parameter_in_use_gets_a_gradient_and_no_other(z):
    G = generator().train()
    G(z, resolution=8, alpha=.5).square().sum().backward()
    for k,p in G.named_parameters():
        if '.16.' in k: assert p.grad is None, k
        else: assert p.grad is not None and (p.grad.abs().max()>0 or '4.bias' in k or 'constant' in k), k

# --- styles

@torch.no_grad()
def test_layers_before_the_crossover_are_unchanged(G, z, z2):
    a = layers_of(G, z, z2=z2, crossover=6)
    for x,y in zip(a, layers_of(G, z)): close(x, y, 1e-4)
    for c in range(G.n_layers+1):
        b = layers_of(G, z, z2=z2, crossover=c)
        assert [torch.equal(x, y) for x,y in zip(a, b)]==[i<c for i in range(G.n_layers)]
    close(G(z, z2=z2, crossover=0), G(z2), 1e-4); close(G(z, z2=z2, crossover=6), G(z), 1e-4)

@torch.no_grad()
def test_mixed_styles_by_hand(G, z, z2):
    w,w2 = G.mapping(z),G.mapping(z2)
    m = G.mix(w, w2, 2)
    assert torch.equal(m[:,:2], w[:,None].expand(-1, 2, -1)) and torch.equal(m[:,2:], w2[:,None].expand(-1, 4, -1))
    assert torch.equal(G.mix(m, w, 4)[:,4:], w[:,None].expand(-1, 2, -1)) # a third style
    assert torch.equal(G.mix(w[:1], w2, 2), torch.cat([G.per_layer(w[:1]).expand(4, -1, -1)[:,:2], m[:,2:]], 1)) # one against many
    assert torch.equal(G(w=m), G(z, z2=z2, crossover=2))

@torch.no_grad()
def test_truncation_identities(G, z):
    assert torch.equal(G(z, psi=1), G(z)) and torch.equal(G.truncate(G.mapping(z), 1.), G.per_layer(G.mapping(z)))
    x = G(z, psi=0)
    close(x, x[:1].expand_as(x), 1e-4); close(x[:1], G(w=G.w_avg[None]), 1e-4) # one picture
    w = G.mapping(z)
    t = G.truncate(w, .25, 3)
    close(t[:,:3], (G.w_avg+.25*(w-G.w_avg))[:,None].expand(-1, 3, -1)); assert torch.equal(t[:,3:], w[:,None].expand(-1, 3, -1))
    assert torch.equal(G.truncate(w, .25, 0), G.per_layer(w)) and torch.equal(G.truncate(w, .25, 99), G.truncate(w, .25))
    close(G(z, psi=.25, psi_cutoff=3), G(w=t), 1e-4); close(G(w=w, psi=.25, psi_cutoff=3), G(w=t), 1e-4)
    close(G.truncate(w, -1.)[:,0], 2*G.w_avg-w)

@torch.no_grad()
def test_the_average_of_w_moves_in_training_only(z):
    G = generator()
    before = G.w_avg.clone()
    G(z); G(z, noise='random')
    assert torch.equal(G.w_avg, before)
    G.train()(z)
    close(G.w_avg, .995*before+.005*G.mapping(z).mean(0))
    after = G.w_avg.clone()
    G(w=G.mapping(z))
    assert torch.equal(G.w_avg, after)

@pytest.mark.parametrize('r,layers', [(4,2), (8,4), (16,6)])
def test_one_crossover_for_each_training_batch(monkeypatch, z, r, layers):
    G,seen = generator(mixing=.9).train(),[]
    mix = StyleGenerator.mix
    monkeypatch.setattr(StyleGenerator, 'mix', lambda self, w, w2, c: seen.append(c) or mix(self, w, w2, c))
    n = 600
    with torch.no_grad():
        for _ in range(n): G._style(z[:1], None, layers, torch.randn)
        cuts = np.bincount(seen, minlength=layers)
        assert len(cuts)==layers and cuts[0]==0
        assert len(seen)/n==pytest.approx(.9, abs=.04) and (np.abs(cuts[1:]/n-.9/(layers-1))<.06).all()
        seen.clear()
        for _ in range(20): G(z, resolution=r)
    assert seen and max(seen)<layers and min(seen)>=1

@torch.no_grad()
def test_mixing_only_while_training_and_only_if_wanted(z):
    G = generator(mixing=1.)
    assert torch.equal(G(z), G(z))
    G.train()
    assert not torch.equal(G(z, noise='off'), G(z, noise='off'))
    G.mixing = 0.
    assert torch.equal(G(z, noise='off'), G(z, noise='off'))

# --- noise

@torch.no_grad()
def test_kinds_of_noise(G, z):
    fixed = G(z)
    assert torch.equal(fixed, G(z)) and torch.equal(fixed, G(z, noise='fixed'))
    assert not torch.equal(G(z, noise='random'), G(z, noise='random')) and not torch.equal(G(z, noise='off'), fixed)
    same = G(z[:1].expand(4, -1), noise='random')
    assert (same[0]-same[1]).abs().max()>.01 # of its own for each picture
    G.train(); G.mixing = 0.
    assert not torch.equal(G(z), G(z)) and torch.equal(G(z, noise='fixed'), G(z, noise='fixed'))
    with pytest.raises(ValueError, match="'random', 'fixed' or 'off', got 'on'"): G(z, noise='on')

@torch.no_grad()
def test_all_that_is_random_comes_from_randn(z):
    sizes = []
    def randn(n, *size, device=None): sizes.append((n, *size)); return torch.zeros(n, *size, device=device)
    G = generator(mixing=1.).train()
    G(z, randn=randn)
    assert sizes==[(4, 6), *[(4, 1, r, r) for r in (4,4,8,8,16,16)]]

# --- labels, gray

@torch.no_grad()
def test_labels_of_the_generator(z):
    G = generator(num_classes=3)
    x = G(z, [0,1,2,0])
    close(x, G(z, F.one_hot(tensor([0,1,2,0])).float()), 1e-4)
    assert not torch.allclose(G(z, [0]*4)[1], G(z, [1]*4)[1])
    close(x, G(w=G.mapping(z, [0,1,2,0])), 1e-4)
    close(G(z, [0,1,2,0], z2=z, crossover=3), x, 1e-4) # the same labels for both
    for y,says in ((None,'takes labels'), ([0,1,2,3],'0 to 2')):
        with pytest.raises(ValueError, match=says): G(z, y)
    with pytest.raises(ValueError, match='takes no labels'): generator()(z, [0]*4)

@torch.no_grad()
def test_labels_without_a_mapping(z):
    G = generator(num_classes=3, **plain)
    assert not torch.allclose(G(z, [0]*4), G(z, [1]*4))
    close(G.mapping(z, [1]*4), pixel_norm(torch.cat([z, G.mapping.embedding[[1]*4]], 1)))

@torch.no_grad()
def test_a_label_chooses_the_score():
    torch.manual_seed(0)
    D,x = StyleDiscriminator(8, **tiny, num_classes=3),torch.randn(4, 3, 8, 8)
    scores = torch.stack([D(x, [k]*4) for k in range(3)], 1)
    close(scores, D.outputs(x)); close(D(x, [2,0,1,1]), scores[range(4), [2,0,1,1]]); close(D(x, F.one_hot(tensor([2,0,1,1])).float()), scores[range(4), [2,0,1,1]])
    assert not D.tells_classes and D.config['num_classes']==D.num_classes==3
    with pytest.raises(ValueError, match='takes labels'): D(x)
    with pytest.raises(ValueError, match='takes no labels'): StyleDiscriminator(8, **tiny)(x, [0]*4)

@torch.no_grad()
def test_gray(z):
    x = generator(image_channels=1)(z)
    assert x.shape==(4, 1, 16, 16) and StyleDiscriminator(16, image_channels=1, **tiny)(x).shape==(4,)

@torch.no_grad()
def test_styles_of_another_length_than_latents(z):
    G = generator(w_dim=10, mapping_layers=2)
    assert G.mapping(z).shape==(4, 10) and G.w_avg.shape==(10,) and G(z, psi=.5).shape==(4, 3, 16, 16)

# --- number formats, copies, files

@pytest.mark.parametrize('dtype', (torch.bfloat16, torch.float16))
def test_half_precision_stays_near(dtype, z):
    G,D = generator().train(),StyleDiscriminator(16, **tiny)
    G.mixing = 0.
    full = G(z, noise='fixed', alpha=.5).detach()
    with torch.autocast('cpu', dtype):
        x = G(z, noise='fixed', alpha=.5)
        score = D(x, alpha=.5)
    assert x.isfinite().all() and score.isfinite().all()
    assert (x-full).square().mean().sqrt()<.1*full.std()
    assert G.w_avg.dtype==torch.float32
    score.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in G.parameters() if p.grad is not None)
    with torch.autocast('cpu', dtype), torch.no_grad(): assert G.eval()(z, psi=.5).isfinite().all()

@torch.no_grad()
def test_copies_and_states(G, z):
    copy = deepcopy(G)
    assert torch.equal(copy(z, psi=.7), G(z, psi=.7))
    copy.train()(z)
    assert not torch.equal(copy.w_avg, G.w_avg)
    other = StyleGenerator(**G.config).eval()
    other.load_state_dict(G.state_dict())
    assert torch.equal(other(z, psi=.7), G(z, psi=.7)) # average and noise maps are part of the state
    D = StyleDiscriminator(16, **tiny, num_classes=2)
    assert StyleDiscriminator(**D.config).load_state_dict(D.state_dict())

@pytest.mark.parametrize('kwargs', (dict(), plain, dict(num_classes=3, image_channels=1, w_dim=9)), ids=('F','B','labels'))
@torch.no_grad()
def test_file_of_a_generator(tmp_path, kwargs, z):
    G = generator(**kwargs)
    G2 = load_generator(save_generator(G, tmp_path/'g.pt', 8))
    assert type(G2) is StyleGenerator and G2.config==G.config and not G2.training and not any(p.requires_grad for p in G2.parameters())
    y = dict(labels=[0,1,2,0]) if G.num_classes else {}
    assert torch.equal(G2(z, psi=.7, **y), G(z, psi=.7, resolution=8, **y)) # as large as it was trained

def test_gradients_reach_latents_and_can_be_taken_twice(z):
    G = generator().double()
    z = z[:2].double().requires_grad_()
    g, = torch.autograd.grad(G(z).square().sum(), z, create_graph=True)
    g.square().sum().backward()
    assert z.grad.isfinite().all() and z.grad.abs().max()>0

# --- with the rest of the package

@pytest.mark.parametrize('sampling', ('full','end'))
def test_path_length_in_both_spaces(G, sampling):
    state = deepcopy(G.state_dict())
    for space in 'zw':
        d = path_lengths(G, space, sampling, n=12, distance=pixel_distance, batch_size=5, epsilon=1e-2)
        assert d.shape==(12,) and d.isfinite().all() and (d>0).all()
    assert perceptual_path_length(G, 'w', sampling, n=12, distance=pixel_distance)>0
    assert all(torch.equal(v, state[k]) for k,v in G.state_dict().items())

def test_path_length_of_a_straight_map_from_w(monkeypatch, G):
    "A picture that is w itself moves as fast as w"
    monkeypatch.setattr(G, 'synthesis', lambda w, *args: w[:,:1,None])
    d = path_lengths(G, 'w', 'end', n=6, distance=pixel_distance, batch_size=6, epsilon=1e-2)
    rng = np.random.default_rng([0, 0])
    a,b = (G.mapping(tensor(o).float()) for o in rng.standard_normal((6, 2, 6)).transpose(1, 0, 2))
    close(d, (b-a).square().mean(1).double().detach(), 0., 1e-2)

def test_sampling_knows_truncation(G):
    x = sample_images(G, 5, psi=0.)
    close(x, x[:1].expand_as(x), 1e-4); assert not torch.allclose(sample_images(G, 5)[0], sample_images(G, 5)[1])

# --- configurations

def test_configurations_one_step_at_a_time():
    made = {c: style_config(c) for c in 'ABCDEF'}
    assert made['A']==dict(generator=Generator, discriminator=Discriminator, loss='wgan-gp:full', schedule='official')
    configs = {c: a['generator'](8, **tiny).config for c,a in made.items() if c!='A'}
    assert configs['F']==StyleGenerator(8, **tiny).config
    changed = [{k for k in configs[a] if configs[a][k]!=configs[b][k]} for a,b in zip('BCDE', 'CDEF')]
    assert changed==[{'mapping_layers','styles'}, {'constant_input'}, {'noise'}, {'mixing'}]
    for c in 'BCDEF': assert made[c]['discriminator'] is StyleDiscriminator and (made[c]['loss'], made[c]['schedule'])==('non-saturating','stylegan')

def test_configurations_take_other_arguments():
    a = style_config('F', 64, loss='wgan-gp', latent_dim=7)
    assert (a['resolution'], a['loss'], a['latent_dim'])==(64, 'wgan-gp', 7) and 'resolution' not in style_config('F')
    assert style_config('F', generator=partial(StyleGenerator, noise=False))['generator'](8, **tiny).config['noise'] is False
    assert GrowthSchedule.named(style_config('F')['schedule'], 1024)(0).resolution==8

# Both columns of table 1, as published for 1024x1024 on eight GPUs: loss, first side, kimg, the highest learning rate
wgan,r1 = WGANGP(full_resolution=1024),NonSaturating(full_resolution=1024)
columns = {'ffhq':     dict(A=(wgan, 4, 12000, .002), **{c:(r1, 8, 25000, .003) for c in 'BCDEF'}),
           'celebahq': dict(A=(wgan, 4, 12000, .002), **{c:(wgan, 8, 25000, .002) for c in 'BCDEF'})}

@pytest.mark.parametrize('column', columns)
@pytest.mark.parametrize('config', 'ABCDEF')
def test_both_columns(column, config):
    made = style_config(config, 1024, column, gpus=8)
    s,(loss,first,kimg,rate) = made['schedule'],columns[column][config]
    assert made['loss']==loss and made['resolution']==1024
    assert (s.start_resolution, s.total_images, max(s.learning_rate.values()))==(first, 1000*kimg, rate)
    assert s(10**9).batch_size==32 and s(0)[2:4]==((512,.001) if config=='A' else (256,.001))
    # all else is the preset's
    base = preset('official' if config=='A' else 'stylegan', 1024, gpus=8)
    own = ('generator','discriminator','resolution','loss','schedule')
    assert {k:v for k,v in made.items() if k not in own}=={k:v for k,v in base.items() if k not in own}
    same = lambda s: (s.batch_size, s.fade_kimg, s.stabilize_kimg)
    assert same(s)==same(base['schedule'])
    assert [min(o, .002) for o in base['schedule'].learning_rate.values()]==[min(o, .002) for o in s.learning_rate.values()]

@pytest.mark.parametrize('gpus', [1,2,4,8])
@pytest.mark.parametrize('resolution', [64, 256, 512])
def test_wgan_gp_rows_never_pass_the_cap(gpus, resolution):
    for config,column in [('A','ffhq'), *((c,'celebahq') for c in 'ABCDEF')]:
        s = style_config(config, resolution, column, gpus)['schedule']
        base = preset('official' if config=='A' else 'stylegan', resolution, gpus)['schedule']
        assert s.learning_rate=={r:min(v, .002) for r,v in base.learning_rate.items()} and s.resolution==resolution
    assert style_config('F', resolution, gpus=gpus)['schedule']==preset('stylegan', resolution, gpus)['schedule']

def test_a_configuration_with_a_schedule_of_ones_own_has_only_networks_and_loss():
    own = GrowthSchedule(16, fade_kimg=1, stabilize_kimg=1)
    for kw in (dict(schedule='minutes'), dict(resolution=16, schedule='minutes'), dict(schedule=own)):
        for column,loss in (('ffhq','non-saturating'), ('celebahq','wgan-gp:full')):
            made = style_config('F', column=column, **kw)
            assert made.keys()=={'generator','discriminator','loss','schedule', *kw.keys()} and made['loss']==loss
        assert style_config('A', **kw)['loss']=='wgan-gp:full'
    assert style_config('A', 64, loss='wgan-gp')['loss']=='wgan-gp', 'what is given wins'
    assert style_config('F', 64, latent_dim=9, mirror=False)['latent_dim']==9

def test_configuration_a_is_measured_at_full_size():
    images = np.random.default_rng(0).integers(0, 256, (32, 3, 16, 16), dtype=np.uint8)
    schedule = GrowthSchedule(16, stabilize_kimg=.016, fade_kimg=.016, batch_size=8)
    make = lambda *o, **kw: progressive_learner(images, **style_config(*o, schedule=schedule, latent_dim=6, **tiny, **kw), device='cpu').gan_loss
    assert make('A')==make('B', None, 'celebahq')==WGANGP(full_resolution=16) and make('A', loss='wgan-gp')==WGANGP()

def test_a_configuration_becomes_a_learner():
    images = np.random.default_rng(0).integers(0, 256, (32, 3, 16, 16), dtype=np.uint8)
    schedule = GrowthSchedule(16, start_resolution=8, stabilize_kimg=.016, fade_kimg=.016, batch_size=8)
    learn = progressive_learner(images, **style_config('C', schedule=schedule, latent_dim=6, **tiny), device='cpu')
    assert learn.model.generator.config['constant_input'] is False and learn.gan_loss==NonSaturating(full_resolution=learn.schedule.resolution) and learn.state.resolution==8
    with learn.no_bar(), learn.no_logging(): learn.fit()
    assert learn.images_seen==48 and learn.model.generator.w_avg.any() and learn.sample(3, psi=.7).shape==(3, 3, 16, 16)

# --- errors

@pytest.mark.parametrize('call,says', [
    (lambda G,z: G(), 'one of the two; got neither'), (lambda G,z: G(z, w=G.mapping(z)), 'got both'),
    (lambda G,z: G(z, z2=z), 'got only z2'), (lambda G,z: G(z, crossover=1), 'got only crossover'),
    (lambda G,z: G(z, z2=z, crossover=7), 'from 0 to 6, got 7'), (lambda G,z: G(z, z2=z, crossover=-1), 'got -1'),
    (lambda G,z: G(w=torch.zeros(4, 5)), r'\(n, 6\) or \(n, 6, 6\) style vectors, got \(4, 5\)'), (lambda G,z: G(w=torch.zeros(4, 3, 6)), r'got \(4, 3, 6\)'),
    (lambda G,z: G(torch.zeros(4, 5)), r'\(n, 6\) latent vectors'), (lambda G,z: G(z, resolution=32), '4, 8, 16 pixels, not at 32'),
    (lambda G,z: G(z, psi=.7, psi_cutoff=-1), 'counted from the first, got -1'),
    (lambda G,z: StyleGenerator(16, mixing=1.5), 'from 0 to 1, got 1.5'), (lambda G,z: StyleGenerator(16, styles=False), 'nothing would depend on z'),
    (lambda G,z: StyleGenerator(12), 'power of two'),
    (lambda G,z: style_config('G'), "one of A, B, C, D, E, F, got 'G'"), (lambda G,z: style_config('AB'), "got 'AB'"), (lambda G,z: style_config(''), "got ''"),
    (lambda G,z: style_config('F', 64, 'lsun'), "'ffhq' or 'celebahq', got 'lsun'"), (lambda G,z: style_config('F', 64, gpus=3), r'\[1, 2, 4, 8\], got 3'),
    (lambda G,z: style_config('F', column='celebahq'), 'give the resolution='), (lambda G,z: style_config('F', gpus=8), 'give the resolution='),
    (lambda G,z: style_config('F', 64, gpus=8, schedule='minutes'), 'leave one out'), (lambda G,z: style_config('A', mixing=.5), 'has no mixing')])
def test_errors(G, z, call, says):
    with pytest.raises(ValueError, match=says): call(G, z)

def test_an_average_of_ones_own_takes_the_place_of_the_published_one():
    given = style_config('F', 64, average_decay=.99)
    assert given['average_decay']==.99 and 'average_kimg' not in given
