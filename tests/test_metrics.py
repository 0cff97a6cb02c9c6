"Judging a generator: the table, its floors, its cache, and a run that measures itself"
import json
import numpy as np, pytest, torch
from progrow import metrics
from progrow.checkpoint import load_checkpoint
from progrow.images import to_uint8
from progrow.metrics import Evaluation, MetricsCallback, Sides, evaluate, evaluator, evaluators
from progrow.networks import Generator
from progrow.train import digest, sample_images
from runs import fit, noise, short, tiny

class Reals(torch.nn.Module):
    "A generator that draws pictures of a set, others for another seed"
    def __init__(self, images): super().__init__(); self.images,self.resolution,self.latent_dim,self.num_classes = images,images.resolution,4,0; self.w = torch.nn.Parameter(torch.zeros(1))
    def forward(self, z, labels=None, resolution=None, alpha=1.): return self.images.batch((z[:,0].abs()*1e4).long().numpy()%len(self.images), resolution or self.resolution)

class Colours(torch.nn.Module):
    "A network that sees the mean colours of the quarters of a picture"
    name,num_features = 'FD-Colours',12
    def __init__(self): super().__init__(); self.w,self.calls = torch.nn.Parameter(torch.zeros(1)),0
    def forward(self, x): self.calls += len(x); return torch.nn.functional.adaptive_avg_pool2d(x.float(), 2).flatten(1)
    def head(self, features): return features/64

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('PROGROW_CACHE', str(tmp_path/'cache'))

images = noise(200)

def test_reals_get_about_their_floor():
    e = evaluate(Reals(images), images, ('swd','ms-ssim'), n=100)
    assert e.settings['n']==100 and list(e.table.index)==['SWD 16','SWD mean','MS-SSIM'] and list(e.table.columns)==['value','floor','better']
    assert e.table.value['SWD mean'] == pytest.approx(e.table.floor['SWD mean'], rel=.25)

def test_a_generator_is_far_from_it_and_every_way_to_name_it_gives_the_same(tmp_path):
    learn = fit(tiny(images))
    a = evaluate(learn, images, ('swd-quick',), n=64)
    assert a.table.value['SWD mean'] > 1.5*a.table.floor['SWD mean']
    file = learn.export(tmp_path/'run'/'generator.pt')
    for g in (file, file.parent): assert evaluate(g, images, 'swd-quick', n=64).values==a.values
    assert learn.model.averaged.resolution==16 and not hasattr(learn.model.averaged, 'seen')

def test_the_two_heaps_share_no_picture_and_the_seed_decides():
    real,other = metrics._two_heaps(images, 8, 90, 0)
    assert real.shape==other.shape==(90,3,8,8) and not {o.tobytes() for o in real} & {o.tobytes() for o in other}
    assert (metrics._two_heaps(images, 8, 90, 0)[0]==real).all() and (metrics._two_heaps(images, 8, 90, 1)[0]!=real).any()
    assert len(metrics._two_heaps(images, 8, 5000, 0)[0])==100

def test_pictures_are_bytes_on_both_sides():
    G,seen = Reals(images),[]
    evaluator('look', 'lower')(lambda s: seen.append(s) or {'look':1.})
    try: evaluate(G, images, 'look', n=20)
    finally: del evaluators['look']
    assert all(o.dtype==np.uint8 and o.shape==(20,3,16,16) for s in seen for o in (s.real, s.fake))
    assert (seen[0].fake==to_uint8(sample_images(G, 20)).numpy()).all() and (seen[1].real==seen[0].real).all()

