# The platform's one image: code location, webserver, daemon, API and command line; docker-compose.yml says which runs where.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DAGSTER_HOME=/var/lib/millwright/dagster

RUN useradd --create-home --uid 1000 millwright \
    && install --directory --owner=millwright --group=millwright /app /var/lib/millwright /var/lib/millwright/dagster
WORKDIR /app

COPY requirements.txt ./
RUN pip install --require-hashes -r requirements.txt

COPY --chown=millwright:millwright pyproject.toml README.md LICENSE dagster.yaml workspace.yaml ./
COPY --chown=millwright:millwright millwright millwright
COPY --chown=millwright:millwright platform_assets platform_assets
COPY --chown=millwright:millwright resources resources
COPY --chown=millwright:millwright sensors sensors
COPY --chown=millwright:millwright feature_repo feature_repo
RUN pip install --no-deps --editable .

USER millwright
# dagster.yaml takes its connection from the environment, so the secret's file is read into it; not into arguments or the image.
ENTRYPOINT ["sh", "-c", "ln -sfn /app/dagster.yaml \"$DAGSTER_HOME/dagster.yaml\"; f=/run/secrets/MILLWRIGHT_DAGSTER_POSTGRES_URL; [ ! -r $f ] || export MILLWRIGHT_DAGSTER_POSTGRES_URL=\"$(cat $f)\"; exec \"$@\"", "millwright"]
CMD ["millwright", "--help"]
