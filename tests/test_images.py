"Pictures: the two doors between bytes and floats, grids, files, sliders, and what they refuse"
import math, base64, io, json, re, stat, warnings
from html.parser import HTMLParser
import numpy as np, pytest, torch
import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt
from PIL import Image
from progrow.images import (to_uint8, from_uint8, check_images, image_grid, show_images, save_images, Picture, Frames, enlarge, slide, still, figure_style)

@pytest.fixture
def x(): return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))*2-1

def test_every_byte_survives_both_doors():
    u = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(from_uint8(u)), u)
    assert from_uint8(u).dtype==torch.float32 and from_uint8(u).aminmax()==(-1,1)

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_to_uint8_clips_and_keeps_the_shape(dtype):
    v = torch.tensor([[-100.,-1.,0.],[1.,1.5,100.]], dtype=dtype, requires_grad=True)
    assert to_uint8(v).tolist()==[[0,0,128],[255,255,255]]

def test_to_uint8_of_tanh_ends_in_white():
    "The answer on the page: white from artanh(254/255) = ½ ln 509 on, where the slope is 1/128"
    assert to_uint8(torch.tanh(torch.tensor([3.11,3.12]))).tolist()==[254,255]
    assert abs(math.atanh(254/255)-math.log(509)/2)<1e-9 and 127<1/(1-(254/255)**2)<128

def test_to_uint8_errs_by_half_a_byte_at_most():
    v = torch.linspace(-1, 1, 10_001)
    assert (from_uint8(to_uint8(v))-v).abs().max() <= 1/255+1e-6

def test_from_uint8_equals_the_official_range(golden):
    g = golden('process_reals')
    whole = [k[1:] for k in g if k.startswith('x') and float(g[f'lod{k[1:]}'])==0]
    assert whole
    for i in whole: np.testing.assert_allclose(from_uint8(g[f'x{i}']).numpy(), g[f'y{i}'], atol=1e-6)

def test_from_uint8_takes_read_only_and_strided_arrays():
    a = np.arange(24, dtype=np.uint8).reshape(2,3,4); b = a[:,:,::-1]; a.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert torch.equal(from_uint8(a).flip(2), from_uint8(b))

@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_not_a_number_raises(bad, x):
    x[0,0,0,0] = bad
    for f in (to_uint8, check_images, show_images):
        with pytest.raises(ValueError, match='1 .*960.*diverged'): f(x)

def test_wrong_types_raise(x):
    for v in (torch.arange(3), torch.ones(3, dtype=torch.bool), torch.ones(3, dtype=torch.uint8), [0.5]):
        with pytest.raises(TypeError, match='to_uint8 takes a float tensor'): to_uint8(v)
    for v in (x, x.numpy(), [1]):
        with pytest.raises(TypeError, match='from_uint8 takes a uint8'): from_uint8(v)
    with pytest.raises(TypeError, match='torch.stack'): check_images(list(x))
    with pytest.raises(TypeError, match='int64'): check_images(torch.zeros(1,3,4,4, dtype=torch.int64))

@pytest.mark.parametrize('shape,says', [((2,8,8,3),'permute(0, 3, 1, 2)'), ((2,8,8,1),'permute(0, 3, 1, 2)'), ((8,8,3),'permute(2, 0, 1)'), ((9,8,8),'x[:, None]'),
    ((8,8),'x[None]'), ((2,4,8,8),'x[:, :3]'), ((0,3,8,8),'no picture'), ((1,1,3,8,8),'four axes'), ((8,),'four axes')])
def test_wrong_shapes_say_what_came_and_what_to_do(shape, says):
    with pytest.raises(ValueError, match=re.escape(says)) as e: check_images(torch.zeros(shape))
    assert str(shape) in str(e.value)