def test_features_metrics_have_names_of_their_network_and_look_once():
    net = Colours()
    e = evaluate(Reals(images), images, ('fd','kd','is','pr'), n=100, network=net)
    assert list(e.table.index)==['FD-Colours','KD-Colours x1000','IS-Colours','precision','recall']
    assert net.calls==300 and e.settings['network']=='FD-Colours' # real, fake and other, each once
    evaluate(Reals(images), images, ('fd','pr'), n=100, network=net); assert net.calls==400 # the fakes; reals and floors are kept
    with torch.no_grad(): net.w += 1 # another network of the same name
    evaluate(Reals(images), images, 'fd', n=100, network=net); assert net.calls==700
    net.name = 'FID'
    assert list(evaluate(Reals(images), images, ('fd','kd','is'), n=100, network=net).table.index)==['FID','KID x1000','IS']

def test_floors_are_kept_and_do_not_cross_settings(monkeypatch):
    count = []
    evaluator('look', 'lower')(lambda s: count.append(1) or {'look':float(s.fake.mean())})
    try:
        for kw,calls in (({},2), ({},1), (dict(seed=1),2), (dict(n=50),2), (dict(cache=False),2)):
            count.clear(); evaluate(Reals(images), images, 'look', **{**dict(n=60), **kw})
            assert len(count)==calls, kw
        count.clear(); evaluate(Reals(images), noise(201), 'look', n=60); assert len(count)==2
    finally: del evaluators['look']

def test_everything_is_written_down(tmp_path):
    e = evaluate(Reals(images), images, 'swd-quick', n=30, seed=3)
    f = json.loads(e.save(tmp_path/'a'/'e.json').read_text())
    assert f['values']==e.values and f['floors']==e.floors and f['settings']['seed']==3 and f['settings']['digest']==digest(images) and 'torch' in f['versions']
    assert '30 pictures of 16x16 against 30 reals, seed 3' in repr(e) and 'floor' in repr(e)

def test_a_run_is_judged_by_its_own_pictures(tmp_path):
    "Also while its generator is smaller: pictures read at that size would be others"
    from helpers import picture, random_bytes
    from progrow.schedule import GrowthSchedule
    from progrow.train import progressive_learner
    (tmp_path/'photos').mkdir()
    for i,x in enumerate(random_bytes(40, 50)): picture(x).save(tmp_path/'photos'/f'{i:02}.png')
    learn = progressive_learner(tmp_path/'photos', schedule=GrowthSchedule(32, stabilize_kimg=.032, fade_kimg=.032, batch_size=8), latent_dim=8, fmap_base=32, fmap_max=8, image_channels=1, device='cpu')
    fit(learn, 8)
    assert 4<learn.schedule(learn.images_seen).full_resolution<32
    learn.save_checkpoint(tmp_path/'run'/'checkpoints')
    for e in (evaluate(tmp_path/'run', metrics='swd-quick', n=16), evaluate(learn, metrics='swd-quick', n=16)):
        assert e.settings['digest']==learn.settings['images']['digest'] and e.settings['resolution']<32
    with pytest.raises(ValueError, match='does not say which pictures'): evaluate(learn.export(tmp_path/'g.pt'), metrics='swd-quick', n=16)

def test_path_length_needs_a_generator_and_reals_have_none(monkeypatch):
    given = []
    monkeypatch.setattr(metrics, 'perceptual_path_length', lambda G, **kw: given.append(kw) or 1.)
    e = evaluate(Reals(images), images, ('ppl','swd-quick'), n=20)
    assert e.values['ppl']=={'PPL':1.} and e.floors['ppl']=={} and e.table.floor.isna().tolist()==[True,False,False]
    assert given==[dict(n=20, seed=0, labels=None, resolution=16)]
    G = Generator(16, latent_dim=4, fmap_max=4, num_classes=3)
    evaluate(G, images, 'ppl', n=20); assert given[-1]['labels']==[0,1,2]

