"The sets of the papers, from files in their own formats that the tests write; and downloads, from a server on this machine."
import gzip, hashlib, http.server, io, pickle, struct, sys, tarfile, threading, zipfile
from functools import partial
import numpy as np, pytest
from PIL import Image
from helpers import noise, picture
import progrow.sets as sets
from progrow.data import image_pyramid
from progrow.fetching import fetch
from progrow.images import check_images, image_grid, show_images
from progrow.large_sets import celeba, celebahq, ffhq, lsun, wide
from progrow.small_photos import cifar10, cifar100, svhn
from progrow.written_sets import fashion_mnist, mnist, mnist_rgb

pytestmark = pytest.mark.filterwarnings('ignore:.*pictures are few')
n = 40
x = noise(n)
y = [i%10 for i in range(n)]

# --- downloads

class Server(http.server.BaseHTTPRequestHandler):
    "Sends a file, from where it is asked to; at first only a part of it"
    def do_GET(self):
        s = self.server
        begin = int(self.headers['Range'][6:-1]) if s.ranges else 0
        s.asked.append(begin)
        if s.refuses or begin>=len(s.content): return self.send_error(403 if s.refuses else 416)
        self.send_response(206 if s.ranges else 200)
        self.send_header('Content-Length', str(len(s.content)-begin))
        self.end_headers()
        self.wfile.write(s.content[begin:begin+s.most] if s.most else s.content[begin:])
    def log_message(self, *_): pass

@pytest.fixture
def server():
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server)
    s.content,s.most,s.asked,s.ranges,s.refuses = noise(9).tobytes(),None,[],True,False
    s.url,s.md5 = f'http://127.0.0.1:{s.server_port}/set.bin',hashlib.md5(s.content).hexdigest()
    threading.Thread(target=s.serve_forever, args=(.05,), daemon=True).start()
    yield s
    s.shutdown(); s.server_close()

def get(s, path, **kw): return fetch(s.url, path, **{'md5':s.md5, 'show':'nothing', **kw})

def test_a_download_goes_on_where_it_stopped(server, tmp_path):
    path,server.most = tmp_path/'a'/'set.bin',10_000
    with pytest.raises(OSError, match='ended after 10,000 of 27,648 bytes.*it goes on where it stopped'): get(server, path)
    assert not path.exists()
    server.most = None
    assert get(server, path).read_bytes()==server.content and server.asked==[0, 10_000] and len(list(path.parent.iterdir()))==1
    get(server, path)
    assert len(server.asked)==2 # what is here is not asked for

def test_a_server_without_ranges_sends_all_of_it_again(server, tmp_path):
    (tmp_path/'set.bin.download').write_bytes(b'old')
    server.ranges = False
    assert get(server, tmp_path/'set.bin').read_bytes()==server.content

def test_a_download_that_had_all_bytes_is_only_checked(server, tmp_path):
    (tmp_path/'set.bin.download').write_bytes(server.content)
    assert get(server, tmp_path/'set.bin').read_bytes()==server.content and server.asked==[len(server.content)]

def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    with pytest.raises(ValueError, match=f'set.bin.download has the checksum {server.md5}, expected 0{{32}}'): get(server, tmp_path/'set.bin', md5='0'*32)
    assert not list(tmp_path.iterdir())

def test_a_damaged_file_that_is_there_is_not_used(server, tmp_path):
    (tmp_path/'set.bin').write_bytes(b'?')
    with pytest.raises(ValueError, match='delete it and download it anew'): get(server, tmp_path/'set.bin')
    assert (tmp_path/'set.bin').read_bytes()==b'?' and not server.asked

def test_what_the_server_says_is_told(server, tmp_path):
    server.refuses = True
    with pytest.raises(OSError, match='the server says 403 Forbidden'): get(server, tmp_path/'set.bin')

