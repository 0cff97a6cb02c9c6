"""Build the reading site in _docs/ without Quarto, and check it. nbdev processes the notebooks as it does for Quarto, smalldocs
lays out the pages, and everything a page loads is local. Exits 1 on a warning, a dead link or anchor, or anything from another host."""
import json, re, shutil, sys, tempfile, textwrap
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from nbdev.config import get_config
from nbdev.quarto import refresh_quarto_yml
from nbdev.serve import proc_nbs
from smalldocs import config as sd_config, layout as sd_layout, site as sd_site

import terms, visible

ours = {'output-file', 'skip_exec', 'skip_showdoc'}  # front matter that smalldocs does not know
quarto_only = re.compile(r'@(?:fig|tbl|eq|sec|lst)-[\w-]+|\{#eq-[\w-]*|^```\s*\{?mermaid', re.M)
code = re.compile(r'(?s)(`{3,}) ?(?!\{?mermaid).*?\1|(?<!`)`[^`\n]+`(?!`)')

def markdown(nb, f):
    "Apply `f` to each Markdown cell and each Markdown output of `nb`"
    for c in nb['cells']:
        if c['cell_type']=='markdown': c['source'] = f(''.join(c['source']))
        for o in c.get('outputs', []):
            d = o.get('data', {})
            if 'text/markdown' in d: d['text/markdown'] = f(''.join(d['text/markdown']))

def source_once(cells):
    "Put the heading that nbdev makes for a name above the source that defines it, without repeating the signature"
    res, at = [], None
    for c in cells:
        name = re.match(r'(?:#\|.*\n)*show_doc\((?:\w+\.)*(\w+)', ''.join(c['source']))
        if name and at is not None and re.search(rf'\b(?:def|class) {name[1]}\b', ''.join(res[-1]['source'])):
            markdown({'cells': [c]}, lambda s: re.sub(r'(?s)```python.*?```\n*', '', s, count=1))
            res.insert(at, c)  # nbdev lists the names of one cell last first
        else:
            at = len(res) if 'Exported source' in ''.join(c['source']) else None
            res.append(c)
    return res

def folded(code, summary): return dict(cell_type='code', metadata={}, outputs=[], execution_count=None,
                                       source=f'#| code-fold: true\n#| code-summary: {summary}\n{code}')

def fold(cells, pages_cells, site):
    "Name what nbdev shows as source; fold imports and what else a reader needs only to run the page"
    add,order,res = visible.extra(pages_cells, site),[c['id'] for c in pages_cells],[]
    for c in cells:
        at = order.index(c['id']) if c.get('id') in order else -1
        for i in [i for i in add if order.index(i)<=at]:
            res.append(folded(add.pop(i), 'Imports and set-up'))
        if c['cell_type']=='code':
            s = ''.join(c['source']).replace('code-summary: "Exported source"', 'code-summary: Source')
            if not s.lstrip('#| \n').startswith('show_doc') and visible.only_imports(s): s = folded(visible.bare(s), 'Imports')['source']
            c['source'] = s
        res.append(c)
    return joined(res)

def joined(cells):
    "Folded cells that follow each other as one"
    res,top = [],'#| code-fold: true\n#| code-summary: Imports'
    for c in cells:
        if res and all(o['cell_type']=='code' and ''.join(o['source']).startswith(top) and not o.get('outputs') for o in (res[-1], c)):
            res[-1] = folded('\n'.join(visible.bare(''.join(o['source'])) for o in (res[-1], c)), 'Imports and set-up')
        else: res.append(c)
    return res

def page_options(cells):
    "What a page of so many headings needs: its contents show the names of the section being read only, and so fit the window"
    heads = sum(len(re.findall(r'(?m)^##{1,2} |^show_doc\(', ''.join(c['source']))) for c in cells)
    return {'toc-expand': 1} if heads>24 else {}

def stage(src, cfg):
    "Give the processed notebooks in `src` the names of their pages, make links follow, and put a link to Colab on top"
    colab = cfg.git_url.replace('https://github.com', 'https://colab.research.google.com/github') + f'/blob/{cfg.branch}/{cfg.nbs_path.name}'
    nbs, names, known = {}, {}, terms.terms()
    for p in sorted(src.glob('*.ipynb')):
        nb = nbs[p.name] = json.loads(p.read_text())
        if nb['cells'][0]['cell_type']!='raw': sys.exit(f'{p.name}: no page without a title (a cell that opens with # Title)')
        front = yaml.safe_load(''.join(nb['cells'][0]['source']).strip().strip('-'))
        names[p.name] = front.get('output-file', p.name).replace('.html', '.ipynb')
        front = {k:v for k,v in front.items() if k not in ours}
        nb['cells'] = source_once(nb['cells'])
        nb['cells'] = fold(nb['cells'], json.loads((cfg.nbs_path/p.name).read_text())['cells'], f'{cfg.doc_host}{cfg.doc_baseurl}')
        front.update(page_options(nb['cells']))
        nb['cells'][:1] = [dict(cell_type='raw', metadata={}, source=f'---\n{yaml.safe_dump(front)}---\n'),
                           dict(cell_type='markdown', metadata={}, source=f'::: {{.pg-colab}}\n[Open in Colab]({colab}/{p.name})\n:::')]
        p.unlink()
    if len(set(names.values())) < len(names): sys.exit(f'two notebooks make one page: {names}')
    shown = {n.lower() for nb in nbs.values() for c in nb['cells'] for n in re.findall(r'(?m)^show_doc\(([\w.]+)', ''.join(c['source']))}
    nbdev_link = re.compile(r'\[(`[^`]+`)\]\(' + re.escape(f'{cfg.doc_host}{cfg.doc_baseurl}/') + r'([^()\s#]+(?:#([^()\s]+))?)\)')
    def rename(s): return re.sub(r'[\w.-]+\.ipynb', lambda m: names.get(m[0], m[0]), s)
    def links(s):
        s = re.sub(r'(?s)```.*?```', lambda m: re.sub(r'\[(`[^`]+`)\]\([^)]*\)', r'\1', m[0]), s)  # nbdev links names in code too
        s = nbdev_link.sub(lambda m: f'[{m[1]}]({m[2]})' if not m[3] or m[3] in shown else m[1], s)  # and names without a heading
        return re.sub(r'\]\([^()\s]*\)', lambda m: m[0] if '://' in m[0] else rename(m[0]), s)
    for name,nb in nbs.items():
        if name!=terms.page: known.link(nb['cells'])
        markdown(nb, lambda s: commands(links(s)))
        (src/names[name]).write_text(json.dumps(nb))
    side = src/'sidebar.yml'
    lines = side.read_text().splitlines()
    listed = {l: l.strip('- ') for l in lines if l.endswith('.ipynb')}
    side.write_text(rename('\n'.join(l for l in lines if l not in listed or listed[l] in names)))
    return [f'sidebar.yml: {n} is missing in it, or in {cfg.nbs_path.name}/' for n in sorted(names.keys() ^ listed.values())]

