"The networks of the golden files, as ours."
from math import floor
import numpy as np, torch
from progrow.networks import Discriminator, Generator, resolutions
from progrow.style import StyleDiscriminator, StyleGenerator

def theirs(resolution):
    "Our layer -> their layer, of G and of D: they count G's blocks upwards, D's downwards"
    res = resolutions(resolution)
    top = len(res)-1
    G,D = {'blocks.4.dense':'layer0', 'blocks.4.conv':'layer1'},{}
    for i,r in enumerate(res):
        G[f'to_rgb.{r}'],D[f'from_rgb.{r}'] = f'output{i}',f'input{top-i}'
        for k in (0,1) if i else (): G[f'blocks.{r}.conv{k}'],D[f'blocks.{r}.conv{k}'] = f'layer{2*i+k}',f'layer{2*(top-i)+k}'
    D.update({f'blocks.4.{o}':f'layer{2*top+k}' for k,o in enumerate(('conv','dense0','dense1'))})
    return G,D

def golden_networks(g, prefix='', **kwargs):
    "G and D with the weights of a golden file, in the order of conv, bias, lrelu, pool in which it was made"
    R,sizes = int(g['cfg_resolution']),dict(image_channels=g[f'{prefix}G.output0.weight'].shape[0], fmap_base=int(g['cfg_fmap_base']), fmap_max=int(g['cfg_fmap_max']))
    nets = Generator(R, latent_dim=int(g['cfg_latent_size']), **sizes), Discriminator(R, pool_before_activation=False, **sizes, **kwargs)
    for net,letter,names in zip(nets, 'GD', theirs(R)):
        state = {f'{k}.{p}': torch.tensor(g[f'{prefix}{letter}.{v}.{p}']) for k,v in names.items() for p in ('weight','bias')}
        if letter=='G': state['blocks.4.dense.weight'] = state['blocks.4.dense.weight'].flip(2, 3) # theirs acts turned around
        net.load_state_dict(state)
    return nets

def growth(lod, resolution):
    "Their level of detail -> resolution and alpha"
    return resolution>>floor(lod), 1-(lod-floor(lod))

def style_names(G):
    "Our name -> their name, of all that StyleGAN's G holds but `w_avg` and the labels' part"
    names = {f'mapping.layers.{i}.{p}': f'G.mapping.dense{i}.{p}' for i in range(len(G.mapping.layers)) for p in ('weight','bias')}
    end = {'noise.strength':'apply_noise.weight', 'noise.noise':'apply_noise.noise', 'adain.style.weight':'style.weight', 'adain.style.bias':'style.bias'}
    for i,r in enumerate(G.resolutions):
        names.update({f'to_rgb.{r}.{p}': f'G.synthesis.output{i}.{p}' for p in ('weight','bias')})
        for k in (0,1):
            conv = 'conv' if r==4 else f'conv{k}'
            start = {'constant':'const', 'bias':'bias'} if r==4 and k==0 else {f'{conv}.weight':'weight', f'{conv}.bias':'bias'}
            names.update({f'blocks.{r}.{ours}' if ours in start else f'blocks.{r}.end{k}.{ours}': f'G.synthesis.layer{2*i+k}.{t}' for ours,t in {**end, **start}.items()})
    return names

def turn(ours, v):
    "From 128 pixels on their doubling convolution is a transposed one. Its kernel is stored (out, in) as all others, but works turned around: ours <-> theirs"
    _,r,layer = (ours+'..').split('.')[:3]
    return v[:,:,::-1,::-1].copy() if layer=='conv0' and v.ndim==4 and int(r)>=128 else v

def golden_style_generator(g):
    "StyleGAN's G with the weights, noise and average of a golden file"
    G = StyleGenerator(*(int(g[f'cfg_{k}']) for k in 'resolution num_channels latent_size fmap_base fmap_max label_size dlatent_size mapping_layers'.split()))
    state = {'w_avg': g['w_avg'], **{ours: turn(ours, g[t]) for ours,t in style_names(G).items()}}
    if G.num_classes: state['mapping.embedding'], = (v for k,v in g.items() if k.startswith('G.mapping.') and '.dense' not in k)
    G.load_state_dict({k: torch.tensor(v) for k,v in state.items()})
    return G.eval()

def style_file(G):
    "The generator's part of a golden file, written from a generator of ours"
    state,c = {k: v.numpy() for k,v in G.state_dict().items()},G.config
    sizes = dict(resolution=G.resolution, num_channels=c['image_channels'], latent_size=c['latent_dim'], fmap_base=c['fmap_base'], fmap_max=c['fmap_max'],
                 label_size=c['num_classes'], dlatent_size=len(G.w_avg), mapping_layers=len(G.mapping.layers))
    labels = {'G.mapping.label_weight': state['mapping.embedding']} if G.num_classes else {}
    return {'w_avg': state['w_avg'], **labels, **{f'cfg_{k}': np.array(v) for k,v in sizes.items()}, **{t: turn(ours, state[ours]) for ours,t in style_names(G).items()}}

def golden_style_discriminator(g):
    "StyleGAN's D with the weights of a golden file"
    R = int(g['cfg_resolution'])
    D = StyleDiscriminator(*(int(g[f'cfg_{k}']) for k in 'resolution num_channels fmap_base fmap_max label_size mbstd_group_size'.split()))
    D.load_state_dict({f'{k}.{p}': torch.tensor(g[f'D.{v}.{p}']) for k,v in theirs(R)[1].items() for p in ('weight','bias')})
    return D
