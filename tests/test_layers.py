"The four layer modules against numbers of an independent implementation, and against identities."
import warnings
from math import sqrt
import numpy as np, pytest, torch, torch.nn.functional as F
from torch import nn, tensor
from helpers import close
from progrow.equalized import he_constant, EqualizedConv2d, EqualizedLinear, scale_at_start
from progrow.pixelnorm import Activation, pixel_norm, PixelNorm
from progrow.minibatch_stddev import minibatch_stddev, MinibatchDiscrimination, MinibatchStdDev, stddev_group
from progrow.fade_in import upsample, downsample, fade, fade_reals

def oihw(w): return tensor(w).permute(3, 2, 0, 1)  # from [k, k, in, out]

# --- equalized

@pytest.mark.parametrize('name,gain', [('conv3', sqrt(2)), ('conv1_gain1', 1.)])
def test_conv_golden(golden, name, gain):
    g = golden('equalized_layers')
    w = oihw(g[f'{name}_w_tf'])
    m = EqualizedConv2d(w.shape[1], w.shape[0], ks=w.shape[2], gain=gain)
    m.weight.data = w
    close(m(tensor(g['x'])), g[f'{name}_y'], 1e-5)

@pytest.mark.parametrize('name,gain,lr_mul', [('dense', sqrt(2), 1.), ('dense_gain1', 1., 1.), ('dense_gain_4', sqrt(2)/4, 1.), ('map_dense_lrmul', sqrt(2), .01)])
def test_linear_golden(golden, name, gain, lr_mul):
    g = golden('equalized_layers')
    w = tensor(g[f'{name}_w_tf']).T
    m = EqualizedLinear(w.shape[1], w.shape[0], gain=gain, lr_mul=lr_mul)
    m.weight.data = w
    close(m(tensor(g['v'])), g[f'{name}_y'], 1e-5)

def test_fused_downsampling_golden(golden):
    "Convolution then 2x2 mean: what the official fused layer computes"
    g = golden('equalized_layers')
    for name in ('down_fused', 'style_down_fused', 'style_down_plain'):
        m = EqualizedConv2d(5, 7)
        m.weight.data = oihw(g[f'{name}_w_tf'])
        close(downsample(m(tensor(g['x']))), g[f'{name}_y'], 1e-5)

def test_upsampling_golden(golden):
    "Nearest upsampling then convolution; ProGAN's fused weight is stored [k, k, out, in] and acts flipped"
    g = golden('equalized_layers')
    flipped = lambda w: w.flip(2, 3)
    ws = dict(up_fused=flipped(tensor(g['up_fused_w_tf']).permute(2, 3, 0, 1)), style_up_plain=oihw(g['style_up_plain_w_tf']), style_up_fused=flipped(oihw(g['style_up_fused_w_tf'])))
    for name,w in ws.items():
        m = EqualizedConv2d(5, 7)
        m.weight.data = w
        close(m(upsample(tensor(g['x']))), g[f'{name}_y'], 1e-5)

@pytest.mark.parametrize('shape,gain,c', [((512,512,3,3), sqrt(2), 1/48), ((8192,512), sqrt(2)/4, 1/64), ((512,8192), sqrt(2), 1/64), ((1,512), 1, .0441942),
    ((512,513,3,3), sqrt(2), .0208130), ((512,3,1,1), sqrt(2), .8164966), ((3,16,1,1), 1, 1/4), ((32,32,3,3), sqrt(2), 1/12)])
def test_constants(shape, gain, c): assert he_constant(shape, gain)==pytest.approx(c, abs=1e-7)

def test_lr_mul():
    torch.manual_seed(0)
    m = EqualizedLinear(512, 512, lr_mul=.01)
    assert m.c==pytest.approx(1/1600) and m.weight.std().item()==pytest.approx(100, rel=.01)
    m.bias.data.fill_(100)
    x = torch.randn(3, 512)
    close(m(x), F.linear(x, m.weight*m.c, torch.ones(512)), 1e-5)
    close(m.scaled_weight.std(), tensor(1/16), 1e-3)

def test_layer_errors():
    with pytest.raises(ValueError, match='at least 1'): EqualizedLinear(0, 3)
    with pytest.raises(ValueError, match='ks=4'): EqualizedConv2d(3, 3, 4)
    with pytest.raises(ValueError, match='lr_mul'): EqualizedLinear(3, 3, lr_mul=0)
    with pytest.raises(ValueError, match='3 input channels'): EqualizedConv2d(3, 3)(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match='3 input features'): EqualizedLinear(3, 3)(torch.zeros(1, 4))

def trips(layer, x):
    "Output, slope, and what the slope's length gives: three derivatives deep"
    x = x.clone().requires_grad_()
    y = layer(x)
    slope, = torch.autograd.grad((y*y.cos()).sum(), x, create_graph=True)
    return y,slope,*torch.autograd.grad(slope.square().sum(), [x, *getattr(layer, 'parameters', tuple)()])

