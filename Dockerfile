# lungtypes on the same pins as pip and conda. The study's folder is mounted at /study:
#   docker build -t lungtypes .
#   docker run --rm --gpus all -v "$PWD/study:/study" lungtypes --cores 16 --resources gpu=1 --configfile study.yaml
# With Apptainer, on a cluster without Docker:
#   apptainer build lungtypes.sif docker-daemon://lungtypes:latest
#   apptainer run --nv --bind "$PWD/study:/study" lungtypes.sif --cores 16 --resources gpu=1 --configfile study.yaml
# Without a GPU leave out --gpus all and --nv; --resources gpu=N then says how many GPU rules may run at once on the CPU.
FROM python:3.12-slim-bookworm

# git: the run manifest records the commit; libgomp1: OpenMP, which the numeric libraries load
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git libgomp1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/lungtypes
COPY envs envs
RUN pip install --no-cache-dir -r envs/requirements.txt
COPY . .

# whoever runs it may be any user: nothing below /opt is written
ENV PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache HOME=/tmp
WORKDIR /study
ENTRYPOINT ["snakemake", "--snakefile", "/opt/lungtypes/Snakefile", "--directory", "/study", "--workflow-profile", "/opt/lungtypes/profiles/default"]
CMD ["--help"]
