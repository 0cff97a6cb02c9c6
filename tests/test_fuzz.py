"""Damaged, crafted and hostile files of every kind that is read: nothing is executed, nothing hangs, memory is bounded, errors are sentences of ours.

`python tests/test_fuzz.py KIND NUMBER` repeats one, `... KIND` all of a kind; `PROGROW_FUZZ=20000` reads more of them (in all kinds together)."""
import copy, io, json, mmap, os, pickle, random, shutil, socket, subprocess, sys, tempfile, time, traceback, warnings, zipfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pytest

pytestmark = pytest.mark.skipif(sys.platform!='linux', reason='limits and figures of memory are those of Linux')
total = int(os.environ.get('PROGROW_FUZZ', 4000))

@dataclass
class Kind:
    "A kind of file: how a good one is made, damaged and read"
    make:object # Function: folder -> writes good files into it
    targets:tuple # Those that are damaged, in turn
    reads:tuple # Functions: folder -> a result; all of them read each file
    ways:tuple # Functions: bytes, random.Random -> other bytes
    crafted:object # Function: folder with good files, path that must not appear -> name -> bytes, or a function that puts something at a path; a name may begin with its target
    names:tuple # One of them is in every message
    documented:tuple = (ValueError, FileNotFoundError) # These, and what progrow derives from them
    right:object = None # Function: result, the one of good files, how a file was damaged -> what is wrong, or None
    share:float = 1. # Of all files
    seconds:float = 10. # For one way to read one file; it takes milliseconds

kinds = {}
def kind(*targets, **kwargs):
    "Declare a kind by a class with `make`, `read` and `crafted`"
    def add(cls):
        d = vars(cls)
        kinds[cls.__name__] = Kind(d['make'], targets, tuple(v for k,v in d.items() if k.startswith('read')), kwargs.pop('ways'), d['crafted'], **kwargs)
        return cls
    return add

# --- in the place of any file

def fifo(path): os.mkfifo(path)
def folder(path): path.mkdir(); (path/'a.txt').write_text('x')
def listens(path):
    here = os.getcwd()
    os.chdir(path.parent) # the name of a socket is a short one
    with socket.socket(socket.AF_UNIX) as s: s.bind(path.name)
    os.chdir(here)
def link(to): return lambda path: path.symlink_to(to)
def nothing(path): pass
def sparse(path):
    with open(path, 'wb') as f: f.truncate(2**36)

special = {'FIFO':fifo, 'folder':folder, 'socket':listens, 'link to /dev/zero':link('/dev/zero'), 'link to /':link('/'), 'link to itself':lambda path: path.symlink_to(path.name), 'dead link':link('nowhere'),
           'link to /proc/self/mem':link('/proc/self/mem'), 'missing':nothing, 'empty':b'', '64 GB of holes':sparse, 'zeros':bytes(5000), 'text':b'Hello. '*200, 'PNG':b'\x89PNG\r\n\x1a\n'+bytes(99)}

# --- generators and checkpoints

from mutations import (array_bytes, bomb, byte_ways, calls, chunks, damaged, directory_edited, edited, header_edited, headed, json_edited, large_png, listed_often, npy, odd_headers, odd_jsons, odd_tensors, odd_values,
                       opcodes_edited, packed, pickle_call, png, png_edited, record_moved, records, within)

def saved(content):
    import torch
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()

def content(file):
    "What a file of tensors holds, without its digest: whoever changes a file leaves that out"
    import torch
    held = torch.load(file, weights_only=True)
    held.pop('digest', None)
    return held

def content_edited(b, rng):
    "Other plain values and tensors in a good file"
    held = content(io.BytesIO(b))
    for _ in range(10):
        try: return saved(edited(held, rng, odd_values+odd_tensors()))
        except Exception: pass # what cannot be saved
    return b

def pickled(b, data): return packed([(o, data if o.filename.endswith('data.pkl') else d) for o,d in records(b)])

def deeper(b, key, n):
    "A file with a list of n lists within each other"
    data = dict((o.filename.split('/')[-1], d) for o,d in records(b))['data.pkl']
    return pickled(b, data[:-1]+b'X'+len(key).to_bytes(4, 'little')+key+b']'*n+b'a'*(n-1)+b's.')

def programs(path, owned):
    "Files of PyTorch that hold, or call, a program"
    import torch
    b,found = path.read_bytes(),{}
    for i,(m,n,a) in enumerate(calls(owned)):
        found[f'{m}.{n}'] = pickled(b, pickle_call(m, n, a, (2, 4)[i%2]))
        found[f'{m}.{n} bare'] = pickle_call(m, n, a, (0, 2, 4)[i%3])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        out = io.BytesIO(); torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), out)
    found['TorchScript'] = out.getvalue()
    found['TorchScript and more'] = packed([*records(b), *[(o, d) for o,d in records(out.getvalue()) if 'code' in o.filename]])
    return found

