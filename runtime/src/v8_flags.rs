//! V8's flags, shared by the build script and the runtime: snapshot and code caches are only valid under equal flags.

/// Sets V8's flags. Must be called before V8 is initialized.
///
/// `--single-threaded`: an isolate lives for one request, so helper threads cost more than they give (10 to 15 % of an
/// isolate's life), and garbage collection or compilation on helper threads would escape the CPU limit of a worker.
/// `--wasm-max-mem-pages`: one WebAssembly memory has at most 512 MiB.
///
/// `--enable-sharedarraybuffer-per-context`: only where a callback says so, and there is none. Workers have no threads to
/// share memory with, and V8 does not count growable shared buffers as memory of the isolate.
pub fn set() {
    v8::V8::set_flags_from_string(
        "--single-threaded --stack-size=900 --no-flush-bytecode --wasm-max-mem-pages=8192 --enable-sharedarraybuffer-per-context",
    );
}
