"""The product's settings, with graces that nobody would be allowed."""

from registry_site.settings import *  # noqa: F403

SILENCED_SYSTEM_CHECKS = ["layerstore.E001"]
