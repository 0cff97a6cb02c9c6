"Half precision: the scale's rule against PyTorch's, gradients against 64 bits, and the checks."
from math import inf, nan
import pytest, torch, torch.nn.functional as F
from torch import nn
from progrow.losses import Critic, NonSaturating, WGANGP, gradient_penalty, r1_penalty
from progrow.networks import Discriminator, Generator
from progrow import precision as page
from progrow.precision import Precision, all_finite, precisions
from runs import fit, shorter, tiny

def networks(resolution=16, seed=0, fmap_max=16):
    torch.manual_seed(seed)
    kw = dict(fmap_base=256, fmap_max=fmap_max)
    return Generator(resolution, latent_dim=16, **kw),Discriminator(resolution, **kw)

def judge(D, p, alpha=1.):
    def scores(images):
        with p.autocast(): s = D(images, alpha=alpha)
        return s.to(images.dtype)
    return Critic(scores, p.slope_scale)

def weight_gradient(net, terms, scale=1.):
    net.zero_grad()
    for t in terms: (t*scale).backward()
    return torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten()/scale for w in net.parameters()]).double()

def pictures(r, seed=1):
    g = torch.Generator().manual_seed(seed)
    real,fake = (F.interpolate(torch.randn(8, 3, 2, 2, generator=g), size=r, mode='bilinear').tanh() for _ in range(2))
    return real,0.3*fake,torch.rand(8, 1, 1, 1, generator=g)

def error(a, b): return ((a-b).norm()/b.norm()).item()

# --- gradients

def wide_convolution(oneDNN=True):
    "Error of the product that a convolution's double backward asks for: channels and pictures change places, so the kernel is as wide as the picture"
    g = torch.Generator().manual_seed(0)
    x,w = (torch.randn(32, 8, 8, 8, generator=g).bfloat16() for _ in range(2))
    with torch.backends.mkldnn.flags(enabled=oneDNN): return error(F.conv2d(x, w, padding=1).double(), F.conv2d(x.double(), w.double(), padding=1))

def test_a_wide_convolution_is_right_to_the_last_digit_of_bf16_or_plainly_wrong():
    """oneDNN's kernel for AMX (PyTorch 2.14 on an Intel Xeon) gives another result altogether, without a warning. That is not a matter of digits,
    so no limit of this file makes room for it; PyTorch's own convolution is right on every processor"""
    assert wide_convolution(oneDNN=False)<2**-8 # one rounding of the result
    assert wide_convolution()<2**-8 or wide_convolution()>.5

def right_convolutions(name):
    "With oneDNN, unless its wide convolutions in bf16 are wrong here"
    return torch.backends.mkldnn.flags(enabled=name!='bf16' or wide_convolution()<2**-8)

losses = {'wgan-gp': WGANGP(), 'wgan-gp-1024': WGANGP(full_resolution=1024), 'r1': NonSaturating(), 'r1-1024': NonSaturating(full_resolution=1024)}

@pytest.mark.parametrize('loss', losses)
@pytest.mark.parametrize('name,limit', [('fp32',1e-4), ('bf16',.15), ('fp16',.03)])
@pytest.mark.parametrize('resolution,alpha', [(4,1.), (8,1.), (8,.3), (16,.5)])
def test_critic_gradient_is_near_that_of_64_bits(loss, name, limit, resolution, alpha):
    "The whole way: every block, the fade, the deviation over the batch, the penalty's double backward"
    _,D = networks(); D64 = networks()[1].double()
    real,fake,mix = pictures(resolution)
    p = Precision(name)
    if name=='fp16': p.loss_scale = 2.**10
    exact = weight_gradient(D64, losses[loss].discriminator_terms(judge(D64, Precision(), alpha), real.double(), fake.double(), mix.double()))
    with right_convolutions(name): g = weight_gradient(D, losses[loss].discriminator_terms(judge(D, p, alpha), real, fake, mix), p.loss_scale)
    assert error(g, exact)<limit and F.cosine_similarity(g, exact, 0)>0.98

