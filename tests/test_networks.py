"Both networks against an independent implementation, against published parameter counts, and against identities."
import re
from functools import partial
import numpy as np, pytest, torch, torch.nn.functional as F
from torch import nn, tensor
from torch.utils.flop_counter import FlopCounterMode
from golden_files import there
from golden_nets import golden_networks, growth
from helpers import close, count, root, shrink
from progrow import fade_in, networks
from progrow.equalized import EqualizedConv2d
from progrow.data import ImagePyramid, pyramid_levels
from progrow.fade_in import downsample, upsample
from progrow.style import StyleGenerator
from progrow.cost import Meter
from progrow.networks import (Discriminator, DiscriminatorBlock, Generator, GrowingDiscriminator, GrowingNetwork,
                              channel_noise, conv2d_downsample, feature_maps, leaky_relu, network_problem,
                              one_hot_labels, resolutions, upsample_conv2d)
from progrow.losses import WGANGP, NonSaturating
from progrow.schedule import GrowthSchedule
from progrow.style import StyleDiscriminator
from progrow.checkpoint import load_generator
from progrow.train import progressive_learner

tiny = dict(fmap_base=32, fmap_max=8)
@pytest.fixture
def pair():
    torch.manual_seed(0)
    return Generator(16, latent_dim=6, **tiny), Discriminator(16, **tiny)

# --- golden numbers

files = there('pggan32', 'pggan16_gray')

@pytest.mark.parametrize('file', files)
@torch.no_grad()
def test_golden_images_at_every_lod(golden, file):
    g = golden(file)
    G,_ = golden_networks(g)
    for i,lod in enumerate(g['lods']):
        r,alpha = growth(lod, G.resolution)
        y = G(tensor(g['z']), resolution=r, alpha=alpha)
        assert y.shape[-1]==r
        for k in ('img','tf_img'): close(F.interpolate(y, size=G.resolution), g[f'{k}_lod{i}'], 5e-5)

@pytest.mark.parametrize('file', files)
@torch.no_grad()
def test_golden_scores_at_every_lod(golden, file):
    g = golden(file)
    _,D = golden_networks(g)
    for i,lod in enumerate(g['lods']):
        r,alpha = growth(lod, D.resolution)
        close(D(shrink(tensor(g['d_in']), r), alpha=alpha), g[f'd_scores_lod{i}'][:,0], 1e-5)

@pytest.mark.parametrize('file', files)
@torch.no_grad()
def test_golden_scores_of_batches_of_1_2_4_12(golden, file):
    g = golden(file)
    _,D = golden_networks(g)
    x = torch.cat([tensor(g['d_in']), tensor(g['d_in'][:4])])
    sizes = [int(k[14:]) for k in g if k.startswith('d_scores_batch')]
    assert sorted(sizes)==[1,2,4,12]
    for b in sizes: close(D(x[:b]), g[f'd_scores_batch{b}'][:,0], 1e-5)

@torch.no_grad()
def test_golden_weights_in_the_other_pooling_order_are_another_network(golden):
    g = golden('pggan16_gray')
    D = golden_networks(g)[1]
    other = Discriminator(**{**D.config, 'pool_before_activation':True})
    other.load_state_dict(D.state_dict())
    assert (other(tensor(g['d_in'])) - D(tensor(g['d_in']))).abs().max() > .01

# --- sizes

published = {4:(6556163,6561793), 8:(11277318,11283457), 16:(15998473,16005121), 32:(20719628,20726785), 64:(22490383,22498049),
             128:(22933394,22941313), 256:(23044309,23052353), 512:(23072120,23080225), 1024:(23079115,23087249)}

def counts(resolution, latent_dim=512, **sizes):
    with torch.device('meta'): return count(Generator(resolution, latent_dim=latent_dim, **sizes)), count(Discriminator(resolution, **sizes))

@pytest.mark.parametrize('resolution', published)
def test_parameter_counts(resolution): assert counts(resolution)==published[resolution]

@pytest.mark.parametrize('args,expected', [
    (dict(resolution=32, image_channels=1), (20715524,20722689)), (dict(resolution=128, image_channels=1), (22928518,22936449)),
    (dict(resolution=32, num_classes=10), (20801548,20731915)),
    (dict(resolution=32, fmap_base=4096, fmap_max=128, latent_dim=128), (1296908,1298689)),
    (dict(resolution=128, fmap_base=2048), (13629810,13636897))], ids='gray32 gray128 acgan cifar table1'.split())
