"""Quality checks for the eye: pictures of each scan, and sheets of a whole cohort."""

from .drawing import picture_output, write_png
from .montage import montage
from .pictures import overlay_picture, pet_picture, t1_picture
from .sheet import write_contact_sheet, write_sheet

__all__ = [
    "montage",
    "overlay_picture",
    "pet_picture",
    "picture_output",
    "t1_picture",
    "write_contact_sheet",
    "write_png",
    "write_sheet",
]