@pytest.mark.parametrize('name,limit', [('bf16',.15), ('fp16',.03)])
@pytest.mark.parametrize('resolution,alpha', [(4,1.), (16,1.), (16,.5)])
def test_generator_gradient_is_near_that_of_32_bits(name, limit, resolution, alpha):
    G,D = networks()
    z,loss = torch.randn(8, 16, generator=torch.Generator().manual_seed(2)),WGANGP()
    def gradient(p):
        with p.autocast(): fake = G(z, resolution=resolution, alpha=alpha)
        return weight_gradient(G, [loss.generator_loss(judge(D, p, alpha), fake.float())], p.loss_scale)
    p = Precision(name)
    if name=='fp16': p.loss_scale = 2.**10
    assert error(gradient(p), gradient(Precision()))<limit

@pytest.mark.parametrize('penalty', [lambda D,x,y,u: gradient_penalty(D, x, y, mix=u), lambda D,x,y,u: r1_penalty(D, x)], ids=['wgan-gp','r1'])
def test_scales_change_next_to_nothing_in_fp32(penalty):
    _,D = networks(8)
    x,y,u = pictures(8)
    plain,p = weight_gradient(D, [penalty(judge(D, Precision()), x, y, u)]),Precision('fp32')
    p.loss_scale = 2.**16 # so that slope_scale is 256
    assert p.slope_scale==256.
    torch.testing.assert_close(weight_gradient(D, [penalty(judge(D, p), x, y, u)], p.loss_scale), plain, rtol=0, atol=0)

def test_fp16_without_scales_loses_a_small_penalty_and_with_them_not():
    def gradient(dtype, p, x):
        D = networks(8)[1].to(dtype)
        D.blocks['4'].dense1.weight.data *= 1e-5
        return weight_gradient(D, [r1_penalty(judge(D, p), x)], p.loss_scale)
    x,bare,full = pictures(8)[0],Precision('fp16'),Precision('fp16')
    bare.loss_scale = 1.
    exact = gradient(torch.float64, Precision(), x.double())
    assert error(gradient(torch.float32, bare, x), exact)>0.1
    assert error(gradient(torch.float32, full, x), exact)<0.05

# --- autocast

@pytest.mark.parametrize('name,dtype', [('fp32',torch.float32), ('bf16',torch.bfloat16), ('fp16',torch.float16)])
def test_autocast(name, dtype):
    x = torch.randn(2, 2)
    with Precision(name).autocast(): assert (x@x).dtype==dtype
    assert (x@x).dtype==torch.float32
    with torch.autocast('cpu', torch.bfloat16), Precision(name).autocast(): assert (x@x).dtype==dtype # fp32 means fp32

def test_autocast_is_left_when_something_goes_wrong():
    with pytest.raises(ZeroDivisionError):
        with Precision('bf16').autocast(): 1/0
    assert not torch.is_autocast_enabled('cpu')

# --- the scale

@pytest.mark.parametrize('seed', range(3))
def test_the_scale_is_that_of_gradscaler(seed):
    w = nn.Parameter(torch.ones(3))
    opt,p,scaler = torch.optim.SGD([w]),Precision('fp16'),torch.amp.GradScaler('cpu')
    scaler.scale(torch.ones(1))
    g = torch.Generator().manual_seed(seed)
    for i in range(7000):
        finite = bool(torch.rand((), generator=g)>(0.1 if i<50 else 0.0003))
        w.grad = torch.full_like(w, 1. if finite else nan)
        scaler.unscale_(opt); scaler.update(); p.update(finite)
        assert p.loss_scale==scaler.get_scale()
    assert p.good_steps==scaler.state_dict()['_growth_tracker']

def test_slope_scale_is_a_power_of_two_near_the_root():
    p = Precision('fp16')
    for i in range(-3, 65):
        p.loss_scale = 2.**i
        assert 0.5<=p.slope_scale**2/p.loss_scale<=2 and p.slope_scale in {2.**k for k in range(-2, 34)}

@pytest.mark.parametrize('name', ['fp32','bf16'])
def test_nothing_is_scaled_where_sizes_fit(name):
    p,t = Precision(name),torch.ones(())
    p.update(False)
    assert p.scale(t) is t and p.loss_scale==p.slope_scale==1 and p.state_dict()=={}

def test_unscale_takes_either_optimizer_and_passes_over_missing_gradients():
    OptimWrapper = pytest.importorskip('fastai.optimizer').OptimWrapper
    p = Precision('fp16')
    for wrap in (lambda o: o, lambda o: OptimWrapper(opt=o)):
        a,b,c = (nn.Parameter(torch.tensor([3.,-5.])) for _ in range(3))
        opt = wrap(torch.optim.Adam([{'params':[a]}, {'params':[b,c]}]))
        for w in (a,c): p.scale(w.square().sum()).backward()
        p.unscale(opt)
        assert a.grad.tolist()==c.grad.tolist()==[6.,-10.] and b.grad is None

