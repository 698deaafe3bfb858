"""How Sphinx builds the site: ``make docs``, which needs no network."""

import os
import re
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

from docutils import nodes
from jupyter_cache.executors import utils
from numpydoc.xref import DEFAULT_LINKS

import memkd_sklearn

# Examples call the command as a shell would find it.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

project = "memkd-sklearn"
copyright = "The memkd-sklearn developers"
version = release = memkd_sklearn.__version__

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
exclude_patterns = ["_build", "notebooks/*.py"]
templates_path = ["_templates"]
default_role = "py:obj"
highlight_language = "text"  # where nothing else is said: tables and diagrams

# Examples run where they are shown. Their outputs are kept in _build, by their code: a change of
# the package alone does not run them again, and `make clean` does.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 1200
nb_merge_streams = True
# Output comes in pieces that may end within a line: they are joined before they are merged.
utils.executenb = partial(utils.executenb, coalesce_streams=True)
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# The reference has a page for every name of every module below, as the module's __all__ says.
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False

# Classes by their short names, which docstrings use; types of parameters link to nothing else.
MODULES = re.findall(
    r"^   (memkd_sklearn\S*)$",
    Path(__file__).with_name("api").joinpath("index.rst").read_text(),
    re.M,
)
CLASSES = {
    name: f"{module}.{name}"
    for module in MODULES
    for name in import_module(module).__all__
    if re.match("[A-Z].*[a-z]", name)
}
SHORT = {
    "np.ndarray": "numpy.ndarray",
    "FrozenEstimator": "sklearn.frozen.FrozenEstimator",
    "GridSearchCV": "sklearn.model_selection.GridSearchCV",
    "GroupKFold": "sklearn.model_selection.GroupKFold",
}
numpydoc_xref_param_type = True
numpydoc_xref_aliases = {name: name for name in DEFAULT_LINKS} | CLASSES | SHORT
numpydoc_xref_ignore = "all"

html_theme = "pydata_sphinx_theme"
html_title = "memkd-sklearn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {page: [] for page in ("results", "studies", "changelog")}  # alone in their section
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
}

# Other projects' names, which Sphinx's own way would look up over the network.
ELSEWHERE = {
    "aeon": "https://www.aeon-toolkit.org/en/stable/api_reference/auto_generated/{}.html",
    "numpy": "https://numpy.org/doc/stable/reference/generated/{}.html",
    "sklearn": "https://scikit-learn.org/stable/modules/generated/{}.html",
    "torch": "https://docs.pytorch.org/docs/stable/generated/{}.html",
}
NOT_GENERATED = {"torch.Tensor": "https://docs.pytorch.org/docs/stable/tensors.html"}


def link_short_names(app, env, node, content):
    """Link a class by its short name, and a name of another project to its documentation."""
    if node["reftarget"] in CLASSES:
        found = CLASSES[node["reftarget"]]
        domain = env.get_domain("py")
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", found, node, content)
    name = SHORT.get(node["reftarget"], node["reftarget"])
    project = name.partition(".")[0]
    if project not in ELSEWHERE or project == name:
        return None
    target = NOT_GENERATED.get(name, ELSEWHERE[project].format(name))
    return nodes.reference("", "", content, internal=False, refuri=target)


def skip_inherited(app, what, name, member, skip, options):
    """Leave out what other projects document."""
    module = getattr(member, "__module__", None) or "memkd_sklearn"
    return True if not module.startswith("memkd_sklearn") else None


def setup(app):
    """Tell Sphinx how to link to other projects, and to leave to them what is theirs."""
    app.connect("autodoc-skip-member", skip_inherited)
    app.connect("missing-reference", link_short_names)
