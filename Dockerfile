# planhat-sync for servers: without the embedded PostgreSQL, as a user without rights, on a root file system that may
# be read-only. `docker build -t planhat-sync .`; docker-compose.yml shows it at work.

ARG RUST=1.95

FROM rust:${RUST}-slim-bookworm AS build
WORKDIR /src
# The dependencies, in a layer that lasts until they change: a program that does nothing has the same ones. It is
# forgotten again, since cargo would take its files, being newer, for the result of ours. Sections of single
# targets ([[bench]]) are left out, as cargo looks for their files.
COPY Cargo.toml Cargo.lock ./
RUN sed -i '/^\[\[/,/^$/d' Cargo.toml \
    && mkdir src && touch src/lib.rs && echo 'fn main() {}' | tee src/main.rs build.rs > /dev/null \
    && cargo build --release --locked --no-default-features \
    && cargo clean --release --locked --package planhat-sync
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