def test_wrong_ranges(x):
    with pytest.raises(ValueError, match='bytes kept as floats'): check_images((x+1)*127.5)
    with pytest.warns(UserWarning, match=r'x\*2-1'): check_images((x+1)/2)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for ok in (x, x*5, x[0], x[:,:1], to_uint8(x), to_uint8(x).numpy(), x.numpy(), torch.ones(1,1,4,4), torch.zeros(1,3,4,4)): check_images(ok)

def test_arrays_bytes_and_single_pictures_become_float_batches(x):
    u = to_uint8(x)
    assert torch.equal(check_images(u), from_uint8(u)) and torch.equal(check_images(u.numpy()), from_uint8(u))
    assert torch.equal(check_images(x.numpy()), x) and torch.equal(check_images(x[0]), x[:1])

@pytest.mark.parametrize('n,rows,shape', [(1,None,(1,1)), (2,None,(1,2)), (4,None,(2,2)), (5,None,(2,3)), (7,None,(3,3)), (5,1,(1,5)), (5,5,(5,1)), (5,2,(2,3))])
@pytest.mark.parametrize('gap', [0,2])
def test_grid_puts_each_picture_in_its_place(n, rows, shape, gap):
    v = torch.randn(n, 1, 3, 4); g = image_grid(v, rows, gap, fill=.5); r,c = shape
    assert g.shape==(1, r*(3+gap)-gap, c*(4+gap)-gap)
    for i in range(n):
        a,b = i//c*(3+gap), i%c*(4+gap)
        assert torch.equal(g[:,a:a+3,b:b+4], v[i].clamp(-1,1))
        g[:,a:a+3,b:b+4] = .5
    assert (g==.5).all()

def test_grid_refuses_a_wrong_number_of_rows(x):
    for rows in (0,-1,6):
        with pytest.raises(ValueError, match='from 1 to the number of images, 5'): image_grid(x, rows)

def test_enlarge_repeats_pixels(x):
    assert torch.equal(enlarge(x, 24), enlarge(x, times=3)) and torch.equal(enlarge(x, 8), x) and enlarge(x[0], 16).shape==(3,16,16)
    assert np.array_equal(enlarge(x, 24).numpy(), x.numpy().repeat(3, 2).repeat(3, 3)) and enlarge(to_uint8(x), 16).dtype==torch.uint8
    y = x.clone().requires_grad_(); enlarge(y, times=2).sum().backward()
    assert (y.grad==4).all() and enlarge(torch.zeros(1,1,2,4), 8).shape==(1,1,4,8)
    for kw in (dict(size=12), dict(size=4), dict(times=0), dict(size=0)):
        with pytest.raises(ValueError, match='width 8 can be enlarged by whole numbers only'): enlarge(x, **kw)

def test_show_repeats_pixels(x):
    pic = show_images(x[:1], scale=3)
    assert np.array_equal(np.array(pic.image), to_uint8(x[0]).permute(1,2,0).numpy().repeat(3,0).repeat(3,1))
    assert isinstance(pic, Picture) and repr(pic)=='Picture(1 image of 8x8)'
    png,meta = pic._repr_png_()
    assert np.array_equal(np.array(Image.open(io.BytesIO(png))), np.array(pic.image)) and meta['alt']

@pytest.mark.parametrize('n,r', [(1,4),(16,4),(9,32),(1,1024),(64,64)])
def test_show_picks_a_size_that_can_be_seen(n, r):
    w,_ = show_images(torch.zeros(n,1,r,r)).image.size
    assert w>=90 and (w<=680 or w<=9*(r+2))
    with pytest.raises(ValueError, match='at least 1'): show_images(torch.zeros(n,1,r,r), scale=0)