def test_state_goes_through_a_file_of_plain_tensors(tmp_path):
    p,q = Precision('fp16'),Precision('fp16')
    for finite in [False]*4+[True]*7: p.update(finite)
    torch.save(p.state_dict(), tmp_path/'state.pt')
    q.load_state_dict(torch.load(tmp_path/'state.pt', weights_only=True))
    assert (q.loss_scale, q.good_steps)==(2.**12, 7)
    q.load_state_dict({}) # of a run in fp32
    assert q.loss_scale==2.**12
    r = Precision('bf16'); r.load_state_dict(p.state_dict())
    assert r.loss_scale==1

# --- all_finite

@pytest.mark.parametrize('bad', [inf, -inf, nan])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_one_bad_number_is_found(bad, dtype):
    good = [torch.randn(1000, dtype=dtype), None, torch.zeros(()), torch.zeros(0), torch.randn(3, 5).half()]
    assert all_finite(good) is True
    for i in (0, 501, 999):
        x = good[0].clone(); x[i] = bad
        assert all_finite([*good, x]) is False and all_finite(o for o in (x, None)) is False

def test_the_largest_numbers_are_finite():
    assert all_finite([torch.tensor([torch.finfo(t).max, torch.finfo(t).min]).to(t) for t in (torch.float32, torch.float16)])
    assert all_finite([torch.tensor([1e300], dtype=torch.float64)]) and all_finite([torch.full((1000,), 3e38)]) and all_finite([])

# --- devices and errors

def pretend(monkeypatch, capability, hip=None):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device=None: capability)
    monkeypatch.setattr(torch.version, 'hip', hip)

def probed(monkeypatch, fp32=(1.,0.), bf16=(.6,.01), fp16=(.6,.003)):
    "A device on which small steps take so many times as long as in fp32, and are so far off"
    monkeypatch.setattr(page, '_probe', lambda name, device: dict(fp32=fp32, bf16=bf16, fp16=fp16)[name])

@pytest.mark.parametrize('capability,hip,there', [((7,5),None,['fp32','fp16']), ((8,0),None,['fp32','bf16','fp16']), ((10,0),None,['fp32','bf16','fp16']), ((7,0),'6.0',['fp32','bf16','fp16'])])
def test_what_a_gpu_has(monkeypatch, capability, hip, there):
    pretend(monkeypatch, capability, hip)
    probed(monkeypatch)
    assert precisions('cuda:1')==there
    for n in there: assert Precision(n, 'cuda:1').device.index==1
    assert Precision('fp16', 'cuda:1').autocast().device=='cuda'

def test_errors(monkeypatch):
    with pytest.raises(ValueError, match="precision='fp8': take one of 'fp32', 'bf16', 'fp16'"): Precision('fp8')
    with pytest.raises(ValueError, match="meta has only 'fp32': take 'fp32'"): Precision('fp16', 'meta')
    with Precision('fp32', 'meta').autocast(): pass
    pretend(monkeypatch, (7,5))
    with pytest.raises(ValueError, match="cuda has only 'fp32', 'fp16': take 'fp16'"): Precision('bf16', torch.device('cuda'))
    pretend(monkeypatch, None)
    with pytest.raises(ValueError, match="PyTorch sees no CUDA GPU here: take 'cpu'"): Precision('bf16', 'cuda')

# --- what is worth asking for

@pytest.mark.parametrize('bf16,fp16,worth,fastest', [
    ((.6,.01), (.6,.003), ['fp32','bf16','fp16'], 'bf16'), ((.6,.01), (.3,.003), ['fp32','bf16','fp16'], 'fp16'),
    ((.95,.01), (1.,.003), ['fp32','bf16','fp16'], 'fp32'), ((1.4,.01), (40.,.003), ['fp32'], 'fp32'),
    ((.5,1.1), (40.,.003), ['fp32'], 'fp32'), ((.5,nan), (.9,.003), ['fp32','fp16'], 'fp16')])
def test_auto_is_the_fastest_of_what_is_worth_asking_for(monkeypatch, bf16, fp16, worth, fastest):
    probed(monkeypatch, bf16=bf16, fp16=fp16)
    p = Precision('auto')
    assert precisions()==worth and (p.name, p.asked)==(fastest, 'auto')

