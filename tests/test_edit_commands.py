"Project pictures and write ONNX from the command line; walks and sets with their further flags."
import json, sys
import numpy as np, pytest, torch
from PIL import Image
from progrow.checkpoint import load_generator
from progrow.cli import main
from progrow.data import image_pyramid
from progrow.edit_commands import open_on
from progrow.explore import mixing_grid, noise_only_in
from progrow.images import save_images
from progrow.layer_table import to_official
from progrow.sampling import draw, random_latents

@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_images(torch.rand(1, 3, 32, 32)*2-1, tmp_path/'a.png')
    return tmp_path

def test_project(here, capsys):
    assert main('project avatars-progan a.png a.png --steps 3 --floor 1 --device cpu'.split())==0
    out = capsys.readouterr().out
    assert out.count('a.png: distance')==2 and '(the floor)' in out and out.endswith(': projected\n')
    assert sorted(o.name for o in (here/'projected').iterdir())==['descent.gif','errors.json','latents.npz','projected.png']
    assert len(json.loads((here/'projected'/'errors.json').read_text())['error'])==2

@pytest.mark.parametrize('words,match,code', [
    ('project avatars-progan', 'required: pictures', 2), ('project avatars-progan b.png', 'b.png', 1), ('project avatars-progan a.png --space w', 'no styles', 1),
    ('project avatars-progan a.png --steps 0', 'steps must be 1 or more', 1), ('export-onnx avatars-progan --space w', 'no styles', 1),
    ('sample avatars-progan --n 0 --out a.zip', '--n must be 1 or more', 1), ('interpolate avatars-progan --seeds x', 'no list of seeds', 1),
    ('sample avatars-stylegan --noise-layers thick', 'coarse, middle, fine', 1), ('sample avatars-stylegan --noise-layers 7-8', 'layers 0 to 7, got 8', 1),
    ('sample avatars-progan --noise-layers fine', 'adds no noise', 1), ('mix avatars-stylegan --styles 7-8', 'layers 0 to 7, got 8', 1), ('mix avatars-stylegan --styles 2-x', 'no list of layers', 1)])
def test_refusals_are_one_line(here, capsys, words, match, code):
    assert main(words.split())==code
    out,err = capsys.readouterr()
    assert not out and err.count('\n')==1 and match in err

def test_onnx_says_what_to_install(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    assert main('export-onnx avatars-progan'.split())==1
    assert "pip install 'progrow[onnx]'" in capsys.readouterr().err and not (here/'generator.onnx').exists()

def test_a_zip_of_samples_is_a_data_set(here):
    assert main('sample avatars-stylegan --n 3 --out set.zip --psi .5 --psi-cutoff 2 --device cpu'.split())==0
    p = image_pyramid(here/'set.zip', 32, cache=False)
    assert len(p)==3 and p.labels is None

def test_a_smooth_walk_through_seeds(here):
    assert main('interpolate avatars-stylegan --seeds 3,7 --smooth --frames 4 --scale 1 --psi .7 --psi-cutoff 4 --device cpu'.split())==0
    with Image.open(here/'walk.gif') as im: assert im.n_frames==4

def pixels(path): return np.asarray(Image.open(path)).tolist()

def test_noise_in_some_layers_only(here):
    def drawn(words):
        assert main(f'sample avatars-stylegan --n 4 --device cpu --out drawn.png {words}'.split())==0
        return pixels('drawn.png')
    fine,none = drawn('--noise-layers fine'),drawn('--noise-layers none')
    assert drawn('')==drawn('--noise-layers all') and fine==drawn('--noise-layers 4-7') and none==drawn('--noise off')
    assert len({str(o) for o in (drawn(''), fine, none, drawn('--noise-layers coarse'))})==4
    save_images(draw(noise_only_in(load_generator('avatars-stylegan'), 'fine'), random_latents(4, 64)), 'by_hand.png')
    assert pixels('by_hand.png')==fine
    assert main('grid avatars-stylegan --rows 2 --cols 2 --noise-layers fine --device cpu'.split())==0 and pixels('grid.png')==fine

def test_mix_truncates_some_layers_and_takes_layers_by_number(here):
    G,z = load_generator('avatars-stylegan'),random_latents(3, 64)
    assert main('mix avatars-stylegan --styles 0-1,4-7 --rows 2 --cols 1 --psi 0.5 --psi-cutoff 2 --device cpu --out a.png'.split())==0
    save_images(mixing_grid(G, z[:2], z[2:], [[0,1],[4,5,6,7]], .5, psi_cutoff=2), 'b.png')
    save_images(mixing_grid(G, z[:2], z[2:], [[0,1],[4,5,6,7]], .5), 'c.png')
    assert pixels('a.png')==pixels('b.png')!=pixels('c.png')

def test_project_takes_published_weights(here):
    G = load_generator('avatars-progan')
    np.savez('theirs.npz', **{f'Gs.{k}':v for k,v in to_official(G, 'tf').items()})
    assert torch.equal(draw(open_on('theirs.npz', 'cpu'), random_latents(2, G.latent_dim)), draw(G, random_latents(2, G.latent_dim)))
    assert main('project theirs.npz a.png --steps 2 --floor 0 --device cpu'.split())==0
