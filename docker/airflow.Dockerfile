# Airflow with this provider: for compose.yaml, and for the task pods of KubernetesExecutor.
#   docker build --file docker/airflow.Dockerfile --tag airflow-agentic/airflow .
ARG AIRFLOW_IMAGE=apache/airflow:3.3.2

FROM ${AIRFLOW_IMAGE} AS wheel
COPY --chown=50000:0 . /tmp/source/
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /tmp/wheel /tmp/source

FROM ${AIRFLOW_IMAGE}
# Of this distribution, separated by commas; and what models' own code needs, for pip.
ARG EXTRAS=kubernetes
ARG PACKAGES=
COPY --from=wheel /tmp/wheel/ /tmp/wheel/
# No version that the base image has may change.
RUN python -m pip list --format=freeze --exclude pip > /tmp/installed.txt \
 && for wheel in /tmp/wheel/*.whl; do \
      python -m pip install --no-cache-dir --constraint /tmp/installed.txt "${wheel}[${EXTRAS}]" ${PACKAGES} || exit 1; \
    done \
 && mkdir --parents /opt/airflow/artifacts /opt/airflow/auth /opt/airflow/logs
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="airflow-agentic/airflow" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
