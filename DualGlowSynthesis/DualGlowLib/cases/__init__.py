"""Directories of paired cases: which person-sessions have a T1, an FDG-PET and which covariates, and their preparation.

Five layouts are known and recognised: BIDS, what PETPrep and Clinica (CAPS) make of it, a table ``cases.csv``, and a
plain folder of ``ID/t1.*`` and ``ID/pet.*``.
"""
