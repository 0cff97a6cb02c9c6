"The symbols and terms: complete against the pages and the code, searchable in three languages, linked from their first use."
import importlib, inspect, json, re, sys
import pytest
from helpers import root
from smalldocs.markdown import render

nbs = root/'nbs'
sys.path.insert(0, str(root/'tools'))
terms = importlib.import_module('terms')
def kept(name): return json.loads((nbs/'assets'/'notation'/f'{name}.json').read_text(encoding='utf-8'))
symbols,words = kept('symbols'),kept('terms')
def cells(page): return json.loads((nbs/f'{page}.ipynb').read_text(encoding='utf-8'))['cells']
def prose(page): return '\n'.join(''.join(c['source']) for c in cells(page) if c['cell_type']=='markdown')
pages = sorted(p.stem for p in nbs.glob('*.ipynb'))
languages = {'98_ar':'ar', '98_ja':'ja'}

def shown(page):
    "The Markdown of a page as its site is made from: prose and outputs"
    for c in cells(page):
        if c['cell_type']=='markdown': yield ''.join(c['source'])
        for o in c.get('outputs', []): yield ''.join(o.get('data', {}).get('text/markdown', ''))
notation = '\n\n'.join(shown(terms.page.removesuffix('.ipynb')))

# --- symbols

commands = 'hat|tilde|bar|mathbf|text|quad|mid'.split('|')
def letters(math):
    "Latin and Greek letters of a formula, without words"
    math = re.sub(r'\\(?:text|mathrm|operatorname|textbf)\{[^}]*\}|\\(?:begin|end)\{\w+\}', ' ', math)
    return set(re.findall(r'\\(?:alpha|beta|gamma|delta|epsilon|varepsilon|theta|lambda|mu|sigma|Sigma|tau|psi|omega|ell|nabla)(?![a-z])', math)
               + re.findall(r'(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])', math))
def formulas(page):
    text = re.sub(r'(?s)```.*?```|`[^`]*`', '', prose(page))
    return [m[1] or m[2] for m in re.finditer(r'(?s)\$\$(.+?)\$\$|\$([^$\n]+)\$', text)]
known = set().union(*(letters(s['symbol']) for s in symbols))
local = set('ijklopqe') | {'E','I','M','N','P','U','X','Y'} # indices and bounds; expectation, identity, sets and laws: named where they stand

def test_letters_are_found():
    assert letters(r'\frac{\hat x_i}{\text{gain}} + \alpha\,w')=={'x','i',r'\alpha','w'} and letters(r'\sqrt{cs}\epsilon')=={r'\epsilon'}

def test_every_letter_of_a_formula_stands_among_the_symbols():
    missing = {(l, p) for p in pages for f in formulas(p) for l in letters(f) if l not in known|local}
    assert not missing, f'add to nbs/assets/notation/symbols.json: {sorted(missing)}'

def test_a_symbol_is_used_on_the_page_that_it_names():
    for s in symbols:
        page = prose(s['page'])
        found = set().union(*map(letters, formulas(s['page'])))
        words = re.findall(r'\\text\{([^}]*)\}', s['symbol'])
        assert letters(s['symbol'])<=found and all(w.replace('\\', '') in page.replace('\\', '') for w in words), s

def named(code):
    "What `module.name(argument)` of progrow is; fails where there is none"
    path,argument = re.fullmatch(r'([\w.]+?)(?:\((\w+)\))?', code).groups()
    module,*names = path.split('.')
    o = importlib.import_module(f'progrow.{module}')
    for n in names: o = getattr(o, n)
    assert argument is None or argument in inspect.signature(o).parameters, f'{path} takes no {argument}'
    return o

@pytest.mark.parametrize('code', sorted({s['code'] for s in symbols}))
def test_the_name_in_code_is_there(code): named(code)

def test_a_name_that_is_not_there_is_noticed():
    for code in ('fade_in.fade(beta)','fade_in.faded'):
        with pytest.raises((AssertionError, AttributeError)): named(code)

# --- terms

ordinary = set('AVX BY CC CDN CIFAR CIFAR-10 CPU CPUs CSV EXIF FFHQ FLOP FLOPs GB GFLOP GIF GPU GPUs HTML HTTP ID JPEG JSON LSUN LZW MB MIT MNIST NVIDIA ONNX PDF PNG RGB RGBA SIGTERM SVG SVHN TF32 URL V100 WEBP'.split())
def abbreviations(text):
    text = re.sub(r'(?s)```.*?```|`[^`]*`|\$[^$\n]+\$|\]\([^)]*\)|<[^>]+>|https?://\S+', '', text)
    return set(re.findall(r'(?<![\w-])[A-Z][A-Z0-9-]+s?(?![\w-])', text))

def test_abbreviations_of_several_pages_are_terms():
    spelled = {o for w in words for o in (w['en'], *w['also'])}
    said = {p: abbreviations(prose(p)) for p in pages}
    on = {a: [p for p in pages if a in said[p]] for a in set().union(*said.values())}
    missing = {a: p for a,p in on.items() if len(p)>2 and a.removesuffix('s') not in spelled|ordinary and a not in spelled|ordinary}
    assert not missing, f'add to nbs/assets/notation/terms.json: {missing}'

def test_words_of_the_game_are_terms():
    bold = set(re.findall(r'\*\*([a-z ]+)\*\*', prose('01_two_players')))-{'field'}
    spelled = {o for w in words for o in (w['en'], *w['also'])}
    assert len(bold)>=8 and bold<=spelled, bold-spelled

