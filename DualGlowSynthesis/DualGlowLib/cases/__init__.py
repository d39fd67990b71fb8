"""Directories of paired cases: which person-sessions have a T1, an FDG-PET and which covariates, and their preparation.

Six layouts are known and recognised: BIDS, what PETPrep and Clinica (CAPS) make of it, downloads of ADNI, a table
``cases.csv``, and a plain folder of ``ID/t1.*`` and ``ID/pet.*``.
"""
