# Beckon in an image: `docker build -t beckon .`, and `docker run -v ./conf:/etc/beckon -v beckon:/var/lib/beckon beckon`.
# `datagen` is in it too, for a simulated shop and ESP.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# librdkafka is built from its own source, with what the image has: gcc and make.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --workspace --bins \
    && install -D -t /out target/release/beckon target/release/datagen

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/beckon beckon
COPY --from=build /out/ /usr/bin/
COPY campaigns/ /usr/share/beckon/campaigns/
USER 10001
WORKDIR /var/lib/beckon
# The ledger knows what was sent: a container that is made anew must find it again.
VOLUME /var/lib/beckon
EXPOSE 8080
# The first signal stops it in good order: requests under way finish.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/beckon"]
CMD ["run", "--config", "/etc/beckon/beckon.toml"]
