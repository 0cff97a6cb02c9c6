"Losses and penalties against an independent implementation, and against numbers by hand."
from dataclasses import replace
import math
from math import log
import json, pytest, torch, torch.nn.functional as F
from torch import nn, tensor
from golden_files import there
from golden_nets import golden_networks, growth, theirs
from helpers import norms
from progrow.losses import LSGAN, AuxiliaryClassifier, Critic, Loss, NonSaturating, RelativisticPairing, WGANGP, gradient_penalty, input_gradient, official_scale, r1_penalty
from progrow.networks import Discriminator

def close(a, b, rtol, atol=1e-7): torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=rtol, atol=atol)

# --- golden numbers: the penalties are measured on pictures enlarged to the full resolution

@pytest.fixture(scope='module', params=[(f,i) for f in there('pggan32', 'pggan16_gray') for i in (0,1)], ids=lambda o: f'{o[0]}-lod{o[1]}')
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

# --- R1 now and then

def gradients(loss, times, D=None):
    "The gradient of each critic step, all with the same critic and pictures"
    torch.manual_seed(0)
    D,res = D or Discriminator(8, fmap_base=32, fmap_max=8),[]
    real,fake = torch.randn(2, 4, 3, 8, 8)
    for _ in range(times):
        D.zero_grad(); loss.discriminator_loss(D, real, fake).backward()
        res.append(torch.cat([p.grad.flatten() for p in D.parameters() if p.grad is not None]))
    return torch.stack(res)

@pytest.mark.parametrize('k', (2,3,16))
@pytest.mark.parametrize('full_resolution', (None,1024))
def test_lazy_r1_pulls_as_much_in_k_steps_but_in_one_of_them(k, full_resolution):
    every,lazy,never = (gradients(o, 2*k) for o in (NonSaturating(10., full_resolution), NonSaturating(10., full_resolution, k), NonSaturating(0.)))
    for i in (0,k): close(lazy[i:i+k].sum(0), every[i:i+k].sum(0), 1e-4, 1e-4*every.norm().item())
    for i in range(2*k):
        if i%k: assert torch.equal(lazy[i], never[i])
        else: close(lazy[i]-never[i], k*(every[i]-never[i]), 1e-4, 1e-4*lazy[i].norm().item())

def test_r1_every_step_is_what_it_was_to_the_last_bit():
    assert torch.equal(gradients(NonSaturating(r1_every=1), 2), gradients(NonSaturating(), 2)) and NonSaturating().state_dict()=={}

def test_lazy_r1_goes_on_from_its_state_in_mid_interval():
    whole = gradients(NonSaturating(r1_every=5), 12)
    for n in (1,4,5,7):
        half = NonSaturating(r1_every=5); gradients(half, n)
        again = NonSaturating(r1_every=5); again.load_state_dict(json.loads(json.dumps(half.state_dict())))
        assert again.state_dict()=={'r1_step':n%5} and torch.equal(gradients(again, 12-n), whole[n:])

@pytest.mark.parametrize('world', (2,3,7))
def test_the_mean_of_equal_steps_is_that_step(world):
    "what `_agree_on_loss` computes"
    for n in range(16):
        loss = NonSaturating(r1_every=16)
        loss.load_state_dict({'r1_step':(tensor([float(n)]*world, dtype=torch.float64).sum()/world).item()})
        assert loss.state_dict()=={'r1_step':n}

def test_a_critic_step_that_breaks_off_and_a_generator_step_do_not_count():
    loss = NonSaturating(r1_every=3)
    terms = loss.discriminator_terms(linear, pictures(1), pictures(2))
    next(terms); next(terms); loss.generator_loss(linear, pictures(2)); terms.close()
    assert loss.state_dict()=={'r1_step':0}
    loss.discriminator_loss(linear, pictures(1), pictures(2)); assert loss.state_dict()=={'r1_step':1}

def test_where_only_shapes_are_every_step_has_the_penalty_and_none_counts():
    loss = NonSaturating(r1_every=3)
    with torch.device('meta'):
        D,x = Discriminator(4, fmap_max=8),torch.empty(4, 3, 4, 4)
        for _ in range(2): assert 'Add' in type(next(loss.discriminator_terms(D, x, x)).grad_fn).__name__
    assert loss.state_dict()=={'r1_step':0}

