from registry_site.settings import *  # noqa: F403
from registry_site.settings import STORAGES

STORAGES = STORAGES | {"blobs": STORAGES["blobs"] | {"BACKEND": "tests.storage.blocks.BlocksDriver"}}
