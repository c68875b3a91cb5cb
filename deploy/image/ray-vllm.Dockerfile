# syntax=docker/dockerfile:1
# Ray's image with vLLM: model servers and executors run in it as Ray jobs. From the root of the
# repository:
#   docker build -f deploy/image/ray-vllm.Dockerfile -t conclave-ray:2.60.0 deploy/image
ARG RAY_IMAGE=rayproject/ray:2.60.0-py312-gpu

FROM ${RAY_IMAGE}
ARG RAY_VERSION=2.60.0
ARG VLLM_VERSION=0.32.0
# Ray stays as it is: the head and all workers must have one version.
RUN pip install --no-cache-dir "vllm==${VLLM_VERSION}" "ray[default]==${RAY_VERSION}" \
    && python -c "import ray, sys; sys.exit(ray.__version__ != '${RAY_VERSION}')"
# A volume that is mounted here takes its owner over.
RUN mkdir -p /home/ray/.cache/huggingface
LABEL org.opencontainers.image.title="conclave-ray" \
      org.opencontainers.image.description="Ray with vLLM, for the model servers and executors of Conclave" \
      org.opencontainers.image.version="${RAY_VERSION}"
# The user `ray` of the base image.
USER 1000:100
