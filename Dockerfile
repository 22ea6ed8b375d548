# planhat-sync for servers: without the embedded PostgreSQL, as a user without rights, on a root file system that may
# be read-only. `docker build -t planhat-sync .`; docker-compose.yml shows it at work.

ARG RUST=1.95

FROM rust:${RUST}-slim-bookworm AS build
WORKDIR /src
# The dependencies, in a layer that lasts until they change: a program and crates that do nothing have the same ones. They
# are forgotten again, since cargo would take their files, being newer, for the result of ours. Sections of single
# targets ([[bench]]) are left out, as cargo looks for their files.
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
# .dockerignore lists what comes along.
COPY . .
RUN cargo build --release --locked --no-default-features

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="planhat-sync" \
      org.opencontainers.image.description="Copies a Planhat workspace into your own PostgreSQL, every day, completely."
# Planhat's certificate is checked against the system's roots, which the slim image does not have.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/target/release/planhat-sync /usr/local/bin/
# Nobody's: it owns nothing in here and writes nowhere.
USER 65532:65532
# Whether the daemon lives; what it cannot reach, /readyz tells. Its port is loopback's unless daemon.listen says otherwise.
HEALTHCHECK --interval=30s --timeout=10s --start-period=1m CMD ["planhat-sync", "health"]
ENTRYPOINT ["planhat-sync"]
CMD ["daemon"]