def test_a_term_is_said_on_the_page_it_names_or_marked_as_one_of_other_notes():
    for w in words:
        text = re.sub(r'[-\s]+', ' ', prose(w['page']).lower())
        said = any(re.sub(r'[-\s]+', ' ', o.lower()) in text for o in (w['en'], *w['also']))
        assert said != w.get('notes', False), (w['en'], w['page'])
    assert sum('notes' in w for w in words) < len(words)/4

def test_every_term_is_there_once_in_three_languages():
    assert len(words)>=100 and len({w['en'] for w in words})==len(words)
    spelled = [o for w in words for o in (w['en'], *w['also'])]
    assert len(set(spelled))==len(spelled)
    for w in words:
        assert set(w.get('unsure', ()))<={'ar','ja'} and set(w['link'])<={w['en'], *w['also']}, w
        assert re.search('[\u0621-\u064a]', w['ar']) and re.search('[\u3040-\u30ff\u4e00-\u9fff]', w['ja']), w

def test_arabic_is_written_as_it_is_typed_in_a_search():
    for text in (*(w['ar'] for w in words), prose('98_ar')): assert not re.search('[\u064b-\u0652\u0640]', text), text

# --- the page

def test_the_page_holds_every_row():
    for w in words:
        assert notation.count(f'id="{terms.anchor(w["en"])}"')==1, w
        assert f'<span lang="ar" dir="rtl">{w["ar"]}</span>' in notation and f'<span lang="ja">{w["ja"]}</span>' in notation, f'run the page again: {w}'
    for s in symbols: assert f"| ${s['symbol']}$ | {s['meaning']} |" in notation, f'run the page again: {s}'

def test_the_search_of_the_site_reads_every_word():
    env = dict(link=lambda href, kind: href)
    render(notation, env, 'markdown-smart') # as _quarto.yml has it
    text = ' '.join(o['text'] for o in env['search'])
    assert all(w[k] in text for w in words for k in ('ar','ja')) and all(w['en'] in text for w in words)
    assert {'terms-styles','symbols-styles','often-read-and-not-so'}<={o['id'] for o in env['search']}

@pytest.mark.parametrize('page,lang', languages.items())
def test_a_start_page_says_its_language_and_direction(page, lang):
    text = prose(page)
    way = ' dir="rtl"' if lang=='ar' else ''
    outside = re.sub(r'(?s)<div.*?</div>', '', text)
    assert text.count(f'<div{way} lang="{lang}">')==text.count('</div>')==3
    assert len(re.findall('[\u0600-\u06ff\u3040-\u30ff\u4e00-\u9fff]', outside))<120 # title, promise and the name of the other page
    assert 'progrow sample\n' in text and 'progrow train' in text
    formulas = re.sub(r'<span dir="ltr">[^<]*</span>', '', text)
    assert lang!='ar' or not re.search('[√−]', re.sub(r'(?s)```.*?```', '', formulas)), 'formulas read from left to right: <span dir="ltr">…</span>'
    linked = re.findall(r'\]\(([\w.]+\.ipynb)', text)
    assert {'01_two_players.ipynb','99_notation.ipynb','97_before_and_after.ipynb'}<=set(linked) and all((nbs/l).exists() for l in linked)

# --- first uses

known_terms = terms.Terms(words)
def linked(*sources):
    "Markdown cells with their first uses linked"
    made = [dict(cell_type='markdown', source=s) for s in sources]
    known_terms.link(made)
    return [c['source'] for c in made]
def to(text, term): return f'[{text}]({terms.page}#{terms.anchor(term)}){{.pg-term}}'

def test_the_first_use_of_a_term_is_linked_and_only_that():
    assert linked('A generator and a generator.', 'Generators.')==[f"A {to('generator', 'generator')} and a generator.", 'Generators.']
    assert linked('Generators draw.')==[f"{to('Generators', 'generator')} draw."]
    assert linked('By FID, or the Fréchet distance')==[f"By {to('FID', 'Fréchet inception distance')}, or the Fréchet distance"]
    assert linked('**latent vector**')==[f"**{to('latent vector', 'latent vector')}**"]
    assert linked('regenerators, generator-like, fid')==['regenerators, generator-like, fid']

@pytest.mark.parametrize('text', ['# A generator', '`generator`', '```\ngenerator\n```', '$generator$', '| generator | x |', '![a generator](x.png)',
                                  '> a generator', '<details><summary>a</summary>\ngenerator\n</details>', 'https://a.org/generator', '::: {.generator}'])
def test_what_is_not_running_prose_is_left(text): assert linked(text)==[text]

def test_a_term_in_a_link_is_not_linked_again():
    assert linked('the [generator](a.ipynb) and the generator')==['the [generator](a.ipynb) and the generator']
    assert linked('the [`x`](generator.ipynb) and the generator')==[f"the [`x`](generator.ipynb) and the {to('generator', 'generator')}"]

def test_links_of_all_pages_lead_to_rows():
    anchors,n = set(re.findall(r'id="(term-[\w-]+)"', notation)),0
    for page in pages:
        before = [c for c in cells(page) if c['cell_type']=='markdown']
        after = linked(*(''.join(c['source']) for c in before))
        found = re.findall(rf'\]\({terms.page}#([\w-]+)\)\{{\.pg-term\}}', '\n'.join(after))
        assert len(found)==len(set(found)) and set(found)<=anchors, page
        assert re.sub(rf'\[([^\]]*)\]\({terms.page}#[\w-]+\)\{{\.pg-term\}}', r'\1', '\n'.join(after))=='\n'.join(''.join(c['source']) for c in before)
        n += len(found)
    assert n>300
