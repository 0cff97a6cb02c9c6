"Files from strangers: what they hold is looked at before anything opens it."
import copy, io, os, pickle, random, re, time, zipfile
import numpy as np, pytest, torch
from PIL import Image
from progrow.checkpoint import load_generator, load_tensors, save_generator, save_tensors
from progrow.networks import Generator
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

def contents(good, change):
    "The same archive, with another pickle"
    return rewritten(good, lambda i,d: [(i, change(d) if i.filename.endswith('data.pkl') else d)])

def quickly(path):
    begun = time.perf_counter()
    refused(path)
    assert time.perf_counter()-begun<2

@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_a_directory_that_lists_one_record_often_is_not_inflated(tmp_path, monkeypatch):
    "3000 names for one record of 4 MB; under one name, and under many"
    monkeypatch.setattr(zipfile.ZipFile, 'testzip', lambda self: pytest.fail('it was read'))
    for name in ('a/data/0', 'a/data/{}'):
        with zipfile.ZipFile(tmp_path/'a.pt', 'w') as z:
            z.writestr('a/data.pkl', b'.'); z.writestr('a/data/0', bytes(2**22))
            first = z.infolist()[-1]
            for k in range(1, 3000):
                more = copy.copy(first); more.filename = more.orig_filename = name.format(k)
                z.filelist.append(more)
        quickly(tmp_path/'a.pt')

def twice(n):
    "A key that is a tuple of twice itself, n times over"
    p,k = b'\x80\x02}K\x01\x85q\x00',0
    for _ in range(n): p += b'h%c\x86q%c' % (k, k+1); k += 1
    return p+b'K\x01s.'

@pytest.mark.parametrize('pickled,says', [
    (pickle.dumps(bytearray(4), 2), 'bytearray'), (b'\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.', "'builtins bytearray'"),
    (b'\x80\x02ctorch\nFloatTensor\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.', "'torch FloatTensor'"), (twice(60), 'holds a value twice'),
    (b'\x80\x02}'+b'('*1+b'K\x01'+b'\x85'*100_000+b'K\x01u.', 'nested too deeply'), (b'\x80\x02'+b']'*200+b'a'*199+b'.', 'nested too deeply'),
    (b'\x80\x02]q\x00h\x00a.', 'holds a value twice'), (b'\x80\x02K\x07Q.', 'AssertionError'), (b'\x80\x02(.', '[A-Z]'), (b'', '[A-Z]')], ids=lambda o: str(o)[:12])
def test_contents_that_ask_for_more_than_tensors_are_refused(good, pickled, says):
    path = contents(good, lambda d: pickled)
    quickly(path)
    with pytest.raises(ValueError, match=says): load_tensors(path, 'demo', 1)

def test_contents_of_any_size_are_refused(good): quickly(contents(good, lambda d: d[:-1]+b'N0'*2**23+b'.'))

@pytest.mark.parametrize('w', (torch.ones(1).expand(10**9), torch.ones(2).as_strided((10**9,), (0,))), ids=('expanded','strided'))
def test_a_tensor_larger_than_its_numbers_is_refused(tmp_path, w):
    torch.save(dict(format='demo', version=1, w=w), tmp_path/'a.pt')
    with pytest.raises(ValueError, match='a.pt has a tensor larger than its numbers'): load_tensors(tmp_path/'a.pt', 'demo', 1)

def test_the_same_numbers_over_and_over_are_refused(tmp_path):
    x = torch.arange(10_000.)
    torch.save(dict(format='demo', version=1, w=[x.view(100, 100) for _ in range(100)]), tmp_path/'a.pt')
    with pytest.raises(ValueError, match='ten times over'): load_tensors(tmp_path/'a.pt', 'demo', 1)
    tied = save_tensors(tmp_path/'b.pt', 'demo', 1, w=[x, x])
    assert len(load_tensors(tied, 'demo', 1)['w'])==2

