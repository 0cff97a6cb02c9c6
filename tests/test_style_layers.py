"The layers of the style-based generator against numbers of an independent implementation, and against identities."
import pytest, torch, torch.nn.functional as F
from torch import nn, tensor
from helpers import close, count
from progrow.fade_in import downsample, upsample
from progrow.networks import leaky_relu
from progrow.pixelnorm import pixel_norm
from progrow.style_layers import AdaIN, MappingNetwork, NoiseInjection, adain, blur

def rand(*shape, dtype=torch.float32): return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
def norm(x, eps=1e-8):
    "Instance norm, written out"
    m = x.mean((2, 3), keepdim=True)
    return (x-m)/((x-m).square().mean((2, 3), keepdim=True)+eps).sqrt()

# --- mapping network

@torch.no_grad()
def test_mapping_golden(golden):
    g = golden('stylegan32')
    m = MappingNetwork(64)
    m.load_state_dict({f'layers.{i}.{o}': tensor(g[f'G.mapping.dense{i}.{o}']) for i in range(8) for o in ('weight', 'bias')})
    close(m(tensor(g['z'])), g['w'], 2e-5)
    close(m(tensor(g['z2'])), g['w2'], 2e-5)
    close(m(tensor(g['z'])), g['tf_w'], 2e-5)

def test_mapping_parameters():
    with torch.device('meta'):
        assert count(MappingNetwork())==2_101_248
        assert count(MappingNetwork(num_classes=10))==2_101_248 + 10*512 + 512*512
        assert count(MappingNetwork(64, 32, 3))==(64*32+32) + 2*(32*32+32)
        assert count(MappingNetwork(64, n_layers=0))==0 and count(MappingNetwork(64, n_layers=0, num_classes=3))==3*64

def test_mapping_without_layers():
    z = rand(4, 8)
    close(MappingNetwork(8, n_layers=0)(z), pixel_norm(z))
    m = MappingNetwork(8, n_layers=0, num_classes=3)
    assert m.w_dim==16
    close(m(z, tensor([0, 1, 2, 0])), pixel_norm(torch.cat([z, m.embedding[[0, 1, 2, 0]]], 1)))

def test_mapping_is_plain_he_layers():
    m,z = MappingNetwork(16, 24, 3),rand(5, 16)
    for l in m.layers: l.bias.data.normal_(std=10)
    x = z/z.square().mean(1, keepdim=True).sqrt()
    for l in m.layers: x = F.leaky_relu(F.linear(x, l.weight*.01*(2/l.weight.shape[1])**.5, l.bias*.01), .2)
    close(m(z), x, 1e-5)
    close(m(7*z), m(z), 1e-5)

@pytest.mark.parametrize('lr_mul', [1., .1, .01])
def test_lr_mul_changes_the_pace_not_the_function(lr_mul):
    def make(lr_mul):
        torch.manual_seed(0)
        return MappingNetwork(64, lr_mul=lr_mul)
    m,ref,z = make(lr_mul),make(1.),rand(32, 64)
    before = m(z).detach()
    close(before, ref(z), 1e-5)
    moved = []
    for net in (m, ref):
        opt = torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0., .99))
        (net(z)@z[0]).mean().backward()
        opt.step()
        moved.append((net(z)-before).norm().item())
    assert moved[0]/moved[1]==pytest.approx(lr_mul, rel=.05)

def test_mapping_labels():
    m,z = MappingNetwork(8, num_classes=3),rand(4, 8)
    a = m(z, tensor([0, 1, 2, 0]))
    close(m(z, F.one_hot(tensor([0, 1, 2, 0]), 3).float()), a)
    close(m(z, [0, 1, 2, 0]), a)
    assert (m(z, [1]*4)-m(z, [2]*4)).abs().max()>.01
    a.sum().backward()
    assert (m.embedding.grad.abs().sum(1)>0).all()

def test_mapping_errors():
    with pytest.raises(ValueError, match=r'\(n, 8\) latent'): MappingNetwork(8)(torch.zeros(2, 9))
    with pytest.raises(ValueError, match=r'\(n, 8\) latent'): MappingNetwork(8)(torch.zeros(8))
    with pytest.raises(ValueError, match='got none'): MappingNetwork(8, num_classes=3)(torch.zeros(2, 8))
    with pytest.raises(ValueError, match='got some'): MappingNetwork(8)(torch.zeros(2, 8), [0, 1])
    with pytest.raises(ValueError, match='0 to 2'): MappingNetwork(8, num_classes=3)(torch.zeros(2, 8), [0, 3])
    with pytest.raises(ValueError, match='n_layers'): MappingNetwork(8, n_layers=-1)
    with pytest.raises(ValueError, match='lr_mul'): MappingNetwork(8, lr_mul=0)

