"""Lets Hydra find the plug-in and its recipes: `python main_pretrain.py --config-name rekd`.

Every Hydra application of the environment imports this file, so it imports next to nothing and
acts only where the host's methods are loaded.
"""

import os
import sys

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class SoloRekdSearchPath(SearchPathPlugin):
    """Activates the plug-in in the host's Hydra scripts, and shows them the recipes."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Appends the recipes, behind the user's own, where solo-learn is at work."""
        if "solo.methods" not in sys.modules or os.environ.get("SOLO_REKD_AUTOLOAD") == "0":
            return
        from solo_rekd.autoload import activate

        if not activate():
            return
        from solo_rekd.hosts.current import recipes

        recipes.store_defaults()
        for folder in recipes.folders():
            search_path.append(provider=recipes.PROVIDER, path=f"file://{folder}")
