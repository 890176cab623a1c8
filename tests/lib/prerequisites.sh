# Sourced by tests/demo, tests/run and tests/bench: installs what they need and this machine lacks.
#
# Only with apt, only as root, and only what is missing: a machine that has everything is not touched.

RUST_NEEDED=1.89
GO_NEEDED=1.21

die() {
    echo "error: $*" >&2
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# at_least 1.89 1.95.0: is the second version the first or later?
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort --version-sort | head -n 1)" = "$1" ]; }

is_installed() { [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# The version that apt would install.
candidate() { LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([0-9]*:\)\{0,1\}\([0-9.]*\).*/\2/p'; }

apt_is_up_to_date=no
apt_update() {
    [ "$apt_is_up_to_date" = no ] || return 0
    apt-get update -qq || die "apt-get update failed"
    apt_is_up_to_date=yes
}

apt_install() {
    apt_update
    echo "installing with apt: $*" >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "$@" || die "apt-get install $* failed"
}

packages() {
    missing=
    for package in "$@"; do
        is_installed "$package" || missing="$missing $package"
    done
    # shellcheck disable=SC2086  # Several words.
    [ -z "$missing" ] || apt_install $missing
}

rust_version() { rustc --version 2>/dev/null | cut -d ' ' -f 2; }
has_rust() { command -v cargo >/dev/null && at_least "$RUST_NEEDED" "$(rust_version || true)"; }

# Looks for a newer toolchain beside the one that PATH names.
find_rust() {
    has_rust && return
    for directory in "$HOME/.cargo/bin" /usr/lib/rust-1.*/bin; do
        if [ -x "$directory/cargo" ] && at_least "$RUST_NEEDED" "$("$directory/rustc" --version 2>/dev/null | cut -d ' ' -f 2)"; then
            PATH="$directory:$PATH"
            return
        fi
    done
    return 1
}

rust() {
    find_rust && return
    is_root || die "Rust $RUST_NEEDED or later is needed: https://rustup.rs, or run this as root"
    apt_update
    # Debian 12's security archive has cargo-web; Ubuntu has cargo-1.NN; later releases are new enough.
    versioned=$(apt-cache search --names-only '^cargo-1\.[0-9]+$' | cut -d ' ' -f 1 | sort --version-sort | tail -n 1)
    if at_least "$RUST_NEEDED" "$(candidate cargo-web)"; then
        apt_install cargo-web rustc-web rustfmt-web rust-web-clippy
    elif at_least "$RUST_NEEDED" "$(candidate rustc)"; then
        apt_install cargo rustc rustfmt rust-clippy
    elif [ -n "$versioned" ] && at_least "$RUST_NEEDED" "${versioned#cargo-}"; then
        apt_install "$versioned" "rustc-${versioned#cargo-}"
    elif [ -n "$(candidate rustup)" ]; then
        apt_install rustup
        rustup toolchain install stable --profile minimal --component rustfmt,clippy
        rustup default stable
    fi
    hash -r
    find_rust || die "apt has no Rust $RUST_NEEDED or later: install it from https://rustup.rs and start this again"
}

go_version() { go env GOVERSION 2>/dev/null | sed 's/^go//'; }
has_go() { command -v go >/dev/null && at_least "$GO_NEEDED" "$(go_version || true)"; }

# Only to build the control plane, once; go then fetches the version of itself that the module asks for.
go_toolchain() {
    if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then return; fi
    for program in "${XDG_CACHE_HOME:-$HOME/.cache}"/rebootd-lab/kubernetes-*/kubelet; do
        [ ! -x "$program" ] || return 0
    done
    export GOTOOLCHAIN=auto
    has_go && return
    [ ! -x /usr/local/go/bin/go ] || PATH="$PATH:/usr/local/go/bin"
    has_go && return
    apt_update
    # shellcheck disable=SC1091
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    if at_least "$GO_NEEDED" "$(candidate golang-go)"; then
        apt_install golang-go
    elif [ "$release" = bookworm ]; then
        echo "adding bookworm-backports, for a newer Go, in /etc/apt/sources.list.d/rebootd-lab.list" >&2
        site=$(apt-get indextargets --format '$(CODENAME) $(SITE)' | sed -n 's/^bookworm //p' | head -n 1)
        keys=/usr/share/keyrings/debian-archive-keyring.gpg
        [ -n "$site" ] || die "apt has no source for bookworm, so none for its backports: Go $GO_NEEDED is needed"
        echo "deb [signed-by=$keys] $site bookworm-backports main" \
            >/etc/apt/sources.list.d/rebootd-lab.list
        apt_is_up_to_date=no
        apt_install -t bookworm-backports golang-go
    else
        # Ubuntu 22.04 has newer ones under names of their own.
        versioned=$(apt-cache search --names-only '^golang-1\.[0-9]+-go$' | cut -d ' ' -f 1 | sort --version-sort | tail -n 1)
        [ -n "$versioned" ] || die "apt has no Go $GO_NEEDED or later: install it from https://go.dev/dl and start this again"
        apt_install "$versioned"
        PATH="/usr/lib/$(echo "$versioned" | sed 's/golang-\(.*\)-go/go-\1/')/bin:$PATH"
    fi
    hash -r
    has_go || die "Go $GO_NEEDED or later is needed: install it from https://go.dev/dl and start this again"
}

# What is needed to build and to run the tests that need no lab.
prerequisites_to_build() {
    if is_root && command -v apt-get >/dev/null; then
        # systemd-analyze and the tz database: what our calendar expressions are held against.
        packages ca-certificates gcc libc6-dev git systemd tzdata
    fi
    command -v cc >/dev/null || die "a C compiler is needed: apt-get install gcc libc6-dev"
    rust
}

# libFuzzer, which a crate brings, is C++.
prerequisites_of_fuzzing() {
    if is_root && command -v apt-get >/dev/null; then packages g++; fi
    command -v c++ >/dev/null || die "a C++ compiler is needed: apt-get install g++"
}

# What the lab needs besides; with --long, or the name of what needs it, an emulator as well.
prerequisites_of_lab() {
    is_root || die "the lab makes namespaces, mounts and machines: run this as root"
    command -v apt-get >/dev/null || die "the lab needs Debian or Ubuntu: it makes its hosts with mmdebstrap"
    packages mmdebstrap debian-archive-keyring e2fsprogs systemd-container nftables iproute2 util-linux mount procps
    case " $* " in *" --long "* | *" kexec "*) packages qemu-system-x86 ;; esac
    # Downloaded by the lab, and not installed: for that apt has to know of it.
    [ -n "$(candidate prometheus)" ] || apt_update
    go_toolchain
}

# Builds the lab's program and the model's with the same features as `cargo test --workspace`, so that nothing is compiled twice.
build_programs() {
    cargo build --locked --workspace --bin lab --bin model "$@" &&
        lab=${CARGO_TARGET_DIR:-target}/debug/lab &&
        model=${CARGO_TARGET_DIR:-target}/debug/model
}
