# solo-rekd with solo-learn 1.0.2, all extras, and pinned versions.
#
#   docker build -t solo-rekd .                                # for GPUs: docker run --gpus all
#   docker build --build-arg TORCH_INDEX=URL -t solo-rekd .    # torch for the CPU alone, from URL
#   docker run --rm -v "$PWD:/work" solo-rekd doctor
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

RUN apt-get update && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/solo-rekd
COPY . .
# as in the Makefile; empty: the torch of PyPI, which is built for CUDA
ARG TORCH_INDEX=""
RUN make install VENV=/opt/venv PYTHON=python TORCH_INDEX="${TORCH_INDEX}" \
    && rm -rf /root/.cache

ENV PATH=/opt/venv/bin:$PATH
WORKDIR /work
ENTRYPOINT ["solo-rekd"]
CMD ["--help"]
