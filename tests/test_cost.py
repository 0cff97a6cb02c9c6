"Costs that are counted: by hand, against a real step, and against what the operating system saw."
import os, re, subprocess, sys
from dataclasses import replace
from pathlib import Path
import pytest, torch
from torch import nn
import progrow.cost as cost
from progrow.cost import HalfPrecision, Meter, available_memory, check_memory, on_meta, plan, plan_text, readable_bytes, readable_time, step_cost, tensor_bytes, weights_memory
from progrow.losses import LSGAN, Loss, NonSaturating, WGANGP
from progrow.networks import Discriminator, Generator
from progrow.players import Players
from progrow.schedule import GrowthSchedule
from progrow.style import StyleDiscriminator, StyleGenerator

@pytest.fixture(scope='module')
def official():
    with torch.device('meta'): return Generator(1024),Discriminator(1024)

@pytest.fixture(scope='module')
def small():
    torch.manual_seed(0)
    return Generator(16, latent_dim=8, fmap_base=64, fmap_max=16),Discriminator(16, fmap_base=64, fmap_max=16)

def meta(*shape): return torch.empty(*shape, device='meta')

def critic_step(loss, draw, judge):
    "A critic's step by hand: reals, fakes without gradients, a mix, and each term backwards before the next"
    reals = torch.randn(4, 3, 16, 16)
    with torch.no_grad(): fake = draw()
    for term in loss.discriminator_terms(judge, reals, fake, torch.rand(4, 1, 1, 1)): term.backward()

# --- the meter

def test_convolution_forwards_and_backwards():
    x,w = meta(2, 3, 8, 8).requires_grad_(),meta(5, 3, 3, 3).requires_grad_()
    with Meter() as m: torch.conv2d(x, w, padding=1).sum().backward()
    assert m.flops==3*(2*2*5*8*8*3*9) # one product forwards, one for each gradient

def test_matrix_product_and_its_memory():
    a,b = meta(10, 20),meta(20, 30)
    with Meter() as m: c = a@b
    assert (m.flops,m.peak,m.live,m.traffic) == (2*10*20*30, 1200, 1200, 4*(200+600+300))
    del c
    assert (m.peak,m.live)==(1200, 0)

def test_views_and_operations_in_place_hold_nothing():
    x = meta(4, 6)
    with Meter() as m: y = x.view(24).unsqueeze(0).expand(3, 24)[1:]; x.t().add_(1); x.relu_(); x.detach().flatten().unsqueeze(-1)
    assert m.peak==0 and m.traffic>0

def test_a_view_that_is_not_called_one_counts_once():
    x = meta(4, 6)
    with Meter() as m: y = x.t().reshape(24) # a copy and an `_unsafe_view` of it
    assert m.live==m.peak==96

def test_what_is_kept_for_the_backward_pass_is_live():
    x = meta(1000).requires_grad_()
    with Meter() as m:
        y = x.exp().exp().exp()
        assert m.live==3*4000 # each result is needed again
        y.sum().backward()
        del y
        assert m.live==4000 # the gradient
    with torch.no_grad(), Meter() as m: x.exp().exp().exp()
    assert m.peak==2*4000

def test_a_real_number_stays_what_it_is():
    with Meter(): assert torch.tensor(3.).item()==3 and meta(2).sum().item()==0

def test_tensor_bytes(): assert tensor_bytes([meta(3), (meta(2, 2).half(), {'a':meta(5).bool()}), 'no', None])==12+8+5

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_autocast(small, dtype):
    G,D = small
    z = torch.randn(4, 8)
    def run(mode):
        for o in small: o.zero_grad()
        with mode: x = G(z, alpha=.3, resolution=8)
        x = x.float()
        with mode: s = D(x, alpha=.3)
        s.float().sum().backward()
        return [x, s, *[p.grad for o in small for p in o.parameters() if p.grad is not None]]
    a,b = run(torch.autocast('cpu', dtype)),run(HalfPrecision(dtype))
    for o in small: o.zero_grad()
    assert len(a)==len(b)>10 and all(o.dtype==p.dtype and torch.equal(o, p) for o,p in zip(a, b))

# --- a step

