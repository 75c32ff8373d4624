# One image for every service and role: `docker run quayside:local orders api`.

# The Python that the tests run on.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
COPY requirements/services.txt .
RUN python -m venv --without-pip /opt/quayside && \
    python -m pip --python /opt/quayside/bin/python install --no-cache-dir \
      --require-hashes --only-binary :all: -r services.txt

FROM ${PYTHON_IMAGE}
# A new volume at /keys gets this folder's owner, so that nobody has to be root to write keys.
RUN groupadd --system --gid 10001 quayside && \
    useradd --system --uid 10001 --gid 10001 --no-create-home quayside && \
    install --directory --owner 10001 --group 10001 --mode 0700 /keys
ARG VERSION=unreleased
ENV PATH=/opt/quayside/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    QUAYSIDE_HOST=0.0.0.0 \
    QUAYSIDE_VERSION=${VERSION}
WORKDIR /app
COPY --from=build /opt/quayside /opt/quayside
COPY libs libs
COPY services services
# The file system is read-only at run time: what is not compiled here would be at every start.
RUN python -m compileall -q libs services
COPY --chmod=0555 deploy/docker/entrypoint.sh /usr/local/bin/quayside
COPY --chmod=0555 deploy/docker/issue-keys.sh /usr/local/bin/issue-keys
# All of the above belongs to root: the process can read it and change none of it.
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["quayside"]