# --- AdaIN

def test_instance_norm_golden(golden):
    g = golden('norms_resample')
    for k,tol in (('fmap', dict(atol=1e-5)), ('tiny', dict(atol=1e-6, rtol=1e-4))):
        x = tensor(g[f'x_{k}'])
        n,c = x.shape[:2]
        close(adain(x, torch.ones(n, c), torch.zeros(n, c)), g[f'instancenorm_{k}'], **tol)

@torch.no_grad()
def test_adain_layer_golden(golden):
    "A layer's affine map of the golden network, on golden features"
    g,h = golden('stylegan32'),golden('norms_resample')
    m = AdaIN(64, 16)
    w,b = (tensor(g[f'G.synthesis.layer6.style.{o}']) for o in ('weight', 'bias'))
    pick = torch.cat([torch.arange(16), torch.arange(32, 48)])  # 16 of its 32 scales, and their biases
    m.load_state_dict({'style.weight': w[pick], 'style.bias': b[pick]})
    s = tensor(g['w'])[:3]@w[pick].T/8 + b[pick]
    y = tensor(h['instancenorm_fmap'])*(1+s[:,:16,None,None]) + s[:,16:,None,None]
    close(m(tensor(h['x_fmap']), tensor(g['w'])[:3]), y, 2e-5)

@torch.no_grad()
def test_first_layer_golden(golden):
    "Constant, noise, bias, leaky ReLU, AdaIN: what comes out has the style's means and deviations"
    g = golden('stylegan32')
    T = lambda k: tensor(g[f'G.synthesis.layer0.{k}'])
    noise,m = NoiseInjection(64, 4),AdaIN(64, 64)
    noise.load_state_dict({'strength': T('apply_noise.weight'), 'noise': T('apply_noise.noise')})
    m.load_state_dict({'style.weight': T('style.weight'), 'style.bias': T('style.bias')})
    w = tensor(g['w'])
    x = leaky_relu(T('const') + T('apply_noise.noise')*T('apply_noise.weight').view(-1, 1, 1) + T('bias').view(-1, 1, 1)).expand(8, -1, -1, -1)
    close(leaky_relu(noise(T('const'), 'fixed') + T('bias').view(-1, 1, 1)).expand(8, -1, -1, -1), x)
    s = w@T('style.weight').T/8 + T('style.bias')
    close(m(x, w), norm(x)*(1+s[:,:64,None,None])+s[:,64:,None,None], 1e-4)

@pytest.mark.parametrize('shape', [(3, 5, 8, 8), (1, 1, 2, 2), (2, 1, 7, 3), (4, 3, 1, 5)])
def test_adain_is_instance_norm(shape):
    x,(n,c) = 3*rand(*shape, dtype=torch.float64)+2,shape[:2]
    one,zero = torch.ones(n, c).double(),torch.zeros(n, c).double()
    close(adain(x, one, zero), nn.InstanceNorm2d(c, eps=1e-8).double()(x), 1e-12)
    scale,bias = rand(n, c, dtype=torch.float64),rand(n, c, dtype=torch.float64)+1
    y = adain(x, scale, bias)
    close(y, norm(x)*scale[...,None,None]+bias[...,None,None], 1e-12)
    close(y.mean((2, 3)), bias, 1e-12)
    close(y.std((2, 3), correction=0), scale.abs(), 1e-6)
    close(adain(5*x-3, scale, bias), y, 1e-6)
    close(adain(-x, -scale, bias), y, 1e-12)

@pytest.mark.parametrize('dtype,tol', [(torch.float16, .01), (torch.bfloat16, .06)])
def test_adain_half_precision(dtype, tol):
    x,scale,bias = (30*rand(2, 4, 16, 16)).to(dtype),rand(2, 4),rand(2, 4)
    y = adain(x, scale, bias)
    assert y.dtype==dtype and y.isfinite().all()
    close(y.float(), adain(x.float(), scale, bias), tol)
    assert adain(torch.full((1, 1, 4, 4), 300., dtype=dtype), torch.ones(1, 1), torch.zeros(1, 1)).isfinite().all()
    loud = adain((3000*rand(1, 1, 16, 16)).to(dtype), torch.ones(1, 1), torch.zeros(1, 1))  # its square overflows in float16
    assert loud.float().std().item()==pytest.approx(1, abs=.02)

