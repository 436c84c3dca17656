//! V8's process-wide state: started once, never stopped.

use std::sync::Once;

use crate::{allocator, mappings, page_pool, v8_flags};

/// Initializes V8. Threads that lock isolates must be created after the first call: where memory protection keys exist,
/// a thread inherits its right to V8's tables when it is created.
pub(crate) fn initialize() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        allocator::configure();
        page_pool::link();
        mappings::link();
        v8_flags::set();
        // V8's own way opens and reads /dev/urandom several times for each isolate, a page of it each time.
        v8::V8::set_entropy_source(|seed| getrandom::fill(seed).is_ok());
        v8::V8::initialize_platform(v8::new_single_threaded_default_platform(false).make_shared());
        v8::V8::initialize();
    });
}

/// Runs tasks that V8 posted to the isolate it is running in, such as clean-up of weak references.
pub(crate) fn run_tasks(isolate: &v8::Isolate) {
    let platform = v8::V8::get_current_platform();
    while v8::Platform::pump_message_loop(&platform, isolate, false) {}
}
