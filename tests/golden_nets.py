"The networks of the golden files, as ours."
from math import floor
import torch
from progrow.networks import Discriminator, Generator, resolutions

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
