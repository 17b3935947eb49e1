"""The Hugging Face hub, asked only for what somebody named, and given only what they push."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from pointsman.backbone.card import hub_base
from pointsman.backbone.export import carded, own_dtype
from pointsman.backbone.incoming import PICKLE_FILE
from pointsman.backbone.lora import CONFIG_FILE, WEIGHTS_FILE
from pointsman.backbone.specialist import (
    CARD_FILE,
    HEAD_FILE,
    SPECIALIST_FILE,
    load_specialist,
    save_specialist,
)
from pointsman.errors import ConfigError, InputError, ModelError, SpecialistError

_WANTED = [CONFIG_FILE, WEIGHTS_FILE, PICKLE_FILE, SPECIALIST_FILE, HEAD_FILE, CARD_FILE]
_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def is_hub_name(name: str) -> bool:
    """Whether it has the form of a repository's name: org/name."""
    return _NAME.fullmatch(name) is not None and not name.startswith((".", "/"))


def download(name: str) -> tuple[Path, str]:
    """Fetch an adapter's files by its hub name: their folder, and the commit that they are of.

    Only what is not in the hub's local cache is asked for, and nothing in offline mode. Raises
    SpecialistError where the hub does not give it.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # they would land in the middle of our own output
    try:
        folder = Path(snapshot_download(name, allow_patterns=_WANTED))
    except Exception as error:  # the hub client has a dozen kinds of refusal
        if constants.HF_HUB_OFFLINE:
            reason = "HF_HUB_OFFLINE is set, and the local cache does not hold it"
        else:
            reason = f"the hub did not give it ({_first(error)})"
        raise SpecialistError(f"{name}: no such directory, and {reason}") from error
    return folder, folder.name


def push(folder: Path, repository: str, *, private: bool = False, token: str) -> str:
    """Upload a whole specialist, verified first, and give the address of its page.

    Its card gets front matter for the hub, and its base the hub's name; nothing else that lies in the
    folder goes along. Raises SpecialistError where it is not whole, InputError, ConfigError in
    offline mode, ModelError where the hub refuses.
    """
    if not is_hub_name(repository):
        raise InputError(f"{repository!r} is not the name of a repository on the hub (ORG/NAME)")
    specialist = load_specialist(folder)
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if constants.HF_HUB_OFFLINE:
        raise ConfigError("HF_HUB_OFFLINE is set, so nothing is uploaded; unset it to push")
    ready = replace(
        specialist,
        base_name=hub_base(specialist) or specialist.base_name,
        card=carded(specialist),
    )
    disable_progress_bars()
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as there:
        aside = Path(there) / "specialist"
        save_specialist(ready, aside, own_dtype(specialist))
        try:
            address: Any = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repository,
                folder_path=aside,
                commit_message=f"{specialist.kind} {specialist.name}",
            )
        except Exception as error:  # the hub client has a dozen kinds of refusal
            told = _first(error).replace(token, "…")
            raise ModelError(f"{repository}: the hub refused it ({told})") from error
    return str(address)


def token_from(variable: str) -> str:
    """The access token that an environment variable holds. Raises ConfigError where it holds none."""
    token = os.environ.get(variable, "").strip()
    if not token:
        raise ConfigError(
            f"{variable} is not set; put an access token of the hub with the right to write into it"
        )
    return token


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
