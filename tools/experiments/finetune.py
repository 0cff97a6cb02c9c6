"""Are 500 pictures enough, if a network has learned on others before? Monsters of 32x32 after faces: fine-tuned, or from random weights.

usage: finetune.py [--quick] [--next] [--runs FOLDER] [FILE]

One run on faces, then nine on monsters (three arms, three seeds), these with the same counted arithmetic: six minutes of one core.
Writes FILE (nbs/assets/finetune/finetune.json) after each run, and a strip of pictures of seed 0; one that was stopped goes on where it stood.
--next makes one run and ends (3: some are left). --quick takes a twentieth of the arithmetic.
"""
import torch
from progrow.data import ImagePyramid, image_pyramid
from progrow.images import from_uint8
from progrow.sampling import sample_images
from trials import arguments, flops, learner, make_rows, score, sheet

top,seeds,few,n = 32,(0,1,2),500,256 # side; pictures to learn from, pictures to judge by
budget = dict(faces=2.1e12, monsters=2e11) # FLOPs of a run
grown = dict(stabilize_kimg={4:1.5, 8:1.5, 16:2, 32:4}, fade_kimg={8:.5, 16:1, 32:1.5})
at_top = dict(start_resolution=top, stabilize_kimg=10.)
pace = dict(batch_size=8, learning_rate=.004)
networks = dict(loss='wgan-gp', latent_dim=64, fmap_base=128, fmap_max=32, group_size=32)
average_kimg = dict(faces=1., monsters=.2)
arms = {'from scratch': dict(schedule=grown), 'fine-tuned': dict(schedule=at_top, start_from='faces'),
        'Freeze-D': dict(schedule=at_top, start_from='faces', freeze_discriminator=2)}

def settings_of(arm, faces):
    "Arguments of a run; `faces` is the folder of the run on faces, which is the run `h` of seed 0 of ablations.py"
    s = {**networks, **arms.get(arm, dict(schedule=grown)), 'average_kimg':average_kimg['faces' if arm=='faces' else 'monsters']}
    if 'start_from' in s: s['start_from'] = faces
    return {**s, 'schedule':{**pace, **s['schedule']}}

def part(images, start, end):
    "Some pictures of a set"
    return ImagePyramid({r: images.level(r)[start:end] for r in images.resolutions})

def trained(images, settings, total, seed, folder):
    "A run of `total` FLOPs, gone on with where it stood"
    learn = learner(images, settings, total/flops(learner(images, settings)), seed)
    with learn.no_bar(), learn.no_logging(): return learn.fit_in(folder, minutes=2)

def told(share):
    return dict(resolution=top, budget={k:v*share for k,v in budget.items()}, few=few, n=n, seeds=seeds, pace=pace,
                networks=networks, average_kimg=average_kimg, arms=arms)

def main(path, once, quick, runs):
    torch.set_num_threads(1)
    share = .05 if quick else 1.
    faces,monsters = image_pyramid('avatars', top),image_pyramid('critters', top, n=1024+few)
    unseen,own = part(monsters, 0, 1024),part(monsters, 1024, 1024+few)
    def strip(x, name): sheet(x, path.parent/path.stem/f'{name}.png', scale=1)
    strip(from_uint8(unseen.level(top)[:16]), 'real')
    def make(asked):
        arm,seed = asked['arm'],asked['seed']
        learned,unknown,total = (faces,faces,budget['faces']) if arm=='faces' else (own,unseen,budget['monsters'])
        folder = runs/f"{arm.replace(' ', '-')}-{seed}"
        learn = trained(learned, settings_of(arm, runs/'faces-0'), total*share, seed, folder)
        if not seed: strip(sample_images(learn.model.averaged, 16, seed=1), folder.name)
        values,floors = score(learn.model.averaged, unknown, n)
        return dict(images=learn.images_seen, flops=flops(learn), cpu_seconds=round(learn.clock.seconds, 1), values=values, floors=floors)
    wanted = [dict(arm='faces', seed=0), *(dict(arm=a, seed=s) for s in seeds for a in arms)]
    return make_rows(path, told(share), wanted, make, once)

if __name__=='__main__': arguments(main, 'nbs/assets/finetune/finetune.json')
