"Runs that begin from networks that have learned: what is taken over, what stands still, and how they are gone on with."
import importlib, json, shutil, sys, warnings
from types import SimpleNamespace
import numpy as np, pytest, torch
from progrow.checkpoint import checkpoints, load_checkpoint, save_generator, save_tensors
from progrow.cli import main
from progrow.cost import seconds_per_image, step_cost
from progrow.networks import Discriminator, Generator
from progrow.resume import rebuild, resume_run
from progrow.runs import open_run
from progrow.sampling import sample_images
from progrow.schedule import GrowthSchedule
from progrow.starting import side_of
from progrow.style import StyleDiscriminator, StyleGenerator
from progrow.train import fit_progressive, open_networks, progressive_learner
from helpers import root, same
from official_files import networks, official_pickle
from runs import adam, fit, left, noise, tiny, weights

first = GrowthSchedule(16, stabilize_kimg=.032, fade_kimg=.016, batch_size=16, learning_rate=.01)
later = GrowthSchedule(32, 16, stabilize_kimg=.032, fade_kimg=.032, batch_size=16) # two steps of 16x16, two of fade, two of 32x32
pictures = noise(resolution=32)

@pytest.fixture(scope='module')
def source(tmp_path_factory):
    "The folder of a run to 16x16 that is over"
    folder = tmp_path_factory.mktemp('source')/'run'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        tiny(schedule=first).fit_in(folder, show='nothing')
    return folder

def begun(source, images=pictures, schedule=later, **kwargs):
    return progressive_learner(images, schedule=schedule, start_from=source, device='cpu', seed=5, **kwargs)

def critic(learn): return learn.model.discriminator.state_dict()
def frozen(learn): return {side_of(n) for n,p in learn.model.discriminator.named_parameters() if not p.requires_grad}

# --- what is taken over

def test_all_that_names_a_run_gives_the_same_first_weights(source):
    run = open_run(source)
    kinds = [source, str(source), source/'checkpoints', checkpoints(source/'checkpoints')[0], run,
             SimpleNamespace(averaged_generator=run.generator(), generator=Generator(8), discriminator=run.discriminator())]
    first,*others = [weights(begun(o)) for o in kinds]
    assert all(same(first, o) for o in others)
    taken = run.checkpoint['model']
    assert all(torch.equal(first[f'generator.{k}'], taken[f'averaged.{k}']) for k in run.generator().state_dict())
    assert all(torch.equal(first[f'discriminator.{k}'], taken[f'discriminator.{k}']) for k in run.discriminator().state_dict())

def test_a_learner_in_memory_is_a_source_up_to_what_is_faded_in():
    learn = fit(tiny(schedule=GrowthSchedule(16, stabilize_kimg=.032, fade_kimg=.032, batch_size=16)), 3) # in the middle of the fade to 8x8
    assert learn.state.resolution==8 and open_networks(learn).resolution==4
    other = begun(learn, schedule='minutes', resolution=16)
    assert other.schedule.start_resolution==4 and other.settings['start_from']['resolution']==4
    assert not torch.equal(critic(other)['blocks.8.conv0.weight'], critic(learn)['blocks.8.conv0.weight'])

def test_a_generator_alone_gets_a_new_critic_and_the_run_says_so(source):
    for o in (source/'generator.pt', open_run(source).generator()):
        with pytest.warns(UserWarning, match='a new critic begins from random weights'): learn = begun(o)
        assert learn.settings['start_from']['critic'] is False
        assert torch.equal(learn.model.averaged.state_dict()['to_rgb.16.weight'], open_run(source).generator().state_dict()['to_rgb.16.weight'])

def test_widths_come_from_the_source_where_the_caller_gives_none(source):
    learn = begun(source, group_size=2)
    assert {k:learn.model.generator.config[k] for k in ('latent_dim','fmap_base','fmap_max')}==dict(latent_dim=6, fmap_base=32, fmap_max=8)
    assert learn.model.discriminator.group_size==2
    with pytest.raises(ValueError, match='fmap_base=64, but the source has fmap_base=32: leave it out'): begun(source, fmap_base=64)