def test_save_is_exact_and_atomic(x, tmp_path, monkeypatch):
    f = save_images(x, tmp_path/'a'/'b'/'x.png', rows=1)
    assert f.exists() and [o.name for o in f.parent.iterdir()]==['x.png'] and f.stat().st_mode & stat.S_IRUSR
    assert np.array_equal(np.array(Image.open(f)), to_uint8(image_grid(x, 1)).permute(1,2,0).numpy())
    before = f.read_bytes()
    monkeypatch.setattr('os.replace', lambda *a: (_ for _ in ()).throw(OSError('killed')))
    with pytest.raises(OSError, match='killed'): save_images(-x, f)
    assert f.read_bytes()==before and [o.name for o in f.parent.iterdir()]==['x.png']
    with pytest.raises(ValueError, match='writes PNG'): save_images(x, tmp_path/'x.jpg')

class Tags(HTMLParser):
    def __init__(self, s): super().__init__(); self.tags,self.open = [],[]; self.feed(s); assert not self.open
    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ('img','input'): self.open.append(tag)
    def handle_endtag(self, tag): assert self.open.pop()==tag
    def all(self, tag): return [a for t,a in self.tags if t==tag]

class Sheet:
    "What a reader of several sliders would see"
    def __init__(self, h):
        t = Tags(h); img, = t.all('img')
        self.inputs,self.img,self.labels = t.all('input'),img,[json.loads(i['data-labels']) for i in t.all('input')]
        self.sheet = Image.open(io.BytesIO(base64.b64decode(img['src'].removeprefix('data:image/webp;base64,'))))
        self.mode,self.sheet = self.sheet.mode,self.sheet.convert('RGB')
        self.columns = int(img['data-columns'])
        self.w,self.h = self.sheet.width//self.columns, self.sheet.height//int(re.search(r'height:(\d+)00%', img['style'])[1])
        self.seen = [int(o) for o in re.findall(r'(?:left|top):-(\d+)00%', img['style'])]
        self.seen = self.seen[0]+self.seen[1]*self.columns
    def at(self, k):
        x,y = k%self.columns*self.w, k//self.columns*self.h
        return np.array(self.sheet.crop((x, y, x+self.w, y+self.h)))

def test_frames_of_tensors_hold_every_picture_exactly(x):
    f = Frames(lambda i: x[i], range(5), name='a <b> & "c"', start=-1, width=100)
    h = f._repr_html_(); s = Sheet(h)
    for k,v in enumerate(x): assert np.array_equal(s.at(k), to_uint8(v).permute(1,2,0).numpy())
    assert s.seen==4 and s.img['alt']=='a <b> & "c": 4' and 'pixelated' in s.img['style'] and 'max-width:96px' in h
    i, = s.inputs
    assert (i['min'],i['max'],i['value'],i['aria-label'],i['aria-valuetext'])==('0','4','4','a <b> & "c"','4')
    assert h==Frames(list(x), range(5), name='a <b> & "c"', start=4, width=100)._repr_html_()

def test_frames_need_nothing_from_outside(x, tmp_path):
    f = Frames(x, range(5)).save(tmp_path/'new'/'s.html')
    h = re.sub(r'base64,[^"]+', '', f.read_text())
    assert not re.search(r'https?:|//|@import|url\(|<script|<link', h) and '\n\n' not in h

def test_figures_share_one_frame_and_are_closed():
    figure_style(); plt.close('all')
    def draw(v):
        fig,ax = plt.subplots(figsize=(3,2)); ax.plot([0,v]); ax.set_ylabel('y'*len(str(v)))
        return fig
    f = Frames(draw, [1,1e3,1e7], name='v')
    assert len({o.size for o in f.images})==1 and not plt.get_fignums()
    s = Sheet(f._repr_html_())
    assert s.labels==[['1','1000','1e+07']] and s.mode=='RGBA' and 'pixelated' not in s.img['style']

def test_frames_take_pillow_pictures_grids_and_shown_pictures(x):
    f = Frames([Image.new('P', (4,4)), show_images(x), x, Image.new('L', (900,10)), x[0].numpy()], 'abcde')
    assert len(f.images)==5 and len(Sheet(f._repr_html_()).labels[0])==5

