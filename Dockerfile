# The image of every service of Malleposte; which one runs is the command's word.
#
#   docker build -t malleposte:0.1.0 .

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# --locked: what was tested, and nothing newer. The symbols stay out of the image.
RUN cargo build --locked --release --package ops --bin malleposte \
    && strip --strip-debug target/release/malleposte

FROM debian:bookworm-slim
# Mail servers' certificates are looked at with the system's roots. Redis is not in here: a
# platform of containers has its own, see docker-compose.yml.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=10001 --group=10001 --mode=0700 \
        /var/lib/malleposte /var/lib/malleposte/ledger
COPY --from=build /src/target/release/malleposte /usr/local/bin/malleposte
# By number, so that a cluster which refuses root can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/malleposte
VOLUME /var/lib/malleposte
# API, returned mail, metrics.
EXPOSE 8025 2526 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["malleposte", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["malleposte"]
CMD ["--help"]
