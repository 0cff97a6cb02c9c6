"Damage by number: from one flipped bit to files made with intent. All of it depends on a `random.Random` alone."
import copy, io, json, pickletools, struct, zipfile, zlib
import numpy as np, torch

# --- bytes

heads = (b'PK', b'IHDR', b'IDAT', b'\xff\xc0', b'\xff\xda', b'{', b'"')

def place(b, rng):
    "A position in `b`, more often where a header is than its share of the bytes"
    n,how = len(b),rng.random()
    if not n or how<.4: return rng.randrange(n+1)
    if how<.6: return min(n, rng.randrange(128))
    if how<.75: return max(0, n-rng.randrange(1, 200))
    found,mark = [],rng.choice(heads)
    while (i := b.find(mark, found[-1]+1 if found else 0))>=0 and len(found)<1000: found.append(i)
    return min(n, rng.choice(found)+rng.randrange(64)) if found else rng.randrange(n+1)

def two_places(b, rng, most=5000):
    i = place(b, rng)
    return i,min(len(b), i+rng.choice((1, 4, 30, rng.randrange(1, most))))

def flipped(b, rng):
    if not b: return b
    i = min(place(b, rng), len(b)-1)
    return b[:i] + bytes([b[i]^1<<rng.randrange(8)]) + b[i+1:]

def one_set(b, rng):
    i = place(b, rng)
    return b[:i] + bytes([rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))]) + b[i+1:]

