"Files from strangers: what they hold is looked at before anything opens it."
import io, os, zipfile
import pytest, torch
from PIL import Image
from progrow.checkpoint import load_tensors, save_tensors
from progrow.sources import open_source

@pytest.fixture
def good(tmp_path): return save_tensors(tmp_path/'good.pt', 'demo', 1, w=torch.arange(300.), name='x')

def refused(path):
    with pytest.raises(ValueError, match='is not a file of plain tensors'): load_tensors(path, 'demo', 1)

def rewritten(good, change):
    "The same archive, with its entries changed by `change(info, data)` -> entries"
    out = good.with_name('changed.pt')
    with zipfile.ZipFile(good) as z, zipfile.ZipFile(out, 'w') as new:
        for info in z.infolist():
            for i,d in change(info, z.read(info)):
                attributes = 0 if isinstance(i, str) else i.external_attr
                new.writestr(i, d)
                new.infolist()[-1].external_attr = attributes # `writestr` has put permissions there
    return out

def test_genuine_files_are_read(good):
    assert load_tensors(good, 'demo', 1)['name']=='x'
    assert load_tensors(rewritten(good, lambda i,d: [(i, d)]), 'demo', 1)['w'][7]==7 # the rewriting itself does no harm

@pytest.mark.filterwarnings('ignore')
def test_torchscript_is_never_given_to_pytorch(tmp_path, monkeypatch):
    "PyTorch before 2.6 ran such an archive even with weights_only=True"
    module = torch.jit.script(torch.nn.Linear(2, 2))
    module.save(str(tmp_path/'program.pt'))
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: pytest.fail('torch.load saw it'))
    refused(tmp_path/'program.pt')

@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_records_that_do_not_belong(good):
    refused(rewritten(good, lambda i,d: [(i, d)] + [('good.pt/code/a.py', b'x')]*i.filename.endswith('data.pkl')))
    refused(rewritten(good, lambda i,d: [(i, d)]*2)) # listed twice
    def packed(i, d): i.compress_type = zipfile.ZIP_DEFLATED; return [(i, d)]
    refused(rewritten(good, packed))
    def folder(i, d): i.external_attr = 0x10; return [(i, d)]
    refused(rewritten(good, folder)) # PyTorch would give uninitialised memory for it

def test_every_bit_of_the_directory_counts(good):
    "One flipped bit is noticed, or changes nothing"
    data,path = good.read_bytes(),good.with_name('flipped.pt')
    start = data.index(b'PK\x01\x02')
    for k in range(start, len(data), 7):
        path.write_bytes(data[:k] + bytes([data[k]^0x10]) + data[k+1:])
        try: found = load_tensors(path, 'demo', 1)
        except ValueError: continue
        assert torch.equal(found['w'], torch.arange(300.)) and found['name']=='x'

def eps(path):
    "A picture that Pillow would hand to another program"
    buf = io.BytesIO(); Image.new('RGB', (16,16), 'red').save(buf, 'eps')
    path.parent.mkdir(exist_ok=True); path.write_bytes(buf.getvalue())

@pytest.mark.parametrize('zipped', (False, True))
def test_only_formats_of_our_suffixes_are_opened(tmp_path, zipped, monkeypatch):
    eps(tmp_path/'set'/'a.png')
    Image.new('RGB', (16,16), 'blue').save(tmp_path/'set'/'b.png')
    where = tmp_path/'set'
    if zipped:
        where = tmp_path/'set.zip'
        with zipfile.ZipFile(where, 'w') as z:
            for o in sorted((tmp_path/'set').iterdir()): z.write(o, o.name)
    from PIL import EpsImagePlugin
    monkeypatch.setattr(EpsImagePlugin, 'Ghostscript', lambda *args, **kwargs: pytest.fail('Ghostscript was started'))
    src = open_source(where)
    with pytest.raises(Exception): src.open(0).load()
    with src.open(1) as im: assert im.size==(16,16)
