"Write README.md from nbs/index.ipynb, with links and pictures that work on GitHub. With --check, only compare."
import json, re, sys
from pathlib import Path

root = Path(__file__).resolve().parents[1]

def block(cell):
    "One cell as GitHub's Markdown; '' if the page hides it"
    src = ''.join(cell['source']).strip()
    opts = set(re.findall(r'^#\|\s*(.+?)\s*$', src, re.M))
    if cell['cell_type']=='markdown': return src
    if cell['cell_type']=='raw' or opts & {'hide', 'export', 'exporti', 'include: false'}: return ''
    src = re.sub(r'^#\|.*\n?', '', src, flags=re.M).strip()
    res = [] if 'echo: false' in opts else [f'```python\n{src}\n```']
    for o in cell['outputs']:
        d = o.get('data', {})
        if 'text/html' in d or any(k.startswith('image/') for k in d): sys.exit('index.ipynb: show pictures from nbs/assets, because GitHub shows none that are outputs')
        res.append(''.join('    '+l for l in d.get('text/plain', o.get('text', []))).rstrip())
    return '\n\n'.join(filter(None, res))

def readme():
    "The text of README.md"
    cells = json.loads((root/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']
    body = '\n\n'.join(filter(None, map(block, cells)))
    if ':::' in body: sys.exit('index.ipynb: GitHub shows no callouts (:::)')
    body = re.sub(r'(\]\(|(?:src|srcset|href)=")(?=[\w-]+\.ipynb|assets/)', r'\1nbs/', body)
    gone = [l for l in re.findall(r'(?:\]\(|(?:src|srcset|href)=")([^)"#\s]+)', body) if '://' not in l and not (root/l).exists()]
    if gone: sys.exit(f'index.ipynb: no file for {", ".join(gone)}')
    return f'<!-- Made from nbs/index.ipynb by tools/make_readme.py: edit the notebook. -->\n{body}\n'

if __name__=='__main__':
    new,file = readme(), root/'README.md'
    if '--check' not in sys.argv: file.write_text(new, encoding='utf-8')
    elif file.read_text(encoding='utf-8')!=new: sys.exit('README.md is not what nbs/index.ipynb says: run make docs')
