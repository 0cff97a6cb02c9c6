"A judge, directions and separability on worlds whose answers are known."
import math
import numpy as np, pytest, torch
from torch import nn
from progrow.data import image_pyramid
from progrow.directions import _certain, _plane, _unknown, Directions, direction_effects, direction_slider, find_directions, linear_separability, train_judge

class World(nn.Module):
    "The left half is as bright as the first number of a latent vector says, the right half as the second"
    latent_dim,num_classes,resolution,image_channels = 6,0,8,1
    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))
    def forward(self, z, labels=None, resolution=None, alpha=1.):
        x = z[:,:2].view(-1, 1, 1, 2).repeat_interleave(4, 3).expand(-1, 1, 8, 8)
        return (x*self.one/2).clamp(-1, 1)

class Eye(nn.Module):
    "A judge that is always right"
    names = ['left','right']
    def forward(self, x): return torch.stack([x[...,:4].mean((1,2,3)), x[...,4:].mean((1,2,3))], 1)

def test_a_judge_learns_what_can_be_seen():
    u = np.random.default_rng(0).integers(0, 256, (300,1,1,2)).repeat(8, 2).repeat(4, 3).astype(np.uint8)
    answers = {'left':u[:,0,0,0]>127, 'right':u[:,0,0,7]>127}
    p = image_pyramid(u, 8, cache=False)
    before = torch.random.get_rng_state()
    judge = train_judge(p, answers, epochs=6)
    assert torch.equal(before, torch.random.get_rng_state())
    assert min(judge.accuracy.values())>.85 and not judge.training
    a,b = (train_judge(p, answers, epochs=1).state_dict() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    for bad,match in (({'a':np.ones(300, bool)}, '10 of each'), ({'a':np.ones(300)}, 'yes or no'), ({'a':answers['left'][:9]}, 'yes or no')):
        with pytest.raises(ValueError, match=match): train_judge(p, bad)

def test_directions_are_those_of_the_world():
    G,d = World(),find_directions(World(), Eye(), 'z', 1000)
    assert torch.allclose(d.normals, torch.eye(6)[:2], atol=.15) and min(d.accuracy.values())>.9
    effects = direction_effects(G, Eye(), d, n=128)
    assert (effects.diag()>.5).all() and (effects-effects.diag().diag()).abs().max()<.2
    assert len(direction_slider(G, d, [1,2], ['left','right'], (-1.,0.,1.)).values)==9
    measure,h = linear_separability(G, Eye(), 'z', 1000)
    assert 1<=measure<1.6 and set(h)=={'left','right'}

def test_moving_keeps_the_length_of_z_and_leaves_others_alone():
    n = torch.nn.functional.normalize(torch.tensor([[1.,0,0,0], [1,1,0,0]]), dim=1)
    z,w = (Directions(['a','b'], o, n, torch.ones(2), {}) for o in 'zw')
    x = torch.randn(5, 4)
    assert torch.allclose(z.move(x, 'a', 2.).norm(dim=1), torch.full((5,), 2.), atol=1e-5)
    assert torch.allclose(w.move(x, 'a', 2.)-x, 2*n[:1].expand(5, -1), atol=1e-5)
    assert torch.allclose((w.move(x, 'a', 2., alone=True)-x)@n[1], torch.zeros(5), atol=1e-5)
    with pytest.raises(ValueError, match="no direction 'c': there are a, b"): w.move(x, 'c', 1.)

def test_what_is_unknown():
    a = np.array([True,False]*50)
    assert _unknown(a, a)==pytest.approx(0)==_unknown(a, ~a) and math.exp(_unknown(a, np.repeat([True,False], 50)))==pytest.approx(2)

def test_one_answer_only_is_refused():
    with pytest.raises(ValueError, match="'hat'.*50 say yes.*leave this attribute out"): _certain(torch.ones(100), 'hat')
    with pytest.raises(ValueError, match='has no styles'): find_directions(World(), Eye(), 'w')
    x = torch.randn(400, 3)
    normal,true,told = _plane(x, x[:,1], 'b')
    assert torch.allclose(normal, torch.eye(3)[1], atol=.1) and (true==told).mean()>.9