def tensor_files(path, *ways):
    "What may stand in the place of any file of tensors; `ways` lead to tensors, or plain values, that are exchanged"
    b,good,found = path.read_bytes(),content(path),{}
    found.update({'a record 3000 times':listed_often(b, 3000), 'bomb':bomb('archive/data.pkl', 2**32, b'\x80\2'), 'another format':saved({'a':1}), 'a tensor':saved(__import__('torch').zeros(3))})
    for n in (900, 20_000): found[f'nested {n}'] = deeper(b, b'settings', n); found[f'more, nested {n}'] = deeper(b, b'config', n)
    for k in good: found[f'no {k}'] = saved({j:v for j,v in good.items() if j!=k})
    for k in good:
        for v in (None, 'x', -1, {}, 2.5): found[f'{k}={v!r}'] = saved({**good, k:v})
    for way in ways:
        for i,v in enumerate(odd_tensors()):
            held,last = content(path),None
            o = held
            for k in way[:-1]: o = o[k]
            o[way[-1]] = v
            try: found[f'{".".join(map(str, way))}: odd {i}'] = saved(held)
            except Exception: pass
    return found

def changed(path, **config): h = content(path); h['config'].update(config); return saved(h)
def reshaped(path, change): h = content(path); h['weights'] = {k:change(v) for k,v in h['weights'].items()}; return saved(h)

huge = [dict(fmap_base=2**40), dict(fmap_base=2**40, fmap_max=2**40), dict(fmap_max=0), dict(resolution=2**17), dict(resolution=2**40), dict(resolution=3), dict(resolution=16), dict(latent_dim=2**31), dict(latent_dim=-1),
        dict(latent_dim=1.5), dict(num_classes=2**40), dict(image_channels=2**33), dict(image_channels=0), dict(fmap_base=float('nan')), dict(resolution='8'), dict(more=1), dict(mapping_layers=10**8), dict(w_dim=2**33),
        dict(mixing=float('nan')), dict(styles=2), dict(noise='x')]

def generator_files(path, owned):
    found = {**programs(path, owned), **tensor_files(path, ('weights', next(iter(content(path)['weights']))))}
    found.update({str(o):changed(path, **o) for o in huge})
    import torch
    found.update({'NaN weights':reshaped(path, lambda v: v*float('nan')), 'transposed':reshaped(path, lambda v: v.flip(0).mT if v.ndim>1 else v), 'one more axis':reshaped(path, lambda v: v[None]),
                  'halves':reshaped(path, lambda v: v.half()), 'whole numbers':reshaped(path, lambda v: v.long()), 'on no device':reshaped(path, lambda v: v.to('meta')), 'sparse':reshaped(path, lambda v: v.to_sparse())})
    return found

def same_weights(result, good, way):
    "Damage is noticed, or does no harm"
    from helpers import same
    if way in (damaged, directory_edited) and not same(result, good): return 'other weights, and not a word'

tensor_ways = (damaged, damaged, directory_edited, record_moved, within(damaged, 'data.pkl'), within(opcodes_edited, 'data.pkl'), within(opcodes_edited, 'data.pkl'), content_edited, content_edited)

def tiny_generator(folder, style):
    import torch
    from progrow.checkpoint import save_generator
    from progrow.networks import Generator
    from progrow.style import StyleGenerator
    torch.manual_seed(0)
    G = StyleGenerator(8, latent_dim=4, fmap_base=16, fmap_max=4, mapping_layers=2) if style else Generator(8, latent_dim=4, fmap_base=16, fmap_max=4)
    save_generator(G, folder/'generator.pt')

@kind('generator.pt', ways=tensor_ways, names=('generator.pt',), right=same_weights, share=3)
class generator:
    def make(folder): tiny_generator(folder, False)
    def read(folder):
        from progrow.checkpoint import load_generator
        from progrow.sampling import sample_images
        G = load_generator(folder/'generator.pt')
        sample_images(G, 2)
        return dict(G.state_dict())
    def crafted(folder, owned): return generator_files(folder/'generator.pt', owned)

@kind('generator.pt', ways=tensor_ways, names=('generator.pt',), right=same_weights, share=1.5)
class style_generator:
    def make(folder): tiny_generator(folder, True)
    def read(folder): return generator.read(folder)
    def crafted(folder, owned): return {str(o):changed(folder/'generator.pt', **o) for o in huge}

def make_run(folder):
    "A run with two checkpoints in a folder, and its learner, for all kinds"
    import torch
    from runs import noise, tiny
    from progrow.schedule import GrowthSchedule
    from progrow.runs import save_settings
    set_of(folder)
    learn = tiny(noise(resolution=8), GrowthSchedule(8, stabilize_kimg=.016, fade_kimg=.012, batch_size=4, learning_rate={4:.001, 8:.002}), latent_dim=4, fmap_base=16, fmap_max=4)
    learn.arguments = dict(images=str(folder/'photos'), background='white')
    np.random.seed(0); random.seed(0)
    with learn.no_bar(), learn.no_logging():
        for _ in range(2):
            learn.fit(1)
            learn.save_checkpoint(folder/'faces'/'checkpoints')
    save_settings(learn, folder/'faces')
    learn.export(folder/'faces'/'generator.pt')
    made.update(folder=folder, learner=learn)

made = {}
def copied_run(folder): shutil.copytree(made['folder']/'faces', folder/'faces')