@pytest.mark.skipif(os.name!='posix', reason='needs FIFOs')
def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path/'a.pt'); (tmp_path/'b.pt').symlink_to('/dev/zero')
    for name in ('a.pt','b.pt'):
        with pytest.raises(FileNotFoundError, match='there is no file'): load_tensors(tmp_path/name, 'demo', 1)

def test_mutations_of_a_generator_give_a_sentence_or_the_same_generator(tmp_path):
    "Bits, cuts, swaps and edited contents, with right checksums"
    G,rng = Generator(4, latent_dim=4, fmap_max=4),random.Random(0)
    path = save_generator(G, tmp_path/'g.pt')
    whole,w = path.read_bytes(),G.state_dict()
    for k in range(300):
        b = bytearray(whole)
        for _ in range(rng.randint(1, 3)): b[rng.randrange(len(b))] ^= 1<<rng.randrange(8)
        if k%3==0: del b[rng.randrange(len(b)):]
        path.write_bytes(b)
        if k%3==1:
            def edited(d):
                d = bytearray(d); i = rng.randrange(len(d)); d[i:i+rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2)); return bytes(d)
            path.write_bytes(whole); path = contents(path, edited)
        try: found = load_generator(path)
        except ValueError as e: assert re.search(r'\.pt (is|has|holds|does|draws).*: ', str(e)), e; continue
        finally: path = tmp_path/'g.pt'
        assert all(torch.equal(v, w[n]) for n,v in found.state_dict().items())

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

# --- sources of pictures: sizes before reading, regular files, one sentence

