"""Directories of paired cases: which person-sessions have a T1, an FDG-PET and which covariates, and their preparation.

Four layouts are known and recognised: BIDS, Clinica's CAPS, a table ``cases.csv``, and a plain folder of
``ID/t1.*`` and ``ID/pet.*``.
"""
