"""How much processor time does a run of the preset 'minutes' take, beside the settings that its search began with?

usage: preset_cost.py [FILE]

Both take turns on one thread, eight steps each, at every size, still and fading; the least of the rounds counts, times the
images of each phase. Writes FILE (nbs/assets/search/cost.json); two minutes.
"""
import time, torch
from progrow.data import image_pyramid
from progrow.players import Players
from progrow.train import progressive_learner
import search
from trials import arguments, results

rounds,steps = 8,8
sides = {'first settings': lambda images: search.learner(images, {}), "'minutes'": progressive_learner}

class Side:
    "A learner's networks and its loss, to be trained at any size"
    def __init__(self, learn):
        m,self.schedule = learn.model,learn.schedule
        self.players = Players(m.generator, m.discriminator, learn.gan_loss)
        self.adam = [torch.optim.Adam(o.parameters(), 1e-4, (0., .99), fused=True) for o in (m.discriminator, m.generator)]

    def step(self, real, alpha):
        for o in self.players.critic_terms(real, alpha): o.backward()
        self.adam[0].step(); self.adam[0].zero_grad()
        with self.players.critic_frozen(): self.players.generator_term(len(real), real.shape[-1], alpha, None, real).backward()
        self.adam[1].step(); self.adam[1].zero_grad()

    def seconds(self, images, phase):
        "CPU seconds of an image, over some steps"
        n = self.schedule.next_batch(phase.start).batch_size
        real,alpha = images.batch(range(n), phase.resolution),.5 if phase.phase=='fade' else 1.
        self.step(real, alpha) # warms up
        begun = time.process_time()
        for _ in range(steps): self.step(real, alpha)
        return (time.process_time()-begun)/steps/n

def main(path):
    torch.set_num_threads(1)
    images = image_pyramid('avatars', 32)
    made = {k:Side(f(images)) for k,f in sides.items()}
    phases = {k:o.schedule.phases for k,o in made.items()}
    least = {k:[float('inf')]*len(p) for k,p in phases.items()}
    for i in range(len(phases["'minutes'"])):
        for _ in range(rounds):
            for k,o in made.items(): least[k][i] = min(least[k][i], o.seconds(images, phases[k][i]))
    total = {k:round(sum(t*(p.end-p.start) for t,p in zip(least[k], phases[k])), 1) for k in made}
    print(total)
    results.write(path, dict(rounds=rounds, steps=steps, schedules={k:repr(o.schedule) for k,o in made.items()}), (), dict(threads=1),
                  cpu_seconds=total, images={k:o.schedule.total_images for k,o in made.items()})

if __name__=='__main__': arguments(main, 'nbs/assets/search/cost.json')