def colours(path, size=(16,16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, 'blue').save(path)
    return path

@pytest.fixture
def one(tmp_path): return colours(tmp_path/'set'/'a.png').parent

def zip_of(path, name, content, packed=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', packed) as z: z.writestr(name, content)
    return path

def test_a_small_zip_does_not_unpack_to_much(tmp_path):
    with zipfile.ZipFile(tmp_path/'bomb.zip', 'w', zipfile.ZIP_DEFLATED) as z:
        with z.open('a.png', 'w') as f: [f.write(bytes(10**7)) for _ in range(60)]
    src = open_source(tmp_path/'bomb.zip')
    with pytest.raises(ValueError, match='a.png is too large: 600 MB.*PROGROW_MAX_PIXELS='): src.plan()
    assert src.facts()['too_large']==['a.png']

def test_a_zip_that_lies_about_a_size_is_cut_there(tmp_path):
    data = bytearray(zip_of(tmp_path/'a.zip', 'a.png', bytes(10**7)).read_bytes())
    i = data.index(b'PK\1\2')
    data[i+24:i+28] = data[22:26] = (100).to_bytes(4, 'little')
    (tmp_path/'a.zip').write_bytes(data)
    with pytest.raises(ValueError, match='cannot read a.png .BadZipFile: Bad CRC'): open_source(tmp_path/'a.zip').plan()

def test_a_small_npz_does_not_unpack_to_much(tmp_path, monkeypatch):
    monkeypatch.setenv('PROGROW_MAX_PIXELS', '1000')
    np.savez_compressed(tmp_path/'a.npz', images=np.zeros((40,3,16,16), np.uint8))
    with pytest.raises(ValueError, match='images.npy in a.npz unpacks to 0 MB.*save the array as .npy'): open_source(tmp_path/'a.npz')

@pytest.mark.parametrize('packed', (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
def test_methods_without_a_bound_are_refused(tmp_path, packed):
    with pytest.raises(ValueError, match='a.zip holds a.png encrypted, or packed in an unusual way'): open_source(zip_of(tmp_path/'a.zip', 'a.png', 'x', packed))

def test_an_encrypted_zip_is_told(tmp_path):
    data = bytearray(zip_of(tmp_path/'a.zip', 'a.png', 'x').read_bytes())
    data[6] |= 1; data[data.index(b'PK\1\2')+8] |= 1
    (tmp_path/'a.zip').write_bytes(data)
    with pytest.raises(ValueError, match='a.zip holds a.png encrypted'): open_source(tmp_path/'a.zip')

@pytest.mark.parametrize('name,content', [('not.zip',b'hello'), ('empty.npz',b''), ('empty.npy',b''), ('a.npy',b'\x93NUMPY\x07\0aaaa'), ('a.npz',b'PK'), ('a.zip',b'')])
def test_files_that_are_none_are_named(tmp_path, name, content):
    (tmp_path/name).write_bytes(content)
    with pytest.raises(ValueError, match=f'^{name} cannot be read as a .*: it may be cut off'): open_source(tmp_path/name)

def test_arrays_must_be_as_long_as_they_say(tmp_path):
    np.savez(tmp_path/'none.npz')
    with pytest.raises(ValueError, match='none.npz holds nothing'): open_source(tmp_path/'none.npz')
    np.save(tmp_path/'a.npy', np.zeros((4,8,8), np.uint8))
    data = (tmp_path/'a.npy').read_bytes()
    for odd in (data[:-1], data+b'x', data.replace(b'(4, 8, 8)', b'(4, 8,-8)'), data.replace(b"'|u1'", b"'|O'  ")[:-2]):
        (tmp_path/'a.npy').write_bytes(odd)
        with pytest.raises(ValueError, match='a.npy .*(cut off|expected)'): open_source(tmp_path/'a.npy')

odd_labels = ['[]', 'null', '{', '{"labels":5}', '{"labels":{"a.png":0}}', '{"labels":[["a.png","cat"]]}', '{"labels":[["a.png",1.5]]}', '{"labels":[["a.png",true]]}', '{"labels":[[]]}',
    '{"labels":[["a.png",-1]]}', '{"labels":[["a.png",10000000000]]}', '{"labels":[["a.png",NaN]]}', '['*100000, '{"labels":[["a.png",'+'['*900+']'*900+']]}', '{"labels":[["a.png",0]],"classes":[1]}', b'\xff\xfe{', b'{"labels":"\xff"']

@pytest.mark.parametrize('zipped', (False, True))
@pytest.mark.parametrize('odd', odd_labels, ids=lambda o: str(o[:24]))
def test_odd_labels_are_told_with_their_file(one, odd, zipped):
    (one/'dataset.json').write_bytes(odd if isinstance(odd, bytes) else odd.encode())
    where = zip_of(one.parent/'a.zip', 'dataset.json', (one/'dataset.json').read_bytes()) if zipped else one
    with pytest.raises(ValueError, match='dataset.json( in a.zip)? (holds|has|cannot be read as JSON)'): open_source(where)

@pytest.mark.skipif(os.name=='nt', reason='pipes and links')
def test_pipes_devices_and_links_to_everywhere_are_left_alone(one, tmp_path):
    os.mkfifo(one/'b.png'); (one/'zero.png').symlink_to('/dev/zero'); (one/'all').symlink_to('/'); (one/'dead.png').symlink_to('/nowhere/x')
    away = colours(tmp_path/'away'/'x.png')
    (one/'x.png').symlink_to(away)
    src = open_source(one)
    assert src.names==['a.png','x.png'] and src.outside==['x.png']
    assert {k:sorted(v) for k,v in src.ignored.items()}=={'not regular files':['b.png','dead.png','zero.png'], 'links to folders elsewhere':['all']}
    for kind in ('npy','npz','zip'):
        os.mkfifo(tmp_path/f'p.{kind}')
        with pytest.raises(ValueError, match='is a pipe or device'): open_source(tmp_path/f'p.{kind}')

@pytest.mark.skipif(os.name=='nt', reason='pipes and links')
@pytest.mark.parametrize('make', [os.mkfifo, lambda p: p.symlink_to('/dev/zero'), lambda p: p.symlink_to('/nowhere'), os.mkdir], ids=['pipe','zero','dead','folder'])
def test_labels_are_read_from_regular_files_only(one, make):
    make(one/'dataset.json')
    with pytest.raises(ValueError, match='dataset.json is a pipe, device or dead link'): open_source(one)

def test_labels_are_bounded(one):
    with open(one/'dataset.json', 'wb') as f: f.truncate(2**27)
    with pytest.raises(ValueError, match='dataset.json has 128 MB, and at most 64 are read: give the labels'): open_source(one)