def test_a_slow_format_is_warned_about_with_its_factor_and_what_to_take(monkeypatch, recwarn):
    probed(monkeypatch, bf16=(.5,.01), fp16=(12.34,.003))
    Precision('bf16'); Precision('fp32'); Precision('auto')
    assert not recwarn
    with pytest.warns(UserWarning, match="precision='fp16' takes 12.3 times as long as 'fp32' on this cpu.*take 'bf16'"): Precision('fp16')
    probed(monkeypatch, bf16=(12.34,.01), fp16=(40.,.003))
    with pytest.warns(UserWarning, match="take 'fp32'"): Precision('bf16')

def test_wrong_gradients_are_refused_with_the_cure(monkeypatch):
    probed(monkeypatch, bf16=(.5,1.1))
    with pytest.raises(ValueError, match="wrong gradients.*110% off.*ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 before Python starts.*'fp32'"): Precision('bf16')
    pretend(monkeypatch, (8,0))
    with pytest.raises(ValueError, match="110% off where 1% is normal: take 'fp32'"): Precision('bf16', 'cuda')

def test_the_probe_sees_wrong_gradients_and_slow_steps(monkeypatch):
    "On a device whose convolutions in bf16 are made wrong, or slow"
    right,device = F.conv2d,torch.device('cpu')
    half = torch.is_autocast_enabled
    def wrong(x, w, **kwargs): return right(x, w*(1+half('cpu')*torch.ones_like(w[:1]).cumsum(1)), **kwargs)
    def slow(x, w, **kwargs):
        for _ in range(20*half('cpu')): right(x, w, **kwargs)
        return right(x, w, **kwargs)
    time,error = page._measure('bf16', device, 0)
    assert time>0 and error<.02
    with monkeypatch.context() as m:
        m.setattr(page.F, 'conv2d', wrong)
        assert page._measure('bf16', device, 0)[1]>.3
    with monkeypatch.context() as m:
        m.setattr(page.F, 'conv2d', slow)
        assert page._measure('bf16', device, 0)[0]>1.5*time

def test_the_probe_leaves_random_numbers_alone_and_runs_once_anywhere(monkeypatch):
    calls = []
    monkeypatch.setattr(page, '_measure', lambda name, device: calls.append(name) or (.5,.01))
    page._measured.cache_clear()
    try:
        for _ in range(3): Precision('auto'); Precision('bf16')
    finally: page._measured.cache_clear()
    assert sorted(calls)==['bf16','fp16']
    monkeypatch.undo()
    before = torch.get_rng_state()
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16): assert page._measure('bf16', torch.device('cpu'), 0)[1]<.02
    assert torch.equal(torch.get_rng_state(), before)

def test_a_run_writes_down_what_auto_became_and_goes_on_with_it(monkeypatch, tmp_path):
    probed(monkeypatch)
    run = tiny(schedule=shorter, precision='auto')
    assert run.settings['precision']=='bf16'
    fit(run, 1).save_checkpoint(tmp_path)
    probed(monkeypatch, bf16=(1.,.01), fp16=(1.,.01)) # a noisy machine: today it would be fp32
    assert tiny(schedule=shorter, precision='auto').precision.name=='fp32'
    assert tiny(schedule=shorter, precision='auto').resume(tmp_path).settings['precision']=='bf16'

def test_all_processes_take_what_the_first_has_found(monkeypatch):
    from progrow.players import agreed_precision as _precision
    probed(monkeypatch, bf16=(.6,.01), fp16=(.5,.003)) # here fp16 is the fastest
    class Second:
        def from_first(self, make): make(); return 'bf16' # the first found another
    p = _precision('auto', torch.device('cpu'), Second())
    assert p.name=='bf16' and p.asked=='auto'

def test_the_probe_works_with_one_thread_and_leaves_the_number_as_it_was(monkeypatch):
    seen,n = [],torch.get_num_threads()
    gradient = page._penalty_gradient
    monkeypatch.setattr(page, '_penalty_gradient', lambda *a: seen.append(torch.get_num_threads()) or gradient(*a))
    try:
        torch.set_num_threads(2)
        page._measure('bf16', torch.device('cpu'), seconds=0.)
        assert set(seen)=={1} and torch.get_num_threads()==2
    finally: torch.set_num_threads(n)