extremes = [struct.pack(f'{e}{f}', v) for e in '<>' for f,most in (('H',2**16), ('I',2**32), ('Q',2**64)) for v in (0, 1, most//2-1, most//2, most-1, most//65)]
def extreme(b, rng):
    "A number of a header at its end"
    i,x = place(b, rng),rng.choice(extremes)
    return b[:i]+x+b[i+len(x):]

def cut(b, rng): return b[:place(b, rng)]
def cut_out(b, rng): i,j = two_places(b, rng); return b[:i]+b[j:]
def doubled(b, rng): i,j = two_places(b, rng); return b[:j]+b[i:]
def zeroed(b, rng): i,j = two_places(b, rng); return b[:i]+bytes(j-i)+b[j:]
def inserted(b, rng): i = place(b, rng); return b[:i]+rng.choice((rng.randbytes(rng.randrange(1, 200)), b'PK\3\4', b'\0'*4096, b'[' * 3000))+b[i:]
def swapped(b, rng):
    (i,j),(k,l) = sorted((two_places(b, rng), two_places(b, rng)))
    return b if k<j else b[:i]+b[k:l]+b[j:k]+b[i:j]+b[l:]

byte_ways = (flipped, flipped, one_set, extreme, cut, cut_out, doubled, zeroed, inserted, swapped)
def damaged(b, rng):
    "One to three of these"
    for _ in range(rng.choice((1, 1, 2, 3))): b = rng.choice(byte_ways)(b, rng)
    return b

# --- values: what JSON or a file of tensors holds

def nested(n):
    x = []
    for _ in range(n): x = [x]
    return x

odd_values = [None, True, False, 0, -1, 1, 4, 7, 1.5, -2.5, 1e308, float('inf'), float('nan'), 2**31, 2**40, 2**63, 10**400, '', 'x', 'é\0\n', '../../x', '/', 'x'*100_000,
              [], {}, [[]], [None], [1, 'a', None], {'a':{}}, {'':0}, [0]*10_000, lambda: nested(900), lambda: nested(20_000)]

def odd_tensors():
    "Tensors of all sorts in the place of plain ones"
    return [torch.tensor(float('nan')), torch.full((3,4,3,3), float('nan')), torch.zeros(0), torch.zeros(()), torch.ones(2, dtype=torch.bool), torch.ones(3, dtype=torch.complex64),
            torch.arange(5), torch.ones(1).expand(10**9), torch.ones(1).expand(4, 10**8), torch.eye(3).to_sparse(), torch.empty(2**36, device='meta'), torch.ones(4).to(torch.float8_e5m2),
            torch.quantize_per_tensor(torch.ones(3), .1, 0, torch.qint8), torch.ones(2).requires_grad_(), torch.ones(8)[::2], torch.tensor(10**10), torch.ones(4, dtype=torch.uint8),
            {1,2}, b'bytes', (1,), torch.Size([1]), torch.float32, torch.device('cpu'), 2j, bytearray(b'x'), torch.nn.Parameter(torch.ones(2))]

def places_in(x, way=()):
    "Every way down into nested dicts and lists"
    for k in (list(x) if isinstance(x, dict) else range(len(x)) if isinstance(x, list) else ()):
        yield (*way, k)
        yield from places_in(x[k], (*way, k))

def spot(x, rng):
    "A random container in `x` and a key of it, each depth as likely as the others"
    depth,ways = rng.randrange(4),list(places_in(x))
    way = rng.choice([w for w in ways if len(w)==min(depth+1, max(map(len, ways)))])
    for k in way[:-1]: x = x[k]
    return x,way[-1]

def edited(x, rng, odd=odd_values):
    "Nested dicts and lists with one to three changes"
    x = copy.deepcopy(x)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not isinstance(x, (dict,list)) or not x: return x
        o,k = spot(x, rng)
        how,value = rng.randrange(9),rng.choice(odd)
        if callable(value): value = value()
        if how==0: del o[k]
        elif how==1 and isinstance(o, dict): o[rng.choice(('odd', '', 'x'*1000, f'{k}2'))] = o.pop(k)
        elif how==2 and isinstance(o, list): o.insert(k, value)
        elif how==2: o[rng.choice(('more', '__class__', 'self', 0, -1))] = value
        elif how==3: o[k] = [o[k]]
        elif how==4 and isinstance(o[k], (int,float)): o[k] = rng.choice((-o[k], o[k]*10**6, o[k]+.5, float(o[k]), str(o[k])))
        elif how==5 and isinstance(o, list): rng.shuffle(o)
        elif how==5 and isinstance(o, dict): j = rng.choice(list(o)); o[k],o[j] = o[j],o[k]
        else: o[k] = value
    return x

def as_json(x, rng):
    "The text, now and then in another encoding, or with something before or after it"
    text = json.dumps(x, indent=rng.choice((None, 1)))
    how = rng.randrange(12)
    if how==0: return text.encode(rng.choice(('utf-16', 'utf-8-sig', 'utf-32')))
    if how==1: return text.encode()+rng.choice((b'\xff\xfe', b',', b'{}', b'\0', text.encode()))
    if how==2: return text.replace('"', '\'').encode()
    return text.encode()

def json_edited(b, rng): return as_json(edited(json.loads(b), rng), rng)

odd_jsons = {'nothing':b'', 'spaces':b'  \n', 'a number':b'1', 'null':b'null', 'a list':b'[]', 'a text':b'"x"', 'a dict':b'{}', 'nested 1000':b'['*1000+b']'*1000,
             'nested 100000':b'['*100_000, 'dicts 50000':b'{"a":'*50_000, 'latin-1':'{"é":1}'.encode('latin-1'), 'zeros':bytes(1000), 'long number':b'{"labels":'+b'9'*10_000+b'}',
             'NaN':b'NaN', 'binary':bytes(range(256)), 'twice':b'{}{}', 'a key twice':b'{"labels":1,"labels":[]}'}

# --- zip archives

def records(b):
    with zipfile.ZipFile(io.BytesIO(b)) as z: return [(o, z.read(o)) for o in z.infolist()]

def packed(entries):
    "An archive like PyTorch's: no permissions, and whatever compression the entries ask for"
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        for o,data in entries:
            o,attributes = copy.copy(o) if isinstance(o, zipfile.ZipInfo) else zipfile.ZipInfo(o),getattr(o, 'external_attr', 0)
            z.writestr(o, data)
            z.infolist()[-1].external_attr = attributes
    return out.getvalue()

odd_names = ('../x.png', '/tmp/x.png', 'a/../../x.png', 'x'*70_000, '', 'é.png', 'archive/code/a.py', 'a\\b.png', 'dataset.json', 'labels.npy', 'a/', 'CON.png', 'archive/data/99')
def record_moved(b, rng):
    "A good archive with other records"
    entries = records(b)
    i,how = rng.randrange(len(entries)),rng.randrange(8)
    o,data = entries[i]
    if how==0: del entries[i]
    elif how==1: entries.insert(rng.randrange(len(entries)+1), entries[i])
    elif how==2: o.filename = rng.choice(odd_names)[:60_000]
    elif how==3: j = rng.randrange(len(entries)); entries[i],entries[j] = (o, entries[j][1]),(entries[j][0], data)
    elif how==4: o.compress_type = zipfile.ZIP_DEFLATED if o.compress_type==0 else zipfile.ZIP_STORED
    elif how==5: o.external_attr = rng.choice((0x10, 0o120777<<16, 2**32-1))
    elif how==6: entries[i] = (o, b'')
    else: entries.append((rng.choice(odd_names)[:60_000], rng.choice((data, b'', rng.randbytes(100)))))
    return packed(entries)

def within(change, suffix=''):
    "Change the content of one record, and pack a good archive again"
    def changed(b, rng):
        entries = records(b)
        i = rng.choice([i for i,(o,_) in enumerate(entries) if o.filename.endswith(suffix)])
        entries[i] = (entries[i][0], change(entries[i][1], rng))
        return packed(entries)
    changed.__name__ = f'{change.__name__} within'
    return changed

def directory_edited(b, rng):
    "A field of the directory, or of the header before a record, at its end"
    at,(start,fields) = 0,rng.choice(((b'PK\1\2', ((6,2), (8,2), (10,2), (16,4), (20,4), (24,4), (28,2), (30,2), (32,2), (38,4), (42,4))), (b'PK\3\4', ((6,2), (8,2), (14,4), (18,4), (22,4), (26,2), (28,2))),
                                       (b'PK\5\6', ((8,2), (10,2), (12,4), (16,4), (20,2)))))
    found = []
    while (at := b.find(start, at))>=0: found.append(at); at += 1
    (k,size),i = rng.choice(fields),rng.choice(found)
    new = rng.choice((0, 1, 9, 99, 256**size-1, 256**size//2, rng.randrange(256**size)))
    return b[:i+k]+new.to_bytes(size, 'little')+b[i+k+size:]

def zeros_deflated(size, step=2**20):
    "A deflate stream of about `size` zeros, made in no time: one block, again and again"
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    c.compress(bytes(step)); c.flush(zlib.Z_FULL_FLUSH)
    block = c.compress(bytes(step))+c.flush(zlib.Z_FULL_FLUSH)
    return block*(size//step)+b'\3\0'

def bomb(name, size, start=b''):
    "A zip whose one record unpacks to `size` bytes and says so"
    data = start and zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = (data.compress(start)+data.flush(zlib.Z_FULL_FLUSH) if start else b'')+zeros_deflated(size)
    name,crc,size = name.encode(),0,size+len(start)
    wide = struct.pack('<HHQQ', 1, 16, size, len(stream))
    head = struct.pack('<4s5H3I2H', b'PK\3\4', 45, 0, 8, 0, 0, crc, 2**32-1, 2**32-1, len(name), len(wide))+name+wide
    entry = struct.pack('<4s6H3I5H2I', b'PK\1\2', 45, 45, 0, 8, 0, 0, crc, 2**32-1, 2**32-1, len(name), len(wide), 0, 0, 0, 0, 0)+name+wide
    return head+stream+entry+struct.pack('<4s4H2IH', b'PK\5\6', 0, 0, 1, 1, len(entry), len(head)+len(stream), 0)

def listed_often(b, times):
    "One record, that the directory lists again and again"
    end = b.rindex(b'PK\5\6')
    size,start = struct.unpack('<II', b[end+12:end+20])
    entries = b[start:start+size]
    n = struct.unpack('<H', b[end+10:end+12])[0]
    if n*times>2**16-2 or len(entries)*times>2**31: times = (2**16-2)//n
    return b[:start]+entries*times+struct.pack('<4s4H2IH', b'PK\5\6', 0, 0, n*times, n*times, len(entries)*times, start, 0)

# --- pickles

def calls(owned):
    "Functions that must never be called, with arguments that would tell: (module, name, arguments)"
    touch = f"open({str(owned)!r}, 'w').close()"
    return [('os','system',(f'touch {owned}',)), ('posix','system',(f'touch {owned}',)), ('builtins','eval',(touch,)), ('builtins','exec',(touch,)), ('builtins','open',(str(owned),'w')),
            ('builtins','getattr',('a','upper')), ('builtins','__import__',('antigravity',)), ('subprocess','Popen',(('touch',str(owned)),)), ('os','mkdir',(str(owned),)), ('shutil','rmtree',('/nowhere',)),
            ('pathlib','Path.touch',(str(owned),)), ('runpy','run_path',(str(owned),)), ('importlib','import_module',('antigravity',)), ('torch','load',(str(owned),)), ('torch.jit','load',(str(owned),)),
            ('torch.hub','load',('a','b')), ('torch.utils.cpp_extension','load',('a','b')), ('torch.serialization','load',(str(owned),)), ('torch._utils','_rebuild_tensor',(1,2,3)),
            ('torch._C._functorch','_unwrap_batched',(1,2)), ('torch.storage','_load_from_bytes',(b'x'*64,)), ('torch','ops.load_library',(str(owned),)), ('torch._dynamo','config',()), ('numpy','load',(str(owned),)),
            ('numpy.f2py.diagnose','run_command',(f'touch {owned}',)), ('webbrowser','open',('http://127.0.0.1',)), ('socket','create_connection',(('127.0.0.1',9),)), ('ctypes','CDLL',(str(owned),)),
            ('progrow.commands','main',(['train'],)), ('progrow.files','atomic_write',(str(owned),)), ('progrow.checkpoint','save_tensors',(str(owned),'a',1)), ('fastai.learner','load_learner',(str(owned),)),
            ('torch.fx._symbolic_trace','Tracer',()), ('builtins','bytearray',(2**40,)), ('builtins','range',(10**12,)), ('torch','zeros',(2**40,))]

def pickle_call(module, name, arguments, protocol=2):
    "A pickle that calls a function"
    def text(s): s = s.encode(); return b'X'+struct.pack('<I', len(s))+s
    def put(o):
        if isinstance(o, str): return text(o)
        if isinstance(o, bytes): return b'B'+struct.pack('<I', len(o))+o if protocol>2 else b'c_codecs\nencode\n('+text(o.decode('latin-1'))+text('latin-1')+b'tR'
        if isinstance(o, int): return b'I%d\n'%o
        return b'('+b''.join(map(put, o))+(b'l' if isinstance(o, list) else b't')
    find = b'c'+f'{module}\n{name}\n'.encode() if protocol<4 else text(module)+text(name)+b'\x93'
    return (b'\x80'+bytes([protocol]) if protocol else b'')+find+put(tuple(arguments))+b'R.'

odd_names_in_pickles = ('os system', 'builtins eval', 'torch load', 'torch._utils _rebuild_tensor_v2', 'torch._utils _rebuild_parameter', 'torch._utils _rebuild_sparse_tensor', 'torch._utils _rebuild_meta_tensor_no_storage',
    'torch._utils _rebuild_device_tensor_from_numpy', 'torch._utils _rebuild_wrapper_subclass', 'torch._tensor _rebuild_from_type_v2', 'torch DoubleStorage', 'torch.storage UntypedStorage', 'torch Tensor', 'torch Size',
    'torch.nn.parameter Parameter', 'collections OrderedDict', 'collections Counter', 'builtins set', 'builtins bytearray', '_codecs encode', 'torch.serialization _get_layout', 'torch BFloat16Storage', 'torch device')

def opcodes_edited(b, rng):
    "A pickle with one to three other opcodes"
    for _ in range(rng.choice((1, 1, 2, 3))):
        try: ops = [(o, arg, at) for o,arg,at in pickletools.genops(b)]
        except Exception: return b
        ends = [at for *_,at in ops[1:]]+[len(b)]
        i,how = rng.randrange(len(ops)),rng.randrange(7)
        if how==5: i = rng.choice([i for i,(o,*_) in enumerate(ops) if o.name in ('GLOBAL','BININT','BININT1','BININT2','BINUNICODE')] or [i])
        o,_,at = ops[i]
        piece = b[at:ends[i]]
        if how==0: new = b''
        elif how==1: new = piece*rng.choice((2, 2, 2000))
        elif how==2: j = rng.randrange(len(ops)); new = b[ops[j][2]:ends[j]]
        elif how==3: new = rng.choice((b'R', b'b', b'\x81', b't', b'(', b'0', b'2', b'Q', b'}', b']', b'N', b'\x88', b'e', b's', b'u', b'.', b'\x82\1', b'\x93', b'c'+rng.choice(odd_names_in_pickles).replace(' ', '\n').encode()+b'\n'))+piece
        elif o.name=='GLOBAL': new = b'c'+rng.choice(odd_names_in_pickles).replace(' ', '\n').encode()+b'\n'
        elif o.name in ('BININT','BININT1','BININT2'): new = rng.choice((b'J\xff\xff\xff\xff', b'J\xff\xff\xff\x7f', b'K\0', b'\x8a\x08'+b'\xff'*7+b'\x7f', b'N', b'G\x7f\xf8\0\0\0\0\0\0', b'X\1\0\0\0x'))
        elif o.name=='BINUNICODE': new = rng.choice((b'X\0\0\0\0', b'X\xff\xff\xff\xff', b'X\4\0\0\0meta', b'X\4\0\0\0cuda', b'X\7\0\0\0storage', b'N', b'K\1'))
        else: new = flipped(piece, rng)
        b = b[:at]+new+b[ends[i]:]
    return b

# --- NumPy

def npy(header, data=b'\0'*64, version=(1,0)):
    "A file with a header of one's own"
    h = header.encode('latin-1')
    return b'\x93NUMPY'+bytes(version)+(struct.pack('<H', len(h)) if version[0]==1 else struct.pack('<I', len(h)))+h+data

def headed(descr="'|u1'", order='False', shape='(4, 8, 8)', more=''): return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {more}}}\n"

odd_headers = {
    'objects':headed("'|O'"), 'unicode':headed("'<U100000000'"), 'large void':headed("'|V2000000000'"), 'fields':headed("[('a', '<f8'), ('b', '|O')]"), 'no type':headed("'xyz'"), 'times':headed("'<M8[ns]'"),
    'large':headed(shape='(2000000, 512, 512)'), 'overflow':headed(shape='(9223372036854775807, 9223372036854775807)'), 'negative':headed(shape='(-1, 8, 8)'), 'no tuple':headed(shape='8'),
    'floats':headed(shape='(4.0, 8, 8)'), 'texts':headed(shape="('4', 8)"), 'none':headed(shape='()'), 'many axes':headed(shape='('+'1, '*100+')'), 'empty':headed(shape='(0, 8, 8)'),
    'a call':headed(shape='__import__("os").system("true")'), 'missing':"{'descr': '|u1'}", 'more':headed(more="'x': 1"), 'a list':'[1, 2]', 'nothing':'', 'zeros':'\0'*100, 'nested':'('*5000, 'deep':headed(shape='('*150+')'*150),
    'lambda':"lambda: 0", 'long':headed()+' '*70_000, 'bool order':headed(order='2'), 'bytes':headed("b'|u1'"), 'float':headed("'<f4'"), 'deep types':headed('['*90+"('a','<f4')"+']'*90), 'huge int':headed(shape='('+'9'*5000+',)')}

def header_edited(b, rng):
    "A changed header, of the right length"
    text = b[10:10+b[8]+256*b[9]].decode('latin-1')
    for _ in range(rng.choice((1, 1, 2))):
        i = rng.randrange(len(text)+1)
        text = rng.choice((text[:i]+text[i+1:], text[:i]+rng.choice('(){}[]\'",:|<>=0123456789-.eUOfubVSM ')+text[i:], text.replace(rng.choice(('u1','8','4','False','shape','|')), rng.choice(('u8','-1','10**9','O','f2','99999999999','None','True','S1')), 1)))
    return npy(text[:65_000], b[10+b[8]+256*b[9]:], (rng.choice((1, 1, 2, 3, 0, 9)),0))

# --- pictures

def chunks(b):
    "(type, data) of a PNG"
    i,found = 8,[]
    while i<len(b): n, = struct.unpack('>I', b[i:i+4]); found.append((b[i+4:i+8], b[i+8:i+8+n])); i += 12+n
    return found

def png(found, crc=0): return b'\x89PNG\r\n\x1a\n'+b''.join(struct.pack('>I', len(d))+t+d+struct.pack('>I', zlib.crc32(t+d)^crc) for t,d in found)

def png_edited(b, rng):
    "A PNG with other chunks, whose checksums are right"
    found = chunks(b)
    i,how = rng.randrange(len(found)),rng.randrange(7)
    t,d = found[i]
    if how==0: del found[i]
    elif how==1: found.insert(i, found[i])
    elif how==2: j = rng.randrange(len(found)); found[i],found[j] = found[j],found[i]
    elif how==3: found[i] = (rng.choice((b'tRNS', b'PLTE', b'iCCP', b'zTXt', b'eXIf', b'acTL', b'fcTL', b'fdAT', b'gAMA', b'pHYs', b'abcd', b'ABCD', b'IEND', b'\0\0\0\0')), d)
    elif how==4: found.insert(rng.randrange(len(found)+1), (rng.choice((b'tRNS', b'PLTE', b'iCCP', b'zTXt', b'eXIf', b'acTL', b'fcTL', b'iTXt', b'pHYs', b'gAMA', b'cHRM')), rng.randbytes(rng.randrange(60))))
    elif how==5:
        new = list(struct.unpack('>IIBBBBB', found[0][1][:13].ljust(13, b'\0')))
        new[rng.randrange(7)] = rng.choice((0, 1, 2, 3, 4, 6, 7, 8, 16, 255))
        if rng.random()<.4: new[rng.randrange(2)] = rng.choice((2**31-1, 2**32-1, 20_000, 13_300, 100_000))
        found[0] = (found[0][0], struct.pack('>IIBBBBB', *new))
    else: found[i] = (t, damaged(d, rng))
    return png(found)

def large_png(side, bits=16, color=0):
    "Square, grey, all zeros, and small as a file"
    row = 1+side*bits//8
    stream = zlib.compressobj(9)
    data = stream.compress(bytes(row))+stream.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, zlib.DEFLATED, -15)
    rest.compress(bytes(row*16)); rest.flush(zlib.Z_FULL_FLUSH)
    block = rest.compress(bytes(row*16))+rest.flush(zlib.Z_FULL_FLUSH)
    return png([(b'IHDR', struct.pack('>IIBBBBB', side, side, bits, color, 0, 0, 0)), (b'IDAT', data+block*(side//16)), (b'IEND', b'')])

def array_bytes(x, **kwargs):
    out = io.BytesIO()
    np.save(out, x, **kwargs)
    return out.getvalue()
