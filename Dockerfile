FROM debian:12-slim

# tini, because the server does not wait for processes that are not its children: what the first process has to do.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv tini \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /srv/layerstore

# A layer of its own: a change of the code installs nothing anew.
COPY pyproject.toml ./
COPY script/virtualenv.sh script/
RUN set -eu; export PIP_NO_CACHE_DIR=1; root=$PWD; . script/virtualenv.sh; virtualenv postgres

# A number that stays the same, because the volume remembers it.
RUN useradd --system --uid 800 --home-dir /data --shell /usr/sbin/nologin layerstore \
    && install --directory --owner layerstore --group layerstore --mode 0700 /data

COPY . ./

ENV PATH=/srv/layerstore/.venv/bin:$PATH REGISTRY_HOST=0.0.0.0 REGISTRY_DATA=/data
USER layerstore
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "manage.py", "serve"]
