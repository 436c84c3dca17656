//! V8's flags, shared by the build script and the runtime: snapshot and code caches are only valid under equal flags.

/// The flags and why each is set.
const FLAGS: &[&str] = &[
    // An isolate lives for one request, so helper threads cost more than they give (10 to 15 % of an isolate's life), and
    // garbage collection or compilation on helper threads would escape the CPU limit of a worker.
    "--single-threaded",
    // A code cache would say which functions were worth compiling to machine code, and each request's isolate would compile
    // them anew when it loads them: a tenth of a request.
    "--no-profile-guided-optimization",
    // KiB of a thread's stack that JavaScript may use.
    "--stack-size=900",
    // Code that was compiled is kept until its isolate dies.
    "--no-flush-bytecode",
    // One WebAssembly memory has at most 512 MiB.
    "--wasm-max-mem-pages=8192",
    // Shared buffers exist only where a callback says so, and there is none: workers have no threads to share memory
    // with, and V8 does not count growable shared buffers as memory of the isolate.
    "--enable-sharedarraybuffer-per-context",
    // The pages of a dead isolate are freed at once, and `mappings` zeroes those it keeps. Pages that a living one gave up
    // are `page_pool`'s business: V8's pool of them cannot be turned off in a build without a sandbox.
    "--no-large-page-pool",
    "--no-memory-pool-share-memory-on-teardown",
];

/// Sets V8's flags. Must be called before V8 is initialized.
pub fn set() {
    v8::V8::set_flags_from_string(&FLAGS.join(" "));
}
