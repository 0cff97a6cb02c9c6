"Any folder, zip or array as named pictures of one size"
import io, json, os, shutil, zipfile
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from helpers import noise, picture
from progrow.data import image_pyramid
from progrow.sources import Source, fit_image, open_source

pytestmark = pytest.mark.usefixtures('cache')

# --- pictures of any kind

@pytest.mark.parametrize('mode', ['RGB','RGBA','P','CMYK','L','LA','1','I;16','I','YCbCr','PA'])
@pytest.mark.parametrize('channels', [1,3])
def test_modes(mode, channels):
    gray = Image.fromarray(np.repeat(np.repeat(np.array([[0,255],[255,0]], np.uint8), 8, 0), 8, 1))
    im = Image.fromarray(np.asarray(gray).astype(np.uint16)*257) if mode == 'I;16' else Image.fromarray(np.asarray(gray).astype(np.int32)*257) if mode == 'I' \
         else gray.convert('P').convert(mode) if mode == 'PA' else gray.convert('RGB').convert(mode)
    x = fit_image(im, 16, channels)
    assert x.shape == (channels,16,16) and x.dtype == np.uint8
    assert np.abs(x.astype(int) - np.asarray(gray)).max() <= 2

def test_sixteen_bit_png_from_disk(tmp_path):
    v = (np.arange(256, dtype=np.uint16)*257).reshape(16,16)
    Image.fromarray(v).save(tmp_path/'a.png')
    assert (image_pyramid(tmp_path).level(16)[0,0] == np.arange(256).reshape(16,16)).all()

def test_float_pixels_are_refused(tmp_path):
    Image.fromarray(np.random.rand(16,16).astype(np.float32)).save(tmp_path/'a.tif')
    with pytest.raises(ValueError, match='a.tif') as e: image_pyramid(tmp_path)
    assert 'agreed range' in str(e.value.__cause__)

def test_alpha_lies_on_the_background():
    im = Image.new('RGBA', (8,8), (255,0,0,0)); im.putpixel((0,0), (0,0,255,255))
    assert fit_image(im, 8)[:,4,4].tolist() == [255]*3 and fit_image(im, 8, background='black')[:,4,4].tolist() == [0]*3
    assert fit_image(im, 8)[:,0,0].tolist() == [0,0,255]
    p = Image.new('P', (8,8), 0); p.putpalette([9,9,9]+[0]*765); p.info['transparency'] = 0
    assert (fit_image(p, 8) == 255).all()

@pytest.mark.parametrize('o', range(1,9))
def test_exif(o):
    x = noise(1, 3, 16)[0]; im = picture(x)
    back = {2:[0], 3:[3], 4:[1], 5:[5], 6:[2], 7:[6], 8:[4]}.get(o, [])   # PIL's transpose codes that undo each orientation
    for t in back: im = im.transpose(Image.Transpose(t))
    e = Image.Exif(); e[0x0112] = o
    b = io.BytesIO(); im.save(b, 'png', exif=e); got = fit_image(Image.open(b), 16)
    assert (got == x).all()

def test_centre_square():
    x = noise(1, 3, 40)[0]
    assert (fit_image(picture(x[:,:,4:36][:, :]), 32) == fit_image(picture(x[:,4:36,4:36]), 32)).all()
    assert (fit_image(picture(x[:,4:36]), 32) == x[:,4:36,4:36]).all()

def test_lanczos_is_antialiased():
    check = np.indices((64,64)).sum(0)%2*255
    assert np.abs(fit_image(Image.fromarray(check.astype(np.uint8)), 16, 1).astype(int)-127).max() < 3

# --- sources

@pytest.fixture
def folder(tmp_path):
    for i,o in enumerate(noise(4)):
        p = tmp_path/'set'/'ab'[i%2]/f'{i}.png'
        p.parent.mkdir(parents=True, exist_ok=True); picture(o).save(p)
    return tmp_path/'set'

def test_every_kind_of_source_gives_the_same_pictures(folder, tmp_path):
    x = noise(4)[[0,2,1,3]]
    np.save(tmp_path/'x.npy', x); np.savez(tmp_path/'x.npz', x)
    for o in (folder, str(folder), shutil.make_archive(tmp_path/'z', 'zip', folder), x, torch.tensor(x), x.transpose(0,2,3,1), tmp_path/'x.npy', tmp_path/'x.npz'):
        src = open_source(o)
        assert isinstance(src, Source) and len(src)==4 and (np.stack(list(src.read(range(4), 32)))==x).all() and src.plan()==(32,3)
    assert open_source(folder).names==open_source(tmp_path/'z.zip').names==['a/0.png','a/2.png','b/1.png','b/3.png']
    assert repr(open_source(x))=='Source(4 pictures from the array)'

def test_stamps_change_with_the_pictures(folder, tmp_path):
    def stamps(): return [json.dumps(open_source(o).stamp) for o in (folder, shutil.make_archive(tmp_path/'z', 'zip', folder))]
    before = stamps()
    assert stamps()==before
    picture(noise(1, seed=5)[0]).save(folder/'a'/'0.png')
    assert all(a!=b for a,b in zip(stamps(), before))
    x = noise(4)
    assert open_source(x).stamp==open_source(x.copy()).stamp!=open_source(x[::-1]).stamp

def test_read_in_any_order_and_leave_out(folder):
    (folder/'a'/'bad.png').write_text('x')
    src = open_source(folder)
    one = list(src.read([4,0,4], 16))
    assert (one[0]==one[2]).all() and (one[0]!=one[1]).any() and one[0].shape==(3,16,16)
    assert [o is None for o in src.read(range(5), 16, 1, on_error='skip')]==[False,False,True,False,False]
    with pytest.raises(ValueError, match='cannot read a/bad.png .UnidentifiedImageError'): list(src.read(range(5), 16))
    assert src.plan(on_error='skip')==(32,3)

def test_labels_of_a_source(folder):
    src = open_source(folder)
    y,names = src.find_labels('folders')
    assert y.tolist()==[0,0,1,1] and names==['a','b'] and y.dtype==np.int64 and src.find_labels()==(None,None)
    assert src.find_labels([3,2,1,0])[0].tolist()==[3,2,1,0] and src.find_labels([3,2,1,0])[1] is None

def test_a_message_names_the_sets_only_where_there_are_some(tmp_path):
    with pytest.raises(FileNotFoundError) as e: open_source(tmp_path/'x')
    assert 'built-in' not in str(e.value)
    with pytest.raises(FileNotFoundError, match='no built-in set: those are a, b'): open_source(tmp_path/'x', ['a','b'])
    with pytest.raises(TypeError, match=r"or one of \['a', 'b'\]"): open_source(7, ['a','b'])