def same(a, b): return all((o-p).norm()<=1e-12*p.norm() for o,p in zip(a, b, strict=True))

@pytest.mark.parametrize('n,scales_input', [(1,True), (40,False)])
@pytest.mark.parametrize('make,shape', [(lambda: EqualizedConv2d(6, 5, lr_mul=.5), (6,4,4)), (lambda: EqualizedLinear(30, 16, lr_mul=.5), (30,))])
def test_the_smaller_of_input_and_weight_is_scaled_and_the_function_is_the_same(make, shape, n, scales_input):
    torch.manual_seed(0)
    layer,x = make().double(),torch.randn(n, *shape, dtype=torch.float64)
    assert (layer.scaled(x)[1] is layer.weight)==scales_input
    ours = trips(layer, x)
    layer.scaled = lambda x: (x, layer.weight*layer.c)
    assert same(ours, trips(layer, x))

def test_an_input_of_16_bits_is_not_scaled():
    layer = EqualizedLinear(64, 64)
    for dtype in (torch.float16, torch.bfloat16):
        x,w = layer.scaled(torch.ones(1, 64, dtype=dtype))
        assert x.dtype==dtype and (x==1).all() and torch.equal(w, layer.scaled_weight)

def test_the_deviation_is_that_of_var():
    def with_var(x):
        s = (x.reshape(4, len(x)//4, -1).var(0, correction=0)+1e-8).sqrt().mean(1)
        return torch.cat([x, s.repeat(4).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])], 1)
    torch.manual_seed(0)
    x = torch.randn(12, 3, 4, 4, dtype=torch.float64)
    assert same(trips(minibatch_stddev, x), trips(with_var, x))

# --- pixelnorm

def test_pixelnorm_golden(golden):
    g = golden('norms_resample')
    for k in ('latent', 'fmap'): close(pixel_norm(tensor(g[f'x_{k}'])), g[f'pixelnorm_{k}'])
    close(pixel_norm(tensor(g['x_tiny'])), g['pixelnorm_tiny'], atol=0, rtol=1e-5)

def test_pixelnorm_length_is_root_of_channels():
    y = PixelNorm()(torch.randn(4, 512))
    close(y.norm(dim=1), torch.full((4,), sqrt(512)), 1e-3)

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_pixelnorm_types(dtype):
    x = (torch.randn(2, 8, 4, 4)*300).to(dtype)  # 300² overflows in float16
    y = pixel_norm(x)
    assert y.dtype==dtype
    close(y.double(), pixel_norm(x.double()), .02)
    assert (pixel_norm(torch.zeros(1, 4, dtype=dtype))==0).all()  # 1e-8 is 0 in float16

# --- minibatch standard deviation

@pytest.mark.parametrize('b', [1, 2, 3, 4, 8, 12, 16])
def test_stddev_golden(golden, b):
    g = golden('minibatch_stddev')
    close(minibatch_stddev(tensor(g[f'x_b{b}'])), g[f'y_b{b}'])
    close(MinibatchStdDev()(tensor(g[f'x_b{b}'])), g[f'style_y_b{b}'])
    if g[f'g2_y_b{b}'].size: close(minibatch_stddev(tensor(g[f'x_b{b}']), 2), g[f'g2_y_b{b}'])

@pytest.mark.parametrize('group', [4, 16])
def test_stddev_golden_big(golden, group):
    g = golden('minibatch_stddev')
    close(minibatch_stddev(tensor(g['x_big']), group), g[f'y_big_g{group}'])

def test_stddev_table():
    x = tensor([0.,0,0,0,1,2,3,4,100,200,300,400]).view(12, 1, 1, 1)
    close(minibatch_stddev(x)[:,1,0,0], tensor([86.17823, 129.19051, 163.55657]*4), 1e-4)

def test_stddev_group_rule():
    stddev_group.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert [stddev_group(n) for n in (1,2,3,4,8,12,16)]==[1,2,3,4,4,4,4]
    with pytest.warns(UserWarning, match='batch of 6 .* groups of 4.*groups of 3'): assert stddev_group(6)==3
    with pytest.warns(UserWarning, match='batch of 7 .*blind'): assert stddev_group(7)==1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert stddev_group(7)==1  # said once

def test_stddev_half_precision():
    x = (torch.randn(4, 8, 4, 4)*300).half()
    y = minibatch_stddev(x)
    assert y.dtype==torch.float16 and y.isfinite().all()
    close(y[:,-1].float(), minibatch_stddev(x.float())[:,-1], 1., 1e-2)
    with torch.autocast('cpu', torch.bfloat16): close(minibatch_stddev(x.float()), minibatch_stddev(x.float()))

