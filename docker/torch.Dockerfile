# torch and transformers. TORCH_INDEX is a further index that has the build wanted, as one for CPUs.
# `airflow-agentic images build` makes the folder that this is built in; see docs/how-to/images.md.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS code
ARG PIP_ROOT_USER_ACTION=ignore
COPY wheel/ /wheel/
RUN python -m pip install --no-cache-dir --no-deps --target /code /wheel/*.whl

FROM ${BASE_IMAGE}
ARG PIP_ROOT_USER_ACTION=ignore
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin agentic
COPY requirements/light.txt /requirements/
RUN python -m pip install --no-cache-dir --only-binary :all: --requirement /requirements/light.txt

COPY requirements/framework.txt /requirements/
ARG TORCH_INDEX=
RUN python -m pip install --no-cache-dir --only-binary :all: ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
      --requirement /requirements/light.txt --requirement /requirements/framework.txt

COPY packages/ /requirements/packages/
RUN python -m pip install --no-cache-dir --only-binary :all: --requirement /requirements/packages/requirements.txt \
 && python -c 'import importlib.util as i, sys; sys.exit(i.find_spec("airflow") and "a package or the base image brings Airflow")'
ENV PYTHONPATH=/opt/airflow-agentic PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    AIRFLOW_AGENTIC_CACHE=/models HOME=/tmp
COPY models/ /models/

# Last: what changes most often is the least to send.
COPY --from=code /code/ /opt/airflow-agentic/
USER 10001:10001
ENTRYPOINT ["python", "-m", "airflow_agentic.runtime"]
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="airflow-agentic/torch" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      airflow-agentic.framework="torch"
