# The deployment in workers/, for docker-compose.yml: worker, beat and Flower, one command each.
FROM python:3.12.11-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv

# What changes seldom comes first.
COPY workers/requirements.txt workers/requirements.txt
RUN pip install --requirement workers/requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY ctxqueue ctxqueue
RUN pip install '.[metrics,redbeat]'

COPY config config
COPY workers workers

# Nobody who may do anything but run it; beat writes its schedule to /data.
RUN useradd --system --uid 10001 --home-dir /srv ctxqueue && install --directory --owner=ctxqueue /data
USER ctxqueue
