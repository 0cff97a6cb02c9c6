"""First uses: where a page's running prose says a term of the page of terms for the first time, the word leads to its row there.

Headings, tables, code, formulas, HTML and pictures are left as they are. A term that stands in a link already is not linked again."""
import json, re
from pathlib import Path

page = '99_notation.ipynb'
file = Path(__file__).parents[1]/'nbs'/'assets'/'notation'/'terms.json'
left = (r'(?:```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]+\$|!\[[^\]]*\]\([^)]*\)|<(\w+)[^>]*>.*?</\2>|<[^>]+>|https?://\S+'
        r'|^[ \t]*(?:#|\||>|:::)[^\n]*)')
pieces = re.compile(rf'(?sm)({left}|(\[(?:[^\[\]]|\[[^\]]*\])*\]\([^)]*\)(?:\{{[^}}]*\}})?))')

def anchor(term): return 'term-'+re.sub(r'[^a-z0-9]+', '-', term.lower()).strip('-')

class Terms:
    "The spellings to look for, and where each leads"
    def __init__(self, rows):
        self.to = {spelling: anchor(r['en']) for r in rows for spelling in r['link']}
        def either(s): return f'[{s[0].upper()}{s[0]}]{re.escape(s[1:])}' if s[0].islower() else re.escape(s)
        self.words = re.compile(r'(?<![\w-])(?:%s)s?(?![\w-])' % '|'.join(either(s) for s in sorted(self.to, key=len, reverse=True)))

    def where(self, word):
        "The anchor of a word, as it was found: in the plural, or at the beginning of a sentence"
        forms = [f(word) for f in (str, lambda o: o.removesuffix('s'))]
        return next(self.to[o] for o in (*forms, *(f[0].lower()+f[1:] for f in forms)) if o in self.to)

    def link(self, cells):
        "Link the first use of each term in the Markdown `cells` of one page"
        said = set()
        def use(m):
            at = self.where(m[0])
            if at in said: return m[0]
            said.add(at)
            return f'[{m[0]}]({page}#{at}){{.pg-term}}'
        for c in (c for c in cells if c['cell_type']=='markdown'):
            res,end,text = [],0,''.join(c['source'])
            for m in pieces.finditer(text):
                res += [self.words.sub(use, text[end:m.start()]), m[0]]
                end = m.end()
                if m[3]: said.update(self.where(w[0]) for w in self.words.finditer(m[3].rpartition('](')[0]))
            c['source'] = ''.join(res)+self.words.sub(use, text[end:])

def terms(): return Terms(json.loads(file.read_text(encoding='utf-8')))
