"Any folder, zip or array as named pictures of one size"
import subprocess, sys
import io, json, shutil
import numpy as np, pytest, torch
from PIL import Image
from helpers import noise, picture
from progrow.containers import sort_out
from progrow.data import image_pyramid
from progrow.sources import Source, as_labels, fit_image, open_source

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

# --- what is left aside, left out, and named

def test_other_files_are_counted_by_suffix(folder, tmp_path):
    for o in ('a/1.HEIC','a/2.heic','b/3.cr2','notes.txt','.hidden','dataset.jsonl'): (folder/o).write_text('x')
    expected = {'.cr2':['b/3.cr2'], '.heic':['a/1.HEIC','a/2.heic'], '.jsonl':['dataset.jsonl'], '.txt':['notes.txt']}
    for o in (folder, shutil.make_archive(tmp_path/'z', 'zip', folder)): assert open_source(o).ignored==expected and len(open_source(o))==4
    assert open_source(folder).facts()['ignored']=={'.cr2':1, '.heic':2, '.jsonl':1, '.txt':1}
    for o in folder.rglob('*.png'): o.unlink()
    with pytest.raises(ValueError, match=r'no pictures in set.*2 .heic \(a/1.HEIC, …\)'): open_source(folder)

def test_results_of_a_training_are_no_pictures(folder):
    for o in ('runs/one/log.jsonl','runs/one/strip.png','runs/one/more/x.png','runs/two/generator.pt','runs/two/samples.png'):
        (folder/o).parent.mkdir(parents=True, exist_ok=True); (folder/o).write_text('x')
    src = open_source(folder)
    assert len(src)==4 and len(src.ignored['results of a training'])==5
    assert sort_out(['log.jsonl','samples.png','mine.png'])[0]==['mine.png']

def test_a_wide_photograph_is_too_large_and_not_broken(tmp_path, monkeypatch):
    Image.new('1', (16000,12000)).save(tmp_path/'a.png'); picture(noise(1)[0]).save(tmp_path/'b.png')
    src = open_source(tmp_path)
    with pytest.raises(ValueError, match='a.png is too large: 192.0 million pixels, and at most 89.5 .*PROGROW_MAX_PIXELS=192000000'): src.plan()
    assert src.plan(image_channels=3, on_error='skip')==(32,3) and src.skipped=={'a.png':'too large'} and src.facts()['too_large']==['a.png']
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', Image.MAX_IMAGE_PIXELS) # raised by what follows
    monkeypatch.setenv('PROGROW_MAX_PIXELS', '192000000')
    assert src.plan(image_channels=3)==(32,3)
    monkeypatch.setenv('PROGROW_MAX_PIXELS', 'many')
    with pytest.raises(ValueError, match="PROGROW_MAX_PIXELS='many', expected a whole number"): src.plan()

def test_too_small_pictures_can_be_left_out(folder):
    Image.new('RGB', (20,8)).save(folder/'a'/'s.png')
    src = open_source(folder)
    with pytest.raises(ValueError, match='a/s.png is 8 pixels on its short side'): src.plan(32)
    assert src.plan(32, on_error='skip')==(32,3) and src.skipped=={'a/s.png':'too small'}
    assert [o is None for o in src.read(range(5), 32, on_error='skip')]==[False,False,True,False,False]

def test_a_wrong_background_is_not_blamed_on_a_picture(folder):
    with pytest.raises(ValueError, match="background='whit' is no colour") as e: open_source(folder).read([0], 16, background='whit')
    assert 'a/0.png' not in str(e.value)

# --- lists and data sets

def test_a_list_of_files_and_folders(folder, tmp_path):
    x = noise(4)
    src = open_source([folder/'b', str(folder/'a'/'2.png'), folder/'a'/'0.png'])
    assert src.names==['b/1.png','b/3.png','a/2.png','a/0.png'] and (np.stack(list(src.read(range(4), 32)))==x[[1,3,2,0]]).all()
    assert src.find_labels('folders')[0].tolist()==[1,1,0,0]
    assert src.stamp!=open_source([folder/'a', folder/'b']).stamp
    with pytest.raises(FileNotFoundError, match='no.png is not here'): open_source([folder/'no.png'])
    with pytest.raises(ValueError, match='no pictures'): open_source([])

class Items:
    classes = ('cat','dog')
    def __init__(self, items): self.items = items
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return self.items[i]