gflop = {4:1.336, 8:9.19, 16:40.6, 32:166, 64:331, 128:495, 256:660, 512:824, 1024:989} # a study before this package, less the penalty's way back through zeros (4x4: 1.50, 8x8: 9.4, 16x16: 40.8)

@pytest.mark.parametrize('resolution', [4, 8, 32, 128, 1024])
def test_arithmetic_of_the_official_networks(official, resolution):
    a,b = (step_cost(*official, WGANGP(), resolution, n) for n in (4, 8))
    assert (b.flops-a.flops)/4e9 == pytest.approx(gflop[resolution], rel=.006)

def test_memory_of_the_official_networks(official):
    def per_image(precision, D=official[1], **kw):
        a,b = (step_cost(official[0], D, WGANGP(), 1024, n, precision=precision) for n in (4, 8))
        return (b.critic_memory-a.critic_memory)/4e6,(b.generator_memory-a.generator_memory)/4e6
    assert per_image('fp32')==pytest.approx((944, 1364), rel=.03)
    with torch.device('meta'): D = Discriminator(1024, pool_before_activation=False)
    assert per_image('fp32', D)[0]==pytest.approx(1576, rel=.02)
    assert per_image('bf16', D)[0]==pytest.approx(811, rel=.03)

@pytest.mark.parametrize('loss', [WGANGP(), LSGAN(), NonSaturating(), NonSaturating(r1=0)], ids=str)
def test_a_real_step_asks_for_what_was_counted(small, loss):
    G,D = small
    with Meter() as c: critic_step(loss, lambda: G(torch.randn(4, 8)), D)
    D.zero_grad(); D.requires_grad_(False)
    with Meter() as g: loss.generator_loss(D, G(torch.randn(4, 8))).backward()
    D.requires_grad_(True); G.zero_grad()
    s = step_cost(G, D, loss, 16, 4)
    assert s.flops==c.flops+g.flops
    assert (s.critic_memory,s.generator_memory)==pytest.approx((c.peak,g.peak), abs=2000)
    assert s.memory==max(s.critic_memory, s.generator_memory)

def test_counting_leaves_no_trace(small):
    G,D = small
    old,loss,state = [p.clone() for o in small for p in o.parameters()],LSGAN(),torch.get_rng_state()
    before = dict(vars(loss))
    D.requires_grad_(False)
    counts = [step_cost(G, D, loss, 16, 4) for _ in range(3)]
    assert counts[1]==counts[2] and counts[0].memory==pytest.approx(counts[1].memory, abs=2000) # the first makes a constant matrix
    assert not any(p.requires_grad for p in D.parameters()) and all(p.requires_grad for p in G.parameters())
    D.requires_grad_(True)
    assert all(torch.equal(p, o) and p.grad is None for p,o in zip([p for o in small for p in o.parameters()], old))
    assert vars(loss)==before and torch.equal(torch.get_rng_state(), state)

def test_a_frozen_critic_is_counted_as_one_that_learns(small):
    G,D = small
    a = step_cost(G, D, WGANGP(), 16, 4)
    D.requires_grad_(False); b = step_cost(G, D, WGANGP(), 16, 4); D.requires_grad_(True)
    assert a==pytest.approx(b, abs=2000)

def test_fades_labels_and_losses_that_want_a_number(small):
    G,D = small
    assert step_cost(G, D, WGANGP(), 16, 4, alpha=.5).memory > step_cost(G, D, WGANGP(), 16, 4).memory
    labelled = step_cost(Generator(8, latent_dim=8, fmap_max=8, num_classes=3), Discriminator(8, fmap_max=8, num_classes=3), WGANGP(), 8, 4)
    assert labelled.flops>0
    class Curious(Loss):
        def discriminator_terms(self, D, real, fake, mix=None):
            s = D(real)
            if s.mean().item()>2 or bool(s[0]>s[1]): raise AssertionError
            yield s.mean()*float(s.std())
        def generator_loss(self, D, fake): return D(fake).mean()
    assert step_cost(G, D, Curious(), 8, 2).flops>0

# --- style networks

def style(**kw):
    torch.manual_seed(0)
    sizes = dict(fmap_base=64, fmap_max=16, num_classes=kw.pop('num_classes', 0))
    return StyleGenerator(16, latent_dim=8, **sizes, **kw),StyleDiscriminator(16, **sizes)