def test_adain_under_autocast():
    m,x,w = AdaIN(8, 4),rand(2, 4, 8, 8),rand(2, 8)
    with torch.autocast('cpu', torch.bfloat16): y = m(x, w)
    assert y.dtype==x.dtype
    close(y, m(x, w), .05)

def test_adain_starts_as_instance_norm():
    m,x = AdaIN(8, 4),rand(2, 4, 8, 8)
    assert (m.style.bias==0).all() and m.style.c==pytest.approx(8**-.5) and count(m)==8*8+8
    close(m(x, torch.zeros(2, 8)), nn.InstanceNorm2d(4, eps=1e-8)(x))
    m.style.weight.data.zero_()
    close(m(x, rand(2, 8)), nn.InstanceNorm2d(4, eps=1e-8)(x))

def test_adain_images_do_not_mix():
    m,x,w = AdaIN(8, 4),rand(3, 4, 8, 8),rand(3, 8)
    close(m(x, w)[1:2], m(x[1:2], w[1:2]), 1e-6)

def test_adain_derivatives():
    x,s,b = (rand(*o, dtype=torch.float64).requires_grad_() for o in ((2, 3, 3, 4), (2, 3), (2, 3)))
    assert torch.autograd.gradcheck(adain, (x, s, b)) and torch.autograd.gradgradcheck(adain, (x, s, b))

def test_adain_flat_map():
    x = torch.ones(1, 2, 4, 4).requires_grad_()
    y = adain(x, torch.ones(1, 2), tensor([[.5, 2.]]))
    close(y, tensor([.5, 2.]).view(1, 2, 1, 1).expand_as(y), 5e-3)
    y.sum().backward()
    assert x.grad.isfinite().all()

def test_adain_errors():
    x = torch.zeros(2, 3, 4, 4)
    for s in (torch.zeros(1, 3), torch.zeros(2, 4), torch.zeros(3)):
        with pytest.raises(ValueError, match=r'must be \(2, 3\)'): adain(x, s, s)
    with pytest.raises(ValueError, match=r'\(n, c, h, w\), got \(2, 3\)'): adain(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match='8 input features'): AdaIN(8, 3)(x, torch.zeros(2, 9))

# --- noise

def test_noise_is_not_heard_at_first():
    m,x = NoiseInjection(3, 8),rand(4, 3, 8, 8)
    for kind in ('random', 'fixed', 'off'): assert torch.equal(m(x, kind), x)
    m(x).square().sum().backward()
    assert (m.strength.grad!=0).all()

def test_noise_is_one_map_for_all_channels():
    torch.manual_seed(0)
    m,x = NoiseInjection(3, 64),torch.zeros(8, 3, 64, 64)
    m.strength.data = tensor([.5, 1., -2.])
    y = m(x)
    close(y[:,1], 2*y[:,0]); close(y[:,2], -4*y[:,0])
    close(y.std((0, 2, 3)), m.strength.abs(), .03)
    assert not torch.equal(y[0], y[1]) and not torch.equal(y, m(x))
    fixed = m(x, 'fixed')
    assert torch.equal(fixed, m(x, 'fixed')) and torch.equal(fixed[0], fixed[1])
    close(fixed[:,1:2], m.noise.expand(8, -1, -1, -1))
    assert torch.equal(m(x, 'off'), x)

def test_noise_buffer_is_kept_not_trained():
    m = NoiseInjection(3, 8)
    assert [n for n,_ in m.named_parameters()]==['strength'] and [n for n,_ in m.named_buffers()]==['noise']
    other = NoiseInjection(3, 8)
    assert not torch.equal(m.noise, other.noise)
    m.strength.data.normal_()
    other.load_state_dict(m.state_dict())
    x = rand(2, 3, 8, 8)
    assert torch.equal(m(x, 'fixed'), other(x, 'fixed'))

def test_noise_from_outside():
    m,asked = NoiseInjection(2, 4),[]
    m.strength.data.fill_(1.)
    def randn(*shape, device): asked.append(shape); return torch.ones(shape, device=device)
    close(m(torch.zeros(3, 2, 5, 7), randn=randn), torch.ones(3, 2, 5, 7))  # any size may have random noise
    assert asked==[(3, 1, 5, 7)]

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_noise_keeps_the_type(dtype):
    m = NoiseInjection(2, 4)
    m.strength.data.fill_(1.)
    for kind in ('random', 'fixed'): assert m(torch.zeros(1, 2, 4, 4, dtype=dtype), kind).dtype==dtype