def test_any_map_style_data_set(folder):
    x = noise(4); u = torch.tensor(x)
    for items in ([picture(o) for o in x], u, u/255, list(x.transpose(0,2,3,1)), list(x.transpose(0,2,3,1)/255)):
        src = open_source(Items(items))
        assert (np.stack(list(src.read(range(4), 32)))==x).all() and src.find_labels()==(None,None)
    src = open_source(Items([(o,i%2) for i,o in enumerate(u)]))
    assert src.find_labels()[0].tolist()==[0,1,0,1] and src.find_labels()[1]==['cat','dog'] and src.names[3]=='picture 3 of Items'
    assert src.stamp==open_source(Items(u)).stamp!=open_source(Items(u.flip(0))).stamp
    assert (image_pyramid(torch.utils.data.TensorDataset(u, torch.arange(4))).level(32)==x).all()

@pytest.mark.parametrize('items', [['cat'], [np.zeros((16,16,9), np.uint8)], [np.zeros((8,8), int)], [torch.zeros(3,8,8)-1], [{'image':1}], [None]], ids=str)
def test_odd_items_are_named(items):
    with pytest.raises(ValueError, match='picture 0 of Items cannot be read as a picture .*expected Pillow images'): open_source(Items(items))

@pytest.mark.parametrize('source', [7, None, {'a':1}, iter([])], ids=lambda o: type(o).__name__)
def test_what_is_no_source_at_all(source):
    with pytest.raises(TypeError, match='expected a folder'): open_source(source)

# --- labels

def test_folders_need_sub_folders(folder, tmp_path):
    for o in (folder/'a', noise(4)):
        with pytest.raises(ValueError, match='no class for [24] of [24] pictures: they lie in no sub-folder'): open_source(o).find_labels('folders')

def test_classes_have_names_and_labels_a_file(folder):
    src = open_source(folder)
    held = dict(labels=[[o, i%2] for i,o in enumerate(src.names)], classes=['bag','shoe'])
    (folder/'dataset.json').write_text(json.dumps(held))
    for y,names in (open_source(folder).find_labels(), src.find_labels(folder/'dataset.json'), src.find_labels(str(folder/'dataset.json'))):
        assert y.tolist()==[0,1,0,1] and names==['bag','shoe']
    (folder/'few.json').write_text(json.dumps({**held, 'classes':['bag']}))
    with pytest.raises(ValueError, match='few.json go up to 1, and there are 1 names'): src.find_labels(folder/'few.json')
    with pytest.raises(FileNotFoundError, match='no file .*none.json here'): src.find_labels('none.json')

@pytest.mark.parametrize('labels', [[0,10**10], [0,-1], [10**30,0], ['a','b'], [[1],[2,3]], [.5,1], [1]], ids=str)
def test_labels_are_classes(labels):
    with pytest.raises(ValueError, match='^labels (of shape|go from).*expected'): as_labels(labels, 2)

@pytest.mark.parametrize('labels', ([[0],[1]], [[[1],2],[2,3]], [['a.png',0],3], [[1],[2,3]]))
def test_odd_lists_of_labels(labels):
    with pytest.raises(ValueError, match='expected one whole number for each'): open_source(np.zeros((2,8,8,3), np.uint8)).find_labels(labels)

def test_a_wrong_bound_is_not_blamed_on_a_picture(tmp_path, monkeypatch):
    Image.new('RGB', (8,8)).save(tmp_path/'a.png')
    monkeypatch.setenv('PROGROW_MAX_PIXELS', 'many')
    with pytest.raises(ValueError, match="^PROGROW_MAX_PIXELS='many'"): open_source(tmp_path)

def test_labels_of_a_folder_in_a_list_are_told(tmp_path):
    Image.new('RGB', (8,8)).save(tmp_path/'a.png')
    (tmp_path/'dataset.json').write_text('{"labels": [["a.png", 0]]}')
    assert open_source([tmp_path]).ignored=={'labels of one folder in a list':[f'{tmp_path.name}/dataset.json']}

def test_a_picture_of_100_million_pixels_is_too_large_in_our_words_alone(tmp_path):
    Image.new('1', (10_000, 10_000)).save(tmp_path/'a.png')
    code = "import sys\nfrom progrow.sources import open_source\ntry: list(open_source(sys.argv[1]).read([0], 8))\nexcept ValueError as e: print(e)"
    r = subprocess.run([sys.executable, '-W', 'default', '-c', code, str(tmp_path)], capture_output=True, text=True)
    assert 'too large: 100.0 million pixels' in r.stdout and 'bomb' not in r.stderr, r.stderr[-500:]
