"Files as the official code writes them, made from networks of ours: small, of both papers, for tests."
import pickle, sys, types
from contextlib import contextmanager
import numpy as np, torch
from progrow.layer_table import to_official
from progrow.networks import Discriminator, Generator
from progrow.style import StyleDiscriminator, StyleGenerator

@contextmanager
def official_class(module):
    "While this lasts, `module` has a class `Network` as the official code has, so that an object of it can be pickled"
    names = ['.'.join(module.split('.')[:i+1]) for i in range(module.count('.')+1)]
    made = [n for n in names if n not in sys.modules]
    for n in made: sys.modules[n] = types.ModuleType(n)
    class Network:
        def __init__(self, **state): self.state = state
        def __getstate__(self): return self.state
    Network.__module__,Network.__qualname__ = module,'Network'
    sys.modules[module].Network = Network
    try: yield Network
    finally:
        for n in made: del sys.modules[n]

def randomize(net, seed=0):
    "Weights that say where they belong"
    torch.manual_seed(seed)
    for v in net.state_dict().values(): v.add_(.3*torch.randn_like(v))
    return net.eval().requires_grad_(False)

def networks(family, classes=0, resolution=16, channels=3):
    "(G, D, Gs) of one size"
    sizes = dict(image_channels=channels, fmap_base=64, fmap_max=16, num_classes=classes)
    if family=='stylegan':
        G,Gs = (StyleGenerator(resolution, latent_dim=8, w_dim=12, mapping_layers=3, **sizes) for _ in 'ab')
        return [randomize(o, i) for i,o in enumerate((G, StyleDiscriminator(resolution, **sizes), Gs))]
    G,Gs = (Generator(resolution, latent_dim=8, **sizes) for _ in 'ab')
    D = Discriminator(resolution, pool_before_activation=family=='fused', **sizes)
    return [randomize(o, i) for i,o in enumerate((G, D, Gs))]

def record(Network, net, name, family, **more):
    "One network as the official pickles have it"
    style = family=='stylegan'
    state,c = to_official(net, 'tf', 'auto' if style else family=='fused'),net.config
    said = dict(num_channels=c['image_channels'], resolution=net.resolution, label_size=c['num_classes'], fmap_base=c['fmap_base'],
                fmap_max=c['fmap_max'], fused_scale='auto' if style else family=='fused', dtype='float32', structure='auto')
    def one(name, function, state, **others):
        return Network(version=3, name=name, static_kwargs=said, build_module_src='raise SystemExit', build_func_name=function,
                       variables=list(state.items()), **others)
    lod = {'lod':np.float32(0)}
    if name=='D': return one(name, 'D_basic' if style else 'D_paper', {**lod, **state})
    said['latent_size'] = c['latent_dim']
    if not style: return one(name, 'G_paper', {**lod, **state})
    said.update(dlatent_size=len(net.w_avg), mapping_layers=c['mapping_layers'], style_mixing_prob=.8)
    parts = dict(G_mapping={k:v for k,v in state.items() if k.startswith(('Dense','LabelConcat'))})
    own = {'dlatent_avg':state['dlatent_avg']}
    parts['G_synthesis'] = {**lod, **{k:v for k,v in state.items() if k not in parts['G_mapping'] and k not in own}}
    return one(name, 'G_style', own, components={k[2:]:one(k, k, v, components={}) for k,v in parts.items()})

def official_pickle(nets, family, protocol=2):
    "The bytes of a published file with (G, D, Gs)"
    with official_class('dnnlib.tflib.network' if family=='stylegan' else 'tfutil') as Network:
        return pickle.dumps(tuple(record(Network, o, n, family) for o,n in zip(nets, ('G','D','Gs'))), protocol)

def golden_like(nets, family):
    "A golden file with the results of our own networks: its format, with fused layers, labels and any size"
    G,D,_ = nets
    fused = 'auto' if family=='stylegan' else family=='fused'
    r,c,classes = G.resolution,G.config,G.num_classes
    torch.manual_seed(5)
    z,x = torch.randn(4, c['latent_dim']),torch.randn(4, c['image_channels'], r, r)
    label = torch.eye(classes)[torch.arange(4)%classes] if classes else None
    g = dict(z=z, d_in=x, gp_fake=x.flip(0), gp_eps=torch.rand(4, 1, 1, 1), lods=[0., .4, 1.])
    g |= {f'cfg_{k}':v for k,v in dict(resolution=r, latent_size=c['latent_dim'], fmap_base=c['fmap_base'], fmap_max=c['fmap_max'],
                                       num_channels=c['image_channels'], label_size=classes).items()}
    if family!='stylegan': g['cfg_fused_scale'] = fused
    for p,o in (('G', G), ('D', D)): g.update({f'{p}.{k}':v for k,v in to_official(o, 'torch', fused).items()})
    if classes: g['label'] = label
    g['d_param_names'] = [k for k in to_official(D, 'torch', fused)]
    for i,alpha in enumerate((1., .6)):
        g[f'img_lod{i}'],g[f'lod{i}_fake_scores'] = G(z, label, r, alpha),D(x.flip(0), label, alpha)[:,None]
        g[f'd_scores_lod{i}'] = g[f'lod{i}_real_scores'] = D(x, label, alpha)[:,None]
    if classes and family!='stylegan': g['d_labels_lod0'] = D.scores_and_logits(x)[1]
    if family=='stylegan':
        w = G.mapping(z, label)
        g.update(w=w, w_avg=G.w_avg, truncs=[[.7, 2]], wp_trunc0=G.truncate(w, .7, 2), img_zero_noise_strength=G(z, label, noise='off'))
    return {k:np.asarray(v) for k,v in g.items()}
