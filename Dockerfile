# waypost in a container: no shell, no root, nothing written but in /var/lib/waypost.
#
#   docker build -t waypost .
#   docker run --read-only -v ./conf:/etc/waypost:ro -v waypost:/var/lib/waypost -p 25:25 waypost
#
# Port 25 needs no privilege within a container of Docker 20.10 or later (net.ipv4.ip_unprivileged_port_start=0).

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist && cp target/dist/waypost /waypost
# A volume that is made anew takes over this folder's owner: 65532 is `nonroot`.
RUN install -d -o 65532 -g 65532 -m 0711 /state

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /waypost /usr/bin/waypost
COPY --from=build --chown=65532:65532 /state /var/lib/waypost
VOLUME /var/lib/waypost
WORKDIR /var/lib/waypost
STOPSIGNAL SIGTERM
# It takes mail: its queue can be written, its listeners are up, no mark is reached; else one line says why.
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s CMD ["/usr/bin/waypost", "health"]
ENTRYPOINT ["/usr/bin/waypost"]
CMD ["run"]