old,new = (f'faces/checkpoints/checkpoint-{n:09d}.pt' for n in (4, 8))
def checkpoint_files(path, tensors=True):
    "Checkpoints with other values, and with odd tensors in some places"
    name = next(k for k in content(path)['model'] if k.endswith('weight'))
    ways = ('model', name), ('optimizer','state',0,'exp_avg'), ('callbacks','history','images'), ('random','torch'), ('images_seen',)
    found = tensor_files(path, *ways if tensors else ())
    for more in (dict(cache='/nowhere/cache'), dict(cache=1), dict(images=7), dict(images='nowhere'), dict(images='http://127.0.0.1/'), dict(images='avatars', n=10**9), dict(images='digits', n='x'), dict(resolution=8), dict(more=1), dict(labels='x'),
                 dict(background='no colour'), dict(cache_max_resolution=2**40), dict(cache_max_resolution='x'), dict(on_error=1), dict(image_channels='x'), dict(progress='x'), dict(labels=[0]*10), dict(images=None)):
        held = content(path)
        held['arguments'] = {**held['arguments'], **more}
        found[f'arguments {more}'] = saved(held)
    return found

@kind(new, ways=tensor_ways, names=(new[-22:],), share=2)
class checkpoint:
    make = copied_run
    def read(folder):
        from progrow.checkpoint import load_checkpoint
        load_checkpoint(folder/new)
    def crafted(folder, owned): return {**programs(folder/new, owned), **checkpoint_files(folder/new)}

@kind(new, ways=(damaged, damaged, directory_edited, record_moved, within(damaged)), names=('checkpoints',), documented=())
class newest:
    "There is a good one beside it"
    make = copied_run
    def read(folder):
        from progrow.checkpoint import load_checkpoint
        load_checkpoint(folder/'faces'/'checkpoints')
    def crafted(folder, owned): return {k:v for k,v in programs(folder/new, owned).items() if 'bare' in k}

def state():
    "All of the learner that a checkpoint can change"
    from progrow.going_back import random_states
    learn = made['learner']
    m,opt = learn.model,learn.opt.state_dict()
    return dict(m.state_dict()),opt['state'],list(learn.history.rows),dict(learn.sample_strip.rows),learn.skipped,m.images_seen,m.phase,random_states(),learn.gan_loss.state_dict()

def unchanged(before):
    from helpers import same
    try: return same(before, copy.deepcopy(state()))
    except Exception: return False

@kind(new, ways=(content_edited, content_edited, damaged, within(opcodes_edited, 'data.pkl')), names=(new[-22:],'faces','this checkpoint','the checkpoint'), share=2)
class resume:
    "A run that goes on, in a learner that is there or from the folder alone; nothing is changed by a file that is refused"
    make = copied_run
    def read(folder):
        before = copy.deepcopy(state())
        try: made['learner'].resume(folder/new)
        except Exception:
            if not unchanged(before): made['learner'].resume(folder/old); raise AssertionError('changed by a checkpoint that was refused')
            raise
        made['learner'].resume(folder/old)
    def read_anew(folder):
        from progrow.runs import open_run
        from progrow.resume import rebuild
        rebuild(open_run(folder/new), made['learner'].images, 'cpu').resume(folder/new)
    def crafted(folder, owned): return checkpoint_files(folder/new)

@kind(new, 'faces/settings.json', 'faces/generator.pt', new, ways=(content_edited, content_edited, damaged), names=(new[-22:],'faces','generator.pt'), share=2)
class run:
    "What is told, drawn and read again from the folder of a run"
    def make(folder): copied_run(folder); (folder/old).unlink()
    def read(folder):
        from progrow.runs import describe
        json.dumps(describe(folder/'faces'), default=str)
    def read_and_draw(folder):
        from progrow.runs import open_generator
        from progrow.sampling import sample_images
        sample_images(open_generator(folder/'faces'), 2)
    def crafted(folder, owned): return {**checkpoint_files(folder/new, False), **{f'faces/settings.json: {k}':v for k,v in odd_jsons.items()}}

@kind(new, ways=(content_edited, content_edited, damaged), names=(new[-22:],'faces','photos'), documented=(ValueError, FileNotFoundError, TypeError, OSError))
class run_pictures:
    "The pictures of a run, read again"
    def make(folder): copied_run(folder); (folder/old).unlink()
    def read(folder):
        from progrow.runs import open_run
        r = open_run(folder/'faces')
        if r.arguments is not None: r.pictures()
    def crafted(folder, owned): return {k:v for k,v in checkpoint_files(folder/new, False).items() if 'arguments' in k}

# --- logs

def log_edited(b, rng):
    rows = [json.loads(l) for l in b.splitlines()]
    return b''.join(json.dumps(o).encode()+rng.choice((b'\n', b'\n', b'\n', b'', b'\r\n', b'\n\n', b'\0\n')) for o in edited(rows, rng))