def test_no_network_is_one_sentence(server, tmp_path):
    server.shutdown(); server.server_close()
    with pytest.raises(OSError, match='could not download http.*look after the network.*put it at .*set.bin'): get(server, tmp_path/'set.bin')

@pytest.mark.parametrize('load,kind,names', [
    (mnist, 'MNIST', ['train-images-idx3-ubyte.gz','train-labels-idx1-ubyte.gz']), (cifar10, 'CIFAR10', ['cifar-10-python.tar.gz']),
    (cifar100, 'CIFAR100', ['cifar-100-python.tar.gz']), (svhn, 'SVHN', ['train_32x32.mat']), (fashion_mnist, 'FashionMNIST', ['train-images-idx3-ubyte.gz','train-labels-idx1-ubyte.gz'])])
def test_files_are_asked_for_only_when_wanted_and_with_their_checksums(load, kind, names, tmp_path, monkeypatch):
    asked = []
    for m in (sets.mnist, sets.cifar10): monkeypatch.setattr(sys.modules[m.__module__], 'fetch', lambda url, path, md5: asked.append((url, path, md5)))
    with pytest.raises(FileNotFoundError, match='pass download=True'): load(tmp_path)
    assert not asked
    with pytest.raises(FileNotFoundError): load(tmp_path, download=True)
    assert [o[1].name for o in asked]==names and all(o[0].endswith(o[1].name) and o[1].parent==tmp_path and len(o[2])==32 for o in asked)

# --- handwriting

def write_idx(path, x):
    raw = struct.pack('>BBBB', 0, 0, 8, x.ndim) + struct.pack(f'>{x.ndim}I', *x.shape) + x.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw, 1) if path.suffix=='.gz' else raw)

digits28,classes = noise(n, 1, 28, seed=1)[:,0],np.array(y, np.uint8)

def write_mnist(folder, suffix='', part='train'):
    write_idx(folder/f'{part}-images-idx3-ubyte{suffix}', digits28)
    write_idx(folder/f'{part}-labels-idx1-ubyte{suffix}', classes)

@pytest.mark.parametrize('place,suffix', [('','.gz'), ('',''), ('MNIST/raw','')])
def test_mnist_from_where_it_lies(place, suffix, tmp_path):
    write_mnist(tmp_path/place, suffix)
    p = mnist(tmp_path, cache=False)
    assert (p.level(32)==np.pad(digits28, ((0,0),(2,2),(2,2)))[:,None]).all() and p.labels.tolist()==y and p.label_names[3]=='3'

def test_fashion_and_the_part_to_test_with(tmp_path):
    write_mnist(tmp_path, '.gz', 't10k')
    p = fashion_mnist(tmp_path, train=False, cache=False)
    assert p.label_names[9]=='ankle boot' and len(p)==n
    with pytest.raises(FileNotFoundError): fashion_mnist(tmp_path)

