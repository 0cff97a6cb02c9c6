"""Look at every page of the built site in system Chromium: at 1280 and 390 px, in light and in dark. Exits 1 where something runs out of
the window, text is cut off, cells of a table run together, or a slider is too short to use, headings stack.

usage: python tools/shots.py [--out FOLDER] [--phone] [PAGE ...]     with --out, a picture of each whole page as well
With --phone, at 390 px only, where most of this shows first: a check of a minute.
A page that promises to be one sheet (`::: {.pg-one-page}`) is printed too: it must fit one page of A4."""
import argparse, asyncio, base64, json, re, shutil, subprocess, sys, tempfile
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import websocket_connect

root = Path(__file__).parents[1]
views = {f'{width}_{theme}': (width, theme) for width in (1280, 390) for theme in ('light', 'dark')}

# Runs in the page: a line for each thing that a reader cannot see or use
look = r"""(() => {
  const wide = document.documentElement.clientWidth, bad = new Set();
  const seen = e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}) && !e.closest('.visually-hidden, .katex-mathml, .anchorjs-link');
  const text = e => e.textContent.trim().replace(/\s+/g, ' ').slice(0, 40);
  const scrolls = e => { for (; e && e!==document.body; e = e.parentElement) if (/auto|scroll/.test(getComputedStyle(e).overflowX)) return true };
  const ink = e => { const r = document.createRange(); r.selectNodeContents(e); return r.getBoundingClientRect() };
  for (const e of document.querySelectorAll('body *')) {
    if (!seen(e) || e.parentElement.closest('svg')) continue;
    const b = e.getBoundingClientRect(), s = getComputedStyle(e);
    if (b.right>wide+1 && b.width && !scrolls(e)) bad.add(`<${e.localName}> runs ${Math.round(b.right-wide)} px out of the window: ${text(e)}`);
    if (/hidden|clip/.test(s.overflowX) && e.scrollWidth>e.clientWidth+1 && e.clientWidth && text(e) && !e.closest('svg'))
      bad.add(`<${e.localName}> cuts off ${e.scrollWidth-e.clientWidth} px of: ${text(e)}`);
  }
  for (const t of document.querySelectorAll('svg text')) {
    const b = t.getBoundingClientRect(), o = t.closest('svg').getBoundingClientRect();
    if (seen(t) && text(t) && (b.left<o.left-1 || b.right>o.right+1 || b.top<o.top-1 || b.bottom>o.bottom+1)) bad.add(`a drawing cuts off: ${text(t)}`);
  }
  for (const table of document.querySelectorAll('main table')) {
    const close = [...table.querySelectorAll('td, th')].find(c => c.nextElementSibling && seen(c) && text(c) && text(c.nextElementSibling)
      && ink(c.nextElementSibling).left-ink(c).right<6);
    if (close) bad.add(`cells run together: ${text(close)} | ${text(close.nextElementSibling)}`);
  }
  for (const e of document.querySelectorAll('input[type=range]'))
    if (seen(e) && e.getBoundingClientRect().width<140) bad.add(`a slider of ${Math.round(e.getBoundingClientRect().width)} px: ${text(e.parentElement)}`);
  const heads = [...document.querySelectorAll('main :is(h2, h3)')].filter(seen), between = document.createRange();
  for (const [i, h] of heads.slice(0, -1).entries()) {
    between.setStartAfter(h);
    between.setEndBefore(heads[i+1]);
    if (['', 'source'].includes(between.toString().trim()) && !between.cloneContents().querySelector('img, svg, table')) bad.add(`nothing between the headings ${text(h)} and ${text(heads[i+1])}`);
  }
  const toc = document.querySelector('#TOC'), box = toc && toc.getBoundingClientRect();
  if (toc && seen(toc) && wide>1000 && box.height>innerHeight) bad.add(`contents of ${Math.round(box.height)} px, longer than the window`);
  return JSON.stringify([...bad]);
})()"""