@kind('faces/log.jsonl', ways=(log_edited, log_edited, damaged), names=('log.jsonl',), share=2)
class log:
    "The log of a run that goes on"
    def make(folder):
        row = dict(resolution=4, phase='stabilize', alpha=1., critic_loss=.5, generator_loss=-1.5, images_per_second=300.1, seconds=2.5, skipped=0, peak_memory=700)
        (folder/'faces').mkdir()
        (folder/'faces'/'log.jsonl').write_text(''.join(json.dumps(dict(kimg=.016*(i+1), **row))+'\n' for i in range(8)))
    def read(folder):
        from progrow.callbacks import read_log
        read_log(folder/'faces')
    def read_to_go_on(folder):
        "There is no error for a file: what is no log is set aside"
        from progrow.callbacks import Log, read_log
        path = folder/'faces'/'log.jsonl'
        o,regular = Log(path),path.is_file()
        o.learn = SimpleNamespace(processes=SimpleNamespace(first=True), images_seen=64)
        try: o.before_fit()
        except Exception as e:
            if regular: raise AssertionError(f'a bad log ends the run ({type(e).__name__}: {e})') from e
            raise
        if path.is_file(): assert all(round(1000*k)<=64 for k in read_log(path)['kimg']), 'rows of what was not trained yet'
    def crafted(folder, owned):
        good = (folder/'faces'/'log.jsonl').read_bytes()
        odd = {'half a row':good[:-30], 'half a row, and one more':good[:-30]+good[:100], 'a row of NaN':good+b'{"kimg": NaN}\n', 'infinite':good+b'{"kimg": Infinity}\n', 'text':b'{"kimg": "x"}\n'+good, 'null':b'{"kimg": null}\n'+good,
               'large':b'{"kimg": 1e400}\n'+good, 'long':b'{"kimg": '+b'9'*5000+b'}\n', 'nested':b'{"kimg": '+b'['*100_000+b'\n'+good, 'no end':good[:-1], 'a list':b'[1]\n'+good}
        return {**odd, **{k:v+b'\n'+good for k,v in odd_jsons.items()}}

# --- pictures

def image(number, size=16):
    from PIL import Image
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (size,size,3), dtype=np.uint8))

def image_bytes(format, number=0, **kwargs):
    out = io.BytesIO()
    im = image(number)
    (im.convert(kwargs.pop('mode')) if 'mode' in kwargs else im).save(out, format, **kwargs)
    return out.getvalue()

def read_pictures(source, on_error):
    def read(folder):
        from progrow.data import image_pyramid
        p = image_pyramid(folder/source, 8, image_channels=3, cache=False, on_error=on_error)
        p.batch(range(len(p)), 8)
    return read

of_pictures = (ValueError, TypeError, OSError, FileNotFoundError)

def set_of(folder, **files):
    (folder/'photos').mkdir(parents=True)
    for k in 'ab': (folder/'photos'/f'{k}.png').write_bytes(image_bytes('PNG', ord(k)))
    for k,v in files.items(): (folder/'photos'/k.replace('_', '.')).write_bytes(v)

def other_pictures(folder, owned):
    "Pictures that are not what their suffix says, or larger than they look"
    found = {'13300, 16 bits':large_png(13_300), '20000, 8 bits':large_png(20_000, 8), '60000, 1 bit':large_png(60_000, 1), '9000 in colour':large_png(9_000, 8, 0)}
    for f in ('EPS','PDF','GIF','TIFF','ICO','PPM','TGA','WEBP','BMP','PCX','SGI','DDS','ICNS','IM','MSP','JPEG2000','SPIDER','XBM','MPO'):
        try: found[f] = image_bytes(f, mode='1') if f in ('MSP','XBM') else image_bytes(f, mode='L') if f=='SPIDER' else image_bytes(f)
        except Exception: pass # of a Pillow without it
    found['EPS that runs'] = f'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(%pipe%touch {owned}) (w) file\nshowpage\n'.encode()
    found['SVG'] = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    found['WMF'] = b'\xd7\xcd\xc6\x9a'+bytes(40); found['GBR'] = b'\0\0\0\x1c\0\0\0\2'+bytes(40); found['FITS'] = b'SIMPLE  =                    T'.ljust(2880)
    return found

@kind('photos/c.png', ways=(png_edited, png_edited, damaged), names=('c.png', 'photos'), documented=of_pictures, share=3)
class png_picture:
    def make(folder): set_of(folder, c_png=image_bytes('PNG', 3))
    read,read_skipping = (read_pictures('photos', o) for o in ('raise','skip'))
    crafted = other_pictures

@kind('photos/c.jpg', ways=(damaged,), names=('c.jpg', 'photos'), documented=of_pictures, share=2)
class jpeg_picture:
    def make(folder):
        from PIL import Image
        notes = Image.Exif(); notes[0x0112] = 6; notes[0x010e] = 'x'*20
        set_of(folder, c_jpg=image_bytes('JPEG', 3, exif=notes))
    read,read_skipping = (read_pictures('photos', o) for o in ('raise','skip'))
    def crafted(folder, owned):
        b,found = (folder/'photos'/'c.jpg').read_bytes(),{}
        i = b.index(b'\xff\xc0')
        for h,w in ((65535, 65535), (0, 16), (16, 0), (30_000, 30_000), (10_000, 10_000)): found[f'{h}x{w}'] = b[:i+5]+h.to_bytes(2, 'big')+w.to_bytes(2, 'big')+b[i+9:]
        return found

others = dict(gif='GIF', webp='WEBP', bmp='BMP', tif='TIFF', tga='TGA', ppm='PPM')
@kind(*(f'photos/c.{k}' for k in others), ways=(damaged,), names=(*(f'c.{k}' for k in others), 'photos'), documented=of_pictures, share=3)
class other_picture:
    def make(folder): set_of(folder, **{f'c_{k}':image_bytes(v, 3, **({'mode':'L'} if k=='ppm' else {})) for k,v in others.items()})
    read,read_skipping = (read_pictures('photos', o) for o in ('raise','skip'))
    def crafted(folder, owned): return {}