@pytest.mark.parametrize('kw,says', [(dict(r1_every=0), '1 or more, got 0'), (dict(r1_every=-2), 'got -2'), (dict(r1_every=2.5), 'whole number.*got 2.5'), (dict(r1_every=float('nan')), 'got nan'),
                                     (dict(r1_every=float('inf')), 'got inf'), (dict(r1=-1.), r'r1 must be a number, 0 .* or more, got -1.0'), (dict(r1=float('nan')), 'got nan')])
def test_r1_that_makes_no_sense_is_refused(kw, says):
    with pytest.raises(ValueError, match=says): NonSaturating(**kw)

def test_a_whole_float_is_a_number_of_steps():
    loss = NonSaturating(r1_every=16.)
    assert loss.r1_every==16 and type(loss.r1_every) is int and loss==NonSaturating(r1_every=16)

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

# --- points between reals and fakes, given

def test_mix_decides_where_the_slope_is_measured():
    torch.manual_seed(0)
    D = Discriminator(8, fmap_base=32, fmap_max=8)
    real,fake,mix = torch.randn(4, 3, 8, 8),torch.randn(4, 3, 8, 8),torch.rand(4, 1, 1, 1)
    loss,state = WGANGP(drift=0.),torch.get_rng_state()
    whole = loss.discriminator_loss(D, real, fake, mix)
    assert torch.equal(torch.get_rng_state(), state), 'nothing is drawn'
    close(whole, D(fake).mean()-D(real).mean()+10*gradient_penalty(D, real, fake, mix=mix), 1e-5)
    for m,at in ((0.,real), (1.,fake)):
        x = at.clone().requires_grad_()
        slope = input_gradient(D(x), x).flatten(1).norm(dim=1)
        close(gradient_penalty(D, real, fake, mix=torch.full((4,1,1,1), m)), (slope-1).square().mean(), 1e-4)

@pytest.mark.parametrize('loss', losses, ids=repr)
def test_every_loss_takes_a_mix_and_the_drawn_one_is_the_same(loss):
    D = Discriminator(4, fmap_base=32, fmap_max=8)
    real,fake = pictures(1)[:4],pictures(2)[:4]
    torch.manual_seed(3); drawn = loss.discriminator_loss(D, real, fake)
    torch.manual_seed(3); assert torch.equal(loss.discriminator_loss(D, real, fake, torch.rand(4, 1, 1, 1)), drawn)

# --- the scale for half precision

@pytest.mark.parametrize('loss', [WGANGP(), NonSaturating()], ids=repr)
@pytest.mark.parametrize('scale', (2.**-8, 2.**13))
def test_a_slope_scale_that_is_a_power_of_two_changes_no_bit(loss, scale):
    torch.manual_seed(0)
    D = Discriminator(8, fmap_base=32, fmap_max=8)
    real,fake = torch.randn(4, 3, 8, 8),torch.randn(4, 3, 8, 8)
    def grads(judge):
        torch.manual_seed(1); D.zero_grad(); loss.discriminator_loss(judge, real, fake).backward()
        return [p.grad.clone() for p in D.parameters() if p.grad is not None]
    for a,b in zip(grads(D), grads(Critic(D, scale)), strict=True): assert torch.equal(a, b)

def test_the_scale_saves_a_slope_that_half_precision_would_lose():
    x = torch.ones(2, 3, 4, 4, requires_grad=True)
    def slope(scale): return input_gradient((x.half().flatten(1)*1e-4).sum(1)*1e-4, x, scale) # 1e-8 per pixel, computed in half precision
    assert slope(1.).abs().max()==0
    close(slope(2.**14), torch.full_like(x, 1e-8), .01, 0)

def test_penalties_ask_the_critic_for_its_scale():
    asked = []
    class D(Critic):
        def __init__(self): self.scores = linear
        @property
        def slope_scale(self): asked.append(1); return 4.
    gradient_penalty(D(), pictures(1), pictures(2)); r1_penalty(D(), pictures(1)); NonSaturating().discriminator_loss(D(), pictures(1), pictures(2))
    assert len(asked)==3

