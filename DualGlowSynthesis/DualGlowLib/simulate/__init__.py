"""Simulated T1/FDG-PET pairs over real anatomy, whose conditional law is known.

A case is made in three steps: an anatomy (the MNI152 template, or a real head with labels) is atrophied to an age and a
diagnosis and deformed (``shape``); an MRI of it is made (``shape.photograph``); and a PET is drawn from a Gaussian law
given the anatomy, age, sex and diagnosis (``law``, with the numbers in ``uptake``). The law's mean and sd are exact for
that anatomy. A model sees the anatomy only through a noisy T1, so it can come close to the law but not quite reach it.

>>> from DualGlowLib.simulate.anatomy import template_anatomy
>>> from DualGlowLib.simulate.case import simulate_case
>>> from DualGlowLib.volumes.grid import GRIDS
>>> case = simulate_case(7, [template_anatomy()], GRIDS["small"])
>>> tuple(case.pet.shape), case.mean.shape == case.sd.shape
((32, 48, 32), True)
"""
