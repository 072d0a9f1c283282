# syntax=docker/dockerfile:1
# The service in a container: docs/service.md, "In a container". tests/test_docker.py runs the steps.

ARG PYTHON=3.12

# ---------------------------------------------------------------- build: a wheel, and what it needs
FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY lightser lightser
COPY recipes recipes
COPY packages/lightser-web/src packages/lightser-web/src
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/lightser \
    && /opt/lightser/bin/python -m pip install --no-cache-dir "$(ls /wheels/*.whl)[serve]"

# ------------------------------------------------------- what runs: neither sources nor build tools
FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="lightser" \
      org.opencontainers.image.description="Lightweight speech emotion recognition as a service" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/lightser /opt/lightser
# Byte code was compiled at build time; nothing is written while it runs but temporary files.
ENV PATH=/opt/lightser/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1
# A number, not a name: Kubernetes' runAsNonRoot believes nothing else.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8765/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["lightser"]
CMD ["serve", "--host", "0.0.0.0"]
