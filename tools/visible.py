"""What a reader of a page sees of its code, and what must be shown as well so that it runs when it is copied from there.

A page hides imports, figure style and plumbing. `complete` says which hidden cells the visible ones need: they are shown folded, where they
stand. Plumbing that the package holds is imported rather than shown."""
import ast, builtins, re, symtable

hiding = re.compile(r'^#\|\s*(hide|export|exporti|default_exp.*|include:\s*false|echo:\s*false)\s*$', re.M)
exported = re.compile(r'^#\|\s*(export|exporti)\s*$', re.M)
results_file = re.compile(r'''['"/](assets/[\w/.-]+\.(?:json|png))['"]''')

def source(cell): return ''.join(cell['source'])
def hidden(code): return bool(hiding.search(code))

def parse(code):
    "The syntax tree of a cell, whose magics are left out"
    return ast.parse(re.sub(r'(?m)^(\s*)[%!].*$', r'\1pass', code))

def only_imports(code): return bool(body := parse(code).body) and all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in body)

def binds(code):
    "The names that a cell defines at its top level"
    table = symtable.symtable(ast.unparse(parse(code)), 'cell', 'exec')
    return {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}

def uses(code):
    "The names that a cell takes from elsewhere"
    def walk(table, top):
        yield from (s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global()))
        for o in table.get_children(): yield from walk(o, False)
    return set(walk(symtable.symtable(ast.unparse(parse(code)), 'cell', 'exec'), True)) - set(dir(builtins)) - {'display', '__file__'}

def patched_class(code):
    "The classes that a cell patches methods on"
    return {n.args.args[0].annotation.id for n in parse(code).body if isinstance(n, ast.FunctionDef) and 'patch' in ast.unparse(n.decorator_list)
            and n.args.args and isinstance(n.args.args[0].annotation, ast.Name)} if '@patch' in code else set()

def complete(cells):
    "The ids of the hidden cells of a page that its visible ones need, the names to import from its own module, and names from nowhere"
    code = {c['id']: source(c) for c in cells if c['cell_type']=='code'}
    shown = {i for i,s in code.items() if not hidden(s)}
    setup = {i for i,s in code.items() if hidden(s) and not exported.search(s) and 'default_exp' not in s}
    plumbing = {i for i,s in code.items() if exported.search(s)}
    binds_,uses_ = ({i: f(s) for i,s in code.items()} for f in (binds, uses))
    shown |= {i for i in setup if 'manual_seed' in code[i]}
    own = set()
    while True:
        have = {n for i in shown for n in binds_[i]}
        missing = {n for i in shown for n in uses_[i]}-have
        more = {i for i in setup | {p for p in plumbing if only_imports(code[p])} if binds_[i] & missing}
        more |= {i for i in plumbing if patched_class(code[i]) & have}
        if not more-shown: break
        shown |= more
    own = {n for i in plumbing-shown for n in binds_[i]} & missing
    return [i for i in code if i in shown and hidden(code[i])], sorted(own), sorted(missing-own)

def module_of(cells): return next((m[1] for c in cells if (m := re.search(r'#\|\s*default_exp (\w+)', source(c)))), None)
def bare(code): return '\n'.join(l for l in code.splitlines() if not l.startswith('#|'))

def results_code(code, site):
    "Lines that fetch the results files a page reads, where they are not beside it"
    files = sorted(set(results_file.findall(code)))
    if not files: return ''
    return ('from pathlib import Path\nfrom urllib.request import urlretrieve\n'
            f'for o in {files}: # results that the page shows\n    Path(o).parent.mkdir(parents=True, exist_ok=True)\n'
            f'    if not Path(o).exists(): urlretrieve(f"{site}/{{o}}", o)\n')

def extra(cells, site):
    "id -> the code to show folded before the cell of this id: what the page hides and its reader needs"
    ids,own,_ = complete(cells)
    res = {c['id']: bare(source(c)) for c in cells if c['id'] in ids}
    lines = results_code('\n'.join(source(c) for c in cells if c['cell_type']=='code'), site)
    if own: lines += f'from progrow.{module_of(cells)} import {", ".join(own)}\n'
    first = next((c['id'] for c in cells if c['cell_type']=='code' and 'default_exp' not in source(c)), None)
    if lines: res = {first: '\n'.join(filter(None, (lines.strip(), res.pop(first, '')))), **res}
    return res

def reader_sees(cells, site):
    "All visible code of a page, the folded code too, cell by cell"
    add = extra(cells, site)
    for c in cells:
        if c['cell_type']!='code': continue
        if c['id'] in add: yield add[c['id']]
        if not hidden(source(c)): yield bare(source(c))