def test_pictures_of_other_channels_are_judged_by_what_takes_them_or_refused_before_anything_is_drawn(monkeypatch):
    four = noise(40, channels=4)
    e = evaluate(Reals(four), four, 'swd-quick', n=20)
    assert e.table.value['SWD mean']>0 and set(e.values['swd-quick'])==set(e.floors['swd-quick'])
    monkeypatch.setattr(metrics, '_draw', None)
    for name,network in (('ms-ssim', None), ('fd', 'lite0')):
        with pytest.raises(ValueError, match=f"'{name}' takes pictures of 1 or 3 channels, these have 4: take some of swd, swd-quick"):
            evaluate(Reals(four), four, ['swd', name], network=network)
    learn = tiny(four)
    with pytest.raises(ValueError, match='these have 4'): learn.fit(cbs=MetricsCallback(('ms-ssim',)), show='nothing')
    assert learn.images_seen==0

def test_a_metric_says_everything_about_itself():
    assert all(v.name==k and v.better in ('lower','higher','as reals') and callable(v.function) for k,v in evaluators.items())
    assert {k for k,v in evaluators.items() if v.needs_network}=={'fd','kd','is','pr'}
    assert {k for k,v in evaluators.items() if v.needs_generator}=={'ppl'}

def test_metrics_does_not_draw_by_train(): assert metrics.sample_images.__module__=='progrow.sampling'

@pytest.mark.parametrize('args,says', [(dict(metrics='beauty'), "no metric 'beauty'.*swd"), (dict(metrics='fd'), "'fd' needs a network"), (dict(images=noise(10)), '10 images are too few'),
    (dict(generator='nothing.pt'), 'no file')], ids=str)
def test_bad_arguments_say_what_is_wrong(args, says):
    with pytest.raises((ValueError,FileNotFoundError), match=says): evaluate(**{**dict(generator=Reals(images), images=images, metrics='swd-quick', n=50), **args})

@pytest.mark.parametrize('every,at', [(None, [(160,8),(416,16)][-2:]), (.032, None)])
def test_a_run_measures_itself(every, at, tmp_path):
    cb = MetricsCallback(n=64, every_kimg=every, path=tmp_path/'m.jsonl')
    learn = fit(tiny(images, cbs=cb))
    seen = [(round(1000*r['kimg']), r['resolution']) for r in cb.rows]
    assert all(short(0).resolution<=r and short(n).alpha==1 for n,r in seen) and seen[-1]==(416,16)
    if at: assert [r for _,r in seen]==[8,16]
    else: assert len(seen)>4
    assert [json.loads(o) for o in open(tmp_path/'m.jsonl')]==cb.rows
    assert set(cb.table().metric)=={'SWD 8','SWD 16','SWD mean'} and cb.table().floor.notna().all()
    assert torch.equal(fit(tiny(images)).sample(2), learn.sample(2)) # and changes nothing

def test_what_was_measured_survives_a_stop(tmp_path):
    whole = MetricsCallback(n=32, every_kimg=.032); fit(tiny(images, cbs=whole))
    first = tiny(images, cbs=MetricsCallback(n=32, every_kimg=.032))
    file = fit(first, 14).save_checkpoint(tmp_path)
    again = tiny(images, cbs=MetricsCallback(n=32, every_kimg=.032)).resume(file)
    fit(again)
    assert again.run_metrics.rows==whole.rows

def test_all_public_metrics_are_here():
    for name in 'sliced_wasserstein ms_ssim frechet_distance kernel_distance inception_score precision_recall mode_coverage perceptual_path_length feature_network evaluate'.split():
        assert callable(getattr(metrics, name))

def test_damaged_features_and_floors_are_made_anew(tmp_path):
    net = Colours()
    first = evaluate(Reals(images), images, ('fd',), n=100, network=net)
    files = [o for o in (tmp_path/'cache').rglob('*') if o.is_file() and o.name in ('features.npy','meta.json')]
    assert len(files)==3 # features and their meta.json; the floor's
    for o in files:
        data = bytearray(o.read_bytes()); data[len(data)//2] ^= 1; o.write_bytes(data)
        with pytest.warns(UserWarning, match='made anew'): again = evaluate(Reals(images), images, ('fd',), n=100, network=net)
        assert again.values==first.values and again.floors==first.floors
