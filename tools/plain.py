"""ProGAN as a textbook writes it: what `progrow` is compared with, by value in its tests and by time in bench.py.

Weights are scaled in every pass, each operation stands for itself, the critic's loss is added up before it is differentiated.
"""
from copy import deepcopy
from math import prod, sqrt
import torch, torch.nn.functional as F
from torch import nn
from progrow.networks import feature_maps, resolutions

def act(x): return F.leaky_relu(x, .2)
def up(x): return F.interpolate(x, scale_factor=2)
def down(x): return F.avg_pool2d(x, 2)
def norm(x): return x/(x.square().mean(1, keepdim=True)+1e-8).sqrt()

def deviation(x, group=4):
    "Append the standard deviation within groups, as one more channel"
    n,_,h,w = x.shape
    y = x.view(min(group, n), -1, *x.shape[1:])
    s = (y.var(0, correction=0)+1e-8).sqrt().mean((1,2,3), keepdim=True)
    return torch.cat([x, s.repeat(len(y), 1, h, w)], 1)

class Scaled(nn.Module):
    "A weight that is N(0,1), times He's constant"
    def __init__(self, *shape, gain=sqrt(2)):
        super().__init__()
        self.weight,self.bias,self.c = nn.Parameter(torch.randn(shape)),nn.Parameter(torch.zeros(shape[0])),gain/sqrt(prod(shape[1:]))

class Paint(Scaled): # (n, ni) -> (n, nf, 4, 4)
    def forward(self, z): return F.conv_transpose2d(z[:,:,None,None], (self.weight*self.c).transpose(0, 1), self.bias)
class Conv(Scaled):
    def forward(self, x): return F.conv2d(x, self.weight*self.c, self.bias, padding=self.weight.shape[-1]//2)
class Dense(Scaled):
    def forward(self, x): return F.linear(x, self.weight*self.c, self.bias)

class Generator(nn.Module):
    def __init__(self, resolution, latent_dim, fmap_base, fmap_max):
        super().__init__()
        nf = [feature_maps(r, fmap_base, fmap_max) for r in resolutions(resolution)]
        first = nn.ModuleList([Paint(nf[0], latent_dim, 4, 4), Conv(nf[0], nf[0], 3, 3)])
        self.blocks = nn.ModuleList([first, *(nn.ModuleList([Conv(o, i, 3, 3), Conv(o, o, 3, 3)]) for i,o in zip(nf, nf[1:]))])
        self.rgb = nn.ModuleList(Conv(3, o, 1, 1, gain=1) for o in nf)

    def forward(self, z, alpha=1.):
        x = norm(z)
        for i,(a,b) in enumerate(self.blocks):
            before,x = x,norm(act(a(up(x) if i else x)))
            x = norm(act(b(x)))
        y = self.rgb[-1](x)
        return y if alpha==1 else torch.lerp(up(self.rgb[-2](before)), y, alpha)

class Critic(nn.Module):
    def __init__(self, resolution, fmap_base, fmap_max):
        super().__init__()
        nf = [feature_maps(r, fmap_base, fmap_max) for r in resolutions(resolution)]
        self.rgb = nn.ModuleList(Conv(o, 3, 1, 1) for o in nf)
        last = nn.ModuleList([Conv(nf[0], nf[0]+1, 3, 3), Dense(nf[0], 16*nf[0]), Dense(1, nf[0], gain=1)])
        self.blocks = nn.ModuleList([last, *(nn.ModuleList([Conv(i, i, 3, 3), Conv(o, i, 3, 3)]) for o,i in zip(nf, nf[1:]))])

    def forward(self, images, alpha=1.):
        x = act(self.rgb[-1](images))
        for i,(a,b) in enumerate(reversed(self.blocks[1:])):
            x = act(down(b(act(a(x)))))
            if i==0 and alpha!=1: x = torch.lerp(act(self.rgb[-2](down(images))), x, alpha)
        a,b,c = self.blocks[0]
        return c(act(b(act(a(deviation(x))).flatten(1))))[:,0]

class Plain:
    "Both players and their step: WGAN-GP with drift, Adam, a running average"
    def __init__(self, resolution, latent_dim=512, fmap_base=8192, fmap_max=512):
        self.G,self.D = Generator(resolution, latent_dim, fmap_base, fmap_max),Critic(resolution, fmap_base, fmap_max)
        self.averaged,self.latent_dim = deepcopy(self.G).requires_grad_(False),latent_dim
        self.opts = [torch.optim.Adam(m.parameters(), .001, betas=(0.,.99), eps=1e-8) for m in (self.G, self.D)]

    def critic_loss(self, real, z, mix, alpha=1.):
        with torch.no_grad(): fake = self.G(z, alpha)
        x = torch.lerp(real, fake, mix).requires_grad_()
        slope, = torch.autograd.grad(self.D(x, alpha).sum(), x, create_graph=True)
        score = self.D(real, alpha)
        return (self.D(fake, alpha).mean()-score.mean()+.001*score.square().mean()
                + 10*(slope.flatten(1).norm(dim=1)-1).square().mean())

    def generator_loss(self, z, alpha=1.): return -self.D(self.G(z, alpha), alpha).mean()

    def step(self, real, alpha=1.):
        opt_g,opt_d = self.opts
        latents = lambda: torch.randn(len(real), self.latent_dim)
        opt_d.zero_grad()
        self.critic_loss(real, latents(), torch.rand(len(real), 1, 1, 1), alpha).backward()
        opt_d.step()
        opt_g.zero_grad()
        self.D.requires_grad_(False)
        self.generator_loss(latents(), alpha).backward()
        self.D.requires_grad_(True)
        opt_g.step()
        with torch.no_grad():
            for a,b in zip(self.averaged.parameters(), self.G.parameters()): a.lerp_(b, .001)

    @torch.no_grad()
    def sample(self, z): return self.averaged(z)