def labels_of(names): return json.dumps({'labels':[[o, i%2] for i,o in enumerate(names)]}).encode()

odd_labels = {f'labels {i}':json.dumps({'labels':o}).encode() for i,o in enumerate([[['a.png', 10**10], ['b.png', 0]], [['a.png', -1], ['b.png', 0]], [['a.png', 'cat'], ['b.png', 'dog']], [['a.png', 1.5], ['b.png', 0]],
              [['a.png', None], ['b.png', 0]], [['a.png', [0,1]], ['b.png', [1,0]]], [['a.png', True], ['b.png', False]], [['a.png', 2**63], ['b.png', 0]], [['a.png', 2**70], ['b.png', 0]], [['a.png'], ['b.png']],
              [['a.png', 0, 1], ['b.png', 0, 1]], ['a.png', 'b.png'], {'a.png':0, 'b.png':1}, [[['a.png'], 0], [['b.png'], 1]], [[{}, 0]], 'x', 7, [1, 0], [0, 1, 2], [['a.png', {}], ['b.png', 0]]])}

@kind('photos/dataset.json', ways=(json_edited, json_edited, damaged), names=('dataset.json', 'photos'), documented=of_pictures, share=2)
class labels:
    "A folder with a `dataset.json`"
    def make(folder): set_of(folder, dataset_json=labels_of(['a.png','b.png']))
    read,read_skipping = (read_pictures('photos', o) for o in ('raise','skip'))
    def crafted(folder, owned): return {**odd_jsons, **odd_labels}

def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:
        for k,v in files.items(): z.writestr(k, v)
    return out.getvalue()

def many(suffix, n): return zipped(**{f'{i}{suffix}':b'' for i in range(n)})

@kind('photos.zip', ways=(damaged, damaged, directory_edited, directory_edited, record_moved, within(png_edited, 'png'), within(damaged, 'json'), within(json_edited, 'json'), within(damaged)), names=('photos.zip', '.png', 'dataset.json'), documented=of_pictures, share=4)
class zip_of_pictures:
    def make(folder): (folder/'photos.zip').write_bytes(zipped(**{'a.png':image_bytes('PNG', 1), 'b.png':image_bytes('PNG', 2), 'dataset.json':labels_of(['a.png','b.png'])}))
    read,read_skipping = (read_pictures('photos.zip', o) for o in ('raise','skip'))
    def crafted(folder, owned):
        b,files = (folder/'photos.zip').read_bytes(),{o.filename:d for o,d in records((folder/'photos.zip').read_bytes())}
        found = {'a picture of 4 GB':bomb('a.png', 2**32), 'labels of 4 GB':bomb('dataset.json', 2**32), 'a record 3000 times':listed_often(b, 3000), '20000 empty pictures':many('.png', 20_000), '20000 other files':many('.txt', 20_000), 'a zip in it':zipped(**{'a.zip':b}),
                 'encrypted':_encrypted(b), 'more before':b'#!/bin/sh\n'*100+b, 'nothing':zipped(), 'named /':zipped(**{'/a.png':files['a.png'], '../b.png':files['b.png']})}
        found.update({f'labels: {k}':zipped(**{**files, 'dataset.json':v}) for k,v in {**odd_jsons, **odd_labels}.items()})
        found.update({f'picture: {k}':zipped(**{**files, 'a.png':v}) for k,v in other_pictures(folder, owned).items() if not k[0].isdigit()})
        return found

def _encrypted(b):
    "Marked as encrypted, everywhere"
    b,at = bytearray(b),0
    for mark,k in ((b'PK\1\2', 8), (b'PK\3\4', 6)):
        at = 0
        while (at := b.find(mark, at))>=0: b[at+k] |= 1; at += 1
    return bytes(b)

# --- arrays

class Bomb:
    def __init__(self, owned): self.owned = str(owned)
    def __reduce__(self): return os.mkdir, (self.owned,)

@kind('x.npy', ways=(header_edited, header_edited, damaged), names=('x.npy',), documented=of_pictures, share=2)
class npy_array:
    def make(folder): np.save(folder/'x.npy', np.arange(4*8*8, dtype=np.uint8).reshape(4, 8, 8))
    read,read_skipping = (read_pictures('x.npy', o) for o in ('raise','skip'))
    def crafted(folder, owned):
        found = {k:npy(h[:65_000] if k!='long' else h, bytes(256), (1,0) if k!='long' else (2,0)) for k,h in odd_headers.items()}
        found['a pickle'] = array_bytes(np.array([Bomb(owned)], dtype=object), allow_pickle=True)
        return {**found, 'bare pickle':pickle_call('os', 'mkdir', (str(owned),)), 'NaN':array_bytes(np.full((4,8,8), np.nan)), 'a zip':zipped(a=b'x')}