# --- noise of least squares

def steps(loss, scores):
    "One critic step per score of the fakes; the strength of the noise after each"
    res = []
    for s in scores:
        loss.discriminator_loss(lambda x: x.mean((1,2,3)), torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), s)); res.append(loss.noise_strength)
    return res

def test_noise_strength_follows_the_papers_rule():
    scores,d = [1.]*9+[.2]*3+[5.,-5.]+[.7]*20,0.
    for s,strength in zip(scores, steps(LSGAN(), scores), strict=True):
        d = .9*d + .1*min(max(s, 0), 1)
        close(strength, .2*max(d-.5, 0)**2, 1e-5, 1e-8)

def test_only_critic_steps_move_the_average_and_each_once():
    loss = LSGAN()
    terms = loss.discriminator_terms(lambda x: x.mean((1,2,3)), torch.zeros(2,1,4,4), torch.ones(2,1,4,4))
    next(terms); assert loss.d_hat==0
    next(terms); assert loss.d_hat==loss.d_hat==pytest.approx(.1)
    assert next(terms, None) is None
    loss.generator_loss(lambda x: x.mean((1,2,3)), torch.ones(2,1,4,4))
    assert loss.d_hat==pytest.approx(.1)
    steps(loss, [1.]); assert loss.d_hat==pytest.approx(.19)

def test_average_of_scores_with_other_targets_goes_from_reals_to_fakes():
    loss = LSGAN(real_target=1., fake_target=0., fake_weight=1.)
    steps(loss, [0.]); assert loss.d_hat==pytest.approx(.1)
    steps(loss, [1.]); assert loss.d_hat==pytest.approx(.09)

def test_a_score_that_is_no_number_is_not_kept():
    loss = LSGAN()
    steps(loss, [1., float('nan'), float('inf')])
    assert loss.d_hat==pytest.approx(.1)

def test_without_noise_there_is_no_state_to_move():
    loss = LSGAN(noise=0.)
    assert steps(loss, [1.]*20)==[0.]*20

def test_shapes_without_numbers_leave_the_average_alone():
    loss = LSGAN()
    loss.discriminator_loss(lambda x: x.mean((1,2,3)), *torch.empty(2, 2, 1, 4, 4, device='meta'))
    assert loss.d_hat==0

def test_lsgan_goes_on_to_the_last_bit_from_its_state():
    scores = torch.rand(30, generator=torch.Generator().manual_seed(0)).add(.4).tolist()
    whole = steps(loss := LSGAN(), scores)
    half = LSGAN(); steps(half, scores[:13])
    again = LSGAN(); again.load_state_dict(json.loads(json.dumps(half.state_dict())))
    assert steps(again, scores[13:])==whole[13:] and again.state_dict()==loss.state_dict()
    assert all(type(v) is float for v in loss.state_dict().values())

def test_loading_replaces_what_was_noticed_last():
    loss = LSGAN()
    loss.discriminator_loss(lambda x: x.mean((1,2,3)), torch.zeros(2,1,4,4), torch.ones(2,1,4,4))
    loss.load_state_dict({'d_hat':.6})
    assert loss.d_hat==.6

@pytest.mark.parametrize('loss', losses, ids=repr)
def test_states_of_losses(loss):
    loss = replace(loss) # a fresh one
    loss.load_state_dict(loss.state_dict())
    assert loss.state_dict()==({'d_hat':0.} if isinstance(loss, LSGAN) else {}) and loss.noise_strength==0
    for bad in ({'other':1.}, {'d_hat':1., 'more':2.}):
        with pytest.raises(ValueError, match='state of another loss'): loss.load_state_dict(bad)

# --- classes

def with_logits(x): return x.flatten(1).sum(1), torch.stack([x[:,0,0,0], x[:,0,0,1], x[:,0,1,0]], 1)