@pytest.mark.parametrize('classes', (0,3))
@pytest.mark.parametrize('loss', [NonSaturating(), NonSaturating(r1_every=4), WGANGP()], ids=str)
def test_a_real_step_of_style_networks_asks_for_what_was_counted(loss, classes):
    "with mixing, which is counted as if it were in every step"
    G,D = style(num_classes=classes, mixing=1.)
    labels = (torch.arange(4)%3,) if classes else ()
    s,loss = step_cost(G, D, loss, 16, 4),replace(loss)
    draw,judge = lambda: G(torch.randn(4, 8), *labels),lambda x: D(x, *labels)
    with Meter() as c: critic_step(loss, draw, judge)
    D.zero_grad(); D.requires_grad_(False)
    with Meter() as g: loss.generator_loss(judge, draw()).backward()
    assert s.flops==c.flops+g.flops
    assert (s.critic_memory,s.generator_memory)==pytest.approx((c.peak,g.peak), abs=3000)

def test_counting_style_networks_leaves_no_trace_and_does_not_depend_on_chance():
    G,D = style()
    G.eval()
    before,loss = {k:v.clone() for k,v in G.state_dict().items()},NonSaturating(r1_every=4)
    step_cost(G, D, loss, 16, 4)
    state = torch.get_rng_state()
    counts = {step_cost(G, D, loss, 16, 4) for _ in range(8)}
    assert len(counts)==1 and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k,v in G.state_dict().items()) and G.mixing==.9 and not G.training and loss.state_dict()=={'r1_step':0}
    assert counts=={step_cost(G.train(), D, loss, 16, 4)}

def test_what_a_step_of_style_networks_costs():
    G,D = style()
    c = lambda *args, **kw: step_cost(G, D, NonSaturating(), *args, **kw)
    assert c(16, 4, .5).memory>c(16, 4).memory>c(8, 4).memory and c(16, 4).memory>c(16, 4, precision='bf16').memory
    assert c(16, 4).flops==step_cost(G, D, NonSaturating(r1_every=16), 16, 4).flops>step_cost(G, D, NonSaturating(0.), 16, 4).flops
    assert step_cost(*style(mixing=0.), NonSaturating(), 16, 4).flops<c(16, 4).flops
    assert weights_memory(G, D).averaged==4*(sum(p.numel() for p in G.parameters())+2*(16+64+256)+8) # noise maps and the average of w
    with pytest.raises(ValueError, match=r'batch_size=\{..., 16:\d+\}'): check_memory(G, D, NonSaturating(), 16, 16, available=c(16, 16, .5).memory-1)
    assert check_memory(G, D, NonSaturating(), 16, 16, available=10**9)==pytest.approx(c(16, 16, .5).memory, abs=2000)

def test_official_style_networks_are_counted_without_memory():
    with torch.device('meta'): G,D,g,d = StyleGenerator(1024),StyleDiscriminator(1024),Generator(1024),Discriminator(1024)
    a,b = step_cost(G, D, NonSaturating(), 1024, 4),step_cost(g, d, NonSaturating(), 1024, 4)
    assert b.flops<a.flops<1.2*b.flops and a.memory>b.memory # the same convolutions, and blurs

def test_meta_copies_hold_buffers_too():
    class Net(nn.Module):
        def __init__(self): super().__init__(); self.lin = nn.Linear(3, 3); self.register_buffer('b', torch.ones(2)); self.again = self.lin
    net = Net(); m = on_meta(net)
    assert all(t.is_meta for t in m.state_dict().values()) and not any(t.is_meta for t in net.state_dict().values())
    assert m.again is m.lin and type(m) is Net