def test_a_thousand_modes(tmp_path):
    write_mnist(tmp_path)
    p,q = (mnist_rgb(tmp_path, k, cache=False) for k in (200,50))
    assert (p.level(32)[:50]==q.level(32)).all() and p.image_channels==3 # a larger n begins with the smaller set
    padded = np.pad(digits28, ((0,0),(2,2),(2,2)))
    for u,mode in zip(p.level(32), p.labels):
        for c,digit in zip(u, (mode//100, mode//10%10, mode%10)): assert any((c==o).all() for o in padded[classes==digit])

def test_sets_are_kept_in_the_cache(tmp_path):
    write_mnist(tmp_path)
    a,b = (mnist_rgb(tmp_path, 20, seed=5, cache=tmp_path/'cache') for _ in 'ab')
    assert (a.level(4)==b.level(4)).all() and len(list((tmp_path/'cache').iterdir()))==1
    mnist_rgb(tmp_path, 20, seed=6, cache=tmp_path/'cache')
    assert len(list((tmp_path/'cache').iterdir()))==2

@pytest.mark.parametrize('damage,says', [
    (lambda b: b[:-9], 'bytes follow'), (lambda b: b+b'?', 'bytes follow'), (lambda b: b'', 'it begins with nothing'), (lambda b: b'<html>'+b, 'it begins with'),
    (lambda b: b[:4]+b'\xff'*4+b[8:], 'it says that its shape is'), (lambda b: gzip.compress(b)[:-20], 'EOFError|bytes follow'), (lambda b: gzip.compress(b)[:-8]+b'?'*8, 'CRC')])
def test_damaged_idx_files(damage, says, tmp_path):
    write_mnist(tmp_path)
    f = tmp_path/'train-images-idx3-ubyte'
    f.write_bytes(damage(f.read_bytes()))
    with pytest.raises(ValueError, match=f'{f.name} cannot be read as an idx file of bytes in 3 axes .*({says})'): mnist(tmp_path, cache=False)

def test_files_that_do_not_belong_together(tmp_path):
    write_mnist(tmp_path)
    write_idx(tmp_path/'train-labels-idx1-ubyte', classes[:-1])
    with pytest.raises(ValueError, match='40 pictures of 28x28 and 39 labels'): mnist(tmp_path, cache=False)

# --- CIFAR and SVHN

def batches(x, y, protocol=2):
    "The files of CIFAR-10"
    made,per = {},len(x)//5
    for i in range(5):
        part = slice(per*i, per*i+per)
        made[f'data_batch_{i+1}'] = {'batch_label':f'training batch {i+1} of 5', 'labels':y[part], 'data':x[part].reshape(-1, 3072), 'filenames':['a.png']*per}
    made['test_batch'] = made['data_batch_1']
    made['batches.meta'] = {'num_cases_per_batch':per, 'label_names':[f'class {i}' for i in range(10)], 'num_vis':3072}
    return {k:pickle.dumps(v, protocol) for k,v in made.items()}

def write_cifar(path, files, folder='cifar-10-batches-py'):
    with tarfile.open(path, 'w:gz', compresslevel=1) as t:
        for k,raw in files.items():
            o = tarfile.TarInfo(f'{folder}/{k}'); o.size = len(raw)
            t.addfile(o, io.BytesIO(raw))

@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_cifar10_packed_and_unpacked(protocol, tmp_path):
    write_cifar(tmp_path/'cifar-10-python.tar.gz', batches(x, y, protocol))
    p = cifar10(tmp_path, cache=False)
    assert (p.level(32)==x).all() and p.labels.tolist()==y and p.label_names[9]=='class 9'
    assert len(cifar10(tmp_path, train=False, cache=False))==n//5
    with tarfile.open(tmp_path/'cifar-10-python.tar.gz') as t: t.extractall(tmp_path/'un')
    assert (cifar10(tmp_path/'un', cache=False).level(32)==x).all()

def test_cifar100_takes_the_fine_classes(tmp_path):
    batch = {'data':x.reshape(-1, 3072), 'fine_labels':y, 'coarse_labels':[0]*n, 'filenames':['a']*n}
    files = {'train':batch, 'meta':{'fine_label_names':[str(i) for i in range(100)], 'coarse_label_names':['all']}}
    write_cifar(tmp_path/'cifar-100-python.tar.gz', {k:pickle.dumps(v, 2) for k,v in files.items()}, 'cifar-100-python')
    p = cifar100(tmp_path, cache=False)
    assert p.labels.tolist()==y and len(p.label_names)==100 and (p.level(32)==x).all()

class Runs:
    ran = []
    def __reduce__(self): return Runs.ran.append, ('a program in a file',)

def odd_batch(**kw): return pickle.dumps({'labels':y[:8], 'data':x[:8].reshape(-1, 3072), **kw}, 2)

@pytest.mark.parametrize('raw,says', [
    (odd_batch(labels=Runs()), 'it asks for'), (odd_batch()[:-900], 'ends too early'), (b'', 'ends too early'), (b'<html>', 'data_batch_2 cannot be read'),
    (odd_batch(labels=y[:7]), r'7 labels and pictures of shape \(8, 3072\)'), (odd_batch(data=[1]), 'labels and pictures of shape'), (odd_batch(labels=['a']*8), 'no whole number'),
    (odd_batch(data=x[:8].reshape(-1, 3072).astype(np.float32)), 'expected .n, 3072. bytes'), (pickle.dumps([1], 2), 'cannot be read as a batch'), (odd_batch(labels=[77]*8), 'classes go from 0 to 77')])
def test_damaged_batches_and_such_that_would_run(raw, says, tmp_path):
    write_cifar(tmp_path/'cifar-10-python.tar.gz', {**batches(x, y), 'data_batch_2':raw})
    with pytest.raises(ValueError, match=says): cifar10(tmp_path, cache=False)
    assert not Runs.ran

def test_damaged_archives(tmp_path):
    f = tmp_path/'cifar-10-python.tar.gz'
    write_cifar(f, batches(x, y))
    whole = f.read_bytes()
    for raw in (whole[:len(whole)//2], b'<html>', b''):
        f.write_bytes(raw)
        with pytest.raises(ValueError, match='cifar-10-python.tar.gz cannot be read as an archive'): cifar10(tmp_path, cache=False)
    write_cifar(f, {'data_batch_1':b''})
    with pytest.raises(ValueError, match='has no data_batch_2, expected data_batch_1'): cifar10(tmp_path, cache=False)

def test_svhn(tmp_path):
    from scipy.io import savemat
    def write(part, x, y): savemat(tmp_path/f'{part}_32x32.mat', {'X':x, 'y':np.array(y)[:,None]})
    write('train', x.transpose(2,3,1,0), [o or 10 for o in y])
    p = svhn(tmp_path, cache=False)
    assert (p.level(32)==x).all() and p.labels.tolist()==y
    write('test', x.transpose(2,3,1,0), y[:-1])
    with pytest.raises(ValueError, match=r"test_32x32.mat cannot be read as MATLAB's file .*y has 39"): svhn(tmp_path, 'test', cache=False)
    (tmp_path/'extra_32x32.mat').write_bytes((tmp_path/'train_32x32.mat').read_bytes()[:3000])
    with pytest.raises(ValueError, match='extra_32x32.mat cannot be read'): svhn(tmp_path, 'extra', cache=False)
    with pytest.raises(ValueError, match="expected 'train', 'test' or 'extra'"): svhn(tmp_path, 'all')

# --- faces

def write_celeba(root, k=4, header=None):
    folder = root/'img_align_celeba'
    folder.mkdir()
    u = np.random.default_rng(3).integers(0, 256, (k,218,178,3), dtype=np.uint8)
    for i,o in enumerate(u): Image.fromarray(o).save(folder/f'{i+1:06d}.png')
    rows = [f'{i+1:06d}.jpg ' + ' '.join(f'{2*(i>>j&1)-1:2d}' for j in range(2)) for i in range(k)]
    (root/'list_attr_celeba.txt').write_text('\n'.join([str(header or k), 'Eyeglasses Smiling ', *rows])+'\n')
    return u

def test_celeba_is_cut_around_89_121(tmp_path):
    u = write_celeba(tmp_path)
    p = celeba(tmp_path, 'Smiling', cache=False)
    assert (p.level(128)==u[:,57:185,25:153].transpose(0,3,1,2)).all()
    assert p.labels.tolist()==[0,0,1,1] and p.attributes['Eyeglasses']==[False,True,False,True] and p.label_names==['not Smiling','Smiling']
    with zipfile.ZipFile(tmp_path/'img_align_celeba.zip', 'w') as z:
        for f in (tmp_path/'img_align_celeba').iterdir(): z.write(f, f'img_align_celeba/{f.name}')
    q = celeba(tmp_path/'img_align_celeba.zip', 'Smiling', cache=False)
    assert (q.level(128)==p.level(128)).all() and q.labels.tolist()==[0,0,1,1]

def test_celeba_without_attributes_has_no_classes(tmp_path):
    write_celeba(tmp_path)
    (tmp_path/'list_attr_celeba.txt').unlink()
    p = celeba(tmp_path, cache=False)
    assert p.labels is None and p.attributes=={}
    with pytest.raises(FileNotFoundError, match='no list_attr_celeba.txt'): celeba(tmp_path, 'Smiling')

@pytest.mark.parametrize('change,says', [
    (lambda t: t.replace('4\n', '202599\n', 1), '4 rows and says 202,599'), (lambda t: t[:-20], 'other values|rows'), (lambda t: '', 'not enough values'),
    (lambda t: t.replace('000002.jpg  1', '000002.jpg  7'), '000002.jpg has other values'), (lambda t: t.replace('000003.jpg', '000009.jpg'), 'no row for 1 of 4 pictures')])
def test_damaged_attributes(change, says, tmp_path):
    write_celeba(tmp_path)
    f = tmp_path/'list_attr_celeba.txt'
    f.write_text(change(f.read_text()))
    with pytest.raises(ValueError, match=says): celeba(tmp_path, 'Smiling', cache=False)

def test_what_celeba_says_of_other_pictures_and_words(tmp_path):
    write_celeba(tmp_path)
    with pytest.raises(ValueError, match="'Happy' is no attribute of CelebA: take one of Eyeglasses, Smiling"): celeba(tmp_path, 'Happy')
    picture(x[0]).save(tmp_path/'img_align_celeba'/'000005.png')
    (tmp_path/'list_attr_celeba.txt').unlink()
    with pytest.raises(ValueError, match='000005.png .*it has 32x32 pixels.*178x218'): celeba(tmp_path, cache=False)
    with pytest.raises(FileNotFoundError, match='no folder .*get img_align_celeba from https'): celeba(tmp_path/'no')

def save_pictures(folder, names):
    for i,o in enumerate(names):
        (folder/o).parent.mkdir(parents=True, exist_ok=True)
        picture(x[i]).save(folder/o)

def test_ffhq_trains_on_the_first_sixty_thousand(tmp_path):
    save_pictures(tmp_path/'thumbnails128x128', ['00000/00000.png','59000/59999.png','60000/60000.png','69000/69999.png'])
    for part,ids in (('all',[0,1,2,3]), ('train',[0,1]), ('validation',[2,3])):
        assert (ffhq(tmp_path, part, cache=tmp_path/'cache').level(32)==x[ids]).all()
    with pytest.raises(ValueError, match='expected one of all, train, validation'): ffhq(tmp_path, 'test')
    save_pictures(tmp_path/'other', ['cat.png'])
    with pytest.raises(ValueError, match='cat.png has no number for a name'): ffhq(tmp_path/'other', 'train', cache=False)

def test_celebahq_from_a_folder_or_a_zip(tmp_path, monkeypatch):
    save_pictures(tmp_path/'CelebA-HQ-img', ['0.png','1.png'])
    assert (celebahq(tmp_path, cache=False).level(32)==x[:2]).all()
    with zipfile.ZipFile(tmp_path/'hq.zip', 'w') as z: z.write(tmp_path/'CelebA-HQ-img'/'1.png', '1.png')
    assert (celebahq(tmp_path/'hq.zip', 16, cache=False).level(16)==image_pyramid(x[1:2], 16, cache=False).level(16)).all()
    monkeypatch.setattr('progrow.sources.Source.__len__', lambda self: 30_001)
    with pytest.raises(ValueError, match='has 30,001 pictures, and CelebA-HQ has 30,000'): celebahq(tmp_path)

# --- rooms

def test_wide_pictures_lie_between_black_bars():
    for size in ((400,256), (256,400), (512,384)):
        u = np.asarray(wide(Image.new('RGB', size, 'white')))
        assert u.shape==(512,512,3) and u[:64].max()==0==u[-64:].max() and u[64:-64].min()==255

def test_without_lmdb_it_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path/'bedroom_train_lmdb').mkdir(); (tmp_path/'bedroom_train_lmdb'/'data.mdb').write_bytes(b'')
    monkeypatch.setitem(sys.modules, 'lmdb', None)
    with pytest.raises(ImportError, match=r'pip install progrow\[lmdb\]'): lsun(tmp_path)
    with pytest.raises(FileNotFoundError, match='no church_outdoor_train_lmdb/data.mdb .*download church_outdoor_train'): lsun(tmp_path, 'church_outdoor_train')

def write_lsun(folder, pictures):
    lmdb = pytest.importorskip('lmdb')
    folder.mkdir()
    with lmdb.open(str(folder), map_size=2**24) as env, env.begin(write=True) as t:
        for i,o in enumerate(pictures):
            buf = io.BytesIO(); o.save(buf, 'webp', lossless=True)
            t.put(hashlib.sha1(bytes([i])).hexdigest().encode(), buf.getvalue())
    return np.argsort([hashlib.sha1(bytes([i])).hexdigest() for i in range(len(pictures))])

def test_lsun_in_the_order_of_its_keys(tmp_path):
    order = write_lsun(tmp_path/'bedroom_train_lmdb', [*map(picture, x[:9])])
    p = lsun(tmp_path, resolution=32, cache=False)
    assert (p.level(32)==x[:9][order]).all()
    assert (lsun(tmp_path/'bedroom_train_lmdb', n=4, resolution=32, cache=False).level(32)==x[:9][order[:4]]).all()
    with pytest.raises(ValueError, match='expected 1 or more'): lsun(tmp_path, n=0)
    with pytest.raises(ValueError, match="expected 'square' or 'wide'"): lsun(tmp_path, shape='tall')

def test_lsun_wide_and_square(tmp_path):
    write_lsun(tmp_path/'car_lmdb', [Image.new('RGB', (400,256), 'white')])
    u = lsun(tmp_path, 'car', resolution=512, shape='wide', cache=False).level(512)[0]
    assert u[:,:64].max()==0 and u[:,64:448].min()==255
    assert lsun(tmp_path, 'car', cache=False).level(256).min()==255

def test_damaged_databases(tmp_path):
    write_lsun(tmp_path/'car_lmdb', [])
    with pytest.raises(ValueError, match='holds no pictures'): lsun(tmp_path, 'car')
    (tmp_path/'car_lmdb'/'data.mdb').write_bytes(b'<html>'*2000)
    with pytest.raises(ValueError, match='car_lmdb cannot be read as a database of LSUN'): lsun(tmp_path, 'car')

# --- one name for all; other channels, other shapes

def test_all_are_found_in_sets():
    for o in 'cifar10 cifar100 mnist fashion_mnist mnist_rgb svhn celeba celebahq ffhq lsun'.split(): assert callable(getattr(sets, o)), o

@pytest.mark.parametrize('c', range(1,9))
def test_one_to_eight_channels(c, tmp_path):
    u = noise(6, c, 16)
    for o in (u, u.transpose(0,2,3,1).copy()): assert (image_pyramid(o, cache=False).level(16)==u).all()
    for i,o in enumerate(u): np.save(tmp_path/f'{i}.npy', o)
    p = image_pyramid(tmp_path, cache=tmp_path/'cache')
    assert (p.level(16)==u).all() and p.image_channels==c and p.names[1]=='1.npy'
    groups = 1 if c in (1,3) else c//3+c%3
    assert show_images(u, rows=1, scale=1, gap=0).image.size==(6*16*groups,16) and image_grid(u).shape[0]==c

def test_channels_that_cannot_be_converted():
    with pytest.raises(ValueError, match='image_channels=3, and picture 0 of the array has 4 channels'): image_pyramid(noise(3, 4), image_channels=3, cache=False)
    with pytest.raises(ValueError, match='1 to 8 channels'): image_pyramid(noise(3, 9, 16), cache=False)
    with pytest.raises(ValueError, match='1 or 3 channels.*without alpha'): check_images(noise(3, 4)) # metrics know colours only
    with pytest.raises(ValueError, match='expected as many for all'): image_pyramid([noise(1, 4)[0], noise(1, 5)[0]], cache=False)

def test_two_arrays_of_bands_are_two_sets():
    from progrow.sources import open_source
    a,b = ([o] for o in noise(2, 4))
    assert open_source(a).stamp!=open_source(b).stamp

@pytest.mark.parametrize('shape', [(32,64), (64,32)])
def test_shapes_that_are_not_square(shape, tmp_path):
    u = np.full((3,*shape,3), 255, np.uint8)
    p,s,c = (image_pyramid(u, 32, fit=o, background='black', cache=tmp_path).level(32)[0,0] for o in ('pad','stretch','crop'))
    assert s.min()==255==c.min() and (p==255).mean()==.5
    assert len(list(tmp_path.iterdir()))==3
    assert image_pyramid(u, fit='pad', cache=False).resolution==64 and image_pyramid(u, cache=False).resolution==32
    with pytest.raises(ValueError, match="fit='fill', expected 'crop', 'pad' or 'stretch'"): image_pyramid(u, fit='fill')

@pytest.mark.parametrize('aspect,size', [('3:2',(32,48)), ('2:3',(48,32)), ('1:1',(32,32)), ('3:2,pad',(21,32)), ('9:16,pad',(32,18)), ('3:2,stretch',(32,48))])
def test_squares_become_what_they_stand_for(aspect, size):
    from progrow.image_sets import to_aspect
    assert to_aspect(noise(2, 4), aspect).shape==(2,4,*size)

@pytest.mark.parametrize('aspect', ['3/2', '0:2', '3:0', '3:2,fill', '', '9:1'])
def test_what_is_no_aspect(aspect):
    from progrow.image_sets import to_aspect
    with pytest.raises(ValueError, match='expected'): to_aspect(noise(2), aspect)

def test_padding_is_cut_off_again(tmp_path):
    from progrow.image_sets import to_aspect
    from progrow.images import to_uint8
    u = noise(2, 3, 32)[:,:,:20]
    p = image_pyramid(u.transpose(0,2,3,1), 32, fit='pad', cache=False)
    assert (to_uint8(to_aspect(p.level(32), '32:20,pad')).numpy()==u).all()

# --- from files to a generator

def test_a_run_on_cifars_files_from_end_to_end(tmp_path):
    from progrow.presets import preset
    from progrow.schedule import GrowthSchedule
    from progrow.train import progressive_learner
    write_cifar(tmp_path/'cifar-10-python.tar.gz', batches(x, y))
    schedule = GrowthSchedule.named('paper', 32, fade_kimg=.016, stabilize_kimg=.016, total_kimg=.112, batch_size=16)
    p = {**preset('cifar10'), 'schedule':schedule, 'fmap_base':64, 'fmap_max':16, 'latent_dim':16}
    learn = progressive_learner(cifar10(tmp_path, cache=False), **p, device='cpu')
    learn.fit()
    got = learn.sample(4)
    assert got.shape==(4,3,32,32) and got.isfinite().all() and learn.model.training is not None

def test_the_command_line_stretches_pictures_back(tmp_path, capsys):
    from progrow.cli import main
    main(['sample', 'avatars-progan', '--n', '2', '--device', 'cpu', '--aspect', '3:2', '--out', str(tmp_path/'set')])
    assert Image.open(tmp_path/'set'/'0001.png').size==(48,32)
    assert main(['sample', 'avatars-progan', '--n', '2', '--device', 'cpu', '--aspect', '3/2', '--out', str(tmp_path/'no')])
    assert 'expected width to height like 3:2' in capsys.readouterr().err and not (tmp_path/'no').exists()