def commands(text):
    "Text of a docstring with the commands in it as a block of code: a line each, to be copied"
    return re.sub(r'(?m)^(examples?:)\n((?:[ ]+\S.*\n?)+)', lambda m: f'{m[1]}\n\n```\n{textwrap.dedent(m[2]).rstrip()}\n```\n', text)

def css_loads(text): return re.findall(r'url\(\s*[\'"]?([^\'")]+)', text) + re.findall(r'@import\s+[\'"]([^\'"]+)', text)

class Page(HTMLParser):
    "The anchors of one page, the links it offers, and what a browser loads to show it"
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.tag = set(), [], [], ''
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        d,self.tag = {k: v or '' for k,v in attrs}, tag
        self.ids.update(d[k] for k in ('id','name') if k in d)
        if tag in ('a','area'): self.links.append(d.get('href', ''))
        elif not (tag=='link' and d.get('rel') in ('canonical','alternate','next','prev')):
            self.loads += [d[k] for k in ('src','href','xlink:href','poster','data') if k in d]
        self.loads += [o.split()[0] for o in re.split(r',\s+', d.get('srcset', '')) if o.strip()] + css_loads(d.get('style', ''))

    def handle_endtag(self, tag): self.tag = ''

    def handle_data(self, data):
        if self.tag=='style': self.loads += css_loads(data)
        if self.tag=='script': self.loads += re.findall(r'https?://[^\s\'"`]+', data)

def check(out):
    "What is wrong with the site in `out`: dead links and anchors, links in links, missing files, and anything loaded from another host"
    text,bad = {p: p.read_text() for p in out.glob('*.html')}, []
    pages = {p: Page(t) for p,t in text.items()}
    for p,pg in pages.items():
        bad += [f'{p.name}: a link within a link: leave out {o}' for o in re.findall(r'</a>(\]\([^)\s]*\))', text[p])]
        for h in pg.links + pg.loads:
            u = urlsplit(h)
            if u.scheme or u.netloc:
                if h in pg.loads and u.scheme!='data': bad.append(f'{p.name}: loads {h[:80]}')
                continue
            to = (p.parent/unquote(u.path)).resolve() if u.path else p
            if to.is_dir(): to = to/'index.html'
            if not to.exists(): bad.append(f'{p.name}: no file for the link {h}')
            elif u.fragment and to in pages and unquote(u.fragment) not in pages[to].ids: bad.append(f'{p.name}: no anchor for the link {h}')
    for c in out.rglob('*.css'): bad += [f'{c.name}: loads {u[:80]}' for u in css_loads(c.read_text()) if re.match('(https?:)?//', u)]
    return sorted(set(bad))

def main():
    cfg = get_config()
    out = cfg.config_path/cfg.doc_path.name
    refresh_quarto_yml()
    sd_layout.KATEX = 'assets/katex'  # instead of a CDN
    with tempfile.TemporaryDirectory() as tmp:
        src = Path(tmp)/'src'
        shutil.copytree(proc_nbs(force=True), src)
        bad = stage(src, cfg)
        site = sd_site.Site(sd_config.load(src), quiet=True)
        n = site.build()
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(site.out, out)
    for c in (out/'site_libs'/'themes').glob('*.css'):  # the themes' web fonts: styles.css names the reader's own instead
        c.write_text(re.sub(r'@import\s+url\([^)]*\);', '', c.read_text()))
    bad += [w for w in site.warnings if not re.search('html-math-method is ignored|: broken link', w)]  # Quarto's option; `check` finds the links
    bad += [f'{p.src}: only Quarto reads {m[0]}' for p in site.pages.values() for m in quarto_only.finditer(code.sub('', p.body))]
    bad += check(out)
    for b in bad: print('docs:', b)
    print(f'{n} pages in {out.name}/, {len(bad)} problems')
    return bool(bad)

if __name__=='__main__': sys.exit(main())
