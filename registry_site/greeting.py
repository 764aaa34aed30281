"""What the server says when it starts: the next three commands, and where things are."""

import shutil

DOCKER = """
    {client} login{insecure} --username admin {registry}
    {client} tag alpine {registry}/alpine && {client} push{insecure} {registry}/alpine
    {client} pull{insecure} {registry}/alpine
"""
SKOPEO = """
    skopeo login{insecure} --username admin {registry}
    skopeo copy{to} docker://docker.io/library/alpine docker://{registry}/alpine
    skopeo copy{source} docker://{registry}/alpine dir:alpine
"""
GREETING = """
  Layerstore listens on {listening}

  Log in, push and pull any image that you have:
{commands}
  Admin pages  {url}/admin/  (user admin)
  Data         {data}
  Stop         Ctrl-C
"""


def greeting(listening: str, url: str, data: object) -> str:
    """`listening` is where this machine reaches the server, `url` where clients do: scheme, address and port."""
    scheme, _, registry = url.partition("://")
    told = commands(registry, plain=scheme == "http")
    return GREETING.format(listening=listening, url=url, data=data, commands=told)


def commands(registry: str, plain: bool) -> str:
    """For the client that is installed here, else for docker, which trusts plain HTTP on this machine unasked."""
    client = next((name for name in ("docker", "podman", "skopeo") if shutil.which(name)), "docker")
    if client == "skopeo":
        insecure, to, source = (
            (" --tls-verify=false", " --dest-tls-verify=false", " --src-tls-verify=false") if plain else ("", "", "")
        )
        return SKOPEO.format(registry=registry, insecure=insecure, to=to, source=source)
    insecure = " --tls-verify=false" if plain and client == "podman" else ""
    return DOCKER.format(client=client, registry=registry, insecure=insecure)