def test_noise_errors():
    m = NoiseInjection(2, 4)
    for bad in ('on', None, True):
        with pytest.raises(ValueError, match="'random', 'fixed' or 'off'"): m(torch.zeros(1, 2, 4, 4), bad)
    for side in (1, 8):  # 1 would be broadcast without a word
        with pytest.raises(ValueError, match=f'kept is 4x4, the features are {side}x{side}'): m(torch.zeros(1, 2, side, side), 'fixed')

# --- blur

kernel = torch.outer(tensor([1., 2, 1]), tensor([1., 2, 1]))/16
def plain(x): return F.conv2d(x, kernel.to(x).expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])

def test_blur_golden(golden):
    g = golden('norms_resample')
    close(blur(tensor(g['x_blur'])), g['blur_121'])

@pytest.mark.parametrize('shape', [(2, 3, 8, 8), (1, 1, 1, 1), (2, 1, 5, 7), (1, 4, 2, 9), (3, 2, 1, 6)])
def test_blur_is_a_convolution(shape):
    x = rand(*shape)
    close(blur(x), plain(x))
    grads = []
    for f in (blur, plain):
        v = x.clone().requires_grad_()
        g, = torch.autograd.grad((f(v)**3).sum(), v, create_graph=True)
        grads.append([g.detach(), torch.autograd.grad(g.square().sum(), v)[0]])
    for a,b in zip(*grads): close(a, b, 1e-3, 1e-4)

def test_blur_derivatives():
    x = rand(2, 2, 5, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(blur, x) and torch.autograd.gradgradcheck(blur, x)
    assert torch.autograd.gradgradcheck(lambda o: blur(o**3), x)

def test_blur_is_its_own_adjoint():
    x,y = rand(2, 3, 6, 6, dtype=torch.float64),torch.ones(2, 3, 6, 6).double().cumsum(3)
    close((blur(x)*y).sum(), (x*blur(y)).sum(), 1e-9)
    up_down = (blur(upsample(x))*upsample(y)).sum(), (x*4*downsample(blur(upsample(y)))).sum()
    close(*up_down, 1e-9)

def test_blur_is_bilinear_inside():
    x = rand(2, 3, 8, 8)
    inside = lambda o: o[...,1:-1,1:-1]
    close(inside(blur(upsample(x))), inside(F.interpolate(x, scale_factor=2, mode='bilinear')))
    close(blur(torch.ones(1, 1, 3, 3))[0,0], tensor([[9., 12, 9], [12, 16, 12], [9, 12, 9]])/16)

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_blur_types(dtype):
    x = rand(1, 2, 8, 8).to(dtype)
    assert blur(x).dtype==dtype
    close(blur(x).double(), plain(x.double()), .02)

def test_blur_after_inference_mode():
    "The kernel that is kept may be asked for first without gradients"
    from progrow.style_layers import _binomial
    _binomial.cache_clear()
    with torch.inference_mode(): blur(torch.ones(1, 1, 4, 4))
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    blur(x).sum().backward()
    close(x.grad, blur(torch.ones(1, 1, 4, 4)))

def test_blur_errors():
    with pytest.raises(ValueError, match=r'got torch.float32 of shape \(3, 8, 8\)'): blur(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match='torch.uint8'): blur(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))

# --- all of them

def test_meta_device():
    with torch.device('meta'):
        m,a,n = MappingNetwork(16, num_classes=3),AdaIN(16, 4),NoiseInjection(4, 8)
        w = m(torch.empty(2, 16), torch.empty(2, 3))
        x = torch.empty(2, 4, 8, 8)
        for kind in ('random', 'fixed', 'off'): assert blur(a(n(x, kind), w)).shape==x.shape
    assert w.device.type=='meta' and w.shape==(2, 16)

@pytest.mark.parametrize('make', [lambda: MappingNetwork(8, 6, 2, num_classes=3), lambda: AdaIN(8, 4), lambda: NoiseInjection(4, 8)])
def test_state_dict_round_trip(make, tmp_path):
    a,b = make(),make()
    for p in a.parameters(): p.data.normal_()
    torch.save(a.state_dict(), tmp_path/'m.pt')
    b.load_state_dict(torch.load(tmp_path/'m.pt', weights_only=True))
    for k,v in b.state_dict().items(): assert torch.equal(v, a.state_dict()[k])