@pytest.mark.parametrize('resolution', [8, 16, 32])
def test_blocks_that_are_there_are_taken_over_and_new_ones_depend_on_the_seed(source, resolution):
    run,learn = open_run(source),begun(source, schedule='minutes', resolution=resolution)
    taken = min(resolution, 16)
    for net,old in ((learn.model.averaged, run.generator()), (learn.model.discriminator, run.discriminator())):
        a,b = net.state_dict(),old.state_dict()
        assert net.resolution==resolution and {k for k in a if side_of(k)<=taken}=={k for k in b if side_of(k)<=taken}
        assert all(torch.equal(a[k], b[k]) for k in a if side_of(k)<=taken)
    test = learn.model.averaged
    assert torch.equal(sample_images(test, 4, resolution=taken), sample_images(run.generator(), 4, resolution=taken))
    again,other = (weights(progressive_learner(pictures, resolution, start_from=source, device='cpu', seed=s)) for s in (5, 6))
    assert same(weights(learn), again) and (resolution==32)==(not same(again, other))

def test_a_named_schedule_begins_where_the_source_has_ended(source):
    def starts(*args): return begun(source, schedule=args[0], resolution=args[1] if args[1:] else None).schedule
    assert (starts('minutes').start_resolution, starts('minutes').resolution)==(16, 16)
    assert [starts('minutes', r).start_resolution for r in (8, 16, 32)]==[8, 16, 16]
    assert starts('minutes:start_resolution=4', 32).start_resolution==4 and starts('minutes:total_kimg=9', 32).start_resolution==16
    assert begun(source).schedule==later

def test_styles_are_taken_over_with_their_average(tmp_path):
    sizes = dict(image_channels=3, fmap_base=32, fmap_max=8)
    G = StyleGenerator(16, latent_dim=6, mapping_layers=2, **sizes)
    torch.nn.init.normal_(G.w_avg)
    with pytest.warns(UserWarning, match='new critic'): learn = begun(G)
    assert isinstance(learn.model.discriminator, StyleDiscriminator) and learn.model.generator.config['mapping_layers']==2
    assert torch.equal(learn.model.averaged.w_avg, G.w_avg)
    assert torch.equal(learn.sample(4, resolution=16), sample_images(G.eval(), 4))

# --- refused

def test_another_number_of_channels_is_refused_unless_they_are_converted(source):
    grey = np.random.default_rng(0).integers(0, 256, (32, 1, 32, 32), dtype=np.uint8)
    with pytest.raises(ValueError, match=r'knows pictures of 3 channel\(s\), these have 1: pass image_channels=3'): begun(source, grey)
    assert begun(source, grey, image_channels=3).images.image_channels==3

def test_another_number_of_classes_is_refused(source):
    told = noise(resolution=32, labels=np.arange(64)%3)
    with pytest.raises(ValueError, match='the source knows 0 classes, this run 3: leave conditional out'): begun(source, told, conditional=True)
    three = SimpleNamespace(generator=Generator(16, latent_dim=6, fmap_max=8, num_classes=3), discriminator=Discriminator(16, fmap_max=8, num_classes=3))
    with pytest.raises(ValueError, match='knows 3 classes, this run 0: give images of 3 classes, and conditional=True'): begun(three, told)
    assert begun(three, told, conditional=True).model.discriminator.num_classes==3

@pytest.mark.parametrize('kwargs,match', [(dict(generator=StyleGenerator), 'cannot begin with the weights of the source, a Generator'),
    (dict(freeze_discriminator=3), 'take 2 at most'), (dict(freeze_discriminator=-1), 'a whole number of blocks'), (dict(freeze_discriminator=1.), 'a whole number of blocks')])
def test_what_does_not_fit_is_refused(source, kwargs, match):
    with pytest.raises(ValueError, match=match): begun(source, **kwargs)

@pytest.mark.parametrize('start_from,error,match', [('nowhere', FileNotFoundError, 'there is no file nowhere'), (7, ValueError, 'start_from is a int, without a generator'),
    (SimpleNamespace(discriminator=1), ValueError, 'without a generator')])
def test_what_is_no_source_is_refused_before_any_picture_is_read(start_from, error, match):
    with pytest.raises(error, match=match): begun(start_from, 'not/there')

