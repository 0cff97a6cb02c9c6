"What is written draws as PyTorch does, where onnxruntime is installed; and what is said where it is not."
import sys
import pytest, torch
from progrow.checkpoint import load_generator, shipped_generators
from progrow.cli import main
from progrow.networks import Generator
from progrow.onnx_export import _inputs, _scaled_once, export_onnx, onnx_difference
from progrow.sampling import draw, random_latents, styled as styled_generator
from progrow.style import StyleGenerator

def plain(): torch.manual_seed(0); return Generator(8, latent_dim=4, fmap_max=8, num_classes=3)

def styled():
    torch.manual_seed(0)
    G = StyleGenerator(8, latent_dim=8, fmap_max=8)
    for k,p in G.named_parameters():
        if k.endswith('strength'): p.data.normal_(std=.3)
    return G

@pytest.mark.parametrize('make,space', [(plain,'z'), (styled,'z'), (styled,'w')])
def test_onnxruntime_draws_the_same(tmp_path, make, space):
    pytest.importorskip('onnxscript'); pytest.importorskip('onnxruntime')
    import onnx
    G = make()
    before = {k:v.clone() for k,v in G.state_dict().items()}
    facts = export_onnx(G, tmp_path/'g.onnx', space)
    assert facts['input']==space and facts['opset']==18
    assert [o.version for o in onnx.load(tmp_path/'g.onnx').opset_import if o.domain=='']==[18]
    for n in (1,5,70): assert onnx_difference(G, tmp_path/'g.onnx', n)<1e-4
    assert G.training and all(torch.equal(v, before[k]) for k,v in G.state_dict().items())

@pytest.mark.parametrize('make', [plain, styled])
def test_scaled_beforehand_draws_the_same(make):
    G = make()
    labels = [0,1,2] if G.num_classes else None
    once = _scaled_once(G)
    for n in (1,3): assert torch.allclose(draw(once, random_latents(n, G.latent_dim), labels and labels[:n]), draw(G, random_latents(n, G.latent_dim), labels and labels[:n]), atol=1e-5)
    assert all(p.requires_grad for p in G.parameters())

def test_inputs_have_names():
    assert {k:tuple(v.shape) for k,v in _inputs(plain(), 'z', 4).items()}=={'z':(4,4), 'labels':(4,3)}
    assert {k:tuple(v.shape) for k,v in _inputs(styled(), 'w', 4).items()}=={'w':(4,4,8)}

def test_without_the_packages_it_says_what_to_install(tmp_path, monkeypatch):
    for name in ('onnxscript','onnxruntime'): monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'progrow\[onnx\]'"): export_onnx(plain(), tmp_path/'g.onnx')
    assert onnx_difference(plain(), tmp_path/'g.onnx') is None and not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match='has no styles'): export_onnx(plain(), tmp_path/'g.onnx', 'w')

@pytest.mark.parametrize('name', shipped_generators())
def test_shipped_generators_are_written_from_the_command_line(tmp_path, capsys, name):
    pytest.importorskip('onnxscript'); pytest.importorskip('onnxruntime')
    G = load_generator(name)
    for space in ('z','w')[:1+styled_generator(G)]:
        assert main(['export-onnx', name, '--out', str(tmp_path/f'{space}.onnx'), '--space', space])==0
        assert f"{space} ['n'," in (said := capsys.readouterr().out) and 'largest difference' in said
        assert onnx_difference(G, tmp_path/f'{space}.onnx', 3)<1e-4