@pytest.mark.skipif(not os.access('/proc/self/clear_refs', os.W_OK), reason='needs Linux, where the peak of memory can be set back')
def test_the_operating_system_saw_as_much():
    code = '''if True:
        import sys, torch
        from progrow.cost import step_cost
        from progrow.losses import WGANGP
        from progrow.networks import Discriminator, Generator
        from progrow.players import Players
        def status(k): return next(int(l.split()[1])*1024 for l in open('/proc/self/status') if l.startswith(k))
        kw = dict(fmap_base=1024, fmap_max=64)
        G,D = Generator(128, **kw),Discriminator(128, **kw)
        players = Players(G, D, WGANGP())
        def step(n, r):
            for term in players.critic_terms(torch.randn(n, 3, r, r)): term.backward()
            D.zero_grad()
        step(1, 4) # the libraries
        open('/proc/self/clear_refs', 'w').write('5')
        before = status('VmRSS'); step(4, 128)
        print((status('VmHWM')-before)/step_cost(G, D, WGANGP(), 128, 4).critic_memory)'''
    env = {**os.environ, 'MALLOC_MMAP_THRESHOLD_':'65536', 'OMP_NUM_THREADS':'1', 'PYTHONPATH':str(Path(cost.__file__).parents[1])}
    out = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=env, capture_output=True, text=True)
    assert out.returncode==0, out.stderr
    assert .9 < float(out.stdout) < 1.5

@pytest.mark.parametrize('kw,words', [(dict(precision='int8'), 'fp32, bf16, fp16'), (dict(batch_size=0), '1 or more'), (dict(resolution=12), '12')])
def test_complaints(small, kw, words):
    with pytest.raises(ValueError, match=words): step_cost(*small, WGANGP(), **{'resolution':16, **kw})

# --- what is held, what is free

def test_weights(official):
    f = weights_memory(*official)
    assert f.averaged==4*23_079_115 and f.weights==4*(23_079_115+23_087_249) and f.adam==2*f.weights and sum(f)==f.weights+f.averaged+f.adam

def test_available(monkeypatch):
    free = available_memory()
    assert free is None or free>0
    monkeypatch.setattr(cost, '_machine_memory', lambda: 100)
    for groups,expected in (([], 100), ([70, 200], 70), ([-5], 0)):
        monkeypatch.setattr(cost, '_group_memory', lambda: groups)
        assert available_memory()==expected
    monkeypatch.setattr(cost, '_machine_memory', lambda: None)
    assert available_memory() is None

def test_available_on_a_gpu(monkeypatch):
    for k,v in dict(mem_get_info=(1000, 5000), memory_reserved=300, memory_allocated=120).items(): monkeypatch.setattr(torch.cuda, k, lambda device, v=v: v)
    assert available_memory('cuda:0')==1180

def test_without_psutil(monkeypatch):
    monkeypatch.setitem(sys.modules, 'psutil', None)
    assert (cost._machine_memory() is None) == (not Path('/proc/meminfo').exists())

def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for k,v in files.items(): (folder/k.replace('__', '.')).write_text(v)

def test_limits_of_a_container(tmp_path):
    (tmp_path/'v2').write_text('0::/a/b\n')
    write(tmp_path/'new', memory__max='900\n', memory__current='100\n')
    write(tmp_path/'new'/'a', memory__max='500\n', memory__current='300\n', memory__stat='anon 1\ninactive_file 50\n')
    write(tmp_path/'new'/'a'/'b', memory__max='max\n', memory__current='1\n')
    assert sorted(cost._group_memory(tmp_path/'v2', tmp_path/'new'))==[250, 800]
    (tmp_path/'v1').write_text('4:cpu,memory:/job/x\n3:cpuset:/\n')
    write(tmp_path/'old'/'memory', **{'memory__limit_in_bytes':'700', 'memory__usage_in_bytes':'200', 'memory__stat':'inactive_file 9\ntotal_inactive_file 30\n'})
    assert cost._group_memory(tmp_path/'v1', tmp_path/'old')==[530] # a container sees its own folder at the top, and no /job/x
    assert cost._group_memory(tmp_path/'none')==[]

# --- refusing

@pytest.mark.parametrize('precision,share', [('fp32',.1), ('fp32',.7), ('fp16',.4)])
def test_the_batch_in_the_message_fits_and_no_larger_one(small, precision, share):
    free = int(share*step_cost(*small, WGANGP(), 16, 64, .5, precision).memory)
    def need(n): return check_memory(*small, WGANGP(), 16, n, precision, available=free)
    with pytest.raises(ValueError, match='16x16 with batch 64') as e: need(64)
    n = int(re.search(r'16:(\d+)', str(e.value))[1])
    assert (n<4 or n%4==0) and need(n)<=free
    with pytest.raises(ValueError): need(n+4 if n>=4 else n+1)
    assert ('bf16' in str(e.value)) == (precision=='fp32' and step_cost(*small, WGANGP(), 16, 64, .5, 'bf16').memory<=free)

