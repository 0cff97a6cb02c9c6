"The page that draws in the browser: what its canvas shows, and what it loads. Skipped where there is no Chromium."
import asyncio, functools, http.server, json, re, shutil, tempfile, threading
import pytest, torch
from helpers import root
from progrow.checkpoint import load_generator
from progrow.images import to_uint8
from progrow.sampling import draw

live = root/'nbs'/'assets'/'live'
facts = json.loads((live/'generator.json').read_text())
needs_chromium = pytest.mark.skipif(not any(map(shutil.which, ('chromium','chromium-browser','google-chrome'))), reason='no Chromium here')

def figure():
    "The figure of the page, as its stored output has it"
    cells = json.loads((root/'nbs'/'83_browser.ipynb').read_text())['cells']
    html = [''.join(o['data']['text/html']) for c in cells for o in c.get('outputs', []) if 'text/html' in o.get('data', {})]
    found, = [o for o in html if 'data-generator' in o]
    return found

class Server:
    "Serves the figure as a page, and the files of the pages, and notes what it was asked for"
    def __enter__(self):
        asked = self.asked = []
        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                if self.path!='/page.html': return super().do_GET()
                self.send_response(200)
                self.send_header('Content-Type', 'text/html; charset=utf-8')
                self.end_headers()
                self.wfile.write(f'<!doctype html><link rel="icon" href="data:,">{figure()}'.encode())
            def log_message(self, *_): pass
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=root/'nbs'))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.server.server_port}/page.html'
        return self
    def __exit__(self, *_): self.server.shutdown(); self.server.server_close()

def in_chromium(monkeypatch, work, before=None):
    "What `work(browser)` gives, with the page open; `before`: JavaScript that runs before the page's own"
    monkeypatch.syspath_prepend(root/'tools')
    from shots import Browser
    async def run(url):
        browser = Browser()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as tmp:
            try:
                await browser.open(tmp)
                if before: await browser.do('Page.addScriptToEvaluateOnNewDocument', source=before)
                await browser.do('Page.navigate', url=url)
                await browser.js("new Promise(done => location.href!=='about:blank' && document.readyState==='complete' ? done() : addEventListener('load', done))")
                return await work(browser)
            finally:
                browser.process.terminate()
                browser.process.wait(20)
    with Server() as server: return asyncio.run(run(server.url)),server.asked

settings = [dict(face=3, other=5, **{'from':8}, psi=1), dict(face=7, other=2, **{'from':4}, psi=.7, hair=1.5, skin=-1), dict(face=0, other=9, **{'from':0}, psi=-1, head=3)]

def expected(face, other, psi, **moves):
    "The picture of some settings, by PyTorch"
    own,average,seeds = moves.pop('from'),*(torch.tensor(facts[k]) for k in ('average','seeds'))
    x = torch.stack([seeds[face if l<own else other] for l in range(facts['layers'])])
    w = average+psi*(x-average)+sum(s*torch.tensor(facts['directions'][k]) for k,s in moves.items())
    return to_uint8(draw(load_generator(facts['generator']), w=w[None])[0])

set_sliders = """(async values => {
  const figure = document.querySelector('figure[data-generator]'), canvas = figure.querySelector('canvas'), before = canvas.dataset.drawn
  for (const input of figure.querySelectorAll('[data-live] input')) {
    input.value = values[input.name] ?? 0
    input.dispatchEvent(new Event('input'))
  }
  const until = +before+figure.querySelectorAll('[data-live] input').length
  while (+canvas.dataset.drawn<until) await new Promise(done => setTimeout(done, 20))
  return [canvas.width, canvas.height, ...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]
})"""

@needs_chromium
def test_the_canvas_shows_what_pytorch_draws_and_nothing_comes_from_elsewhere(monkeypatch):
    async def work(browser):
        idle = await browser.js("performance.getEntriesByType('resource').map(o => o.name)")
        await browser.js("""(async () => {
          const figure = document.querySelector('figure[data-generator]'), button = figure.querySelector('button')
          if (button.hidden) throw new Error('the button is hidden')
          button.click()
          for (let i = 0; i<1500 && !figure.live; i++) {
            const said = figure.querySelector('[role=status]').textContent
            if (said.includes('cannot')) throw new Error(said)
            await new Promise(done => setTimeout(done, 20)) }
          if (!figure.live) throw new Error('it never drew')
        })()""")
        drawn = [await browser.js(f'{set_sliders}({json.dumps(o)})') for o in settings]
        seen = await browser.js("""[document.querySelector('[data-beforehand]').checkVisibility(), document.querySelector('canvas').checkVisibility()]""")
        return idle,drawn,seen,await browser.js("performance.getEntriesByType('resource').map(o => o.name)")
    (idle,drawn,seen,loaded),asked = in_chromium(monkeypatch, work)
    for o,(width,height,*data) in zip(settings, drawn):
        found,want = torch.tensor(data, dtype=torch.int).view(height, width, 4),expected(**o).int()
        assert tuple(want.shape[1:])==(height,width) and (found[...,3]==255).all()
        assert (found[...,:3].permute(2, 0, 1)-want).abs().max()<=1
    assert seen==[False,True]
    assert [o.rpartition('/')[2] for o in idle]==['live.js'] # the rest only when it is wanted
    assert all(o.startswith('http://127.0.0.1:') and '/assets/live/' in o for o in loaded)
    names = 'generator.json generator.onnx live.js ort-wasm-simd-threaded.wasm.gz ort.wasm.bundle.min.mjs'.split()
    assert sorted(asked)==[*(f'/assets/live/{o}' for o in names), '/page.html']

@needs_chromium
def test_without_webassembly_the_pictures_drawn_beforehand_stay(monkeypatch):
    async def work(browser): return await browser.js("""[document.querySelector('figure[data-generator] button').hidden,
        document.querySelector('[data-beforehand]').checkVisibility(), document.querySelector('canvas').checkVisibility()]""")
    assert in_chromium(monkeypatch, work, 'delete globalThis.WebAssembly')[0]==[True,True,False]

def test_files_of_the_page_are_small_and_of_the_shipped_generator():
    G = load_generator(facts['generator'])
    assert sum(o.stat().st_size for o in live.iterdir())<15e6
    assert (facts['resolution'], facts['layers'])==(G.resolution, G.n_layers)
    assert torch.allclose(torch.tensor(facts['average']), G.w_avg, atol=1e-4), 'another generator: run tools/live.py'
    for text in (figure(), (live/'live.js').read_text()): assert not re.findall('https?:', text)
