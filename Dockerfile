# planhat-sync for servers: without the embedded PostgreSQL, as a user without rights, on a root file system that may
# be read-only. `docker build -t planhat-sync .` builds it; docker-compose.yml shows how to run it.

ARG RUST=1.95

FROM rust:${RUST}-slim-bookworm AS build
WORKDIR /src
# This layer builds the dependencies, and is reused until they change: it builds an empty program and empty crates with the same
# dependencies. Their own files are removed again, since cargo would take them, being newer, for the result of the real sources.
# Sections of single targets ([[bench]]) are left out, since cargo looks for their files.
COPY Cargo.toml Cargo.lock ./
COPY crates/api/Cargo.toml crates/api/
COPY crates/model/Cargo.toml crates/model/
COPY crates/simulator/Cargo.toml crates/simulator/
COPY crates/store/Cargo.toml crates/store/
RUN sed -i '/^\[\[/,/^$/d' Cargo.toml \
    && for root in . crates/*; do mkdir -p $root/src && touch $root/src/lib.rs; done \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --no-default-features \
    && cargo clean --release --locked --package planhat-sync --package planhat-api --package planhat-model --package planhat-store
# .dockerignore lists what is copied.
COPY . .
RUN cargo build --release --locked --no-default-features

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="planhat-sync" \
      org.opencontainers.image.description="Copies a Planhat workspace into your own PostgreSQL, every day, completely." \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# Planhat's certificate is checked against the system's roots, which the slim image does not have.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/target/release/planhat-sync /usr/local/bin/
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/planhat-sync/
# A user that owns no file in the image and writes nowhere.
USER 65532:65532
# Whether the daemon is alive; /readyz reports what it cannot reach. It listens on loopback unless daemon.listen is set. Any other
# command is healthy while it runs: `docker run … sync`.
HEALTHCHECK --interval=30s --timeout=10s --start-period=1m CMD ["planhat-sync", "health"]
ENTRYPOINT ["planhat-sync"]
CMD ["daemon"]