def test_parameter_counts_of_variants(args, expected): assert counts(**args)==expected

def test_parameters_of_the_parts_at_1024():
    with torch.device('meta'): G,D = Generator(1024),Discriminator(1024)
    assert [count(G.blocks[str(r)]) for r in G.resolutions]==[6554624,4719616,4719616,4719616,1769984,442624,110720,27712,6944]
    assert [count(D.blocks[str(r)]) for r in D.resolutions]==[6559745,4719616,4719616,4719616,1770240,442752,110784,27744,6960]
    assert (count(G.to_rgb), count(D.from_rgb))==(7659,10176)
    assert [feature_maps(r) for r in G.resolutions]==[512,512,512,512,256,128,64,32,16]

def test_runtime_weight_scales():
    with torch.device('meta'): G,D = Generator(1024),Discriminator(1024)
    scales = {G.blocks['4'].dense:1/64, G.blocks['4'].conv:1/48, G.to_rgb['32']:512**-.5, G.to_rgb['1024']:1/4, D.from_rgb['4']:.8164966,
              D.blocks['4'].conv:.0208130, D.blocks['4'].dense0:1/64, D.blocks['4'].dense1:512**-.5, G.blocks['512'].conv1:1/12}
    for layer,c in scales.items(): assert layer.c==pytest.approx(c, abs=1e-7)

# --- identities of growth

