# syntax=docker/dockerfile:1
# The image: one static binary, nothing else. Each platform is built natively (Alpine's Rust makes static musl binaries);
# for another platform than the builder's own, Docker emulates, which is slow: release.yml has a machine for each.
ARG RUST_VERSION=1.95.0

FROM docker.io/library/rust:${RUST_VERSION}-alpine AS build
ARG RUST_VERSION
ARG CARGO_AUDITABLE_VERSION=0.7.7
ARG TARGETARCH
# The image's own toolchain: rust-toolchain.toml would fetch rustfmt and clippy as well.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
WORKDIR /src
# It writes the list of crates into the binary, where scanners find it.
RUN --mount=type=cache,id=registry,target=/usr/local/cargo/registry \
    cargo install --locked --root /usr/local "cargo-auditable@${CARGO_AUDITABLE_VERSION}"
# What is here is decided by .dockerignore: sources, nothing that changes without them.
COPY . .
RUN --mount=type=cache,id=registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=target-${TARGETARCH},target=/src/target,sharing=locked \
    cargo auditable build --release --locked --package model-preloader --bin model-preloader \
    && install -D -m 0755 target/release/model-preloader /out/model-preloader
# It runs, so it is for this platform.
RUN ["/out/model-preloader", "--version"]

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Model Preloader" \
      org.opencontainers.image.description="Keeps the declared models of an Ollama server loaded, proves them warm, and gates traffic on it." \
      org.opencontainers.image.source="https://github.com/model-preloader/model-preloader" \
      org.opencontainers.image.documentation="https://github.com/model-preloader/model-preloader/tree/main/docs" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/model-preloader /model-preloader
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 11490
# The process is PID 1 and handles SIGTERM itself. No HEALTHCHECK: there is nothing here to ask with; /-/healthy and
# /-/ready are for the orchestrator.
ENTRYPOINT ["/model-preloader"]
CMD ["run"]