def test_stddev_errors():
    with pytest.raises(ValueError, match='batch 0'): minibatch_stddev(torch.zeros(0, 1, 4, 4))
    with pytest.raises(ValueError, match='group_size'): MinibatchStdDev(0)
    with pytest.raises(ValueError, match='n, c, h, w'): minibatch_stddev(torch.zeros(4, 4))

# --- fade-in

def test_resampling_golden(golden):
    g = golden('norms_resample')
    x = tensor(g['x_blur'])
    close(upsample(x), g['upscale2'])
    close(downsample(x), g['downscale2'])
    close(downsample(x), g['pg_downscale2'])

@pytest.mark.parametrize('i', range(8))
def test_process_reals_golden(golden, i):
    g = golden('process_reals')
    x,lod = tensor(g[f'x{i}']).float()/127.5-1, float(g[f'lod{i}'])
    y = fade_reals(x, 1-lod%1)
    for _ in range(int(lod)): y = upsample(y)
    close(y, g[f'y{i}'])

def test_fade():
    old,new = torch.randn(2, 2, 3, 4, 4)
    assert fade(old, new, 0) is old and fade(old, new, 1.) is new
    close(fade(old, new, tensor(.25)), .75*old+.25*new)
    for bad in (-.1, 1.1, float('nan'), tensor(2.)):
        with pytest.raises(ValueError, match='0 .all old. to 1'): fade(old, new, bad)
    with pytest.raises(ValueError, match='one number'): fade(old, new, torch.rand(3, 1, 1, 1))
    with pytest.raises(ValueError, match='equal shapes'): fade(old, upsample(new), .5)

def test_resampling_identities_and_errors():
    x = torch.randn(2, 3, 4, 6)
    close(downsample(upsample(x)), x)
    with pytest.raises(ValueError, match='3x4'): downsample(torch.zeros(1, 1, 3, 4))
    with pytest.raises(ValueError, match='uint8'): upsample(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))

def test_second_derivatives():
    "The gradient penalty differentiates twice"
    x = torch.randn(4, 2, 4, 4, dtype=torch.double, requires_grad=True)
    for f in (upsample, downsample, minibatch_stddev, pixel_norm, lambda o: fade(o, o*o, .3)): assert torch.autograd.gradgradcheck(f, x)

# --- switches

def test_scaled_at_the_start_is_the_same_function_but_not_the_same_step():
    torch.manual_seed(0); eq = EqualizedConv2d(6, 5)
    torch.manual_seed(0); he = EqualizedConv2d(6, 5); scale_at_start(he)
    x = torch.randn(2, 6, 4, 4)
    close(he(x), eq(x), 1e-6)
    assert torch.equal(he.weight, eq.scaled_weight) and he.c==1
    for m in (eq, he):
        m(x).sum().backward()
        torch.optim.SGD(m.parameters(), 1.).step()
    close(((eq.scaled_weight-he.weight).abs()>1e-6).float().mean(), tensor(1.), 1e-6)

def test_a_learning_rate_of_its_own_is_not_scaled_at_the_start():
    with pytest.raises(ValueError, match='lr_mul'): scale_at_start(nn.Sequential(EqualizedLinear(4, 4, lr_mul=.01)))

@pytest.mark.parametrize('norm', ('pixel','batch','layer',None))
def test_an_activation_has_its_norm_where_it_belongs(norm):
    x = torch.randn(8, 4, 3, 3)
    act,m = F.relu,Activation(4, norm, 'relu')
    expected = {'pixel':lambda: pixel_norm(act(x)), 'batch':lambda: act(F.batch_norm(x, None, None, training=True)),
                'layer':lambda: act(F.layer_norm(x, x.shape[1:])), None:lambda: act(x)}[norm]()
    close(m(x), expected, 1e-5)

@pytest.mark.parametrize('group', (2,4,8))
def test_minibatch_discrimination_against_a_loop(group):
    torch.manual_seed(0)
    layer,x,n = MinibatchDiscrimination(3, group, kernels=5, dims=2),torch.randn(8, 3, 4, 4),8
    m = layer.project(x.flatten(1)).view(n, 5, 2)
    mates = lambda i: [j for j in range(n) if j!=i and (j-i)%(n//group)==0]
    o = torch.stack([sum((-(m[i]-m[j]).abs().sum(-1)).exp() for j in mates(i)) for i in range(n)])
    y = layer(x)
    assert y.shape==(n, 8, 4, 4) and torch.equal(y[:,:3], x)
    close(y[:,3:], o[:,:,None,None].expand(-1, -1, 4, 4), 1e-5)

def test_minibatch_discrimination_can_be_penalized():
    layer,x = MinibatchDiscrimination(3).double(),torch.randn(4, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    slope, = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert layer.project.weight.grad.isfinite().all() and layer.project.weight.grad.abs().sum()>0
