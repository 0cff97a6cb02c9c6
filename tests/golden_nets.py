"The networks of the golden files, as ours."
from math import floor
import torch
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

def golden_style_generator(g):
    "StyleGAN's G with the weights, noise and average of a golden file; from 128 pixels on the file's doubling convolutions are transposed ones"
    R,n_layers = int(g['cfg_resolution']),int(g['cfg_mapping_layers'])
    G = StyleGenerator(R, int(g['cfg_num_channels']), int(g['cfg_latent_size']), int(g['cfg_fmap_base']), int(g['cfg_fmap_max']), int(g['cfg_label_size']),
                       int(g['cfg_dlatent_size']), n_layers)
    state = {f'mapping.layers.{i}.{p}': g[f'G.mapping.dense{i}.{p}'] for i in range(n_layers) for p in ('weight','bias')}
    if G.num_classes: state['mapping.embedding'], = (v for k,v in g.items() if k.startswith('G.mapping.') and '.dense' not in k)
    for i,r in enumerate(resolutions(R)):
        state.update({f'to_rgb.{r}.{p}': g[f'G.synthesis.output{i}.{p}'] for p in ('weight','bias')})
        for k in (0,1): state.update({f'blocks.{r}.{o}':v for o,v in _style_layer(g, 2*i+k, r).items()})
    G.load_state_dict({'w_avg': torch.tensor(g['w_avg']), **{k: torch.tensor(v) for k,v in state.items()}})
    return G.eval()

def _style_layer(g, layer, resolution):
    p,k = f'G.synthesis.layer{layer}.',layer%2
    res = {f'end{k}.noise.strength':g[p+'apply_noise.weight'], f'end{k}.noise.noise':g[p+'apply_noise.noise'],
           **{f'end{k}.adain.style.{o}':g[f'{p}style.{o}'] for o in ('weight','bias')}}
    if not layer: return {**res, 'constant':g[p+'const'], 'bias':g[p+'bias']}
    conv,w = 'conv' if resolution==4 else f'conv{k}',g[p+'weight']
    if k==0 and resolution>=128: w = w.swapaxes(0, 1)[:,:,::-1,::-1].copy() # (in, out), and a transposed convolution turns its kernel around
    return {**res, f'{conv}.weight':w, f'{conv}.bias':g[p+'bias']}

def golden_style_discriminator(g):
    "StyleGAN's D with the weights of a golden file"
    R = int(g['cfg_resolution'])
    D = StyleDiscriminator(R, int(g['cfg_num_channels']), int(g['cfg_fmap_base']), int(g['cfg_fmap_max']), int(g['cfg_label_size']), int(g['cfg_mbstd_group_size']))
    D.load_state_dict({f'{k}.{p}': torch.tensor(g[f'D.{v}.{p}']) for k,v in theirs(R)[1].items() for p in ('weight','bias')})
    return D