def test_half_precision_is_offered_where_it_fits(official):
    with pytest.raises(ValueError, match="128:4}; or take precision='bf16'"): check_memory(*official, WGANGP(), 128, 8, available=10**9)

def test_refusals_at_the_edges(small):
    need = check_memory(*small, WGANGP(), 16, 4, available=10**12)
    assert check_memory(*small, WGANGP(), 16, 4, available=need)==need
    assert check_memory(*small, WGANGP(), 16, 4, fixed=5, available=10**12)==need+5
    with pytest.raises(ValueError, match='4 needs about'): check_memory(*small, WGANGP(), 16, 4, fixed=1, available=need)
    with pytest.raises(ValueError, match='not even one image fits'): check_memory(*small, WGANGP(), 16, 1, available=10)
    assert check_memory(*small, WGANGP(), 16, 4, device='cpu')==need

def test_nobody_knows_what_is_free(small, monkeypatch):
    monkeypatch.setattr(cost, '_machine_memory', lambda: None)
    assert check_memory(*small, WGANGP(), 16, 4)>0

# --- plans

@pytest.mark.parametrize('loss,steps,want', [
    (WGANGP(), [9., .9, .05, .05], .05), # one that warms up, and one in which the machine was busy
    (WGANGP(), [9., .1, .2, .1], .1),
    (NonSaturating(r1_every=4), [9., *3*[.02, .02, .02, .1]], .04), # one in four has a penalty
    (NonSaturating(r1_every=4.), [9., 1., 1., 1., 5.], 2.), # as a command line gives it
    (NonSaturating(r1_every=4), [30., 30.], 30.)], ids=str) # broken off
def test_the_median_round_counts(small, monkeypatch, loss, steps, want):
    left = iter(steps)
    monkeypatch.setattr(cost, '_timed_step', lambda *_: next(left))
    assert cost.seconds_per_step(Players(*small, loss), torch.zeros(4, 3, 16, 16))==pytest.approx(want)
    assert not [*left]

def test_plan_agrees_with_the_schedule():
    s = GrowthSchedule.named('official', 64, gpus=8)
    t,ref = plan(s, {r:r/1000 for r in (4,8,16,32,64)}, {64:5e9}),s.table()
    assert list(t)=='phase resolution from_kimg images batch learning_rate steps seconds memory'.split()
    for c in ('phase','resolution','from_kimg','batch','learning_rate','steps'): assert t[c].tolist()==ref[c].tolist()
    assert t.images.sum()==s.total_images and t.seconds.tolist()==[n*r/1000 for n,r in zip(t.images, t.resolution)]
    assert t.memory.isna().sum()==len(t)-2 and plan_text(t).endswith('at most ?')

def test_plan_of_a_run_that_goes_on():
    s = GrowthSchedule(16, fade_kimg=1, stabilize_kimg=2, batch_size=16)
    t = plan(s, {4:1,8:1,16:1}, {4:1,8:2,16:3}, images_seen=2500) # half through the first fade
    assert t.resolution.tolist()==[8,8,16,16] and t.from_kimg[0]==2.5 and t.images[0]==500 and t.steps[0]==32
    assert t.images.sum()==s.total_images-2500 and t.seconds.sum()==s.total_images-2500
    assert plan_text(t).splitlines()[-1]=='total: 5,500 images, 345 steps, 91.7 min, at most 1 MB'
    assert plan_text(plan(s, {}, {}, s.total_images))=='Nothing is left to train.'

def test_readable():
    assert [readable_bytes(n) for n in (0, 1, 10**6+1, 999*10**6, 10**9)]==['0 MB','1 MB','2 MB','999 MB','1.0 GB']
    assert [readable_time(s) for s in (0, .4, 119, 150, 3*3600, 5*86400)]==['0 s','0 s','119 s','2.5 min','3.0 h','5.0 days']