def npz_bytes(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()

@kind('x.npz', ways=(damaged, directory_edited, record_moved, within(header_edited, 'npy'), within(header_edited, 'labels.npy'), within(damaged, 'npy')), names=('x.npz',), documented=of_pictures, share=3)
class npz_arrays:
    def make(folder): (folder/'x.npz').write_bytes(npz_bytes(images=np.arange(4*8*8, dtype=np.uint8).reshape(4, 8, 8), labels=np.array([0,1,1,0])))
    read,read_skipping = (read_pictures('x.npz', o) for o in ('raise','skip'))
    def crafted(folder, owned):
        x,b = np.zeros((4,8,8), np.uint8),(folder/'x.npz').read_bytes()
        odd = dict(texts=np.array(list('abcd')), floats=np.array([.5]*4), nan=np.array([np.nan]*4), objects=np.array([Bomb(owned)]*4, dtype=object), large=np.array([10**10, 0, 0, 0]), negative=np.array([-1, 0, 0, 0]), two=np.zeros((4,2), int),
                   short=np.array([0]), none=np.array(0), bools=np.array([True]*4), complexes=np.ones(4, complex), times=np.array(['2020-01-01']*4, 'M8[D]'), unsigned=np.array([2**63]*4, np.uint64), fields=np.zeros(4, [('a','i4')]))
        found = {f'labels: {k}':npz_bytes(images=x, labels=v) for k,v in odd.items()}
        found.update({f'images: {k}':zipped(**{'images.npy':npy(h[:65_000], bytes(256))}) for k,h in odd_headers.items()})
        head = npy(headed(shape='(65536, 256, 256)'), b'')
        found.update({'4 GB':bomb('images.npy', 2**32, head), '4 GB of labels':bomb('labels.npy', 2**32, npy(headed("'<i8'", shape=f'({2**29},)'), b'')), 'a record often':listed_often(b, 3000), 'encrypted':_encrypted(b), 'two':npz_bytes(a=x, b=x),
                      'only labels':npz_bytes(labels=np.zeros(4, int)), 'no array':zipped(**{'images.npy':b'x'}), 'no suffix':zipped(images=b'x'), 'nothing':zipped(), '20000 arrays':many('.npy', 20_000)})
        return found

# --- the cache

def same_pictures(result, good, way):
    from helpers import same
    return None if same(result, good) else 'other pictures, and not a word'

levels = ('meta.json','4.npy','8.npy','16.npy')
@kind(*(f'cache/*/{o}' for o in levels), ways=(damaged, damaged, damaged, lambda b, rng: json_edited(b, rng) if b[:1]==b'{' else header_edited(b, rng)), names=('cache',), documented=(), right=same_pictures, share=1.5)
class cache:
    "Whatever happens to the cache, the pictures are the same, and there is no error: it is made anew"
    def make(folder):
        set_of(folder, dataset_json=labels_of(['a.png','b.png']))
        cache.read(folder)
    def read(folder):
        from progrow.data import image_pyramid
        p = image_pyramid(folder/'photos', cache=folder/'cache', cache_max_resolution=16)
        return {r:p.level(r)[:].tolist() for r in p.resolutions},p.labels.tolist(),p.names,p.skipped
    def crafted(folder, owned):
        found = {f'cache/*/meta.json: {k}':v for k,v in odd_jsons.items()}
        found.update({f'cache/*/16.npy: {k}':npy(h[:60_000], bytes(256)) for k,h in odd_headers.items()})
        arrays = {'a pickle':np.array([Bomb(owned)], dtype=object), 'all black':np.zeros((2,3,16,16), np.uint8), 'more pictures':np.zeros((3,3,16,16), np.uint8)}
        return {**found, **{f'cache/*/16.npy: {k}':array_bytes(v, allow_pickle=True) for k,v in arrays.items()}}

# --- no kind of file: a reader that does what it reads, to see whether the watch sees that

deeds = {'a program':(lambda: os.system('true'), 'EXECUTED os.system'), 'a process':(lambda: subprocess.run(['true']), 'EXECUTED subprocess.Popen'), 'eval':(lambda: eval('1'), 'EXECUTED compile'),
         'exec':(lambda: exec(deed.make.__code__), 'EXECUTED exec'), 'import':(lambda: __import__('antigravity'), 'EXECUTED import of antigravity'), 'a socket':(socket.socket, 'EXECUTED socket'),
         'a library':(lambda: __import__('ctypes').CDLL('libm.so.6'), 'EXECUTED ctypes.dlopen'), 'unpickling':(lambda: pickle.loads(b'cos\nsystem\n.'), 'EXECUTED pickle.find_class'),
         'writing elsewhere':(lambda: open('/nowhere', 'w'), 'EXECUTED open of /nowhere'), 'a folder elsewhere':(lambda: os.mkdir('/nowhere/a'), 'EXECUTED os.mkdir'), 'removing elsewhere':(lambda: os.remove('../good/deed.txt'), 'EXECUTED os.remove'),
         'no end':(lambda: time.sleep(100), 'HANGS'), 'memory':(lambda: bytearray(b'x')*(3*2**29), 'MEMORY'), 'asking for memory':(lambda: bytearray(2**40), 'too much memory'), 'stumbling':(lambda: {}['a'], 'not documented'),
         'words of others':(lambda: int('x'), 'no sentence of ours'), 'a crash':(lambda: os._exit(11), 'ENDED'), 'nothing':(lambda: None, None)}

@kind('deed.txt', ways=(damaged,), names=('deed.txt',), share=0, seconds=3.)
class deed:
    def make(folder): (folder/'deed.txt').write_text('nothing')
    def read(folder):
        if (path := folder/'deed.txt').is_file() and 0<path.stat().st_size<99 and (what := path.read_text()) in deeds: deeds[what][0]()
    def crafted(folder, owned): return {k:k.encode() for k in deeds}

# --- one file

class Bench:
    "Good files of a kind, and a folder where damaged ones are read"
    def __init__(self, name, folder):
        self.name,self.kind = name,kinds[name]
        self.good,self.work,self.owned = folder/'good',folder/'work',folder/'owned'
        self.good.mkdir(parents=True)
        os.environ.update(HOME=str(self.work), PROGROW_CACHE=str(self.work/'cache'))
        os.environ.pop('PROGROW_MAX_PIXELS', None)
        # good files are made where the damaged ones will be: a cache depends on the place
        self.work.mkdir(); self.kind.make(self.work); self.restore(self.work, self.good)
        self.restore(); self.results = [read(self.work) for read in self.kind.reads]
        self.restore()
        targets = self.kind.targets
        # a whole disk is slow to look through, but whoever names a link to it has asked for that
        self.crafted = [(t,k,v) for t in dict.fromkeys(targets) for k,v in special.items() if '/' in t or k!='link to /']
        for k,v in self.kind.crafted(self.good, self.owned).items():
            target = next((t for t in targets if k.startswith(f'{t}: ')), targets[0])
            self.crafted.append((target, k.removeprefix(f'{target}: '), v))
    def restore(self, source=None, to=None):
        to = to or self.work
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(source or self.good, to, symlinks=True)
    def damage(self, number):
        "Damage a file; what was done to it, and by which function"
        if number<len(self.crafted):
            target,name,made = self.crafted[number]
            path,way = self._path(target),None
            path.unlink()
            if isinstance(made, bytes): path.write_bytes(made)
            else: made(path)
            return f'{target}: {name}',None
        rng = random.Random(f'{self.name} {number}')
        path = self._path(self.kind.targets[number%len(self.kind.targets)])
        way = rng.choice(self.kind.ways)
        if path.suffix=='.json' and way is content_edited: way = json_edited
        b = path.read_bytes()
        try: changed = way(b, rng)
        except Exception: way,changed = damaged,damaged(b, rng)
        path.write_bytes(changed)
        return f'{path.relative_to(self.work)}: {way.__name__}',way
    def _path(self, target): return next(self.work.glob(target))

def judged(bench, watch, way):
    "Read what was damaged in every way there is; what is wrong with the first that is not as it should be, and its error"
    for read,good in zip(bench.kind.reads, bench.results):
        what,error = _judged(bench, watch, read, good, way)
        if what: break
    return what,error

def _judged(bench, watch, read, good, way):
    from watched import TooLong, complaint, limits, memory, where
    watch.seen,error,result = [],None,None
    try:
        with warnings.catch_warnings(), limits(bench.kind.seconds) as took:
            warnings.simplefilter('ignore')
            watch.folder = os.path.realpath(bench.work)
            try: result = read(bench.work)
            finally: watch.folder = None
    except BaseException as e: error = e
    if watch.seen: what = f'EXECUTED {watch.seen[0]}'
    elif os.path.lexists(bench.owned): what = 'EXECUTED: it wrote a file'; shutil.rmtree(bench.owned) if bench.owned.is_dir() else bench.owned.unlink()
    elif isinstance(error, TooLong): what = f'HANGS in {where(error)}'
    elif took['grown']>memory: what = f'MEMORY: {took["grown"]/1e9:.1f} GB'
    elif isinstance(error, AssertionError): what = str(error)
    elif error is not None: what = (c := complaint(error, bench.kind.documented, bench.kind.names)) and f'{type(error).__name__} of {where(error)}: {c}'
    else: what = bench.kind.right and bench.kind.right(result, good, way)
    return what,error

# --- many files: a process that knows the package forks one that reads them, and another where that one left off

def count(bench): return max(len(bench.crafted), round(total*bench.kind.share/sum(k.share for k in kinds.values())))

def read_all(name, folder, keep, numbers=None):
    "What is wrong with the files of a kind, one line each; `folder` is for damaged files, `keep` for those with which something is wrong"
    at = mmap.mmap(-1, 200) # the number that is being read, and what was done to it
    lines,first,hangs = folder/'found.jsonl',0,0
    lines.touch()
    while first is not None and hangs<50:
        pid = os.fork()
        if not pid: _read_from(name, folder/str(first), keep, first, numbers, at, lines)
        status,since,seen = None,time.monotonic(),b''
        while status is None:
            time.sleep(.02)
            if at[:]!=seen: seen,since = at[:],time.monotonic()
            if time.monotonic()-since>5*kinds[name].seconds+60: os.kill(pid, 9)
            done,s = os.waitpid(pid, os.WNOHANG)
            if done: status = os.waitstatus_to_exitcode(s)
        shutil.rmtree(folder/str(first), ignore_errors=True)
        number = int.from_bytes(at[:8], 'little')
        first = None if status in (0, 4) else number+1
        if status: hangs += 1
        if status not in (0, 3):
            with lines.open('a') as f: f.write(json.dumps([name, number, at[8:].rstrip(b'\0').decode(), 'the good files cannot be read' if status==4 else f'ENDED the interpreter: {status}', ''])+'\n')
    return [json.loads(l) for l in lines.read_text().splitlines()]

def _read_from(name, folder, keep, first, numbers, at, lines):
    "The child: from a number on"
    from watched import TooLong, Watch
    code = 4
    try:
        bench,watch = Bench(name, folder),Watch()
        code = 1
        watch.known = {o.split('.')[0] for o in sys.modules}|{'__future__'}
        for number in numbers or range(first, count(bench)):
            bench.restore()
            done,way = bench.damage(number)
            at[:] = (number.to_bytes(8, 'little')+done.encode('ascii', 'replace')).ljust(200, b'\0')[:200]
            what,error = judged(bench, watch, way)
            if what:
                with lines.open('a') as f: f.write(json.dumps([name, number, done, what, str(error or '')[:300]])+'\n')
                _keep(bench, keep, number)
            if numbers: print(done, '->', what or 'held', sep='\n'); traceback.print_exception(error)
            if isinstance(error, TooLong): break
        code = 3 if isinstance(error, TooLong) and not numbers else 0
    except BaseException: traceback.print_exc()
    finally:
        sys.stdout.flush(); sys.stderr.flush()
        os._exit(code)

def _keep(bench, keep, number):
    "A copy of what was damaged, if it is a file"
    if len(list(keep.glob(f'{bench.name}-*')))>=20: return
    bench.restore(); bench.damage(number)
    target = bench.crafted[number][0] if number<len(bench.crafted) else bench.kind.targets[number%len(bench.kind.targets)]
    path = next(bench.work.glob(target), None)
    if path and path.is_file() and not path.is_symlink() and path.stat().st_size<10**7: shutil.copy(path, keep/f'{bench.name}-{number}-{path.name}')

def summary(found, most=20):
    "The causes, the most frequent first, with one number each"
    causes = {}
    for name,number,done,what,text in found: causes.setdefault((name, what), []).append((number, done, text))
    rows = sorted(causes.items(), key=lambda o: -len(o[1]))
    return '\n'.join(f'{len(v):5} {name}: {what}, as in number {v[0][0]} ({v[0][1]}) {v[0][2]}' for (name,what),v in rows[:most])

# --- the test

@pytest.fixture(scope='module')
def reader(tmp_path_factory):
    "A process that reads the files of a kind when it is asked"
    env = {**os.environ, 'OMP_NUM_THREADS':'1', 'MPLBACKEND':'agg', 'PYTHONWARNINGS':'ignore', 'TMPDIR':str(tmp_path_factory.mktemp('fuzz'))}
    p = subprocess.Popen([sys.executable, __file__, '--serve'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    def ask(name):
        p.stdin.write(name+'\n'); p.stdin.flush()
        return json.loads(p.stdout.readline())
    yield ask
    p.stdin.close(); p.wait()

def test_the_watch_sees_what_is_done(reader):
    found,_ = reader('deed')
    seen = {done.split(': ', 1)[1]:what for _,_,done,what,_ in found}
    assert seen.keys()=={k for k,(_,what) in deeds.items() if what}
    assert not {k:(seen[k], deeds[k][1]) for k in seen if deeds[k][1] not in seen[k]}

@pytest.mark.parametrize('name', [k for k in kinds if k!='deed'])
def test_no_file_runs_hangs_swells_or_ends_in_a_traceback(name, reader):
    found,keep = reader(name)
    assert not found, f'{len(found)} files, kept in {keep}; one again: python tests/test_fuzz.py {name} NUMBER\n{summary(found)}'

def main(name=None, *numbers):
    os.environ['CUDA_VISIBLE_DEVICES'] = '' # a forked process cannot use a GPU
    import fastai.learner, helpers, progrow.commands, progrow.runs, progrow.style, progrow.train, runs, torch
    torch.optim.Adam([torch.zeros(1, requires_grad=True)]) # the first one imports half of PyTorch
    base = Path(tempfile.mkdtemp(prefix='fuzz-'))
    keep = base/'kept'
    keep.mkdir()
    make_run(base/'made')
    if name=='--serve':
        out,sys.stdout = os.fdopen(os.dup(1), 'w'),sys.stderr
        for line in sys.stdin:
            (work := base/line.strip()).mkdir()
            out.write(json.dumps([read_all(line.strip(), work, keep), str(keep)])+'\n'); out.flush()
        return
    all_found = []
    for o in [name] if name else [k for k in kinds if k!='deed']:
        begun = time.perf_counter(),os.times()
        (work := base/o).mkdir()
        found = read_all(o, work, keep, [int(n) for n in numbers])
        t = os.times()
        print(f'{o}: {len(found)} findings, {time.perf_counter()-begun[0]:.1f} s, CPU {sum(t[:4])-sum(begun[1][:4]):.1f} s')
        print(summary(found, 100), flush=True)
        all_found += found
    if out := os.environ.get('PROGROW_FUZZ_OUT'): Path(out).write_text('\n'.join(map(json.dumps, all_found)))
    if not numbers: print(f'{len(all_found)} findings; files are kept in {keep}')

if __name__=='__main__': main(*sys.argv[1:])