@pytest.mark.parametrize('loss', losses, ids=repr)
def test_classes_of_reals_and_fakes_count_once_and_those_of_a_penalty_do_not(loss):
    real,fake,labels = pictures(1),pictures(2),tensor([0,1,2,1,0])
    judge = AuxiliaryClassifier(with_logits, labels, weight=2.)
    torch.manual_seed(0); terms,extra = zip(*[(o,judge.term()) for o in loss.discriminator_terms(judge, real, fake)])
    torch.manual_seed(0); plain = list(loss.discriminator_terms(lambda x: with_logits(x)[0], real, fake))
    assert torch.equal(torch.stack(terms), torch.stack(plain))
    for e,x in zip(extra, (real,fake)): close(e, 2*F.cross_entropy(with_logits(x)[1], labels), 1e-6)
    assert list(extra[2:])==[0.]*len(extra[2:]) and judge.term()==0.

def test_the_generators_term_falls_when_fakes_show_their_class_and_teaches_it():
    labels = tensor([0,1,2,1,0])
    fake = pictures(2).requires_grad_()
    judge = AuxiliaryClassifier(with_logits, labels)
    WGANGP().generator_loss(judge, fake); before = judge.term()
    g, = torch.autograd.grad(before, fake)
    better = (fake-g).detach()
    WGANGP().generator_loss(judge, better)
    assert judge.term()<before

def test_labels_as_numbers_of_any_kind_and_as_one_hot_vectors():
    x,labels = pictures(1),[0,1,2,1,0]
    def term(y):
        judge = AuxiliaryClassifier(with_logits, y); judge(x)
        return judge.term()
    for y in (tensor(labels), tensor(labels, dtype=torch.uint8), tensor(labels, dtype=torch.int32), F.one_hot(tensor(labels), 3).float()): close(term(y), term(labels), 1e-6)

def test_pictures_that_a_penalty_makes_up_are_judged_but_not_counted():
    x = pictures(1)
    judge = AuxiliaryClassifier(with_logits, [0]*5)
    assert torch.equal(judge.scores(x), with_logits(x)[0]) and judge.term()==0.
    gradient_penalty(judge, x, pictures(2)); r1_penalty(judge, x); assert judge.term()==0.
    judge(x); once = judge.term(); assert once>0
    judge(x); judge(x.clone()); close(judge.term(), 2*once, 1e-6)

def test_a_copy_of_the_reals_counts_as_they_do():
    "Two equal batches, or one batch that is both reals and fakes: what counts is the call, not where the numbers lie"
    x = pictures(1)
    judge = AuxiliaryClassifier(with_logits, [0,1,2,1,0])
    noted = [judge.term() for _ in WGANGP(penalty=0.).discriminator_terms(judge, x, x)]
    assert noted[0]==noted[1]>0

def test_a_function_becomes_a_critic_and_a_critic_stays_itself():
    D = Critic.of(linear)
    assert D.scores is linear and D.slope_scale==1. and Critic.of(D) is D and torch.equal(D(pictures(1)), linear(pictures(1)))

def test_the_slope_scale_of_a_classifier():
    assert AuxiliaryClassifier(with_logits, [0]).slope_scale==1. and AuxiliaryClassifier(with_logits, [0], slope_scale=8.).slope_scale==8.

def test_gradients_of_scores_and_classes_come_from_one_pass():
    torch.manual_seed(0)
    D,passes = Discriminator(8, fmap_base=32, fmap_max=8, num_classes=3),[]
    real,fake,labels = torch.randn(4, 3, 8, 8),torch.randn(4, 3, 8, 8),tensor([0,1,2,0])
    judge = AuxiliaryClassifier(lambda x: passes.append(1) or D.scores_and_logits(x), labels)
    for term in LSGAN().discriminator_terms(judge, real, fake): (term+judge.term()).backward()
    got = [p.grad.clone() for p in D.parameters() if p.grad is not None]
    D.zero_grad()
    (LSGAN().discriminator_loss(D, real, fake)+sum(F.cross_entropy(D.scores_and_logits(o)[1], labels) for o in (real,fake))).backward()
    for a,b in zip(got, [p.grad for p in D.parameters() if p.grad is not None], strict=True): close(a, b, 1e-4, 1e-6)
    assert len(passes)==2

@pytest.mark.parametrize('D,labels,says', [(with_logits, [0,1], r'5 pictures of 3 classes need 5 labels.*\(2,\)'), (with_logits, torch.zeros(5, 4), r'\(5, 3\) tensor; got shape \(5, 4\)'),
                                           (lambda x: (x.flatten(1).sum(1), x.new_zeros(5, 0)), [0]*5, 'num_classes')])
