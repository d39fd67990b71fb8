"""What becomes of every odd file: the verdict expected of each is written down here; a file without one fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from DualGlowLib import InputError
from DualGlowLib.preparation.quality import Verdict
from DualGlowLib.preparation.t1 import prepare
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.reading import read_scan

GOOD = ("good", "")
EXPECTED = {
    "awkward/IXI002_2D_slice.nii.gz": ("refused", "a slice and not a volume"),
    "awkward/adi_single_slice.nii.gz": ("refused", "a slice and not a volume"),
    "awkward/avf_float32.nrrd": ("refused", "shows 53×67×20 mm, too little for a brain"),
    "awkward/nibabel_anatomical.nii": ("refused", "shows 66×82×50 mm, too little for a brain"),
    "awkward/nibabel_example4d.nii.gz": ("refused", "holds 2 volumes"),
    "awkward/nibabel_example_nifti2.nii.gz": ("refused", "holds 2 volumes"),
    "awkward/nibabel_minc2_4d.mnc": ("refused", "is a MINC file"),
    "awkward/nibabel_small.mnc": ("refused", "is a MINC file"),
    "awkward/nibabel_test.mgz": ("refused", "holds 2 volumes"),
    "awkward/nibabel_tinypet.v": ("refused", "is an ECAT file"),
    "awkward/papaya_sample_4Dshape.nii.gz": GOOD,
    "awkward/papaya_series_slope_inter.nii.gz": ("refused", "holds 10 volumes"),
    "awkward/papaya_zstat_bigendian.nii.gz": ("refused", "doesn't look like a T1 of a brain"),
    "derived/empty.nii.gz": ("refused", "is empty"),
    "derived/ixi012_2mm_4D_3vols.nii.gz": ("refused", "holds 3 volumes"),
    "derived/ixi012_2mm_allzero.nii.gz": ("refused", "same value (0) in every voxel"),
    "derived/ixi012_2mm_const.nii.gz": ("refused", "same value (7) in every voxel"),
    "derived/ixi012_4mm_int16_slope_inter.nii.gz": GOOD,
    "derived/ixi012_4mm_nan_inf.nii.gz": GOOD,  # none of them in the brain
    "derived/ixi012_4mm_no_xform.nii.gz": ("doubtful", "left and right are a guess"),
    "derived/ixi012_4mm_oblique30.nii.gz": GOOD,
    "derived/ixi012_4mm_rgb24.nii.gz": ("refused", "a colour image"),
    "derived/ixi012_4mm_sform_qform_mismatch.nii.gz": ("doubtful", "(sform and qform) disagree by 49 mm and "),
    "derived/ixi012_T1.mgz": GOOD,
    "derived/ixi012_T1.mha": GOOD,
    "derived/ixi012_T1.nrrd": GOOD,
    "derived/ixi012_gz_named_nii.nii": GOOD,
    "derived/ixi012_header_only.nii": ("refused", "speaks of 1298912 bytes and there are 352"),
    "derived/ixi012_truncated.nii.gz": ("refused", "is incomplete"),
    "derived/text_named.nii.gz": ("refused", "is not an image that can be read here"),
    # Whole brains of another kind, which the mask finds well.
    "atlas_mni/clinical_scct_CT_template.nii": ("refused", "perhaps a"),
    "atlas_mni/neuroparc_Desikan_2mm.nii.gz": ("refused", "as in a label map"),
    "atlas_mni/neuroparc_Tissue_2mm.nii.gz": ("refused", "as in a label map"),
    "pairs/brainweb06/pet.nii.gz": ("refused", "times as bright as grey matter"),
    "pet/CN_FDG_PET_TEMPLATE.nii.gz": ("refused", "times as bright as grey matter"),
    "seg_real/ixi012_T1_DLMUSE.nii.gz": ("refused", "doesn't look like a T1 of a brain"),
    # And a clean one.
    "pairs/brainweb06/t1.nii.gz": GOOD,
}


def test_every_odd_file_has_an_expected_verdict(shared: Path) -> None:
    found = {
        f"{folder}/{path.name}" for folder in ("awkward", "derived") for path in (shared / "data" / folder).iterdir()
    }
    assert found - set(EXPECTED) == set()


@pytest.fixture(scope="module")
def verdicts() -> dict[tuple, Verdict]:
    """By what was read."""
    return {}


@pytest.mark.parametrize("name", EXPECTED)
def test_verdict(shared: Path, name: str, verdicts: dict[tuple, Verdict]) -> None:
    status, said = EXPECTED[name]
    path = shared / "data" / name
    if status == "refused":
        with pytest.raises(InputError) as caught:
            prepare(read_scan(path), GRIDS["small"])
        message = str(caught.value)
        assert said in message
        assert str(path) in message
        assert "brain" not in message or "give a T1-weighted MRI of the whole head" in message
        assert message.endswith(".")
        assert "\n" not in message
        return
    scan = read_scan(path)
    told = {key: value for key, value in scan.meta.items() if key not in ("format", "stored_dtype")}
    key = (scan.data.tobytes(), scan.affine.round(4).tobytes(), scan.holes is None, repr(told))
    if key not in verdicts:  # several formats hold the same head
        verdicts[key] = prepare(scan, GRIDS["small"]).verdict
    verdict = verdicts[key]
    assert verdict.status == status, verdict.reasons
    assert said in "; ".join(verdict.reasons)
    assert bool(verdict.reasons) == (status == "doubtful")
