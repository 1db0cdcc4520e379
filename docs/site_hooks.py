"""What the documentation site adds to the Markdown: an API reference, and links out of `docs/`.

Pages link to files of the repository beside `docs/` (tests, examples) and folders of raw results.
On the site such a link leads to the repository where `DOCS_REPO_URL` names one and is plain text
elsewhere; one to what is not there fails the build, as any broken link does.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([\w./-]+)\)")
ROOMS = {
    "rllib_metarl.envs": "Environments",
    "rllib_metarl.algorithms": "Algorithms",
    "rllib_metarl.evaluation": "Evaluation",
    "rllib_metarl.ops": "Maths",
    "rllib_metarl.models": "Networks",
    "rllib_metarl.sampling": "Sampling",
    "rllib_metarl.learning": "Learning",
    "rllib_metarl.recording": "Recordings",
    "rllib_metarl.checkpoint": "Checkpoints",
    "rllib_metarl.serving": "Trained agents",
}


def on_config(config: Any) -> Any:
    """The reference's pages at the end of the navigation, where `mkdocs.yml` leaves room."""
    reference = next(part for part in config.nav if "Reference" in part)
    reference["Reference"] = [{title: _page(room)} for room, title in ROOMS.items()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """One page for each room of the package, written from its docstrings."""
    for room, title in ROOMS.items():
        text = f"# {title}\n\n::: {room}\n"
        files.append(File.generated(config, _page(room), content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns links to what the site has no page of into links to the repository, or plain text."""
    folder = Path(config.docs_dir, page.file.src_uri).parent

    def replace(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / link[2]))
        if not target.exists():
            raise PluginError(f"{page.file.src_uri} links to {link[2]}, which is not there")
        if target.is_file() and target.is_relative_to(config.docs_dir):
            return link[0]
        if not config.repo_url:
            return link[1]
        return f"[{link[1]}]({config.repo_url}/blob/main/{target.relative_to(ROOT)})"

    return LINK.sub(replace, markdown)


def _page(room: str) -> str:
    return f"reference/{room.rpartition('.')[2]}.md"
