"""How the documentation is built; ``make docs`` treats every warning as an error."""

from importlib import metadata

project = "Fiducial"
author = "The Fiducial developers"
project_copyright = author
release = metadata.version("fiducial")
version = ".".join(release.split(".")[:2])

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = True
# Types of other projects have no page here to point to.
nitpick_ignore_regex = [(r"py:.*", r"(?!fiducial\.).*")]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "description"

html_theme = "furo"
html_title = "Fiducial"
html_static_path = ["_static"]