def test_frames_say_what_is_wrong(x):
    with pytest.raises(TypeError, match='NoneType at stop 0. Does the function return'): Frames(lambda v: None, [1])
    with pytest.raises(ValueError, match='5 pictures and 2 values'): Frames(x, [1,2])
    with pytest.raises(ValueError, match='at least one value'): Frames(x, [])
    with pytest.raises(ValueError, match='index into the 5 values, got 5'): Frames(x, range(5), start=5)

def test_still_drops_dead_widgets_only():
    view = 'application/vnd.jupyter.widget-view+json'
    cell = {'outputs': [{'data': {view:{'model_id':'1'}, 'text/plain':'w'}}, {'data': {view:{}, 'image/png':'p'}}, {'data': {view:{'a':1}, 'image/png':'p'}}, {'data': {'text/plain':'t'}}, {'text':'x'}]}
    still(cell); still({'cell_type':'markdown'}); still({'outputs':None})
    a,b,c,d,e = cell['outputs']
    assert view not in a['data'] and 'Run this notebook' in a['data']['text/html']
    assert b=={'data':{'image/png':'p'}}==c and d=={'data':{'text/plain':'t'}} and e=={'text':'x'}

def test_several_sliders_hold_every_combination_exactly(x):
    stops = {'a <b>':range(5), 'times':[.5,1.], 'flip "it"':['no','yes','x']}
    def draw(i, k, f): return (x[i]*k).flip(1) if f=='yes' else x[i]*k
    f = Frames(draw, stops, start={'times':-1, 'flip "it"':1}, width=100)
    assert len(f.values)==30 and f.values[f.start]==(0,1.,'yes') and repr(f)=="Frames('a <b> × times × flip \"it\"', 30 stops)"
    s = Sheet(f._repr_html_())
    assert [(i['min'],i['max'],i['value'],i['aria-label'],i['aria-valuetext']) for i in s.inputs]==[('0','4','0','a <b>','0'), ('0','1','1','times','1'), ('0','2','1','flip "it"','yes')]
    assert s.labels==[['0','1','2','3','4'], ['0.5','1'], ['no','yes','x']] and s.img['alt']=='a <b>: 0, times: 1, flip "it": yes'
    for k,v in enumerate(f.values): assert np.array_equal(s.at(k), to_uint8(draw(*v)).permute(1,2,0).numpy())
    assert f'left:-{f.start%s.columns}00%;top:-{f.start//s.columns}00%' in s.img['style'] and 'pixelated' in s.img['style']
    assert f._repr_html_()==Frames([draw(*v) for v in f.values], stops, start={'times':1, 'flip "it"':-2}, width=100)._repr_html_()

def test_several_sliders_need_nothing_from_outside(x, tmp_path):
    f = Frames(lambda i, j: x[[i,j]], {'i':range(5), 'j':range(5)})
    h = re.sub(r'base64,[^"]+', '', f.save(tmp_path/'s.html').read_text())
    assert not re.search(r'https?:|//|@import|url\(|<script|<link', h) and '\n\n' not in h

def test_three_hundred_small_pictures_are_light():
    x = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))*2-1  # noise, of which nothing can be saved but what is there twice
    h = Frames(lambda i, j, k: torch.cat([x[i,:,:11], x[j,:,11:22], x[k,:,22:]], 1), dict.fromkeys('ijk', range(7)))._repr_html_()
    assert len(Sheet(h).labels)==3 and len(h)<150_000

def test_several_sliders_over_figures_and_sizes(x):
    def draw(k, t):
        fig,ax = plt.subplots(figsize=(3,2)); ax.plot([0,k]); ax.set_title(t)
        return fig
    f = Frames(draw, {'k':[1.,2.], 't':'ab'}); s = Sheet(f._repr_html_())
    assert len({o.size for o in f.images})==1 and 'pixelated' not in s.img['style'] and not plt.get_fignums()
    s = Sheet(Frames(lambda r, i: x[i,:,:r,:r], {'r':[4,8], 'i':range(3)})._repr_html_())
    assert (s.w,s.h)==(8,8) and np.array_equal(s.at(1)[::2,::2], to_uint8(x[1,:,:4,:4]).permute(1,2,0).numpy())