@torch.no_grad()
@pytest.mark.parametrize('r', (8,16))
def test_alpha_0_is_the_smaller_network(pair, r):
    G,D = pair
    z,x = torch.randn(4, 6),torch.randn(4, 3, r, r)
    assert torch.equal(G(z, resolution=r, alpha=0.), upsample(G(z, resolution=r//2)))
    assert torch.equal(D(x, alpha=0.), D(downsample(x)))

@torch.no_grad()
def test_alpha_mixes_linearly_and_1_is_the_default(pair):
    G,D = pair
    z = torch.randn(4, 6)
    y = [G(z, alpha=a) for a in (0.,.25,1.)]
    close(y[1], .75*y[0]+.25*y[2])
    assert torch.equal(y[2], G(z)) and torch.equal(G(z), G(z, resolution=16))

@torch.no_grad()
def test_alpha_means_nothing_at_4x4(pair):
    G,D = pair
    z,x = torch.randn(4, 6),torch.randn(4, 3, 4, 4)
    assert torch.equal(G(z, resolution=4, alpha=.3), G(z, resolution=4)) and torch.equal(D(x, alpha=.3), D(x))

@torch.no_grad()
def test_smaller_resolutions_do_not_see_larger_layers():
    big,small = (Generator(r, latent_dim=6, **tiny) for r in (16,8))
    small.load_state_dict({k:v for k,v in big.state_dict().items() if '.16.' not in k})
    z = torch.randn(3, 6)
    assert torch.equal(big(z, resolution=8, alpha=.4), small(z, alpha=.4))

# --- gradients

def touched(net): return {n.rsplit('.', 2)[0] if n.startswith('blocks') else n.rsplit('.', 1)[0] for n,p in net.named_parameters() if p.grad is not None}

@pytest.mark.parametrize('r,alpha,rgb', [(16,1.,{16}), (16,.5,{8,16}), (8,1.,{8}), (8,.5,{4,8}), (4,1.,{4}), (4,.5,{4})])
def test_gradients_reach_only_the_layers_in_use(pair, r, alpha, rgb):
    G,D = pair
    D(G(torch.randn(4, 6), resolution=r, alpha=alpha), alpha=alpha).sum().backward()
    blocks = {f'blocks.{o}' for o in resolutions(r)}
    assert touched(G)==blocks|{f'to_rgb.{o}' for o in rgb}
    assert touched(D)==blocks|{f'from_rgb.{o}' for o in rgb}

def test_every_parameter_in_use_gets_a_gradient(pair):
    G,D = pair
    D(G(torch.randn(8, 6), alpha=.5), alpha=.5).square().sum().backward()
    for net in pair:
        for n,p in net.named_parameters():
            if 'rgb.4' not in n: assert p.grad is not None and p.grad.abs().max()>0, n

@pytest.mark.parametrize('f', (conv2d_downsample, upsample_conv2d))
def test_resampling_convolutions_differentiate_twice(f):
    torch.manual_seed(0)
    x,w = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((2,2,4,4), (3,2,3,3)))
    assert torch.autograd.gradcheck(f, (x, w)) and torch.autograd.gradgradcheck(f, (x, w))

def test_input_gradient_of_the_critic_can_be_differentiated(pair):
    D = pair[1]
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    g, = torch.autograd.grad(D(x, alpha=.5).sum(), x, create_graph=True)
    g.square().sum().backward()
    assert all(p.grad.isfinite().all() for n,p in D.named_parameters() if p.grad is not None) and D.blocks['16'].conv0.weight.grad.abs().max()>0

@pytest.fixture
def empty_cache():
    fade_in._box.cache_clear()
    yield
    fade_in._box.cache_clear()

def test_pictures_drawn_in_inference_mode_first_do_not_prevent_training(empty_cache):
    G = Generator(8, latent_dim=6, **tiny)
    with torch.inference_mode(): G(torch.randn(2, 6))
    G(torch.randn(2, 6)).sum().backward()

# --- the blocks, spelled out

def test_resampling_convolutions_are_two_steps_in_one():
    torch.manual_seed(0)
    x,w = torch.randn(2, 5, 8, 8),torch.randn(7, 5, 3, 3)
    close(conv2d_downsample(x, w), F.avg_pool2d(F.conv2d(x, w, padding=1), 2), 1e-5)
    close(upsample_conv2d(x, w), F.conv2d(F.interpolate(x, scale_factor=2), w, padding=1), 1e-5)

@pytest.mark.parametrize('pool_first', (True, False))
@torch.no_grad()
def test_discriminator_block_step_by_step(pool_first):
    torch.manual_seed(0)
    m = DiscriminatorBlock(4, 6, pool_first)
    for c in (m.conv0, m.conv1): c.bias.normal_()
    x = torch.randn(3, 4, 8, 8)
    h = F.leaky_relu(F.conv2d(x, m.conv0.weight*m.conv0.c, m.conv0.bias, padding=1), .2)
    h,b = F.conv2d(h, m.conv1.weight*m.conv1.c, padding=1),m.conv1.bias.view(-1, 1, 1)
    close(m(x), F.leaky_relu(F.avg_pool2d(h, 2)+b, .2) if pool_first else F.avg_pool2d(F.leaky_relu(h+b, .2), 2), 1e-5)

@torch.no_grad()
def test_latents_are_normalised_so_their_length_does_not_matter(pair):
    z = torch.randn(4, 6)
    close(pair[0](z), pair[0](7*z), 1e-4)

# --- noise

def test_channel_noise_is_one_factor_per_image_and_channel_of_the_stated_size():
    torch.manual_seed(0)
    x = torch.rand(400, 36, 4, 4)+.5
    f = channel_noise(x, .05)/x
    close(f, f[:,:,:1,:1].expand_as(f), 1e-5)
    f = f[:,:,0,0]
    assert f.mean()==pytest.approx(1, abs=.01) and f.std()==pytest.approx(.05*6, rel=.03) and f.mean(1).std()==pytest.approx(.05, rel=.15)

@pytest.mark.parametrize('none', (0, 0., -0.))
def test_no_noise_is_the_same_network_and_draws_nothing(pair, none):
    D = pair[1]
    x = torch.randn(4, 3, 16, 16)
    state = torch.get_rng_state()
    assert torch.equal(D(x, alpha=.5, noise=none), D(x, alpha=.5)) and torch.equal(torch.get_rng_state(), state)
    assert channel_noise(x, none) is x

def test_noise_as_a_tensor_is_the_noise_of_its_number(pair):
    D = pair[1]
    x = torch.randn(4, 3, 16, 16)
    def scores(noise): torch.manual_seed(1); return D(x, alpha=.5, noise=noise)
    close(scores(.04), scores(tensor(.04)), 1e-5)
    assert torch.equal(scores(tensor(0.)), D(x, alpha=.5))
    assert (scores(.04)-D(x, alpha=.5)).abs().min()>1e-6

@pytest.mark.parametrize('r,places', [(4,2), (8,4), (16,6)])
def test_noise_comes_before_every_3x3_and_4x4_convolution_and_no_other(pair, monkeypatch, r, places):
    "The disturbed maps are those that go into conv0, conv1 of each block, and into conv and dense0 of the last"
    seen,D = [],pair[1]
    monkeypatch.setattr(networks, 'channel_noise', lambda x, s: seen.append((s, tuple(x.shape[1:]))) or x)
    D(torch.randn(2, 3, r, r), alpha=.5, noise=.03)
    expected = [s for o in reversed(resolutions(r)) for s in ([(feature_maps(o, **tiny),o,o)]*2 if o>4 else [(feature_maps(4, **tiny)+1,4,4), (feature_maps(4, **tiny),4,4)])]
    assert seen==[(.03,s) for s in expected] and len(seen)==places

def test_noise_trains_twice_differentiable_and_in_bfloat16(pair):
    D = pair[1]
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    g, = torch.autograd.grad(D(x, noise=.05).sum(), x, create_graph=True)
    g.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in D.parameters() if p.grad is not None)
    seen = []
    hooks = [b.register_forward_hook(lambda m,i,o: seen.append(o.dtype)) for b in D.blocks.values()]
    with torch.autocast('cpu', torch.bfloat16): D(x, noise=tensor(.05))
    for h in hooks: h.remove()
    assert set(seen)=={torch.bfloat16}

@pytest.mark.parametrize('noise', (-.1, float('nan')))
def test_noise_below_0_is_refused(pair, noise):
    with pytest.raises(ValueError, match='noise is a strength, 0 or more'): pair[1](torch.randn(2, 3, 4, 4), noise=noise)

# --- labels

@torch.no_grad()
def test_labels_as_numbers_and_as_one_hot_vectors_are_the_same_and_matter():
    G = Generator(8, latent_dim=6, num_classes=3, **tiny)
    z,labels = torch.randn(4, 6),tensor([0,1,2,1])
    assert torch.equal(G(z, labels), G(z, F.one_hot(labels, 3).float())) and torch.equal(G(z, labels), G(z, [0,1,2,1]))
    assert not torch.allclose(G(z, labels), G(z, 0*labels))

@torch.no_grad()
def test_discriminator_tells_classes_beside_the_score():
    D = Discriminator(8, num_classes=3, **tiny)
    x = torch.randn(4, 3, 8, 8)
    scores,logits = D.scores_and_logits(x)
    assert scores.shape==(4,) and logits.shape==(4,3) and torch.equal(scores, D(x, tensor([0,1,2,1])))
    assert Discriminator(8, **tiny).scores_and_logits(x)[1].shape==(4,0)

# --- fast, and the same

def step_gradients(loss, alpha, resolution, dtype=torch.float64):
    "Losses and gradients of both players' terms"
    torch.manual_seed(0)
    kw = dict(fmap_base=128, fmap_max=24)
    G,D = Generator(16, latent_dim=10, **kw).to(dtype),Discriminator(16, **kw).to(dtype)
    real,z,mix = torch.randn(8, 3, resolution, resolution, dtype=dtype),torch.randn(8, 10, dtype=dtype),torch.rand(8, 1, 1, 1, dtype=dtype)
    fake = G(z, resolution=resolution, alpha=alpha)
    def judge(x): return D(x, alpha=alpha)
    terms = [*loss.discriminator_terms(judge, real, fake.detach(), mix)]
    sum(terms).backward(); critics = [p.grad for p in D.parameters() if p.grad is not None]
    last = loss.generator_loss(judge, fake); last.backward()
    return [*terms, last, fake, *critics, *(p.grad for p in G.parameters() if p.grad is not None)]

@pytest.mark.parametrize('loss', [WGANGP(), NonSaturating()], ids=['wgan-gp','r1'])
@pytest.mark.parametrize('resolution,alpha', [(4,1.), (8,1.), (16,.4)])
@pytest.mark.parametrize('dtype,limit', [(torch.float64,1e-12), (torch.float32,1e-4)])
def test_a_step_is_that_of_the_textbook(monkeypatch, loss, resolution, alpha, dtype, limit):
    "Scaled weights, doubled maps, averages and deviations spelt out: losses, pictures, gradients, with the penalty's second trip"
    monkeypatch.syspath_prepend(root/'tools')
    from textbook import textbook
    ours = step_gradients(loss, alpha, resolution, dtype)
    with textbook(): theirs = step_gradients(loss, alpha, resolution, dtype)
    assert len(ours)>10 and all((a-b).norm()<=limit*max(b.norm(), 1e-6) for a,b in zip(ours, theirs, strict=True))

def test_the_textbook_has_no_activation_of_ours(monkeypatch):
    "It carries zeros through the critic at 4x4 too, which ours knows to be zeros"
    monkeypatch.syspath_prepend(root/'tools')
    from textbook import textbook
    def flops():
        meter = Meter()
        with meter: step_gradients(WGANGP(), 1., 4, torch.float32)
        return meter.flops
    ours = flops()
    with textbook(): theirs = flops()
    assert 1.05*ours<theirs<1.3*ours

def test_no_way_back_through_zeros():
    "Above the variety of the batch a penalty's second trip gives the forward way nothing"
    def flops(f):
        x,w = torch.randn(4, 8, requires_grad=True),torch.randn(8, 8, requires_grad=True)
        with FlopCounterMode(display=False) as count:
            slope, = torch.autograd.grad(f(f(x@w)@w).sum(), x, create_graph=True)
            slope.square().sum().backward()
        return count.get_total_flops()
    assert flops(leaky_relu)<=.7*flops(lambda x: F.leaky_relu(x, .2))
    x = torch.randn(20, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(leaky_relu, x) and torch.autograd.gradgradcheck(leaky_relu, x)

# --- precision, state, errors

@pytest.mark.parametrize('alpha', (1., .5))
def test_bfloat16_autocast_stays_close_and_trains(pair, alpha):
    G,D = pair
    z = torch.randn(8, 6)
    y = G(z, alpha=alpha)
    with torch.autocast('cpu', torch.bfloat16): y16,s16 = G(z, alpha=alpha),D(y.detach(), alpha=alpha)
    assert (y16.float()-y).pow(2).mean() < .01*y.pow(2).mean()
    assert (s16.float()-D(y, alpha=alpha)).abs().max() < .1
    (y16.float().sum()+s16.float().sum()).backward()
    assert G.blocks['4'].dense.weight.grad.isfinite().all() and D.from_rgb['16'].weight.grad.isfinite().all()

@torch.no_grad()
def test_bfloat16_stays_bfloat16_between_the_blocks(pair):
    seen = []
    hooks = [b.register_forward_hook(lambda m,i,o: seen.append(o.dtype)) for net in pair for b in net.blocks.values()]
    with torch.autocast('cpu', torch.bfloat16): pair[1](pair[0](torch.randn(4, 6)))
    for h in hooks: h.remove()
    assert len(seen)==6 and set(seen)=={torch.bfloat16}

def test_config_rebuilds_the_network(pair):
    for net in pair:
        again = type(net)(**net.config)
        again.load_state_dict(net.state_dict())
        assert again.config==net.config

def test_a_draw_leaves_no_trace(pair):
    "An explicit resolution and alpha give the same picture, whatever was asked for before"
    G = pair[0].requires_grad_(False)
    z = torch.randn(2, 6)
    a = G(z, resolution=8, alpha=.5); G(z); G(z, resolution=4)
    assert torch.equal(a, G(z, resolution=8, alpha=.5))

@pytest.mark.parametrize('net', (Generator, Discriminator))
@pytest.mark.parametrize('r', (0, 2, 12, 33))
def test_resolution_must_be_a_power_of_two(net, r):
    with pytest.raises(ValueError, match=f'power of two, 4 or more, got {r}'): net(r)

@pytest.mark.parametrize('call,says', [
    (lambda G,D: G(torch.randn(2, 5)), r'\(n, 6\).*got \(2, 5\)'),
    (lambda G,D: G(torch.randn(6)), r'\(n, 6\)'),
    (lambda G,D: G(torch.randn(2, 6), resolution=32), '4, 8, 16 pixels, not at 32'),
    (lambda G,D: G(torch.randn(2, 6), alpha=-.1), 'alpha'),
    (lambda G,D: G(torch.randn(2, 6), tensor([0,1])), 'num_classes=0.*no labels'),
    (lambda G,D: D(torch.randn(2, 1, 8, 8)), r'\(n, 3, r, r\), got \(2, 1, 8, 8\)'),
    (lambda G,D: D(torch.randn(2, 3, 8, 4)), r'\(2, 3, 8, 4\)'),
    (lambda G,D: D(torch.randn(3, 8, 8)), r'\(3, 8, 8\)'),
    (lambda G,D: D(torch.randn(2, 3, 32, 32)), 'not at 32'),
    (lambda G,D: D(torch.randn(2, 3, 8, 8), alpha=-.1), 'alpha')])
def test_wrong_calls_say_what_is_wrong(pair, call, says):
    with pytest.raises(ValueError, match=says): call(*pair)

@pytest.mark.parametrize('alpha', (1.5, float('nan')))
def test_alpha_above_1_is_refused(pair, alpha):
    with pytest.raises(ValueError, match='alpha'): pair[0](torch.randn(2, 6), alpha=alpha)
    with pytest.raises(ValueError, match='alpha'): pair[1](torch.randn(2, 3, 8, 8), alpha=alpha)

@pytest.mark.parametrize('labels', (None, [0,3], [-1,0], [0], [0.,1.], [[1,0]]))
def test_wrong_labels_say_what_is_wrong(labels):
    with pytest.raises(ValueError, match='label'): one_hot_labels(labels, 2, 3, torch.zeros(1))

# --- what networks say of themselves

class Flat(GrowingNetwork):
    "A generator of somebody else: one colour per picture"
    styled = False
    def __init__(self, resolution, image_channels=3, latent_dim=6, **sizes):
        super().__init__(resolution=resolution, image_channels=image_channels, latent_dim=latent_dim, **sizes)
        self.colour = nn.Linear(latent_dim, image_channels)
    def forward(self, z, labels=None, resolution=None, alpha=1.):
        r = resolution or self.resolution
        return self.colour(z)[:,:,None,None].expand(-1, -1, r, r)

class Bright(GrowingNetwork):
    "A critic of somebody else: it likes bright pictures"
    tells_classes = False
    def __init__(self, resolution, image_channels=3, **sizes):
        super().__init__(resolution=resolution, image_channels=image_channels, **sizes)
        self.score = nn.Linear(image_channels, 1)
    def forward(self, images, labels=None, alpha=1., noise=0.): return self.score(images.mean((2,3)))[:,0]

class Alien(nn.Module):
    "Nothing of ours: every answer is an attribute"
    def __init__(self, **answers):
        super().__init__()
        for k,v in answers.items(): setattr(self, k, v)

answers = dict(config={}, resolution=8, resolutions=[4,8], image_channels=3, num_classes=0, latent_dim=6, group_size=1)

def test_what_our_networks_say():
    G,D = Generator(8, latent_dim=6, **tiny),Discriminator(8, **tiny)
    C = Discriminator(8, **tiny, num_classes=3, group_size=2)
    assert [network_problem(o) for o in (G, D, C, Flat(8), Bright(8))]==[None]*5
    assert (G.latent_dim, G.num_classes, G.group_size, G.image_channels, G.styled)==(6, 0, 1, 3, False)
    assert (C.latent_dim, C.num_classes, C.group_size, C.resolutions, C.tells_classes)==(0, 3, 2, [4,8], True)
    assert not D.tells_classes and D.group_size==4
    for net in (G, D, C): assert type(net)(**net.config).config==net.config

def test_a_network_of_another_kind_is_told_what_it_lacks():
    assert network_problem(Alien(**answers, styled=False)) is None and network_problem(Alien(**answers, tells_classes=False)) is None
    for lacks in answers:
        some = {k:v for k,v in answers.items() if k!=lacks}
        assert f'the Alien has no {lacks}: let its class' in network_problem(Alien(**some, styled=False))
    assert 'no config, resolution, resolutions, image_channels, num_classes, latent_dim, group_size, styled' in network_problem(nn.Linear(2, 2))

@pytest.mark.parametrize('more,says', [(dict(), 'no styled .* or tells_classes'), (dict(styled=True), 'no mapping, synthesis, truncate'),
                                       (dict(tells_classes=True), 'no scores_and_logits'), (dict(styled=False, latent_dim=0), 'latent_dim=0')])
def test_what_a_network_can_do_must_fit_what_it_says(more, says):
    assert re.search(says, network_problem(Alien(**{**answers, **more})))

def test_foreign_networks_are_trained_saved_and_drawn_from():
    images = ImagePyramid(pyramid_levels(np.random.default_rng(0).integers(0, 256, (32,3,8,8), dtype=np.uint8)))
    schedule = GrowthSchedule(8, fade_kimg=.016, stabilize_kimg=.016, batch_size=8, learning_rate=.01)
    learn = progressive_learner(images, schedule=schedule, generator=Flat, discriminator=Bright, latent_dim=6, device='cpu')
    before = learn.model.generator.colour.bias.clone()
    with learn.no_bar(), learn.no_logging(): learn.fit()
    assert not torch.equal(learn.model.generator.colour.bias, before) and learn.sample(5).shape==(5,3,8,8)

def test_two_bodies_of_one_discriminator():
    assert not issubclass(StyleDiscriminator, Discriminator) and issubclass(StyleDiscriminator, GrowingDiscriminator)
    D,S = Discriminator(8, **tiny, num_classes=3),StyleDiscriminator(8, **tiny, num_classes=3)
    assert D.blocks['4'].dense1.weight.shape[0]==4 and S.blocks['4'].dense1.weight.shape[0]==3 and not S.tells_classes
    assert list(D.state_dict())==list(S.state_dict())

@pytest.mark.parametrize('kw', (dict(latent_dim=1.5), dict(fmap_max='8'), dict(num_classes=True), dict(resolution=8.)))
def test_sizes_are_whole_numbers(kw):
    with pytest.raises(ValueError, match=f'{next(iter(kw))} must be a whole number, got'): Generator(**{**dict(resolution=8), **kw})

def test_the_size_of_a_style_is_a_whole_number():
    with pytest.raises(ValueError, match='w_dim must be a whole number, got 8.0'): StyleGenerator(8, w_dim=8.)

# --- switches

off = dict(generator=dict(norm='batch', activation='relu', output='tanh', equalized=False),
           discriminator=dict(norm='layer', variety='discrimination', equalized=False))

def test_switches_left_alone_change_neither_a_number_nor_a_file(pair):
    G,D = pair
    torch.manual_seed(0)
    same = (Generator(16, latent_dim=6, norm='pixel', activation='leaky_relu', output='linear', equalized=True, **tiny),
            Discriminator(16, norm=None, variety='stddev', equalized=True, **tiny))
    z = torch.randn(4, 6)
    assert torch.equal(same[0](z), G(z)) and torch.equal(same[1](G(z)), D(G(z)))
    for a,b in zip(pair, same):
        assert a.config==b.config and list(a.state_dict())==list(b.state_dict())
        assert not {'norm','equalized'} & a.config.keys()

@pytest.mark.parametrize('which,cls', [('generator',Generator), ('discriminator',Discriminator)])
def test_each_switch_changes_the_network_and_is_kept_in_its_config(which, cls):
    for k,v in off[which].items():
        torch.manual_seed(0); net = cls(8, **{k:v}, **tiny)
        torch.manual_seed(0); plain = cls(8, **tiny)
        x = torch.randn(4, 512) if cls is Generator else 3*torch.randn(4, 3, 8, 8)
        with torch.no_grad():
            # scaling at the start is the same function
            assert (k=='equalized')==(torch.allclose(net(x), plain(x), atol=1e-5)), k
        assert net.config[k]==v and network_problem(net) is None

def test_without_variety_a_score_does_not_look_at_the_batch():
    D,x = Discriminator(8, variety=None, **tiny),torch.randn(4, 3, 8, 8)
    close(D(x)[:1], D(x[:1]), 1e-5)

def test_switched_networks_train_save_and_come_back(tmp_path):
    s = GrowthSchedule(8, 4, stabilize_kimg=.016, fade_kimg=.016, batch_size=4)
    learn = progressive_learner('avatars', n=32, schedule=s, loss=WGANGP(), latent_dim=6, average_kimg=.01, **tiny,
        generator=partial(Generator, **off['generator']), discriminator=partial(Discriminator, **off['discriminator']))
    with learn.no_bar(), learn.no_logging(): learn.fit_in(tmp_path)
    G,again = learn.model.averaged,load_generator(learn.export(tmp_path/'g.pt'))
    z = torch.randn(3, 6)
    assert torch.equal(G(z), again(z)) and again.config==G.config
    assert G.blocks['4'].act0.norm.running_var.ne(1).all()

@pytest.mark.parametrize('cls,given,says', [
    (Generator, dict(norm='instance'), "'pixel', 'layer', 'batch', None"),
    (Discriminator, dict(norm='batch'), "None, 'layer'"),
    (Generator, dict(output='sigmoid'), "'linear', 'tanh'")])
def test_switches_that_do_not_fit_are_refused(cls, given, says):
    with pytest.raises(ValueError, match=says): cls(8, **tiny, **given)
