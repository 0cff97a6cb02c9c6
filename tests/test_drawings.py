"Drawings: what a network's parts are called is read off it, nothing is cut off, and colors are the page's"
import json, re
import xml.etree.ElementTree as ET
import pytest, torch
from torch import nn
from helpers import root
from progrow.drawings import Drawing, parts_called
from progrow.networks import Generator

def svg(drawing): return ET.fromstring(re.search('(?s)<svg.*</svg>', drawing._repr_html_())[0])

def test_parts_come_in_the_order_of_their_calls():
    with torch.device('meta'): found = parts_called(G := Generator(16, latent_dim=8, fmap_max=4), torch.empty(2, 8), resolution=8)
    assert [o for o in found if o[0].startswith('blocks') and o[0].count('.')==1]==[('blocks.4','GeneratorStart',(4,4,4)), ('blocks.8','GeneratorBlock',(4,8,8))]
    assert found[-1]==('to_rgb.8','EqualizedConv2d',(3,8,8)) and not any(m._forward_hooks for m in G.modules())

def test_a_network_that_fails_keeps_no_hooks():
    net = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(RuntimeError): parts_called(net, torch.ones(1, 3))
    assert not net[0]._forward_hooks

def test_words_that_mean_something_in_html_stay_words():
    d = Drawing('a < b & "c"', name='<n>', stops=[(0, 'x & y'), (1, '"z"')], start=1).box(0, 0, 200, 40, '<b>', 'a & b', link='#x&y"')
    assert [o.text for o in svg(d).iter('text')]==['<b>','a & b'] and svg(d).get('aria-label')==d.alt
    assert svg(d).find('.//a').get('href')=='#x&y"'
    stops = re.search('data-stops="([^"]*)"', d._repr_html_())[1]
    assert json.loads(stops.replace('&quot;', '"').replace('&amp;', '&'))==[[0,'x & y'],[1,'"z"']]

def test_two_stops_with_the_same_words_are_two_stops():
    page = Drawing('', stops=[(0,'a'),(1,'a'),(1,'a')])._repr_html_()
    assert '--at:1' in page and 'value="2"' in page

def test_nothing_is_cut_off():
    d = Drawing('', 100, 50)
    for draw in (lambda: d.box(60, 10, 50, 20), lambda: d.arrow((50, 20), (50, 51)), lambda: d.text(95, 20, 'words'), lambda: d.box(-1, 0, 9, 9)):
        with pytest.raises(ValueError, match='is outside of a drawing of 100x50: make it larger'): draw()
    assert not d.parts

@pytest.mark.parametrize('points', [((0,0),(9,0)), ((5,9),(5,0)), ((1,1),(4,4),(1,7)), ((3,3),(3,3))])
def test_an_arrow_ends_in_its_point(points):
    head = svg(Drawing('').arrow(*points)).find('polygon').get('points').split()[0]
    assert head=='{},{}'.format(*points[-1])

def test_a_drawing_takes_the_colors_of_the_page_and_loads_nothing():
    page = Drawing('', stops=[(0,'a')]).box(0, 0, 50, 20, 'x').arrow((0, 30), (50, 30))._repr_html_()
    assert 'currentColor' in page and not re.search('black|white|#000|#fff|http|<script', page)

@pytest.mark.parametrize('page', ['05_drawings','24_networks','34_players','61_style'])
def test_pages_keep_their_drawings(page):
    cells = json.loads((root/'nbs'/f'{page}.ipynb').read_text(encoding='utf-8'))['cells']
    shown = [''.join(o.get('data', {}).get('text/html', '')) for c in cells for o in c.get('outputs', [])]
    shown = [s for s in shown if 'pg-drawing' in s]
    assert shown and all(re.search('aria-label="[^"]{20,}"', s) for s in shown)
