"A seed gives the pictures that it always gave, in any mode, in any batch, and nothing else moves."
import numpy as np, pytest, torch
from progrow.checkpoint import load_generator
from progrow.networks import Generator
from progrow.sampling import draw, eval_mode, random_latents, sample_images, styled, styles_problem
from progrow.style import StyleGenerator

@pytest.fixture(scope='module')
def pair(): return load_generator('avatars-progan'),load_generator('avatars-stylegan')

@pytest.fixture(scope='module')
def conditional():
    torch.manual_seed(0)
    return Generator(8, 1, latent_dim=16, fmap_max=8, num_classes=3)

# --- the pictures of before
@torch.no_grad()
def plainly(G, n=16, seed=0, labels=None, resolution=None, batch_size=64, **kw):
    "Pictures from a seed without anything of ours but the generator"
    z = torch.from_numpy(np.random.default_rng(seed).standard_normal((n, G.latent_dim), dtype=np.float32))
    labels = [None]*n if labels is None else torch.as_tensor(labels).split(batch_size)
    return torch.cat([G.eval()(o, l, resolution=resolution, **kw) for o,l in zip(z.split(batch_size), labels)])

@pytest.mark.parametrize('which', [0, 1], ids=['progan','stylegan'])
@pytest.mark.parametrize('kw', [{}, dict(n=3, seed=5, resolution=8, alpha=.25), dict(n=5, seed=1, batch_size=2), dict(n=70, resolution=4)], ids=str)
def test_the_same_bits(pair, which, kw): assert torch.equal(sample_images(pair[which], **kw), plainly(pair[which], **kw))

@pytest.mark.parametrize('kw', [dict(psi=.5), dict(psi=.5, psi_cutoff=4), dict(noise='off'), dict(psi=0.)], ids=str)
def test_the_same_bits_with_styles(pair, kw): assert torch.equal(sample_images(pair[1], n=4, **kw), plainly(pair[1], n=4, **kw))

@pytest.mark.parametrize('which,kw,four,mean', [
    (0, {}, [.4213, .5800, .7137, .4505], .39580),
    (0, dict(n=3, seed=5, resolution=8, alpha=.25), [.9612, 2.0314, 2.0090, -1.4793], .56026),
    (0, dict(n=5, seed=1, batch_size=2), [.7856, .5714, .7579, .5236], .34790),
    (1, {}, [.6266, .8227, .4624, .7103], .27698),
    (1, dict(n=3, seed=5, resolution=8, alpha=.25), [.8111, 2.2945, 1.9488, .5401], .00071),
    (1, dict(n=4, psi=.5), [.6063, .5831, .5904, .7363], .32876),
    (1, dict(n=4, psi=.5, psi_cutoff=4), [.6606, .7344, .5989, .8365], .29435),
    (1, dict(n=2, noise='off'), [.6217, -.2538, .7531, .9380], .14060)], ids=str)
def test_the_pictures_that_a_seed_has_always_given(pair, which, kw, four, mean):
    "Four values and the mean, as they were when drawing was written in two places"
    x = sample_images(pair[which], **kw)
    assert x.flatten()[::x.numel()//4][:4].tolist() == pytest.approx(four, abs=2e-3)
    assert x.mean().item() == pytest.approx(mean, abs=2e-4)

def test_latents_are_those_of_numpy():
    assert random_latents(4, 8, 7).numpy().tobytes()==np.random.default_rng(7).standard_normal((4,8), dtype=np.float32).tobytes()
    assert torch.equal(random_latents(3, 64, 5), random_latents(9, 64, 5)[:3])

def test_the_old_names_are_these_functions():
    from progrow import explore, train
    assert explore.draw is draw and explore.random_latents is random_latents and train.sample_images is sample_images

# --- nothing else moves
def test_modes_and_random_numbers_stay(pair):
    torch.manual_seed(0)
    G = StyleGenerator(8, latent_dim=16, fmap_max=8).train()
    G.mapping.eval()
    modes,state,kept = [m.training for m in G.modules()],torch.get_rng_state(),{k:v.clone() for k,v in G.state_dict().items()}
    assert torch.equal(sample_images(G, 5, seed=1), sample_images(G, 5, seed=1))
    assert [m.training for m in G.modules()]==modes and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, kept[k]) for k,v in G.state_dict().items())
    with pytest.raises(ValueError, match='pixels, not at 64'): sample_images(G, 2, resolution=64)
    assert [m.training for m in G.modules()]==modes

def test_eval_mode_ends_after_an_error():
    m = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout().eval())
    with pytest.raises(KeyError), eval_mode(m):
        assert not any(o.training for o in m.modules())
        raise KeyError
    assert [o.training for o in m.modules()]==[True,True,False]

def test_no_graph_is_kept(conditional): assert not sample_images(conditional, 2).requires_grad

# --- classes, styles, batches
def test_classes_come_in_turn(conditional):
    z = random_latents(5, 16)
    assert torch.equal(sample_images(conditional, 5), draw(conditional, z, [0,1,2,0,1]))
    assert torch.equal(draw(conditional, z, [2]*5), draw(conditional, z, torch.eye(3)[[2]*5]))
    assert torch.equal(draw(conditional, z, np.array([0,1,2,0,1]), batch_size=2), sample_images(conditional, 5, batch_size=2))

def test_styles_in_place_of_latents(pair):
    G,z = pair[1],random_latents(5, 64)
    w = G.mapping(z)
    torch.testing.assert_close(draw(G, w=w), draw(G, z), atol=1e-4, rtol=0)
    assert torch.equal(draw(G, w=w), draw(G, w=G.per_layer(w)))
    assert styled(G) and not styled(pair[0]) and styles_problem(G, 'w') is None

def test_pictures_drawn_at_once(conditional):
    class Noting(Generator):
        def forward(self, z, *args, **kw):
            sizes.append(len(z))
            return super().forward(z, *args, **kw)
    G,sizes = Noting(256, latent_dim=4, fmap_base=8, fmap_max=1),[]
    for kw,want in ((dict(n=20), [16,4]), (dict(n=70, resolution=8), [64,6]), (dict(n=5, batch_size=2, resolution=4), [2,2,1])):
        sizes.clear()
        sample_images(G, **kw)
        assert sizes==want

@pytest.mark.parametrize('kw,says', [
    (dict(latents=random_latents(4, 64), psi=.7), 'psi=0.7, but a Generator has no truncation'),
    (dict(w=torch.zeros(1, 64)), 'w is for style generators, and a Generator has no styles'),
    (dict(latents=random_latents(4, 64), noise='off'), 'noise is for style generators'),
    (dict(), 'one of the two'),
    (dict(latents=random_latents(4, 64), labels=[0,1]), 'got 2 labels for 4 pictures')], ids=str)
def test_messages(pair, kw, says):
    with pytest.raises(ValueError, match=says): draw(pair[0], **kw)

def test_messages_of_styles(pair):
    G,z = pair[1],random_latents(2, 64)
    with pytest.raises(ValueError, match='one of the two'): draw(G, z, w=G.mapping(z))
    with pytest.raises(ValueError, match='labels are in the styles w already'): draw(G, w=G.mapping(z), labels=[0,1])
    with pytest.raises(ValueError, match='one of the two'): sample_images(G, 2, w=G.mapping(z))
