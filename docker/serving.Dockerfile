# The REST API alone: no Dagster, no scikit-learn, no pandas; MLflow's client without its server.
FROM python:3.11.14-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /build
# The packages first: they change seldom, and this layer is the large one. setuptools builds ours.
COPY docker/serving.lock ./
RUN pip install --no-deps --require-hashes --requirement serving.lock
COPY pyproject.toml README.md LICENSE ./
COPY cxad_pipeline cxad_pipeline
RUN pip install --no-deps --no-build-isolation .

FROM python:3.11.14-slim-trixie
RUN useradd --create-home --uid 10001 cxad
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY configs configs
# The last good model, anomalies on their way to the store, and compiled kernels: a volume, so that a start is quick.
RUN mkdir -p /var/lib/cxad && chown cxad:cxad /var/lib/cxad
USER cxad
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CXAD_CONFIG=configs/config.production.yaml \
    CXAD_SERVING__HOST=0.0.0.0 \
    API_PORT=8000 \
    CXAD_SERVING__STATE=/var/lib/cxad/serving \
    NUMBA_CACHE_DIR=/var/lib/cxad/numba \
    GIT_PYTHON_REFRESH=quiet
EXPOSE 8000
CMD ["cxad", "serve"]