class Browser:
    "One page of a headless Chromium, driven over its debugging port"
    async def open(self, folder):
        exe = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
        if not exe: sys.exit('no Chromium here: install the package chromium')
        self.process = subprocess.Popen([exe, '--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--remote-debugging-port=0',
                                         f'--user-data-dir={folder}', 'about:blank'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = Path(folder)/'DevToolsActivePort'
        for _ in range(600):
            if port.exists() and port.read_text().strip(): break
            await asyncio.sleep(.1)
        else: sys.exit('Chromium did not start within a minute')
        pages = json.loads((await AsyncHTTPClient().fetch(f'http://127.0.0.1:{port.read_text().split()[0]}/json')).body)
        url = next(p['webSocketDebuggerUrl'] for p in pages if p['type']=='page')
        self.socket, self.sent = await websocket_connect(url, max_message_size=2**28), 0
        await self.do('Page.enable')

    async def do(self, method, **params):
        "The result of one command; what else the browser says is passed over"
        self.sent += 1
        await self.socket.write_message(json.dumps(dict(id=self.sent, method=method, params=params)))
        while True:
            said = json.loads(await asyncio.wait_for(self.socket.read_message(), 60))
            if said.get('id')==self.sent: break
        if 'error' in said: raise RuntimeError(f"{method}: {said['error']['message']}")
        return said['result']

    async def js(self, code):
        said = await self.do('Runtime.evaluate', expression=code, awaitPromise=True, returnByValue=True)
        if 'exceptionDetails' in said: raise RuntimeError(said['exceptionDetails']['exception']['description'])
        return said['result'].get('value')

    async def show(self, page, width, theme):
        "Load `page` and wait until its pictures and formulas stand"
        await self.do('Emulation.setDeviceMetricsOverride', width=width, height=800, deviceScaleFactor=1, mobile=width<768)
        await self.do('Emulation.setEmulatedMedia', features=[dict(name='prefers-color-scheme', value=theme)])
        await self.do('Page.navigate', url=page.resolve().as_uri())
        await self.js("""new Promise(done => { const ready = () => document.fonts.ready.then(() => setTimeout(done, 150));
            location.href!=='about:blank' && document.readyState==='complete' ? ready() : addEventListener('load', ready) })""")

    async def on_paper(self):
        "What is wrong with a page that promises to be one sheet of A4, when it is printed"
        if not await self.js("!!document.querySelector('.pg-one-page')"): return []
        said = await self.do('Page.printToPDF', paperWidth=8.27, paperHeight=11.69, **dict.fromkeys(('marginTop','marginBottom','marginLeft','marginRight'), .4))
        n = sheets_of(base64.b64decode(said['data']))
        await self.do('Emulation.setDeviceMetricsOverride', width=717, height=1046, deviceScaleFactor=1, mobile=False) # A4 within these margins
        await self.do('Emulation.setEmulatedMedia', media='print')
        found = json.loads(await self.js(look)) + ([f'takes {n} sheets when it is printed, not one'] if n>1 else [])
        await self.do('Emulation.setEmulatedMedia', media='')
        return found

    async def picture(self, path):
        size = (await self.do('Page.getLayoutMetrics'))['cssContentSize']
        scale = min(1, 16383/size['height']) # a WebP is no higher
        clip = dict(x=0, y=0, width=size['width'], height=size['height'], scale=scale)
        shot = await self.do('Page.captureScreenshot', format='webp', quality=80, captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot['data']))

def sheets_of(pdf):
    "The pages of a PDF"
    return len(re.findall(rb'/Type\s*/Page\b', pdf))

async def looks(pages, out=None, widths=(1280, 390)):
    "What is wrong, printed as it is found"
    bad = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as tmp:
        browser = Browser()
        try:
            await browser.open(tmp)
            for page in pages:
                found = {}
                for name,(width,theme) in views.items():
                    if width not in widths or theme=='dark' and not out: continue # the two themes differ in colour only
                    await browser.show(page, width, theme)
                    if out: await browser.picture(out/f'{page.stem}_{name}.webp')
                    for o in json.loads(await browser.js(look)): found.setdefault(o, []).append(name)
                for o in await browser.on_paper(): found.setdefault(o, []).append('A4')
                bad += found
                for o,where in found.items(): print(f'shots: {page.name} ({", ".join(where)}): {o}', flush=True)
        finally:
            browser.process.terminate()
            browser.process.wait(20)
    return bad

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('pages', nargs='*', help='names of pages, such as style; all by default')
    p.add_argument('--site', type=Path, default=root/'_docs')
    p.add_argument('--out', type=Path)
    p.add_argument('--phone', action='store_true')
    a = p.parse_args()
    pages = sorted(o for o in a.site.glob('*.html') if not a.pages or o.stem in a.pages)
    if not pages: sys.exit(f'no pages in {a.site}: build them with tools/build_docs.py')
    if a.out: a.out.mkdir(parents=True, exist_ok=True)
    bad = asyncio.run(looks(pages, a.out, (390,) if a.phone else (1280, 390)))
    print(f'{len(pages)} pages, {len(bad)} problems')
    return bool(bad)

if __name__=='__main__': sys.exit(main())