def test_labels_that_do_not_fit_are_refused(D, labels, says):
    x = pictures(1)
    with pytest.raises(ValueError, match=says): AuxiliaryClassifier(D, labels)(x)

# --- in pairs

def plain_critic(scale=1.): return lambda x: scale*x.flatten(1).sum(1)

def test_pairing_by_hand():
    torch.manual_seed(0)
    x,y = torch.randn(5, 1, 2, 2),torch.randn(5, 1, 2, 2)
    a,b = (o.flatten(1).sum(1) for o in (x, y))
    want = F.softplus(b-a).mean() + .7/2*(4+4) # the slope is two on both sides
    torch.testing.assert_close(RelativisticPairing(.7).discriminator_loss(plain_critic(), x, y), want)
    torch.testing.assert_close(RelativisticPairing(.7).generator_loss(plain_critic(), y, x), F.softplus(a-b).mean())
    torch.testing.assert_close(RelativisticPairing(.7, full_resolution=8).discriminator_loss(plain_critic(), x, y), F.softplus(b-a).mean() + .7/2*8/16)

def test_pairing_lazily_pulls_as_much():
    D = Discriminator(8, image_channels=1, fmap_base=32, fmap_max=8)
    torch.manual_seed(0)
    x,y = torch.randn(2, 8, 1, 8, 8)
    def pull(loss):
        D.zero_grad()
        for _ in range(4): loss.discriminator_loss(D, x, y).backward()
        return torch.cat([p.grad.flatten() for p in D.parameters() if p.grad is not None])
    torch.testing.assert_close(pull(RelativisticPairing(every=4)), pull(RelativisticPairing()), rtol=1e-4, atol=1e-4)
    loss,again = RelativisticPairing(every=4),RelativisticPairing(every=4)
    loss.discriminator_loss(D, x, y)
    again.load_state_dict(loss.state_dict())
    assert again.state_dict()=={'step':1} and RelativisticPairing().state_dict()=={}

def test_pairing_leaves_no_gradient_in_its_reals():
    x = torch.randn(4, 1, 2, 2, requires_grad=True)
    fake = torch.randn(4, 1, 2, 2, requires_grad=True)
    RelativisticPairing().generator_loss(plain_critic(), fake, x).backward()
    assert x.grad is None and fake.grad.abs().sum()>0

@pytest.mark.parametrize('kw', (dict(gamma=-1.), dict(gamma=float('nan')), dict(gamma=float('inf')), dict(every=0), dict(every=1.5)))
def test_pairing_that_makes_no_sense_is_refused(kw):
    with pytest.raises(ValueError, match=next(iter(kw))): RelativisticPairing(**kw)

# --- what is missing, and what makes no sense

class NoTerms(Loss):
    def generator_loss(self, D, fake): return -D(fake).mean()

def test_a_loss_says_what_it_lacks():
    from progrow.losses import loss_problem
    assert loss_problem(NoTerms()).startswith('the loss NoTerms has no discriminator_terms(self, D, real, fake, mix=None)')
    assert 'discriminator_terms' in (both := loss_problem(Loss())) and 'and no generator_loss(self, D, fake)' in both
    assert 'inherits from progrow.losses.Loss' in loss_problem(lambda *a: 0)
    assert all(loss_problem(o) is None for o in losses)

@pytest.mark.parametrize('make,says', [(lambda: WGANGP(penalty=-10), 'penalty.*got -10'), (lambda: WGANGP(drift=math.nan), 'drift.*got nan'), (lambda: WGANGP(target=math.inf), 'target must be above 0'),
    (lambda: WGANGP(penalty='10'), "penalty.*got '10'"), (lambda: LSGAN(fake_weight=-1), 'fake_weight'), (lambda: LSGAN(noise=math.inf), 'noise'),
    (lambda: LSGAN(fake_target=0.), 'two different numbers'), (lambda: NonSaturating(r1=math.inf), 'r1.*got inf')])
def test_weights_that_make_no_sense_are_refused(make, says):
    with pytest.raises(ValueError, match=says): make()
