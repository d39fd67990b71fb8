"""The licences that a model can be given, by their identifiers."""

from __future__ import annotations

import re

from ..errors import InputError

__all__ = ["check_licence", "hub_name"]

_LISTED = (
    *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unlicense", "WTFPL", "Artistic-2.0"),
    *("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-NC-SA-4.0", "CC-BY-NC-ND-4.0"),
    *("CC-BY-3.0", "CC-BY-SA-3.0", "CC-BY-NC-3.0", "CC-BY-NC-SA-3.0", "CC-BY-2.0", "CC-BY-2.5"),
    *("GPL-2.0", "GPL-3.0", "LGPL-2.1", "LGPL-3.0", "AGPL-3.0", "MPL-2.0", "EPL-1.0", "EPL-2.0", "EUPL-1.1"),
    *("ECL-2.0", "MS-PL", "BSL-1.0", "OSL-3.0", "AFL-3.0", "NCSA", "PostgreSQL"),
)
_BY_NAME = {name.lower(): name for name in _LISTED}
_ONLY = re.compile(r"(?i)-(only|or-later)$")  # of the GNU licences; hubs know them without
_OWN = re.compile(r"LicenseRef-[A-Za-z0-9.-]+")


def hub_name(licence: str) -> str:
    """What model hubs call it: small letters, or "other".

    >>> hub_name("GPL-3.0-or-later"), hub_name("LicenseRef-Hospital")
    ('gpl-3.0', 'other')
    """
    name = _ONLY.sub("", licence).lower()
    return name if name in _BY_NAME else "other"


def check_licence(text: str) -> str:
    """An identifier as SPDX writes it.

    >>> check_licence("cc-by-4.0")
    'CC-BY-4.0'
    >>> check_licence("LicenseRef-Hospital")
    'LicenseRef-Hospital'

    Raises:
        InputError: if it is none of those under which models are published.
    """
    text = text.strip()
    ending = _ONLY.search(text)
    known = _BY_NAME.get(_ONLY.sub("", text).lower())
    if known and (not ending or "GPL" in known):
        return known + (ending[0].lower() if ending else "")
    if _OWN.fullmatch(text):
        return text
    raise InputError(
        f"{text!r} is no licence's SPDX identifier that is known here; give one such as Apache-2.0 or CC-BY-NC-4.0, or "
        "LicenseRef-NAME for terms of your own, whose text lies beside the model as LICENSE."
    )
