"What must hold on every device: on the CPU in every run of the suite, on a GPU where there is one (`pytest -m gpu`)."
import copy
import numpy as np, pytest, torch
from helpers import close
from runs import adam, fit, noise, short, shorter, tiny, weights
from progrow.checkpoint import load_generator
from progrow.losses import WGANGP, NonSaturating
from progrow.metrics import sliced_wasserstein
from progrow.networks import Discriminator, Generator
from progrow.precision import _possible
from progrow.sampling import sample_images
from progrow.style import StyleDiscriminator, StyleGenerator
from progrow.switches import Switches

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.fixture(params=['cpu', pytest.param('cuda', marks=[pytest.mark.gpu, needs_gpu])])
def device(request):
    "Float32 as it is written: without TF32, and with algorithms that repeat themselves"
    with Switches(tf32=False).on():
        torch.use_deterministic_algorithms(True)
        try: yield request.param
        finally: torch.use_deterministic_algorithms(False)

kinds = dict(ProGAN={}, StyleGAN=dict(generator=StyleGenerator, discriminator=StyleDiscriminator, loss=NonSaturating(r1=10., r1_every=2)),
             classes=dict(images=noise(labels=np.arange(64)%3), conditional=True))

@pytest.mark.parametrize('alpha', (1.,.3))
def test_networks_are_those_of_the_cpu(device, alpha):
    torch.manual_seed(0)
    G,D = Generator(16, latent_dim=8, fmap_base=64, fmap_max=16),Discriminator(16, fmap_base=64, fmap_max=16)
    z = torch.randn(8, 8)
    x = G(z, alpha=alpha)
    scores = D(x, alpha=alpha)
    there = copy.deepcopy(G).to(device)(z.to(device), alpha=alpha)
    assert there.device.type==device
    close(there.cpu(), x, 1e-5)
    close(copy.deepcopy(D).to(device)(there, alpha=alpha).cpu(), scores, 1e-4)

def test_penalty_is_that_of_the_cpu(device):
    torch.manual_seed(0)
    D,real,fake,mix = Discriminator(16, fmap_base=64, fmap_max=16),torch.rand(8, 3, 16, 16),torch.rand(8, 3, 16, 16),torch.rand(8, 1, 1, 1)
    def gradients(to):
        net = copy.deepcopy(D).to(to)
        for term in WGANGP().discriminator_terms(net, real.to(to), fake.to(to), mix.to(to)): term.backward()
        return torch.cat([p.grad.flatten().cpu() for p in net.parameters() if p.grad is not None])
    want = gradients('cpu')
    assert (gradients(device)-want).norm()<1e-4*want.norm()

@pytest.mark.parametrize('kind', kinds)
def test_a_run_grows(device, kind):
    learn = tiny(device=device, **kinds[kind])
    before = weights(learn)
    fit(learn)
    assert learn.images_seen==short.total_images and learn.state.resolution==16
    assert {p.device.type for p in learn.model.parameters()}=={device} and {s['exp_avg_sq'].device.type for s in adam(learn).values()}=={device}
    after = weights(learn)
    assert all(v.isfinite().all() for v in after.values() if v.is_floating_point())
    assert sum(not torch.equal(before[k], after[k]) for k in before)>len(before)/2

@pytest.mark.parametrize('kind', kinds)
def test_a_resumed_run_ends_in_the_same_bits(device, kind, tmp_path):
    whole = weights(fit(tiny(device=device, **kinds[kind])))
    fit(tiny(device=device, **kinds[kind]), 9).save_checkpoint(tmp_path)
    again = weights(fit(tiny(device=device, **kinds[kind]).resume(tmp_path)))
    assert all(torch.equal(whole[k], again[k]) for k in whole)

def test_a_run_changes_devices(device, tmp_path):
    fit(tiny(schedule=shorter, device=device), 7).save_checkpoint(tmp_path)
    learn = fit(tiny(schedule=shorter, device='cpu').resume(tmp_path))
    assert learn.images_seen==shorter.total_images

def test_batches_are_those_of_the_cpu(device):
    "A GPU gets them a batch ahead, from another thread"
    images = noise(labels=np.arange(64)%3)
    def batches(to): return [*images.dataloaders(16, 16, 5, mirror=True, alpha=lambda k: k/80, labels=True, device=to).train]
    for here,there in zip(batches('cpu'), batches(device), strict=True):
        assert there[0].device.type==there[1].device.type==device and torch.equal(here[1], there[1].cpu())
        close(there[0].cpu(), here[0], 1e-6)

def test_a_run_with_all_switches_on_trains_and_goes_on_channels_last(device, tmp_path):
    def new(**switches): return tiny(schedule=shorter, device=device, switches=Switches(channels_last=True, **switches))
    whole = weights(fit(new()))
    fit(new(), 4).save_checkpoint(tmp_path)
    again = weights(fit(new().resume(tmp_path)))
    assert all(torch.equal(whole[k], again[k]) for k in whole)
    torch.use_deterministic_algorithms(False) # the next one chooses by time
    fast = weights(fit(new(tf32=True, benchmark=True)))
    assert all(v.isfinite().all() for v in fast.values() if v.is_floating_point())

@pytest.mark.parametrize('name', ('bf16','fp16'))
def test_half_precision_trains(device, name, monkeypatch):
    "Wherever it can be, be it fast or not"
    if name not in _possible(torch.device(device)): pytest.skip(f'{device} has no {name}')
    monkeypatch.setattr('progrow.precision._probe', lambda name, device: (1., 0.))
    learn = fit(tiny(schedule=shorter, device=device, precision=name), 4)
    assert learn.images_seen==64 and learn.skipped<4
    assert all(v.isfinite().all() for v in weights(learn).values() if v.is_floating_point())

def test_exported_pictures(device, tmp_path):
    learn = fit(tiny(device=device))
    G = load_generator(learn.export(tmp_path/'g.pt'))
    x = learn.sample(8, seed=5)
    assert x.device.type==device
    close(sample_images(G, 8, seed=5), x.cpu(), 1e-4)
    close(sample_images(G.to(device), 8, seed=5).cpu(), x.cpu(), 1e-4)

def test_metrics(device):
    a,b = (torch.tensor(noise(64).level(16)[i*32:][:32]) for i in range(2))
    here = sliced_wasserstein(a, b, min_resolution=8)
    there = sliced_wasserstein(a.to(device), b.to(device), min_resolution=8)
    assert {k:round(v, 2) for k,v in here.items()}.keys()==there.keys()
    for k,v in here.items(): assert abs(there[k]-v)<.02*abs(v)+.5, k