def test_blocks_cannot_stand_still_where_no_critic_was_taken_over(source):
    with pytest.raises(ValueError, match='there is no start_from'): tiny(freeze_discriminator=1)
    with pytest.raises(ValueError, match='the source has none'): begun(source/'generator.pt', freeze_discriminator=1)

# --- what stands still

def test_frozen_blocks_keep_their_bits_and_adam_keeps_nothing_for_them(source):
    learn = begun(source, freeze_discriminator=2)
    before = weights(learn)
    after = weights(fit(learn))
    still = {k for k in before if k.startswith('discriminator.') and torch.equal(before[k], after[k])}
    held = {k for k in before if k.startswith('discriminator.') and side_of(k.partition('.')[2]) in (8, 16)}
    assert still-held=={'discriminator.from_rgb.4.weight', 'discriminator.from_rgb.4.bias'} and held<=still # 4x4 pictures were not shown
    assert {k for k in adam(learn) if k.startswith('discriminator.')}=={k for k in before if k.startswith('discriminator.')}-still
    assert frozen(learn)=={8, 16} and learn.settings['freeze_discriminator']==[8, 16]

def test_counted_are_blocks_that_were_taken_over(source):
    assert frozen(begun(source, schedule='minutes', resolution=8, freeze_discriminator=1))=={8}
    assert frozen(begun(source, freeze_discriminator=0))==set()

def test_a_step_with_frozen_blocks_costs_less_and_estimates_change_nothing(source):
    free,learn = begun(source),begun(source, freeze_discriminator=2)
    def cost(o): return step_cost(o.model.generator, o.model.discriminator, o.gan_loss, 16, 16).flops
    assert .5<cost(learn)/cost(free)<.95
    before = weights(learn)
    assert all(v>0 for v in seconds_per_image(learn.players, learn.images, later).values())
    assert frozen(learn)=={8, 16} and same(before, weights(learn))
    with learn.players.critic_frozen(): assert frozen(learn)=={4, 8, 16, 32}
    assert frozen(learn)=={8, 16}

def test_half_precision_leaves_frozen_blocks_alone(source):
    learn = begun(source, freeze_discriminator=2, precision='bf16')
    before = critic(learn)['blocks.16.conv0.weight'].clone()
    assert torch.equal(critic(fit(learn, 2))['blocks.16.conv0.weight'], before)

# --- gone on with

def test_going_on_changes_no_bit_also_from_the_folder_alone(source, tmp_path):
    np.save(tmp_path/'pictures.npy', pictures.level(32))
    own = shutil.copytree(source, tmp_path/'source')
    call = dict(schedule=later, start_from=own, freeze_discriminator=2, device='cpu', seed=5, show='nothing')
    whole = fit_progressive(tmp_path/'pictures.npy', path=tmp_path/'whole', **call)
    half = progressive_learner(tmp_path/'pictures.npy', **{k:v for k,v in call.items() if k!='show'})
    for name in ('again','alone'):
        if half.images_seen==0: fit(half, 3)
        half.save_checkpoint(tmp_path/name/'checkpoints')
    assert 0<half.images_seen<whole.images_seen
    again = fit_progressive(tmp_path/'pictures.npy', path=tmp_path/'again', **call)
    shutil.rmtree(own)
    alone = resume_run(tmp_path/'alone', device='cpu', show='nothing')
    assert same(left(again), left(whole)) and same(left(alone), left(whole))
    assert frozen(alone)=={8, 16} and alone.settings==whole.settings and json.loads((tmp_path/'whole'/'settings.json').read_text())['settings']['start_from']
    more = rebuild(open_run(tmp_path/'whole'), device='cpu', total_kimg=1)
    assert frozen(more.resume(tmp_path/'whole'/'checkpoints'))=={8, 16}

def test_another_source_or_other_frozen_blocks_are_other_runs(source, tmp_path):
    path = fit(begun(source, freeze_discriminator=1), 2).save_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=r'freeze_discriminator: the checkpoint has \[16\], this run \[8, 16\]'): begun(source, freeze_discriminator=2).resume(path)
    sizes = dict(fmap_base=32, fmap_max=8)
    other = SimpleNamespace(generator=Generator(16, latent_dim=6, **sizes), discriminator=Discriminator(16, **sizes))
    with pytest.raises(ValueError, match='start_from.digest: the checkpoint has'): begun(other, freeze_discriminator=1).resume(path)