def test_bits_keep_black_and_white(x):
    h = Frames([x[:1], torch.stack([torch.ones(3,4,4), -torch.ones(3,4,4)])], range(2), bits=5)._repr_html_()
    a,b = (Sheet(h).at(k) for k in (0,1))
    assert set(b.flatten())<={0,255} and len(set(a.flatten()))<=32 and abs(a.astype(int)-to_uint8(x[0]).permute(1,2,0).numpy()).max()<=5

def test_several_sliders_say_what_is_wrong(x):
    with pytest.raises(ValueError, match='5 pictures and 10 values'): Frames(x, {'a':range(5), 'b':range(2)})
    with pytest.raises(ValueError, match='at least one value'): Frames(x, {'a':range(5), 'b':[]})
    with pytest.raises(ValueError, match='at least one value'): Frames(x, {})
    with pytest.raises(ValueError, match="start has 'c', and the sliders are a, b"): Frames(x, {'a':range(5), 'b':[1]}, start={'c':1})
    with pytest.raises(ValueError, match='index into the 2 values, got 2'): Frames(x, {'a':range(5), 'b':range(2)}, start={'b':2})
    with pytest.raises(ValueError, match='too many for one sheet'): Frames(lambda i, j: Image.new('L', (9000,9000)), {'i':range(2), 'j':range(2)})._repr_html_()
    with pytest.raises(ValueError, match='bits'): Frames(x, range(5), bits=9)

def test_one_named_slider_is_a_slider(x): assert Frames(list(x), {'v':range(5)})._repr_html_()==Frames(list(x), range(5), 'v')._repr_html_()

def test_slide_draws_beforehand_or_live(x):
    import ipywidgets
    asked = []
    def draw(i, k): asked.append((i, k)); return x[i]*k
    stops = {'i':range(5), 'k':[.5,1.]}
    assert slide(draw, stops, start={'i':2})._repr_html_()==Frames(draw, stops, start={'i':2})._repr_html_()
    asked.clear()
    box = slide(draw, stops, live=True, start={'i':2}, width=24)
    assert isinstance(box, ipywidgets.Widget) and asked==[(2,.5)]
    picture,i,k,_ = box.children
    i.value,k.value = 4,.73  # a float in between
    assert asked[1:]==[(4,.5),(4,.73)]
    assert np.array_equal(np.array(Image.open(io.BytesIO(picture.value)))[::3,::3], to_uint8(x[4]*.73).permute(1,2,0).numpy())
    assert isinstance(slide(lambda v: plt.subplots()[0], [4,8,16], 'resolution', live=True).children[1], ipywidgets.SelectionSlider) and not plt.get_fignums()

def test_shown_pictures_are_saved_whole_or_not_at_all(x, tmp_path, monkeypatch):
    pic = show_images(x)
    for o in ('a.png','a.gif','a.webp'): pic.save(tmp_path/'new'/o); assert Image.open(tmp_path/'new'/o).size==pic.image.size
    with pytest.raises(ValueError, match="saved as 'a.doc': use .png"): pic.save(tmp_path/'a.doc')
    with pytest.raises(ValueError, match="saved as 'a.psd'"): pic.save(tmp_path/'a.psd') # Pillow only reads it
    def half(f, kind): f.write(b'half'); raise OSError('disk full')
    monkeypatch.setattr(pic.image, 'save', half)
    before = (tmp_path/'new'/'a.png').read_bytes()
    with pytest.raises(OSError, match='disk full'): pic.save(tmp_path/'new'/'a.png')
    assert (tmp_path/'new'/'a.png').read_bytes()==before and len(list((tmp_path/'new').iterdir()))==3
