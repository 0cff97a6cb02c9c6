"Losses and penalties against an independent implementation, and against numbers by hand."
from math import log
import pytest, torch, torch.nn.functional as F
from torch import nn, tensor
from golden_nets import golden_networks, growth, theirs
from progrow.losses import LSGAN, Loss, NonSaturating, WGANGP, gradient_penalty, input_gradient, official_scale, r1_penalty
from progrow.networks import Discriminator

def close(a, b, rtol, atol=1e-7): torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=rtol, atol=atol)

# --- golden numbers: the penalties are measured on pictures enlarged to the full resolution

@pytest.fixture(scope='module', params=[(f,i) for f in ('pggan32','pggan16_gray') for i in (0,1)], ids=lambda o: f'{o[0]}-lod{o[1]}')
def case(request, golden):
    "The critic at the i-th level of detail of a golden file, its pictures, and what must come out"
    file,i = request.param
    g = golden(file)
    net = golden_networks(g)[1]
    r,alpha = growth(g['lods'][i], net.resolution)
    real,fake = (F.avg_pool2d(tensor(g[k]), net.resolution//r) for k in ('d_in','gp_fake'))
    expected = {k[5:]: tensor(v) for k,v in g.items() if k.startswith(f'lod{i}_')}
    names = {theirs_:ours for ours,theirs_ in theirs(net.resolution)[1].items()}
    params = [net.get_parameter(f'{names[layer]}.{p}') for layer,p in (str(n).split('.') for n in g['d_param_names'])]
    return dict(D=lambda x: net(x, alpha=alpha), real=real, fake=fake, mix=tensor(g['gp_eps']), R=net.resolution, params=params, **expected)

def norms(loss, params):
    "Length of the loss's gradient in each parameter; 0 where it has none"
    return torch.stack([torch.zeros(()) if g is None else g.norm() for g in torch.autograd.grad(loss, params, allow_unused=True)])

def test_golden_scores_and_slopes_between_reals_and_fakes(case):
    c = case
    close(c['D'](c['real']), c['real_scores'].flatten(), 0, 1e-5); close(c['D'](c['fake']), c['fake_scores'].flatten(), 0, 1e-5)
    x = (c['real'] + (c['fake']-c['real'])*c['mix']).requires_grad_()
    scores = c['D'](x)
    close(scores, c['mixed_scores'].flatten(), 0, 1e-5)
    slopes = input_gradient(scores, x).flatten(1).norm(dim=1)*official_scale(x, c['R'])
    close(slopes, c['mixed_norms'], 1e-4)
    close((slopes-1).square(), c['gp_per_sample'], 1e-4)

def test_golden_gradient_penalty_and_its_gradient(case):
    c = case
    p = 10*gradient_penalty(c['D'], c['real'], c['fake'], full_resolution=c['R'], mix=c['mix'])
    close(p, c['gp_x10_mean'], 1e-4)
    close(norms(p, c['params']), c['gp_param_grad_norms'], 1e-3, 1e-5)

def test_golden_r1_and_its_gradient(case):
    c = case
    p = 5*r1_penalty(c['D'], c['real'], c['R'])
    close(p, c['r1_gamma10_mean'], 2e-3); close(c['r1_per_sample'].mean()*5, p, 2e-3)
    close(norms(p, c['params']), c['r1_param_grad_norms'], 5e-3, 1e-5)

def test_golden_losses_of_both_players(case, monkeypatch):
    c = case
    monkeypatch.setattr(torch, 'rand', lambda *size, **kw: c['mix'])
    wgan,nonsat = WGANGP(full_resolution=c['R']),NonSaturating(full_resolution=c['R'])
    close(wgan.discriminator_loss(c['D'], c['real'], c['fake']), c['d_loss_wgan_gp_drift'], 1e-3)
    close(nonsat.discriminator_loss(c['D'], c['real'], c['fake']), c['d_loss_logistic_r1'], 1e-3)
    close(wgan.generator_loss(c['D'], c['fake']), c['g_loss_wgan'], 1e-3, 1e-5)
    close(nonsat.generator_loss(c['D'], c['fake']), c['g_loss_nonsat'], 1e-3)

# --- where the penalty is measured

@pytest.mark.parametrize('r', (4,8,16))
def test_full_resolution_is_the_slope_on_enlarged_pictures(r):
    torch.manual_seed(0)
    D = Discriminator(16, fmap_base=32, fmap_max=8)
    real,fake,mix = torch.randn(4, 3, r, r),torch.randn(4, 3, r, r),torch.rand(4, 1, 1, 1)
    def big(x): return F.interpolate(x, size=16)
    def shrinking(x): return D(F.avg_pool2d(x, 16//r)) # as the official critic, which shrinks what it gets
    close(gradient_penalty(D, real, fake, full_resolution=16, mix=mix), gradient_penalty(shrinking, big(real), big(fake), mix=mix), 1e-5)
    close(r1_penalty(D, real, 16), r1_penalty(shrinking, big(real)), 1e-5)
    assert official_scale(real, 16)==r/16 and official_scale(real, None)==1

def test_full_resolution_below_the_pictures_is_refused():
    with pytest.raises(ValueError, match='full_resolution=4 is smaller than the images, 8'): official_scale(torch.zeros(1, 3, 8, 8), 4)

# --- by hand: a linear critic w·x has slope |w| everywhere

w = torch.randn(3*4*4, generator=torch.Generator().manual_seed(0))
def linear(x): return x.flatten(1) @ w
def pictures(seed): return torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(seed))

@pytest.mark.parametrize('target', (1., 750.))
def test_penalties_of_a_linear_critic(target):
    n = w.norm()
    close(gradient_penalty(linear, pictures(1), pictures(2), target), ((n-target)/target)**2, 1e-5)
    close(gradient_penalty(linear, pictures(1), pictures(2), target, full_resolution=16), ((n/4-target)/target)**2, 1e-5)
    close(r1_penalty(linear, pictures(1)), n**2, 1e-5)
    close(r1_penalty(linear, pictures(1), 16), n**2/16, 1e-5)

def test_wgan_gp_of_a_linear_critic():
    real,fake = pictures(1),pictures(2)
    a,b = linear(real),linear(fake)
    close(WGANGP(10., 2., .001).discriminator_loss(linear, real, fake), b.mean()-a.mean()+10*(w.norm()/2-1)**2+.001*a.square().mean(), 1e-5)
    close(WGANGP(penalty=0, drift=0).discriminator_loss(linear, real, fake), (b-a).mean(), 1e-5)
    close(WGANGP().generator_loss(linear, fake), -b.mean(), 1e-6)

def test_the_penalty_is_two_sided():
    "A slope below the target costs as much as one above"
    flat,steep = (gradient_penalty(lambda x: s*linear(x)/w.norm(), pictures(1), pictures(2)) for s in (.5, 1.5))
    close(flat, .25, 1e-5); close(steep, .25, 1e-5)

def test_lsgan_by_hand_reals_at_0_fakes_at_1():
    scores = {1.:tensor([.5,-.5]), 2.:tensor([0.,3.])} # by the value of the picture's pixels
    D = lambda x: scores[x[0,0,0,0].item()]
    real,fake = torch.full((2,1,4,4), 1.),torch.full((2,1,4,4), 2.)
    close(LSGAN().discriminator_loss(D, real, fake), .25+.1*(1+4)/2, 1e-6)
    close(LSGAN().generator_loss(D, fake), 4.5, 1e-6)
    close(LSGAN(real_target=1., fake_target=0., fake_weight=1.).discriminator_loss(D, real, fake), (.25+2.25)/2+4.5, 1e-6)

def test_non_saturating_of_a_critic_that_knows_nothing():
    zero = lambda x: 0*x.flatten(1).sum(1)
    close(NonSaturating().discriminator_loss(zero, pictures(1), pictures(2)), 2*log(2), 1e-6)
    close(NonSaturating().generator_loss(zero, pictures(2)), log(2), 1e-6)

def test_r1_term_of_non_saturating_is_half_gamma():
    real,fake = pictures(1),pictures(2)
    a,b = (NonSaturating(r1).discriminator_loss(linear, real, fake) for r1 in (0.,10.))
    close(b-a, 5*w.square().sum(), 1e-4)

# --- how the trainer uses them

losses = [WGANGP(), WGANGP(full_resolution=16), WGANGP(penalty=0.), LSGAN(), NonSaturating(), NonSaturating(0.)]

@pytest.mark.parametrize('loss', losses, ids=repr)
def test_terms_one_by_one_give_the_gradient_of_the_sum(loss):
    torch.manual_seed(0)
    D = Discriminator(8, fmap_base=32, fmap_max=8)
    real,fake = torch.randn(4, 3, 8, 8),torch.randn(4, 3, 8, 8)
    def grads():
        res = [p.grad.clone() for p in D.parameters() if p.grad is not None]
        D.zero_grad(); return res
    torch.manual_seed(1); whole = loss.discriminator_loss(D, real, fake); whole.backward()
    expected = grads()
    torch.manual_seed(1); parts = []
    for term in loss.discriminator_terms(D, real, fake): term.backward(); parts.append(term.detach())
    close(sum(parts), whole.detach(), 1e-6)
    for a,b in zip(grads(), expected, strict=True): close(a, b, 1e-4, 1e-6)

@pytest.mark.parametrize('loss', losses, ids=repr)
def test_a_loss_leaves_pictures_as_they_were(loss):
    real,fake = pictures(1),pictures(2)
    loss.discriminator_loss(linear, real, fake)
    assert torch.equal(real, pictures(1)) and torch.equal(fake, pictures(2)) and not real.requires_grad and not fake.requires_grad

@pytest.mark.parametrize('loss', losses, ids=repr)
def test_generator_loss_falls_when_fakes_get_a_better_score(loss):
    "Better: higher, but for LSGAN, where a high score means fake"
    sign = -1 if isinstance(loss, LSGAN) else 1
    low,high = (loss.generator_loss(lambda x: s+0*x.flatten(1).sum(1), pictures(1)) for s in (sign*1.+2, sign*2.+2))
    assert high<low

def test_mixing_is_drawn_anew_per_picture_and_follows_the_seed():
    D = Discriminator(4, fmap_base=32, fmap_max=8)
    def gp(seed): torch.manual_seed(seed); return gradient_penalty(D, pictures(1)[:4], pictures(2)[:4]).item()
    assert gp(0)==gp(0)!=gp(1)

def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r'\(5, 3, 4, 4\) and \(5, 3, 8, 8\)'): gradient_penalty(linear, pictures(1), torch.zeros(5, 3, 8, 8))

def test_the_base_class_is_to_be_filled_in():
    with pytest.raises(NotImplementedError): Loss().discriminator_loss(linear, pictures(1), pictures(2))
