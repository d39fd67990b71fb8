"""Studies: the paper's tables and figures over methods and folds, on any cohort."""