def test_a_run_from_random_weights_says_nothing_of_this():
    assert not {'start_from','freeze_discriminator'} & tiny().settings.keys()

def test_a_run_that_was_taken_over_may_grow_on_and_its_frozen_blocks_stand_still(source, tmp_path):
    learn = fit(begun(source, schedule=GrowthSchedule(16, 16, stabilize_kimg=.032, fade_kimg=.032, batch_size=16), freeze_discriminator=1))
    learn.save_checkpoint(tmp_path/'run'/'checkpoints')
    before = critic(learn)['blocks.16.conv0.weight'].clone()
    more = resume_run(tmp_path/'run', pictures, device='cpu', show='nothing', resolution=32)
    assert more.schedule.resolution==32 and frozen(more)=={16} and torch.equal(critic(more)['blocks.16.conv0.weight'], before)

# --- files of strangers

def damaged(source, tmp_path, change):
    held = load_checkpoint(source/'checkpoints')
    change(held)
    path = tmp_path/'checkpoint-000000128.pt'
    return save_tensors(path, 'progrow-checkpoint', 1, **{k:v for k,v in held.items() if k not in ('format','version')})

def test_a_critic_that_does_not_fit_is_told(source, tmp_path):
    for change,match in ((lambda o: o['settings']['discriminator'].update(fmap_base=64), 'does not fit a Discriminator'),
            (lambda o: o['settings']['discriminator'].update(network='Mine'), 'has a critic of its own, a Mine'),
            (lambda o: o['settings']['discriminator'].update(fmap_max=2**40), 'its fmap_max is out of range'),
            (lambda o: o['model'].pop('discriminator.from_rgb.16.bias'), 'the weights from_rgb.16.bias are missing')):
        with pytest.raises(ValueError, match=match): begun(damaged(source, tmp_path, change))

@pytest.mark.parametrize('sides', [[64], 5, ['x'], [[4]]])
def test_odd_frozen_blocks_in_a_checkpoint_are_told(source, tmp_path, sides):
    run = open_run(damaged(source, tmp_path, lambda o: o['settings'].update(freeze_discriminator=sides, start_from={})))
    with pytest.raises(ValueError, match='cannot be made again as it describes itself'): rebuild(run, noise(), 'cpu')

# --- the command line

def test_flags_begin_from_a_run_and_from_published_weights(source, tmp_path, capsys):
    np.save(tmp_path/'pictures.npy', noise().level(16))
    words = f'train {tmp_path}/pictures.npy --device cpu --quiet --resolution 16 --schedule minutes:stabilize_kimg=.032,batch_size=16'
    assert main([*words.split(), '--start-from', str(source), '--freeze-discriminator', '2', '--path', str(tmp_path/'a')])==0
    assert open_run(tmp_path/'a').settings['freeze_discriminator']==[8, 16]
    (tmp_path/'official.pkl').write_bytes(official_pickle(networks('progan'), 'progan'))
    assert main([*words.split(), '--start-from', str(tmp_path/'official.pkl'), '--path', str(tmp_path/'b')])==0
    assert open_run(tmp_path/'b').settings['start_from']['critic'] is True
    assert main([*words.split(), '--freeze-discriminator', '1', '--path', str(tmp_path/'c')])==1
    assert '--freeze-discriminator 1' in capsys.readouterr().err.splitlines()[-1]

# --- the experiment

def test_the_results_of_the_experiment_are_of_the_settings_that_the_script_has(monkeypatch):
    monkeypatch.syspath_prepend(str(root/'tools'/'experiments'))
    script,made = importlib.import_module('finetune'),json.loads((root/'nbs'/'assets'/'finetune'/'finetune.json').read_text(encoding='utf-8'))
    for m in ('finetune','trials','results'): sys.modules.pop(m, None)
    assert made['settings']==json.loads(json.dumps(script.told(1.)))
    asked = [(o['asked']['arm'], o['asked']['seed']) for o in made['rows']]
    assert asked==[('faces', 0), *((a, s) for s in script.seeds for a in script.arms)]
    monsters = [o['flops'] for o in made['rows'][1:]]
    assert max(monsters)/min(monsters)<1.02
