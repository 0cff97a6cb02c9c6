"Projection: near for the generator's own pictures, in every space, and nothing of the generator changed."
import numpy as np, pytest, torch
from progrow.images import save_images
from progrow.networks import Generator
from progrow.path_length import pixel_distance
from progrow.projection import _handing, _noise_penalty, _shake, laplacian_distance, project, project_files, projection_floor
from progrow.sampling import draw, sample_images
from progrow.style import StyleGenerator

how = dict(steps=40, distance=laplacian_distance)
few = {**how, 'steps':5}

def styled(num_classes=0, noise=True):
    torch.manual_seed(0)
    G = StyleGenerator(16, latent_dim=16, fmap_max=16, num_classes=num_classes, noise=noise)
    for k,p in G.named_parameters():
        if k.endswith('strength'): p.data.normal_(std=.1)
        if k.endswith('style.weight'): p.data.mul_(3)
    return G

def plain(num_classes=0):
    torch.manual_seed(0)
    return Generator(8, latent_dim=8, fmap_max=8, num_classes=num_classes)

@pytest.mark.parametrize('space', ['z','w','w+'])
def test_own_pictures_of_a_style_generator_come_nearer(space):
    G = styled()
    before = {k:v.clone() for k,v in G.state_dict().items()}
    found = project(G, sample_images(G, 2, seed=5), space, **how)
    assert found.space==space and (found.errors<(1 if space=='z' else .7)*found.first).all()
    assert torch.allclose(draw(G, **found.inputs), found.images, atol=1e-4) and torch.equal(found.film[-1], found.images)
    assert G.training and all(p.requires_grad and p.grad is None for p in G.parameters())
    assert all(torch.equal(v, before[k]) for k,v in G.state_dict().items())

def test_own_pictures_of_progan_are_found_again():
    G = plain()
    x = sample_images(G, 3, seed=5)
    found = project(G, x, steps=150, distance=pixel_distance)
    assert found.space=='z' and found.noise==[] and (found.errors<.3*found.first).all()
    assert torch.allclose(found.latents.norm(dim=1), torch.full((3,), 8**.5), atol=1e-3)

def test_pictures_are_projected_in_batches():
    G = styled(noise=False)
    found = project(G, sample_images(G, 3), batch_size=2, frames=3, **few)
    assert found.images.shape==(3,3,16,16) and len(found.curve)==5 and [len(o) for o in found.film]==[3]*len(found.film)

def test_classes_are_kept():
    G = plain(3)
    found = project(G, sample_images(G, 2, labels=[2,0]), labels=[2,0], **few)
    assert torch.allclose(draw(G, **found.inputs), found.images, atol=1e-4)
    S = styled(3)
    found = project(S, sample_images(S, 2, labels=[2,0]), labels=[2,0], **few)
    assert found.labels is None and torch.allclose(draw(S, **found.inputs), found.images, atol=1e-4)
    assert len(projection_floor(S, 2, **few).errors)==2
    with pytest.raises(ValueError, match='has 3 classes'): project(S, torch.zeros(1, 3, 16, 16))

def test_noise_stays_noise():
    G = styled()
    x = torch.zeros(1, 3, 16, 16)
    x[...,8:] = .8
    free,kept = (project(G, x, noise_weight=o, **how).noise for o in (0., 1e5))
    assert _noise_penalty(kept)<_noise_penalty(free) and all(abs(o.mean())<1e-4 for o in kept)

def test_maps_are_handed_out_layer_by_layer_and_again():
    maps = [torch.randn(2, 1, r, r) for r in (4,4,8)]
    randn = _handing(maps)
    for _ in range(2): assert all(torch.equal(randn(*o.shape), o) for o in maps)
    assert _shake(0)==.05 and _shake(.75)==_shake(1)==0

def test_same_seed_same_latents():
    G = plain()
    x = sample_images(G, 1, seed=5)
    a,b,c = (project(G, x, seed=s, **few).latents for s in (0,0,1))
    assert torch.equal(a, b) and not torch.equal(a, c)

def test_files(tmp_path):
    G = plain()
    save_images(torch.rand(1, 3, 20, 30)*2-1, tmp_path/'a.png')
    facts = project_files(G, [tmp_path/'a.png']*2, tmp_path/'out', floor=1, **few)
    assert len(facts['error'])==2 and len(facts['floor'])==1 and facts['distance']=='laplacian_distance'
    with np.load(tmp_path/'out'/'latents.npz') as f: assert f['z'].shape==(2,8)
    (tmp_path/'b.png').write_text('nothing')
    with pytest.raises(ValueError, match='b.png cannot be read as a picture'): project_files(G, [tmp_path/'b.png'], tmp_path)
    with pytest.raises(FileNotFoundError): project_files(G, [tmp_path/'c.png'], tmp_path)
